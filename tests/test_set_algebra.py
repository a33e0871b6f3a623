"""Tables kept to, freed of and joined with others, and views evened out: against counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vitreous.config.particles import SelectConfig
from vitreous.errors import VitreousError
from vitreous.io.cryosparc import read_cs
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.particles.select import Selection, run_select
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles, write_particles
from vitreous.validate.particles.even_views import evened, view_numbers
from vitreous.validate.sampling import sampling

OPTICS = {
    "rlnOpticsGroup": "1", "rlnOpticsGroupName": "a", "rlnImagePixelSize": "2.000000",
    "rlnImageSize": "32", "rlnVoltage": "300", "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1", "rlnMicrographPixelSize": "1.000000",
}  # fmt: skip


def frame(rows: range, **more: list[str]) -> pl.DataFrame:
    """Particles of one stack on three micrographs, 50 A apart."""
    return pl.DataFrame({
        "rlnImageName": [f"{n + 1}@Extract/p.mrcs" for n in rows],
        "rlnMicrographName": [f"MotionCorr/job002/m{n % 3}.mrc" for n in rows],
        "rlnCoordinateX": [f"{50 * n}.0" for n in rows],
        "rlnCoordinateY": ["10.0"] * len(rows),
        "rlnOpticsGroup": ["1"] * len(rows),
        **more,
    })  # fmt: skip


def project(folder: Path, name: str, table: pl.DataFrame, **optics: str) -> Path:
    (folder / "Extract").mkdir(exist_ok=True)
    (folder / "Extract" / "p.mrcs").touch()
    path = folder / name
    blocks = [StarBlock("optics", pl.DataFrame([OPTICS | optics])), StarBlock("particles", table)]
    write_star(path, blocks)
    return path


def selected(particles: Path, out: str = "out.star", **options) -> Selection:
    config = SelectConfig(
        particles=particles, out=particles.parent / out, overwrite=True, **options
    )
    return run_select(config)


def numbers(path: Path) -> list[int]:
    """Numbers, from 0, of the images that a table names."""
    return read_particles(path, need_images=False).index_in_stack.tolist()


def test_and_not_and_join_are_those_of_sets(tmp_path: Path) -> None:
    a = project(tmp_path, "a.star", frame(range(12)))
    b = project(tmp_path, "b.star", frame(range(4, 20)))
    c = project(tmp_path, "c.star", frame(range(6, 8)))
    result = selected(a, and_=(b,), not_=(c,))
    assert numbers(result.outputs[0]) == [4, 5, 8, 9, 10, 11]
    assert [(step.what, step.particles) for step in result.steps] == [
        ("read", 12), ("in b.star", 8), ("not in c.star", 6)
    ]  # fmt: skip
    joined = selected(a, join=(b, c))
    assert numbers(joined.outputs[0]) == list(range(20))
    both = read_star(joined.outputs[0])
    assert both["optics"].frame.equals(read_star(a)["optics"].frame)
    again = selected(c, join=(a,)).outputs[0]
    assert numbers(again) == [6, 7, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11]


def test_images_are_known_however_their_file_is_named(tmp_path: Path) -> None:
    a = project(tmp_path, "a.star", frame(range(4)))
    other = frame(range(2, 6)).with_columns(
        pl.col("rlnImageName").str.replace("Extract", str(tmp_path / "Extract"), literal=True)
    )
    b = project(tmp_path, "b.star", other)
    assert numbers(selected(a, and_=(b,)).outputs[0]) == [2, 3]
    with pytest.raises(VitreousError, match=r"no particle is left of 4 .*'not in b2\.star'"):
        selected(a, not_=(project(tmp_path, "b2.star", frame(range(9))),))


def test_places_are_known_through_another_extraction(tmp_path: Path) -> None:
    """Other stacks, folders and origins: 5 A off lie within 20, 50 A do not."""
    a = project(tmp_path, "a.star", frame(range(6)))
    moved = frame(range(3, 9)).with_columns(
        rlnImageName=pl.Series([f"{n}@Extract/q.mrcs" for n in range(1, 7)]),
        rlnMicrographName=pl.Series(
            [f"J3/imported/012345678901234567890_m{n % 3}.mrc" for n in range(3, 9)]
        ),
        rlnOriginXAngst=pl.Series(["20.0"] * 6),
        rlnCoordinateX=pl.Series([f"{50 * n + 25}.0" for n in range(3, 9)]),
    )
    b = project(tmp_path, "b.star", moved)
    assert numbers(selected(a, and_=(b,), match="place").outputs[0]) == [3, 4, 5]
    with pytest.raises(VitreousError, match="no particle is left"):
        selected(a, and_=(b,), match="place", match_distance=4.0)
    assert len(numbers(selected(a, join=(b,), match="place").outputs[0])) == 9


def test_other_optics_groups_get_numbers_of_their_own(tmp_path: Path) -> None:
    a = project(tmp_path, "a.star", frame(range(3), rlnDefocusU=["1"] * 3))
    b = project(tmp_path, "b.star", frame(range(3, 5)), rlnVoltage="200", rlnBeamTiltX="0.5")
    result = selected(a, join=(b,))
    blocks = read_star(result.outputs[0])
    assert blocks["particles"].frame["rlnOpticsGroup"].to_list() == ["1", "1", "1", "2", "2"]
    optics = blocks["optics"].frame
    assert optics["rlnVoltage"].to_list() == ["300", "200"]
    assert optics["rlnBeamTiltX"].to_list() == ["0.0", "0.5"]
    assert optics["rlnOpticsGroupName"].to_list() == ["a", "a_2"]
    assert any("rlnDefocusU" in warning for warning in result.warnings)


def test_formats_mix(tmp_path: Path) -> None:
    a = project(tmp_path, "a.star", frame(range(6)))
    b = read_particles(project(tmp_path, "b.star", frame(range(4, 9))))
    write_particles(tmp_path / "b.cs", b)
    assert numbers(selected(a, and_=(tmp_path / "b.cs",)).outputs[0]) == [4, 5]
    assert numbers(selected(a, join=(tmp_path / "b.cs",)).outputs[0]) == list(range(9))
    result = selected(tmp_path / "b.cs", "c.cs", not_=(a,), write="star,cs")
    assert [path.name for path in result.outputs] == ["c.cs"]
    kept = read_cs(tmp_path / "c.cs")
    assert kept["uid"].tolist() == read_cs(tmp_path / "b.cs")["uid"][2:].tolist()
    result = selected(tmp_path / "c.cs", "d.star", join=(tmp_path / "b.cs",), write="star,cs")
    assert sorted(numbers(result.outputs[1])) == [4, 5, 6, 7, 8]


def crowded(count: int = 6000, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Views all round, and three times as many near one axis."""
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, count)))
    near = np.abs(rng.normal(90, 4, 3 * count))
    rot = np.concatenate([rng.uniform(-180, 180, count), rng.normal(30, 4, 3 * count)])
    return rot, np.concatenate([tilt, near])


@pytest.mark.parametrize("group", ["C1", "D2"])
def test_evened_views_sample_fourier_space_more_evenly(group: str) -> None:
    rot, tilt = crowded()
    operators = point_group(group)
    view = view_numbers(rot, tilt, operators)
    rows = evened(view, np.zeros(len(view)), 0.5, seed=1)
    counts = np.unique(view, return_counts=True)[1]
    kept = np.unique(view[rows], return_counts=True)[1]
    assert len(kept) == len(counts) and kept.max() == np.quantile(counts, 0.5, method="lower")
    before = sampling(rot, tilt, operators).score
    assert sampling(rot[rows], tilt[rows], operators).score > before + 0.05


def test_views_of_symmetry_mates_and_opposite_sides_are_one() -> None:
    rot, tilt = np.array([20.0, 110.0, 200.0, 200.0]), np.array([50.0, 50.0, 50.0, 130.0])
    assert len(set(view_numbers(rot, tilt, point_group("C4")).tolist())) == 1
    of_one = view_numbers(rot, tilt, point_group("C1"))
    assert of_one[0] == of_one[3] and len(set(of_one.tolist())) == 3


def test_the_best_of_a_view_are_kept() -> None:
    view = np.array([0, 0, 0, 1, 1, 2])
    merit = np.array([0.1, 0.9, 0.5, 0.2, 0.3, 0.0])
    assert evened(view, merit, 0.5, 0).tolist() == [1, 2, 3, 4, 5]
    assert evened(view, merit, 0.0, 0).tolist() == [1, 4, 5]


def test_select_evens_views(tmp_path: Path) -> None:
    rot, tilt = crowded(300)
    angles = {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": np.zeros(1200)}
    columns = {name: [f"{v:.3f}" for v in values] for name, values in angles.items()}
    a = project(tmp_path, "a.star", frame(range(1200), **columns))
    result = selected(a, even_views=0.9)
    assert 300 < result.steps[-1].particles < 900
    with pytest.raises(VitreousError, match="outside 0 to 1"):
        selected(a, even_views=1.5)
