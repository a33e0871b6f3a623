"""CTF refinement finds what was put into simulated particles, within its own stated errors."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from star_samples import particle_blocks

from vitreous.cli import app
from vitreous.config.ctf import CtfRefineConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.astigmatism import from_components, to_components
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import map_to_cube
from vitreous.imaging.simulate import clean_images, noisy
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.ctf.comparison import band_of, compare
from vitreous.jobs.ctf.ctf_refine import run_ctf_refine
from vitreous.jobs.ctf.setup import open_context
from vitreous.jobs.ctf.sweep import with_group
from vitreous.jobs.simulate import random_poses
from vitreous.particles.files import read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import open_images
from vitreous.reconstruct.backproject import PosedImages, reconstruct_at_poses
from vitreous.validate.optics.phase_fit import even_sums, gain, gradient, odd_sums
from vitreous.validate.optics.shrinkage import shrink

BOX, PIXEL, COUNT = 48, 3.0, 300
PLAIN = Optics(300, 2.7, 0.1)
MATRIX = (1.01, 0.004, -0.003, 0.995)
ODD = replace(PLAIN, beam_tilt=(2.0, -1.0), odd_zernike=(0, 0, 60.0, 0, 0, -40.0))


@dataclass(frozen=True)
class Stack:
    """A particle table that knows nothing of the errors its images were made with."""

    star: Path
    truth: Path | None
    defocus: np.ndarray


def components(table: ParticleSet) -> np.ndarray:
    assert table.defocus_u is not None
    return to_components(table.defocus_u, table.defocus_v, table.defocus_angle)


def simulate(
    folder: Path,
    optics: Optics = PLAIN,
    change: np.ndarray | float = 0.0,
    snr: float = 0.1,
    seed: int = 0,
) -> Stack:
    """Particles with these optics, and the change (mean, cosine, sine) of their defocus."""
    folder.mkdir(parents=True, exist_ok=True)
    config = SimulateConfig(Path("x"), out=folder, n=COUNT, seed=seed, shift=2.0)
    views = random_poses(config)
    d = views.defocus
    told = to_components(*(c.double().numpy() for c in (d.u, d.v, d.angle)))
    true = told + change
    columns = (torch.from_numpy(c).float() for c in from_components(true))
    posed = replace(views, defocus=Defocus(*columns, d.phase_shift))
    volume = built_in_phantom(BOX, PIXEL)
    images = clean_images(map_to_cube(volume[None], 0.6 * BOX), posed, optics, BOX, PIXEL)
    variance = float(images.var(dim=(1, 2)).mean())
    with stack_writer(folder / "particles.mrcs", BOX, COUNT, PIXEL) as stack:
        generator = torch.Generator().manual_seed(seed)
        stack.append(noisy(images, variance, snr, generator).numpy())
    write_map(folder / "truth.mrc", (volume * (snr / variance) ** 0.5).numpy(), PIXEL)
    write_star(folder / "p.star", particle_blocks(config, views, BOX, PIXEL))
    return Stack(folder / "p.star", folder / "truth.mrc", true)


def refined(stack: Stack, name: str, **options: Any) -> tuple[ParticleSet, dict[str, Any]]:
    config = CtfRefineConfig(stack.star, out=stack.star.parent / name, map=stack.truth, **options)
    job = run_ctf_refine(config)
    return read_particles(job / "particles.star"), json.loads((job / "result.json").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return simulate(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return simulate(tmp_path_factory.mktemp("odd"), ODD, snr=0.3)


def within(found: Any, true: Any, errors: Any, times: float = 4.0) -> None:
    assert (np.abs(np.ravel(found) - np.ravel(true)) < times * np.ravel(errors)).all()


def test_beam_tilt_and_trefoil(odd: Stack) -> None:
    table, result = refined(odd, "odd", beam_tilt=True, trefoil=True)
    record = result["odd_aberrations"][0]
    tilt, trefoil = record["beam_tilt"], record["trefoil"]
    within(tilt["change"], (2.0, -1.0), tilt["errors"])
    within(trefoil["change"], (60.0, -40.0), trefoil["errors"])
    assert max(tilt["errors"]) < 0.6 and tilt["significant"] and trefoil["significant"]
    group = table.optics[0]
    assert group.beam_tilt == pytest.approx(tilt["change"], abs=1e-5)
    assert group.odd_zernike[2::3] == pytest.approx(trefoil["change"], rel=1e-5)
    # What was found is undone: nothing remains to be found.
    again = replace(odd, star=odd.star.parent / "odd" / "particles.star")
    _, rest = refined(again, "again", beam_tilt=True, trefoil=True)
    for name in ("beam_tilt", "trefoil"):
        left = rest["odd_aberrations"][0][name]
        within(left["change"], 0, left["errors"], 0.1)


def test_every_optics_group_gets_its_own(odd: Stack, plain: Stack, tmp_path: Path) -> None:
    optics, particles = [], []
    for number, stack in enumerate((plain, odd), 1):
        blocks, where = read_star(stack.star), f"@{stack.star.parent}/particles.mrcs"
        group = pl.lit(str(number)).alias("rlnOpticsGroup")
        names = pl.col("rlnImageName").str.replace("@particles.mrcs", where, literal=True)
        optics.append(blocks["optics"].frame.with_columns(group))
        particles.append(blocks["particles"].frame.with_columns(group, names))
    blocks["optics"] = blocks["optics"].with_frame(pl.concat(optics))
    blocks["particles"] = blocks["particles"].with_frame(pl.concat(particles))
    write_star(tmp_path / "both.star", blocks.values())
    both = replace(odd, star=tmp_path / "both.star")
    table, result = refined(both, "both", beam_tilt=True)
    for group, record, true in zip(
        table.optics, result["odd_aberrations"], ((0.0, 0.0), (2.0, -1.0)), strict=True
    ):
        within(group.beam_tilt, true, record["beam_tilt"]["errors"])
    # The second group's map is not at the first one's scale: the scale does not matter.
    alone, _ = refined(odd, "alone", beam_tilt=True)
    assert table.optics[1].beam_tilt == pytest.approx(alone.optics[0].beam_tilt, abs=1e-4)


def test_a_tilt_that_wraps_phases_many_times(tmp_path: Path) -> None:
    # At the edge, 6 A, 40 mrad turn phases by 12 radians.
    stack = simulate(tmp_path, replace(PLAIN, beam_tilt=(25.0, -30.0)), snr=1.0)
    _, result = refined(stack, "out", beam_tilt=True)
    tilt = result["odd_aberrations"][0]["beam_tilt"]
    within(tilt["change"], (25.0, -30.0), tilt["errors"])


def test_magnification(tmp_path: Path) -> None:
    table, result = refined(
        simulate(tmp_path, replace(PLAIN, magnification=MATRIX)), "out", magnification=True
    )
    record = result["magnification"][0]
    within(record["matrix"], MATRIX, record["errors"])
    assert np.max(record["errors"]) < 2e-3 and record["significant"]
    assert table.optics[0].mag_matrix == pytest.approx(np.ravel(record["matrix"]), abs=1e-6)
    stretch = np.linalg.svd(np.reshape(MATRIX, (2, 2)), compute_uv=False)
    assert record["anisotropy_percent"] == pytest.approx(
        100 * (stretch[0] / stretch[1] - 1), abs=0.4
    )


def test_defocus_of_particles(tmp_path: Path) -> None:
    change = np.zeros((COUNT, 3))
    change[:, 0] = 100 + np.random.default_rng(1).normal(0, 400, COUNT)
    stack = simulate(tmp_path, change=change, snr=1.0)
    table, result = refined(stack, "out", defocus=True)
    record, error = result["defocus"][0], (components(table) - stack.defocus)[:, 0]
    before = np.sqrt((change[:, 0] ** 2).mean())
    assert np.sqrt((error**2).mean()) < 0.7 * before
    assert np.sqrt((error**2).mean()) == pytest.approx(record["error"]["median"], rel=0.35)
    assert record["spread"] == pytest.approx(400, rel=0.3)
    assert record["mean"] == pytest.approx(100, abs=120)
    assert record["significant"] and record["at_limit"] == 0
    np.testing.assert_allclose(components(table)[:, 1:], stack.defocus[:, 1:], atol=0.1)


def test_defocus_is_left_alone_where_particles_do_not_tell(plain: Stack) -> None:
    table, result = refined(plain, "defocus", defocus=True)
    assert not result["defocus"][0]["significant"]
    assert np.abs(components(table) - plain.defocus).max() < 150  # one particle tells to 600 A


def relion_30(stack: Stack) -> Stack:
    """The same particles in the layout without an optics table."""
    blocks = read_star(stack.star)
    shared = {
        "rlnVoltage": "300",
        "rlnSphericalAberration": "2.7",
        "rlnAmplitudeContrast": "0.1",
        "rlnMagnification": "10000",
        "rlnDetectorPixelSize": str(PIXEL),
    }
    frame = blocks["particles"].frame.drop("rlnOpticsGroup")
    frame = frame.with_columns(
        *(pl.lit(value).alias(name) for name, value in shared.items()),
        *(
            (pl.col(f"rlnOrigin{xy}Angst").cast(pl.Float64) / PIXEL)
            .cast(pl.String)
            .alias(f"rlnOrigin{xy}")
            for xy in "XY"
        ),
    ).drop("rlnOriginXAngst", "rlnOriginYAngst")
    path = stack.star.with_name("relion30.star")
    write_star(path, [replace(blocks["particles"], name="", frame=frame)])
    return replace(stack, star=path)


def test_tables_without_optics(odd: Stack) -> None:
    new, _ = refined(odd, "new", defocus=True)
    old, _ = refined(relion_30(odd), "old", defocus=True)
    assert not old.carried.has_optics
    np.testing.assert_allclose(old.defocus_u, new.defocus_u, atol=1.0)
    with pytest.raises(InputError, match="no optics table"):
        refined(relion_30(odd), "tilt", beam_tilt=True)


def test_a_range_too_small_is_told(tmp_path: Path) -> None:
    stack = simulate(tmp_path, change=np.array([1500.0, 0.0, 0.0]), snr=1.0)
    _, result = refined(stack, "out", defocus=True, defocus_range=500.0)
    assert "raise --defocus-range" in result["warnings"][0]


def test_astigmatism_of_micrographs(tmp_path: Path) -> None:
    by_micrograph = np.array([[200.0, 300.0, -400.0], [-300.0, -350.0, 0.0], [0.0, 250.0, 450.0]])
    stack = simulate(tmp_path, change=by_micrograph[np.arange(COUNT) // 100], snr=1.0)
    table, result = refined(stack, "out", astigmatism=True)
    record, error = result["astigmatism"][0], components(table) - stack.defocus
    assert record["micrographs"] == 3 and record["significant"]
    assert np.abs(error).max() < 0.4 * np.abs(by_micrograph).max()
    within(error[::100, 1:], 0, record["astigmatism_error"]["median"] / 2)


def test_nothing_is_found_where_nothing_is_wrong(plain: Stack) -> None:
    everything = ("defocus", "astigmatism", "beam_tilt", "trefoil", "magnification")
    _, result = refined(plain, "all", **dict.fromkeys(everything, True))
    records = [result[name][0] for name in ("defocus", "astigmatism", "magnification")]
    records += [result["odd_aberrations"][0][name] for name in ("beam_tilt", "trefoil")]
    assert not any(record["significant"] for record in records)
    assert result["warnings"] == []


def test_errors_are_those_of_repeated_experiments(tmp_path: Path) -> None:
    pulls = []
    for seed in range(4):
        stack = simulate(tmp_path / str(seed), ODD, seed=10 + seed)
        _, result = refined(stack, "out", beam_tilt=True, trefoil=True)
        for name, true in (("beam_tilt", (2.0, -1.0)), ("trefoil", (60.0, -40.0))):
            record = result["odd_aberrations"][0][name]
            pulls += list((np.array(record["change"]) - true) / record["errors"])
    # Sixteen squared pulls: chi-squared with 0.1 % tails at 3.9 and 39.
    assert 3.9 < np.square(pulls).sum() < 39


def test_as_relion_ctf_refine(relion: Callable[[str], str], odd: Stack) -> None:
    folder = odd.star.parent
    volume = torch.from_numpy(read_map(odd.truth)[0])
    generator = torch.Generator().manual_seed(3)
    for half in (1, 2):
        noise = 0.2 * float(volume.std()) * torch.randn(volume.shape, generator=generator)
        write_map(folder / f"half{half}_unfil.mrc", (volume + noise).numpy(), PIXEL)
    write_map(folder / "mask.mrc", soft_sphere(BOX, 0.45 * BOX, 3.0).numpy(), PIXEL)

    def run(command: str) -> None:
        subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)

    maps = "--mask mask.mrc"
    # It ends in an error where there is no Ghostscript, after writing what is needed.
    run(
        f"{relion('relion_postprocess')} --i half1_unfil.mrc --i2 half2_unfil.mrc --o pp {maps} "
        f"--angpix {PIXEL} --adhoc_bfac 0"
    )
    (folder / "relion").mkdir()
    run(
        f"{relion('relion_ctf_refine')} --i p.star --f pp.star --o relion/ --m1 half1_unfil.mrc "
        f"--m2 half2_unfil.mrc {maps} --fit_beamtilt --odd_aberr_max_n 3 --kmin_tilt 30"
    )
    theirs = read_particles(folder / "relion" / "particles_ctf_refine.star").optics[0]
    halves = {"half1": folder / "half1_unfil.mrc", "half2": folder / "half2_unfil.mrc"}
    config = CtfRefineConfig(
        odd.star,
        out=folder / "ours",
        **halves,
        mask=folder / "mask.mrc",
        resolution_limit=2 * PIXEL,
        beam_tilt=True,
        trefoil=True,
    )
    record = json.loads((run_ctf_refine(config) / "result.json").read_text())["odd_aberrations"][0]
    # The same noise is in both, so they differ by less than either from the truth.
    within(record["beam_tilt"]["change"], theirs.beam_tilt, record["beam_tilt"]["errors"], 1.5)
    trefoil = record["trefoil"]
    within(trefoil["change"], theirs.odd_zernike[2::3], trefoil["errors"], 1.5)
    assert len(record["beam_tilt"]["halves"]) == 2


def test_a_particles_own_noise_does_not_hold_it_back(tmp_path: Path) -> None:
    true = (8.0, -5.0)
    stack = simulate(tmp_path, replace(PLAIN, beam_tilt=true), snr=0.3)
    table = read_particles(stack.star)
    rows, poses = np.arange(COUNT), read_poses(table)
    columns = (table.defocus_u, table.defocus_v, table.defocus_angle, table.phase_shift)
    defocus = [torch.from_numpy(np.array(c)).float() for c in columns]
    images = torch.from_numpy(open_images(table).read(rows))
    matrices, origins = (
        torch.from_numpy(poses.matrices[rows]),
        torch.from_numpy(poses.origins / PIXEL).float(),
    )
    for half in (0, 1):
        own = slice(half, None, 2)
        posed = PosedImages(
            images[own], matrices[own], origins[own], Defocus(*(c[own] for c in defocus)), PLAIN
        )
        volume = reconstruct_at_poses([posed], BOX, PIXEL)
        write_map(tmp_path / f"half{half + 1}.mrc", volume.numpy(), PIXEL)
    halves = {f"half{n}": tmp_path / f"half{n}.mrc" for n in (1, 2)}
    _, result = refined(
        replace(stack, truth=None), "out", beam_tilt=True, resolution_limit=8.0, **halves
    )
    tilt = result["odd_aberrations"][0]["beam_tilt"]
    within(tilt["change"], true, tilt["errors"])
    assert max(tilt["errors"]) < 1.5


def log_likelihood(observed: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    return -((observed - model).abs() ** 2).sum(dim=(-2, -1))


def test_sums_hold_the_whole_likelihood() -> None:
    generator = torch.Generator().manual_seed(0)
    observed, predicted = torch.randn(2, 5, 20, dtype=torch.complex128, generator=generator)
    phase = 6 * torch.rand(5, 20, dtype=torch.float64, generator=generator)
    error = torch.randn(20, dtype=torch.float64, generator=generator)
    plain = log_likelihood(observed, torch.sin(phase) * predicted)
    turn = torch.polar(torch.ones_like(error), error)
    for sums, model in (
        (even_sums(observed, predicted, phase), torch.sin(phase + error) * predicted),
        (odd_sums(observed, predicted, phase), torch.sin(phase) * predicted * turn),
    ):
        rise = gain(sums.total(), error)
        torch.testing.assert_close(rise, log_likelihood(observed, model) - plain)
        slope, step = gradient(sums.total(), error), 1e-5
        for pixel in (0, 7):
            more, less = error.clone(), error.clone()
            more[pixel], less[pixel] = error[pixel] + step, error[pixel] - step
            difference = (gain(sums.total(), more) - gain(sums.total(), less)) / (2 * step)
            assert float(slope[pixel]) == pytest.approx(float(difference), rel=1e-6)


def test_derivative_of_slices_is_their_difference(plain: Stack) -> None:
    config = CtfRefineConfig(
        plain.star, out=plain.star.parent / "none", map=plain.truth, magnification=True
    )
    problem = open_context(config)
    band, rows = band_of(problem.table.optics[0], 12.0, 40.0), np.arange(5)
    found = compare(problem, band, rows)
    step = 0.02
    for direction, (more, less) in enumerate(
        ([(1 + step, 0, 0, 1), (1 - step, 0, 0, 1)], [(1, 0, 0, 1 + step), (1, 0, 0, 1 - step)])
    ):
        there, back = (
            compare(with_group(problem, 0, mag_matrix=m), band, rows).predicted
            for m in (more, less)
        )
        difference = (there - back) / (2 * step)
        along = found.derivative[..., direction] * band.steps[:, direction]
        overlap = float((along.conj() * difference).real.sum())
        # Trilinear interpolation has kinks that the derivative has not: alike, and without bias.
        assert overlap / float(along.norm() ** 2) == pytest.approx(1, abs=0.03)
        assert overlap / float(along.norm() * difference.norm()) > 0.97


def test_shrinkage_of_equal_errors_is_the_known_one() -> None:
    estimates = torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    estimates = 3.0 * estimates + 5.0
    found = shrink(estimates, torch.full((200, 1, 1), 1 / 4.0, dtype=torch.float64))
    mean, variance = estimates.mean(), estimates.var(correction=0)
    share = (variance - 4) / variance
    torch.testing.assert_close(
        found.values, mean + share * (estimates - mean), rtol=1e-2, atol=1e-2
    )
    assert float(found.spread) == pytest.approx(math.sqrt(float(variance) - 4), rel=1e-2)


def test_command_changes_only_what_was_asked(odd: Stack, capsys: pytest.CaptureFixture) -> None:
    out = odd.star.parent / "command"
    words = ["ctf-refine", odd.star, "--map", odd.truth, "--out", out, "--beam-tilt"]
    app([str(word) for word in words], exit_on_error=False, result_action="return_value")
    assert "Change of beam tilt of optics group 1: x +" in capsys.readouterr().out
    before, after = read_star(odd.star), read_star(out / "particles.star")
    kept = [c for c in before["particles"].frame.columns if not c.startswith("rlnOrigin")]
    kept.remove("rlnImageName")
    for name in kept[:-1]:
        old, new = before["particles"].frame[name], after["particles"].frame[name]
        assert (old.cast(pl.Float64, strict=False) == new.cast(pl.Float64, strict=False)).all() or (
            old == new
        ).all()
    new = set(after["optics"].frame.columns) - set(before["optics"].frame.columns)
    assert new == {"rlnBeamTiltX", "rlnBeamTiltY"}
    assert len((out / "log.jsonl").read_text().splitlines()) > 2


def edited(stack: Stack, name: str, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    blocks = read_star(stack.star)
    particles = blocks["particles"]
    path = stack.star.with_name(f"{name}.star")
    write_star(path, [blocks["optics"], particles.with_frame(edit(particles.frame))])
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to refine"),
        ({"defocus": True, "half1": Path("h.mrc")}, "two half-maps or one map"),
        ({"defocus": True, "resolution_limit": -1.0}, "-1 A"),
        ({"defocus": True, "resolution_limit": 20.0}, "too little to compare"),
    ],
)
def test_bad_options(plain: Stack, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        refined(plain, "bad", **options)
    assert not (plain.star.parent / "bad").exists()


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("rlnAngleTilt", "_rlnAngleTilt"),
        ("rlnDefocusU", "no CTF"),
        ("rlnMicrographName", "no column _rlnMicrographName"),
    ],
)
def test_missing_columns(plain: Stack, column: str, words: str) -> None:
    stack = replace(plain, star=edited(plain, column, lambda frame: frame.drop(column)))
    with pytest.raises(InputError, match=words):
        refined(stack, "bad", astigmatism=True)


def test_particles_of_another_map_are_refused(plain: Stack, tmp_path: Path) -> None:
    volume, pixel = read_map(plain.truth)
    write_map(tmp_path / "dark.mrc", -volume, pixel)
    config = CtfRefineConfig(
        plain.star, out=tmp_path / "out", map=tmp_path / "dark.mrc", defocus=True
    )
    with pytest.raises(InputError, match="not like the map's projections"):
        run_ctf_refine(config)
