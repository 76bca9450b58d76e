"""Budgets of one credential: persons, look-ups and records, beside all that the policy limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_room import Served
from small_room import persons

import strongroom
from strongroom.errors import BudgetError, StrongroomError, UsageError
from strongroom.identity.credential import new_credential
from strongroom.keymaster.wanted import Wanted, budget_words, parse_budget
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


def connected(served, actor, **budgets):
    own = OwnBudgets(**{name: Budget(**budget) for name, budget in budgets.items()})
    return served.connect(served.credential(actor, server=True, budgets=own))


def test_look_ups_count_hits_and_misses_and_come_back(room, served):
    """Four values in an hour; what a reading reserved and did not use is there for the next one."""
    with connected(served, "ada", lookups={"hour": 4}) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        for number in range(3):
            with opened.read(purpose="case-work", reason="r") as desk:
                desk.get("persons", f"P-{number:06d}")
        with opened.read(purpose="case-work", reason="r") as desk:
            with pytest.raises(strongroom.NotFoundError):
                desk.get("persons", "nobody")
            with pytest.raises(BudgetError) as refused:
                desk.get("persons", "P-000009")
    assert refused.value.rule.startswith("lookups/credential/")


def test_without_a_number_look_ups_are_ten_times_the_persons(served):
    """As in a policy."""
    state = served.credentials.add(
        "kit", Wanted("ada", new_credential(served.room_id, "ada").public_key, 1, budgets=OwnBudgets(Budget(day=7)))
    )
    assert state.budgets == OwnBudgets(Budget(day=7), Budget(day=70), Budget())
    assert served.credentials.find(state.id) == state


def test_records_that_a_credential_puts(room, served):
    """A put beyond it is refused and leaves nothing; another credential of the same actor puts."""
    with connected(served, "kit", put={"day": 5}) as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.put("persons", persons(5, start=900))
        before = keys.head().number
        with pytest.raises(BudgetError) as refused:
            opened.put("persons", persons(1, start=990))
        assert refused.value.rule.startswith("puts/credential/")
        assert keys.head().number == before
    with connected(served, "kit") as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.put("persons", persons(6, start=990))


def test_what_was_spent_stays_spent(room):
    """After a restart, and for the credential alone."""
    with Served(room.keymaster()) as served:
        own = served.credential("ada", server=True, budgets=OwnBudgets(Budget(day=2)))
        with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="r") as desk:
                desk.get("persons", "P-000001")
                desk.get("persons", "P-000001")
    with Served(room.keymaster()) as served:
        with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="r") as desk:
                desk.get("persons", "P-000002")
                with pytest.raises(BudgetError):
                    desk.get("persons", "P-000003")
                desk.get("persons", "P-000002")


def test_asked_for_over_the_wire_it_has_its_budgets_when_another_agrees(served):
    """What waits says them, and so does the credential that is made of it."""
    own = new_credential(served.room_id, "ada")
    wanted = Wanted("ada", own.public_key, 3, ("10.0.0.0/8",), ("case-work",), budgets=OwnBudgets(Budget(hour=4)))
    assert served.of("kit").credentials.add("kit", wanted) is None
    (asked,) = served.approvals.waiting("kit")
    assert Wanted.from_dict(asked.said).budgets.budget == Budget(hour=4)
    assert Wanted.from_dict(asked.said) == wanted.checked()


@pytest.mark.parametrize("wrong", [Budget(day=-1), Budget(hour=10**16)])
def test_budgets_that_are_none(served, wrong):
    """A negative one, or one beyond all counting."""
    with pytest.raises(UsageError):
        served.credential("ada", budgets=OwnBudgets(wrong))


@given(st.builds(Budget, *[st.none() | st.integers(0, 10**15)] * 3))
def test_budgets_print_as_they_are_read(budget):
    """Every budget that limits something."""
    words = budget_words(budget)
    if words:
        assert parse_budget(words) == budget


@given(st.text(max_size=30) | st.from_regex(r"(hour|day|month|week)=[0-9a-z]{0,22}(,day=[0-9]+)?", fullmatch=True))
def test_any_other_text_is_refused(text):
    """With an error of this library."""
    try:
        found = parse_budget(text)
    except StrongroomError:
        return
    assert parse_budget(budget_words(found)) == found


def test_explain_says_what_limits_the_credential_that_asks(room):
    """Its own budgets and the most that it lets out in a day; of another actor, only what the policy says."""
    with Served(room.keymaster()) as served:
        own = served.credential("ada", server=True, budgets=OwnBudgets(Budget(day=2), put=Budget(hour=5)))
        with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            mine, other = opened.explain("persons", actor="ada"), opened.explain("persons", actor="mei")
    text = "\n".join(mine.lines)
    assert "budget of this credential: 2 in any 24 hours" in text
    assert "records put of this credential: 5 in any hour" in text
    assert mine.most_per_day == 2
    assert other.allowed
    assert not any("credential" in line for line in other.lines)
