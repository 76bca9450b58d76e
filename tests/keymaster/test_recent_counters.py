"""What a first look at the counters may miss, and for how long."""

import pytest

from strongroom.errors import UnavailableError
from strongroom.keymaster.database import state
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keys.rows import counter, take


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(state.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def two(tmp_path, clock):
    """A database opened twice, as by two processes."""
    first = SqliteState.create(tmp_path / "keymaster.db")
    second = SqliteState(tmp_path / "keymaster.db")
    yield first, second
    first.close()
    second.close()


def test_own_changes_are_seen_at_once(two):
    """Whoever changes a counter sees it in the next look."""
    first, _ = two
    assert first.recent_counter("ordinal") == 0
    with first.write() as rows:
        take(rows, "ordinal", 5)
        assert counter(rows, "ordinal") == 5
    assert first.recent_counter("ordinal") == 5


def test_changes_of_others_are_seen_in_a_moment(two, clock):
    """Another process's change is seen after RECENT_SECONDS, and at once in a transaction."""
    first, second = two
    assert first.recent_counter("ordinal") == 0
    with second.write() as rows:
        take(rows, "ordinal", 5)
    assert first.recent_counter("ordinal") == 0
    assert counter(first.read(), "ordinal") == 5
    clock[0] += 2 * state.RECENT_SECONDS
    assert first.recent_counter("ordinal") == 5
    with second.write() as rows:
        take(rows, "ordinal", 1)
    with first.write() as rows:
        assert counter(rows, "ordinal") == 6
    assert first.recent_counter("ordinal") == 6


def test_what_was_undone_is_not_seen(two):
    """A counter changed in a transaction that was undone is as before."""
    first, _ = two
    with pytest.raises(UnavailableError), first.write() as rows:
        take(rows, "ordinal", 5)
        raise UnavailableError("undo")
    assert first.recent_counter("ordinal") == 0
