"""The reports of the jobs that judge maps, models and optics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vitreous.io.mrc import read_map
from vitreous.report import charts, curves, figures, page
from vitreous.report.chart import colour
from vitreous.report.gallery import gallery_page
from vitreous.report.micrographs import ctf_estimation_page, extract_page, pick_page
from vitreous.report.motion import motion_page
from vitreous.report.optics import ctf_page
from vitreous.report.report_page import Facts, ReportPage, Result, angstrom, numbers
from vitreous.report.viewer import Tint, make_tint, make_view, viewer
from vitreous.validate.anisotropy import HALF_ANGLE, ORDER

_READ_CONES = (
    f"FSC within cones of {HALF_ANGLE:g} degrees half-angle. Curves that lie close together mean a "
    "map that is alike in all directions."
)
_READ_GLOBE = (
    "Slices through Fourier space lie at right angles to the views, so a poor direction lacks "
    "views at right angles to itself."
)

_READ_FSC = (
    "How far the halves agree at each resolution. The curve with random phases is what the "
    "mask feigns by itself: it should be near 0 where the corrected one crosses 0.143."
)


def halves_fact(result: Result) -> tuple[str, str, str]:
    """Particles of each half, and where the halves came from."""
    first, second = result.get("particles_in_halves") or result["n_by_map"]
    halves = result["halves"]
    doubt = "" if halves["independent"] else "; not independent"
    return ("Halves", f"{first:,} and {second:,}", f"particles, {halves['source']}{doubt}")


def mask_fact(result: Result) -> tuple[str, str, str]:
    """Size of the mask, and where it came from."""
    mask = result["mask"]
    source = {"automatic": "made round the density", "sphere": "a soft sphere"}
    return (
        "Mask",
        f"{mask['volume_fraction']:.1%} of the box",
        source.get(mask["source"], Path(mask["source"]).name)
        + (", inside of the halves' own" if mask["masked_before"] else ""),
    )


def map_card(path: Path, name: str, tint: Tint | None = None) -> str:
    """A map to turn, its sections and its projections."""
    volume, pixel_size = read_map(path)
    view = viewer(make_view(volume, pixel_size, None), name, colour(1), tint)
    alt = f"Three central sections of {name} and three projections of it"
    sections = figures.sections_and_projections(volume, pixel_size, None, alt)
    return page.cards(
        [
            page.card(
                path.name,
                page.figure(
                    view,
                    "The surface where the density equals the contour; drag to turn.",
                )
                + page.figure(sections, "Central sections, and sums along the axes."),
            )
        ],
        single_wide=True,
    )


_MASKS = {
    "corrected": "corrected",
    "masked": "tight mask",
    "loose": "loose mask",
    "spherical": "spherical mask",
    "unmasked": "no mask",
    "randomised": "tight mask, random phases",
}
"""Curves of two half-maps by the mask that they are seen through."""


def fsc_card(result: Result) -> str:
    """The curves of two half-maps."""
    fsc = result["fsc"]
    lines = [(title, numbers(fsc[name])) for name, title in _MASKS.items() if name in fsc]
    alt = f"Fourier shell correlation, 0.143 at {angstrom(result['resolution_0143'])}"
    picture = curves.fsc_chart(numbers(fsc["frequency"]), lines, alt)
    return page.card("Do the halves agree?", page.figure(picture, _READ_FSC), wide=True)


def guinier_card(guinier: Result) -> str:
    """The Guinier plot with its fit."""
    x, fitted = numbers(guinier["frequency_squared"]), np.array(guinier["fitted"])
    picture = curves.guinier_chart(
        x,
        numbers(guinier["log_amplitude"]),
        numbers(guinier["log_weighted"]),
        (guinier["slope"], guinier["intercept"]),
        (float(x[fitted].min()), float(x[fitted].max())),
        f"Guinier plot, B-factor {4 * guinier['slope']:.0f} square angstroms",
    )
    caption = (
        "Amplitudes fall with resolution; the B-factor is four times the slope of the fitted "
        "line, and sharpening makes it level. A curve that is far from straight makes the "
        "B-factor doubtful."
    )
    return page.card("How much to sharpen", page.figure(picture, caption))


def resolution_facts(result: Result) -> Facts:
    """Resolutions, B-factor and mask of two half-maps."""
    return [
        ("FSC 0.143", angstrom(result["resolution_0143"]), "within the mask, corrected"),
        ("FSC 0.5", angstrom(result["resolution_05"]), "likewise"),
        ("Unmasked", angstrom(result["resolution_0143_unmasked"]), "FSC 0.143"),
        ("B-factor", f"{result['bfactor']:.1f} Å²", str(result["bfactor_source"])),
        mask_fact(result),
    ]


POSTPROCESSED = {
    "sharpened.mrc": "the sharpened map",
    "sharpened_masked.mrc": "the same within the mask",
    "mask.mrc": "the mask",
    "fsc.xml": "the corrected FSC, for deposition in EMDB",
}
"""Files that postprocessing leaves."""


def _postprocess(folder: Path, result: Result) -> ReportPage:
    guinier = result["guinier"]
    shown = [fsc_card(result), *([] if guinier is None else [guinier_card(guinier)])]
    sections = [
        page.section("Resolution and B-factor", page.cards(shown)),
        page.section("The sharpened map", map_card(folder / "sharpened_masked.mrc", "the map")),
    ]
    title = f"The halves agree to {angstrom(result['resolution_0143'])} (FSC 0.143)"
    return ReportPage(title, resolution_facts(result), sections, POSTPROCESSED)


def _local_resolution(folder: Path, result: Result) -> ReportPage:
    values, pixel_size = read_map(folder / "local_resolution.mrc")
    mask, _ = read_map(folder / "mask.mrc")
    inside = mask > 0.5
    local = result["local_resolution"]
    low, high = local["percentile_5"], local["percentile_95"]
    tint = make_tint(values, pixel_size, None, (low, high), "Å")
    said = f"90 % of the mask between {angstrom(low)} and {angstrom(high)}"
    sections = figures.coloured_sections(
        values, inside, (low, high), "resolution (Å)", f"Local resolution: {said}"
    )
    picture = charts.histogram(
        values[inside],
        np.ones(int(inside.sum()), dtype=int),
        [1],
        "resolution (Å)",
        f"Histogram of the local resolution: {said}",
        span=(float(values[inside].min()), float(values[inside].max())),
        mark=result["resolution_0143"],
        counted="voxels",
    )
    where = (
        "Where detail is fine and where coarse. Towards the mask's edge the window sees solvent."
    )
    how = "The dashed line is the resolution of the whole."
    facts = [
        ("Median", angstrom(local["percentile_50"]), "of the voxels within the mask"),
        ("From", angstrom(low), "5 % are finer"),
        ("To", angstrom(high), "5 % are coarser"),
        ("Whole", angstrom(result["resolution_0143"]), "FSC 0.143 within the mask, corrected"),
        ("Window", f"{result['window']['diameter']:.0f} Å", "diameter of the soft ball"),
        mask_fact(result),
    ]
    content = [
        page.section(
            "Local resolution",
            page.cards(
                [
                    page.card("Where", page.figure(sections, where), wide=True),
                    page.card("How much", page.figure(picture, how)),
                ]
            ),
        ),
        page.section(
            "Filtered to its local resolution",
            map_card(folder / "locally_filtered.mrc", "the locally filtered map", tint),
        ),
    ]
    files = {
        "local_resolution.mrc": "resolution of every voxel in angstrom, to colour a surface by; "
        "beyond the mask that of the nearest point within",
        "locally_filtered.mrc": "the sharpened map, low-passed everywhere at its own resolution",
        "mask.mrc": "the mask",
    }
    return ReportPage(f"Local resolution: {said}", facts, content, files)


def _anisotropy(folder: Path, result: Result) -> ReportPage:
    cones, views = result["conical_fsc"], result["views"]
    frequency, by_cone = numbers(cones["frequency"]), np.array(cones["curves"])
    best, worst = result["resolution_best"], result["resolution_worst"]
    said = f"{angstrom(best)} in the best direction, {angstrom(worst)} in the worst"
    chart = curves.cone_chart(frequency, by_cone, f"FSC within cones: {said}")
    resolution = 1 / np.maximum(np.array(cones["limits"]), 1 / worst)
    globe = figures.sphere_map(
        resolution,
        ORDER,
        (float(resolution.min()), float(resolution.max()) + 1e-6),
        "resolution (Å)",
        f"Resolution by direction: {said}",
        wide=False,
    )
    sections = [
        page.section("What follows", page.bullets(result["advice"])),
        page.section(
            "Resolution by direction",
            page.cards(
                [
                    page.card("FSC within cones", page.figure(chart, _READ_CONES), wide=True),
                    page.card(
                        "Where each curve falls below 0.143", page.figure(globe, _READ_GLOBE)
                    ),
                ]
            ),
        ),
    ]
    facts: Facts = [
        ("cFAR", f"{result['cfar']:.2f}", "below 0.5 a map is smeared"),
        ("Sphericity", f"{result['sphericity']:.3f}", "1 for a map alike in all directions"),
        ("Best", angstrom(best), ""),
        ("Worst", angstrom(worst), ""),
        mask_fact(result),
    ]
    if views is not None:
        remark = f"{views['n_particles']:,} particles; below 0.81 views are uneven"
        facts.insert(2, ("Views", f"{views['score']:.2f}", remark))
        if views["tilted"]:
            rows = [
                (t["tilt"], f"{t['score']:.2f}", f"{t['empty_directions']:.0%}")
                for t in views["tilted"]
            ]
            header = ["grid tilted by (degrees)", "score", "directions without a slice"]
            sections.append(page.section("If the grid were tilted", page.table(header, rows)))
    return ReportPage(f"Resolution by direction: {said}", facts, sections, {})


def _sphere_facts(sphere: Result | None) -> Facts:
    """How the Ewald sphere was taken to curve, if at all, and what speaks for it."""
    if sphere is None:
        return []
    mean = ", ".join(f"{name} {value:.4f}" for name, value in sphere["mean_fsc"].items())
    felt = f"felt beyond {sphere['matters_beyond']:.2f} Å"
    remark = f"mean FSC: {mean}; {felt}" if mean else felt
    return [("Ewald sphere", f"curved {sphere['curvature']}", remark)]


def _reconstruct(folder: Path, result: Result) -> ReportPage:
    count = f"{result['n_particles']:,} particles"
    facts: Facts = [
        ("Particles", f"{result['n_particles']:,}", ""),
        ("Symmetry", result["symmetry"], ""),
        *_sphere_facts(result["ewald"]),
    ]
    sections = [page.section("The map", map_card(folder / "map.mrc", "the map"))]
    files = {"map.mrc": "the map of all these particles, neither filtered nor sharpened"}
    if "fsc" not in result:
        return ReportPage(f"Reconstruction of {count}", facts, sections, files)
    found = resolution = angstrom(result["resolution_0143"])
    if not result["halves"]["independent"]:
        found += " between halves that are not independent"
    facts = [
        ("Resolution", resolution, "FSC 0.143 within the mask, corrected"),
        *facts,
        halves_fact(result),
        mask_fact(result),
    ]
    sections.insert(0, page.section("Resolution", page.cards([fsc_card(result)])))
    files |= {
        "half1.mrc, half2.mrc": "the maps of the halves, for vitreous postprocess",
        "fsc.xml": "the corrected curve, as EMDB takes it",
    }
    return ReportPage(f"Reconstruction of {count}: {found}", facts, sections, files)


def _model_check(folder: Path, result: Result) -> ReportPage:
    fsc, hands = result["fsc"], result["correlation_by_hand"]
    found = angstrom(result["resolution_05"])
    titles = {"masked": "map", "work": "first half", "free": "second half", "unmasked": "no mask"}
    lines = [(title, numbers(fsc[name])) for name, title in titles.items() if name in fsc]
    alt = f"FSC between map and model, 0.5 at {found}"
    picture = curves.fsc_chart(numbers(fsc["frequency"]), lines, alt)
    facts: Facts = [
        ("FSC 0.5", found, "between map and model, round the model"),
        ("Correlation", f"{result['correlation']:.3f}", "in real space, round the model"),
    ]
    if hands["mirrored"] is not None:
        said = f"{hands['same']:.3f}, {hands['mirrored']:.3f}"
        facts.append(("Hands", said, "correlation of the fit in the map and in its mirror image"))
    if result["work_less_free"] is not None:
        facts.append(("Work - free", f"{result['work_less_free']:.3f}", "mean gap of the FSC"))
    columns = {"chains": ("chain",), "worst_residues": ("chain", "number", "name")}
    tables = {
        part: page.table(
            [*names, "correlation", "voxels"],
            [
                [*(row[name] for name in names), row["correlation"], row["voxels"]]
                for row in result[part]
            ],
        )
        for part, names in columns.items()
    }
    sections = [
        page.section(
            "Do they agree?", page.cards([page.card("FSC", page.figure(picture, alt), wide=True)])
        ),
        page.section("By chain", tables["chains"]),
        page.section("The ten worst residues", tables["worst_residues"]),
    ]
    files = {
        result["fitted"]: "the model, where it fits the map",
        "model.mrc": "its density, on the map's grid",
        "residues.csv": "correlation of every residue",
        "fsc.xml": "the FSC between map and model, as EMDB takes it",
    }
    return ReportPage(f"Map and model agree to {found}", facts, sections, files)


PAGES: dict[str, tuple[str, Callable[[Path, Result], ReportPage]]] = {
    "postprocess": ("postprocessing", _postprocess),
    "local-resolution": ("local resolution", _local_resolution),
    "anisotropy": ("anisotropy", _anisotropy),
    "reconstruct": ("reconstruction", _reconstruct),
    "model-check": ("model against map", _model_check),
    "ctf-refine": ("CTF refinement", ctf_page),
    "class2d": ("2D classification", gallery_page),
    "ctf": ("CTF estimation", ctf_estimation_page),
    "pick": ("picking", pick_page),
    "extract": ("extraction", extract_page),
    "motion": ("motion correction", motion_page),
}
