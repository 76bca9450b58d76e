"""Answers what a room asks about canary persons: that they be registered, who is one, whether an alarm was heard.

Rules it keeps:

1. Pools are registered and noted before any of their persons has records, all of a call in one transaction.
2. Whether somebody is a canary is asked by two people, is metered, and is noted. So is a test of the alarm, which tells
   who one of them is.
3. Whoever plants learns of an identifier that somebody has or had it, or that it is a canary's, and not which.
4. What whoever tests reads of that canary, and only that, sets off an alarm that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import parse_entry
from strongroom.errors import ConflictError, DeniedError, NotFoundError, UnavailableError, UsageError
from strongroom.keymaster.canaries.alarm import ALARM
from strongroom.keymaster.canaries.api import POOLS_AT_ONCE_MAX, Heard, NewPool, PoolRecord
from strongroom.keymaster.canaries.pool import Pool, check_pool
from strongroom.keymaster.canaries.register import CanaryRegister
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.api import Buried
from strongroom.keymaster.erasures.tombstones import BURIED_AT_ONCE, buried_at
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keymaster.releasing import agreed
from strongroom.keymaster.warrant import BEYOND
from strongroom.keys.rows import Rows, counter
from strongroom.purpose.budget import Limit
from strongroom.seal.columns import token_text
from strongroom.seal.tokens import tokens

PLANT = "plant"
ASK = "ask-canary"
TEST = "canary-test"
PLANTED = "planted"
ASKED_AT_ONCE_MAX = 10_000
DENSE_MAX = 64
ATTEMPTS_MAX = 16
EVERY_BATCH = (1 << 63) - 1

Bool = npt.NDArray[np.bool_]


class _MovedError(ConflictError):
    """Somebody was put since it was looked who is there; never leaves this module."""


class EmbeddedCanaries:
    """See `keymaster.canaries.api.Canaries`.

    Args:
        core: Keys and state.
        readings: The open readings.
        lookups: Meters what is looked up.
        register: Who is a canary.
    """

    def __init__(self, core: Core, readings: Readings, lookups: Lookups, register: CanaryRegister) -> None:
        self._core = core
        self._readings = readings
        self._lookups = lookups
        self._register = register

    # -- registering ----------------------------------------------------------------------------
    def register(self, reading_id: bytes, pools: Sequence[NewPool]) -> list[int]:
        """See `Canaries.register`."""
        core, reading = self._core, self._readings.get(reading_id)
        if not 0 < len(pools) <= POOLS_AT_ONCE_MAX:
            raise UsageError(f"register 1 to {POOLS_AT_ONCE_MAX} pools at once")
        self._plants(reading)
        opened = []
        for given in pools:
            check_pool(given)
            own = tokens(core.subject.inner, core.subject.outer, given.subjects)
            opened.append(Pool(own, given.numbers, given.salts, given.digests))
        everybody = np.concatenate([pool.tokens for pool in opened])
        if len(np.unique(token_text(everybody))) != len(everybody):
            raise UsageError("a canary person is named twice")
        roots = [pool.root() for pool in opened]
        biases = [given.bias for given in pools]
        said = reading.said()
        for _ in range(ATTEMPTS_MAX):
            before = counter(core.state.read(), "ordinal")
            taken = int(core.keys.lookup(everybody).found.sum())

            def work(rows: Rows, before: int = before, taken: int = taken) -> Answer:
                self._check_new(rows, everybody, before, taken)
                leave = self._agreed(rows, reading)
                core.ledger.apply(rows, core.ledger.plan_count(rows, leave, len(everybody), core.journal.now(rows)))
                numbers = [self._keep(rows, reading, *one) for one in zip(biases, opened, roots, strict=True)]
                return {"numbers": numbers}

            with suppress(_MovedError):
                numbers: list[int] = core.act(PLANT, reading.actor, work, **said)["numbers"]
                return numbers
        raise UnavailableError("persons keep being put: ask again")

    def _check_new(self, rows: Rows, everybody: npt.NDArray[np.uint8], before: int, taken: int) -> None:
        if counter(rows, "ordinal") != before:
            raise _MovedError("somebody was put meanwhile")
        known = int(self._register.which(everybody, rows).found.sum())
        gone = int((buried_at(rows, everybody) > 0).sum())
        if known or taken or gone:
            raise ConflictError(
                f"of {len(everybody):,} canary persons {known:,} are registered already, {taken:,} have records and"
                f" {gone:,} were erased",
                hint="a canary is registered once, before it is put, under an identifier that nobody ever had",
            )

    def _keep(self, rows: Rows, reading: Reading, bias: int, pool: Pool, root: bytes) -> int:
        core = self._core
        number = max((known.number for known in self._register.records(rows)), default=-1) + 1
        extras = {"pool": number, "bias": bias, "canaries": pool.count, "root": root.hex()}
        said = {**reading.said(), "rule": f"purposes.{reading.purpose.name}", "count": len(pool.tokens)}
        leaf = core.journal.note(rows, core.journal.entry(rows, PLANT, reading.actor, **said, extras=extras))
        self._register.keep(rows, number, bias, pool, root, leaf)
        return number

    # -- whoever plants -------------------------------------------------------------------------
    def known(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bool:
        """See `Canaries.known`."""
        asked = self._lookups.subject_tokens(reading_id, table, identifiers, (PLANT,))
        there = self._core.keys.lookup(asked).found
        rows = self._core.state.read()
        found: Bool = there | (buried_at(rows, asked) > 0) | self._register.which(asked).found
        return found

    def planted_pools(self, reading_id: bytes) -> list[PoolRecord]:
        """See `Canaries.planted_pools`."""
        self._plants(self._readings.get(reading_id))
        return self._register.records()

    def planted(self, reading_id: bytes, pools: Sequence[int], dense: Sequence[str]) -> int:
        """See `Canaries.planted`."""
        core, reading = self._core, self._readings.get(reading_id)
        self._plants(reading)
        if not pools or len(set(pools)) != len(pools) or len(dense) > DENSE_MAX:
            raise UsageError("say which pools were planted, each once, and few fields")
        tables = core.standing.schema.tables.values()
        if not {f"{table.name}.{field.name}" for table in tables for field in table.fields}.issuperset(dense):
            raise UsageError("a field by whose values canaries are told is not in the schema")
        extras: dict[str, int | str] = {"pools": ",".join(map(str, pools))}
        if dense:
            extras["dense"] = ",".join(dense)

        def work(rows: Rows) -> Answer:
            leaf = core.journal.note(
                rows, core.journal.entry(rows, PLANTED, reading.actor, **reading.said(), extras=extras)
            )
            known = {pool.number for pool in self._register.records(rows) if not pool.planted}
            if not set(pools) <= known:
                raise ConflictError("a pool is not registered, or was planted before")
            for pool in pools:
                rows.execute("INSERT INTO canary_planted VALUES (?, ?, ?)", (pool, leaf, ",".join(dense)))
            return {"leaf": leaf}

        leaf: int = core.act(PLANTED, reading.actor, work, **reading.said())["leaf"]
        return leaf

    def _plants(self, reading: Reading) -> None:
        if reading.warrant is not None:
            raise DeniedError("nobody plants through a server in a caller's name", rule=BEYOND)
        self._readings.decide(reading, (PLANT,), next(iter(reading.purpose.tables)), ())

    # -- the log --------------------------------------------------------------------------------
    def pools(self, actor: str) -> list[PoolRecord]:
        """See `Canaries.pools`."""
        core = self._core
        core.standing.refresh()
        core.standing.require(core.standing.decider.decide_act(actor, "log"))
        return self._register.records()

    def dense(self, actor: str) -> list[str]:
        """See `Canaries.dense`."""
        core = self._core
        core.standing.refresh()
        if not any(core.standing.decider.decide_act(actor, act).allowed for act in ("log", "policy")):
            return []
        rows = self._core.state.read().execute("SELECT DISTINCT dense FROM canary_planted").fetchall()
        return sorted({name for (names,) in rows for name in names.split(",") if name})

    # -- counting -------------------------------------------------------------------------------
    def hidden(self, reading_id: bytes, table: str, low: bytes, high: bytes) -> Buried:
        """See `Canaries.hidden`."""
        reading = self._readings.get(reading_id)
        if reading.holder.direct or not self._register.any():
            return Buried(0, np.empty((0, 16), np.uint8), np.empty(0, np.uint64))
        self._readings.decide(reading, ("sql", "rows", "aggregate"), table, ())
        self._readings.within(reading, "sql", table, lambda warrant: warrant.check_counted(table))
        book = self._register.book()
        own = token_text(book.tokens)
        start, end = np.searchsorted(own, low, "left"), np.searchsorted(own, high, "right")
        some = book.tokens[start : min(int(end), int(start) + BURIED_AT_ONCE)]
        return Buried(0, some, np.full(len(some), EVERY_BATCH, np.uint64), book.pools)

    # -- asking ---------------------------------------------------------------------------------
    def is_canary(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bool:
        """See `Canaries.is_canary`."""
        if not 0 < len(identifiers) <= ASKED_AT_ONCE_MAX:
            raise UsageError(f"ask about 1 to {ASKED_AT_ONCE_MAX:,} subjects at once")
        import pyarrow as pa

        core, reading = self._core, self._readings.get(reading_id)
        self._two(reading, ASK, table, len(identifiers), {"values": len(identifiers)})
        given = pa.array(identifiers, pa.string())
        return self._register.which(tokens(core.subject.inner, core.subject.outer, given)).found

    def trial(self, reading_id: bytes, table: str) -> bytes:
        """See `Canaries.trial`."""
        core, reading = self._core, self._readings.get(reading_id)
        self._two(reading, TEST, table, 1, {})
        book, ordinals = self._register.numbered()
        there = np.flatnonzero(ordinals > 0)
        if not len(there):
            raise NotFoundError("no canary has records in this room", hint="`strongroom canaries plant` plants some")
        chosen = there[int.from_bytes(core.entropy(8), "little") % len(there)]
        token: bytes = book.tokens[chosen].tobytes()
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
        if not leaves:
            return Heard([], told=False, lost=False)
        lost = counter(rows, "untold") > min(leaves)  # the last that was lost is all that is known of them
        return Heard(leaves, counter(rows, "told") > max(leaves) and not lost, lost)

    def _two(self, reading: Reading, act: str, table: str, count: int, extras: Mapping[str, int | str]) -> None:
        """Decide, spend and note a question that takes two people."""
        core = self._core
        said: dict[str, Any] = {**reading.said(), "table": table}

        def work(rows: Rows) -> Answer:
            if reading.warrant is not None:
                raise DeniedError("this is not asked through a server in a caller's name", rule=BEYOND)
            decision = core.standing.decider.decide_read(reading.actor, reading.purpose.name, ASK, table, ())
            core.standing.require(decision)
            limits = (*reading.lookup_limits(core), *self._agreed(rows, reading))
            plan = core.ledger.plan_count(rows, limits, count, core.journal.now(rows))
            entry = core.journal.entry(
                rows, act, reading.actor, **said, remaining=plan.remaining, rule=decision.rule, extras=dict(extras)
            )
            core.ledger.apply(rows, plan)
            return {"leaf": core.journal.note(rows, entry)}

        core.standing.refresh()
        core.act(act, reading.actor, work, **said)

    def _agreed(self, rows: Rows, reading: Reading) -> tuple[Limit, ...]:
        """What another person agreed to, and so the reading may spend: it always takes two."""
        leave = agreed(rows, self._core, reading, frozenset())
        if not leave or not reading.leave.approval:
            raise DeniedError("this needs another person's agreement", rule="approval.needed")
        return leave
