"""Atomic models with the names of their residues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from vitreous.io.models import AtomicModel, names_as_text, read_model, read_structure


@dataclass(frozen=True)
class PlacedModel:
    """A model with the names of its parts.

    Attributes
    ----------
    atoms : AtomicModel
        Waters left out, centred.
    residues : tuple of (str, str, str)
        Chain, number (with insertion code) and name of each residue.
    residue_of : array (atoms,)
        Index of each atom's residue.
    """

    atoms: AtomicModel
    residues: tuple[tuple[str, str, str], ...]
    residue_of: Int[np.ndarray, " n"]


def read_placed(path: Path | str) -> PlacedModel:
    """Read a PDB or mmCIF file with its residues.

    Raises
    ------
    InputError
        If it cannot be parsed or holds no atoms.
    """
    atoms = read_model(path)
    structure = read_structure(path)
    structure.setup_entities()
    structure.remove_waters()
    sites = list(structure[0].all())
    with names_as_text(path):
        names = [(s.chain.name, str(s.residue.seqid), s.residue.name) for s in sites]
    residues = tuple(dict.fromkeys(names))
    number = {name: n for n, name in enumerate(residues)}
    return PlacedModel(atoms, residues, np.array([number[name] for name in names]))
