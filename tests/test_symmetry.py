"""Point groups of maps made in closed form at known places, and of real molecules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitreous.cli import app
from vitreous.config.maps import SymmetryConfig
from vitreous.errors import VitreousError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.phantom import built_in_phantom, residues, symmetric_residues
from vitreous.io.models import density, read_model
from vitreous.io.mrc import read_map, write_map
from vitreous.jobs.maps.symmetry import run_symmetry
from vitreous.math.fourier import frequency_radius
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import euler_to_matrix, random_rotations
from vitreous.math.symmetry import axes_apart, point_group
from vitreous.validate.fsc import fsc
from vitreous.validate.symmetry.angular_orders import order_power, orders_about, shells_of
from vitreous.validate.symmetry.noise_reference import NoiseReference
from vitreous.validate.symmetry.point_groups import GROUPS, SymmetryFinding, find_symmetry
from vitreous.validate.symmetry.rotate import rotate_map, symmetrise_map
from vitreous.validate.symmetry.self_correlation import Placement, products

Find = Callable[[str], str]
BOX, PIXEL, WIDTH, DIAMETER, RESOLUTION = 40, 5.0, 5.0, 160.0, 22.0

SUBGROUPS = {"D7": ("C2", "C7"), "O": ("C2", "C3", "C4", "D2", "D3", "D4", "T")}


def placed(positions: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> torch.Tensor:
    """Density of points turned, then shifted by pixels."""
    moved = positions @ rotation.T + shift * PIXEL
    return gaussian_sum(moved, np.ones(len(moved)), WIDTH, BOX, PIXEL)


def symmetric_map(group: str, seed: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """A phantom of a point group with noise, and where it was put."""
    rotation = random_rotations(1, seed)[0].numpy()
    shift = np.random.default_rng(seed).uniform(-2, 2, 3)
    volume = placed(symmetric_residues(group), rotation, shift)
    noise = torch.randn(volume.shape, generator=torch.Generator().manual_seed(seed))
    return volume + 0.6 * volume.std() * noise, rotation, shift


@cache
def unsymmetric_map() -> torch.Tensor:
    return placed(residues() * 0.8, np.eye(3), np.zeros(3))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def found(volume: torch.Tensor, **options) -> SymmetryFinding:
    return find_symmetry(volume, PIXEL, DIAMETER, resolution=RESOLUTION, **options)


@pytest.mark.parametrize("group", ["C2", "C3", "C5", "C7", "D2", "D3", "D7", "T", "O", "I"])
@pytest.mark.slow
def test_finds_group_axes_and_centre(group: str) -> None:
    volume, rotation, shift = symmetric_map(group, seed=len(group) + int(group[1:] or 0))
    # A group's own subgroups hold as well, and must not be preferred; two cases show it.
    order = {name: len(point_group(name)) for name in GROUPS}
    others = {name for name in GROUPS if order[group] % order[name]} | {group}
    finding = found(
        volume, groups=GROUPS if group in SUBGROUPS else tuple(g for g in GROUPS if g in others)
    )
    assert finding.group == group
    held = {score.group for score in finding.scores if score.holds}
    assert held == {group, *SUBGROUPS.get(group, ())}
    score = finding.score_of(group)
    assert axes_apart(group, torch.from_numpy(score.matrix @ rotation)) < 1
    centre = score.matrix @ shift + score.shift  # of the particle, on the group's axes
    # A cyclic group leaves the place along its axis open.
    assert np.linalg.norm(centre[:2] if group[0] == "C" else centre) < 0.5
    assert score.score == pytest.approx(score.allowed, abs=0.12)


def test_molecules_without_symmetry(shared_data: Path) -> None:
    model = read_model(shared_data / "models" / "1y1v_polII_TFIIS.pdb")
    volume = torch.from_numpy(density(model, 50, 4.5, 10.0))
    assert find_symmetry(volume, 4.5, 180.0, resolution=15.0).group == "C1"
    finding = found(built_in_phantom(BOX, PIXEL))
    assert finding.group == "C1" and not finding.warnings
    assert max(score.relative for score in finding.scores) < 0.3


def test_apoferritin_is_octahedral(shared_data: Path) -> None:
    model = read_model(shared_data / "models" / "apoferritin_CA_sym_cryolike.pdb")
    volume = torch.from_numpy(density(model, 48, 3.5, 8.0))
    finding = find_symmetry(volume, 3.5, 140.0, resolution=15.0, groups=("C4", "D4", "T", "O", "I"))
    assert finding.group == "O"
    assert finding.score_of("O").score > 0.95 > 0.5 > finding.score_of("I").score


def test_pseudohexamer_is_warned_of(shared_data: Path) -> None:
    model = read_model(shared_data / "models" / "7pbl.pdb")
    volume = torch.from_numpy(density(model, 48, 4.5, 10.0))
    finding = find_symmetry(volume, 4.5, 170.0, resolution=15.0)
    assert finding.group == "C1"
    assert any("pseudosymmetry" in warning and "C6" in warning for warning in finding.warnings)


def pseudo_symmetric_residues(moved: float) -> np.ndarray:
    """A C2 tetramer that is nearly D2: in two subunits a part of the residues is elsewhere."""
    parts = np.split(symmetric_residues("D2"), 4)
    for number, operator in enumerate(point_group("D2").numpy()):
        if operator[2, 2] < 0:  # not a turn about z
            part = parts[number] @ operator
            some = part[:, 0].argsort()[: int(moved * len(part))]
            part[some] = 2 * part.mean(0) - part[some]
            parts[number] = part @ operator.T
    return np.concatenate(parts)


@pytest.mark.parametrize("moved,group", [(0.0, "D2"), (0.08, "C2"), (0.3, "C2")])
@pytest.mark.parametrize("noise", [0.2, 0.6])
@pytest.mark.slow
def test_a_pseudosymmetry_does_not_pass_for_a_larger_group(
    moved: float, group: str, noise: float
) -> None:
    rotation = random_rotations(1, 3)[0].numpy()
    volume = placed(pseudo_symmetric_residues(moved), rotation, np.array([1.0, -1.5, 0.5]))
    grain = torch.randn(volume.shape, generator=torch.Generator().manual_seed(3))
    finding = found(volume + noise * volume.std() * grain, groups=("C2", "D2"))
    assert finding.group == group
    score = finding.score_of(group)
    assert axes_apart(group, torch.from_numpy(score.matrix @ rotation)) < 2
    if group == "C2":  # no job tries to impose D2, and of one that is near it is warned
        assert [score.group for score in finding.holding] == ["C2"]
        assert moved > 0.1 or any("for D2" in warning for warning in finding.warnings)


@pytest.mark.parametrize("group,suggested", [("O", "O"), ("C1", None)])
@pytest.mark.slow
def test_a_symmetry_hidden_by_errors_is_suggested(group: str, suggested: str | None) -> None:
    rotation = random_rotations(1, 2)[0].numpy()
    volume = placed(symmetric_residues(group), rotation, np.zeros(3))
    errors = torch.randn(volume.shape, generator=torch.Generator().manual_seed(2))
    errors = low_pass(errors, PIXEL, 25.0) * soft_sphere(BOX, 14, 4)
    finding = found(
        volume + 0.7 * volume.std() / errors.std() * errors,
        groups=("C2", "C3", "C4", "D2", "D3", "D4", "T", "O"),
    )
    assert finding.group == "C1" and finding.suggested == suggested
    if suggested is not None:
        score = finding.score_of(suggested)
        assert score.relative < 0.5
        assert axes_apart(group, torch.from_numpy(score.matrix @ rotation)) < 5


def test_a_larger_group_must_hold_in_full() -> None:
    volume, *_ = symmetric_map("C3", seed=2)
    finding = found(volume, groups=("C3", "C6", "D3"))
    assert finding.group == "C3"
    # Two in five turns of C6 hold; the score is that of the weakest.
    assert finding.score_of("C6").score < 0.3


def ball(radius: torch.Tensor) -> torch.Tensor:
    return torch.exp(-((radius / 7) ** 4))


def test_shapes_and_noise_are_not_symmetric() -> None:
    radius = frequency_radius(BOX, 3)
    finding = found(ball(radius), groups=("C2", "C4", "O"))
    assert finding.group == "C1" and "ball" in finding.warnings[0]
    z = torch.arange(BOX)[:, None, None] - BOX // 2
    cup = ball(radius) * (1 + 0.5 * torch.tanh(z / 3.0)) * (radius > 3)
    grain = torch.randn(radius.shape, generator=torch.Generator().manual_seed(0))
    finding = found(cup + 0.01 * cup.std() * grain, groups=("C2", "C3", "C12", "D2"))
    assert finding.group == "C1" and "all round one axis" in finding.warnings[0]
    assert found(grain, groups=("C2", "D2")).group == "C1"


def test_half_maps_tell_what_noise_allows() -> None:
    volume, _, _ = symmetric_map("C1", seed=1)
    generator = torch.Generator().manual_seed(3)
    noise = 2 * volume.std() * torch.randn(2, *volume.shape, generator=generator)
    mask = soft_sphere(BOX, 14, 4)
    halves = [(volume + part) * mask for part in noise]
    parts = (
        shells_of(part, 10, 0.8)
        for part in ((halves[0] + halves[1]) / 2, (halves[0] - halves[1]) / 2)
    )
    share = NoiseReference(*parts).shares(torch.zeros(3))
    curve = fsc(halves[0], halves[1])[1:11].float()
    # Beyond the lowest shells, where the mean over a shell holds much of the power.
    np.testing.assert_allclose(share[3:], (2 * curve / (1 + curve))[3:], atol=0.08)


def test_half_maps_of_a_symmetric_particle(tmp_path: Path) -> None:
    volume, *_ = symmetric_map("D2", seed=6)
    generator = torch.Generator().manual_seed(1)
    noise = 2 * volume.std() * torch.randn(2, *volume.shape, generator=generator)
    for name, part in (("map", noise.mean(0)), ("half1", noise[0]), ("half2", noise[1])):
        write_map(tmp_path / f"{name}.mrc", (volume + part).numpy(), PIXEL)
    paths = {name: tmp_path / f"{name}.mrc" for name in ("map", "half1", "half2")}
    result = run_symmetry(SymmetryConfig(**paths, align="D2", mask_diameter=DIAMETER))
    assert result.finding.noise == "half-maps" and result.finding.group == "D2"
    assert 0.3 < result.finding.scores[0].allowed < 0.9
    assert result.aligned == tmp_path / "map_symmetry.mrc" and result.aligned.exists()


def test_axes_apart_is_the_angle_turned() -> None:
    turn = euler_to_matrix(*torch.tensor([[20.0], [3.0], [-20.0]]).double())[0]
    assert axes_apart("C5", turn) == pytest.approx(3)
    assert axes_apart("O", turn @ point_group("O")[7]) == pytest.approx(3, abs=0.01)
    # D2's axes are also carried into themselves by the turns of O.
    assert axes_apart("D2", point_group("O")[7]) == pytest.approx(0, abs=1e-5)


@settings(max_examples=5, deadline=None)
@given(st.integers(2, 7), st.integers(0, 99))
def test_products_are_those_of_turned_readings(fold: int, seed: int) -> None:
    shells, centre = (
        shells_of(unsymmetric_map(), 6, 0.8),
        torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64),
    )
    frame = random_rotations(1, seed)[0]
    group = f"D{fold}"
    ours, power = products(shells, group, Placement(frame, centre))
    frames = torch.stack([frame @ operator for operator in point_group(group)])
    read = orders_about(shells, shells.rings, frames, centre)
    # What any D about this axis leaves alone is not compared.
    read[..., 0] = 1j * read[..., 0].imag
    weights = shells.rings.weights[:, None]
    direct = ((read[:1] * read.conj()).real * weights).sum((2, 3))[1:]
    # Readings between samples differ by 0.6 % at worst of 204 frames and folds, half by 0.00002 %.
    np.testing.assert_allclose(ours.sum(0), direct.sum(0), atol=1e-2 * float(power[0].max()))
    assert order_power(read[0], shells.rings.weights).sum(1).allclose(power[0], rtol=1e-3)


def relion_run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


@pytest.mark.parametrize("group", ["D3", "O"])
def test_imposing_agrees_with_relion(relion: Find, tmp_path: Path, group: str) -> None:
    volume = unsymmetric_map()
    write_map(tmp_path / "in.mrc", volume.numpy(), PIXEL)
    command = (relion("relion_image_handler"), "--i", "in.mrc", "--o", "out.mrc", "--sym", group)
    relion_run(tmp_path, *command)
    theirs = torch.from_numpy(read_map(tmp_path / "out.mrc")[0])
    ours = symmetrise_map(volume, point_group(group))
    assert correlation(ours, theirs) > 0.995
    for operator in point_group(group)[1:4]:
        again = rotate_map(ours, operator.numpy(), np.zeros(3))
        assert (again - ours).norm() < 0.02 * ours.norm()


def test_odd_boxes_turn_about_their_centre() -> None:
    volume = gaussian_sum(residues() * 0.7, np.ones(len(residues())), 8.0, 33, 5.0)
    positions = residues() * 0.7 @ (turn := random_rotations(1, 0)[0].numpy()).T
    truth = gaussian_sum(positions, np.ones(len(positions)), 8.0, 33, 5.0)
    assert (rotate_map(volume, turn, np.zeros(3)) - truth).norm() < 0.01 * truth.norm()


@pytest.mark.parametrize("group", ["C3", "D2"])
@pytest.mark.slow
def test_axes_agree_with_relion(relion: Find, tmp_path: Path, group: str) -> None:
    rotation = random_rotations(1, 4)[0].numpy()
    volume = placed(symmetric_residues(group), rotation, np.zeros(3))
    write_map(tmp_path / "in.mrc", volume.numpy(), PIXEL)
    ours = found(volume, groups=(group,)).scores[0].matrix
    assert axes_apart(group, torch.from_numpy(ours @ rotation)) < 0.3
    search = "--nr_uniform 4000 --local_search_range 5 --local_search_step 1 --box_size 32"
    command = (relion("relion_align_symmetry"), "--i", "in.mrc", "--sym", group, *search.split())
    apart: list[float] = []
    # Its search is random: of thirteen runs on D2 the nearest lay 0.2 and the farthest 2.4 degrees
    # from the known axes, so it is asked again until one is near, twelve times at the most.
    while len(apart) < 12 and min(apart, default=1) >= 1:
        told = relion_run(tmp_path, *command).split("refined solution is")[1].split()
        rot, tilt, psi = (torch.tensor(float(told[n]), dtype=torch.float64) for n in (2, 5, 8))
        theirs = euler_to_matrix(rot, tilt, psi)
        apart.append(axes_apart(group, torch.from_numpy(ours) @ theirs.T))
    assert min(apart) < 1


def test_command_aligns_and_imposes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, *_ = symmetric_map("D2", seed=5)
    write_map(tmp_path / "in.mrc", volume.numpy(), PIXEL)
    options = ["--align", "D2", "--impose", "--resolution-limit", "20", "--mask-diameter", "160"]
    with pytest.raises(SystemExit, match="0"):
        app(["symmetry", str(tmp_path / "in.mrc"), "--out", str(tmp_path / "out.mrc"), *options])
    shown = capsys.readouterr().out
    assert "D2" in shown and "holds" in shown
    table = json.loads((tmp_path / "out.json").read_text())
    assert table["finding"]["group"] == "D2" and table["chosen"]["score"] > 0.5
    imposed = torch.from_numpy(read_map(tmp_path / "out.mrc")[0])
    truth = placed(symmetric_residues("D2"), np.eye(3), np.zeros(3))
    # D2's axes may be exchanged: the truth is one of six.
    ways = (rotate_map(truth, turn.numpy(), np.zeros(3)) for turn in point_group("O"))
    assert any(correlation(way, imposed) > 0.95 for way in ways)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"align": "X4"}, "not a point group"),
        ({"align": "C1"}, "no axes"),
        ({"impose": True}, "add --align"),
        ({"align": "auto", "resolution_limit": 30.0}, "no point group holds"),
        ({"align": "C2", "out": Path("there.mrc")}, "--overwrite"),
        ({"mask_diameter": 900.0}, "does not fit the box"),
        ({"resolution_limit": 3.0}, "finer than two pixels"),
        ({"half1": Path("half.mrc")}, "give both"),
        ({"half1": Path("half.mrc"), "half2": Path("half.mrc")}, "same box and pixel size"),
    ],
)
def test_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    corners = np.array([[0, 0, 0], [60, 0, 0], [0, 40, 0], [20, 0, 30.0]])
    lumps = gaussian_sum(corners, np.arange(1.0, 5.0), 12.0, 24, 9.0)
    write_map("in.mrc", lumps.numpy(), 9.0)
    write_map("half.mrc", lumps[:20, :20, :20].numpy(), 9.0)
    Path("there.mrc").touch()
    with pytest.raises(VitreousError, match=message):
        run_symmetry(SymmetryConfig(Path("in.mrc"), **options))


def test_refuses_maps_without_content(tmp_path: Path) -> None:
    for name, volume, message in (
        ("flat", np.ones((16, 16, 16)), "constant"),
        ("slab", np.zeros((8, 16, 16)), "expected a cube"),
    ):
        write_map(tmp_path / f"{name}.mrc", volume, 2.0)
        with pytest.raises(VitreousError, match=message):
            run_symmetry(SymmetryConfig(tmp_path / f"{name}.mrc"))
