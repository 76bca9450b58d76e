"""Decide requests with Cedar: policies generated from the policy, always against a schema, deny by default.

Rules it keeps:

1. A request is allowed only if Cedar says Allow and reports no error: Cedar skips a `forbid` that fails, we
   do not.
2. The Cedar schema is given with every decision, and policies are validated against it before the first.
3. Permits say everything a request needs, so that a missing rule refuses; forbids win over every permit.
4. Each rule's id is the place in `policy.toml` it comes from, or "room.…" for what no policy can allow.

Decisions depend on nothing but policy, schema and request, so one `Decider` remembers them for one policy
version. Budgets are left to `budget`; what may never be allowed is in `_ROOM_RULES`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strongroom.errors import PolicyError
from strongroom.purpose.exports import NAMED, STATUTORY, export_verbs
from strongroom.purpose.freeze import NOTHING, Freezes
from strongroom.purpose.model import ACTS, TWO_PERSONS, FieldView, Policy, Purpose
from strongroom.purpose.refusal import explain_act, explain_read
from strongroom.purpose.sealed import names_a_person

if TYPE_CHECKING:
    from strongroom.schema.model import Schema, Table

READS = (
    "get", "find", "sql", "rows", "aggregate", "export", NAMED, STATUTORY, "tokenize", "detokenize", "rejects", "log",
    *TWO_PERSONS,
)  # fmt: skip
DECISIONS_REMEMBERED_MAX = 4096
REFUSED_KEY_MAX = 4096
"""Characters of a question whose refusal is remembered: names that nobody has can be as long as a call may be."""
PARSED_KEPT = 8
_SPACE = "Strongroom"

_Answer = tuple[bool, tuple[str, ...], bool]
"""Allowed, the ids of the rules that decided, and whether a rule failed."""
_NO_ANSWER: _Answer = (False, (), False)

_EXPORTS = ", ".join(f'"read {verb}"' for verb in ("export", NAMED, STATUTORY, "tokenize", "detokenize", *TWO_PERSONS))
_ROOM_ACTS = ", ".join(f'"act {act}"' for act in ACTS if act != "put")
_CEDAR_SCHEMA = f"""namespace Strongroom {{
  entity Room;
  entity Role;
  entity Actor in [Role];
  entity Table = {{ class: String, sensitive: Set<String>, sealed: Set<String>, indexed: Set<String>,
    naming: Set<String> }};
  type Read = {{ purpose: String, fields: Set<String>, where: Set<String> }};
  action "read get", "read find", "read sql", "read rows", "read aggregate", "read rejects", "read log", {_EXPORTS}
    appliesTo {{ principal: [Actor], resource: [Table], context: Read }};
  action "act put" appliesTo {{ principal: [Actor], resource: [Table] }};
  action {_ROOM_ACTS}
    appliesTo {{ principal: [Actor], resource: [Room] }};
}}
"""

_ROOM_RULES = """
@id("room.sensitive-table")
forbid(principal, action in [Strongroom::Action::"read find", Strongroom::Action::"read rows",
  Strongroom::Action::"read export"], resource)
when { resource.class == "sensitive" };
@id("room.sensitive-field")
forbid(principal, action, resource is Strongroom::Table)
when { context has where && resource.sensitive.containsAny(context.where) };
@id("room.find-needs-index")
forbid(principal, action == Strongroom::Action::"read find", resource)
unless { resource.indexed.containsAll(context.where) };
@id("room.sql-open-fields")
forbid(principal, action in [Strongroom::Action::"read sql", Strongroom::Action::"read rows"], resource)
when { resource.sealed.containsAny(context.fields) || resource.sealed.containsAny(context.where) };
@id("room.export-filter")
forbid(principal, action in [Strongroom::Action::"read export", Strongroom::Action::"read export-named",
  Strongroom::Action::"read export-statutory"], resource)
when { resource.sealed.containsAny(context.where) };
@id("room.aggregate-names")
forbid(principal, action == Strongroom::Action::"read aggregate", resource)
when { resource.naming.containsAny(context.fields) };
"""


@dataclass(frozen=True)
class Decision:
    """Whether a request may go on, by which rule.

    Args:
        allowed: The answer.
        rule: The rule's id, a place in `policy.toml` or a "room.…" rule.
        reason: One sentence, without values.
        views: How each field of the table shows, where a read is allowed; empty otherwise.
    """

    allowed: bool
    rule: str
    reason: str
    views: Mapping[str, FieldView] = field(default_factory=dict)


class Decider:
    """Decides under one version of policy and schema; parses both on the first decision.

    Args:
        policy: The policy in force.
        schema: The schema in force.
        further_rules: More Cedar text in the same namespace, validated with the generated rules.
        freezes: What is frozen, whatever the rules say.
    """

    def __init__(
        self, policy: Policy, schema: Schema, further_rules: str = "", freezes: Freezes = NOTHING
    ) -> None:
        self._freezes = freezes
        self._policy = policy
        self._schema = schema
        self._further_rules = further_rules
        self._handles: tuple[Any, Any, Any] | None = None
        self._remembered: dict[tuple[object, ...], Decision] = {}

    def text(self) -> str:
        """The Cedar policies this decider uses."""
        return cedar_text(self._policy, self._schema) + self._further_rules

    def validate(self) -> None:
        """Parse and validate now instead of at the first decision.

        Raises:
            PolicyError: Cedar's validator refuses a rule.
        """
        self._parsed()

    def decide_read(
        self,
        actor: str,
        purpose: str,
        verb: str,
        table: str,
        fields: Sequence[str] | None = None,
        where: Sequence[str] = (),
    ) -> Decision:
        """Decide a read under a purpose.

        Args:
            actor: Who asks.
            purpose: Under which purpose.
            verb: get, find, sql (aggregates of open fields), rows (SQL rows), aggregate (of sealed fields too),
                export, export-named, export-statutory (`exports.decided_as`), tokenize, detokenize, rejects, log,
                plant, trace or ask-canary.
            table: Table name.
            fields: Fields asked for by name; None means all that the purpose shows.
            where: Fields whose values select records.
        """
        asked = None if fields is None else tuple(sorted(set(fields)))
        selected = tuple(sorted(set(where)))
        key = ("read", actor, purpose, verb, table, asked, selected)
        known = self._remembered.get(key) or self.stopped(actor, purpose)
        return known or self._remember(key, self._read(actor, purpose, verb, table, asked, selected))

    def decide_act(self, actor: str, verb: str, table: str | None = None) -> Decision:
        """Decide an act without a purpose: put (into a table), or another of `ACTS` (in the room)."""
        key = ("act", actor, verb, table)
        known = self._remembered.get(key) or self.stopped(actor, act=verb)
        return known or self._remember(key, self._act(actor, verb, table))

    def stopped(self, actor: str, purpose: str | None = None, act: str | None = None) -> Decision | None:
        """The refusal of whoever or whatever is frozen; None where nothing is."""
        found = self._freezes.stops(actor, purpose, act)
        return None if found is None else Decision(False, *found)

    def _remember(self, key: tuple[object, ...], decision: Decision) -> Decision:
        if decision.allowed or len(str(key)) <= REFUSED_KEY_MAX:
            if len(self._remembered) >= DECISIONS_REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[key] = decision
        return decision

    def _read(
        self,
        actor: str,
        purpose: str,
        verb: str,
        table: str,
        asked: tuple[str, ...] | None,
        where: tuple[str, ...],
    ) -> Decision:
        rule = self._policy.purposes.get(purpose)
        known = self._schema.tables.get(table)
        views: dict[str, FieldView] = {}
        if rule is not None and known is not None and table in rule.tables:
            views = rule.tables[table].views(known)
        if asked is None:
            sealed = () if known is None or verb not in {"sql", "rows"} else _sealed(known.fields)
            wanted = tuple(view.name for view in views.values() if view.show != "withheld" and view.name not in sealed)
            if verb == "aggregate" and rule is not None and known is not None:
                wanted = _added_up(rule, known)
        else:
            wanted = asked
        allowed, reasons, failed = _NO_ANSWER
        if verb in READS and known is not None:
            context: dict[str, object] = {"purpose": purpose, "fields": list(wanted), "where": list(where)}
            allowed, reasons, failed = self._ask(actor, f"read {verb}", ("Table", table), context)
        if allowed:
            return Decision(True, reasons[0], _allowed_reason(rule), views)
        named = explain_read(self._policy, self._schema, actor, purpose, verb, table, wanted, where, reasons)
        return _refused(named, failed)

    def _act(self, actor: str, verb: str, table: str | None) -> Decision:
        allowed, reasons, failed = _NO_ANSWER
        if verb in ACTS and (verb != "put" or (table is not None and table in self._schema.tables)):
            resource = ("Table", str(table)) if verb == "put" else ("Room", "room")
            allowed, reasons, failed = self._ask(actor, f"act {verb}", resource, {})
        if allowed:
            return Decision(True, reasons[0], f"{actor} may {verb}")
        return _refused(explain_act(self._policy, actor, verb, table, reasons), failed)

    def _ask(self, actor: str, action: str, resource: tuple[str, str], context: dict[str, object]) -> _Answer:
        """Cedar's answer: allowed, the ids of the rules that decided, and whether a rule failed."""
        import cedarpy

        policies, entities, schema = self._parsed()
        request = {
            "principal": {"type": f"{_SPACE}::Actor", "id": actor},
            "action": {"type": f"{_SPACE}::Action", "id": action},
            "resource": {"type": f"{_SPACE}::{resource[0]}", "id": resource[1]},
            "context": context,
        }
        result = cedarpy.is_authorized(request, policies, entities, schema)
        failed = bool(result.diagnostics.errors) or result.decision == cedarpy.Decision.NoDecision
        reasons = tuple(sorted(result.diagnostics.reasons))
        allowed = result.decision == cedarpy.Decision.Allow and not failed and bool(reasons)
        return allowed, reasons, failed

    def _parsed(self) -> tuple[Any, Any, Any]:
        if self._handles is None:
            self._handles = _read(self.text(), json.dumps(_entities(self._policy, self._schema)))
        return self._handles


@lru_cache(maxsize=PARSED_KEPT)
def _read(text: str, entities: str) -> tuple[Any, Any, Any]:
    """Policies, entities and schema as Cedar has them: deciders of the same rules, as after a freeze, share them."""
    import cedarpy

    try:
        result = cedarpy.validate_policies(text, _CEDAR_SCHEMA)
        if not result.validation_passed:
            raise PolicyError(f"cedar refuses the rules generated from the policy: {_first_id(result)}")
        schema = cedarpy.Schema.from_str(_CEDAR_SCHEMA)
        known = cedarpy.Entities.from_json_str(entities, schema)
        policies = cedarpy.PolicySet.from_json_str(_with_ids(cedarpy.policies_to_json_str(text)))
    except ValueError:
        raise PolicyError("cedar cannot read the rules generated from the policy") from None
    return policies, known, schema


def cedar_text(policy: Policy, schema: Schema) -> str:
    """The Cedar text of a policy: the room's rules, a permit per purpose and table, permits per role."""
    parts = [_ROOM_RULES]
    for purpose in policy.purposes.values():
        parts.extend(_purpose_rules(purpose, schema))
    for role in policy.roles.values():
        own = _uid("Role", role.name)
        acts = [act for act in role.may if act != "put"]
        if acts:
            parts.append(
                f"@id({_quote(f'roles.{role.name}.may')})\n"
                f"permit(principal in {own}, action in [{_actions('act', acts)}], resource);\n"
            )
        if role.put is not None:
            tables = ", ".join(_uid("Table", table) for table in role.put.tables)
            parts.append(
                f"@id({_quote(f'roles.{role.name}.put')})\n"
                f"permit(principal in {own}, action == {_uid('Action', 'act put')}, resource)\n"
                f"when {{ [{tables}].contains(resource) }};\n"
            )
    return "".join(parts)


def _purpose_rules(purpose: Purpose, schema: Schema) -> Iterable[str]:
    place = f"purposes.{purpose.name}"
    own = f"context.purpose == {_quote(purpose.name)}"
    verbs = list(purpose.verbs)
    if purpose.sql is not None and purpose.sql.rows:
        verbs.append("rows")
    verbs += export_verbs(purpose)
    allowed = _actions("read", verbs)
    roles = ", ".join(_uid("Role", role) for role in purpose.roles)
    for actor in purpose.deny:
        yield (
            f"@id({_quote(f'{place}.deny.{actor}')})\n"
            f"forbid(principal == {_uid('Actor', actor)}, action in [{_actions('read', READS)}], resource)\n"
            f"when {{ {own} }};\n"
        )
    for name, views in purpose.views(schema).items():
        shown = ", ".join(_quote(view.name) for view in views.values() if view.show != "withheld")
        # an empty Cedar set has no type, so a table that shows nothing permits nothing
        if shown:
            yield (
                f"@id({_quote(f'{place}.tables.{name}')})\n"
                f"permit(principal, action in [{allowed}], resource == {_uid('Table', name)})\n"
                f"when {{ {own} && principal in [{roles}]\n"
                f"  && [{shown}].containsAll(context.fields) && [{shown}].containsAll(context.where) }};\n"
            )
        fields = ", ".join(map(_quote, _added_up(purpose, schema.tables[name])))
        if fields:
            yield (
                f"@id({_quote(f'{place}.sealed.{name}')})\n"
                f"permit(principal, action == {_uid('Action', 'read aggregate')}, resource == {_uid('Table', name)})\n"
                f"when {{ {own} && principal in [{roles}] && [{fields}].containsAll(context.fields) }};\n"
            )


def _entities(policy: Policy, schema: Schema) -> list[dict[str, object]]:
    def entity(kind: str, name: str, attrs: dict[str, object], parents: Iterable[str] = ()) -> dict[str, object]:
        return {
            "uid": {"type": f"{_SPACE}::{kind}", "id": name},
            "attrs": attrs,
            "parents": [{"type": f"{_SPACE}::Role", "id": parent} for parent in parents],
        }

    found = [entity("Room", "room", {})]
    found.extend(entity("Role", name, {}) for name in policy.roles)
    found.extend(entity("Actor", actor.name, {}, actor.roles) for actor in policy.actors.values())
    for table in schema.tables.values():
        sensitive = [f.name for f in table.fields if f.klass in schema.classes and schema.classes[f.klass].sensitive]
        attrs: dict[str, object] = {
            "class": table.klass,
            "sensitive": sensitive,
            "sealed": list(_sealed(table.fields)),
            "indexed": [f.name for f in table.fields if f.find],
            "naming": [f.name for f in table.fields if f.klass != "open" and names_a_person(f, table)],
        }
        found.append(entity("Table", table.name, attrs))
    return found


def _added_up(purpose: Purpose, table: Table) -> tuple[str, ...]:
    """The fields that an aggregate over sealed fields may use: those declared, and the open ones that are shown."""
    rule, own = purpose.sealed.get(table.name), purpose.tables.get(table.name)
    if rule is None:
        return ()
    views = {} if own is None else own.views(table)
    shown = [view.name for view in views.values() if view.klass == "open" and view.show != "withheld"]
    return (*shown, *(name for name in rule.fields if table.has_field(name)))


def _sealed(fields: Iterable[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields if f.klass != "open")


def _with_ids(policies_json: str) -> str:
    """Rename Cedar's policy0, policy1, … to the ids of their annotations.

    Raises:
        PolicyError: A rule has no id, or two have the same.
    """
    static = json.loads(policies_json)["staticPolicies"]
    named = {rule.get("annotations", {}).get("id"): rule for rule in static.values()}
    if len(named) != len(static) or not all(named):
        raise PolicyError("every cedar rule needs an @id of its own")
    return json.dumps({"staticPolicies": named, "templates": {}, "templateLinks": []})


def _first_id(result: Any) -> str:
    for error in result.errors:
        if error.policy_id:
            return str(result.id_annotations_by_policy_id.get(error.policy_id, error.policy_id))
    return "it does not parse"


def _quote(text: str) -> str:
    r"""A Cedar string: everything but plain ASCII words is written as \u{…}."""
    safe = "_.@+- "
    return '"' + "".join(c if (c.isascii() and c.isalnum()) or c in safe else f"\\u{{{ord(c):x}}}" for c in text) + '"'


def _uid(kind: str, name: str) -> str:
    return f"{_SPACE}::{kind}::{_quote(name)}"


def _actions(group: str, verbs: Iterable[str]) -> str:
    return ", ".join(_uid("Action", f"{group} {verb}") for verb in verbs)


def _allowed_reason(rule: Purpose | None) -> str:
    return f"purpose {rule.name}, {rule.legal_basis}" if rule else ""


def _refused(named: tuple[str, str], failed: bool) -> Decision:
    if failed:
        return Decision(False, "room.rule-failed", "a rule could not be evaluated, and that refuses")
    return Decision(False, named[0], named[1])
