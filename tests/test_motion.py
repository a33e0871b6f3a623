"""Motion correction: its kernels, its pieces, and movies whose motion is known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import scipy.ndimage
from movie_samples import PIXEL, bending, drift, errors, sample, write_mrc

from vitreous.ops.frame_sums import PatchSpectra, sum_power, sum_power_eagerly
from vitreous.ops.warp import add_warped, spline_prefilter
from vitreous.particles.relion.motion import fitted_polynomial, polynomial_terms
from vitreous.preprocessing.motion.correct import Exposure, MotionSettings, correct_motion
from vitreous.preprocessing.motion.defects import DefectFilling, find_defects
from vitreous.preprocessing.motion.dose_weighting import DoseWeights, critical_exposure
from vitreous.preprocessing.motion.field import MotionField
from vitreous.preprocessing.motion.frames import CorrectedFrames, Detector
from vitreous.preprocessing.motion.gain import ORIENTATIONS, Orientation, fitted_orientation
from vitreous.preprocessing.motion.smoothness import smoothed
from vitreous.preprocessing.motion.spectra import low_part, low_rows
from vitreous.preprocessing.motion.summation import Wanted, sum_frames
from vitreous.preprocessing.splines import spline_basis

RNG = np.random.default_rng(3)
needs_relion = pytest.mark.skipif(
    shutil.which("relion_run_motioncorr") is None, reason="RELION is not installed"
)


def test_power_of_the_sum_and_its_slope() -> None:
    rows = low_rows((40, 36), 0.3)
    shape = (2, 3, len(rows.y), len(rows.x))
    spectra = (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)
    parts, shifts = PatchSpectra.of(spectra, rows), RNG.normal(size=(2, 3, 2))
    power, slope = sum_power(parts, shifts)
    expected, twin = sum_power_eagerly(parts, shifts)
    assert power == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(slope, twin, rtol=1e-4, atol=1e-3 * np.abs(twin).max())
    step = np.zeros_like(shifts)
    step[1, 2, 0] = 1e-2
    apart = sum_power_eagerly(parts, shifts + step)[0] - sum_power_eagerly(parts, shifts - step)[0]
    assert slope[1, 2, 0] == pytest.approx(apart / 2e-2, rel=1e-2, abs=1)


def test_low_frequencies_are_those_of_a_small_transform() -> None:
    image = RNG.normal(size=(30, 24))
    rows = low_rows((30, 24), 0.25)
    found = low_part(np.fft.rfft2(image), rows)
    y, x = np.meshgrid(np.arange(30), np.arange(24), indexing="ij")
    for i, j in ((0, 0), (2, 3), (len(rows.y) - 1, 5)):
        wave = np.exp(-2j * np.pi * (rows.y[i] * y + rows.x[j] * x))
        assert found[i, j] == pytest.approx((image * wave).sum(), abs=1e-4)


def test_warping_reads_splines_as_scipy_does() -> None:
    height, width = 50, 64
    image = RNG.normal(size=(1, height, width)).astype(np.float32)
    coefficients, curve = 1.5 * RNG.normal(size=(4, 5, 2)), np.array([2.3, -1.7])
    bases = (
        spline_basis((np.arange(height) + 0.5) / height, 4).T,
        spline_basis((np.arange(width) + 0.5) / width, 5).T,
    )
    total = np.zeros_like(image)
    add_warped(image, curve, coefficients, bases, total)
    moved = np.einsum("iy,jx,ijd->yxd", *bases, coefficients) + curve
    y, x = np.mgrid[:height, :width]
    y, x = y + moved[..., 1], x + moved[..., 0]
    twin = scipy.ndimage.map_coordinates(image[0], [y, x], order=5, prefilter=False)
    rows, columns = np.floor(y), np.floor(x)
    inside = (rows >= 2) & (rows < height - 3) & (columns >= 2) & (columns < width - 3)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(total[0][inside], twin[inside], atol=1e-5)
    assert not total[0][~inside].any()


def test_warping_keeps_waves_up_to_three_quarters_of_nyquist() -> None:
    side, kept = 64, []
    bases = (np.ones((1, side)), np.ones((1, side)))
    for cycles in (8, 16, 24):
        wave = np.cos(2 * np.pi * cycles * np.arange(side) / side) + np.zeros((side, 1))
        filtered = np.fft.irfft2(np.fft.rfft2(wave) * spline_prefilter(side, side))
        total = np.zeros((1, side, side), np.float32)
        shift = np.array([0.5, 0.0])
        add_warped(filtered[None].astype(np.float32), shift, np.zeros((1, 1, 2)), bases, total)
        truth = np.cos(2 * np.pi * cycles * (np.arange(side) + 0.5) / side)
        kept.append(float((total[0, 32, 3:-4] * truth[3:-4]).sum() / (truth[3:-4] ** 2).sum()))
    assert kept[0] == pytest.approx(1, abs=1e-3)
    assert min(kept) > 0.9  # at half a pixel, the worst shift there is


def test_dose_weights_follow_grant_and_grigorieff() -> None:
    assert critical_exposure(np.array([0.1]), 300)[0] == pytest.approx(14.14, abs=0.01)
    assert critical_exposure(np.array([1 / 3]), 200)[0] == pytest.approx(0.8 * 4.340, abs=0.01)
    frequency = np.array([[0.0, 0.1, 0.25]])
    weights = DoseWeights(frequency, np.array([1.0, 1.0, 2.0]), 0.5, 300)
    every = np.stack([weights.of(frame) for frame in range(3)])
    np.testing.assert_allclose((every**2).sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(every[:, 0, 0], 3**-0.5, rtol=1e-5)
    # Middles of the frames lie at 1, 2 and 3.5 e/A^2.
    ratio = np.exp(-1.5 / (2 * critical_exposure(frequency[0, 1:], 300)))
    np.testing.assert_allclose(every[2, 0, 1:] / every[1, 0, 1:], ratio, rtol=1e-5)


def test_defects_are_found_and_filled_by_their_neighbours() -> None:
    total = RNG.poisson(400, (64, 64)).astype(np.float32)
    bad = np.zeros(total.shape, bool)
    bad[[3, 20, 20, 63], [5, 31, 32, 0]] = True
    total[bad] = [4000, 0, 0, 900]
    known = np.zeros_like(bad)
    known[40:44, 10:30] = True
    found = find_defects(total, known)
    np.testing.assert_array_equal(found, bad | known)
    frame = np.full(total.shape, 7.0, np.float32)
    frame[found] = 99
    DefectFilling(found).fill(frame, 1)
    assert (frame == 7).all()


@pytest.mark.parametrize("turned", ORIENTATIONS)
def test_gain_orientation_is_found_by_its_pattern(turned: Orientation) -> None:
    gain = 1 / RNG.normal(1, 0.05, (80, 64)).clip(0.7, 1.3)
    lying = turned.apply(gain)
    total = RNG.poisson(100 / lying).astype(float)
    fit = fitted_orientation(total, gain, Orientation())
    assert fit.sure and np.array_equal(fit.best.apply(gain), lying)
    corrected = fitted_orientation(total * lying, gain, Orientation())
    assert not corrected.sure


@needs_relion
@pytest.mark.parametrize(("turns", "flip"), [(1, 0), (3, 1), (0, 2), (2, 1)])
def test_gain_turns_as_relions_options_say(tmp_path: Path, turns: int, flip: int) -> None:
    smooth = scipy.ndimage.gaussian_filter(RNG.normal(size=(64, 48)), 3)
    frame = (100 + 400 * smooth).astype(np.float32)
    gain = RNG.uniform(0.9, 1.1, (48, 64) if turns % 2 else (64, 48)).astype(np.float32)
    write_mrc(tmp_path / "m.mrcs", np.stack([frame] * 4))
    write_mrc(tmp_path / "g.mrc", gain)
    (tmp_path / "m.star").write_text(
        "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographOriginalPixelSize\n"
        "_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\na 1 2.0 300 2.7 0.1\n\n"
        "data_movies\nloop_\n_rlnMicrographMovieName\n_rlnOpticsGroup\nm.mrcs 1\n"
    )
    command = (
        "relion_run_motioncorr --i m.star --o out --use_own --j 1 --skip_defect --gainref g.mrc"
    )
    command += f" --gain_rot {turns} --gain_flip {flip} --dose_per_frame 1 --bfactor 10"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    theirs = mrcfile.read(tmp_path / "out" / "m.mrc").squeeze()
    ours = 4 * frame * Orientation(turns, flip).apply(gain)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-2)


def test_relions_polynomial_is_fitted() -> None:
    y = x = (np.arange(7) + 0.5) / 7
    truth = RNG.normal(size=(2, 18)) / np.tile([8.0, 64.0, 512.0], 6)
    z, v, u = np.meshgrid(np.arange(8.0), y - 0.5, x - 0.5, indexing="ij")
    terms = polynomial_terms(z.ravel(), v.ravel(), u.ravel())
    local = (terms @ truth.T).reshape(8, 7, 7, 2)
    np.testing.assert_allclose(fitted_polynomial(local, y, x), truth, atol=1e-8)


PLACES = (np.arange(7) + 0.5) / 7


def found(
    motion: object, seed: int, local: bool = True, **settings: object
) -> tuple[float, object]:
    movie = sample(motion, seed=seed)  # type: ignore[arg-type]
    asked = MotionSettings(PIXEL, local=local, **settings)  # type: ignore[arg-type]
    made = correct_motion(movie.frames, Detector(movie.gain), asked)
    return errors(made.field.at(PLACES, PLACES), movie.motion, PLACES), made


def test_the_motion_of_the_whole_loses_error_and_keeps_its_own_roughness() -> None:
    """Known curves with steps and errors added, in the same order of size and far apart."""
    time = np.linspace(0, 1, 40)
    curve = np.stack([12 * (1 - np.exp(-5 * time)), 4 * np.sin(3 * time)], -1)

    def error_after(step: float, error: float) -> float:
        made = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            truth = curve + np.cumsum(rng.normal(0, step, curve.shape), 0)
            truth -= truth.mean(0)
            seen = truth + rng.normal(0, error, curve.shape)
            made.append(smoothed(seen - seen.mean(0), error, 1.0) - truth)
        return float(np.std(made))

    assert error_after(0.15, 0.3) < 0.7 * 0.3
    assert error_after(0.0, 0.3) < 0.6 * 0.3
    assert error_after(1.0, 0.1) < 1.1 * 0.1


def test_few_frames_stay_where_they_are() -> None:
    curve = RNG.normal(size=(5, 2))
    np.testing.assert_array_equal(smoothed(curve, 0.1, 1.4), curve)


def test_local_motion_is_found() -> None:
    whole, _ = found(bending, 1, local=False)
    both, made = found(bending, 1, exposure=Exposure(np.full(12, 1.0), 0.0, 300.0), halves=True)
    assert whole > 0.5
    assert both < 0.15
    sums = made.sums  # type: ignore[attr-defined]
    np.testing.assert_allclose(sums.odd + sums.even, sums.weighted, rtol=1e-4)
    # Blobs are sharp again: a sum without correction holds much less of them.
    still = sample(lambda x, y, t: 0 * drift(x, y, t), seed=1).frames.sum(0)
    blurred = sample(bending, seed=1).frames.sum(0)
    sharp = scipy.ndimage.gaussian_filter(sums.plain, 1)[20:-20, 20:-20].std()
    assert sharp > 0.95 * scipy.ndimage.gaussian_filter(still * 1.0, 1)[20:-20, 20:-20].std()
    assert sharp > 1.1 * scipy.ndimage.gaussian_filter(blurred * 1.0, 1)[20:-20, 20:-20].std()


def test_a_movie_without_local_motion_gets_next_to_none() -> None:
    whole, _ = found(drift, 2, local=False)
    both, made = found(drift, 2)
    assert both < whole + 0.02 < 0.1
    field: MotionField = made.field  # type: ignore[attr-defined]
    apart = field.at(PLACES, PLACES) - field.at(PLACES, PLACES).mean((1, 2), keepdims=True)
    assert np.abs(apart).max() < 0.1


@pytest.mark.parametrize("bent", [0.0, 0.2])
def test_sums_are_of_frames_put_back(bent: float) -> None:
    height, width, moved = 96, 120, np.array([[0.0, 0.0], [2.3, -1.6], [-3.4, 0.7], [1.5, 2.5]])
    field = MotionField(moved, np.zeros((1, 1, 4, 2)))
    field.splines[0, 0, :, 0] = bent * np.array([0, 1, -2, 3])
    y, x = np.mgrid[:height, :width]

    def blobs(at: np.ndarray) -> np.ndarray:
        places = np.array([[30.0, 40.0], [70.0, 60.0], [85.0, 35.0]]) + at
        return sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in places)

    shifts = field.at(np.array([0.5]), np.array([0.5]))[:, 0, 0]
    raw = np.stack([10 + blobs(shift) for shift in shifts]).astype(np.float32)
    frames = CorrectedFrames(raw, raw.sum(0), Detector(), (height, width), 0)
    runs = field.runs_as_one()
    assert (len(runs) > 1) == (bent > 0)
    assert [number for run in runs for number in run] == [0, 1, 2, 3]
    local = (field.at(PLACES, PLACES) - (moved - moved[0])[:, None, None]).reshape(4, -1, 2)
    for run in runs:
        apart = local[run] - local[run].mean(0)
        assert np.sqrt((apart**2).mean(1)).max() <= 0.05
    sums = sum_frames(frames, field, Wanted(halves=True))
    inside = (slice(8, -8), slice(8, -8))
    expected = 40 + 4 * blobs(np.zeros(2))
    np.testing.assert_allclose(sums.plain[inside], expected[inside], atol=4e-3)
    np.testing.assert_allclose(sums.odd + sums.even, sums.plain, rtol=1e-5)


def test_binned_sums_keep_their_mean_and_seeds_fix_them() -> None:
    movie = sample(drift, (96, 128), 6, seed=4)
    asked = MotionSettings(PIXEL, binning=2.0, local=False, seed=5)
    made = [correct_motion(movie.frames, Detector(movie.gain), asked) for _ in range(2)]
    assert made[0].shape == (48, 64)
    np.testing.assert_array_equal(made[0].sums.plain, made[1].sums.plain)
    expected = (movie.frames * movie.gain).sum(0).mean()
    assert made[0].sums.plain is not None
    assert made[0].sums.plain.mean() == pytest.approx(expected, rel=0.02)
