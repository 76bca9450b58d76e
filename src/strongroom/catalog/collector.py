"""Collects sealed entries in any order and writes them as sorted, disjoint runs.

Rules it keeps:

1. Entries of one token keep the order of their chunks, then of their places in the chunk, whatever thread brought them.
2. Memory is bounded by `memory_bytes` while collecting, and by two runs while writing; what does not fit is spilled,
   sealed, by token (`spill.py`).
3. The runs of one collector are disjoint: no token is in two of them.
4. Open columns given with the entries come out beside each run, row for row in the run's order.

Sorting, copying, hashing and writing leave the interpreter to other threads; two runs are written at once.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.catalog.entries import Mint, ObjectEntry
from strongroom.catalog.runs import RunPlan, store_run
from strongroom.catalog.spill import Segment, SpillFile
from strongroom.closing import Closing
from strongroom.errors import UsageError
from strongroom.keymaster.api import FileKey
from strongroom.seal.columns import I64, U8, Columns, sort_entries, token_changes, token_words
from strongroom.seal.entropy import random_bytes as real_random_bytes
from strongroom.seal.run import Shape
from strongroom.seal.scatter import Ordered, Scattered, scattered
from strongroom.store.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 768 << 20
RUN_BYTES = 192 << 20
RUN_ENTRIES = 1_500_000
SPLIT_ENTRIES = 400_000
BUCKET_BITS = 10
THREADS = 2
_ENTRY_OVERHEAD = 28  # token, offset and rank of an entry in memory

PERSON_COLUMN = "_person"
ROW_COLUMN = "_row"

OnRun = Callable[[ObjectEntry, "pa.Table"], "ObjectEntry | None"]
"""(run, its open columns in run order) -> the entry of the file written beside it. Called in a worker thread."""


class _Chunk(NamedTuple):
    order: int
    tokens: U8
    payload: U8
    offsets: I64
    rows: pa.RecordBatch | None


class _Arena:
    """Chunks that are held until they are sorted, and how much they may be. They stay where their batch left them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.chunks: list[_Chunk] = []

    def fits(self, size: int) -> bool:
        return self.used + size <= self.size


class _Unsorted(NamedTuple):
    """Entries in order of arrival, with the permutation that sorts them."""

    entries: Scattered
    rank: npt.NDArray[np.uint32]
    rows: pa.Table | None
    order: I64


@dataclass(frozen=True)
class CollectorLimits:
    """Bounds of a collector, in bytes and entries.

    Args:
        memory_bytes: Held in memory before spilling.
        run_bytes: Payload of a run that was spilled, about.
        run_entries: Entries of a run, about.
        split_entries: From how many entries a set in memory is written as two runs at once.
        threads: Runs written at once.
    """

    memory_bytes: int = MEMORY_BYTES
    run_bytes: int = RUN_BYTES
    run_entries: int = RUN_ENTRIES
    split_entries: int = SPLIT_ENTRIES
    threads: int = THREADS


class SortedRuns(Closing):
    """Collects entries of one table and kind, then writes them as runs. Use it in a `with` block.

    Args:
        store: The bucket.
        plan: Room, table, kind, field and put of the runs.
        mint: Gives a file key for (kind, object id); called in the thread that calls `finish`.
        on_run: Writes the open columns beside a run.
        limits: Bounds.
        spill_folder: Where sealed temporary data goes; beside the store if None.
        random_bytes: Makes ids and the temporary key.
    """

    def __init__(
        self,
        store: Store,
        plan: RunPlan,
        mint: Mint,
        *,
        on_run: OnRun | None = None,
        limits: CollectorLimits | None = None,
        spill_folder: Path | None = None,
        random_bytes: Callable[[int], bytes] = real_random_bytes,
    ) -> None:
        self._store = store
        self._plan = plan
        self._mint = mint
        self._on_run = on_run
        self._limits = limits or CollectorLimits()
        beside = getattr(store, "temporary_folder", None)
        self._folder = spill_folder or (beside if isinstance(beside, Path) else Path(tempfile.gettempdir()))
        self._random = random_bytes
        self._spill: SpillFile | None = None
        self._schema: pa.Schema | None = None
        self._change = threading.Lock()
        self._spilling = threading.Lock()
        self._held = 0
        self._arena = self._new_arena()

    def close(self) -> None:
        """Let go of memory and temporary data."""
        if self._spill is not None:
            self._spill.close()
            self._spill = None
        self._arena = _Arena(0)

    @property
    def spilled(self) -> bool:
        """Whether some of it left the memory."""
        return self._spill is not None

    def add(self, order: int, tokens: U8, payload: U8, offsets: I64, rows: pa.RecordBatch | None = None) -> None:
        """Take a chunk of entries; any thread, any order. The arrays are the collector's from now on.

        Args:
            order: Place of this chunk among those of the act (0 to 2^32-1), for ties.
            tokens: u8[n,16], unsorted.
            payload: u8[m].
            offsets: i64[n+1] into the payload.
            rows: Open columns of the same n rows.

        Raises:
            UsageError: The parts do not fit each other.
            UnavailableError: Temporary data could not be kept.
        """
        count = len(tokens)
        if len(offsets) != count + 1 or (rows is not None and rows.num_rows != count):
            raise UsageError("tokens, offsets and rows of a chunk do not have the same length")
        if not count:
            return
        start, end = int(offsets[0]), int(offsets[-1])
        if rows is not None:
            rows = _plain_rows(rows)
        other = count * _ENTRY_OVERHEAD + (rows.nbytes if rows is not None else 0)
        if end - start + other > self._limits.memory_bytes // 3 and count > 1:
            half = count // 2
            first = rows.slice(0, half) if rows is not None else None
            second = rows.slice(half) if rows is not None else None
            self.add(order, tokens[:half], payload, offsets[: half + 1], first)
            self.add(order, tokens[half:], payload, offsets[half:], second)
            return
        self._hold(_Chunk(order, tokens, payload, offsets, rows), end - start + other)

    def finish(self, shapes: Sequence[Shape] = (), batches: Sequence[bytes] = ()) -> list[ObjectEntry]:
        """Write all runs and what goes beside them, durable when this returns.

        Args:
            shapes: The shape table of records runs.
            batches: Batch ids of index runs, which have no shapes.

        Returns:
            Entries for the manifest in token order, each run followed by the file beside it.
        """
        arena, self._arena = self._arena, _Arena(0)
        if self._spill is None:
            jobs = self._memory_jobs(arena)
        else:
            self._spill_arena(arena)
            jobs = self._spill_jobs(self._spill)
        del arena
        written: list[list[ObjectEntry]] = []
        with ThreadPoolExecutor(max(1, min(self._limits.threads, len(jobs)))) as pool:
            running = []
            for job in jobs:
                object_id = self._random(16)
                file_key = self._mint(self._plan.kind, object_id)
                running.append(pool.submit(self._write, job, object_id, file_key, shapes, batches))
            jobs.clear()
            try:
                written = [future.result() for future in running]
            except BaseException:
                for future in running:
                    future.cancel()
                raise
        self.close()
        return [entry for entries in written for entry in entries]

    # -- collecting -----------------------------------------------------------------------------
    def _new_arena(self) -> _Arena:
        """Two thirds of the memory, or what another arena that is being spilled leaves of it."""
        size = min(self._limits.memory_bytes * 2 // 3, self._limits.memory_bytes - self._held)
        self._held += size
        return _Arena(size)

    def _hold(self, chunk: _Chunk, size: int) -> None:
        while True:
            with self._change:
                arena = self._arena
                if arena.fits(size) or not arena.chunks:
                    arena.chunks.append(chunk)
                    arena.used += size
                    return
            with self._spilling:
                with self._change:
                    if arena is not self._arena:
                        continue
                    self._arena = self._new_arena()
                self._spill_arena(arena)
                with self._change:
                    self._held -= arena.size

    def _spill_arena(self, arena: _Arena) -> None:
        if not arena.chunks:
            return
        if self._spill is None:
            self._spill = SpillFile(self._folder, self._random)
        found = _sorted_arena(arena)
        tokens = found.entries.tokens
        buckets = (token_words(tokens)[:, 0] >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)[found.order]
        cuts = np.flatnonzero(np.diff(buckets)) + 1
        starts = [0, *cuts.tolist()]
        ends = [*cuts.tolist(), len(buckets)]
        for start, end in zip(starts, ends, strict=True):
            some = found.order[start:end]
            entries = Columns(tokens[some], *found.entries.take(some))
            rows = _packed_rows(found.rows, some) if found.rows is not None else None
            self._spill.append(int(buckets[start]), entries, found.rank[some], rows)
        if found.rows is not None:
            self._schema = found.rows.schema

    # -- writing --------------------------------------------------------------------------------
    def _memory_jobs(self, arena: _Arena) -> list[Callable[[], tuple[_Unsorted, int, int]]]:
        if not arena.chunks:
            return []
        found = _sorted_arena(arena)
        tokens, count = found.entries.tokens, len(found.order)
        parts = -(-count // self._limits.run_entries)
        if count >= self._limits.split_entries:
            parts = max(parts, self._limits.threads)
        cuts = [0]
        for part in range(1, parts):
            cut = max(count * part // parts, cuts[-1])
            # A person's entries stay together: the cut moves to where the token changes.
            while 0 < cut < count and (tokens[found.order[cut]] == tokens[found.order[cut - 1]]).all():
                cut += 1
            cuts.append(cut)
        cuts.append(count)

        def job(start: int, end: int) -> Callable[[], tuple[_Unsorted, int, int]]:
            return lambda: (found, start, end)

        return [job(start, end) for start, end in pairwise(cuts) if end > start]

    def _spill_jobs(self, spill: SpillFile) -> list[Callable[[], tuple[_Unsorted, int, int]]]:
        by_bucket: dict[int, list[Segment]] = {}
        for segment in spill.segments:
            by_bucket.setdefault(segment.bucket, []).append(segment)
        groups: list[list[Segment]] = []
        entries = size = 0
        for bucket in sorted(by_bucket):
            segments = by_bucket[bucket]
            more_entries = sum(segment.entries for segment in segments)
            more_size = sum(segment.payload for segment in segments)
            over = entries + more_entries > self._limits.run_entries or size + more_size > self._limits.run_bytes
            if not groups or over:
                groups.append([])
                entries = size = 0
            groups[-1] += segments
            entries, size = entries + more_entries, size + more_size

        def job(group: list[Segment]) -> Callable[[], tuple[_Unsorted, int, int]]:
            return lambda: (self._read_group(spill, group), 0, sum(segment.entries for segment in group))

        return [job(group) for group in groups]

    def _read_group(self, spill: SpillFile, group: list[Segment]) -> _Unsorted:
        parts, ranks, batches = [], [], []
        for segment in group:
            entries, rank, rows = spill.read(segment)
            parts.append(entries)
            ranks.append(rank)
            if rows is not None:
                import pyarrow as pa

                batches.append(pa.ipc.read_record_batch(rows, self._schema))
        return _sorted(scattered(parts), np.concatenate(ranks), batches)

    def _write(
        self,
        job: Callable[[], tuple[_Unsorted, int, int]],
        object_id: bytes,
        file_key: FileKey,
        shapes: Sequence[Shape],
        batches: Sequence[bytes],
    ) -> list[ObjectEntry]:
        found, start, end = job()
        order = found.order[start:end]
        besides: list[ObjectEntry] = []

        def write_beside(run: ObjectEntry) -> None:
            if self._on_run is not None and found.rows is not None:
                beside = self._on_run(run, run_rows(found.rows, order, found.entries.tokens[order]))
                besides.extend([] if beside is None else [beside])

        ordered = Ordered(found.entries, order)
        run = store_run(self._store, self._plan, object_id, file_key, ordered, shapes, batches, write_beside)
        return [run, *besides]


def run_rows(rows: pa.Table, order: I64, tokens: U8) -> pa.Table:
    """The open columns of a run: rows taken in order, with the hidden columns.

    `_person` (int32) is the dense rank of the row's person within the run, `_row` (int32) its place.
    """
    import pyarrow as pa

    persons = (np.cumsum(token_changes(tokens)) - 1).astype(np.int32)
    taken = rows.take(pa.array(order))
    places = np.arange(len(order), dtype=np.int32)
    return taken.append_column(PERSON_COLUMN, pa.array(persons)).append_column(ROW_COLUMN, pa.array(places))


def _sorted_arena(arena: _Arena) -> _Unsorted:
    chunks = arena.chunks
    rank = np.repeat(np.array([chunk.order for chunk in chunks], np.uint32), [len(chunk.tokens) for chunk in chunks])
    batches = [chunk.rows for chunk in chunks if chunk.rows is not None]
    return _sorted(scattered([(chunk.tokens, chunk.payload, chunk.offsets) for chunk in chunks]), rank, batches)


def _sorted(entries: Scattered, rank: npt.NDArray[np.uint32], batches: list[pa.RecordBatch]) -> _Unsorted:
    rows = None
    if batches:
        import pyarrow as pa

        rows = pa.Table.from_batches(batches).combine_chunks()
        if rows.num_rows != len(entries.tokens):
            raise UsageError("some chunks came with open columns and some without")
    return _Unsorted(entries, rank, rows, sort_entries(entries.tokens, rank))


def _plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionaries, so that chunks can be put together and sealed one by one."""
    import pyarrow as pa

    if not any(pa.types.is_dictionary(field.type) for field in rows.schema):
        return rows
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _packed_rows(rows: pa.Table, order: I64) -> bytes:
    """Rows taken in order, serialised without their schema."""
    import pyarrow as pa

    batches = rows.take(pa.array(order)).combine_chunks().to_batches()
    return bytes(batches[0].serialize()) if batches else b""
