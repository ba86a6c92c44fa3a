"""Conditions on unit columns, such as `snr > 1 and firing_rate > 0.1`.

Expressions are parsed by Python's own grammar and walked by a short list of allowed nodes:
nothing is ever executed. `firing_rate`, spikes per recorded second, and `n_spikes` are computed
where the file has no such column. A missing value (NaN) fails every comparison, also `!=`,
`not in` and a negated one.
"""

import ast
from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from irrev.errors import InputError
from irrev.readers import nearest

COMPARISONS: dict[type[ast.cmpop], Callable[[ArrayLike, ArrayLike], NDArray[np.bool_]]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.In: np.isin,
    ast.NotIn: lambda values, options: np.isin(values, options, invert=True),
}
ALLOWED = (
    *(ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop),
    *(ast.Name, ast.expr_context, ast.Constant, ast.List, ast.Tuple, ast.Set),
)
MAX_EXPRESSION = 1000  # characters; keeps the parser's recursion shallow


def evaluate(expression: str, ds: xr.Dataset) -> NDArray[np.bool_]:
    """Evaluate a condition on unit columns.

    Parameters
    ----------
    expression
        E.g. `snr > 1 and area in ("adn", "ca1")`.
    ds
        Dataset of kind "spikes".

    Returns
    -------
        Truth of each unit, shape (unit,).

    Raises
    ------
    InputError
        If the expression has anything but columns, numbers, texts, comparisons, `in`, `and`,
        `or` and `not`, or names an unknown column.
    """
    return _truth(_parsed(expression), ds, expression)


def check_expression(expression: str) -> None:
    """Refuse what is not columns, values and comparisons, before any recording is read.

    Raises
    ------
    InputError
        If the expression cannot be parsed or has anything else in it.
    """
    if not all(isinstance(node, ALLOWED) for node in ast.walk(_parsed(expression))):
        raise InputError(f"where: {expression!r} has more than columns, values and comparisons.")


def _parsed(expression: str) -> ast.expr:
    if len(expression) > MAX_EXPRESSION:
        raise InputError(f"where has {len(expression)} characters; {MAX_EXPRESSION} are allowed.")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else error
        raise InputError(f"where: {expression!r} is not an expression ({what}).") from error
    return tree.body


def _truth(node: ast.expr, ds: xr.Dataset, text: str) -> NDArray[np.bool_]:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return np.logical_and.reduce([_truth(part, ds, text) for part in parts])
        case ast.BoolOp(values=parts):
            return np.logical_or.reduce([_truth(part, ds, text) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            # De Morgan by hand: a missing value must fail `not snr > 1` as well.
            return ~_truth(part, ds, text) & ~_missing(part, ds)
        case ast.Compare():
            return _compare(node, ds, text)
        case ast.Name():
            values = _column(node.id, ds)
            if values.dtype == bool:
                return values.astype(bool)
    part = ast.get_source_segment(text.strip(), node) or text
    raise InputError(
        f"where: {part!r} is not a condition; use columns, numbers and texts with comparisons, "
        "in, and, or, not."
    )


def _compare(node: ast.Compare, ds: xr.Dataset, text: str) -> NDArray[np.bool_]:
    """Compare pair by pair, so that 0 < snr < 5 works; a missing value fails."""
    operands = [_operand(part, ds, text) for part in (node.left, *node.comparators)]
    out = np.ones(ds.sizes["unit"], dtype=bool)
    for left, op, right in zip(operands[:-1], node.ops, operands[1:], strict=True):
        compare = COMPARISONS.get(type(op))
        if compare is None:
            raise InputError(
                f"where: {text!r} uses a comparison that is not known; use <, ==, in."
            )
        _check_types(left, op, right, text)
        out &= np.broadcast_to(compare(left, right), out.shape)
    return out & ~_missing(node, ds)


def _check_types(left: ArrayLike, op: ast.cmpop, right: ArrayLike, text: str) -> None:
    """Refuse number against text, which numpy answers with False or a warning."""
    if isinstance(op, ast.In | ast.NotIn) != isinstance(right, list):
        raise InputError(f"where: {text!r} needs `in` with a list such as ('a', 'b').")
    if isinstance(right, list) and not right:
        raise InputError(f"where: {text!r} has an empty list; name at least one value.")
    kinds = {
        "text" if np.asarray(side).dtype.kind in "OUT" else "number" for side in (left, right)
    }
    if len(kinds) > 1:
        raise InputError(f"where: {text!r} compares a number with a text; quote texts only.")


def _operand(node: ast.expr, ds: xr.Dataset, text: str) -> ArrayLike:
    match node:
        case ast.Name():
            return _column(node.id, ds)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_constant(item, text) for item in items]
    return _constant(node, text)


def _constant(node: ast.expr, text: str) -> bool | float | str:
    match node:
        case ast.Constant(value=bool() | str() as value):
            return value
        case ast.Constant(value=int() | float() as value) if abs(value) < 2**63:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            value = _constant(node.operand, text)
            if not isinstance(value, str):
                return -value
    part = ast.get_source_segment(text.strip(), node) or text
    raise InputError(f"where: {part!r} is not a column, a number or a text; use these only.")


def _column(name: str, ds: xr.Dataset) -> NDArray[np.generic]:
    columns = [str(n) for n in ds.variables if ds[n].dims == ("unit",)]
    if name in columns and name != "spike_times_index":
        values = ds[name].values
        return values.astype(str) if values.dtype.kind in "OT" else values
    counts = np.diff(ds["spike_times_index"].values, prepend=0)
    if name == "n_spikes":
        return counts
    if name == "firing_rate":
        seconds = np.sum(ds["observed_stop"].values - ds["observed_start"].values)
        return counts / seconds
    known = [c for c in columns if c != "spike_times_index"] + ["firing_rate", "n_spikes"]
    raise InputError(f"{name} is not a column of the units;{nearest(name, known)}")


def _missing(node: ast.AST, ds: xr.Dataset) -> NDArray[np.bool_]:
    """Say which units lack a value in a column that the expression uses."""
    out = np.zeros(ds.sizes["unit"], dtype=bool)
    for name in (n.id for n in ast.walk(node) if isinstance(n, ast.Name)):
        values = _column(name, ds)
        if values.dtype.kind == "f":
            out |= np.isnan(values)
    return out
