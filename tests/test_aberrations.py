"""Aberrations of higher order and the Ewald sphere, against closed forms and RELION."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from scipy.integrate import dblquad
from star_samples import particle_blocks

from vitreous.config.simulate import SimulateConfig
from vitreous.engine.images import optics_of
from vitreous.errors import InputError
from vitreous.imaging.aberrations import added, orders, place, zernike, zernike_sum
from vitreous.imaging.astigmatism import from_components, through_magnification, to_components
from vitreous.imaging.ctf import (
    Defocus,
    Optics,
    beam_tilt_phase,
    coma_scale,
    ctf_phase,
)
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import image_frequencies, map_to_cube
from vitreous.imaging.simulate import clean_images
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import StarBlock, write_star
from vitreous.jobs.simulate import random_poses
from vitreous.math.fourier import frequency_radius, to_fourier
from vitreous.particles.files import read_particles
from vitreous.validate.fsc import fsc

Find = Callable[[str], str]
EVEN = (0.2, 30.0, -20.0, 15.0, 200.0, -300.0, 100.0, 400.0, 150.0)
ODD = (5.0, -3.0, 150.0, 90.0, -60.0, -120.0)


def as_list(values: tuple[float, ...]) -> str:
    return "[" + ",".join(map(str, values)) + "]"


def relion_runs(folder: Path, command: str) -> None:
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]


def with_optics(block: StarBlock, columns: dict[str, str]) -> StarBlock:
    return block.with_frame(
        block.frame.with_columns(**{k: pl.Series([v]) for k, v in columns.items()})
    )


def test_zernike_polynomials_are_the_known_ones() -> None:
    points = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, y = points.unbind(1)
    r2, r4 = x**2 + y**2, (x**2 + y**2) ** 2
    known = {
        (0, 0): torch.ones_like(x),
        (-1, 1): y,
        (1, 1): x,
        (0, 2): 2 * r2 - 1,
        (2, 2): x**2 - y**2,
        (-2, 2): 2 * x * y,
        (1, 3): (3 * r2 - 2) * x,
        (-1, 3): (3 * r2 - 2) * y,
        (3, 3): x**3 - 3 * x * y**2,
        (-3, 3): 3 * x**2 * y - y**3,
        (0, 4): 6 * r4 - 6 * r2 + 1,
        (2, 4): (4 * r2 - 3) * (x**2 - y**2),
        (-4, 4): 4 * x * y * (x**2 - y**2),
    }
    for order, value in known.items():
        torch.testing.assert_close(zernike(*order, points), value)


def test_zernike_polynomials_are_orthogonal_on_the_disc() -> None:
    def product(phi: float, r: float) -> float:
        point = torch.tensor([r * math.cos(phi), r * math.sin(phi)], dtype=torch.float64)
        return float(zernike(1, 5, point) * zernike(1, 3, point)) * r

    assert abs(dblquad(product, 0, 1, 0, 2 * math.pi, epsabs=1e-6)[0]) < 1e-5


def test_numbering() -> None:
    even, odd = [orders(i, "even") for i in range(9)], [orders(i, "odd") for i in range(6)]
    assert even == [(0, 0), (-2, 2), (0, 2), (2, 2), (-4, 4), (-2, 4), (0, 4), (2, 4), (4, 4)]
    assert odd == [(-1, 1), (1, 1), (-3, 3), (-1, 3), (1, 3), (3, 3)]
    assert [place(*order) for order in even] == list(range(9))
    assert [place(*order) for order in odd] == list(range(6))
    assert added((1.0,), {(3, 3): 2.0}) == (1.0, 0.0, 0.0, 0.0, 0.0, 2.0)


def test_beam_tilt_is_a_pair_of_zernike_terms() -> None:
    points = image_frequencies(32) / 64
    tilted = Optics(300, 2.7, 0.1, (3.0, -2.0))
    # k^2 x is a third of (3 k^2 - 2) x and two thirds of x.
    x, y = (coma_scale(tilted) * tilt / 3 for tilt in tilted.beam_tilt)
    terms = added((), {(1, 3): x, (1, 1): 2 * x, (-1, 3): y, (-1, 1): 2 * y})
    same = Optics(300, 2.7, 0.1, odd_zernike=terms)
    torch.testing.assert_close(beam_tilt_phase(points, same), beam_tilt_phase(points, tilted))


def test_even_terms_are_those_of_relion_project(relion: Find, tmp_path: Path) -> None:
    box, pixel = 48, 2.5
    config = SimulateConfig(Path("x"), out=tmp_path, n=6, astigmatism=900.0)
    volume, views = built_in_phantom(box, pixel * 1.3), random_poses(config)
    write_map(tmp_path / "map.mrc", volume.numpy(), pixel)
    optics_block, particles = particle_blocks(config, views, box, pixel)
    write_star(
        tmp_path / "p.star",
        [with_optics(optics_block, {"rlnEvenZernike": as_list(EVEN)}), particles],
    )
    program = relion("relion_project")
    relion_runs(tmp_path, f"{program} --i map.mrc --o out --ang p.star --ctf --pad 2 --angpix 2.5")
    theirs = to_fourier(torch.from_numpy(mrcfile.read(tmp_path / "out.mrcs").copy()), 2)
    optics = Optics(300, 2.7, 0.1, even_zernike=EVEN)
    ours = to_fourier(
        clean_images(map_to_cube(volume[None], box // 2), views, optics, box, pixel), 2
    )
    inside = frequency_radius(box, 2) <= 0.9 * box / 2
    assert (ours - theirs)[:, inside].norm() < 1e-3 * theirs[:, inside].norm()


def test_relion_reconstruct_undoes_our_odd_terms(relion: Find, tmp_path: Path) -> None:
    box, pixel = 48, 2.0
    config = SimulateConfig(Path("x"), out=tmp_path, n=300, shift=0)
    volume, views = built_in_phantom(box, 4.0), random_poses(config)
    optics_block, particles = particle_blocks(config, views, box, pixel)
    told = with_optics(optics_block, {"rlnOddZernike": as_list(ODD)})
    write_star(tmp_path / "p.star", [told, particles])
    agreement = []
    for sign in (1, -1):
        optics = Optics(300, 2.7, 0.1, odd_zernike=tuple(sign * c for c in ODD))
        images = clean_images(map_to_cube(volume[None], box // 2), views, optics, box, pixel)
        with stack_writer(tmp_path / "particles.mrcs", box, config.n, pixel) as stack:
            stack.append(images.numpy())
        relion_runs(tmp_path, f"{relion('relion_reconstruct')} --i p.star --o rec.mrc --ctf")
        curve = fsc(torch.from_numpy(read_map(tmp_path / "rec.mrc")[0]), volume)
        agreement.append(float(curve[box // 4 : box // 2 - 2].mean()))
    assert agreement[0] > 0.9
    assert agreement[0] > agreement[1] + 0.1


@pytest.fixture
def table_with(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def make(columns: dict[str, str]) -> Path:
        config = SimulateConfig(Path("x"), out=tmp_path, n=3)
        optics_block, particles = particle_blocks(config, random_poses(config), 32, 4.0)
        with stack_writer(tmp_path / "particles.mrcs", 32, 3, 4.0) as stack:
            stack.append(np.ones((3, 32, 32)))
        write_star(tmp_path / "p.star", [with_optics(optics_block, columns), particles])
        return tmp_path / "p.star"

    return make


def test_coefficients_reach_the_ctf(table_with: Callable[[dict[str, str]], Path]) -> None:
    star = table_with({"rlnEvenZernike": "[0,0,-25.5]", "rlnOddZernike": "[0.5, 2]"})
    optics = optics_of(read_particles(star).optics[0])
    assert (optics.even_zernike, optics.odd_zernike) == ((0, 0, -25.5), (0.5, 2))
    points = image_frequencies(32) / 128
    k2 = (points**2).sum(-1)
    values = [torch.tensor([v]) for v in (9000.0, 8000.0, 30.0, 0.0)]
    plain = Optics(optics.voltage, optics.cs, optics.amplitude_contrast)
    shift = ctf_phase(points, Defocus(*values), optics) - ctf_phase(points, Defocus(*values), plain)
    torch.testing.assert_close(shift[0], 25.5 * (2 * k2 - 1), atol=2e-5, rtol=1e-5)
    turned = beam_tilt_phase(points, optics).angle()
    torch.testing.assert_close(turned, 0.5 * points[..., 1] + 2 * points[..., 0])
    assert optics.turns_phases and not plain.turns_phases


@pytest.mark.parametrize("cell", ["[1,x]", "[1,nan]"])
def test_bad_coefficients(table_with: Callable[[dict[str, str]], Path], cell: str) -> None:
    with pytest.raises(InputError, match="optics group 1 h"):
        read_particles(table_with({"rlnOddZernike": cell}))


def test_magnification_leaves_the_phases_of_the_ctf() -> None:
    rng = np.random.default_rng(0)
    u, v, angle = rng.uniform(1e4, 2e4, 5), rng.uniform(1e4, 2e4, 5), rng.uniform(0, 180, 5)
    matrix = (1.02, 0.01, -0.015, 0.97)
    points, zeros = image_frequencies(24) / 96, np.zeros(5)

    def phases(columns: tuple[np.ndarray, ...], magnification: tuple[float, ...]) -> torch.Tensor:
        defocus = Defocus(*(torch.from_numpy(c) for c in (*columns, zeros)))
        return ctf_phase(points.double(), defocus, Optics(300, 0.0, 0.1, (0, 0), magnification))

    moved = through_magnification(to_components(u, v, angle), np.reshape(matrix, (2, 2)))
    before, after = phases((u, v, angle), (1, 0, 0, 1)), phases(from_components(moved), matrix)
    torch.testing.assert_close(before, after, atol=1e-8, rtol=1e-9)


def test_zernike_sum_of_nothing_is_zero() -> None:
    assert zernike_sum(torch.ones(3, 2), (), "odd").tolist() == [0, 0, 0]
