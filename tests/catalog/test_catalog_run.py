"""Runs: what is written is read back, and nothing else opens."""

import contextlib
import os
from dataclasses import replace

import numpy as np
import pytest
from catalog_kit import ROOM, TABLE, Keys, columns, keys_of_files, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.catalog.runs import RunPlan, store_run
from strongroom.errors import IntegrityError, StrongroomError, UsageError
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.seal.columns import gather, sort_entries
from strongroom.seal.run import Shape, pack_block, parse_block, parse_tail
from strongroom.store.base import object_name
from strongroom.store.memory import MemoryStore

SHAPE = Shape(1, 0, 1, b"b" * 16)


def stored(given, kind=1, pieces=1):
    store, keys = MemoryStore(), Keys()
    object_id = os.urandom(16)
    step = max(1, -(-len(given) // pieces))
    parts = [columns(given[at : at + step]) for at in range(0, len(given), step)]
    entry = store_run(store, RunPlan(ROOM, TABLE, kind), object_id, keys.mint(kind, object_id), parts, [SHAPE])
    return store, keys, entry


def read(store, keys, entry, room=ROOM):
    reader = RunReader(store, entry, room, keys_of_files(keys))
    return [pair for group in scan([reader]) for pair in pairs(group.columns())]


def made(count, size=100, seed=1, persons=None):
    rng = np.random.default_rng(seed)
    tokens = [rng.bytes(16) for _ in range(persons or count)]
    found = [
        (tokens[rng.integers(len(tokens))] if persons else tokens[i], rng.bytes(int(rng.integers(size))))
        for i in range(count)
    ]
    return sorted(found, key=lambda pair: pair[0])


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    "given",
    [
        [],
        made(1),
        made(5000),
        made(3000, persons=5),
        [(b"a" * 16, bytes(300_000)), (b"b" * 16, b"x"), (b"c" * 16, bytes(70_000))],
        [(b"a" * 16, b"")] * 9000,
    ],
    ids=["none", "one", "many", "across blocks", "jumbo", "alike"],
)
def test_run_round_trip(given, pieces):
    """Entries come back in order by scan and by look-up, whatever their sizes and repetitions."""
    store, keys, entry = stored(given, pieces=pieces)
    assert entry.entries == len(given)
    assert entry.persons == len({token for token, _ in given})
    assert read(store, keys, entry) == given
    reader = RunReader(store, entry, ROOM, keys_of_files(keys))
    wanted = [*sorted({token for token, _ in given})[:50], b"?" * 16]
    assert reader.lookup(wanted) == [[p for t, p in given if t == token] for token in wanted]
    assert [reader.lookup([token])[0] for token in wanted] == reader.lookup(wanted)
    assert reader.tail().shapes == (SHAPE,)


def test_run_unsorted_refused():
    """Entries out of order are refused, within a call and between calls."""
    with pytest.raises(UsageError):
        stored([(b"b" * 16, b""), (b"a" * 16, b"")])
    with pytest.raises(UsageError):
        stored([(b"b" * 16, b""), (b"a" * 16, b"")], pieces=2)


def test_run_every_byte_counts():
    """A flip of any byte of a run is an IntegrityError."""
    store, keys, entry = stored(made(12, size=20))
    name = object_name(entry.object_id)
    good = store.get(name)
    for at in range(len(good)):
        store.replace(name, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(IntegrityError):
            read(store, keys, entry)
    store.replace(name, good[:-1])
    with pytest.raises(IntegrityError):
        read(store, keys, entry)


def test_run_swaps_refused():
    """Another room, kind, run or block in the place of one does not open; the right ones do."""
    store, keys, entry = stored(made(2000))
    other_store, other_keys, other = stored(made(2000, seed=2))
    assert len(read(store, keys, entry)) == 2000
    for wrong in (replace(entry, kind=2), replace(entry, key_id=other.key_id), replace(entry, entries=1999)):
        with pytest.raises(IntegrityError):
            read(store, {**keys, **other_keys}, wrong)
    with pytest.raises(IntegrityError):
        read(store, keys, entry, room=b"q" * 16)
    name = object_name(entry.object_id)
    good = store.get(name)
    tail = RunReader(store, entry, ROOM, keys_of_files(keys)).tail()
    (a, length, _), (b, _, _) = tail.place(0), tail.place(1)
    store.replace(name, good[b : b + length] + good[a + length :])
    with pytest.raises(IntegrityError):
        read(store, keys, entry)
    store.replace(name, other_store.get(object_name(other.object_id)))
    with pytest.raises(IntegrityError):
        read(store, keys, entry)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_run_block_fuzz(data):
    """Any bytes parse as a block or raise our error, never another; what parses has the bytes' length."""
    try:
        block = parse_block(data)
        block.find(b"a" * 16)
        entries = block.entries()
    except StrongroomError:
        return
    assert entries.offsets[-1] == len(entries.payload)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 40))
def test_run_block_mutated(at, value, cut):
    """A block with a byte changed or the end cut parses or raises our error."""
    plain = bytearray(pack_block(columns(made(5, size=12))))
    plain[at % len(plain)] = value
    data = bytes(plain[: len(plain) - cut])
    with contextlib.suppress(StrongroomError):
        parse_block(data).entries()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 3), st.integers(0, 100), st.integers(0, 100))
def test_run_tail_fuzz(data, blocks, entries, offset):
    """Any bytes parse as a tail or raise our error."""
    for plain in (data, blocks.to_bytes(4, "little") + bytes(4) + data):
        with contextlib.suppress(StrongroomError):
            parse_tail(plain, blocks=blocks, entries=entries, tail_offset=offset)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.binary(max_size=5)), max_size=40))
def test_run_sort_gather(items):
    """Sorting is by token, then rank, then position, and gathering copies just those entries."""
    given = [(bytes([a]) + bytes(14) + bytes([b]), payload) for a, b, _, payload in items]
    entries = columns(given) if given else columns([])
    rank = np.array([r for _, _, r, _ in items], np.uint32)
    order = sort_entries(entries.tokens, rank)
    want = sorted(range(len(items)), key=lambda i: (given[i][0], items[i][2], i))
    assert order.tolist() == want
    payload, offsets = gather(entries.payload, entries.offsets, order)
    assert pairs(columns([])._replace(tokens=entries.tokens[order], payload=payload, offsets=offsets)) == [
        given[i] for i in want
    ]
