"""Verifying the whole log: what was changed, removed, cut off or altered is found and named."""

import pytest
from audit_fixtures import ORIGIN, PUBLIC, entries, objects, published, reader

from strongroom.audit.note import open_checkpoint
from strongroom.audit.verify import verify
from strongroom.errors import IntegrityError

ITEMS = entries(66_000)
SMALL = ITEMS[:700]


def check(store, items=SMALL, known=()):
    return verify(store, PUBLIC, ORIGIN, reader(items), known)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, 700, 65_536, 66_000])
def test_an_honest_log_verifies(size):
    """Everything is recomputed, and counted."""
    store, _log, text = published(ITEMS, size)
    report = check(store, ITEMS[: size + 3])
    assert report.size == size
    assert report.root == open_checkpoint(text, ORIGIN, PUBLIC).root
    assert report.checkpoint == text
    assert report.bundles == -(-size // 256)
    names = [name for name in objects(store) if not name.startswith("tile/entries")]
    assert report.tiles == len(names) - 1
    assert report.unpublished == len(ITEMS[: size + 3]) - size


def test_a_log_that_was_never_published_verifies_as_empty():
    """No checkpoint, no known one: nothing to say but how many entries wait."""
    from strongroom.store.memory import MemoryStore

    report = check(MemoryStore(), SMALL[:5])
    assert (report.size, report.unpublished) == (0, 5)


def test_known_checkpoints_are_checked_at_their_size():
    """Older checkpoints of the same log agree, wherever their size lies in a tile."""
    store, log, _ = published(ITEMS, 1)
    known = [log.publish(reader(ITEMS), size) for size in (2, 100, 256, 300, 512, 513, 700)]
    assert check(store, known=known).known == 7


@pytest.mark.parametrize("place", [0, 255, 256, 511, 600, 699])
def test_a_changed_entry_is_named(place):
    """The first one changed, by number."""
    store, _log, _text = published(SMALL)
    items = [*SMALL]
    items[place] = b"changed"
    with pytest.raises(IntegrityError, match=f"entry {place} is not the one that was published"):
        check(store, items)


@pytest.mark.parametrize("place", [0, 300, 699])
def test_a_removed_entry_is_named(place):
    """Everything after it moves up; the first that differs is named."""
    store, _log, _text = published(SMALL)
    with pytest.raises(IntegrityError, match=f"entry {place}|entry 699 is missing"):
        check(store, SMALL[:place] + SMALL[place + 1 :])


def test_a_cut_off_tail_of_entries_is_named():
    """Entries end before the checkpoint does."""
    store, _log, _text = published(SMALL)
    with pytest.raises(IntegrityError, match="entry 650 is missing: the checkpoint covers 700"):
        check(store, SMALL[:650])


def test_a_whole_log_set_back_is_found_by_a_known_checkpoint():
    """Entries, tiles and checkpoint of an older day, all genuine: shorter than what somebody kept."""
    store, log, _text = published(SMALL, 500)
    older = objects(store)
    newer = log.publish(reader(SMALL), 700)
    for name in objects(store):
        store.delete(name)
    for name, data in older.items():
        store.put(name, data)
    assert check(store, SMALL[:500]).size == 500
    with pytest.raises(IntegrityError, match="cut off: it has 500 entries, and a known checkpoint 700"):
        check(store, SMALL[:500], [newer])
    for name in objects(store):
        store.delete(name)
    with pytest.raises(IntegrityError, match="cut off: it has 0 entries"):
        check(store, [], [newer])


def test_a_rewritten_log_signed_again_is_found_by_a_known_checkpoint():
    """Whoever has the signing key can rewrite everything but what somebody else kept."""
    kept = published(SMALL, 300)[2]
    other = [*SMALL]
    other[20] = b"changed"
    store, _log, _text = published(other, 700)
    assert check(store, other).size == 700
    with pytest.raises(IntegrityError, match="rewritten before entry 300"):
        check(store, other, [kept])
    with pytest.raises(IntegrityError, match="forked"):
        check(store, other, [kept, published(other, 300)[2]])


@pytest.mark.parametrize(
    ("name", "at", "says"),
    [
        ("tile/0/000", 0, "tile/0/000 was altered at entry 0"),
        ("tile/0/001", 32 * 10, "tile/0/001 was altered at entry 266"),
        ("tile/0/002.p/188", 32 * 187, "tile/0/002.p/188 was altered at entry 699"),
        ("tile/1/000.p/2", 5, "tile/1/000.p/2 was altered"),
        ("tile/entries/000", 2, "tile/entries/000 was altered at entry 0"),
    ],
)
def test_an_altered_tile_is_named(name, at, says):
    """One bit turned in any stored object."""
    store, _log, _text = published(SMALL)
    data = bytearray(store.get(name))
    data[at] ^= 1
    store.replace(name, bytes(data))
    with pytest.raises(IntegrityError, match=says):
        check(store)


def test_every_stored_object_is_needed_and_checked():
    """Each tile and bundle removed, lengthened or shortened is found; a removed checkpoint by a known one."""
    store, _log, text = published(SMALL)
    for name, data in objects(store).items():
        for bad in (data + b"x", data[:-1], data[:1]):
            store.replace(name, bad)
            with pytest.raises(IntegrityError):
                check(store)
        store.delete(name)
        with pytest.raises(IntegrityError):
            check(store, known=[text])
        store.put(name, data)
    assert check(store).size == 700


def test_upper_levels_are_checked():
    """A tile of level 1 and 2 in a log of 66,000."""
    store, _log, _text = published(ITEMS)
    for name in ("tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"):
        data = store.get(name)
        store.replace(name, bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(IntegrityError, match=name):
            check(store, ITEMS)
        store.replace(name, data)


def test_a_checkpoint_that_does_not_fit_the_entries_is_refused():
    """Tiles and entries agree, and the signed root is another."""
    store, _log, _text = published(SMALL)
    store.replace("checkpoint", published(entries(700, b"other"))[2].encode())
    with pytest.raises(IntegrityError, match="root of the signed checkpoint"):
        check(store)


def test_a_known_checkpoint_that_is_not_signed_is_refused():
    """Nothing unsigned can accuse the log."""
    store, _log, text = published(SMALL)
    with pytest.raises(IntegrityError):
        check(store, known=[text.replace("\n700\n", "\n701\n")])
