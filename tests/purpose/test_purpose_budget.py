"""Windows, slots and what is left."""

import numpy as np
import pytest
from counting_model import NEVER, charge_persons
from hypothesis import given, settings
from hypothesis import strategies as st
from purpose_fixtures import policy

from strongroom.errors import BudgetError
from strongroom.purpose.budget import (
    Limit,
    check_fits,
    limits,
    most_in_a_day,
    remaining,
    resets_at,
    spent,
)
from strongroom.purpose.policy import Budget

HOUR = Limit("persons/room", "hour", 300, 13, 10)


class Window:
    """What a caller's database keeps for one limit."""

    def __init__(self, limit):
        self.limit, self.last, self.counts = limit, {}, {}

    def charge(self, now, persons):
        seen = np.array([self.last.get(p, NEVER) for p in persons], dtype=np.int64)
        charge = charge_persons(self.limit, now, seen)
        check_fits(self.limit, now, self.counts, charge.new)
        for slot, delta in charge.deltas.items():
            self.counts[slot] = self.counts.get(slot, 0) + delta
        self.last.update(dict.fromkeys(persons, charge.slot))
        return charge.new


def test_limits_name_every_scope_and_window_narrowest_first():
    """Actor and purpose, purpose, room; only windows that have a limit."""
    found = limits(policy(), "ada", "delivery", "persons")
    assert [limit.rule for limit in found] == [
        "persons/actor/ada/purpose/delivery/hour",
        "persons/actor/ada/purpose/delivery/day",
        "persons/actor/ada/purpose/delivery/month",
        "persons/purpose/delivery/day",
        "persons/room/hour",
        "persons/room/day",
        "persons/room/month",
    ]
    assert [limit.limit for limit in found] == [20, 50, 500, 5000, 2000, 10000, 50000]
    assert [limit.slots * limit.slot_seconds for limit in found[:3]] == [3900, 25 * 3600, 31 * 86400]


def test_look_ups_and_puts_have_scopes_of_their_own():
    """Look-ups are per actor and purpose, puts per actor with the widest of the roles' budgets."""
    assert [limit.rule for limit in limits(policy(), "ada", "delivery", "lookups")] == [
        "lookups/actor/ada/purpose/delivery/hour",
        "lookups/actor/ada/purpose/delivery/day",
    ]
    puts = limits(policy(), "cleo", None, "puts")
    assert [(limit.rule, limit.limit) for limit in puts] == [("puts/actor/cleo/day", 5000)]


def test_who_may_not_put_has_a_put_budget_of_nothing():
    """An actor without a put role, or no actor at all, is limited to nothing rather than not limited."""
    for actor in ("ada", "nobody"):
        assert {limit.limit for limit in limits(policy(), actor, None, "puts")} == {0}


def test_a_person_counts_once_and_moves_to_the_slot_last_seen():
    """Seen twice, a person is one; the count follows to the newer slot."""
    window = Window(HOUR)
    assert window.charge(0, ["a", "b", "c"]) == 3
    assert window.charge(600, ["b", "c", "d"]) == 1
    assert window.counts == {0: 1, 2: 3}
    assert spent(HOUR, 600, window.counts) == 4


def test_a_budget_says_what_is_left_and_when_it_comes_back():
    """Refused with remaining, reset time and the rule's name."""
    window = Window(HOUR)
    window.charge(0, range(6))
    window.charge(600, range(6, 10))
    with pytest.raises(BudgetError) as caught:
        window.charge(900, [99])
    assert caught.value.remaining == 0
    assert caught.value.resets_at == 13 * 300
    assert caught.value.rule == "persons/room/hour"
    assert remaining(HOUR, 13 * 300 - 1, window.counts) == 0
    assert remaining(HOUR, 13 * 300, window.counts) == 6
    assert resets_at(HOUR, 900, window.counts, 7) == (2 + 13) * 300
    assert resets_at(HOUR, 900, window.counts, 11) is None
    assert resets_at(HOUR, 13 * 300, window.counts, 6) == 13 * 300


def test_more_than_a_budget_ever_holds_is_said_so():
    """A request that can never fit gets a hint instead of a time."""
    with pytest.raises(BudgetError) as caught:
        Window(HOUR).charge(0, range(11))
    assert caught.value.resets_at is None
    assert "ask for fewer" in caught.value.hint
    assert caught.value.remaining == 10


def test_the_most_in_a_day_is_the_tightest_of_the_windows():
    """An hourly limit counts 24 times, a monthly one once."""
    assert most_in_a_day(Budget(2, 100, 1000)) == 48
    assert most_in_a_day(Budget(20, 100, 1000)) == 100
    assert most_in_a_day(Budget(None, None, 30)) == 30
    assert most_in_a_day(Budget()) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.sets(st.integers(0, 25), min_size=1, max_size=6)), max_size=60))
def test_no_true_hour_ever_holds_more_persons_than_the_budget(steps):
    """Against brute force over every charge: distinct persons of any 60 minutes never exceed the limit."""
    window, now, log = Window(HOUR), 0, []
    for step, persons in steps:
        now += step
        try:
            window.charge(now, sorted(persons))
        except BudgetError:
            continue
        log.append((now, persons))
        in_slots = {p for p, slot in window.last.items() if slot >= HOUR.first_slot(now)}
        assert spent(HOUR, now, window.counts) == len(in_slots)
        held = set().union(*(seen for at, seen in log if at >= now - 3600))
        assert len(held) <= HOUR.limit
