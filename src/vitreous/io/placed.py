"""Atomic models where they stand in a map, and written again where they were moved to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
from jaxtyping import Float, Int

from vitreous.io.atomic import atomic_path
from vitreous.io.models import AtomicModel, read_model


@dataclass(frozen=True)
class PlacedModel:
    """A model with its place and the names of its parts.

    Attributes
    ----------
    atoms : AtomicModel
        Waters left out, centred.
    centre : float64 array (3,)
        Centre of mass (x, y, z) in the file, angstrom.
    residues : tuple of (str, str, str)
        Chain, number (with insertion code) and name of each residue.
    residue_of : array (atoms,)
        Index of each atom's residue.
    """

    atoms: AtomicModel
    centre: Float[np.ndarray, " 3"]
    residues: tuple[tuple[str, str, str], ...]
    residue_of: Int[np.ndarray, " n"]


def read_placed(path: Path | str) -> PlacedModel:
    """Read a PDB or mmCIF file with its residues and its place.

    Raises
    ------
    InputError
        If it cannot be parsed or holds no atoms.
    """
    atoms = read_model(path)
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    structure.remove_waters()
    sites = list(structure[0].all())
    names = [(s.chain.name, str(s.residue.seqid), s.residue.name) for s in sites]
    residues = tuple(dict.fromkeys(names))
    number = {name: n for n, name in enumerate(residues)}
    centre = np.array(sites[0].atom.pos.tolist()) - atoms.positions[0]
    return PlacedModel(atoms, centre, residues, np.array([number[name] for name in names]))


def write_moved(
    path: Path,
    source: Path,
    matrix: Float[np.ndarray, "3 3"],
    shift: Float[np.ndarray, " 3"],
) -> None:
    """Write all that a model's file holds, turned and then shifted (angstrom); mmCIF or PDB."""
    structure = gemmi.read_structure(str(source))
    transform = gemmi.Transform(gemmi.Mat33(matrix.tolist()), gemmi.Vec3(*shift.tolist()))
    for model in structure:
        model.transform_pos_and_adp(transform)
    structure.setup_entities()
    with atomic_path(path) as temporary:
        if path.suffix == ".pdb":
            structure.write_pdb(str(temporary))
        else:
            structure.make_mmcif_document().write_file(str(temporary))


def map_origin(path: Path | str) -> Float[np.ndarray, " 3"]:
    """Where a map's first voxel stands (x, y, z), angstrom.

    MRC2014's origin or, where that is zero, the start indices of CCP4's format.
    """
    with mrcfile.open(path, header_only=True, permissive=True) as file:
        header, sizes = file.header, file.voxel_size
        origin = np.array([float(header.origin[axis]) for axis in "xyz"])
        if origin.any():
            return origin
        along = [int(header[name]) - 1 for name in ("mapc", "mapr", "maps")]
        starts = np.zeros(3)
        starts[along] = [int(header[name]) for name in ("nxstart", "nystart", "nzstart")]
        return starts * np.array([float(sizes[axis]) for axis in "xyz"])
