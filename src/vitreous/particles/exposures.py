"""Movies and micrographs: their files, and the optics that they were taken with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class ExposureOptics:
    """What the exposures of one optics group share.

    Attributes
    ----------
    name : str
    pixel_size : float
        Of the movies, angstrom.
    voltage : float
        kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
    beam_tilt : tuple of float
        Along x and y, mrad.
    micrograph_pixel_size : float, optional
        Of the micrographs, where they have other pixels than the movies, angstrom.
    mtf : str, optional
        File of the detector's modulation transfer.
    gain : str, optional
        File of the gain reference.
    dose : float, optional
        Of a movie's frame, e/A^2.
    """

    name: str
    pixel_size: float
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    micrograph_pixel_size: float | None = None
    mtf: str | None = None
    gain: str | None = None
    dose: float | None = None


@dataclass(frozen=True)
class Exposures:
    """A table of movies, or of micrographs.

    Attributes
    ----------
    kind : str
        movies or micrographs.
    names : tuple of str
        Files, as the table names them.
    optics : tuple of ExposureOptics
    group : int array (exposures,)
        Index of each one's optics.
    path : Path, optional
        STAR file that it was read from.
    """

    kind: str
    names: tuple[str, ...]
    optics: tuple[ExposureOptics, ...]
    group: Int[np.ndarray, " n"]
    path: Path | None = None

    def __len__(self) -> int:
        """Movies or micrographs."""
        return len(self.names)
