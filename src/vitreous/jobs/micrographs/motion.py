"""Motion correction of movies: one micrograph of each."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.config.movies import MotionConfig
from vitreous.errors import InputError, OptionError, VitreousError
from vitreous.io.detector import read_gain
from vitreous.io.movies import open_movie
from vitreous.io.text import cell_of, path_of
from vitreous.jobs.micrographs.exposure_files import exposures_of, output_stems
from vitreous.jobs.micrographs.fractions import FrameChoice
from vitreous.jobs.micrographs.gain_check import checked_orientation
from vitreous.jobs.micrographs.motion_movie import (
    MovieOutputs,
    MovieSettings,
    MovieTask,
    correct_movie,
)
from vitreous.jobs.micrographs.workers import workers_for
from vitreous.particles.exposures import Exposures
from vitreous.particles.image_files import find_file
from vitreous.particles.relion.exposures import write_corrected
from vitreous.preprocessing.motion.correct import bytes_needed
from vitreous.preprocessing.motion.gain import Orientation
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.record import job_record, write_record

_FOLDER = "micrographs"

_MOST_FRAMES = 100
"""Frames reckoned with: those of EER movies are summed to fewer."""


def _checked(config: MotionConfig) -> None:
    """Refuse options that make no sense before anything is read."""
    for option, value, least in (
        ("--bin", config.bin, 1.0),
        ("--first-frame", config.first_frame, 1),
        ("--eer-frames", config.eer_frames, 1),
        ("--fraction-dose", config.fraction_dose, 1e-6),
        ("--pre-exposure", config.pre_exposure, 0.0),
        ("--total-dose", config.total_dose, 1e-6),
    ):
        if value is not None and value < least:
            raise OptionError(f"{value:g} is less than {least:g}", where=option, hint="give more")
    if config.eer_frames is not None and config.eer_frames != int(config.eer_frames):
        raise OptionError("is no whole number", where="--eer-frames", hint="give whole frames")
    if config.dose is not None and config.total_dose is not None:
        raise OptionError(
            "is given beside --dose", where="--total-dose", hint="give one of the two"
        )


def _path_of(name: str, exposures: Exposures) -> Path:
    """Where a file is that a table names; as named if it is not there, which is told later."""
    if exposures.path is None:
        return path_of(name)
    return find_file(name, exposures.path) or path_of(name)


def _gains(config: MotionConfig, exposures: Exposures) -> list[Path | None]:
    """Gain reference of each optics group: the option's, or the table's."""
    named = [group.gain for group in exposures.optics]
    if config.gain is not None:
        return [config.gain for _ in named]
    return [
        None if name in (None, "None", "") else _path_of(str(name), exposures) for name in named
    ]


def _orientations(
    config: MotionConfig, exposures: Exposures, gains: list[Path | None]
) -> tuple[list[Orientation], list[dict[str, Any]]]:
    """How the gain of each optics group lies, and what is to be told of it."""
    given = None
    if config.gain_rotate is not None or config.gain_flip is not None or not config.gain_check:
        given = Orientation(config.gain_rotate or 0, config.gain_flip or 0)
    found, told = [], []
    for number, path in enumerate(gains):
        own = [
            name for name, g in zip(exposures.names, exposures.group, strict=True) if g == number
        ]
        if path is None or not own:
            found.append(Orientation())
            continue
        gain = read_gain(path)
        if given is not None and not config.gain_check:
            found.append(given)
            continue
        movies = [_path_of(name, exposures) for name in own]
        way, said = checked_orientation(path, gain, movies, given, config.superresolution)
        found.append(way)
        told.append({"event": "gain", "file": str(path), **said})
    return found, told


def _outputs(stem: str, config: MotionConfig, weighted: bool) -> MovieOutputs:
    def named(ending: str, wanted: bool) -> str | None:
        return f"{_FOLDER}/{stem}{ending}.mrc" if wanted else None

    return MovieOutputs(
        micrograph=f"{_FOLDER}/{stem}.mrc",
        metadata=f"{_FOLDER}/{stem}.star",
        plain=named("_noDW", weighted and config.plain),
        odd=named("_ODD", config.odd_even),
        even=named("_EVN", config.odd_even),
    )


def _stamp(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except OSError:
        return "missing"


def _tasks(
    config: MotionConfig,
    exposures: Exposures,
    gains: list[Path | None],
    orientations: list[Orientation],
) -> list[Task]:
    found = []
    for name, stem, group in zip(
        exposures.names, output_stems(exposures.names), exposures.group, strict=True
    ):
        optics = exposures.optics[group]
        dose = config.dose or config.total_dose or optics.dose
        outputs = _outputs(stem, config, config.dose_weighting and dose is not None)
        path = _path_of(name, exposures)
        thing = MovieTask(name, path, optics, gains[group], orientations[group], outputs)
        found.append(Task(name, thing, outputs.files, _stamp(path)))
    return found


def _bytes_each(tasks: list[Task], config: MotionConfig) -> float:
    """Memory that the work on a movie takes, by the first that can be opened."""
    for task in tasks:
        try:
            movie = open_movie(task.thing.path, config.superresolution)
        except VitreousError:
            continue
        shape = min(len(movie), _MOST_FRAMES), movie.height, movie.width
        return bytes_needed(shape, movie.dtype.itemsize, task.thing.optics.pixel_size)
    return 0.0


def _settings(config: MotionConfig, folder: Path) -> MovieSettings:
    choice = FrameChoice(
        config.first_frame,
        config.last_frame,
        config.dose,
        config.total_dose,
        config.fraction_dose,
        config.eer_frames,
    )
    return MovieSettings(
        folder,
        choice,
        config.pre_exposure,
        config.dose_weighting,
        config.local,
        config.bin,
        config.defects,
        config.superresolution,
        config.float16,
        config.seed,
    )


def _corrected(exposures: Exposures, outcome: Outcome, tasks: list[Task], out: Path) -> Any:
    """The micrographs' table and its rows; groups are parted where pixel sizes differ."""
    outputs = {task.name: task.thing.outputs for task in tasks}
    optics: dict[tuple[int, float], int] = {}
    rows, group, names = [], [], []
    own = dict(zip(exposures.names, exposures.group, strict=True))
    for name, record in outcome.records.items():
        key = int(own[name]), round(record["pixel_size"], 6)
        group.append(optics.setdefault(key, len(optics)))
        made: MovieOutputs = outputs[name]
        kept = {"plain": made.plain, "odd": made.odd, "even": made.even}
        row = {key: cell_of(out / value) for key, value in kept.items() if value is not None}
        row |= {"name": cell_of(out / made.micrograph), "metadata": cell_of(out / made.metadata)}
        rows.append({**row, **record["motion"]})
        names.append(row["name"])
    groups = tuple(
        replace(exposures.optics[number], micrograph_pixel_size=pixel, gain=None, dose=None)
        for number, pixel in optics
    )
    return Exposures("micrographs", tuple(names), groups, np.array(group)), rows


def _digest(gains: list[Path | None], orientations: list[Orientation], config: MotionConfig) -> str:
    digest = hashlib.sha256()
    for path in dict.fromkeys([*gains, config.defects]):
        digest.update(b"none" if path is None else path.read_bytes())
    digest.update(str(orientations).encode())
    return digest.hexdigest()


def run_motion(config: MotionConfig, on_event: OnEvent = ignore) -> Path:
    """Correct movies for motion.

    Returns
    -------
    Path of the folder, with corrected_micrographs.star, result.json and, in micrographs/, what was
    made of each movie.

    Raises
    ------
    VitreousError
        For options, files or a folder that cannot be used, or if every movie fails; a movie that
        fails among others is told at the end.
    """
    began = time.monotonic()
    _checked(config)
    exposures = exposures_of(config.movies, config, "movies")
    gains = _gains(config, exposures)
    if config.defects is not None and not config.defects.is_file():
        raise InputError("there is no such file", where=config.defects, hint="check the path")
    orientations, told = _orientations(config, exposures, gains)
    tasks = _tasks(config, exposures, gains, orientations)
    inputs = [task.thing.path for task in tasks]
    with job_folder("motion", config, on_event, inputs) as job:
        job.tell({"event": "start", "job": "motion", "movies": len(tasks)})
        for event in told:
            job.tell(event)
        workers = workers_for(config.workers, _bytes_each(tasks, config))
        digest = _digest(gains, orientations, config)
        step = Step("motion correction", config, workers, digest)
        work = partial(correct_movie, _settings(config, job.path))
        outcome = process_micrographs(job, work, tasks, step)
        _finish(job, config, (exposures, tasks, outcome), told, began)
    return config.out


def _finish(
    job: JobFolder,
    config: MotionConfig,
    made: tuple[Exposures, list[Task], Outcome],
    told: list[dict[str, Any]],
    began: float,
) -> None:
    exposures, tasks, outcome = made
    table, rows = _corrected(exposures, outcome, tasks, config.out)
    write_corrected(job.path / "corrected_micrographs.star", table, rows)
    totals = np.array([record["motion"]["total"] for record in outcome.records.values()])
    outputs = {task.name: task.thing.outputs.metadata for task in tasks}
    write_record(
        job.path,
        {
            **job_record("motion", config),
            "input": {
                "movies": len(tasks),
                "optics_groups": [asdict(group) for group in exposures.optics],
            },
            "micrographs": len(outcome.records),
            "failed": outcome.failures,
            "gain": told,
            "motion": {"median_A": float(np.median(totals)), "largest_A": float(totals.max())},
            "movies": {
                name: {**record, "metadata": outputs[name]}
                for name, record in outcome.records.items()
            },
            "warnings": outcome.warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    job.tell({"event": "done", "out": str(config.out)})
