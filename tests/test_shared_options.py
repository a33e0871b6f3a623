"""Options that configuration classes inherit: read from the command line, shown in panels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from cyclopts import App
from cyclopts.argument import Argument

from vitreous.cli import app
from vitreous.cli.volumes import tools
from vitreous.config.classify import Classify3dConfig
from vitreous.config.maps import PostprocessConfig
from vitreous.config.particles import CheckConfig
from vitreous.config.shared import CtfOptions, FolderOptions, RunOptions
from vitreous.config.volumes import LowpassConfig
from vitreous.engine.images import CtfMode
from vitreous.errors import OptionError
from vitreous.ops.threads import cores
from vitreous.runs.options import on_its_threads

MAPS = {"refine": "--reference a.mrc", "classify3d": "--reference a.mrc b.mrc"}


@pytest.mark.parametrize("command", ["abinit", "class2d", "classify3d", "refine", "reconstruct"])
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


@pytest.mark.parametrize(
    "line",
    [
        "check p.star",
        "select p.star --out s.star",
        "expand-symmetry p.star --symmetry C2 --out e.star",
        "subtract p.star --out job",
        "ctf-refine p.star --out job",
        "postprocess half1.mrc half2.mrc --out job",
        "local-resolution half1.mrc half2.mrc --out job",
        "anisotropy half1.mrc half2.mrc --out job",
        "symmetry map.mrc",
        "compare map.mrc truth.mrc",
        "model-check model.pdb map.mrc --out job",
        "map fit moving.mrc target.mrc --out fitted.mrc",
        "simulate model.pdb --out job",
    ],
)
def test_files_come_first_without_their_options_names(line: str) -> None:
    (config,) = app.parse_args(line, exit_on_error=False)[1].args
    words = line.removeprefix("map ").split()
    files = [Path(word) for word in words[1:] if not word.startswith("--") and "." in word]
    assert files[0] in [getattr(config, field.name) for field in fields(config)]


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


def test_a_job_uses_as_many_cores_as_it_is_told() -> None:
    @on_its_threads
    def cores_of(config: CheckConfig) -> tuple[int, int, int]:
        seen = ThreadPoolExecutor(1).submit(cores).result()
        return cores(), seen, torch.get_num_threads()

    before = (cores(), torch.get_num_threads())
    config = CheckConfig("p.star", threads=1)
    assert config.particles == Path("p.star")
    assert cores_of(config) == (1, 1, 1)
    assert cores_of(replace(config, threads=3)) == (3, 3, 3)
    assert cores_of(replace(config, threads=None))[::2] == before
    assert (cores(), torch.get_num_threads()) == before
    with pytest.raises(OptionError, match=r"--threads: 0 is less than 1"):
        cores_of(replace(config, threads=0))


def test_text_is_taken_where_a_path_belongs() -> None:
    classes = Classify3dConfig("p.star", reference=("a.mrc", Path("b.mrc")), out="job")
    assert classes.reference == (Path("a.mrc"), Path("b.mrc")) and classes.out == Path("job")
    assert classes.mask is None and classes.symmetry == "C1"
    maps = PostprocessConfig("1.mrc", "2.mrc", out="job", mask="m.mrc")
    assert {maps.half1, maps.half2, maps.out, maps.mask} == {
        Path(name) for name in ("1.mrc", "2.mrc", "job", "m.mrc")
    }
    assert LowpassConfig(["a.mrc"], out="b.mrc", resolution=8).inputs == (Path("a.mrc"),)
