"""A model against maps made in closed form from its atoms, at known places."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

from vitreous.cli import app
from vitreous.config.maps import ModelCheckConfig
from vitreous.errors import VitreousError
from vitreous.imaging.phantom import residues
from vitreous.io.density import read_density
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.model_check import run_model_check
from vitreous.math.fourier import shell_index, shell_mean, to_fourier
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import random_rotations
from vitreous.validate.model_map import correlation_by_part, nearest_atoms
from vitreous.validate.truth import mirrored

BOX, PIXEL, WIDTH = 40, 3.0, 2.6
SHIFT = np.array([4.0, -3.1, 2.3])


@cache
def atoms() -> np.ndarray:
    """Two lumps of residues, some 80 A across; the second is chain B."""
    positions = residues() * 0.5
    order = positions @ np.array([0.8, 0.2, 0.5])
    positions = positions[np.argsort(order)]
    return positions - positions.mean(axis=0)


def chain_b() -> np.ndarray:
    return np.arange(len(atoms())) > 0.75 * len(atoms())


@cache
def rotation() -> np.ndarray:
    return random_rotations(1, 2)[0].numpy()


def density_of(positions: np.ndarray) -> torch.Tensor:
    return gaussian_sum(positions, np.ones(len(positions)), WIDTH, BOX, PIXEL)


def noise(seed: int, share: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BOX, BOX, BOX, generator=generator) * share * density_of(atoms()).std()


def write_model(path: Path, positions: np.ndarray) -> Path:
    structure, model = gemmi.Structure(), gemmi.Model(1)
    for name, members in (("A", ~chain_b()), ("B", chain_b())):
        chain = gemmi.Chain(name)
        for number, place in enumerate(positions[members], 1):
            atom, residue = gemmi.Atom(), gemmi.Residue()
            atom.name, atom.element = "CA", gemmi.Element("C")
            atom.pos, atom.occ, atom.b_iso = gemmi.Position(*place), 1.0, 20.0
            residue.name, residue.seqid = "ALA", gemmi.SeqId(number, " ")
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(path))
    return path


def positions_in(path: Path) -> np.ndarray:
    return np.array([s.atom.pos.tolist() for s in gemmi.read_structure(str(path))[0].all()])


def checked(folder: Path, model: Path, volume: torch.Tensor, **options) -> tuple[dict, Path]:
    write_map(folder / "map.mrc", volume.numpy(), PIXEL)
    out = run_model_check(
        ModelCheckConfig(model, folder / "map.mrc", out=folder / "job", **options)
    )
    return json.loads((out / "result.json").read_text()), out


def test_fit_finds_the_place_and_the_hand(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.cif", atoms() + 300)
    truth = atoms() @ rotation().T + SHIFT
    result, out = checked(tmp_path, model, density_of(truth) + noise(1, 1.0))
    moved = positions_in(out / "fitted.cif") - BOX // 2 * PIXEL
    assert np.sqrt(((moved - truth) ** 2).sum(axis=1).mean()) < 0.15
    hands = result["correlation_by_hand"]
    assert hands["same"] > hands["mirrored"] + 0.02 and not result["warnings"]
    assert np.abs(np.array(result["fit"]["matrix"]) - rotation()).max() < 0.01


def test_the_other_hand_is_warned_of(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.cif", atoms())
    volume = mirrored(density_of(atoms() @ rotation().T)) + noise(1, 0.5)
    result, _ = checked(tmp_path, model, volume)
    assert any("other hand" in warning for warning in result["warnings"])


def test_fsc_of_a_model_in_noise(tmp_path: Path) -> None:
    """With a map of signal and white noise it is sqrt(S / (S + N)), whatever the blur."""
    here = atoms() + BOX // 2 * PIXEL
    model = write_model(tmp_path / "m.cif", here)
    write_map(tmp_path / "mask.mrc", np.ones((BOX,) * 3), PIXEL)
    signal, grain = density_of(atoms()), noise(3, 2.0)
    result, out = checked(
        tmp_path, model, signal + grain, fit=False, mask=tmp_path / "mask.mrc", resolution_limit=8.0
    )
    power, grain_power = (
        shell_mean(to_fourier(volume, 3).abs() ** 2, shell_index(BOX, 3), BOX // 2 + 1).numpy()
        for volume in (signal, grain)
    )
    expected = np.sqrt(power / (power + grain_power))
    shells = np.arange(2, BOX // 2)
    error = 1 / np.sqrt(2 * np.pi * shells**2)
    assert (np.abs(np.array(result["fsc"]["masked"]) - expected)[shells] < 4 * error + 0.01).all()
    assert result["resolution_05"] == pytest.approx(
        BOX * PIXEL / np.interp(-0.5, -expected, np.arange(len(expected))), rel=0.1
    )
    np.testing.assert_allclose(positions_in(out / "fitted.cif"), here, atol=2e-3)


def test_origin_of_the_map_is_the_frame_of_the_model(tmp_path: Path) -> None:
    origin = np.array([-40.0, 25.0, 60.0])
    model = write_model(tmp_path / "m.cif", atoms() + BOX // 2 * PIXEL + origin)
    write_map(tmp_path / "map.mrc", (density_of(atoms()) + noise(1, 0.3)).numpy(), PIXEL)
    with mrcfile.open(tmp_path / "map.mrc", "r+") as file:
        file.header.origin = tuple(origin)
    config = ModelCheckConfig(model, tmp_path / "map.mrc", out=tmp_path / "a", fit=False)
    result = json.loads((run_model_check(config) / "result.json").read_text())
    assert result["correlation"] > 0.9 and result["input"]["origin"] == origin.tolist()
    with mrcfile.open(tmp_path / "map.mrc", "r+") as file:
        file.header.origin = (0, 0, 0)
        file.header.nxstart, file.header.nystart, file.header.nzstart = 2, -3, 4
    np.testing.assert_allclose(
        read_density(tmp_path / "map.mrc").origin, np.array([2, -3, 4]) * PIXEL, rtol=1e-5
    )


def test_a_missing_chain_shows(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.cif", atoms() + BOX // 2 * PIXEL)
    volume = density_of(atoms()[~chain_b()]) + noise(1, 0.5)
    result, out = checked(tmp_path, model, volume, fit=False, resolution_limit=8.0)
    found = {row["chain"]: row["correlation"] for row in result["chains"]}
    assert found["A"] > 0.85 and found["B"] < 0.5
    assert any("chain B" in warning for warning in result["warnings"])
    with (out / "residues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(atoms())
    mean = {
        chain: np.nanmean([float(row["correlation"]) for row in rows if row["chain"] == chain])
        for chain in "AB"
    }
    assert mean["A"] > mean["B"] + 0.2


def test_halves_tell_what_was_fitted_to_noise(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.cif", atoms() + BOX // 2 * PIXEL)
    signal = density_of(atoms())
    # A model fitted to the noise of one half agrees with it better than with the other.
    write_map(tmp_path / "half1.mrc", (signal + noise(1, 0.3)).numpy(), PIXEL)
    write_map(tmp_path / "half2.mrc", (signal + noise(2, 3.0)).numpy(), PIXEL)
    halves = {name: tmp_path / f"{name}.mrc" for name in ("half1", "half2")}
    result, _ = checked(tmp_path, model, signal + noise(3, 1.0), fit=False, **halves)
    assert np.mean(result["fsc"]["work"][5:]) > np.mean(result["fsc"]["masked"][5:])
    assert np.mean(result["fsc"]["free"][5:]) < np.mean(result["fsc"]["masked"][5:])
    assert any("FSC-work exceeds" in warning for warning in result["warnings"])


def test_correlation_by_part_is_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 12, 12, 12, generator=generator)
    part = np.random.default_rng(0).integers(-1, 3, size=a.shape)
    found, size = correlation_by_part(a, b, part, 4)
    for number in range(3):
        here = torch.from_numpy(part == number)
        plain = np.corrcoef(a[here].numpy(), b[here].numpy())[0, 1]
        assert found[number] == pytest.approx(plain) and size[number] == here.sum()
    assert np.isnan(found[3]) and size[3] == 0


def test_nearest_atoms() -> None:
    nearest = nearest_atoms(np.array([[0.0, 0, 0], [9.0, 0, 0]]), 16, 1.0, 6.0)
    assert nearest[8, 8, 8] == 0 and nearest[8, 8, 12] == -1 and nearest[8, 8, 13] == -1
    assert nearest[8, 8, 14] == 1 and (nearest == 0).sum() == 123  # lattice points within 3


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "m.cif", atoms() + BOX // 2 * PIXEL)
    write_map(tmp_path / "map.mrc", (density_of(atoms()) + noise(1, 0.3)).numpy(), PIXEL)
    given = [str(model), str(tmp_path / "map.mrc"), "--out", str(tmp_path / "job")]
    with pytest.raises(SystemExit, match="0"):
        app(["model-check", *given, "--no-fit"])
    assert "Map-to-model FSC 0.5" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "job").iterdir()}
    assert names == {
        *("fitted.cif", "model.mrc", "fsc.xml", "residues.csv"),
        *("result.json", "log.jsonl", "report.html"),
    }


@pytest.mark.parametrize(
    "options,message",
    [
        ({"half1": Path("half.mrc")}, "give both or none"),
        ({"half1": Path("half.mrc"), "half2": Path("half.mrc")}, "a box of 20 px"),
        ({"resolution_limit": 2.0}, "finer than two pixels"),
        ({"mask": Path("half.mrc")}, "a box of 20 px"),
        ({"fit": False}, "no atom lies within"),
        ({"map": Path("none.mrc")}, "cannot be read"),
        ({"model": Path("none.cif")}, "cannot be read"),
    ],
)
def test_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("m.cif"), atoms() + 500)
    write_map("map.mrc", density_of(atoms()).numpy(), PIXEL)
    write_map("half.mrc", np.random.default_rng(0).random((20, 20, 20)), PIXEL)
    given = {"model": Path("m.cif"), "map": Path("map.mrc"), "out": Path("jobs/job"), **options}
    with pytest.raises(VitreousError, match=message):
        run_model_check(ModelCheckConfig(**given))
    assert not Path("jobs").exists()
