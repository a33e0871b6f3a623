"""Reconstruction at known poses: every image inserted as a Cartesian slice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.errors import OptionError
from vitreous.imaging.ctf import (
    Defocus,
    Optics,
    beam_tilt_phase,
    contrast_transfer,
    ctf_phase,
    magnified,
)
from vitreous.imaging.project import image_frequencies, shift_phase
from vitreous.math.symmetry import lattice_cosets, point_group
from vitreous.reconstruct.accumulator import (
    Accumulator,
    empty_accumulator,
    insert,
    symmetrised,
)
from vitreous.reconstruct.ewald import Curvature, sphere_halves
from vitreous.reconstruct.solve import least_squares_maps


@dataclass(frozen=True)
class PosedImages:
    """Some images of one optics group with their poses.

    Attributes
    ----------
    images : tensor (n, box, box)
        In noise of standard deviation 1.
    matrices : tensor (n, 3, 3)
        Volume to image frame.
    origins : tensor (n, 2)
        Shifts that centre the particles, pixels.
    defocus : Defocus or None
        None for images that need no correction for the CTF.
    optics : Optics
    pixel_size : float, optional
        Angstrom; by default the map's.
    weights : tensor (n,), optional
        How much each image counts; by default all alike.
    scale : tensor (n,), optional
        How strong the density is in each; by default alike in all.
    maps : integer tensor (n,), optional
        Which map each image goes into; by default the first.
    ignore_until_first_peak : bool
        See :func:`vitreous.imaging.ctf.contrast_transfer`.
    """

    images: Float[Tensor, "n b b"]
    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]
    defocus: Defocus | None
    optics: Optics
    pixel_size: float | None = None
    weights: Float[Tensor, " n"] | None = None
    scale: Float[Tensor, " n"] | None = None
    maps: Int[Tensor, " n"] | None = None
    ignore_until_first_peak: bool = False


@dataclass(frozen=True)
class MapGrid:
    """Grid of a map, and how far its transform is filled.

    Attributes
    ----------
    box : int
        Pixels.
    pixel_size : float
        Angstrom.
    radius : float
        Highest frequency, in steps of 1 / box.
    """

    box: int
    pixel_size: float
    radius: float

    @property
    def width(self) -> float:
        """Angstrom."""
        return self.box * self.pixel_size


def map_grid(box: int, pixel_size: float, resolution: float | None = None) -> MapGrid:
    """Grid of a map out to a resolution in angstrom, at most just short of Nyquist."""
    nyquist = box // 2 - 1
    wanted = math.inf if resolution is None else box * pixel_size / resolution
    return MapGrid(box, pixel_size, min(nyquist, wanted))


def half_plane(box: int, radius: float) -> Float[Tensor, "p 2"]:
    """Frequencies (x, y) of an image within a radius, one of each Friedel pair."""
    frequencies = image_frequencies(box)
    x, y = frequencies.unbind(-1)
    half = (x > 0) | ((x == 0) & (y >= 0))
    return frequencies[half & (frequencies.norm(dim=-1) <= radius)]


def centred_spectra(
    images: Float[Tensor, "n b b"], k: Float[Tensor, "p 2"], origins: Float[Tensor, "n 2"]
) -> Complex[Tensor, "n p"]:
    """Unitary transforms at frequencies (x, y) of images shifted so that particles are centred."""
    box = images.shape[-1]
    spectra = torch.fft.rfft2(images, norm="ortho")
    x, y = k.long().unbind(-1)
    # The transform counts pixels from the corner, so the centre is shifted there as well.
    return spectra[:, y % box, x] * shift_phase(k, origins - box // 2, box)


def _flat_slice(
    batch: PosedImages, spectra: Complex[Tensor, "n p"], metric: Float[Tensor, "p 2"]
) -> tuple[Float[Tensor, "p 2"], Complex[Tensor, "n p"], Float[Tensor, "n p"]]:
    """Frequencies, data and weight of images that are central slices.

    An image that was multiplied by its CTF is data as it is, and the weight is the same: its noise
    was multiplied too.
    """
    ctf = torch.ones_like(spectra.real)
    if batch.defocus is not None:
        ctf = contrast_transfer(
            metric,
            batch.defocus,
            batch.optics,
            ignore_until_first_peak=batch.ignore_until_first_peak,
        )
    data = spectra * ctf
    if batch.defocus is not None and batch.defocus.premultiplied is not None:
        data = torch.where(batch.defocus.premultiplied[:, None], spectra, data)
    return magnified(metric, batch.optics), data, ctf**2


def _curved_slices(
    batch: PosedImages,
    spectra: Complex[Tensor, "n p"],
    metric: Float[Tensor, "p 2"],
    curvature: Curvature,
) -> list[tuple[Float[Tensor, "p 3"], Complex[Tensor, "n p"], Float[Tensor, "n p"]]]:
    """The same of both halves of the Ewald sphere."""
    if batch.defocus is None or batch.ignore_until_first_peak:
        raise OptionError(
            "the sphere's two halves are told apart by the whole CTF, which is not to be used",
            hint="give particles with defocus columns, and correct for all of the CTF",
        )
    if batch.defocus.some_premultiplied:
        raise OptionError(
            "images that were multiplied by their CTF have lost what tells the sphere's two halves "
            "apart",
            hint="reconstruct without the sphere, or extract them without multiplying",
        )
    phase = ctf_phase(metric, batch.defocus, batch.optics)
    if batch.defocus.flipped is not None:
        turned = spectra * torch.sin(phase).sign()
        spectra = torch.where(batch.defocus.flipped[:, None], turned, spectra)
    points = magnified(metric, batch.optics)
    amplitude = batch.defocus.amplitude((points**2).sum(-1))
    if amplitude is None:
        return sphere_halves(spectra, phase, points, batch.optics.voltage, curvature)
    halves = sphere_halves(spectra * amplitude, phase, points, batch.optics.voltage, curvature)
    return [(places, data, weight * amplitude**2) for places, data, weight in halves]


def insert_images(
    batch: PosedImages,
    grid: MapGrid,
    sums: Accumulator,
    turns: Float[Tensor, "c 3 3"],
    curvature: Curvature | None,
) -> None:
    """Add images at their poses, and at those that some turns lead to, in place."""
    box, pixel_size = batch.images.shape[-1], batch.pixel_size or grid.pixel_size
    count, device = len(batch.images), batch.images.device
    steps = grid.width / (box * pixel_size)
    k = half_plane(box, min(box // 2 - 1, grid.radius / steps)).to(device)
    metric = k / (box * pixel_size)
    spectra = centred_spectra(batch.images, k, batch.origins.float())
    if batch.optics.turns_phases:
        spectra = spectra * beam_tilt_phase(metric, batch.optics).conj()
    slices = (
        [_flat_slice(batch, spectra, metric)]
        if curvature is None
        else _curved_slices(batch, spectra, metric, curvature)
    )
    alike = torch.ones(count, device=device)
    weights = alike if batch.weights is None else batch.weights.float()
    maps = torch.zeros_like(alike) if batch.maps is None else batch.maps
    # In noise of standard deviation 1 the same density is fainter, the wider the field of view.
    strength = steps * (alike if batch.scale is None else batch.scale.float())
    for points, data, shares in slices:
        data = data * (strength * weights)[:, None]
        shares = shares * (strength**2 * weights)[:, None]
        axes = batch.matrices[:, : points.shape[1]].float()
        for number in range(len(sums.weight)):
            chosen = maps == number
            own = data[chosen][None], shares[chosen][None]
            for turn in turns.to(axes):
                insert(sums.at(number), points * grid.width, axes[chosen] @ turn.T, *own)


def backproject(
    batches: Iterable[PosedImages],
    grid: MapGrid,
    maps: int = 1,
    *,
    symmetry: str = "C1",
    padding: int = 2,
    curvature: Curvature | None = None,
    device: torch.device | None = None,
) -> Accumulator:
    """Sum images at their poses; CTF, coma and magnification undone.

    Parameters
    ----------
    batches : iterable of PosedImages
        Streamed: only one is in memory at a time.
    grid : MapGrid
        Images of other pixel sizes and boxes are brought to it by their frequencies in
        1/angstrom.
    maps : int
        How many maps the images are divided among.
    symmetry : str
        Point group imposed.  Of the mates of an image those are inserted that no symmetry of the
        lattice makes from others: none under D2 or O, four under I.
    padding : int
        Oversampling of the transforms.
    curvature : Curvature, optional
        Of the Ewald sphere, whose two halves images are then read as; by default slices are flat.
    device : torch.device, optional
        Of the batches, and of the sums.

    Raises
    ------
    OptionError
        For the sphere without the CTF.
    """
    sums = empty_accumulator(maps, grid.radius, padding, device)
    lattice, cosets = lattice_cosets(point_group(symmetry))
    for batch in batches:
        insert_images(batch, grid, sums, cosets, curvature)
    sums.complete()
    return symmetrised(sums, lattice)


def reconstruct_at_poses(
    batches: Iterable[PosedImages],
    box: int,
    pixel_size: float,
    padding: int = 2,
    *,
    symmetry: str = "C1",
    resolution: float | None = None,
    curvature: Curvature | None = None,
) -> Float[Tensor, "n n n"]:
    """Least-squares map of images at their poses, CTF, coma and magnification undone.

    Parameters
    ----------
    batches : iterable of PosedImages
        Streamed: only one is in memory at a time.
    box : int
        Pixels of the map.
    pixel_size : float
        Angstrom.
    padding : int
        Oversampling of the transforms.
    symmetry : str
        Point group imposed.
    resolution : float, optional
        Angstrom that the map is cut at; by default Nyquist.
    curvature : Curvature, optional
        Of the Ewald sphere; by default slices are flat.
    """
    grid = map_grid(box, pixel_size, resolution)
    sums = backproject(batches, grid, symmetry=symmetry, padding=padding, curvature=curvature)
    return least_squares_maps(sums, box, grid.radius)[0]
