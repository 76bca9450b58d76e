"""What a put spends: what it committed. What was stopped, refused or cut off comes back, and a policy of another day too."""

import os

import pytest
from keymaster_fixtures import POLICY, finish, identifiers, make, new_head, put, reopen

from strongroom.errors import BudgetError, ConflictError
from strongroom.keymaster.holder import Holder, asked_through
from strongroom.keymaster.leases import LEASE_SECONDS
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget

MOST = 100
"""The trainee's put budget of a day."""


@pytest.fixture
def master(tmp_path, either_database, clock):
    with make(tmp_path / "keys", clock, **either_database) as made:
        yield made


def sealed(master, count, start=0):
    """A lease of the trainee's under which so many records are sealed."""
    lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
    master.seal_subjects(lease, master.mint_batch(lease), identifiers(count, start))
    return lease


def left(master):
    """What the trainee may still seal, as the refusal of too much says; and the hint of it."""
    lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
    with pytest.raises(BudgetError) as refused:
        master.seal_subjects(lease, master.mint_batch(lease), identifiers(MOST + 1))
    master.abandon(lease)
    return refused.value.remaining


def test_what_a_put_that_was_stopped_had_sealed_comes_back(master):
    """An abandoned put spends nothing, a committed one what it sealed; nothing comes back twice."""
    lease = sealed(master, 60)
    assert left(master) == 40
    master.abandon(lease)
    assert left(master) == 100
    master.abandon(lease)
    finish(master, sealed(master, 30))
    assert left(master) == 70
    lease = sealed(master, 20)
    master.seal_subjects(lease, master.mint_batch(lease), identifiers(10))
    finish(master, lease)
    master.abandon(lease)
    assert left(master) == 40


def test_a_put_that_the_budget_itself_refuses_leaves_it_as_it_was(master):
    """Its first batch comes back with it; the refusal names what puts under way hold."""
    lease = sealed(master, 80)
    with pytest.raises(BudgetError) as refused:
        master.seal_subjects(lease, master.mint_batch(lease), identifiers(21))
    assert refused.value.remaining == 20
    assert refused.value.hint.startswith("puts that have not ended hold 80 of it")
    master.abandon(lease)
    assert left(master) == 100


def test_what_a_killed_put_had_sealed_comes_back_when_its_lease_ends(master, clock, tmp_path):
    """Nobody abandoned it: after its lease it seals nothing any more, and the next put has the whole budget."""
    lease = sealed(master, 100)
    clock.now += LEASE_SECONDS - 1
    assert left(master) == 0
    clock.now += 2
    finish(master, sealed(master, 100, start=500))
    with pytest.raises(ConflictError):
        finish(master, lease)
    assert left(master) == 0


def test_a_restart_forgets_no_reservation(tmp_path, clock):
    """What is held is in the database: the next process counts it, and gives it back in its time."""
    keys = tmp_path / "keys"
    with make(keys, clock) as master:
        sealed(master, 70)
    with reopen(keys, clock) as master:
        assert left(master) == 30
        clock.now += LEASE_SECONDS + 1
        assert left(master) == 100


def test_windows_that_a_policy_adds_meanwhile_are_not_credited(master):
    """What was spent under the day's limit alone comes back to the day's, and not to an hour that never had it."""
    lease = sealed(master, 60)
    shorter = POLICY.replace("budget = { day = 100 }", "budget = { hour = 50, day = 100 }")
    master.set_policy("kit", shorter)
    finish(master, sealed(master, 30))
    master.abandon(lease)
    assert left(master) == 20  # of the hour, 50 less 30
    master.set_policy("kit", POLICY)
    assert left(master) == 70


def test_a_credential_s_own_budget_comes_back_too(master):
    """Both scopes are given back together: that of the actor, and that of the credential."""
    holder = Holder("c" * 32, own=OwnBudgets(put=Budget(hour=50)))
    with asked_through(holder):
        lease = sealed(master, 50)
        assert left(master) == 0
        master.abandon(lease)
        assert left(master) == 50
        finish(master, sealed(master, 10))
        assert left(master) == 40
    assert left(master) == 90


def test_a_keymaster_that_was_set_back_gives_nothing_back(master, clock):
    """The put may have committed in what was lost: once spends are raised again, no lease returns any."""
    sealed(master, 60)

    def caught_up(rows):
        master._core.ledger.raise_counts(rows, [])
        master._core.ledger.forget()

    master._core.run(caught_up)
    clock.now += LEASE_SECONDS + 1
    assert left(master) == 40


def test_a_commit_that_others_beat_keeps_its_reservation(master):
    """A put that has to rebase holds what it sealed until it commits or ends."""
    lease, base = sealed(master, 60), master.head()
    put(master, identifiers(1))
    with pytest.raises(ConflictError):
        master.commit(lease, base, new_head(master, lease, base), {})
    assert left(master) == 40
    finish(master, lease)
    assert left(master) == 40
