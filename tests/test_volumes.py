"""Tools on maps: beside RELION's programs, and against maps made in closed form."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vitreous.cli import app
from vitreous.config import volumes as verbs
from vitreous.errors import VitreousError
from vitreous.imaging.envelope import mask_of_one, usual_widths
from vitreous.imaging.phantom import residues, symmetric_residues
from vitreous.io.density import Density, read_density, write_density
from vitreous.io.mrc import read_map
from vitreous.jobs.volumes.change import run_change
from vitreous.jobs.volumes.correlate import run_fsc
from vitreous.jobs.volumes.decoys import run_decoy
from vitreous.jobs.volumes.fit import run_fit
from vitreous.jobs.volumes.info import map_info
from vitreous.math.fourier import frequency_radius, shell_index, shell_mean, to_fourier
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.moments import centre_of_mass
from vitreous.math.resampling import moved, read_between
from vitreous.math.rotations import euler_to_matrix, random_rotations
from vitreous.validate.fsc import fsc

Find = Callable[[str], str]
BOX, PIXEL, WIDTH = 48, 5.0, 6.0


def molecule(at: tuple[float, float, float] = (0, 0, 0), size: float = 1.0) -> np.ndarray:
    """Positions of a molecule without symmetry, angstrom from the centre of the box."""
    return residues() * size + np.array(at)


def placed(
    positions: np.ndarray, box: int = BOX, pixel: float = PIXEL, width: float = WIDTH
) -> torch.Tensor:
    """Density of points, per cubic angstrom: the same at all pixel sizes."""
    return gaussian_sum(positions, np.ones(len(positions)), width, box, pixel) / pixel**3 * 100


@cache
def whole(box: int = BOX) -> torch.Tensor:
    return placed(molecule(), box)


def white(seed: int, box: int = BOX) -> torch.Tensor:
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


@cache
def noisy(seed: int = 1, box: int = BOX) -> torch.Tensor:
    """The molecule in white noise, so that nothing in Fourier space is empty."""
    density = whole(box)
    return density + 0.2 * density.std() * white(seed, box)


def written(path: Path, values: torch.Tensor, **place: object) -> Path:
    write_density(path, Density(values, **{"pixel_size": PIXEL, **place}))  # type: ignore[arg-type]
    return path


def one(config: verbs.ChangeConfig) -> Density:
    """The only map that a verb makes."""
    return read_density(run_change(config)[0].path)


def handled(relion: Find, source: Path, *options: object) -> torch.Tensor:
    """The map that relion_image_handler makes."""
    target = source.with_name("theirs.mrc")
    command = [relion("relion_image_handler"), "--i", source, "--o", target, *options]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return torch.from_numpy(read_map(target)[0])


def assert_near(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() < tolerance * expected.norm()


# ---- beside RELION


@pytest.mark.parametrize(
    "kind,ours,theirs",
    [
        (verbs.LowpassConfig, {"resolution": 20.0}, "--lowpass 20"),
        (
            verbs.LowpassConfig,
            {"resolution": 12.0, "edge": 6},
            "--lowpass 12 --filter_edge_width 6",
        ),
        (verbs.HighpassConfig, {"resolution": 60.0}, "--highpass 60"),
        (verbs.BfactorConfig, {"bfactor": -150.0}, "--bfactor -150"),
        (verbs.BfactorConfig, {"bfactor": 400.0}, "--bfactor 400"),
        (verbs.ScaleConfig, {"factor": 2.5}, "--multiply_constant 2.5"),
        (verbs.ScaleConfig, {"add": -0.25}, "--subtract_constant 0.25"),
        (verbs.InvertConfig, {}, "--multiply_constant -1"),
        (verbs.ShiftConfig, {"by": (15.0, -20.0, 5.0)}, "--shift_x 3 --shift_y -4 --shift_z 1"),
        (verbs.FlipHandConfig, {"axis": "x"}, "--invert_hand"),
        (verbs.CropConfig, {"box": 40}, "--new_box 40"),
        (verbs.CropConfig, {"box": 31}, "--new_box 31"),
        (verbs.PadConfig, {"box": 64}, "--new_box 64"),
    ],
)
def test_is_relion_image_handler_s(
    relion: Find, tmp_path: Path, kind: type, ours: dict, theirs: str
) -> None:
    source = written(tmp_path / "map.mrc", noisy())
    made = one(kind((source,), out=tmp_path / "ours.mrc", **ours))
    options = theirs.split() + (["--angpix", PIXEL] if kind is not verbs.FlipHandConfig else [])
    assert_near(made.values, handled(relion, source, *options), 1e-5)
    assert made.pixel_size == PIXEL


@pytest.mark.parametrize("pixel_size", [6.0, 4.0])
def test_resampling_is_relion_s_below_nyquist(
    relion: Find, tmp_path: Path, pixel_size: float
) -> None:
    """At Nyquist, whose waves have no partners, the programs differ."""
    source = written(tmp_path / "map.mrc", noisy())
    made = one(verbs.ResampleConfig((source,), out=tmp_path / "ours.mrc", pixel_size=pixel_size))
    theirs = handled(relion, source, "--angpix", PIXEL, "--rescale_angpix", pixel_size)
    box = theirs.shape[0]
    below = frequency_radius(box, 3) < min(box, BOX) / 2 - 0.5
    spectra = [to_fourier(volume, 3)[below] for volume in (made.values, theirs)]
    assert (spectra[0] - spectra[1]).abs().max() < 1e-5 * spectra[1].abs().max()
    assert made.pixel_size == pixel_size and made.origin == (0, 0, 0)


def test_recentring_is_relion_s_but_for_its_interpolation(relion: Find, tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", placed(molecule(at=(13.0, -22.0, 8.0))))
    theirs = handled(relion, source, "--shift_com")
    made = one(verbs.RecentreConfig((source,), out=tmp_path / "ours.mrc")).values
    for volume in (made, theirs):
        assert centre_of_mass(volume).abs().max() < 0.02
    assert (fsc(made, theirs)[:10] > 0.999).all()
    assert_near(made, whole(), 1e-3)


@pytest.mark.parametrize("group", ["D3", "T"])
def test_symmetrising_is_relion_s(relion: Find, tmp_path: Path, group: str) -> None:
    source = written(tmp_path / "map.mrc", placed(molecule(size=0.8)))
    theirs = handled(relion, source, "--sym", group)
    config = verbs.SymmetriseConfig((source,), out=tmp_path / "ours.mrc", symmetry=group.lower())
    made = one(config).values
    assert (fsc(made, theirs)[:12] > 0.998).all()  # theirs interpolates between voxels
    # A map that has the symmetry stays as it is.
    symmetric = placed(symmetric_residues(group))
    again = verbs.SymmetriseConfig(
        (written(tmp_path / "symmetric.mrc", symmetric),), out=tmp_path / "s.mrc", symmetry=group
    )
    assert_near(one(again).values, symmetric, 0.01)


@pytest.mark.parametrize("extend,edge", [(10.0, 20.0), (0.0, 25.0)])
def test_mask_is_relion_s(relion: Find, tmp_path: Path, extend: float, edge: float) -> None:
    source, theirs = written(tmp_path / "map.mrc", whole()), tmp_path / "theirs.mrc"
    command = f"--i {source} --o {theirs} --ini_threshold 0.3 --extend_inimask {extend / PIXEL}"
    command += f" --width_soft_edge {edge / PIXEL}"
    program = relion("relion_mask_create")
    subprocess.run([program, *command.split()], check=True, capture_output=True)
    options = {"threshold": 0.3, "extend": extend, "edge": edge}
    made = one(verbs.MaskConfig((source,), out=tmp_path / "ours.mrc", **options)).values
    np.testing.assert_allclose(made, read_map(theirs)[0], atol=1e-4)


def test_fsc_is_relion_s(relion: Find, tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{seed}.mrc", noisy(seed)) for seed in (1, 2)]
    done = subprocess.run(
        [relion("relion_image_handler"), "--i", paths[0], "--fsc", paths[1], "--angpix", "5"],
        cwd=tmp_path,  # it leaves a file behind
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    theirs = [float(row[3]) for row in rows if len(row) == 4 and row[0].isdigit()]
    found = run_fsc(verbs.FscConfig(*paths, json=tmp_path / "c.json", xml=tmp_path / "c.xml"))
    # They count waves along y and z once, as all others; we count each with its mate.
    np.testing.assert_allclose(found.fsc[1 : BOX // 2], theirs[1 : BOX // 2], atol=0.01)
    record = json.loads((tmp_path / "c.json").read_text())
    np.testing.assert_allclose(record["fsc"], found.fsc)
    assert (tmp_path / "c.xml").read_text().count("<coordinate>") == len(found.fsc)


def test_rotated_map_is_seen_as_relion_projects_it(relion: Find, tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", whole())
    angles = {"rot": 40.0, "tilt": 70.0, "psi": -25.0}
    command = [relion("relion_project"), "--i", source, "--o", tmp_path / "p.mrc", "--angpix", 5]
    for name, value in angles.items():
        command += [f"--{name}", value]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    theirs = torch.from_numpy(np.squeeze(mrcfile.read(tmp_path / "p.mrc")).copy())
    config = verbs.RotateConfig((source,), out=tmp_path / "ours.mrc", **angles)
    assert_near(one(config).values.sum(dim=0), theirs, 0.01)


# ---- closed forms


def test_rotation_and_its_inverse(tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", whole(), origin=(1.0, 2.0, 3.0))
    angles = {"rot": 111.0, "tilt": 34.0, "psi": 58.0}
    turned = one(verbs.RotateConfig((source,), out=tmp_path / "t.mrc", **angles))
    matrix = euler_to_matrix(*torch.tensor(list(angles.values())).double()).numpy()
    assert_near(turned.values, placed(molecule() @ matrix.T), 0.005)
    assert turned.origin == (1, 2, 3)
    options = {**angles, "inverse": True}
    back = one(verbs.RotateConfig((tmp_path / "t.mrc",), out=tmp_path / "b.mrc", **options))
    assert_near(back.values, whole(), 0.01)


@pytest.mark.parametrize(
    "pixel,box,shift",
    [
        (3.3, 40, (0.0, 0.0, 0.0)),
        (6.3, 41, (1.5, -0.4, 0.3)),
        (5.0, 48, (0.5, 2.25, -1.0)),
        (4.9, 65, (0, -3, 0.2)),
    ],
)
def test_reading_between_voxels(pixel: float, box: int, shift: tuple[float, ...]) -> None:
    """Any grid, odd or even: as if the density had been made there."""
    x, y, z = shift
    made = read_between(whole(), (box,) * 3, pixel / PIXEL, (z, y, x))
    expected = placed(molecule() - np.array(shift) * PIXEL, box, pixel)
    assert_near(made, expected, 1e-3)


def test_moved_density_leaves_the_box() -> None:
    """It does not come in again on the other side."""
    found = moved(whole(), (0.0, 7.25, -20.0))
    assert_near(found, placed(molecule(at=(0, 7.25 * PIXEL, -20 * PIXEL))), 0.03)
    assert found[-19:].abs().max() == 0


@pytest.mark.parametrize(
    "kind,options",
    [
        (verbs.ResampleConfig, {"pixel_size": 3.3}),
        (verbs.ResampleConfig, {"pixel_size": 6.1, "box": 45}),
        (verbs.ResampleConfig, {"box": 60}),
        (verbs.CropConfig, {"box": 37}),
        (verbs.PadConfig, {"box": 63}),
    ],
)
@pytest.mark.parametrize("side", [48, 49])
def test_a_new_grid_leaves_the_map_in_its_place(
    tmp_path: Path, kind: type, options: dict, side: int
) -> None:
    values = placed(molecule(at=(7.0, 0.0, -4.0), size=0.7), side)
    source = written(tmp_path / "map.mrc", values, origin=(30.0, -40.0, 12.5))
    made = one(kind((source,), out=tmp_path / "new.mrc", **options))

    def place(density: Density) -> np.ndarray:
        return density.centre + centre_of_mass(density.values, 0.05).numpy() * density.pixel_size

    np.testing.assert_allclose(place(made), place(read_density(source)), atol=0.05)
    assert made.values.shape[0] == options.get("box", made.values.shape[0])
    assert made.pixel_size == pytest.approx(options.get("pixel_size", made.pixel_size))
    assert float(made.values.max()) == pytest.approx(float(values.max()), rel=0.1)


def test_recentring_on_a_point_a_viewer_shows(tmp_path: Path) -> None:
    values = torch.zeros(20, 24, 28)
    values[5, 6, 7] = 1
    source = written(tmp_path / "map.mrc", values, origin=(100.0, 0.0, -50.0))
    at = (100 + 7 * PIXEL, 6 * PIXEL, -50 + 5 * PIXEL)
    made = one(verbs.RecentreConfig((source,), out=tmp_path / "c.mrc", at=at))
    assert np.unravel_index(int(made.values.argmax()), made.values.shape) == (10, 12, 14)
    assert made.origin == (100, 0, -50)


def test_filters_part_a_map_in_two(tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", noisy())
    low, high = (
        one(kind((source,), out=tmp_path / f"{kind.__name__}.mrc", resolution=23.0)).values
        for kind in (verbs.LowpassConfig, verbs.HighpassConfig)
    )
    assert_near(low + high, noisy(), 1e-5)
    radius = frequency_radius(BOX, 3)
    spectrum = to_fourier(low, 3).abs()
    assert spectrum[radius > BOX * PIXEL / 23 + 1.1].max() < 1e-5 * spectrum.max()


def test_automatic_mask_of_one_map(tmp_path: Path) -> None:
    density, noise = placed(molecule(size=0.8)), white(1)
    source = written(tmp_path / "map.mrc", density + 2 * density.std() * noise)
    (made,) = run_change(verbs.MaskConfig((source,), out=tmp_path / "mask.mrc"))
    mask = read_density(made.path).values
    z, y, x = np.round(molecule(size=0.8)[:, ::-1] / PIXEL).astype(int).T + BOX // 2
    assert (mask[z, y, x] > 0.99).float().mean() > 0.97
    assert 0.02 < float(mask.mean()) < 0.3 and "A" in made.said
    assert mask_of_one(noise, PIXEL, *usual_widths(PIXEL)) is None
    source = written(tmp_path / "noise.mrc", noise)
    with pytest.raises(VitreousError, match=r"noise.mrc: no density stands out.*--threshold"):
        run_change(verbs.MaskConfig((source,), out=tmp_path / "m.mrc"))


# ---- decoys


def test_sphere_has_the_map_s_grid_and_level(tmp_path: Path) -> None:
    """A ball of known density, twice: the decoy of a ball is that ball."""
    ball = 3.5 * (frequency_radius(BOX, 3) * PIXEL < 60).float() + 0.25
    source = written(tmp_path / "map.mrc", ball, origin=(5.0, 0.0, -5.0))
    config = verbs.SphereConfig(like=source, out=tmp_path / "s.mrc", radius=50.0, edge=10.0)
    run_decoy(config)
    made = read_density(tmp_path / "s.mrc")
    assert made.origin == (5, 0, -5) and made.pixel_size == PIXEL
    radius = frequency_radius(BOX, 3) * PIXEL
    level = made.values[radius < 50]
    assert float(level.std()) == 0 and float(level[0]) == pytest.approx(3.5, rel=0.05)
    assert (made.values[radius > 60] == 0).all()
    middle = made.values[(radius - 55).abs() < 0.01] / level[0]
    assert torch.allclose(middle, torch.tensor(0.5), atol=1e-3)


def test_noise_has_the_map_s_spectrum_and_no_more(tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", noisy() + 0.1)
    made = []
    for name, options in (("a", {}), ("b", {"seed": 1}), ("c", {"resolution": 30.0}), ("d", {})):
        config = verbs.NoiseConfig(like=source, out=tmp_path / f"{name}.mrc", **options)
        made.append(read_density(run_decoy(config).path).values)
    first, other, coarse, again = made
    shells = shell_index(BOX, 3)
    spectra = [
        shell_mean(to_fourier(volume, 3).abs().square(), shells, BOX // 2)
        for volume in (first, noisy() + 0.1)
    ]
    np.testing.assert_allclose(spectra[0], spectra[1], rtol=1e-3)
    assert torch.equal(first, again)
    assert float(fsc(first, other)[4:].abs().mean()) < 0.1
    assert float(fsc(first, noisy())[4:].abs().mean()) < 0.1
    beyond = frequency_radius(BOX, 3) > BOX * PIXEL / 30 + 1.1
    assert to_fourier(coarse, 3)[beyond].abs().max() < 1e-4 * to_fourier(first, 3).abs().max()


# ---- files


def test_axes_and_start_are_put_in_order(tmp_path: Path) -> None:
    """A CCP4 map with sections along y and its place in NSTART."""
    values = noisy()[:20, :24, :28].numpy()  # z, y, x
    with mrcfile.new(tmp_path / "in.map") as file:
        file.set_data(np.ascontiguousarray(values.transpose(1, 0, 2)))
        file.header.mapc, file.header.mapr, file.header.maps = 1, 3, 2
        file.header.mx, file.header.my, file.header.mz = 28, 24, 20
        file.header.cella = (28 * PIXEL, 24 * PIXEL, 20 * PIXEL)
        file.nstart = (-4, 6, 2)  # along x, z, y
    made = one(verbs.ConvertConfig((tmp_path / "in.map",), out=tmp_path / "out.map.gz"))
    assert torch.equal(made.values, torch.from_numpy(values))
    assert made.origin == (-4 * PIXEL, 2 * PIXEL, 6 * PIXEL)
    theirs = gemmi.read_ccp4_map(str(tmp_path / "out.map.gz"))
    np.testing.assert_array_equal(theirs.grid.array.transpose(2, 1, 0), values)
    assert [theirs.header_i32(word) for word in (5, 6, 7)] == [-4, 2, 6]


@pytest.mark.parametrize(
    "mode,number,steps", [("float16", 12, 2**11), ("int16", 1, 65534), ("int8", 0, 254)]
)
def test_numbers_as_a_mode_stores_them(tmp_path: Path, mode: str, number: int, steps: int) -> None:
    values = noisy()
    source = written(tmp_path / "map.mrc", values)
    (made,) = run_change(verbs.ConvertConfig((source,), out=tmp_path / "out.mrc", mode=mode))
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert int(file.header.mode) == number
    factor = float(made.said.split()[2]) if made.said else 1.0
    assert (factor == 1) == (mode == "float16")
    back = read_density(tmp_path / "out.mrc").values / factor
    assert (back - values).abs().max() <= 1.1 * values.abs().max() / steps
    # What fits as it is stays as it is.
    mask = written(tmp_path / "mask.mrc", (values > 0).float())
    (made,) = run_change(verbs.ConvertConfig((mask,), out=tmp_path / "m.mrc", mode=mode))
    assert torch.equal(read_density(made.path).values, (values > 0).float()) and not made.said


def test_convert_mends_a_header(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "bare.mrc") as file:
        file.set_data(noisy()[:, :, :40].numpy())
        file.header.cella = (0, 0, 0)
    with pytest.raises(VitreousError, match=r"no pixel size.*vitreous map convert --pixel-size"):
        one(verbs.InvertConfig((tmp_path / "bare.mrc",), out=tmp_path / "out.mrc"))
    options = {"pixel_size": 1.25, "origin": (1.0, 2.5, -3.1)}
    made = one(verbs.ConvertConfig((tmp_path / "bare.mrc",), out=tmp_path / "o.ccp4", **options))
    assert made.pixel_size == 1.25 and made.values.shape == (48, 48, 40)
    np.testing.assert_allclose(made.origin, (1, 2.5, -3.1), atol=1e-6)


def test_the_folder_of_an_output_is_made(tmp_path: Path) -> None:
    source = written(tmp_path / "map.mrc", noisy())
    made = one(verbs.InvertConfig((source,), out=tmp_path / "new" / "deep" / "out.mrc"))
    torch.testing.assert_close(torch.as_tensor(made.values), -noisy(), check_dtype=False)


def test_several_maps_go_to_a_folder(tmp_path: Path) -> None:
    sources = tuple(written(tmp_path / f"{name}.mrc", noisy(n)) for n, name in enumerate("ab"))
    written_ = run_change(verbs.InvertConfig(sources, out=tmp_path / "new"))
    assert [made.path for made in written_] == [tmp_path / "new" / f"{name}.mrc" for name in "ab"]
    assert torch.equal(read_density(tmp_path / "new" / "b.mrc").values, -noisy(1))
    with pytest.raises(VitreousError, match=r"b.mrc: is there already; pass --overwrite"):
        (tmp_path / "new" / "a.mrc").unlink()
        run_change(verbs.InvertConfig(sources, out=tmp_path / "new"))
    assert not (tmp_path / "new" / "a.mrc").exists()
    run_change(verbs.InvertConfig(sources, out=tmp_path / "new", overwrite=True))
    assert torch.equal(read_density(tmp_path / "new" / "a.mrc").values, -noisy(0))
    with pytest.raises(VitreousError, match=r"a.mrc: is the input"):
        run_change(verbs.InvertConfig(sources, out=tmp_path, overwrite=True))
    assert torch.equal(read_density(sources[0]).values, noisy(0))


def test_info_tells_what_is_odd(tmp_path: Path) -> None:
    def odd(path: Path) -> str:
        return " / ".join(map_info(path).odd)

    assert odd(written(tmp_path / "good.mrc", noisy())) == ""
    place = {"pixel_size": 45.0, "origin": (1.0, 0.0, 0.0)}
    bad = written(tmp_path / "bad.mrc", noisy()[:, :, :47], **place)
    with bad.open("r+b") as file:
        file.seek(1024 + 4 * 1000)
        file.write(np.float32("nan").tobytes())
    said = odd(bad)
    with pytest.raises(VitreousError, match=r"bad.mrc: holds 1 values that are NaN"):
        read_density(bad)
    for words in ("not a cube (47 x 48 x 48)", "1 values that are NaN", "unlikely pixel", "origin"):
        assert words in said
    assert "nothing but zeros" in odd(written(tmp_path / "zero.mrc", torch.zeros(16, 16, 16)))
    assert "47 px, slow" in odd(written(tmp_path / "prime.mrc", noisy(box=47)))
    with mrcfile.new(tmp_path / "odd.mrc") as file:
        file.set_data(np.ones((8, 16, 16), np.int8))
        file.set_image_stack()
        file.voxel_size = (1, 2, 1)
    said = odd(tmp_path / "odd.mrc")
    assert "stack" in said and "not cubes" in said and "mode 0" in said and "but 1" in said
    with mrcfile.new(tmp_path / "long.mrcs") as file:  # a cell of one section
        file.set_data(noisy()[:, :32, :32].numpy().astype(np.float32))
        file.set_image_stack()
        file.voxel_size = (3, 3, 3)
        file.header.cella.z = 48 * 3
    assert "pixel" not in odd(tmp_path / "long.mrcs")
    found = map_info(tmp_path / "good.mrc").statistics
    assert found.mean == pytest.approx(float(noisy().mean()), abs=1e-6)
    assert found.standard_deviation == pytest.approx(float(noisy().std()), rel=1e-4)


# ---- fitting


def pdb(path: Path, positions: np.ndarray) -> Path:
    water = "HETATM99999  O   HOH B   1       1.000   2.000   3.000  1.00 20.00           O"
    lines = [
        f"ATOM  {n:5d}  CA  ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           C"
        for n, (x, y, z) in enumerate(positions, 1)
    ]
    cryst = "CRYST1   90.000   90.000   90.000  90.00  90.00  90.00 P 1"
    path.write_text("\n".join([cryst, *lines, water, "END", ""]))
    return path


FIT_BOX, FIT_SIZE = 32, 0.7
"""Small, for speed."""


@dataclass(frozen=True)
class Target:
    """A noisy map, how the molecule was turned in it and where its centre lies."""

    path: Path
    rotation: np.ndarray
    place: np.ndarray

    def atoms(self) -> np.ndarray:
        return molecule(size=FIT_SIZE) @ self.rotation.T + self.place


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    rotation, shift = random_rotations(1, 4)[0].numpy(), np.array([9.0, -6.0, 13.0])
    density = placed(molecule(size=FIT_SIZE) @ rotation.T + shift, FIT_BOX)
    path = tmp_path_factory.mktemp("fit") / "target.mrc"
    written(path, density + 0.3 * density.std() * white(0, FIT_BOX), origin=(20.0, 0.0, -35.0))
    return Target(path, rotation, shift + FIT_BOX // 2 * PIXEL + np.array([20, 0, -35]))


def atoms_of(path: Path) -> np.ndarray:
    return np.array([site.atom.pos.tolist() for site in gemmi.read_structure(str(path))[0].all()])


@pytest.mark.slow
def test_a_map_on_another_grid_is_fitted(target: Target, tmp_path: Path) -> None:
    source = tmp_path / "moving.mrc"
    density = placed(molecule(size=FIT_SIZE), 45, 4.1)
    written(source, density, pixel_size=4.1, origin=(0.0, 50.0, 0.0))
    found = run_fit(verbs.FitConfig(source, target.path, out=tmp_path / "out.mrc"))
    turn = Rotation.from_matrix(found.matrix @ target.rotation.T).magnitude()
    assert np.degrees(turn) < 0.5 and not found.mirrored
    centre = np.full(3, 22 * 4.1) + np.array([0, 50, 0])
    np.testing.assert_allclose(found.matrix @ centre + found.shift, target.place, atol=0.5)
    assert found.correlation == found.as_it_is > found.mirror_image
    assert found.resolution == 2 * PIXEL
    fitted, fixed = read_density(tmp_path / "out.mrc"), read_density(target.path)
    assert fitted.origin == fixed.origin and fitted.values.shape == fixed.values.shape
    assert (fsc(fitted.values, fixed.values)[:6] > 0.98).all()


def test_a_model_is_fitted_and_keeps_its_hand(target: Target, tmp_path: Path) -> None:
    source = pdb(tmp_path / "model.pdb", molecule(at=(3.0, 50.0, -8.0), size=FIT_SIZE))
    document = gemmi.read_structure(str(source)).make_mmcif_document()
    document[0].set_pair("_em_3d_reconstruction.resolution", "3.2")
    document.write_file(str(tmp_path / "model.cif"))
    out = tmp_path / "fitted.cif"
    config = verbs.FitConfig(tmp_path / "model.cif", target.path, out=out, resolution=20)
    found = run_fit(config)
    assert not found.mirrored and found.as_it_is > found.mirror_image and not found.warnings
    atoms = atoms_of(out)
    assert len(atoms) == len(molecule()) + 1  # the water moves along
    np.testing.assert_allclose(atoms[:-1], target.atoms(), atol=1.5)
    assert gemmi.read_structure(str(out)).cell.a == 1
    kept = gemmi.cif.read(str(out))[0].find_value("_em_3d_reconstruction.resolution")
    assert kept == "3.2"


@pytest.mark.slow
def test_a_model_of_the_other_hand_is_mirrored_only_if_asked(
    target: Target, tmp_path: Path
) -> None:
    model = pdb(tmp_path / "model.pdb", molecule(size=FIT_SIZE) * [1, 1, -1])
    kept, best = (
        run_fit(
            verbs.FitConfig(
                model, target.path, out=tmp_path / f"{hand}.pdb", hand=hand, resolution=20
            )
        )
        for hand in ("keep", "best")
    )
    assert np.linalg.det(kept.matrix) == pytest.approx(1) and not kept.mirrored
    assert kept.mirror_image > kept.correlation == kept.as_it_is
    assert any("flip-hand" in warning for warning in kept.warnings)
    assert np.linalg.det(best.matrix) == pytest.approx(-1) and best.mirrored
    assert any("chirality" in warning for warning in best.warnings)
    np.testing.assert_allclose(atoms_of(tmp_path / "best.pdb")[:-1], target.atoms(), atol=1.5)


# ---- errors, and the command


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    written(folder / "map.mrc", noisy())
    written(folder / "other.mrc", noisy(2))
    written(folder / "slab.mrc", noisy()[:40])
    written(folder / "small.mrc", noisy()[4:44, 4:44, 4:44])
    written(folder / "fine.mrc", noisy(), pixel_size=4.0)
    written(folder / "mask.mrc", (noisy() > 0.2).float())
    written(folder / "stack.mrc", noisy()).rename(folder / "stack.mrcs")
    (folder / "text.mrc").write_text("hello")
    (folder / "broken.mrc.gz").write_bytes(b"no gzip")
    pdb(folder / "model.pdb", molecule())
    return folder


@pytest.mark.parametrize(
    "words,expected",
    [
        ("invert none.mrc", r"none.mrc: cannot be read"),
        ("invert text.mrc", r"text.mrc: truncated"),
        ("invert broken.mrc.gz", r"broken.mrc.gz: cannot be read"),
        ("invert stack.mrcs", r"stack.mrcs: holds images"),
        ("invert map.mrc other.mrc --out out.mrc", r"--out: .* one file, but there are 2 maps"),
        ("invert map.mrc map.mrc --out folder", r"--out: 2 maps would be called map.mrc"),
        ("invert map.mrc --out out.png", r"--out: .*not named as a map; end it in .mrc"),
        ("invert map.mrc --out text.mrc/out.mrc", r"text.mrc/out.mrc: cannot be written"),
        ("invert map.mrc --out map.mrc --overwrite", r"map.mrc: is the input map.mrc"),
        ("invert map.mrc --out other.mrc", r"other.mrc: is there already; pass --overwrite"),
        ("lowpass slab.mrc --resolution 20", r"slab.mrc: is 40 x 48 x 48, expected a cube"),
        ("lowpass map.mrc --resolution 9", r"--resolution: 9 A is not among .*10 to 240 A"),
        ("lowpass map.mrc --resolution -3", r"--resolution: -3 is given; give more than 0"),
        ("highpass map.mrc --resolution 300", r"--resolution: 300 A"),
        ("bfactor map.mrc --bfactor nan", r"--bfactor: nan is given; give a finite number"),
        ("rotate slab.mrc --rot 3", r"slab.mrc: .*expected a cube"),
        ("shift map.mrc --by 0 0 240", r"--by: moves all density out of the box of 240 A"),
        ("recentre map.mrc --threshold 99", r"map.mrc: has no density above 99"),
        ("recentre map.mrc --at 900 0 0", r"--at: moves all density"),
        ("resample map.mrc", r"--pixel-size, --box: neither is given"),
        ("resample map.mrc --pixel-size 50", r"--pixel-size: makes a box of 4 px"),
        ("resample map.mrc --pixel-size 0.01", r"--pixel-size: makes a box of 24000 px"),
        ("resample map.mrc --box 0", r"--box: makes a box of 0 px"),
        ("resample slab.mrc --box 40", r"slab.mrc: .*expected a cube"),
        ("crop map.mrc --box 50", r"--box: 50 px is larger than .*48 x 48 x 48.*map pad"),
        ("crop slab.mrc --box 44", r"--box: 44 px is larger than .*40 x 48 x 48"),
        ("pad map.mrc --box 44", r"--box: 44 px is smaller than .*map crop"),
        ("symmetrise map.mrc --symmetry K2", r"--symmetry: 'K2' is not a point group"),
        ("mask map.mrc --threshold 99", r"map.mrc: nowhere reaches 99"),
        ("mask map.mrc --lowpass 20", r"--lowpass: goes with a threshold"),
        ("mask map.mrc --extend -2", r"--extend: -2 is given; give 0 or more"),
        ("convert map.mrc --pixel-size 0", r"--pixel-size: 0 is given"),
        ("sphere --like map.mrc --radius 118", r"--radius: a ball of 118 A .* 240 A"),
        ("sphere --like map.mrc --radius 0", r"--radius: 0 is given"),
        ("noise --like map.mrc --resolution 3", r"--resolution: 3 A"),
        ("fit model.pdb map.mrc", r"--out: .*not named as a model"),
        ("fit map.mrc small.mrc --out out.pdb", r"--out: .*not named as a map"),
        ("fit model.pdb small.mrc --out out.pdb --resolution 5", r"--resolution: 5 A"),
        ("fsc map.mrc small.mrc", r"small.mrc: has a box of 40 px, but .*48 px"),
        ("fsc map.mrc fine.mrc", r"fine.mrc: has pixels of 4 A, but .*5 A"),
        ("fsc map.mrc other.mrc --mask small.mrc", r"small.mrc: has a box of 40 px"),
        ("fsc map.mrc other.mrc --mask map.mrc", r"map.mrc: .*expected a mask from 0 to 1"),
        ("fsc map.mrc other.mrc --json mask.mrc", r"mask.mrc: is there already"),
        ("fsc map.mrc slab.mrc", r"slab.mrc: .*expected a cube"),
        ("info text.mrc", r"text.mrc: truncated"),
    ],
)
def test_bad_input_is_named(
    files: Path, monkeypatch: pytest.MonkeyPatch, words: str, expected: str
) -> None:
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    verb = words.split()[0]
    more = [] if "--out" in words or verb in ("fsc", "info") else ["--out", "out.mrc"]
    with pytest.raises(VitreousError, match=expected):
        app(["map", *words.split(), *more], exit_on_error=False, result_action="return_value")
    assert sorted(files.iterdir()) == before


def test_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(words: str) -> str:
        command = ["map", *words.format(files=files, out=tmp_path).split()]
        app(command, exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    assert "moved by" in say("recentre {files}/map.mrc --threshold 0.5 --out {out}/c.mrc")
    assert "int8" in say("convert {files}/map.mrc --mode int8 --out {out}/i.mrc")
    shift = "shift {files}/map.mrc {files}/other.mrc --by -5 0 2.5 --out {out}/folder"
    assert say(shift).split() == [str(tmp_path / "folder" / n) for n in ("map.mrc", "other.mrc")]
    assert "density" in say("sphere --like {files}/map.mrc --radius 50 --out {out}/s.mrc")
    table = say("fsc {files}/map.mrc {files}/other.mrc --mask {files}/mask.mrc")
    assert "hard edge" in table and "FSC 0.143: " in table
    assert len(re.findall(r"^ +\d+ ", table, re.M)) == BOX // 2 + 1
    told = say("info {files}/map.mrc {files}/slab.mrc --json {out}/i.json")
    assert "not a cube" in " ".join(told.split())
    assert [row["mode"] for row in json.loads((tmp_path / "i.json").read_text())] == [2, 2]
    told = say("fit {files}/small.mrc {files}/small.mrc --resolution 30 --out {out}/f.mrc")
    assert "of the other hand" in told and (tmp_path / "f.mrc").exists()
