"""Plants canary persons: learnt from a sample, made, registered at the keymaster, and put like anybody's records.

The order, and what stands after each step:

1. How many are needed, by the sizes of the exports that the policy allows; nothing was read.
2. A sample of whole persons is read and charged; what is learnt of it stays in memory.
3. Canaries are made. The room is asked for every identifier of theirs that it can be asked for.
4. The keymaster registers who they are, and what commits to their contents. There are no records of theirs.
5. Their records are put, a table at a time, and the keymaster notes that all were.

What stops it between 4 and 5 leaves canaries who lack records: they harm nothing, no false person is among them, and
the next run names their pools and plants what is needed besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.catalog.freshness import leave_act
from strongroom.errors import BudgetError, ConflictError, StrongroomError, UsageError
from strongroom.seal.entropy import random_bytes
from strongroom.trace.canary.colliding import RoomValues
from strongroom.trace.canary.making import HITS_PER_PARTITION, learn
from strongroom.trace.canary.numbering import numbered
from strongroom.trace.canary.sampling import PERSONS, PERSONS_MAX, Sampling, persons_at_most
from strongroom.trace.canary.sizing import (
    needed,
    plain_in_exports,
    refuse_blind,
    refuse_unasked,
    refuse_unput,
    rules_of,
    tables_of,
    without_approval,
)
from strongroom.write.put import PutOptions, put

if TYPE_CHECKING:
    from strongroom.keymaster.api import ReadingGrant
    from strongroom.keymaster.canaries.api import PoolRecord
    from strongroom.read.session import Session
    from strongroom.schema.model import Table
    from strongroom.trace.canary.making import Canaries
    from strongroom.trace.canary.policy import CanaryPolicy

ROOM_SHARE_MAX = 0.1
"""At most so many of the room's persons may be canaries: among fewer people they would be most of what is there."""
AT_ONCE_MAX = 1_000_000

I64 = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PlantRequest:
    """What is planted; see `Room.plant_canaries`."""

    policy: CanaryPolicy = field(repr=False)
    purpose: str
    reason: str
    colluders: int | None = None
    sample: float | None = None
    approval: str | None = None
    learn_from: int = PERSONS


@dataclass(frozen=True)
class PlantReport:
    """What was planted.

    Args:
        pools: Numbers of the new pools, with how many canaries each has.
        canaries: How many canaries they are: persons who belong together count as one.
        persons: How many persons.
        records: Their records by table.
        learnt_from: How many persons were read.
        looked_up: How many identifiers the room was asked for.
        dense: Fields by whose values canaries are told, as the notes say: export these as tokens.
        unmade: Fields that canaries lack.
        unasked: Identifiers that the operator declared, and the room could not be asked for, as they have no index.
        notes: What whoever plants should know.
    """

    pools: Mapping[int, int]
    canaries: int
    persons: int
    records: Mapping[str, int]
    learnt_from: int
    looked_up: int
    dense: tuple[str, ...]
    unmade: tuple[str, ...]
    unasked: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "pools": {str(pool): count for pool, count in self.pools.items()},
                "records": dict(self.records)}  # fmt: skip


def plant(
    session: Session,
    request: PlantRequest,
    progress: Progress | None = None,
    entropy: Callable[[int], bytes] = random_bytes,
) -> PlantReport:
    """Plant; see `Room.plant_canaries`.

    Args:
        session: The room's bucket and keymaster.
        request: What.
        progress: Called with what is done, how much of it, and how much there is.
        entropy: Gives chance.
    """
    if not 0 < request.learn_from <= PERSONS_MAX:
        raise UsageError(f"canaries are learnt from at most {PERSONS_MAX:,} persons")
    keymaster = session.keymaster
    schema, policy = keymaster.schema(), keymaster.policy()
    tables = tables_of(schema, request.policy)
    refuse_unput(policy, session.actor, tables)
    refuse_unasked(schema, request.policy)
    grant = keymaster.begin_reading(
        actor=session.actor, purpose=request.purpose, reason=request.reason, approval=request.approval
    )
    try:
        return _Planting(session, request, grant, tables, progress or _silent, entropy).run()
    finally:
        keymaster.end_reading(grant.reading_id)


class _Planting:
    """One planting under way."""

    def __init__(
        self,
        session: Session,
        request: PlantRequest,
        grant: ReadingGrant,
        tables: list[Table],
        progress: Progress,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._session = session
        self._request = request
        self._grant = grant
        self._reading = grant.reading_id
        self._tables = tables
        self._tell = progress
        self._entropy = entropy
        self._keymaster = session.keymaster
        self._notes: list[str] = []

    def run(self) -> PlantReport:
        """Do it."""
        session, request, keymaster = self._session, self._request, self._keymaster
        keys = session.reading_keys(self._reading)
        finder = session.finder(session.catalog(keys), keys)
        counts = self._counts(persons_at_most(finder, self._tables))
        self._tell("reading", 0, 1)
        sample = Sampling(session, finder, self._grant, self._tables).read(request.learn_from, self._entropy(16))
        if sample.share < 1.0:
            told = f"learnt from {sample.persons:,} persons, {sample.share:.1%} of the room"
            self._notes.append(f"{told}: the larger the share, the less canaries can be told apart (--learn-from)")
        self._tell("learning", 0, 1)
        model = learn(keymaster.schema(), sample.tables, request.policy, sampled=sample.share)
        refuse_blind(model.blind)
        ask = RoomValues(keymaster, finder, self._reading)
        persons = sum(counts.values()) * request.policy.unit
        self._tell("making", 0, persons)
        canaries = model.make(persons, self._entropy(32), ask)
        pools, canaries = numbered(self._tables, canaries, counts, self._entropy)
        persons = sum(len(pool.subjects) for pool in pools)
        try:
            numbers = keymaster.canaries.register(self._reading, pools)
        except BudgetError as error:
            most = sample.persons + persons
            error.hint = f"ask for {most:,} persons: {sample.persons:,} to learn from, and {persons:,} who are planted"
            raise
        self._tell("registered", 0, persons)
        try:
            records = self._put(canaries)
            leaf = keymaster.canaries.planted(self._reading, numbers, _telling(canaries))
        except StrongroomError as error:
            told = (
                f"{_listed(numbers)} registered and lack records: no false person is there; run it again once this is"
                " mended, and it plants what is needed besides"
            )
            error.hint = f"{error.hint}; {told}" if error.hint else told
            raise
        with suppress(StrongroomError):  # a keymaster that is set back learns that they are whole; it can do without
            leave_act(session.store, keymaster, leaf)
        self._warn(canaries, ask)
        of_pools = {n: len(pool.salts) for n, pool in zip(numbers, pools, strict=True)}
        return PlantReport(
            of_pools, sum(of_pools.values()), persons, records, sample.persons,
            ask.looked_up, _telling(canaries), canaries.unmade, tuple(sorted(ask.unasked)), tuple(self._notes),
        )  # fmt: skip

    def _counts(self, persons: int) -> dict[int, int]:
        """How many canaries of each bias are planted now.

        Raises:
            ConflictError: The room has what it needs.
            UsageError: It is too small, or too large for one time.
        """
        request, unit = self._request, self._request.policy.unit
        rules = rules_of(self._keymaster.policy(), request.colluders, request.sample)
        pools = self._keymaster.canaries.planted_pools(self._reading)
        persons = max(0, persons - sum(pool.persons for pool in pools if pool.planted))
        wanted = needed(persons, rules)
        have = self._have(pools)
        left = {bias: count - have.get(bias, 0) for bias, count in wanted.items() if count > have.get(bias, 0)}
        if not left:
            raise ConflictError(
                f"the room has the canaries that {persons:,} persons need", hint="more are needed once it has grown"
            )
        total = unit * sum(wanted.values())
        if total > ROOM_SHARE_MAX * persons:
            raise UsageError(
                f"{total:,} canary persons among {persons:,} would be more than {ROOM_SHARE_MAX:.0%} of the room",
                hint="say unit = 1 in canaries.toml, or fewer --colluders, or let exports carry tokens alone",
            )
        if unit * sum(left.values()) > AT_ONCE_MAX:
            scale = AT_ONCE_MAX / (unit * sum(left.values()))
            left = {bias: max(1, int(count * scale)) for bias, count in left.items()}
            self._notes.append(f"at most {AT_ONCE_MAX:,} persons are planted at once: run it again for the rest")
        return left

    def _have(self, pools: Sequence[PoolRecord]) -> dict[int, int]:
        """The canaries of each bias that were planted whole; what was cut short is named."""
        have: dict[int, int] = {}
        short: list[PoolRecord] = []
        for pool in pools:
            if pool.planted:
                have[pool.bias] = have.get(pool.bias, 0) + pool.count
            else:
                short.append(pool)
        if short:
            told = f"{_listed([p.number for p in short])} of an earlier run that was cut short"
            self._notes.append(f"{told}: registered, and some of their {sum(p.persons for p in short):,} lack records")
        return have

    # -- records --------------------------------------------------------------------------------
    def _put(self, canaries: Canaries) -> dict[str, int]:
        session, done = self._session, {}
        for table in self._tables:
            rows = canaries.tables.get(table.name)
            if rows is None or not len(rows):
                continue
            options = PutOptions(strict=True)
            told = put(session.store, self._keymaster, session.actor, table.name, rows, options, now=session.now)
            done[table.name] = told.records
            self._tell("putting", sum(done.values()), sum(map(len, canaries.tables.values())))
        return done

    def _warn(self, canaries: Canaries, ask: RoomValues) -> None:
        plain = plain_in_exports(self._keymaster.policy(), self._keymaster.schema(), _telling(canaries))
        for name in _telling(canaries):
            seen = ", ".join(plain.get(name, ()))
            more = f"; plain now under {seen}" if seen else ""
            why = "the last numbers are canaries'" if name in canaries.dense else "only people's are in order of time"
            self._notes.append(f"{name}: {why}, export it as a token{more}")
        for name in without_approval(self._keymaster.policy()):
            lacks = "takes no approvals, which named subjects and copies too small for canaries need from now on"
            self._notes.append(f"purpose {name} exports with canaries and {lacks}")
        self._notes += [f"{name}: canaries have none" for name in canaries.unmade]
        self._notes += [f"{name} has no index: nobody could be asked who has it" for name in sorted(ask.unasked)]
        for name, parts in Counter(part.partition("=")[0] for part in canaries.thin).items():
            told = f"fewer than {HITS_PER_PARTITION} canaries in {parts} of its parts, too few to name a source by"
            self._notes.append(f"{name}: {told} one part alone")


def _telling(canaries: Canaries) -> tuple[str, ...]:
    """Fields by whose values canaries are told."""
    return tuple(dict.fromkeys([*canaries.dense, *canaries.ordered]))


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"pool {numbers[0]} is"
    return f"pools {', '.join(map(str, numbers))} are"


def _silent(_what: str, _done: int, _of: int) -> None:
    return None
