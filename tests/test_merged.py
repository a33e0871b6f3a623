"""Optics groups of different boxes and pixel sizes together: closed forms and known maps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.ctf import CtfRefineConfig
from vitreous.config.maps import ReconstructConfig
from vitreous.config.particles import SubtractConfig
from vitreous.config.refine import RefineConfig
from vitreous.engine.images import CtfMode, working_frame
from vitreous.engine.model import renewed_noise, renewed_scale
from vitreous.engine.planes import load_planes
from vitreous.engine.rings import load_rings
from vitreous.errors import OptionError
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.check.preflight import preflight
from vitreous.jobs.classify3d.classify3d import run_classify3d
from vitreous.jobs.ctf.ctf_refine import run_ctf_refine
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.particles.subtract import run_subtract
from vitreous.jobs.refine.refine import run_refine
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.grid import Grid, common_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore
from vitreous.validate.fsc import fsc
from vitreous.validate.particles.spectra import half_plane, spectrum_at
from vitreous.validate.truth import align

CPU = torch.device("cpu")
COARSE, FINE = Grid(32, 8.0), Grid(40, 6.2)
"""Fields of view of 256 and 248 A: no whole numbers of frequency steps in common."""


def joined(star: Path, *stars: Path) -> Path:
    """Particles of several STAR files in one, each an optics group."""
    optics, particles = [], []
    for number, one in enumerate(stars, 1):
        blocks, where = read_star(one), f"@{one.parent}/particles.mrcs"
        group = pl.lit(str(number)).alias("rlnOpticsGroup")
        names = pl.col("rlnImageName").str.replace("@particles.mrcs", where, literal=True)
        optics.append(blocks["optics"].frame.with_columns(group))
        particles.append(blocks["particles"].frame.with_columns(group, names))
    blocks["optics"] = blocks["optics"].with_frame(pl.concat(optics))
    blocks["particles"] = blocks["particles"].with_frame(pl.concat(particles))
    write_star(star, blocks.values())
    return star


def stack_of(folder: Path, images: np.ndarray, pixel_size: float) -> Path:
    """Images, and a STAR file of what is needed to read them."""
    folder.mkdir(parents=True)
    with stack_writer(folder / "particles.mrcs", images.shape[-1], len(images), pixel_size) as file:
        file.append(images.astype(np.float32))
    lines = [f"{n:06d}@particles.mrcs 1" for n in range(1, len(images) + 1)]
    (folder / "p.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n_rlnImageSize\n"
        f"1 {pixel_size} {images.shape[-1]}\n\n"
        "data_particles\n\nloop_\n_rlnImageName\n_rlnOpticsGroup\n" + "\n".join(lines) + "\n"
    )
    return folder / "p.star"


@dataclass(frozen=True)
class Blob:
    """A Gaussian in the plane: place, width and strength, angstrom."""

    x: float
    y: float
    width: float
    strength: float

    def image(self, grid: Grid) -> np.ndarray:
        """In noise of standard deviation 1, the signal of a pixel grows with its width.

        In the place of noise stand alternating pixels of plus and minus 1, which normalisation
        leaves alone: faint beside the blob, and at one frequency, beyond the rings.
        """
        axis = (np.arange(grid.box) - grid.box // 2) * grid.pixel_size
        squared = (axis[:, None] - self.y) ** 2 + (axis - self.x) ** 2
        signal = grid.pixel_size * self.strength * np.exp(-squared / (2 * self.width**2))
        i, j = np.indices(signal.shape)
        return signal + 1.0 - 2.0 * ((i + j) % 2)

    def transform(self, k: torch.Tensor, field: float) -> torch.Tensor:
        """Its Fourier transform at frequencies (x, y) in 1/angstrom, over the field's width."""
        turns = (k @ torch.tensor([self.x, self.y])) * (-2 * np.pi)
        size = self.strength * 2 * np.pi * self.width**2 / field
        return torch.polar(size * torch.exp(-2 * np.pi**2 * self.width**2 * (k**2).sum(-1)), turns)


BLOBS = (Blob(21.3, -12.9, 13.0, 200.0), Blob(-8.0, 17.7, 11.0, 300.0))


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> ParticleSet:
    """The same density as two optics groups show it."""
    folder = tmp_path_factory.mktemp("blobs")
    stars = [
        stack_of(folder / str(grid.box), np.stack([b.image(grid) for b in BLOBS]), grid.pixel_size)
        for grid in (COARSE, FINE)
    ]
    return read_particles(joined(folder / "both.star", *stars))


@pytest.mark.parametrize("grid", [COARSE, FINE])
def test_both_groups_have_the_analytic_transform_at_the_common_frequencies(
    blobs: ParticleSet, grid: Grid
) -> None:
    source, mode = open_images(blobs), CtfMode(ctf=False)
    frame = working_frame(grid, 200.0, 2 * grid.pixel_size)
    rings = load_rings(blobs, source, frame, CPU, ignore, mode)
    planes = load_planes(blobs, source, frame, CPU, ignore, mode)
    every = torch.arange(len(blobs))
    for (samples, ctf), points in (
        (rings.at(every, rings.polar), rings.polar.points()),
        (planes.at(every, planes.plane), planes.plane.points),
    ):
        for row, blob in enumerate((*BLOBS, *BLOBS)):
            expected = blob.transform(points / frame.field, frame.field)
            held = ctf[row] == 1
            error = (samples[row] - expected)[held].abs().max()
            # That the standard deviation is of some hundred pixels makes it a thousandth wrong.
            assert error < 2e-3 * expected.abs().max()


def test_shells_beyond_a_groups_nyquist_count_for_nothing(blobs: ParticleSet) -> None:
    source, mode = open_images(blobs), CtfMode(ctf=False)
    frame = working_frame(FINE, 200.0, 2 * FINE.pixel_size)
    nyquist = (COARSE.box // 2 - 1) / COARSE.field
    rings = load_rings(blobs, source, frame, CPU, ignore, mode)
    planes = load_planes(blobs, source, frame, CPU, ignore, mode)
    every = torch.arange(len(blobs))
    for (samples, ctf), frequency in (
        (rings.at(every, rings.polar), rings.polar.points().norm(dim=-1) / frame.field),
        (planes.at(every, planes.plane), planes.plane.points.norm(dim=-1) / frame.field),
    ):
        for row in (0, 1):  # of the coarse group
            beyond = frequency > nyquist
            assert beyond.any() and (ctf[row][beyond] == 0).all()
            assert (samples[row][beyond] == 0).all()
            assert (ctf[row][frequency < nyquist - 1 / frame.field] == 1).all()
        for row in (2, 3):
            assert (ctf[row] == 1).all()


def test_the_same_field_is_cropped_as_ever(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 32, 32))
    alone = stack_of(tmp_path / "a", images, 8.0)
    half = stack_of(tmp_path / "b", rng.normal(size=(3, 64, 64)), 4.0)
    both = read_particles(joined(tmp_path / "both.star", alone, half))
    one = read_particles(alone)
    frame, mode = working_frame(Grid(32, 8.0), 200.0, 20.0), CtfMode(ctf=False)
    for load in (load_rings, load_planes):
        a, b = (load(t, open_images(t), frame, CPU, ignore, mode) for t in (one, both))
        few, every = torch.arange(6), torch.arange(9)
        assert torch.equal(a.samples.at(few), b.samples.at(few))
        grid = b.polar if load is load_rings else b.plane
        assert (b.at(every, grid)[1] == 1).all()


def test_noise_has_one_level_in_all_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stars = [
        stack_of(tmp_path / str(g.box), rng.normal(size=(300, g.box, g.box)), g.pixel_size)
        for g in (COARSE, FINE)
    ]
    table = read_particles(joined(tmp_path / "both.star", *stars))
    frame = working_frame(COARSE, 150.0, 20.0)
    rings = load_rings(table, open_images(table), frame, CPU, ignore, CtfMode(ctf=False))
    planes = load_planes(table, open_images(table), frame, CPU, ignore, CtfMode(ctf=False))
    for power in (rings.power(2), planes.power(2)):
        # Rings within one step of each other share noise, which the mask blurs.
        assert power[:, 2:].mean(dim=1) == pytest.approx([1.0, 1.0], abs=0.04)


def test_the_checks_spectra_are_analytic_too() -> None:
    points = half_plane(10)
    for grid in (COARSE, FINE):
        images = torch.from_numpy(np.stack([b.image(grid) for b in BLOBS])).float()
        found = spectrum_at(images, points, grid.field / COARSE.field)
        for row, blob in enumerate(BLOBS):
            expected = blob.transform(points / COARSE.field, COARSE.field)
            assert (found[row] - expected).abs().max() < 1e-3 * expected.abs().max()


@dataclass(frozen=True)
class Passed:
    residual: torch.Tensor
    count: torch.Tensor
    fit: torch.Tensor


def test_noise_of_shells_without_data_stays_and_contrast_is_least_squares() -> None:
    noise = torch.ones(2, 4)
    residual = torch.tensor([[8.0, 8.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    fit = torch.tensor([[30.0, 20.0], [10.0, 20.0]])
    passed = Passed(residual, torch.tensor([4.0, 4.0]), fit)
    new = renewed_noise(noise, passed, 1.0, 1.0)
    assert new.tolist() == [[2.0, 2.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]
    scale = renewed_scale(torch.ones(2), passed, 1.0)
    assert scale.tolist() == pytest.approx([1.5, 0.5])  # mean 1, ratio of the two factors 3
    alone = Passed(residual[:1], passed.count[:1], fit[:1])
    assert renewed_scale(torch.ones(1), alone, 1.0).tolist() == [1.0]


def test_the_grid_is_the_references_or_that_of_most_particles(blobs: ParticleSet) -> None:
    assert common_grid(blobs) == FINE  # as many of both: the finer
    assert common_grid(blobs.take(np.array([0, 1, 2]))) == COARSE
    assert common_grid(blobs, [Grid(32, 8.001)]) == COARSE
    assert common_grid(blobs, [Grid(48, 5.0)]) == FINE


# ---- whole jobs


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The built-in molecule on two grids, the second four times as strong in its noise."""
    folder = tmp_path_factory.mktemp("merged")
    return [
        simulated(
            folder / str(grid.box), 300, grid.box, grid.pixel_size, snr=snr, seed=number, shift=1.5
        )
        for number, (grid, snr) in enumerate(((COARSE, 0.2), (FINE, 0.8)))
    ]


@pytest.fixture(scope="module")
def merged(stars: list[Path]) -> Path:
    return joined(stars[0].parents[1] / "both.star", *stars)


def volume(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_map(path)[0])


def test_check_says_so(merged: Path) -> None:
    table = read_particles(merged)
    found = preflight(table, open_images(table))
    note = next(f for f in found.findings if f.code == "several-grids")
    assert note.level == "note"
    assert "300 particles on 32 px of 8 A, 300 particles on 40 px of 6.2 A" in note.evidence
    assert found.estimates.contrast is not None and found.estimates.contrast > 20


def test_reconstruct_equals_the_truth(merged: Path, stars: list[Path], tmp_path: Path) -> None:
    table = read_particles(merged)
    contrast = np.where(table.group == 0, COARSE.box, 2 * FINE.box) / 60.0
    write_particles(merged.with_name("contrast.star"), table.with_fields(scale=contrast))
    jobs = [
        run_reconstruct(ReconstructConfig(star, out=tmp_path / name, halves="none"))
        for name, star in (("both", merged.with_name("contrast.star")), ("one", stars[1]))
    ]
    array, pixel_size = read_map(jobs[0] / "map.mrc")
    assert array.shape[0] == FINE.box and pixel_size == pytest.approx(FINE.pixel_size)
    truth = volume(stars[1].parent / "truth.mrc")
    both, one = (fsc(volume(job / "map.mrc"), truth) for job in jobs)
    assert both[:12].min() > 0.9
    assert (both[1:12] > one[1:12] - 0.002).all() and both[1:16].mean() > one[1:16].mean()


@pytest.mark.slow
def test_refine_finds_the_contrast_of_each_group(
    merged: Path, stars: list[Path], tmp_path: Path
) -> None:
    reference = stars[1].parent / "truth.mrc"
    options = {"local_search": 3.75, "iterations": 3, "mask_diameter": 190.0}
    job = run_refine(RefineConfig(merged, reference=reference, out=tmp_path / "job", **options))
    result = json.loads((job / "result.json").read_text())
    assert any("brought to 40 px of 6.2 A" in warning for warning in result["warnings"])
    coarse, fine = (entry["contrast"] for entry in result["contrast"])
    # Power over all frequencies: pixels times their variance.
    assert fine / coarse == pytest.approx(2 * FINE.box / COARSE.box, rel=0.06)
    # Each keeps its own columns: poses are those that it came with, origins in angstrom.
    frame = read_star(job / "particles.star")["particles"].frame
    given = read_star(merged)["particles"].frame
    for name in ("rlnOriginXAngst", "rlnOriginYAngst"):
        moved = frame[name].cast(pl.Float64) - given[name].cast(pl.Float64)
        for group in ("1", "2"):
            assert np.median(np.abs(moved.filter(frame["rlnOpticsGroup"] == group))) < 2.5


def test_a_mask_must_fit_the_smallest_field(merged: Path, stars: list[Path]) -> None:
    config = RefineConfig(
        merged, reference=stars[0].parent / "truth.mrc", out=Path("x"), mask_diameter=250.0
    )
    with pytest.raises(OptionError, match="wider than the smallest box of 248 A"):
        run_refine(config)


def test_subtracting_the_molecule_leaves_the_noise(
    merged: Path, stars: list[Path], tmp_path: Path
) -> None:
    """In noise of standard deviation 1; a small ball of solvent is what is kept."""
    folder = stars[0].parent
    z, y, x = np.indices((COARSE.box,) * 3) - COARSE.box // 2
    ball = np.sqrt(x**2 + y**2 + (z - 11) ** 2)
    write_map(tmp_path / "mask.mrc", np.clip(4 - ball, 0, 1), COARSE.pixel_size)
    done = run_subtract(
        SubtractConfig(
            merged, map=folder / "truth.mrc", mask=tmp_path / "mask.mrc", out=tmp_path / "job"
        )
    )
    table, before = read_particles(done.star), read_particles(merged)
    assert [g.box for g in table.optics] == [COARSE.box, FINE.box]
    for number, grid in enumerate((COARSE, FINE)):
        rows = np.flatnonzero(table.group == number)
        left = open_images(table).read(rows)
        had = open_images(before).read(rows)
        signal = had - left
        assert left.shape[-1] == grid.box
        assert left.var() == pytest.approx(1.0, abs=0.02)
        assert had.var() > 1.1
        # What was taken off is no part of what is left.
        assert abs(np.corrcoef(signal.ravel(), left.ravel())[0, 1]) < 0.02
    assert done.scales[2] / done.scales[1] > 1


def test_ctf_refine_takes_both(tmp_path: Path) -> None:
    stars = [
        simulated(tmp_path / str(box), 200, box, pixel_size, snr=0.3, seed=box, shift=1.5)
        for box, pixel_size in ((48, 3.0), (40, 3.7))
    ]
    merged = joined(tmp_path / "both.star", *stars)
    blocks = read_star(merged)
    names = ("rlnDefocusU", "rlnDefocusV")
    off = [(pl.col(name).cast(pl.Float64) + 700).cast(pl.String) for name in names]
    frame = blocks["particles"].frame.with_columns(*off)
    write_star(tmp_path / "off.star", [blocks["optics"], blocks["particles"].with_frame(frame)])
    job = run_ctf_refine(
        CtfRefineConfig(
            tmp_path / "off.star",
            map=tmp_path / "48" / "truth.mrc",
            out=tmp_path / "job",
            defocus=True,
        )
    )
    found, true = read_particles(job / "particles.star"), read_particles(merged)
    assert found.defocus_u is not None and true.defocus_u is not None
    for number in (0, 1):
        error = (found.defocus_u - true.defocus_u)[found.group == number]
        assert abs(np.median(error)) < 70


@pytest.mark.slow
def test_searches_of_merged_data_find_the_molecule(
    merged: Path, stars: list[Path], tmp_path: Path
) -> None:
    abinit = AbinitConfig(
        merged, out=tmp_path / "abinit", mask_diameter=190.0, final_resolution=20.0, starts=1,
        polish_passes=1,
    )  # fmt: skip
    first = run_abinit(abinit)
    result = json.loads((first / "result.json").read_text())
    assert result["input"]["box"] == FINE.box
    coarse, fine = (entry["contrast"] for entry in result["noise"])
    assert fine / coarse == pytest.approx(2 * FINE.box / COARSE.box, rel=0.15)
    refined = run_refine(
        RefineConfig(
            merged, reference=stars[1].parent / "truth.mrc", out=tmp_path / "refine",
            mask_diameter=190.0,
        )
    )  # fmt: skip
    sorted_ = run_classify3d(
        Classify3dConfig(
            merged, reference=(first / "class001.mrc",), classes=1, out=tmp_path / "classify",
            mask_diameter=190.0, iterations=4,
        )
    )  # fmt: skip
    assert result["preflight"]["estimates"]["images"] == 600
    truth = volume(stars[1].parent / "truth.mrc")
    for path in (first / "class001.mrc", refined / "map.mrc", sorted_ / "class001.mrc"):
        laid = align(volume(path), truth, FINE.pixel_size)
        assert fsc(laid.volume, truth)[: round(FINE.field / 20)].min() > 0.5
