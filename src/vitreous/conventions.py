"""The conventions of vitreous, in one place (the long form is ``docs/conventions.md``).

Arrays
    Maps are indexed (z, y, x), images (y, x), stacks (image, y, x).  The centre of a box of
    ``n`` is index ``n // 2`` in every dimension.  Fourier transforms are taken of the
    ifftshifted array, so that the centre carries phase zero.
Units
    Lengths in angstrom, angles in degrees, frequencies in 1/angstrom at every public edge;
    defocus in angstrom, positive for underfocus; particles are white (protein positive).
    The two offset options of the searches are in pixels of the stack, as in RELION.
Orientations
    RELION's rot, tilt, psi (intrinsic ZYZ).  The matrix A made by
    :func:`vitreous.math.rotations.euler_to_matrix` carries a point (x, y, z) of the volume
    into the frame of the image; the central slice at image frequency (kx, ky) reads the
    volume at ``A.T @ (kx, ky, 0)``.
Origins
    ``rlnOriginXAngst`` is the shift that centres the particle: the particle sits at minus
    the origin.
Contrast transfer
    sin(pi lambda df k^2 - pi/2 Cs lambda^3 k^4 + asin(w) + phase shift): positive at low
    frequency for white particles.
"""

from __future__ import annotations

from typing import Final

MIN_BOX: Final = 16
"""Smallest usable box in pixels: below it there are too few shells to align on."""


def centre(box: int) -> int:
    """Index of the centre of a box of ``box`` pixels."""
    return box // 2
