"""Selection and symmetry expansion, against RELION's programs and counting by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from vitreous.config.particles import ExpandSymmetryConfig, SelectConfig
from vitreous.errors import InputError, VitreousError
from vitreous.io.mrc import stack_writer
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.particles.expand_symmetry import run_expand_symmetry
from vitreous.jobs.particles.select import Selection, class_list, run_select
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.expression import fulfilled
from vitreous.particles.files import read_particles
from vitreous.particles.groups import halves, regrouped
from vitreous.particles.micrographs import positions
from vitreous.particles.poses import read_coordinates, read_origins
from vitreous.validate.class_quality import ClassRecord, class_qualities
from vitreous.validate.particles.duplicates import redundant

COUNT, PIXEL = 240, 2.5


def table_frame() -> pl.DataFrame:
    """Particles on eight crowded micrographs, in four classes and two optics groups."""
    rng = np.random.default_rng(5)
    row = np.arange(COUNT)
    columns = {
        "rlnImageName": [f"{i + 1:06d}@Extract/p.mrcs" for i in row],
        "rlnMicrographName": [f"mic{i % 8}.mrc" for i in row],
        "rlnOpticsGroup": 1 + row % 8 // 4,
        "rlnCoordinateX": rng.uniform(0, 400, COUNT).round(3),
        "rlnCoordinateY": rng.uniform(0, 400, COUNT).round(3),
        "rlnAngleRot": rng.uniform(-180, 180, COUNT).round(4),
        "rlnAngleTilt": rng.uniform(0, 180, COUNT).round(4),
        "rlnAnglePsi": rng.uniform(-180, 180, COUNT).round(4),
        "rlnOriginXAngst": rng.uniform(-20, 20, COUNT).round(4),
        "rlnOriginYAngst": rng.uniform(-20, 20, COUNT).round(4),
        "rlnClassNumber": 1 + rng.integers(0, 4, COUNT),
        "rlnMaxValueProbDistribution": rng.uniform(0, 1, COUNT).round(4),
        "rlnCtfMaxResolution": rng.uniform(3, 9, COUNT).round(4),
        "myNote": ["a 'quoted' note" if i % 3 else "plain" for i in row],
    }
    return pl.DataFrame(columns).select(pl.all().cast(pl.String))


def write_project(folder: Path, frame: pl.DataFrame, name: str = "run_data.star") -> Path:
    """A RELION project's root with a job's STAR file in it."""
    optics = {
        "rlnOpticsGroup": ["1", "2"],
        "rlnOpticsGroupName": ["first", "second"],
        "rlnImagePixelSize": [f"{PIXEL}"] * 2,
        "rlnImageSize": ["16", "16"],
        "rlnVoltage": ["300", "200"],
        "rlnSphericalAberration": ["2.7"] * 2,
        "rlnAmplitudeContrast": ["0.1"] * 2,
        "rlnImageDimensionality": ["2"] * 2,
    }
    star = folder / "Class3D" / name
    star.parent.mkdir(exist_ok=True)
    write_star(star, [StarBlock("optics", pl.DataFrame(optics)), StarBlock("particles", frame)])
    return star


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Extract").mkdir()
    with stack_writer(tmp_path / "Extract" / "p.mrcs", 16, COUNT, PIXEL) as stack:
        stack.append(np.random.default_rng(0).normal(size=(COUNT, 16, 16)))
    return write_project(tmp_path, table_frame())


def select(star: Path, **options: object) -> tuple[Selection, pl.DataFrame]:
    """The record and the particles kept."""
    out = star.parents[1] / "Select" / "kept.star"
    out.parent.mkdir(exist_ok=True)
    found = run_select(SelectConfig(star, out=out, overwrite=True, **options))
    return found, read_star(found.outputs[0])["particles"].frame


def relion_star_handler(star: Path, relion: Callable[[str], str], *options: str) -> pl.DataFrame:
    command = (relion("relion_star_handler"), "--i", str(star), "--o", "theirs.star", *options)
    done = subprocess.run(command, cwd=star.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    return read_star(star.parents[1] / "theirs.star")["particles"].frame


def values(frame: pl.DataFrame, *names: str) -> np.ndarray:
    return frame.select(pl.col(names).cast(pl.Float64)).to_numpy()


@pytest.mark.parametrize(
    "text,keeps",
    [
        ("a < 6", lambda a, b, name: a < 6),
        ("_a<=3.5 or not b > 2", lambda a, b, name: a <= 3.5 or not b > 2),
        ("a + 2*b**2 - abs(-b)/4 >= 7 % 5", lambda a, b, name: a + 2 * b**2 - abs(b) / 4 >= 2),
        ("2 < a < 8 and (b == 1 or b != -3)", lambda a, b, name: 2 < a < 8 and b != -3),
        ("name == 'x y' or name in ('007', 'q')", lambda a, b, name: name in ("x y", "007", "q")),
        ("'y' in name and name != \"y\"", lambda a, b, name: "y" in name and name != "y"),
        ("b in (1, 2) and b not in [2]", lambda a, b, name: b == 1),
        ("b == '1'", lambda a, b, name: b == 1),
    ],
)
def test_conditions(text: str, keeps: Callable[[float, float, str], bool]) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 10, 200).round(2), rng.integers(-3, 4, 200)
    names = rng.choice(["x y", "007", "y", "q", "xyz"], 200)
    frame = pl.DataFrame({"a": a, "b": b, "name": names}).select(pl.all().cast(pl.String))
    found = fulfilled(text, frame, Path("t.star"))
    expected = [keeps(*row) for row in zip(a.tolist(), b.tolist(), names.tolist(), strict=True)]
    assert found.tolist() == expected
    assert 0 < sum(expected) < 200


def test_missing_measurements_fulfil_nothing() -> None:
    frame = pl.DataFrame({"a": ["1", "nan", "3"]})
    for text in ("a > 2", "a <= 2", "a == a", "not a > 2"):
        assert not fulfilled(text, frame, Path("t.star"))[1]


@pytest.mark.parametrize(
    "text,words",
    [
        ("rlnCtfMaxResolutin < 6", "no column _rlnCtfMaxResolutin.*did you mean rlnCtfMaxRes"),
        ("rlnClassNumber <", "does not parse to its end"),
        ("rlnClassNumber 3", "does not parse at character"),
        ("rlnClassNumber + 1", "no condition"),
        ("rlnMicrographName < 3", r"_rlnMicrographName, row 1 holds 'mic0.mrc', expected a number"),
        ("rlnMicrographName > 'a'", "text is put in order"),
        ("__import__('os').getcwd() == 'a'", "not understood"),
        ("rlnClassNumber if 1 < 2 else 3", "not understood"),
        ("rlnClassNumber.bit_length() == 1", "not understood"),
        ("rlnClassNumber == True", "no number or text"),
        ("(rlnClassNumber < 3) + 1 > 0", "truth stands where a number"),
        ("3 == '3'", "text is compared with a number"),
        ("rlnClassNumber > 99", "no particle is left of 240 after the step 'rlnClassNumber > 99'"),
    ],
)
def test_bad_conditions(project: Path, text: str, words: str) -> None:
    with pytest.raises(VitreousError, match=words):
        select(project, where=(text,))


def test_posterior_as_relion_and_all_columns_stay(project: Path, relion) -> None:
    label = "rlnMaxValueProbDistribution"
    theirs = relion_star_handler(project, relion, "--select", label, "--minval", "0.4")
    found, ours = select(project, min_posterior=0.4)
    assert ours["rlnImageName"].to_list() == theirs["rlnImageName"].to_list()
    kept = table_frame().filter(pl.col(label).cast(pl.Float64) >= 0.4)
    assert ours.equals(kept) and 0 < len(kept) < COUNT
    assert read_star(found.outputs[0])["optics"].frame.equals(read_star(project)["optics"].frame)
    assert [step.particles for step in found.steps] == [COUNT, len(kept)]


def test_classes_conditions_and_optics_together(project: Path) -> None:
    _, ours = select(
        project,
        classes="1,3-4",
        where=("rlnOpticsGroupName == 'second'", "rlnCtfMaxResolution < 6"),
    )
    numbers = values(table_frame(), "rlnClassNumber", "rlnOpticsGroup", "rlnCtfMaxResolution")
    expected = (numbers[:, 0] != 2) & (numbers[:, 1] == 2) & (numbers[:, 2] < 6)
    assert ours.equals(table_frame().filter(expected)) and len(ours)
    assert class_list("2, 4-6") == [2, 4, 5, 6]


def test_posterior_of_the_class(project: Path) -> None:
    rng = np.random.default_rng(2)
    by_class = rng.dirichlet([1, 1, 1, 1], COUNT).round(6)
    frame = table_frame().with_columns(
        **{
            f"vitreousClassPosterior{n + 1}": pl.Series(by_class[:, n].astype(str))
            for n in (0, 1, 2)
        },
        vitreousNoiseProbability=pl.Series(by_class[:, 3].astype(str)),
    )
    write_project(project.parents[1], frame)
    _, ours = select(project, min_class_posterior=0.3)
    own = by_class[np.arange(COUNT), values(frame, "rlnClassNumber")[:, 0].astype(int) - 1]
    assert ours["rlnImageName"].to_list() == frame["rlnImageName"].filter(own >= 0.3).to_list()


def test_distances_as_relion(project: Path, relion) -> None:
    options = ("--remove_duplicates", "60", "--image_angpix", str(PIXEL))
    theirs = set(relion_star_handler(project, relion, *options)["rlnImageName"])
    frame, table = table_frame(), read_particles(project)
    places = positions(table, np.full(len(table), PIXEL))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = (apart <= 60) & np.equal.outer(*[frame["rlnMicrographName"].to_numpy()] * 2)
    # RELION removes a particle that has any later one near, be that removed itself or not.
    later = near & (np.arange(COUNT)[None] > np.arange(COUNT)[:, None])
    assert theirs == set(frame["rlnImageName"].filter(~later.any(axis=1)))
    _, ours = select(project, min_distance=60.0)
    kept = frame["rlnImageName"].is_in(ours["rlnImageName"]).to_numpy()
    assert near[np.ix_(kept, kept)].sum() == kept.sum() >= len(theirs) > COUNT / 2
    assert near[np.ix_(~kept, kept)].any(axis=1).all()


def test_of_duplicates_the_better_one_stays() -> None:
    rng = np.random.default_rng(3)
    places, group, merit = rng.uniform(0, 50, (150, 2)), rng.integers(0, 3, 150), rng.random(150)
    removed = redundant(places, group, 6.0, merit)
    near = np.linalg.norm(places[:, None] - places[None], axis=-1) <= 6
    near &= (group[:, None] == group[None]) & ~np.eye(150, dtype=bool)
    assert not near[np.ix_(~removed, ~removed)].any()
    better = near & (merit[None] > merit[:, None]) & ~removed[None]
    assert better.any(axis=1).tolist() == removed.tolist()


def test_recentring_as_relion(project: Path, relion) -> None:
    point = (12.5, -20.0, 30.0)
    pixels = [(f"--center_{axis}", f"{x / PIXEL}") for axis, x in zip("XYZ", point, strict=True)]
    theirs = relion_star_handler(project, relion, "--center", *chain(*pixels))
    _, ours = select(project, recentre=point)
    names = ("rlnOriginXAngst", "rlnOriginYAngst")
    np.testing.assert_allclose(values(ours, *names), values(theirs, *names), atol=2e-3)
    assert np.ptp(values(ours, *names) - values(table_frame(), *names)) > 20


def test_origins_move_into_coordinates(project: Path) -> None:
    found, _ = select(project, origins_to_coordinates=True)
    before, after = (read_particles(path) for path in (project, found.outputs[0]))
    np.testing.assert_allclose(
        positions(before, np.full(len(before), PIXEL)),
        positions(after, np.full(len(after), PIXEL)),
        atol=1e-4,
    )
    assert np.abs(read_origins(after)).max() <= PIXEL / 2 + 1e-6
    moved = read_coordinates(after) - read_coordinates(before)
    np.testing.assert_allclose(moved, moved.round(), atol=1e-6)
    assert any("extract" in warning for warning in found.warnings)


def test_halves_are_even_and_keep_units_whole(project: Path) -> None:
    rng = np.random.default_rng(4)
    unit = rng.integers(0, 40, 1000)
    half = halves(unit, seed=1)
    assert all(len(set(half[unit == one].tolist())) == 1 for one in range(40))
    assert abs((half == 1).sum() - 500) <= np.bincount(unit).max()
    assert not np.array_equal(half, halves(unit, seed=2))
    _, ours = select(project, halves="micrograph")
    assert (
        ours.group_by("rlnMicrographName")
        .agg(pl.col("rlnRandomSubset").n_unique())["rlnRandomSubset"]
        .to_list()
        == [1] * 8
    )
    _, ours = select(project, halves="random")
    assert ours["rlnRandomSubset"].value_counts()["count"].to_list() == [COUNT // 2] * 2


def test_groups_gather_like_micrographs() -> None:
    rng = np.random.default_rng(6)
    micrograph = rng.integers(0, 60, 900)
    scale = rng.uniform(0.5, 1.5, 60)
    apart = (np.arange(60) >= 50).astype(int)[micrograph]
    found = regrouped(micrograph, apart, scale[micrograph], 70)
    assert found.sizes.min() >= 70 and found.sizes.sum() == 900 and len(found.sizes) > 8
    for one in range(60):
        assert len(set(found.group[micrograph == one].tolist())) == 1
    for group in range(len(found.sizes)):
        assert len(set(apart[found.group == group].tolist())) == 1
    # Groups of one optics group do not overlap in scale.
    own = [scale[micrograph[(found.group == g) & (apart == 0)]] for g in range(len(found.sizes))]
    ranges = sorted((x.min(), x.max()) for x in own if len(x))
    assert all(low[1] <= high[0] for low, high in pairwise(ranges))
    small = regrouped(micrograph, apart, scale[micrograph], 5000)
    assert sorted(small.sizes.tolist()) == sorted(np.bincount(apart).tolist())


def test_regrouping_writes_relions_columns(project: Path) -> None:
    found, ours = select(project, regroup=100)
    sizes = ours["rlnGroupNumber"].value_counts()["count"]
    assert sizes.min() >= 100 and ours["rlnGroupName"].n_unique() == len(sizes) == 2
    found, _ = select(project, regroup=200)
    assert "fewer than 200" in found.warnings[0]


def test_parts_make_up_the_table(project: Path) -> None:
    for split, count in ((7, 7), ("class", 4)):
        found, _ = select(project, split=split)
        frames = [read_star(path)["particles"].frame for path in found.outputs]
        assert len(frames) == count
        assert pl.concat(frames).sort("rlnImageName").equals(table_frame())
        if split == "class":
            assert all(frame["rlnClassNumber"].n_unique() == 1 for frame in frames)
        else:
            assert max(map(len, frames)) - min(map(len, frames)) <= 1


def test_random_choices(project: Path) -> None:
    _, ours = select(project, random=50, seed=1)
    _, other = select(project, random=50, seed=2)
    assert len(set(ours["rlnImageName"])) == 50 and not ours.equals(other)
    assert ours["rlnImageName"].is_sorted()
    _, ours = select(project, max_per_class=20)
    assert ours["rlnClassNumber"].value_counts()["count"].to_list() == [20] * 4


def test_images_are_found_from_the_new_place(project: Path) -> None:
    before = read_particles(project)
    for out in (project.parents[1] / "kept.star", project.parents[2] / "elsewhere.star"):
        run_select(SelectConfig(project, out=out, random=9, overwrite=True))
        assert read_particles(out).stacks[0].samefile(before.stacks[0])
    inside = read_star(project.parents[1] / "kept.star")["particles"].frame
    assert set(inside["rlnImageName"]) <= set(table_frame()["rlnImageName"])
    (project.parents[1] / "Extract" / "p.mrcs").unlink()
    _, ours = select(project, random=9)  # a table can be sorted where its images are not
    assert set(ours["rlnImageName"]) <= set(table_frame()["rlnImageName"])


def write_model(star: Path, **columns: list[float]) -> None:
    names = [f"{n:06d}@run_classes.mrcs" for n in range(1, 5)]
    cells = {k: [str(v) for v in values] for k, values in columns.items()}
    frame = pl.DataFrame({"rlnReferenceImage": names, **cells})
    write_star(star.with_name("run_model.star"), [StarBlock("model_classes", frame)])


def test_auto_keeps_the_good_classes_of_relion(project: Path) -> None:
    write_model(
        project,
        rlnClassDistribution=[0.4, 0.05, 0.35, 0.2],
        rlnAccuracyRotations=[1.2, 6.0, 1.5, 1.3],
        rlnAccuracyTranslationsAngst=[0.8, 4.0, 0.9, 0.9],
        rlnEstimatedResolution=[6.0, 30.0, 6.5, 7.0],
        rlnOverallFourierCompleteness=[1.0, 0.4, 1.0, 1.0],
    )
    found, ours = select(project, auto=True)
    assert [q.record.number for q in found.ranking] == [1, 3, 4, 2]
    assert found.ranking[0].score == pytest.approx(1.0) and found.ranking[-1].score < 0.4
    assert set(ours["rlnClassNumber"]) == {"1", "3", "4"}
    written = json.loads(found.record.read_text())
    assert [entry["record"]["number"] for entry in written["ranking"]] == [1, 3, 4, 2]


def test_auto_reads_our_own_classes(project: Path) -> None:
    names = ("label", "fraction", "confidence", "mean_max_posterior", "resolution")
    rows = (
        ("map", 0.5, 0.95, 0.6, 8.0),
        ("sphere", 0.2, 0.9, 0.5, 8.0),
        ("map", 0.2, 0.9, 0.5, 8.0),
        ("noise", 0.1, 0.99, 0.1, None),
    )
    classes = [
        {"class": number, **dict(zip(names, row, strict=True))}
        for number, row in enumerate(rows, 1)
    ]
    result = project.with_name("result.json")
    result.write_text(json.dumps({"classes": classes}))
    found, ours = select(project, auto=True)
    assert set(ours["rlnClassNumber"]) == {"1", "3"}
    assert {q.record.number for q in found.ranking if q.score == 0} == {2, 4}
    before = found.ranking[1].score
    classes[2]["resolution"] = 16.0
    result.write_text(json.dumps({"classes": classes}))
    found, _ = select(project, auto=True)
    terms = len(found.ranking[1].terms)
    assert found.ranking[1].score == pytest.approx(before / 2 ** (1 / terms))


def test_a_score_is_a_geometric_mean() -> None:
    good = ClassRecord(1, "map", 0.6, resolution=5.0, completeness=1.0)
    poor = ClassRecord(2, "map", 0.1, resolution=10.0, completeness=0.5)
    gone = ClassRecord(3, "map", 0.0, resolution=999.0, completeness=0.0)
    junk = ClassRecord(4, "empty", 0.3, resolution=1.0)
    ranking = class_qualities([gone, poor, junk, good])
    assert [q.record.number for q in ranking][:2] == [1, 2]
    assert ranking[1].score == pytest.approx((0.3 * 0.5 * 0.5) ** (1 / 3))
    assert {q.score for q in ranking[2:]} == {0}


@pytest.mark.parametrize("symmetry", ["D2", "C5", "T", "I1"])
def test_expansion_as_relion(project: Path, relion, symmetry: str) -> None:
    root = project.parents[1]
    star = write_project(root, table_frame()[:12], "few.star")
    command = (relion("relion_particle_symmetry_expand"), "--i", str(star), "--o", "theirs.star")
    subprocess.run((*command, "--sym", symmetry), cwd=root, check=True, capture_output=True)
    run_expand_symmetry(ExpandSymmetryConfig(star, symmetry=symmetry, out=root / "ours.star"))
    theirs, ours = (
        read_star(root / f"{who}.star")["particles"].frame for who in ("theirs", "ours")
    )
    assert len(theirs) == len(ours)
    angles = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    for name in table_frame()["rlnImageName"][:12]:
        mine, other = (f.filter(pl.col("rlnImageName") == name) for f in (ours, theirs))
        a, b = (
            euler_to_matrix(*torch.from_numpy(values(f, *angles).T.copy())) for f in (mine, other)
        )
        apart = (a[:, None] - b[None]).abs().amax(dim=(2, 3))
        assert apart.amin(dim=1).max() < 1e-4 and apart.amin(dim=0).max() < 1e-4
        origins = values(mine, "rlnOriginXAngst", "rlnOriginYAngst")
        np.testing.assert_allclose(
            origins, values(other, "rlnOriginXAngst", "rlnOriginYAngst"), atol=1e-4
        )


def test_expansion_keeps_columns_and_numbers_the_copies(project: Path) -> None:
    out = project.with_name("expanded.star")
    result = run_expand_symmetry(ExpandSymmetryConfig(project, symmetry="D2", out=out))
    assert (result.particles, result.rows, result.warnings) == (COUNT, 4 * COUNT, ())
    first = read_star(out)["particles"].frame.filter(pl.col("vitreousSymmetryOperator") == "1")
    assert first.drop("vitreousSymmetryOperator").equals(table_frame())
    again = ExpandSymmetryConfig(out, symmetry="C2", out=project.with_name("twice.star"))
    assert "expanded before" in run_expand_symmetry(again).warnings[0]
    for symmetry, words in (("H", "helices"), ("helical", "helices"), ("Q5", "not a point group")):
        with pytest.raises(VitreousError, match=words):
            run_expand_symmetry(ExpandSymmetryConfig(project, symmetry=symmetry, out=out))
    with pytest.raises(VitreousError, match="one pose"):
        run_expand_symmetry(ExpandSymmetryConfig(project, symmetry="C1", out=out))
    with pytest.raises(VitreousError, match="--overwrite"):
        run_expand_symmetry(ExpandSymmetryConfig(project, symmetry="C2", out=out))


@pytest.mark.parametrize(
    "options,without,words",
    [
        ({}, (), "nothing to select by"),
        ({"classes": "7"}, (), r"no particle is in class 7; .* 1 \(\d+\), 2 \(\d+\)"),
        ({"classes": "3-1"}, (), "no list of classes"),
        ({"classes": "one"}, (), "no list of classes"),
        ({"classes": "1"}, ("rlnClassNumber",), "no column _rlnClassNumber"),
        ({"classes": "1", "auto": True}, (), "both choose classes"),
        ({"auto": True}, (), "beside it lies neither"),
        ({"auto": True, "classes_from": Path("none.json")}, (), "tells of no classes"),
        ({"auto": True, "classes_from": Path("none.star")}, (), "cannot be read"),
        ({"min_posterior": 0.5}, ("rlnMaxValueProbDistribution",), "no column _rlnMaxValue"),
        ({"min_posterior": 1.5}, (), "outside 0 to 1"),
        ({"min_class_posterior": 0.5}, (), "no column _vitreousClassPosterior1.*several classes"),
        ({"min_distance": 9.0}, ("rlnCoordinateX",), "no column _rlnCoordinateX"),
        ({"min_distance": 9.0}, ("rlnMicrographName",), "no column _rlnMicrographName"),
        ({"min_distance": -1.0}, (), "not more than 0 A"),
        ({"recentre": (1.0, 2.0, 3.0)}, ("rlnAngleRot", "rlnAnglePsi"), "_rlnAngleRot, _rlnAngleP"),
        ({"recentre": (1.0, np.inf, 3.0)}, (), "not finite"),
        ({"origins_to_coordinates": True}, ("rlnCoordinateY",), "no column _rlnCoordinateY"),
        ({"random": 241}, (), "241 are wanted, but 240"),
        ({"split": 0}, (), "make no 0 parts"),
        ({"regroup": 0}, (), "fewer than 1"),
        ({"halves": "micrograph"}, ("rlnMicrographName",), "no column _rlnMicrographName"),
    ],
)
def test_bad_input(project: Path, options: dict, without: tuple[str, ...], words: str) -> None:
    write_project(project.parents[1], table_frame().drop(without))
    with pytest.raises(VitreousError, match=words):
        select(project, **options)
    assert not list((project.parents[1] / "Select").glob("*.star"))


def test_class_number_that_is_none(project: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text('{"classes": [{"class": 1e999, "label": "map", "fraction": 1}]}')
    with pytest.raises(InputError, match="tells of no classes"):
        select(project, auto=True, classes_from=result)


def test_nothing_is_replaced_unasked(project: Path) -> None:
    config = SelectConfig(project, out=project.with_name("kept.star"), random=5)
    run_select(config)
    with pytest.raises(VitreousError, match="--overwrite"):
        run_select(config)
    write_model(project, rlnClassDistribution=[0.0, 0.5, 0.5, 0.0])
    with pytest.raises(VitreousError, match="no class with particles scores 1"):
        where = ("rlnClassNumber == 1",)
        only = select(project, where=where)[0].outputs[0]
        run_select(
            SelectConfig(
                only,
                out=project.with_name("b.star"),
                auto=True,
                min_score=1.0,
                classes_from=project.with_name("run_model.star"),
            )
        )
