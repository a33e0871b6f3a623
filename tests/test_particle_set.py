"""Particle sets: typed fields over a file's own columns, by the table of one adapter."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import vitreous
from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.ctf_state import CtfState
from vitreous.particles.fields import Field
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.groups import given_halves
from vitreous.particles.image_files import ImageFiles
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses, recentred
from vitreous.particles.relion.names import COLUMNS
from vitreous.particles.selection import class_posterior

SOURCE = Path(vitreous.__file__).parent
FIELDS = {value for value in vars(ParticleSet).values() if isinstance(value, Field)}

ODD = {"myNote": ["a b", "it's", '"', "", "nan"], "rlnFuture": ["007", "1e3", "-0", "x", "0.10"]}
"""Columns that nothing here understands."""


def written(folder: Path, optics: Mapping[str, str] | None = None, **columns: list[str]) -> Path:
    """Five particles, in RELION 3.1's layout."""
    group = {"rlnOpticsGroup": "1", "rlnImagePixelSize": "2.0", "rlnImageSize": "16"}
    names = [f"{n}@p.mrcs" for n in range(1, 6)]
    own = {"rlnImageName": names, "rlnOpticsGroup": ["1"] * 5, **columns}
    blocks = [
        StarBlock("optics", pl.DataFrame({k: [v] for k, v in {**group, **(optics or {})}.items()})),
        StarBlock("particles", pl.DataFrame(own)),
        StarBlock("lab", pl.DataFrame({"answer": ["0042"]})),
    ]
    write_star(folder / "p.star", blocks)
    return folder / "p.star"


def read(star: Path) -> ParticleSet:
    return read_particles(star, need_images=False)


def old_layout(folder: Path) -> Path:
    """Five particles in RELION 3.0's layout, with origins in pixels of 2 A."""
    frame = pl.DataFrame(
        {
            "rlnImageName": [f"{n}@p.mrcs" for n in range(1, 6)],
            "rlnImageSize": ["16"] * 5,
            "rlnPixelSize": ["2.0"] * 5,
            "rlnOriginX": ["1.5", "0", "-2", "0.25", "7"],
        }
    )
    write_star(folder / "old.star", [StarBlock("", frame)])
    return folder / "old.star"


def test_every_field_has_its_columns_and_none_shares_one() -> None:
    assert set(COLUMNS) == FIELDS
    names = [column.name for columns in COLUMNS.values() for column in columns]
    assert len(names) == len(set(names))


def strings_in(path: Path) -> list[str]:
    """Strings of a module that are not docstrings."""
    tree = ast.parse(path.read_text())
    told = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    constants = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in told]
    return [n.value for n in constants if isinstance(n.value, str)]


def test_relions_names_stand_in_its_adapter_only() -> None:
    """But for the detector's MTF, a file of its own kind."""
    naming = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if any("rln" in text for text in strings_in(path))
    }
    inside = {name for name in naming if name.startswith("particles/relion/")}
    assert naming - inside == {"io/mtf.py"}
    assert inside == {f"particles/relion/{name}.py" for name in ("names", "model")}


def test_what_is_not_set_reads_back_to_the_letter(tmp_path: Path) -> None:
    star = written(tmp_path, rlnAngleRot=["1.0", "2", "3e0", "4", "5"], **ODD)
    half = np.array([1, 2, 1, 2, 1])
    changed = read(star).with_fields(half=half, tilt=np.array([0.1, 1e-7, -3.25, 90, 180]))
    write_particles(tmp_path / "q.star", changed)
    before, after = read_star(star), read_star(tmp_path / "q.star")
    assert list(after) == ["optics", "lab", "particles"]
    assert after["optics"].frame.equals(before["optics"].frame)
    assert after["lab"].frame.equals(before["lab"].frame)
    frame = after["particles"].frame
    assert frame.select(before["particles"].frame.columns).equals(before["particles"].frame)
    assert frame["rlnRandomSubset"].to_list() == ["1", "2", "1", "2", "1"]
    assert frame["rlnAngleTilt"].cast(float).to_list() == [0.1, 0.0, -3.25, 90.0, 180.0]


def test_fields_that_were_set_follow_the_rows(tmp_path: Path) -> None:
    star = written(tmp_path, rlnDefocusU=["1", "2", "3", "4", "5"], **ODD)
    picked = read(star).with_fields(x=np.arange(5.0)).take(np.array([4, 0, 4]))
    assert picked.x is not None and picked.x.tolist() == [4.0, 0.0, 4.0]
    assert picked.defocus_u is not None and picked.defocus_u.tolist() == [5.0, 1.0, 5.0]
    frame = picked.written.joined()
    assert frame["rlnFuture"].to_list() == ["0.10", "007", "0.10"]
    assert frame["rlnCoordinateX"].to_list() == ["4.0", "0.0", "4.0"]
    bare = picked.without(ParticleSet.x)
    assert bare.x is None and "rlnCoordinateX" not in bare.columns


def test_origins_are_angstrom_in_both_layouts(tmp_path: Path) -> None:
    old = read(old_layout(tmp_path))
    assert old.origin_x is not None
    assert old.origin_x.tolist() == [3.0, 0.0, -4.0, 0.5, 14.0]
    moved = old.with_fields(origin_x=old.origin_x + 2, origin_y=np.full(5, 1.0))
    write_particles(tmp_path / "q.star", moved)
    frame = read_star(tmp_path / "q.star")[""].frame
    assert frame["rlnOriginX"].cast(float).to_list() == [2.5, 1.0, -1.0, 1.25, 8.0]
    assert frame["rlnOriginY"].cast(float).to_list() == [0.5] * 5
    new = read(written(tmp_path, rlnOriginXAngst=["1", "2", "3", "4", "5"]))
    assert new.origin_x is not None and new.origin_x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_particles_own_value_counts_before_its_groups(tmp_path: Path) -> None:
    of_group = {"rlnCtfScalefactor": "0.5", "rlnMicrographPixelSize": "1.1"}
    own = read(written(tmp_path, of_group, rlnMicrographPixelSize=["1.5"] * 5))
    assert own.ctf_scale is not None and own.ctf_scale.tolist() == [0.5] * 5
    assert own.micrograph_pixel_size is not None
    assert own.micrograph_pixel_size.tolist() == [1.5] * 5


def test_a_cell_is_judged_when_it_is_asked_for(tmp_path: Path) -> None:
    star = written(tmp_path, rlnRandomSubset=["1", "2", "both", "1", "2"])
    particles = read(star)
    assert particles.has(ParticleSet.half) and particles.if_sound(ParticleSet.half) is None
    words = "column _rlnRandomSubset, row 3 holds 'both', expected a whole number"
    with pytest.raises(InputError, match=words) as caught:
        _ = particles.half
    assert caught.value.where == str(star)
    with pytest.raises(InputError, match="no columns _rlnAngleRot, _rlnAngleTilt, _rlnAnglePsi"):
        read_poses(particles)


def test_posteriors_of_classes_are_one_field(tmp_path: Path) -> None:
    by_class = np.array([[0.25, 0.75], [1, 0], [0.5, 0.5], [0, 1], [0.125, 0.875]])
    number = np.array([2, 1, 1, 2, 3])
    given = read(written(tmp_path)).with_fields(
        class_posteriors=by_class, class_number=number, noise_posterior=np.full(5, 0.0625)
    )
    write_particles(tmp_path / "q.star", given)
    frame = read_star(tmp_path / "q.star")["particles"].frame
    assert frame["vitreousClassPosterior2"].cast(float).to_list() == by_class[:, 1].tolist()
    again = read(tmp_path / "q.star")
    assert again.class_posteriors is not None
    np.testing.assert_array_equal(again.class_posteriors, by_class)
    assert class_posterior(again).tolist() == [0.75, 1.0, 0.5, 1.0, 0.0625]


def test_no_value_of_before_is_left_where_it_would_be_read(tmp_path: Path) -> None:
    former = {f"vitreousClassPosterior{n}": ["0.3"] * 5 for n in (1, 2, 3)}
    fewer = read(written(tmp_path, **former)).with_fields(class_posteriors=np.full((5, 2), 0.5))
    write_particles(tmp_path / "q.star", fewer)
    again = read(tmp_path / "q.star").class_posteriors
    assert again is not None and again.tolist() == [[0.5, 0.5]] * 5

    blocks = read_star(old_layout(tmp_path))
    both = blocks[""].frame.with_columns(rlnOriginXAngst=pl.Series(["9"] * 5))
    write_star(tmp_path / "both.star", [blocks[""].with_frame(both)])
    moved = read(tmp_path / "both.star").with_fields(origin_x=np.full(5, 3.0))
    write_particles(tmp_path / "q.star", moved)
    again = read(tmp_path / "q.star").origin_x
    assert again is not None and again.tolist() == [3.0] * 5


# ---- another format needs an adapter, and nothing else


NAMES = {"rot": "align/phi", "tilt": "align/theta", "psi": "align/psi", "half": "align/split"}
TURNED = ("rot", "tilt", "psi")


@dataclass(frozen=True)
class Arrays:
    """Columns of arrays, angles in radians, under names of their own."""

    held: Mapping[str, np.ndarray]

    def called(self, field: Field[Any]) -> str:
        return NAMES.get(field.name, f"vitreous/{field.name}")

    def has(self, field: Field[Any]) -> bool:
        return self.called(field) in self.held

    def read(self, field: Field[Any]) -> Any:
        values = self.held.get(self.called(field))
        turned = field.name in TURNED and values is not None
        return np.degrees(values) if turned else values

    def with_fields(self, values: Mapping[Field[Any], Any]) -> Arrays:
        new = {self.called(f): np.radians(v) if f.name in TURNED else v for f, v in values.items()}
        return Arrays({**self.held, **new})


def test_jobs_see_fields_whatever_the_format() -> None:
    turn = np.pi / 2
    arrays = {
        "align/phi": np.array([0.0, turn]),
        "align/theta": np.array([0.0, turn]),
        "align/psi": np.array([0.0, 0.0]),
        "align/split": np.array([1, 2]),
        "uid": np.array([7, 9]),
    }
    optics = OpticsGroup(1, "a", 2.0, 16, 300.0, 2.7, 0.1)
    no = np.zeros(2, dtype=bool)
    particles = ParticleSet(
        Path("p.cs"), Arrays(arrays), (optics,), np.zeros(2, dtype=np.int32),
        ImageFiles.of_stack(Path("p.mrcs"), 2), CtfState(no, no), {},
    )  # fmt: skip
    np.testing.assert_allclose(read_poses(particles).angles, [[0, 0, 0], [90, 90, 0]])
    moved = recentred(particles, np.array([1.0, 2.0, 3.0]))
    # The view along z sees x and y; the other, A = (Rz Ry Rz) transposed, sees -z and -x.
    np.testing.assert_allclose(moved.written.held["vitreous/origin_x"], [-1.0, 3.0])
    assert moved.written.held["uid"] is arrays["uid"]
    assert given_halves(particles, "").half.tolist() == [1, 2]
    none = replace(particles, carried=Arrays({}))
    with pytest.raises(InputError, match="no columns align/phi, align/theta, align/psi"):
        read_poses(none)
