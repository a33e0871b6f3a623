"""The particle table: typed columns over the STAR file's own, and its optics groups."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.star import StarBlock, read_star, write_star

_PIXEL_COLUMNS = ("rlnImagePixelSize", "rlnPixelSize", "rlnMicrographPixelSize")
_OPTICS_COLUMNS = (
    *("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnDetectorPixelSize"),
    *("rlnMagnification", "rlnBeamTiltX", "rlnBeamTiltY", *_PIXEL_COLUMNS, "rlnImageSize"),
)
_MAG_COLUMNS = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
_CTF_COLUMNS = ("rlnDefocusU", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


@dataclass(frozen=True)
class OpticsGroup:
    """What the particles of one optics group share.

    Attributes
    ----------
    number : int
        rlnOpticsGroup.
    name : str
    pixel_size : float
        Angstrom.
    box : int
        Pixels.
    voltage : float
        kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
    beam_tilt : tuple of float
        Along x and y, mrad.
    mag_matrix : tuple of float
        rlnMagMat00, 01, 10, 11.
    """

    number: int
    name: str
    pixel_size: float
    box: int
    voltage: float
    cs: float
    amplitude_contrast: float
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    mag_matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class ParticleTable:
    """Particles as read from a STAR file.

    Attributes
    ----------
    path : Path
        The STAR file.
    block : StarBlock
        The particles' block, every cell as it was.
    optics_block : StarBlock or None
        The optics block; None for RELION 3.0 files.
    other_blocks : tuple of StarBlock
        Carried through.
    optics : tuple of OpticsGroup
    group : int32 array (particles,)
        Index into ``optics``.
    stacks : tuple of Path
        Image files found.
    stack_of : int32 array (particles,)
        Index into ``stacks``.
    index_in_stack : int64 array (particles,)
        0-based.
    defocus_u, defocus_v, defocus_angle, phase_shift : float64 arrays or None
        Angstrom and degrees; None without CTF columns.
    """

    path: Path
    block: StarBlock
    optics_block: StarBlock | None
    other_blocks: tuple[StarBlock, ...]
    optics: tuple[OpticsGroup, ...]
    group: Int[np.ndarray, " n"]
    stacks: tuple[Path, ...]
    stack_of: Int[np.ndarray, " n"]
    index_in_stack: Int[np.ndarray, " n"]
    defocus_u: Float[np.ndarray, " n"] | None
    defocus_v: Float[np.ndarray, " n"] | None
    defocus_angle: Float[np.ndarray, " n"] | None
    phase_shift: Float[np.ndarray, " n"] | None

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.group)

    @property
    def columns(self) -> list[str]:
        """Column names of the particles' block."""
        return self.block.frame.columns

    def row_name(self, row: int) -> str:
        """Name a particle for a message: its row and image."""
        return f"row {row + 1} ({self.block.frame['rlnImageName'][row]})"

    def with_poses(
        self,
        rot: Float[np.ndarray, " n"],
        tilt: Float[np.ndarray, " n"],
        psi: Float[np.ndarray, " n"],
        origin_x: Float[np.ndarray, " n"],
        origin_y: Float[np.ndarray, " n"],
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> ParticleTable:
        """Table with these poses (degrees; origins in angstrom) and further columns.

        Origins go to rlnOriginXAngst and YAngst, or in pixels to rlnOriginX and Y of a file in
        RELION 3.0's layout; other columns stay as they are.
        """
        if self.optics_block is None:
            pixel = np.array([g.pixel_size for g in self.optics])[self.group]
            origins = {"rlnOriginX": origin_x / pixel, "rlnOriginY": origin_y / pixel}
        else:
            origins = {"rlnOriginXAngst": origin_x, "rlnOriginYAngst": origin_y}
        angles = {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
        cells = {
            name: _as_cells(name, values)
            for name, values in {**angles, **origins, **(extra or {})}.items()
        }
        frame = self.block.frame.with_columns(**cells)
        return replace(self, block=self.block.with_frame(frame))


def _as_cells(name: str, values: np.ndarray) -> pl.Series:
    """Numbers as text, reals to six decimals."""
    series = pl.Series(name, values)
    return (series.round(6) if series.dtype.is_float() else series).cast(pl.String)


def numbers(block: StarBlock, name: str, path: Path) -> Float[np.ndarray, " n"]:
    """Read a column as numbers.

    Raises
    ------
    InputError
        Naming the first row that holds none.
    """
    cells = block.frame[name]
    values = cells.cast(pl.Float64, strict=False)
    bad = values.is_null() | ~values.is_finite().fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"column _{name}, row {row + 1} holds {cells[row]!r}, expected a number",
            where=path,
            mend="mend that cell",
        )
    return values.to_numpy()


def _first_box(stack: Path) -> int:
    return read_header(stack).shape[2]


def _pixel_size(row: Mapping[str, Any], path: Path, number: int) -> float:
    for name in _PIXEL_COLUMNS:
        if name in row:
            return float(row[name])
    if "rlnDetectorPixelSize" in row and float(row.get("rlnMagnification", 0)) > 0:
        return float(row["rlnDetectorPixelSize"]) * 1e4 / float(row["rlnMagnification"])
    raise InputError(
        f"optics group {number} has no pixel size (none of the columns "
        f"{', '.join('_' + n for n in _PIXEL_COLUMNS)}, nor a magnification above 0)",
        where=path,
        mend="add _rlnImagePixelSize",
    )


def _optics_group(row: Mapping[str, str], number: int, stack: Path, path: Path) -> OpticsGroup:
    try:
        values = {
            name: float(row.get(name, default))
            for name, default in {
                "rlnVoltage": 300.0,
                "rlnSphericalAberration": 2.7,
                "rlnAmplitudeContrast": 0.1,
                "rlnBeamTiltX": 0.0,
                "rlnBeamTiltY": 0.0,
                **dict(zip(_MAG_COLUMNS, (1.0, 0.0, 0.0, 1.0), strict=True)),
            }.items()
        }
        pixel_size = _pixel_size(row, path, number)
        box = int(row["rlnImageSize"]) if "rlnImageSize" in row else _first_box(stack)
    except ValueError as error:
        raise InputError(
            f"optics group {number} holds a value that is no number: {error}",
            where=path,
            mend="mend that cell",
        ) from error
    values |= {"pixel size": pixel_size, "image size": box}
    for name, value in values.items():
        positive = name in ("pixel size", "image size", "rlnVoltage")
        if not math.isfinite(value) or (positive and value <= 0):
            raise InputError(
                f"optics group {number} has {name} {value:g}, expected "
                f"{'more than 0' if positive else 'a finite number'}",
                where=path,
                mend="write the true one",
            )
    mag = [values[name] for name in _MAG_COLUMNS]
    return OpticsGroup(
        number,
        row.get("rlnOpticsGroupName", f"opticsGroup{number}"),
        pixel_size,
        box,
        values["rlnVoltage"],
        values["rlnSphericalAberration"],
        values["rlnAmplitudeContrast"],
        (values["rlnBeamTiltX"], values["rlnBeamTiltY"]),
        (mag[0], mag[1], mag[2], mag[3]),
    )


def _optics_from_block(
    block: StarBlock,
    particles: StarBlock,
    stack_of: np.ndarray,
    stacks: tuple[Path, ...],
    path: Path,
) -> tuple[tuple[OpticsGroup, ...], np.ndarray]:
    """Optics groups of RELION 3.1's layout, and each particle's index among them."""
    if "rlnOpticsGroup" not in particles.frame.columns:
        if len(block.frame) != 1:
            raise InputError(
                "the particles have no column _rlnOpticsGroup, but there are several groups",
                where=path,
                mend="add the column",
            )
        member = np.ones(len(particles.frame), dtype=np.int64)
        numbers_of = np.ones(1, dtype=np.int64)
    else:
        if "rlnOpticsGroup" not in block.frame.columns:
            raise InputError(
                "data_optics has no column _rlnOpticsGroup", where=path, mend="number its groups"
            )
        member = numbers(particles, "rlnOpticsGroup", path).astype(np.int64)
        numbers_of = numbers(block, "rlnOpticsGroup", path).astype(np.int64)
    if len(set(numbers_of.tolist())) < len(numbers_of):
        raise InputError(
            f"data_optics holds a group twice (its groups are {', '.join(map(str, numbers_of))})",
            where=path,
            mend="remove or renumber one of them",
        )
    unknown = ~np.isin(member, numbers_of)
    if unknown.any():
        row = int(unknown.argmax())
        raise InputError(
            f"row {row + 1} belongs to optics group {member[row]}, which data_optics lacks",
            where=path,
            mend="add the group or mend the row",
        )
    used = [(i, n) for i, n in enumerate(numbers_of) if (member == n).any()]
    group = np.searchsorted([n for _, n in sorted(used, key=lambda u: u[1])], member)
    optics = tuple(
        _optics_group(
            block.frame.row(i, named=True),
            int(n),
            stacks[stack_of[int((member == n).argmax())]],
            path,
        )
        for i, n in sorted(used, key=lambda u: u[1])
    )
    return optics, group.astype(np.int32)


def _optics_from_rows(
    block: StarBlock, stack_of: np.ndarray, stacks: tuple[Path, ...], path: Path
) -> tuple[tuple[OpticsGroup, ...], np.ndarray]:
    """Optics groups of RELION 3.0's layout: one for each combination of values."""
    names = [name for name in _OPTICS_COLUMNS if name in block.frame.columns]
    if not names:
        return (_optics_group({}, 1, stacks[0], path),), np.zeros(len(block.frame), dtype=np.int32)
    group = block.frame.select(pl.struct(names).rank("dense").alias("g"))["g"].to_numpy() - 1
    firsts = [int((group == g).argmax()) for g in range(int(group.max()) + 1)]
    optics = tuple(
        _optics_group(block.frame.row(row, named=True), number, stacks[stack_of[row]], path)
        for number, row in enumerate(firsts, 1)
    )
    return optics, group.astype(np.int32)


def _find_stack(name: str, star: Path) -> Path:
    """Resolve an image path against the STAR file's folder, its parents and the current one."""
    folder = star.resolve().parent
    places = [folder, *folder.parents, Path.cwd()]
    if Path(name).is_absolute():
        places = [Path("/")]
    for place in places:
        if (place / name).is_file():
            return place / name
    looked = (
        "as given" if Path(name).is_absolute() else f"in {folder}, its parents and {Path.cwd()}"
    )
    raise InputError(
        f"the image file {name} was looked for {looked} and is not there",
        where=star,
        mend="copy it there or mend _rlnImageName",
    )


def _images(block: StarBlock, path: Path) -> tuple[tuple[Path, ...], np.ndarray, np.ndarray]:
    """Stacks, each particle's stack, and its 0-based index there, from rlnImageName."""
    names = block.frame["rlnImageName"]
    parts = names.str.extract_groups(r"^(?:(?<index>\d+)@)?(?<file>[^@]+)$").struct.unnest()
    index = parts["index"].fill_null("1").cast(pl.Int64, strict=False)
    bad = parts["file"].is_null() | (index.fill_null(0) < 1)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"row {row + 1}: {names[row]!r} is no image name, expected NUMBER@FILE from 1",
            where=path,
            mend="mend that cell",
        )
    files = parts["file"].unique(maintain_order=True)
    stack_of = parts["file"].replace_strict(files, range(len(files)), return_dtype=pl.Int32)
    return (
        tuple(_find_stack(name, path) for name in files),
        stack_of.to_numpy(),
        index.to_numpy() - 1,
    )


def read_particles(path: Path | str) -> ParticleTable:
    """Read a particle STAR file of RELION 3.0, 3.1 or 5.

    Raises
    ------
    InputError
        For a table without particles or image names, cells that do not parse, unknown optics
        groups and image files that are not there.
    """
    path = Path(path)
    blocks = read_star(path)
    optics_block = blocks.get("optics")
    name = next((n for n in ("particles", "images", "") if n in blocks), None)
    block = blocks[name] if name is not None else None
    if block is None or "rlnImageName" not in block.frame.columns:
        found = {b.name: b.frame.columns for b in blocks.values()}
        raise InputError(
            "no particles: no block particles, images or data_ with a column _rlnImageName "
            f"(found {', '.join(f'data_{n} with {len(c)} columns' for n, c in found.items())})",
            where=path,
            mend="give the STAR file of extracted particles",
        )
    if len(block.frame) == 0:
        raise InputError("zero particles", where=path, mend="give a table with particles in it")
    stacks, stack_of, index = _images(block, path)
    if optics_block is None:
        optics, group = _optics_from_rows(block, stack_of, stacks, path)
    else:
        optics, group = _optics_from_block(optics_block, block, stack_of, stacks, path)

    def column(label: str, default: np.ndarray) -> np.ndarray:
        return numbers(block, label, path) if label in block.frame.columns else default

    zeros = np.zeros(len(block.frame))
    u = numbers(block, "rlnDefocusU", path) if "rlnDefocusU" in block.frame.columns else None
    others = tuple(b for b in blocks.values() if b is not block and b is not optics_block)
    return ParticleTable(
        path,
        block,
        optics_block,
        others,
        optics,
        group,
        stacks,
        stack_of,
        index,
        u,
        None if u is None else column("rlnDefocusV", u),
        None if u is None else column("rlnDefocusAngle", zeros),
        None if u is None else column("rlnPhaseShift", zeros),
    )


def require_ctf(table: ParticleTable) -> None:
    """Require the columns that the CTF is computed from.

    Raises
    ------
    InputError
        Naming those that are missing.
    """
    present = set(table.columns)
    if table.optics_block is not None:
        present |= set(table.optics_block.frame.columns)
    missing = [name for name in _CTF_COLUMNS if name not in present]
    if missing:
        raise InputError(
            f"no CTF: the columns {', '.join('_' + n for n in missing)} are missing",
            where=table.path,
            mend="estimate the CTF first, or pass --no-ctf",
        )


def _image_names(table: ParticleTable, folder: Path) -> pl.Series:
    """Image names that resolve from ``folder``: relative when near, else absolute."""
    names = []
    for stack in table.stacks:
        absolute = stack.resolve()
        relative = Path(os.path.relpath(absolute, folder.resolve()))
        names.append(str(relative if relative.parts.count("..") < 3 else absolute))
    numbers_there = pl.Series(table.index_in_stack + 1).cast(pl.String).str.zfill(6)
    files = pl.Series(names, dtype=pl.String).gather(table.stack_of)
    return (numbers_there + "@" + files).alias("rlnImageName")


def write_particles(path: Path | str, table: ParticleTable) -> None:
    """Write a table beside its new images' paths; RELION reads it from the output's folder."""
    path = Path(path)
    frame = table.block.frame.with_columns(_image_names(table, path.parent))
    blocks = [*table.other_blocks, table.block.with_frame(frame)]
    if table.optics_block is not None:
        blocks.insert(0, table.optics_block)
    write_star(path, blocks)
