"""Keys of stored objects that a reading may have: block by block, or whole files under a warrant.

Rules it keeps:

1. Block keys of an object go out for the object's own kind and table, if the purpose reads that way; the first of
   each table and kind is noted. Blocks of records hold open columns: where the purpose always needs another person's
   agreement, a caller without a server has them with it, and not before.
2. A file key goes to a server only, of the table and kinds that its caller's signed request reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.filekeys import (
    FILE_KEYS_KEPT_MAX,
    FileKeyRows,
    StoredFileKey,
    file_key_rows,
    no_file_key,
)
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed
from strongroom.keymaster.tracing.api import TRACE
from strongroom.keymaster.warrant import Warrant
from strongroom.keys.rows import Rows
from strongroom.purpose.exports import NAMED, STATUTORY, VERB
from strongroom.purpose.policy import Purpose
from strongroom.schema.model import OPEN, Table
from strongroom.seal.blocks import (
    KIND_INDEX,
    KIND_MANIFEST,
    KIND_OPEN_COLUMNS,
    KIND_RECORDS,
    KIND_REJECTS,
    KIND_SNAPSHOT,
    KIND_TOMBSTONES,
    TAIL,
    keys_of_blocks,
)

BLOCKS_AT_ONCE_MAX = 100_000
FILE_KEYS_AT_ONCE_MAX = 64

# Which verbs of a purpose read an object of each kind; a snapshot, manifest or tombstone list names no field.
_VERBS = {
    # sql leaves out superseded rows, and charges persons by position
    KIND_RECORDS: ("get", "find", "sql", "rows", "aggregate", VERB, NAMED, STATUTORY, "plant", TRACE),
    KIND_INDEX: ("find", "plant", TRACE),
    KIND_OPEN_COLUMNS: ("sql", "rows", "aggregate"),
    KIND_REJECTS: ("rejects",),
}
_KIND_NAMES = {KIND_RECORDS: "records", KIND_INDEX: "index", KIND_OPEN_COLUMNS: "open", KIND_REJECTS: "rejects"}
_SHARED = (KIND_MANIFEST, KIND_SNAPSHOT, KIND_TOMBSTONES)


class Unlocking:
    """Keys of objects for the readings of one keymaster."""

    def __init__(self, core: Core, readings: Readings) -> None:
        self._core = core
        self._readings = readings

    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """See `Keymaster.block_keys`."""
        reading = self._readings.get(reading_id)
        if len(numbers) > BLOCKS_AT_ONCE_MAX:
            raise UsageError(f"ask for at most {BLOCKS_AT_ONCE_MAX} blocks at once")
        stored = self._file_key(reading, key_id)
        base = kind & ~TAIL
        if stored.kind != base:
            raise DeniedError("the object is of another kind", rule="room.object-kind")
        if base not in _SHARED:
            if table is None:
                raise UsageError("an object of this kind belongs to a table")
            model = self._readings.decide(reading, _VERBS[base], table)
            if reading.warrant is not None and reading.warrant.verb not in _VERBS[base]:
                self._readings.within(reading, "keys", table, lambda warrant: warrant.check_verb(_VERBS[base][0]))
            if reading.warrant is not None:
                self._readings.within(reading, "keys", table, lambda warrant: warrant.check_table(table))
            purpose = self._core.standing.policy.purposes.get(reading.purpose.name)  # as it is now
            if base == KIND_RECORDS and reading.holder.direct and not _may_read_blocks(purpose, model):
                self._readings.refuse(reading, "sql", table, "blocks of records hold open columns: a server reads them")
            if base == KIND_RECORDS and reading.holder.direct:
                self._check_agreed(reading, table)
            if base == KIND_OPEN_COLUMNS and reading.holder.direct:
                self._readings.refuse(reading, "sql", table, "the rows of open columns are added up by a server only")
            if base == KIND_REJECTS and reading.holder.direct:
                why = "rejects hold whole lines: a server only is released them"
                self._readings.refuse(reading, "rejects", table, why)
            if stored.table_id != model.id:
                raise DeniedError(f"the object is not of table {table}", rule="room.object-table")
            self._note_keys(reading, table, base)
        return keys_of_blocks(stored.key, kind, numbers)

    @staticmethod
    def signed_rows(rows: Rows, warrant: Warrant, key_ids: Sequence[bytes]) -> FileKeyRows:
        """What is stored of the file keys that `signed_files` may give, in the transaction that opens the reading."""
        few = warrant.table is not None and len(key_ids) <= FILE_KEYS_AT_ONCE_MAX
        return file_key_rows(rows, key_ids) if few else ()

    def signed_files(self, reading: Reading, rows: FileKeyRows) -> dict[bytes, bytes]:
        """File keys of the table that a warrant names, of the kinds that its verb reads; others are left out.

        The entry that opened the reading says so. A server keeps them no longer than the reading.
        """
        warrant = reading.warrant
        if warrant is None or warrant.table is None:
            return {}
        table = self._core.standing.schema.table(warrant.table).id
        stored = self._kept(reading, rows)  # one of an older snapshot: whoever needs it is told then
        return {
            key_id: one.key
            for key_id, one in stored.items()
            if one.table_id == table and one.kind in (KIND_RECORDS, KIND_INDEX) and warrant.verb in _VERBS[one.kind]
        }

    def _file_key(self, reading: Reading, key_id: bytes) -> StoredFileKey:
        stored = reading.file_keys.get(key_id)
        if stored is None:
            stored = self._kept(reading, file_key_rows(self._core.state.read(), [key_id])).get(key_id)
        if stored is None:
            raise no_file_key()
        return stored

    def _kept(self, reading: Reading, rows: FileKeyRows) -> dict[bytes, StoredFileKey]:
        """Those file keys that are in a snapshot, kept for the reading."""
        found = self._readings.file_keys.opened(self._core.ring, rows)
        committed = {key_id: stored for key_id, stored in found.items() if stored.state != "pending"}
        if len(reading.file_keys) + len(committed) > FILE_KEYS_KEPT_MAX:
            reading.file_keys.clear()
        reading.file_keys.update(committed)
        return committed

    def _check_agreed(self, reading: Reading, table: str) -> None:
        """See that what a reading needs of another's agreement is there and has not ended; a refusal is noted."""
        core = self._core
        try:
            agreed(core.state.read(), core, reading, frozenset())
        except DeniedError as error:
            refused = error

            def work(_rows: Rows) -> Answer:
                raise refused

            core.act("keys", reading.actor, work, **reading.said(), table=table)

    def _note_keys(self, reading: Reading, table: str, kind: int) -> None:
        if (table, kind) in reading.noted:
            return
        core = self._core

        def job(rows: Rows) -> None:
            extras = {"kind": _KIND_NAMES[kind]}
            entry = core.journal.entry(rows, "keys", reading.actor, **reading.said(), table=table, extras=extras)
            core.journal.note(rows, entry)

        core.run(job)
        core.noted.set()
        reading.noted.add((table, kind))


def _may_read_blocks(purpose: Purpose | None, model: Table) -> bool:
    """Whether blocks of records go to a caller without a server: to look persons up, or with all open fields plain.

    An export, or the versions that a trace compares, take them from the records.
    """
    if purpose is None:
        return False
    if {"get", "find", "plant"} & set(purpose.verbs):
        return True
    rule = purpose.tables.get(model.name)
    views = {} if rule is None else rule.views(model)
    plain = all(v.show == "plain" for v in views.values() if v.klass == OPEN)
    return bool({VERB, TRACE} & set(purpose.verbs)) and plain
