"""Makes canary persons: people who do not exist, with records in every table, whom nothing tells from real ones.

`learn` looks at a sample of whole persons; `CanaryModel.make` gives rows for every table, by the chance of one
seed. What a canary is drawn from, and what it never has, is in `docs/reference/canaries.md`.

Rules kept here:

1. No real record is altered, and none is copied: parts of one canary come from different persons, or are many persons'.
2. An identifier that reaches somebody in the world comes from a declared source; all are compared with the room's.
3. In sensitive tables there is nothing about a canary, unless the policy names the table.
4. The same sample, policy and seed give the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.errors import InputError, UsageError
from strongroom.schema.columns import plain
from strongroom.schema.model import OPEN, Field, Schema, Table
from strongroom.schema.normalise import normalise
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.frames import Frame, FrameLearner
from strongroom.trace.canary.ids import Collides
from strongroom.trace.canary.links import OTHER, Known
from strongroom.trace.canary.nodes import LIKE_MIN, Node, joint
from strongroom.trace.canary.policy import CanaryPolicy
from strongroom.trace.canary.tokens import encode
from strongroom.trace.canary.values import CategoryModel

Ints = npt.NDArray[np.int64]

SAMPLE_PERSONS_MIN = 200
CANARIES_MAX = 10_000_000
HITS_PER_PARTITION = 14
_SPREAD_COVERED = 0.8
_SHARED_MIN = 0.005
_KNOWN_WORDS_MIN = 100
_ROWS_PER_CODE = 20


@dataclass(frozen=True)
class Canaries:
    """Persons who do not exist.

    Args:
        tables: Rows by table, in the schema's fields and types.
        owner: By table: which canary each row is about, i64[rows], 0 to the number of canaries - 1.
        unit: Which unit each canary belongs to, i64[canaries]; a unit goes into an export whole.
        dense: Fields whose numbers lie so close that canaries have higher ones: export these as tokens.
        ordered: Fields whose numbers are in the exact order of moments, but canaries' only nearly: these too.
        unmade: Fields that are null because no text could be made.
        thin: Partitions by open columns with fewer than `HITS_PER_PARTITION` canaries, and how many they have.
    """

    tables: dict[str, pa.Table]
    owner: dict[str, Ints]
    unit: Ints
    dense: tuple[str, ...]
    ordered: tuple[str, ...]
    unmade: tuple[str, ...]
    thin: dict[str, int]


@dataclass
class CanaryModel:
    """What was learnt of a room.

    `blind` names identifiers that are drawn like the room's, of which no index says whether somebody has them.
    """

    schema: Schema
    policy: CanaryPolicy
    tables: tuple[str, ...]
    subject: str
    persons: Frame
    children: dict[str, Frame]
    counts: dict[str, Node]
    presence: dict[str, Node]
    spread: tuple[Node, ...]
    known: tuple[str, ...]
    unmade: tuple[str, ...]
    blind: tuple[str, ...]

    def make(self, count: int, entropy: bytes, collides: Collides | None = None) -> Canaries:
        """Make canary persons with all their records.

        Args:
            count: How many persons.
            entropy: At least 16 bytes of chance; the same give the same rows.
            collides: Says of a table, a field and values which of them somebody in the room has, bool[n]. Asked for
                every identifier; the values of the sample are compared without it.

        Raises:
            UsageError: The operator's own identifiers, or free numbers, are fewer than asked for.
        """
        if not 0 < count <= CANARIES_MAX or len(entropy) < 16:
            raise UsageError(f"1 to {CANARIES_MAX:,} canaries are made, from at least 16 bytes of chance")
        rng = np.random.Generator(np.random.PCG64(np.frombuffer(entropy + bytes(-len(entropy) % 4), np.uint32)))
        ask = collides or _nobody
        unit, partner = _units(count, self.policy.unit)
        drawn = self.persons.draw(rng, count, {}, self._spread(rng, count))
        values, dense = self.persons.make(rng, drawn, {}, ask)
        self._share(rng, values, unit)
        tables: dict[str, pa.Table] = {}
        owner: dict[str, Ints] = {}
        everyone = np.arange(count)
        for name, node in self.presence.items():
            owner[name] = everyone[drawn.codes[node.name] == 1]
            tables[name] = self._table(name, values, values[self.subject], owner[name], owner[name])
        for name, node in self.counts.items():
            rows = np.repeat(everyone, np.maximum(drawn.codes[node.name], 0))
            made, more = self._child(rng, name, drawn, values, rows, partner, ask)
            owner[name], dense = rows, [*dense, *more]
            tables[name] = self._table(name, made, values[self.subject], np.arange(len(rows)), rows)
        ordered = {name: tables[name] for name in self.tables}
        thin = self._thin(drawn)
        late = tuple(name for frame in (self.persons, *self.children.values()) for name in frame.ordered)
        return Canaries(ordered, {n: owner[n] for n in ordered}, unit, tuple(dense), late, self.unmade, thin)

    def _child(
        self,
        rng: np.random.Generator,
        name: str,
        persons: Drawn,
        values: Mapping[str, pa.Array],
        rows: Ints,
        partner: Ints,
        collides: Collides,
    ) -> tuple[dict[str, pa.Array], list[str]]:
        frame = self.children[name]
        given = {n: persons.codes[n][rows] for n in frame.context}
        drawn = frame.draw(rng, len(rows), given)
        links = {known: values[known].take(pa.array(rows)) for known in self.known}
        other = partner[rows, rng.integers(0, partner.shape[1], len(rows))]
        links |= {known + OTHER: values[known].take(pa.array(other)) for known in self.known}
        return frame.make(rng, drawn, links, collides)

    def _table(
        self, name: str, made: Mapping[str, pa.Array], subject: pa.Array, rows: Ints, persons: Ints
    ) -> pa.Table:
        table = self.schema.table(name)
        columns = {}
        for field in table.fields:
            if field.name == table.subject:
                column = subject.take(pa.array(persons))
                column = column.cast(pa.int64() if field.type == "int" else pa.string())
            else:
                column = made[f"{name}.{field.name}"].take(pa.array(rows))
            columns[field.name] = column
        return pa.table(columns)

    def _spread(self, rng: np.random.Generator, count: int) -> dict[str, Ints]:
        """Rows that open columns are taken from, so that every partition has its share, and no less by chance."""
        if not self.spread:
            return {}
        key = joint([node.codes for node in self.spread])
        order = np.lexsort((rng.random(len(key)), key))
        at = ((np.arange(count) + rng.random()) * len(order) / count).astype(np.int64)
        picked = rng.permutation(order[at])
        given = {}
        for depth, node in enumerate(self.spread, 1):
            rows = picked.copy()
            # What few persons have together is not taken together: those few change among themselves.
            few = np.flatnonzero(~_many([n.codes for n in self.spread[:depth]])[picked])
            rows[few] = rng.permutation(rows[few])
            given[node.name] = rows if node.donors is None else np.where(node.donors[rows], rows, -1)
        return given

    def _thin(self, drawn: Drawn) -> dict[str, int]:
        thin = {}
        for node in self.spread:
            have = np.bincount(drawn.codes[node.name], minlength=node.size())
            there = np.bincount(node.codes[node.codes >= 0], minlength=node.size())
            words = self.persons.plans[node.name].model.words
            for code in np.flatnonzero((have < HITS_PER_PARTITION) & (there >= LIKE_MIN)):
                thin[f"{node.name}={words[int(code)].as_py()}"] = int(have[code])
        return thin

    def _share(self, rng: np.random.Generator, values: dict[str, pa.Array], unit: Ints) -> None:
        """Give some persons the number of the person before them in the unit: families share telephones."""
        follows = np.append(False, unit[1:] == unit[:-1])
        for name, plan in self.persons.plans.items():
            if plan.shared < _SHARED_MIN or name == self.subject or not follows.any():
                continue
            chance = min(1.0, plan.shared / follows.mean())
            takes = follows & (rng.random(len(unit)) < chance) & values[name].is_valid().to_numpy(zero_copy_only=False)
            source = np.maximum.accumulate(np.where(takes, 0, np.arange(len(unit))))
            values[name] = values[name].take(pa.array(source))


def learn(
    schema: Schema, sample: Mapping[str, pa.Table], policy: CanaryPolicy, *, sampled: float = 1.0
) -> CanaryModel:
    """Learn what the persons of a room are like.

    Args:
        schema: The room's.
        sample: Rows by table, of some persons chosen at random with all their records. At most some
            hundred thousand persons: it is held in memory.
        policy: What the room says about its canaries.
        sampled: Share of the room's persons in the sample, above 0 and at most 1.

    Raises:
        InputError: A table lacks a field, or has another type.
        UsageError: There are too few persons, or a field needs a source of identifiers that the policy lacks.
    """
    if not 0 < sampled <= 1:
        raise UsageError("the share of persons in the sample is above 0 and at most 1")
    columns = {t.name: _columns(t, sample[t.name]) for t in _used(schema, sample, policy)}
    tables = [schema.table(name) for name in columns]
    if not tables:
        raise UsageError("no table of the sample has rows")
    codes, subjects = _subjects(tables, columns)
    count = len(subjects)
    if count < SAMPLE_PERSONS_MIN:
        raise UsageError(f"the sample has {count:,} persons, at least {SAMPLE_PERSONS_MIN} are learnt from")
    learner = FrameLearner(policy, np.arange(count), (), sampled, person=True)
    first = next((t for t in tables if t.records == "one"), tables[0])
    subject = f"{first.name}.{first.subject}"
    presence, more = {}, []
    for table in tables:
        if table.records == "one":
            presence[table.name] = _learn_one(learner, table, columns[table.name], codes[table.name], count, subjects)
    if not presence:
        learner.add(first, first.subject_field, subjects.cast(_type(first)))
    counts = {}
    for table in tables:
        if table.records != "one":
            counts[table.name] = Node(f"{table.name}#", np.bincount(codes[table.name], minlength=count))
            more.append(counts[table.name])
    spread = _spread_nodes(learner)
    persons = learner.finish((), [*presence.values(), *more], spread)
    known = _known(schema, learner)
    children, unmade, blind = {}, list(learner.unmade), list(learner.blind)
    for name in counts:
        child = _learn_child(schema.table(name), columns[name], codes[name], policy, persons, known, sampled)
        children[name] = child[0]
        unmade += child[1].unmade
        blind += child[1].blind
    return CanaryModel(schema, policy, tuple(columns), subject, persons, children, counts, presence, spread,
                       tuple(k.name for k in known), tuple(unmade), tuple(blind))  # fmt: skip


def _nobody(table: str, name: str, values: pa.Array) -> npt.NDArray[np.bool_]:
    del table, name
    return np.zeros(len(values), np.bool_)


def _used(schema: Schema, sample: Mapping[str, pa.Table], policy: CanaryPolicy) -> list[Table]:
    for name in policy.sensitive_tables:
        schema.table(name)
    return [
        table
        for name, table in schema.tables.items()
        if name in sample and len(sample[name]) and (table.klass != "sensitive" or name in policy.sensitive_tables)
    ]


def _columns(table: Table, rows: pa.Table) -> dict[str, pa.Array]:
    missing = [f.name for f in table.fields if f.name not in rows.column_names]
    if missing:
        raise InputError(f"sample of {table.name}: there is no column {missing[0]}")
    found = {}
    for field in table.fields:
        column = plain(rows.column(field.name), field.type, f"{table.name}.{field.name}")
        found[field.name] = column.cast(pa.string()) if field.type == "string" else column
    if found[table.subject].null_count:
        raise InputError(f"sample of {table.name}: a record has no {table.subject}")
    return found


def _type(table: Table) -> pa.DataType:
    return pa.int64() if table.subject_field.type == "int" else pa.string()


def _subjects(
    tables: list[Table], columns: Mapping[str, Mapping[str, pa.Array]]
) -> tuple[dict[str, Ints], pa.Array]:
    """Number of the person of each row, by table; and the subjects as first written, string[persons]."""
    forms = [normalise(columns[t.name][t.subject], t.subject_field.normalise) for t in tables]
    written = [columns[t.name][t.subject].cast(pa.string()) for t in tables]
    codes, _ = encode(pa.concat_arrays([form.fill_null("").cast(pa.string()) for form in forms]))
    first = np.unique(codes, return_index=True)[1]
    ends = np.cumsum([len(form) for form in forms])
    pieces = np.split(codes, ends[:-1])
    subjects = pa.concat_arrays(written).take(pa.array(first))
    return {t.name: piece for t, piece in zip(tables, pieces, strict=True)}, subjects


def _learn_one(
    learner: FrameLearner, table: Table, columns: Mapping[str, pa.Array], codes: Ints, count: int, subjects: pa.Array
) -> Node:
    """Learn a table of one record per person; the last row of a person counts."""
    row = np.full(count, -1, np.int64)
    row[codes] = np.arange(len(codes))
    there = row >= 0
    at = pa.array(row, mask=~there)
    if not learner.plans:
        learner.add(table, table.subject_field, subjects.cast(_type(table)))
    for field in _dates_first(table):
        learner.add(table, field, columns[field.name].take(at), None if there.all() else there)
    return Node(f"{table.name}#", there.astype(np.int64))


def _dates_first(table: Table) -> list[Field]:
    """The fields but the subject: an id or a lag is made from a date."""
    fields = [f for f in table.fields if f.name != table.subject]
    return sorted(fields, key=lambda f: f.type not in {"date", "timestamp"})


def _known(schema: Schema, learner: FrameLearner) -> list[Known]:
    """Fields of persons that single a person out and that other records may repeat."""
    found = []
    for name, plan in learner.plans.items():
        column = learner.column(name)
        few = isinstance(plan.model, CategoryModel) and len(plan.model.words) < _KNOWN_WORDS_MIN
        if few or not pa.types.is_string(column.type):
            continue
        table, _, field = name.partition(".")
        found.append(Known(name, schema.table(table).field(field).normalise, column, column))
    return found


def _learn_child(
    table: Table,
    columns: Mapping[str, pa.Array],
    codes: Ints,
    policy: CanaryPolicy,
    persons: Frame,
    known: list[Known],
    sampled: float,
) -> tuple[Frame, FrameLearner]:
    here = [Known(k.name, k.steps, k.everybody.take(pa.array(codes)), k.everybody) for k in known]
    learner = FrameLearner(policy, codes, here, sampled, person=False)
    for field in _dates_first(table):
        learner.add(table, field, columns[field.name])
    few = [node for node in persons.nodes if 1 < node.size() <= len(codes) // _ROWS_PER_CODE]
    context = [Node(node.name, node.codes[codes], coarse=node.coarse) for node in few]
    return learner.finish(context), learner


def _many(columns: list[Ints]) -> npt.NDArray[np.bool_]:
    """Rows whose combination at least `LIKE_MIN` rows have."""
    _, which, size = np.unique(joint(columns), return_inverse=True, return_counts=True)
    found: npt.NDArray[np.bool_] = size[which] >= LIKE_MIN
    return found


def _spread_nodes(persons: FrameLearner) -> tuple[Node, ...]:
    """Open columns of few values that most persons share with many, together with those before."""
    chosen: list[Node] = []
    for plan in persons.plans.values():
        node = plan.model.node if isinstance(plan.model, CategoryModel) else None
        if plan.of.klass != OPEN or node is None or node.when is not None:
            continue
        if _many([n.codes for n in (*chosen, node)]).mean() >= _SPREAD_COVERED:
            chosen.append(node)
    return tuple(chosen)


def _units(count: int, size: int) -> tuple[Ints, Ints]:
    """The unit of each person, and the others of it, i64[count, size - 1]; of a person alone it is the person."""
    unit = np.minimum(np.arange(count) // size, max(0, count // size - 1))
    first = np.searchsorted(unit, unit)
    last = np.searchsorted(unit, unit, side="right")
    steps = np.arange(1, max(2, size))
    partner = first[:, None] + (np.arange(count)[:, None] - first[:, None] + steps) % (last - first)[:, None]
    return unit, partner
