"""Entries under many tokens at once: what single look-ups find, each block once, and none that can hold nothing."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "catalog"))

from catalog_kit import ROOM, TABLE, Keys, columns, keys_of_files

from strongroom.catalog.catalog import EMPTY_HEAD, Catalog
from strongroom.catalog.commit import CommitBuilder
from strongroom.catalog.runs import RunPlan, store_run
from strongroom.errors import IntegrityError
from strongroom.index import bulk
from strongroom.index.bulk import Reads, Sorted, entries_under
from strongroom.index.runreader import RunReader
from strongroom.seal.blocks import KIND_INDEX
from strongroom.store.base import object_name
from strongroom.store.memory import MemoryStore

FIELD = b"f" * 16


def short(number):
    """A token of which many share their first half, and some end in zeros."""
    return bytes([number % 3]) + bytes(7) + (number // 3 << 8).to_bytes(8, "big")


class Runs:
    """Index runs whose entries are known: value token to payloads."""

    def __init__(self, runs):
        self.store, self.keys = MemoryStore(), Keys()
        block_keys = keys_of_files(self.keys)
        catalog = Catalog(self.store, ROOM, EMPTY_HEAD, block_keys)
        self.readers = []
        for given_entries in runs:
            object_id = os.urandom(16)
            plan = RunPlan(ROOM, TABLE, KIND_INDEX, field=FIELD)
            entries = sorted(given_entries, key=lambda entry: entry[0])
            run = store_run(self.store, plan, object_id, self.keys.mint(KIND_INDEX, object_id), [columns(entries)], [])
            CommitBuilder(catalog).add(run)
            self.readers.append(RunReader(self.store, run, ROOM, block_keys))

    def found(self, tokens, **more):
        """(run, token, payload) of each hit, the tokens that are crowded, and what it cost."""
        wanted, _order = Sorted.of(np.frombuffer(b"".join(tokens), np.uint8).reshape(-1, 16))
        reads, hits, crowded = Reads(), [], set()
        for one in entries_under(self.readers, wanted, reads, **more):
            payload, offsets = one.entries.payload.tobytes(), one.entries.offsets
            number = self.readers.index(one.reader)
            crowded |= {wanted.tokens[at].tobytes() for at in one.crowded}
            hits += [
                (number, wanted.tokens[a].tobytes(), payload[offsets[p] : offsets[p + 1]])
                for a, p in zip(one.asked, one.places, strict=True)
            ]
        return sorted(hits), crowded, reads


def one_by_one(runs, tokens):
    return sorted(
        (number, token, payload)
        for number, reader in enumerate(runs.readers)
        for token, here in zip(tokens, reader.lookup(tokens), strict=True)
        for payload in here
    )


@given(
    st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=60), min_size=1, max_size=3),
    st.sets(st.integers(0, 45), min_size=1),
)
def test_it_finds_what_single_look_ups_find(runs, asked):
    """Tokens that share a half, repeat, or end in zeros; in any order, some of them nowhere."""
    room = Runs([[(short(n), os.urandom(44)) for n in run] for run in runs])
    tokens = [short(n) for n in asked]
    assert room.found(tokens, most=1_000)[0] == one_by_one(room, tokens)


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(4)
    return Runs([[(rng.bytes(16), rng.bytes(44)) for _ in range(60_000)] for _ in range(2)])


@pytest.mark.parametrize("count", [1, 50, 5_000])
def test_what_is_read_goes_by_the_tokens_and_no_block_is_read_twice(large, count, monkeypatch):
    """At most two blocks of a run for a token, at most all of them; small stretches at a time give the same."""
    rng = np.random.default_rng(count)
    tokens = [rng.bytes(16) for _ in range(count)]
    tokens += [reader.tail().first(at) for reader in large.readers for at in range(0, reader.tail().blocks, 7)][:count]
    hits, _crowded, reads = large.found(tokens)
    assert hits == one_by_one(large, tokens)
    assert reads.there == sum(reader.entry.blocks for reader in large.readers)
    assert reads.blocks <= min(reads.there, 2 * len(large.readers) * len(tokens))
    monkeypatch.setattr(bulk, "ENTRIES_AT_ONCE", 1)
    again, _crowded, _reads = large.found(tokens)
    assert again == hits


def test_a_token_of_very_many_entries_is_named_instead(large):
    """100 entries under one token are more than 64: told, and not given."""
    room = Runs([[(short(1), os.urandom(44)) for _ in range(100)] + [(short(2), bytes(44))]])
    hits, crowded, _reads = room.found([short(1), short(2)])
    assert ([payload for _, _, payload in hits], crowded) == ([bytes(44)], {short(1)})


def test_a_changed_block_is_an_integrity_error():
    """One byte of a run: no entry of that block comes out."""
    room = Runs([[(short(n), os.urandom(44)) for n in range(30)]])
    name = object_name(room.readers[0].entry.object_id)
    data = bytearray(room.store.get(name))
    data[40] ^= 1
    room.store.delete(name)
    room.store.put(name, bytes(data))
    with pytest.raises(IntegrityError):
        room.found([short(3)])
