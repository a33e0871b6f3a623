"""Simulated particle images: projection, CTF, shift, noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.imaging.ctf import (
    Defocus,
    Optics,
    beam_tilt_phase,
    contrast_transfer,
    image_transfer,
    magnified,
)
from vitreous.imaging.project import (
    FourierCube,
    image_frequencies,
    read_cube,
    shift_phase,
    slice_points,
)
from vitreous.math.fourier import to_real


@dataclass(frozen=True)
class Views:
    """True poses and defoci of simulated particles.

    Attributes
    ----------
    matrices : float64 tensor (n, 3, 3)
        Volume to image frame.
    origins : tensor (n, 2)
        The particle sits at minus these, pixels.
    defocus : Defocus
    """

    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]
    defocus: Defocus

    def take(self, part: slice) -> Views:
        """Some of the particles."""
        return Views(self.matrices[part], self.origins[part], self.defocus.take(part))

    def to(self, device: torch.device) -> Views:
        """The same on another device."""
        return Views(self.matrices.to(device), self.origins.to(device), self.defocus.to(device))


def random_matrices(count: int, kind: str, rng: np.random.Generator) -> Float[Tensor, "n 3 3"]:
    """Orientations uniform on SO(3), or ``preferred``.

    Of preferred views, 85 % lie within about 15 degrees (standard deviation of the tilt) of
    either end of the z axis, in-plane angle free; the rest are uniform.
    """
    uniform = torch.from_numpy(Rotation.random(count, random_state=rng).as_matrix().copy())
    if kind == "uniform":
        return uniform
    tilt = np.abs(rng.normal(scale=15.0, size=count)) + 180 * (rng.uniform(size=count) < 0.5)
    rot, psi = rng.uniform(-180, 180, size=(2, count))
    turned = Rotation.from_euler("ZYZ", np.stack([rot, tilt, psi], axis=1), degrees=True)
    gathered = torch.from_numpy(turned.as_matrix()).transpose(1, 2)
    free = torch.from_numpy(rng.uniform(size=count) < 0.15)
    return torch.where(free[:, None, None], uniform, gathered)


def clean_images(
    cube: FourierCube,
    views: Views,
    optics: Optics,
    box: int,
    pixel_size: float,
    *,
    steps: float = 1.0,
    read: Callable[[FourierCube, Tensor], Tensor] = read_cube,
) -> Float[Tensor, "n box box"]:
    """Noise-free images: slice, CTF, coma and shift; anisotropic magnification moves the slice.

    Image frequencies k read the volume, the CTF and the coma at M k with M the magnification
    matrix; the shift is that of the recorded image.  Frequencies that the cube does not hold stay
    empty.  A frequency step of the images is ``steps`` of the map's where their fields of view
    differ; they are then as bright as if both were in noise of one standard deviation a pixel.
    ``read`` is the interpolation, or a faster one.
    """
    frequencies = image_frequencies(box, cube.data.device)
    x, y = frequencies.unbind(-1)
    half = (x > 0) | ((x == 0) & (y >= 0))
    known = min(box // 2 - 1, (cube.side // 2 / cube.padding - 1) / steps)
    inside = half & (frequencies.norm(dim=-1) <= known)
    k = frequencies[inside]
    points = slice_points(magnified(k, optics) * steps, views.matrices)
    slices = read(cube, points.reshape(-1, 3))[0].view(len(points), -1) * steps
    metric = k / (box * pixel_size)
    transfer = image_transfer(contrast_transfer(metric, views.defocus, optics), views.defocus)
    transfer = transfer * beam_tilt_phase(metric, optics)
    spectrum = slices.new_zeros(len(points), box, box)
    moved = torch.stack([shift_phase(k, -origin[None], box)[0] for origin in views.origins])
    # The real part of the transform back adds the other half, but for frequency 0.
    twice = torch.where(k.norm(dim=-1) > 0, 2.0, 1.0)
    spectrum[:, inside] = slices * transfer * moved * twice
    return to_real(spectrum, 2)


def mean_signal_variance(
    cube: FourierCube, views: Views, optics: Optics, box: int, pixel_size: float
) -> float:
    """Variance over the pixels of noise-free images, averaged over (up to 500) particles."""
    some = clean_images(cube, views.take(slice(0, 500)), optics, box, pixel_size)
    return float(some.var(dim=(1, 2)).mean())


def noisy(
    clean: Float[Tensor, "n box box"],
    signal_variance: float,
    snr: float,
    generator: torch.Generator,
) -> Float[Tensor, "n box box"]:
    """Images in white noise of standard deviation 1, the signal scaled to ``snr``.

    SNR is the mean variance of the noise-free images (after the CTF, over the whole box) over
    that of the noise: one noise level for the whole data set, as in a micrograph.  It is drawn on
    the host, so that every device gets the same.
    """
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    return clean * (snr / signal_variance) ** 0.5 + noise
