"""How many canaries a room needs, in which tables, and what of its policy and schema stands in their way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, UsageError
from strongroom.evidence.code import sizes
from strongroom.trace.canary.policy import COMPLETE

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster
    from strongroom.purpose.policy import Policy
    from strongroom.schema.model import Schema, Table
    from strongroom.trace.canary.policy import CanaryPolicy


def tables_of(schema: Schema, policy: CanaryPolicy) -> list[Table]:
    """The tables that canaries have records in."""
    return [t for name, t in schema.tables.items() if t.klass != "sensitive" or name in policy.sensitive_tables]


def needed(persons: int, rules: Sequence[tuple[int, float]]) -> dict[int, int]:
    """How many canaries of each bias a room needs, so that all its exports can be told.

    A canary of several persons is one; that it is found when any of them is, makes it stronger than the sizes say.

    Args:
        persons: How many the room has.
        rules: Colluders and the smallest sample, of each purpose that exports.

    Raises:
        UsageError: The room has too few persons for any of the rules.
    """
    found: dict[int, int] = {}
    why = ""
    for colluders, sample in rules:
        size = sizes(persons, colluders=colluders, sample=sample)
        why = why or size.why_none or ""
        for bias, count in size.pools.items():
            found[bias] = max(found.get(bias, 0), count)
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


def without_approval(policy: Policy) -> list[str]:
    """Purposes that export with canaries and take no approvals: they make no small copy, and none of named subjects."""
    own = policy.purposes.values()
    return [p.name for p in own if p.export is not None and p.export.canaries is not None and p.approval is None]


def plain_in_exports(policy: Policy, schema: Schema, dense: Sequence[str]) -> dict[str, list[str]]:
    """By field, as "table.field": purposes that export it plain with canary persons, who are told by it."""
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


def canary_warnings(keymaster: Keymaster, actor: str, policy: str | None = None) -> list[str]:
    """See `Room.canary_warnings`."""
    from strongroom.purpose.policy import parse_policy

    dense = keymaster.canaries.dense(actor)
    if not dense:
        return []
    schema = keymaster.schema()
    rules = keymaster.policy() if policy is None else parse_policy(policy, schema)
    told = "exports plain what tells canaries from people: export it as a token"
    found = plain_in_exports(rules, schema, dense).items()
    return [f"purpose {purpose} {told} ({name})" for name, own in found for purpose in own]


def refuse_unput(policy: Policy, actor: str, tables: Sequence[Table]) -> None:
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


def refuse_unasked(schema: Schema, policy: CanaryPolicy) -> None:
    """A complete source says that what the room lacks is nobody's: so the room must be able to say what it lacks."""
    for name, source in policy.sources.items():
        table, _, of = name.partition(".")
        field_of = schema.table(table).field(of)
        if source.kind == COMPLETE and not field_of.find and of != schema.table(table).subject:
            raise UsageError(
                f"{name}: a complete source needs an index, by which the room is asked what it lacks",
                hint="give the field `find = true` in the schema, or declare another source",
            )


def refuse_blind(blind: Sequence[str]) -> None:
    """Before anybody is registered: a number drawn like the room's must be nobody's, and an index alone says so.

    Args:
        blind: Identifiers without one, as "table.field".
    """
    if blind:
        raise UsageError(
            f"{', '.join(blind)}: canaries would get somebody's numbers, as without an index nobody can be asked",
            hint='say in canaries.toml under sources where they come from: { own = "FILE" } lists numbers that are held'
            ' back for canaries, "null" gives them none; or leave a sensitive table out; a field of another table may'
            ' get `find = true`; if it is no identifier, say kinds.TABLE.FIELD = "text"',
        )
