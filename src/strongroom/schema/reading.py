"""Reads columns of text as numbers, dates, times, truth values and bytes.

A column that is all in the usual form is converted as a whole; otherwise each distinct text is read once, so that a
column of dates costs as much as it has days.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.schema.columns import arrow_type
from strongroom.schema.packing import RANGES

CODES = {
    "string": "not-a-string",
    "int": "not-an-int",
    "float": "not-a-float",
    "bool": "not-a-bool",
    "date": "not-a-date",
    "timestamp": "not-a-timestamp",
    "binary": "not-a-binary",
}
"""Reason code of a value that does not read as each type."""

TRUE = frozenset({"true", "t", "yes", "y", "1", "on", "是", "真"})
FALSE = frozenset({"false", "f", "no", "n", "0", "off", "否", "假"})

_OUT_OF_RANGE = "out-of-range"
_INT = re.compile(r"[+-]?[0-9]{1,40}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?")
_DATE = re.compile(
    r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|([0-9]{2})([0-9]{2})|年([0-9]{1,2})月([0-9]{1,2})日)"
)
_TIME = re.compile(
    r"([0-9]{4})([-/])([0-9]{1,2})\2([0-9]{1,2})"
    r"(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s?(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


class _RangeError(ValueError):
    """The text has the right form, but there is no such number, day or time."""


def read(array: pa.Array, field_type: str) -> tuple[pa.Array, list[tuple[npt.NDArray[np.bool_], str]]]:
    """Read a column of text.

    Args:
        array: Strings; null stays null.
        field_type: int, float, bool, date, timestamp or binary (base64).

    Returns:
        A typed array of the same length, null where a text does not read, and (mask bool[n], reason code) pairs.
    """
    fast = _FAST.get(field_type)
    if fast is not None:
        try:
            found = fast(array)
        except pa.ArrowInvalid:
            found = None
        if found is not None:
            return found, []
    return _distinct(array, field_type)


def utf8(value: bytes) -> str | None:
    """The text of UTF-8 bytes, or None."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _distinct(array: pa.Array, field_type: str) -> tuple[pa.Array, list[tuple[npt.NDArray[np.bool_], str]]]:
    coded = array.dictionary_encode()
    one = _ONE[field_type]
    values: list[Any] = []
    marks = np.zeros(len(coded.dictionary) + 1, np.uint8)
    for i, text in enumerate(coded.dictionary.to_pylist()):
        text = text.strip()  # noqa: PLW2901
        try:
            values.append(one(text) if text else None)
        except (_RangeError, OverflowError):
            values.append(None)
            marks[i] = 2
        except ValueError:
            values.append(None)
            marks[i] = 1
    typed = pa.array(values, arrow_type(field_type)).take(coded.indices)
    at = np.asarray(coded.indices.fill_null(len(values)))
    mark = marks[at]
    codes = [(1, CODES[field_type]), (2, _OUT_OF_RANGE)]
    return typed, [(mark == number, code) for number, code in codes if (mark == number).any()]


# -- whole columns -----------------------------------------------------------------------------------


def _bytes_are(array: pa.Array, allowed: npt.NDArray[np.bool_]) -> bool:
    """Whether a column has no other bytes: Arrow itself would also read hexadecimals, nan and inf."""
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return True
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return bool(allowed[np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]].all())


def _set_of(characters: str) -> npt.NDArray[np.bool_]:
    allowed = np.zeros(256, np.bool_)
    allowed[list(characters.encode())] = True
    return allowed


_INT_BYTES = _set_of("0123456789-")
_FLOAT_BYTES = _set_of("0123456789-.eE+")


def _ints(array: pa.Array) -> pa.Array | None:
    return array.cast(pa.int64()) if _bytes_are(array, _INT_BYTES) else None


def _floats(array: pa.Array) -> pa.Array | None:
    if not _bytes_are(array, _FLOAT_BYTES):
        return None
    found = array.cast(pa.float64())
    return found if pc.all(pc.is_finite(found)).as_py() is not False else None


def _dates(array: pa.Array) -> pa.Array | None:
    length = pc.min_max(pc.binary_length(array))
    if length["min"].as_py() == length["max"].as_py() == len("YYYYMMDD"):
        parts = (pc.binary_slice(array.cast(pa.binary()), *ends) for ends in ((0, 4), (4, 6), (6, 8)))
        array = pc.binary_join_element_wise(*parts, b"-").cast(pa.string())
    else:
        array = pc.replace_substring(array, "/", "-")
    return _in_range(array.cast(pa.date32()), "date", pa.int32())


def _times(array: pa.Array) -> pa.Array | None:
    for text in (array, pc.replace_substring(array, "/", "-")):
        for zone in (None, "UTC"):
            try:
                found = text.cast(pa.timestamp("us", tz=zone))
            except pa.ArrowInvalid:
                continue
            return _in_range(found.cast(arrow_type("timestamp")), "timestamp", pa.int64())
    return None


def _in_range(found: pa.Array, field_type: str, numbers: pa.DataType) -> pa.Array | None:
    lowest, highest = RANGES[field_type]
    ends = pc.min_max(found.cast(numbers))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return found if low is None or (low >= lowest and high <= highest) else None


_FAST: dict[str, Callable[[pa.Array], pa.Array | None]] = {
    "int": _ints,
    "float": _floats,
    "date": _dates,
    "timestamp": _times,
}


# -- one text ----------------------------------------------------------------------------------------


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError("not an int")
    value = int(text)
    lowest, highest = RANGES["int"]
    if not lowest <= value <= highest:
        raise _RangeError("out of range")
    return value


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError("not a float")
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise _RangeError("out of range")
    return value


def _bool(text: str) -> bool:
    word = text.casefold()
    if word not in TRUE and word not in FALSE:
        raise ValueError("not a bool")
    return word in TRUE


def _date(text: str) -> date:
    match = _DATE.fullmatch(text)
    if not match:
        raise ValueError("not a date")
    year, _, *parts = match.groups()
    month, day = (int(part) for part in parts if part is not None)
    return date(int(year), month, day)


def _timestamp(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError("not a timestamp")
    year, _, month, day, hour, minute, second, fraction, zone = match.groups()
    micros = (fraction or "").ljust(6, "0")
    if micros[6:].strip("0"):
        raise ValueError("finer than a microsecond")
    whole = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC)
    moment = whole + timedelta(microseconds=int(micros[:6]))
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
        if hours > 18 or minutes > 59:
            raise ValueError("no such zone")
        shift = timedelta(hours=hours, minutes=minutes)
        moment = moment - shift if zone[0] == "+" else moment + shift
    return moment


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("not base64") from None


_ONE: dict[str, Callable[[str], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "date": _date,
    "timestamp": _timestamp,
    "binary": _binary,
}
