"""Building blocks of a page, each a macro of ``templates/parts.html``.

What is called a picture or content is HTML; everything else is text, and escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from vitreous.report.rendering import part


def plural(count: int, noun: str) -> str:
    """Count with its noun: 1 particle, 2 particles."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def paragraph(text: str, kind: str = "") -> str:
    """Paragraph of plain text."""
    return part("paragraph", text, kind)


def figure(picture: str, caption: str) -> str:
    """Picture (HTML) with a caption (plain text)."""
    return part("figure", Markup(picture), caption)


def card(title: str, content: str, swatch: str = "", count: str = "", *, wide: bool = False) -> str:
    """Box with a title, the colour of its class and a remark; ``content`` is HTML."""
    return part("card", title, Markup(content), swatch, count, wide)


def cards(items: Iterable[str], *, single_wide: bool = False) -> str:
    """Cards side by side; a lone one may take the whole width."""
    return part("cards", [Markup(item) for item in items], single_wide)


def section(title: str, *content: str) -> str:
    """Section under a heading; ``content`` is HTML."""
    return part("section", title, [Markup(piece) for piece in content])


def tiles(facts: Sequence[tuple[str, str, str]]) -> str:
    """Key facts: name, value, remark."""
    return part("tiles", facts)


def bullets(sentences: Iterable[str]) -> str:
    """List of plain-text sentences."""
    return part("bullets", list(sentences))


def command(text: str) -> str:
    """A command line with a button that copies it."""
    return part("command", text)


def next_step(step: Mapping[str, Any] | None) -> str:
    """What to do next after a verdict that is not solved: a sentence and a command; or nothing."""
    return "" if step is None else part("next_step", step)


def warnings_box(warnings: Sequence[str]) -> str:
    """Prominent box of warnings, or nothing."""
    return part("warnings_box", warnings) if warnings else ""


def pairs_table(pairs: Mapping[str, Any]) -> str:
    """Two columns: name, value."""
    return part("pairs_table", pairs)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Table with a header row."""
    return part("table", header, list(rows))


def folded(title: str, content: str) -> str:
    """Content (HTML) that opens on a click."""
    return part("folded", title, Markup(content))


def link_views() -> str:
    """A box to tick that lets all viewers of the page turn together."""
    return part("link_views")
