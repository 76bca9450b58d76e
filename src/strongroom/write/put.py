"""Put records into a table: read, check, seal, sort, store, and then move the head of the room once.

Rules it keeps:

1. Order of writes: runs and open-column files, manifest, snapshot, then the head. A put cut short leaves the
   room as it was, and some objects that nothing names, which `check` lists and `compact` removes.
2. Records that do not fit are counted by reason with source and row, and kept sealed; with `strict` one such
   record refuses the whole put. Columns that the table lacks are left out and named; with `strict` they refuse it.
3. Rows of one put are ordered: a later row of the same subject is newer.
4. Memory does not grow with the input: at most WORKERS + 1 batches are in hand, and the collectors spill, sealed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.errors import ConflictError, InputError
from strongroom.schema.rejects import Rejects, rejects_from_batch, rejects_from_lines
from strongroom.seal.entropy import random_bytes
from strongroom.write.batch import seal_batch
from strongroom.write.commit import Change, Committed, commit_change
from strongroom.write.kept import Kept
from strongroom.write.outputs import Outputs
from strongroom.write.prepare import prepare
from strongroom.write.sources_base import LEFT_OUT_NAMED_MAX, listed

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pyarrow as pa

    from strongroom.catalog.entries import ObjectEntry
    from strongroom.keymaster.api import Keymaster, Lease
    from strongroom.schema.model import Table
    from strongroom.store.base import Store
    from strongroom.write.sources import SourceBatch, Sources

WORKERS = 2
RUNS_PASSED_MAX = 8
SINGLED_OUT_SHARE_MIN = 0.01
PRELOAD_BYTES_MIN = 32 << 20  # such a source has batches that the compiled kernels seal
HASHED_FIRST_BYTES_MAX = 64 << 20
Progress = Callable[[int, int, "int | None"], None]


@dataclass(frozen=True)
class PutOptions:
    """How to read the source, and what to do with records that do not fit."""

    columns: Sequence[str] | None = None
    encoding: str | None = None
    format: str | None = None
    strict: bool = False
    again: bool = False


@dataclass(frozen=True)
class PutReceipt:
    """What a put did. `reasons` counts rejected records by (reason, field); `leaf` is its log entry."""

    put_id: str
    snapshot: int
    records: int
    new_subjects: int
    rejected: int
    reasons: dict[tuple[str, str], int]
    leaf: int
    notes: tuple[str, ...] = ()

    def reject_rows(self) -> list[tuple[str, str, int]]:
        """Rows of (reason, field, records), most frequent first."""
        return [(*key, count) for key, count in sorted(self.reasons.items(), key=lambda item: -item[1])]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        reasons = [{"reason": r, "field": f, "records": n} for r, f, n in self.reject_rows()]
        names = ("put_id", "snapshot", "records", "new_subjects", "rejected", "leaf")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "reasons": reasons, "notes": list(self.notes)}


@dataclass
class _Work:
    """One batch between the source and the collectors."""

    order: int
    source: SourceBatch
    batch: bytes
    records: int = 0
    new_subjects: int = 0
    rejects: list[Rejects] = field(default_factory=list)


class PutJob:
    """One put under its lease. Made by `leased`."""

    def __init__(
        self,
        store: Store,
        keymaster: Keymaster,
        lease: Lease,
        table: Table,
        options: PutOptions,
        put_id: bytes,
        now: Callable[[], float],
    ) -> None:
        self.keymaster = keymaster
        self.lease = lease
        self.table = table
        self.options = options
        self._kept = Kept(keymaster, lease)
        self.outputs = Outputs(store, keymaster, self._kept, table, put_id, int(now() * 1e6))
        self._store = store
        self._put_id = put_id
        self._now = now
        self.records = 0
        self.new_subjects = 0
        self.reasons: Counter[tuple[str, str]] = Counter()
        self._single = 0.0
        self._left_out: dict[str, None] = {}
        self._had_rows: set[str] = set()
        self._filled: set[str] = set()

    def run(self, sources: Sources, progress: Progress | None) -> None:
        """Seal every batch; workers seal, this thread hands out batch ids and collects in order."""
        if (sources.bytes_total or 0) >= PRELOAD_BYTES_MIN:
            threading.Thread(target=_prepare, name="strongroom-load", daemon=True).start()
        with (
            ThreadPoolExecutor(WORKERS, thread_name_prefix="strongroom-ask") as calls,
            ThreadPoolExecutor(WORKERS, thread_name_prefix="strongroom-seal") as pool,
        ):
            pending: deque[Future[_Work]] = deque()
            try:
                for source in sources:
                    self._leave_out(source)
                    self._had_rows.add(source.source)
                    given = zip(source.columns.schema.names, source.columns.columns, strict=True)
                    self._filled |= {name for name, column in given if column.null_count < len(column)}
                    batch = self.keymaster.mint_batch(self.lease)
                    work = _Work(self.outputs.add_shape(batch), source, batch)
                    pending.append(pool.submit(self._seal, work, calls))
                    if len(pending) > WORKERS:
                        self._collect(pending.popleft().result(), sources, progress)
                while pending:
                    self._collect(pending.popleft().result(), sources, progress)
            finally:
                for future in pending:
                    future.cancel()

    def _seal(self, work: _Work, calls: Executor) -> _Work:
        from strongroom.schema.check import check

        source = work.source
        if len(source.bad):
            bad = source.bad
            work.rejects.append(rejects_from_lines(bad.rows, bad.reasons, bad.raw, source.source, self._put_id))
        rows = source.columns.num_rows
        if not rows:
            return work
        given = {name: source.columns.column(i) for i, name in enumerate(source.columns.schema.names)}
        checked = check(self.table, given, empty_is_null=False)  # CSV parts give null for an empty field already
        columns, subjects = checked.columns, checked.subjects
        if checked.bad.any():
            numbers, said = source.row_numbers(), (checked.bad, checked.reasons)
            work.rejects.append(rejects_from_batch(source.columns, *said, numbers, source.source, self._put_id))
            import pyarrow as pa

            good = pa.array(~checked.bad)
            columns = {name: column.filter(good) for name, column in columns.items()}
            subjects = subjects.filter(good)
            rows = int(np.count_nonzero(~checked.bad))
        if rows:
            if work.order == 0:
                self._refuse_index_of_groups(columns)
                self._singled_out(columns)
            at = (work.batch, work.order)
            sealed = seal_batch(calls, self.keymaster, self.lease, self.table, *at, columns, rows, subjects)
            self.outputs.add(work.order, sealed)
            work.records, work.new_subjects = rows, sealed.new_subjects
        return work

    def digests(self, sources: Sources) -> list[bytes]:
        """SHA-256 of each file that had a row: one of a header alone may come again."""
        return [digest.sha256 for digest in sources.digests if digest.source in self._had_rows]

    def _leave_out(self, source: SourceBatch) -> None:
        """Remember the names of columns that the table does not have; with `strict` they refuse the put."""
        if source.left_out and self.options.strict:
            raise InputError(
                f"{source.source}: table {self.table.name} has no field {listed(source.left_out)}",
                hint="correct the names, or put without --strict: such columns are then left out",
            )
        if len(self._left_out) < LEFT_OUT_NAMED_MAX:
            self._left_out.update(dict.fromkeys(source.left_out))

    def keep_rejects(self, rejects: Rejects) -> None:
        """Count and keep rejects that are not to be looked at again."""
        self.reasons.update(rejects.counts())
        self.outputs.add_rejects(rejects)

    def _collect(self, work: _Work, sources: Sources, progress: Progress | None) -> None:
        for rejected in work.rejects:
            if self.options.strict:
                raise InputError(
                    rejected.first_fault(),
                    hint="correct the record, or put without --strict: such records are then kept sealed",
                )
            self.keep_rejects(rejected)
        self.records += work.records
        self.new_subjects += work.new_subjects
        self._kept.tick()
        if progress is not None:
            progress(self.records, sources.bytes_done, sources.bytes_total)

    def commit(self, digests: Sequence[bytes], removed: Sequence[ObjectEntry] = ()) -> PutReceipt:
        """Sort and store what was collected, and move the head.

        Args:
            digests: SHA-256 of each source that was a file.
            removed: Entries of the room that this put replaces.
        """
        self.outputs.finish()
        rejected = sum(self.reasons.values())
        counts = {"records": self.records, "new_subjects": self.new_subjects, "rejected": rejected}
        added = [(entry, None) for entry in self.outputs.hand_over()]
        change = Change(added, removed, counts, digests, {"act": self.lease.verb, **counts}, self.table.id)
        done = commit_change(self._store, self.keymaster, self.lease, change, self._now)
        return PutReceipt(
            put_id=self._put_id.hex(),
            snapshot=done.head.number,
            records=self.records,
            new_subjects=self.new_subjects,
            rejected=rejected,
            reasons=dict(self.reasons),
            leaf=done.receipt.leaf,
            notes=self._notes(done),
        )

    def _notes(self, done: Committed) -> tuple[str, ...]:
        """What the one who puts should know."""
        notes, runs = [], done.runs_passed
        if self._left_out:
            names = listed(list(self._left_out)[:LEFT_OUT_NAMED_MAX], LEFT_OUT_NAMED_MAX)
            more = " and more" if len(self._left_out) >= LEFT_OUT_NAMED_MAX else ""
            notes.append(f"left out, because table {self.table.name} has no such field: {names}{more}")
        if not done.noted:
            notes.append("the log's checkpoint could not be left beside the objects: the next put leaves it")
        if self.table.records == "one" and self.new_subjects < self.records:
            empty = [f.name for f in self.table.fields if f.name not in self._filled]
            if empty:
                told = "a record replaces the one before it whole, and none of these has a value in"
                notes.append(f"{told} {listed(empty)}")
        if self._single >= SINGLED_OUT_SHARE_MIN:
            names = ", ".join(f.name for f in self.table.open_fields)
            notes.append(f"{self._single:.1%} of the records looked at are alone with their open columns ({names})")
        if runs > RUNS_PASSED_MAX:
            notes.append(f"a look-up passes {runs} runs of {self.table.name}: `strongroom compact` merges them")
        return tuple(notes)

    def _refuse_index_of_groups(self, columns: Mapping[str, pa.Array]) -> None:
        """Refuse to index what turns out to name groups of people; looked at in the first batch alone."""
        from strongroom.schema.check import FEW_VALUES_MAX, too_few_values

        for f in self.table.fields:
            if f.find and too_few_values(columns[f.name]):
                raise InputError(
                    f"table {self.table.name}, field {f.name}: at most {FEW_VALUES_MAX} different values among the "
                    f"first {len(columns[f.name]):,} records: an index on it would list groups of people",
                    hint="take `find` away from this field of the schema; nothing was put",
                )

    def _singled_out(self, columns: Mapping[str, pa.Array]) -> None:
        """Estimate, on the first batch, how many people the open columns together single out."""
        import pyarrow as pa

        from strongroom.schema.quasi import unique_share

        names = [f.name for f in self.table.open_fields]
        if names:
            self._single = unique_share(pa.table({name: columns[name] for name in names}), names)


def put(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    table_name: str,
    what: Any,
    options: PutOptions,
    progress: Progress | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> PutReceipt:
    """Put records; see `Room.put`."""
    from strongroom.write.sources import open_sources

    put_id = random_bytes(16)
    lease = keymaster.begin_put(actor=actor, table=table_name, request_id=put_id)
    table = lease.table
    if table is None:
        raise ConflictError(f"the lease is not for table {table_name}")
    with leased(store, keymaster, lease, table, options, put_id, now) as job:
        sources = open_sources(
            what,
            columns=options.columns,
            encoding=options.encoding,
            format=options.format,
            table_fields=[f.name for f in table.fields],
            needed=[f.name for f in table.fields if not f.nullable],
        )
        with sources:
            if not options.again:
                _refuse_second_put(keymaster, lease, sources)
            job.run(sources, progress)
            digests = job.digests(sources)
        if not options.again:
            _refuse_seen(keymaster, lease, digests)
        return job.commit(digests)


@contextlib.contextmanager
def leased(
    store: Store,
    keymaster: Keymaster,
    lease: Lease,
    table: Table,
    options: PutOptions,
    put_id: bytes,
    now: Callable[[], float],
) -> Iterator[PutJob]:
    """A put under a lease; whatever goes wrong, the lease ends and what was collected is let go."""
    job = PutJob(store, keymaster, lease, table, options, put_id, now)
    try:
        yield job
    except BaseException:
        job.outputs.discard()
        keymaster.abandon(job.lease)
        raise


def _prepare() -> None:
    """Load what large jobs need while the first batches are read; who needs it meanwhile waits for the import."""
    with contextlib.suppress(ImportError):  # it is told where the kernels are used
        prepare()


def _refuse_second_put(keymaster: Keymaster, lease: Lease, sources: Sources) -> None:
    """Small files are hashed before anything is sealed; large ones are noticed when they have been read."""
    from strongroom.write.sources import digest_file

    if (sources.bytes_total or 0) > HASHED_FIRST_BYTES_MAX:
        return
    for name in sources.names:
        if Path(name).is_file() and keymaster.seen_source(lease, digest_file(name).sha256):
            raise _seen(name)


def _refuse_seen(keymaster: Keymaster, lease: Lease, digests: Sequence[bytes]) -> None:
    for digest in digests:
        if keymaster.seen_source(lease, digest):
            raise _seen("a source")


def _seen(source: str) -> ConflictError:
    return ConflictError(
        f"{source} was put into this table before", hint="--again puts it once more, which adds no new knowledge"
    )
