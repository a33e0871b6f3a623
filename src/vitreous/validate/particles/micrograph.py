"""Whether picks lie on their micrograph where the table says."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from vitreous.math.fourier import resample

MIRRORS = {"": (1, 1), "y": (-1, 1), "x": (1, -1), "x and y": (-1, -1)}
"""Names of the ways to mirror coordinates, and the steps along y and x that do it."""


def cut_out(
    micrograph: Float[np.ndarray, "h w"], x: int, y: int, width: int
) -> Float[np.ndarray, "b b"] | None:
    """Window of a micrograph centred at a pixel; None where it reaches over the edge."""
    top, left = y - width // 2, x - width // 2
    height, across = micrograph.shape
    if top < 0 or left < 0 or top + width > height or left + width > across:
        return None
    return micrograph[top : top + width, left : left + width]


def _low_passed(image: np.ndarray, box: int) -> np.ndarray:
    small = resample(torch.from_numpy(np.array(image, dtype=np.float32)), box, 2)
    return (small - small.mean()).numpy()


def likeness(a: Float[np.ndarray, "m m"], b: Float[np.ndarray, "n n"]) -> float:
    """Correlation of two images of one field of view, coarse enough to forgive a pixel."""
    box = min(a.shape[-1], b.shape[-1]) // 6 * 2
    first, second = _low_passed(a, box), _low_passed(b, box)
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / max(norm, 1e-30))


def likeness_by_mirror(
    images: Float[np.ndarray, "n b b"],
    micrograph: Float[np.ndarray, "h w"],
    positions: Float[np.ndarray, "n 2"],
    width: int,
) -> dict[str, list[float]]:
    """How alike images and micrograph are at the positions (x, y), as given and mirrored.

    The sign is dropped, as extraction may invert the contrast.  What is cut out at a mirrored
    place is tried mirrored with it and as it is, since images may be mirrored too.

    Parameters
    ----------
    images : array (n, box, box)
    micrograph : array (height, width)
    positions : array (n, 2)
        Pixels of the micrograph.
    width : int
        Even; pixels of the micrograph that a box spans.
    """
    found: dict[str, list[float]] = {name: [] for name in MIRRORS}
    for name, (down, right) in MIRRORS.items():
        mirrored = micrograph[::down, ::right]
        for image, (x, y) in zip(images, positions.round().astype(int).tolist(), strict=True):
            window = cut_out(mirrored, x, y, width)
            if window is not None:
                back = window[::down, ::right]
                found[name].append(max(abs(likeness(image, w)) for w in (window, back)))
    return found
