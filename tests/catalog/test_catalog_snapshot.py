"""Snapshots and manifests: the head decides, everything else is checked against it."""

import contextlib
import os
from dataclasses import replace

import pytest
from catalog_kit import ROOM, TABLE, Keys, keys_of_files
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.catalog import commit as commit_module
from strongroom.catalog.catalog import EMPTY_HEAD, Catalog
from strongroom.catalog.commit import CommitBuilder
from strongroom.catalog.entries import ObjectEntry, Snapshot
from strongroom.catalog.manifest import pack_manifest, parse_manifest
from strongroom.catalog.snapshot import pack_snapshot, parse_snapshot
from strongroom.errors import ConflictError, IntegrityError, NotFoundError, StrongroomError, UsageError
from strongroom.store.base import object_name
from strongroom.store.memory import MemoryStore


def entry(**more):
    base = ObjectEntry(
        object_id=os.urandom(16), kind=1, table=TABLE, key_id=os.urandom(16), length=100, sha256=bytes(32), entries=5
    )
    return replace(base, **more)


class Bench:
    def __init__(self):
        self.store, self.keys = MemoryStore(), Keys()
        self.catalog = Catalog(self.store, ROOM, EMPTY_HEAD, keys_of_files(self.keys))

    def open(self, head, room=ROOM, previous=None):
        return Catalog(self.store, room, head, keys_of_files(self.keys), previous=previous)

    def commit(self, added=(), removed=(), **more):
        builder = CommitBuilder(self.catalog)
        for item in added:
            builder.add(item)
        for item in removed:
            builder.remove(item)
        head = builder.write(mint=self.keys.mint, created=7, **more)
        self.catalog = self.open(head)
        return head


def test_catalog_history():
    """Objects come in commit order; older snapshots open by number and show what was there then."""
    bench = Bench()
    first = entry(batches=(b"b" * 16, b"c" * 16), field=b"f" * 16, kind=2, lo=b"a" * 16, hi=b"b" * 16)
    bench.commit([first], stats={TABLE.hex(): {"records": 5}}, checkpoint="text", notes={"sum": "ab", "n": 1})
    second = entry()
    bench.commit([second])
    bench.commit([entry()], [second])
    assert [item.commit for item in bench.catalog.objects()] == [1, 3]
    assert bench.catalog.at(1).objects(TABLE, 2, b"f" * 16) == [replace(first, commit=1)]
    assert [item.object_id for item in bench.catalog.at(2).objects()] == [first.object_id, second.object_id]
    assert bench.catalog.at(0).objects() == []
    assert bench.catalog.snapshot.stats == {TABLE.hex(): {"records": 5}}
    assert bench.catalog.at(1).snapshot.notes == {"sum": "ab", "n": 1}
    assert len(bench.catalog.names()) == 4
    with pytest.raises(NotFoundError):
        bench.catalog.at(4)


def test_catalog_refuses_other_than_head():
    """An older, changed, foreign or absent snapshot is an IntegrityError, not an older room."""
    bench = Bench()
    old = bench.commit([entry()])
    new = bench.commit([entry()])
    with pytest.raises(IntegrityError):
        bench.open(replace(old, number=2))
    with pytest.raises(IntegrityError):
        bench.open(new, room=b"q" * 16)
    good = bench.store.get(object_name(new.object_id))
    bench.store.replace(object_name(new.object_id), bench.store.get(object_name(old.object_id)))
    with pytest.raises(IntegrityError):
        bench.open(new)
    bench.store.delete(object_name(new.object_id))
    with pytest.raises(IntegrityError):
        bench.open(new)
    bench.store.put(object_name(new.object_id), good)
    assert len(bench.open(new).objects()) == 2


def test_catalog_manifest_damage():
    """A changed or foreign manifest is an IntegrityError."""
    bench, other = Bench(), Bench()
    head = bench.commit([entry()])
    other.commit([entry()])
    (ours,), (theirs,) = bench.catalog.snapshot.manifests, other.catalog.snapshot.manifests
    name = object_name(ours.object_id)
    good = bench.store.get(name)
    for bad in (good[:-1], good[:-1] + bytes([good[-1] ^ 1]), other.store.get(object_name(theirs.object_id))):
        bench.store.replace(name, bad)
        with pytest.raises(IntegrityError):
            bench.open(head).objects()


def test_commit_reuses_full_manifests(monkeypatch):
    """Full manifests without changes are named again; the last one is filled up."""
    monkeypatch.setattr(commit_module, "MANIFEST_ENTRIES_MAX", 4)
    bench = Bench()
    bench.commit([entry() for _ in range(6)])
    before = {item.object_id: item.entries for item in bench.catalog.snapshot.manifests}
    bench.commit([entry()])
    after = {item.object_id: item.entries for item in bench.catalog.snapshot.manifests}
    assert sorted(after.values()) == [3, 4]
    assert {key for key, count in before.items() if count == 4} <= set(after)


def test_a_catalogue_that_is_kept_asks_for_no_key(monkeypatch):
    """It tells of manifests that were opened, also later, by whoever has keys; what it does not know it does not remember."""
    monkeypatch.setattr(commit_module, "MANIFEST_ENTRIES_MAX", 1)
    bench = Bench()
    bench.commit([entry() for _ in range(3)])
    catalog = bench.open(bench.catalog.head)
    kept, references = catalog.kept(), catalog.snapshot.manifests
    assert (kept.head, kept.objects()) == (catalog.head, [])
    first = catalog.manifest(references[0])
    assert kept.objects() == first
    with pytest.raises(UsageError, match="opens nothing further"):
        kept.manifest(references[1])
    assert len(catalog.objects()) == 3
    assert kept.objects() == catalog.objects()
    assert len(bench.open(kept.head, previous=kept).objects()) == 3


def test_catalogues_of_one_snapshot_know_what_either_opened():
    """Made beside each other before anything was opened: what is kept of the second has all that the first one found."""
    bench = Bench()
    bench.commit([entry() for _ in range(3)])
    first = bench.open(bench.catalog.head)
    second = bench.open(first.head, previous=first.kept())
    assert len(first.objects(TABLE, 1)) == 3
    assert len(second.objects(TABLE, 1)) == 3
    assert second.kept().objects(TABLE) == first.objects(TABLE)


def test_commit_after_a_lost_race():
    """The loser of a race builds its changes on the newer snapshot; a removed object that is gone is a conflict."""
    bench = Bench()
    target = entry()
    bench.commit([target])
    mine = entry()
    bench.commit([entry()], [target])
    loser = CommitBuilder(bench.catalog)
    loser.add(mine)
    head = loser.write(mint=bench.keys.mint, created=9)
    assert bench.open(head).objects()[-1] == replace(mine, commit=3)
    remover = CommitBuilder(bench.catalog)
    remover.remove(target)
    with pytest.raises(ConflictError):
        remover.write(mint=bench.keys.mint, created=9)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 255))
def test_snapshot_mutated(at, value):
    """A snapshot with a byte changed is read back the same or raises our error."""
    plain = bytearray(
        pack_snapshot(
            Snapshot(
                number=3,
                created=5,
                parent=replace(EMPTY_HEAD, object_id=bytes(16), key_id=bytes(16), sha256=bytes(32)),
                stats={TABLE.hex(): {"a": 1}},
            )
        )
    )
    plain[at % len(plain)] = value
    with contextlib.suppress(StrongroomError):
        assert pack_snapshot(parse_snapshot(bytes(plain))) == bytes(plain)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=30).map(str.encode),
        st.sampled_from([b"{}", b"[]", b"1", b"[" * 9000]),
    )
)
def test_snapshot_manifest_fuzz(data):
    """Any bytes as snapshot or manifest raise our error."""
    for parse in (parse_snapshot, parse_manifest):
        with pytest.raises(StrongroomError):
            parse(data)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 255), st.integers(0, 30))
def test_manifest_mutated(at, value, cut):
    """A manifest with a byte changed or its end cut parses or raises our error."""
    plain = bytearray(pack_manifest([entry(), entry(batches=(bytes(16),))]))
    plain[at % len(plain)] = value
    with contextlib.suppress(StrongroomError):
        parse_manifest(bytes(plain[: len(plain) - cut]))
