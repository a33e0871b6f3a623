"""From the sums of passes to maps, and the signal power that regularises them."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.rings import RingImages
from vitreous.engine.searches.grid import references
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.project import map_to_cube
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.reconstruct.solve import map_power, shell_information, solve

PADDING = 2
"""Oversampling of the Fourier cubes, as RELION's default."""

_TAU2_FUDGE = 4.0
"""Map power is multiplied by this before it serves as prior: RELION's T for classification."""


def prior_power(
    maps: Float[Tensor, "k n n n"],
    sums: Accumulator,
    rings: int,
    seen: int,
    tau2_fudge: float = _TAU2_FUDGE,
) -> Float[Tensor, "k s"]:
    """Signal power expected in each shell, ``tau2_fudge`` times that of the present maps.

    Shells beyond ``seen`` rings hold no density yet: they start from the last that does.  The
    floor, a tenth of the noise, keeps a shell that is empty now from staying so.
    """
    power = tau2_fudge * map_power(maps, rings + 2).to(sums.weight.device)
    power[:, seen:] = power[:, max(seen - 1, 0), None]
    information = shell_information(sums, rings + 2)
    return torch.maximum(power, 0.1 / information.clamp(min=1e-20))


def power_beyond_noise(sums: Accumulator, box: int, rings: int) -> Float[Tensor, "k s"]:
    """Signal power in each shell, as the power of the unregularised maps less that of the noise.

    The floor, a hundredth of the noise, keeps shells without signal finite.
    """
    noise = 1 / shell_information(sums, rings + 2).clamp(min=1e-20)
    power = map_power(solve(sums, None, box, rings), rings + 2).to(noise)
    return torch.maximum(power - noise, 0.01 * noise)


def signal_scale(
    maps: Float[Tensor, "k n n n"], images: RingImages, frame: Frame, rings: int, share: float
) -> float:
    """Factor that gives slices a share of the images' power on the innermost rings."""
    polar = frame.polar.inner(rings)
    grid = orientation_grid(1, point_group("C1"))
    cube = map_to_cube(maps.to(images.samples.device), rings + 1, PADDING)
    slices = references(cube, grid, polar)
    some = torch.arange(min(500, len(images.group)))
    samples, ctf = images.at(some, polar)
    expected = slices.power[:, 0, :rings, 0].mean(0)  # frequency 0 comes first
    expected = expected * (ctf**2).mean(dim=(0, 2))
    found = (samples.abs() ** 2).mean(dim=(0, 2))
    return float((share * found[:4].sum() / expected[:4].sum().clamp(min=1e-30)).sqrt())


def constrained(
    maps: Float[Tensor, "k n n n"], frame: Frame, solvent_flatten: bool
) -> Float[Tensor, "k n n n"]:
    """Maps with the solvent masked off and negative density removed, if asked for."""
    if not solvent_flatten:
        return maps
    return maps.clamp(min=0) * _solvent_mask(frame, maps.device)


@lru_cache(maxsize=2)
def _solvent_mask(frame: Frame, device: torch.device) -> Float[Tensor, "n n n"]:
    return soft_sphere(frame.box, frame.mask_radius, frame.mask_edge, 3, device)


def solved(
    sums: Accumulator,
    prior: Float[Tensor, "k s"] | None,
    frame: Frame,
    rings: int,
    solvent_flatten: bool,
) -> Float[Tensor, "k n n n"]:
    """Maps that the sums give, constrained."""
    return constrained(solve(sums, prior, frame.box, rings), frame, solvent_flatten)


def centre_of_mass(
    maps: Float[Tensor, "k n n n"], operators: Float[Tensor, "s 3 3"]
) -> Float[Tensor, "k 3"]:
    """Centre of the positive density, (x, y, z) pixels from the box centre.

    Only what the point group leaves in place counts: an axis must not be moved off.
    """
    box = maps.shape[-1]
    axis = torch.arange(box, device=maps.device, dtype=maps.dtype) - box // 2
    weight = maps.clamp(min=0)
    total = weight.sum(dim=(1, 2, 3)).clamp(min=1e-20)
    centre = torch.stack(
        [(weight.sum(dim=dims) * axis).sum(-1) / total for dims in ((1, 2), (1, 3), (2, 3))], dim=-1
    )
    return centre @ operators.to(centre).mean(dim=0).T


def moved(sums: Accumulator, shift: Float[Tensor, "k 3"], box: int) -> Accumulator:
    """Sums of the maps moved by ``shift`` (x, y, z) pixels."""
    side = sums.side
    axis = (torch.arange(side, device=sums.weight.device) - side // 2) / sums.padding
    step = -2 * torch.pi / box
    x, y, z = (torch.exp(1j * step * shift[:, d, None] * axis) for d in range(3))
    phase = z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, side // 2 :]
    return Accumulator(sums.data * phase.to(sums.data.dtype), sums.weight, sums.padding)
