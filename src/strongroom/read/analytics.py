"""Answer one SELECT over a table: check it, note it, run it; charge persons for rows and for sealed fields.

Rules it keeps:

1. The statement is parsed and checked before any key is asked for.
2. An aggregate is noted before its answer is given; rows are charged as the persons they are, and released, before
   they are given. Over sealed fields every person of the table is charged, and their keys released, while it is
   answered; where a budget ends meanwhile, nothing is given.
3. Superseded rows of a table with one record a subject are left out, and everywhere those of the erased and those whose
   retention has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import DeniedError, UnavailableError, UsageError
from strongroom.index.expiry import cutoff
from strongroom.keymaster.api import Ask
from strongroom.read.sealed import SealedColumns
from strongroom.read.sql import SEALED_BATCH_ROWS, OpenFile, SqlAnswer, run
from strongroom.read.sqlcheck import TableView, check_sql
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.columns import shapes_of
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import object_name

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.index.finder import Finder
    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import ReadingGrant
    from strongroom.read.session import Session
    from strongroom.read.sqlplan import Plan
    from strongroom.schema.model import Table

ATTEMPTS_MAX = 4
SEALED_SECONDS_MAX = 3_000.0


def run_sql(
    session: Session,
    grant: ReadingGrant,
    finder: Finder,
    block_keys: BlockKeys,
    text: str,
    most: int | None = None,
) -> pa.Table:
    """Answer one statement; see `Reading.sql`."""
    if grant.sql_min_group is None:
        raise DeniedError(f"purpose {grant.purpose} does not allow sql", rule=f"purpose {grant.purpose}: no sql")
    schema = session.keymaster.schema()
    views = {
        name: TableView.of(schema.tables[name], fields, grant.purpose, grant.sealed.get(name), grant.sql_step)
        for name, fields in grant.views.items()
        if name in schema.tables
    }
    plan = check_sql(text, views, grant.sql_min_group, grant.sql_rows)
    table = schema.tables[plan.tables[0]]
    if plan.sealed:
        return _sealed(session, grant, finder, block_keys, plan, table, most)
    runs = finder.runs(table.id, KIND_RECORDS)
    beside = {e.open_of: e for e in finder.catalog.objects(table.id, KIND_OPEN_COLUMNS)}
    pairs = [(r, beside[r.entry.object_id]) for r in runs if r.entry.object_id in beside]
    if plan.kind == "aggregate":
        session.keymaster.note_sql(grant.reading_id, random_bytes(16), table.name, plan.fields, 0)
    until = cutoff(table, session.now())

    graves = session.uncounted(grant.reading_id, table)
    for _ in range(ATTEMPTS_MAX):
        masks = finder.live_masks(table, graves)
        files = [
            OpenFile(
                _source(session, entry),
                block_keys(entry.key_id, KIND_OPEN_COLUMNS, [0], table.id)[0],
                _unless_all(masks[reader.entry.object_id]),
                expires=until,
            )
            for reader, entry in pairs
        ]
        answer = run(plan, files)
        _check_most(len(answer.rows), most)
        if plan.kind != "rows" or _charged(session, grant, table, plan.fields, [r for r, _ in pairs], answer):
            return answer.table
    raise UnavailableError("persons keep being erased: ask again")


def _check_most(persons: int, most: int | None) -> None:
    if most is not None and persons > most:
        raise UsageError(f"the question is of more than {most} persons", hint="say that more may be charged")


def _sealed(
    session: Session,
    grant: ReadingGrant,
    finder: Finder,
    block_keys: BlockKeys,
    plan: Plan,
    table: Table,
    most: int | None,
) -> pa.Table:
    """The answer to a question over sealed fields: planned as a whole, then released a batch at a time."""
    runs = finder.runs(table.id, KIND_RECORDS)
    masks = finder.live_masks(table, session.uncounted(grant.reading_id, table))
    persons = sum(int(masks[r.entry.object_id].sum()) for r in runs)
    if plan.by_person:
        # who has several records may be in two batches, and is counted in each
        persons = min(persons, sum(r.entry.persons + 2 * (r.entry.entries // SEALED_BATCH_ROWS + 1) for r in runs))
    _check_most(persons, most)
    session.keymaster.note_sql(grant.reading_id, random_bytes(16), table.name, plan.fields, 0, persons)
    beside = {e.open_of: e for e in finder.catalog.objects(table.id, KIND_OPEN_COLUMNS)}
    until = cutoff(table, session.now())
    files = []
    for reader in runs:
        entry = beside.get(reader.entry.object_id)
        key = None if entry is None else block_keys(entry.key_id, KIND_OPEN_COLUMNS, [0], table.id)[0]
        files.append(
            OpenFile(
                None if entry is None else _source(session, entry),
                key,
                _unless_all(masks[reader.entry.object_id]),
                expires=until,
                sealed=SealedColumns(session.keymaster, grant.reading_id, table, plan, reader),
            )
        )
    return run(plan, files, seconds_max=SEALED_SECONDS_MAX).table


def _unless_all(live: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    return None if live.all() else live


def _source(session: Session, entry: ObjectEntry) -> Any:
    name = object_name(entry.object_id)
    local = getattr(session.store, "local_path", None)
    if local is not None:
        return local(name)
    import pyarrow as pa

    return pa.BufferReader(session.store.get(name))


def _charged(
    session: Session,
    grant: ReadingGrant,
    table: Table,
    fields: tuple[str, ...],
    runs: list[RunReader],
    answer: SqlAnswer,
) -> bool:
    """Spend the persons behind the rows and note them; raises before anything is given when they are too many.

    Returns:
        Whether all of them are still there: somebody erased since the question was answered must not be in the answer.
    """
    tokens, batches = [], []
    for number, reader in enumerate(runs):
        wanted = np.sort(answer.rows[answer.files == number].astype(np.int64))
        if len(wanted):
            found = _persons_at(reader, wanted)
            tokens.append(found[0])
            batches.append(found[1])
    none = np.empty((0, 16), np.uint8)
    ask = Ask(
        request_id=random_bytes(16),
        verb="sql",
        table=table.name,
        fields=fields,
        tokens=np.concatenate(tokens) if tokens else none,
        batches=np.concatenate(batches) if batches else none,
    )
    return not session.keymaster.release(grant.reading_id, ask).missing


def _persons_at(
    reader: RunReader, positions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Subject token and batch id of the entries at sorted positions of a run."""
    starts = np.concatenate([[0], np.cumsum(reader.tail().table()["entries"], dtype=np.int64)])
    names = np.frombuffer(b"".join(s.batch for s in reader.tail().shapes), np.uint8).reshape(-1, 16)
    tokens, batches = [], []
    blocks = np.searchsorted(starts, positions, side="right") - 1
    for number in np.unique(blocks).tolist():
        entries = reader.open_blocks(number, number + 1)[0].entries()
        inside = positions[blocks == number] - starts[number]
        tokens.append(entries.tokens[inside])
        batches.append(names[shapes_of(entries.payload, entries.offsets)[inside]])
    return np.concatenate(tokens), np.concatenate(batches)
