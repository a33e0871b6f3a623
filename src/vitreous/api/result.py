"""What a job leaves, as an object that notebooks show."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vitreous.errors import OptionError
from vitreous.io.mrc import read_map, write_map
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.report.figures import sections_and_projections
from vitreous.report.html import write_report
from vitreous.report.progress import ProgressDisplay
from vitreous.report.record import read_result
from vitreous.report.rendering import asset
from vitreous.runs.folder import OnEvent


def _shown(content: str) -> str:
    """HTML with the style of its charts, which changes nothing else of a notebook."""
    return f"<div><style>@scope {{ {asset('chart.css')} }}</style>{content}</div>"


@dataclass(frozen=True)
class MapFile:
    """A map of a job, read when it is asked for.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @cached_property
    def _read(self) -> tuple[Float[np.ndarray, "z y x"], float]:
        return read_map(self.path)

    @property
    def array(self) -> Float[np.ndarray, "z y x"]:
        """Density."""
        return self._read[0]

    @property
    def pixel_size(self) -> float:
        """Angstrom."""
        return self._read[1]

    def __fspath__(self) -> str:
        """Return the file's path, so that whatever takes one takes this."""
        return str(self.path)

    def _repr_html_(self) -> str:
        """Sections and projections, for notebooks."""
        if len(set(self.array.shape)) != 1:
            return f"<p>{escape(repr(self))}</p>"
        alt = f"Sections and projections of {self.path.name}"
        picture = sections_and_projections(self.array, self.pixel_size, None, alt)
        return _shown(
            f'<figure style="max-width:36em">{picture}'
            f"<figcaption>{escape(self.path.name)}: {self.array.shape[0]} voxels of "
            f"{self.pixel_size:g} Å</figcaption></figure>"
        )


@dataclass(frozen=True)
class JobResult:
    """A job that has run; wherever a path belongs, it stands for its folder.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    def __fspath__(self) -> str:
        """Return the folder's path."""
        return str(self.folder)

    def __truediv__(self, name: str) -> Path:
        """Path of a file in the folder."""
        return self.folder / name

    @cached_property
    def record(self) -> dict[str, Any]:
        """All numbers of ``result.json``."""
        return read_result(self.folder / "result.json")

    @property
    def verdict(self) -> str | None:
        """Solved, ambiguous or failed; None for a job that judges nothing."""
        found = self.record.get("verdict")
        return None if found is None else str(found)

    @property
    def maps(self) -> dict[str, MapFile]:
        """The job's maps by name: ``maps["class001"]``."""
        return {path.stem: MapFile(path) for path in sorted(self.folder.glob("*.mrc"))}

    @property
    def particles(self) -> ParticleSet | None:
        """The particles that it wrote; None if it wrote none."""
        path = self.folder / "particles.star"
        return read_particles(path) if path.is_file() else None

    def report(self) -> Path:
        """Write the job's page; its path."""
        return write_report(self.folder)

    def _repr_html_(self) -> str:
        """Verdict, resolution and the first map, for notebooks."""
        record = self.record
        words = [str(record[key]) for key in ("verdict", "sentence") if record.get(key)]
        resolution = record.get("resolution_0143")
        if isinstance(resolution, int | float):
            words.append(f"FSC 0.143 at {resolution:.2f} Å")
        head = f"<p><b>{escape(str(record.get('job', 'job')))}</b> {escape(str(self.folder))}</p>"
        said = f"<p>{escape('. '.join(words))}</p>" if words else ""
        maps = self.maps
        first = next((maps[n] for n in ("map", "class001") if n in maps), None)
        return head + said + ("" if first is None else first._repr_html_())


def in_notebook() -> bool:
    """Whether this runs in a notebook, where progress is shown without being asked for."""
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return False
    return type(shell).__name__ == "ZMQInteractiveShell"


def _as_path(name: str, value: Any, beside: Path) -> Any:
    """Path of a value: tables and maps (array, pixel size) are written beside the job's folder."""
    if isinstance(value, ParticleSet):
        path = beside / f"{name}.star"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_particles(path, value)
        return path
    pair = isinstance(value, tuple) and len(value) == 2
    if pair and isinstance(value[0], np.ndarray | torch.Tensor):
        path = beside / f"{name}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_map(path, np.asarray(value[0], dtype=np.float32), float(value[1]))
        return path
    if isinstance(value, os.PathLike):
        return Path(value)
    return value


def _configured(kind: type[Any], given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Configuration from what a function was called with."""
    names = [field.name for field in fields(kind)]
    bound = inspect.signature(kind).bind_partial(*given, **options).arguments
    if "out" in names and "out" not in bound:
        raise OptionError("has no folder for the results", where="out", hint="give out=...")
    beside = Path(f"{os.fspath(bound['out'])}_input") if "out" in bound else Path()
    return kind(**{name: _as_path(name, value, beside) for name, value in bound.items()})


def as_function(run: Callable[[Any, OnEvent], Path], kind: type[Any]) -> Callable[..., JobResult]:
    """A job as a function of its options, or of one configuration.

    ``refine("p.star", reference=(array, pixel_size), out="r")`` is
    ``refine(RefineConfig(...))`` with the map written to ``r_input/reference.mrc``.
    """

    @wraps(run)
    def job(*given: Any, on_event: OnEvent | None = None, **options: Any) -> JobResult:
        if given and isinstance(given[0], kind):
            config, on_event = given[0], given[1] if len(given) > 1 else on_event
        else:
            config = _configured(kind, given, options)
        if on_event is not None:
            return JobResult(run(config, on_event))
        if not in_notebook():
            return JobResult(run(config, lambda _: None))
        with ProgressDisplay() as display:
            return JobResult(run(config, display))

    return job
