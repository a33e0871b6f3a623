"""What a 2D classification leaves behind: averages, particles.star, RELION's files, result.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitreous.engine.assignments import input_record
from vitreous.engine.junk import effective_classes
from vitreous.io.mrc import stack_writer
from vitreous.jobs.class2d.context import RunContext
from vitreous.math.fourier import resample
from vitreous.particles.files import write_particles
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import Poses
from vitreous.particles.relion.model import AverageRow, write_class_model
from vitreous.particles.selection import MOST_JUNK, junk_posterior
from vitreous.schedules.class2d.context import Class2dContext
from vitreous.schedules.class2d.finish import Classified
from vitreous.schedules.class2d.measures import alike, measured, resolution_of
from vitreous.schedules.class2d.rejected import sorted_again
from vitreous.schedules.class2d.starved import STARVED
from vitreous.schedules.class2d.state import ClassState
from vitreous.validate.class_average import AverageJudgement, judge

AVERAGES, PARTICLES = "class_averages.mrcs", "particles.star"

_NOISE = 0.5
"""Nats by which averages must explain particles that they have not seen."""

_NEAR_DUPLICATE = 0.9
"""Likeness from which two averages show the same view."""


@dataclass(frozen=True)
class Class2d:
    """What a 2D classification found, the best class first.

    Attributes
    ----------
    averages : tensor (classes, box, box)
        On the particles' grid.
    grid : Grid
    table : ParticleSet
        With the particles' classes, in-plane poses and the posteriors of their classes.
    judgements : list of AverageJudgement
        Of each class.
    record : dict
        For result.json.
    """

    averages: Float[Tensor, "k b b"]
    grid: Grid
    table: ParticleSet
    judgements: list[AverageJudgement]
    record: dict[str, Any]

    @property
    def kept(self) -> Bool[np.ndarray, " n"]:
        """Which particles are in classes that are not rejected, and like the others there."""
        good = np.array([one.decision != "reject" for one in self.judgements])
        found = good[class_numbers_of(self.table) - 1]
        return np.asarray(found & (junk_posterior(self.table) <= MOST_JUNK))


def class_numbers_of(table: ParticleSet) -> Int[np.ndarray, " n"]:
    """Class of each particle, from 1."""
    return table.required(ParticleSet.class_number, "give particles that were classified")


def _ranked(judgements: Sequence[AverageJudgement]) -> list[int]:
    """Classes in the order that they are written in: by decision, then score, then size."""
    first = {"keep": 0, "doubtful": 1, "reject": 2}

    def place(number: int) -> tuple[int, float, int]:
        one = judgements[number]
        return first[one.decision], -round(one.score, 3), -one.measures.particles

    return sorted(range(len(judgements)), key=place)


def _posed(
    context: RunContext, found: Classified, order: Int[Tensor, " k"], unlike: Float[Tensor, " n"]
) -> ParticleSet:
    """The particles with their classes, as they are written, and their poses."""
    number, psi = order.argsort()[found.found.number], torch.rad2deg(found.psi).double().numpy()
    angles = np.stack([np.zeros_like(psi), np.zeros_like(psi), (psi + 180) % 360 - 180], axis=1)
    origins = (found.origins * context.frame.pixel_size).double().numpy()
    several = len(found.scale) > 1
    scale = {"scale": found.scale.double().numpy()[context.table.group]} if several else {}
    return context.table.without(ParticleSet.class_posteriors).with_fields(
        **Poses(angles, origins).fields,
        class_number=1 + number.numpy(),
        posterior=found.found.probability.double().numpy(),
        class_posterior=found.found.class_probability.double().numpy(),
        junk_posterior=unlike.double().numpy(),
        log_likelihood=found.found.log_evidence.double().numpy(),
        **scale,
    )


def _class_records(
    judgements: Sequence[AverageJudgement],
    found: Classified,
    pairs: Float[Tensor, "k k"],
    order: Int[Tensor, " k"],
    limits: list[float | None],
) -> list[dict[str, Any]]:
    """An entry for each class, in the order that they are written in."""
    total = len(found.found.number)
    like = pairs[order][:, order]
    records = []
    for place, old in enumerate(order.tolist()):
        one, member = judgements[old], found.found.number == old
        measures = {n: v for n, v in asdict(one.measures).items() if n != "number"}
        near = torch.nonzero(like[place] > _NEAR_DUPLICATE)[:, 0]
        posteriors = found.found.class_probability[member], found.found.probability[member]
        confidence, posterior = (float(p.mean()) if len(p) else None for p in posteriors)
        records.append(
            {
                "class": place + 1,
                "label": one.kind,
                "decision": one.decision,
                "reason": one.reason,
                "score": one.score,
                "average": f"{place + 1:06d}@{AVERAGES}",
                "fraction": int(member.sum()) / total,
                "confidence": confidence,
                "mean_max_posterior": posterior,
                **measures,
                "particles": int(member.sum()),
                "resolution_0143": limits[old],
                "most_like": int(like[place].argmax()) + 1,
                "near_duplicates": (near + 1).tolist(),
                "fsc": found.fsc[old].tolist(),
            }
        )
    return records


def _findings(context: RunContext, found: Classified, record: dict[str, Any]) -> list[str]:
    """Warnings on what was found."""
    told = []
    if record["held_out_evidence"] is not None and record["held_out_evidence"] < _NOISE:
        told.append(
            "The images hold nothing that class averages explain better than an empty one does: "
            "look at the picks, the contrast (vitreous check) and the mask diameter."
        )
    if not any(entry["decision"] != "reject" for entry in record["classes"]):
        told.append("No class is worth keeping.")
    if record["unlike_others"]:
        told.append(
            f"{record['unlike_others']} particles in good classes show density that their averages "
            "do not, as two particles in one image do: vitreous select --auto leaves them out."
        )
    if record["from_rejected"]:
        told.append(
            f"{record['from_rejected']} particles of rejected classes fit good ones as well as the "
            "particles there do, and are counted with these."
        )
    reach = context.options.offset_range * context.frame.grid.pixel_size
    far = float(
        (found.origins.norm(dim=1) * context.frame.pixel_size > 0.95 * reach).float().mean()
    )
    if context.options.align and far > 0.1:
        told.append(
            f"{far:.0%} of the particles lie at the edge of the offset range ({reach:.0f} A): "
            "widen it with --offset-range, or centre the picks."
        )
    return told


def gathered(
    context: RunContext, loaded: Class2dContext, state: ClassState, found: Classified
) -> Class2d:
    """What was found, the classes judged and the best first."""
    frame, options, classes = context.frame, context.options, len(found.images)
    pairs = alike(loaded, found)
    held_out = float(found.held_out.mean()) if len(found.held_out) else None
    judgements = judge(
        measured(loaded, found, pairs), nothing=held_out is not None and held_out < _NOISE
    )
    good = torch.tensor([one.decision != "reject" for one in judgements])
    sizes = np.bincount(found.found.number.numpy(), minlength=classes)
    again = sorted_again(loaded, state, found, good)
    found, unlike = again.found, again.unlike
    order = torch.tensor(_ranked(judgements))
    record: dict[str, Any] = {
        "seed": options.seed,
        "device": str(context.device),
        "input": input_record(context.table, frame.grid),
        "classes": _class_records(
            judgements, found, pairs, order, resolution_of(found.fsc, 0.143, frame)
        ),
        "effective_classes": effective_classes(sizes / sizes.sum()),
        "starved": int((sizes < STARVED * sizes.mean()).sum()),
        "begun_anew": state.begun_anew,
        "unlike_others": int((unlike > MOST_JUNK).sum()),
        "from_rejected": again.moved,
        "class_sizes": [[row[old] for old in order.tolist()] for row in state.sizes],
        "held_out_particles": len(found.held_out),
        "held_out_evidence": held_out,
        "frequency": (frame.polar.radii() / frame.field)[: found.fsc.shape[1]].tolist(),
        "noise": found.noise.tolist(),
        "contrast": found.scale.tolist(),
        "mask_diameter": context.mask_diameter,
        "tau2_fudge": options.tau2_fudge,
        "resolution_limit": options.resolution_limit,
        "preflight": context.preflight,
    }
    record["warnings"] = [*context.warnings, *_findings(context, found, record)]
    box = frame.grid.box
    averages = resample(found.images[order], box, 2)
    judged = [judgements[old] for old in order.tolist()]
    return Class2d(averages, frame.grid, _posed(context, found, order, unlike), judged, record)


def write_class2d(folder: Path, out: Path, found: Class2d, write_as: str) -> None:
    """Write averages, particles and RELION's model.star.

    Parameters
    ----------
    folder : Path
        Where to write.
    out : Path
        The folder as it will be called: RELION finds the averages there.
    write_as : str
        What --write asks for.
    """
    box, pixel_size = found.grid.box, found.grid.pixel_size
    with stack_writer(folder / AVERAGES, box, len(found.averages), pixel_size) as file:
        file.append(found.averages.numpy())
    write_particles(folder / PARTICLES, found.table, write=write_as)
    # RELION's Subset selection looks for the particles by the model's name.
    write_particles(folder / "run_data.star", found.table)
    rows = [
        AverageRow(f"{entry['class']:06d}@{out / AVERAGES}", entry["fraction"], entry["resolution"])
        for entry in found.record["classes"]
    ]
    fudge = found.record["tau2_fudge"]
    write_class_model(folder / "run_model.star", rows, found.grid, fudge)
