"""Pictures of micrographs and of what was cut out of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vitreous.report.svg import styled, svg_text

_COLUMNS = 8
"""Images side by side in a montage."""


def _grey_levels(image: Float[np.ndarray, "*y x"]) -> tuple[float, float]:
    """From dark to bright but for a few outliers."""
    low, high = np.nanpercentile(image, [1.0, 99.0])
    return float(low), float(max(high, low + 1e-12))


def montage(images: Float[np.ndarray, "n y x"], alt: str) -> str:
    """Images side by side, each in its own grey levels."""
    from matplotlib.figure import Figure

    rows = -(-len(images) // _COLUMNS)
    columns = min(_COLUMNS, len(images))
    with styled():
        figure = Figure(figsize=(0.8 * columns, 0.8 * rows), dpi=160)
        for place, image in enumerate(images, 1):
            axes = figure.add_subplot(rows, columns, place)
            low, high = _grey_levels(image)
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
            axes.set_axis_off()
        figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
        return svg_text(figure, alt)
