"""What both kinds of particles to extract have: picked ones, and refined ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from vitreous.particles.image_files import ImageFiles


@dataclass(frozen=True)
class Images:
    """The images that were cut.

    Attributes
    ----------
    rows : int array (images,)
        The particles that they are of, among all of the source.
    files : ImageFiles
        Where they are, once the job is done.
    box : int
        Pixels.
    binning : float
        Pixel size of the images over that of their micrographs.
    action : {"keep", "multiply", "flip"}
        What was done about the CTF.
    """

    rows: Int[np.ndarray, " m"]
    files: ImageFiles
    box: int
    binning: float
    action: str


class Source(Protocol):
    """Particles to extract."""

    @property
    def micrograph(self) -> Int[np.ndarray, " n"]:
        """Row of each particle's micrograph."""

    @property
    def xy(self) -> Float[np.ndarray, "n 2"]:
        """Places on the micrographs, pixels."""

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""

    def defocus(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 4"]:
        """U, V (angstrom), angle and phase shift (degrees) of some particles.

        Raises
        ------
        InputError
            If there is no CTF.
        """

    def write(self, path: Path, images: Images) -> None:
        """Write the table of the images."""
