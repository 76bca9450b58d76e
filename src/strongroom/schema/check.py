"""Turns columns as they were read into typed columns, and says which rows do not fit, and why.

Rules kept here:

1. A row that does not fit never stops the others: it is flagged with its field and a reason code, without values.
2. Text is kept as given, white space and all; only what becomes another type is trimmed for reading.
3. A column that is all good is converted as a whole; only the distinct values of one that is not are looked at.
4. What would be lost is refused: a value in an unknown field, digits beyond a microsecond, half a whole number.

Reason codes: missing, unknown-field, too-long, not-utf8, out-of-range, not-a-string, not-an-int, not-a-float,
not-a-bool, not-a-date, not-a-timestamp, not-a-binary.

How single texts are read is left to `reading`; which fields there are to `parse`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import InputError
from strongroom.schema import reading
from strongroom.schema.columns import arrow_type, is_bytes, is_text, one_chunk
from strongroom.schema.model import Field, Table
from strongroom.schema.normalise import normalise
from strongroom.schema.packing import RANGES

VALUE_BYTES_MAX = 1 << 20
SUBJECT_BYTES_MAX = 1_024
FEW_VALUES_MAX = 256
FEW_VALUES_ROWS_MIN = 10_000

Mask = npt.NDArray[np.bool_]
Reasons = list[tuple[Mask, str]]


@dataclass(frozen=True)
class Checked:
    """Columns of a table's types, and the rows that do not fit.

    Args:
        columns: One typed array per field of the table; null where a value does not fit.
        bad: Whether a row has any reason against it, bool[n].
        reasons: (mask bool[n], field name, reason code): only those that occur. A row may have several.
        subjects: Normalised identifier of each row's subject; null where it is missing.
    """

    columns: Mapping[str, pa.Array] = field(repr=False)
    bad: Mask = field(repr=False)
    reasons: list[tuple[Mask, str, str]] = field(repr=False)
    subjects: pa.Array = field(repr=False)


def check(
    table: Table,
    columns: Mapping[str, pa.Array | pa.ChunkedArray],
    *,
    empty_is_null: bool = True,
    ignore: Collection[str] = (),
) -> Checked:
    """Convert columns to the types of a table.

    Args:
        table: Whose fields the columns are. A field without a column is null.
        columns: By field name, of the same length: text (as in CSV), or any Arrow type that holds such values.
        empty_is_null: Whether empty text stands for null; always so where the field is not a string.
        ignore: Names of columns that are left out on purpose.

    Raises:
        InputError: The columns differ in length, or there is none.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise InputError("the columns differ in length" if lengths else "there are no columns")
    rows = lengths.pop()
    reasons: list[tuple[Mask, str, str]] = []
    typed: dict[str, pa.Array] = {}
    for f in table.fields:
        column = columns.get(f.name)
        found: Reasons = []
        if column is None:
            typed[f.name] = pa.nulls(rows, arrow_type(f.type))
        else:
            typed[f.name], found = _field(column, f, empty_is_null)
        if not f.nullable:
            found += _missing(typed[f.name], found)
        reasons += [(mask, f.name, code) for mask, code in found]
    subjects = _subjects(table, typed, reasons)
    for name, column in columns.items():
        if not table.has_field(name) and name not in ignore:
            mask = _filled(column)
            if mask.any():
                reasons.append((mask, name, "unknown-field"))
    bad = np.zeros(rows, np.bool_)
    for mask, _, _ in reasons:
        bad |= mask
    return Checked(columns=typed, bad=bad, reasons=reasons, subjects=subjects)


def too_few_values(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether an index on this column would find groups rather than persons.

    True when at least 10,000 values were seen and they are at most 256 different ones.
    """
    values = len(column) - column.null_count
    if values < FEW_VALUES_ROWS_MIN:
        return False
    if not pa.types.is_dictionary(column.type) and pc.count_distinct(column[:FEW_VALUES_ROWS_MIN]).as_py() > (
        FEW_VALUES_MAX
    ):
        return False
    return int(pc.count_distinct(_decoded(column)).as_py()) <= FEW_VALUES_MAX


# -- rows that lack something ------------------------------------------------------------------------


def _missing(column: pa.Array, found: Reasons) -> Reasons:
    if not column.null_count:
        return []
    mask = np.asarray(pc.is_null(column))
    for other, _ in found:
        mask = mask & ~other
    return [(mask, "missing")] if mask.any() else []


def _subjects(table: Table, typed: Mapping[str, pa.Array], reasons: list[tuple[Mask, str, str]]) -> pa.Array:
    f = table.subject_field
    column = typed[f.name]
    subjects = normalise(column, f.normalise, name=f.name)
    # White space alone is a value, but nobody's identifier.
    blank = np.asarray(pc.is_null(subjects)) & np.asarray(pc.is_valid(column))
    if subjects.null_count and blank.any():
        reasons.append((blank, f.name, "missing"))
    length = pc.max(pc.binary_length(subjects)).as_py() or 0
    if length > SUBJECT_BYTES_MAX:
        mask = np.asarray(pc.greater(pc.binary_length(subjects), SUBJECT_BYTES_MAX).fill_null(False))
        reasons.append((mask, f.name, "too-long"))
    return subjects


def _filled(column: pa.Array | pa.ChunkedArray) -> Mask:
    column = _decoded(column)
    valid = np.array(pc.is_valid(column))
    if is_text(column.type) or is_bytes(column.type):
        valid &= np.asarray(pc.greater(pc.binary_length(column), 0).fill_null(False))
    return valid


def _decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array that is neither dictionary nor view."""
    array = one_chunk(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if pa.types.is_binary_view(array.type):
        array = array.cast(pa.binary())
    return array


# -- one field ---------------------------------------------------------------------------------------


def _field(column: pa.Array | pa.ChunkedArray, f: Field, empty_is_null: bool) -> tuple[pa.Array, Reasons]:
    wanted = arrow_type(f.type)
    array = _decoded(column)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), wanted), []
    if f.type == "string":
        array, reasons = _text(array, empty_is_null)
    elif f.type == "binary" and is_bytes(array.type):
        array, reasons = _short(array.cast(wanted))
    elif is_text(array.type) or is_bytes(array.type):
        array, reasons = _text(array, empty_is_null=True)
        array, more = reading.read(array, f.type)
        reasons += more
    else:
        array, reasons = _typed(array, f.type)
    return _within(array, f.type, reasons)


def _text(array: pa.Array, empty_is_null: bool) -> tuple[pa.Array, Reasons]:
    reasons: Reasons = []
    if pa.types.is_integer(array.type):
        array = array.cast(pa.string())
    elif not is_text(array.type) and not is_bytes(array.type):
        return _none(array, "string")
    try:
        if is_bytes(array.type):
            array = array.cast(pa.binary()).cast(pa.string())
        array.validate(full=True)
    except pa.ArrowInvalid:
        array, reasons = _utf8(array)
    array, long = _short(array)
    if empty_is_null:
        length = pc.binary_length(array)
        if pc.min(length).as_py() == 0:
            array = pc.if_else(pc.equal(length, 0), pa.scalar(None, array.type), array)
    return array.cast(pa.string()), reasons + long


def _utf8(array: pa.Array) -> tuple[pa.Array, Reasons]:
    """Null where bytes are not UTF-8: one by one, since something is broken anyway."""
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    raw = array.view(pa.large_binary() if large else pa.binary()).to_pylist()
    texts = [None if value is None else reading.utf8(value) for value in raw]
    good = pa.array(texts, pa.string())
    mask = np.asarray(pc.is_null(good)) & np.asarray(pc.is_valid(array))
    return good, [(mask, "not-utf8")] if mask.any() else []


def _short(array: pa.Array) -> tuple[pa.Array, Reasons]:
    length = pc.binary_length(array)
    if (pc.max(length).as_py() or 0) <= VALUE_BYTES_MAX:
        return array, []
    long = pc.greater(length, VALUE_BYTES_MAX).fill_null(False)
    return pc.if_else(long, pa.scalar(None, array.type), array), [(np.asarray(long), "too-long")]


def _none(array: pa.Array, field_type: str) -> tuple[pa.Array, Reasons]:
    """A column of a type that such a field cannot come from: every value is refused."""
    mask = np.array(pc.is_valid(array))
    return pa.nulls(len(array), arrow_type(field_type)), _reason(mask, reading.CODES[field_type])


def _reason(mask: Mask, code: str) -> Reasons:
    return [(mask, code)] if mask.any() else []


def _typed(array: pa.Array, field_type: str) -> tuple[pa.Array, Reasons]:
    """Convert numbers, dates and times; refuse those that do not come back the same."""
    wanted, t = arrow_type(field_type), pa.types
    if array.type == wanted:
        return array, []
    number = t.is_integer(array.type) or t.is_floating(array.type) or t.is_decimal(array.type)
    moment = t.is_date(array.type) or t.is_timestamp(array.type)
    if not {"int": number, "float": number, "bool": t.is_integer(array.type)}.get(field_type, moment):
        return _none(array, field_type)
    if field_type == "float" and t.is_decimal(array.type):
        return array.cast(wanted), []
    if t.is_timestamp(array.type) and array.type.tz:
        array = array.cast(pa.timestamp(array.type.unit))
    through = pa.int64() if field_type == "bool" else wanted
    if field_type in {"date", "timestamp"}:
        through = pa.date32() if field_type == "date" else pa.timestamp("us")
    try:
        there = array.cast(through, safe=False)
        back = pc.floor(array) if t.is_decimal(array.type) else there.cast(array.type, safe=False)
        same = pc.equal(back, array)
    except pa.ArrowException:
        return _none(array, field_type)
    if field_type in {"int", "bool"}:
        # A float at the very end of the range, or an unsigned number beyond it, comes back the same by wrapping.
        low, high = RANGES[field_type] if field_type == "bool" else (-(2.0**63), 2.0**63 - 1024)
        as_float = array.cast(pa.float64(), safe=False)
        inside = pc.and_(pc.greater_equal(as_float, low), pc.less_equal(as_float, high))
        same = pc.or_(pc.and_(same, inside), _is_signed_or_small(array, there))
    ok = same.fill_null(False)
    mask = np.asarray(pc.is_valid(array)) & ~np.asarray(ok)
    if field_type == "bool":
        mask |= np.asarray(pc.greater(there, 1).fill_null(False))
        mask |= np.asarray(pc.less(there, 0).fill_null(False))
    result = there.cast(wanted)
    if mask.any():
        result = pc.if_else(pa.array(mask), pa.scalar(None, wanted), result)
    return result, _reason(mask, reading.CODES[field_type])


def _is_signed_or_small(array: pa.Array, there: pa.Array) -> pa.Array:
    if pa.types.is_signed_integer(array.type):
        return pc.is_valid(array)
    if pa.types.is_integer(array.type):
        return pc.greater_equal(there, 0)
    return pa.array(np.zeros(len(array), np.bool_))


def _within(array: pa.Array, field_type: str, reasons: Reasons) -> tuple[pa.Array, Reasons]:
    """Refuse dates and times outside the years 1 to 9999, and floats that are not numbers."""
    if field_type == "float":
        finite = pc.is_finite(array)
        if pc.all(finite).as_py() in {True, None}:
            return array, reasons
        mask = ~np.asarray(finite.fill_null(True))
    elif field_type in {"date", "timestamp"}:
        lowest, highest = RANGES[field_type]
        numbers = array.cast(pa.int32() if field_type == "date" else pa.int64())
        ends = pc.min_max(numbers)
        if ends["min"].as_py() is None or (ends["min"].as_py() >= lowest and ends["max"].as_py() <= highest):
            return array, reasons
        outside = pc.or_(pc.less(numbers, lowest), pc.greater(numbers, highest))
        mask = np.asarray(outside.fill_null(False))
    else:
        return array, reasons
    kept: Any = pc.if_else(pa.array(mask), pa.scalar(None, array.type), array)
    return kept, [*reasons, (mask, "out-of-range")]
