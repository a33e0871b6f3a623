"""What other programs open of a job: ChimeraX's scripts, and a set for EMDB."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import simulated

from vitreous.cli import app
from vitreous.config.maps import DepositConfig, ReconstructConfig
from vitreous.errors import VitreousError
from vitreous.io.mrc import read_map
from vitreous.jobs.maps.deposit import run_deposit
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.report.chimerax import axes_bild, views_bild, write_chimerax


def cylinders(text: str) -> np.ndarray:
    """Ends and radius of the cylinders of a .bild file."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith(".cylinder")]
    return np.array(lines, float)


def test_bars_stand_where_the_views_are() -> None:
    """Rot 0 and tilt 90 look along x, rot 90 along y; tilt 0 along z."""
    rot = np.array([0.0] * 30 + [90.0] * 10 + [0.0] * 20)
    tilt = np.array([90.0] * 40 + [0.0] * 20)
    bars = cylinders(views_bild(rot, tilt, side=100.0, middle=50.0))
    out = bars[:, 3:6] - bars[:, :3]
    lengths = np.linalg.norm(out, axis=1)
    near = {int(np.abs(o).argmax()): length for o, length in zip(out, lengths, strict=True)}
    assert near[0] == pytest.approx(35, abs=0.1)
    assert near[1] / near[0] == pytest.approx(10 / 30, rel=0.01)
    assert near[2] / near[0] == pytest.approx(20 / 30, rel=0.01)
    np.testing.assert_allclose(np.linalg.norm(bars[:, :3] - 50, axis=1), 50, atol=0.02)


@pytest.mark.parametrize(("group", "count"), [("C1", 0), ("C4", 1), ("D3", 4), ("T", 7), ("O", 13), ("I", 31)])  # fmt: skip # noqa: E501
def test_a_group_has_its_axes(group: str, count: int) -> None:
    axes = cylinders(axes_bild(group, 100.0, 50.0))
    assert len(axes) == count
    if count:
        np.testing.assert_allclose((axes[:, :3] + axes[:, 3:6]) / 2, 50, atol=0.02)
        assert group == "I" or np.abs(axes[:, 5] - axes[:, 2]).max() == pytest.approx(120)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("handover")
    star = simulated(folder / "data", 60, box=24, snr=1.0, seed=8)
    return run_reconstruct(ReconstructConfig(star, out=folder / "job"))


def test_the_script_opens_what_is_there(job: Path) -> None:
    script = write_chimerax(job)
    assert script == job / "view.cxc"
    lines = script.read_text().splitlines()
    opened = [name for line in lines if line.startswith("open ") for name in line.split()[1:]]
    assert "map.mrc" in opened and all((job / name).is_file() for name in opened)
    assert any(line.startswith("volume #1 sdLevel") for line in lines)
    (job / "local_resolution.mrc").write_bytes((job / "map.mrc").read_bytes())
    text = (write_chimerax(job) or script).read_text()
    assert "color sample #1 map #2" in text
    (job / "local_resolution.mrc").unlink()


def test_a_set_for_emdb(job: Path, tmp_path: Path) -> None:
    result = run_deposit(DepositConfig(job, out=tmp_path / "emdb"))
    assert "mask.mrc" in result.missing
    for name, source in (("emd_map.mrc", "map.mrc"), ("emd_half_map_2.mrc", "half2.mrc")):
        assert (tmp_path / "emdb" / name).read_bytes() == (job / source).read_bytes()
    with (tmp_path / "emdb" / "emdb_form.csv").open() as file:
        answers = dict(csv.reader(file))
    volume, pixel_size = read_map(job / "map.mrc")
    assert answers["Map size (voxels)"] == "24; 24; 24"
    assert float(answers["Voxel size (A)"].split(";")[0]) == pytest.approx(pixel_size)
    level = float(answers["Recommended contour level"])
    assert level == pytest.approx(volume.mean() + 4 * volume.std(), rel=1e-3)
    assert answers["Number of particles"] == "60"
    with pytest.raises(VitreousError, match="is there already"):
        run_deposit(DepositConfig(job, out=tmp_path / "emdb"))
    with pytest.raises(VitreousError, match=r"no result\.json"):
        run_deposit(DepositConfig(tmp_path, out=tmp_path / "other"))
    command = app.parse_args(f"deposit {job} --out x --more {tmp_path}", exit_on_error=False)
    assert command[1].args[0].more == (tmp_path,)
