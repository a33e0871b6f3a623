"""A sample of a stack's images, read once for all pre-flight checks."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int

from vitreous.engine.images import defocus_of, optics_of
from vitreous.engine.recorded import as_if_recorded, signed_ctf
from vitreous.particles.grid import common_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.selection import evenly
from vitreous.particles.stack import ImageSource, normalise
from vitreous.validate.particles.pixels import PixelStatistics, joined, pixel_statistics
from vitreous.validate.particles.spectra import ImageSpectra, half_plane, spectrum_at

IMAGES = 2000
"""Images read, at most."""

_GLANCES = 100_000
"""Images of which a few lines are read, at most."""

_LINES = 4
"""Lines, at the middle, of such a glance."""

_FINEST, _MOST_RINGS = 8.0, 60
"""Resolution in angstrom of the spectra, and their greatest radius in steps of 1 / field."""

_FAR = 3.0
"""Median defoci beyond which the CTF of a particle is not believed."""

_BATCH = 256


@dataclass(frozen=True)
class Sample:
    """Images evenly drawn from a table.

    Attributes
    ----------
    rows : integer array (images,)
        The images' rows in the table.
    pixels : PixelStatistics
        Of these images.
    spectra : ImageSpectra
        Of those among them that can be used, each normalised outside the box's circle.
    """

    rows: Int[np.ndarray, " n"]
    pixels: PixelStatistics
    spectra: ImageSpectra


@dataclass(frozen=True)
class Glance:
    """The middle lines of very many images.

    Attributes
    ----------
    rows : integer array (images,)
    digests : list of bytes
        Equal for equal lines.
    dead : bool array (images,)
        One value only, or one that is not finite.
    """

    rows: Int[np.ndarray, " n"]
    digests: list[bytes]
    dead: Bool[np.ndarray, " n"]


def _batches(table: ParticleSet, rows: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Rows in batches of one optics group each."""
    found = []
    for number in range(len(table.optics)):
        members = rows[table.group[rows] == number]
        found += np.array_split(members, math.ceil(len(members) / _BATCH)) if len(members) else []
    return found


def _ordinary_defocus(table: ParticleSet) -> Bool[np.ndarray, " n"]:
    """Particles that are not much farther from focus than most: a few bad fits spoil averages."""
    if table.defocus_u is None or table.defocus_v is None:
        return np.ones(len(table), dtype=bool)
    size = np.abs(table.defocus_u + table.defocus_v) / 2
    return size <= _FAR * np.median(size)


def read_sample(
    table: ParticleSet,
    source: ImageSource,
    *,
    ctf: bool = True,
    phase_flipped: bool = False,
    device: torch.device | None = None,
) -> Sample:
    """Read, look at and transform a sample of images.

    Parameters
    ----------
    table : ParticleSet
    source : ImageSource
    ctf : bool
        Whether to give the spectra the table's CTF; they are taken to carry none otherwise.
    phase_flipped : bool
        Take the phases as flipped, whatever the table says.
    device : torch.device, optional
        Where the images are transformed, and their spectra are.

    Returns
    -------
    The spectra are those of the images as they were recorded, if the table says truly what was done
    about the CTF since.
    """
    field = common_grid(table).field
    # Short of Nyquist in every group's own steps, of which one of the common field's has ``steps``.
    steps = [group.box * group.pixel_size / field for group in table.optics]
    finest = min((g.box // 2 - 1) / own for g, own in zip(table.optics, steps, strict=True))
    points = half_plane(min(math.floor(finest + 1e-6), math.ceil(field / _FINEST), _MOST_RINGS))
    points = points.to(device)
    batches = _batches(table, evenly(len(table), IMAGES))
    ordinary = _ordinary_defocus(table) if ctf else np.ones(len(table), dtype=bool)
    pixels = []
    samples = [torch.empty(0, len(points), dtype=torch.complex64, device=device)]
    transfers = [torch.empty(0, len(points), device=device)]
    for batch in batches:
        number = int(table.group[batch[0]])
        group = table.optics[number]
        images = source.read_unchecked(batch)
        pixels.append(pixel_statistics(images))
        good = pixels[-1].usable & ordinary[batch]
        if not good.any():
            continue
        scaled = normalise(torch.from_numpy(images[good]).to(device), group.box / 2 - 1)
        seen, transfer = (
            spectrum_at(scaled, points, steps[number]),
            torch.ones(int(good.sum()), len(points), device=device),
        )
        if ctf and table.defocus_u is not None:
            defocus = defocus_of(table, batch[good], phase_flipped=phase_flipped)
            defocus = defocus.to(points.device)
            transfer = signed_ctf(points / field, defocus, optics_of(group))
            seen = as_if_recorded(seen, transfer, defocus)
        samples.append(seen)
        transfers.append(transfer)
    spectra = ImageSpectra(torch.cat(samples), torch.cat(transfers), points, field)
    return Sample(np.concatenate(batches), joined(pixels), spectra)


def glance(table: ParticleSet, source: ImageSource) -> Glance:
    """Read the middle lines of as many images as can be had quickly."""
    batches = _batches(table, evenly(len(table), _GLANCES))
    digests: list[bytes] = []
    dead = []
    for batch in batches:
        middle = table.optics[int(table.group[batch[0]])].box // 2
        lines = source.read_unchecked(batch, slice(middle - _LINES // 2, middle + _LINES // 2))
        digests += [hashlib.blake2b(some.tobytes(), digest_size=16).digest() for some in lines]
        spread = lines.max(axis=(1, 2)) - lines.min(axis=(1, 2))
        dead.append(~(spread > 0))
    return Glance(np.concatenate(batches), digests, np.concatenate(dead))
