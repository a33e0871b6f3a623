"""Fourier shell correlation of two maps."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from vitreous.config.volumes import FscConfig
from vitreous.io.atomic import write_text
from vitreous.io.density import read_density
from vitreous.io.fsc_xml import write_fsc_xml
from vitreous.io.plain import plain
from vitreous.jobs.maps.half_maps import read_mask, same_grid
from vitreous.jobs.volumes.files import check_numbers, whole_cube
from vitreous.runs.targets import inputs_of, spared
from vitreous.validate.fsc import (
    dip_warnings,
    fsc,
    resolution_at,
    resolution_of_shell,
    shell_frequency,
)
from vitreous.validate.masked_before import MOSTLY_SILENT, masked_before


@dataclass(frozen=True)
class ShellCorrelation:
    """A curve and what is read from it.

    Attributes
    ----------
    frequency : array (shells,)
        1/angstrom.
    fsc : array (shells,)
    resolution_05, resolution_0143 : float or None
        Angstrom of the last shell before the curve falls below 0.5 and 0.143, as RELION.
    resolution_05_interpolated, resolution_0143_interpolated : float or None
        Where it falls below, interpolated between shells.
    warnings : tuple of str
    """

    frequency: Float[np.ndarray, " s"]
    fsc: Float[np.ndarray, " s"]
    resolution_05: float | None
    resolution_0143: float | None
    resolution_05_interpolated: float | None
    resolution_0143_interpolated: float | None
    warnings: tuple[str, ...]


def run_fsc(config: FscConfig) -> ShellCorrelation:
    """Correlate two maps shell by shell; write the curve where asked to.

    Raises
    ------
    VitreousError
        For files that cannot be read, maps or a mask on different grids, and a mask that leaves
        0 to 1.
    """
    check_numbers(config, positive=("pixel_size",))
    for path in (config.xml, config.json):
        if path is not None:
            spared(path, inputs_of(config), config.overwrite)
    first, second = (read_density(path, config.pixel_size) for path in (config.map1, config.map2))
    a, b = whole_cube(first, config.map1), whole_cube(second, config.map2)
    box, pixel_size = a.shape[-1], first.pixel_size
    same_grid(config.map2, b.shape[-1], second.pixel_size, config.map1, box, pixel_size)
    warnings: tuple[str, ...] = ()
    before = masked_before(a, b)
    if config.mask is not None:
        mask = read_mask(config.mask, config.map1, box, pixel_size, config.pixel_size)
        a, b, warnings = a * mask.volume, b * mask.volume, mask.warnings
    curve = fsc(a, b).numpy()
    warnings += tuple(dip_warnings(curve, box, pixel_size))
    if before is not None and before.silent > MOSTLY_SILENT:
        warnings += (
            f"The maps do not differ outside {before.share:.1%} of the box, as where both were "
            "masked: the mask's edge makes them agree, and the resolution is too fine. Give maps "
            "without a mask.",
        )
    apart = float(np.linalg.norm(first.centre - second.centre))
    if apart > pixel_size / 2:
        warnings += (
            f"The headers place the maps {apart:.1f} A apart; they were compared voxel by voxel.",
        )
    found = ShellCorrelation(
        frequency=shell_frequency(box, pixel_size),
        fsc=curve,
        resolution_05=resolution_of_shell(curve, 0.5, box, pixel_size),
        resolution_0143=resolution_of_shell(curve, 0.143, box, pixel_size),
        resolution_05_interpolated=resolution_at(curve, 0.5, box, pixel_size),
        resolution_0143_interpolated=resolution_at(curve, 0.143, box, pixel_size),
        warnings=warnings,
    )
    if config.xml is not None:
        title = "Unmasked FSC" if config.mask is None else "Masked FSC"
        write_fsc_xml(config.xml, found.frequency, curve, title)
    if config.json is not None:
        record = {**asdict(found), "options": asdict(config)}
        write_text(config.json, json.dumps(plain(record), indent=1) + "\n")
    return found
