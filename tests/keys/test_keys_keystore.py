"""The secrets of all persons: found, made, merged, taken away, by several processes."""

import os
import sqlite3

import numpy as np
import pytest

from strongroom.errors import BudgetError, IntegrityError
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.keystore import GENERATIONS_MAX, KeyStore
from strongroom.seal.entropy import random_bytes
from strongroom.store.folder import FolderStore

RING = KeyRing(b"r" * 16, 1, b"k" * 32)


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


@pytest.fixture
def state(tmp_path):
    made = SqliteState.create(tmp_path / "keymaster.db")
    yield made
    made.close()


def opened(state, tmp_path, ring=RING):
    return KeyStore(state, FolderStore(tmp_path / "pages"), ring, random_bytes, lambda: 1.8e9)


@pytest.fixture
def store(state, tmp_path):
    return opened(state, tmp_path)


def test_every_person_keeps_one_secret_through_merges(store, state, tmp_path):
    """Twenty-five inserts, merged on the way: each token has the secret and ordinal it got, at most 16 generations."""
    parts = [tokens(700 if i % 3 else 5000, i) for i in range(25)]
    made = [store.ensure(part, i + 1) for i, part in enumerate(parts)]
    assert all(m.new == len(p) for m, p in zip(made, parts, strict=True))
    again = opened(state, tmp_path)
    assert len(again.refresh().generations) <= GENERATIONS_MAX
    for i, (part, was) in enumerate(zip(parts, made, strict=True)):
        found = again.lookup(part)
        assert found.found.all()
        assert np.array_equal(found.secrets, was.secrets)
        assert np.array_equal(found.ordinals, was.ordinals)
        assert (found.born == i + 1).all()
        one = again.one(part[3].tobytes())
        assert (one.secret, one.ordinal) == (was.secrets[3].tobytes(), int(was.ordinals[3]))
    ordinals = np.concatenate([m.ordinals for m in made])
    assert len(np.unique(ordinals)) == len(ordinals)
    absent = tokens(20_000, 99)
    assert not again.lookup(absent).found.any()
    assert all(again.one(t.tobytes()) is None for t in absent[:50])
    named = {row[0] for row in state.read().execute("SELECT DISTINCT object FROM page")}
    assert {name for name, _ in FolderStore(tmp_path / "pages").list()} == named


def test_repeats_within_and_across_calls_make_one_secret(store):
    """The same person many times in a column, and again later, is one person."""
    some = tokens(1000)
    column = np.concatenate([some, some[::-1], some[:10]])
    made = store.ensure(column, 1)
    assert made.new == 1000
    assert np.array_equal(made.secrets[:1000], made.secrets[1000:2000][::-1])
    more = store.ensure(np.concatenate([some[:500], tokens(500, 5)]), 2)
    assert more.new == 500
    assert np.array_equal(more.secrets[:500], made.secrets[:500])


def test_tokens_that_share_their_first_half_are_told_apart(store):
    """Persons whose tokens agree in the first eight bytes are found, also across chunk and page borders."""
    same = tokens(9000)
    same[:, :8] = 7
    mixed = np.concatenate([same, tokens(3000, 2)])
    made = store.ensure(mixed, 1)
    found = store.lookup(mixed)
    assert found.found.all()
    assert np.array_equal(found.secrets, made.secrets)
    assert all(store.one(mixed[i].tobytes()).ordinal == int(made.ordinals[i]) for i in range(0, 12_000, 37))
    absent = tokens(50, 3)
    absent[:, :8] = 7
    assert not store.lookup(absent).found.any()


def test_whoever_is_not_new_or_is_there_twice_is_named_in_the_transaction(store):
    """By ordinal: those who were there, and those who have several rows, new or not."""
    some, named = tokens(20), []

    def within(_rows, new, again):
        named.append((new, sorted(again.tolist())))

    made = store.ensure(some[:10], 1, within)
    store.ensure(some[5:10], 2, within)
    more = store.ensure(some[[8, 10, 11, 10, 12]], 3, within)
    assert named[:2] == [(10, []), (0, sorted(made.ordinals[5:].tolist()))]
    assert named[2] == (3, sorted([int(made.ordinals[8]), int(more.ordinals[1])]))


def test_whoever_another_process_made_meanwhile_is_not_new(store, state, tmp_path, monkeypatch):
    """Somebody is faster while the pages are written: it is done anew, and those whom they made are named."""
    some, named, other = tokens(12), [], opened(state, tmp_path)
    real, faster = store._writer.write, []

    def write(name, parts):
        if not faster:
            faster.append(other.ensure(some[:4], 7))
        return real(name, parts)

    monkeypatch.setattr(store._writer, "write", write)
    made = store.ensure(some, 8, lambda _rows, new, again: named.append((new, sorted(again.tolist()))))
    assert np.array_equal(made.ordinals[:4], faster[0].ordinals)
    assert named == [(8, sorted(faster[0].ordinals.tolist()))]


def test_a_refusal_within_the_transaction_makes_nobody(store, tmp_path):
    """What `within` raises undoes rows and removes the object."""

    def refuse(_rows, new, _again):
        raise BudgetError("spent", remaining=new)

    with pytest.raises(BudgetError):
        store.ensure(tokens(100), 1, refuse)
    assert not store.lookup(tokens(100)).found.any()
    assert not list(FolderStore(tmp_path / "pages").list())


def test_a_removed_person_is_gone_and_others_stay(store, state, tmp_path):
    """Removing rewrites one page under a new key, id and object; the old page's row is gone."""
    some = tokens(6000)
    made = store.ensure(some, 1)
    other = opened(state, tmp_path)
    assert other.lookup(some).found.all()
    before = {row[0] for row in state.read().execute("SELECT id FROM page")}
    assert store.remove(some[123].tobytes())
    assert not store.remove(some[123].tobytes())
    after = {row[0] for row in state.read().execute("SELECT id FROM page")}
    assert len(before - after) == 1
    for each in (store, other):
        found = each.lookup(some)
        assert np.flatnonzero(~found.found).tolist() == [123]
        assert each.one(some[123].tobytes()) is None
        keep = np.arange(6000) != 123
        assert np.array_equal(found.secrets[keep], made.secrets[keep])
    back = store.ensure(some[123:124], 9)
    assert back.new == 1
    assert not np.array_equal(back.secrets[0], made.secrets[123])


def test_changed_pages_and_rows_do_not_open(store, state, tmp_path):
    """A flipped byte, a page under another's row, or another epoch key raise IntegrityError."""
    some = tokens(5000)
    store.ensure(some, 1)
    other = opened(state, tmp_path, KeyRing(b"r" * 16, 1, b"x" * 32))
    with pytest.raises(IntegrityError):
        other.lookup(some)
    path = next(p for p in (tmp_path / "pages").rglob("*") if p.is_file())
    data = bytearray(path.read_bytes())
    data[10_000] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        opened(state, tmp_path).lookup(some)
    data[10_000] ^= 1
    path.write_bytes(data)
    with sqlite3.connect(tmp_path / "keymaster.db") as database:
        database.execute("UPDATE page SET version = 2")
        database.execute("UPDATE counter SET value = value + 1 WHERE name = 'pages'")
    with pytest.raises(IntegrityError):
        opened(state, tmp_path).lookup(some)


def test_objects_left_by_a_crash_are_cleaned(store, state, tmp_path):
    """An object that no row names goes; one that is being written, and live ones, stay."""
    store.ensure(tokens(300), 1)
    pages = FolderStore(tmp_path / "pages")
    stray, pending = os.urandom(16).hex(), os.urandom(16).hex()
    pages.put(stray, b"x")
    pages.put(pending, b"x")
    with state.write() as rows:
        rows.execute("INSERT INTO page_object_pending VALUES (?, ?)", (pending, 1.8e9))
    assert store.clean() == 1
    assert pages.exists(pending)
    assert not pages.exists(stray)
    assert store.lookup(tokens(300)).found.all()
