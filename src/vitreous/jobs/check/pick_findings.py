"""Particles that are there twice, picks too near each other, views."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from vitreous.jobs.check.finding import Finding
from vitreous.jobs.check.sample import Glance
from vitreous.particles.groups import image_numbers
from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import ANGLES
from vitreous.particles.selection import codes
from vitreous.validate.particles.duplicates import nearest, repeats
from vitreous.validate.particles.views import main_axis_share

_APART = "remove the repeated rows: halves that share particles do not check each other"

_NEAR = 0.5
"""Diameters: picks nearer each other are one particle, or none."""

_FEW = 0.02
"""Share of such picks that is no more than a note."""

_CROWDED = 0.1
"""Share of the particles with a neighbour nearer than a diameter that is worth a note."""

_ONE_SIDED, _ENOUGH = 0.55, 100
"""Mean squared cosine to the main axis of views, beyond side views only, and views to tell it."""


def _copied_rows(table: ParticleSet, image: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Rows that show the same image in the same orientation as a row before: that row, this one.

    Rows in another orientation are no copies: a symmetry expansion makes them.
    """
    angles = [table.if_sound(field) for field in ANGLES]
    told = [column.tolist() for column in angles if column is not None]
    return repeats(list(zip(image.tolist(), *told, strict=True)))


def duplicate_findings(table: ParticleSet, seen: Glance) -> Iterator[Finding]:
    """Rows with the same image, and images with the same pixels."""
    images = image_numbers(table)
    again, copies = repeats(images.tolist()), _copied_rows(table, images)
    if copies:
        count = "remove the repeated rows: their images count twice"
        yield _twice(table, "same-image-twice", "Images in the table twice", copies, count)
    if len(again) > len(copies):
        yield Finding(
            "note",
            "several-views-of-image",
            "Images in several orientations",
            f"{len(again) - len(copies)} of {len(table)} rows show an image that another row shows "
            "in another orientation, as after a symmetry expansion.",
            "keep them if that is meant: halves are dealt by image, and no image is in both",
        )
    known = {row for _, row in again}
    alive = [place for place in np.flatnonzero(~seen.dead) if int(seen.rows[place]) not in known]
    pairs = repeats([seen.digests[place] for place in alive])
    same_pixels = [(int(seen.rows[alive[a]]), int(seen.rows[alive[b]])) for a, b in pairs]
    if same_pixels:
        yield _twice(table, "same-pixels-twice", "Images with the same pixels", same_pixels, _APART)


def _twice(
    table: ParticleSet, code: str, what: str, pairs: list[tuple[int, int]], hint: str
) -> Finding:
    before, row = pairs[0]
    return Finding(
        "warning",
        code,
        what,
        f"{len(pairs)} of {len(table)} rows repeat another; the first is {table.row_name(row)}, "
        f"the same as row {before + 1}.",
        hint,
    )


def positions_of(table: ParticleSet) -> Float[np.ndarray, "n 2"] | None:
    """Coordinates (x, y) in pixels of the micrographs; None without them."""
    x, y = table.if_sound(ParticleSet.x), table.if_sound(ParticleSet.y)
    if x is None or y is None or not table.has(ParticleSet.micrograph):
        return None
    return np.column_stack([x, y])


def distance_findings(table: ParticleSet, diameter: float | None) -> Iterator[Finding]:
    """Picks nearer each other than particles of a diameter (angstrom, if known) can be."""
    positions = positions_of(table)
    if positions is None or diameter is None:
        return
    # Of an image that is listed in several orientations, one is enough.
    listed = np.sort(np.unique(image_numbers(table), return_index=True)[1])
    pixels, micrograph = coordinate_pixels(table), codes(table, ParticleSet.micrograph)
    places = positions * pixels.sizes[:, None]
    distance, other = nearest(places[listed], micrograph[listed])
    near, crowded = distance < _NEAR * diameter, distance < diameter
    if near.any():
        first = int(near.argmax())
        yield Finding(
            "warning" if near.mean() > _FEW else "note",
            "picks-too-near",
            "Picks too near each other",
            f"{near.sum()} of {len(listed)} are nearer than half a diameter ({diameter / 2:.0f} A) "
            f"to another on their micrograph; the first is row {listed[first] + 1}, "
            f"{distance[first]:.0f} A from row {listed[other[first]] + 1} ({pixels.words}).",
            "keep one of each pair: they show the same particle, or none",
        )
    if crowded.mean() > _CROWDED:
        yield Finding(
            "note",
            "crowded",
            "Crowded micrographs",
            f"{crowded.mean():.0%} of the particles have a neighbour nearer than a diameter "
            f"({diameter:.0f} A).",
            "keep the mask tight: neighbours reach into the box",
        )


def view_findings(table: ParticleSet) -> Iterator[Finding]:
    """Whether the angles of a former refinement, if there are any, gather round one axis."""
    rot, tilt = table.if_sound(ParticleSet.rot), table.if_sound(ParticleSet.tilt)
    if rot is None or tilt is None or len(table) < _ENOUGH or np.ptp(tilt) == 0:
        return
    share = main_axis_share(rot, tilt)
    if share > _ONE_SIDED:
        yield Finding(
            "note",
            "preferred-views",
            "Preferred views",
            f"By the angles in the table the mean squared cosine to the commonest view is "
            f"{share:.2f}, where even views have 0.33; angles found under symmetry fill its "
            "asymmetric unit only and may look so too.",
            "tilt the stage or change the grid if the map turns out smeared along one axis",
        )
