"""Put a refusal into words: which rule refused, in one sentence that names no value.

Cedar has decided before anything here is called; nothing here can allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.purpose.exports import NAMED, STATUTORY, VERB
from strongroom.purpose.model import ACTS, Policy, Purpose

if TYPE_CHECKING:
    from strongroom.schema.model import Schema

_ROOM_REASONS = {
    "room.sensitive-field": "a sensitive field never selects persons",
    "room.sensitive-table": "nothing starts from sensitive table {table}; name subjects, to get or to export",
    "room.find-needs-index": "find looks only in fields that the schema declares with find",
    "room.sql-open-fields": "sql reads only open fields, and field {field} is sealed",
    "room.export-filter": "an export is filtered by open fields, and field {field} is sealed",
    "room.aggregate-names": "nothing is added up by a field that says who somebody is",
}


def explain_read(
    policy: Policy,
    schema: Schema,
    actor: str,
    purpose: str,
    verb: str,
    table: str,
    fields: Sequence[str],
    where: Sequence[str],
    reasons: Sequence[str],
) -> tuple[str, str]:
    """The rule that refused a read, and why."""
    known = schema.tables.get(table)
    if actor not in policy.actors:
        return "actors", f"{actor} is no actor of this room"
    rule = policy.purposes.get(purpose)
    if rule is None:
        return "purposes", f"there is no purpose {purpose}"
    if known is None:
        return "schema.tables", f"there is no table {table}"
    sealed = [field.name for field in known.fields if field.klass != "open" and field.name in {*fields, *where}]
    order = {reason: place for place, reason in enumerate(_ROOM_REASONS, 1)}
    forbidden = sorted(reasons, key=lambda reason: (order.get(reason, 0), reason))
    for reason in forbidden:
        if reason.startswith(f"purposes.{purpose}.deny."):
            return f"purposes.{purpose}.deny", f"purpose {purpose} denies {actor}"
        if reason in _ROOM_REASONS:
            return reason, _ROOM_REASONS[reason].format(table=table, field=", ".join(sealed))
        return reason, f"rule {reason} forbids it"
    return _without_permit(rule, policy, actor, verb, table, schema, (*fields, *where))


def _without_permit(
    rule: Purpose, policy: Policy, actor: str, verb: str, table: str, schema: Schema, asked: Sequence[str]
) -> tuple[str, str]:
    """No rule forbade and none permitted: name the first thing that was missing."""
    place = f"purposes.{rule.name}"
    if not set(rule.roles) & set(policy.actors[actor].roles):
        return (
            f"{place}.roles",
            f"purpose {rule.name} is for {', '.join(rule.roles)}, and {actor} is none of them",
        )
    if verb == "rows" and "sql" in rule.verbs:
        return f"{place}.sql.rows", f"purpose {rule.name} allows sql over groups, not rows"
    if verb == "aggregate" and "sql" in rule.verbs:
        return _not_added_up(rule, schema, table, asked)
    if verb == STATUTORY and rule.export is not None and rule.export.statutory is None:
        return f"{place}.export.statutory", f"purpose {rule.name} names no law for all of table {table}"
    verb = VERB if verb in {NAMED, STATUTORY} else verb
    if verb not in rule.verbs:
        return f"{place}.verbs", f"purpose {rule.name} does not allow {verb}"
    if table not in rule.tables:
        return f"{place}.tables", f"purpose {rule.name} does not reach table {table}"
    views = rule.tables[table].views(schema.tables[table])
    for name in asked:
        if name not in views:
            return "schema.fields", f"table {table} has no field {name}"
        if views[name].show == "withheld":
            return f"{place}.tables.{table}", f"purpose {rule.name} withholds field {name} of table {table}"
    return f"{place}.tables.{table}", f"purpose {rule.name} shows nothing of table {table}"


def _not_added_up(rule: Purpose, schema: Schema, table: str, asked: Sequence[str]) -> tuple[str, str]:
    place, sealed = f"purposes.{rule.name}", rule.sealed.get(table)
    if sealed is None:
        return f"{place}.sealed", f"purpose {rule.name} adds up no sealed field of table {table}"
    own = {field.name for field in schema.tables[table].fields if field.klass != "open"}
    for name in asked:
        if name in own and name not in sealed.fields:
            return f"{place}.sealed.{table}", f"purpose {rule.name} does not add up field {name} of table {table}"
    return f"{place}.tables.{table}", f"purpose {rule.name} does not show all these fields of table {table}"


def explain_act(policy: Policy, actor: str, verb: str, table: str | None, reasons: Sequence[str]) -> tuple[str, str]:
    """The rule that refused an act without a purpose, and why."""
    if actor not in policy.actors:
        return "actors", f"{actor} is no actor of this room"
    if reasons:
        return reasons[0], f"rule {reasons[0]} forbids it"
    if verb not in ACTS:
        return "roles", f"{verb} is no act that a role may do"
    roles = ", ".join(policy.actors[actor].roles)
    if verb == "put" and any(policy.roles[role].put is not None for role in policy.actors[actor].roles):
        return "roles.put", f"no role of {actor} ({roles}) puts into table {table}"
    return "roles.may", f"no role of {actor} ({roles}) may {verb}"
