"""Merges several runs into new ones, moving cells byte for byte.

Rules it keeps:

1. No cell is opened: it needs block keys of the runs and nobody's secret.
2. Runs are given oldest first, and none that lies between them in the commit order is left out: the result takes the
   place of the newest of them.
3. Of a table with one record per person only the newest entry is kept; older snapshots still have the old runs. Dead
   entries are dropped first, as if they had not been there; expired ones last: what they replaced stays replaced.
4. The result states counts and an order-free sum of the entries read, written and dropped: read = written + dropped.
   See `sums`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from strongroom.catalog.entries import BlockKeys, Mint, ObjectEntry
from strongroom.catalog.openfile import OpenFileWriter, open_parquet
from strongroom.catalog.runs import RunPlan, run_entry
from strongroom.errors import IntegrityError, UsageError
from strongroom.index.openmerge import OpenRows, add_hidden, merged_rows, open_schema, with_hidden
from strongroom.index.runreader import RunReader, TailCache
from strongroom.index.scan import GROUP_BYTES, Group, scan
from strongroom.index.sums import EntrySum, Shapes, entry_sum
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.columns import Columns, gather, token_changes
from strongroom.seal.entropy import random_bytes as real_random_bytes
from strongroom.seal.run import RunWriter, Shape
from strongroom.store.base import Store, object_name

if TYPE_CHECKING:
    import pyarrow as pa

MERGE_RUNS_MAX = 1024
MERGE_COMMITS_MAX = 64
RUN_BYTES = 512 << 20
RUN_ENTRIES = 1_500_000


@dataclass(frozen=True)
class Merged:
    """What a merge wrote.

    Attributes:
        entries: For the manifest: each new run, followed by its open-columns file; `commit` is the place they take.
        read: Entries of the runs given.
        written: Entries of the new runs.
        dropped: Entries that newer ones replaced, and those that were dead or expired.
        dead: How many of these were dead or expired.
    """

    entries: list[ObjectEntry]
    read: EntrySum
    written: EntrySum
    dropped: EntrySum
    dead: int = 0

    def plus(self, other: Merged) -> Merged:
        """Both together, of the same table, kind and field."""
        sums = (self.read.plus(other.read), self.written.plus(other.written), self.dropped.plus(other.dropped))
        return Merged([*self.entries, *other.entries], *sums, self.dead + other.dead)

    def notes(self) -> dict[str, int | str]:
        """Counts and sums for the snapshot's notes."""
        found: dict[str, int | str] = {}
        for name in ("read", "written", "dropped"):
            part: EntrySum = getattr(self, name)
            found[f"{name}_entries"] = part.entries
            found[f"{name}_sum"] = part.hex()
        return found


@dataclass(frozen=True)
class MergeInput:
    """What to merge: runs of one table, kind and field, oldest first, and the open-columns file beside each.

    Args:
        store: The bucket.
        room: Room id, 16 B.
        runs: 1 to 1,024 entries of runs, of 64 commits at most: runs of one commit are disjoint, and read in turn.
        beside: Run id to the entry of its open-columns file.
        block_keys: Gives block keys of all of them.
        dead: Run id to which of its entries are dead, bool[entries]; a run that is left out has none.
        expired: The same for entries past a retention by a field.
    """

    store: Store
    room: bytes
    runs: Sequence[ObjectEntry]
    beside: Mapping[bytes, ObjectEntry]
    block_keys: BlockKeys
    dead: Mapping[bytes, npt.NDArray[np.bool_]] = field(default_factory=dict)
    expired: Mapping[bytes, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def marked(self, group: Group, marks: Mapping[bytes, npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_] | None:
        """Which entries of a group are marked, bool[n]; None where none of the runs has marks."""
        if not marks:
            return None
        found = np.zeros(len(group.tokens), np.bool_)
        for number, run in enumerate(self.runs):
            if run.object_id in marks:
                mine = group.source == number
                found[mine] = marks[run.object_id][group.position[mine]]
        return found


def merge(
    given: MergeInput,
    plan: RunPlan,
    mint: Mint,
    *,
    newest_only: bool,
    run_bytes: int = RUN_BYTES,
    run_entries: int = RUN_ENTRIES,
    group_bytes: int = GROUP_BYTES,
    sums: bool = True,
    random_bytes: Callable[[int], bytes] = real_random_bytes,
) -> Merged:
    """Merge runs into new, disjoint ones, durable when this returns.

    Args:
        given: What to merge.
        plan: What the new runs belong to.
        mint: Gives a file key for (kind, object id).
        newest_only: Whether only the newest entry of each token is kept.
        run_bytes: Payload of a new run, about.
        run_entries: Entries of a new run, about.
        group_bytes: Sealed bytes of blocks opened at a time.
        sums: Whether the order-free sums are computed (several µs an entry); 0 otherwise.
        random_bytes: Makes object ids.

    Raises:
        IntegrityError: A run or file is not the one that was written.
        UsageError: The runs do not belong together, or are too many.
    """
    runs = given.runs
    commits = {run.commit for run in runs}
    if not 1 <= len(runs) <= MERGE_RUNS_MAX or len(commits) > MERGE_COMMITS_MAX:
        raise UsageError(f"1 to {MERGE_RUNS_MAX} runs of {MERGE_COMMITS_MAX} commits are merged at once")
    if any((run.table, run.kind, run.field) != (plan.table, plan.kind, plan.field) for run in runs):
        raise UsageError("runs of different tables, kinds or fields are not merged")
    tails = TailCache()
    readers = [RunReader(given.store, run, given.room, given.block_keys, tails) for run in runs]
    shapes = Shapes(readers) if plan.kind == KIND_RECORDS else None
    opened = _open_files(given)
    batches = tuple(dict.fromkeys(batch for run in runs for batch in run.batches))
    total = Merged([], EntrySum(), EntrySum(), EntrySum())
    with _Output(given.store, plan, mint, shapes, opened, batches, random_bytes) as output:
        for group in scan(readers, group_bytes=group_bytes):
            if output.entries >= run_entries or output.payload >= run_bytes:
                output.next_run()
            total = total.plus(_moved(given, group, output, shapes, newest_only=newest_only, sums=sums))
    return replace(total, entries=[replace(entry, commit=max(commits)) for entry in output.finished])


def _moved(
    given: MergeInput, group: Group, output: _Output, shapes: Shapes | None, *, newest_only: bool, sums: bool
) -> Merged:
    """Write what is kept of a group; what was read, written and dropped."""
    dead, expired = given.marked(group, given.dead), given.marked(group, given.expired)
    kept, columns = _kept(group, dead, expired, newest_only=newest_only)
    if shapes is not None:
        columns = shapes.moved(columns, group.source[kept])
    output.add(columns, group, kept)
    every = here = 0
    if sums:
        every = entry_sum(group.columns(), shapes.of(group) if shapes is not None else None)
        here = entry_sum(columns, shapes.packed if shapes is not None else None)
    read, written = EntrySum(len(group.tokens), every), EntrySum(len(kept), here)
    gone = sum(int(marks.sum()) for marks in (dead, expired) if marks is not None)
    return Merged([], read, written, read.minus(written), gone)


def _kept(
    group: Group,
    dead: npt.NDArray[np.bool_] | None,
    expired: npt.NDArray[np.bool_] | None,
    *,
    newest_only: bool,
) -> tuple[npt.NDArray[np.int64], Columns]:
    """Places of the entries to keep, and those entries."""
    kept = np.arange(len(group.tokens), dtype=np.int64)
    if dead is not None:
        kept = kept[~dead]
    if newest_only and len(kept):
        kept = kept[np.append(token_changes(group.tokens[kept])[1:], True)]
    if expired is not None:
        kept = kept[~expired[kept]]
    if len(kept) == len(group.tokens):
        return kept, group.columns()
    return kept, Columns(group.tokens[kept], *gather(group.payload, group.offsets, kept))


@dataclass
class _Opened:
    """The open-columns files of the runs, in step with them."""

    rows: list[OpenRows]
    schema: pa.Schema


def _open_files(given: MergeInput) -> _Opened | None:
    files: list[Any] = []
    for run in given.runs:
        entry = given.beside.get(run.object_id)
        if entry is None:
            files.append(None)
            continue
        if entry.open_of != run.object_id or entry.entries != run.entries:
            raise IntegrityError(f"open-columns file {entry.object_id.hex()} does not belong to its run")
        (key,) = given.block_keys(entry.key_id, KIND_OPEN_COLUMNS, [0], entry.table)
        files.append(open_parquet(given.store, entry, key))
    there = [file for file in files if file is not None]
    if not there:
        return None
    schema = open_schema(there)
    return _Opened([OpenRows(file, schema) for file in files], schema)


class _Output:
    """Writes new runs one after the other, each with its open columns."""

    def __init__(
        self,
        store: Store,
        plan: RunPlan,
        mint: Mint,
        shapes: Shapes | None,
        opened: _Opened | None,
        batches: tuple[bytes, ...],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.finished: list[ObjectEntry] = []
        self.entries = 0
        self.payload = 0
        self._store = store
        self._plan = plan
        self._mint = mint
        self._shapes = shapes
        self._opened = opened
        self._batches = batches
        self._random = random_bytes
        self._persons = 0
        self._run: _NewRun | None = None
        self._file: OpenFileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.next_run()
            return
        if self._run is not None:
            self._run.__exit__(kind, error, trace)
        if self._file is not None:
            self._file.__exit__(kind, error, trace)

    def add(self, columns: Columns, group: Group, kept: npt.NDArray[np.int64]) -> None:
        if not len(kept):
            if self._opened is not None:  # the files move on in step
                merged_rows(self._opened.rows, group.source, group.position, kept, self._opened.schema)
            return
        if self._run is None:
            self._start()
        assert self._run is not None
        self._run.writer.add_sorted(*columns)
        if self._opened is not None and self._file is not None:
            rows = merged_rows(self._opened.rows, group.source, group.position, kept, self._opened.schema)
            rows, self._persons = add_hidden(rows, columns.tokens, self._persons, self.entries)
            self._file.write(rows)
        self.entries += len(columns.tokens)
        self.payload += len(columns.payload)

    def next_run(self) -> None:
        """Finish the run in hand, if there is one."""
        if self._run is None:
            return
        shapes = self._shapes.table if self._shapes is not None else ()
        run, self._run = self._run, None
        entry = run.finish(shapes, self._batches)
        self.finished.append(entry)
        if self._file is not None:
            file, self._file = self._file, None
            file.__exit__(None, None, None)
            self.finished.append(file.entry(entry))
        self.entries = self.payload = self._persons = 0

    def _start(self) -> None:
        self._run = _NewRun(self._store, self._plan, self._mint, self._random(16))
        if self._opened is not None:
            schema = with_hidden(self._opened.schema)
            self._file = OpenFileWriter(self._store, self._mint, schema, random_bytes=self._random)


class _NewRun:
    """One run being written to the store."""

    def __init__(self, store: Store, plan: RunPlan, mint: Mint, object_id: bytes) -> None:
        self._plan = plan
        self._object_id = object_id
        self._key = mint(plan.kind, object_id)
        self._context = store.writer(object_name(object_id))
        out = self._context.__enter__()
        self.writer = RunWriter(self._key.key, plan.room, object_id, plan.kind, out.write)

    def finish(self, shapes: Sequence[Shape], batches: tuple[bytes, ...]) -> ObjectEntry:
        try:
            summary = self.writer.finish(shapes)
        except BaseException as error:
            self._context.__exit__(type(error), error, error.__traceback__)
            raise
        self._context.__exit__(None, None, None)
        return run_entry(self._plan, self._object_id, self._key.key_id, summary, batches)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A store's writer raises the error again, as every context manager made from a generator may.
        try:
            self._context.__exit__(kind, error, trace)
        except BaseException as again:
            if again is not error:
                raise
