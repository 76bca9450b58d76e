"""Say why an actor may or may not see something, by which rule, how it shows, and what can leave in a day.

Everything here asks the `Decider` that decides real requests, so an explanation cannot disagree with a
decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from strongroom.purpose.budget import Kind, Limit, OwnBudgets, credential_limits, limits, most_in_a_day
from strongroom.purpose.cedar import Decider, Decision
from strongroom.purpose.exports import dense_lines, export_lines
from strongroom.purpose.model import Budget, Policy, Purpose
from strongroom.purpose.sealed import sealed_lines

if TYPE_CHECKING:
    from strongroom.schema.model import Schema


_BUDGETS: Mapping[Kind, str] = {"persons": "budget", "exports": "export budget", "lookups": "look-ups"}


class Own(Protocol):
    """The credential that an actor signs with, as far as it limits what they see."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def budgets(self) -> OwnBudgets:
        """The most that it may spend by itself."""

    def allows(self, purpose: str) -> bool:
        """Whether it may be used under a purpose."""


@dataclass(frozen=True)
class Explanation:
    """Why, in lines.

    Args:
        allowed: Whether at least one of the purposes asked about shows what was asked about.
        rule: The rule that decided: of the first purpose that allows, else of the last that refused.
        lines: Text for people.
        most_per_day: The most distinct persons that can leave to this actor in a day under the purposes that
            allow it, counted in every scope; 0 where none allows.
    """

    allowed: bool
    rule: str
    lines: tuple[str, ...]
    most_per_day: int

    def to_dict(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "allowed": self.allowed,
            "rule": self.rule,
            "most_per_day": self.most_per_day,
            "lines": list(self.lines),
        }


def explain(
    policy: Policy,
    schema: Schema,
    actor: str,
    purpose: str | None,
    table: str,
    field: str | None = None,
    *,
    decider: Decider | None = None,
    own: Own | None = None,
    dense: Collection[str] = (),
) -> Explanation:
    """Explain what an actor may see.

    Args:
        policy: The policy in force.
        schema: The schema in force.
        actor: Whom it is about.
        purpose: One purpose; None for every purpose of the policy.
        table: Table name.
        field: Field name; None for the whole table.
        decider: The decider in use, so that it need not be made again.
        own: The credential that the actor signs with: what limits it besides the policy is explained too.
        dense: Fields, as "table.field", by which canary persons are told: said where an export shows them plain.
    """
    judge = decider or Decider(policy, schema)
    names = sorted(policy.purposes) if purpose is None else [purpose]
    lines: list[str] = []
    found: list[tuple[str, Decision]] = []
    refused = Decision(False, "purposes", "the policy has no purposes")
    for name in names:
        decision = _best(judge, policy, actor, name, table, field)
        if decision.allowed and own is not None and not own.allows(name):
            decision = Decision(False, "credential.purposes", "the credential is not for this purpose")
        if decision.allowed:
            found.append((name, decision))
            lines.extend(_allowed(policy, judge, actor, name, table, field, decision))
            lines.extend(dense_lines(policy.purposes[name], table, decision, dense))
        else:
            refused = decision
            lines.append(f"refused under {name}: {decision.reason} (rule {decision.rule})")
    lines.extend(_acts(judge, actor, table))
    if not found:
        return Explanation(False, refused.rule, tuple(lines), 0)
    most = _most(policy, [name for name, _ in found])
    if own is not None:
        lines.extend(_own_lines(own))
        mine = most_in_a_day(own.budgets.budget)
        most = most if mine is None else min(most, mine)
    lines.append(f"the most that can leave to {actor} in a day: {most} persons")
    return Explanation(True, found[0][1].rule, tuple(lines), most)


def _best(judge: Decider, policy: Policy, actor: str, purpose: str, table: str, field: str | None) -> Decision:
    """The answer for the first verb of the purpose that is allowed, or the refusal of the first."""
    fields = None if field is None else (field,)
    rule = policy.purposes.get(purpose)
    verbs = [verb for verb in rule.verbs if verb not in {"rejects", "log"}] if rule else []
    if rule is not None and table in rule.sealed:
        verbs.append("aggregate")
    answers = [judge.decide_read(actor, purpose, verb, table, fields) for verb in verbs or ["get"]]
    return next((answer for answer in answers if answer.allowed), answers[0])


def _allowed(
    policy: Policy, judge: Decider, actor: str, name: str, table: str, field: str | None, decision: Decision
) -> list[str]:
    rule = policy.purposes[name]
    lines = [f"allowed under {name}: {rule.legal_basis} (rule {decision.rule})"]
    lines.append(f"  verbs: {_verbs(judge, rule, actor, table)}")
    if rule.sensitive is not None:
        lines.append(f"  sensitive because: {rule.sensitive}")
    views = [view for view in decision.views.values() if field is None or view.name == field]
    for show in ("plain", "masked", "token", "withheld"):
        shown = [
            f"{view.name} ({view.klass}, {view.mask})" if view.mask else f"{view.name} ({view.klass})"
            for view in views
            if view.show == show
        ]
        if shown:
            lines.append(f"  {show}: {', '.join(shown)}")
    if rule.sql is not None:
        rows = "rows, each charged as a person" if rule.sql.rows else "no rows"
        lines.append(f"  sql: groups of at least {rule.sql.min_group} persons, {rows}")
    if rule.delay_days:
        lines.append(f"  whoever is read is told after {rule.delay_days} days")
    lines.extend(sealed_lines(rule, table, field))
    lines.extend(export_lines(rule))
    for kind, word in _BUDGETS.items():
        if (kind == "exports") <= (rule.export is not None) and (kind != "persons" or rule.verbs != ("export",)):
            lines.extend(f"  {word}: {_words(limit)}" for limit in limits(policy, actor, name, kind))
    return lines


def _verbs(judge: Decider, rule: Purpose, actor: str, table: str) -> str:
    words = []
    for verb in rule.verbs:
        answer = judge.decide_read(actor, rule.name, verb, table)
        words.append(verb if answer.allowed else f"not {verb} (rule {answer.rule})")
    return ", ".join(words)


def _acts(judge: Decider, actor: str, table: str) -> list[str]:
    answer = judge.decide_act(actor, "put", table)
    return [f"may put into {table} (rule {answer.rule})"] if answer.allowed else []


def _own_lines(own: Own) -> list[str]:
    kinds: tuple[tuple[Kind, str], ...] = (("persons", "budget"), ("lookups", "look-ups"), ("puts", "records put"))
    return [
        f"  {name} of this credential: {_words(limit)}"
        for kind, name in kinds
        for limit in credential_limits(own.id, own.budgets, kind)
    ]


def _words(limit: Limit) -> str:
    window = {"hour": "any hour", "day": "any 24 hours", "month": "any 30 days"}[limit.window]
    return f"{limit.limit} in {window} ({limit.scope})"


def _most(policy: Policy, purposes: list[str]) -> int:
    """The room's limit, or the sum over purposes of the smaller of actor's and purpose's if that is less.

    Persons of exports are counted apart where the room has a budget for exports.
    """
    read, exported = 0, 0
    for name in purposes:
        rule = policy.purposes[name]
        if rule.verbs != ("export",):
            read += _least(rule.budget, rule.total)
        if rule.export is not None:
            exported += _least(rule.export.budget, rule.total)
    room = most_in_a_day(policy.room)
    if policy.exports is None:
        return read + exported if room is None else min(read + exported, room)
    most = most_in_a_day(policy.exports)
    return (read if room is None else min(read, room)) + (exported if most is None else min(exported, most))


def _least(*budgets: Budget) -> int:
    return min(most for most in map(most_in_a_day, budgets) if most is not None)
