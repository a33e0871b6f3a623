"""The work on one micrograph: its CTF, a picture of its spectrum, and the curves of the fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.config.ctf_estimation import CtfConfig
from vitreous.errors import InputError
from vitreous.imaging.ctf import Optics
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc import read_micrograph, write_map
from vitreous.preprocessing.ctf_estimation.estimate import Estimate, Search, estimate_ctf

_BEYOND = 100.0
"""Resolution written where no rings are seen, angstrom."""


@dataclass(frozen=True)
class Estimating:
    """One micrograph.

    Attributes
    ----------
    micrograph : Path
    picture, curves : Path
        Files that are written.
    pixel_size : float
        Angstrom.
    optics : Optics
    """

    micrograph: Path
    picture: Path
    curves: Path
    pixel_size: float
    optics: Optics


def search_of(config: CtfConfig) -> Search:
    """What is fitted, and where it is looked for."""
    return Search(
        config.min_defocus,
        config.max_defocus,
        config.max_astigmatism,
        config.phase_shift,
        config.lowest_resolution,
        config.resolution_limit,
    )


def spectrum_picture(found: Estimate) -> Float[np.ndarray, "n n"]:
    """Whitened spectrum on the left, the fit on the right, zero frequency in the middle."""
    spectrum = found.spectrum
    half = math.ceil(float(spectrum.frequency.max()) / spectrum.step) + 1
    x, y = (
        np.round(spectrum.frequency * wave(spectrum.azimuth) / spectrum.step).astype(int)
        for wave in (np.cos, np.sin)
    )
    image = np.zeros((2 * half, 2 * half), dtype=np.float32)
    image[half + y, half + x] = found.fit.background + found.fit.rings
    image[half - y, half - x] = spectrum.mean
    return image


def _write_curves(path: Path, found: Estimate) -> None:
    profile = found.profile
    columns = {
        "frequency_per_angstrom": profile.frequency,
        "observed": profile.observed,
        "fitted": profile.fitted,
        "correlation": profile.correlation,
    }
    with atomic_path(path) as temporary:
        pl.DataFrame(columns).write_csv(temporary, float_precision=6)


def _record(found: Estimate) -> dict[str, Any]:
    u, v, angle = found.defocus
    errors, tilt = found.errors, found.tilt
    _, cosine, sine = found.parameters[:3]
    half = max(math.hypot(cosine, sine), 1e-6)
    along = np.array([0, cosine, sine] + [0] * (len(errors) - 3)) / half
    supported = tilt is not None and tilt.supported
    return {
        "defocus_u": u,
        "defocus_v": v,
        "defocus_angle": angle,
        "astigmatism": u - v,
        "phase_shift": found.phase_shift,
        "defocus_error": float(errors[0]),
        "astigmatism_error": 2 * math.sqrt(float(along @ found.fit.covariance @ along)),
        "phase_shift_error": math.degrees(errors[3]) if len(errors) > 3 else 0.0,
        "interval_90": float(found.half_widths(0.9)[0]),
        "resolution": min(found.resolution, _BEYOND),
        "merit": found.merit,
        "tilt": tilt.angle if tilt is not None and supported else 0.0,
        "tilt_axis": tilt.axis if tilt is not None and supported else 0.0,
        "ice_ring": found.findings.ice,
        "tiles_left_out": found.tiles_left_out,
        "verdict": found.verdict.word,
        "reasons": list(found.verdict.reasons),
    }


def estimate_micrograph(config: CtfConfig, work: Estimating) -> dict[str, Any]:
    """Estimate the CTF of a micrograph; write the picture of its spectrum and the fit's curves.

    Raises
    ------
    InputError
        For a micrograph that cannot be read, is too small or empty.
    """
    image = read_micrograph(work.micrograph)
    try:
        found = estimate_ctf(image, work.pixel_size, work.optics, search_of(config))
    except InputError as error:
        raise InputError(error.what, where=work.micrograph, hint=error.hint) from error
    write_map(work.picture, spectrum_picture(found)[None], 1.0)
    _write_curves(work.curves, found)
    return _record(found)
