"""Many persons at once are counted as one by one: the same budgets left, in every window, over hours and days."""

import numpy as np
import pytest
from counting_model import NEVER, charge_persons
from hypothesis import given
from hypothesis import strategies as st
from keymaster_fixtures import Clock, make

from strongroom.errors import BudgetError, UnavailableError
from strongroom.keymaster import ledger as module
from strongroom.purpose.budget import limits, remaining


@pytest.fixture
def core(tmp_path, either_database):
    with make(tmp_path / "keys", Clock(), **either_database) as made:
        yield made._core


class Model:
    """What `purpose.budget` says, person by person."""

    def __init__(self):
        self.seen, self.counts = {}, {}

    def charge(self, rules, ordinals, now):
        left = {}
        for rule in rules:
            counts = self.counts.setdefault(rule.rule, {})
            last = np.array([self.seen.get((rule.scope, o), NEVER * rule.slot_seconds) // rule.slot_seconds for o in ordinals])
            for slot, delta in charge_persons(rule, now, last).deltas.items():
                counts[slot] = counts.get(slot, 0) + delta
            left[rule.rule] = remaining(rule, now, counts)
        for rule in rules:
            self.seen.update({(rule.scope, o): int(now) for o in ordinals})
        return left


def charge(core, rules, ordinals, now):
    def job(rows):
        plan = core.ledger.plan_persons(rows, rules, ordinals, now)
        core.ledger.apply(rows, plan)
        return plan.remaining

    return core.run(job)


@pytest.mark.parametrize("one_by_one", [32, 10**6])
def test_many_are_counted_as_one_by_one(core, monkeypatch, one_by_one):
    """Sets that overlap, seen in slots of before, under two actors who share the room's budget."""
    monkeypatch.setattr(module, "ASKED_ONE_BY_ONE_MAX", one_by_one)
    rng, model, now = np.random.default_rng(3), Model(), 1_800_000_000.0
    rules = [limits(core.standing.policy, actor, "bulk", "persons") for actor in ("ada", "bob")]
    for number in range(25):
        ordinals = sorted(set(rng.integers(0, 400, rng.integers(33, 200)).tolist()))
        mine = rules[number % 2]
        assert charge(core, mine, ordinals, now) == model.charge(mine, ordinals, now)
        now += float(rng.choice([1, 290, 3700, 30 * 3600]))


def test_a_refused_many_leaves_nothing_and_the_next_is_counted_right(core):
    """Undone with its part, alone and beside others of the same commit; the list it wrote is not taken for the next."""
    rules = limits(core.standing.policy, "ada", "support", "persons")
    with pytest.raises(BudgetError):
        charge(core, rules, list(range(100)), 1_800_000_000.0)
    bulk = limits(core.standing.policy, "ada", "bulk", "persons")

    def fails(rows):
        core.ledger.apply(rows, core.ledger.plan_persons(rows, bulk, list(range(100)), 1_800_000_000.0))
        raise BudgetError("no", remaining=0, resets_at=None, rule="r")

    with pytest.raises(BudgetError):
        core.run(fails)
    left = charge(core, bulk, list(range(50, 90)), 1_800_000_001.0)
    assert left["persons/actor/ada/purpose/bulk/hour"] == 400_000 - 40


@pytest.mark.parametrize("rows_most", [0, 60, 10**6])
def test_rows_and_bitmaps_count_alike(core, monkeypatch, rows_most):
    """Few and many persons in turn: some have a row, some stand in bitmaps of several times, some in both."""
    monkeypatch.setattr(module, "ROWS_MOST", rows_most)
    rng, model, now = np.random.default_rng(11), Model(), 1_800_000_000.0
    rules = [limits(core.standing.policy, actor, "bulk", "persons") for actor in ("ada", "bob")]
    for number in range(40):
        size = int(rng.choice([1, 3, 40, 90, 250]))
        ordinals = sorted(set(rng.integers(0, 400, size).tolist()))
        mine = rules[number % 2]
        assert charge(core, mine, ordinals, now) == model.charge(mine, ordinals, now)
        now += float(rng.choice([0, 1, 290, 3700, 30 * 3600]))


def test_what_was_undone_leaves_no_bitmap(core, monkeypatch):
    """A part of a transaction that is undone after it charged, and a whole one: what is cached of maps goes with it."""
    monkeypatch.setattr(module, "ROWS_MOST", 0)
    rules = limits(core.standing.policy, "ada", "bulk", "persons")
    charge(core, rules, [1, 2, 3], 1_800_000_000.0)

    def undone(rows):
        plan = core.ledger.plan_persons(rows, rules, [4, 5], 1_800_000_000.0)
        core.ledger.apply(rows, plan)
        core.ledger.plan_persons(rows, rules, [4, 5], 1_800_000_000.0)
        raise RuntimeError

    with pytest.raises(UnavailableError):
        core.run(undone)
    left = charge(core, rules, [4, 5], 1_800_000_000.0)
    assert left[rules[0].rule] == rules[0].limit - 5


def test_old_bitmaps_are_forgotten(core, monkeypatch):
    """After a month and two days nobody is counted any more, and the rows are gone."""
    monkeypatch.setattr(module, "ROWS_MOST", 0)
    rules = limits(core.standing.policy, "ada", "bulk", "persons")
    charge(core, rules, range(10), 1_800_000_000.0)
    later = 1_800_000_000.0 + 33 * 86400
    core.run(lambda rows: core.ledger.prune(rows, later))
    assert core.state.read().execute("SELECT count(*) FROM seen_map").fetchone()[0] == 0
    assert charge(core, rules, [1], later)[rules[0].rule] == rules[0].limit - 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(-5, 9)), max_size=60))
def test_a_sum_that_is_kept_is_the_sum_of_the_slots(steps):
    """However counts and the first slot that counts change by turns, also backwards."""
    slots = {3: 2, 30: 5}
    window = module._Window(dict(slots))
    for asks, slot, delta in steps:
        if asks:
            assert window.since(slot) == sum(count for at, count in slots.items() if at >= slot)
        else:
            window.add(slot, delta)
            slots[slot] = slots.get(slot, 0) + delta
    assert window.slots == slots
