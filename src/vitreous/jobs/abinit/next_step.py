"""What to do next after a search whose map is not to be believed yet, with the whole command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.particles import CheckConfig
from vitreous.config.refine import RefineConfig
from vitreous.math.group_names import is_polyhedral
from vitreous.runs.command import beside, command_of
from vitreous.runs.options import AUTO
from vitreous.schedules.abinit.verdict import OF_SHAPE, Doubt, Judgement
from vitreous.validate.verdict import NextStep

_HAND_SEEN = 10.0
"""Resolution in angstrom that density of T, O or I needs to show its hand."""

_FINER = 2 / 3
"""Final resolution of the next search over that of one whose map was its own mirror image."""

_MORE_STARTS, _LARGE_BATCHES = 16, (500, 1500)
"""Starts, and first and last mini-batch, of the next search after one that found nothing."""


@dataclass(frozen=True)
class Ending:
    """How a search ended, as far as what to do next depends on it.

    Attributes
    ----------
    config : AbinitConfig
    stack : Path
        Of the particles' images, the first of several.
    finest : float
        Nyquist resolution of the images, angstrom.
    particles : int
    proposed : str or None
        Point group whose axes stand out in a map made without it.
    evidence : float
        That speaks for it.
    refuted : bool
        Whether a search under that group was made already, and did not bear it out.
    """

    config: AbinitConfig
    stack: Path
    finest: float
    particles: int
    proposed: str | None = None
    evidence: float = 0.0
    refuted: bool = False

    @property
    def free(self) -> bool:
        """Whether no symmetry was imposed."""
        return self.config.symmetry.upper() in ("C1", AUTO.upper())


def resolution_under(group: str, asked: float, finest: float) -> float:
    """Final resolution in angstrom that a search under a point group needs to show the hand."""
    return max(finest, min(asked, _HAND_SEEN)) if is_polyhedral(group) else asked


def _again(ending: Ending, advice: str, named: str, **changes: Any) -> NextStep:
    """The search made again with other options, in a folder named after what is changed."""
    out = beside(ending.config.out, named)
    return NextStep(advice, command_of("abinit", ending.config, out=out, **changes), changes)


def _under(ending: Ending, group: str) -> NextStep:
    """Search again under a group that the map suggests."""
    finest = resolution_under(group, ending.config.ends_at, ending.finest)
    return _again(
        ending,
        f"The axes of {group} stand out in this map, which was made without them (evidence "
        f"{ending.evidence:.0f}, by chance at most 15): search under {group}. If the particle has "
        "this symmetry, that search will be solved.",
        named=group,
        symmetry=group,
        final_resolution=finest,
    )


def _own_mirror(ending: Ending) -> NextStep:
    config = ending.config
    finer = max(ending.finest, round(_FINER * config.ends_at, 1))
    if is_polyhedral(config.symmetry) and config.ends_at > _HAND_SEEN > ending.finest:
        return _again(
            ending,
            f"Density of {config.symmetry} shows no hand before about 12 A: search to "
            f"{_HAND_SEEN:g} A.",
            named="finer",
            final_resolution=_HAND_SEEN,
        )
    if finer < config.ends_at:
        return _again(
            ending,
            "Search to a finer resolution, where a right map shows its hand. If the particle has "
            "a point group, impose it with --symmetry as well.",
            named="finer",
            final_resolution=finer,
        )
    return _more_starts(ending)


def _more_starts(ending: Ending) -> NextStep:
    config = ending.config
    advice = "Make more starts"
    if ending.free:
        advice += "; if the particle has a point group, impose it with --symmetry"
    if is_polyhedral(config.symmetry) and config.ends_at > _HAND_SEEN > ending.finest:
        return _again(
            ending,
            f"False solutions under {config.symmetry} are told from true ones at {_HAND_SEEN:g} A "
            "only: search to there.",
            named="finer",
            final_resolution=_HAND_SEEN,
        )
    if not isinstance(config.starts, int) or config.starts < _MORE_STARTS:
        return _again(ending, f"{advice}.", named="more_starts", starts=_MORE_STARTS)
    return _larger_batches(ending)


def _larger_batches(ending: Ending) -> NextStep:
    first, last = (min(batch, ending.particles) for batch in _LARGE_BATCHES)
    if (ending.config.initial_batch or 0) >= first and (ending.config.final_batch or 0) >= last:
        return _check(ending)
    return _again(
        ending,
        "The particles show too little for small mini-batches: try larger ones. Failing that, use "
        "larger or better particles, or a known map as the reference of vitreous refine.",
        named="large_batches",
        initial_batch=first,
        final_batch=last,
    )


def _several_starts(ending: Ending) -> NextStep:
    return _again(
        ending,
        "Make several starts: a map that comes out alike each time is a map to believe.",
        named="starts",
        starts=AUTO,
    )


def _invert(ending: Ending) -> NextStep:
    stack = ending.stack
    written = stack.with_name(f"{stack.stem}_inverted.mrcs")
    return NextStep(
        "Invert the images, so that particles are brighter than what is round them, name the new "
        "stack in the STAR file and search again.",
        f"relion_image_handler --i {shlex.quote(str(stack))} --o {shlex.quote(str(written))} "
        "--multiply_constant -1",
    )


def _check(ending: Ending) -> NextStep:
    return NextStep(
        "Look at the particles: whether they were picked, extracted and centred as meant. If they "
        "were, more or better ones are needed, or a known map as the reference of vitreous refine.",
        command_of("check", CheckConfig(ending.config.source)),
    )


def _classify(ending: Ending) -> NextStep:
    config = ending.config
    maps = tuple(config.out / f"class{n:03d}.mrc" for n in range(1, config.classes + 1))
    options = Classify3dConfig(
        config.particles,
        classes2d=config.classes2d,
        reference=maps,
        out=beside(config.out, "classified"),
        symmetry=config.symmetry,
    )
    return NextStep(
        "Sort the particles among these maps, which tells classes apart by finer detail. Fewer "
        "classes may be all that the particles hold.",
        command_of("classify3d", options),
    )


def _refine(ending: Ending) -> NextStep:
    config = ending.config
    options = RefineConfig(
        config.out / "particles.star",
        reference=config.out / "class001.mrc",
        out=beside(config.out, "refined"),
        symmetry="C1" if ending.free else config.symmetry,
    )
    return NextStep(
        "Refine the map from two halves of the particles that never meet: how far these agree "
        "tells whether the poses hold.",
        command_of("refine", options),
    )


_STEPS: Mapping[Doubt, Callable[[Ending], NextStep]] = {
    "inverted": _invert,
    "no density": _check,
    "one start": _several_starts,
    "collapsed": _larger_batches,
    "starts disagree": _more_starts,
    "few starts agree": _more_starts,
    "own mirror image": _own_mirror,
    "classes differ": _classify,
    "poses differ": _refine,
}


def next_step(doubt: Doubt, ending: Ending) -> NextStep:
    """What to do next about a doubt."""
    if doubt in OF_SHAPE and ending.free and ending.proposed and not ending.refuted:
        return _under(ending, ending.proposed)
    return _STEPS[doubt](ending)


def with_next_step(judgement: Judgement, ending: Ending) -> Judgement:
    """The verdict, and what to do next where it is not solved."""
    if judgement.doubt is None:
        return judgement
    return replace(judgement, next_step=next_step(judgement.doubt, ending))
