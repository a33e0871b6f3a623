"""Maps that show no molecule: recognised, kept as they are, and refined only if asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from class_samples import BOX, MASK, PIXEL, classes_of, density, stack

from vitreous.config.classify import Classify3dConfig, Classify3dOptions
from vitreous.errors import VitreousError
from vitreous.imaging.decoys import blob, noise_like
from vitreous.imaging.filters import low_pass
from vitreous.io.models import density as density_of
from vitreous.io.models import read_model
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.classify3d.classify3d import findings, run_classify3d
from vitreous.jobs.classify3d.context import RunContext, set_up
from vitreous.jobs.particles.classes import read_classes
from vitreous.math.fourier import frequency_radius
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.report.html import write_report
from vitreous.schedules.class3d.begin import march
from vitreous.schedules.class3d.references import Reference
from vitreous.validate.decoys import recognised_decoy, roundness

RADIUS = frequency_radius(64, 3)


def test_roundness_of_a_ball_with_poles() -> None:
    # Inside R the density is 1 + a P2(z / r), whose mean over a sphere is 0 and mean square 1/5;
    # the ball within which it is judged has radius L, so that p = (R / L)^3 of it is filled.
    axis, radius, a = torch.arange(96) - 48.0, frequency_radius(96, 3), 0.8
    poles = (3 * (axis[:, None, None] / radius.clamp(min=1)) ** 2 - 1) / 2
    volume = (radius < 30) * (1 + a * poles)
    p = (30 / 47) ** 3
    assert roundness(volume) == pytest.approx((1 - p) / (1 - p + a**2 / 5), abs=0.01)


def octahedral(resolution: float) -> torch.Tensor:
    """A hollow shell of 24 lumps, such as apoferritin is, 120 A across."""
    lump = np.random.default_rng(3).normal(size=(40, 3)) * 6 + [34.0, 20.0, 38.0]
    every = np.concatenate([lump @ turn.T for turn in point_group("O").numpy()])
    return low_pass(gaussian_sum(every, np.ones(len(every)), 4.0, 64, 3.0), 3.0, resolution)


@pytest.mark.parametrize(
    "ball",
    [
        blob(64, 3.0, 60.0, 5.0, 0.02),
        (RADIUS < 20).float(),
        (RADIUS < 6).float(),
        (RADIUS < 10).float().roll((5, -7, 3), (0, 1, 2)),
        torch.exp(-(RADIUS**2) / 100),
        ((RADIUS > 12) & (RADIUS < 20)).float(),
        -blob(64, 3.0, 45.0, 10.0, 1.0),
    ],
    ids=["soft", "hard", "small", "off-centre", "gaussian", "hollow", "dark"],
)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_balls(ball: torch.Tensor, scale: float) -> None:
    found = recognised_decoy(scale * ball, 3.0)
    assert found is not None and found.kind == "ball"


@pytest.mark.parametrize("seed", [1, 2])
def test_noise(seed: int) -> None:
    white = torch.randn((48,) * 3, generator=torch.Generator().manual_seed(seed))
    like = octahedral(10.0)
    for noise, pixel_size in (
        (white, 4.0),
        (low_pass(white, 4.0, 20.0) + 3, 4.0),
        (noise_like(like, 3.0, seed), 3.0),
        (noise_like(like, 3.0, seed, 20.0), 3.0),
    ):
        found = recognised_decoy(noise, pixel_size)
        assert found is not None and found.kind == "noise"


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_empty(value: float) -> None:
    found = recognised_decoy(torch.full((32,) * 3, value), 4.0)
    assert found is not None and found.kind == "empty"


@pytest.mark.parametrize("resolution", [8.0, 20.0, 40.0])
def test_a_hollow_shell_with_detail_is_no_ball(resolution: float) -> None:
    assert recognised_decoy(octahedral(resolution), 3.0) is None


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_a_noisy_molecule_is_no_noise(noise: float) -> None:
    molecule = density(0, 64, 4.0)
    drawn = torch.randn(molecule.shape, generator=torch.Generator().manual_seed(4))
    assert recognised_decoy(molecule + noise * molecule.max() * drawn, 4.0) is None


@pytest.mark.parametrize(
    "name,pixel_size",
    [
        ("apoferritin_CA_sym_cryolike.pdb", 3.0),
        ("groel_apo_CA.pdb", 4.0),
        ("1y1v_polII_TFIIS.pdb", 4.0),
    ],
)
def test_molecules_are_no_decoys(name: str, pixel_size: float, shared_data: Path) -> None:
    model = read_model(shared_data / "models" / name)
    for resolution in (10.0, 20.0, 40.0):
        volume = torch.from_numpy(density_of(model, 64, pixel_size, resolution))
        assert recognised_decoy(volume, pixel_size) is None


BALL = blob(BOX, PIXEL, 55.0, 16.0, 1.0)


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stack(tmp_path_factory.mktemp("decoys"), (160,), noise=60)


def context(star: Path, *maps: torch.Tensor, **options) -> RunContext:
    table = read_particles(star)
    references = [Reference(volume, PIXEL, f"map{n}.mrc") for n, volume in enumerate(maps, 1)]
    given = Classify3dOptions(**{"mask_diameter": MASK, "resolution_limit": 20.0, **options})
    return set_up(table, open_images(table), references, given)


def test_decoys_are_fixed_unless_freed(star: Path) -> None:
    maps = (BALL, density(0), torch.zeros_like(BALL), noise_like(density(0), PIXEL, 1))
    made = context(star, *maps)
    assert made.making.fixed == [0, 2, 3]
    assert [found["kind"] for found in made.recognised()] == ["ball", "empty", "noise"]
    assert sum("--free-decoys" in warning for warning in made.warnings) == 3
    free = context(star, *maps, free_decoys=True)
    assert free.making.fixed == [] and len(free.recognised()) == 3
    assert context(star, *maps, free_decoys=True, fixed="1").making.fixed == [0]
    alone = context(star, BALL)
    assert alone.making.fixed == [] and alone.recognised() == []
    with pytest.raises(VitreousError, match=r"no reference shows a molecule.*map1.mrc is a ball"):
        context(star, BALL, BALL)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("free", [False, True])
def test_a_ball_keeps_its_shape_unless_freed(star: Path, tmp_path: Path, free: bool) -> None:
    write_map(tmp_path / "molecule.mrc", density(0).numpy(), PIXEL)
    write_map(tmp_path / "ball.mrc", 500 * BALL.numpy(), PIXEL)  # its scale is no matter
    events = list[dict]()
    config = Classify3dConfig(
        star,
        reference=(tmp_path / "molecule.mrc", tmp_path / "ball.mrc"),
        out=tmp_path / "job",
        mask_diameter=MASK,
        resolution_limit=25.0,
        align=False,
        iterations=3,
        free_decoys=free,
    )
    job = run_classify3d(config, lambda event: events.append(dict(event)))
    result = json.loads((job / "result.json").read_text())
    kept = low_pass(BALL, PIXEL, 20.0).numpy()
    assert (correlation(read_map(job / "class002.mrc")[0], kept) > 0.999) is not free
    assert result["classes"][1]["fixed"] is not free
    (recognised,) = result["recognised_decoys"]
    assert recognised["kind"] == "ball" and recognised["fixed"] is not free
    assert [e["recognised"] for e in events if e["event"] == "decoys"] == [[recognised]]
    assert any("ball.mrc, is a ball" in warning for warning in result["warnings"])
    assert any("after 3 passes" in warning and "not final" in warning
               for warning in result["warnings"])  # fmt: skip
    page = write_report(job).read_text()
    assert ("decoy, a ball, kept as given" in page) is not free
    if not free:
        classes = classes_of(job)
        assert (classes[:160] == 1).mean() > 0.9 and (classes[160:] == 2).mean() > 0.9
        labels = [record.label for record in read_classes(job / "particles.star", None)]
        assert labels == ["map", "decoy"]


@pytest.mark.parametrize(
    "passes,changed,settled,words",
    [
        (3, 0.0, False, "ended after 3 passes"),
        (4, 0.0, False, "--iterations 5 or more"),
        (25, 0.031, False, "3.1% of the particles changed class in the last, and settled is less"),
        (7, 0.002, True, None),
    ],
)
def test_whether_classes_have_settled(
    passes: int, changed: float, settled: bool, words: str | None
) -> None:
    record = {
        "passes": passes,
        "passes_at_limit": max(passes - 4, 0),
        "changed": [0.5] * (passes - 1) + [changed],
        "settled": settled,
        "settled_below": 0.01,
        "resolution_limit": 15.0,
    }
    told = findings(record, [])
    assert (words is None and told == []) or (words is not None and words in told[0])
    assert not any("0.0%" in sentence for sentence in told)


def test_several_references_are_made_anew_from_many_images() -> None:
    options = Classify3dOptions()
    assert march(options, 2500, 2).size == 2000 and march(options, 900, 3).size == 900
    assert march(options, 2500, 1).size == 2500 // 12


def with_noise(star: Path, folder: Path, share: float, seed: int) -> tuple[Path, int]:
    """A stack with images of noise that have the others' own spectra; returns the particles."""
    table, blocks = read_particles(star), read_star(star)
    images = open_images(table).read(np.arange(len(table))).astype(np.float32)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(table))[: round(share * len(table))]
    phases = np.fft.rfft2(rng.normal(size=images[chosen].shape))
    spectrum = np.abs(np.fft.rfft2(images[chosen])) * phases / np.abs(phases)
    noise = np.fft.irfft2(spectrum, s=images.shape[1:]).astype(np.float32)
    with stack_writer(folder / "all.mrcs", images.shape[-1], len(images) + len(noise),
                      table.optics[0].pixel_size) as file:  # fmt: skip
        file.append(np.concatenate([images, noise]))
    frame = blocks["particles"].frame
    frame = pl.concat([frame, frame[chosen.tolist()]])
    names = pl.Series([f"{number:06d}@all.mrcs" for number in range(1, len(frame) + 1)])
    particles = blocks["particles"].with_frame(frame.with_columns(rlnImageName=names))
    write_star(folder / "all.star", (blocks | {"particles": particles}).values())
    return folder / "all.star", len(images)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["map", "ball"])
def test_real_particles_stay_and_noise_goes_to_the_ball(
    shared_data: Path, tmp_path: Path, first: str
) -> None:
    model = read_model(shared_data / "models" / "apoferritin_CA_sym_cryolike.pdb")
    molecule = density_of(model, 72, 3.0, 10.0)
    write_map(tmp_path / "map.mrc", molecule, 3.0)
    write_map(tmp_path / "ball.mrc", blob(72, 3.0, 60.0, 5.0, float(molecule.max())).numpy(), 3.0)
    given = shared_data / "empiar10146" / "particles_3.0A_72.star"
    star, real = with_noise(given, tmp_path, 0.3, 1)
    maps = [tmp_path / "map.mrc", tmp_path / "ball.mrc"]
    order: Callable = reversed if first == "ball" else iter
    job = run_classify3d(
        Classify3dConfig(
            star, reference=tuple(order(maps)), out=tmp_path / "job", symmetry="O", check=False
        )
    )
    molecule_first = first == "map"
    classes = classes_of(job) == (1 if molecule_first else 2)
    assert classes[:real].mean() >= 0.9
    assert classes[real:].mean() <= 0.1
