"""Tables of what lies elsewhere: movies, micrographs, particles, coordinates and maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitreous.config.movies import ImportConfig
from vitreous.errors import InputError, OptionError
from vitreous.io.mrc import read_header, read_map, write_map
from vitreous.io.regular import is_file
from vitreous.io.star import read_star
from vitreous.io.text import cell_of
from vitreous.jobs.micrographs.coordinate_files import COORDINATE_SUFFIXES, read_picks
from vitreous.jobs.micrographs.exposure_files import expanded, exposures_of, output_stems
from vitreous.particles.exposures import Exposures
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.relion.coordinate_lists import (
    coordinate_blocks,
    listed_files,
    write_coordinates,
    write_list,
)
from vitreous.particles.relion.exposures import exposure_kind, read_exposures, write_exposures
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.record import job_record, write_record

_MOVIES = (".mrcs", ".tif", ".tiff", ".eer", ".st")
_MAPS = (".map", ".ccp4")


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes
    ----------
    kind : str
    count : int
    table : Path
    warnings : tuple of str
    """

    kind: str
    count: int
    table: Path
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Count and kind."""
        return f"{self.count:,} {self.kind}"


def _kind_of_star(path: Path) -> str:
    kind = exposure_kind(read_star(path))
    if kind is not None:
        return kind
    if listed_files(path):
        return "coordinates"
    try:
        read_particles(path)
    except InputError:
        if coordinate_blocks(path):
            return "coordinates"
        raise
    return "particles"


def kind_of(path: Path) -> str:
    """What a file is, by its name and, where that does not tell, by its content.

    Raises
    ------
    InputError
        If it cannot be told.
    """
    suffix = path.suffix.lower()
    if not is_file(path):
        raise InputError("there is no such file", where=path, hint="check the path")
    if suffix == ".star":
        return _kind_of_star(path)
    if suffix in (".box", ".csv"):
        return "coordinates"
    if suffix == ".cs":
        return "particles"
    if suffix in _MOVIES:
        return "movies"
    if suffix in _MAPS:
        return "maps"
    if suffix == ".mrc":
        sections, height, width = read_header(path).shape
        if sections == 1:
            return "micrographs"
        return "maps" if sections == height == width else "movies"
    raise InputError(
        f"what it is cannot be told by its suffix {suffix or '(none)'}",
        where=path,
        hint="give --kind",
    )


def _grouped(exposures: Exposures, pattern: str) -> Exposures:
    """Exposures in optics groups by the bracketed part of their names."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise OptionError(
            f"{pattern!r} is no regular expression: {error}",
            where="--groups-by",
            hint="put a bracket round the part that tells groups apart",
        ) from error
    keys = []
    for name in exposures.names:
        match = expression.search(Path(name).name)
        if match is None:
            raise InputError(
                f"does not match {pattern!r}", where=name, hint="give another --groups-by"
            )
        keys.append("_".join(part or "" for part in match.groups() or (match.group(),)))
    places = {key: number for number, key in enumerate(sorted(set(keys)))}
    base = exposures.optics[0]
    optics = tuple(replace(base, name=f"{base.name}_{key}") for key in places)
    return replace(exposures, optics=optics, group=np.array([places[key] for key in keys]))


def _exposures(config: ImportConfig, files: Sequence[Path], kind: str) -> Exposures:
    found = exposures_of(files, config, kind)
    if found.path is None:
        missing = [name for name in found.names if not is_file(Path(name))]
        if missing:
            raise InputError("there is no such file", where=missing[0], hint="check the path")
        optics = replace(
            found.optics[0],
            name=config.group_name,
            beam_tilt=(config.beam_tilt_x, config.beam_tilt_y),
            mtf=None if config.mtf is None else cell_of(config.mtf),
            micrograph_pixel_size=config.pixel_size if kind == "micrographs" else None,
        )
        found = replace(found, optics=(optics,))
    return found if config.groups_by is None else _grouped(found, config.groups_by)


def _import_exposures(
    job: JobFolder, config: ImportConfig, files: Sequence[Path], kind: str
) -> Imported:
    found = _exposures(config, files, kind)
    write_exposures(job.path / f"{kind}.star", found)
    return Imported(kind, len(found), config.out / f"{kind}.star")


def _import_particles(job: JobFolder, config: ImportConfig, files: Sequence[Path]) -> Imported:
    if len(files) > 1:
        raise OptionError(
            f"{len(files)} tables of particles are given",
            hint="import them one by one, and join them with vitreous select",
        )
    table = read_particles(files[0])
    write_particles(job.path / "particles.star", table)
    return Imported("particles", len(table), config.out / "particles.star")


def _import_coordinates(job: JobFolder, config: ImportConfig, files: Sequence[Path]) -> Imported:
    names = None if config.micrographs is None else read_exposures(config.micrographs).names
    picks = read_picks(files, names)
    listed = {}
    for (micrograph, places), stem in zip(picks.items(), output_stems(list(picks)), strict=True):
        file = f"coordinates/{stem}.star"
        write_coordinates(job.path / file, places)
        listed[micrograph] = cell_of(config.out / file)
    write_list(job.path / "coordinates.star", listed)
    empty = [name for name, places in picks.items() if not len(places)]
    warnings = [f"No coordinates in {len(empty)} files, such as that of {n}" for n in empty[:1]]
    count = sum(len(places) for places in picks.values())
    return Imported("coordinates", count, config.out / "coordinates.star", tuple(warnings))


def _import_maps(job: JobFolder, config: ImportConfig, files: Sequence[Path]) -> Imported:
    stems = output_stems([cell_of(file) for file in files])
    for file, stem in zip(files, stems, strict=True):
        volume, pixel_size = read_map(file, config.pixel_size)
        write_map(job.path / f"{stem}.mrc", volume, pixel_size)
    return Imported("maps", len(files), config.out / f"{stems[0]}.mrc")


def _kind(config: ImportConfig, files: Sequence[Path]) -> str:
    if config.kind != "auto":
        if config.kind == "coordinates":
            wrong = [file for file in files if file.suffix.lower() not in COORDINATE_SUFFIXES]
            if wrong:
                raise InputError(
                    f"is no file of coordinates ({', '.join(COORDINATE_SUFFIXES)})",
                    where=wrong[0],
                    hint="give another --kind",
                )
        return config.kind
    kind = kind_of(files[0])
    if config.micrographs is not None and kind == "particles":
        return "coordinates"
    return kind


def run_import_data(config: ImportConfig, on_event: OnEvent = ignore) -> Imported:
    """Make a table of files that lie elsewhere, and stay there; maps alone are copied.

    Raises
    ------
    VitreousError
        For files or options that cannot be used, or a folder that is in use.
    """
    files = expanded(config.files)
    if not files:
        raise OptionError("no files are given", hint="give files, or a pattern in quotes")
    kind = _kind(config, files)
    with job_folder("import", config, on_event, files) as job:
        job.tell({"event": "start", "job": "import", "kind": kind, "files": len(files)})
        if kind == "particles":
            found = _import_particles(job, config, files)
        elif kind == "coordinates":
            found = _import_coordinates(job, config, files)
        elif kind == "maps":
            found = _import_maps(job, config, files)
        else:
            found = _import_exposures(job, config, files, kind)
        record = {"kind": kind, "count": found.count, "warnings": list(found.warnings)}
        write_record(job.path, {**job_record("import", config), **record})
        job.tell({"event": "done", "out": str(config.out)})
    return found
