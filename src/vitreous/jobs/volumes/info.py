"""Headers, statistics and oddities of map files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vitreous.config.volumes import InfoConfig
from vitreous.io.atomic import write_text
from vitreous.io.mrc import load
from vitreous.io.mrc_header import MrcHeader
from vitreous.io.plain import plain
from vitreous.runs.targets import spared
from vitreous.validate.map_warnings import Statistics, header_warnings, statistics, value_warnings


@dataclass(frozen=True)
class MapInfo:
    """What a file holds.

    Attributes
    ----------
    header : MrcHeader
    statistics : Statistics
    odd : tuple of str
    """

    header: MrcHeader
    statistics: Statistics
    odd: tuple[str, ...]


def map_info(path: Path) -> MapInfo:
    """Read a file, whatever it holds.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    header, stored = load(path)
    found = statistics(stored)
    return MapInfo(header, found, (*header_warnings(header), *value_warnings(found)))


def run_info(config: InfoConfig) -> list[MapInfo]:
    """Tell of each file; write the same as JSON, if asked to.

    Raises
    ------
    VitreousError
        For files that cannot be read or written.
    """
    target = config.json and spared(config.json, config.inputs, config.overwrite)
    found = [map_info(path) for path in config.inputs]
    if target:
        records = [
            {
                **asdict(info.header),
                "dtype": info.header.dtype.name,
                **asdict(info.statistics),
                "odd": info.odd,
            }
            for info in found
        ]
        write_text(target, json.dumps(plain(records), indent=1) + "\n")
    return found
