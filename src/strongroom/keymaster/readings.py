"""Readings: opened under a purpose and a reason, and what they may look up and unlock on the way to records.

Rules it keeps:

1. A reading lives an hour in this process; its reason is noted when it opens, and every later leaf names it by hash.
2. Every token handed out is covered by look-ups that were durably spent before: a reading reserves them in growing
   blocks and gives back what it did not use.
3. Index entries open only under value tokens that this reading was given.
4. Block keys of an object go out for the object's own kind and table, if the purpose reads that way; the first of
   each table and kind is noted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from strongroom.errors import DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.keymaster.api import Hits, ReadingGrant
from strongroom.keymaster.approvals import Approvals
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasureapi import Buried
from strongroom.keymaster.filekeys import StoredFileKey, open_file_key
from strongroom.keymaster.holder import HERE, SERVER_ONLY, Holder, Leave
from strongroom.keymaster.reason import check_reason
from strongroom.keymaster.reviews import Reviews
from strongroom.keymaster.tombstones import any_buried, buried_of
from strongroom.keys.hierarchy import TokenKeys
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import Limit, limits
from strongroom.purpose.cedar import Decision
from strongroom.purpose.policy import Purpose
from strongroom.schema.model import Table
from strongroom.seal.blocks import (
    KIND_INDEX,
    KIND_MANIFEST,
    KIND_OPEN_COLUMNS,
    KIND_RECORDS,
    KIND_REJECTS,
    KIND_SNAPSHOT,
    KIND_TOMBSTONES,
    TAIL,
    block_key,
)

READING_SECONDS = 3600.0
RESERVE_MOST = 64
VALUES_REMEMBERED_MAX = 200_000
LOOKUPS_AT_ONCE_MAX = 10_000
BLOCKS_AT_ONCE_MAX = 100_000
FILE_KEYS_KEPT_MAX = 4096

# Which verbs of a purpose read an object of each kind; a snapshot, manifest or tombstone list names no field.
_VERBS = {
    KIND_RECORDS: ("get", "find", "sql", "rows"),  # sql leaves out superseded rows, and charges persons by position
    KIND_INDEX: ("find",),
    KIND_OPEN_COLUMNS: ("sql", "rows"),
    KIND_REJECTS: ("rejects",),
}
_KIND_NAMES = {KIND_RECORDS: "records", KIND_INDEX: "index", KIND_OPEN_COLUMNS: "open", KIND_REJECTS: "rejects"}
_SHARED = (KIND_MANIFEST, KIND_SNAPSHOT, KIND_TOMBSTONES)


@dataclass
class Reading:
    """One open reading."""

    id: bytes
    actor: str
    purpose: Purpose
    expires: float
    reason: bytes
    holder: Holder
    leave: Leave
    lock: threading.Lock = field(default_factory=threading.Lock)
    left: int = 0
    block: int = 0
    reserved_at: float = 0.0
    values: set[bytes] = field(default_factory=set, repr=False)
    noted: set[tuple[str, int]] = field(default_factory=set)
    file_keys: dict[bytes, StoredFileKey] = field(default_factory=dict, repr=False)
    shown: dict[tuple[str, tuple[str, ...] | None], tuple[Table, frozenset[str]]] = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """What every entry of this reading says."""
        return {"purpose": self.purpose.name, "legal_basis": self.purpose.legal_basis, "reason": self.reason}


class Readings:
    """The open readings of one keymaster."""

    def __init__(self, core: Core, approvals: Approvals, reviews: Reviews) -> None:
        self._core = core
        self._approvals = approvals
        self._reviews = reviews
        self._open: dict[bytes, Reading] = {}

    def forget(self) -> None:
        """Drop every reading and the file keys it holds."""
        self._open.clear()

    def get(self, reading_id: bytes) -> Reading:
        """The reading of an id.

        Raises:
            NotFoundError: It was closed, has expired, or never was.
        """
        reading = self._open.get(reading_id)
        if reading is None or reading.expires <= self._core.clock():
            raise NotFoundError("the reading is closed or has expired", hint="open another with read()")
        return reading

    # -- opening and closing --------------------------------------------------------------------
    def begin(
        self,
        actor: str,
        purpose: str,
        reason: str,
        approval: str | None = None,
        *,
        break_glass: bool = False,
        holder: Holder = HERE,
    ) -> ReadingGrant:
        """See `Keymaster.begin_reading`."""
        if not purpose:
            raise UsageError("a reading needs a purpose")
        check_reason(reason)
        if approval is not None and break_glass:
            raise UsageError("a reading has an approval, or breaks the glass")
        core, act = self._core, "break-glass" if break_glass else "open"
        ident = core.entropy(16)

        def work(rows: Rows) -> Answer:
            core.standing.require(self._may_use(actor, purpose))
            if break_glass:
                core.standing.require(self._reviews.may_break(actor, purpose))
            persons = 0 if approval is None else self._approvals.granted(rows, approval, actor, purpose)
            rule = core.standing.policy.purposes[purpose]
            digest, month, sealed = core.journal.reason(rows, reason)
            extras = {} if approval is None else {"approval": approval}
            entry = core.journal.entry(
                rows, act, actor, purpose=purpose, legal_basis=rule.legal_basis, reason=digest, extras=extras
            )
            expires = core.journal.now(rows) + READING_SECONDS
            sql = "INSERT INTO reading VALUES (?, ?, ?, ?, ?)"
            rows.execute(sql, (ident, actor, purpose, core.head(rows).number, expires))
            leaf = core.journal.note(rows, entry)
            core.journal.keep_reason(rows, leaf, month, sealed)
            if break_glass:
                self._reviews.open(rows, ident[:8].hex(), actor, purpose, reason, leaf)
            return {"leaf": leaf, "expires": expires, "reason": digest.hex(), "persons": persons}

        answer = core.act(act, actor, work, purpose=purpose)
        if break_glass:
            self._reviews.tell(ident[:8].hex(), actor, purpose, answer["leaf"])
        rule = core.standing.policy.purposes[purpose]
        leave = Leave(approval or "", answer["persons"], break_glass)
        digest = bytes.fromhex(answer["reason"])
        self._open[ident] = Reading(ident, actor, rule, answer["expires"], digest, holder, leave)
        views = rule.views(core.standing.schema)
        group, rows_too = (None, False) if rule.sql is None else (rule.sql.min_group, rule.sql.rows)
        return ReadingGrant(ident, actor, purpose, answer["expires"], views, group, rows_too)

    def _may_use(self, actor: str, purpose: str) -> Decision:
        """Whether the purpose lets the actor do anything; the first refusal if nothing."""
        decider, rule = self._core.standing.decider, self._core.standing.policy.purposes.get(purpose)
        refused: Decision | None = None
        for table in rule.tables if rule else ("",):
            for verb in rule.verbs if rule else ("get",):
                decision = decider.decide_read(actor, purpose, verb, table)
                if decision.allowed:
                    return decision
                refused = refused or decision
        return refused or Decision(False, f"purposes.{purpose}", f"purpose {purpose} shows nothing")

    def end(self, reading_id: bytes) -> None:
        """See `Keymaster.end_reading`."""
        reading = self._open.pop(reading_id, None)
        if reading is None:
            return
        core = self._core

        def job(rows: Rows) -> None:
            rows.execute("DELETE FROM reading WHERE id = ?", (reading_id,))
            if reading.left:
                rule = limits(core.standing.policy, reading.actor, reading.purpose.name, "lookups")
                plan = core.ledger.plan_return(rows, rule, reading.left, reading.reserved_at)
                extras = {"returned": reading.left}
                entry = core.journal.entry(rows, "close", reading.actor, **reading.said(), extras=extras)
                core.ledger.apply(rows, plan)
                core.journal.note(rows, entry)

        core.run(job)
        core.noted.set()

    # -- looking up -----------------------------------------------------------------------------
    def subject_tokens(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> npt.NDArray[np.uint8]:
        """See `Keymaster.subject_tokens`."""
        reading = self.get(reading_id)
        self._decide(reading, ("get",), table)
        self._spend(reading, table, (), len(identifiers))
        return _tokens(self._core.subject, identifiers)

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """See `Keymaster.value_tokens`."""
        reading = self.get(reading_id)
        model = self._decide(reading, ("find",), table, (), (field_name,))
        at = self._core.head().number if snapshot is None else snapshot
        keys = self._core.standing.value_keys(model.field(field_name).id, at)
        self._spend(reading, table, (field_name,), len(values))
        found = _tokens(keys, values)
        with reading.lock:
            if len(reading.values) + len(found) > VALUES_REMEMBERED_MAX:
                reading.values.clear()  # their hits are refused from here on, which is safe
            reading.values.update(token.tobytes() for token in found)
        return found

    def open_hits(
        self,
        reading_id: bytes,
        table: str,
        field_name: str,
        value_tokens: npt.NDArray[np.uint8],
        entries: npt.NDArray[np.uint8],
    ) -> Hits:
        """See `Keymaster.open_hits`."""
        reading = self.get(reading_id)
        model = self._decide(reading, ("find",), table, (), (field_name,))
        if not self._looked_up(reading, value_tokens):
            raise DeniedError("this reading did not look up that value", rule="room.hits-of-own-lookups")
        field_id = model.field(field_name).id
        subjects, sequences, ordinals, bad = self._core.standing.opener(field_id).open(value_tokens, entries)
        if bad.any():
            # left out, it would make a person look absent
            raise IntegrityError(
                f"an index entry of table {table}, field {field_name}, does not open",
                hint="the index was changed or swapped: run `strongroom check`",
            )
        buried = self._buried(model, subjects)
        if buried is None:
            return Hits(subjects, sequences, ordinals, None)
        # one that is dead is no hit: its person is none of this reading's business
        living = sequences > buried.of(subjects)
        return Hits(subjects[living], sequences[living], ordinals[living], buried)

    @staticmethod
    def _looked_up(reading: Reading, value_tokens: npt.NDArray[np.uint8]) -> bool:
        return all(token.tobytes() in reading.values for token in value_tokens)

    def _buried(self, model: Table, subjects: npt.NDArray[np.uint8]) -> Buried | None:
        """What is dead of some persons; None where nobody was ever erased and nothing expires."""
        rows = self._core.state.read()
        if model.retention is None and not any_buried(rows):
            return None
        return buried_of(rows, model, subjects, self._core.clock())

    def _spend(self, reading: Reading, table: str, fields: tuple[str, ...], count: int) -> None:
        if not 0 < count <= LOOKUPS_AT_ONCE_MAX:
            raise UsageError(f"look up 1 to {LOOKUPS_AT_ONCE_MAX} values at once")
        with reading.lock:
            if reading.left < count:
                self._reserve(reading, table, fields, count - reading.left)
            reading.left -= count

    def _reserve(self, reading: Reading, table: str, fields: tuple[str, ...], least: int) -> None:
        core = self._core
        wanted = max(least, min(2 * reading.block, RESERVE_MOST))
        said: dict[str, Any] = {**reading.said(), "table": table, "fields": fields}

        def work(rows: Rows) -> Answer:
            rule = self._limits(reading)
            now = core.journal.now(rows)
            left = core.ledger.left(rows, rule, now)
            size = least if left is None else max(least, min(wanted, left))
            plan = core.ledger.plan_count(rows, rule, size, now)
            extras = {"reserved": size}
            entry = core.journal.entry(
                rows, "lookup", reading.actor, **said, remaining=plan.remaining, extras=extras
            )
            core.ledger.apply(rows, plan)
            return {"leaf": core.journal.note(rows, entry), "size": size, "at": now}

        answer = core.act("lookup", reading.actor, work, **said)
        reading.left += answer["size"]
        reading.block = max(answer["size"], 1)
        reading.reserved_at = answer["at"]

    def _limits(self, reading: Reading) -> tuple[Limit, ...]:
        return limits(self._core.standing.policy, reading.actor, reading.purpose.name, "lookups")

    def _decide(
        self,
        reading: Reading,
        verbs: Sequence[str],
        table: str,
        fields: Sequence[str] | None = None,
        where: Sequence[str] = (),
    ) -> Table:
        """The table, if one of the verbs is allowed on it; a refusal is noted."""
        core = self._core
        core.standing.refresh()
        refused: Decision | None = None
        for verb in verbs:
            decision = core.standing.decider.decide_read(
                reading.actor, reading.purpose.name, verb, table, None if fields is None else list(fields), list(where)
            )
            if decision.allowed:
                return core.standing.schema.table(table)
            refused = refused or decision

        def work(_rows: Rows) -> Answer:
            core.standing.require(refused or Decision(False, "room", "nothing was asked for"))
            raise DeniedError("it was refused a moment ago", rule="room")

        core.act(verbs[0], reading.actor, work, **reading.said(), table=table or "-", fields=tuple(where))
        raise DeniedError("refused", rule="room")

    def _refuse(self, reading: Reading, act: str, table: str, why: str) -> NoReturn:
        """Note that a reading is not a server's, and raise."""

        def work(_rows: Rows) -> Answer:
            raise DeniedError(why, rule=SERVER_ONLY, hint="ask through `strongroom serve`")

        self._core.act(act, reading.actor, work, **reading.said(), table=table)
        raise DeniedError(why, rule=SERVER_ONLY)

    # -- block keys -----------------------------------------------------------------------------
    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """See `Keymaster.block_keys`."""
        reading = self.get(reading_id)
        if len(numbers) > BLOCKS_AT_ONCE_MAX:
            raise UsageError(f"ask for at most {BLOCKS_AT_ONCE_MAX} blocks at once")
        stored = self._file_key(reading, key_id)
        base = kind & ~TAIL
        if stored.kind != base:
            raise DeniedError("the object is of another kind", rule="room.object-kind")
        if base not in _SHARED:
            if table is None:
                raise UsageError("an object of this kind belongs to a table")
            model = self._decide(reading, _VERBS[base], table)
            if base == KIND_OPEN_COLUMNS and reading.holder.direct:
                self._refuse(reading, "sql", table, "the rows of open columns are added up by a server only")
            if base == KIND_REJECTS and reading.holder.direct:
                self._refuse(reading, "rejects", table, "rejects hold whole lines: a server only is released them")
            if stored.table_id != model.id:
                raise DeniedError(f"the object is not of table {table}", rule="room.object-table")
            self._note_keys(reading, table, base)
        return [block_key(stored.key, kind, number) for number in numbers]

    def _file_key(self, reading: Reading, key_id: bytes) -> StoredFileKey:
        stored = reading.file_keys.get(key_id)
        if stored is None:
            stored = open_file_key(self._core.ring, self._core.state.read(), key_id)
            if stored.state == "pending":
                raise NotFoundError("the object is in no snapshot")
            if len(reading.file_keys) >= FILE_KEYS_KEPT_MAX:
                reading.file_keys.clear()
            reading.file_keys[key_id] = stored
        return stored

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


def _tokens(keys: TokenKeys, values: Sequence[str]) -> npt.NDArray[np.uint8]:
    if len(values) <= 64:
        joined = b"".join(keys.one(value.encode()) for value in values)
        return np.frombuffer(joined, np.uint8).reshape(-1, 16)
    import pyarrow as pa

    from strongroom.seal.tokens import tokens

    return tokens(keys.inner, keys.outer, pa.array(values, pa.string()))
