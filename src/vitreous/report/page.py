"""Building blocks of a page: everything that enters as text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

# Nothing may be fetched: a page that tried would be stopped by the browser.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def shown(value: Any) -> str:
    """Text of a setting or number, escaped; ``—`` for what was not given."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return escape(str(value))


def plural(count: int, noun: str) -> str:
    """Count with its noun: 1 particle, 2 particles."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def paragraph(text: str, kind: str = "") -> str:
    """Paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figure(picture: str, caption: str) -> str:
    """Picture (HTML) with a caption (plain text)."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def card(title: str, content: str, swatch: str = "", count: str = "", *, wide: bool = False) -> str:
    """Box with a title, the colour of its class and a remark; ``content`` is HTML."""
    kind = "card wide" if wide else "card"
    mark = f'<span class="swatch" style="background:{swatch}"></span>' if swatch else ""
    remark = f' <span class="count">{escape(count)}</span>' if count else ""
    return f'<article class="{kind}"><h3>{mark}{escape(title)}{remark}</h3>{content}</article>'


def cards(items: Iterable[str], *, single_wide: bool = False) -> str:
    """Cards side by side; a lone one may take the whole width."""
    items = list(items)
    kind = "one" if single_wide and len(items) == 1 else "cards"
    return f'<div class="{kind}">{"".join(items)}</div>'


def section(title: str, *content: str) -> str:
    """Section under a heading; ``content`` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def tiles(facts: Sequence[tuple[str, str, str]]) -> str:
    """Key facts: name, value, remark."""
    inner = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        + (f"<small>{escape(remark)}</small>" if remark else "")
        + "</dd></div>"
        for name, value, remark in facts
    )
    return f'<dl class="tiles">{inner}</dl>'


def bullets(sentences: Iterable[str]) -> str:
    """List of plain-text sentences."""
    return f'<ul class="points">{"".join(f"<li>{escape(s)}</li>" for s in sentences)}</ul>'


def next_step(step: Mapping[str, Any] | None) -> str:
    """What to do next after a verdict that is not solved: a sentence and a command; or nothing."""
    if step is None:
        return ""
    command = f"<pre>{escape(step['command'])}</pre>" if step["command"] else ""
    return paragraph(f"Next: {step['sentence']}") + command


def warnings_box(warnings: Sequence[str]) -> str:
    """Prominent box of warnings, or nothing."""
    if not warnings:
        return ""
    title = "Warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    inner = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<aside class="warnings"><h2>{title}</h2><ul>{inner}</ul></aside>'


def pairs_table(pairs: Mapping[str, Any]) -> str:
    """Two columns: name, value."""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{shown(value)}</td></tr>'
        for name, value in pairs.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Table with a header row."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{shown(c)}</td>" for c in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def folded(title: str, content: str) -> str:
    """Content (HTML) that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def document(title: str, header: str, main: str, footer: str, script: str) -> str:
    """The whole page; all but ``title`` is HTML."""
    style = files("vitreous.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n{header}\n</header>\n<main>\n{main}\n</main>\n"
        f"<footer>\n{footer}\n</footer>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
