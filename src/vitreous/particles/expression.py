"""Conditions on a table's columns, such as ``rlnCtfMaxResolution < 6 and rlnClassNumber != 2``.

The text is parsed as a Python expression, but never run: the few kinds of node that are known
here become expressions of polars, and every other is refused.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import polars as pl
from jaxtyping import Bool

from vitreous.errors import OptionError
from vitreous.io.star import StarBlock
from vitreous.particles.columns import numbers

_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_CONNECTIVES: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.And: operator.and_,
    ast.Or: operator.or_,
}

_HELP = (
    "compare columns and numbers with < <= > >= == != and + - * / ** abs(), text in quotes with "
    "== != in, and join with and, or, not"
)

_DEEPEST = 100
"""Levels of nesting; each takes some of the stack, of Python and of polars."""

Kind = Literal["number", "text", "truth"]


@dataclass(frozen=True)
class _Value:
    """What a part of the expression stands for."""

    kind: Kind
    of: pl.Expr
    column: str | None = None


@dataclass(frozen=True)
class _Reader:
    """Turns nodes into values over the columns of a table."""

    text: str
    frame: pl.DataFrame
    path: Path
    option: str

    def refuse(self, what: str) -> NoReturn:
        raise OptionError(f"{what} in {self.text!r}", where=self.option, hint=_HELP)

    def value(self, node: ast.expr) -> _Value:
        match node:
            case ast.Constant(value=bool()):
                self.refuse("True or False is no number or text")
            case ast.Constant(value=int() | float() as number):
                return _Value("number", pl.lit(self.real(number)))
            case ast.Constant(value=str() as quoted):
                return _Value("text", pl.lit(quoted))
            case ast.Name(id=name):
                return self.column(name.removeprefix("_"))
            case ast.BoolOp(op=op, values=parts):
                return _Value(
                    "truth", _joined(_CONNECTIVES[type(op)], [self.truth(part) for part in parts])
                )
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return _Value("truth", ~self.truth(inner))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return _Value("number", -self.number(self.value(inner)))
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return _Value("number", self.number(self.value(inner)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                sides = (self.number(self.value(side)) for side in (left, right))
                return _Value("number", _ARITHMETIC[type(op)](*sides))
            case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
                return _Value("number", self.number(self.value(inner)).abs())
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip([left, *others], ops, others, strict=False)
                return _Value("truth", _joined(operator.and_, [self.compared(*p) for p in pairs]))
        self.refuse(f"{ast.unparse(node)} is not understood")

    def real(self, number: float) -> float:
        try:
            return float(number)
        except OverflowError:
            self.refuse("a number is too large")

    def column(self, name: str) -> _Value:
        if name not in self.frame.columns:
            near = difflib.get_close_matches(name, self.frame.columns, n=3, cutoff=0.5)
            raise OptionError(
                f"{self.path} has no column _{name}, asked for in {self.text!r}",
                where=self.option,
                hint=f"did you mean {' or '.join(near)}?" if near else "see the file's columns",
            )
        read = self.frame[name].cast(pl.Float64, strict=False)
        if read.null_count():
            return _Value("text", pl.col(name), name)
        # A missing measurement, nan, is neither below nor above anything.
        return _Value("number", pl.col(name).cast(pl.Float64).fill_nan(None), name)

    def truth(self, node: ast.expr) -> pl.Expr:
        value = self.value(node)
        if value.kind != "truth":
            self.refuse(f"{ast.unparse(node)} is no condition")
        return value.of

    def number(self, value: _Value) -> pl.Expr:
        if value.kind == "text" and value.column is not None:
            numbers(StarBlock("", self.frame), value.column, self.path)  # names the first bad row
        if value.kind != "number":
            self.refuse(f"a {value.kind} stands where a number is needed")
        return value.of

    def compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pl.Expr:
        if isinstance(op, ast.In | ast.NotIn):
            found = self.contained(left, right)
            return found if isinstance(op, ast.In) else ~found
        if type(op) not in _COMPARISONS:
            self.refuse("an unknown comparison stands")
        sides = [self.value(left), self.value(right)]
        # A number beside quoted text is compared as it is written: rlnImageId == "007".
        written = any(s.kind == "text" and s.column is None for s in sides)
        if not written and any(s.kind == "number" for s in sides):
            return _COMPARISONS[type(op)](*map(self.number, sides))
        if isinstance(op, _ORDERED):
            self.refuse("text is put in order")
        return _COMPARISONS[type(op)](*map(self.written, sides))

    def contained(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        """``column in (1, 3)``, or ``"part" in column``."""
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            return self.listed(left, right.elts)
        part, whole = self.value(left), self.value(right)
        if part.kind != "text" or whole.column is None:
            self.refuse(f"{ast.unparse(right)} is neither a list nor a column to look for text in")
        return pl.col(whole.column).str.contains(part.of, literal=True)

    def listed(self, left: ast.expr, elements: Sequence[ast.expr]) -> pl.Expr:
        """Whether a value is one of these; lists of names and numbers may be long."""
        constants = [e.value for e in elements if isinstance(e, ast.Constant)]
        texts = {v for v in constants if isinstance(v, str)}
        reals = {
            self.real(v)
            for v in constants
            if isinstance(v, int | float) and not isinstance(v, bool)
        }
        others = [
            self.compared(left, ast.Eq(), each)
            for each in elements
            if not (isinstance(each, ast.Constant) and type(each.value) in (str, int, float))
        ]
        side = self.value(left)
        if texts:
            others.append(self.written(side).is_in(sorted(texts)))
        if reals:
            others.append(self.number(side).is_in(sorted(reals)))
        return _joined(operator.or_, others) if others else pl.lit(False)

    def written(self, value: _Value) -> pl.Expr:
        """The text of a value: a column's cells, or what stands in quotes."""
        if value.column is not None:
            return pl.col(value.column)
        if value.kind != "text":
            self.refuse(f"text is compared with a {value.kind}")
        return value.of


def _joined(join: Callable[[Any, Any], Any], parts: Sequence[pl.Expr]) -> pl.Expr:
    """All parts joined in pairs of pairs: a chain of thousands would be too deep for polars."""
    while len(parts) > 1:
        pairs = (parts[place : place + 2] for place in range(0, len(parts), 2))
        parts = [join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


def _depth(tree: ast.AST) -> int:
    """Levels of nesting, counted without recursion."""
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def fulfilled(
    text: str, frame: pl.DataFrame, path: Path, option: str = "--where"
) -> Bool[np.ndarray, " n"]:
    """Which rows of a table fulfil a condition; cells that hold nan fulfil no comparison.

    Parameters
    ----------
    text : str
        Comparisons of columns (with or without the leading underscore), numbers and quoted text,
        arithmetic, ``in``, ``and``, ``or``, ``not`` and parentheses.
    frame : polars DataFrame
        Columns of text, as read from a STAR file.
    path : Path
        The table's file, and ``option`` the option, that errors name.

    Raises
    ------
    OptionError
        For text that does not parse, parts that are not understood and unknown columns, naming
        those that are near.
    InputError
        For a cell that holds no number where one is needed.
    """
    reader = _Reader(text, frame, path, option)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "1and 2": it is read all the same
            tree = ast.parse(text.strip(), mode="eval")
        if _depth(tree) > _DEEPEST:
            reader.refuse("too much stands within parentheses")
        condition = reader.truth(tree.body).fill_null(False)
    except (SyntaxError, ValueError) as error:
        at = getattr(error, "offset", 0)
        place = f"at character {at}" if at else "to its end"
        reader.refuse(f"the condition does not parse {place}")
    except (RecursionError, MemoryError):  # what Python's parser says of deep nesting
        reader.refuse("too much stands within parentheses")
    try:
        found = frame.select(condition.alias("found"))
    except pl.exceptions.PolarsError as error:
        reader.refuse(f"the condition cannot be worked out ({error})")
    # A condition without a column has one value for all rows.
    return np.broadcast_to(found["found"].to_numpy(), (len(frame),)).astype(bool)
