"""Stacks as a user has them."""

from __future__ import annotations

from pathlib import Path

from vitreous.io.star import read_star, write_star


def without_poses(star: Path) -> Path:
    """Write a simulated table without its true angles and origins, which searches begin from."""
    blocks = read_star(star)
    frame = blocks["particles"].frame
    known = [name for name in frame.columns if name.startswith(("rlnAngle", "rlnOrigin"))]
    blocks["particles"] = blocks["particles"].with_frame(frame.drop(known))
    target = star.with_name("unposed.star")
    write_star(target, blocks.values())
    return target
