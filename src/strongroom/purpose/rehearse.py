"""Rehearse a proposed policy on the past log: what was allowed, and would be refused.

It tells decisions: who, for which purpose, what of. Budgets are left out: entries count persons, and do not say which
of them were the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.purpose.cedar import Decider, Decision
from strongroom.purpose.model import ACTS, READ_VERBS, Policy
from strongroom.schema.model import OPEN

if TYPE_CHECKING:
    from strongroom.schema.model import Schema

ITSELF = "keymaster"
"""The actor of what the keymaster notes by itself, which no policy decides."""
DECIDED_AS = {"unhold": "hold"}
"""Acts of the log that another act's rule decides."""


@dataclass(frozen=True)
class WouldRefuse:
    """Requests of one kind that were allowed and would be refused: by which rule, how many, the first and the last."""

    actor: str
    act: str
    purpose: str
    table: str
    rule: str
    reason: str
    requests: int
    first: int
    last: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def rehearse(policy: Policy, schema: Schema, entries: Iterable[Mapping[str, Any]]) -> list[WouldRefuse]:
    """What a policy would refuse of what the log says was allowed, the most frequent first.

    Args:
        policy: The proposed one, which fits the schema.
        schema: The schema in force.
        entries: Log entries as dictionaries.
    """
    decider = Decider(policy, schema)
    found: dict[tuple[str, ...], list[int]] = {}
    for entry in entries:
        if entry["decision"] != "allowed" or entry["actor"] == ITSELF:
            continue
        decision = _decide(decider, schema, entry)
        if decision is None or decision.allowed:
            continue
        words = (str(entry["actor"]), str(entry["act"]), str(entry.get("purpose", "")), str(entry.get("table", "")))
        found.setdefault((*words, decision.rule, decision.reason), []).append(int(entry["leaf"]))
    made = [
        WouldRefuse(actor, act, purpose, table, rule, reason, len(leaves), leaves[0], leaves[-1])
        for (actor, act, purpose, table, rule, reason), leaves in found.items()
    ]
    return sorted(made, key=lambda one: (-one.requests, one.first))


def _sealed(schema: Schema, table: str, fields: Sequence[str]) -> bool:
    known = schema.tables.get(table)
    return known is not None and any(f.klass != OPEN and f.name in fields for f in known.fields)


def _export(decider: Decider, entry: Mapping[str, Any]) -> Decision:
    """The first refusal of an export's tables; its entry names fields of the first as they are, others by table."""
    extras, fields = entry.get("extras", {}), [str(name) for name in entry.get("fields") or ()]
    answers = []
    for at, table in enumerate(str(extras.get("tables", entry["table"])).split(",")):
        prefix = f"{table}."
        own = [n.removeprefix(prefix) for n in fields if (n.startswith(prefix) if at else "." not in n)]
        verb = str(extras.get("as", "export")).split(",")[at]
        answers.append(decider.decide_read(str(entry["actor"]), str(entry["purpose"]), verb, table, own or None))
    return next((answer for answer in answers if not answer.allowed), answers[0])


def _decide(decider: Decider, schema: Schema, entry: Mapping[str, Any]) -> Decision | None:
    """What would be decided of an entry now; None for one that no rule of the policy decides."""
    actor, act, table = str(entry["actor"]), str(entry["act"]), entry.get("table")
    if act in READ_VERBS and "purpose" in entry and table is not None:
        # an aggregate names its groups; other sql returned rows
        verb = "rows" if act == "sql" and "groups" not in entry.get("extras", {}) else act
        if act == "sql" and _sealed(schema, str(table), entry.get("fields") or ()):
            verb = "aggregate"
        if act == "export":
            return _export(decider, entry)
        return decider.decide_read(actor, str(entry["purpose"]), verb, str(table), entry.get("fields") or None)
    act = DECIDED_AS.get(act, act)
    if act not in ACTS or "purpose" in entry:
        return None
    return decider.decide_act(actor, act, None if table is None else str(table))
