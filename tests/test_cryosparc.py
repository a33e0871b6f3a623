"""cryoSPARC's files: against cryosparc-tools, and against poses known from simulation."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import simulated
from cryosparc_samples import cs_columns, matrix_of, vector_of

from vitreous.config.maps import ReconstructConfig
from vitreous.errors import InputError
from vitreous.io.cryosparc import read_cs, write_cs
from vitreous.io.mrc import read_map
from vitreous.io.star import read_star
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.cryosparc.values import angles_of, pose_of
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import open_images

SMALL = {
    "uid": np.array([3, 2**64 - 1, 5], np.uint64),
    "blob/path": np.array([b"J1/a.mrc", "J1/ä.mrc".encode(), b""]),
    "alignments3D/pose": np.arange(9, dtype=np.float32).reshape(3, 3),
    "blob/idx": np.array([0, 1, 2], np.uint32),
    "ctf/df1_A": np.array([1.5, -2.25, np.nan], np.float32),
    "wide": np.arange(12, dtype=np.int16).reshape(3, 2, 2),
}
LAYOUTS = ("npy", "stream")


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("cs") / "data", 60, box=24, snr=1.0, seed=8)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


# ---- the formats, against cryosparc-tools


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cryosparc_tools_reads_what_we_write(tmp_path: Path, layout: str) -> None:
    dataset = pytest.importorskip("cryosparc.dataset")
    write_cs(tmp_path / "p.cs", SMALL, layout)
    found = dataset.Dataset.load(tmp_path / "p.cs")
    assert list(found.fields()) == list(SMALL)
    for name, values in SMALL.items():
        texts = values.dtype.kind == "S"
        expected = [text.decode() for text in values] if texts else values
        np.testing.assert_array_equal(np.asarray(found[name]), expected, err_msg=name)
        assert texts or found[name].dtype == values.dtype


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [0, 3, 70_000])
def test_we_read_what_cryosparc_tools_writes(tmp_path: Path, layout: str, count: int) -> None:
    dataset = pytest.importorskip("cryosparc.dataset")
    rng = np.random.default_rng(1)
    columns = {
        "uid": rng.permutation(count).astype(np.uint64),
        "path": np.array([f"J{n % 7}/x" for n in range(count)], dtype=object),
        "pose": rng.normal(size=(count, 3)).astype(np.float32),
        "group": rng.integers(0, 9, count).astype(np.uint32),
    }
    number = {"npy": dataset.NUMPY_FORMAT, "stream": dataset.CSDAT_FORMAT}[layout]
    dataset.Dataset(list(columns.items())).save(tmp_path / "p.cs", format=number)
    found = read_cs(tmp_path / "p.cs")
    assert list(found) == list(columns)
    for name in ("uid", "pose", "group"):
        np.testing.assert_array_equal(found[name].reshape(columns[name].shape), columns[name])
    assert count == 0 or [text.decode() for text in found["path"]] == columns["path"].tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_formats_hold_the_same(tmp_path: Path, layout: str) -> None:
    write_cs(tmp_path / "p.cs", SMALL, layout)
    same(read_cs(tmp_path / "p.cs"), SMALL)


def test_the_file_of_cryosparc_itself(shared_data: Path) -> None:
    found = read_cs(shared_data / "cryosparc" / "4k_dataset.cs")
    assert len(found) == 106 and len(found["uid"]) == 0
    assert found["alignments3D/pose"].shape == (0, 3)
    assert found["location/micrograph_path"].dtype.kind == "S"


# ---- what is refused


class Hostile:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("unpickled",))


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_cs(path)
    assert caught.value.where == str(path) and caught.value.hint
    assert "\n" not in str(caught.value)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    rows = np.zeros(2, dtype=[("uid", "<u8"), ("trap", object)])
    rows["trap"] = [Hostile(), Hostile()]
    np.save(tmp_path / "p.cs.npy", rows, allow_pickle=True)
    refused(tmp_path / "p.cs.npy", "column trap holds Python objects")
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps(Hostile()))
    refused(tmp_path / "poses.pkl", "is no .cs file")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_file_is_told_at_any_length(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "p.cs"
    write_cs(path, SMALL, layout)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_cs(path)


def stream(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"\x95CSDAT" + len(text).to_bytes(4, "little") + text + body


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (stream(b"{"), "does not describe a table"),
        (stream(b"[" * 5000), "does not describe a table"),
        (stream({"length": 1, "dtype": [["uid", "<u8"]], "compression": "zip",
                 "compressed_fields": []}), "does not describe a table"),
        (stream({"length": 1, "dtype": [["uid", "<M8[s]"]], "compression": None,
                 "compressed_fields": []}), "column uid has the type '<M8"),
        (stream({"length": 10**12, "dtype": [["uid", "<u8"]], "compression": "lz4",
                 "compressed_fields": ["uid"]}, b"\x01\0\0\0x"), "more than column uid can hold"),
        (stream({"length": 2, "dtype": [["uid", "<u8"]], "compression": None,
                 "compressed_fields": []}, b"\x08\0\0\0" + bytes(8)), "holds 8 bytes in column"),
        (stream({"length": 2, "dtype": [["uid", "<u8"]], "compression": "lz4",
                 "compressed_fields": ["uid"]}, b"\x03\0\0\0\xff\xff\xff"), "damaged data"),
        (stream({"length": 1, "dtype": [["uid", "<u8"], ["p", "|O"]], "compression": None,
                 "compressed_fields": []},
                b"\x08\0\0\0" + bytes(8) + b"\x08\0\0\0\x63" + bytes(7) + b"\0"), "behind the"),
    ],
)  # fmt: skip
def test_a_damaged_stream_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "p.cs").write_bytes(content)
    refused(tmp_path / "p.cs", words)


def test_other_arrays_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.cs"
    for array, words in (
        (np.zeros(3), "holds a plain array"),
        (np.zeros((2, 2), [("uid", "<u8")]), r"array of shape \(2, 2\)"),
        (np.zeros(2, [("uid", "<u8"), ("when", "<M8[s]")]), "column when has the type"),
        (np.zeros(2, [("x", "<f4")]), "no column uid"),
        (np.zeros(2, [("uid", "<u8")]), "the uid 0 stands in 2 rows"),
    ):
        with path.open("wb") as file:
            np.save(file, array)
        refused(path, words)
    refused(tmp_path / "none.cs", "none.cs")


# ---- conventions


def test_rotation_vectors_turn_the_image_into_the_volume() -> None:
    """Rodrigues' matrix of the vector is RELION's matrix A transposed, as pyem and cryoDRGN say."""
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(200, 3))
    vectors *= rng.uniform(0.01, 3.1, (200, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    angles = angles_of(vectors)
    rot, tilt, psi = (np.asarray(part) for part in angles.T)
    import torch

    ours = euler_to_matrix(*(torch.from_numpy(part.copy()) for part in (rot, tilt, psi))).numpy()
    by_hand = np.array([matrix_of(vector).T for vector in vectors])
    np.testing.assert_allclose(ours, by_hand, atol=1e-12)
    np.testing.assert_allclose(pose_of(angles), [vector_of(*a) for a in angles], atol=1e-6)


@pytest.mark.parametrize("pole", [0.0, 180.0])
def test_poses_at_the_poles(pole: float) -> None:
    angles = angles_of(vector_of(20.0, pole, 35.0)[None].astype(np.float32))
    expected = matrix_of(vector_of(20.0, pole, 35.0))
    np.testing.assert_allclose(matrix_of(vector_of(*angles[0])), expected, atol=1e-6)


def test_a_quarter_turn_about_y_sees_along_x() -> None:
    """A worked example: the image's z, which is the view, is carried to the volume's x."""
    rot, tilt, psi = angles_of(np.array([[0, np.pi / 2, 0]]))[0]
    assert (round(rot, 9), round(tilt, 9), round(psi, 9)) == (0, 90, 0)


def test_fields_have_the_units_of_the_package(star: Path) -> None:
    columns = cs_columns(star)
    write_cs(star.parent / "p.cs", columns)
    ours, truth = read_particles(star.parent / "p.cs"), read_particles(star)
    np.testing.assert_allclose(read_poses(ours).matrices, read_poses(truth).matrices, atol=2e-6)
    for name in ("origin_x", "origin_y", "defocus_u", "defocus_v", "defocus_angle"):
        np.testing.assert_allclose(getattr(ours, name), getattr(truth, name), rtol=1e-6, atol=1e-5)
    assert ours.half is not None and set(ours.half.tolist()) == {1, 2}
    assert ours.class_number is not None and set(ours.class_number.tolist()) == {1, 2, 3}
    assert ours.optics[0].name == "exposureGroup4"
    for name in ("pixel_size", "box", "voltage", "cs", "amplitude_contrast"):
        assert getattr(ours.optics[0], name) == pytest.approx(getattr(truth.optics[0], name))
    assert ours.stacks == truth.stacks
    np.testing.assert_array_equal(ours.index_in_stack, truth.index_in_stack)


def test_a_reconstruction_is_the_same_to_the_bit_through_either_format(star: Path) -> None:
    folder = star.parent
    write_cs(folder / "p.cs", cs_columns(star), "stream")
    write_particles(folder / "q.star", read_particles(folder / "p.cs"))
    write_particles(folder / "r.cs", read_particles(folder / "q.star"))
    maps = {}
    for name in ("p.cs", "q.star", "r.cs", star.name):
        config = ReconstructConfig(folder / name, out=folder / f"map_{name}", overwrite=True)
        maps[name] = read_map(run_reconstruct(config) / "map.mrc")[0]
    np.testing.assert_array_equal(maps["p.cs"], maps["q.star"])
    spread = maps[star.name].std()
    for name in ("p.cs", "r.cs"):
        assert np.abs(maps[name] - maps[star.name]).max() < 1e-4 * spread


def test_dark_images_are_turned_white(star: Path) -> None:
    columns = cs_columns(star)
    columns["blob/sign"][1::2] = -1
    write_cs(star.parent / "dark.cs", columns)
    rows = np.arange(4)
    dark = open_images(read_particles(star.parent / "dark.cs")).read(rows)
    white = open_images(read_particles(star)).read(rows)
    np.testing.assert_array_equal(dark, white * np.array([1, -1, 1, -1])[:, None, None])
    write_particles(star.parent / "dark.star", read_particles(star.parent / "dark.cs"))
    again = open_images(read_particles(star.parent / "dark.star")).read(rows)
    np.testing.assert_array_equal(again, dark)


def test_the_likeliest_class_gives_the_pose(star: Path) -> None:
    columns = cs_columns(star)
    one = {name: v for name, v in columns.items() if not name.startswith("alignments3D/")}
    likely = np.stack([np.where(np.arange(60) % 3 == k, 0.7, 0.15) for k in range(3)], axis=1)
    for k in range(3):
        turned = columns["alignments3D/pose"] * (1 if k == 1 else 0.5)
        one |= {
            f"alignments_class_{k}/pose": turned.astype(np.float32),
            f"alignments_class_{k}/shift": columns["alignments3D/shift"] + k,
            f"alignments_class_{k}/psize_A": columns["blob/psize_A"],
            f"alignments_class_{k}/class_posterior": likely[:, k].astype(np.float32),
        }
    write_cs(star.parent / "three.cs", one)
    found = read_particles(star.parent / "three.cs")
    assert found.class_number is not None and found.class_posteriors is not None
    assert found.class_number.tolist() == [n % 3 + 1 for n in range(60)]
    np.testing.assert_allclose(found.class_posteriors, likely, atol=1e-6)
    truth, own = read_poses(read_particles(star)), read_poses(found)
    second = np.arange(60) % 3 == 1
    np.testing.assert_allclose(own.matrices[second], truth.matrices[second], atol=2e-6)
    assert np.abs(own.matrices[~second] - truth.matrices[~second]).max() > 0.1


# ---- several files


def split_pair(star: Path, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a refinement found, and what it passed through: more rows, in another order."""
    columns = cs_columns(star)
    found = {n: v[10:] for n, v in columns.items() if n == "uid" or n.startswith("alignments3D")}
    order = np.random.default_rng(2).permutation(60)
    passed = {n: v[order] for n, v in columns.items() if not n.startswith("alignments3D")}
    write_cs(folder / "cryosparc_P3_J12_004_particles.cs", found)
    write_cs(folder / "cryosparc_P3_J12_passthrough_particles.cs", passed)
    return found, passed


def test_the_passthrough_file_is_found_and_joined_by_uid(star: Path, tmp_path: Path) -> None:
    found, _ = split_pair(star, tmp_path)
    whole = cs_columns(star)
    job = read_particles(tmp_path / "cryosparc_P3_J12_004_particles.cs", need_images=False)
    assert len(job) == 50 and job.columns[: len(found)] == list(found)
    np.testing.assert_array_equal(job.carried.columns["blob/idx"], whole["blob/idx"][10:])
    assert any("passthrough" in note for note in job.notes)


def test_a_group_names_its_files(star: Path, tmp_path: Path) -> None:
    split_pair(star, tmp_path)
    lines = [
        "group:", "  name: particles", "results:",
        "  alignments3D:", "    metafile: '>cryosparc_P3_J12_004_particles.cs'",
        "    num_items: 50",
        "  blob:", "    metafile: '>cryosparc_P3_J12_passthrough_particles.cs'",
    ]  # fmt: skip
    (tmp_path / "particles.csg").write_text("\n".join(lines) + "\n")
    group = read_particles(tmp_path / "particles.csg", need_images=False)
    alone = read_particles(tmp_path / "cryosparc_P3_J12_004_particles.cs", need_images=False)
    same(dict(group.carried.columns), dict(alone.carried.columns))
    (tmp_path / "particles.csg").write_text("results:\n    metafile: '>none.cs'\n")
    with pytest.raises(InputError, match=r"names none\.cs, which is not there"):
        read_particles(tmp_path / "particles.csg")


def test_half_of_a_pair_is_told(star: Path, tmp_path: Path) -> None:
    _, passed = split_pair(star, tmp_path)
    job = tmp_path / "cryosparc_P3_J12_004_particles.cs"
    other = tmp_path / "cryosparc_P3_J12_passthrough_particles.cs"
    write_cs(other, {name: values[:40] for name, values in passed.items()})
    with pytest.raises(InputError, match=r"lacks \d+ of its 50 uids, the first \d+"):
        read_particles(job)
    other.unlink()
    with pytest.raises(InputError, match=r"half of a pair.* no passthrough file lies beside it"):
        read_particles(job)
    write_cs(other, passed)
    with pytest.raises(InputError, match="no column alignments3D/pose"):
        read_poses(read_particles(other, need_images=False))


def test_what_a_job_does_not_know_stays(star: Path, tmp_path: Path) -> None:
    columns = {**cs_columns(star), "ml_properties/odd": np.arange(60, dtype=np.int16)}
    write_cs(tmp_path / "p.cs", columns)
    taken = read_particles(tmp_path / "p.cs", need_images=False).take(np.array([5, 2]))
    moved = taken.with_fields(rot=np.array([10.0, 20.0]), half=np.array([2, 1]))
    write_particles(tmp_path / "q.cs", moved)
    after = read_cs(tmp_path / "q.cs")
    changed = {"alignments3D/pose", "alignments3D/split"}
    for name in set(columns) - changed - {"blob/path", "blob/idx"}:
        np.testing.assert_array_equal(after[name], columns[name][[5, 2]], err_msg=name)
    assert after["alignments3D/split"].tolist() == [1, 0]
    again = read_particles(tmp_path / "q.cs", need_images=False)
    assert again.rot is not None and np.allclose(again.rot, [10.0, 20.0], atol=1e-5)
    before = read_particles(tmp_path / "p.cs", need_images=False).tilt
    assert before is not None and again.tilt is not None
    np.testing.assert_allclose(again.tilt, before[[5, 2]], atol=1e-4)


def test_star_columns_of_a_cs_file(star: Path, tmp_path: Path) -> None:
    write_cs(tmp_path / "p.cs", cs_columns(star))
    write_particles(tmp_path / "p.star", read_particles(tmp_path / "p.cs", need_images=False))
    frame = read_star(tmp_path / "p.star")["particles"].frame
    assert frame["vitreousUid"][1] == str(2**63 + 7)
    assert frame["rlnRandomSubset"][:2].to_list() == ["1", "2"]
    assert "vitreousImageSign" not in frame.columns
