"""What a trace found as facts for a report: counts and names only, which can be archived."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from strongroom.keymaster.exports.api import ExportRecord
from strongroom.schema.model import OPEN
from strongroom.trace.ours import ERROR
from strongroom.trace.report import facts, filling
from strongroom.trace.tracing.versions import SECOND

if TYPE_CHECKING:
    from strongroom.keymaster.tracing.api import Excluded
    from strongroom.schema.model import Field, Table
    from strongroom.trace.exporting.request import ExportReport
    from strongroom.trace.report.facts import TraceFacts
    from strongroom.trace.tracing.traced import NamedByTokens, Traced

Rank = Literal["open", "personal", "sensitive"]
NOT_IN_IT = "the person is not in it"


def facts_of(traced: Traced, room: str = "", listed: facts.Notification | None = None) -> TraceFacts:
    """The facts of a trace.

    Args:
        traced: What was found.
        room: What the operator calls the room; its id without.
        listed: The list of whom to notify, as `list_made` or `list_waits` give it; None where none was asked for.
    """
    description, weighed = traced.description, traced.weighed
    name = ", ".join(PurePath(one.source).name for one in description.accounts[:3])
    return facts.TraceFacts(
        room=room or traced.room_id,
        room_id=traced.room_id,
        at=traced.at,
        sample=filling.sample(name, description, repeated=traced.repeated),
        actor=traced.actor,
        purpose=traced.purpose,
        entry=weighed.leaf,
        snapshot=traced.snapshot,
        ours=filling.ours(traced.ours, error=ERROR),
        weighing=_weighing(traced),
        accused=_accused(traced),
        excluded=_excluded(traced),
        dating=_dating(traced),
        affected=_affected(traced, listed or facts.Notification()),
        limits=tuple(facts.Limit(what=what, why=why) for what, why in limits_of(traced)),
    )


def list_made(report: ExportReport, record: ExportRecord | None, approval: str | None = None) -> facts.Notification:
    """A list of whom to notify that was made, with when it was where the ledger's record of it is at hand."""
    at, agreed = (None, approval or "") if record is None else (record.at, record.approval or "")
    return facts.Notification(state="made", approval=agreed, entry=report.leaf, persons=report.persons, at=at)


def list_waits(approval: str) -> facts.Notification:
    """A list of whom to notify that waits for another person's agreement."""
    return facts.Notification(state="waiting", approval=approval)


def export_of(record: ExportRecord) -> facts.Export:
    """An export as the ledger has it."""
    entries = [record.leaf, *([record.ended_leaf] if record.ended_leaf >= 0 else [])]
    return facts.Export(
        id=record.id, recipient=record.recipient, purpose=record.purpose,
        approvers=(record.approver,) if record.approver else (), actor=record.actor, at=record.at,
        persons=record.persons, records=record.records, tables=record.tables, entries=tuple(entries),
        commitment=record.commitment,
    )  # fmt: skip


def _weighing(traced: Traced) -> facts.Weighing | None:
    weighed = traced.weighed
    if weighed.verdict is None:
        return None
    return filling.weighing(weighed.verdict, weighed.others, finds_digest=weighed.digest, finds_entry=weighed.leaf)


def by_tokens(one: NamedByTokens) -> facts.ByTokens:
    """What tokens say of an export."""
    chance = max(0.0, min(1.0, one.origin.chance))
    return facts.ByTokens(rows=one.rows, log_e=one.origin.log_e, chance=chance, field=f"{one.table}.{one.name}")


def _accused(traced: Traced) -> tuple[facts.Accused, ...]:
    """Exports that canaries or tokens name, by canaries first."""
    tokens = {one.origin.export.id: one for one in traced.tokens}
    verdict, records = traced.weighed.verdict, {one.id: one for one in traced.weighed.accused}
    found = []
    for one in () if verdict is None else verdict.accused:
        ident = one.export.hex()
        named = tokens.pop(ident, None)
        found.append(
            facts.Accused(
                export=export_of(records[ident]),
                canaries=facts.ByCanaries(log_e=one.log_e, held=one.held, offered=one.offered),
                tokens=None if named is None else by_tokens(named),
            )
        )
    rest = sorted(tokens.values(), key=lambda one: -one.origin.log_e)
    return (*found, *(facts.Accused(export=export_of(one.origin.export), tokens=by_tokens(one)) for one in rest))


def _excluded(traced: Traced) -> tuple[facts.Excluded, ...]:
    return tuple(
        facts.Excluded(
            export=export_of(one.export),
            file=PurePath(place.file).name,
            row=place.row,
            why=_why(one, traced),
        )
        for one, place in traced.excluded
    )


def _why(one: Excluded, traced: Traced) -> str:
    """Why an export cannot be the only source; and fields of the sample that the ledger does not have of it."""
    told = NOT_IN_IT if not one.outside else f"{one.outside:,} persons are not in it, this one first"
    lacks = [
        f"{table}.{name}"
        for (table, name), count in zip(traced.names, traced.weighed.counts, strict=True)
        if count and name not in one.export.fields.get(table, ())
    ]
    return f"{told}; nor does it show {', '.join(lacks)}" if lacks else told


def _dating(traced: Traced) -> facts.Dating | None:
    dated = traced.dated
    if dated is None:
        return None
    return filling.dated(dated.dating, period=dated.period, second=SECOND, snapshots=dated.snapshots)


def rank(own: Field, table: Table, traced: Traced) -> Rank:
    """How sensitive a field is."""
    info = traced.schema.classes.get(own.klass)
    if table.klass == "sensitive" or own.klass == "sensitive" or (info is not None and info.sensitive):
        return "sensitive"
    return "open" if own.klass == OPEN else "personal"


def _affected(traced: Traced, listed: facts.Notification) -> facts.Affected:
    weighed = traced.weighed
    kinds, classes, tables = [], dict[str, tuple[int, Rank]](), dict[str, int]()
    for (table_name, name), persons in zip(traced.names, weighed.counts, strict=True):
        if not persons:
            continue
        table = traced.schema.tables[table_name]
        own = table.field(name)
        rated = rank(own, table, traced)
        kinds.append(facts.FieldCount(table=table_name, field=name, class_name=own.klass, persons=persons, rank=rated))
        before = classes.get(own.klass, (0, rated))
        worst = "sensitive" if before[1] == "sensitive" else rated
        classes[own.klass] = (max(before[0], persons), worst)
        tables[table_name] = max(tables.get(table_name, 0), persons)
    return facts.Affected(
        persons=weighed.persons,
        sure=weighed.sure,
        chance_at_most=chance_at_most(traced),
        in_exports=weighed.in_accused,
        tables=tuple(
            facts.TableCount(table=name, persons=count, sensitive=traced.schema.tables[name].klass == "sensitive")
            for name, count in tables.items()
        ),
        classes=tuple(facts.ClassCount(name=name, persons=n, rank=rated) for name, (n, rated) in classes.items()),
        kinds=tuple(kinds),
        list=listed,
    )


def chance_at_most(traced: Traced) -> float | None:
    """How many persons chance may have found, at most; None where nobody said how many values there are."""
    share = traced.ours.by_one
    if share.chance >= 1.0:
        return None
    mean = share.tested * share.chance
    return float(math.ceil(mean + 6.0 * math.sqrt(mean) + 20.0)) if mean > 1e-9 else 0.0


def limits_of(traced: Traced) -> list[tuple[str, str]]:
    """What was not possible, and why."""
    found = []
    hidden = ", ".join(f"{table}.{name}" for table, name in traced.hidden)
    if hidden:
        found.append((f"fields that the sample may have: {hidden}", f"purpose {traced.purpose} does not show them"))
    if not traced.description.searchable:
        found.append(("persons", "the sample has no column or text that can be looked for in the room"))
    if not traced.ours.columns and traced.description.searchable and traced.ours.by_one.tested:
        found.append(
            (
                "a bound against chance",
                "nobody has said how many different values there are of what the sample has",
            )
        )
    if traced.untried:
        found.append(("whose tokens some columns hold", traced.untried))
    if traced.uncounted:
        found.append((f"persons of {traced.uncounted:,} fields", f"{len(traced.names)} fields are counted at most"))
    crowded = sum(one.crowded for one in traced.tallies.values())
    if crowded:
        found.append((f"{crowded:,} values", "each is of too many persons to tell one from another"))
    if traced.weighed.verdict is None:
        found.append(("which copy", "no export was ever issued"))
    if traced.weighed.why_none and traced.weighed.verdict is not None:
        found.append(("exports that cannot be the only source", traced.weighed.why_none))
    if traced.dated is not None and traced.dated.left_out:
        why = "a budget, or what was agreed to, or one release held no more"
        compared = f"{traced.dated.persons:,} were compared: {why}"
        found.append((f"versions of {traced.dated.left_out:,} further persons", compared))
    if traced.undated:
        found.append(("of when the sample is", traced.undated))
    if any(one.unread for one in traced.description.accounts):
        found.append(("parts of the sample", "they could not be read, as listed by file"))
    return found
