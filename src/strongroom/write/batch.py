"""One batch of records on its way in: checked, tokenised, sealed; nothing plain leaves but open columns.

Rules it keeps:

1. A batch id comes from the keymaster, one per attempt; the row number in the batch is the nonce, so no
   nonce is used twice under a batch key.
2. Values are stored as given; normalisation serves only tokens and the subject.
3. Everything is done a column at a time.
4. While the keymaster works, which may be on another host, values are packed and cells sealed.

Storing, sorting and committing are left to `put`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.schema.model import OPEN, Table
from strongroom.schema.normalise import normalise
from strongroom.schema.packing import pack_cells
from strongroom.seal.cells import cell_ad, seal_cells
from strongroom.write.assemble import assemble_entries

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pyarrow as pa

    from strongroom.keymaster.api import Keymaster, Lease


@dataclass(frozen=True)
class IndexEntries:
    """Sealed entries of one index: value tokens u8[n,16] and entries u8[n,44]."""

    tokens: npt.NDArray[np.uint8] = field(repr=False)
    entries: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True)
class SealedBatch:
    """What one batch adds to the room, in row order.

    `tokens` u8[n,16]; `payload` u8 and `offsets` i64[n+1] hold the record entries; `open_columns` the plain
    analytic columns; `indexes` by field name.
    """

    rows: int
    new_subjects: int
    batch: bytes
    tokens: npt.NDArray[np.uint8] = field(repr=False)
    payload: npt.NDArray[np.uint8] = field(repr=False)
    offsets: npt.NDArray[np.int64] = field(repr=False)
    open_columns: pa.RecordBatch | None = field(repr=False)
    indexes: Mapping[str, IndexEntries] = field(repr=False)


def seal_batch(
    calls: Executor,
    keymaster: Keymaster,
    lease: Lease,
    table: Table,
    batch: bytes,
    shape: int,
    columns: Mapping[str, pa.Array],
    rows: int,
    subjects: pa.Array | None = None,
) -> SealedBatch:
    """Seal checked columns of one batch.

    Args:
        calls: Asks the keymaster.
        keymaster: Gives tokens and batch keys under the lease.
        lease: The put's lease.
        table: The table version sealed under.
        batch: Batch id minted for this attempt.
        shape: Index of (suite, role, version, batch) in the run's shape table.
        columns: Typed columns, all of `rows` length, as `schema.check` gives them.
        rows: Number of records.
        subjects: Normalised identifiers of the rows' subjects, if the caller has them from `schema.check`.

    Returns:
        The sealed entries, in row order.
    """
    subject = table.subject_field
    identifiers = normalise(columns[subject.name], subject.normalise) if subjects is None else subjects
    asked = calls.submit(keymaster.seal_subjects, lease, batch, identifiers)
    ordinals = np.arange(rows, dtype=np.uint32)
    cells = [pack_cells(table, OPEN, columns, rows)]
    packed = {klass: pack_cells(table, klass, columns, rows) for klass in table.classes}
    values = {f.name: normalise(columns[f.name], f.normalise) for f in table.fields if f.find}
    sealing = asked.result()
    indexes = {
        name: calls.submit(_index, keymaster, lease, batch, name, column, sealing.tokens)
        for name, column in values.items()
    }
    for klass in table.classes:
        data, offsets = packed.pop(klass)
        ad = cell_ad(keymaster.room_id, table.id, table.compartments[klass], table.version)
        empty = np.diff(offsets) == 0
        skip = empty if empty.any() else None
        cells.append(seal_cells(sealing.keys[klass], ordinals.astype(np.uint64), data, offsets, ad, skip))
    payload, offsets = assemble_entries(shape, ordinals, cells)
    return SealedBatch(
        rows=rows,
        new_subjects=sealing.new,
        batch=batch,
        tokens=sealing.tokens,
        payload=payload,
        offsets=offsets,
        open_columns=_open_columns(table, columns),
        indexes={name: one.result() for name, one in indexes.items()},
    )


def _index(
    keymaster: Keymaster,
    lease: Lease,
    batch: bytes,
    field_name: str,
    values: pa.Array,
    subject_tokens: npt.NDArray[np.uint8],
) -> IndexEntries:
    ordinals = np.arange(len(values), dtype=np.uint32)
    if values.null_count:
        present = values.is_valid().to_numpy(zero_copy_only=False)
        values, subject_tokens, ordinals = values.drop_null(), subject_tokens[present], ordinals[present]
    tokens, entries = keymaster.seal_index(lease, batch, field_name, values, subject_tokens, ordinals)
    return IndexEntries(tokens, entries)


def _open_columns(table: Table, columns: Mapping[str, pa.Array]) -> pa.RecordBatch | None:
    import pyarrow as pa

    names = [f.name for f in table.open_fields]
    if not names:
        return None
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)
