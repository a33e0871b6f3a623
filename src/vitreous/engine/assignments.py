"""What a search found of all particles: poses, classes and noise, for tables and records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.junk import noise_probability
from vitreous.engine.local_pass import PoseMatrices
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import Poses


@dataclass(frozen=True)
class ParticleAssignments:
    """Poses of all particles and the noise they leave.

    Attributes
    ----------
    angles : array (particles, 3)
        Rot, tilt, psi, degrees.
    origins : array (particles, 2)
        Angstrom.
    by_map : array (particles, classes)
        Posterior of each class.
    left_out : array (particles, kinds)
        Probabilities that the image is one of ``LEFT_OUT``.
    probability, log_evidence : arrays (particles,)
    noise : array (groups, rings)
    contrast : array (groups,)
        Of the optics groups' images beside each other.
    frequency : array (rings,)
        1/angstrom.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]
    by_map: Float[np.ndarray, "n k"]
    left_out: Float[np.ndarray, "n j"]
    probability: Float[np.ndarray, " n"]
    log_evidence: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, "g r"]
    contrast: Float[np.ndarray, " g"]
    frequency: Float[np.ndarray, " r"]

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """Class of each particle, from 1; the kinds left out come after the last map's."""
        kind = self.by_map.shape[1] + self.left_out.argmax(axis=1)
        return 1 + np.where(self.left_out.sum(axis=1) > 0.5, kind, self.by_map.argmax(axis=1))

    def belongs(self, number: int) -> Float[np.ndarray, " n"]:
        """Probability of a class, from 0, the kinds left out after the maps."""
        maps = self.by_map.shape[1]
        if number >= maps:
            return self.left_out[:, number - maps]
        kept = 1 - self.left_out.sum(axis=1)
        return np.clip(self.by_map[:, number] * kept, 0.0, 1.0)  # sums of rounded parts

    def put_into(
        self, others: ParticleAssignments, rows: Int[np.ndarray, " n"]
    ) -> ParticleAssignments:
        """What was found of more particles, with these in their rows, and the noise of these."""

        def placed(name: str) -> np.ndarray:
            values = getattr(others, name).copy()
            values[rows] = getattr(self, name)
            return values

        names = ("angles", "origins", "by_map", "left_out", "probability", "log_evidence")
        return replace(self, **{name: placed(name) for name in names})

    @property
    def noise_probability(self) -> Float[np.ndarray, " n"]:
        """That the image holds nothing."""
        return self.left_out[:, 0]

    @property
    def junk_probability(self) -> Float[np.ndarray, " n"]:
        """That it shows other density, or a fragment."""
        return self.left_out[:, 1:].sum(axis=1)


def assignments_at(
    posed: PoseMatrices,
    by_map: Float[Tensor, "n k"],
    probability: Float[Tensor, " n"],
    log_evidence: Float[Tensor, " n"],
    noise: Float[Tensor, "g r"],
    contrast: Float[Tensor, " g"],
    frame: Frame,
    unlike: Float[Tensor, "n j"] | None = None,
) -> ParticleAssignments:
    """What a search of all particles found, from the working frame's units.

    ``unlike`` are the probabilities of :func:`vitreous.engine.image_fit.unlike_others`.
    """
    noise_share = noise_probability(log_evidence)[:, None]
    others = torch.zeros(len(noise_share), 2) if unlike is None else unlike
    return ParticleAssignments(
        angles=matrix_to_euler(posed.matrices).numpy(),
        origins=(posed.origins * frame.pixel_size).double().numpy(),
        by_map=by_map.numpy(),
        left_out=torch.cat([noise_share, (1 - noise_share) * others], dim=1).numpy(),
        probability=probability.numpy(),
        log_evidence=log_evidence.numpy(),
        noise=noise.cpu().numpy(),
        contrast=contrast.cpu().numpy(),
        frequency=(frame.polar.radii() / frame.field).numpy(),
    )


def input_record(table: ParticleSet, grid: Grid) -> dict[str, Any]:
    """For result.json: what the particles are, and the grid of the maps that they are beside."""
    groups = [
        {**asdict(group), "particles": int((table.group == number).sum())}
        for number, group in enumerate(table.optics)
    ]
    return {
        "particles": str(table.path),
        "n_particles": len(table),
        "box": grid.box,
        "pixel_size": grid.pixel_size,
        "optics_groups": groups,
    }


def _class_posteriors(found: ParticleAssignments) -> dict[str, Float[np.ndarray, "n k"]]:
    """Field of particles.star that tells of each class, where there are several."""
    return {"class_posteriors": found.by_map} if found.by_map.shape[1] > 1 else {}


def _contrasts(
    table: ParticleSet, found: ParticleAssignments
) -> dict[str, Float[np.ndarray, " n"]]:
    """Field of particles.star with the contrast of its optics group, where there are several."""
    several = len(found.contrast) > 1
    return {"scale": found.contrast[table.group].astype(np.float64)} if several else {}


def posed_table(
    table: ParticleSet, found: ParticleAssignments, classes: Int[np.ndarray, " n"]
) -> ParticleSet:
    """Table with the poses and classes (from 1) of all particles, and what is known of them."""
    return table.without(ParticleSet.class_posterior).with_fields(
        **Poses(found.angles, found.origins).fields,
        class_number=classes,
        posterior=found.probability,
        log_likelihood=found.log_evidence,
        noise_posterior=found.noise_probability,
        junk_posterior=found.junk_probability,
        **_class_posteriors(found),
        **_contrasts(table, found),
    )


def noise_record(table: ParticleSet, found: ParticleAssignments) -> list[dict[str, Any]]:
    """For result.json: each optics group's noise as far as its pixels hold it, and contrast."""
    return [
        {
            "optics_group": group.number,
            "contrast": float(contrast),
            "frequency": found.frequency[held].tolist(),
            "sigma2": noise[held].tolist(),
        }
        for group, noise, contrast in zip(table.optics, found.noise, found.contrast, strict=True)
        for held in [found.frequency < 0.5 / group.pixel_size]
    ]
