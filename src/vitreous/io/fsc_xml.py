"""The Fourier shell correlation in the XML that EMDB takes with a deposition."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from vitreous.io.atomic import write_text


def write_fsc_xml(
    path: Path | str,
    frequency: Float[np.ndarray, " s"],
    curve: Float[np.ndarray, " s"],
    title: str,
) -> None:
    """Write a curve over frequency (1/angstrom), whole or not at all."""
    root = ElementTree.Element(
        "fsc", title=title, xaxis="Resolution (A-1)", yaxis="Correlation Coefficient"
    )
    for x, y in zip(frequency, curve, strict=True):
        coordinate = ElementTree.SubElement(root, "coordinate")
        ElementTree.SubElement(coordinate, "x").text = f"{x:.6f}"
        ElementTree.SubElement(coordinate, "y").text = f"{y:.6f}"
    ElementTree.indent(root)
    write_text(path, ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n")
