"""Optics groups: what the particles of a microscope session share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OpticsGroup:
    """What the particles of one optics group share.

    Attributes
    ----------
    number : int
    name : str
    pixel_size : float
        Angstrom.
    box : int
        Pixels.
    voltage : float
        kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
    beam_tilt : tuple of float
        Along x and y, mrad.
    mag_matrix : tuple of float
        M00, M01, M10, M11: image frequencies k are read at M k.
    odd_zernike, even_zernike : tuple of float
        Coefficients in RELION's order, in radians and powers of angstrom.
    """

    number: int
    name: str
    pixel_size: float
    box: int
    voltage: float
    cs: float
    amplitude_contrast: float
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    mag_matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
