"""Taking secrets away: each touched page once, nobody else's touched, whatever others do meanwhile."""

import numpy as np
import pytest

from strongroom.errors import BudgetError, UnavailableError
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keys import removal
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.keystore import KeyStore
from strongroom.keys.pages import halves
from strongroom.keys.writer import distinct
from strongroom.seal.entropy import random_bytes
from strongroom.store.folder import FolderStore

RING = KeyRing(b"r" * 16, 1, b"k" * 32)


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def ordered(some):
    return distinct(some, *halves(some))[0]


@pytest.fixture
def state(tmp_path):
    made = SqliteState.create(tmp_path / "keymaster.db")
    yield made
    made.close()


def opened(state, tmp_path):
    return KeyStore(state, FolderStore(tmp_path / "pages"), RING, random_bytes, lambda: 1.8e9)


@pytest.fixture
def store(state, tmp_path):
    return opened(state, tmp_path)


def objects(tmp_path):
    return {name for name, _ in FolderStore(tmp_path / "pages").list()}


def named(state):
    return {row[0] for row in state.read().execute("SELECT DISTINCT object FROM page")}


def test_many_go_and_nobody_else_does(store, state, tmp_path, monkeypatch):
    """Persons of several generations go in groups; the rest keep their secrets; no object is left that no row names."""
    monkeypatch.setattr(removal, "PAGES_AT_ONCE", 2)
    parts = [tokens(9000, 1), tokens(3000, 2), tokens(50, 3)]
    made = [store.ensure(part, i + 1) for i, part in enumerate(parts)]
    other = opened(state, tmp_path)
    assert other.lookup(parts[0]).found.all()
    gone = ordered(np.concatenate([parts[0][::3], parts[1][:40], parts[2], tokens(70, 9)]))
    groups = []

    def within(_rows, some, born):
        groups.append((len(some), set(born.tolist())))
        return len(some)

    removed = store.remove_many(gone, within)
    assert removed.gone.sum() == 3000 + 40 + 50 == sum(removed.said)
    assert len(groups) == len(removed.said) > 2
    assert all(len(born) == 1 for _, born in groups)
    for each in (store, other, opened(state, tmp_path)):
        for part, was, left in zip(
            parts, made, (np.arange(9000) % 3 != 0, np.arange(3000) >= 40, np.zeros(50, bool)), strict=True
        ):
            found = each.lookup(part)
            assert np.array_equal(found.found, left)
            assert np.array_equal(found.secrets[left], was.secrets[left])
    assert objects(tmp_path) == named(state)
    assert state.read().execute("SELECT sum(subjects) FROM generation").fetchone()[0] == 8960
    assert store.ensure(gone[:500], 9).new == 500


def test_each_touched_page_is_read_and_written_once(store, tmp_path, monkeypatch):
    """However many persons of a page go in a call, its bytes move once."""
    some = tokens(12_000)
    store.ensure(some, 1)
    read = []
    real = type(store._reader).whole
    monkeypatch.setattr(type(store._reader), "whole", lambda self, page: read.append(page.id) or real(self, page))
    store.remove_many(ordered(some[:2000]))
    assert len(read) == len(set(read)) == 3


def test_what_is_raised_within_undoes_its_group_and_leaves_those_before(store, state, tmp_path, monkeypatch):
    """The third group is refused: two are done, each in whole, the rest are as they were, and nothing is left over."""
    monkeypatch.setattr(removal, "PAGES_AT_ONCE", 1)
    some = tokens(16_000)
    store.ensure(some, 1)
    count = []

    def refuse(_rows, taken, _born):
        count.append(len(taken))
        if len(count) == 3:
            raise BudgetError("enough", remaining=0)

    with pytest.raises(BudgetError):
        store.remove_many(ordered(some[:4000]), refuse)
    assert (~store.lookup(some).found).sum() == sum(count[:2])
    assert objects(tmp_path) == named(state)
    assert store.remove_many(ordered(some[:4000])).gone.sum() == 4000 - sum(count[:2])


def test_a_page_that_another_process_wrote_meanwhile_is_looked_for_again(store, state, tmp_path, monkeypatch):
    """Another process takes somebody out of the same page at the last moment: both are gone, and nobody else."""
    some = tokens(3000)
    store.ensure(some, 1)
    other = opened(state, tmp_path)
    real = type(store._writer).write
    calls = []

    def racing(self, name, slices, **more):
        pages = real(self, name, slices, **more)
        if not calls:
            calls.append(1)
            assert other.remove(some[7].tobytes())
        return pages

    monkeypatch.setattr(type(store._writer), "write", racing)
    assert store.remove(some[8].tobytes())
    assert np.flatnonzero(~store.lookup(some).found).tolist() == [7, 8]
    assert objects(tmp_path) == named(state)


def test_pages_that_never_stand_still_are_an_error(store, monkeypatch):
    """After some attempts it is said that the pages keep moving, and nothing was taken away."""
    some = tokens(300)
    store.ensure(some, 1)
    monkeypatch.setattr(removal, "_all_there", lambda *_a: False)
    with pytest.raises(UnavailableError):
        store.remove(some[8].tobytes())
    monkeypatch.undo()
    assert store.lookup(some).found.all()


def test_only_rows_of_changed_pages_are_read_after_a_removal(store, state, tmp_path):
    """The page table shares what stayed: one page of many is read anew."""
    some = tokens(40_000)
    store.ensure(some, 1)
    store.merge()
    before = {page.id: page for generation in store.refresh().generations for page in generation.pages}
    store.remove(some[5].tobytes())
    after = [page for generation in store.refresh().generations for page in generation.pages]
    assert sum(page is not before.get(page.id) for page in after) == 1
