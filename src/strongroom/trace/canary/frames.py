"""Learns one frame: the fields of persons, or of one table with many records each; and makes its rows anew.

A frame knows a model per field, the parts of all of them in the order in which they are drawn, and what of the person
they depend on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import UsageError
from strongroom.schema.model import Field, Table
from strongroom.trace.canary.checks import Checks, learn_checks
from strongroom.trace.canary.draw import Drawn, draw_nodes, redraw
from strongroom.trace.canary.held import HeldModel
from strongroom.trace.canary.ids import CharactersModel, Collides, NullModel, PoolModel, make_distinct
from strongroom.trace.canary.kinds import kind_of
from strongroom.trace.canary.links import Known, LinkModel, find_links, mark_mentions
from strongroom.trace.canary.nodes import LIKE_MIN, Node, learn_parents, only_where
from strongroom.trace.canary.policy import (
    CATEGORY,
    CODE,
    COMPLETE,
    NAME,
    NULL,
    OUTSIDE,
    OWN,
    REACHES_SOMEBODY,
    RESIDENT,
    SUBJECT,
    VOID,
    CanaryPolicy,
)  # fmt: skip
from strongroom.trace.canary.resident import ResidentModel
from strongroom.trace.canary.serials import Elsewhere, Serials
from strongroom.trace.canary.text import TextModel, learn_text
from strongroom.trace.canary.tokens import encode
from strongroom.trace.canary.values import BytesModel, CategoryModel, DateModel, LagModel, NumberModel, is_category

Ints = npt.NDArray[np.int64]

_UNIQUE_SHARE = 0.98
_ALWAYS = 0.999
_TIGHTER = 0.5
_OFTEN = 10
_NUMBERED = (TextModel, NumberModel)
_OWN = (PoolModel, HeldModel)


@dataclass
class FieldPlan:
    """How one field is made.

    Args:
        name: "table.field".
        of: The field.
        kind: One of `canary_policy.KINDS`.
        model: Makes its values.
        distinct: Whether no two canaries, and no canary and somebody of the room, may have the same.
        shared: Share of persons who have the value of another person of their unit.
        checks: Its check digits.
        taken: Values of the sample.
        needs: Fields of the same row that are made before.
        serials: Where a serial stands in its values, if under several leads.
    """

    name: str
    of: Field
    kind: str
    model: Any
    distinct: bool = False
    shared: float = 0.0
    checks: Checks = field(default_factory=lambda: Checks({}))
    taken: pa.Array | None = None
    needs: tuple[str, ...] = ()
    serials: Serials | None = None


@dataclass
class Frame:
    """What was learnt of a frame.

    Args:
        plans: By "table.field", in the order in which values are made.
        nodes: Parts in the order in which they are drawn.
        context: Parts of the person at this frame's rows, by name.
    """

    plans: dict[str, FieldPlan]
    nodes: list[Node]
    context: dict[str, Node]

    def draw(
        self, rng: np.random.Generator, count: int, given: Mapping[str, Ints], start: Mapping[str, Ints] | None = None
    ) -> Drawn:
        """Draw the parts of new rows; `given` has the person's codes at them, `start` rows to take parts from."""
        context = {name: (node, given[name]) for name, node in self.context.items()}
        return draw_nodes(rng, self.nodes, context, count, start)

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], collides: Collides
    ) -> tuple[dict[str, pa.Array], list[str]]:
        """The fields of new rows by "table.field", and those whose numbers ran out between those of the sample."""
        made = dict(links)
        dense = []
        for name, plan in self.plans.items():
            if not plan.distinct:
                made[name] = plan.model.make(rng, drawn, made)
                continue
            fresh, taken = partial(self._fresh, plan, rng, drawn, made), partial(_taken, plan, collides)
            elsewhere = Elsewhere(plan.serials, rng, drawn, plan.checks, taken) if plan.serials else None
            column, beyond = make_distinct(name, fresh, drawn, plan.checks, taken, elsewhere)
            made[name] = column
            dense += [name] if beyond and not isinstance(plan.model, _OWN) else []
        return {name: made[name] for name in self.plans}, dense

    @property
    def ordered(self) -> list[str]:
        """Fields whose numbers are in so exact an order of time that new ones are seen to be out of it."""
        numbered = (*_NUMBERED, HeldModel)
        models = {n: p.model for n, p in self.plans.items() if p.distinct and isinstance(p.model, numbered)}
        return [name for name, model in models.items() if model.exact]

    def _fresh(
        self, plan: FieldPlan, rng: np.random.Generator, drawn: Drawn, made: Mapping[str, pa.Array], rows: Ints
    ) -> pa.Array:
        """Values for some rows; where others were made before, from parts drawn anew that no other field depends on."""
        if len(rows) < len(drawn.codes[plan.model.nodes[0].name]):
            own = {node.name for node in plan.model.nodes}
            outside = {n for node in self.nodes if node.name not in own for n, _ in node.parents}
            free = [node for node in self.nodes if node.name in own - outside and node.when is not None]
            redraw(rng, free, self.context | {node.name: node for node in self.nodes}, drawn, rows)
        return plan.model.make(rng, drawn, made, again=rows)


def _taken(plan: FieldPlan, collides: Collides, values: pa.Array) -> npt.NDArray[np.bool_]:
    there = values.is_valid().to_numpy(zero_copy_only=False)
    sample = pc.is_in(values, plan.taken).to_numpy(zero_copy_only=False) & there
    table, _, name = plan.name.partition(".")
    found: npt.NDArray[np.bool_] = sample | np.asarray(collides(table, name, values), np.bool_)
    return found


class FrameLearner:
    """Learns the fields of a frame one after the other.

    Args:
        policy: What the room says about its canaries.
        who: Whose row it is, i64[n].
        known: Fields of persons that others may repeat.
        sampled: Share of the room's persons in the sample.
        person: Whether the frame is that of persons.
    """

    def __init__(
        self, policy: CanaryPolicy, who: Ints, known: Sequence[Known], sampled: float, *, person: bool
    ) -> None:
        self._policy, self._who, self._known, self._sampled = policy, who, list(known), sampled
        self._person = person
        # So many persons of the sample stand for `LIKE_MIN` of the room.
        self._least = max(2, math.ceil(LIKE_MIN * sampled))
        self._often = self._least if sampled == 1 else _OFTEN * self._least
        self.plans: dict[str, FieldPlan] = {}
        self.unmade: list[str] = []
        self.blind: list[str] = []  # identifiers that are drawn, though no index says which of them are somebody's
        self._columns: dict[str, pa.Array] = {}

    def add(self, table: Table, of: Field, column: pa.Array, there: npt.NDArray[np.bool_] | None = None) -> None:
        """Learn one field; `there` says at which rows the table has a record, if not at all."""
        name = f"{table.name}.{of.name}"
        kind = kind_of(table, of, column, self._who, self._policy)
        plan = self._plan(table, of, name, kind, column)
        if there is not None:
            only_where(plan.model.nodes, f"{table.name}#", 1, there)
        self._columns[name] = column
        self.plans[name] = plan

    def column(self, name: str) -> pa.Array:
        """The sample's values of a field, "table.field"."""
        return self._columns[name]

    def finish(self, context: Sequence[Node], more: Sequence[Node] = (), first: Sequence[Node] = ()) -> Frame:
        """The frame: parts in order, with what they depend on.

        Args:
            context: Parts of the person at this frame's rows.
            more: Parts that no field has, such as counts.
            first: Parts that come before all others.
        """
        nodes = [*more, *(node for plan in self.plans.values() for node in plan.model.nodes)]
        ordered = learn_parents(nodes, context, first)
        for node in nodes:
            node.sampled = self._sampled
        plans: dict[str, FieldPlan] = {}
        while len(plans) < len(self.plans):
            plans |= {n: p for n, p in self.plans.items() if n not in plans and set(p.needs) <= plans.keys()}
        return Frame(plans, ordered, {node.name: node for node in context})

    def _plan(self, table: Table, of: Field, name: str, kind: str, column: pa.Array) -> FieldPlan:
        policy, who = self._policy, self._who
        if kind == SUBJECT:
            kind = kind_of(_without_subject(table), of, column, who, policy)
            kind = kind if kind in REACHES_SOMEBODY else CODE
        if name in policy.avoid and kind != CATEGORY and not is_category(column, who):
            raise UsageError(f"{name}: values can be avoided only in a field of few values")
        if of.type == "string" and kind not in {CATEGORY, RESIDENT} and name not in policy.texts:
            found = find_links(column, of.normalise, self._known, self._sampled) if self._known else None
            if found is not None:
                return self._linked(table, of, name, kind, column, found)
        if kind in REACHES_SOMEBODY:
            return self._outside(of, name, kind, column)
        if kind == CODE:
            plan = self._code(of, name, kind, column)
            blind = plan.distinct and not isinstance(plan.model, _OWN) and not of.find and of.name != table.subject
            self.blind += [name] if blind else []
            return plan
        model = self._value(of, name, kind, column)
        return FieldPlan(name, of, kind, model, needs=(model.link,) if isinstance(model, LagModel) else ())

    def _linked(self, table: Table, of: Field, name: str, kind: str, column: pa.Array, found: Any) -> FieldPlan:
        inner: Any = None
        new = found.codes == 1
        if new.any():
            inner_name = f"{name}.new"
            if kind in REACHES_SOMEBODY and name not in self._policy.sources:
                # Whose number it is nobody knows: another canary's takes its place.
                found.codes[new] = 2
            elif kind in REACHES_SOMEBODY:
                inner = self._outside(of, name, kind, found.rest, inner_name).model
            else:
                inner = self._value(of, inner_name, kind, found.rest)
            if inner is not None:
                only_where(inner.nodes, name, 1, new)
        model = LinkModel(Node(name, found.codes), found.names, inner, column if found.styled else None)
        del table
        return FieldPlan(name, of, kind, model)

    def _value(self, of: Field, name: str, kind: str, column: pa.Array) -> Any:
        """A model of a field that identifies nobody."""
        who, policy = self._who, self._policy
        if name in policy.texts:
            return CategoryModel.learn(name, _dealt(policy.texts[name], column), np.arange(len(column)), 1)
        if column.null_count == len(column):
            return NullModel.learn(name, column)
        if kind == CATEGORY or of.type == "bool" or is_category(column, who):
            return CategoryModel.learn(name, column, who, self._least, policy.avoid.get(name, ()))
        if of.type in {"int", "float"}:
            return NumberModel.learn(name, column)
        if of.type in {"date", "timestamp"}:
            return self._date(of, name, column)
        if of.type == "binary":
            return BytesModel.learn(name, column)
        return self._text(of, name, kind, column)

    def _date(self, of: Field, name: str, column: pa.Array) -> Any:
        del of
        for other, before in self._columns.items():
            if before.type != column.type or other.partition(".")[0] != name.partition(".")[0]:
                continue
            lag = _lag(before, column)
            if lag is not None:
                return LagModel.learn(name, column, lag, other)
        return DateModel.learn(name, column)

    def _text(self, of: Field, name: str, kind: str, column: pa.Array) -> Any:
        marked, meaning = mark_mentions(column, self._known) if self._known else (column, {})
        model: Any = learn_text(
            name,
            marked,
            self._who,
            least=self._least,
            often=self._often,
            rare_parts=kind == NAME,
            link_of=lambda c: meaning.get(c, ""),
        )
        if model is None and kind == CODE:
            model = CharactersModel.learn(name, column)
        if model is not None:
            return model
        common = CategoryModel.learn(name, column, self._who, self._least)
        if common.node.donors is not None and common.node.donors.mean() >= 0.2:
            return common
        if not of.nullable:
            raise UsageError(
                f"{name}: no two texts of the sample have a form in common, so none can be made",
                hint="list texts for this field in the policy of canaries",
            )
        self.unmade.append(name)
        return NullModel.learn(name, column)

    def _code(self, of: Field, name: str, kind: str, column: pa.Array) -> FieldPlan:
        """A number that only the room gives out; or of those that the operator holds back, the nearest to that."""
        source = self._policy.sources.get(name)
        if source is not None and source.kind == NULL:
            return FieldPlan(name, of, kind, NullModel.learn(name, column))
        if source is not None and source.kind == VOID:
            raise UsageError(f"{name}: a {kind} has no numbers that cannot be issued; declare another source")
        model = NumberModel.learn(name, column) if of.type == "int" else self._text(of, name, kind, column)
        plan = self._identifier(of, name, kind, column, model)
        if source is None or source.values is None:
            return plan
        held: Any = PoolModel.learn(name, column, source.values)
        if isinstance(model, _NUMBERED):
            held = HeldModel.learn(model, column, source.values, self._dates(name))
        return replace(plan, model=held, distinct=True, checks=Checks({}), serials=None)

    def _identifier(self, of: Field, name: str, kind: str, column: pa.Array, model: Any) -> FieldPlan:
        values = column.drop_null()
        alone = len(encode(values)[1]) / len(values) if len(values) else 1.0
        distinct = alone >= _UNIQUE_SHARE or self._person
        checks = learn_checks(values) if of.type == "string" else Checks({})
        shared = 1 - alone if self._person and len(values) else 0.0
        plan = FieldPlan(name, of, kind, model, distinct, shared, checks, values.unique())
        if not distinct or not isinstance(model, _NUMBERED):
            return plan
        dates = self._dates(name)
        model.run(dates, self._sampled)
        serials = Serials.learn(model, column, dates) if isinstance(model, TextModel) else None
        return replace(plan, needs=model.dates, serials=serials)

    def _dates(self, name: str) -> dict[str, pa.Array]:
        """Dates and moments of the records that have a field."""
        here = f"{name.partition('.')[0]}."
        return {n: c for n, c in self._columns.items() if pa.types.is_temporal(c.type) and n.startswith(here)}

    def _outside(self, of: Field, name: str, kind: str, column: pa.Array, node: str | None = None) -> FieldPlan:
        """An identifier that reaches somebody in the world."""
        source = self._policy.sources.get(name)
        if source is None and column.null_count < len(column):
            raise UsageError(
                f"{name}: a canary's {kind} must reach nobody, or the operator, and no source of such is declared",
                hint="declare a source: own (identifiers the operator holds), complete, null"
                + (", void" if kind == RESIDENT else ""),
            )
        node = node or name
        if source is None or source.kind == NULL:
            return FieldPlan(name, of, kind, NullModel.learn(node, column))
        if source.kind == OWN:
            assert source.values is not None
            return FieldPlan(name, of, kind, PoolModel.learn(node, column, source.values),
                             distinct=True, shared=self._shared(column), taken=column.drop_null().unique())  # fmt: skip
        if kind == RESIDENT:
            births = {n: c for n, c in self._columns.items() if pa.types.is_date(c.type)}
            model = ResidentModel.learn(node, column, births, void=source.kind == VOID)
            plan = self._identifier(of, name, kind, column, model)
            return replace(plan, checks=Checks({}), needs=(model.born,) if model.born else ())
        if source.kind != COMPLETE or kind not in {*REACHES_SOMEBODY, OUTSIDE}:
            raise UsageError(f"{name}: a {kind} has no numbers that cannot be issued; declare another source")
        return self._identifier(of, name, kind, column, self._text(of, node, CODE, column))

    def _shared(self, column: pa.Array) -> float:
        values = column.drop_null()
        return 1 - len(encode(values)[1]) / len(values) if self._person and len(values) else 0.0


def _without_subject(table: Table) -> Table:
    return replace(table, subject="")


def _lag(before: pa.Array, column: pa.Array) -> Ints | None:
    """Ticks from one date to another per row, if the other never comes first and lies closer to it than chance."""
    both = pc.and_(before.is_valid(), column.is_valid()).to_numpy(zero_copy_only=False)
    if both.sum() < 50:
        return None
    kind = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
    first, second = (c.cast(kind).fill_null(0).to_numpy(zero_copy_only=False) for c in (before, column))
    lag: Ints = second.astype(np.int64) - first.astype(np.int64)
    if (lag[both] < 0).mean() > 1 - _ALWAYS:
        return None
    if (column.is_valid().to_numpy(zero_copy_only=False) & ~before.is_valid().to_numpy(zero_copy_only=False)).any():
        return None
    if np.ptp(np.quantile(lag[both], (0.1, 0.9))) > _TIGHTER * np.ptp(np.quantile(second[both], (0.1, 0.9))):
        return None
    return lag


def _dealt(texts: pa.Array, column: pa.Array) -> pa.Array:
    """A column of declared texts with the nulls of another; each stands in many rows."""
    dealt = texts.take(pa.array(np.arange(len(column)) % len(texts)))
    return pc.if_else(column.is_valid(), dealt, pa.scalar(None, dealt.type))
