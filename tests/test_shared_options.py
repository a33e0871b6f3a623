"""Options that configuration classes inherit: read from the command line, shown in panels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitreous.cli import app
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


def test_help_has_their_words_in_panels_of_their_own() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "vitreous", "abinit", "--help"], capture_output=True, text=True
    ).stdout
    own, ctf, run = (
        said.index(f"─ {panel} ─") for panel in ("Parameters", "Contrast transfer", "Run")
    )
    assert own < said.index("--classes") < ctf < said.index("--phase-flipped") < run
    assert run < said.index("Seed of every random choice.") < said.index("--precision")
