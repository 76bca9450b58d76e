"""What of a table's sealed fields a purpose may add up: dimensions, cut points, sums.

Rules it keeps:

1. Nothing that names a person: no subject, no field with an index or tokens, no number or address that stands for one.
2. A dimension has few values by declaration; every other field is seen as the interval it falls into, or in a sum to
   which no record adds more than the stated range.
3. Groups have at least `MIN_GROUP_SEALED` persons, and no rows are returned beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from strongroom.errors import PolicyError
from strongroom.purpose.toml import Node, Point, nearest

if TYPE_CHECKING:
    from strongroom.purpose.model import Purpose
    from strongroom.schema.model import Field, Schema, Table

MIN_GROUP_SEALED = 10
STEP_DEFAULT = 10
QUESTIONS_DEFAULT = 100
CUTS_MAX = 100
BOUND_MAX = 10**15
_NUMBERS = ("int", "float")
_DATES = ("date", "timestamp")
_NAMING_STEPS = ("id", "email")


@dataclass(frozen=True)
class SealedRule:
    """What of one table's sealed fields may be added up.

    Args:
        dimensions: Fields used whole, as a group or compared with a value.
        cuts: Field to its cut points, ascending: it is seen as the interval it falls into. Dates are ISO texts.
        sums: Field to the least and the most that a record adds to a sum.
    """

    dimensions: tuple[str, ...] = ()
    cuts: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    sums: Mapping[str, tuple[Point, Point]] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields it names, each once."""
        return tuple(dict.fromkeys((*self.dimensions, *self.cuts, *self.sums)))


def intervals(points: tuple[Point, ...]) -> tuple[str, ...]:
    """The texts of the intervals between cut points, from the lowest: `< 0`, `[0, 1000)`, `>= 1000`."""
    between = (f"[{low}, {high})" for low, high in pairwise(points))
    return (f"< {points[0]}", *between, f">= {points[-1]}")


def names_a_person(one: Field, table: Table) -> bool:
    """Whether a field says who somebody is, so that nothing is grouped by it."""
    steps = any(step in _NAMING_STEPS or step.startswith("phone:") for step in one.normalise)
    return one.name == table.subject or one.find or one.token or steps


def read_sealed(node: Node) -> dict[str, SealedRule]:
    """Read `sealed` of a purpose: a table of rules by table name."""
    found = {}
    for name in node.names():
        inner = node.table(name)
        inner.only("dimensions", "cuts", "sums")
        cuts, sums = inner.table("cuts"), inner.table("sums")
        found[name] = SealedRule(
            inner.words("dimensions"),
            {cut: cuts.points(cut) for cut in cuts.names()},
            {one: _range(sums, one) for one in sums.names()},
        )
        if not found[name].fields:
            raise PolicyError(f"{inner.path} names no field", hint='dimensions = ["ethnicity"], cuts or sums')
    return found


def _range(node: Node, key: str) -> tuple[Point, Point]:
    given = node.points(key)
    if len(given) != 2:
        raise PolicyError(f"{node.place(key)} must be the least and the most that one record adds", hint="[0, 100000]")
    return given[0], given[1]


def check_sealed(purpose: Purpose, schema: Schema) -> None:
    """Check that what a purpose says of sealed fields holds under a schema.

    Raises:
        PolicyError: With the place, and what to change.
    """
    if not purpose.sealed:
        return
    place = f"purposes.{purpose.name}"
    _check_sql(purpose, place)
    for name, rule in purpose.sealed.items():
        here = f"{place}.sealed.{name}"
        if name not in purpose.tables:
            hint = f"add {place}.tables.{name}"
            raise PolicyError(f"{here} is of a table that the purpose does not reach", hint=hint)
        table = schema.tables[name]
        twice = set(rule.dimensions) & {*rule.cuts, *rule.sums}
        if twice:
            raise PolicyError(f"{here} uses field {min(twice)} whole and cut", hint="a dimension is shown as it is")
        for one in (_known(table, field_name, here) for field_name in rule.fields):
            _check_field(purpose, schema, table, one, here)
        for field_name in rule.dimensions:
            _check_dimension(table.field(field_name), here)
        for field_name, points in rule.cuts.items():
            _check_cuts(table.field(field_name), points, f"{here}.cuts.{field_name}")
        for field_name, bounds in rule.sums.items():
            _check_sum(table, table.field(field_name), bounds, f"{here}.sums.{field_name}")


def _check_sql(purpose: Purpose, place: str) -> None:
    sql = purpose.sql
    if sql is None:
        raise PolicyError(f"{place}.sealed is for sql, which the purpose does not allow", hint='add "sql" to its verbs')
    if sql.rows:
        raise PolicyError(f"{place}.sql.rows returns rows beside aggregates of sealed fields", hint="rows = false")
    if sql.min_group < MIN_GROUP_SEALED:
        problem = f"{place}.sql.min_group is below {MIN_GROUP_SEALED}, the least where sealed fields are added up"
        raise PolicyError(problem, hint=f"min_group = {MIN_GROUP_SEALED}, or more")
    if sql.step > sql.min_group:
        raise PolicyError(f"{place}.sql.step is larger than its min_group", hint="a group must count for something")


def _known(table: Table, name: str, place: str) -> Field:
    if not table.has_field(name):
        hint = nearest(name, [f.name for f in table.fields])
        raise PolicyError(f"{place} names {name!r}, which is no field of table {table.name}", hint=hint)
    return table.field(name)


def _check_field(purpose: Purpose, schema: Schema, table: Table, one: Field, place: str) -> None:
    if one.klass == "open":
        hint = f"show it in purposes.{purpose.name}.tables.{table.name}"
        raise PolicyError(f"{place} names field {one.name}, which is open already", hint=hint)
    if names_a_person(one, table):
        raise PolicyError(f"{place} names field {one.name}, which says who somebody is", hint="take it out")
    info = schema.classes.get(one.klass)
    if info is not None and info.sensitive and purpose.sensitive is None:
        raise PolicyError(
            f"{place} adds up field {one.name} of sensitive class {one.klass}, and the purpose does not say why",
            hint=f'purposes.{purpose.name}.sensitive = "why this purpose must"',
        )


def _check_dimension(one: Field, place: str) -> None:
    if one.type == "bool" or (one.type in {"string", "int"} and one.low_cardinality):
        return
    few = "declare low_cardinality = true in the schema, if it has few"
    hint = "give it cuts" if one.type in {*_NUMBERS, *_DATES} else few
    raise PolicyError(f"{place}.dimensions names field {one.name}, which may have many values", hint=hint)


def _check_cuts(one: Field, points: tuple[Point, ...], place: str) -> None:
    if one.type not in {*_NUMBERS, *_DATES}:
        raise PolicyError(f"{place} cuts a {one.type}: only numbers and dates have cut points")
    if not 1 <= len(points) <= CUTS_MAX:
        raise PolicyError(f"{place} has {len(points)} cut points, of 1 to {CUTS_MAX}")
    wrong = "dates" if one.type in _DATES else "whole numbers" if one.type == "int" else "numbers"
    if not all(_fits(one.type, point) for point in points):
        raise PolicyError(f"{place} has a cut point of another kind", hint=f"the field holds {wrong}")
    ordered: Any = points
    if not all(low < high for low, high in pairwise(ordered)):
        raise PolicyError(f"{place} is not in ascending order")


def _check_sum(table: Table, one: Field, bounds: tuple[Point, Point], place: str) -> None:
    if one.type not in _NUMBERS:
        raise PolicyError(f"{place} adds up a {one.type}: only numbers have sums")
    if table.records != "one":
        problem = f"{place}: table {table.name} holds many records a subject, so no range bounds what a person adds"
        raise PolicyError(problem, hint="counts and cuts are allowed")
    if not all(_fits(one.type, bound) for bound in bounds):
        raise PolicyError(f"{place} has a bound of another kind", hint="whole numbers for int, numbers for float")
    low, high = (float(bound) for bound in bounds)
    if not low < high or max(abs(low), abs(high)) > BOUND_MAX:
        raise PolicyError(f"{place} is no range", hint=f"the least, then the most, at most {BOUND_MAX}")


def _fits(kind: str, point: Point) -> bool:
    if kind in _DATES:
        with suppress(ValueError):
            return isinstance(point, str) and date.fromisoformat(point).isoformat() == point
        return False
    return isinstance(point, int) or (kind == "float" and isinstance(point, float) and math.isfinite(point))


def sealed_lines(purpose: Purpose, table: str, only: str | None) -> Iterator[str]:
    """What `explain` says of the sealed fields of a table, or of one of them."""
    rule = purpose.sealed.get(table)
    if rule is None or purpose.sql is None or (only is not None and only not in rule.fields):
        return
    said = [name for name in rule.dimensions if only in {None, name}]
    said += [f"{name} as {', '.join(intervals(points))}" for name, points in rule.cuts.items() if only in {None, name}]
    said += [
        f"sums of {name}, each record between {low} and {high}"
        for name, (low, high) in rule.sums.items()
        if only in {None, name}
    ]
    yield (
        f"  sealed, in groups of at least {purpose.sql.min_group} persons, in steps of {purpose.sql.step}, through a"
        f" server: {'; '.join(said)}"
    )
