"""Merge runs of one table into new ones, cells byte for byte, open columns beside them.

Rules it keeps:

1. No cell is opened: tokens, ordinals and cells move as they are; only shape numbers change.
2. Runs merged stand next to each other in commit order; the result takes the newest one's place.
3. In a table with one record a subject only the newest entry of a token is kept; older snapshots keep older runs.
4. Memory holds one group of blocks at a time, whatever the size of the runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.catalog.collector import PERSON_COLUMN, ROW_COLUMN
from strongroom.catalog.openfile import OpenFileWriter, open_parquet
from strongroom.catalog.runs import RunPlan, run_entry
from strongroom.index.scan import Group, scan
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.entropy import random_bytes
from strongroom.seal.run import RunWriter, Shape, gather, shapes_of, token_changes
from strongroom.store.base import object_name

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.catalog.entries import BlockKeys, Mint, ObjectEntry
    from strongroom.index.runreader import RunReader
    from strongroom.schema.model import Table
    from strongroom.store.base import Store

RUN_BYTES = 384 << 20
ROWS_PER_READ = 65_536


@dataclass(frozen=True)
class Merged:
    """What a merge wrote: `entries` for the manifest, how many entries went in and came out."""

    entries: list[ObjectEntry]
    taken: int
    kept: int


@dataclass(frozen=True)
class Merger:
    """What the merges of one compaction share."""

    store: Store
    room: bytes
    mint: Mint
    block_keys: BlockKeys
    put_id: bytes
    created: int

    def merge(self, table: Table, readers: Sequence[RunReader], beside: Sequence[ObjectEntry | None]) -> Merged:
        """Merge runs of one kind.

        Args:
            table: Their table.
            readers: The runs, oldest first.
            beside: The open-columns file of each, or None.
        """
        first = readers[0].entry
        shapes, bases = _shape_tables(readers)
        plan = RunPlan(self.room, table.id, first.kind, self.put_id, self.created, first.field)
        batches = tuple(dict.fromkeys(b for reader in readers for b in reader.entry.batches))
        newest_only = first.kind == KIND_RECORDS and table.records == "one"
        columns = [_Stream(self._columns(entry)) for entry in beside] if all(beside) else None
        written: list[ObjectEntry] = []
        taken = kept = 0
        output: _Output | None = None
        with contextlib.ExitStack() as stack:
            for group in scan(readers):
                taken += len(group.tokens)
                rows = None if columns is None else _rows_of(columns, group)
                group, rows = _live(group, rows) if newest_only else (group, rows)
                kept += len(group.tokens)
                payload = _renumbered(group, bases) if first.kind == KIND_RECORDS else group.payload
                if output is None or output.length > RUN_BYTES:
                    written += self._finished(output, shapes, batches)
                    output = stack.enter_context(_Output(self, plan))
                output.add(group, payload, rows)
            written += self._finished(output, shapes, batches)
        return Merged(written, taken, kept)

    def _finished(
        self, output: _Output | None, shapes: Sequence[Shape], batches: tuple[bytes, ...]
    ) -> list[ObjectEntry]:
        return [] if output is None else output.finish(shapes, batches)

    def _columns(self, entry: ObjectEntry | None) -> Iterator[pa.RecordBatch]:
        if entry is None:
            return iter(())
        key = self.block_keys(entry.key_id, KIND_OPEN_COLUMNS, [0], entry.table)[0]
        opened = open_parquet(self.store, entry, key)
        names = [n for n in opened.schema_arrow.names if n not in (PERSON_COLUMN, ROW_COLUMN)]
        batches: Iterator[pa.RecordBatch] = opened.iter_batches(batch_size=ROWS_PER_READ, columns=names)
        return batches


class _Output:
    """One run being written, and the open columns beside it."""

    def __init__(self, merger: Merger, plan: RunPlan) -> None:
        self._merger = merger
        self._plan = plan
        self._object_id = random_bytes(16)
        self._key = merger.mint(plan.kind, self._object_id)
        self._stack = contextlib.ExitStack()
        self._writer: RunWriter | None = None
        self._beside: OpenFileWriter | None = None
        self._persons = self._rows = 0
        self.length = 0

    def __enter__(self) -> _Output:
        out = self._stack.enter_context(self._merger.store.writer(object_name(self._object_id)))
        plan = self._plan
        self._writer = RunWriter(self._key.key, plan.room, self._object_id, plan.kind, out.write)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.__exit__(kind, error, trace)  # type: ignore[arg-type]

    def add(self, group: Group, payload: npt.NDArray[np.uint8], rows: pa.Table | None) -> None:
        """Append a group, whose rows are in order."""
        assert self._writer is not None
        self._writer.add_sorted(group.tokens, payload, group.offsets)
        self.length += len(payload)
        if rows is None:
            return
        numbered = self._numbered(rows, group)
        if self._beside is None:
            merger = self._merger
            self._beside = self._stack.enter_context(OpenFileWriter(merger.store, merger.mint, numbered.schema))
        self._beside.write(numbered)

    def _numbered(self, rows: pa.Table, group: Group) -> pa.Table:
        import pyarrow as pa

        count = len(group.tokens)
        persons = (np.cumsum(token_changes(group.tokens)) - 1 + self._persons).astype(np.int32)
        places = np.arange(self._rows, self._rows + count, dtype=np.int32)
        self._persons, self._rows = int(persons[-1]) + 1, self._rows + count
        return rows.append_column(PERSON_COLUMN, pa.array(persons)).append_column(ROW_COLUMN, pa.array(places))

    def finish(self, shapes: Sequence[Shape], batches: tuple[bytes, ...]) -> list[ObjectEntry]:
        """Close both objects, durable when this returns."""
        assert self._writer is not None
        summary = self._writer.finish(shapes)
        self._stack.close()
        run = run_entry(self._plan, self._object_id, self._key.key_id, summary, batches)
        return [run] if self._beside is None else [run, self._beside.entry(run)]


def _shape_tables(readers: Sequence[RunReader]) -> tuple[list[Shape], npt.NDArray[np.uint32]]:
    """All shapes one behind the other, and where those of each run begin."""
    shapes: list[Shape] = []
    bases = []
    for reader in readers:
        bases.append(len(shapes))
        shapes += reader.tail().shapes
    return shapes, np.array(bases, np.uint32)


def _renumbered(group: Group, bases: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    payload = group.payload.copy()
    number = shapes_of(payload, group.offsets) + bases[group.source]
    for byte in range(3):
        payload[group.offsets[:-1] + byte] = (number >> np.uint32(8 * byte)).astype(np.uint8)
    return payload


def _live(group: Group, rows: pa.Table | None) -> tuple[Group, pa.Table | None]:
    """The newest entry of each token of a group."""
    live = np.append(token_changes(group.tokens)[1:], True)
    if live.all():
        return group, rows
    order = np.flatnonzero(live)
    payload, offsets = gather(group.payload, group.offsets, order)
    if rows is not None:
        import pyarrow as pa

        rows = rows.take(pa.array(order))
    return Group(group.tokens[order], payload, offsets, group.source[order], group.position[order]), rows


class _Stream:
    """Rows of one open-columns file, read on as they are asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: list[pa.RecordBatch] = []

    def take(self, count: int) -> list[pa.RecordBatch]:
        taken: list[pa.RecordBatch] = []
        while count:
            if not self._held:
                self._held.append(next(self._batches))
            batch = self._held.pop()
            part = batch.slice(0, min(count, batch.num_rows))
            if part.num_rows < batch.num_rows:
                self._held.append(batch.slice(part.num_rows))
            if part.num_rows:
                taken.append(part)
            count -= part.num_rows
        return taken


def _rows_of(streams: Sequence[_Stream], group: Group) -> pa.Table:
    """The open columns of a group's entries, in its order. Each source's positions in a group follow one another."""
    import pyarrow as pa

    parts: list[pa.RecordBatch] = []
    starts = np.zeros(len(streams), np.int64)
    firsts = np.zeros(len(streams), np.int64)
    at = 0
    for number, stream in enumerate(streams):
        mine = group.position[group.source == number]
        starts[number] = at
        if len(mine):
            firsts[number] = mine.min()
            parts += stream.take(len(mine))
            at += len(mine)
    order = starts[group.source] + group.position - firsts[group.source]
    table = pa.Table.from_batches(parts)
    return table.take(pa.array(order))
