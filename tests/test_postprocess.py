"""Half-map validation: against closed forms and relion_postprocess on the same files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from half_map_samples import BOX, PIXEL, RADIUS, atoms, decayed, halves, molecule, white, written

from vitreous.config.maps import PostprocessConfig
from vitreous.errors import VitreousError
from vitreous.imaging.envelope import automatic_mask, mask_above
from vitreous.imaging.filters import low_pass
from vitreous.io.mrc import read_map, write_map
from vitreous.io.mtf import read_mtf
from vitreous.jobs.maps.half_maps import HalfMaps, Mask
from vitreous.jobs.maps.postprocess import run_postprocess
from vitreous.math.fourier import (
    frequency_radius,
    from_half_fourier,
    half_frequency_radius,
    half_shell_means,
    shell_index,
    shell_mean,
    to_fourier,
    to_half_fourier,
)
from vitreous.report.html import write_report
from vitreous.validate.fsc import first_below, fsc, resolution_at, resolution_of_shell
from vitreous.validate.half_maps import half_map_curves, randomise_phases
from vitreous.validate.sharpen import fsc_weight, guinier_fit, sharpened

Find = Callable[[str], str]
RelionTables = tuple[dict[str, float], np.ndarray]


def shell_power(volume: torch.Tensor) -> np.ndarray:
    box = volume.shape[-1]
    return shell_mean(to_fourier(volume, 3).abs() ** 2, shell_index(box, 3), box // 2 + 1).numpy()


# ---- closed forms


def test_fsc_of_signal_in_white_noise() -> None:
    noise = 1.8
    signal = shell_power(molecule())
    expected = signal / (signal + noise**2)
    found = half_map_curves(*halves(noise), torch.ones(BOX, BOX, BOX)).unmasked
    shells = np.arange(1, BOX // 2)
    error = 1 / np.sqrt(2 * np.pi * shells**2)  # of a correlation of so many coefficients
    assert (np.abs(found - expected)[shells] < 4 * error).all()
    for threshold in (0.5, 0.143):
        truth = resolution_at(expected, threshold, BOX, PIXEL)
        assert resolution_at(found, threshold, BOX, PIXEL) == pytest.approx(truth, rel=0.03)


@pytest.mark.parametrize("box", [16, 17])
def test_half_spectrum_has_the_shells_of_the_whole(box: int) -> None:
    volume = white(box, 1)
    (found,) = half_shell_means(to_half_fourier(volume).abs() ** 2)
    np.testing.assert_allclose(found, shell_power(volume), rtol=1e-4)
    torch.testing.assert_close(from_half_fourier(to_half_fourier(volume)), volume)


def test_resolution_of_a_shell_is_the_last_above() -> None:
    curve = np.array([1, 1, 0.8, 0.4, 0.1])
    assert resolution_of_shell(curve, 0.143, 10, 2.0) == pytest.approx(20 / 3)
    assert resolution_of_shell(curve, 0.05, 10, 2.0) == pytest.approx(20 / 4)
    assert resolution_of_shell(np.array([1, 0.1]), 0.143, 10, 2.0) is None


def test_random_phases_keep_amplitudes_and_low_shells() -> None:
    spectrum = to_half_fourier(molecule())
    random = randomise_phases(spectrum, 10, seed=3)
    torch.testing.assert_close(random.abs(), spectrum.abs(), rtol=1e-3, atol=1e-5)
    low = half_frequency_radius(BOX) < 10
    assert torch.equal(random[low], spectrum[low])
    # It is the transform of a real map: there and back again changes nothing.
    back = to_half_fourier(from_half_fourier(random))
    torch.testing.assert_close(back, random, rtol=1e-3, atol=1e-4)
    assert torch.equal(random, randomise_phases(spectrum, 10, seed=3))
    assert not torch.equal(random, randomise_phases(spectrum, 10, seed=4))


def test_correction_takes_off_what_a_tight_mask_makes() -> None:
    """Beyond 20 A there is noise only: a hard mask feigns agreement there, the correction not."""
    signal = low_pass(molecule(), PIXEL, 20.0)
    first, second = (signal + 0.05 * white(BOX, seed) for seed in (3, 4))
    tight = (molecule() > 1).float()
    curves = half_map_curves(first, second, tight)
    beyond = slice(round(BOX * PIXEL / 20) + 4, BOX // 2)
    assert (curves.masked[beyond] > 0.143).mean() > 0.9
    assert (curves.corrected[beyond] > 0.143).mean() < 0.1
    assert curves.corrected[beyond].mean() < 0.05


def test_a_sphere_leaves_out_what_lies_in_the_corners() -> None:
    """Halves that agree wherever the ball reaches, and are noise of their own beyond it."""
    beyond = (frequency_radius(BOX, 3) > BOX / 2).float()  # distance from the middle, pixels
    first, second = (molecule() + 5 * beyond * white(BOX, seed) for seed in (3, 4))
    inside = Mask((molecule() > 1).float(), {})
    found = HalfMaps(first, second, PIXEL, inside).wider_fsc()
    assert found["spherical"][2:40].min() > 0.99 and found["loose"][2:40].min() > 0.99
    assert fsc(first, second)[10:40].max() < 0.5


def test_masked_noise_stays_uncorrelated() -> None:
    soft = mask_above(molecule(), 1.0, 2, 6)
    curves = half_map_curves(white(BOX, 5), white(BOX, 6), soft)
    assert curves.corrected[8:].max() < 0.143
    assert curves.randomised_from == 1


@pytest.mark.parametrize("b_factor", [60.0, 250.0])
def test_guinier_fit_finds_a_known_b_factor(b_factor: float) -> None:
    point = torch.zeros(BOX, BOX, BOX)
    point[BOX // 2, BOX // 2, BOX // 2] = 1  # all amplitudes are alike
    spectrum = to_half_fourier(decayed(point, b_factor, PIXEL))
    ones = np.ones(BOX // 2 + 1)
    fit = guinier_fit(spectrum, ones, PIXEL, fit_from=10.0)
    assert fit is not None and fit.b_factor == pytest.approx(-b_factor, rel=0.01)
    assert fit.correlation < -0.999
    back = sharpened(spectrum, ones, fit.b_factor, PIXEL)
    inside = frequency_radius(BOX, 3) < BOX // 2
    amplitude = to_fourier(back, 3).abs()[inside] * BOX**1.5
    assert amplitude.min() > 0.97 and amplitude.max() < 1.03
    assert guinier_fit(spectrum, ones, PIXEL, fit_from=2 * PIXEL) is None


def test_fsc_weight_is_the_correlation_with_the_truth() -> None:
    """Rosenthal & Henderson's weight against the correlation of the mean map with the signal."""
    first, second = halves()
    weight = fsc_weight(fsc(first, second).numpy())
    truth = fsc((first + second) / 2, molecule()).numpy()
    strong = slice(1, first_below(truth, 0.5))
    assert np.abs(weight - truth)[strong].max() < 0.05
    curve = np.array([1.0, 0.5, 0.2, -0.01, 0.3])
    assert fsc_weight(curve)[3:].tolist() == [0, 0]


# ---- masks


def test_automatic_mask_holds_the_molecule() -> None:
    envelope = automatic_mask(*halves(), PIXEL)
    assert envelope is not None
    z, y, x = np.round(atoms()[:, ::-1] / PIXEL).astype(int).T + BOX // 2
    assert (envelope.mask[z, y, x] > 0.99).float().mean() > 0.99
    widest = RADIUS + (envelope.extend + envelope.edge + 2) * PIXEL
    assert (envelope.mask[frequency_radius(BOX, 3) * PIXEL > widest] == 0).all()
    assert automatic_mask(white(BOX, 1), white(BOX, 2), PIXEL) is None


@pytest.mark.parametrize("extend,edge", [(3, 6), (0, 4), (2.5, 5)])
def test_mask_is_relion_mask_create_s(
    relion: Find, tmp_path: Path, extend: float, edge: float
) -> None:
    volume = molecule()[20:76, 20:76, 20:76]
    written(tmp_path, map=volume)
    command = f"--i map.mrc --o mask.mrc --ini_threshold 2 --extend_inimask {extend}"
    subprocess.run(
        [relion("relion_mask_create"), *command.split(), "--width_soft_edge", str(edge)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    theirs = read_map(tmp_path / "mask.mrc")[0]
    np.testing.assert_allclose(mask_above(volume, 2, extend, edge), theirs, atol=1e-4)


# ---- beside relion_postprocess


def relion_tables(path: Path) -> RelionTables:
    """Values and FSC; the file's last table names a column twice, so not by our reader."""
    blocks = dict(re.findall(r"data_(\w+)\s(.*?)(?=\n# version|\Z)", path.read_text(), re.S))
    values = dict(re.findall(r"_rln(\w+)\s+(-?[\d.]+)\s*$", blocks["general"], re.M))
    rows = [row.split() for row in blocks["fsc"].splitlines() if re.match(r"\s+\d", row)]
    return {name: float(value) for name, value in values.items()}, np.array(rows, dtype=float)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    first, second = halves()
    written(folder, half1=first, half2=second, mask=mask_above(molecule(), 0.5, 3, 6))
    frequency = np.linspace(0, 0.5, 26)
    rows = "".join(f"{f:.3f} {np.exp(-1.5 * f):.5f}\n" for f in frequency)
    header = "data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n"
    (folder / "mtf.star").write_text(header + rows)
    return folder


def config(files: Path, out: Path, **options: object) -> PostprocessConfig:
    options = {"mask": files / "mask.mrc", **options}
    return PostprocessConfig(files / "half1.mrc", files / "half2.mrc", out=out, **options)  # type: ignore[arg-type]


def result_of(job: Path) -> dict:
    return json.loads((job / "result.json").read_text())


@pytest.mark.parametrize("mtf", [False, True])
def test_beside_relion(relion: Find, files: Path, tmp_path: Path, mtf: bool) -> None:
    (tmp_path / "theirs").mkdir()
    command = "--i half1.mrc --i2 half2.mrc --mask mask.mrc --auto_bfac --autob_lowres 10 "
    command += f"--angpix {PIXEL}"
    # At Nyquist RELION averages over the cube's corners too, unless it divides by an MTF.
    command += " --mtf mtf.star --mtf_angpix 1.2 --autob_highres 3.1" if mtf else ""
    # It ends with an error where there is no Ghostscript, after all is written.
    subprocess.run(
        [relion("relion_postprocess"), *command.split(), "--o", str(tmp_path / "theirs" / "pp")],
        cwd=files,
        capture_output=True,
        check=False,
    )
    values, curves = relion_tables(tmp_path / "theirs" / "pp.star")
    options = {"mtf": files / "mtf.star", "mtf_pixel_size": 1.2, "fit_to": 3.1} if mtf else {}
    job = run_postprocess(config(files, tmp_path / "ours", **options))
    found = result_of(job)
    assert abs(found["resolution_0143"] - values["FinalResolution"]) < 0.1
    assert found["bfactor"] == pytest.approx(values["BfactorUsedForSharpening"], rel=0.1)
    assert found["randomised_from"] == pytest.approx(values["RandomiseFrom"], abs=0.01)
    ours = found["fsc"]
    for name, column, tolerance in (
        ("unmasked", 5, 0.005),
        ("masked", 6, 0.005),
        ("corrected", 3, 0.04),  # the random phases differ
    ):
        difference = np.array(ours[name]) - curves[:, column]
        assert np.abs(difference[1:]).max() < tolerance, name

    # With their FSC and B-factor the map is theirs.
    weight, theirs = fsc_weight(curves[:, 3]), read_map(tmp_path / "theirs" / "pp.mrc")[0]
    if mtf:
        weight = weight / read_mtf(files / "mtf.star").at(curves[:, 1] * 1.2)
    first, second = halves()
    spectrum = to_half_fourier((first + second) / 2)
    fit = guinier_fit(spectrum, weight, PIXEL, 10.0, options.get("fit_to"))
    assert fit is not None
    assert fit.b_factor == pytest.approx(values["BfactorUsedForSharpening"], rel=0.005)
    volume = sharpened(spectrum, weight, values["BfactorUsedForSharpening"], PIXEL).numpy()
    # Ours divides by the MTF of the shell, theirs by that of each coefficient.
    assert np.linalg.norm(volume - theirs) < (0.01 if mtf else 1e-4) * np.linalg.norm(theirs)

    tags = [
        [(element.tag, sorted(element.attrib)) for element in ElementTree.parse(xml).iter()]
        for xml in (job / "fsc.xml", tmp_path / "theirs" / "pp_fsc.xml")
    ]
    assert tags[0] == tags[1]


# ---- the job


def test_job_writes_what_it_says(files: Path, tmp_path: Path) -> None:
    job = run_postprocess(config(files, tmp_path / "job", mask=None, seed=5))
    found = result_of(job)
    assert found["mask"]["source"] == "automatic" and found["warnings"] == []
    mask, volume, masked = (
        read_map(job / f"{name}.mrc") for name in ("mask", "sharpened", "sharpened_masked")
    )
    assert mask[1] == volume[1] == PIXEL
    np.testing.assert_allclose(masked[0], volume[0] * mask[0], atol=1e-6)
    root = ElementTree.parse(job / "fsc.xml").getroot()
    x, y = ([float(c.findtext(axis, "")) for c in root] for axis in "xy")
    np.testing.assert_allclose(x, np.arange(BOX // 2 + 1) / (BOX * PIXEL), atol=1e-6)
    np.testing.assert_allclose(y, found["fsc"]["corrected"], atol=1e-6)
    page = write_report(job).read_text()
    assert f"{found['resolution_0143']:.2f} Å" in page
    assert not re.search(r"(src|href)=\"(?!data:|#|\./)", page)

    again = result_of(run_postprocess(config(files, tmp_path / "again", mask=None, seed=5)))
    assert again["fsc"] == found["fsc"] and again["bfactor"] == found["bfactor"]
    with pytest.raises(VitreousError, match="--overwrite"):
        run_postprocess(config(files, tmp_path / "job"))


def test_given_b_factor_and_cut(files: Path, tmp_path: Path) -> None:
    flat, sharp = (
        read_map(run_postprocess(config(files, tmp_path / name, **options)) / "sharpened.mrc")[0]
        for name, options in (
            ("flat", {"bfactor": 0.0}),
            ("sharp", {"bfactor": -80.0, "lowpass": 5.0}),
        )
    )
    ratio = (to_fourier(torch.from_numpy(sharp), 3) / to_fourier(torch.from_numpy(flat), 3)).real
    radius = frequency_radius(BOX, 3)
    inside = (radius > 0) & (radius < BOX * PIXEL / 5.0 - 2)
    expected = torch.exp(80 / 4 * (radius / (BOX * PIXEL)) ** 2)
    assert torch.allclose(ratio[inside], expected[inside], rtol=0.01)
    beyond = (radius > BOX * PIXEL / 5.0 + 2) & (radius < BOX * PIXEL / 5.0 + 5)
    assert ratio[beyond].abs().max() < 1e-3


def test_warns_of_what_is_doubtful(files: Path, tmp_path: Path) -> None:
    blunt = (molecule() > 0.5).float()
    elsewhere = mask_above(molecule(), 0.5, 3, 6).roll(BOX // 2, 0)
    maps = written(tmp_path, blunt=blunt, elsewhere=elsewhere)
    for name, options, words in (
        ("a", {"mask": maps["blunt"]}, "hard edge"),
        ("b", {"mask": maps["elsewhere"]}, "worse than the unmasked"),
        ("c", {"bfactor": 50.0}, "blurs"),
        ("d", {"fit_from": 3.1}, "not sharpened"),
    ):
        job = run_postprocess(config(files, tmp_path / name, **options))
        assert any(words in warning for warning in result_of(job)["warnings"]), words


def test_bad_input_is_named(files: Path, tmp_path: Path) -> None:
    first, _ = halves()
    maps = written(
        tmp_path,
        small=first[16:80, 16:80, 16:80],
        twice=2 * first,
        map=first,
        empty=torch.zeros(BOX, BOX, BOX),
        slab=first[:40],
    )
    write_map(tmp_path / "other.mrc", first.numpy(), 1.3)
    (tmp_path / "bad.star").write_text("data_\n\nloop_\n_rlnMtfValue #1\n1.0\n")
    half1, half2, out = files / "half1.mrc", files / "half2.mrc", tmp_path / "out"
    for options, words in (
        ({"half2": maps["small"]}, r"small.mrc: has a box of 64 px.*96"),
        ({"half2": tmp_path / "other.mrc"}, r"other.mrc: has pixels of 1.3 A.*1.5 A.*--pixel-size"),
        ({"half2": half1}, "the same map as .*FSC is 1"),
        ({"half1": maps["map"], "half2": maps["twice"]}, "the same map"),
        ({"half2": maps["slab"]}, "40 x 96 x 96, expected a cube"),
        ({"half2": tmp_path / "none.mrc"}, "none.mrc: cannot be read"),
        ({"mask": maps["small"]}, r"small.mrc: has a box of 64 px"),
        ({"mask": maps["slab"]}, "40 x 96 x 96, expected a cube"),
        ({"mask": maps["map"]}, "expected a mask from 0 to 1"),
        ({"mask": maps["empty"]}, "no value above 0"),
        ({"mask_diameter": 500.0}, "--mask-diameter: 500 A"),
        ({"mask_diameter": 100.0, "mask": files / "mask.mrc"}, "give one of them"),
        ({"mtf": tmp_path / "bad.star"}, "rlnResolutionInversePixel"),
        ({"fit_from": 5.0, "fit_to": 6.0}, "--fit-to"),
        ({"pixel_size": -1.0}, "--pixel-size"),
        ({"bfactor": float("nan")}, "--bfactor"),
    ):
        given = {"half1": half1, "half2": half2, "out": out, **options}
        with pytest.raises(VitreousError, match=words):
            run_postprocess(PostprocessConfig(**given))
        assert not out.exists()
    noise = written(tmp_path, n1=white(BOX, 1), n2=white(BOX, 2))
    with pytest.raises(VitreousError, match="give --mask or --mask-diameter"):
        run_postprocess(PostprocessConfig(noise["n1"], noise["n2"], out=out))


def test_pixel_size_given_stands_for_the_header_s(files: Path, tmp_path: Path) -> None:
    job = run_postprocess(config(files, tmp_path / "job", pixel_size=3.0))
    plain = run_postprocess(config(files, tmp_path / "plain"))
    found, expected = result_of(job)["resolution_0143"], result_of(plain)["resolution_0143"]
    assert found == pytest.approx(expected * 2)
    assert read_map(job / "sharpened.mrc")[1] == pytest.approx(3.0)


def test_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vitreous.cli import app

    out = tmp_path / "job"
    words = ["postprocess", str(files / "half1.mrc"), str(files / "half2.mrc"), "--out", str(out)]
    app(
        [*words, "--mask", str(files / "mask.mrc")],
        exit_on_error=False,
        result_action="return_value",
    )
    told = capsys.readouterr().out
    assert "FSC 0.143" in told and "B-factor" in told and (out / "report.html").exists()
    app([*words, "--overwrite"], exit_on_error=False, result_action="return_value")
