"""The particle table: typed columns over the STAR file's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import JoinedBlocks, as_cells, numbers
from vitreous.particles.image_files import IMAGE_NAME, ImageFiles, names_in, read_image_files
from vitreous.particles.meaning import CtfState, ctf_state, require_projections
from vitreous.particles.optics import OpticsGroup, optics_from_block, optics_from_rows

_BLOCKS = ("particles", "images", "")
"""Names of the block of particles, the first there counts."""

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
    files : ImageFiles
        Where the images are.
    defocus_u, defocus_v, defocus_angle, phase_shift : float64 arrays or None
        Angstrom and degrees; None without CTF columns.
    state : CtfState
        What was done about the CTF in the images.
    optics_row : int array (particles,)
        Row of each particle's group in the optics block.
    notes : tuple of str
        What a user should know of how the table was read.
    """

    path: Path
    block: StarBlock
    optics_block: StarBlock | None
    other_blocks: tuple[StarBlock, ...]
    optics: tuple[OpticsGroup, ...]
    group: Int[np.ndarray, " n"]
    files: ImageFiles
    defocus_u: Float[np.ndarray, " n"] | None
    defocus_v: Float[np.ndarray, " n"] | None
    defocus_angle: Float[np.ndarray, " n"] | None
    phase_shift: Float[np.ndarray, " n"] | None
    state: CtfState
    optics_row: Int[np.ndarray, " n"]
    notes: tuple[str, ...] = ()

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

    @property
    def stacks(self) -> tuple[Path, ...]:
        """Image files found."""
        return self.files.stacks

    @property
    def stack_of(self) -> Int[np.ndarray, " n"]:
        """Index into ``stacks`` of each particle."""
        return self.files.stack_of

    @property
    def index_in_stack(self) -> Int[np.ndarray, " n"]:
        """Index of each image in its file, from 0."""
        return self.files.index

    @property
    def joined(self) -> JoinedBlocks:
        """Particles' columns and those of their optics groups."""
        return JoinedBlocks(self.path, self.block, self.optics_block, self.optics_row)

    @property
    def optics_rows(self) -> dict[int, int]:
        """Row in the optics block of each group that has particles, by its place in ``optics``."""
        places, first = np.unique(self.group, return_index=True)
        return dict(zip(places.tolist(), self.optics_row[first].tolist(), strict=True))

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
            files=self.files.take(rows),
            defocus_u=some(self.defocus_u),
            defocus_v=some(self.defocus_v),
            defocus_angle=some(self.defocus_angle),
            phase_shift=some(self.phase_shift),
            state=self.state.take(rows),
            optics_row=self.optics_row[rows],
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
        files = read_image_files(block, self.path, need_images)
        return replace(self, block=block, files=files)

    def with_boxes(self, boxes: Mapping[int, int]) -> ParticleTable:
        """Table whose optics groups (their numbers) have these boxes, pixels."""
        optics = tuple(replace(g, box=boxes.get(g.number, g.box)) for g in self.optics)
        table = replace(self, optics=optics)
        if "rlnImageSize" in self.columns:
            return table.with_cells(rlnImageSize=np.array([g.box for g in optics])[self.group])
        if self.optics_block is None or "rlnImageSize" not in self.optics_block.frame.columns:
            return table
        frame = self.optics_block.frame
        sizes = frame["rlnImageSize"].to_list()
        for place, row in self.optics_rows.items():
            sizes[row] = str(boxes.get(optics[place].number, sizes[row]))
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


def _best_named(blocks: Iterable[StarBlock], names: Sequence[str]) -> StarBlock | None:
    """The block with the first of these names; programs differ in capitals."""
    found = [block for block in blocks if block.name.casefold() in names]
    return min(
        found,
        key=lambda block: (names.index(block.name.casefold()), block.name not in names),
        default=None,
    )


def _particles_block(blocks: Mapping[str, StarBlock], path: Path) -> StarBlock:
    """The block of particles: by its name, or the only one that has images."""
    having = [block for block in blocks.values() if IMAGE_NAME in block.frame.columns]
    block = _best_named(having, _BLOCKS) or (having[0] if len(having) == 1 else None)
    if block is None:
        found = ", ".join(f"data_{b.name} with {len(b.frame.columns)} columns" for b in
                          blocks.values())  # fmt: skip
        which = "several blocks with" if having else "no particles: no block with"
        raise InputError(
            f"{which} a column _{IMAGE_NAME}, and none of them is named data_particles (found "
            f"{found})",
            where=path,
            hint="name the block of particles data_particles"
            if having
            else "give the STAR file of extracted particles",
        )
    if len(block.frame) == 0:
        raise InputError("zero particles", where=path, hint="give a table with particles in it")
    return block


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
        groups, image files that are not there, and images that are no single projections.
    """
    path = Path(path)
    blocks = read_star(path)
    block = _particles_block(blocks, path)
    optics_block = _best_named((b for b in blocks.values() if b is not block), ["optics"])
    files = read_image_files(block, path, need_images)
    grouped = (
        optics_from_rows(block, files, path)
        if optics_block is None
        else optics_from_block(optics_block, block, files, path)
    )
    joined = JoinedBlocks(path, block, optics_block, grouped.row)
    others = {n: b for n, b in blocks.items() if b is not block and b is not optics_block}
    require_projections(joined, others, files)

    state = ctf_state(joined)

    def column(label: str, default: np.ndarray) -> np.ndarray:
        return numbers(block, label, path) if label in block.frame.columns else default

    zeros = np.zeros(len(block.frame))
    u = numbers(block, "rlnDefocusU", path) if "rlnDefocusU" in block.frame.columns else None
    return ParticleTable(
        path,
        block,
        optics_block,
        tuple(others.values()),
        grouped.optics,
        grouped.group,
        files,
        u,
        None if u is None else column("rlnDefocusV", u),
        None if u is None else column("rlnDefocusAngle", zeros),
        None if u is None else column("rlnPhaseShift", zeros),
        state,
        grouped.row,
        (*grouped.notes, *state.notes),
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
            hint="estimate the CTF first, or pass --no-ctf",
        )


def image_names(table: ParticleTable, folder: Path) -> pl.Series:
    """Image names for a table in another folder: :func:`~.image_files.names_in`."""
    return names_in(folder, table.block.frame[IMAGE_NAME], table.files)


def write_particles(path: Path | str, table: ParticleTable) -> None:
    """Write a table whose images are found from its new place, here and by RELION."""
    path = Path(path)
    frame = table.block.frame.with_columns(image_names(table, path.parent))
    blocks = [*table.other_blocks, table.block.with_frame(frame)]
    if table.optics_block is not None:
        blocks.insert(0, table.optics_block)
    write_star(path, blocks)
