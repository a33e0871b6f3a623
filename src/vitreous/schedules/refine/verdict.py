"""Whether to believe a refined map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vitreous.config.abinit import AbinitConfig
from vitreous.config.particles import CheckConfig
from vitreous.config.refine import RefineConfig
from vitreous.runs.command import beside, command_of
from vitreous.schedules.refine.choice import SURE, Start
from vitreous.validate.verdict import NextStep, Verdict, Word

Doubt = Literal[
    "noise",
    "no agreement",
    "ball",
    "less evidence than at the start",
    "shared density",
    "own mirror image",
    "not settled",
]
"""What keeps a map from being called solved."""

_ROUND = 0.98
"""Share of a map's variance that its rotational average holds, from which it is a ball."""

_NO_HAND, _NO_HAND_POLYHEDRAL = 0.9, 0.45
"""Likeness to the mirror image from which a map has no hand; under T, O or I, where coarse density
shows none and false solutions have none at all, more is asked."""


@dataclass(frozen=True)
class Gain:
    """How much better the last maps fit than those of the best trial at the start.

    Attributes
    ----------
    start : Start
        Of that trial.
    mean, error : float
        Log-evidence an image, on the same images, and its standard error.
    """

    start: Start
    mean: float
    error: float

    @property
    def lost(self) -> bool:
        """Whether the search surely ended worse than that trial."""
        return self.mean < -SURE * self.error


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on.

    Attributes
    ----------
    log_evidence : float or None
        Mean log-likelihood of an image over all poses, over that of noise alone; None where only a
        part of the map is refined, which may be too small to be seen in one image.
    resolution : float or None
        Angstrom that the halves agree to, or may claim.
    beyond_shared : bool
        They agree well beyond what they share.
    gain : Gain or None
        Of the last maps over those of the best trial at the start; None without trials.
    roundness : float
        Share of the map's variance that its rotational average holds.
    likeness_to_mirror : float
        Share of the map's signal that its mirror image has, too, over the finer shells.
    polyhedral : bool
        The symmetry is T, O or I.
    posterior_of_best : float
        Mean posterior of the particles' best poses.
    settled : bool
    """

    log_evidence: float | None
    resolution: float | None
    beyond_shared: bool
    gain: Gain | None
    roundness: float
    likeness_to_mirror: float
    polyhedral: bool
    posterior_of_best: float
    settled: bool


@dataclass(frozen=True, kw_only=True)
class Judgement(Verdict):
    """The verdict of a refinement, and what it rests on.

    Attributes
    ----------
    evidence : Evidence
    doubt : str or None
        What keeps the map from being called solved.
    """

    evidence: Evidence
    doubt: Doubt | None

    def record(self) -> dict[str, Any]:
        """For result.json."""
        return {**super().record(), "doubt": self.doubt, "evidence": asdict(self.evidence)}


def judge(evidence: Evidence, config: RefineConfig) -> Judgement:
    """Solved, ambiguous or failed, and what to do next.

    Solved takes images that are likelier views of the map than noise; halves that agree beyond what
    they share; no less evidence than the best start had; a map that has a hand and is no ball; and
    passes that had settled.
    """
    word, doubt, sentence = _judged(evidence)
    step = None if doubt is None else _next_step(doubt, evidence, config)
    return Judgement(word, sentence, step, evidence=evidence, doubt=doubt)


def _judged(evidence: Evidence) -> tuple[Word, Doubt | None, str]:
    found = evidence.log_evidence
    if found is not None and found < 0:
        report_pass = (
            f"The images are likelier to be noise than views of this map ({found:.1f} an image)."
        )
        return "failed", "noise", report_pass
    resolution = evidence.resolution
    if resolution is None:
        return "failed", "no agreement", "The two halves agree on nothing."
    if evidence.roundness >= _ROUND:
        return "failed", "ball", "The map is a ball without features."
    gain = evidence.gain
    if gain is not None and gain.lost:
        report_pass = (
            f"The search ended with less evidence than a sample had {gain.start}: "
            f"{-gain.mean:.1f} an image less on the same images."
        )
        return "ambiguous", "less evidence than at the start", report_pass
    agreed = f"The halves agree to {resolution:.1f} A"
    if not evidence.beyond_shared:
        return "ambiguous", "shared density", f"{agreed}, which is no finer than what they share."
    if evidence.likeness_to_mirror >= (_NO_HAND_POLYHEDRAL if evidence.polyhedral else _NO_HAND):
        return (
            "ambiguous",
            "own mirror image",
            f"{agreed}, but the map is too like its mirror image, which has "
            f"{evidence.likeness_to_mirror:.0%} of its finer signal: it may be a false solution, "
            "or too coarse to have a hand.",
        )
    if not evidence.settled:
        return "ambiguous", "not settled", f"{agreed}, but the passes had not settled."
    seen = "" if found is None else f", the images show it ({found:.1f} over noise an image)"
    return "solved", None, f"{agreed}, beyond what they share{seen}, and the map has a hand."


def _next_step(doubt: Doubt, evidence: Evidence, config: RefineConfig) -> NextStep:
    """What to do about a doubt, with its command."""
    if doubt in ("noise", "no agreement"):
        return NextStep(
            "Check the particles first: contrast, pixel size and CTF; then reference and mask.",
            command_of("check", CheckConfig(config.source)),
        )
    if doubt in ("ball", "own mirror image"):
        anew = AbinitConfig(
            config.particles,
            classes2d=config.classes2d,
            out=beside(config.out, "abinit"),
            symmetry=config.symmetry,
            final_resolution=10.0,
        )
        return NextStep(
            "Make maps anew from several random starts to a finer resolution, and refine the one "
            "that they agree on, with its particles.",
            command_of("abinit", anew),
        )
    if doubt == "not settled":
        longer = command_of("refine", config, iterations=2 * config.iterations)
        return NextStep("Let it go on with more passes.", f"{longer} --resume")
    if doubt == "shared density":
        apart = {"out": beside(config.out, "apart"), "lowpass": 60.0, "join_halves": 60.0}
        return NextStep(
            "Let the halves share less: what they agree on is then their own.",
            command_of("refine", config, **apart),
        )
    start = None if evidence.gain is None else evidence.gain.start
    if start is not None and not start.posed:
        again = {"out": beside(config.out, "again"), "lowpass": start.lowpass, "ignore_poses": True}
        return NextStep(
            "Search again from the start that fitted better.",
            command_of("refine", config, **again),
        )
    local = {"out": beside(config.out, "local"), "local_search": 3.75, "ignore_poses": False}
    return NextStep(
        "Search round the particles' own poses only.", command_of("refine", config, **local)
    )
