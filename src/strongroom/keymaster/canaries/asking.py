"""What may be asked about canary persons under a purpose: is this one, is this free, were they put, is there an alarm.

Rules it keeps:

1. Whether somebody is a canary is asked by two people, is metered, and is noted. So is a test of the alarm, which tells
   who one of them is.
2. Whoever plants learns of an identifier that somebody has or had it, or that it is a canary's, and not which.
3. What whoever tests reads of that canary, and only that, sets off an alarm that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import parse_entry
from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.behind import SMALL
from strongroom.keymaster.canaries.alarm import ALARM
from strongroom.keymaster.canaries.api import Heard, PoolRecord
from strongroom.keymaster.canaries.register import VERB as PLANT
from strongroom.keymaster.canaries.register import EmbeddedCanaries
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.tombstones import buried_at
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed
from strongroom.keymaster.warrant import BEYOND
from strongroom.keys.rows import Rows, counter
from strongroom.seal.tokens import tokens as subject_tokens

ASK = "ask-canary"
TEST = "canary-test"
PLANTED = "planted"
ASKED_AT_ONCE_MAX = 10_000
DENSE_MAX = 64

Bool = npt.NDArray[np.bool_]
U8 = npt.NDArray[np.uint8]


class CanaryAsking(EmbeddedCanaries):
    """See `keymaster.canaries.api.Canaries`.

    Args:
        core: Keys and state.
        readings: The open readings.
        lookups: Meters what is looked up.
    """

    def __init__(self, core: Core, readings: Readings, lookups: Lookups) -> None:
        super().__init__(core, readings)
        self._lookups = lookups
        self._leading: tuple[U8, npt.NDArray[np.uint64]] = (np.empty((0, 16), np.uint8), np.empty(0, np.uint64))

    def forget(self) -> None:
        """Drop what was opened."""
        super().forget()
        self._leading = (np.empty((0, 16), np.uint8), np.empty(0, np.uint64))

    # -- whoever plants -------------------------------------------------------------------------
    def known(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bool:
        """See `Canaries.known`."""
        tokens = self._lookups.subject_tokens(reading_id, table, identifiers, (PLANT,))
        there = self._core.keys.lookup(tokens).found
        rows = self._core.state.read()
        found: Bool = there | (buried_at(rows, tokens) > 0) | self.which(tokens).found
        return found

    def planted_pools(self, reading_id: bytes) -> list[PoolRecord]:
        """See `Canaries.planted_pools`."""
        self._plants(self._readings.get(reading_id))
        return self.records()

    def planted(self, reading_id: bytes, pools: Sequence[int], dense: Sequence[str]) -> int:
        """See `Canaries.planted`."""
        core, reading = self._core, self._readings.get(reading_id)
        self._plants(reading)
        if not pools or len(dense) > DENSE_MAX:
            raise UsageError("say which pools were planted, and few fields")
        extras: dict[str, int | str] = {"pools": ",".join(map(str, pools))}
        if dense:
            extras["dense"] = ",".join(dense)

        def work(rows: Rows) -> Answer:
            leaf = core.journal.note(
                rows, core.journal.entry(rows, PLANTED, reading.actor, **reading.said(), extras=extras)
            )
            known = {pool.number for pool in self.records(rows) if not pool.planted}
            if not set(pools) <= known:
                raise ConflictError("a pool is not registered, or was planted before")
            for pool in pools:
                rows.execute("INSERT INTO canary_planted VALUES (?, ?, ?)", (pool, leaf, ",".join(dense)))
            return {"leaf": leaf}

        leaf: int = core.act(PLANTED, reading.actor, work, **reading.said())["leaf"]
        return leaf

    def records(self, rows: Rows | None = None) -> list[PoolRecord]:
        """The pools, by number, and whether all their persons were put."""
        source = self._core.state.read() if rows is None else rows
        whole = {row[0] for row in source.execute("SELECT number FROM canary_planted").fetchall()}
        return [PoolRecord(**{**vars(one), "planted": one.number in whole}) for one in super().records(rows)]

    def dense(self, actor: str) -> list[str]:
        """See `Canaries.dense`."""
        core = self._core
        core.standing.refresh()
        if not any(core.standing.decider.decide_act(actor, act).allowed for act in ("log", "policy")):
            return []
        rows = self._core.state.read().execute("SELECT DISTINCT dense FROM canary_planted").fetchall()
        return sorted({name for (names,) in rows for name in names.split(",") if name})

    def found_in(self, rows: Rows, asked: U8) -> list[int]:
        """See `canaryalarm.Register.found_in`: of few persons without a column's overhead, as each find pays it."""
        pools = counter(rows, "canaries")
        if not pools or not len(asked):
            return []
        if len(asked) > SMALL:
            found: list[int] = np.flatnonzero(self._which(rows, asked).found).tolist()
            return found
        book = self._book if self._book.pools == pools else self._known(rows)
        if self._leading[0] is not book.tokens:
            leading = np.ascontiguousarray(book.tokens).view(">u8")[:, 0].astype(np.uint64)
            self._leading = (book.tokens, leading)
        own, words = self._leading
        data = asked.tobytes()
        return [at for at in range(len(asked)) if _stands(own, words, data[16 * at : 16 * at + 16])]

    def _plants(self, reading: Reading) -> None:
        self._readings.decide(reading, (PLANT,), next(iter(reading.purpose.tables)), ())

    # -- asking ---------------------------------------------------------------------------------
    def is_canary(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bool:
        """See `Canaries.is_canary`."""
        if not 0 < len(identifiers) <= ASKED_AT_ONCE_MAX:
            raise UsageError(f"ask about 1 to {ASKED_AT_ONCE_MAX:,} subjects at once")
        import pyarrow as pa

        core, reading = self._core, self._readings.get(reading_id)
        self._two(reading, ASK, table, len(identifiers), {"values": len(identifiers)})
        given = pa.array(identifiers, pa.string())
        return self.which(subject_tokens(core.subject.inner, core.subject.outer, given)).found

    def trial(self, reading_id: bytes, table: str) -> bytes:
        """See `Canaries.trial`."""
        core, reading = self._core, self._readings.get(reading_id)
        self._two(reading, TEST, table, 1, {})
        ordinals, tokens = self._ordinals(), self.all()
        there = np.flatnonzero(ordinals > 0)
        if not len(there):
            raise NotFoundError("no canary has records in this room", hint="`strongroom canaries plant` plants some")
        chosen = there[int.from_bytes(core.entropy(8), "little") % len(there)]
        token: bytes = tokens[chosen].tobytes()
        reading.trials.add(token)
        return token

    def heard(self, reading_id: bytes) -> Heard:
        """See `Canaries.heard`."""
        reading, rows = self._readings.get(reading_id), self._core.state.read()
        if not reading.trials:
            raise DeniedError("this reading has tested no alarm", rule="room.alarm-of-a-test")
        leaves = []
        for leaf in reading.alarms:
            row = rows.execute("SELECT entry FROM leaf WHERE number = ?", (leaf,)).fetchone()
            if row is not None and ALARM in parse_entry(row[0]).extras:
                leaves.append(leaf)
        last = max(leaves, default=-1)
        lost = counter(rows, "untold") in {leaf + 1 for leaf in leaves}
        return Heard(leaves, counter(rows, "told") > last >= 0 and not lost, lost)

    def _two(self, reading: Reading, act: str, table: str, count: int, extras: Mapping[str, int | str]) -> None:
        """Decide, spend and note a question that takes two people."""
        core = self._core
        said: dict[str, Any] = {**reading.said(), "table": table}

        def work(rows: Rows) -> Answer:
            if reading.warrant is not None:
                raise DeniedError("this is not asked through a server in a caller's name", rule=BEYOND)
            decision = core.standing.decider.decide_read(reading.actor, reading.purpose.name, ASK, table, ())
            core.standing.require(decision)
            leave = agreed(rows, core, reading, frozenset())
            if not leave or not reading.leave.approval:
                raise DeniedError("this needs another person's agreement", rule="approval.needed")
            limits = (*reading.lookup_limits(core), *leave)
            plan = core.ledger.plan_count(rows, limits, count, core.journal.now(rows))
            entry = core.journal.entry(
                rows, act, reading.actor, **said, remaining=plan.remaining, rule=decision.rule, extras=dict(extras)
            )
            core.ledger.apply(rows, plan)
            return {"leaf": core.journal.note(rows, entry)}

        core.standing.refresh()
        core.act(act, reading.actor, work, **said)


def _stands(own: U8, words: npt.NDArray[np.uint64], token: bytes) -> bool:
    """Whether a token (16 B) is among sorted ones, u8[n,16], whose first eight bytes are `words`."""
    word = np.uint64(int.from_bytes(token[:8], "big"))
    at = int(words.searchsorted(word))
    while at < len(words) and words[at] == word:
        if own[at].tobytes() == token:
            return True
        at += 1
    return False
