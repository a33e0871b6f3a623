"""A model and the map that it is judged against, read and brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import ModelCheckConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.map_grid import cubic
from vitreous.io.density import read_density
from vitreous.io.models import density
from vitreous.io.mrc import read_map
from vitreous.io.placed import PlacedModel, read_placed
from vitreous.jobs.maps.half_maps import Mask, read_mask, same_grid
from vitreous.math.fourier import crop_or_pad
from vitreous.validate.model_fit import Placement
from vitreous.validate.model_map import mask_round


@dataclass(frozen=True)
class ModelAndMap:
    """A model and a map, with half-maps and a mask where given.

    Attributes
    ----------
    model : PlacedModel
    volume : tensor (n, n, n)
        On the device that all is computed on.
    halves : tuple of tensors (n, n, n)
        None or two.
    mask : Mask or None
    pixel_size : float
        Angstrom.
    origin : float64 array (3,)
        Where the first voxel stands, angstrom.
    """

    model: PlacedModel
    volume: Float[Tensor, "n n n"]
    halves: tuple[Float[Tensor, "n n n"], ...]
    mask: Mask | None
    pixel_size: float
    origin: Float[np.ndarray, " 3"]

    @property
    def box(self) -> int:
        """Pixels."""
        return int(self.volume.shape[-1])

    @property
    def middle(self) -> Float[np.ndarray, " 3"]:
        """The box centre in the model's frame, angstrom."""
        return self.origin + self.box // 2 * self.pixel_size

    @property
    def as_given(self) -> Placement:
        """Where the model lies in its file."""
        return Placement(np.eye(3), self.model.atoms.centre - self.middle)

    def placed(self, placement: Placement) -> Float[np.ndarray, "n 3"]:
        """Atoms about the box centre."""
        return self.model.atoms.positions @ placement.matrix.T + placement.shift

    def density_of(self, positions: Float[np.ndarray, "n 3"]) -> Float[Tensor, "n n n"]:
        """Density of atoms about the box centre; what lies outside the box is cut off."""
        atoms = replace(self.model.atoms, positions=positions)
        fits = math.ceil(atoms.diameter / self.pixel_size) + 5
        wide = max(self.box, fits + (fits - self.box) % 2)
        made = torch.from_numpy(density(atoms, wide, self.pixel_size))
        return crop_or_pad(made, self.box, 3).to(self.volume)

    def to(self, device: torch.device) -> ModelAndMap:
        """The same with its maps on another device."""
        mask = self.mask and replace(self.mask, volume=self.mask.volume.to(device))
        halves = tuple(half.to(device) for half in self.halves)
        return replace(self, volume=self.volume.to(device), halves=halves, mask=mask)


def read_model_and_map(config: ModelCheckConfig) -> ModelAndMap:
    """Read and check all files.

    Raises
    ------
    InputError, OptionError
        For files that cannot be read or lie on different grids, and options that cannot be used.
    """
    if (config.half1 is None) != (config.half2 is None):
        raise OptionError(
            "FSC-work and FSC-free take both half-maps",
            where="--half1, --half2",
            hint="give both or none",
        )
    array, pixel_size = read_map(config.map)
    volume = cubic(array, config.map)
    box = int(volume.shape[-1])
    halves = []
    for path in (config.half1, config.half2):
        if path is not None:
            array, own = read_map(path)
            halves.append(cubic(array, path))
            same_grid(path, int(halves[-1].shape[-1]), own, config.map, box, pixel_size)
    mask = None
    if config.mask is not None:
        mask = read_mask(config.mask, config.map, box, pixel_size, None)
    finest = 2 * pixel_size
    if config.resolution_limit is not None and not config.resolution_limit >= finest:
        raise OptionError(
            f"{config.resolution_limit:g} A is finer than two pixels of {pixel_size:g} A",
            where="--resolution-limit",
            hint=f"give at least {finest:g}",
        )
    model, origin = read_placed(config.model), np.array(read_density(config.map).origin)
    if model.atoms.diameter > 3 * box * pixel_size:
        raise InputError(
            f"is {model.atoms.diameter:.0f} A across, but the map {box * pixel_size:.0f} A",
            where=config.model,
            hint="give a model of what the map shows",
        )
    given = ModelAndMap(model, volume, tuple(halves), mask, pixel_size, origin)
    if not config.fit:
        comparison_mask(given, given.as_given)
    return given


def comparison_mask(given: ModelAndMap, placement: Placement) -> Mask:
    """The mask that map and model are compared in: the one given, or round the model as placed.

    Raises
    ------
    InputError
        If no atom lies within the box.
    """
    if given.mask is not None:
        return given.mask
    mask = mask_round(given.placed(placement), given.box, given.pixel_size).to(given.volume)
    if not mask.any():
        raise InputError(
            "no atom lies within the map's box as it is placed",
            where=given.model.atoms.path,
            hint="leave out --no-fit, or place it in the map's frame",
        )
    return Mask(mask, {"source": "model"})


def compared(given: ModelAndMap, placement: Placement) -> tuple[Float[Tensor, "n n n"], Mask]:
    """Density of the model placed, and the mask of :func:`comparison_mask`."""
    return given.density_of(given.placed(placement)), comparison_mask(given, placement)
