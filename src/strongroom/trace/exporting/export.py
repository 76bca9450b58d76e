"""Export tables to a recipient: persons counted first, then streamed as the purpose shows them, whole or not at all.

The order:

1. The places are looked at, and a reading is opened; the keymaster decides whether this may go to that recipient.
2. The records that will be in the files are streamed once, none is opened, and the keymaster is told whose they are.
3. The keymaster decides, spends all of them, notes one entry, and keeps the ledger's: only now are there keys.
4. The records are streamed again: released, opened, shown as the purpose says, written.
   Canary persons are records among them; those that this export does not hold are missing, like the erased.
5. The files get their names, and the keymaster notes the end with the root over their rows.

What stops it between 3 and 5 leaves no file; the export is taken up again by its id, and nobody is charged twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from strongroom.catalog.freshness import leave_act
from strongroom.errors import IntegrityError, NotFoundError, StrongroomError, UsageError
from strongroom.keymaster.exports.api import ExportGrant, ExportPlan
from strongroom.read.cellcolumns import CellColumns
from strongroom.schema.model import OPEN
from strongroom.schema.normalise import normalise_one
from strongroom.trace.exporting.choosing import Batch, Chosen
from strongroom.trace.exporting.conditions import Condition, parse_condition
from strongroom.trace.exporting.formats import open_writer
from strongroom.trace.exporting.marks import Marks
from strongroom.trace.exporting.request import ExportReport, ExportRequest, Places, ident_of, places_of, resumable
from strongroom.trace.exporting.rowroots import RowRoot
from strongroom.trace.exporting.shown import Shown
from strongroom.trace.exporting.targets import Targets, open_targets
from strongroom.trace.exporting.tokens import TokensOnly

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D, Keymaster, ReadingGrant
    from strongroom.read.session import Session
    from strongroom.schema.model import Schema, Table

Progress = Callable[[int, int, int | None], None]
LOOKUPS_AT_ONCE = 10_000
AHEAD = 2
"""Batches that a step makes before the next has taken the first of them."""
T = TypeVar("T")


def export(
    session: Session,
    request: ExportRequest,
    progress: Progress | None = None,
    started: Callable[[ExportGrant], None] | None = None,
    marks: Callable[[bytes], Marks] = lambda _id: TokensOnly(),
    into: Callable[[Places], Targets] | None = None,
) -> ExportReport:
    """Export; see `Room.export`.

    Args:
        session: The room's bucket and keymaster.
        request: What, and where to.
        progress: Called with records so far, bytes (0) and the most records there can be.
        started: Called once the persons are charged, and before any record is opened.
        marks: Makes the marks of an export from its id (16 B).
        into: Opens what the files are written to; None for files and objects of the names that are asked for.
    """
    places = places_of(request)
    targets = open_targets(request.to, places.names, folder=places.folder) if into is None else into(places)
    keymaster = session.keymaster
    try:
        grant = keymaster.begin_reading(
            actor=session.actor,
            purpose=request.purpose,
            reason=request.reason,
            approval=request.approval,
            break_glass=request.break_glass,
        )
        try:
            with ThreadPoolExecutor(1) as hashing:
                return _Exporting(session, request, grant, progress, started, marks, hashing).run(targets, places)
        finally:
            keymaster.end_reading(grant.reading_id)
    finally:
        targets.discard()


class _Exporting:
    """One export under way."""

    def __init__(
        self,
        session: Session,
        request: ExportRequest,
        grant: ReadingGrant,
        progress: Progress | None,
        started: Callable[[ExportGrant], None] | None,
        marks: Callable[[bytes], Marks],
        hashing: Executor,
    ) -> None:
        self._session = session
        self._hashing = hashing
        self._request = request
        self._grant = grant
        self._progress = progress
        self._tell_started = started
        self._make_marks = marks
        self._keymaster: Keymaster = session.keymaster
        self._schema: Schema = session.keymaster.schema()
        self._done = 0
        self._most = 0

    def run(self, targets: Targets, places: Places) -> ExportReport:
        """Do it."""
        request, exports, reading = self._request, self._keymaster.exports, self._grant.reading_id
        models = [self._table(name) for name in request.tables]
        condition = None if request.where is None else parse_condition(request.where, models[0])
        plan = self._plan(condition)
        export_id = self._begun(plan)
        chosen, named = self._chosen(models, condition, plan)
        marks = self._make_marks(export_id)
        if request.resume is None:
            whole = chosen[:1] if condition is not None else chosen  # others give the records of persons chosen there
            for one in whole:
                self._add(export_id, one)
            granted = exports.start(reading, export_id)
        else:
            granted = exports.resume(reading, export_id, plan)
        if self._tell_started is not None:
            self._tell_started(granted)
        try:
            marks.begin(granted)
            return self._written(granted, marks, chosen, targets, places, named)
        except StrongroomError as error:
            raise resumable(error, export_id.hex())  # noqa: B904 - the same error, with a hint

    def _plan(self, condition: Condition | None) -> ExportPlan:
        request = self._request
        snapshot = self._keymaster.head().number
        if request.resume is not None:
            snapshot = self._keymaster.exports.started(self._grant.reading_id, ident_of(request.resume))
        where = "" if condition is None else condition.text
        fields = () if condition is None else condition.fields
        return ExportPlan(request.tables, request.recipient, snapshot, request.named, where, fields)

    def _begun(self, plan: ExportPlan) -> bytes:
        if self._request.resume is not None:
            return bytes.fromhex(self._request.resume)  # the keymaster knows it: `_plan` has asked
        return self._keymaster.exports.begin(self._grant.reading_id, plan)

    # -- which records --------------------------------------------------------------------------
    def _chosen(
        self, models: Sequence[Table], condition: Condition | None, plan: ExportPlan
    ) -> tuple[list[Chosen], int]:
        """The records of each table, and how many persons were named."""
        session, reading = self._session, self._grant.reading_id
        keys = session.reading_keys(reading)
        finder = session.finder(session.catalog(keys, plan.snapshot), keys)
        found, count = [], 0
        for at, model in enumerate(models):
            named = self._tokens(model) if self._request.named else None
            count = max(count, 0 if named is None else len(named))
            found.append(Chosen(session, finder, reading, model, condition if at == 0 else None, named))
        self._most = sum(one.records for one in found)
        return found, count

    def _tokens(self, model: Table) -> Bytes2D:
        """Tokens of the subjects that were named, u8[n,16]."""
        if self._request.tokens is not None:
            if not len(self._request.tokens):
                raise UsageError("nobody is named")
            return self._request.tokens
        steps = model.subject_field.normalise
        given = sorted({normalise_one(subject, steps) for subject in self._request.subjects or ()})
        if not given:
            raise UsageError("no subject is named")
        parts = [
            self._keymaster.subject_tokens(self._grant.reading_id, model.name, given[at : at + LOOKUPS_AT_ONCE])
            for at in range(0, len(given), LOOKUPS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _add(self, export_id: bytes, chosen: Chosen) -> None:
        exports, reading = self._keymaster.exports, self._grant.reading_id
        for batch in ahead(chosen.batches()):
            count = exports.add(reading, export_id, chosen.table.name, batch.tokens, batch.batches)
            if self._request.persons is not None and count > self._request.persons:
                told = f"more than {self._request.persons:,} persons would go out: nobody was charged"
                raise UsageError(told, hint="a greater number, or a condition that chooses fewer")

    def _table(self, name: str) -> Table:
        found = self._schema.tables.get(name)
        if found is None:
            raise NotFoundError(f"no table {name} in this room", hint=f"tables: {', '.join(self._schema.tables)}")
        return found

    # -- writing --------------------------------------------------------------------------------
    def _written(
        self,
        granted: ExportGrant,
        marks: Marks,
        chosen: Sequence[Chosen],
        targets: Targets,
        places: Places,
        named: int,
    ) -> ExportReport:
        root, records = RowRoot(), {}
        for one, name in zip(chosen, places.names, strict=True):
            before = root.rows
            shown = Shown(one.table, self._grant.views[one.table.name], marks)
            file = targets.open(name)
            writer = open_writer(places.word, file, shown.schema)
            for plain in ahead(self._plain(granted, one, shown.plain_names)):
                self._write(shown, plain, root, writer)
            writer.close()
            records[one.table.name] = root.rows - before
        targets.publish()
        try:
            ended = self._keymaster.exports.end(self._grant.reading_id, granted.export_id, records, root.root())
        except BaseException:
            targets.withdraw()
            raise
        with suppress(StrongroomError):  # a keymaster that is set back learns of the export; whoever may not write, not
            leave_act(self._session.store, self._keymaster, ended.ended_leaf)
        request = self._request
        return ExportReport(
            granted.export_id.hex(), granted.leaf, granted.snapshot, request.recipient, granted.persons, records,
            places.files(request.to),
            max(0, named - granted.persons), root.root().hex(), granted.marked, granted.names_from,
            granted.why_none, granted.remaining,
        )  # fmt: skip

    def _write(self, shown: Shown, plain: pa.RecordBatch, root: RowRoot, writer: Any) -> None:
        batch = shown.of(plain)
        hashed = self._hashing.submit(root.add, shown.table.name, batch.columns)
        writer.write(batch)
        hashed.result()
        self._done += len(batch)
        if self._progress is not None:
            self._progress(self._done, 0, self._most)

    def _plain(self, granted: ExportGrant, chosen: Chosen, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a table in the clear, a batch at a time."""
        import pyarrow as pa

        cells = CellColumns(self._keymaster, chosen.table, names)
        for kept, keys in ahead(self._released(granted, chosen, names)):
            columns = kept.opened(cells, keys)
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})

    def _released(
        self, granted: ExportGrant, chosen: Chosen, names: Sequence[str]
    ) -> Iterator[tuple[Batch, Mapping[str, Bytes2D]]]:
        """The rows of a table with their batch keys by class, a batch at a time."""
        table, reading = chosen.table, self._grant.reading_id
        sealed = {f.klass for f in table.fields if f.name in names and f.klass != OPEN}
        for batch in chosen.batches():
            released = self._keymaster.exports.release(
                reading, granted.export_id, table.name, batch.tokens, batch.batches
            )
            if not sealed <= released.keys.keys():
                raise IntegrityError(f"the keymaster gave no keys for a class of table {table.name}")
            here = np.ones(len(batch.places), np.bool_)
            here[list(released.missing)] = False
            keys = {klass: found[here] for klass, found in released.keys.items()} if not here.all() else released.keys
            kept: Batch = batch if here.all() else batch.only(here)
            if len(kept.places):
                yield kept, keys


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, some of them made by another thread while those before are used."""
    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(next, items, None) for _ in range(AHEAD))
        while (item := coming.popleft().result()) is not None:
            coming.append(pool.submit(next, items, None))
            yield item
