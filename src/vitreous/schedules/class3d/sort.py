"""Passes over all particles until few change class; each is a place to go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vitreous.config.classify import Classify3dOptions
from vitreous.engine.folds import Folds, FoldStep
from vitreous.engine.images import Frame
from vitreous.engine.sorting import MARCH, Sorting, pass_resolution, sorting_pass, unsorted
from vitreous.engine.state import SearchState, state_from, state_scalars, state_tensors
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.folder import OnEvent
from vitreous.schedules.class3d.steps import even_class_priors
from vitreous.validate.labels import contingency

_SUBSET = 1500
"""Particles a class that --fast-subsets begins with."""


@dataclass(frozen=True)
class Progress:
    """A sorting and how it came about.

    Attributes
    ----------
    sorting : Sorting
    flow : list of integer arrays (classes, classes)
        For each pass but the first, how many particles that were looked at before went from a class
        (row) to another.
    """

    sorting: Sorting
    flow: list[Int[np.ndarray, "k k"]]


def _seen(
    options: Classify3dOptions, particles: int, classes: int, number: int
) -> Bool[Tensor, " n"]:
    """Particles that a pass looks at."""
    wanted = _SUBSET * classes
    if not options.fast_subsets or number >= MARCH or wanted >= particles:
        return torch.ones(particles, dtype=torch.bool)
    order = np.random.default_rng([options.seed, 5]).permutation(particles)
    seen = torch.zeros(particles, dtype=torch.bool)
    seen[torch.from_numpy(order[:wanted])] = True
    return seen


def within(sorting: Sorting, kept: Bool[Tensor, " n"]) -> Sorting:
    """The same with folds of the particles to be kept only."""
    index = [fold[kept[fold]] for fold in sorting.folds.index]
    return replace(sorting, folds=replace(sorting.folds, index=index))


def _looked_at(sorting: Sorting) -> Bool[Tensor, " n"]:
    """Particles that a pass has looked at."""
    return sorting.by_map.sum(dim=1) > 0


def _settled(options: Classify3dOptions, sorting: Sorting) -> bool:
    passes = len(sorting.changed) - MARCH
    return sorting.settled and passes >= options.final_passes


def sort(
    options: Classify3dOptions,
    frame: Frame,
    progress: Progress,
    step: FoldStep[SearchState, Any],
    on_event: OnEvent,
    keep: Callable[[Progress], None],
    *,
    evenly: bool,
) -> Progress:
    """Sort all particles among a state's maps, and make the maps anew, until few change class.

    ``keep`` is given what each pass leaves; ``evenly`` gives all classes as many particles until
    the resolution limit is reached.
    """
    particles, classes = progress.sorting.by_map.shape
    while len(progress.sorting.changed) < options.iterations:
        before = progress.sorting
        if _settled(options, before):
            break
        number = len(before.changed)
        resolution = pass_resolution(options.resolution_limit, number)
        seen = within(before, _seen(options, particles, classes, number))
        even = evenly and number < MARCH
        used = replace(step, priors=even_class_priors) if even else step
        after, _ = sorting_pass(seen, used, frame.rings_at(resolution))
        after = replace(after, folds=Folds(before.folds.index, after.folds.sums))
        shares = after.by_map[_looked_at(after)].mean(dim=0)
        if even and number == MARCH - 1:
            after = replace(
                after, state=replace(after.state, class_priors=shares.to(after.state.class_priors))
            )
        flow = progress.flow
        if number:
            met = _looked_at(before) & _looked_at(after)
            was, now = (s.by_map[met].argmax(dim=1).numpy() for s in (before, after))
            flow = [*flow, contingency(was, now, classes)]
        progress = Progress(after, flow)
        keep(progress)
        on_event(
            {
                "event": "classification",
                "stage": "classes",
                "iteration": number + 1,
                "at_most": options.iterations,
                "resolution": round(resolution, 2),
                "changed": after.changed[-1],
                "class_fractions": shares.tolist(),
                "log_likelihood": after.evidence,
            }
        )
    return progress


def first_progress(state: SearchState, folds: Folds, particles: int) -> Progress:
    """Where the sorting begins."""
    return Progress(unsorted(state, folds, particles), [])


def save_progress(checkpoint: Checkpoint, begun: SearchState, progress: Progress) -> None:
    """Write what a sorting needs to go on to the same bits: it, and the maps it began with."""
    sorting = progress.sorting
    sums = [part for part in sorting.folds.sums if part is not None]
    # A tensor that stays as it began is one and the same in both states: a file holds it twice.
    tensors = {
        "by_map": sorting.by_map,
        "log_evidence": sorting.log_evidence,
        **{name: tensor.clone() for name, tensor in state_tensors("begun", begun).items()},
        **state_tensors("state", sorting.state),
    }
    for number, part in enumerate(sums):
        tensors[f"fold{number}.data"] = torch.view_as_real(part.data)
        tensors[f"fold{number}.weight"] = part.weight
    record = {
        "padding": sums[0].padding,
        "folds": len(sums),
        "begun": state_scalars(begun),
        "state": state_scalars(sorting.state),
        "changed": sorting.changed,
        "flow": [table.tolist() for table in progress.flow],
    }
    checkpoint.write(tensors, record)


@dataclass(frozen=True)
class Saved:
    """A checkpoint read back: the maps that the sorting began with, and how far it came."""

    begun: SearchState
    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def progress(self, index: list[Int[Tensor, " b"]]) -> Progress:
        """The sorting of particles in these folds."""
        padding, tensors, device = self.record["padding"], self.tensors, self.begun.maps.device
        sums: list[Accumulator | None] = [
            Accumulator(
                torch.view_as_complex(tensors[f"fold{number}.data"]),
                tensors[f"fold{number}.weight"],
                padding,
            ).to(device)
            for number in range(self.record["folds"])
        ]
        state = state_from("state", tensors, self.record["state"], padding).to(device)
        sorting = Sorting(
            state,
            Folds(index, sums),
            tensors["by_map"],
            tensors["log_evidence"],
            self.record["changed"],
        )
        return Progress(sorting, [np.array(table) for table in self.record["flow"]])


def load_saved(checkpoint: Checkpoint, device: torch.device) -> Saved:
    """Read a checkpoint; the maps, and what they are made from, go to a device.

    Raises
    ------
    InputError
        As :meth:`vitreous.runs.checkpoint.Checkpoint.read`.
    """

    def build(tensors: dict[str, Tensor], record: dict[str, Any]) -> Saved:
        begun = state_from("begun", tensors, record["begun"], record["padding"]).to(device)
        return Saved(begun, tensors, record)

    return checkpoint.read(build)
