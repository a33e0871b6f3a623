"""The particle table: typed columns over the STAR file's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import as_cells, numbers
from vitreous.particles.optics import OpticsGroup, optics_from_block, optics_from_rows

_CTF_COLUMNS = ("rlnDefocusU", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


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

    def __repr__(self) -> str:
        """In one line: the file, and how many particles in how many optics groups."""
        groups = len(self.optics)
        return (
            f"ParticleTable({str(self.path)!r}: {len(self):,} particles, "
            f"{groups} optics group{'s' if groups != 1 else ''}, {len(self.columns)} columns)"
        )

    @property
    def columns(self) -> list[str]:
        """Column names of the particles' block."""
        return self.block.frame.columns

    @property
    def pixel_sizes(self) -> Float[np.ndarray, " n"]:
        """Pixel size of each particle's image, angstrom."""
        return np.array([group.pixel_size for group in self.optics])[self.group]

    def row_name(self, row: int) -> str:
        """Name a particle for a message: its row and image."""
        return f"row {row + 1} ({self.block.frame['rlnImageName'][row]})"

    def take(self, rows: Int[np.ndarray, " m"]) -> ParticleTable:
        """Table of these rows, in the order given; a row may be asked for more than once."""

        def some(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[rows]

        return replace(
            self,
            block=self.block.with_frame(self.block.frame[rows]),
            group=self.group[rows],
            stack_of=self.stack_of[rows],
            index_in_stack=self.index_in_stack[rows],
            defocus_u=some(self.defocus_u),
            defocus_v=some(self.defocus_v),
            defocus_angle=some(self.defocus_angle),
            phase_shift=some(self.phase_shift),
        )

    def with_images(self, names: pl.Series, *, need_images: bool = True) -> ParticleTable:
        """Table with other image names, one for each particle.

        Raises
        ------
        InputError
            For names that do not parse, and for files that are needed and not there.
        """
        frame = self.block.frame.with_columns(names.alias("rlnImageName"))
        block = self.block.with_frame(frame)
        stacks, stack_of, index = _images(block, self.path, need_images)
        return replace(self, block=block, stacks=stacks, stack_of=stack_of, index_in_stack=index)

    def with_boxes(self, boxes: Mapping[int, int]) -> ParticleTable:
        """Table whose optics groups (their numbers) have these boxes, pixels."""
        optics = tuple(replace(g, box=boxes.get(g.number, g.box)) for g in self.optics)
        table = replace(self, optics=optics)
        if "rlnImageSize" in self.columns:
            return table.with_cells(rlnImageSize=np.array([g.box for g in optics])[self.group])
        if self.optics_block is None or "rlnImageSize" not in self.optics_block.frame.columns:
            return table
        frame = self.optics_block.frame
        old = zip(frame["rlnOpticsGroup"], frame["rlnImageSize"], strict=True)
        sizes = [str(boxes.get(int(number), size)) for number, size in old]
        block = self.optics_block.with_frame(frame.with_columns(rlnImageSize=pl.Series(sizes)))
        return replace(table, optics_block=block)

    def with_cells(self, **columns: np.ndarray) -> ParticleTable:
        """Table with these columns, numbers written as text."""
        cells = {name: as_cells(name, values) for name, values in columns.items()}
        return replace(self, block=self.block.with_frame(self.block.frame.with_columns(**cells)))

    def without(self, *columns: str) -> ParticleTable:
        """Table without these columns."""
        return replace(self, block=self.block.with_frame(self.block.frame.drop(columns)))

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
        angles = {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
        return self.with_cells(**angles).with_origins(origin_x, origin_y).with_cells(**extra or {})

    def with_origins(
        self, origin_x: Float[np.ndarray, " n"], origin_y: Float[np.ndarray, " n"]
    ) -> ParticleTable:
        """Table with these origins (angstrom), in the layout that it has."""
        if self.optics_block is not None:
            return self.with_cells(rlnOriginXAngst=origin_x, rlnOriginYAngst=origin_y)
        pixel = self.pixel_sizes
        return self.with_cells(rlnOriginX=origin_x / pixel, rlnOriginY=origin_y / pixel)


def find_file(name: str, star: Path) -> Path | None:
    """Resolve a path against the STAR file's folder, its parents and the current one."""
    folder = star.resolve().parent
    places = [folder, *folder.parents, Path.cwd()]
    if Path(name).is_absolute():
        places = [Path("/")]
    return next((place / name for place in places if (place / name).is_file()), None)


def _find_stack(name: str, star: Path) -> Path:
    found = find_file(name, star)
    if found is not None:
        return found
    folder = star.resolve().parent
    looked = (
        "as given" if Path(name).is_absolute() else f"in {folder}, its parents and {Path.cwd()}"
    )
    raise InputError(
        f"the image file {name} was looked for {looked} and is not there",
        where=star,
        mend="copy it there or mend _rlnImageName",
    )


def _images(
    block: StarBlock, path: Path, needed: bool
) -> tuple[tuple[Path, ...], np.ndarray, np.ndarray]:
    """Stacks, each particle's stack, and its 0-based index there, from rlnImageName.

    Stacks that are not ``needed`` and not there keep their names.
    """
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
        tuple(
            _find_stack(name, path) if needed else find_file(name, path) or Path(name)
            for name in files
        ),
        stack_of.to_numpy(),
        index.to_numpy() - 1,
    )


def read_particles(path: Path | str, *, need_images: bool = True) -> ParticleTable:
    """Read a particle STAR file of RELION 3.0, 3.1 or 5.

    Parameters
    ----------
    path : Path
    need_images : bool
        Require the image files to be there.

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
    stacks, stack_of, index = _images(block, path, need_images)
    if optics_block is None:
        optics, group = optics_from_rows(block, stack_of, stacks, path)
    else:
        optics, group = optics_from_block(optics_block, block, stack_of, stacks, path)

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


def missing_ctf_columns(table: ParticleTable) -> list[str]:
    """Columns that the CTF is computed from and that the table lacks."""
    present = set(table.columns)
    if table.optics_block is not None:
        present |= set(table.optics_block.frame.columns)
    return [name for name in _CTF_COLUMNS if name not in present]


def require_ctf(table: ParticleTable) -> None:
    """Require the columns that the CTF is computed from.

    Raises
    ------
    InputError
        Naming those that are missing.
    """
    missing = missing_ctf_columns(table)
    if missing:
        raise InputError(
            f"no CTF: the columns {', '.join('_' + n for n in missing)} are missing",
            where=table.path,
            mend="estimate the CTF first, or pass --no-ctf",
        )


def image_names(table: ParticleTable, folder: Path, *, keep: bool = False) -> pl.Series:
    """Image names that resolve from a STAR file in ``folder``: relative when near, else absolute.

    Names that lead to the same file from there, or to none, stay as they are with ``keep``: a
    RELION project gives all of them from its root.
    """
    names = []
    for stack in table.stacks:
        absolute = stack.resolve()
        relative = Path(os.path.relpath(absolute, folder.resolve()))
        names.append(str(relative if relative.parts.count("..") < 3 else absolute))
    numbers_there = pl.Series(table.index_in_stack + 1).cast(pl.String).str.zfill(6)
    files = pl.Series(names, dtype=pl.String).gather(table.stack_of)
    made = (numbers_there + "@" + files).alias("rlnImageName")
    if not keep:
        return made
    used, first = np.unique(table.stack_of, return_index=True)
    given = table.block.frame["rlnImageName"]
    same = np.zeros(len(table.stacks), dtype=bool)
    same[used] = [
        _leads_to(given[int(row)].rpartition("@")[2], folder, table.stacks[stack])
        for stack, row in zip(used, first, strict=True)
    ]
    return given.zip_with(pl.Series(same[table.stack_of]), made)


def _leads_to(name: str, folder: Path, stack: Path) -> bool:
    """Whether a file's name in a STAR file in ``folder`` means ``stack``, or that is nowhere."""
    found = find_file(name, folder / "particles.star")
    return not stack.is_file() or (found is not None and found.samefile(stack))


def write_particles(path: Path | str, table: ParticleTable, *, keep_names: bool = False) -> None:
    """Write a table beside its new images' paths; RELION reads it from the output's folder.

    With ``keep_names`` image names that hold in both places stay as they are.
    """
    path = Path(path)
    frame = table.block.frame.with_columns(image_names(table, path.parent, keep=keep_names))
    blocks = [*table.other_blocks, table.block.with_frame(frame)]
    if table.optics_block is not None:
        blocks.insert(0, table.optics_block)
    write_star(path, blocks)
