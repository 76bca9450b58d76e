"""Turns columns as they come into columns of the schema's types, and says which rows do not fit and why.

Rules it keeps:

1. A value is stored as given: nothing is trimmed or changed, only read as its type. Empty text is null.
2. A row that does not fit is flagged with a field and a reason, and stops nobody; reasons hold no value.
3. The fast path is a cast of the whole column; rows are looked at one by one only in columns where it fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.schema.columns import arrow_type, is_text, one_chunk, plain
from strongroom.schema.model import Field, Table

if TYPE_CHECKING:
    import pyarrow as pa

VALUE_BYTES_MAX = 1 << 20

MISSING = "missing"
TOO_LONG = "too-long"
NOT_OF_TYPE = "not-{}"

Mask = npt.NDArray[np.bool_]
_TRUE = frozenset({"true", "t", "yes", "y", "1", "是", "真"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "否", "假"})
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?$|(\d{4})(\d{2})(\d{2})$")


@dataclass(frozen=True)
class Checked:
    """Columns of the schema's types, one per field of the table; rows flagged in `bad` hold nulls where they failed.

    `reasons` has (mask bool[n], field, reason) for every reason found.
    """

    columns: dict[str, pa.Array] = field(repr=False)
    bad: Mask
    reasons: list[tuple[Mask, str, str]]


def check(table: Table, columns: Mapping[str, pa.Array]) -> Checked:
    """Check columns against a table.

    Args:
        table: The table version in force.
        columns: Columns by field name, all of one length, as text or typed; absent fields are null.

    Returns:
        Typed columns of every field, and which rows do not fit.
    """
    import pyarrow as pa

    rows = len(next(iter(columns.values()))) if columns else 0
    bad = np.zeros(rows, bool)
    reasons: list[tuple[Mask, str, str]] = []
    typed: dict[str, pa.Array] = {}
    for f in table.fields:
        if f.name not in columns:
            typed[f.name] = pa.nulls(rows, arrow_type(f.type))
        else:
            typed[f.name], failed = _typed(columns[f.name], f)
            if failed is not None and failed.any():
                reasons.append((failed, f.name, NOT_OF_TYPE.format(f.type)))
        for mask, reason in _limits(typed[f.name], f, bad):
            reasons.append((mask, f.name, reason))
        for mask, name, _ in reasons:
            if name == f.name:
                bad |= mask
    return Checked(typed, bad, reasons)


def _limits(column: pa.Array, f: Field, _bad: Mask) -> list[tuple[Mask, str]]:
    import pyarrow.compute as pc

    found: list[tuple[Mask, str]] = []
    if not f.nullable and column.null_count:
        found.append((np.asarray(column.is_null()), MISSING))
    if f.type in ("string", "binary") and column.nbytes > VALUE_BYTES_MAX:
        long = np.asarray(pc.fill_null(pc.greater(pc.binary_length(column), VALUE_BYTES_MAX), False))
        if long.any():
            found.append((long, TOO_LONG))
    return found


def _typed(column: pa.Array | pa.ChunkedArray, f: Field) -> tuple[pa.Array, Mask | None]:
    """The column as the field's type, and which rows could not be read as it (null there)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = one_chunk(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = arrow_type(f.type)
    if is_text(array.type):
        array = plain(array, "string", f.name)
        empty = pc.equal(pc.binary_length(array), 0)
        if pc.any(empty).as_py():
            array = pc.if_else(pc.fill_null(empty, False), pa.scalar(None, array.type), array)
        if f.type == "string":
            return array, None
        return _parsed(array, f.type, target)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target), None
    if f.type == "string" and pa.types.is_integer(array.type):
        return array.cast(pa.string()), None
    if f.type == "timestamp" and pa.types.is_timestamp(array.type) and array.type.tz is None:
        array = pc.assume_timezone(array, "UTC")
    try:
        if pa.types.is_floating(array.type) and f.type in ("int", "bool"):
            return array.cast(target, safe=True), None
        return array.cast(target), None
    except (pa.ArrowException, ValueError):
        return _slow(array, f.type, target)


def _parsed(array: pa.Array, kind: str, target: Any) -> tuple[pa.Array, Mask | None]:
    """Text read as a type: whole column at once, or row by row where that fails."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if kind == "timestamp":
            zoned = pc.any(pc.match_substring_regex(array, r"[+-]\d\d:?\d\d$|Z$")).as_py()
            if not zoned:
                return pc.assume_timezone(array.cast(pa.timestamp("us")), "UTC"), None
        if kind == "binary":
            return array.cast(target), None
        return array.cast(target), None
    except (pa.ArrowException, ValueError):
        return _slow(array, kind, target)


def _slow(array: pa.Array, kind: str, target: Any) -> tuple[pa.Array, Mask]:
    """Each distinct value read on its own; those that cannot be are null and flagged."""
    import pyarrow as pa

    encoded = array.dictionary_encode()
    read = _READERS[kind]
    values: list[Any] = []
    failed: list[bool] = []
    for value in encoded.dictionary.to_pylist():
        try:
            values.append(pa.scalar(read(value), target).as_py())
            failed.append(False)
        except (ValueError, TypeError, OverflowError, pa.ArrowException):
            values.append(None)
            failed.append(True)
    bad_value = np.array([*failed, False])
    places = np.asarray(encoded.indices.fill_null(len(failed)))
    return pa.array(values, target).take(encoded.indices), bad_value[places]


def _whole(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not whole")
    return int(value)


def _truth(value: Any) -> bool:
    word = str(value).strip().casefold()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("not a truth value")


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    match = _DATE.match(str(value).strip())
    if match is None:
        raise ValueError("not a date")
    year, month, day = (int(part) for part in match.groups() if part is not None)
    return date(year, month, day)


def _moment(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip().replace("/", "-"))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "string": str,
    "int": _whole,
    "float": float,
    "bool": _truth,
    "date": _day,
    "timestamp": _moment,
    "binary": _bytes,
}
