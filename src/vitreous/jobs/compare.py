"""Compare a map with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import CompareConfig
from vitreous.errors import OptionError
from vitreous.imaging.filters import low_pass
from vitreous.imaging.map_grid import cubic, extent, on_grid
from vitreous.imaging.masks import soft_sphere
from vitreous.io.models import read_volume
from vitreous.io.mrc import read_map, write_map
from vitreous.math.rotations import matrix_to_euler
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.targets import inputs_of, spared
from vitreous.validate.fsc import dip_warnings, fsc, resolution_at
from vitreous.validate.truth import align

_LOW_PASS = 25.0
"""Angstrom: resolution of the correlation that tells shape rather than detail."""

_FINEST = 12.0
"""Angstrom that the alignment goes to."""

_EDGE = 5.0
"""Pixels of the FSC mask's soft edge."""


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    frequency : array (shells,)
        1/angstrom.
    fsc : array (shells,)
    resolution_05, resolution_0143 : float or None
        Angstrom where the FSC falls below 0.5 and 0.143.
    correlation : float
        Of the two maps inside the mask.
    correlation_25 : float
        The same, both low-passed to 25 A.
    hand : str
        ``same`` or ``mirrored``.
    euler : tuple of float
        Rot, tilt, psi of the rotation that laid the map on the truth, degrees.
    shift : tuple of float
        Then added, angstrom (x, y, z).
    mask_diameter : float
        Angstrom.
    volume : tensor (n, n, n)
        The map laid on the truth, on the device of both.
    aligned : Path or None
        Where it was written.
    warnings : tuple of str
    """

    frequency: Float[np.ndarray, " s"]
    fsc: Float[np.ndarray, " s"]
    resolution_05: float | None
    resolution_0143: float | None
    correlation: float
    correlation_25: float
    hand: str
    euler: tuple[float, float, float]
    shift: tuple[float, float, float]
    mask_diameter: float
    volume: Float[Tensor, "n n n"]
    aligned: Path | None = None
    warnings: tuple[str, ...] = ()


def checked_diameter(diameter: float | None, width: float) -> float | None:
    """The mask diameter given, if any, once it is seen to fit a box of ``width`` angstrom."""
    if diameter is not None and not 0 < diameter <= width:
        raise OptionError(
            f"the mask of {diameter:g} A does not fit the box of {width:g} A",
            where="--mask-diameter",
            hint=f"give a diameter of at most {width:g}",
        )
    return diameter


def _correlation(a: Tensor, b: Tensor, mask: Tensor) -> float:
    inside = mask > 0.5
    return float(torch.corrcoef(torch.stack([a[inside], b[inside]]))[0, 1])


def _target(config: CompareConfig) -> Path:
    out = config.out or config.map.with_name(f"{config.map.stem}_aligned.mrc")
    return spared(out, inputs_of(config), config.overwrite)


def compare(
    moving: Float[Tensor, "n n n"],
    truth: Float[Tensor, "n n n"],
    pixel_size: float,
    mask_diameter: float | None = None,
    on_event: OnEvent = ignore,
) -> Comparison:
    """Lay a map on the truth and tell how far they agree.

    Parameters
    ----------
    moving, truth : tensor (n, n, n)
        On one device, where all is computed.
    pixel_size : float
        Of both, angstrom.
    mask_diameter : float, optional
        Diameter in angstrom of the soft sphere that the FSC is computed in; by default the
        truth's extent.
    on_event : callable
        Is told of progress.

    Raises
    ------
    OptionError
        For a mask that does not fit the box.
    """
    box = int(moving.shape[-1])
    width = box * pixel_size
    diameter = checked_diameter(mask_diameter, width) or min(extent(truth.cpu(), pixel_size), width)
    on_event({"event": "progress", "stage": "aligning", "iteration": 0, "of": 1})
    alignment = align(moving, truth, pixel_size, finest=_FINEST)
    on_event({"event": "progress", "stage": "aligning", "iteration": 1, "of": 1})
    mask = soft_sphere(box, diameter / 2 / pixel_size, _EDGE, 3, truth.device)
    curve = fsc(alignment.volume * mask, truth * mask).cpu().numpy()
    rot, tilt, psi = matrix_to_euler(torch.from_numpy(alignment.matrix)).tolist()
    x, y, z = (alignment.shift * pixel_size).tolist()
    return Comparison(
        frequency=np.arange(len(curve)) / width,
        fsc=curve,
        resolution_05=resolution_at(curve, 0.5, box, pixel_size),
        resolution_0143=resolution_at(curve, 0.143, box, pixel_size),
        correlation=_correlation(alignment.volume, truth, mask),
        correlation_25=_correlation(
            low_pass(alignment.volume, pixel_size, _LOW_PASS),
            low_pass(truth, pixel_size, _LOW_PASS),
            mask,
        ),
        hand="mirrored" if alignment.mirrored else "same",
        euler=(rot, tilt, psi),
        shift=(x, y, z),
        mask_diameter=round(diameter, 1),
        volume=alignment.volume,
        warnings=tuple(dip_warnings(curve, box, pixel_size, 0.5)),
    )


@on_its_threads
@deterministic
def run_compare(config: CompareConfig, on_event: OnEvent = ignore) -> Comparison:
    """Align a map to the truth and tell how far they agree; writes the aligned map.

    The truth is brought to the map's grid: a map by Fourier resampling, a model as density.

    Raises
    ------
    VitreousError
        For files or options that cannot be used.
    """
    out = _target(config)
    array, pixel_size = read_map(config.map)
    moving = cubic(array, config.map)
    box = int(moving.shape[-1])
    truth_array, own = read_volume(config.truth, box, pixel_size)
    truth = cubic(truth_array, config.truth)
    device = device_for(config.device)
    truth = on_grid(truth.to(device), own, box, pixel_size)
    found = compare(moving.to(device), truth, pixel_size, config.mask_diameter, on_event)
    write_map(out, found.volume.cpu().numpy(), pixel_size)
    return replace(found, aligned=out)
