"""Atomic models (PDB, mmCIF) and the density that they scatter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.mrc import read_map
from vitreous.io.regular import require_regular

_PDB_SUFFIXES = {".pdb", ".ent"}
_MODEL_SUFFIXES = {*_PDB_SUFFIXES, ".cif", ".mmcif"}


@dataclass(frozen=True)
class AtomicModel:
    """Atoms of a structure's first model, waters left out.

    Attributes
    ----------
    path : Path
    positions : float64 array (atoms, 3)
        x, y, z in angstrom, centred on the centre of mass.
    elements : tuple of str
        Chemical symbols.
    occupancy : float64 array (atoms,)
    centre : float64 array (3,)
        Where the centre of mass lies in the file.
    """

    path: Path
    positions: Float[np.ndarray, "n 3"]
    elements: tuple[str, ...]
    occupancy: Float[np.ndarray, " n"]
    centre: Float[np.ndarray, " 3"]

    @property
    def diameter(self) -> float:
        """Diameter in angstrom of the smallest centred ball round all atoms."""
        return 2 * float(np.linalg.norm(self.positions, axis=1).max())


def _kind(path: Path) -> str:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return suffix.lower()


def is_model(path: Path | str) -> bool:
    """Tell a PDB or mmCIF file from a map by its name."""
    return _kind(Path(path)) in _MODEL_SUFFIXES


def read_structure(path: Path | str) -> gemmi.Structure:
    """All that a PDB or mmCIF file holds, gzipped or not.

    Raises
    ------
    InputError
        If it is no file, or cannot be parsed.
    """
    require_regular(Path(path))
    try:
        return gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError, IndexError, EOFError, MemoryError) as error:
        raise InputError(
            f"cannot be read as a model: {error}", where=path, hint="give a PDB or mmCIF file"
        ) from error


@contextmanager
def names_as_text(path: Path | str) -> Iterator[None]:
    """Refuse names of chains, residues or atoms that turn out to be no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            f"a name in it is not text in UTF-8 ({error.object!r:.80})",
            where=path,
            hint="give chains, residues and atoms plain names",
        ) from error


def read_model(path: Path | str) -> AtomicModel:
    """Read a PDB or mmCIF file, gzipped or not.

    Raises
    ------
    InputError
        If it cannot be parsed or holds no atoms.
    """
    path = Path(path)
    structure = read_structure(path)
    structure.setup_entities()
    structure.remove_waters()
    atoms = [site.atom for site in structure[0].all()] if len(structure) else []
    if not atoms:
        raise InputError("holds no atoms", where=path, hint="give a PDB or mmCIF file with atoms")
    positions = np.array([atom.pos.tolist() for atom in atoms])
    weights = np.array([atom.element.weight * atom.occ for atom in atoms])
    sound = np.isfinite(positions).all(axis=1) & np.isfinite(weights)
    if not sound.all():
        raise InputError(
            f"atom {int(sound.argmin()) + 1} (waters left out) has no finite position or occupancy",
            where=path,
            hint="mend or remove that atom",
        )
    centre = (positions * weights[:, None]).sum(axis=0) / max(weights.sum(), 1e-12)
    return AtomicModel(
        path,
        positions - centre,
        tuple(atom.element.name for atom in atoms),
        np.array([atom.occ for atom in atoms]),
        centre,
    )


def write_moved(
    path: Path, target: Path, matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> None:
    """Write a model with all its atoms, waters included, moved: p becomes matrix p + shift.

    Whole or not at all; PDB or mmCIF as the target's name says.  An mmCIF file written from one
    keeps its other categories.  Cell, symmetry and assemblies, which told of the old place, are
    dropped.
    """
    structure = read_structure(path)
    move = gemmi.Transform(gemmi.Mat33(matrix.tolist()), gemmi.Vec3(*shift.tolist()))
    for model in structure:
        model.transform_pos_and_adp(move)
    structure.cell = gemmi.UnitCell()
    structure.spacegroup_hm = ""
    structure.ncs = gemmi.NcsOpList()
    structure.assemblies.clear()
    with names_as_text(path), atomic_path(target) as temporary:
        if _kind(target) in _PDB_SUFFIXES:
            temporary.write_text(structure.make_pdb_string(), encoding="utf-8")
            return
        if _kind(path) in _PDB_SUFFIXES:
            document = structure.make_mmcif_document()
        else:
            document = gemmi.cif.read(str(path))
            structure.update_mmcif_block(document[0])
        document.write_file(str(temporary))


def density(
    model: AtomicModel, box: int, pixel_size: float, resolution: float | None = None
) -> Float[np.ndarray, "z y x"]:
    """Electron-scattering density of a model, centre of mass at the box centre.

    Every atom is its electron form factor blurred by a Gaussian that brings the transform to
    1/e at ``resolution`` (angstrom; by default twice the pixel, Nyquist).

    Raises
    ------
    InputError
        If the model does not fit the box.
    """
    if model.diameter > (box - 4) * pixel_size:
        fits = math.ceil(model.diameter / pixel_size) + 4
        raise InputError(
            f"is {model.diameter:.0f} A across, but the box is {box} px of {pixel_size:g} A",
            where=model.path,
            hint=f"give a box of at least {fits + fits % 2} px",
        )
    width = box * pixel_size
    structure = gemmi.Model(1)
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    # exp(-B k^2 / 4) is 1/e at k = 1 / resolution for B = 4 resolution^2.
    b_factor = 4 * (resolution or 2 * pixel_size) ** 2
    corner = (box // 2) * pixel_size
    for position, element, occupancy in zip(
        model.positions, model.elements, model.occupancy, strict=True
    ):
        atom = gemmi.Atom()
        atom.element = gemmi.Element(element)
        atom.occ, atom.b_iso = float(occupancy), b_factor
        atom.pos = gemmi.Position(*(position + corner))
        residue.add_atom(atom)
    chain.add_residue(residue)
    structure.add_chain(chain)
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.set_unit_cell(gemmi.UnitCell(width, width, width, 90, 90, 90))
    calculator.grid.set_size(box, box, box)
    calculator.add_model_density_to_grid(structure)
    return np.ascontiguousarray(calculator.grid.array.transpose(2, 1, 0), dtype=np.float32)


def read_volume(
    path: Path | str, box: int | None = None, pixel_size: float | None = None
) -> tuple[Float[np.ndarray, "z y x"], float]:
    """Read a map, or the density of a model on a grid of ``box`` pixels of ``pixel_size``.

    A map keeps its own grid.
    """
    if not is_model(path):
        return read_map(path)
    if box is None or pixel_size is None:
        raise ValueError("a model needs a box and a pixel size")
    return density(read_model(path), box, pixel_size), pixel_size
