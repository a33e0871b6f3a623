"""Write some particles of a table, by what its columns say of them or at random."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vitreous.errors import InputError, OptionError, OutputError
from vitreous.io.atomic import write_text
from vitreous.io.plain import plain
from vitreous.jobs.check.pick_findings import micrograph_pixel
from vitreous.jobs.config_particles import SelectConfig
from vitreous.jobs.folder import OnEvent, ignore
from vitreous.jobs.particles.classes import group_scales, read_classes
from vitreous.jobs.record import job_record
from vitreous.particles.columns import numbers
from vitreous.particles.groups import halves, regrouped
from vitreous.particles.poses import origins_to_coordinates, positions, recentred
from vitreous.particles.selection import (
    at_most,
    class_numbers,
    class_posterior,
    codes,
    in_classes,
    merit,
    parts,
    pose_posterior,
    random_rows,
    where,
)
from vitreous.particles.table import ParticleTable, read_particles, write_particles
from vitreous.validate.class_quality import ClassQuality, class_qualities
from vitreous.validate.duplicates import redundant

_MICROGRAPH, _SUBSET = "rlnMicrographName", "rlnRandomSubset"
_GROUP, _GROUP_NAME, _SCALE = "rlnGroupNumber", "rlnGroupName", "rlnGroupScaleCorrection"


@dataclass(frozen=True)
class Step:
    """A step that was taken, and the particles that it left."""

    what: str
    particles: int


@dataclass(frozen=True)
class Selection:
    """What :func:`run_select` did.

    Attributes
    ----------
    steps : tuple of Step
        The first is the table as it was.
    ranking : tuple of ClassQuality
        Of the classes, the best first; empty without ``auto``.
    outputs : tuple of Path
        STAR files.
    record : Path
        The same as JSON.
    warnings : tuple of str
    """

    steps: tuple[Step, ...]
    ranking: tuple[ClassQuality, ...]
    outputs: tuple[Path, ...]
    record: Path
    warnings: tuple[str, ...]


def class_list(text: str) -> list[int]:
    """Numbers of classes written as ``1,3`` or ``2-4``.

    Raises
    ------
    OptionError
        For anything else.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise OptionError(
                f"{text!r} is no list of classes", where="--classes", mend="write 1,3 or 1-4"
            )
        found.update(range(first, last + 1))
    return sorted(found)


_CHOICES = (
    *("classes", "where", "min_posterior", "min_class_posterior", "min_distance"),
    *("max_per_class", "random", "halves", "regroup", "split", "recentre"),
)
"""Options that are asked for by being given; the others are switches or go with these."""


def _check(config: SelectConfig) -> None:
    asked = any(getattr(config, name) not in (None, ()) for name in _CHOICES)
    shares = (config.min_posterior, config.min_class_posterior, config.min_score)
    whole = (config.max_per_class, config.regroup)
    lengths = (config.min_distance, config.coordinate_pixel_size)
    for bad, what, option in (
        (
            not (asked or config.auto or config.origins_to_coordinates),
            "nothing to select by",
            "vitreous select",
        ),
        (config.auto and config.classes is not None, "both choose classes", "--auto, --classes"),
        (
            any(share is not None and not 0 <= share <= 1 for share in shares),
            "a posterior or score lies outside 0 to 1",
            "--min-posterior, --min-class-posterior, --min-score",
        ),
        (
            any(count is not None and count < 1 for count in whole),
            "fewer than 1 particle",
            "--max-per-class, --regroup",
        ),
        (
            any(size is not None and not (math.isfinite(size) and size > 0) for size in lengths),
            "not more than 0 A",
            "--min-distance, --coordinate-pixel-size",
        ),
        (
            config.recentre is not None and not all(map(math.isfinite, config.recentre)),
            "the point is not finite",
            "--recentre",
        ),
    ):
        if bad:
            raise OptionError(what, where=option, mend="see vitreous select --help")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputError("is there already", where=path, mend="pass --overwrite or another --out")


def _good_classes(
    config: SelectConfig, table: ParticleTable
) -> tuple[tuple[ClassQuality, ...], list[int]]:
    """All classes ranked, and the numbers of those that are good and hold particles."""
    ranking = class_qualities(read_classes(table.path, config.classes_from))
    there = set(class_numbers(table).tolist())
    unknown = there - {quality.record.number for quality in ranking}
    if unknown:
        raise InputError(
            f"holds particles of class {min(unknown)}, but {len(ranking)} classes are described",
            where=table.path,
            mend="name the description of its own classification with --classes-from",
        )
    good = [q.record.number for q in ranking if q.score >= config.min_score]
    if not there & set(good):
        best = ranking[0]
        raise InputError(
            f"no class with particles scores {config.min_score:g}; the best, class "
            f"{best.record.number}, scores {best.score:.2f}",
            where=table.path,
            mend="lower --min-score, or choose with --classes",
        )
    return tuple(ranking), sorted(there & set(good))


Change = Callable[[ParticleTable], ParticleTable]


def _keeping(rows: Callable[[ParticleTable], np.ndarray]) -> Change:
    """Change that keeps rows, told by their numbers or by truth values."""
    return lambda table: table.take(np.arange(len(table))[rows(table)])


def _filters(config: SelectConfig, chosen: Sequence[int]) -> Iterator[tuple[str, Change]]:
    if chosen:
        words = f"in class {', '.join(map(str, chosen))}"
        yield words, _keeping(lambda table: in_classes(table, chosen))
    for condition in config.where:
        yield condition, _keeping(lambda table, text=condition: where(table, text))
    least = config.min_posterior
    if least is not None:
        yield f"posterior of {least:g}", _keeping(lambda table: pose_posterior(table) >= least)
    surest = config.min_class_posterior
    if surest is not None:
        words = f"posterior of the class of {surest:g}"
        yield words, _keeping(lambda table: class_posterior(table) >= surest)


def _coordinate_pixel(config: SelectConfig, table: ParticleTable) -> float:
    return config.coordinate_pixel_size or micrograph_pixel(table)


def _apart(config: SelectConfig, table: ParticleTable, distance: float) -> np.ndarray:
    """Which particles remain when of those too near each other only the best does."""
    places = positions(table, _coordinate_pixel(config, table))
    return ~redundant(places, codes(table, _MICROGRAPH), distance, merit(table))


def _places(config: SelectConfig) -> Iterator[tuple[str, Change]]:
    point, distance = config.recentre, config.min_distance
    if point is not None:
        words = f"centred on {', '.join(f'{x:g}' for x in point)} A"
        yield words, lambda table: recentred(table, np.array(point))
    if distance is not None:
        words = f"{distance:g} A apart"
        yield words, _keeping(lambda table: _apart(config, table, distance))
    if config.origins_to_coordinates:
        yield (
            "origins moved into coordinates",
            lambda table: origins_to_coordinates(table, _coordinate_pixel(config, table)),
        )


def _limits(config: SelectConfig) -> Iterator[tuple[str, Change]]:
    most, number = config.max_per_class, config.random
    if most is not None:
        words = f"at most {most} a class"
        yield words, _keeping(lambda table: at_most(class_numbers(table), most, config.seed))
    if number is not None:
        words = f"{number} at random"
        yield words, _keeping(lambda table: random_rows(len(table), number, config.seed))


def _halved(config: SelectConfig, table: ParticleTable) -> ParticleTable:
    unit = "rlnImageName" if config.halves == "particles" else _MICROGRAPH
    return table.with_cells(**{_SUBSET: halves(codes(table, unit), config.seed)})


def _scales(table: ParticleTable) -> np.ndarray:
    """Scale of each particle's group, or else how many particles its micrograph has."""
    if _SCALE in table.columns:
        return numbers(table.block, _SCALE, table.path)
    for name in (_GROUP, _GROUP_NAME):
        if name in table.columns:
            found = group_scales(table.path, table.block.frame[name])
            if found is not None:
                return found
    micrograph = codes(table, _MICROGRAPH)
    return np.bincount(micrograph)[micrograph].astype(np.float64)


def _regrouped(table: ParticleTable, least: int) -> tuple[ParticleTable, list[str]]:
    grouping = regrouped(codes(table, _MICROGRAPH), table.group, _scales(table), least)
    cells = {
        _GROUP: grouping.group + 1,
        _GROUP_NAME: np.array([f"group_{number + 1:04d}" for number in grouping.group]),
    }
    small = int((grouping.sizes < least).sum())
    words = f"{small} of {len(grouping.sizes)} groups have fewer than {least} particles: their "
    warnings = [words + "optics group has no more"] if small else []
    return table.with_cells(**cells), warnings


def _split(config: SelectConfig, table: ParticleTable) -> Iterator[tuple[Path, ParticleTable]]:
    """The files to write, and what goes into them."""
    out = config.out
    if config.split is None:
        yield out, table
    elif config.split == "class":
        classes = class_numbers(table)
        for number in np.unique(classes).tolist():
            name = f"{out.stem}_class{number:03d}{out.suffix}"
            yield out.with_name(name), table.take(np.flatnonzero(classes == number))
    else:
        for number, rows in enumerate(parts(len(table), config.split), 1):
            yield out.with_name(f"{out.stem}_split{number}{out.suffix}"), table.take(rows)


def run_select(config: SelectConfig, on_event: OnEvent = ignore) -> Selection:
    """Select particles, and write them with all their columns and the optics groups.

    Raises
    ------
    VitreousError
        For files and options that cannot be used, and where no particle is left.
    """
    _check(config)
    record = config.out.with_suffix(".json")
    for path in [record] + ([config.out] if config.split is None else []):
        _refuse_existing(path, config.overwrite)
    table = read_particles(config.particles, need_images=False)
    ranking: tuple[ClassQuality, ...] = ()
    chosen = [] if config.classes is None else class_list(config.classes)
    if config.auto:
        ranking, chosen = _good_classes(config, table)
    steps, warnings = [Step("read", len(table))], list[str]()
    for what, change in (*_filters(config, chosen), *_places(config), *_limits(config)):
        table = change(table)
        if not len(table):
            raise InputError(
                f"no particle is left of {steps[-1].particles} after the step {what!r}",
                where=config.particles,
                mend="ask for less",
            )
        steps.append(Step(what, len(table)))
    if config.origins_to_coordinates:
        warnings.append("the images are not where the coordinates are now: extract them again")
    if config.halves is not None:
        table = _halved(config, table)
    if config.regroup is not None:
        table, more = _regrouped(table, config.regroup)
        warnings += more
    outputs = dict(_split(config, table))
    for path in outputs:
        _refuse_existing(path, config.overwrite)
    for path, part in outputs.items():
        write_particles(path, part, keep_names=True)
    result = Selection(tuple(steps), ranking, tuple(outputs), record, tuple(warnings))
    on_event({"event": "selected", **asdict(result)})
    write_text(
        record,
        json.dumps(plain({**job_record("select", config), **asdict(result)}), indent=1) + "\n",
    )
    return result
