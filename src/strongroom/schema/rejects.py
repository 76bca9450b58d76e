"""Rejected records in columns: made from a batch, packed to be sealed, unpacked, counted.

Form: an Arrow IPC stream (zstd) of source, row, reason, field, raw and put; raw is a JSON object of field to text, or
the line as it came where it could not be read as a record: such a reject names no field. Values are made JSON a
column at a time, so that a file of which every row is rejected costs no more than a put. Sealing is left to others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as setting
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

Int64s = npt.NDArray[np.int64]

_ESCAPED = [("\\", "\\\\"), ('"', '\\"'), *((chr(c), f"\\u{c:04x}") for c in range(0x20))]
_NEEDS_ESCAPE = r'[\x00-\x1f"\\]'


@dataclass(frozen=True)
class Reject:
    """One record that was not put: where it stood, why, and as it came."""

    source: str
    row: int
    reason: str
    field: str | None
    raw: bytes = setting(repr=False)
    put_id: bytes = b""

    @property
    def is_record(self) -> bool:
        """Whether `raw` is a JSON object that can be put again, not a line that could not be read."""
        return self.field is not None


@dataclass(frozen=True)
class Rejects:
    """Rejected records in an Arrow table: source, row, reason, field, raw, put."""

    table: pa.Table = setting(repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Reject]:
        for batch in self.table.to_batches(max_chunksize=10_000):
            for one in batch.to_pylist():
                yield Reject(one["source"], one["row"], one["reason"], one["field"] or None, one["raw"], one["put"])

    def first_fault(self) -> str:
        """Where the first of them is and what is wrong: never the value."""
        one = next(iter(self))
        at = f", field {one.field}" if one.field else ""
        return f"{one.source}, row {one.row}{at}: {one.reason}"

    def lines(self) -> Rejects:
        """Those that could not be read as records."""
        import pyarrow.compute as pc

        return Rejects(self.table.filter(pc.equal(self.table["field"].cast("string"), "")))

    def counts(self) -> Counter[tuple[str, str]]:
        """Records by (reason, field); field is "" where the record could not be read."""
        grouped = self.table.select(["reason", "field"]).group_by(["reason", "field"]).aggregate([([], "count_all")])
        return Counter({(g["reason"], g["field"]): g["count_all"] for g in grouped.to_pylist()})


def rejects_from_batch(
    columns: Mapping[str, pa.Array] | pa.RecordBatch,
    mask: npt.NDArray[np.bool_],
    reasons: Sequence[tuple[npt.NDArray[np.bool_], str, str]],
    numbers: Int64s | int,
    source: str,
    put_id: bytes = b"",
) -> Rejects:
    """The rejected rows of a batch, each with the first reason against it.

    Args:
        columns: The records as they came, by field.
        mask: Which rows are rejected, bool[n].
        reasons: (mask bool[n], field, reason code), as `schema.check` gives them.
        numbers: Row number of each record, i64[n], or that of the first where none is left out.
        source: Name of the source.
        put_id: The put that rejected them.
    """
    import pyarrow as pa

    given = (
        dict(zip(columns.schema.names, columns.columns, strict=True))
        if isinstance(columns, pa.RecordBatch)
        else columns
    )
    at = np.flatnonzero(mask)
    rows = at + numbers if isinstance(numbers, int) else np.asarray(numbers)[at]
    first = np.full(len(mask), len(reasons), dtype=np.int32)
    for order in range(len(reasons) - 1, -1, -1):
        first[reasons[order][0]] = order
    codes = pa.array(first[at], pa.int32())
    take = pa.array(at)
    raw = json_objects({name: column.take(take) for name, column in given.items()}, len(at))
    return _rejects(
        source,
        rows,
        pa.array([*(code for _, _, code in reasons), "rejected"], pa.string()).take(codes),
        pa.array([*(name for _, name, _ in reasons), ""], pa.string()).take(codes),
        raw.cast(pa.large_binary()),
        put_id,
    )


def rejects_from_lines(
    rows: Sequence[int], reasons: Sequence[str], raw: Sequence[bytes], source: str, put_id: bytes = b""
) -> Rejects:
    """Lines that a source could not read as records: their row numbers, why, and their bytes as they came."""
    import pyarrow as pa

    fields = pa.array([""], pa.string()).take(pa.array(np.zeros(len(rows), dtype=np.int64)))
    lines = pa.array(raw, pa.large_binary())
    return _rejects(source, np.array(rows, np.int64), pa.array(reasons, pa.string()), fields, lines, put_id)


def _rejects(source: str, rows: Int64s, reasons: pa.Array, fields: pa.Array, raw: pa.Array, put_id: bytes) -> Rejects:
    import pyarrow as pa

    same = pa.array(np.zeros(len(rows), dtype=np.int32))
    columns = {
        "source": pa.DictionaryArray.from_arrays(same, pa.array([source], pa.string())),
        "row": pa.array(rows, pa.int64()),
        "reason": reasons.dictionary_encode(),
        "field": fields.dictionary_encode(),
        "raw": raw,
        "put": pa.DictionaryArray.from_arrays(same, pa.array([put_id], pa.binary())),
    }
    return Rejects(pa.table(columns))


def json_objects(columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """One JSON object of field to text (or null) for each row, as strings."""
    import json

    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        return pa.array(["{}"] * rows, pa.large_string())
    parts: list[pa.Array | pa.Scalar] = []
    for order, (name, column) in enumerate(columns.items()):
        label = f"{', ' if order else '{'}{json.dumps(name, ensure_ascii=False)}: "
        parts += [pa.scalar(label, pa.large_string()), _json_values(column)]
    return pc.binary_join_element_wise(*parts, pa.scalar("}", pa.large_string()), pa.scalar("", pa.large_string()))


def _json_values(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = _text(column)
    if pc.any(pc.match_substring_regex(text, _NEEDS_ESCAPE)).as_py():
        for char, escaped in _ESCAPED:
            text = pc.replace_substring(text, pattern=char, replacement=escaped)
    quote = pa.scalar('"', pa.large_string())
    quoted = pc.binary_join_element_wise(quote, text, quote, pa.scalar("", pa.large_string()))
    return pc.fill_null(quoted, pa.scalar("null", pa.large_string()))


def _text(column: pa.Array) -> pa.Array:
    """A column as text: as Arrow writes it, bytes as Base64 where they are no text."""
    import base64

    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column.cast(pa.large_string())
    except pa.ArrowException:
        values = column.to_pylist()
        plain = [None if v is None else v if isinstance(v, bytes) else str(v) for v in values]
        texts = [base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in plain]
        return pa.array(texts, pa.large_string())


def encode(batches: Iterable[Rejects]) -> bytes:
    """Pack rejects as an Arrow IPC stream."""
    import pyarrow as pa

    tables = [batch.table for batch in batches]
    table = pa.concat_tables(tables).unify_dictionaries() if tables else rejects_from_lines((), (), (), "").table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode(data: bytes) -> Rejects:
    """Unpack what `encode` packed.

    Raises:
        IntegrityError: It is something else.
    """
    import pyarrow as pa

    expected = rejects_from_lines((), (), (), "").table.schema
    try:
        with pa.ipc.open_stream(data) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError, UnicodeDecodeError, MemoryError):
        raise IntegrityError("rejected records cannot be unpacked") from None
    if not table.schema.equals(expected):
        raise IntegrityError("rejected records cannot be unpacked")
    return Rejects(table)
