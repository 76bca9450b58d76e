"""Values as a sample writes them, brought to the form in which the room looks for them or compares them.

Marks that spreadsheets leave on values ('0138…, ="0138…", 13800138000.0) are taken off first; then a field's own
normalisation steps run, the very ones of the blind index. Dates are read in the orders of the world.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from strongroom.schema._normalise_columns import merge
from strongroom.schema.columns import arrow_type
from strongroom.schema.normalise import SPACES, normalise
from strongroom.schema.reading import read
from strongroom.trace.leak.base import Mask

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.schema.model import Field

_MARKED = r"^[=\"'`‘’“”＂＇]|[\"'`‘’“”＂＇]$|^[0-9]+\.0+$"
_MARKS = "=\"'`‘’“”＂＇" + SPACES
_FIRST, _LAST = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
_FIRST[[mark.encode()[0] for mark in _MARKS]] = True
_LAST[[mark.encode()[-1] for mark in "\"'`‘’“”＂＇"]] = True
_NULLS = ("", "NULL", "null", "\\N", "None", "nan", "NaN", "N/A", "#N/A", "-", "--", "无", "空")
NULL_BYTES_MAX = max(len(word.encode()) for word in _NULLS)

_OTHER_ORDER = re.compile(r"([0-9]{1,2})([-/. ])([0-9]{1,2})\2([0-9]{4})(?:[T ]([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?))?")
_YEAR_FIRST = r"^\s*([0-9]{4})\s?[-/.年 ]\s?([0-9]{1,2})\s?[-/.月 ]\s?([0-9]{1,2})\s?日?\s*T?\s*"
_USUAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2})?$"
_ORDERED = r"^[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{4}(?:[T ].{0,20})?$"
LIKE_TIMES = (
    r"^(?:(?:1[89]|20)[0-9]{2}(?:\s?[-/.年 ]\s?[0-9]{1,2}\s?[-/.月 ]\s?[0-9]{1,2}|[01][0-9][0-3][0-9]$)"
    r"|[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{4}(?:[T ]|$)|1[0-9]{9}(?:000)?$)"
)
"""Values that are written like a day or a time."""
_EPOCH = r"^1?[0-9]{9}(?:[0-9]{3})?$"


def as_text(column: pa.Array) -> pa.Array:
    """A column of any flat type as text; bytes that are no UTF-8 and words for nothing are null.

    Args:
        column: As a reader gives it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    t = pa.types
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return pa.array([_utf8(v) for v in column.to_pylist()], pa.string())
    if t.is_floating(kind):
        whole = pc.fill_null(pc.equal(column, pc.floor(column)), pa.scalar(value=False))
        fits = pc.and_(whole, pc.less(pc.abs(column), 2.0**53))
        integers = pc.if_else(fits, column, pa.scalar(None, kind)).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(integers, column.cast(pa.string()))
    if t.is_string(kind):
        text = column
    elif t.is_nested(kind):
        text = pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    else:
        try:
            text = column.cast(pa.string())
        except pa.ArrowException:
            text = pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    if not pc.any(pc.less_equal(pc.binary_length(text), NULL_BYTES_MAX)).as_py():
        return text
    nothing = pc.is_in(text, value_set=pa.array(_NULLS))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), text)


def _utf8(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def without_marks(text: pa.Array) -> pa.Array:
    """Text without what spreadsheets and quoting leave around a value; most columns have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    odd = _may_be_marked(text)
    if not odd.any():
        return text
    some = text.filter(pa.array(odd))
    marked = pc.match_substring_regex(some, _MARKED)
    bare = pc.replace_substring_regex(pc.utf8_trim(some, characters=_MARKS), r"^([0-9]+)\.0+$", r"\1")
    return pc.replace_with_mask(text, pa.array(odd), pc.if_else(marked, bare, some))


def _may_be_marked(text: pa.Array) -> Mask:
    """Which values begin or end with a byte that a mark begins or ends with; most columns have none."""
    odd = np.zeros(len(text), np.bool_)
    _, offsets, data = text.buffers()
    if not len(text) or data is None:
        return odd
    bounds = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    there = np.flatnonzero(bounds[1:] > bounds[:-1])
    values = np.frombuffer(data, np.uint8)
    first, last = values[bounds[there]], values[bounds[there + 1] - 1]
    odd[there] = _FIRST[first] | _LAST[last]
    for zeros in (1, 2):
        long = there[bounds[there + 1] - bounds[there] > zeros + 1]
        ends = bounds[long + 1]
        odd[long] |= (values[ends - 1 - zeros] == ord(".")) & (values[ends - 1] == ord("0"))
    if text.null_count:
        odd &= np.asarray(text.is_valid())
    return odd


def prepared(text: pa.Array, field: Field) -> pa.Array:
    """Text values in the form of a field, null where they have none.

    Args:
        text: Strings.
        field: Where they may belong.

    Returns:
        Normalised strings for a text or whole-number field, as the blind index takes them; typed values for others.
    """
    import pyarrow as pa

    if field.type == "string":
        bare = without_marks(text) if field.normalise or field.find else text
        return normalise(bare, field.normalise, name=field.name)
    bare = normalise(without_marks(text), ("halfwidth", "trim"), name=field.name)
    if field.type in {"date", "timestamp"}:
        return times(bare, field.type)
    typed, _ = read(bare, field.type)
    return normalise(typed, ()) if pa.types.is_integer(typed.type) else typed


def times(text: pa.Array, kind: str) -> pa.Array:
    """Dates and times as people and machines write them; null where they are none, or might be two.

    Args:
        text: Half-width strings without white space around them.
        kind: `date` or `timestamp`; a date drops the time of day, a time without a zone is UTC.

    Returns:
        date32 or timestamp[us, UTC]. 03/04/1990 is read as day or month first if some value of the column tells which.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = arrow_type(kind)
    if not len(text) or text.null_count == len(text):
        return pa.nulls(len(text), wanted)
    plainly = np.asarray(pc.fill_null(pc.match_substring_regex(text, _USUAL_TIME), pa.scalar(value=False)))
    usual = text.filter(pa.array(plainly))
    if kind == "date":
        usual = pc.utf8_slice_codeunits(usual, 0, len("2020-01-31"))
    found, _ = read(usual, kind)
    if plainly.all():
        return found
    coded = text.filter(pa.array(~plainly)).dictionary_encode()
    return merge(plainly, found, _read_times(coded.dictionary, kind).take(coded.indices))


def _read_times(values: pa.Array, kind: str) -> pa.Array:
    """Each distinct text as a time, by the way it is written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.ascii_rtrim_whitespace(pc.replace_substring_regex(values, _YEAR_FIRST, r"\1-\2-\3 "))
    if pc.any(pc.match_substring_regex(values, _ORDERED)).as_py():
        plain = _swapped(plain)
    if kind == "date":
        day = pc.replace_substring_regex(plain, r"^([0-9]{4}-[0-9]{1,2}-[0-9]{1,2})[T ].{1,40}$", r"\1")
        found, _ = read(day, "date")
        return found
    found, _ = read(plain, "timestamp")
    days, _ = read(pc.if_else(found.is_valid(), pa.scalar(None, pa.string()), plain), "date")
    found = pc.coalesce(found, days.cast(pa.timestamp("us")).cast(arrow_type("timestamp")))
    return pc.coalesce(found, _epochs(values))


def _epochs(values: pa.Array) -> pa.Array:
    """Seconds or milliseconds since 1970 as times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_epoch = pc.match_substring_regex(values, _EPOCH)
    numbers = pc.if_else(is_epoch, values, pa.scalar(None, pa.string())).cast(pa.int64())
    micros = pc.if_else(pc.greater(numbers, 10**11), pc.multiply(numbers, 1_000), pc.multiply(numbers, 1_000_000))
    return micros.cast(arrow_type("timestamp"))


def _swapped(values: pa.Array) -> pa.Array:
    """03/25/1990 and 25.03.1990 as 1990-03-25, if the column tells which number is the month."""
    import pyarrow as pa

    # One step for each distinct date: a column of dates has as many as there are days.
    matches = [None if v is None else _OTHER_ORDER.fullmatch(v) for v in values.to_pylist()]
    pairs = np.array([(int(m[1]), int(m[3])) for m in matches if m], np.int64).reshape(-1, 2)
    if not len(pairs):
        return values
    first, second = bool((pairs[:, 0] > 12).any()), bool((pairs[:, 1] > 12).any())
    dotted = any(m[2] == "." for m in matches if m)
    if first == second and not (dotted and not second):
        return pa.array([None if m else v for m, v in zip(matches, values.to_pylist(), strict=True)], pa.string())
    out = []
    for match, value in zip(matches, values.to_pylist(), strict=True):
        if match is None:
            out.append(value)
            continue
        day, month = (match[3], match[1]) if second else (match[1], match[3])
        out.append(f"{match[4]}-{int(month):02d}-{int(day):02d}" + (f" {match[5]}" if match[5] else ""))
    return pa.array(out, pa.string())
