"""The readers that are fuzzed: valid files of each, and how they are read."""

from __future__ import annotations

import bz2
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grammars
import numpy as np
import torch

from vitreous.api import map as maps
from vitreous.config.abinit import AbinitConfig
from vitreous.io.cistem import read_par
from vitreous.io.cryosparc import read_cs, write_cs
from vitreous.io.eman import read_lst
from vitreous.io.models import read_model
from vitreous.io.mrc import open_stack, read_map, stack_writer, write_map
from vitreous.io.mtf import read_mtf
from vitreous.io.placed import read_placed
from vitreous.io.star import read_star, write_star
from vitreous.jobs.particles.classes import read_classes
from vitreous.jobs.volumes.info import map_info
from vitreous.particles.expression import fulfilled
from vitreous.particles.fields import Field
from vitreous.particles.files import read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import open_images
from vitreous.report.record import read_result
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.log import read_events
from vitreous.runs.replacement import is_finished


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    name : str
        Of the file that it reads.
    seeds : callable
        Contents of valid files, made in the folder given.
    read : callable
        Reads the file; whatever it raises but errors of ours is a fault.
    grammar : callable, optional
        Makes contents from scratch.
    binary : bool
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    grammar: Callable[[Random], bytes] | None = None
    binary: bool = False


OPTICS = """data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
1 one 2.5 16 300.000000 2.7 0.1
2 'group two' 2.5 16 200 2.7 0.07
"""
PARTICLES = """data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnAngleRot #6
_rlnAngleTilt #7
_rlnAnglePsi #8
_rlnOriginXAngst #9
_rlnOriginYAngst #10
_rlnRandomSubset #11
_rlnMicrographName #12
000001@stack.mrcs 1 15000.5 14800.1 12.5 10 20 30 0.5 -0.5 1 m/one.mrc
2@stack.mrcs 2 15000 14800 12.5 -110 120 30 0 0 2 m/two.mrc
000003@stack.mrcs 1 1.5e4 14800 12.5 10 20 30 1 1 1 "m/th ree.mrc"
"""
OLD = """data_

loop_
_rlnImageName
_rlnVoltage
_rlnDetectorPixelSize
_rlnMagnification
_rlnDefocusU
_rlnSphericalAberration
_rlnAmplitudeContrast
1@stack.mrcs 300 5 20000 12000 2.7 0.1
2@stack.mrcs 300 5 20000 12000 2.7 0.1
"""
PAIRS = "# version 30001\n\ndata_general\n\n_rlnFinalResolution 4.5\n_rlnBfactor '-80 x'\n"
MTF = "data_mtf\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n0 1\n0.1 0.9\n0.5 0.4\n"
PAR = """C  PSI THETA PHI SHX SHY MAG FILM DF1 DF2 ANGAST OCC LOGP SIGMA SCORE CHANGE
1 10.5 20.25 30.75 1.5 -2.25 10000 1 15000.1 14000.2 35.5 100.0 -1000 1.0 20.0 0.5
2 350 90 -45 0 3 10000 1 16000 15500 -12 50 -1100 1.1 21 0
"""
LST = '#LSX\n# x\n#80\n0\tstack.mrcs\t{"xform.projection": {"az": 1, "alt": 2}}\n1\tstack.mrcs\n'
PDB = """HEADER    X
CRYST1   20.000   20.000   20.000  90.00  90.00  90.00 P 1
ATOM      1  N   ALA A   1      -0.966   0.493   1.500  1.00  0.00           N
ATOM      2  CA  ALA A   1       0.257   0.418   0.692  1.00  0.00           C
ATOM      3  C  AALA B   2     -10.094   0.017  -0.716  0.50  0.00           C
HETATM    4 ZN    ZN B   3       1.000   2.000   3.000  1.00 20.00          ZN
TER
END
"""
CONDITIONS = (
    "rlnClassNumber == 2 and rlnDefocusU < 15000",
    "not (rlnImageName == 'a' or _rlnClassNumber in (1, 2, 3)) and 'x' in rlnImageName",
    "abs(rlnDefocusU - rlnClassNumber * 2 ** 3) / 4 >= 1.5e3 or rlnNan != 0",
)
RESULT = json.dumps(
    {
        "job": "classify3d",
        "classes": [
            {"class": 1, "label": "map", "fraction": 0.75, "resolution": 8.5},
            {"class": 2, "label": "noise", "fraction": 0.25, "confidence": None},
        ],
    }
)


def _stack(folder: Path) -> Path:
    images = np.random.default_rng(1).normal(size=(3, 16, 16)).astype(np.float32)
    with stack_writer(folder / "stack.mrcs", 16, 3, 2.5) as writer:
        writer.append(images)
    return folder / "stack.mrcs"


def _tables(folder: Path) -> list[bytes]:
    _stack(folder)
    return [text.encode() for text in (OPTICS + "\n" + PARTICLES, OLD, PAIRS + PARTICLES)]


def _cs_columns() -> dict[str, np.ndarray]:
    """What cryoSPARC writes of three particles, two of them with poses of classes, too."""
    rng = np.random.default_rng(3)

    def real(*shape: int) -> np.ndarray:
        return rng.normal(size=(3, *shape)).astype(np.float32)

    return {
        "uid": np.array([5, 2**63, 9], np.uint64),
        "blob/path": np.array([b">stack.mrcs"] * 3),
        "blob/idx": np.arange(3, dtype=np.uint32),
        "blob/shape": np.full((3, 2), 16, np.uint32),
        "blob/psize_A": np.full(3, 2.5, np.float32),
        "blob/sign": np.array([1, -1, 1], np.float32),
        "alignments3D/pose": real(3),
        "alignments3D/shift": real(2),
        "alignments3D/psize_A": np.full(3, 2.5, np.float32),
        "alignments3D/split": np.arange(3, dtype=np.uint32) % 2,
        "ctf/df1_A": 15000 + real(),
        "ctf/cs_mm": np.full(3, 2.7, np.float32),
        "ctf/tilt_A": real(2),
        "location/micrograph_path": np.array([b"m/one.mrc", b"", "ä".encode()]),
    }


def _cs(folder: Path) -> list[bytes]:
    _stack(folder)
    contents = []
    for layout in ("npy", "stream"):
        write_cs(folder / "seed.cs", _cs_columns(), layout)
        contents.append((folder / "seed.cs").read_bytes())
    (folder / "seed.cs").unlink()
    return contents


def _cs_particles(path: Path) -> None:
    """Whatever is read can be written in the other format, and has the same numbers there."""
    table = read_particles(path)
    open_images(table).read(np.arange(len(table)))
    for field in vars(ParticleSet).values():
        if isinstance(field, Field):
            table.of_field(field)


def _cs_again(path: Path) -> None:
    columns = read_cs(path)
    for layout in ("npy", "stream"):
        write_cs(path.with_name("again"), columns, layout)
        for name, values in read_cs(path.with_name("again")).items():
            np.testing.assert_array_equal(values, columns[name])


def _maps(folder: Path) -> list[bytes]:
    volume = np.random.default_rng(2).normal(size=(6, 6, 6)).astype(np.float32)
    contents = []
    for kind in (np.float32, np.int8, np.float16):
        write_map(folder / "seed.mrc", (9 * volume).astype(kind), 3.0, dtype=kind)
        contents.append((folder / "seed.mrc").read_bytes())
    return [*contents, _stack(folder).read_bytes()]


def _mmcif(folder: Path) -> list[bytes]:
    import gemmi

    (folder / "seed.pdb").write_text(PDB)
    made = gemmi.read_structure(str(folder / "seed.pdb")).make_mmcif_document().as_string()
    return [made.encode(), grammars.mmcif(Random(1))]


def _checkpoints(folder: Path) -> list[bytes]:
    checkpoint = _checkpoint(folder / "seed")
    checkpoint.write({"a": torch.arange(6.0), "b": torch.tensor([1, 2])}, {"iteration": 3})
    return [checkpoint.path.read_bytes()]


def _checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(path, AbinitConfig(Path("x.star"), out=Path("out")))


def _star(path: Path) -> None:
    """What is read can be written, and is then read again as it was."""
    blocks = read_star(path)
    again = path.with_suffix(".again")
    write_star(again, blocks.values())
    found = read_star(again) if blocks else {}
    for name, block in blocks.items():
        if not found[name].frame.equals(block.frame):
            raise AssertionError(f"block {name!r} has changed")


def _particles(path: Path) -> None:
    table = read_particles(path)
    open_images(table).read(np.arange(len(table)))


def _map(path: Path) -> None:
    read_map(path)
    maps.read_density(path)
    map_info(path)


def _each(*reads: Callable[[Path], object]) -> Callable[[Path], None]:
    """Read by all of these; the first error of ours must not hide faults of the others."""

    def read(path: Path) -> None:
        from vitreous.errors import VitreousError

        refused = None
        for one in reads:
            try:
                one(path)
            except VitreousError as error:
                refused = error
        if refused is not None:
            raise refused

    return read


def _images(path: Path) -> None:
    stack = open_stack(path)
    stack.read(np.array([stack.shape[0] - 1, 0]))


def _condition(path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame(
        {
            "rlnClassNumber": ["1", "2", "3"],
            "rlnDefocusU": ["15000", "1e4", "nan"],
            "rlnImageName": ["1@a", "2@b", "x"],
            "rlnNan": ["nan", "nan", "inf"],
        }
    )
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if fulfilled(text, frame, Path("x.star")).shape != (3,):
        raise AssertionError("not one value a row")


def _json(path: Path) -> None:
    is_finished(path.parent)
    _each(read_result, lambda path: read_classes(path.with_name("x.star"), path))(path)


def _compressed(pack: Callable[[bytes], bytes]) -> Callable[[Path], list[bytes]]:
    return lambda folder: [pack(content) for content in _maps(folder)]


def _read_checkpoint(path: Path) -> None:
    _checkpoint(path).read(lambda tensors, record: record["iteration"])


_INFO = _each(read_map, maps.read_density, map_info)

TARGETS = {
    "star": Target("x.star", _tables, _star, grammars.star),
    "particles": Target("x.star", _tables, _particles, grammars.star),
    "mtf": Target("x.star", lambda _: [MTF.encode()], read_mtf, grammars.star),
    "where": Target(
        "x.txt", lambda _: [c.encode() for c in CONDITIONS], _condition, grammars.condition
    ),
    "cs": Target("x.cs", _cs, _each(_cs_again, _cs_particles), binary=True),
    "par": Target("x.par", lambda _: [PAR.encode()], read_par),
    "lst": Target("x.lst", lambda _: [LST.encode()], read_lst),
    "map": Target("x.mrc", _maps, _INFO, binary=True),
    "stack": Target("x.mrcs", _maps, _images, binary=True),
    "map-gzip": Target("x.mrc.gz", _compressed(gzip.compress), _INFO, binary=True),
    "map-bzip2": Target("x.mrc.bz2", _compressed(bz2.compress), _INFO, binary=True),
    "pdb": Target("x.pdb", lambda _: [PDB.encode()], _each(read_model, read_placed), grammars.pdb),
    "mmcif": Target("x.cif", _mmcif, _each(read_model, read_placed), grammars.mmcif),
    "result": Target("result.json", lambda _: [RESULT.encode()], _json),
    "log": Target("log.jsonl", lambda _: [(RESULT + "\n").encode() * 3], read_events),
    "checkpoint": Target("checkpoint.safetensors", _checkpoints, _read_checkpoint, binary=True),
}


def folder() -> tempfile.TemporaryDirectory[str]:
    """Where inputs are written: in memory, where there is such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
