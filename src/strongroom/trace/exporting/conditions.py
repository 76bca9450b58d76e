"""Conditions on open fields: parsed once, checked against the table, evaluated a column at a time.

A condition is SQL: comparisons of a field with a literal, `in`, `between`, `is null`, joined by `and`, `or`, `not`.
Nothing else is understood. A record whose condition is unknown, because a field has no value, is not chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.keymaster.exports.api import WHERE_LENGTH_MAX
from strongroom.schema.columns import arrow_type
from strongroom.schema.model import OPEN

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.schema.model import Field, Table

NESTING_MAX = 32
VALUES_MAX = 1_000
_FUNCTIONS = {"EQ": "equal", "NEQ": "not_equal", "GT": "greater", "GTE": "greater_equal", "LT": "less",
              "LTE": "less_equal"}  # fmt: skip
_TURNED = {"EQ": "EQ", "NEQ": "NEQ", "GT": "LT", "GTE": "LTE", "LT": "GT", "LTE": "GTE"}
_HINT = "fields and literals: \"district = 3 and (year >= 2020 or area in ('north', 'east'))\""

Columns = Mapping[str, "pa.Array"]
_Test = Callable[[Columns], Any]


@dataclass(frozen=True)
class Condition:
    """A condition that fits a table.

    Args:
        text: As it was given.
        fields: Names of the fields in it, each once.
    """

    text: str = field(repr=False)
    fields: tuple[str, ...]
    _test: _Test = field(repr=False)

    def chosen(self, columns: Columns) -> npt.NDArray[np.bool_]:
        """Which rows meet it, bool[n], from columns of its fields."""
        found = self._test(columns)
        kept: npt.NDArray[np.bool_] = found.fill_null(False).to_numpy(zero_copy_only=False)
        return kept


def parse_condition(text: str, table: Table) -> Condition:
    """Read a condition on open fields of a table.

    Raises:
        UsageError: It says something else; no value of it is in the message.
    """
    if len(text) > WHERE_LENGTH_MAX:
        raise UsageError(f"a condition has at most {WHERE_LENGTH_MAX} characters")
    parsed: Any = None
    import sqlglot

    with suppress(Exception):  # the parser raises many kinds, and quotes what it read
        statements = sqlglot.parse(f"select 1 where {text}", read="duckdb")
        parsed = statements[0] if len(statements) == 1 else None
    where = None if parsed is None or type(parsed).__name__ != "Select" else parsed.args.get("where")
    said = {name for name, value in (parsed.args if where is not None else {}).items() if value}
    if where is None or not said <= {"kind", "expressions", "where"} or len(parsed.expressions) != 1:
        raise UsageError("the condition cannot be read", hint=_HINT)
    reader = _Reader(table)
    test = reader.read(where.this, 0)
    return Condition(text, tuple(reader.fields), test)


class _Reader:
    def __init__(self, table: Table) -> None:
        self._table = table
        self.fields: dict[str, None] = {}

    def read(self, node: Any, depth: int) -> _Test:
        if depth > NESTING_MAX:
            raise UsageError("the condition is nested too deeply")
        kind = type(node).__name__
        if kind == "Paren":
            return self.read(node.this, depth + 1)
        if kind in {"And", "Or"}:
            return _joined(kind, self.read(node.left, depth + 1), self.read(node.right, depth + 1))
        if kind == "Not":
            return _called("invert", self.read(node.this, depth + 1))
        if kind in _FUNCTIONS:
            return self._compared(kind, node.left, node.right)
        if kind == "Is" and type(node.expression).__name__ == "Null":
            name = self._field(node.this).name
            return lambda columns: columns[name].is_null()
        if kind == "Between" and not node.args.get("symmetric"):
            low = self._compared("GTE", node.this, node.args["low"])
            return _joined("And", low, self._compared("LTE", node.this, node.args["high"]))
        if kind == "In" and node.expressions and not node.args.get("query"):
            return self._among(node)
        raise UsageError("the condition has something that is not understood", hint=_HINT)

    def _compared(self, kind: str, left: Any, right: Any) -> _Test:
        if type(left).__name__ != "Column":
            kind, left, right = _TURNED[kind], right, left
        found = self._field(left)
        value, name, function = _value(right, found), found.name, _FUNCTIONS[kind]
        return lambda columns: _call(function, columns[name], value)

    def _among(self, node: Any) -> _Test:
        import pyarrow as pa

        found = self._field(node.this)
        if len(node.expressions) > VALUES_MAX:
            raise UsageError(f"a condition names at most {VALUES_MAX} values of a field")
        values = [_value(value, found) for value in node.expressions]
        wanted, name = pa.array([v.as_py() for v in values], arrow_type(found.type)), found.name

        def test(columns: Columns) -> Any:
            import pyarrow.compute as pc

            column = columns[name]
            inside = pc.is_in(column, value_set=wanted.cast(column.type))
            return pc.if_else(column.is_valid(), inside, pa.scalar(None, pa.bool_()))

        return test

    def _field(self, node: Any) -> Field:
        if type(node).__name__ != "Column" or node.args.get("table"):
            raise UsageError("a condition compares a field with a value", hint=_HINT)
        name = node.name.casefold()
        found = next((f for f in self._table.fields if f.name.casefold() == name), None)
        if found is None:
            known = ", ".join(f.name for f in self._table.open_fields)
            raise UsageError(f"the condition names no field of table {self._table.name}", hint=f"open fields: {known}")
        if found.klass != OPEN:
            raise UsageError(f"a condition is on open fields, and {found.name} is sealed")
        self.fields[found.name] = None
        return found


def _joined(kind: str, left: _Test, right: _Test) -> _Test:
    function = "and_kleene" if kind == "And" else "or_kleene"
    return lambda columns: _call(function, left(columns), right(columns))


def _called(function: str, test: _Test) -> _Test:
    return lambda columns: _call(function, test(columns))


def _call(function: str, *arguments: Any) -> Any:
    import pyarrow.compute as pc

    return pc.call_function(function, list(arguments))


def _value(node: Any, found: Field) -> Any:
    """A literal as an Arrow scalar of the field's type."""
    import pyarrow as pa

    wrong = UsageError(f"field {found.name} is compared with something else than a {found.type}", hint=_HINT)
    kind, negative = type(node).__name__, False
    if kind == "Cast" and node.to.this.value in {"DATE", "TIMESTAMP", "TIMESTAMPNTZ"}:
        node, kind = node.this, type(node.this).__name__
    if kind == "Neg":
        node, kind, negative = node.this, type(node.this).__name__, True
    if kind == "Boolean" and found.type == "bool" and not negative:
        return pa.scalar(bool(node.this), pa.bool_())
    if kind != "Literal":
        raise wrong
    text, quoted = str(node.this), bool(node.is_string)
    value: Any = None
    with suppress(ValueError, OverflowError, pa.ArrowException):
        if quoted and not negative:
            value = _quoted(text, found.type)
        elif not quoted and found.type in {"int", "float"}:
            number = int(text) if found.type == "int" else float(text)
            value = -number if negative else number
        if value is not None:
            return pa.scalar(value, arrow_type(found.type))
    raise wrong


def _quoted(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "timestamp":
        return datetime.fromisoformat(text)
    return None
