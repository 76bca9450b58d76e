"""The log by actor and time: what somebody touched, one's own entries without a right to the log, and how long it takes."""

import json

import numpy as np
import pytest
from keymaster_fixtures import POLICY, ask, identifiers, make, put

from strongroom.audit.entry import Entry
from strongroom.errors import DeniedError
from strongroom.keymaster.log.api import Which
from strongroom.keymaster.log.search import entries


@pytest.fixture
def master(tmp_path, clock):
    tricky = POLICY.replace("[actors.bob]", '[actors."b-o_b"]')
    with make(tmp_path / "keys", clock, policy=tricky) as made:
        batch, sealing = put(made, identifiers(20))
        for day, actor in enumerate(("ada", "b-o_b", "ada")):
            clock.now += 86_400
            grant = made.begin_reading(actor=actor, purpose="bulk", reason="r")
            some = np.ascontiguousarray(sealing.tokens[day : day + 3])
            made.release(grant.reading_id, ask(some, batch))
        yield made


def acts(found):
    return [(e["actor"], e["act"]) for e in found]


def test_by_actor_and_by_time(master, clock):
    """Only theirs, only of that time, ends that lie between entries or outside them, numbers kept."""
    every = master.log_entries("kit")
    ada = master.log_entries("kit", of="ada")
    assert acts(ada) == [("ada", "open"), ("ada", "get")] * 2
    assert [every[e["leaf"]] for e in ada] == ada
    start = clock.now - 2 * 86_400
    assert len(master.log_entries("kit", of="ada", since=start, until=clock.now)) == 2
    assert acts(master.log_entries("kit", since=clock.now - 86_400, until=clock.now)) == [
        ("b-o_b", "open"), ("b-o_b", "get"),
    ]  # fmt: skip
    assert master.log_entries("kit", since=clock.now + 1) == []
    assert master.log_entries("kit", until=0.0) == []
    assert master.log_entries("kit", since=0.0, until=clock.now + 1) == every
    assert master.log_entries("kit", 2, 4) == every[2:4]


def test_ones_own_entries_take_no_right(master):
    """A reader sees what was done in their name, and nothing else."""
    own = master.log_entries("b-o_b", of="b-o_b")
    assert acts(own) == [("b-o_b", "open"), ("b-o_b", "get")]
    for other in (None, "ada", "b-o_"):
        with pytest.raises(DeniedError):
            master.log_entries("b-o_b", of=other)


def test_names_that_look_like_others_and_names_elsewhere_are_left_out(master):
    """A name within another, a name in another part of an entry, a pattern: only the actor counts."""
    for name in ("b", "o_b", 'b-o_b"', "%", "b-o%", "adaa", "ad"):
        assert master.log_entries("kit", of=name) == []
    entry = Entry(int(2e12), "x", "kit", "allowed", extras={"note": '"actor":"ada"', "actor": "ada"}).to_bytes()
    assert json.loads(entry)["extras"]["actor"] == "ada"
    with master._core.state.write() as inside:
        number = inside.execute("SELECT max(number) FROM leaf").fetchone()[0] + 1
        inside.execute("INSERT INTO leaf VALUES (?, ?, ?)", (number, int(2e12), entry))
        found = entries(inside, Which("ada", None, None, None), 0, None, 100, whole=True)
        assert number not in {e["leaf"] for e in found}
        assert [e["leaf"] for e in entries(inside, Which("kit", None, None, None), number, None, 100, whole=True)] == [number]
        assert len(entries(inside, Which(None, None, None, None), 0, None, 3, whole=True)) == 3
        inside.execute("DELETE FROM leaf WHERE number = ?", (number,))
