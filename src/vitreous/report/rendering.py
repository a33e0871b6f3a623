"""Jinja2: the templates of all pages, in which text is escaped unless it is marked as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Nothing may be fetched: a page that tried would be stopped by the browser."""


SERVED_POLICY = f"{POLICY}; connect-src 'self'; form-action 'self'"
"""A page that is served may ask its own server for itself."""


@dataclass(frozen=True)
class Serving:
    """How a page is served that makes itself anew.

    Attributes
    ----------
    actions : tuple of (str, str)
        Address and name of what its buttons do.
    """

    actions: tuple[tuple[str, str], ...] = ()


def shown(value: Any) -> str:
    """Text of a setting or number; ``—`` for what was not given."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return str(value)


@cache
def asset(name: str) -> Markup:
    """A style sheet or script of the package, as it is."""
    return Markup(files("vitreous.report").joinpath("static", name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vitreous.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.globals.update(asset=asset, policy=POLICY)
    return environment


@cache
def _parts() -> Any:
    return _environment().get_template("parts.html").module


def part(name: str, *arguments: Any) -> str:
    """HTML of one part of a page; what is not :class:`~markupsafe.Markup` is escaped."""
    return str(getattr(_parts(), name)(*arguments))


def page_of(template: str, *, serving: Serving | None = None, **given: Any) -> str:
    """HTML of a whole page; one that is served makes itself anew."""
    if serving is not None:
        given |= {"policy": SERVED_POLICY, "scripts": (*given.get("scripts", ()), "live.js")}
    return _environment().get_template(template).render(**given, serving=serving) + "\n"
