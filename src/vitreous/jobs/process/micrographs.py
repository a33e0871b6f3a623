"""The first part of the road: from what was given to micrographs with their CTFs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from vitreous.config.ctf_estimation import CtfConfig
from vitreous.config.movies import ImportConfig, MotionConfig, OpticsOptions
from vitreous.config.process import ProcessConfig
from vitreous.errors import InputError
from vitreous.jobs.ctf_estimation.ctf import run_ctf
from vitreous.jobs.micrographs.exposure_files import expanded
from vitreous.jobs.micrographs.import_data import kind_of, run_import_data
from vitreous.jobs.micrographs.motion import run_motion
from vitreous.jobs.process.ending import Unsolved
from vitreous.jobs.process.steps import Steps
from vitreous.particles.relion.micrograph_table import read_micrographs

Kind = Literal["movies", "micrographs"]


@dataclass(frozen=True)
class Micrographs:
    """Micrographs whose CTFs are known.

    Attributes
    ----------
    star : Path
    count : int
        That are not rejected.
    pixel_size : float
        Angstrom, the largest of several.
    """

    star: Path
    count: int
    pixel_size: float


def kind_given(config: ProcessConfig) -> Kind:
    """Movies or micrographs: what the road begins with.

    Raises
    ------
    InputError
        For anything else.
    """
    files = expanded(config.files)
    kind = kind_of(files[0])
    if kind == "movies":
        return "movies"
    if kind == "micrographs":
        return "micrographs"
    raise InputError(
        f"holds {kind}, expected movies or micrographs",
        where=files[0],
        hint="from particles on, go by vitreous class2d, abinit and refine",
    )


def _optics(config: ProcessConfig) -> dict[str, Any]:
    return {one.name: getattr(config, one.name) for one in fields(OpticsOptions)}


def _motion_words(record: Mapping[str, Any]) -> str:
    moved = record["motion"]["median_A"]
    return f"{record['micrographs']:,} micrographs; median motion {moved:.1f} A"


def _corrected(steps: Steps, movies: Path) -> Path:
    """Micrographs of movies."""
    out = steps.folder("motion")
    dose, gain = steps.config.dose, steps.config.gain
    config = MotionConfig((movies,), out=out, dose=dose, gain=gain)
    record = steps.run("motion", run_motion, config, _motion_words)
    for failure in record["failed"].values():
        steps.decide("A movie is left out.", failure)
    return out / "corrected_micrographs.star"


def _ctf_words(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in record["verdicts"].items())


def micrographs_of(steps: Steps, kind: Kind) -> Micrographs:
    """Import movies or micrographs, correct motion, and estimate the CTFs.

    Raises
    ------
    Unsolved
        If all micrographs are rejected.
    """
    config, out = steps.config, steps.folder("import")
    steps.run(
        "import",
        run_import_data,
        ImportConfig(config.files, out=out, kind=kind, **_optics(config)),
        lambda record: f"{record['count']:,} {record['kind']}",
    )
    table = out / f"{kind}.star"
    if kind == "movies":
        table = _corrected(steps, table)
    out = steps.folder("ctf")
    record = steps.run("ctf", run_ctf, CtfConfig(table, out=out), _ctf_words)
    words, star = record["verdicts"], out / "micrographs_ctf.star"
    good = words["keep"] + words["doubtful"]
    if not good:
        reasons = "; ".join(record["micrographs"][0]["reasons"])
        raise Unsolved(
            f"The CTF of none of {words['reject']:,} micrographs can be trusted (the first: "
            f"{reasons})."
        )
    if words["reject"]:
        steps.decide(
            f"Particles are picked on {good:,} of {good + words['reject']:,} micrographs.",
            f"The CTF step rejects {words['reject']:,}; its page says why.",
        )
    sizes = [group.pixel_size for group in read_micrographs(star).optics]
    return Micrographs(star, good, max(sizes))
