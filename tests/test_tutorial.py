"""The tutorial on its simulated particles: the maps it ends with are the molecule's."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from vitreous import api

TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial.py"


@pytest.mark.slow
def test_the_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tutorial"
    runpy.run_path(str(TUTORIAL))["main"](["--out", str(out)])
    said = capsys.readouterr().out
    for step in (
        "Check:",
        "First map: solved",
        "Symmetry of the first map: C1",
        "Class 1: ",
        "Refinement:",
    ):
        assert step in said
    found, truth = (
        torch.from_numpy(api.read_map(path)[0])
        for path in (out / "refine" / "map.mrc", out / "particles" / "truth.mrc")
    )
    comparison = api.compare(found, truth, 6.0)
    assert comparison.resolution_05 is not None and comparison.resolution_05 < 18
