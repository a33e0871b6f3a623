"""Write some particles or micrographs of a table, by what its columns say of them or at random."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError, OptionError
from vitreous.io.atomic import write_text
from vitreous.io.plain import plain
from vitreous.jobs.particles.classes import good_classes, read_classes, without_junk
from vitreous.jobs.particles.select_micrographs import holds_micrographs, micrographs_selected
from vitreous.jobs.particles.set_algebra import combined
from vitreous.jobs.particles.steps import Step, select
from vitreous.particles.files import formats_beside, read_particles, write_particles
from vitreous.particles.job_folders import particles_file
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.selection import class_numbers, parts
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.record import job_record
from vitreous.runs.replacement import RESULT
from vitreous.runs.targets import inputs_of, spared
from vitreous.validate.class_quality import ClassQuality


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
        STAR files, and .cs files.
    record : Path
        The same as JSON.
    warnings : tuple of str
    kind : str
        particles or micrographs.
    """

    steps: tuple[Step, ...]
    ranking: tuple[ClassQuality, ...]
    outputs: tuple[Path, ...]
    record: Path
    warnings: tuple[str, ...]
    kind: str = "particles"


def class_list(text: str, option: str = "--classes") -> list[int]:
    """Numbers of classes written as ``1,3`` or ``2-4``, as an ``option`` gave them.

    Raises
    ------
    OptionError
        For anything else.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise OptionError(
                f"{text!r} is no list of classes", where=option, hint="write 1,3 or 1-4"
            )
        found.update(range(first, last + 1))
    return sorted(found)


_CHOICES = (
    *("classes", "where", "min_posterior", "min_class_posterior", "max_junk", "min_distance"),
    *("min_resolution", "and_", "not_", "join", "even_views"),
    *("max_per_class", "random", "halves", "regroup", "split", "recentre"),
)
"""Options that are asked for by being given; the others are switches or go with these."""


def _check(config: SelectConfig) -> None:
    asked = any(getattr(config, name) not in (None, ()) for name in _CHOICES)
    shares = (
        *(config.min_posterior, config.min_class_posterior, config.max_junk),
        *(config.min_score, config.even_views),
    )
    whole = (config.max_per_class, config.regroup)
    lengths = (config.min_distance, config.coordinate_pixel_size, config.min_resolution)
    for bad, what, option in (
        (
            not (asked or config.auto or config.origins_to_coordinates),
            "nothing to select by",
            "vitreous select",
        ),
        (config.auto and config.classes is not None, "both choose classes", "--auto, --classes"),
        (
            any(share is not None and not 0 <= share <= 1 for share in shares),
            "a posterior, score or share lies outside 0 to 1",
            "--min-posterior, --min-class-posterior, --max-junk, --min-score, --even-views",
        ),
        (
            any(count is not None and count < 1 for count in whole),
            "fewer than 1 particle",
            "--max-per-class, --regroup",
        ),
        (
            any(size is not None and not (math.isfinite(size) and size > 0) for size in lengths),
            "not more than 0 A",
            "--min-distance, --coordinate-pixel-size, --min-resolution",
        ),
        (
            not (math.isfinite(config.match_distance) and config.match_distance >= 0),
            "not a distance",
            "--match-distance",
        ),
        (
            config.recentre is not None and not all(map(math.isfinite, config.recentre)),
            "the point is not finite",
            "--recentre",
        ),
    ):
        if bad:
            raise OptionError(what, where=option, hint="see vitreous select --help")


def _resolved(config: SelectConfig, table: ParticleSet, chosen: list[int]) -> list[int]:
    """Of the chosen classes, or of all, those that reach --min-resolution.

    Raises
    ------
    InputError
        If no class with particles does.
    """
    limit = config.min_resolution
    if limit is None:
        return chosen
    there = set(class_numbers(table).tolist())
    records = read_classes(table.path, config.classes_from)
    known = {r.number: r.resolution for r in records if r.resolution is not None}
    among = there & set(chosen or there) & known.keys()
    good = sorted(number for number in among if known[number] <= limit)
    if not good:
        best = min((known[number] for number in among), default=None)
        found = "tell of no resolution" if best is None else f"reach {best:.1f} A at best"
        raise InputError(
            f"the classes {found}, expected {limit:g} A",
            where=table.path,
            hint="raise --min-resolution, or choose with --classes",
        )
    return good


def _split(config: SelectConfig, table: ParticleSet) -> Iterator[tuple[Path, ParticleSet]]:
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
        for path, rows in _in_parts(out, len(table), config.split):
            yield path, table.take(rows)


def _in_parts(out: Path, count: int, number: int) -> Iterator[tuple[Path, Int[np.ndarray, " m"]]]:
    """Files of successive parts of a table, and their rows."""
    for part, rows in enumerate(parts(count, number), 1):
        yield out.with_name(f"{out.stem}_split{part}{out.suffix}"), rows


def _micrographs(config: SelectConfig, record: Path, inputs: list[Path]) -> Selection:
    """Select micrographs and write them."""
    steps, table = micrographs_selected(config)
    assert config.split != "class"
    if config.split is None:
        tables = {config.out: table}
    else:
        places = _in_parts(config.out, len(table), config.split)
        tables = {path: table.take(rows) for path, rows in places}
    for path in tables:
        spared(path, inputs, config.overwrite)
    for path, table in tables.items():
        table.write(path)
    return Selection(tuple(steps), (), tuple(tables), record, (), "micrographs")


def _particles(config: SelectConfig, record: Path, inputs: list[Path]) -> Selection:
    """Select particles and write them."""
    before = combined(read_particles(config.particles, need_images=False), config)
    table = before.table
    ranking: tuple[ClassQuality, ...] = ()
    chosen = [] if config.classes is None else class_list(config.classes)
    if config.auto:
        ranking, chosen = good_classes(table, config.classes_from, config.min_score)
        config = without_junk(config, table, ranking)
    kept = select(table, config, _resolved(config, table, chosen))
    outputs = dict(_split(config, kept.table))
    written = [one for path in outputs for one in formats_beside(path, config.write)]
    for path in [record, *written]:
        spared(path, [*inputs, *table.stacks], config.overwrite)
    for path, part in outputs.items():
        write_particles(path, part, write=config.write)
    return Selection(
        (*before.steps, *kept.steps[1:]),
        ranking,
        tuple(written),
        record,
        (*before.warnings, *kept.warnings),
    )


def run_select(config: SelectConfig, on_event: OnEvent = ignore) -> Selection:
    """Select particles or micrographs; all their columns and the optics groups are written.

    Raises
    ------
    VitreousError
        For files and options that cannot be used, and where no particle is left.
    """
    config = replace(config, particles=particles_file(config.particles))
    _check(config)
    record = config.out.with_suffix(".json")
    if record == config.out:
        raise OptionError(
            f"{record} is where the record of what was done goes",
            where="--out",
            hint="name a STAR file",
        )
    inputs = [*inputs_of(config), config.particles.with_name(RESULT)]
    for path in [record] + ([config.out] if config.split is None else []):
        spared(path, inputs, config.overwrite)
    selected = _micrographs if holds_micrographs(config.particles) else _particles
    result = selected(config, record, inputs)
    on_event({"event": "selected", **asdict(result)})
    write_text(
        record,
        json.dumps(plain({**job_record("select", config), **asdict(result)}), indent=1) + "\n",
    )
    return result
