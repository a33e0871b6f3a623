"""The contrast transfer function, and the aberrations that travel with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from vitreous.imaging.aberrations import zernike_sum

_PLANCK = 6.62607015e-34
_ELECTRON_MASS = 9.1093837015e-31
_ELEMENTARY_CHARGE = 1.602176634e-19
_LIGHT_SPEED = 299792458.0


def electron_wavelength(kilovolts: float) -> float:
    """Relativistic de Broglie wavelength in angstrom."""
    energy = kilovolts * 1e3 * _ELEMENTARY_CHARGE
    rest = _ELECTRON_MASS * _LIGHT_SPEED**2
    momentum = math.sqrt(2 * _ELECTRON_MASS * energy * (1 + energy / (2 * rest)))
    return _PLANCK / momentum * 1e10


@dataclass(frozen=True)
class Optics:
    """What the particles of an optics group have in common.

    Attributes
    ----------
    voltage : float
        Acceleration voltage, kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
        Fraction of amplitude contrast, 0 to 1.
    beam_tilt : tuple of float
        Beam tilt along x and y, mrad.
    magnification : tuple of float
        M00, M01, M10, M11: image frequencies k are read at M k.
    odd_zernike, even_zernike : tuple of float
        Further aberrations: Zernike coefficients as RELION has them.
    """

    voltage: float
    cs: float
    amplitude_contrast: float
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    magnification: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()

    @property
    def turns_phases(self) -> bool:
        """Whether odd aberrations turn the phases of images."""
        return any(self.beam_tilt) or any(self.odd_zernike)


@dataclass(frozen=True)
class Defocus:
    """Per-particle defocus, and what else sets an image's CTF apart from others.

    Attributes
    ----------
    u, v : tensors (n,)
        Angstrom.
    angle, phase_shift : tensors (n,)
        Azimuth of U, and that of a phase plate, degrees.
    scale, bfactor : tensors (n,), optional
        What the CTF is multiplied by: scale and exp(-B k^2 / 4), B in angstrom^2.
    flipped, premultiplied : bool tensors (n,), optional
        What was done to the image: its phases were flipped, or it was multiplied by its CTF.
    """

    u: Float[Tensor, " n"]
    v: Float[Tensor, " n"]
    angle: Float[Tensor, " n"]
    phase_shift: Float[Tensor, " n"]
    scale: Float[Tensor, " n"] | None = None
    bfactor: Float[Tensor, " n"] | None = None
    flipped: Bool[Tensor, " n"] | None = None
    premultiplied: Bool[Tensor, " n"] | None = None

    def take(self, part: slice | Tensor) -> Defocus:
        """That of some particles."""
        return replace(self, **{name: value[part] for name, value in self._given().items()})

    def to(self, device: torch.device) -> Defocus:
        """The same on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._given().items()})

    def _given(self) -> dict[str, Tensor]:
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def some_premultiplied(self) -> bool:
        """Whether any image was multiplied by its CTF."""
        return self.premultiplied is not None and bool(self.premultiplied.any())

    def amplitude(self, k2: Float[Tensor, "*p"]) -> Float[Tensor, "n ..."] | None:
        """What the CTF's sine is multiplied by at squared frequencies; None for 1."""
        if self.scale is None and self.bfactor is None:
            return None
        shape = (-1, *[1] * k2.ndim)
        scale = torch.ones_like(self.u) if self.scale is None else self.scale
        b = torch.zeros_like(self.u) if self.bfactor is None else self.bfactor
        return scale.view(shape) * torch.exp(-b.view(shape) / 4 * k2)


def magnified(points: Float[Tensor, "*p 2"], optics: Optics) -> Float[Tensor, "*p 2"]:
    """Image frequencies (x, y) carried to the undistorted frame by the magnification matrix."""
    if optics.magnification == (1.0, 0.0, 0.0, 1.0):
        return points
    matrix = torch.tensor(optics.magnification, dtype=points.dtype, device=points.device)
    return points @ matrix.view(2, 2).T


def ctf_phase(
    frequencies: Float[Tensor, "*p 2"], defocus: Defocus, optics: Optics
) -> Float[Tensor, "n ..."]:
    """Argument of the CTF's sine in radians: defocus, aberrations, amplitude and plate phases."""
    wavelength = electron_wavelength(optics.voltage)
    x, y = magnified(frequencies, optics).unbind(-1)
    k2, turn = x**2 + y**2, 2 * torch.deg2rad(defocus.angle)
    spread = 0.5 * (defocus.u - defocus.v)
    # k^2 cos 2(theta - angle), theta being the azimuth of (x, y), by the angle-sum formula: a
    # product of matrices instead of a cosine for every particle and frequency.
    terms = (0.5 * (defocus.u + defocus.v), spread * torch.cos(turn), spread * torch.sin(turn))
    waves = torch.stack([k2, x**2 - y**2, 2 * x * y])
    along = torch.tensordot(torch.stack(terms, dim=1), waves, dims=1)
    spherical = math.pi / 2 * optics.cs * 1e7 * wavelength**3 * k2**2
    plate = torch.deg2rad(defocus.phase_shift).view(-1, *[1] * k2.ndim)
    constant = math.asin(optics.amplitude_contrast) + plate
    even = zernike_sum(torch.stack([x, y], dim=-1), optics.even_zernike, "even")
    return math.pi * wavelength * along - spherical - even + constant


def contrast_transfer(
    frequencies: Float[Tensor, "*p 2"],
    defocus: Defocus,
    optics: Optics,
    *,
    ignore_until_first_peak: bool = False,
) -> Float[Tensor, "n ..."]:
    """CTF of every particle at the given image frequencies, its absolute value where flipped.

    It is what noise of one strength at all frequencies was added to; images multiplied by their CTF
    since carry its square.  See :func:`image_transfer`.

    Parameters
    ----------
    frequencies : tensor (..., 2)
        Frequencies (x, y) in 1/angstrom.
    defocus : Defocus
        One value a particle.
    optics : Optics
        The particles' optics group.
    ignore_until_first_peak : bool
        One up to the first maximum of the absolute value.

    Returns
    -------
    tensor (particles, ...) of values in [-1, 1] unless scaled, positive at low frequency.

    Notes
    -----
    sin(pi lambda df k^2 - pi/2 Cs lambda^3 k^4 + asin(w) + phase shift) with
    df = (U + V + (U - V) cos 2(theta - angle)) / 2: Rohou & Grigorieff, J. Struct. Biol. 192,
    216 (2015), equations 3 to 5, in RELION's sign.  Even Zernike terms are taken from the argument,
    as RELION adds them to its negative.  The scale and the B-factor multiply the sine as
    ``relion_project`` has it.
    """
    phase = ctf_phase(frequencies, defocus, optics)
    value = torch.sin(phase)
    if defocus.flipped is not None:
        flipped = defocus.flipped.view(-1, *[1] * (value.ndim - 1))
        value = torch.where(flipped, value.abs(), value)
    if ignore_until_first_peak:
        value = torch.where(phase.abs() < math.pi / 2, torch.ones_like(value), value)
    amplitude = defocus.amplitude((magnified(frequencies, optics) ** 2).sum(-1))
    return value if amplitude is None else value * amplitude


def image_transfer(ctf: Float[Tensor, "n ..."], defocus: Defocus) -> Float[Tensor, "n ..."]:
    """What the signal in each image is multiplied by: the CTF, or its square if premultiplied."""
    if defocus.premultiplied is None:
        return ctf
    return torch.where(defocus.premultiplied.view(-1, *[1] * (ctf.ndim - 1)), ctf**2, ctf)


def coma_scale(optics: Optics) -> float:
    """Phase in radians of |k|^2 (k . tilt), k in 1/angstrom and the tilt in mrad."""
    return -2 * math.pi * optics.cs * 1e4 * electron_wavelength(optics.voltage) ** 2


def beam_tilt_phase(frequencies: Float[Tensor, "*p 2"], optics: Optics) -> Complex[Tensor, "*p"]:
    """Phase factor that beam tilt and other odd aberrations put on the images' transforms.

    Coma of a tilted beam: phase -2 pi Cs lambda^2 |k|^2 (k . tilt), Glaeser et al., J. Struct.
    Biol. 174, 1 (2011), equation 4, in the sign that relion_reconstruct undoes; to it the odd
    Zernike terms are added.  Multiply images by its conjugate to correct them.
    """
    points = magnified(frequencies, optics)
    tilt = torch.tensor(optics.beam_tilt, dtype=points.dtype, device=points.device)
    coma = coma_scale(optics) * (points**2).sum(-1) * (points @ tilt)
    phase = coma + zernike_sum(points, optics.odd_zernike, "odd")
    return torch.polar(torch.ones_like(phase), phase)


def delocalisation(defocus: float, optics: Optics, resolution: float) -> float:
    """How far, in angstrom, the CTF carries detail of a resolution (angstrom) off its place.

    The gradient of the CTF's phase over 2 pi, lambda df k - Cs lambda^3 k^3; a box holds it if it
    is the particle's diameter and twice this wide: Rosenthal & Henderson, J. Mol. Biol. 333, 721
    (2003).
    """
    wavelength = electron_wavelength(optics.voltage)
    k = 1 / resolution
    return abs(wavelength * defocus * k - optics.cs * 1e7 * wavelength**3 * k**3)
