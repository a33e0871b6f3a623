"""From two half-maps to the resolution and a sharpened, masked map."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import PostprocessConfig
from vitreous.errors import OptionError
from vitreous.imaging.filters import low_pass
from vitreous.io.fsc_xml import write_fsc_xml
from vitreous.io.mrc import write_map
from vitreous.io.mtf import read_mtf
from vitreous.jobs.maps.half_maps import HalfMaps, half_maps_given
from vitreous.math.fourier import to_half_fourier
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.validate.fsc import (
    dip_warnings,
    first_below,
    resolution_at,
    resolution_of_shell,
    shell_frequency,
)
from vitreous.validate.half_maps import HalfMapCurves
from vitreous.validate.sharpen import GuinierFit, fsc_weight, guinier_fit, sharpened

_MASKS_OWN = 0.1
"""FSC that random phases may have at the resolution before the mask is called too tight."""

_XML_TITLE = "Masked FSC corrected by phase randomisation"

_NO_FIT = (
    "Fewer than three shells lie between the start of the Guinier fit and the end of the FSC, so "
    "the map was not sharpened: give --bfactor."
)


def _check(config: PostprocessConfig) -> None:
    for value, where in (
        (config.fit_from, "--fit-from"),
        (config.fit_to, "--fit-to"),
        (config.mtf_pixel_size, "--mtf-pixel-size"),
        (config.lowpass, "--lowpass"),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(
                f"{value:g}, expected more than 0", where=where, hint="give angstroms"
            )
    if config.fit_to is not None and config.fit_to >= config.fit_from:
        raise OptionError(
            f"{config.fit_to:g} A is not finer than --fit-from, {config.fit_from:g} A",
            where="--fit-to",
            hint="give the finer resolution as --fit-to",
        )
    if config.bfactor is not None and not math.isfinite(config.bfactor):
        raise OptionError(f"{config.bfactor:g}", where="--bfactor", hint="give angstrom^2")


def _mtf_of_shells(config: PostprocessConfig, halves: HalfMaps) -> Float[np.ndarray, " s"]:
    """What the detector passes on in each shell: 1 where no MTF was given."""
    frequency = shell_frequency(halves.box, halves.pixel_size)
    if config.mtf is None:
        return np.ones_like(frequency)
    return read_mtf(config.mtf).at(frequency * (config.mtf_pixel_size or halves.pixel_size))


def resolutions(curves: HalfMapCurves, box: int, pixel_size: float) -> dict[str, float | None]:
    """Entries of ``result.json``: where the corrected and the unmasked curve fall, angstrom."""
    return {
        "resolution_0143": resolution_of_shell(curves.corrected, 0.143, box, pixel_size),
        "resolution_05": resolution_of_shell(curves.corrected, 0.5, box, pixel_size),
        "resolution_0143_interpolated": resolution_at(curves.corrected, 0.143, box, pixel_size),
        "resolution_05_interpolated": resolution_at(curves.corrected, 0.5, box, pixel_size),
        "resolution_0143_unmasked": resolution_of_shell(curves.unmasked, 0.143, box, pixel_size),
    }


def curve_warnings(curves: HalfMapCurves, halves: HalfMaps) -> list[str]:
    """What the curves say against the mask, the sampling or the halves' independence."""
    found = dip_warnings(curves.corrected, halves.box, halves.pixel_size)
    shells, before = len(curves.corrected), halves.masked_before is not None
    fall = first_below(curves.corrected, 0.143)
    if before and fall == 1:
        return [
            "The resolution is not judged: inside of the earlier mask, the mask alone makes the "
            "halves agree."
        ]
    if not before and fall < first_below(curves.unmasked, 0.143):
        found.append(
            "The masked resolution is worse than the unmasked one: the mask cuts into the molecule "
            "or lies beside it."
        )
    if fall == shells:
        found.append(
            "The FSC stays above 0.143 up to Nyquist: the pixel size limits the resolution, or the "
            "halves are not independent."
        )
    elif curves.randomised_from < fall and curves.randomised[fall] > _MASKS_OWN:
        found.append(
            f"Random phases reach an FSC of {curves.randomised[fall]:.2f} at the resolution: the "
            "mask is too tight or its edge too sharp."
        )
    if curves.randomised_from == shells:
        found.append(
            "The unmasked FSC never falls below 0.8, so no phases were randomised and nothing was "
            "corrected: check that the halves are independent."
        )
    return found


def choose_b_factor(given: float | None, fit: GuinierFit | None) -> tuple[float, str, list[str]]:
    """B-factor to apply, where it came from, and warnings."""
    if given is not None:
        found, source = given, "given"
    elif fit is not None:
        found, source = fit.b_factor, "Guinier fit"
    else:
        return 0.0, "none", [_NO_FIT]
    blurs = f"The B-factor of {found:.0f} A^2 is positive and blurs the map."
    return found, source, [blurs] if found > 0 else []


@dataclass(frozen=True)
class Judged:
    """What two half-maps amount to.

    Attributes
    ----------
    sharpened : tensor (n, n, n)
    curves : HalfMapCurves
    record : dict
        For result.json: resolutions, B-factor, curves.
    warnings : list of str
    """

    sharpened: Float[Tensor, "n n n"]
    curves: HalfMapCurves
    record: dict[str, Any]
    warnings: list[str]


def judge_half_maps(
    halves: HalfMaps,
    mtf: Float[np.ndarray, " s"] | None = None,
    *,
    b_factor: float | None = None,
    fit_from: float = 10.0,
    fit_to: float | None = None,
    seed: int = 0,
) -> Judged:
    """Resolution, B-factor and the sharpened mean of two half-maps.

    Parameters
    ----------
    halves : HalfMaps
    mtf : array (shells,), optional
        What the detector passes on in each shell; 1 by default.
    b_factor : float, optional
        Angstrom^2; by default that of the Guinier fit.
    fit_from, fit_to : float
        Resolutions in angstrom between which it is fitted; by default to where the FSC ends.
    seed : int
        Of the random phases.
    """
    curves = halves.curves(seed)
    weight = fsc_weight(curves.corrected) / (1.0 if mtf is None else mtf)
    spectrum = to_half_fourier(halves.mean)
    fit = guinier_fit(spectrum, weight, halves.pixel_size, fit_from, fit_to)
    b_factor, source, b_warnings = choose_b_factor(b_factor, fit)
    frequency = shell_frequency(halves.box, halves.pixel_size)
    randomised = curves.randomised_from < len(frequency)
    record = {
        **resolutions(curves, halves.box, halves.pixel_size),
        "bfactor": b_factor,
        "bfactor_source": source,
        "guinier": None if fit is None else asdict(fit),
        "randomised_from": 1 / frequency[curves.randomised_from] if randomised else None,
        "fsc": {"frequency": frequency, **asdict(curves), **halves.wider_fsc()},
    }
    volume = sharpened(spectrum, weight, b_factor, halves.pixel_size)
    warnings = [*halves.mask.warnings, *curve_warnings(curves, halves), *b_warnings]
    return Judged(volume, curves, record, warnings)


def write_judged(out: Path, halves: HalfMaps, judged: Judged) -> None:
    """Write mask.mrc, sharpened.mrc, sharpened_masked.mrc and fsc.xml."""
    mask = halves.mask.volume
    for name, volume in (
        ("mask", mask),
        ("sharpened", judged.sharpened),
        ("sharpened_masked", judged.sharpened * mask),
    ):
        write_map(out / f"{name}.mrc", volume.cpu().numpy(), halves.pixel_size)
    frequency = shell_frequency(halves.box, halves.pixel_size)
    write_fsc_xml(out / "fsc.xml", frequency, judged.curves.corrected, _XML_TITLE)


@on_its_threads
@deterministic
def run_postprocess(config: PostprocessConfig, on_event: OnEvent = ignore) -> Path:
    """Resolution, B-factor, and the sharpened map of two half-maps.

    Returns
    -------
    Path of the folder, with sharpened.mrc, sharpened_masked.mrc, mask.mrc, fsc.xml and
    result.json.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    began = time.monotonic()
    _check(config)
    halves = half_maps_given(config).to(device_for(config.device))
    mtf = _mtf_of_shells(config, halves)
    with job_folder("postprocess", config, on_event) as job:
        job.tell({"event": "progress", "stage": "sharpening", "iteration": 0, "of": 1})
        judged = judge_half_maps(
            halves,
            mtf,
            b_factor=config.bfactor,
            fit_from=config.fit_from,
            fit_to=config.fit_to,
            seed=config.seed,
        )
        if config.lowpass is not None:
            cut = low_pass(judged.sharpened, halves.pixel_size, config.lowpass)
            judged = replace(judged, sharpened=cut)
        write_judged(job.path, halves, judged)
        result: dict[str, Any] = {
            **job_record("postprocess", config),
            "seed": config.seed,
            **halves.record(),
            **judged.record,
            "warnings": judged.warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        }
        write_record(job.path, result)
        job.tell({"event": "progress", "stage": "sharpening", "iteration": 1, "of": 1})
    return config.out
