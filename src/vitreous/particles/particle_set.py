"""Particles: typed fields in the package's units, beside the columns that their file brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.particles.carried import Carried
from vitreous.particles.ctf_state import CtfState
from vitreous.particles.fields import Field, ManyReals, Reals, Texts, Truths, Values, Wholes
from vitreous.particles.image_files import ImageFiles, read_image_files
from vitreous.particles.optics import OpticsGroup

_SHOWN = 10
"""Rows that a notebook shows."""


@dataclass(frozen=True)
class ParticleSet:
    """Particles of a file.

    Each field that follows the attributes is an array (particles,), read when it is asked for; it
    is None where the file has no such column, and InputError names the first cell that does not
    parse. ``with_fields`` sets some.

    Attributes
    ----------
    path : Path
        The file.
    carried : Carried
        Its columns, as they were read.
    optics : tuple of OpticsGroup
    group : int32 array (particles,)
        Index into ``optics``.
    files : ImageFiles
        Where the images are.
    state : CtfState
        What was done about the CTF in the images, and what its amplitude is multiplied by.
    values : mapping of Field to array
        Fields that were set, or read when the file was.
    changed : tuple of Field
        Those that were set, in their order: columns are made of them when the set is written.
    notes : tuple of str
        What a user should know of how the file was read.
    rot, tilt, psi : float64
        Degrees.
    origin_x, origin_y : float64
        Angstrom; the particle sits at minus these.
    defocus_u, defocus_v, defocus_angle, phase_shift : float64
        Angstrom and degrees; all or none of them.
    ctf_bfactor, ctf_scale : float64
        Angstrom^2, and a factor.
    phase_flipped, ctf_multiplied : bool
        What was done to the image.
    half : int64
        Half of the particles that it is in, 1 or 2; 0 before they were dealt.
    class_number : int64
        From 1.
    posterior : float64
        Of the best pose.
    class_posterior : float64
        Of its own class.
    class_posteriors : float64 (particles, classes)
        Of each class.
    noise_posterior, junk_posterior : float64
        That it is noise, or something else that is no particle.
    log_likelihood : float64
    picking_merit : float64
        Figure of merit that it was picked with.
    scale : float64
        Factor between the image and the map's projection, 1 on the average: of the particle by
        itself, or of its optics group.
    group_scale : float64
        The same for its group of micrographs, as RELION has it.
    group_number : int64
        Group of micrographs, from 1; ``group_name`` (text) its name.
    image_name, original_image : text
        NUMBER@FILE; the second is that of the image before a subtraction.
    micrograph, filament : text
        Name of its micrograph, and of the filament on it.
    x, y : float64
        Place in pixels of the micrograph.
    micrograph_pixel_size, movie_pixel_size : float64
        Angstrom.
    micrograph_width, micrograph_height : int64
        Pixels of the micrograph along x and y.
    shift_x, shift_y : int64
        Whole pixels that the image was moved by.
    centre_x, centre_y, centre_z : float64
        Point of the map that it was centred on, angstrom.
    symmetry_operator : int64
        Number, from 1, of the copy of an expanded particle.
    image_sign : float64
        -1 where the image is dark on light: its pixels are multiplied by it.
    uid : text
        Whole number by which cryoSPARC knows the particle.
    """

    path: Path
    carried: Carried
    optics: tuple[OpticsGroup, ...]
    group: Int[np.ndarray, " n"]
    files: ImageFiles
    state: CtfState
    values: Mapping[Field[Any], Any]
    changed: tuple[Field[Any], ...] = ()
    notes: tuple[str, ...] = ()

    rot, tilt, psi = Field[Reals]("real"), Field[Reals]("real"), Field[Reals]("real")
    origin_x, origin_y = Field[Reals]("real"), Field[Reals]("real")
    defocus_u, defocus_v = Field[Reals]("real"), Field[Reals]("real")
    defocus_angle, phase_shift = Field[Reals]("real"), Field[Reals]("real")
    ctf_bfactor, ctf_scale = Field[Reals]("real"), Field[Reals]("real")
    phase_flipped, ctf_multiplied = Field[Truths]("truth"), Field[Truths]("truth")
    half, class_number = Field[Wholes]("whole"), Field[Wholes]("whole")
    posterior, class_posterior = Field[Reals]("real"), Field[Reals]("real")
    class_posteriors = Field[ManyReals]("real")
    noise_posterior, junk_posterior = Field[Reals]("real"), Field[Reals]("real")
    log_likelihood, picking_merit = Field[Reals]("real"), Field[Reals]("real")
    scale, group_scale = Field[Reals]("real"), Field[Reals]("real")
    group_number, group_name = Field[Wholes]("whole"), Field[Texts]("text")
    image_name, original_image = Field[Texts]("text"), Field[Texts]("text")
    micrograph, filament = Field[Texts]("text"), Field[Texts]("text")
    x, y = Field[Reals]("real"), Field[Reals]("real")
    micrograph_pixel_size, movie_pixel_size = Field[Reals]("real"), Field[Reals]("real")
    micrograph_width, micrograph_height = Field[Wholes]("whole"), Field[Wholes]("whole")
    shift_x, shift_y = Field[Wholes]("whole"), Field[Wholes]("whole")
    centre_x, centre_y = Field[Reals]("real"), Field[Reals]("real")
    centre_z, symmetry_operator = Field[Reals]("real"), Field[Wholes]("whole")
    image_sign, uid = Field[Reals]("real"), Field[Texts]("text")

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.group)

    def __repr__(self) -> str:
        """In one line: the file, and how many particles in how many optics groups."""
        groups = len(self.optics)
        return (
            f"ParticleSet({str(self.path)!r}: {len(self):,} particles, "
            f"{groups} optics group{'s' if groups != 1 else ''}, {len(self.columns)} columns)"
        )

    def _repr_html_(self) -> str:
        """First ten rows, for notebooks."""
        rows = self.take(np.arange(min(_SHOWN, len(self)))).written.joined()
        return f"<p>{escape(repr(self))}</p>{rows._repr_html_()}"

    @property
    def written(self) -> Carried:
        """Columns of the file with all fields that were set."""
        if not self.changed:
            return self.carried
        return self.carried.with_fields({field: self.values[field] for field in self.changed})

    @property
    def columns(self) -> list[str]:
        """Names of the columns, as the file has them."""
        return self.written.names

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

    def of_field(self, field: Field[Values]) -> Values | None:
        """Values of a field; None if there are none.

        Raises
        ------
        InputError
            For a cell that holds none.
        """
        if field in self.values:
            held: Values = self.values[field]
            return held
        return self.carried.read(field)

    def if_sound(self, field: Field[Values]) -> Values | None:
        """Values of a field that nothing depends on; None too if a cell holds none."""
        try:
            return self.of_field(field)
        except InputError:
            return None

    def required(self, field: Field[Values], hint: str) -> Values:
        """Values of a field that must be there.

        Raises
        ------
        InputError
            If it is not, with the hint, or for a cell that holds no value.
        """
        self.require(field, hint=hint)
        values = self.of_field(field)
        assert values is not None
        return values

    def require(self, *fields: Field[Any], hint: str) -> None:
        """Require fields.

        Raises
        ------
        InputError
            Naming the columns that are missing.
        """
        missing = [self.called(field) for field in fields if not self.has(field)]
        missing = list(dict.fromkeys(missing))  # a column may hold several
        if missing:
            plural = "s" if len(missing) > 1 else ""
            raise InputError(f"no column{plural} {', '.join(missing)}", where=self.path, hint=hint)

    def has(self, *fields: Field[Any]) -> bool:
        """Whether all of these fields are there, whatever they hold."""
        return all(field in self.changed or self.carried.has(field) for field in fields)

    def called(self, field: Field[Any]) -> str:
        """Give the file's name of a field, for a message."""
        return self.carried.called(field)

    def row_name(self, row: int) -> str:
        """Name a particle for a message: its row and image."""
        names = self.image_name
        return f"row {row + 1} ({'' if names is None else names[row]})"

    def take(self, rows: Int[np.ndarray, " m"]) -> ParticleSet:
        """Set of these rows, in the order given; a row may be asked for more than once."""
        return replace(
            self,
            carried=self.carried.take(rows),
            group=self.group[rows],
            files=self.files.take(rows),
            state=self.state.take(rows),
            values={field: values[rows] for field, values in self.values.items()},
        )

    def with_fields(self, **values: np.ndarray | pl.Series) -> ParticleSet:
        """Set with these values of fields, by their names, in their units."""
        given = {getattr(ParticleSet, name): array for name, array in values.items()}
        changed = tuple(dict.fromkeys((*self.changed, *given)))
        return replace(self, values={**self.values, **given}, changed=changed)

    def without(self, *fields: Field[Any]) -> ParticleSet:
        """Set without these fields."""
        return replace(
            self,
            carried=self.carried.without(*fields),
            values={field: v for field, v in self.values.items() if field not in fields},
            changed=tuple(field for field in self.changed if field not in fields),
        )

    def with_images(self, names: pl.Series, *, need_images: bool = True) -> ParticleSet:
        """Set with other image names, one for each particle.

        Raises
        ------
        InputError
            For names that do not parse, and for files that are needed and not there.
        """
        files = read_image_files(
            names, self.path, self.called(ParticleSet.image_name), needed=need_images
        )
        return replace(self.with_fields(image_name=names), files=files)

    def with_optics(self, groups: Mapping[int, OpticsGroup], *names: str) -> ParticleSet:
        """Set with these optics groups, by their place, and some of their attributes written."""
        optics = tuple(groups.get(place, old) for place, old in enumerate(self.optics))
        carried = self.carried.with_optics(groups, self.group, names)
        return replace(self, optics=optics, carried=carried)

    def with_corrections(self, *, flipped: bool, multiplied: bool) -> ParticleSet:
        """Set whose images have all had this done about their CTF."""
        everywhere = np.ones(len(self), dtype=bool)
        state = replace(
            self.state, flipped=flipped & everywhere, premultiplied=multiplied & everywhere
        )
        carried = self.carried.with_corrections(flipped=flipped, multiplied=multiplied)
        return replace(self, carried=carried, state=state)

    def with_boxes(self, boxes: Mapping[int, int]) -> ParticleSet:
        """Set whose optics groups (their numbers) have these boxes, pixels."""
        groups = {
            place: replace(group, box=boxes[group.number])
            for place, group in enumerate(self.optics)
            if group.number in boxes
        }
        return self.with_optics(groups, "box")


def require_ctf(particles: ParticleSet) -> None:
    """Require what the CTF is computed from.

    Raises
    ------
    InputError
        Naming the columns that are missing.
    """
    missing = particles.carried.missing_ctf
    if missing:
        raise InputError(
            f"no CTF: the columns {', '.join(missing)} are missing",
            where=particles.path,
            hint="estimate the CTF first, or pass --no-ctf",
        )
