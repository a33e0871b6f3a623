"""The Ewald sphere's curvature in a reconstruction: asked for, tried both ways, and told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.config.maps import ReconstructConfig
from vitreous.errors import OptionError
from vitreous.particles.optics import OpticsGroup
from vitreous.reconstruct.backproject import MapGrid
from vitreous.reconstruct.ewald import Curvature, matters_beyond
from vitreous.runs.options import flag

FLAT = "flat"
"""Name of the only trial where no curvature is asked for."""

_FILLED = 0.7
"""Share of the box that a particle is taken to fill where its diameter is not given."""

_WAYS = {"forward": (False,), "reverse": (True,), "both": (False, True)}


def check_curvature(config: ReconstructConfig) -> None:
    """Check the options on the sphere against each other and the rest.

    Raises
    ------
    OptionError
        For the first that cannot be used.
    """
    if not config.ewald:
        for name, default in (("curvature", "forward"), ("ewald_diameter", None)):
            if getattr(config, name) != default:
                raise OptionError(
                    "needs the Ewald sphere", where=flag(name), hint="give --ewald too"
                )
        return
    for refused, option in (
        (not config.ctf, "--no-ctf"),
        (config.ignore_ctf_until_first_peak, "--ignore-ctf-until-first-peak"),
    ):
        if refused:
            raise OptionError(
                "the sphere's two halves are told apart by the whole CTF",
                where=f"--ewald, {option}",
                hint="give one of them",
            )
    if config.curvature == "both" and (config.halves == "none" or config.subset is not None):
        raise OptionError(
            "only two half-maps tell which way is better",
            where="--curvature",
            hint="reconstruct halves, or give forward or reverse",
        )
    diameter = config.ewald_diameter
    if diameter is not None and not (math.isfinite(diameter) and diameter > 0):
        raise OptionError(
            f"{diameter:g}, expected more than 0", where="--ewald-diameter", hint="give angstroms"
        )


def trials(config: ReconstructConfig, grid: MapGrid) -> dict[str, Curvature | None]:
    """Reconstructions to be made, by name."""
    if not config.ewald:
        return {FLAT: None}
    thickness = config.ewald_diameter or config.mask_diameter or _FILLED * grid.width
    ways = (Curvature(thickness, reverse) for reverse in _WAYS[config.curvature])
    return {"reverse" if way.reverse else "forward": way for way in ways}


def mean_fsc(curve: Float[np.ndarray, " s"]) -> float:
    """Mean of an FSC over the voxels of Fourier space, whose number grows as k^2."""
    return float(np.average(curve, weights=np.arange(len(curve)) ** 2.0))


def sphere_told(
    way: Curvature | None,
    optics: Sequence[OpticsGroup],
    by_trial: dict[str, dict[str, Any]],
    grid: MapGrid,
) -> tuple[dict[str, Any] | None, list[str]]:
    """Entry of ``result.json`` on the sphere, and warnings.

    Parameters
    ----------
    way : Curvature or None
        That of the map kept.
    optics : sequence of OpticsGroup
    by_trial : dict
        What was judged of each trial's halves; empty without halves.
    grid : MapGrid
        Of the maps: nothing counts beyond its radius.
    """
    if way is None:
        return None, []
    limit = max(matters_beyond(way.thickness, group.voltage) for group in optics)
    record = {
        "diameter": way.thickness,
        "curvature": "reverse" if way.reverse else "forward",
        "matters_beyond": limit,
        "mean_fsc": {name: judged["mean_fsc"] for name, judged in by_trial.items()},
    }
    found = [judged["resolution_0143"] or math.inf for judged in by_trial.values()]
    end = max(min(found, default=0.0), grid.width / grid.radius)
    if end <= limit:
        return record, []
    return record, [
        f"The maps end at {end:.2f} A, but in a particle of {way.thickness:.0f} A the "
        f"Ewald sphere's curvature is felt beyond {limit:.2f} A: it changes little here, and "
        "which way it goes cannot be told."
    ]
