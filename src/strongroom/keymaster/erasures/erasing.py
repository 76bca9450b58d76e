"""Erase persons: their secrets leave the key pages, their tombstones stay, and the log says so.

Rules it keeps:

1. One transaction holds the decision, the check for a hold, the tombstones, the pages without the secrets, the entry
   with its number and the counters. A crash leaves a person erased, or not.
2. Many at once are several such transactions, each complete in itself; what a crash left is erased by asking again.
3. Nothing is erased when one of those asked for is held or was never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import parse_entry
from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.api import Lease, Receipt
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.api import ERASED, HELD, PRESENT, UNKNOWN, ErasurePlan, ErasureProof
from strongroom.keymaster.erasures.tombstones import any_buried, buried_at, bury
from strongroom.keymaster.erasures.turning import Turning
from strongroom.keymaster.leases import LEASE_SECONDS, Leases
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.reason import check_reason
from strongroom.keys.pages import U64, Bytes2D, halves
from strongroom.keys.rows import Rows, counter
from strongroom.keys.writer import distinct
from strongroom.seal.tokens import tokens as tokens_of

if TYPE_CHECKING:
    import pyarrow as pa

PERSONS_AT_ONCE_MAX = 1_000_000


class Erasing:
    """Erasures of one keymaster.

    Args:
        core: Keys and state.
        leases: Checks leases.
        publishing: Proves entries.
        turning: Says what an erasure waits for.
    """

    def __init__(self, core: Core, leases: Leases, publishing: Publishing, turning: Turning) -> None:
        self._core = core
        self._leases = leases
        self._publishing = publishing
        self._turning = turning

    # -- before ---------------------------------------------------------------------------------
    def plan(self, lease: Lease, identifiers: pa.Array) -> ErasurePlan:
        """See `Erasures.plan`."""
        core = self._core
        self._leases.check(core.state.read(), lease, ("erase",))
        if not 0 < len(identifiers) <= PERSONS_AT_ONCE_MAX:
            raise UsageError(f"erase 1 to {PERSONS_AT_ONCE_MAX} persons at once")
        found = tokens_of(core.subject.inner, core.subject.outer, identifiers)
        return ErasurePlan(found, self.states(found))

    def states(self, tokens: Bytes2D) -> npt.NDArray[np.uint8]:
        """Where each subject stands (UNKNOWN, PRESENT, HELD or ERASED), u8[n]."""
        core = self._core
        found = np.where(core.keys.lookup(tokens).found, np.uint8(PRESENT), np.uint8(UNKNOWN))
        missing = np.flatnonzero(found == UNKNOWN)
        rows = core.state.read()
        if missing.size and any_buried(rows):
            found[missing[buried_at(rows, tokens[missing]) > 0]] = ERASED
        held = held_among(rows, tokens)
        found[held & (found == PRESENT)] = HELD
        return found

    # -- erasing --------------------------------------------------------------------------------
    def erase(self, lease: Lease, tokens: Bytes2D, reason: str) -> list[Receipt]:
        """See `Erasures.erase`."""
        core = self._core
        check_reason(reason)
        self._leases.check(core.state.read(), lease, ("erase",))
        if not len(tokens):
            raise UsageError("nobody was named")
        own, _place = distinct(tokens, *halves(tokens))
        states = self.states(own)
        if (states == UNKNOWN).any():
            raise NotFoundError(_said(int((states == UNKNOWN).sum()), "was never seen in this room"))
        if (states == HELD).any():
            self._refuse(lease, _held(int((states == HELD).sum())))
        if (states == ERASED).all():
            raise already(core.state.read(), own)

        def within(rows: Rows, some: Bytes2D, born: U64) -> Receipt:
            return self._bury(rows, lease, some, born, reason)

        try:
            removed = core.keys.remove_many(own[states == PRESENT], within)
        except DeniedError as error:
            self._refuse(lease, error)
        finally:
            core.noted.set()
        return list(removed.said)

    def _bury(self, rows: Rows, lease: Lease, tokens: Bytes2D, born: U64, reason: str) -> Receipt:
        """Everything of one transaction but the pages, which the key store swaps in it."""
        core = self._core
        core.standing.refresh(rows)
        self._leases.check(rows, lease, ("erase",))
        core.standing.require(core.standing.decider.decide_act(lease.actor, "erase"))
        held = int(held_among(rows, tokens).sum())
        if held:
            raise _held(held)
        now, sequence, epoch = core.journal.now(rows), counter(rows, "batch"), core.ring.epoch
        labels, role = core.journal.labels(rows, tokens), core.standing.policy.role_for(lease.actor, "erase")
        told = {"role": role, "count": len(tokens), "labels": labels, "extras": {"sequence": sequence, "epoch": epoch}}
        leaf, _ = core.journal.note_because(rows, "erase", lease.actor, reason, **told)
        bury(rows, (token.tobytes() for token in tokens), sequence, leaf, now)
        since = self._epoch_of(rows, int(born.min()))
        rows.execute("INSERT INTO erasure VALUES (?, ?, ?, ?)", (leaf, len(tokens), epoch, since))
        rows.execute("UPDATE lease SET expires = ? WHERE id = ?", (now + LEASE_SECONDS, lease.lease_id))
        return Receipt(leaf, now, "erase", {"persons": len(tokens)})

    def _epoch_of(self, rows: Rows, sequence: int) -> int:
        """The epoch in which a batch was minted: old backups back to it may hold the secret."""
        sql = "SELECT max(number) FROM epoch WHERE begun <= (SELECT minted FROM batch WHERE sequence = ?)"
        found = rows.execute(sql, (sequence,)).fetchone()[0]
        return 1 if found is None else int(found)

    def _refuse(self, lease: Lease, error: DeniedError) -> None:
        """Note a refusal and raise it."""

        def work(_rows: Rows) -> Answer:
            raise error

        self._core.act("erase", lease.actor, work)

    # -- after ----------------------------------------------------------------------------------
    def proofs(self, actor: str, leaves: Sequence[int]) -> list[ErasureProof]:
        """See `Erasures.proofs`."""
        core = self._core
        core.standing.refresh()
        rows = core.state.read()
        decision = core.standing.decider.decide_act(actor, "erase")
        if not decision.allowed:

            def refuse(_rows: Rows) -> Answer:
                core.standing.require(decision)
                return {"leaf": -1}

            core.act("erase", actor, refuse)
        sql = "SELECT persons, epoch, since, entry FROM erasure JOIN leaf ON leaf.number = erasure.leaf WHERE leaf = ?"
        known = [rows.execute(sql, (leaf,)).fetchone() for leaf in leaves]
        if None in known:
            raise NotFoundError(f"entry {leaves[known.index(None)]} of the log is no erasure")
        ends = {epoch: self._end_of(rows, epoch) for epoch in {row[1] for row in known}}
        turns = [end for end in ends.values() if end is not None]
        texts = self._publishing.prove([*leaves, *turns])
        proved = {turn: (self._entry(rows, turn), text) for turn, text in zip(turns, texts[len(leaves) :], strict=True)}
        return [
            ErasureProof(leaf, row[3], text, row[0], self._waits(row[1], row[2]), proved.get(ends[row[1]] or -1))
            for leaf, row, text in zip(leaves, known, texts[: len(leaves)], strict=True)
        ]

    def _entry(self, rows: Rows, leaf: int) -> bytes:
        found: bytes = rows.execute("SELECT entry FROM leaf WHERE number = ?", (leaf,)).fetchone()[0]
        return found

    def _waits(self, epoch: int, since: int) -> tuple[str, ...]:
        found = self._turning.waits(epoch, since)
        sql = "SELECT ended FROM epoch WHERE number = ?"
        row = self._core.state.read().execute(sql, (epoch,)).fetchone()
        if not found and (row is None or row[0] is None):
            found = [f"epoch {epoch} has not ended: `strongroom key turn` ends it"]
        return tuple(found)

    def _end_of(self, rows: Rows, epoch: int) -> int | None:
        """The entry that notes the end of an epoch; None while it runs."""
        row = rows.execute("SELECT ended FROM epoch WHERE number = ?", (epoch,)).fetchone()
        if row is None or row[0] is None:
            return None
        # the entry was noted in the transaction that wrote `ended`; times ascend with numbers
        low, high = 0, int(rows.execute("SELECT max(number) FROM leaf").fetchone()[0])
        while low < high:
            middle = (low + high) // 2
            time = rows.execute("SELECT time FROM leaf WHERE number = ?", (middle,)).fetchone()[0]
            low, high = (middle + 1, high) if time < int(row[0] * 1000) else (low, middle)
        sql = "SELECT number, entry FROM leaf WHERE number >= ? ORDER BY number LIMIT 1000"
        for number, entry in rows.execute(sql, (low,)).fetchall():
            said = parse_entry(entry)
            if said.act == "turn" and int(said.extras.get("ended", 0)) >= epoch:
                return int(number)
        return None


def held_among(rows: Rows, tokens: Bytes2D) -> npt.NDArray[np.bool_]:
    """Which tokens are under a legal hold, bool[n]; holds are few, and all of them are read."""
    held = {row[0] for row in rows.execute("SELECT token FROM hold").fetchall()}
    if not held:
        return np.zeros(len(tokens), np.bool_)
    return np.array([token.tobytes() in held for token in tokens], np.bool_)


def already(rows: Rows, tokens: Bytes2D) -> ConflictError:
    """What is said of persons who are erased already: by which entries of the log."""
    sql = "SELECT leaf FROM tombstone WHERE token = ?"
    leaves = sorted({rows.execute(sql, (token.tobytes(),)).fetchone()[0] for token in tokens[:1000]})
    which = ", ".join(str(leaf) for leaf in leaves[:8])
    return ConflictError(
        _said(len(tokens), f"erased already, by entry {which} of the log"),
        hint=f"`strongroom erase --receipt {leaves[-1]}` writes the receipt",
    )


def _held(count: int) -> DeniedError:
    return DeniedError(
        _said(count, "under a legal hold"), rule="room.held", hint="another person lifts a hold: `strongroom unhold`"
    )


def _said(count: int, what: str) -> str:
    return f"the subject is {what}" if count == 1 else f"{count} of the subjects: {what}"
