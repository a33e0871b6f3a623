"""Poses between the lattice's points: each particle's likelihood climbed to its top."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.planes import PlaneImages
from vitreous.engine.searches.continuous import differentiable, gauss_newton
from vitreous.engine.shards import placed
from vitreous.imaging.project import shift_phase
from vitreous.ops.threads import side_by_side, workers_on

_SAMPLES = 400_000
"""Samples of slices that a worker holds at once; each has five derivatives."""


def continuous_poses(
    volume: Float[Tensor, "n n n"],
    images: PlaneImages,
    index: Int[Tensor, " b"],
    posed: PoseMatrices,
    noise: Float[Tensor, "g shells"],
    shells: int,
) -> PoseMatrices:
    """Poses of greatest likelihood near the present ones, in the order of the particles given.

    Parameters
    ----------
    volume : tensor (n, n, n)
        Reference.
    images : PlaneImages
    index : integer tensor (particles,)
        Rows of ``images``.
    posed : PoseMatrices
        Of these particles; working pixels.
    noise : tensor (groups, shells)
        Expected noise power at a frequency.
    shells : int
        Shells used.
    """
    box, plane = volume.shape[-1], images.plane.inner(shells)
    reference = differentiable(volume, shells + 1)
    start, size = posed.to(volume.device), max(1, _SAMPLES // len(plane.points))
    batches = images.shards.batches(index, images.group[index], size)
    workers = max(1, min(workers_on(volume.device), len(batches)))

    def work(worker: int) -> list[tuple[Tensor, PoseMatrices]]:
        found = []
        for batch in batches[worker::workers]:
            samples, ctf = images.at(index[batch.member], plane)
            present = start.at(batch.member)
            matrices, shifts = gauss_newton(
                reference,
                plane.points,
                2 / plane.per_sample(noise[batch.group]),  # both Friedel halves
                samples * shift_phase(plane.points, present.origins, box),
                ctf,
                present.matrices,
                box,
            )
            found.append((batch.member, PoseMatrices(matrices, present.origins + shifts)))
        return found

    found = [place for part in side_by_side(work, workers) for place in part]
    blank = PoseMatrices(posed.matrices.clone(), posed.origins.clone())
    return placed(images.shards, index, found, blank)
