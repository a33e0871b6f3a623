"""Resolution everywhere in a map, and the map filtered to it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import LocalResolutionConfig, PostprocessConfig
from vitreous.errors import InputError, OptionError
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.half_maps import HalfMaps, half_maps_given
from vitreous.jobs.maps.postprocess import choose_b_factor, curve_warnings, resolutions
from vitreous.math.fourier import to_half_fourier
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.validate.fsc import crossing
from vitreous.validate.local_resolution import (
    FIRST_SHELL,
    LocalWindow,
    default_diameter,
    lattice,
    local_fsc,
    local_window,
    locally_filtered,
    spread,
    whitened,
)
from vitreous.validate.sharpen import fsc_weight, guinier_fit, sharpened

_INSIDE = 0.5
"""Value of the mask from which on a voxel is measured."""

_NARROWEST, _WIDEST = 8.0, 64.0
"""Pixels of the window's diameter; never more than half the box either."""

_PERCENTILES = (5, 25, 50, 75, 95)
"""Of the local resolution within the mask, told in ``result.json``."""


def _check(config: LocalResolutionConfig) -> None:
    if not 0 < config.threshold < 1:
        raise OptionError(
            f"{config.threshold:g} is not between 0 and 1",
            where="--threshold",
            hint="give 0.143 or 0.5",
        )


def _window(config: LocalResolutionConfig, halves: HalfMaps, resolution: float) -> LocalWindow:
    widest = min(_WIDEST, halves.box / 2)
    if config.window is None:
        wanted = default_diameter(resolution, halves.pixel_size)
        return local_window(min(max(wanted, _NARROWEST), widest))
    diameter = config.window / halves.pixel_size
    if not _NARROWEST <= diameter <= widest:
        least, most = (d * halves.pixel_size for d in (_NARROWEST, widest))
        raise OptionError(
            f"{config.window:g} A is not between {least:g} and {most:g} A, which is "
            f"{_NARROWEST:g} to {widest:g} pixels",
            where="--window",
            hint="give some seven times the resolution",
        )
    return local_window(diameter)


def local_resolution(
    halves: HalfMaps, window: LocalWindow, threshold: float = 0.143, on_event: OnEvent = ignore
) -> Float[Tensor, "n n n"]:
    """Resolution (angstrom) to which the halves agree at every voxel of the mask.

    Beyond the mask it is that of the nearest point within.

    Parameters
    ----------
    halves : HalfMaps
    window : LocalWindow
        That the FSC is computed in, as :func:`vitreous.validate.local_resolution.local_window`
        makes it.
    threshold : float
        FSC that the resolution is read at.
    on_event : callable
        Is told of progress.
    """
    points, shape = lattice((halves.mask.volume > _INSIDE).cpu().numpy(), window.step)

    def progress(done: int, total: int) -> None:
        on_event({"event": "progress", "stage": "local FSC", "iteration": done, "of": total})

    progress(0, len(points))
    curves = local_fsc(*whitened(halves.half1, halves.half2), points, window, progress)
    shells = crossing(curves, threshold, FIRST_SHELL)
    frequency = shells / (window.side * halves.pixel_size)
    return 1 / spread(frequency, points, shape, window.step, halves.box).to(halves.half1)


@on_its_threads
@deterministic
def run_local_resolution(config: LocalResolutionConfig, on_event: OnEvent = ignore) -> Path:
    """Local resolution of two half-maps, and their mean sharpened and filtered to it.

    Returns
    -------
    Path of the folder, with local_resolution.mrc (angstrom), locally_filtered.mrc, mask.mrc and
    result.json.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used, and for halves that do not agree even
        at the lowest frequencies.
    """
    began = time.monotonic()
    _check(config)
    halves = half_maps_given(config).to(device_for(config.device))
    pixel_size, mask = halves.pixel_size, halves.mask.volume
    curves = halves.curves(config.seed)
    found = resolutions(curves, halves.box, pixel_size)
    resolution = found["resolution_0143_interpolated"]
    if resolution is None:
        raise InputError(
            f"does not agree with {config.half1} at any frequency within the mask",
            where=config.half2,
            hint="check that both are halves of one refinement and lie in the mask",
        )
    window = _window(config, halves, resolution)
    with job_folder("local-resolution", config, on_event) as job:
        local = local_resolution(halves, window, config.threshold, job.tell)

        spectrum, weight = to_half_fourier(halves.mean), fsc_weight(curves.corrected)
        fit = guinier_fit(spectrum, weight, pixel_size, PostprocessConfig.fit_from)
        b_factor, source, b_warnings = choose_b_factor(config.bfactor, fit)
        volume = sharpened(spectrum, np.ones_like(weight), b_factor, pixel_size)
        filtered = locally_filtered(volume, 1 / local, pixel_size)
        for name, made in (
            ("mask", mask),
            ("local_resolution", local),
            ("locally_filtered", filtered),
        ):
            write_map(job.path / f"{name}.mrc", made.cpu().numpy(), pixel_size)
        percentiles = np.percentile(local[mask > _INSIDE].cpu().numpy(), _PERCENTILES)
        result: dict[str, Any] = {
            **job_record("local-resolution", config),
            "seed": config.seed,
            **halves.record(),
            **found,
            "window": {"diameter": window.diameter * pixel_size, "step": window.step * pixel_size},
            "local_resolution": {
                f"percentile_{p}": v for p, v in zip(_PERCENTILES, percentiles, strict=True)
            },
            "bfactor": b_factor,
            "bfactor_source": source,
            "warnings": [*halves.mask.warnings, *curve_warnings(curves, halves), *b_warnings],
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        }
        write_record(job.path, result)
    return config.out
