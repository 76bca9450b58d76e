"""Arrow columns and numpy arrays on either side of the packing loops.

What a cell looks like is said in `packing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.errors import InputError, IntegrityError
from strongroom.schema.columns import OFFSET_32_MAX, arrow_type, plain
from strongroom.schema.model import Field, Table
from strongroom.schema.packing import RANGES

_U8 = npt.NDArray[np.uint8]
_STRING, _WHOLE, _TIME, _BITS, _FLOAT, _BYTES = 0, 1, 2, 3, 4, 5  # as in _memory_lanes, which loads numba
SLACK_BYTES = 16
"""Room behind what the loops write, so that a word may reach over the end (`_memory_lanes`)."""

_I64 = npt.NDArray[np.int64]


def arrays_of(
    table: Table, fields: Sequence[Field], columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int
) -> list[pa.Array]:
    """One plain array per field, checked for type and length; nulls where there is no column."""
    arrays = []
    for f in fields:
        column = columns.get(f.name)
        array = pa.nulls(rows, arrow_type(f.type)) if column is None else plain(column, f.type, f.name)
        if len(array) != rows:
            raise InputError(f"table {table.name}, field {f.name}: {len(array)} values for {rows} rows")
        arrays.append(array)
    return arrays


def values_of(table: Table, f: Field, array: pa.Array) -> list[Any]:
    """Python values of an array; dates and times as the numbers behind them."""
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        raise InputError(f"table {table.name}, field {f.name}: a value is not a string") from None
    return values


def concatenate(cells: Sequence[bytes]) -> tuple[_U8, _I64]:
    """Cells as one array of bytes and their offsets."""
    offsets = np.zeros(len(cells) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, cells), np.int64, len(cells)), out=offsets[1:])
    return np.frombuffer(bytearray(b"".join(cells)), np.uint8), offsets


def columns_of(fields: Sequence[Field], records: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Columns of unpacked records."""
    return {f.name: pa.array([r[f.name] for r in records], arrow_type(f.type)) for f in fields}


def pack(table: Table, klass: str, fields: Sequence[Field], arrays: Sequence[pa.Array], rows: int) -> tuple[_U8, _I64]:
    """Pack in the compiled loops. `arrays` stay referenced here while the loops read them by address."""
    from strongroom.schema import _packing_lanes as lanes

    pad = table.pad_of(klass)
    spec = np.zeros((len(fields), lanes.SPEC_COLUMNS), np.int64)
    room = rows * pad + SLACK_BYTES
    for i, (f, array) in enumerate(zip(fields, arrays, strict=True)):
        room += _describe(spec[i], f, array) + rows * lanes.HEADER_BYTES_MAX
    # Pages that are not written to are never given memory, so the worst case costs nothing but addresses.
    out = np.empty(room, np.uint8)
    offsets = np.empty(rows + 1, np.int64)
    used = lanes.pack_rows(spec, rows, pad, to_gbk(), out, offsets)
    if used < 0:
        f = fields[-used - 1]
        raise InputError(f"table {table.name}, field {f.name}: a value is not a {f.type}")
    return out[:used], offsets


def _describe(spec: _I64, f: Field, array: pa.Array) -> int:
    """Fill one row of `spec`; returns the most bytes that all values of the column can take."""
    buffers, offset = array.buffers(), array.offset
    if array.null_count and buffers[0] is not None:
        spec[4], spec[5] = buffers[0].address, offset
    spec[7], spec[8] = RANGES.get(f.type, (0, 0))
    if f.type in {"string", "binary"}:
        width = 8 if array.type in {pa.large_string(), pa.large_binary()} else 4
        spec[0] = _STRING if f.type == "string" else _BYTES
        spec[1] = buffers[2].address if buffers[2] is not None else 0
        spec[3] = width
        if buffers[1] is None or not len(array):
            return 0
        spec[2] = buffers[1].address + offset * width
        bounds = np.frombuffer(buffers[1], np.int64 if width == 8 else np.int32)
        return int(bounds[offset + len(array)]) - int(bounds[offset])
    width = array.type.bit_width // 8
    spec[3] = width
    spec[1] = (buffers[1].address if buffers[1] is not None else 0) + offset * width
    whats = {"bool": _BITS, "float": _FLOAT, "timestamp": _TIME}
    spec[0] = whats.get(f.type, _WHOLE)
    if f.type == "bool":
        spec[6] = offset
    return 8 * len(array)


def unpack(
    table: Table, klass: str, fields: Sequence[Field], data: _U8, offsets: _I64, wanted: Sequence[str] | None = None
) -> dict[str, pa.Array]:
    """Unpack in the compiled loops; fields that are not wanted are passed over."""
    from strongroom.schema import _unpacking_lanes as lanes

    rows = len(offsets) - 1
    data = np.ascontiguousarray(data, np.uint8)
    offsets = np.ascontiguousarray(offsets, np.int64)
    if rows and (offsets[0] < 0 or offsets[-1] > len(data) or bool((np.diff(offsets) < 0).any())):
        raise IntegrityError(f"cells of table {table.name}, class {klass}: the offsets do not ascend")
    whats = np.array([_WHATS.get(f.type, _WHOLE) for f in fields], np.int64)
    kinds = np.empty((len(fields), rows), np.uint8)
    starts = np.zeros((len(fields), rows), np.int64)
    lengths = np.zeros((len(fields), rows), np.int64)
    bad = lanes.split_rows(data, offsets, whats, table.pad_of(klass), kinds, starts, lengths)
    columns = {}
    for i, f in enumerate(fields):
        if bad >= 0:
            break
        if wanted is not None and f.name not in wanted:
            continue
        columns[f.name], bad = _take(f, data, kinds[i], starts[i], lengths[i])
    if bad >= 0:
        raise IntegrityError(f"a cell of table {table.name}, class {klass} does not unpack: row {bad}")
    return columns


_WHATS = {"string": _STRING, "timestamp": _TIME, "float": _FLOAT, "binary": _BYTES}


def _take(f: Field, data: _U8, kinds: _U8, starts: _I64, lengths: _I64) -> tuple[pa.Array | None, int]:
    """A column, and the first row that is not what the field may hold, or -1."""
    from strongroom.schema import _unpacking_lanes as lanes

    rows = len(kinds)
    null = kinds == 3
    nulls = int(np.count_nonzero(null))
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if nulls else None
    if f.type in {"string", "binary"}:
        # GBK grows by half at most, digits are counted by their length already.
        room = int(lengths.sum()) + int(lengths[kinds == 2].sum() // 2) + SLACK_BYTES
        out = np.empty(room, np.uint8)
        ends = np.empty(rows + 1, np.int64)
        if f.type == "string":
            used = lanes.take_strings(data, kinds, starts, lengths, from_gbk(), out, ends)
        else:
            used = lanes.take_bytes(data, kinds, starts, lengths, out, ends)
        if used < 0:
            return None, -used - 1
        # digits are ASCII, and the table of GBK has whole characters: only what was copied may be anything
        checked = f.type == "string" and bool((kinds == 0).any()) and bool((out[:used] >= 0x80).any())
        return _strings(f.type, out[:used], ends, valid, nulls, checked=checked)
    if f.type == "float":
        values: Any = np.zeros(rows, np.float64)
        at = starts[~null][:, None] + np.arange(8)
        values[~null] = np.ascontiguousarray(data[at]).view("<f8").ravel()
        return _fixed(f, values, valid, nulls), -1
    values = np.empty(rows, np.int64)
    lowest, highest = RANGES[f.type]
    bad = lanes.take_wholes(data, kinds, starts, lengths, lowest, highest, values)
    if bad >= 0:
        return None, bad
    if f.type == "date":
        values = values.astype(np.int32)
    elif f.type == "bool":
        values = np.packbits(values != 0, bitorder="little")
    return _fixed(f, values, valid, nulls, rows), -1


def _fixed(f: Field, values: Any, valid: pa.Buffer | None, nulls: int, rows: int | None = None) -> pa.Array:
    count = len(values) if rows is None else rows
    return pa.Array.from_buffers(arrow_type(f.type), count, [valid, pa.py_buffer(values)], nulls)


def _strings(
    field_type: str, out: _U8, ends: _I64, valid: pa.Buffer | None, nulls: int, *, checked: bool
) -> tuple[pa.Array | None, int]:
    large = len(out) > OFFSET_32_MAX
    kind = arrow_type(field_type)
    if large:
        kind = pa.large_string() if field_type == "string" else pa.large_binary()
    bounds: Any = ends if large else ends.astype(np.int32)
    array = pa.Array.from_buffers(kind, len(ends) - 1, [valid, pa.py_buffer(bounds), pa.py_buffer(out)], nulls)
    if checked:
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return None, _first_not_utf8(out, ends)
    return array, -1


def _first_not_utf8(out: _U8, ends: _I64) -> int:
    """Row of the first text that is not UTF-8; one pass by halves, since something is broken anyway."""
    low, high = 0, len(ends) - 1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            out[ends[low] : ends[middle]].tobytes().decode()
            low = middle
        except UnicodeDecodeError:
            high = middle
    return low


@cache
def to_gbk() -> npt.NDArray[np.uint16]:
    """GBK code (lead byte low) of each code point below 65,536; 0 where it has none, and for ASCII."""
    table = np.zeros(0x10000, np.uint16)
    points, codes = _pairs()
    table[points] = codes
    return table


@cache
def from_gbk() -> npt.NDArray[np.uint16]:
    """Code point of each GBK code (lead byte low, without its highest bit); 0 where there is none."""
    table = np.zeros(0x10000, np.uint16)
    points, codes = _pairs()
    table[codes & 0xFF7F] = points
    return table


@cache
def _pairs() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Every code point that GBK writes in two bytes, and its code: all of them written at once, a line each."""
    points = [*range(0x80, 0xD800), *range(0xE000, 0x10000)]
    lines = "\n".join(map(chr, points)).encode("gbk", "replace").split(b"\n")
    pairs = [(point, line) for point, line in zip(points, lines, strict=True) if len(line) == 2]
    codes = np.frombuffer(b"".join(line for _, line in pairs), "<u2").astype(np.uint16)
    return np.array([point for point, _ in pairs], np.uint16), codes
