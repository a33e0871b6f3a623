"""Where to begin a fit: every defocus, astigmatism and phase, scored sector by sector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.model import waves_at, without_background
from vitreous.preprocessing.ctf_estimation.profile import phase_profiles
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

SECTORS = 12
"""Of the half plane: within one, astigmatism changes the defocus by little."""

STEP, _ASTIGMATISM_STEP = 100.0, 200.0
"""Of the defocus and of the components of astigmatism, angstrom."""

_PHASE_STEP = math.pi / 12

_SLIP, _SLIP_STEP, _SLIP_PHASE = 2500.0, 25.0, math.pi / 48
"""How far off a fit's defocus another is looked for; steps of defocus and of a plate's phase."""


@dataclass(frozen=True)
class Range:
    """What is searched.

    Attributes
    ----------
    least, most : float
        Defocus, angstrom.
    astigmatism : float
        Greatest half difference of the defoci along both axes, angstrom.
    plate : bool
        Search the phase shift of a phase plate as well.
    """

    least: float
    most: float
    astigmatism: float
    plate: bool


@dataclass(frozen=True)
class Start:
    """The best of the scan.

    Attributes
    ----------
    parameters : array (3 or 4,)
        Mean defocus and the components of astigmatism, angstrom; the plate's phase, radians.
    at_edge : bool
        The defocus is the least or greatest searched.
    """

    parameters: Float[np.ndarray, " t"]
    at_edge: bool


def _sector_profile(
    spectrum: Spectrum, values: Float[np.ndarray, " p"], members: np.ndarray
) -> tuple[Float[np.ndarray, " rings"], Float[np.ndarray, " rings"]]:
    """Ring sums of some pixels less a smooth background, and how many pixels each has."""
    count = spectrum.ring_sums(members.astype(float))
    return without_background(spectrum, spectrum.ring_sums(values * members), count), count


def profile_scores(
    spectrum: Spectrum,
    profile: tuple[Float[np.ndarray, " rings"], Float[np.ndarray, " rings"]],
    phase: Float[np.ndarray, "d rings"],
    plates: Float[np.ndarray, " q"],
) -> Float[np.ndarray, "q d"]:
    """What rings of a smooth contrast explain of a radial profile, at some phases and plates.

    Negative where the contrast has the wrong sign.

    Parameters
    ----------
    spectrum : Spectrum
    profile : tuple of arrays
        Sums over each ring, less the background, and numbers of pixels.
    phase : array (defoci, rings)
        Of the CTF, without a plate.
    plates : array (plates,)
        Phase shifts, radians.
    """
    sums, count = profile
    cosine, sine = np.cos(2 * phase), np.sin(2 * phase)
    basis = spectrum.contrast
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    size = basis.shape[1]
    squares = [
        ((w * count) @ products).reshape(-1, size, size)
        for w in (cosine**2, sine**2, cosine * sine)
    ]
    rights = [(w * sums) @ basis for w in (cosine, sine)]
    ridge = 1e-3 * count.mean() * np.eye(size)
    scores = []
    for plate in plates:
        c, s = math.cos(2 * plate), math.sin(2 * plate)
        matrix = c * c * squares[0] + s * s * squares[1] - 2 * c * s * squares[2] + ridge
        right = c * rights[0] - s * rights[1]
        solved = np.linalg.solve(matrix, right[..., None])[..., 0]
        sign = -np.sign(solved @ basis.sum(axis=0))
        scores.append((right * solved).sum(axis=-1) * sign)
    return np.stack(scores)


def _sector_scores(
    spectrum: Spectrum, optics: Optics, defoci: Float[np.ndarray, " d"], plates: np.ndarray
) -> Float[np.ndarray, "sectors q d"]:
    waves = waves_at(spectrum.ring_frequency, optics)
    phase = waves.per_defocus * defoci[:, None] + waves.constant
    turn = np.mod(spectrum.azimuth, math.pi) / math.pi
    sector = np.minimum((turn * SECTORS).astype(int), SECTORS - 1)
    values = spectrum.mean
    return np.stack(
        [
            profile_scores(
                spectrum, _sector_profile(spectrum, values, sector == number), phase, plates
            )
            for number in range(SECTORS)
        ]
    )


def _astigmatisms(most: float) -> Float[np.ndarray, "a 2"]:
    """Components of all astigmatisms on a grid up to a strength."""
    axis = np.arange(-(most // _ASTIGMATISM_STEP), most // _ASTIGMATISM_STEP + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid[np.hypot(*grid.T) * _ASTIGMATISM_STEP <= most] * _ASTIGMATISM_STEP


def scan(spectrum: Spectrum, optics: Optics, searched: Range) -> Start:
    """Find the best mean defocus, astigmatism and phase on a grid.

    Sectors of the spectrum are scored at every defocus; an astigmatism shifts them against each
    other, so that all combinations are sums of the same numbers.
    """
    margin = int(searched.astigmatism // STEP) + 1
    count = int((searched.most - searched.least) // STEP) + 1
    inner = searched.least + STEP * np.arange(count)
    defoci = searched.least + STEP * np.arange(-margin, count + margin)
    plates = np.arange(0, math.pi, _PHASE_STEP) if searched.plate else np.zeros(1)
    scores = _sector_scores(spectrum, optics, defoci, plates)
    components = _astigmatisms(searched.astigmatism)
    middle = (np.arange(SECTORS) + 0.5) * math.pi / SECTORS
    along = components @ np.stack([np.cos(2 * middle), np.sin(2 * middle)])
    shift = np.round(along / STEP).astype(int) + margin
    best, found = -math.inf, np.zeros(3)
    for number, plate in enumerate(plates):
        views = np.lib.stride_tricks.sliding_window_view(scores[:, number], count, axis=-1)
        total = sum(views[sector][shift[:, sector]] for sector in range(SECTORS))
        place = np.unravel_index(int(np.argmax(total)), total.shape)
        if total[place] > best:
            best = float(total[place])
            found = np.array([inner[place[1]], *components[place[0]], plate])
    at_edge = bool(found[0] in (inner[0], inner[-1]))
    return Start(found if searched.plate else found[:3], at_edge)


def rescan(
    spectrum: Spectrum, optics: Optics, fitted: Float[np.ndarray, " 4"]
) -> Float[np.ndarray, " 4"]:
    """Best defocus and phase of a plate under a fit's astigmatism, on a grid finer than a scan's.

    A phase and a defocus that slip against each other by a ring fit nearly as well as the true
    ones, and a coarse grid may prefer them.
    """
    rings, sums = phase_profiles(spectrum, fitted, spectrum.mean[None])
    defoci = np.maximum(fitted[0] + np.arange(-_SLIP, _SLIP + 1, _SLIP_STEP), _SLIP_STEP)
    plates = np.arange(0, math.pi, _SLIP_PHASE)
    waves = waves_at(rings.frequency, optics)
    phase = waves.per_defocus * defoci[:, None] + waves.constant
    scores = profile_scores(spectrum, (sums[0], rings.counts), phase, plates)
    plate, defocus = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return np.array([defoci[defocus], *fitted[1:3], plates[plate]])
