"""Options that configuration classes inherit: read from the command line, shown in panels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from cyclopts.argument import Argument

from vitreous.cli import app
from vitreous.cli.volumes import tools
from vitreous.jobs.config.shared import CtfOptions, FolderOptions, RunOptions
from vitreous.jobs.images import CtfMode

MAPS = {"refine": "--reference a.mrc", "classify3d": "--reference a.mrc b.mrc"}


@pytest.mark.parametrize("command", ["abinit", "classify3d", "refine", "reconstruct"])
def test_inherited_options_are_read(command: str) -> None:
    line = f"{command} p.star {MAPS.get(command, '')} --out job --phase-flipped"
    _, bound, _ = app.parse_args(line, exit_on_error=False)
    (config,) = bound.args
    assert config.particles == Path("p.star") and isinstance(config, CtfOptions)
    assert CtfMode.of(config) == CtfMode(ctf=True, phase_flipped=True)
    if command != "reconstruct":
        again = app.parse_args(f"{line} --seed 5 --device cpu --resume", exit_on_error=False)[1]
        (other,) = again.args
        assert isinstance(other, RunOptions) and isinstance(other, FolderOptions)
        assert (other.seed, other.device, other.resume) == (5, "cpu", True)


def options_of(app: App) -> Iterator[tuple[str, Argument]]:
    for name in app:
        if not name.startswith("-") and app[name].default_command is not None:
            arguments = app[name].assemble_argument_collection(parse_docstring=True)
            yield from ((name, argument) for argument in arguments if argument.name != "*")


def test_every_option_has_help_in_the_words_of_the_command_line() -> None:
    options = [*options_of(app), *options_of(tools)]
    assert len(options) > 200
    for command, argument in options:
        said = argument.parameter.help or ""
        assert said, f"{command} {argument.name} has no help"
        assert "`" not in said, f"{command} {argument.name} names a Python identifier: {said}"


def test_every_command_has_its_place_in_the_order_of_the_work() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "vitreous", "--help"], capture_output=True, text=True
    ).stdout
    names = [name for name in app if not name.startswith("-")]
    assert all(f"│ {name} " in said for name in names)
    order = [said.index(f"│ {name} ") for name in ("check", "abinit", "refine", "postprocess")]
    assert order == sorted(order) and "─ Commands ─" not in said


def test_help_has_their_words_in_panels_of_their_own() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "vitreous", "abinit", "--help"], capture_output=True, text=True
    ).stdout
    own, ctf, run = (
        said.index(f"─ {panel} ─") for panel in ("Parameters", "Contrast transfer", "Run")
    )
    assert own < said.index("--classes") < ctf < said.index("--phase-flipped") < run
    assert run < said.index("Seed of every random choice.") < said.index("--precision")
