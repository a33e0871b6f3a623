"""Whether the particles are seen from all sides."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def main_axis_share(rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"]) -> float:
    """Mean squared cosine between the viewing directions and the axis that they gather round.

    One third for even views, one half for side views only (which still show everything), one for
    a single view: the greatest eigenvalue of the scatter matrix, Bingham, Ann. Stat. 2, 1201
    (1974).  Angles in degrees.
    """
    rot, tilt = np.radians(rot), np.radians(tilt)
    direction = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)])
    return float(np.linalg.eigvalsh(direction @ direction.T / len(rot))[-1])
