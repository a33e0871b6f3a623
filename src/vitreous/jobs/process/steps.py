"""The steps of the road: each runs once, in its own folder, and is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitreous.config.process import ProcessConfig
from vitreous.errors import InputError
from vitreous.io.atomic import write_text
from vitreous.io.plain import plain
from vitreous.jobs.process.changes import Changes
from vitreous.runs.command import command_of
from vitreous.runs.folder import JobFolder, OnEvent
from vitreous.runs.replacement import RESULT, STEPS, with_checkpoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Report = Callable[[Path], object]
"""Writes the page of a job's folder."""

_FREE = ("overwrite", "resume", "workers", "threads", "memory", "scratch")
"""Options that a step may have been done with otherwise."""

_SHARES = {"import": 0.2, "motion": 25, "ctf": 5, "pick": 6, "extract": 2, "class2d": 12,
           "select": 0.2, "abinit": 25, "refine": 25}  # fmt: skip
"""About how long each step takes, beside the others."""

_NOT_FORWARDED = ("start", "done", "plan")
"""Events that a job begins and ends with, and that would end the display of the whole."""

_FORMAT = 1


@dataclass(frozen=True)
class Step:
    """A step that is done.

    Attributes
    ----------
    job : str
        Name of the command.
    folder : str
        In that of the whole.
    command : str
        For the shell.
    options : dict
        That it was done with.
    """

    job: str
    folder: str
    command: str
    options: dict[str, Any]


@dataclass
class Steps:
    """Runs steps that are not done yet, and remembers those that are.

    Attributes
    ----------
    job : JobFolder
        Of the whole.
    config : ProcessConfig
    changes : dict
        Options of steps as the user gave them.
    report : callable
        Writes the page of a step.
    expected : list of str
        Names of the steps ahead, and behind, as far as is known.
    done : list of Step
    outcomes : dict
        What came out of each, in words, by its folder.
    decisions : list of dict
        What was decided, and why.
    remembered : dict
        What was found between steps.
    """

    job: JobFolder
    config: ProcessConfig
    changes: Changes
    report: Report
    expected: list[str]
    done: list[Step] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    decisions: list[dict[str, str]] = field(default_factory=list)
    remembered: dict[str, Any] = field(default_factory=dict)
    _before: list[Step] = field(default_factory=list)
    _begun: Step | None = None

    def load(self) -> None:
        """Read what a former run of the same job has done."""
        path = self.job.path / STEPS
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("format") != _FORMAT:
            raise InputError(
                "was written by another version of this program",
                where=path,
                hint="begin anew with --overwrite",
            )
        self._before = [Step(**one) for one in found["done"]]
        self._begun = None if found["begun"] is None else Step(**found["begun"])
        self.remembered = found["remembered"]

    def _keep(self) -> None:
        steps = [asdict(one) for one in (*self.done, *self._before[len(self.done) :])]
        begun = self._begun and asdict(self._begun)
        record = {"format": _FORMAT, "done": steps, "begun": begun, "remembered": self.remembered}
        write_text(self.job.path / STEPS, json.dumps(plain(record), indent=1) + "\n")

    def decide(self, what: str, why: str) -> None:
        """Tell of a decision and its reason."""
        self.decisions.append({"what": what, "why": why})
        self.job.tell({"event": "decision", "what": what, "why": why})

    def found(self, name: str, find: Callable[[], Any]) -> Any:
        """What is found between steps, once; JSON can hold it."""
        if name not in self.remembered:
            self.remembered[name] = plain(find())
            self._keep()
        return self.remembered[name]

    def folder(self, job: str) -> Path:
        """Folder of the next step."""
        return self.config.out / f"{len(self.done) + 1:03d}_{job}"

    def run(
        self,
        job: str,
        run: Callable[[Any, OnEvent], object],
        config: Any,
        words: Callable[[Mapping[str, Any]], str],
    ) -> dict[str, Any]:
        """Run the next step unless it is done; its record.

        Parameters
        ----------
        job : str
            Name of the command.
        run : callable
            Its function.
        config : dataclass
            Its options, as the road would have them.
        words : callable
            What came out, of its record.

        Raises
        ------
        InputError
            If it was done with other options.
        """
        folder = self.folder(job)
        config = replace(config, **self._shared(config), **self.changes.get(job, {}))
        step = Step(job, folder.name, command_of(job, config), self._options(config))
        if len(self.done) < len(self._before):
            _require_same(self._before[len(self.done)], step, folder)
        else:
            self._tell_step(step)
            self._begin(step, run, config)
            self.report(folder)
            self._begun = None
        self.done.append(step)
        self._keep()
        record = _record_of(folder)
        self.outcomes[folder.name] = said = words(record)
        self.job.tell({"event": "step done", "folder": folder.name, "outcome": said})
        return record

    def _begin(self, step: Step, run: Callable[[Any, OnEvent], object], config: Any) -> None:
        """Run a step, or go on with it if it was interrupted and has the same options."""
        again = self._begun == step and any(one.name == "resume" for one in fields(config))
        resume = again and with_checkpoint(self.folder(step.job)) is not None
        self._begun = step
        if self.done:  # before that there is nothing worth keeping
            self._keep()
        run(replace(config, **({"resume": True} if resume else {"overwrite": True})), self._forward)

    def _shared(self, config: DataclassInstance) -> dict[str, Any]:
        """Options of the whole that a step has, too."""
        names = {one.name for one in fields(config)}
        return {
            name: getattr(self.config, name)
            for name in ("workers", "threads", "device", "seed")
            if name in names
        }

    def _options(self, config: DataclassInstance) -> dict[str, Any]:
        """Options by which a step is known again, wherever the folder of the whole lies."""

        def known(value: Any) -> Any:
            if isinstance(value, Path):
                inside = value.is_relative_to(self.config.out)
                return f"./{value.relative_to(self.config.out)}" if inside else str(value.resolve())
            return [known(one) for one in value] if isinstance(value, tuple | list) else value

        values = {one.name: getattr(config, one.name) for one in fields(config)}
        kept = {name: known(value) for name, value in values.items() if name not in _FREE}
        return dict(json.loads(json.dumps(plain(kept))))

    def _tell_step(self, step: Step) -> None:
        """Tell which step begins, and which part of the whole it is expected to be."""
        number = len(self.done)
        if number >= len(self.expected):
            self.expected.append(step.job)
        shares = [_SHARES[name] for name in self.expected]
        before, total = sum(shares[:number]), sum(shares)
        self.job.tell(
            {
                "event": "step",
                "step": step.job,
                "number": number + 1,
                "steps": len(shares),
                "from_share": before / total,
                "to_share": (before + shares[number]) / total,
                "folder": step.folder,
                "command": step.command,
            }
        )

    def _forward(self, event: Mapping[str, Any]) -> None:
        """Tell what a step tells, but for its beginning and end."""
        if event.get("event") not in _NOT_FORWARDED:
            self.job.tell(event)


def _require_same(before: Step, step: Step, folder: Path) -> None:
    if (before.job, before.options) == (step.job, step.options):
        return
    names = {*before.options, *step.options}
    other = sorted(n for n in names if before.options.get(n) != step.options.get(n))
    raise InputError(
        f"was done as {before.job} with other options ({', '.join(other) or 'another step'})",
        where=folder.with_name(before.folder),
        hint="resume as the first run was, or begin anew with --overwrite",
    )


def _record_of(folder: Path) -> dict[str, Any]:
    """What a step tells of itself; a selection's record has its table's name."""
    found = next(folder / name for name in (RESULT, "particles.json") if (folder / name).is_file())
    return dict(json.loads(found.read_text(encoding="utf-8")))
