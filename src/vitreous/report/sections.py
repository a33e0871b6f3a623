"""The report's sections on maps and particles; each picture tells how to read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.errors import InputError
from vitreous.math.symmetry import point_group
from vitreous.report import charts, figures, page
from vitreous.report.chart import colour
from vitreous.report.directions import (
    SLICES_ORDER,
    DirectionDensity,
    cell_order,
    direction_density,
    relative_slices,
)
from vitreous.report.page import plural
from vitreous.report.record import Record
from vitreous.report.viewer import make_view, viewer

_READ_VIEWER = "The surface where the density equals the contour."
_HOW_TO_TURN = (
    "Drag to turn; click, then scroll (or pinch) to zoom; arrow keys, plus and minus work too; "
    "double-click to start over. The mass is that of protein filling the enclosed volume: move "
    "the contour until it fits your molecule."
)
_READ_SECTIONS = (
    "Sections are slices one voxel thick through the middle of the box; sums add up the map along "
    "an axis, as a noise-free particle image would look from there. Bright is dense; the dashed "
    "circle is the mask."
)
_SOUND_MAP = "A sound map has clear structure inside the mask and an even, featureless outside."
_FLATTENED = (
    "Look for clear structure inside the mask; the job blanked what lies outside (solvent "
    "flattening), so that its emptiness proves nothing."
)
_READ_DIRECTIONS = (
    "The sphere of viewing directions laid flat so that equal areas stay equal. Colour tells how "
    "many particles are seen from there, as a multiple of an even spread (the white mark on the "
    "bar is 1)."
)
_READ_GLOBE = "The same on the sphere, from above (+z, with x to the right) and from below."
_READ_SLICES = (
    "How many particles' central slices pass through each direction of Fourier space: the "
    "precision that their poses give the map in that direction. Dark directions are those along "
    "which the map is smeared."
)
_LABELS = {
    "empty": ": hardly any particles",
    "sphere": ": a featureless ball",
    "decoy": ": a decoy, for images of junk",
    "not reproduced": ": not found again by another start, so it may hold junk",
    "duplicate": ": nothing that class {duplicate_of} does not show",
}
_MISSING_VIEWS = "Large dark regions are missing views, along which the map may be smeared."


def _class_title(entry: dict[str, Any], alone: bool) -> tuple[str, str]:
    title = "The map" if alone else f"Class {entry['class']}"
    title += _LABELS.get(str(entry.get("label")), "").format_map(entry)
    count = entry.get("particles")
    share = "" if alone or entry.get("fraction") is None else f", {entry['fraction']:.0%}"
    return title, "" if count is None else f"{plural(int(count), 'particle')}{share}"


def _class_card(record: Record, entry: dict[str, Any]) -> str:
    number, alone = int(entry["class"]), len(record.classes) == 1
    tint = colour(number)
    title, count = _class_title(entry, alone)
    try:
        volume, pixel_size = record.map(entry)
    except InputError as error:
        content = page.paragraph(f"The map is not shown: {error.line()}.", "note")
        return page.card(title, content, tint, count)
    if len(set(volume.shape)) != 1 or not np.ptp(volume) > 0:
        content = page.paragraph("The map is not shown: it is no cube, or is constant.", "note")
        return page.card(title, content, tint, count)
    mask = record.result.get("mask_diameter")
    name = "the map" if alone else f"class {number}"
    view = viewer(make_view(volume, pixel_size, mask), name, tint)
    alt = f"Three central sections of {name} and three projections of it"
    sections = figures.sections_and_projections(volume, pixel_size, mask, alt, upright=not alone)
    content = page.figure(view, f"{_READ_VIEWER} {_HOW_TO_TURN}" if alone else _READ_VIEWER)
    flattened = entry.get("solvent_flattened", record.options.get("solvent_flatten", False))
    judge = _FLATTENED if flattened else _SOUND_MAP
    content += page.figure(sections, f"{_READ_SECTIONS} {judge}" if alone else _READ_SECTIONS)
    return page.card(title, content, tint, count)


def maps_section(record: Record) -> str:
    """Each class's surface to turn, sections and projections."""
    if not record.classes:
        return page.section("Maps", page.paragraph("result.json lists no classes.", "note"))
    found = [_class_card(record, entry) for entry in record.classes]
    if len(found) == 1:
        return page.section("Map", page.cards(found, single_wide=True))
    judge = _FLATTENED if record.options.get("solvent_flatten") else _SOUND_MAP
    guide = page.paragraph(f"{_HOW_TO_TURN} {judge}", "note")
    return page.section("Maps, class by class", guide, page.link_views(), page.cards(found))


def class_densities(record: Record) -> dict[int, DirectionDensity]:
    """Density of viewing directions of each class that has particles."""
    if record.poses is None:
        return {}
    sampling, operators = record.options.get("angular_sampling"), point_group(record.symmetry)
    densities = {}
    for number in (int(entry["class"]) for entry in record.classes):
        member = record.poses.classes == number
        rot, tilt = record.poses.rot[member], record.poses.tilt[member]
        known = np.isfinite(rot) & np.isfinite(tilt)
        if known.any():
            order = cell_order(int(known.sum()) * len(operators), sampling)
            densities[number] = direction_density(rot[known], tilt[known], order, operators)
    return densities


def particles_section(record: Record, densities: dict[int, DirectionDensity]) -> str:
    """Viewing directions, shifts and certainty of the poses."""
    if record.poses is None:
        notes = (page.paragraph(sentence, "note") for sentence in record.absent)
        return page.section("Particles", *notes)
    alone = len(record.classes) == 1
    items = []
    for number, density in densities.items():
        name = "all particles" if alone else f"class {number}"
        alt = (
            f"Map of the viewing directions of {name}: between {density.relative.min():.1f} and "
            f"{density.relative.max():.1f} times an even spread"
        )
        picture = figures.direction_map(density, alt, wide=alone)
        caption = f"{_READ_DIRECTIONS} {_MISSING_VIEWS} A cell would hold {density.expected:.0f} "
        caption += (
            f"were all views alike: chance alone spreads that by {density.expected**-0.5:.0%}."
        )
        title = "Viewing directions" + ("" if alone else f", class {number}")
        content = page.figure(picture, caption)
        items.append(page.card(title, content, colour(number), wide=alone))
    if alone:
        items += [_globe_card(density) for density in densities.values()]
    items += [_precision_card(record, number, alone) for number in densities]
    return page.section("Particles", page.cards([*items, *_histograms(record)]))


def _globe_card(density: DirectionDensity) -> str:
    top = max(2.0, float(density.relative.max()))
    alt = "The sphere of viewing directions from above and from below"
    picture = figures.globe(density.relative, density.order, (0, top), alt)
    return page.card("Viewing directions on the sphere", page.figure(picture, _READ_GLOBE))


def _precision_card(record: Record, number: int, alone: bool) -> str:
    """How well the poses of a class fill Fourier space."""
    poses = record.poses
    assert poses is not None
    own = poses.classes == number
    slices = relative_slices(poses.rot[own], poses.tilt[own], point_group(record.symmetry))
    alt = f"Slices through each direction of Fourier space, {slices.min():.2f} to "
    alt += f"{slices.max():.2f} times the mean"
    limits = (min(0.5, float(slices.min())), max(1.5, float(slices.max())))
    picture = figures.sphere_map(
        slices, SLICES_ORDER, limits, "times the mean", alt, wide=False, mark=1
    )
    title = "Precision by direction" + ("" if alone else f", class {number}")
    return page.card(title, page.figure(picture, _READ_SLICES), "" if alone else colour(number))


def _histograms(record: Record) -> list[str]:
    poses = record.poses
    if poses is None:
        return []
    numbers = [int(entry["class"]) for entry in record.classes] or [1]
    items = []
    if poses.shift is not None:
        limit = record.shift_limit
        alt = f"Histogram of in-plane shifts, median {np.nanmedian(poses.shift):.1f} angstrom"
        picture = charts.histogram(
            poses.shift, poses.classes, numbers, "shift (Å)", alt, mark=limit
        )
        caption = "How far each particle sat from the middle of its box."
        if limit is not None:
            caption += (
                " The dashed line is the range searched along x and y: a pile-up there means that "
                "the range should be wider or the particles picked anew."
            )
        items.append(page.card("Shifts", page.figure(picture, caption)))
    if poses.probability is not None:
        mean = np.nanmean(poses.probability)
        alt = f"Histogram of the probability of each particle's best pose, mean {mean:.2f}"
        picture = charts.histogram(
            poses.probability, poses.classes, numbers, "probability", alt, span=(0.0, 1.0)
        )
        caption = (
            "Probability of each particle's best pose. A peak near 1 means poses that the images "
            "settle; a peak near 0 means noise, or too little detail to tell poses apart."
        )
        items.append(page.card("Certainty of the poses", page.figure(picture, caption)))
    return items
