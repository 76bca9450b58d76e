"""Days are closed once, with a map that their entries make, whatever happens meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keymaster_fixtures import POLICY, Clock, ask, identifiers, make, put, reopen

from strongroom.audit import daymap
from strongroom.audit.daymap import DAY_MS, Closed, Tree, check_spans, closed_of, map_root, sorted_parts
from strongroom.audit.entry import Entry, parse_entry
from strongroom.audit.tlog import EMPTY_ROOT, leaf_hash, tree_root, verify_inclusion
from strongroom.errors import IntegrityError

DAY = 24 * 3600.0
DELAYED = POLICY.replace("[purposes.bulk]\n", "[purposes.bulk]\ndelay_days = 3\n")


def read(master, tokens, batch, purpose="bulk", actor="ada"):
    grant = master.begin_reading(actor=actor, purpose=purpose, reason="r")
    released = master.release(grant.reading_id, ask(tokens, batch))
    master.end_reading(grant.reading_id)
    return released.leaf


def closed(master):
    """The spans that the log says were closed."""
    entries = [parse_entry(data) for data in master._publishing.read_entries(0, master.log_size)]
    return [closed_of(entry) for entry in entries if entry.act == "day"]


# -- the map ------------------------------------------------------------------------------------
def simple_map(lists):
    """Label → numbers, the way it reads: no numpy, no parts."""
    found = {}
    for number, labels in lists:
        for label in labels:
            found.setdefault(label, []).append(number)
    return sorted(found.items())


def fake_salts(labels):
    return labels[:, ::-1].copy()


labels_of = st.lists(st.integers(0, 40).map(lambda n: (n * 997).to_bytes(2, "big") * 8), max_size=12, unique=True)


@given(st.lists(labels_of, max_size=30), st.integers(1, 50), st.integers(1, 5))
def test_the_map_is_the_sorted_merge_of_the_lists(lists, most, size):
    """However few labels are held at once, parts and root are those of a plain sort."""
    from unittest.mock import patch

    numbered = [(n, labels) for n, labels in enumerate(lists) if labels]

    def chunks():
        for at in range(0, len(numbered), 3):
            some = numbered[at : at + 3]
            yield [n for n, _ in some], [b"".join(labels) for _, labels in some]

    pairs = sum(len(labels) for _, labels in numbered)
    plain = simple_map(numbered)
    with patch.object(daymap, "PART_LABELS", 1 << size):
        parts = list(sorted_parts(chunks, pairs, most))
    found = [(p.labels[i].tobytes(), p.entries(i)) for p in parts for i in range(len(p.labels))]
    assert found == plain
    assert [len(p.labels) for p in parts[:-1]] == [1 << size] * (len(parts) - 1)
    data = [label + daymap.entries_digest(label[::-1], numbers) for label, numbers in plain]
    assert [d for p in parts for d in p.leaf_data(fake_salts(p.labels))] == data
    root = tree_root([leaf_hash(d) for d in data])
    assert map_root(chunks, pairs, fake_salts) == (root, len(plain))
    roots = [tree_root([leaf_hash(d) for d in data[at : at + (1 << size)]]) for at in range(0, len(data), 1 << size)]
    assert tree_root(roots) == root
    for at, one in enumerate(data):
        first = at >> size << size
        path = Tree([leaf_hash(d) for d in data[first : first + (1 << size)]]).path(at - first)
        verify_inclusion(leaf_hash(one), at, len(data), path + Tree(roots).path(at >> size), root)


extras = st.dictionaries(
    st.sampled_from(["from", "day", "labels", "entries", "lost", "map", "more"]),
    st.integers(0, 3) | st.sampled_from([EMPTY_ROOT.hex(), "00" * 32, "", "g"]),
)


@given(extras)
def test_an_entry_closes_a_day_or_is_refused(said):
    """Whatever an entry says: it is one that `Closed` writes, or an IntegrityError."""
    entry = Entry(9 * DAY_MS, "day", "keymaster", "allowed", extras=said)
    try:
        found = closed_of(entry)
    except IntegrityError:
        return
    assert found.extras() == {k: v for k, v in said.items() if k != "lost" or v}


def test_a_day_is_closed_when_it_is_over_and_not_twice(tmp_path):
    """Nothing is closed on the day itself; the next day it is, with its labels; empty days share an entry."""
    clock = Clock()
    with make(tmp_path / "k", clock) as master:
        batch, sealing = put(master, identifiers(10))
        read(master, sealing.tokens[:4], batch)
        read(master, sealing.tokens[2:6], batch)
        master.publish()
        assert closed(master) == []
        clock.now += DAY
        master.publish()
        master.publish()
        (one,) = closed(master)
        assert (one.first, one.day, one.labels, one.entries, one.lost) == (one.day, int((clock.now - DAY) // DAY), 6, 2, 0)
        clock.now += 30 * DAY
        read(master, sealing.tokens[:1], batch)
        clock.now += DAY
        report = master.verify_log(maps=True)
        spans = closed(master)
        assert [(s.day - s.first, s.labels, s.entries) for s in spans] == [(0, 6, 2), (29, 0, 0), (0, 1, 1)]
        assert spans[1].root == EMPTY_ROOT
        assert (report["days"], report["labels"], report["lost"]) == (3, 7, 0)
    with reopen(tmp_path / "k", clock) as master:
        master.publish()
        assert closed(master) == spans


def test_delayed_reads_stand_in_a_later_map_alone(tmp_path):
    """A delayed read joins the map of the day the delay ends; the days before are as if it had not been."""
    clock = Clock()
    with make(tmp_path / "k", clock, policy=DELAYED) as master:
        batch, sealing = put(master, identifiers(10))
        leaf = read(master, sealing.tokens[:4], batch)
        said = master.log_entries("kit", leaf, leaf + 1)[0]
        assert said["disclosed"] == int(clock.now // DAY) + 3
        read(master, sealing.tokens[:1], batch, "support")
        for _ in range(5):
            clock.now += DAY
            master.publish()
        assert [(s.labels, s.entries) for s in closed(master)] == [(1, 1), (0, 0), (0, 0), (4, 1), (0, 0)]
        assert master.verify_log(maps=True)["lost"] == 0


def test_many_labels_are_kept_in_parts(tmp_path, monkeypatch):
    """A day of more labels than fit one transaction is closed part by part, and its map is what its entries make."""
    from strongroom.keymaster.log import days

    monkeypatch.setattr(days, "PARTS_AT_ONCE", 2)
    monkeypatch.setattr(daymap, "PART_LABELS", 64)
    clock = Clock()
    with make(tmp_path / "k", clock) as master:
        batch, sealing = put(master, identifiers(1000))
        for at in range(0, 1000, 250):
            read(master, sealing.tokens[at : at + 300], batch)
        clock.now += DAY
        assert master.verify_log(maps=True)["labels"] == 1000
        assert master._core.state.read().execute("SELECT count(*) FROM day_part").fetchone()[0] == 16


CLOSER = """
import sys, os
sys.path.insert(0, {tests!r})
from keymaster_fixtures import Clock, reopen
from strongroom.audit import daymap
from strongroom.keymaster.log import days
days.PARTS_AT_ONCE, daymap.PART_LABELS = 1, 64
real, count = days._Making._keep, [0]
def keep(self, rows):
    count[0] += 1
    if count[0] == {at}:
        os.kill(os.getpid(), 9)
    real(self, rows)
days._Making._keep = keep
with reopen({folder!r}, Clock({now})) as master:
    master.publish()
"""


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_kill_while_a_day_is_closed_leaves_it_to_be_closed(tmp_path, at):
    """Killed before, among or at the last of its parts: the next process closes the day, once."""
    clock = Clock()
    with make(tmp_path / "k", clock) as master:
        batch, sealing = put(master, identifiers(300))
        read(master, sealing.tokens, batch)
    clock.now += DAY
    told = {"tests": str(Path(__file__).parent), "folder": str(tmp_path / "k"), "now": clock.now, "at": at}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CLOSER.format(**told)], env=environment, check=False)
    assert done.returncode == -9
    with reopen(tmp_path / "k", clock) as master:
        report = master.verify_log(maps=True)
        assert (report["days"], report["labels"]) == (1, 300)


def test_several_processes_close_a_day_once(postgres_server, tmp_path):
    """Two keymasters on one PostgreSQL, both asked at once: one entry for each day."""
    from concurrent.futures import ThreadPoolExecutor

    from keymaster_fixtures import FAST, PASSPHRASE, SCHEMA

    from strongroom.keymaster.create import create_keymaster, open_keymaster

    clock, url = Clock(), postgres_server.url()
    folder = tmp_path / "k"
    with create_keymaster(
        folder, passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, argon2=FAST, clock=clock, database=url
    ) as one:
        batch, sealing = put(one, identifiers(50))
        read(one, sealing.tokens, batch)
        with open_keymaster(folder, passphrase=PASSPHRASE, clock=clock) as two, ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                clock.now += DAY
                list(pool.map(lambda master: master._days.close_due(wait=True), [one, two, one, two]))
                read(one, sealing.tokens[:2], batch)
            assert len(closed(one)) == 3
            assert two.verify_log(maps=True)["days"] == 3


@pytest.mark.parametrize(
    ("spans", "told"),
    [([(5, 5), (7, 7)], "day 6 is missing"), ([(5, 6), (6, 6)], "closed twice"), ([(6, 6)], "day 5 is missing")],
)
def test_days_follow_one_another(spans, told):
    """A day that no entry closes, or that two do, is named."""
    with pytest.raises(IntegrityError, match=told):
        check_spans([Closed(first, day, 0, 0, 0, EMPTY_ROOT) for first, day in spans], 5)
    assert check_spans([Closed(5, 5, 0, 0, 0, EMPTY_ROOT), Closed(6, 9, 0, 0, 0, EMPTY_ROOT)], 5) == 10


# -- what an auditor finds ----------------------------------------------------------------------
def tampered(master, *statements):
    """Change the database behind the keymaster's back."""
    with master._core.state.write() as rows:
        for sql, parameters in statements:
            rows.execute(sql, parameters)
    master._core.journal.undone()


def test_a_day_that_is_not_closed_shows(tmp_path, monkeypatch):
    """While days are not closed the log does not verify, and says which."""
    clock = Clock()
    with make(tmp_path / "k", clock) as master:
        batch, sealing = put(master, identifiers(5))
        read(master, sealing.tokens, batch)
        monkeypatch.setattr(master._publishing, "before", lambda: None)
        clock.now += DAY
        read(master, sealing.tokens, batch)
        with pytest.raises(IntegrityError, match="never closed"):
            master.verify_log()
        monkeypatch.setattr(master._publishing, "before", master._days.close_due)
        assert master.verify_log()["days"] == 1
