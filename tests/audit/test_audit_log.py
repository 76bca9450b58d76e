"""Publishing tiles: the same tree by every way, also after a crash at any write."""

import contextlib
from pathlib import Path

import pytest
from audit_fixtures import ORIGIN, PUBLIC, SEED, FailingStore, entries, new_log, objects, published, reader

from strongroom.audit.log import TileLog, tile_reader
from strongroom.audit.note import open_checkpoint
from strongroom.audit.tlog import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from strongroom.errors import ConflictError, IntegrityError, UnavailableError, UsageError
from strongroom.store.folder import FolderStore
from strongroom.store.memory import MemoryStore

SIZES = (0, 1, 2, 255, 256, 257, 600, 65_536, 65_792, 66_000)
ITEMS = entries(66_000)


def brute(size):
    return tree_root([leaf_hash(item) for item in ITEMS[:size]])


@pytest.mark.parametrize("size", SIZES)
def test_published_roots_equal_brute_force(size):
    """In one go, from nothing."""
    _store, _log, text = published(ITEMS, size)
    assert open_checkpoint(text, ORIGIN, PUBLIC).root == brute(size)


def test_published_in_steps_by_one_or_many_openings_the_tree_is_the_same():
    """Steps, reopened or not, end in the very objects that one go makes, but for partial tiles in between."""
    once, _log, text = published(ITEMS, 66_000)
    steps, log = new_log()
    reopened = MemoryStore()
    for size in SIZES:
        one = log.publish(reader(ITEMS), size)
        assert TileLog(reopened, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), size) == one
    assert one == text
    assert objects(steps) == objects(reopened)
    for name, data in objects(once).items():
        assert steps.get(name) == data


def test_a_log_of_seventy_thousand_has_just_the_objects_of_the_specification():
    """273 full tiles and bundles, the partial ones, the checkpoint; no object more."""
    store, _log, _text = published(entries(70_000), 500, 70_000)
    names = set(objects(store))
    full = {f"{kind}/{i:03d}" for kind in ("tile/0", "tile/entries") for i in range(273)}
    edge = {"tile/0/273.p/112", "tile/entries/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert names == full | edge | {"checkpoint"}


def test_publishing_nothing_new_writes_nothing():
    """The stored checkpoint is the answer."""
    store, log, text = published(ITEMS, 300)
    before = objects(store)
    assert log.publish(reader(ITEMS), 300) == text
    assert TileLog(store, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 300) == text
    assert objects(store) == before


def test_two_openings_that_take_turns_make_one_log():
    """Each notices what the other published."""
    store = MemoryStore()
    logs = [TileLog(store, ORIGIN, SEED, PUBLIC) for _ in range(2)]
    for turn, size in enumerate(range(100, 1500, 100)):
        text = logs[turn % 2].publish(reader(ITEMS), size)
        assert open_checkpoint(text, ORIGIN, PUBLIC).root == brute(size)


@pytest.mark.parametrize("stored", [False, True], ids=["failed", "failed but stored"])
@pytest.mark.parametrize(("start", "size"), [(0, 600), (0, 3000), (200, 256), (250, 70), (500, 520), (255, 514)])
def test_a_crash_at_any_call_of_the_store_is_harmless(start, size, stored):
    """Every call fails once, before or after it took effect; publishing again makes the same log."""
    size = max(start, size)
    whole, _log, text = published(ITEMS, *([start] if start else []), size)
    at = 0
    while True:
        at += 1
        store, log = new_log()
        if start:
            log.publish(reader(ITEMS), start)
        failing = FailingStore(store, at, stored=stored)
        broken = TileLog(failing, ORIGIN, SEED, PUBLIC)
        with contextlib.suppress(UnavailableError):
            broken.publish(reader(ITEMS), size)
        if failing.calls < at:
            break
        failing.at = 0
        further = TileLog(store, ORIGIN, SEED, PUBLIC)
        assert broken.publish(reader(ITEMS), size) == text
        assert further.publish(reader(ITEMS), size) == text
        further.sweep()
        assert {n: d for n, d in objects(store).items() if ".p/" not in n} == {
            n: d for n, d in objects(whole).items() if ".p/" not in n
        }
        for name, data in objects(whole).items():
            assert store.get(name) == data
    assert at > 3 or start == size


def test_a_crash_then_more_entries_makes_the_same_tree():
    """What an interrupted publish left does not disturb a longer one."""
    expected = published(ITEMS, 900)[2]
    for at in range(1, 30):
        store = MemoryStore()
        with contextlib.suppress(UnavailableError):
            TileLog(FailingStore(store, at, stored=True), ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 700)
        log = TileLog(store, ORIGIN, SEED, PUBLIC)
        assert log.publish(reader(ITEMS), 900) == expected
        log.sweep()
        assert {n for n in objects(store) if ".p/" in n} <= {
            "tile/0/003.p/132",
            "tile/entries/003.p/132",
            "tile/1/000.p/3",
            "tile/1/000.p/2",
        }


def test_a_tile_that_exists_with_other_bytes_is_a_fork():
    """Create-only: the log stops instead of going two ways."""
    store, log, _text = published(ITEMS, 200)
    store.put("tile/0/000", bytes(8192))
    with pytest.raises(IntegrityError, match="tile/0/000 exists with other bytes"):
        log.publish(reader(ITEMS), 300)
    other = entries(300, b"other")
    with pytest.raises(IntegrityError, match="entry 0 is not the one that was published"):
        TileLog(store, ORIGIN, SEED, PUBLIC).publish(reader(other), 300)


def test_fewer_entries_than_were_published_are_refused():
    """A database set back to an older copy is noticed before anything is written."""
    store, log, _text = published(ITEMS, 300)
    with pytest.raises(IntegrityError, match="published with 300 entries, and only 299"):
        log.publish(reader(ITEMS), 299)
    with pytest.raises(IntegrityError, match="entries 300 to 400 were asked for"):
        log.publish(reader(ITEMS[:350]), 400)
    assert log.publish(reader(ITEMS), 400)
    assert store.exists("tile/entries/001.p/144")


def test_a_checkpoint_that_went_back_or_away_is_refused():
    """An opening that has seen the newer one does not accept the older."""
    store, log, _text = published(ITEMS, 300)
    old = store.get("checkpoint")
    log.publish(reader(ITEMS), 400)
    store.replace("checkpoint", old)
    with pytest.raises(IntegrityError, match="went back"):
        log.publish(reader(ITEMS), 500)
    store.delete("checkpoint")
    with pytest.raises(IntegrityError, match="disappeared"):
        log.publish(reader(ITEMS), 500)


def test_a_checkpoint_of_a_rewritten_log_is_refused():
    """Signed by the right key, larger, no continuation: refused by an opening that knows the older one."""
    store, log, _text = published(ITEMS, 300)
    forged = published(entries(500, b"other"), 500)[0]
    for name, data in objects(forged).items():
        store.replace(name, data)
    with pytest.raises(IntegrityError, match="does not continue"):
        log.publish(reader(ITEMS), 600)


def test_a_checkpoint_with_a_wrong_signature_is_refused():
    """Nothing is derived from an unsigned size."""
    store, log, text = published(ITEMS, 300)
    store.replace("checkpoint", text.replace("\n300\n", "\n301\n").encode())
    with pytest.raises(IntegrityError):
        TileLog(store, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 400)
    store.replace("checkpoint", b"\xff")
    with pytest.raises(IntegrityError):
        log.publish(reader(ITEMS), 400)


def test_a_missing_edge_tile_is_named():
    """Recovery needs the right edge, and says which part is gone."""
    store, _log, _text = published(ITEMS, 300)
    store.delete("tile/0/001.p/44")
    with pytest.raises(IntegrityError, match=r"tile/0/001\.p/44 is missing"):
        TileLog(store, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 400)


def test_a_reader_without_the_signing_key_publishes_nothing():
    """It reads and proves only."""
    store, _log, _text = published(ITEMS, 300)
    log = TileLog(store, ORIGIN, None, PUBLIC)
    assert log.stored_checkpoint()[1].size == 300
    with pytest.raises(UsageError):
        log.publish(reader(ITEMS), 400)


def test_partial_tiles_go_when_the_full_one_is_there_and_proofs_still_hold():
    """A proof at an old size takes the head of the full tile instead."""
    store, log, _text = published(ITEMS, 100, 200, 300)
    assert not [name for name in objects(store) if name.startswith(("tile/0/000.p", "tile/entries/000.p"))]
    read = log.reader()
    verify_inclusion(leaf_hash(ITEMS[7]), 7, 100, inclusion_proof(read, 7, 100), brute(100))
    verify_consistency(100, 300, brute(100), brute(300), consistency_proof(read, 100, 300))


def test_on_a_folder_another_implementation_reads_and_proves_the_same(tmp_path: Path):
    """tlog_scales, an independent reader of tiles: roots, entries, inclusion and consistency proofs agree."""
    tlog_scales = pytest.importorskip("tlog_scales.reader")
    from tlog_scales.backend import LocalBackend

    store = FolderStore(str(tmp_path))
    log = TileLog(store, ORIGIN, SEED, PUBLIC)
    items = ITEMS[:2600]
    for size in (3, 700, 2600):
        log.publish(reader(items), size)
    other = tlog_scales.TilesReader(LocalBackend(tmp_path))
    assert other.get_checkpoint().size == 2600
    assert other.calculate_root_hash() == brute(2600)
    read = tile_reader(store)
    for index in (0, 255, 256, 1999, 2599):
        assert other.get_entry(index) == items[index]
        assert other.get_inclusion_proof(index, 2600).node_hashes == inclusion_proof(read, index, 2600)
    for old in (1, 256, 700, 1024, 2599):
        assert other.get_consistency_proof(old, 2600).node_hashes == consistency_proof(read, old, 2600)
        other.get_consistency_proof(old, 2600).check(brute(old), brute(2600))


def test_the_stores_are_create_only():
    """The rule that publishing rests on."""
    store = MemoryStore()
    store.put("a", b"1")
    with pytest.raises(ConflictError):
        store.put("a", b"2")
