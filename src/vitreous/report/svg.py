"""Pictures that Matplotlib draws, as SVG that takes the colour of its page."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

INK = "#0a0b0c"  # a colour that nothing else has, replaced by the page's own
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
}


def styled() -> AbstractContextManager[None]:
    """Context in which pictures are drawn, with the style of the page."""
    import matplotlib

    context: AbstractContextManager[None] = matplotlib.rc_context(_STYLE)
    return context


def svg_text(figure: Figure, alt: str) -> str:
    """Inline SVG with an alternative text; ids are made from ``alt`` so that no two collide."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": alt, "svg.id": None}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Matplotlib numbers its groups alike in every figure (axes_1, patch_2): drop those ids.
    text = re.sub(r'<g id="[\w.]+"', "<g", text)
    label = escape(alt)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
