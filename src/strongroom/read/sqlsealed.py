"""Where a sealed field may stand in a question, and what its aggregates are rounded to.

Rules kept here:

1. A dimension stands whole, as a group or compared with literals; any other field is the interval it falls into,
   compared with those intervals only. Neither stands inside a function, a pattern or an arithmetic expression.
2. Of numbers there are sums and averages, each record bounded by the policy's range (`sealed`).
3. In a question that touches a sealed field every count is a multiple of the purpose's step, and every sum of what so
   many persons can add: two answers that differ in one person differ by nothing, or by a whole step. Sums of open
   fields, which would tell who is in a group, and counts of distinct values are not offered beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from strongroom.errors import DeniedError
from strongroom.purpose.sealed import intervals
from strongroom.read.sqlplan import AMOUNT, INTERVAL, WHOLE, ColumnView

_ITEMS = frozenset({"Select", "Alias", "Group", "Ordered", "NoneType"})
_COMPARED = frozenset({"EQ", "NEQ", "NullSafeEQ", "NullSafeNEQ"})
_CONDITIONS = frozenset({"Where", "Having", "And", "Or", "Not"})
_LITERALS = frozenset({"Literal", "Boolean", "Null"})


def standing(node: Any, column: ColumnView, place: str) -> ColumnView:
    """The column that a sealed field is where its name stands, whole or as its interval.

    Args:
        node: The field's name as parsed, in its question.
        column: What the purpose declares of it.
        place: The field in words.

    Raises:
        DeniedError: It may not stand there.
    """
    use = column.sealed
    assert use is not None
    if not use.whole and not use.cuts:
        raise DeniedError(
            f"{place} is for sums only",
            rule="sealed fields are used as declared",
            hint="ask for sum or avg of it",
        )
    child, parent = node, node.parent
    while type(parent).__name__ == "Paren":
        child, parent = parent, parent.parent
    kind = type(parent).__name__
    if kind in _COMPARED or kind == "In":
        if kind == "In":
            others = list(parent.expressions) if parent.this is child else [child]
        else:
            others = [parent.expression if parent.this is child else parent.this]
        _check_others(others, column, place)
    elif not (kind in _ITEMS or kind == "Is" or (column.type == "bool" and kind in _CONDITIONS)):
        raise DeniedError(
            f"{place} is sealed: it stands alone, or is compared with values",
            rule="sealed fields stand whole",
            hint="group by it, or compare it with =, <> or in",
        )
    return replace(column, part=WHOLE if use.whole else INTERVAL)


def _check_others(others: list[Any], column: ColumnView, place: str) -> None:
    """What a sealed field is compared with: literals, and of a cut field its intervals."""
    bare = [_bare(other) for other in others]
    if not all(type(other).__name__ in _LITERALS for other in bare):
        raise DeniedError(f"{place} is sealed: it is compared with literals only", rule="sealed fields stand whole")
    assert column.sealed is not None
    if column.sealed.cuts:
        known = intervals(column.sealed.cuts)
        if not all(type(o).__name__ == "Null" or (o.is_string and str(o.this) in known) for o in bare):
            raise DeniedError(
                f"{place} is compared with the intervals it falls into, and with nothing between them",
                rule="sealed fields are seen by interval",
                hint=f"one of {', '.join(known)}",
            )


def _bare(node: Any) -> Any:
    while type(node).__name__ in {"Paren", "Neg"}:
        node = node.this
    return node


def measured(kind: str, column: ColumnView, place: str, *, distinct: bool) -> ColumnView:
    """The column that an aggregate takes of a sealed field: amounts for sums and averages, or what is counted.

    Raises:
        DeniedError: The purpose declares no such aggregate of it.
    """
    use = column.sealed
    assert use is not None
    if distinct:
        raise _no_distinct()
    if kind == "Count":
        return replace(column, part=WHOLE if use.whole else INTERVAL if use.cuts else AMOUNT)
    if kind not in {"Sum", "Avg"} or use.bounds is None:
        raise DeniedError(
            f"{place} has no such aggregate under this purpose",
            rule="sealed fields have declared sums",
            hint="count it, or group by it",
        )
    return replace(column, part=AMOUNT)


def _no_distinct() -> DeniedError:
    return DeniedError(
        "distinct values are not counted in a question over sealed fields",
        rule="sealed questions count persons in steps",
        hint="group by the field",
    )


def stepped(kind: str, name: str, column: ColumnView | None, step: int, *, distinct: bool) -> str:
    """The text of an aggregate of a question over sealed fields, rounded.

    Args:
        kind: Count, Sum, Avg or another.
        name: What the engine calls its column; `*` for all rows.
        column: What it is of; None for all rows.
        step: Persons to a step.
        distinct: Whether it counts distinct values.

    Raises:
        DeniedError: It is exact by nature, and would tell who is in a group.
    """
    if distinct:
        raise _no_distinct()
    if kind == "Count":
        return f"cast({_rounded(f'count({name})', float(step))} as bigint)"
    if column is None or column.sealed is None or column.sealed.bounds is None:
        raise DeniedError(
            "sums of open fields are not offered in a question over sealed fields",
            rule="sealed questions have declared sums",
            hint="group by the open field, or ask about open fields alone",
        )
    unit = step * max(abs(float(bound)) for bound in column.sealed.bounds)
    total = _rounded(f"sum({name})", unit)
    if kind == "Avg":
        return f"try_cast({total} / nullif({_rounded(f'count({name})', float(step))}, 0) as double)"
    return f"try_cast({total} as {'bigint' if column.type == 'int' else 'double'})"


def _rounded(text: str, unit: float) -> str:
    return f"(round({text} / cast('{unit!r}' as double)) * cast('{unit!r}' as double))"


def no_rows(columns: list[ColumnView]) -> None:
    """Refuse rows of persons that show, or are chosen by, a sealed field."""
    if any(column.part for column in columns):
        raise DeniedError("rows of persons hold and follow no sealed field", rule="sealed fields give no rows")
