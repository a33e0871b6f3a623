"""The one chart of all pages: lines, areas and bars over two axes, as SVG that a template draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.report.rendering import part

COLOURS = ("#1f8a94", "#d0782a", "#7a68c4", "#b8456b", "#5c8f2f", "#8a6f3c", "#3d73b9", "#777f88")
"""One for each class, in turn; all readable on white and on near-black."""

GREY = "#8a929a"

NORMAL, WIDE = (390, 240), (760, 320)
"""Width and height of a chart in a card, and of one that is two cards wide."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 8, 38
"""Margins round the axes."""

_LETTER = 6.5
"""Width of a letter of the ticks."""


Placing = Callable[[float, float], tuple[float, float]]
"""From values of x and y to places in the picture."""


def colour(number: int) -> str:
    """Colour of a class, counted from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes
    ----------
    x, y : sequences of float
        A value that is not finite interrupts the line.
    name : str
        For the key; not named there if empty.
    colour : str
    width : float
        0 for dots alone.
    dashed, dots : bool
    """

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    colour: str = COLOURS[0]
    width: float = 1.8
    dashed: bool = False
    dots: bool = False

    @classmethod
    def through(cls, points: Float[np.ndarray, "n 2"], **look: Any) -> Line:
        """A curve through points (x, y)."""
        return cls(points[:, 0].tolist(), points[:, 1].tolist(), **look)


@dataclass(frozen=True)
class Area:
    """What lies between two curves."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    name: str = ""
    colour: str = GREY
    opacity: float = 0.9


@dataclass(frozen=True)
class Rule:
    """A dashed line across the chart: at a value of x if upright, else of y; with a word at it."""

    at: float
    upright: bool = False
    word: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes
    ----------
    label : str
    limits : tuple of float, optional
        By default those of the data.
    ticks : sequence of (float, str), optional
        By default round numbers.
    log : bool
        Logarithmic, where all data allow it.
    """

    label: str
    limits: tuple[float, float] | None = None
    ticks: Sequence[tuple[float, str]] | None = None
    log: bool = False

    def fitted(self, values: np.ndarray) -> Axis:
        """The axis with limits and ticks for these values."""
        values = values[np.isfinite(values)]
        log = self.log and bool(len(values)) and float(values.min()) > 0
        low, high = self.limits or _limits(values, log)
        ticks = self.ticks
        if ticks is None:
            ticks = [
                (v, f"{v:g}") for v in (_decades(low, high) if log else round_ticks(low, high))
            ]
        return replace(self, limits=(low, high), ticks=ticks, log=log)

    def place(self, value: float) -> float:
        """Where a value lies between the limits, from 0 to 1."""
        assert self.limits is not None
        (low, high), log = self.limits, math.log if self.log else float
        return (log(value) - log(low)) / (log(high) - log(low))


def equal_axes(
    names: tuple[str, str], points: Float[np.ndarray, "n 2"], size: tuple[int, int] = NORMAL
) -> tuple[Axis, Axis]:
    """Axes round points (x, y) on which a length is as long along x as along y."""
    plot = np.array([size[0] - _LEFT - _RIGHT, size[1] - _TOP - _BOTTOM])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    unit = 1.1 * float(((high - low) / plot).max()) or 1 / float(plot.min())
    ends = ((low + high)[:, None] + unit * plot[:, None] * [-1, 1]) / 2
    x, y = (Axis(name, (float(a), float(b))) for name, (a, b) in zip(names, ends, strict=True))
    return x, y


def _limits(values: np.ndarray, log: bool) -> tuple[float, float]:
    if not len(values):
        return (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        return low / 1.1, high * 1.1
    room = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room * (low != 0), high + room


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, at most so many."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if (high - low) / (s * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 3 else (1,)
    return [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]


@dataclass(frozen=True)
class Chart:
    """A chart, drawn from the back to the front: areas, rules, lines.

    Attributes
    ----------
    x, y : Axis
    alt : str
        What it shows, for those who do not see it.
    lines, areas, rules : sequences
    size : tuple of int
        ``NORMAL`` or ``WIDE``.
    """

    x: Axis
    y: Axis
    alt: str
    lines: Sequence[Line] = ()
    areas: Sequence[Area] = ()
    rules: Sequence[Rule] = ()
    size: tuple[int, int] = NORMAL

    def svg(self) -> str:
        """HTML of the chart, under a key of what has a name."""
        drawn: list[Line | Area] = [*self.lines, *self.areas]
        xs = _all([one.x for one in drawn])
        ys = _all([*(o.y for o in self.lines), *(v for a in self.areas for v in (a.low, a.high))])
        x, y = self.x.fitted(xs), self.y.fitted(ys)
        width, height = self.size
        across, up = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

        def at(one: float, other: float) -> tuple[float, float]:
            return _LEFT + across * x.place(one), _TOP + up * (1 - y.place(other))

        frame = (_LEFT, _TOP, width - _RIGHT, height - _BOTTOM)
        marks = {
            "areas": [(_outline(area, at), area) for area in self.areas],
            "lines": [(_path(line.x, line.y, at), line) for line in self.lines],
            "dots": [
                (at(a, b), line.colour)
                for line in self.lines
                if line.dots
                for a, b in zip(line.x, line.y, strict=True)
                if math.isfinite(a) and math.isfinite(b)
            ],
            "rules": [_rule(rule, frame, at, x, y) for rule in self.rules],
        }
        ticks = {
            "x": _apart([(at(v, _end(y))[0], word) for v, word in x.ticks or ()]),
            "y": [(at(_end(x), v)[1], word) for v, word in y.ticks or ()],
        }
        named = [(one.name, one.colour) for one in drawn if one.name]
        return part("chart", self, (x, y), frame, marks, ticks, named if len(named) > 1 else [])


def _all(parts: Iterable[Sequence[float]]) -> np.ndarray:
    arrays = [np.asarray(one, dtype=float) for one in parts]
    return np.concatenate(arrays) if arrays else np.empty(0)


def _end(axis: Axis) -> float:
    assert axis.limits is not None
    return axis.limits[0]


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks whose words do not touch."""
    kept: list[tuple[float, str]] = []
    for place, word in ticks:
        if not kept or place - kept[-1][0] > _LETTER * (len(word) + len(kept[-1][1])) / 2 + 6:
            kept.append((place, word))
    return kept


def _path(xs: Sequence[float], ys: Sequence[float], at: Placing) -> str:
    """SVG path through points; those that are not finite interrupt it."""
    words, pen = [], "M"
    for a, b in zip(xs, ys, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            words.append("{}{:.1f} {:.1f}".format(pen, *at(a, b)))
            pen = "L"
        else:
            pen = "M"
    return "".join(words)


def _outline(area: Area, at: Placing) -> str:
    back = slice(None, None, -1)
    xs = [*area.x, *list(area.x)[back]]
    return _path(xs, [*area.low, *list(area.high)[back]], at) + "Z"


def _rule(
    rule: Rule, frame: tuple[float, float, float, float], at: Placing, x: Axis, y: Axis
) -> dict[str, object]:
    left, top, right, bottom = frame
    if rule.upright:
        place = at(rule.at, _end(y))[0]
        return {"x1": place, "x2": place, "y1": top, "y2": bottom, "word": rule.word}
    place = at(_end(x), rule.at)[1]
    return {"x1": left, "x2": right, "y1": place, "y2": place, "word": rule.word}
