"""What a question over a table may see, and what it was planned to be: values without behaviour of their own.

Rules kept here:

1. A view names every field of its table, also those that are not shown, so that a refusal can say why.
2. A plan holds words of this library only; names of the caller are in `names`, which the engine never sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from strongroom.purpose.sealed import SealedRule
    from strongroom.purpose.toml import Point
    from strongroom.schema.model import Table

WHOLE, INTERVAL, AMOUNT = "whole", "interval", "amount"
"""What a sealed field is in a question: its value, the interval it falls into, or a bounded number to add up."""


@dataclass(frozen=True)
class SealedUse:
    """What of a sealed field may be added up: see `purpose.sealed.SealedRule`.

    Args:
        whole: Whether it is a dimension.
        cuts: Its cut points.
        bounds: The least and the most that a record adds to its sum.
    """

    whole: bool = False
    cuts: tuple[Point, ...] = ()
    bounds: tuple[Point, Point] | None = None


class _View(Protocol):
    @property
    def show(self) -> str: ...
    @property
    def mask(self) -> str | None: ...


@dataclass(frozen=True)
class ColumnView:
    """One field as the purpose shows it.

    Args:
        name: Field name.
        type: Type in the schema.
        klass: Class; only `open` can be asked for in sql, and what `sealed` says.
        show: plain, masked, token or withheld.
        mask: Name of the mask where it is masked.
        nullable: Whether a record may lack it.
        sealed: What of a sealed field may be added up.
        part: In a plan, what a sealed field is: one of `WHOLE`, `INTERVAL`, `AMOUNT`; empty for open fields.
    """

    name: str
    type: str
    klass: str = "open"
    show: str = "plain"
    mask: str | None = None
    nullable: bool = True
    sealed: SealedUse | None = None
    part: str = ""

    @property
    def kind(self) -> str:
        """Type of what sql sees: a masked value and an interval are text."""
        if self.part:
            return "string" if self.part == INTERVAL else self.type
        return "string" if self.show == "masked" else self.type


@dataclass(frozen=True)
class TableView:
    """One table as the purpose shows it, with all its fields, so that a refusal can say why.

    Args:
        name: Table name.
        records: `one` or `many` records a subject.
        columns: Every field of the table by name.
        purpose: Name of the purpose, for refusals.
        sensitive: Whether the table itself is sensitive: nothing that gives rows starts from it.
        sensitive_classes: Names of sensitive classes.
        step: Persons to a step of answers over sealed fields.
    """

    name: str
    records: str
    columns: Mapping[str, ColumnView]
    purpose: str
    sensitive: bool = False
    sensitive_classes: frozenset[str] = frozenset({"sensitive"})
    step: int = 1

    @classmethod
    def of(
        cls, table: Table, views: Mapping[str, _View], purpose: str, sealed: SealedRule | None = None, step: int = 1
    ) -> TableView:
        """The view of a schema's table under the field views a keymaster granted; an unnamed field is withheld."""
        columns = {}
        uses = {} if sealed is None else {name: _use(sealed, name) for name in sealed.fields}
        for f in table.fields:
            view = views.get(f.name)
            show, mask = ("withheld", None) if view is None else (view.show, view.mask)
            use = None if f.klass == "open" else uses.get(f.name)
            columns[f.name] = ColumnView(f.name, f.type, f.klass, show, mask, f.nullable, use)
        classes = frozenset(name for name, info in table.class_info.items() if info.sensitive)
        return cls(table.name, table.records, columns, purpose, table.klass == "sensitive", classes, step)


def _use(rule: SealedRule, name: str) -> SealedUse:
    return SealedUse(name in rule.dimensions, rule.cuts.get(name, ()), rule.sums.get(name))


@dataclass(frozen=True)
class Plan:
    """What to run, in words of this library only.

    Args:
        kind: `aggregate` or `rows`.
        tables: Names of the tables read (one).
        columns: Fields read, in the order of their names `c0`, `c1` ... in `scan`.
        scan: DuckDB text over relation `data`; groups with hidden counts, or rows with `_file`, `_row`.
        answer: DuckDB text over relation `groups`, the groups that are left; empty for rows.
        names: Column names of the answer.
        guards: Pairs (aggregate, count of persons who have the field) of column names in `groups`.
        grouped: Whether there was a GROUP BY.
        min_group: Fewest distinct persons of a group.
        by_person: Whether distinct persons must be counted by number, for a subject may have several records.
    """

    kind: str
    tables: tuple[str, ...]
    columns: tuple[ColumnView, ...]
    scan: str = field(repr=False)
    answer: str = field(repr=False)
    names: tuple[str, ...]
    guards: tuple[tuple[str, str], ...]
    grouped: bool
    min_group: int
    by_person: bool

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields read, for the log."""
        return tuple(dict.fromkeys(c.name for c in self.columns))

    @property
    def sealed(self) -> tuple[ColumnView, ...]:
        """The columns that come out of sealed cells."""
        return tuple(c for c in self.columns if c.part)
