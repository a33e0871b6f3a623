"""The Ewald sphere: images of a thick object, against its known density and RELION's sign."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from thick_samples import BOX, DIAMETER, FIELD, PIXEL, VOLTAGE, Thick, thick_object

from vitreous.cli import app
from vitreous.config.maps import ReconstructConfig
from vitreous.errors import VitreousError
from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer, ctf_phase, electron_wavelength
from vitreous.imaging.project import image_frequencies
from vitreous.io.mrc import read_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.maps.curvature import mean_fsc
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.math.rotations import random_rotations
from vitreous.math.symmetry import point_group
from vitreous.ops.cubes import insert_eagerly
from vitreous.reconstruct.accumulator import empty_accumulator, insert
from vitreous.reconstruct.backproject import reconstruct_at_poses
from vitreous.reconstruct.ewald import Curvature, likeness, matters_beyond, sphere_terms
from vitreous.validate.fsc import fsc

Find = Callable[[str], str]


@pytest.fixture(scope="module")
def thick(tmp_path_factory: pytest.TempPathFactory) -> Thick:
    return thick_object(tmp_path_factory.mktemp("thick"))


@pytest.fixture(scope="module")
def star(thick: Thick) -> Path:
    return thick.written(thick.config.out, noise=0.3 * float(thick.images.std()))


def made(star: Path, out: Path, **options) -> Path:
    return run_reconstruct(ReconstructConfig(star, out=out, **options))


def outer(volume: torch.Tensor, truth: torch.Tensor) -> float:
    return float(fsc(volume, truth)[BOX // 4 : BOX // 2 - 2].mean())


def outer_of(job: Path, thick: Thick, name: str = "map") -> float:
    return outer(torch.from_numpy(read_map(job / f"{name}.mrc")[0]), thick.volume)


# ---- on arrays


@pytest.mark.slow
def test_the_curved_sphere_recovers_what_a_flat_slice_loses(thick: Thick) -> None:
    flat, curved, reverse = (
        outer(reconstruct_at_poses([thick.posed()], BOX, PIXEL, curvature=way), thick.volume)
        for way in (None, Curvature(DIAMETER), Curvature(DIAMETER, reverse=True))
    )
    assert curved > max(0.9, flat + 0.05)
    assert reverse < flat - 0.1


def test_the_sphere_curves_as_in_relion(relion: Find, thick: Thick, tmp_path: Path) -> None:
    thick.written(tmp_path)
    agreement = []
    for flags in ("", "--reverse_curvature"):
        command = (
            f"{relion('relion_reconstruct')} --i p.star --o rec.mrc --ctf --ewald {flags} "
            f"--mask_diameter {DIAMETER}"
        )
        done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-800:]
        agreement.append(outer_of(tmp_path, thick, "rec"))
    assert agreement[0] > agreement[1] + 0.1


def test_curved_slices_and_their_eager_twin_agree() -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(40, 3, generator=generator) * 3
    axes = random_rotations(6, 1).float()
    samples = torch.randn(1, 6, 40, dtype=torch.complex64, generator=generator)
    shares = torch.rand(1, 6, 40, generator=generator)
    fast, slow = (empty_accumulator(1, 6, 2) for _ in range(2))
    insert(fast, points, axes, samples, shares)
    insert_eagerly(slow.data, slow.weight, points, axes * 2, samples, shares)
    assert float(slow.weight.sum()) > 0
    torch.testing.assert_close(fast.data, slow.data)
    torch.testing.assert_close(fast.weight, slow.weight)


def test_one_sphere_point_is_a_flat_slice() -> None:
    generator = torch.Generator().manual_seed(0)
    phase = torch.randn(4, 9, generator=generator)
    spectrum = torch.complex(torch.randn(4, 9, generator=generator), torch.zeros(4, 9))
    data, weight = sphere_terms(spectrum, phase, torch.ones(9))
    for term in (0, 1):
        torch.testing.assert_close(data[term], torch.sin(phase) * spectrum)
        torch.testing.assert_close(weight[term], torch.sin(phase) ** 2)
    values = [torch.tensor([v]) for v in (9000.0, 9000.0, 0.0, 0.0)]
    points = image_frequencies(8) / 32
    torch.testing.assert_close(
        torch.sin(ctf_phase(points, Defocus(*values), Optics(300, 2.7, 0.1))),
        contrast_transfer(points, Defocus(*values), Optics(300, 2.7, 0.1)),
    )


def test_likeness_is_the_transform_of_a_ball() -> None:
    generator = np.random.default_rng(0)
    inside = generator.uniform(-0.5, 0.5, size=(400_000, 3))
    inside = inside[np.linalg.norm(inside, axis=1) < 0.5] * 80.0
    for distance in (0.0, 0.004, 0.012, 0.03):
        sampled = np.cos(2 * np.pi * distance * inside[:, 2]).mean()
        assert float(likeness(torch.tensor([distance]), 80.0)) == pytest.approx(sampled, abs=4e-3)


def test_curvature_is_felt_where_the_points_correlate_at_a_half() -> None:
    k = 1 / matters_beyond(150.0, 300.0)
    apart = electron_wavelength(300.0) * k**2
    assert float(likeness(torch.tensor([apart]), 150.0)) == pytest.approx(0.5, abs=1e-3)


def test_mean_fsc_counts_voxels() -> None:
    assert mean_fsc(np.array([1.0, 1.0, 0.5])) == pytest.approx(0.6)


# ---- the job


def test_job_reads_the_sphere(thick: Thick, star: Path, tmp_path: Path) -> None:
    flat = made(star, tmp_path / "flat")
    both = made(star, tmp_path / "both", ewald=True, curvature="both", ewald_diameter=DIAMETER)
    reverse = made(star, tmp_path / "r", ewald=True, curvature="reverse", ewald_diameter=DIAMETER)
    for name in ("map", "half1", "half2"):
        quality = [outer_of(job, thick, name) for job in (reverse, flat, both)]
        assert quality == sorted(quality)
        assert quality[2] > quality[1] + 0.03 > quality[0] + 0.1
    sphere, wrong = (
        json.loads((job / "result.json").read_text())["ewald"] for job in (both, reverse)
    )
    assert (sphere["curvature"], wrong["curvature"]) == ("forward", "reverse")
    assert sphere["mean_fsc"]["forward"] > sphere["mean_fsc"]["reverse"] + 0.02
    assert wrong["mean_fsc"]["reverse"] == pytest.approx(sphere["mean_fsc"]["reverse"], abs=0.02)
    assert not list(both.glob("*/"))  # what was made the other way is gone


def test_weights_and_symmetry(tmp_path: Path) -> None:
    group = point_group("C3")
    thick = thick_object(tmp_path, group.numpy())
    star = thick.written(tmp_path, noise=0.3 * float(thick.images.std()))
    blocks = read_star(star)
    spoilt = np.arange(thick.config.n) % 2 == 1
    frame = blocks["particles"].frame
    psi = frame["rlnAnglePsi"].cast(pl.Float64).to_numpy() + 90.0 * spoilt
    frame = frame.with_columns(
        pl.Series("rlnAnglePsi", psi.astype(str)), pl.Series("w", (~spoilt).astype(int).astype(str))
    )
    blocks["particles"] = blocks["particles"].with_frame(frame)
    write_star(tmp_path / "spoilt.star", blocks.values())
    options = {"halves": "none", "ewald": True, "ewald_diameter": DIAMETER}
    plain, weighted, symmetric = (
        outer_of(made(tmp_path / "spoilt.star", tmp_path / out, **options, **more), thick)
        for out, more in (
            ("plain", {}),
            ("weighted", {"weights": "w"}),
            ("symmetric", {"weights": "w", "symmetry": "C3"}),
        )
    )
    assert symmetric > weighted + 0.005 > plain + 0.05


def test_flipped_phases_are_turned_back(thick: Thick, tmp_path: Path) -> None:
    views, metric = thick.views, torch.fft.ifftshift(image_frequencies(BOX), dim=(0, 1)) / FIELD
    sign = contrast_transfer(metric, views.defocus, Optics(VOLTAGE, 0.0, 0.1)).sign()
    flipped = torch.fft.ifft2(torch.fft.fft2(thick.images) * sign).real
    star = Thick(thick.volume, flipped, views, thick.config).written(tmp_path)
    options = {"halves": "none", "ewald": True, "ewald_diameter": DIAMETER}
    good = outer_of(made(star, tmp_path / "a", phase_flipped=True, **options), thick)
    assert good > outer_of(made(star, tmp_path / "b", **options), thick) + 0.2
    assert good > 0.9


def test_a_thin_particle_at_low_resolution_is_told(star: Path, tmp_path: Path) -> None:
    job = made(star, tmp_path / "j", ewald=True, ewald_diameter=20.0, resolution_limit=12.0)
    (said,) = (w for w in json.loads((job / "result.json").read_text())["warnings"] if "Ewald" in w)
    assert "cannot be told" in said


def test_command(star: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--ewald", "--curvature", "both", "--mask-diameter", str(DIAMETER)]
    with pytest.raises(SystemExit, match="0"):
        app(["reconstruct", str(star), *options, "--out", str(tmp_path / "j")])
    assert "Ewald sphere: curved forward (mean FSC of the halves" in capsys.readouterr().out
    assert "curved forward" in (tmp_path / "j" / "report.html").read_text()
    assert '"event": "ewald"' in (tmp_path / "j" / "log.jsonl").read_text()


@pytest.mark.parametrize(
    "dropped,options,message",
    [
        ("rlnDefocusU", {}, "no CTF: the columns _rlnDefocusU"),
        ("rlnVoltage", {}, "no CTF: the columns _rlnVoltage"),
        (None, {"ctf": False}, "--ewald, --no-ctf: .* told apart by the whole CTF"),
        (None, {"ignore_ctf_until_first_peak": True}, "told apart by the whole CTF"),
        (None, {"ewald": False, "curvature": "reverse"}, "--curvature: needs the Ewald sphere"),
        (None, {"ewald": False, "ewald_diameter": 50.0}, "--ewald-diameter: needs the Ewald"),
        (None, {"curvature": "both", "halves": "none"}, "only two half-maps tell"),
        (None, {"curvature": "both", "subset": 1}, "only two half-maps tell"),
        (None, {"ewald_diameter": -1.0}, "expected more than 0"),
        (None, {"ewald_diameter": 900.0}, "does not fit the box"),
    ],
)
def test_refuses(
    star: Path, tmp_path: Path, dropped: str | None, options: dict, message: str
) -> None:
    blocks = read_star(star)
    for name, block in blocks.items():
        kept = block.frame.drop(dropped, strict=False) if dropped else block.frame
        blocks[name] = block.with_frame(kept)
    write_star(star.parent / "bad.star", blocks.values())
    with pytest.raises(VitreousError, match=message):
        made(star.parent / "bad.star", tmp_path / "job", **{"ewald": True, **options})
    assert not (tmp_path / "job").exists()
