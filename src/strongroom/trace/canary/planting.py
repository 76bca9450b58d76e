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

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import SALT_BYTES
from strongroom.errors import ConflictError, DeniedError, StrongroomError, UsageError
from strongroom.evidence.code import BIAS_ONE, SHARE_MAX, sizes
from strongroom.keymaster.canaryapi import NewPool
from strongroom.schema.normalise import normalise
from strongroom.seal.entropy import random_bytes
from strongroom.trace.canary.colliding import RoomValues
from strongroom.trace.canary.contents import commitments, unit_contents
from strongroom.trace.canary.making import HITS_PER_PARTITION, learn
from strongroom.trace.canary.policy import COMPLETE
from strongroom.trace.canary.sampling import PERSONS_MAX, VERB, Sampling, persons_at_most
from strongroom.write.put import PutOptions, put

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.canaryapi import PoolRecord
    from strongroom.purpose.policy import Policy
    from strongroom.read.session import Session
    from strongroom.schema.model import Schema, Table
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
    learn_from: int = PERSONS_MAX


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
        dense: Fields whose last values are canaries': export these as tokens.
        unmade: Fields that canaries lack.
        unasked: Identifiers that the room could not be asked for, as they have no index.
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
    _refuse_unput(policy, session.actor, tables)
    _refuse_unasked(schema, request.policy)
    grant = keymaster.begin_reading(
        actor=session.actor, purpose=request.purpose, reason=request.reason, approval=request.approval
    )
    try:
        return _Planting(session, request, grant.reading_id, tables, progress or _silent, entropy).run(grant)
    finally:
        keymaster.end_reading(grant.reading_id)


def tables_of(schema: Schema, policy: CanaryPolicy) -> list[Table]:
    """The tables that canaries have records in."""
    return [t for name, t in schema.tables.items() if t.klass != "sensitive" or name in policy.sensitive_tables]


def needed(
    persons: int, unit: int, rules: Sequence[tuple[int, float]], *, share_max: float = SHARE_MAX
) -> dict[int, int]:
    """How many canaries of each bias a room needs, so that all its exports can be told.

    A canary of several persons is found when one of them is: so many fewer are needed as that is likelier.

    Args:
        persons: How many the room has.
        unit: Persons of one canary.
        rules: Colluders and the smallest sample, of each purpose that exports.
        share_max: See `evidence.code.sizes`.

    Raises:
        UsageError: The room has too few persons for any of the rules.
    """
    found: dict[int, int] = {}
    why = ""
    for colluders, sample in rules:
        size = sizes(persons, colluders=colluders, sample=sample, share_max=share_max)
        why = why or size.why_none or ""
        published = min(1.0, (sample if sample < 1 else sample / max(1, persons)))
        factor = published / (1 - (1 - published) ** unit)
        for bias, count in size.pools.items():
            found[bias] = max(found.get(bias, 0), math.ceil(count * factor - 1e-6))
    if not found:
        raise UsageError(
            f"the room has {persons:,} persons, and is too small for canaries: {why}",
            hint="say a larger --sample, fewer --colluders, or let exports carry tokens alone",
        )
    return found


def rules_of(policy: Policy, colluders: int | None, sample: float | None) -> list[tuple[int, float]]:
    """What exports must withstand: as it is said, else of every purpose that exports with canaries.

    Raises:
        UsageError: Nothing says it.
    """
    own = [p.export.canaries for p in policy.purposes.values() if p.export is not None and p.export.canaries]
    if colluders is None and sample is None and not own:
        raise UsageError(
            "no purpose exports with canaries, and nothing says what they must withstand",
            hint="--colluders 2 --sample 750000, or `canaries` in the export of a purpose",
        )
    if colluders is not None and sample is not None:
        return [(colluders, sample)]
    rules = [(colluders or rule.colluders, sample or float(rule.sample)) for rule in own]
    if not rules:
        raise UsageError("say both --colluders and --sample")
    return list(dict.fromkeys(rules))


class _Planting:
    """One planting under way."""

    def __init__(
        self,
        session: Session,
        request: PlantRequest,
        reading_id: bytes,
        tables: list[Table],
        progress: Progress,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._session = session
        self._request = request
        self._reading = reading_id
        self._tables = tables
        self._tell = progress
        self._entropy = entropy
        self._keymaster = session.keymaster
        self._notes: list[str] = []

    def run(self, grant: Any) -> PlantReport:
        """Do it."""
        session, request, keymaster = self._session, self._request, self._keymaster
        keys = session.reading_keys(self._reading)
        finder = session.finder(session.catalog(keys), keys)
        counts = self._counts(persons_at_most(finder, self._tables))
        self._tell("reading", 0, 1)
        sample = Sampling(session, finder, grant, self._tables).read(request.learn_from, self._entropy(16))
        self._tell("learning", 0, 1)
        model = learn(keymaster.schema(), sample.tables, request.policy, sampled=sample.share)
        ask = RoomValues(keymaster, finder, self._reading)
        persons = sum(counts.values()) * request.policy.unit
        self._tell("making", 0, persons)
        canaries = model.make(persons, self._entropy(32), ask)
        pools, canaries = self._pools(canaries, counts)
        numbers = keymaster.canaries.register(self._reading, [pool.new for pool in pools])
        self._tell("registered", 0, sum(pool.persons for pool in pools))
        try:
            records = self._put(canaries)
            keymaster.canaries.planted(self._reading, numbers, canaries.dense)
        except StrongroomError as error:
            told = (
                f"{_listed(numbers)} registered and lack records: no false person is there; run it again once this is"
                " mended, and it plants what is needed besides"
            )
            error.hint = f"{error.hint}; {told}" if error.hint else told
            raise
        self._warn(canaries, ask)
        of_pools = {n: len(pool.new.salts) for n, pool in zip(numbers, pools, strict=True)}
        return PlantReport(
            of_pools, sum(of_pools.values()), sum(pool.persons for pool in pools), records, sample.persons,
            ask.looked_up, canaries.dense, canaries.unmade, tuple(sorted(ask.unasked)), tuple(self._notes),
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
        wanted = needed(persons, unit, rules)
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

    # -- numbers --------------------------------------------------------------------------------
    def _pools(self, canaries: Canaries, counts: Mapping[int, int]) -> tuple[list[_Pool], Canaries]:
        """Whole units spread at random over the pools, and the rows in an order that says nothing of units."""
        rng = np.random.Generator(np.random.PCG64(np.frombuffer(self._entropy(32), np.uint32)))
        rank = rng.permutation(len(canaries.unit))
        orders = {name: np.argsort(rank[owner], kind="stable") for name, owner in canaries.owner.items()}
        canaries = _ordered(canaries, orders)
        unit_of = {name: canaries.unit[owner] for name, owner in canaries.owner.items()}
        total = int(canaries.unit.max()) + 1
        there = np.zeros(total, np.bool_)
        for units in unit_of.values():
            there[units] = True
        held = rng.permutation(np.flatnonzero(there))  # a canary without any record is none
        place = np.full(total, -1, np.int64)
        place[held] = np.arange(len(held))
        contents = unit_contents(canaries.tables, {name: place[units] for name, units in unit_of.items()}, len(held))
        salts = np.frombuffer(self._entropy(SALT_BYTES * len(held)), np.uint8).reshape(-1, SALT_BYTES)
        digests = commitments(salts, contents)
        subjects, units = _subjects(self._tables, canaries, {name: place[units] for name, units in unit_of.items()})
        pools, start = [], 0
        for bias, count in counts.items():
            stop = min(len(held), start + count)
            if stop > start:
                pools.append(_pool(bias, start, stop, subjects, units, salts, digests))
            start = stop
        return pools, canaries

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
        plain = plain_in_exports(self._keymaster.policy(), self._keymaster.schema(), canaries.dense)
        for name in canaries.dense:
            seen = ", ".join(plain.get(name, ()))
            more = f"; plain now under {seen}" if seen else ""
            self._notes.append(f"{name}: the last numbers are canaries', export it as a token{more}")
        self._notes += [f"{name}: canaries have none" for name in canaries.unmade]
        self._notes += [f"{name} has no index: nobody could be asked who has it" for name in sorted(ask.unasked)]
        for name, parts in Counter(part.partition("=")[0] for part in canaries.thin).items():
            told = f"fewer than {HITS_PER_PARTITION} canaries in {parts} of its parts, too few to name a source by"
            self._notes.append(f"{name}: {told} one part alone")


@dataclass(frozen=True)
class _Pool:
    new: NewPool
    persons: int


def _pool(
    bias: int, start: int, stop: int, subjects: pa.Array, units: I64, salts: npt.NDArray[np.uint8],
    digests: npt.NDArray[np.uint8],
) -> _Pool:  # fmt: skip
    import pyarrow as pa

    here = np.flatnonzero((units >= start) & (units < stop))
    numbers = (units[here] - start).astype(np.uint32)
    if not 0 < bias < BIAS_ONE:
        raise UsageError("a bias is above 0 and below 2^32")
    new = NewPool(bias, subjects.take(pa.array(here)), numbers, salts[start:stop], digests[start:stop])
    return _Pool(new, len(here))


def _ordered(canaries: Canaries, orders: Mapping[str, I64]) -> Canaries:
    from dataclasses import replace

    import pyarrow as pa

    tables = {name: rows.take(pa.array(orders[name])) for name, rows in canaries.tables.items()}
    return replace(canaries, tables=tables, owner={n: o[orders[n]] for n, o in canaries.owner.items()})


def _subjects(tables: Sequence[Table], canaries: Canaries, unit_of: Mapping[str, I64]) -> tuple[pa.Array, I64]:
    """Each canonical identifier of a canary person once, string[n], and the unit it is of, i64[n]."""
    import pyarrow as pa

    forms, units = [pa.array([], pa.string())], [np.empty(0, np.int64)]
    for table in tables:
        rows = canaries.tables.get(table.name)
        if rows is not None and len(rows):
            column = rows[table.subject].combine_chunks()
            forms.append(normalise(column, table.subject_field.normalise).cast(pa.string()))
            units.append(unit_of[table.name])
    every = pa.concat_arrays(forms)
    codes = every.dictionary_encode()
    first = np.unique(codes.indices.to_numpy(), return_index=True)[1]
    return every.take(pa.array(first)), np.concatenate(units)[first]


def plain_in_exports(policy: Policy, schema: Schema, dense: Sequence[str]) -> dict[str, list[str]]:
    """By field, as "table.field": purposes that export it plain with canary persons, whose values are the last."""
    found: dict[str, list[str]] = {}
    for purpose in policy.purposes.values():
        if purpose.export is None or purpose.export.canaries is None:
            continue
        views = purpose.views(schema)
        for name in dense:
            table, _, of = name.partition(".")
            view = views.get(table, {}).get(of)
            if view is not None and view.show == "plain":
                found.setdefault(name, []).append(purpose.name)
    return found


def _refuse_unput(policy: Policy, actor: str, tables: Sequence[Table]) -> None:
    """Before anything is read: whoever plants puts; DeniedError where they may not."""
    known = policy.actors.get(actor)
    rules = [] if known is None else [policy.roles[role].put for role in known.roles]
    may = {name for rule in rules if rule is not None for name in rule.tables}
    for table in tables:
        if table.name not in may:
            raise DeniedError(
                f"{actor} may not put into table {table.name}, where canaries need records",
                rule="roles.put",
                hint="whoever plants puts their records: give the role put of these tables",
            )


def _refuse_unasked(schema: Schema, policy: CanaryPolicy) -> None:
    """A complete source says that what the room lacks is nobody's: so the room must be able to say what it lacks."""
    for name, source in policy.sources.items():
        table, _, of = name.partition(".")
        field_of = schema.table(table).field(of)
        if source.kind == COMPLETE and not field_of.find and of != schema.table(table).subject:
            raise UsageError(
                f"{name}: a complete source needs an index, by which the room is asked what it lacks",
                hint="give the field `find = true` in the schema, or declare another source",
            )


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"pool {numbers[0]} is"
    return f"pools {', '.join(map(str, numbers))} are"


def _silent(_what: str, _done: int, _of: int) -> None:
    return None


__all__ = ["VERB", "PlantReport", "PlantRequest", "needed", "plain_in_exports", "plant", "rules_of", "tables_of"]
