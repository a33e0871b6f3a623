"""CTF estimation on micrographs whose power spectrum is known: values, errors, tilt, verdicts."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micrograph_samples import PIXEL, write_coordinates, write_micrograph, write_table

from vitreous.config.ctf_estimation import CtfConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.ctf import Defocus, Optics, ctf_phase
from vitreous.jobs.ctf_estimation.ctf import run_ctf
from vitreous.particles.relion.micrograph_table import read_micrographs
from vitreous.preprocessing.ctf_estimation.estimate import Estimate, Search, estimate_ctf
from vitreous.preprocessing.ctf_estimation.model import waves_at
from vitreous.preprocessing.ctf_estimation.quality import Findings, judged
from vitreous.report.html import write_report

OPTICS = Optics(300.0, 2.7, 0.1)
SEARCH = Search(least=5000, most=30000, astigmatism=3000)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def thon_rings(
    side: int,
    mean: float,
    half: float = 150.0,
    angle: float = 30.0,
    *,
    plate: float = 0.0,
    slope: tuple[float, float] = (0.0, 0.0),
    contrast: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """White noise, and noise that the CTF of the package acted on, whose defocus may be a plane."""
    rng = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(side, PIXEL), np.fft.rfftfreq(side, PIXEL)
    points = torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    damped = np.exp(-40 / 4 * (points**2).sum(-1).numpy())
    wave = np.fft.rfft2(rng.standard_normal((side, side))) * damped
    axis = (np.arange(side) - side / 2) * PIXEL
    plane = slope[0] * axis + slope[1] * axis[:, None]
    levels = np.linspace(plane.min(), plane.max(), 9) if any(slope) else np.zeros(1)
    image = rng.standard_normal((side, side))
    for level in levels:
        defocus = Defocus(
            one(mean + half + level), one(mean - half + level), one(angle), one(plate)
        )
        ctf = torch.sin(ctf_phase(points, defocus, OPTICS))[0].numpy()
        share = (
            1.0
            if len(levels) == 1
            else np.maximum(1 - np.abs(plane - level) / (levels[1] - levels[0]), 0)
        )
        image += contrast * share * np.fft.irfft2(wave * ctf, s=(side, side))
    return image.astype(np.float32)


def components(mean: float, half: float, angle: float) -> np.ndarray:
    turn = math.radians(2 * angle)
    return np.array([mean, half * math.cos(turn), half * math.sin(turn)])


def test_phases_are_those_of_the_imaging_model() -> None:
    k = np.linspace(0.03, 0.26, 50)
    waves = waves_at(k, OPTICS)
    points = torch.from_numpy(np.stack([k, 0 * k], axis=-1))
    plain = Defocus(one(15000.0), one(15000.0), one(0.0), one(0.0))
    expected = ctf_phase(points, plain, OPTICS)[0].numpy()
    np.testing.assert_allclose(waves.constant + 15000 * waves.per_defocus, expected, rtol=1e-9)


def test_defocus_and_astigmatism_lie_within_their_intervals() -> None:
    within = []
    for seed in range(8):
        mean, half, angle = 9000 + 2000 * seed, 60 + 40 * seed, 23 * seed
        found = estimate_ctf(thon_rings(768, mean, half, angle, seed=seed), PIXEL, OPTICS, SEARCH)
        off = np.abs(found.parameters - components(mean, half, angle))
        assert off.max() < 150, off
        within += list(off <= found.half_widths(0.9))
        assert found.verdict.word == "keep"
    # 24 trials of 90 %: fewer than 17 come about once in a thousand times.
    assert np.mean(within) >= 17 / 24


def test_errors_are_no_larger_than_need_be() -> None:
    image = thon_rings(768, 15000, seed=1)
    assert estimate_ctf(image, PIXEL, OPTICS, SEARCH).errors[0] < 60


def test_a_phase_plate_is_found() -> None:
    image = thon_rings(1024, 12000, 200, 70, plate=72.0, seed=3)
    found = estimate_ctf(image, PIXEL, OPTICS, replace(SEARCH, plate=True))
    off = np.abs(found.parameters[:3] - components(12000, 200, 70))
    assert np.all(off <= 4 * found.errors[:3])
    assert abs(found.phase_shift - 72) < 6
    assert found.defocus[0] > found.defocus[1]


def test_a_tilt_is_found_where_there_is_one() -> None:
    slope = math.tan(math.radians(8)) * np.array([0.6, 0.8])
    tilted, flat = (
        estimate_ctf(thon_rings(1536, 14000, slope=s, seed=5), PIXEL, OPTICS, SEARCH).tilt
        for s in (tuple(slope), (0.0, 0.0))
    )
    assert tilted is not None and tilted.supported
    assert np.all(np.abs(tilted.gradient - slope) < 4 * tilted.errors)
    off = tilted.axis - (math.degrees(math.atan2(0.8, 0.6)) + 90)
    assert abs((off + 90) % 180 - 90) < 5
    assert flat is not None and not flat.supported


def test_large_pixels_and_small_ones_give_the_same() -> None:
    """The image at a finer sampling, as a super-resolution camera has it."""
    side = 768
    image = thon_rings(side, 16000, seed=2)
    spectrum = np.fft.rfft2(image)
    fine = np.zeros((2 * side, side + 1), dtype=complex)
    rows = np.r_[0 : side // 2, -side // 2 : 0]
    fine[rows, : side // 2 + 1] = spectrum[rows]
    large = np.fft.irfft2(fine, s=(2 * side, 2 * side)).astype(np.float32)
    one_way, other = (
        estimate_ctf(im, px, OPTICS, SEARCH) for im, px in ((image, PIXEL), (large, PIXEL / 2))
    )
    np.testing.assert_allclose(one_way.parameters, other.parameters, atol=15)


def ringed(seed: int = 4) -> Estimate:
    """With a sharp ring at 3.67 A."""
    side = 1024
    image = thon_rings(side, 15000, seed=seed)
    k = np.hypot(np.fft.fftfreq(side, PIXEL)[:, None], np.fft.rfftfreq(side, PIXEL))
    ring = 3.0 * np.exp(-(((k - 1 / 3.67) / 0.0012) ** 2))
    noise = np.fft.rfft2(np.random.default_rng(9).standard_normal((side, side)))
    return estimate_ctf(image + np.fft.irfft2(noise * ring), PIXEL, OPTICS, SEARCH)


def test_a_ring_of_ice_is_told() -> None:
    found = ringed()
    assert found.verdict.word == "doubtful" and "ice" in found.verdict.reasons[0]
    plain = estimate_ctf(thon_rings(1024, 15000, seed=4), PIXEL, OPTICS, SEARCH)
    assert plain.verdict.word == "keep"
    assert plain.findings.ice is not None and found.findings.ice is not None
    assert found.findings.ice > 0.3 > 0.1 > plain.findings.ice
    coarse = estimate_ctf(thon_rings(768, 15000), 3.0, OPTICS, SEARCH)
    assert coarse.findings.ice is None, "its pixels are too large to show any"


def test_noise_has_no_rings() -> None:
    noise = np.random.default_rng(0).poisson(60, (768, 768)).astype(np.float32)
    found = estimate_ctf(noise, PIXEL, OPTICS, SEARCH)
    assert found.verdict.word == "reject" and "no Thon rings" in found.verdict.reasons[0]


def test_verdicts_have_their_reasons() -> None:
    good = Findings(900.0, 4.0, 15000.0, 300.0, 15.0, False, 0.0, 0.02)
    assert judged(good).word == "keep"
    for change, word, said in (
        ({"evidence": 30.0}, "reject", "no Thon rings"),
        ({"resolution": 20.0}, "reject", "no better than 15"),
        ({"resolution": 9.0}, "doubtful", "9.0 A"),
        ({"astigmatism": 2500.0}, "doubtful", "astigmatism"),
        ({"error": 400.0}, "doubtful", "uncertain"),
        ({"at_edge": True}, "doubtful", "searched"),
        ({"ice": 0.5}, "doubtful", "ice"),
        ({"tilt": 30.0}, "doubtful", "tilted"),
    ):
        verdict = judged(replace(good, **change))
        assert verdict.word == word and said in verdict.reasons[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two micrographs, noise, and a broken one."""
    root = tmp_path_factory.mktemp("project")
    for seed, name in enumerate(("a", "b")):
        write_micrograph(
            root / "m" / f"{name}.mrc", thon_rings(768, 13000 + 3000 * seed, seed=seed)
        )
    write_micrograph(root / "m" / "noise.mrc", np.random.default_rng(1).normal(50, 7, (768, 768)))
    (root / "m" / "bad.mrc").write_bytes((root / "m" / "a.mrc").read_bytes()[:20000])
    write_table(root / "mics.star", [f"m/{name}.mrc" for name in ("a", "bad", "b", "noise")])
    return root


def test_the_job_tells_each_micrograph(project: Path) -> None:
    out = run_ctf(CtfConfig(project / "mics.star", out=project / "CtfFind", workers=1))
    table = read_micrographs(out / "micrographs_ctf.star")
    assert [Path(name).name for name in table.names] == ["a.mrc", "b.mrc", "noise.mrc"]
    u, v = table.numbers("rlnDefocusU"), table.numbers("rlnDefocusV")
    assert u is not None and v is not None
    np.testing.assert_allclose((u + v)[:2] / 2, [13000, 16000], atol=150)
    assert table.rows.frame["vitreousCtfVerdict"].to_list() == ["keep", "keep", "reject"]
    found = json.loads((out / "result.json").read_text())
    assert found["verdicts"] == {"keep": 2, "doubtful": 0, "reject": 1}
    assert "bad.mrc" in " ".join(found["warnings"])
    for record in found["micrographs"]:
        assert (out / record["picture"]).is_file() and (out / record["curves"]).is_file()
    page = write_report(out).read_text()
    assert "no Thon rings are seen" in page and page.count("<svg") >= 6


def test_relion_extracts_with_the_ctf(relion: Callable[[str], str], project: Path) -> None:
    out = project / "ForRelion"
    run_ctf(CtfConfig(project / "mics.star", out=out, workers=1))
    for name in ("a", "b", "noise"):
        write_coordinates(project / "m" / f"{name}_p.star", np.array([[300.0, 300.0]]))
    line = "--i ForRelion/micrographs_ctf.star --coord_dir ./ --coord_suffix _p.star --extract"
    where = "--extract_size 64 --part_star Extract/p.star --part_dir Extract/"
    program = relion("relion_preprocess")
    command = (program, *line.split(), *where.split())
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    ours = read_micrographs(out / "micrographs_ctf.star").numbers("rlnDefocusU")
    assert ours is not None
    text = (project / "Extract" / "p.star").read_text()
    assert all(f"{value:.1f}"[:5] in text for value in ours)


def test_bad_input_is_told(project: Path) -> None:
    with pytest.raises(OptionError, match="min-defocus"):
        run_ctf(CtfConfig(project / "mics.star", out=project / "no", min_defocus=50000.0))
    with pytest.raises(InputError, match="same value"):
        estimate_ctf(np.ones((512, 512), dtype=np.float32), PIXEL, OPTICS)
    with pytest.raises(InputError, match="200 x 200"):
        estimate_ctf(np.ones((200, 200), dtype=np.float32), PIXEL, OPTICS)


def test_real_micrographs_agree_with_earlier_fits(shared_data: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = shared_data / "micrographs" / "empiar10146"
    table = (shared_data / "empiar10146" / "micrographs_ctf.star").read_text().splitlines()
    fitted = {line.split()[0]: line.split()[1:3] for line in table if line.startswith("May")}
    paths = sorted(folder.glob("*.png"))
    assert len(paths) == 4
    for path in paths:
        pixels = np.array(image.open(path), dtype=np.float32)
        u, v, _ = estimate_ctf(pixels, 1.5, Optics(300.0, 0.0, 0.07)).defocus
        before = np.array(fitted[f"{path.stem}.mrc"], dtype=float)
        assert abs((u + v) / 2 - before.mean()) < 100
