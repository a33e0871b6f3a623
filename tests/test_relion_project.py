"""Every job's particles.star is read by RELION from the root of the project that it belongs to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import simulated

from vitreous.cli import app
from vitreous.io.mrc import read_map, write_map
from vitreous.io.star import read_star, write_star
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.image_files import name_from
from vitreous.particles.stack import open_images

BOX, PIXEL, COUNT = 32, 8.0, 300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RELION project: a stack in a job's folder, and the particles of a job that refined them."""
    root = tmp_path_factory.mktemp("project")
    data = simulated(root / "Extract", COUNT, box=BOX, pixel_size=PIXEL, snr=0.5, seed=4).parent
    blocks = read_star(data / "particles.star")
    (data / "job010").mkdir()
    (data / "particles.mrcs").rename(data / "job010" / "p.mrcs")
    frame = blocks["particles"].frame
    names = frame["rlnImageName"].str.replace("particles", "Extract/job010/p")
    blocks["particles"] = blocks["particles"].with_frame(frame.with_columns(names))
    (root / "Refine3D" / "job020").mkdir(parents=True)
    write_star(root / "Refine3D" / "job020" / "run_data.star", blocks.values())
    (data / "truth.mrc").rename(root / "truth.mrc")
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    mask = np.clip((7 - np.sqrt(z**2 + (y - 3) ** 2 + (x - 4) ** 2)) / 3, 0, 1)
    write_map(root / "keep.mrc", mask.astype(np.float32), PIXEL)
    return root


PARTICLES = "Refine3D/job020/run_data.star"
JOBS = {
    "abinit": f"{PARTICLES} --starts 2 --initial-iterations 2 --between-iterations 2 "
    "--final-iterations 1 --no-check --polish-passes 1 --mask-diameter 190",
    "refine": f"{PARTICLES} --reference truth.mrc --iterations 2 --local-search 7.5 --no-check "
    "--mask-diameter 190",
    "classify3d": f"{PARTICLES} --reference truth.mrc --classes 2 --no-align --iterations 2 "
    "--no-check --mask-diameter 190",
    "class2d": f"{PARTICLES} --classes 4 --iterations 3 --no-check --mask-diameter 190",
    "ctf-refine": f"{PARTICLES} --map truth.mrc --defocus --lowest-resolution 60",
    "subtract": f"{PARTICLES} --map truth.mrc --mask keep.mrc",
    "select": f"{PARTICLES} --random 100",
    "expand-symmetry": f"{PARTICLES} --symmetry C2",
}


def relion_reads(program: str, root: Path, star: str) -> None:
    line = (program, "--i", star, "--o", "relion.mrc", "--ctf", "--maxres", "30")
    done = subprocess.run(line, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    assert np.abs(read_map(root / "relion.mrc")[0]).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["from the root", "from elsewhere"])
@pytest.mark.parametrize("job", JOBS)
def test_relion_reads_what_a_job_writes(
    job: str, inside: bool, root: Path, relion: Callable[[str], str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whether the job is run from the root or not, RELION finds the images from there."""
    program, one_file = relion("relion_reconstruct"), job in ("select", "expand-symmetry")
    out = f"Vitreous/{job}{inside}" + ("/particles.star" if one_file else "")
    (root / "Vitreous" / f"{job}{inside}").mkdir(parents=True, exist_ok=one_file) if one_file else 0
    monkeypatch.chdir(root if inside else tmp_path)
    here = Path() if inside else Path(os.path.relpath(root, tmp_path))
    words = [str(here / w) if (root / w).is_file() else w for w in JOBS[job].split()]
    with pytest.raises(SystemExit, match="0"):
        app([job, *words, "--out", str(here / out), "--overwrite"])
    star = out if one_file else f"{out}/particles.star"
    relion_reads(program, root, star)
    names = read_particles(root / star).image_name
    folder = f"Vitreous/{job}{inside}/particles" if job == "subtract" else "Extract/job010/p"
    assert names.str.contains(rf"^\d{{6}}@{folder}\.mrcs$").all()


def test_names_lead_to_the_images_from_every_folder(root: Path, tmp_path: Path) -> None:
    table = read_particles(root / PARTICLES)
    first = open_images(table).read(np.array([0]))
    given = table.image_name.to_list()
    for folder, kept in (
        (root, True),
        (root / "a" / "b" / "c", True),
        (root / "Extract" / "job010", True),
        (tmp_path / "away", False),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        write_particles(folder / "q.star", table)
        again = read_particles(folder / "q.star")
        assert (open_images(again).read(np.array([0])) == first).all()
        names = again.image_name.to_list()
        assert (names == given) == kept
        if not kept:
            assert names[0] == f"000001@{(root / 'Extract/job010/p.mrcs').resolve()}"


def test_a_name_that_would_lead_elsewhere_is_not_kept(root: Path, tmp_path: Path) -> None:
    """Another project's images of the same name lie nearer to the output."""
    other = tmp_path / "Extract" / "job010"
    other.mkdir(parents=True)
    (other / "p.mrcs").write_bytes((root / "Extract" / "job010" / "p.mrcs").read_bytes())
    table = read_particles(root / PARTICLES)
    write_particles(tmp_path / "q.star", table)
    assert read_particles(tmp_path / "q.star").stacks[0].samefile(table.stacks[0])


def test_names_beside_the_table_become_relative_to_where_the_command_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "p.mrcs").touch()
    (tmp_path / "out").mkdir()
    assert name_from(tmp_path / "out", tmp_path / "sim" / "p.mrcs") == "sim/p.mrcs"
    assert name_from(root, tmp_path / "sim" / "p.mrcs") == str(tmp_path / "sim" / "p.mrcs")
