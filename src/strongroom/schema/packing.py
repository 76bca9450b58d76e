"""Packs the fields of one class of a record into the plain text of its cell, and unpacks them.

The form of a cell (docs/FORMAT.md): the fields of the class in schema order, each a LEB128 number of
(length << 2 | kind) and then its bytes.

- kind 0, raw. string: UTF-8. int, date (days since 1970), timestamp (microseconds since 1970 UTC), bool (0, 1):
  two's complement, little-endian, as short as it can be, zero being empty. float: 8 bytes IEEE. binary: as it is.
- kind 1, compact. string of ASCII digits: two digits a byte, the high half first, an odd one followed by 15;
  the length counts digits. timestamp: whole seconds, used wherever the value is such.
- kind 2, string only: GBK, where that is shorter than UTF-8.
- kind 3, null: length 0.

Rules kept here:

1. Writers use the shortest form, and the lower kind where two are equal. Few rows are packed in Python, many in
   compiled loops: the bytes are the same.
2. A class with a pad is followed by zero bytes up to a multiple of it. A record whose fields of another class
   are all null has an empty cell.
3. What is not such a cell is an IntegrityError that names the table and class, never a value.

GBK stands for the one- and two-byte codes of GB18030 that no edition of that standard has moved.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from strongroom.errors import InputError, IntegrityError
from strongroom.schema.model import Field, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

LOOP_ROWS_MIN = 2_000
"""From how many rows on the compiled loops pay for their loading."""

RANGES = {
    "int": (-(2**63), 2**63 - 1),
    "bool": (0, 1),
    "date": (-719_162, 2_932_896),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}
"""Lowest and highest whole number of each type; dates and times end with the years 1 and 9999."""

_SECOND = 1_000_000
_DAY_0 = date(1970, 1, 1).toordinal()
_TIME_0 = datetime(1970, 1, 1, tzinfo=UTC)


# -- one cell ----------------------------------------------------------------------------------------


def pack_cell(table: Table, klass: str, record: Mapping[str, object]) -> bytes:
    """Pack one record's fields of a class; fields that are missing are null.

    Args:
        table: The table, at the version it is sealed under.
        klass: One of its classes.
        record: Typed values by field name.

    Raises:
        InputError: A value is not what its field may hold.
    """
    fields = table.fields_of(klass)
    return _join(table, klass, [_put(f, table, record.get(f.name)) for f in fields])


def unpack_cell(table: Table, klass: str, cell: bytes) -> dict[str, Any]:
    """Unpack one cell.

    Args:
        table: The table, at the version the record was sealed under.
        klass: One of its classes.
        cell: What `pack_cell` or `pack_cells` made.

    Returns:
        Value by field name: str, int, float, bool, date, datetime (UTC), bytes or None.

    Raises:
        IntegrityError: This is not a cell of that class.
    """
    try:
        return _unpack(table, klass, cell)
    except (ValueError, IndexError, OverflowError, struct.error):
        raise IntegrityError(f"a cell of table {table.name}, class {klass} does not unpack") from None


def upgrade(record: Mapping[str, Any], old: Table, new: Table) -> dict[str, Any]:
    """A record of an older version of a table as the newer version names it.

    Fields are matched by id: renamed ones get their new name, added ones are None, dropped ones go. A field of
    both versions that the record lacks (its class was not opened) stays lacking.

    Args:
        record: Values by the older names.
        old: The version the record was sealed under.
        new: The version wanted.
    """
    if old is new or old.version == new.version:
        return dict(record)
    names = {f.id: f.name for f in old.fields}
    upgraded: dict[str, Any] = {}
    for f in new.fields:
        name = names.get(f.id)
        if name is None:
            upgraded[f.name] = None
        elif name in record:
            upgraded[f.name] = record[name]
    return upgraded


def _join(table: Table, klass: str, pieces: list[bytes]) -> bytes:
    pad = table.pad_of(klass)
    cell = b"".join(pieces)
    if pad:
        return cell + bytes((-len(cell) % pad) if cell else pad)
    return b"" if cell == b"\x03" * len(pieces) else cell


def _header(length: int, kind: int) -> bytes:
    value = length << 2 | kind
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put(f: Field, table: Table, value: Any) -> bytes:
    if value is None:
        return b"\x03"
    try:
        packed: bytes = _PUT[f.type](f.type, value)
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error):
        raise InputError(f"table {table.name}, field {f.name}: a value is not a {f.type}") from None
    return packed


def _put_string(_: str, text: str) -> bytes:
    raw = text.encode()
    count = len(raw)
    if text.isascii():
        if count > 1 and text.isdigit():
            return _header(count, 1) + bytes.fromhex(text if not count & 1 else text + "f")
    else:
        try:
            short = text.encode("gbk")
        except UnicodeEncodeError:
            short = raw
        if len(short) < count:
            return _header(len(short), 2) + short
    return _header(count, 0) + raw


def _put_whole(kind: str, value: int) -> bytes:
    lowest, highest = RANGES[kind]
    if not lowest <= value <= highest:
        raise ValueError("out of range")
    return _short(value, 0)


def _short(value: int, kind: int) -> bytes:
    length = 0 if value == 0 else ((value ^ (value >> 63)).bit_length() + 8) // 8
    return bytes((length << 2 | kind,)) + value.to_bytes(length, "little", signed=True)


def _put_micros(value: int) -> bytes:
    lowest, highest = RANGES["timestamp"]
    if not lowest <= value <= highest:
        raise ValueError("out of range")
    return _short(value, 0) if value % _SECOND else _short(value // _SECOND, 1)


def _put_timestamp(_: str, value: datetime | int) -> bytes:
    if isinstance(value, int):
        return _put_micros(value)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return _put_micros((value - _TIME_0) // timedelta(microseconds=1))


def _put_date(_: str, value: date | int) -> bytes:
    return _put_whole("date", value if isinstance(value, int) else value.toordinal() - _DAY_0)


def _put_float(_: str, value: float) -> bytes:
    return b"\x20" + struct.pack("<d", value)


def _put_binary(_: str, value: bytes) -> bytes:
    return _header(len(value), 0) + value


_PUT: dict[str, Any] = {
    "string": _put_string,
    "int": _put_whole,
    "bool": _put_whole,
    "date": _put_date,
    "timestamp": _put_timestamp,
    "float": _put_float,
    "binary": _put_binary,
}


def _unpack(table: Table, klass: str, cell: bytes) -> dict[str, Any]:
    fields = table.fields_of(klass)
    pad = table.pad_of(klass)
    end = len(cell)
    if not end and not pad:
        return {f.name: None for f in fields}
    record: dict[str, Any] = {}
    pos = 0
    for f in fields:
        header = cell[pos]
        pos += 1
        if header > 127:
            header, pos = _long_header(cell, header, pos)
        kind, length = header & 3, header >> 2
        if kind == 3:
            if length:
                raise ValueError("a null has no length")
            record[f.name] = None
            continue
        size = (length + 1) >> 1 if kind == 1 and f.type == "string" else length
        raw = cell[pos : pos + size]
        pos += size
        if pos > end:
            raise ValueError("the cell ends early")
        record[f.name] = _TAKE[f.type](raw, kind, length)
    if pad:
        want = max(pad, -(-pos // pad) * pad)
        if end != want or any(cell[pos:]):
            raise ValueError("the pad is not zeros")
    elif pos != end:
        raise ValueError("the cell goes on")
    return record


def _long_header(cell: bytes, value: int, pos: int) -> tuple[int, int]:
    value &= 127
    shift = 7
    while True:
        if shift > 35:
            raise ValueError("the header goes on")
        byte = cell[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, pos
        shift += 7


def _take_string(raw: bytes, kind: int, length: int) -> str:
    if kind == 0:
        return raw.decode()
    if kind == 2:
        return raw.decode("gbk")
    text = raw.hex()
    if length & 1:
        if text[-1] != "f":
            raise ValueError("the odd half is not 15")
        text = text[:-1]
    if text and not text.isdigit():
        raise ValueError("not a digit")
    return text


def _whole(field_type: str, raw: bytes, kind: int) -> int:
    if kind == 2 or (kind and field_type != "timestamp"):
        raise ValueError("no such kind")
    if len(raw) > 8:
        raise ValueError("too long")
    value = int.from_bytes(raw, "little", signed=True)
    if kind:
        value *= _SECOND
    lowest, highest = RANGES[field_type]
    if not lowest <= value <= highest:
        raise ValueError("out of range")
    return value


def _take_float(raw: bytes, kind: int, _: int) -> float:
    if kind:
        raise ValueError("no such kind")
    number: float = struct.unpack("<d", raw)[0]
    return number


def _take_binary(raw: bytes, kind: int, _: int) -> bytes:
    if kind:
        raise ValueError("no such kind")
    return raw


_TAKE: dict[str, Any] = {
    "string": _take_string,
    "int": lambda raw, kind, _: _whole("int", raw, kind),
    "bool": lambda raw, kind, _: bool(_whole("bool", raw, kind)),
    "date": lambda raw, kind, _: date.fromordinal(_whole("date", raw, kind) + _DAY_0),
    "timestamp": lambda raw, kind, _: _TIME_0 + timedelta(microseconds=_whole("timestamp", raw, kind)),
    "float": _take_float,
    "binary": _take_binary,
}


# -- many cells --------------------------------------------------------------------------------------


def pack_cells(
    table: Table, klass: str, columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pack the fields of a class of many records.

    Args:
        table: The table, at the version it is sealed under.
        klass: One of its classes.
        columns: Typed columns by field name, in any Arrow layout; a field without a column is null.
        rows: Length of the columns.

    Returns:
        Bytes u8[m] of all cells and their offsets i64[rows + 1].

    Raises:
        InputError: A column is of another type or length, or a value is not what its field may hold.
    """
    from strongroom.schema import _packing_columns

    fields = table.fields_of(klass)
    arrays = _packing_columns.arrays_of(table, fields, columns, rows)
    if rows >= LOOP_ROWS_MIN:
        return _packing_columns.pack(table, klass, fields, arrays, rows)
    values = [_packing_columns.values_of(table, f, array) for f, array in zip(fields, arrays, strict=True)]
    cells = [
        _join(table, klass, [_put(f, table, value) for f, value in zip(fields, row, strict=True)])
        for row in _rows(values, rows)
    ]
    return _packing_columns.concatenate(cells)


def unpack_cells(
    table: Table,
    klass: str,
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    wanted: Sequence[str] | None = None,
) -> dict[str, pa.Array]:
    """Unpack the cells of many records into typed columns.

    Args:
        table: The table, at the version the records were sealed under.
        klass: One of its classes.
        data: Bytes u8[m] of all cells.
        offsets: Where each begins and the last ends, i64[n + 1], ascending, within `data`.
        wanted: Names of the fields to unpack; None for all.

    Returns:
        A column of n values by field name (large_string or large_binary where 32-bit offsets are too small).

    Raises:
        IntegrityError: A cell is malformed; the message says which row.
    """
    from strongroom.schema import _packing_columns

    fields = table.fields_of(klass)
    if len(offsets) - 1 >= LOOP_ROWS_MIN:
        return _packing_columns.unpack(table, klass, fields, data, offsets, wanted)
    bounds = offsets.tolist()
    records = [unpack_cell(table, klass, data[begin:end].tobytes()) for begin, end in pairwise(bounds)]
    return _packing_columns.columns_of([f for f in fields if wanted is None or f.name in wanted], records)


def _rows(values: list[list[Any]], rows: int) -> Sequence[tuple[Any, ...]]:
    return list(zip(*values, strict=True)) if values else [()] * rows
