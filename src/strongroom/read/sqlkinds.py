"""Types, literals and refusals that compiled SQL expressions are made with.

Rules kept here:

1. Values that meet are brought to one type here, or refused: the engine is left nothing to cast on its own.
2. A literal is read and written again; what is written cannot end the literal it stands in.
3. A refusal names a construct, a type or a bound, never what the caller wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from strongroom.errors import UsageError

INT_MAX = 2**63 - 1
TEXT_LITERAL_MAX = 1_000
CASTS = {
    "INT": ("bigint", "int"),
    "BIGINT": ("bigint", "int"),
    "SMALLINT": ("bigint", "int"),
    "TINYINT": ("bigint", "int"),
    "FLOAT": ("double", "float"),
    "DOUBLE": ("double", "float"),
    "TEXT": ("varchar", "string"),
    "VARCHAR": ("varchar", "string"),
    "BOOLEAN": ("boolean", "bool"),
    "DATE": ("date", "date"),
    "TIMESTAMP": ("timestamp", "timestamp"),
    "TIMESTAMPNTZ": ("timestamp", "timestamp"),
}
_SINGLE = frozenset(
    "Min Max AnyValue First Last FirstValue LastValue NthValue ArgMin ArgMax ArrayAgg GroupConcat Median Mode"  # noqa: SIM905
    " Quantile ApproxQuantile PercentileCont PercentileDisc IgnoreNulls RespectNulls".split()
)
_SINGLE_NAMES = frozenset(
    "list any_value arbitrary first last min_by max_by arg_min_null arg_max_null histogram mad quantile"  # noqa: SIM905
    " reservoir_quantile approx_top_k string_agg group_concat listagg bit_xor product".split()
)
MEASURES = {
    "Sum": "sum",
    "Avg": "avg",
    "Stddev": "stddev_samp",
    "StddevSamp": "stddev_samp",
    "StddevPop": "stddev_pop",
    "Variance": "var_samp",
    "VariancePop": "var_pop",
}
_QUIET_ARGS = {"safe", "typed", "big_int", "coalesce", "nested", "_type"}


@dataclass(frozen=True)
class Sql:
    """Compiled text and its type; `literal` is set where it is a text literal that may still become a date.

    Args:
        text: DuckDB text, safe to place between brackets.
        kind: int, float, string, bool, date, timestamp or null.
        literal: The literal's own text, or None.
    """

    text: str
    kind: str
    literal: str | None = None


Leaf = Callable[[Any], "Sql | None"]


def text_literal(value: str) -> str:
    """A text literal as DuckDB reads it, whatever the text."""
    if len(value) > TEXT_LITERAL_MAX or "\0" in value:
        raise UsageError(f"a text in sql has at most {TEXT_LITERAL_MAX} characters and no NUL")
    if value.encode("utf-8", "replace").decode("utf-8") != value:
        raise UsageError("a text in sql is not valid Unicode")
    return "'" + value.replace("'", "''") + "'"


def not_offered(node: Any) -> UsageError:
    """The refusal of a construct, by its name and without its content."""
    name = type(node).__name__
    if name == "Anonymous":
        given = str(node.this)
        word = given.lower() if re.fullmatch(r"[A-Za-z_][A-Za-z_]{0,39}", given) else "of this name"
        return UsageError(f"function {word} is not offered in sql")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return UsageError(f"{words} is not offered in sql", hint="sql answers one plain select over one table")


def only(node: Any, *allowed: str) -> None:
    """Refuse a node that carries an argument its compiler does not read."""
    for key, value in node.args.items():
        if value is None or value is False or value == []:
            continue
        if key not in allowed and key not in _QUIET_ARGS:
            raise UsageError(f"{key.strip('_')} in {type(node).__name__.lower()} is not offered in sql")


def whole_number(node: Any, what: str, least: int, most: int) -> int:
    """The value of a literal whole number within bounds; UsageError otherwise."""
    text = str(node.this) if type(node).__name__ == "Literal" and not node.is_string else ""
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise UsageError(f"{what} must be a number between {least} and {most}")
    return int(text)


def unify(parts: Sequence[Sql]) -> tuple[list[Sql], str]:
    """Bring values that meet (compared, or branches of one case) to one type.

    Raises:
        UsageError: Their types cannot meet without a cast that the caller must write.
    """
    kinds = {p.kind for p in parts if p.literal is None and p.kind != "null"}
    for target in ("timestamp", "date"):
        if target in kinds:
            parts = [dated(p, target) if p.literal is not None else p for p in parts]
            break
    kinds = {p.kind for p in parts} - {"null"}
    if kinds <= {"int", "float"}:
        return list(parts), "float" if "float" in kinds else next(iter(kinds), "null")
    if kinds == {"date", "timestamp"}:
        raised = [Sql(f"try_cast({p.text} as timestamp)", "timestamp") if p.kind == "date" else p for p in parts]
        return raised, "timestamp"
    if len(kinds) > 1:
        raise UsageError(
            f"sql does not mix {' and '.join(sorted(kinds))}", hint="cast one side, as in cast(field as text)"
        )
    return list(parts), next(iter(kinds))


def dated(part: Sql, target: str) -> Sql:
    """A text literal as the date or timestamp it stands for; UsageError when it stands for none."""
    given = part.literal or ""
    when: datetime | None = None
    with suppress(ValueError, OverflowError):
        if target == "date" and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
            return Sql(f"date '{date.fromisoformat(given).isoformat()}'", "date")
        when = datetime.fromisoformat(given)
        if when.tzinfo is not None:
            when = when.astimezone(UTC).replace(tzinfo=None)
    if when is None:
        raise UsageError(f"a text compared with a {target} is not a {target}", hint="write 2024-01-31")
    return Sql(f"timestamp '{when.isoformat(sep=' ')}'", "timestamp")


def of_kind(value: Sql, *kinds: str) -> Sql:
    """A value of one of the kinds asked for; null becomes the first; UsageError otherwise."""
    if value.kind == "null":
        return Sql(f"cast(null as {ENGINE_TYPES[kinds[0]]})", kinds[0])
    if value.literal is not None and "string" not in kinds and "date" in kinds:
        return dated(value, "date")
    if value.kind not in kinds:
        raise UsageError(f"sql has a {value.kind} where {' or '.join(kinds)} is needed")
    return value


ENGINE_TYPES = {kind: engine_type for engine_type, kind in CASTS.values()}


def single(node: Any) -> bool:
    """Whether a node is a function that gives one person's value."""
    name = type(node).__name__
    return name in _SINGLE or (name == "Anonymous" and str(node.this).lower() in _SINGLE_NAMES)


def function_name(node: Any) -> str:
    """The name of an aggregate as a refusal says it."""
    name = str(node.this).lower() if type(node).__name__ == "Anonymous" else type(node).__name__.lower()
    return {"groupconcat": "string_agg", "arrayagg": "list", "anyvalue": "any_value"}.get(name, name)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names made different where they are not, in their order."""
    taken: dict[str, None] = {}
    for name in names:
        other, n = name, 1
        while other in taken:
            n += 1
            other = f"{name}_{n}"
        taken[other] = None
    return tuple(taken)
