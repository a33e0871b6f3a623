"""Reconstruction at known poses: against RELION's, against the truth, and against itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.cli import app
from vitreous.config.maps import ReconstructConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.errors import VitreousError
from vitreous.imaging.ctf import Optics
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import map_to_cube, slice_points
from vitreous.imaging.simulate import clean_images
from vitreous.io.mrc import open_stack, read_map, stack_writer
from vitreous.io.star import read_star, write_star
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.simulate import random_poses
from vitreous.math.fourier import crop_or_pad, frequency_radius, resample
from vitreous.math.rotations import random_rotations
from vitreous.math.symmetry import lattice_cosets, point_group
from vitreous.ops.cubes import add_turned_eagerly, insert_eagerly
from vitreous.reconstruct.accumulator import empty_accumulator, insert, symmetrised
from vitreous.reconstruct.backproject import PosedImages, reconstruct_at_poses
from vitreous.validate.fsc import crossing, fsc
from vitreous.validate.symmetry.rotate import symmetrise_map

Find = Callable[[str], str]
BOX, PIXEL, COUNT = 48, 5.0, 1200
THRESHOLDS = (0.9, 0.8, 0.5, 0.3, 0.143)
SHELL = 0.15
"""Shells by which ours may stay behind RELION's."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posed") / "data"
    return simulated(folder, COUNT, box=BOX, pixel_size=PIXEL, snr=0.2, seed=5)


def volume(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_map(path)[0])


def made(star: Path, out: Path, **options) -> Path:
    return run_reconstruct(ReconstructConfig(star, out=out, overwrite=True, **options))


def relion_map(program: str, star: Path, *options: str) -> torch.Tensor:
    command = (program, "--i", star.name, "--o", "relion.mrc", "--ctf", *options)
    done = subprocess.run(command, cwd=star.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    return volume(star.parent / "relion.mrc")


def crossings(found: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """Shells where the FSC with the truth falls below each threshold, round the molecule.

    What surrounds it is noise, of which RELION's symmetrised maps hold less towards the box's edge:
    its second interpolation leaves a window there.
    """
    ball = soft_sphere(found.shape[-1], 85 / PIXEL, 4)
    curve = fsc(found * ball, truth * ball).numpy()
    return np.array([crossing(curve[None], threshold)[0] for threshold in THRESHOLDS])


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def rewritten(star: Path, name: str, **columns) -> Path:
    """The same particles with other columns; ``None`` drops one."""
    blocks = read_star(star)
    frame = blocks["particles"].frame
    frame = frame.drop(c for c, values in columns.items() if values is None)
    new = {c: [str(v) for v in values] for c, values in columns.items() if values is not None}
    blocks["particles"] = blocks["particles"].with_frame(
        frame.with_columns(pl.Series(c, values) for c, values in new.items())
    )
    write_star(star.parent / name, blocks.values())
    return star.parent / name


# ---- sums


def slices(seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    k = torch.randn(40, 2, generator=generator) * 4
    samples = torch.randn(1, 6, 40, dtype=torch.complex64, generator=generator)
    shares = torch.rand(1, 6, 40, generator=generator)
    return k, random_rotations(6, seed).float(), samples, shares


def whole_cube(points: torch.Tensor, values: torch.Tensor, side: int) -> torch.Tensor:
    """Values spread over the voxels of a whole cube, z, y, x, round points in voxels."""
    cube = torch.zeros(side, side, side, dtype=values.dtype)
    place = points + side // 2
    for corner in product((0, 1), repeat=3):
        voxel = place.floor().long() + torch.tensor(corner)
        near = (1 - (place - voxel).abs()).prod(dim=1)
        x, y, z = voxel.T
        cube.index_put_((z, y, x), values * near, accumulate=True)
    return cube


def test_half_cube_holds_what_the_whole_one_does() -> None:
    k, matrices, samples, shares = slices(0)
    points = 2 * slice_points(k, matrices).reshape(-1, 3)
    near = points.norm(dim=1) < 18
    inside = near.view(samples.shape)
    half = empty_accumulator(1, 9, 2)
    insert(half, k, matrices[:, :2], samples * inside, shares * inside)
    half.complete()
    both = torch.cat([points[near], -points[near]])  # with their Friedel mates
    for found, values in ((half.data[0], samples[inside]), (half.weight[0], shares[inside])):
        whole = whole_cube(both, torch.cat([values, values.conj()]), half.side)
        torch.testing.assert_close(found, whole[:, :, half.side // 2 :], atol=1e-5, rtol=1e-5)


def test_kernel_and_eager_twin_agree() -> None:
    k, matrices, samples, shares = slices(1)
    fast, slow = (empty_accumulator(1, 6, 2) for _ in range(2))  # some points lie outside
    insert(fast, k, matrices[:, :2], samples, shares)
    insert_eagerly(slow.data, slow.weight, k, matrices[:, :2] * 2, samples, shares)
    assert float(slow.weight.sum()) > 0
    torch.testing.assert_close(fast.data, slow.data)
    torch.testing.assert_close(fast.weight, slow.weight)


@pytest.mark.parametrize("group,inserted", [("C3", 3), ("D7", 7), ("O", 1), ("I", 5)])
def test_symmetrised_sums_are_those_of_all_mates(group: str, inserted: int) -> None:
    k, matrices, samples, shares = slices(2)
    one, all_mates = (empty_accumulator(1, 9, 2) for _ in range(2))
    lattice, cosets = lattice_cosets(point_group(group))
    assert len(cosets) == inserted
    for sums, operators in ((one, cosets), (all_mates, point_group(group))):
        for operator in operators.float():
            insert(sums, k, matrices[:, :2] @ operator.T, samples, shares)
        sums.complete()
    found = symmetrised(one, lattice)
    inside = frequency_radius(found.side, 3)[..., found.side // 2 :] < found.side // 2 - 2
    for part in ("data", "weight"):
        ours, expected = getattr(found, part)[0], getattr(all_mates, part)[0]
        torch.testing.assert_close(ours[inside], expected[inside], atol=1e-3, rtol=1e-3)


def test_turning_and_its_eager_twin_agree() -> None:
    k, matrices, samples, shares = slices(3)
    sums = empty_accumulator(1, 9, 2)
    insert(sums, k, matrices[:, :2], samples, shares)
    sums.complete()
    eager = sums.plus(sums.zeros())
    for operator in point_group("C3")[1:].float():
        add_turned_eagerly(sums.data, sums.weight, operator, eager.data, eager.weight)
    found = symmetrised(sums, point_group("C3"))
    torch.testing.assert_close(found.data, eager.data, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.weight, eager.weight, atol=1e-4, rtol=1e-4)


# ---- beside RELION


def test_as_good_as_relion(relion: Find, stack: Path, tmp_path: Path) -> None:
    truth = volume(stack.parent / "truth.mrc")
    theirs = relion_map(relion("relion_reconstruct"), stack)
    job = made(stack, tmp_path / "job", mask_diameter=200.0)
    ours = volume(job / "map.mrc")
    assert (crossings(ours, truth) > crossings(theirs, truth) - SHELL).all()
    low = fsc(ours, truth)[1:7]
    assert (low > fsc(theirs, truth)[1:7] - 1e-3).all() and low.min() > 0.997
    # One scale: a projection is the noise-free image.
    assert float((ours * truth).sum() / (truth**2).sum()) == pytest.approx(1, abs=0.03)
    with mrcfile.open(job / "map.mrc") as file:
        assert file.is_volume() and file.voxel_size.x == pytest.approx(PIXEL)
        assert mrcfile.validate(job / "map.mrc")
    for half in (1, 2):
        theirs = relion_map(relion("relion_reconstruct"), stack, "--subset", str(half))
        ours = volume(job / f"half{half}.mrc")
        assert (crossings(ours, truth) > crossings(theirs, truth) - SHELL).all()
        assert fsc(ours, theirs)[1:12].min() > 0.96
    result = json.loads((job / "result.json").read_text())
    assert result["n_by_map"] == [COUNT // 2, COUNT // 2]
    # Halves agree to 0.143 where the whole agrees with the truth to 0.5.
    shell = BOX * PIXEL / result["resolution_0143_interpolated"]
    assert shell == pytest.approx(crossings(volume(job / "map.mrc"), truth)[2], abs=2.5)


@pytest.mark.parametrize("group", ["D2", "C3"])
def test_symmetry_as_relion(relion: Find, stack: Path, tmp_path: Path, group: str) -> None:
    theirs = relion_map(relion("relion_reconstruct"), stack, "--sym", group)
    job = made(stack, tmp_path / "job", symmetry=group, halves="none")
    ours = volume(job / "map.mrc")
    expected = symmetrise_map(volume(stack.parent / "truth.mrc"), point_group(group))
    assert (crossings(ours, expected) > crossings(theirs, expected) - SHELL).all()
    for operator in point_group(group)[1:]:
        again = symmetrise_map(ours, torch.stack([torch.eye(3).double(), operator]))
        assert correlation(again, ours) > 0.999
    assert not (job / "half1.mrc").exists()


# ---- which particles, and how much each counts


def test_weights_count_as_copies(stack: Path, tmp_path: Path) -> None:
    weight = np.arange(COUNT) % 3
    weighted = rewritten(stack, "weighted.star", rlnWeight=weight)
    blocks = read_star(stack)
    rows = np.repeat(np.arange(COUNT), weight)
    blocks["particles"] = blocks["particles"].with_frame(blocks["particles"].frame[rows])
    write_star(stack.parent / "copied.star", blocks.values())
    maps = [
        volume(made(star, tmp_path / star.stem, halves="none", **options) / "map.mrc")
        for star, options in (
            (weighted, {"weights": "rlnWeight"}),
            (stack.parent / "copied.star", {}),
        )
    ]
    assert (maps[0] - maps[1]).norm() < 1e-3 * maps[1].norm()


def test_subset_and_class(stack: Path, tmp_path: Path) -> None:
    star = rewritten(stack, "classes.star", rlnClassNumber=1 + np.arange(COUNT) // 800)
    half = made(stack, tmp_path / "a") / "half2.mrc"
    alone = made(stack, tmp_path / "b", subset=2) / "map.mrc"
    assert (volume(half) - volume(alone)).abs().max() < 1e-5
    job = made(star, tmp_path / "c", class_=2)
    assert json.loads((job / "result.json").read_text())["n_particles"] == 400


# ---- image formation undone


def posed(
    optics: Optics, count: int = 300, **options: tuple[float, float]
) -> tuple[PosedImages, torch.Tensor]:
    """Noise-free images of the phantom, drawn small so that detail reaches fine resolution."""
    config = SimulateConfig(Path("x"), out=Path("x"), n=count, shift=2, seed=4, **options)
    density, views = built_in_phantom(BOX, 5.0), random_poses(config)
    images = clean_images(map_to_cube(density[None], BOX // 2), views, optics, BOX, 2.0)
    return PosedImages(images, views.matrices, views.origins, views.defocus, optics), density


@pytest.mark.parametrize(
    "aberration",
    [
        {"beam_tilt": (8.0, -5.0)},
        {"odd_zernike": (0.0, 0.0, 300.0, 0.0, 0.0, -200.0)},
        {"magnification": (1.06, 0.02, -0.01, 0.95)},
    ],
)
def test_aberrations_are_undone(aberration: dict) -> None:
    images, truth = posed(Optics(300.0, 2.7, 0.1, **aberration))
    ours = reconstruct_at_poses([images], BOX, 2.0)
    plain = PosedImages(**{**vars(images), "optics": Optics(300.0, 2.7, 0.1)})
    ignored = reconstruct_at_poses([plain], BOX, 2.0)
    high = slice(BOX // 4, BOX // 2 - 2)
    assert fsc(ours, truth)[high].mean() > 0.98
    assert fsc(ours, truth)[high].mean() > fsc(ignored, truth)[high].mean() + 0.05


def test_images_of_other_grids_are_brought_to_one() -> None:
    images, truth = posed(Optics(300.0, 2.7, 0.1), 400, defocus_range=(3000.0, 6000.0))
    first, second = (
        PosedImages(
            **{
                **vars(images),
                **{name: getattr(images, name)[part] for name in ("images", "matrices", "origins")},
                "defocus": images.defocus.take(part),
            }
        )
        for part in (slice(0, 200), slice(200, 400))
    )
    coarse = PosedImages(
        **{
            **vars(first),
            "images": resample(first.images, 40, 2),
            "origins": first.origins * 40 / 48,
            "pixel_size": 2.0 * 48 / 40,
        }
    )
    narrow = PosedImages(**{**vars(second), "images": crop_or_pad(second.images, 44, 2)})
    mixed = reconstruct_at_poses([coarse, narrow], BOX, 2.0)
    ball = soft_sphere(BOX, 18, 3)
    reach = 40 // 2 - 2
    assert fsc(mixed * ball, truth * ball)[1:reach].min() > 0.98
    # Either kind alone has the scale of the other.
    for part in (coarse, narrow):
        alone = reconstruct_at_poses([part], BOX, 2.0, resolution=BOX * 2.0 / reach) * ball
        assert float((alone * truth).sum() / ((truth * ball) ** 2).sum()) == pytest.approx(
            1, abs=0.05
        )


def test_nothing_beyond_the_resolution_asked_for(stack: Path, tmp_path: Path) -> None:
    job = made(stack, tmp_path / "job", resolution_limit=24.0)
    spectrum = torch.fft.fftshift(torch.fft.fftn(volume(job / "map.mrc"))).abs()
    beyond = frequency_radius(BOX, 3) > BOX * PIXEL / 24 + 2
    assert spectrum[beyond].max() < 2e-2 * spectrum[~beyond].max()
    full = made(stack, tmp_path / "full") / "map.mrc"
    assert fsc(volume(job / "map.mrc"), volume(full))[1:8].min() > 0.99


def test_phase_flipped_images(stack: Path, tmp_path: Path) -> None:
    from vitreous.imaging.ctf import Defocus, contrast_transfer
    from vitreous.imaging.project import image_frequencies

    frame = read_star(stack)["particles"].frame
    columns = [frame[f"rlnDefocus{c}"].cast(pl.Float32).to_torch() for c in ("U", "V", "Angle")]
    defocus = Defocus(*columns, torch.zeros(COUNT))
    metric = torch.fft.ifftshift(image_frequencies(BOX), dim=(0, 1)) / (BOX * PIXEL)
    sign = contrast_transfer(metric, defocus, Optics(300.0, 2.7, 0.1)).sign()
    images = torch.from_numpy(open_stack(stack.parent / "particles.mrcs").read(np.arange(COUNT)))
    flipped = torch.fft.ifft2(torch.fft.fft2(images) * sign).real
    with stack_writer(stack.parent / "flipped.mrcs", BOX, COUNT, PIXEL) as file:
        file.append(flipped.numpy())
    names = [f"{n + 1}@flipped.mrcs" for n in range(COUNT)]
    star = rewritten(stack, "flipped.star", rlnImageName=names)
    job = made(star, tmp_path / "job", phase_flipped=True, halves="none")
    plain = made(stack, tmp_path / "plain", halves="none")
    assert fsc(volume(job / "map.mrc"), volume(plain / "map.mrc"))[1:22].min() > 0.99


# ---- the command, and what it refuses


def test_command(stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--halves", "micrograph", "--mask-diameter", "200", "--out", str(tmp_path / "j")]
    with pytest.raises(SystemExit, match="0"):
        app(["reconstruct", str(stack), *options])
    assert "FSC 0.143" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "j").iterdir()}
    assert names == {
        *("map.mrc", "half1.mrc", "half2.mrc", "fsc.xml", "result.json", "log.jsonl"),
        *("report.html", "view.cxc"),
    }
    events = (tmp_path / "j" / "log.jsonl").read_text()
    assert "inserting" in events and "solving" in events


@pytest.mark.parametrize(
    "columns,options,message",
    [
        ({"rlnAngleTilt": None}, {}, "no column _rlnAngleTilt"),
        ({"rlnRandomSubset": None}, {}, "no column _rlnRandomSubset; pass --halves random"),
        ({"rlnRandomSubset": [3] * COUNT}, {}, "row 1 .* has 3 .* expected 1 or 2"),
        ({"rlnRandomSubset": [1] * COUNT}, {}, "half 2 has no particles"),
        ({}, {"subset": 3}, "no particles with 3 .*it holds 1, 2"),
        ({}, {"subset": 1, "halves": "random"}, "one subset makes one map"),
        ({}, {"class_": 1}, "no column _rlnClassNumber"),
        ({"rlnClassNumber": [2] * COUNT}, {"class_": 1}, "no particles with 1 .*it holds 2"),
        ({}, {"weights": "rlnWeight"}, "no column _rlnWeight"),
        ({"w": [-1] * COUNT}, {"weights": "w"}, "row 1 .* has the weight -1"),
        ({"w": ["nan"] * COUNT}, {"weights": "w"}, "row 1 holds 'nan'"),
        ({"w": np.arange(COUNT) % 2}, {"weights": "w"}, "are 0, or those of a half"),
        ({"rlnMicrographName": None}, {"halves": "micrograph"}, "no column _rlnMicrographName"),
        ({"rlnDefocusU": None}, {}, "_rlnDefocusU are missing"),
        ({}, {"padding": 1}, "expected 2, 3, 4"),
        ({}, {"resolution_limit": 100.0}, "fewer than 4 shells"),
        ({}, {"resolution_limit": -1.0}, "expected more than 0"),
        ({}, {"mask_diameter": 900.0}, "does not fit the box"),
        ({}, {"symmetry": "Q"}, "not a point group"),
    ],
)
def test_refuses(stack: Path, tmp_path: Path, columns: dict, options: dict, message: str) -> None:
    star = rewritten(stack, "bad.star", **columns)
    with pytest.raises(VitreousError, match=message):
        made(star, tmp_path / "job", **options)
    assert not (tmp_path / "job").exists()


def test_warns_of_missing_origins(stack: Path, tmp_path: Path) -> None:
    star = rewritten(stack, "centred.star", rlnOriginXAngst=None, rlnOriginYAngst=None)
    job = made(star, tmp_path / "job", halves="none", resolution_limit=30.0)
    assert "no origins" in json.loads((job / "result.json").read_text())["warnings"][0]
