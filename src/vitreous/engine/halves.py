"""Passes over two halves of the particles, each searched with its own map.

A half's sums are solved as soon as it is searched: its map takes a thirtieth of their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.loop import Iteration, run_through
from vitreous.engine.model import Residuals
from vitreous.engine.pass_result import PassResult
from vitreous.engine.searches.local import LocalPoseEstimates
from vitreous.engine.searches.per_image import rows_put
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.ops.host_memory import give_back_freed_blocks
from vitreous.reconstruct.solve import solve


@dataclass(frozen=True)
class HalfFound:
    """What a search found of the particles of one half.

    Attributes
    ----------
    result : PassResult
    posed : PoseMatrices
    scale : tensor (particles,), optional
        Their contrasts, where each has its own.
    """

    result: PassResult[PoseEstimates] | PassResult[LocalPoseEstimates]
    posed: PoseMatrices
    scale: Float[Tensor, " m"] | None = None


@dataclass(frozen=True)
class SearchedHalves:
    """The particles of both halves as far as a pass has come.

    Attributes
    ----------
    posed : PoseMatrices
        Of all particles, working pixels.
    probability, log_evidence : tensors (particles,)
        Posterior of the best place, and the image's fit.
    scale : tensor (particles,)
        Of the particles' contrast.
    residuals : tuple of Residuals
        Of each half that was searched, and
    maps : tuple of tensors (n, n, n)
        its least-squares map.
    """

    posed: PoseMatrices
    probability: Float[Tensor, " n"]
    log_evidence: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    residuals: tuple[Residuals, ...] = ()
    maps: tuple[Float[Tensor, "n n n"], ...] = ()

    @property
    def unfiltered(self) -> Float[Tensor, "2 n n n"]:
        """Maps of both halves."""
        return torch.stack(self.maps)

    def after(
        self, index: Int[Tensor, " m"], found: HalfFound, half_map: Float[Tensor, "n n n"]
    ) -> SearchedHalves:
        """The same after one half more."""
        best, scale = found.result.best, self.scale
        return SearchedHalves(
            self.posed.replaced(index, found.posed),
            rows_put(self.probability, index, best.probability),
            rows_put(self.log_evidence, index, best.log_evidence),
            scale if found.scale is None else rows_put(scale, index, found.scale),
            (*self.residuals, replace(found.result, sums=None)),
            (*self.maps, half_map),
        )


def halves_pass(
    begun: SearchedHalves,
    halves: Sequence[Int[Tensor, " m"]],
    search: Callable[[int, Int[Tensor, " m"]], HalfFound],
    frame: Frame,
) -> SearchedHalves:
    """Search both halves once, and make a map of each.

    Parameters
    ----------
    begun : SearchedHalves
        Before the pass.
    halves : sequence of integer tensors
        Particles of each.
    search : callable
        Of a half, by its number, and its particles; with the sums of the M-step.
    frame : Frame
        Of the maps.
    """

    def expectation(at: SearchedHalves, half: int, index: Int[Tensor, " m"]) -> HalfFound:
        give_back_freed_blocks()  # the sums need it
        return search(half, index)

    def maximisation(
        at: SearchedHalves, half: int, index: Int[Tensor, " m"], found: HalfFound
    ) -> SearchedHalves:
        assert found.result.sums is not None
        give_back_freed_blocks()  # what the search freed is not what the solver asks for
        half_map = solve(found.result.sums, None, frame.box, frame.polar.rings)[0]
        return at.after(index, found, half_map)

    return run_through(begun, halves, Iteration(expectation, maximisation))
