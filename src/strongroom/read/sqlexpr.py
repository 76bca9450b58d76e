"""Compiles one SQL expression, already parsed, into DuckDB text made only of this module's own templates.

Rules kept here:

1. Allow list. A node that is not named here is refused, and so is a named node with an argument not named here.
2. Every word that is written comes from a template, from a column's position (`c0`, `c1` ...) or from a literal that
   was read and written again. No identifier of the caller reaches the engine.
3. Every expression has a type, known here, so that the engine never casts on its own: an implicit cast that fails
   on one person's value would tell that value, or that there is such a person.
4. What can fail on a value gives null instead (`try`, `try_cast`), for the same reason.

What a column, an aggregate or an alias stands for is the caller's (`sqlcheck`), by the `leaf` it passes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from strongroom.errors import UsageError
from strongroom.read.sqlkinds import (
    CASTS,
    INT_MAX,
    TEXT_LITERAL_MAX,
    Leaf,
    Sql,
    dated,
    not_offered,
    of_kind,
    only,
    text_literal,
    unify,
    whole_number,
)

_NUMBERS = ("int", "float")
_DAY_UNITS = ("year", "quarter", "month", "week", "day")
_TIME_UNITS = ("hour", "minute")
_PARTS = {
    "Year": "year",
    "Quarter": "quarter",
    "Month": "month",
    "Week": "week",
    "WeekOfYear": "week",
    "Day": "day",
    "DayOfMonth": "day",
    "DayOfWeek": "dayofweek",
    "DayOfWeekIso": "isodow",
    "Hour": "hour",
    "Minute": "minute",
}
_COMPARISONS = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_NULL_SAFE = {"NullSafeEQ": "is not distinct from", "NullSafeNEQ": "is distinct from"}


def compile_expression(node: Any, leaf: Leaf) -> Sql:
    """Compile one parsed expression.

    Args:
        node: A sqlglot expression.
        leaf: Asked first for every node; returns what the node stands for, or None to go on.

    Returns:
        DuckDB text and its type.

    Raises:
        UsageError: A construct, function or mix of types that is not offered.
        DeniedError: Raised by `leaf` for what the purpose may not see.
    """
    found = leaf(node)
    if found is not None:
        return found
    name = type(node).__name__
    handler = _HANDLERS.get(name)
    if handler is None:
        raise not_offered(node)
    return handler(node, leaf)


def as_condition(node: Any, leaf: Leaf) -> str:
    """Compile an expression that must be true or false, and return its text."""
    found = compile_expression(node, leaf)
    if found.kind not in ("bool", "null"):
        raise UsageError("a condition in sql must be true or false", hint="compare the field with a value")
    return found.text


def _literal(node: Any, _leaf: Leaf) -> Sql:
    text = str(node.this)
    if node.is_string:
        return Sql(text_literal(text), "string", text)
    if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= INT_MAX:
        return Sql(str(int(text)), "int")
    if not re.fullmatch(r"[0-9]{0,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?", text):
        raise UsageError("a number in sql cannot be read")
    value = math.nan
    with suppress(ValueError):
        value = float(text)
    if not math.isfinite(value):
        raise UsageError("a number in sql cannot be read or is too large")
    return Sql(f"cast('{value!r}' as double)", "float")


def _comparison(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    name = type(node).__name__
    (left, right), _ = unify([compile_expression(node.this, leaf), compile_expression(node.expression, leaf)])
    return Sql(f"({left.text} {_COMPARISONS.get(name) or _NULL_SAFE[name]} {right.text})", "bool")


def _logic(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    word = type(node).__name__.lower()
    return Sql(f"({as_condition(node.this, leaf)} {word} {as_condition(node.expression, leaf)})", "bool")


def _not(node: Any, leaf: Leaf) -> Sql:
    only(node, "this")
    return Sql(f"(not {as_condition(node.this, leaf)})", "bool")


def _is(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    what = type(node.expression).__name__
    if what == "Null":
        return Sql(f"({compile_expression(node.this, leaf).text} is null)", "bool")
    if what == "Boolean":
        return Sql(f"({as_condition(node.this, leaf)} is {'true' if node.expression.this else 'false'})", "bool")
    raise UsageError("is in sql goes with null, true or false")


def _between(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "low", "high")
    (value, low, high), _ = unify(
        [compile_expression(part, leaf) for part in (node.this, node.args["low"], node.args["high"])]
    )
    return Sql(f"({value.text} between {low.text} and {high.text})", "bool")


def _in(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expressions")
    if not node.expressions:
        raise UsageError("in in sql needs a list of values")
    (value, *others), _ = unify([compile_expression(p, leaf) for p in (node.this, *node.expressions)])
    return Sql(f"({value.text} in ({', '.join(o.text for o in others)}))", "bool")


def _like(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression", "negate")
    value = of_kind(compile_expression(node.this, leaf), "string")
    pattern = compile_expression(node.expression, leaf)
    if pattern.literal is None:
        raise UsageError("the pattern of like must be a text")
    word = ("not " if node.args.get("negate") else "") + type(node).__name__.lower()
    return Sql(f"({value.text} {word} {pattern.text})", "bool")


def _arithmetic(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    sign = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "IntDiv": "//", "Mod": "%"}[type(node).__name__]
    left = of_kind(compile_expression(node.this, leaf), *_NUMBERS)
    right = of_kind(compile_expression(node.expression, leaf), *_NUMBERS)
    kind = "float" if sign == "/" or "float" in (left.kind, right.kind) else "int"
    as_type = "double" if kind == "float" else "bigint"
    return Sql(f"try_cast(try({left.text} {sign} {right.text}) as {as_type})", kind)


def _negative(node: Any, leaf: Leaf) -> Sql:
    only(node, "this")
    value = of_kind(compile_expression(node.this, leaf), *_NUMBERS)
    if type(node.this).__name__ == "Literal":
        return Sql(f"(-{value.text})", value.kind)
    return Sql(f"try(- {value.text})", value.kind)


def _rounding(node: Any, leaf: Leaf) -> Sql:
    name = type(node).__name__.lower()
    only(node, "this", "decimals")
    value = of_kind(compile_expression(node.this, leaf), *_NUMBERS)
    if name == "abs":
        return Sql(f"try(abs({value.text}))", value.kind)
    places = node.args.get("decimals")
    if places is not None:
        if name != "round":
            raise UsageError(f"{name} in sql takes one value")
        digits = whole_number(places, "the digits of round", 0, 15)
        return Sql(f"try(round(cast({value.text} as double), {digits}))", "float")
    return value if value.kind != "float" else Sql(f"try({name}({value.text}))", "float")


def _case(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "ifs", "default")
    subject = None if node.this is None else compile_expression(node.this, leaf)
    conditions = []
    for branch in node.args["ifs"]:
        only(branch, "this", "true")
        if subject is None:
            conditions.append(as_condition(branch.this, leaf))
        else:
            (left, right), _ = unify([subject, compile_expression(branch.this, leaf)])
            conditions.append(f"{left.text} = {right.text}")
    values = [compile_expression(branch.args["true"], leaf) for branch in node.args["ifs"]]
    default = node.args.get("default")
    values.append(Sql("null", "null") if default is None else compile_expression(default, leaf))
    *values, otherwise = (unified := unify(values))[0]
    whens = " ".join(f"when {c} then {v.text}" for c, v in zip(conditions, values, strict=True))
    return Sql(f"(case {whens} else {otherwise.text} end)", unified[1])


def _if(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "true", "false")
    otherwise = node.args.get("false")
    (yes, no), kind = unify(
        [
            compile_expression(node.args["true"], leaf),
            Sql("null", "null") if otherwise is None else compile_expression(otherwise, leaf),
        ]
    )
    return Sql(f"(case when {as_condition(node.this, leaf)} then {yes.text} else {no.text} end)", kind)


def _coalesce(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expressions")
    parts, kind = unify([compile_expression(p, leaf) for p in (node.this, *node.expressions)])
    return Sql(f"coalesce({', '.join(p.text for p in parts)})", kind)


def _nullif(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    (left, right), _ = unify([compile_expression(node.this, leaf), compile_expression(node.expression, leaf)])
    return Sql(f"nullif({left.text}, {right.text})", left.kind)


def _cast(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "to")
    only(node.args["to"], "this")
    word = getattr(node.args["to"].this, "name", "")
    if word not in CASTS:
        raise UsageError("this cast is not offered in sql", hint="cast to int, double, text, date, timestamp, boolean")
    engine_type, kind = CASTS[word]
    value = compile_expression(node.this, leaf)
    if value.literal is not None and kind in ("date", "timestamp"):
        value = dated(value, kind)
        return Sql(f"try_cast({value.text} as {engine_type})", kind)
    return Sql(f"try_cast({value.text} as {engine_type})", kind)


def _text(node: Any, leaf: Leaf) -> Sql:
    only(node, "this")
    value = of_kind(compile_expression(node.this, leaf), "string")
    name = type(node).__name__.lower()
    return Sql(f"{name}({value.text})", "int" if name == "length" else "string")


def _substring(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "start", "length")
    value = of_kind(compile_expression(node.this, leaf), "string")
    start = whole_number(node.args.get("start"), "the start of substring", 1, TEXT_LITERAL_MAX)
    length = node.args.get("length")
    if length is None:
        return Sql(f"substring({value.text}, {start})", "string")
    return Sql(f"substring({value.text}, {start}, {whole_number(length, 'its length', 0, TEXT_LITERAL_MAX)})", "string")


def _side(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    value = of_kind(compile_expression(node.this, leaf), "string")
    name = type(node).__name__.lower()
    return Sql(f"{name}({value.text}, {whole_number(node.expression, 'a length', 0, TEXT_LITERAL_MAX)})", "string")


def _concat(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    left = of_kind(compile_expression(node.this, leaf), "string")
    right = of_kind(compile_expression(node.expression, leaf), "string")
    return Sql(f"({left.text} || {right.text})", "string")


def _truncate(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "unit")
    value = of_kind(compile_expression(node.this, leaf), "date", "timestamp")
    unit = str(getattr(node.args.get("unit"), "this", "")).lower()
    if unit not in _DAY_UNITS and not (unit in _TIME_UNITS and value.kind == "timestamp"):
        raise UsageError("this unit of date_trunc is not offered", hint=f"one of {', '.join(_DAY_UNITS)}")
    if value.kind == "date":
        return Sql(f"try_cast(try(date_trunc('{unit}', {value.text})) as date)", "date")
    return Sql(f"date_trunc('{unit}', {value.text})", "timestamp")


def _part(node: Any, leaf: Leaf) -> Sql:
    only(node, "this")
    return _part_of(_PARTS[type(node).__name__], node.this, leaf)


def _extract(node: Any, leaf: Leaf) -> Sql:
    only(node, "this", "expression")
    return _part_of(str(getattr(node.this, "this", "")).lower(), node.expression, leaf)


def _anonymous(node: Any, leaf: Leaf) -> Sql:
    given = node.expressions
    if str(node.this).lower() not in ("date_part", "datepart") or len(given) != 2:
        raise not_offered(node)
    return _part_of(str(given[0].this).lower(), given[1], leaf)


def _part_of(part: str, node: Any, leaf: Leaf) -> Sql:
    value = compile_expression(node, leaf)
    if part not in _PARTS.values() or (part in _TIME_UNITS and value.kind != "timestamp"):
        raise UsageError("this part of a date is not offered", hint=f"one of {', '.join(_DAY_UNITS)}")
    return Sql(f"{part}({of_kind(value, 'date', 'timestamp').text})", "int")


_HANDLERS: dict[str, Callable[[Any, Leaf], Sql]] = {
    "Literal": _literal,
    "Boolean": lambda node, _leaf: Sql("true" if node.this else "false", "bool"),
    "Null": lambda _node, _leaf: Sql("null", "null"),
    "Paren": lambda node, leaf: compile_expression(node.this, leaf),
    **dict.fromkeys((*_COMPARISONS, *_NULL_SAFE), _comparison),
    **dict.fromkeys(("And", "Or"), _logic),
    **dict.fromkeys(("Like", "ILike"), _like),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "IntDiv", "Mod"), _arithmetic),
    **dict.fromkeys(("Floor", "Ceil", "Round", "Abs"), _rounding),
    **dict.fromkeys(("Cast", "TryCast"), _cast),
    **dict.fromkeys(("Lower", "Upper", "Length", "Trim"), _text),
    **dict.fromkeys(("Left", "Right"), _side),
    **dict.fromkeys(_PARTS, _part),
    "Not": _not,
    "Is": _is,
    "Between": _between,
    "In": _in,
    "Neg": _negative,
    "Case": _case,
    "If": _if,
    "Coalesce": _coalesce,
    "Nullif": _nullif,
    "Substring": _substring,
    "DPipe": _concat,
    "TimestampTrunc": _truncate,
    "DateTrunc": _truncate,
    "Extract": _extract,
    "Anonymous": _anonymous,
}
