"""Commands for the shell, made from a job's options: the command line reads them back."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vitreous.cli import app
from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.refine import RefineConfig
from vitreous.runs.command import beside, command_of, shell_command

ABINIT = AbinitConfig(Path("my data/p.star"), out=Path("job"), symmetry="O", resume=True)


@pytest.mark.parametrize(
    "job,config",
    [
        ("abinit", ABINIT),
        (
            "abinit",
            AbinitConfig(
                Path("p.star"), out=Path("a$b"), solvent_flatten=False, mask_diameter=101.2345678
            ),
        ),
        (
            "refine",
            RefineConfig(
                Path("p.star"), reference=Path("m.mrc"), out=Path("r"), fulcrum=(1.5, -2.0, 3.0)
            ),
        ),
        (
            "classify3d",
            Classify3dConfig(
                Path("p.star"), reference=(Path("1.mrc"), Path("2.mrc")), out=Path("c")
            ),
        ),
    ],
)
def test_a_command_is_read_back_as_the_same_options(job: str, config) -> None:
    words = shlex.split(command_of(job, config))
    assert words[:2] == ["vitreous", job]
    _, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    read = bound.arguments["config"]
    assert command_of(job, read) == command_of(job, config)
    for name in ("particles", "out", "mask_diameter"):
        assert str(getattr(read, name)) == str(getattr(config, name))


def test_changes_replace_options_and_defaults_are_left_out() -> None:
    line = command_of("abinit", ABINIT, out=Path("job_2"), final_resolution=10.0)
    assert line == (
        "vitreous abinit 'my data/p.star' --out job_2 --symmetry O --final-resolution 10"
    )
    options = {"particles": "x.star", "out": "job", "seed": 0, "classes": 2}
    found = shell_command("abinit", options, AbinitConfig)
    assert found.split()[2] == "x.star" and set(found.split()) >= {"--out", "job", "--classes", "2"}


def test_the_next_job_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    assert beside(tmp_path / "job", "O") == tmp_path / "job_O"
    (tmp_path / "job_O").mkdir()
    assert beside(tmp_path / "job", "O") == tmp_path / "job_O_2"


HELP_OF_ALL = """
import sys, contextlib, io
from vitreous.cli import app
names = [name for name in app if not name.startswith("-")]
nested = [["map", name] for name in app["map"] if not name.startswith("-")]
with contextlib.redirect_stdout(io.StringIO()):
    for words in [[], *([name] for name in names), *nested]:
        with contextlib.suppress(SystemExit):
            app([*words, "--help"])
print(len(names) + len(nested), *sorted({"torch", "numba", "numpy", "polars"} & set(sys.modules)))
"""


def test_no_help_waits_for_the_libraries_that_jobs_need() -> None:
    said = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(said[0]) > 30, "not all commands were found"
    assert said[1:] == []
