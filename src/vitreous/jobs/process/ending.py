"""How the road ends: with a verdict on its map, or before there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitreous.jobs.process.choices import worse


class Unsolved(Exception):
    """A step left too little to go on with.

    Parameters
    ----------
    sentence : str
        What, for the verdict.
    next_step : mapping, optional
        What the step says to do next.
    """

    def __init__(self, sentence: str, next_step: Mapping[str, Any] | None = None):
        self.sentence = sentence
        self.next_step = next_step
        super().__init__(sentence)


def failed(ending: Unsolved, again: str) -> dict[str, Any]:
    """Verdict of a road that ended early.

    Parameters
    ----------
    ending : Unsolved
    again : str
        Command line that goes on.
    """
    step = ending.next_step or {
        "sentence": "Look at the pages of the last steps; options of a step that is not done can "
        "be changed with --set before going on.",
        "command": again,
    }
    return {"verdict": "failed", "sentence": ending.sentence, "next_step": dict(step)}


def judged(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict on a refined map: that of the refinement, unless the first map was in doubt.

    Parameters
    ----------
    first, last : mapping
        Results of the first map's search, and of the last refinement.
    """
    word = worse(first["verdict"], last["verdict"])
    in_doubt = word != last["verdict"]
    sentence, step = last["sentence"], last["next_step"]
    if in_doubt:
        sentence = f"{sentence} The first map was in doubt, though: {first['sentence']}"
        step = first["next_step"]
    return {"verdict": word, "sentence": sentence, "next_step": step}
