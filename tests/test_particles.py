"""The particle table in RELION's layouts, and images from several stacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitreous.errors import InputError
from vitreous.io.mrc import stack_writer
from vitreous.io.star import read_star
from vitreous.particles.columns import numbers
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.stack import open_images

OLD_LAYOUT = """
data_

loop_
_rlnVoltage #1
_rlnDefocusU #2
_rlnImageName #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMagnification #6
_rlnDetectorPixelSize #7
_myColumn #8
300 10000 000002@Extract/a.mrcs 2.7 0.1 10000 4.0 007
200 12000 000001@Extract/b.mrcs 2.0 0.1 10000 4.0 1e3
300 14000 000001@Extract/a.mrcs 2.7 0.1 10000 4.0 x
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A RELION project: paths in the job's STAR file are relative to the project's root."""
    (tmp_path / "Extract").mkdir()
    for name, first in (("a", 0), ("b", 100)):
        with stack_writer(tmp_path / "Extract" / f"{name}.mrcs", 16, 2, 4.0) as stack:
            values = first + np.arange(2 * 256, dtype=np.float32)
            stack.append(values.reshape(2, 16, 16))
    (tmp_path / "Select" / "job01").mkdir(parents=True)
    star = tmp_path / "Select" / "job01" / "particles.star"
    star.write_text(OLD_LAYOUT)
    return star


def test_relion_30_layout(project: Path) -> None:
    table = read_particles(project)
    assert [(g.voltage, g.cs, g.pixel_size, g.box) for g in table.optics] == [
        (200, 2.0, 4.0, 16),
        (300, 2.7, 4.0, 16),
    ]
    assert table.group.tolist() == [1, 0, 1]
    images = open_images(table).read(np.array([0, 1, 2]))
    assert images[:, 0, 0].tolist() == [256, 100, 0]


def test_poses_are_written_in_the_layout_of_the_input(project: Path, tmp_path: Path) -> None:
    table = read_particles(project)
    zeros = np.zeros(3)
    posed = table.with_fields(origin_x=np.array([8.0, 0, -4]), origin_y=zeros)
    out = tmp_path / "Out"
    out.mkdir()
    write_particles(out / "p.star", posed)
    block = read_star(out / "p.star")[""]
    assert block.frame["myColumn"].to_list() == ["007", "1e3", "x"]
    origins = numbers(block, "rlnOriginX", out)
    np.testing.assert_allclose(origins, [2, 0, -1])  # pixels of 4 A
    again = read_particles(out / "p.star")
    assert [p.name for p in again.stacks] == ["a.mrcs", "b.mrcs"]


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("10000 000002", "abc 000002", "_rlnDefocusU, row 1 holds 'abc'"),
        ("000002@", "000003@", r"asks for image 3, but .* holds 2"),
        ("000002@", "0@", "is no image name"),
        ("b.mrcs", "c.mrcs", "was looked for"),
        ("b.mrcs", "c" * 300 + ".mrcs", "was looked for"),  # no file system takes that name
        ("10000 4.0 007", "0 4.0 007", "nor a magnification above 0"),
        ("300 10000", "nan 10000", "rlnVoltage nan, expected"),
        ("300 10000", "0 10000", "rlnVoltage 0, expected more than 0"),
    ],
)
def test_bad_tables(project: Path, old: str, new: str, words: str) -> None:
    project.write_text(OLD_LAYOUT.replace(old, new))
    with pytest.raises(InputError, match=words):
        open_images(read_particles(project))


OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1 4.0
2 4.0

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
1@Extract/a.mrcs 1
1@Extract/b.mrcs 2
"""


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("2 4.0", "1 4.0", "holds a group twice"),
        ("2 4.0", "3 4.0", "row 2 belongs to optics group 2"),
        ("_rlnOpticsGroup #1", "_rlnOpticsGroupName #1", "no column _rlnOpticsGroup"),
        ("2 4.0", "2 -1", "group 2 has pixel size -1, expected more than 0"),
    ],
)
def test_bad_optics_groups(project: Path, old: str, new: str, words: str) -> None:
    project.write_text(OPTICS.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        read_particles(project)


def test_the_real_stack(shared_data: Path) -> None:
    table = read_particles(shared_data / "empiar10146" / "particles_3.0A_72.star")
    assert len(table) == 2496
    assert (table.optics[0].box, table.optics[0].pixel_size, table.optics[0].cs) == (72, 3.0, 0.0)
    images = open_images(table).read(np.array([2495, 0]))
    assert images.shape == (2, 72, 72)
    # White particles: apoferritin is a hollow shell about 50 A in radius, brighter than its rim.
    many = open_images(table).read(np.arange(500)).mean(axis=0)
    radius = 3.0 * np.hypot(*(np.indices((72, 72)) - 36))
    assert many[(radius > 40) & (radius < 55)].mean() > many[(radius > 70) & (radius < 85)].mean()
