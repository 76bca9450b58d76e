"""The arithmetic of budgets: sliding windows in slots, distinct persons, what is left and when it comes back.

Rules it keeps:

1. A window never lets more through than its limit in any 60 minutes, 24 hours or 30 days: the slot that is
   under way counts besides the full ones, so what was spent comes back up to one slot late, never early.
2. A person counts once in a window, in the slot last seen; seen again, the person moves to the slot under
   way.
3. Time never goes below the last logged time: the caller sees to it at every reading of the clock
   (`keymaster.log.journal.Journal.now`).

Pure functions. The caller (`keymaster.ledger`) keeps, per scope, when each person was last seen, and per window the
count of each slot, and writes both in the transaction that notes the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from strongroom.errors import BudgetError
from strongroom.purpose.model import WINDOWS, Budget, Policy, Purpose

Kind = Literal["persons", "exports", "lookups", "puts"]

HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS
MONTH_SECONDS = 30 * DAY_SECONDS
SLOT_SECONDS: Mapping[str, int] = {"hour": 300, "day": HOUR_SECONDS, "month": DAY_SECONDS}
WINDOW_SECONDS: Mapping[str, int] = {"hour": HOUR_SECONDS, "day": DAY_SECONDS, "month": MONTH_SECONDS}
UNAPPROVED = "unapproved"
UNLIMITED = Budget()


@dataclass(frozen=True)
class Limit:
    """One scope's limit in one window.

    Args:
        scope: Kind, then who and what, as "persons/actor/ada/purpose/delivery"; a key for the caller's rows.
        window: hour, day or month.
        slot_seconds: Length of a slot.
        slots: How many slots count: the one under way and the full ones before it.
        limit: The most in the window.
    """

    scope: str
    window: str
    slot_seconds: int
    slots: int
    limit: int

    @cached_property
    def rule(self) -> str:
        """The name that a refusal carries and `explain` prints."""
        return f"{self.scope}/{self.window}"

    def slot(self, now: float) -> int:
        """The slot under way at a time in seconds since 1970."""
        return int(now // self.slot_seconds)

    def first_slot(self, now: float) -> int:
        """The oldest slot that still counts; anything older may be forgotten."""
        return self.slot(now) - self.slots + 1


def limits(policy: Policy, actor: str, purpose: str | None, kind: Kind) -> tuple[Limit, ...]:
    """Every limit that a request is counted against, narrowest scope first.

    Args:
        policy: The policy in force.
        actor: Who asks.
        purpose: Under which purpose; None for puts.
        kind: persons (distinct), exports (distinct persons of exports), lookups (values asked for) or puts (records).
    """
    if kind == "puts":
        return _limits(f"puts/actor/{actor}", _put_budget(policy, actor))
    rule = policy.purposes.get(purpose or "")
    if rule is None:
        return ()
    own = f"{kind}/actor/{actor}/purpose/{rule.name}"
    if kind == "lookups":
        return _limits(own, rule.lookups)
    if kind == "exports":
        # a budget of their own for the room where it has one, else they count as whatever is read
        own_room = policy.exports is not None
        room = _limits("exports/room" if own_room else "persons/room", policy.exports or policy.room)
        budget = Budget(0, 0, 0) if rule.export is None else rule.export.budget
        return (*_limits(own, budget), *_limits(f"persons/purpose/{rule.name}", rule.total), *room)
    return (
        *_limits(own, rule.budget),
        *_limits(f"persons/purpose/{rule.name}", rule.total),
        *_limits("persons/room", policy.room),
    )


def approved_limit(ident: str, persons: int) -> Limit:
    """The most that one agreement lets through: a scope of its own, over 30 days, which it never outlives."""
    (limit,) = _limits(f"persons/approval/{ident}", Budget(month=persons))
    return limit


@dataclass(frozen=True)
class OwnBudgets:
    """The most that one credential may spend, whatever the policy gives its actor; in the policy's words.

    Args:
        budget: Distinct persons.
        lookups: Values looked up.
        put: Records.
    """

    budget: Budget = UNLIMITED
    lookups: Budget = UNLIMITED
    put: Budget = UNLIMITED


NO_OWN = OwnBudgets()


@lru_cache(1024)
def credential_limits(ident: str, own: OwnBudgets, kind: Kind) -> tuple[Limit, ...]:
    """The limits of one credential: a scope of its own, under all purposes together."""
    budgets = {"persons": own.budget, "exports": own.budget, "lookups": own.lookups, "puts": own.put}
    scope = "persons" if kind == "exports" else kind
    return _limits(f"{scope}/credential/{ident}", budgets[kind])


def unapproved_limits(purpose: Purpose, actor: str) -> tuple[Limit, ...]:
    """The most in an hour that needs nobody's agreement."""
    rule = purpose.approval
    if rule is None or rule.over is None:
        return ()
    return _limits(f"{UNAPPROVED}/actor/{actor}/purpose/{purpose.name}", Budget(hour=rule.over))


def _limits(scope: str, budget: Budget) -> tuple[Limit, ...]:
    found = []
    for window in WINDOWS:
        limit = budget.window(window)
        if limit is not None:
            found.append(window_limit(scope, window, limit))
    return tuple(found)


def window_limit(scope: str, window: str, most: int) -> Limit:
    """A limit of one scope in the window of this name: hour, day or month."""
    seconds = SLOT_SECONDS[window]
    return Limit(scope, window, seconds, WINDOW_SECONDS[window] // seconds + 1, most)


def _put_budget(policy: Policy, actor: str) -> Budget:
    """The widest put budget of the actor's roles, window by window; nothing for one who may not put."""
    known = policy.actors.get(actor)
    rules = [policy.roles[role].put for role in known.roles] if known else []
    budgets = [rule.budget for rule in rules if rule is not None]
    if not budgets:
        return Budget(0, 0, 0)
    widest = budgets[0]
    for budget in budgets[1:]:
        widest = widest.widest(budget)
    return widest


def spent(limit: Limit, now: float, counts: Mapping[int, int]) -> int:
    """What the window holds now, from the count of each slot."""
    first = limit.first_slot(now)
    return sum([count for slot, count in counts.items() if slot >= first])


def remaining(limit: Limit, now: float, counts: Mapping[int, int]) -> int:
    """What the window still lets through now; never below 0."""
    return max(0, limit.limit - spent(limit, now, counts))


def resets_at(limit: Limit, now: float, counts: Mapping[int, int], wanted: int = 1) -> int | None:
    """When `wanted` more will fit, in seconds since 1970; None if they never fit in this limit.

    Assumes that nothing else is spent until then.
    """
    if wanted > limit.limit:
        return None
    first = limit.first_slot(now)
    held = sum(count for slot, count in counts.items() if slot >= first)
    if held + wanted <= limit.limit:
        return int(now)
    for slot in sorted(slot for slot in counts if slot >= first):
        held -= counts[slot]
        if held + wanted <= limit.limit:
            return (slot + limit.slots) * limit.slot_seconds
    return None


def check_fits(limit: Limit, now: float, counts: Mapping[int, int], wanted: int) -> None:
    """Refuse what does not fit.

    Raises:
        BudgetError: With what is left, when the wanted number fits again, and the rule's name.
    """
    left = remaining(limit, now, counts)
    if wanted <= left:
        return
    when = resets_at(limit, now, counts, wanted)
    hint = None if when is not None else f"{wanted} at once is more than the budget ever holds; ask for fewer"
    raise BudgetError(
        f"budget {limit.rule} has {left} of {limit.limit} left and {wanted} more were asked for",
        remaining=left,
        resets_at=when,
        rule=limit.rule,
        hint=hint,
    )


def most_in_a_day(budget: Budget) -> int | None:
    """The most that a budget lets through in 24 hours; None where nothing limits it."""
    hourly = None if budget.hour is None else budget.hour * 24
    stated = [limit for limit in (hourly, budget.day, budget.month) if limit is not None]
    return min(stated) if stated else None
