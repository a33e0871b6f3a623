"""Reference maps: read, checked against each other, brought to the particles' frame and grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.maps import PADDING
from vitreous.engine.state import SearchState
from vitreous.errors import InputError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.map_grid import cubic, extent, on_grid
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.project import map_to_cube
from vitreous.io.mrc import read_map
from vitreous.math.fourier import resample_map
from vitreous.particles.grid import Grid
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.schedules.class3d.steps import SearchPoses
from vitreous.validate.decoys import Decoy, recognised_decoy
from vitreous.validate.pixel_scale import best_scale, rescaled
from vitreous.validate.reproducibility import agreement

_CLEARLY = 1.4
"""Times finer that two references must agree, mirrored or rescaled, than as they are."""

_TOO_WIDE = 1.05
"""Times the images' width that a reference's density may be across."""

_WIDE, _NARROW = 1.4, 0.5
"""Times the mask's diameter beyond which a reference's extent is told of."""

_GREY_ROUNDS = 4
"""Rounds of EM for a reference's grey level."""

Volume = Float[Tensor, "n n n"]


@dataclass(frozen=True)
class Reference:
    """A map that classes begin with.

    Attributes
    ----------
    volume : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    name : str
        That messages call it by.
    """

    volume: Volume
    pixel_size: float
    name: str = "the reference"

    @property
    def grid(self) -> Grid:
        """Its box and pixel size."""
        return Grid(int(self.volume.shape[-1]), self.pixel_size)


@dataclass(frozen=True)
class Framed:
    """A reference in the working frame.

    Attributes
    ----------
    given : Reference
    volume : tensor (n, n, n)
    decoy : Decoy, optional
        What the reference is that shows no molecule.
    """

    given: Reference
    volume: Volume
    decoy: Decoy | None = None


def read_reference(path: Path) -> Reference:
    """Read a map.

    Raises
    ------
    InputError
        For a file that cannot be read.
    """
    array, pixel_size = read_map(path)
    return Reference(torch.from_numpy(array), pixel_size, str(path))


def in_frame(references: Sequence[Reference], frame: Frame) -> tuple[list[Framed], list[str]]:
    """Bring references to the working frame; also returns warnings.

    Raises
    ------
    InputError
        For one that is no cube, or empty without others beside it, or whose density is wider than
        the particles' images.
    """
    found, warnings = list[Framed](), list[str]()
    for reference in references:
        decoy = recognised_decoy(reference.volume, reference.pixel_size)
        if decoy is not None and decoy.kind == "empty" and len(references) > 1:
            found.append(Framed(reference, torch.zeros((frame.box,) * 3), decoy))
            continue
        volume, own = cubic(reference.volume.numpy(), reference.name), reference.pixel_size
        across = extent(volume, own)
        shaped = across < volume.shape[-1] * own  # noise fills its box to the corners
        if shaped and across > _TOO_WIDE * frame.field:
            raise InputError(
                f"its density is {across:.0f} A across at the header's {own:g} A/px, but the "
                f"particles' images are {frame.field:.0f} A wide",
                where=reference.name,
                hint="check the pixel size in its header, or crop the map",
            )
        share = across / (2 * frame.mask_radius * frame.pixel_size)
        if shaped and not _NARROW < share < _WIDE:
            warnings.append(
                f"{reference.name} is {across:.0f} A across at its header's {own:g} A/px, the "
                f"particles' mask {across / share:.0f} A: check the pixel size."
            )
        gridded = on_grid(volume, own, frame.grid.box, frame.grid.pixel_size)
        found.append(Framed(reference, resample_map(gridded, frame.box), decoy))
    return found, warnings


def _differs(reference: Framed, first: Framed, frame: Frame) -> tuple[str, str] | None:
    """What is wrong with a reference beside the first and how to mend it, if something is."""
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)

    def agrees(volume: Volume, mirrored: bool) -> float:
        pixel = frame.pixel_size
        return agreement(volume, first.volume, mask, pixel, hands=(mirrored,)).resolution

    same = agrees(reference.volume, False)
    if agrees(reference.volume, True) * _CLEARLY < same:
        what = f"is the mirror image of {first.given.name}: the hands differ"
        return what, "flip one of them, for instance with relion_image_handler --invert_hand"
    scale, own = best_scale(reference.volume, first.volume), reference.given.pixel_size
    if scale != 1 and agrees(rescaled(reference.volume, scale), False) * _CLEARLY < same:
        what = (
            f"looks like {first.given.name} at {own * scale:.3g} A/px, but its header gives {own:g}"
        )
        return what, "mend the pixel size in the header of the one that is wrong"
    return None


def compare_references(references: Sequence[Framed], frame: Frame, *, stop: bool) -> list[str]:
    """Tell of references whose pixel size or hand differs from the first that is no decoy.

    Raises
    ------
    InputError
        For the first of them, if it is to ``stop`` the job.
    """
    shaped = [reference for reference in references if reference.decoy is None]
    told = []
    for reference in shaped[1:]:
        found = _differs(reference, shaped[0], frame)
        if found is not None and stop:
            raise InputError(
                found[0], where=reference.given.name, hint=f"{found[1]}, or pass --no-check"
            )
        if found is not None:
            told.append(f"{reference.given.name} {found[0]}.")
    return told


def filtered(
    references: Sequence[Framed], frame: Frame, resolution: float
) -> Float[Tensor, "k n n n"]:
    """All volumes, low-passed to a resolution in angstrom."""
    passed = [low_pass(r.volume, frame.pixel_size, resolution) for r in references]
    return torch.stack(passed)


def intensity_scale(maps: Float[Tensor, "1 n n n"], sums: Accumulator, rings: int) -> float:
    """Factor on a map that fits best what the images' sums hold.

    The least-squares solution of the M-step for a map of known shape: the sum of data times the
    map's own transform, over that of weight times its power.
    """
    own = map_to_cube(maps, rings + 1, PADDING).data
    power = _over_all(sums.weight * own.abs() ** 2).clamp(min=1e-30)
    return float(_over_all((sums.data * own.conj()).real) / power)


def _over_all(half: Float[Tensor, "k s s h"]) -> Float[Tensor, ""]:
    """Sum over whole cubes of what is held of their halves."""
    return 2 * half.double().sum() - half[..., 0].double().sum()


def at_images_intensity(
    state: SearchState, search_poses: SearchPoses, index: Int[Tensor, " b"], rings: int
) -> SearchState:
    """State whose every map has the grey level that some images suggest, each by itself."""
    maps = state.maps.clone()
    for number in range(len(maps)):
        for _ in range(_GREY_ROUNDS):
            one = maps[number : number + 1]
            alone = replace(state, maps=one, class_priors=torch.ones_like(state.class_priors[:1]))
            sums = search_poses(alone, index, rings).sums
            assert sums is not None
            maps[number] *= max(intensity_scale(one, sums, rings), 0.1)
    return replace(state, maps=maps)
