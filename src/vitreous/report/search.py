"""The report's section on the search: curves over the iterations, and spectra."""

from __future__ import annotations

from vitreous.report import charts, page
from vitreous.report.page import plural
from vitreous.report.record import Record
from vitreous.report.report_page import Result

_CURVES = (
    # field, title, axis, logarithmic, how to read it
    (
        "log_likelihood",
        "Fit to the images",
        "mean log-likelihood",
        False,
        "Higher is better. It should rise and level off; steps as finer detail comes in (shaded) "
        "are expected, as more of each image is compared.",
    ),
    (
        "max_posterior",
        "Certainty of the poses",
        "probability of the best pose",
        False,
        "Near 0 every pose is about as likely; near 1 each particle has one clear pose. It rises "
        "as the map gains features.",
    ),
    (
        "change",
        "Change of the map",
        "relative change",
        True,
        "How much each iteration altered the map. It should fall; a curve that stays high has not "
        "settled, and more iterations may help.",
    ),
    (
        "resolution",
        "Detail used",
        "limit (Å)",
        False,
        "The search starts with coarse detail and admits finer detail step by step.",
    ),
    (
        "batch",
        "Particles per iteration",
        "particles",
        False,
        "Each iteration looks at a random share of the particles.",
    ),
)


def search_section(record: Record) -> str:
    """Curves over the iterations of the start that was kept, and the noise spectra."""
    title, spectra = "The search, and what it leaves unexplained", _spectra(record)
    run = record.starts.get(record.chosen_start, [])
    if not run:
        note = page.paragraph("No curves: the job's log.jsonl holds no iterations.", "note")
        return page.section(title, note, page.cards(spectra))
    items, left_out = [], []
    for field, name, axis, log, caption in _CURVES:
        if all(event.get(field) is None for event in run):
            left_out.append(name.lower())
            continue
        last = next(e[field] for e in reversed(run) if e.get(field) is not None)
        alt = f"{name} over {plural(len(run), 'iteration')}, ending at {last:.4g}"
        picture = charts.curve(record.starts, record.chosen_start, field, axis, alt, log=log)
        items.append(page.card(name, page.figure(picture, caption)))
    if len(record.classes) > 1:
        widths = {len(event.get("class_fractions") or ()) for event in run}
        if len(widths) == 1 and max(widths) > 1:
            picture = charts.class_priors(run, "Share of the particles in each class by iteration")
            caption = (
                "Bands that settle mean that the classes have found their particles; a band that "
                "vanishes is a class that lost all of its own."
            )
            items.append(page.card("Classes", page.figure(picture, caption)))
        else:
            left_out.append("classes")
    words = f"Not logged, so not shown: {', '.join(left_out)}." if left_out else ""
    return page.section(
        title, page.cards([*items, *spectra]), page.paragraph(words, "note") if words else ""
    )


def noise_card(result: Result) -> list[str]:
    """Card with the noise spectra of the optics groups; none where there are no spectra."""
    noise = result.get("noise") or []
    if not noise:
        return []
    lines = [(f"group {n['optics_group']}", n["frequency"], n["sigma2"]) for n in noise]
    picture = charts.spectrum(lines, "noise variance", "Noise variance against resolution")
    caption = (
        "What the map does not explain, against resolution (finer to the right). For "
        "normalised images it lies near 1 and falls or rises smoothly; a bump means structure "
        "that the map has missed, or ice."
    )
    return [page.card("Noise in the images", page.figure(picture, caption))]


def _spectra(record: Record) -> list[str]:
    items = noise_card(record.result)
    signal = record.result.get("spectral_snr") or []
    if signal:
        lines = [(f"class {s['class']}", s["frequency"], s["ssnr"]) for s in signal]
        picture = charts.spectrum(lines, "signal to noise", "Signal to noise against resolution")
        caption = "Power of the map over that of its noise: above 1 the map carries information."
        items.append(page.card("Signal in the map", page.figure(picture, caption)))
    return items or [page.paragraph("No noise spectrum in result.json.", "note")]
