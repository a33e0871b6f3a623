"""What a job left in its folder, read for the report; parts that are missing stay absent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vitreous.engine.junk import LEFT_OUT
from vitreous.errors import InputError
from vitreous.io.mrc import read_map
from vitreous.particles.files import read_columns
from vitreous.particles.particle_set import ParticleSet
from vitreous.runs.log import read_events


@dataclass(frozen=True)
class Poses:
    """Final poses of the particles.

    Attributes
    ----------
    rot, tilt : arrays (particles,)
        Degrees.
    classes : array (particles,)
        From 1.
    shift : array (particles,), optional
        Length of the in-plane shift, angstrom.
    probability : array (particles,), optional
        Of the best pose.
    """

    rot: Float[np.ndarray, " n"]
    tilt: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    shift: Float[np.ndarray, " n"] | None
    probability: Float[np.ndarray, " n"] | None


@dataclass(frozen=True)
class Record:
    """A finished job.

    Attributes
    ----------
    folder : Path
    result : dict
        ``result.json``.
    starts : dict
        For each random start its iteration events, in order.
    poses : Poses or None
    absent : list of str
        A sentence for each file that could not be used.
    passes : list of dict
        Events of the passes over all particles of a refinement or classification, in order.
    """

    folder: Path
    result: dict[str, Any]
    starts: dict[int, list[dict[str, Any]]]
    poses: Poses | None
    absent: list[str]
    passes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """The entries of the classes that have a map."""
        return [entry for entry in self._entries if entry.get("label") not in LEFT_OUT]

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """The entries of the images that the maps are not made from."""
        return [entry for entry in self._entries if entry.get("label") in LEFT_OUT]

    @property
    def _entries(self) -> list[dict[str, Any]]:
        return list(self.result.get("classes") or [])

    @property
    def options(self) -> dict[str, Any]:
        """The job's settings, by name."""
        return dict(self.result.get("options") or {})

    @property
    def chosen_start(self) -> int:
        """Number of the random start whose maps were kept."""
        kept = [s["start"] for s in self.result.get("starts") or [] if s.get("chosen")]
        return int(kept[0]) if kept else min(self.starts, default=1)

    @property
    def symmetry(self) -> str:
        """Point group imposed."""
        return str(self.result.get("symmetry") or "C1")

    @property
    def shift_limit(self) -> float | None:
        """Reach of the shift search in angstrom."""
        reach = self.options.get("offset_range")
        pixel = (self.result.get("input") or {}).get("pixel_size")
        return None if reach is None or pixel is None else float(reach) * float(pixel)

    def map(self, entry: Mapping[str, Any]) -> tuple[Float[np.ndarray, "z y x"], float]:
        """Density and pixel size (angstrom) of a class.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        return read_map(self.folder / str(entry.get("map", f"class{entry['class']:03d}.mrc")))


def read_result(path: Path) -> dict[str, Any]:
    """Read a job's ``result.json``.

    Raises
    ------
    InputError
        If it is missing or broken.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "cannot be read", where=path, hint="let the job finish (--resume goes on with it)"
        ) from error
    except ValueError as error:
        raise InputError("is not JSON", where=path, hint="run the job again") from error
    if not isinstance(result, dict):
        raise InputError("holds no JSON object", where=path, hint="run the job again")
    return result


def iterations_by_start(
    events: list[dict[str, Any]], symmetry: str | None = None
) -> dict[int, list[dict[str, Any]]]:
    """Iteration events of each start, in order; a resumed job's repeats replace the first tries.

    Of several searches those under ``symmetry``.
    """
    latest: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        if event.get("event") != "iteration" or event.get("iteration") is None:
            continue
        if symmetry is None or event.get("symmetry", symmetry) == symmetry:
            latest[int(event.get("start") or 1)][int(event["iteration"])] = event
    return {
        start: [found[number] for number in sorted(found)]
        for start, found in sorted(latest.items())
    }


def passes_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of passes over all particles, in order; a resumed job's repeats replace the others."""
    found = {
        int(event["iteration"]): event
        for event in events
        if event.get("event") in ("refinement", "classification") and event.get("iteration")
    }
    return [found[number] for number in sorted(found)]


def _read_poses(path: Path) -> Poses:
    found = read_columns(path, ParticleSet.rot, ParticleSet.tilt)
    rot, tilt = found.read(ParticleSet.rot), found.read(ParticleSet.tilt)
    if rot is None or tilt is None:
        columns = " and ".join(found.called(f) for f in (ParticleSet.rot, ParticleSet.tilt))
        raise InputError(f"has no {columns}", where=path, hint="run it again")
    number = found.read(ParticleSet.class_number)
    x, y = found.read(ParticleSet.origin_x), found.read(ParticleSet.origin_y)
    return Poses(
        rot,
        tilt,
        np.ones(len(rot), int) if number is None else number,
        None if x is None or y is None else np.hypot(x, y),
        found.read(ParticleSet.posterior),
    )


def read_record(folder: Path) -> Record:
    """Read a job's folder.

    Raises
    ------
    InputError
        If ``result.json`` is missing or broken; anything else missing is noted in ``absent``.
    """
    result = read_result(folder / "result.json")
    absent: list[str] = []
    poses, events = None, []
    try:
        poses = _read_poses(folder / "particles.star")
    except InputError as error:
        absent.append(f"The particles' poses are not shown: {error.what}.")
    if (folder / "log.jsonl").exists():
        events = read_events(folder / "log.jsonl")
    starts = iterations_by_start(events, result.get("searched_under"))
    return Record(folder, result, starts, poses, absent, passes_of(events))
