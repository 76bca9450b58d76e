"""Records that did not fit, as they came: packed to be sealed, and unpacked again.

Form: Arrow IPC (zstd) of source, row, reason, field and raw; raw is a JSON object of field to text, or the line as it
came where it could not be read as a record. Sealing is left to others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.schema.check import Checked


@dataclass(frozen=True)
class RejectBatch:
    """Rejected records of one source, in columns of equal length."""

    source: str
    rows: tuple[int, ...]
    reasons: tuple[str, ...]
    fields: tuple[str, ...]
    raw: tuple[bytes, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self) -> Counter[tuple[str, str]]:
        """Records by (reason, field)."""
        return Counter(zip(self.reasons, self.fields, strict=True))

    def first_fault(self) -> str:
        """Where the first of them is and what is wrong: never the value."""
        at = f", field {self.fields[0]}" if self.fields[0] else ""
        return f"{self.source}, row {self.rows[0]}{at}: {self.reasons[0]}"


def rejects_from_checked(
    source: str, numbers: npt.NDArray[np.int64], columns: pa.RecordBatch, checked: Checked
) -> RejectBatch:
    """Records with a value that does not fit; each with the first reason found.

    Args:
        source: Name of the source.
        numbers: Row number of each record, i64[n].
        columns: The records as they came.
        checked: What `schema.check` said of them.
    """
    import pyarrow as pa

    size = columns.num_rows
    first = np.full(size, -1, np.int64)
    for at, (mask, _, _) in enumerate(checked.reasons):
        first[mask & (first < 0)] = at
    places = np.flatnonzero(checked.bad)
    records = columns.take(pa.array(places)).to_pylist()
    reasons = [checked.reasons[first[p]] for p in places]
    return RejectBatch(
        source,
        tuple(int(numbers[p]) for p in places),
        tuple(reason for _, _, reason in reasons),
        tuple(name for _, name, _ in reasons),
        tuple(json.dumps(record, ensure_ascii=False, default=str).encode() for record in records),
    )


def encode_rejects(batches: Sequence[RejectBatch]) -> bytes:
    """Pack rejects."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "source": pa.array([b.source for b in batches for _ in b.rows], pa.string()).dictionary_encode(),
        "row": pa.array([r for b in batches for r in b.rows], pa.int64()),
        "reason": pa.array([r for b in batches for r in b.reasons], pa.string()).dictionary_encode(),
        "field": pa.array([f for b in batches for f in b.fields], pa.string()).dictionary_encode(),
        "raw": pa.array([r for b in batches for r in b.raw], pa.large_binary()),
    }
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode_rejects(data: bytes) -> list[RejectBatch]:
    """Unpack what `encode_rejects` packed, a batch for each source; IntegrityError if it is something else."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(data) as reader:
            columns = reader.read_all().to_pydict()
        names = ("source", "row", "reason", "field", "raw")
        found: dict[str, list[tuple[int, str, str, bytes]]] = {}
        for source, *rest in zip(*(columns[name] for name in names), strict=True):
            found.setdefault(source, []).append(tuple(rest))
    except (pa.ArrowException, KeyError, ValueError, TypeError, OSError):
        raise IntegrityError("rejected records cannot be unpacked") from None
    return [RejectBatch(source, *(tuple(part) for part in zip(*rows, strict=True))) for source, rows in found.items()]
