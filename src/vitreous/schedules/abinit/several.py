"""A search with several classes, where one map is not to be believed: particles may be mixed."""

from __future__ import annotations

from dataclasses import replace

from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.inputs import AbinitInputs
from vitreous.schedules.abinit.searched import Searched, search_within

_CLASSES = 3

_AS_LONG = 8
"""Times that such a search takes as long as the iterations for one map."""


def with_several_classes(inputs: AbinitInputs, first: Searched, on_event: OnEvent) -> Searched:
    """Search anew with three classes; the one map is kept where these are not solved either."""
    minutes = max(1, round(_AS_LONG * first.searched_s / 60))
    on_event(
        {
            "event": "note",
            "text": f"{first.judgement.sentence} The particles may be mixed: now searching with "
            f"{_CLASSES} classes, which takes about {minutes} min.",
        }
    )
    config = replace(inputs.config, classes=_CLASSES)
    several = replace(inputs, config=config, folder=inputs.folder / f"with_{_CLASSES}_classes")
    several.memory.check(inputs.table.path)
    second = search_within(several, on_event)
    return second if second.judgement.word == "solved" else first
