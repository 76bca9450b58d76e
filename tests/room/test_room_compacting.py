"""Many small puts around a large one: a compaction leaves few runs, whatever came first, and the newest stays newest."""

import contextlib
import time

import pytest
from small_room import PASSPHRASE, SmallRoom, parcels, persons

import strongroom
from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.index import merge
from strongroom.keymaster.create import open_keymaster
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS
from strongroom.write import kept, tiers
from strongroom.write.put import RUNS_PASSED_MAX

LARGE = 17_000
"""Entries of which a run is not written anew for a few hundred small ones."""
SMALL = 50
"""Puts of one record before the large one, and after it."""


@pytest.fixture
def opened(tmp_path):
    room = SmallRoom(tmp_path)
    room.create()
    with room.keymaster() as keymaster:
        yield lambda actor: strongroom.open(str(room.bucket), keys=keymaster, actor=actor)


def objects(room):
    """What the newest snapshot names."""
    keymaster = room._keymaster
    lease = keymaster.begin_maintenance(actor="kit", verb="check")
    keys = lease_block_keys(keymaster, lease)
    found = Catalog(room._store, keymaster.room_id, keymaster.head(), keys).objects()
    keymaster.abandon(lease)
    return found


def commits(room):
    """Commits whose runs a look-up passes, by table and kind or field."""
    found = {}
    for entry in objects(room):
        if entry.kind in (KIND_RECORDS, KIND_INDEX):
            found.setdefault((entry.table, entry.kind, entry.field), set()).add(entry.commit)
    return {key: len(value) for key, value in found.items()}


def test_a_hundred_small_puts_around_a_large_one_leave_few_runs(opened, monkeypatch):
    """Before and after it, in two tables, with more commits than are merged at once; every look-up says the newest."""
    monkeypatch.setattr(tiers, "MERGE_COMMITS_MAX", 16)
    monkeypatch.setattr(merge, "MERGE_COMMITS_MAX", 16)

    def small(room, number):
        room.put("persons", [{"person_id": "P-000007", "address": f"street {number}"}])
        receipt = room.put("persons", [{"person_id": f"Q-{number}", "mobile": f"1370000{number:04}"}])
        return receipt.notes

    with opened("kit") as room:
        for number in range(SMALL // 2):
            small(room, number)
        room.put("persons", persons(LARGE))
        room.put("parcels", parcels(2, 2))
        for number in range(SMALL // 2, SMALL):
            notes = small(room, number)
        assert f"a look-up passes {2 * SMALL + 1} runs of persons: `strongroom compact` merges them" in notes
        report = room.compact()
        assert report.runs_before > 2 * SMALL
        left = commits(room)
        assert max(left.values()) == 3  # the small ones before it, the large one, the small ones after it
        assert report.superseded == SMALL - 2  # of each stretch the newest stays
        assert not any("passes" in note for note in small(room, SMALL))
        assert room.check(deep=True).faults == []
        for number in range(RUNS_PASSED_MAX):
            notes = small(room, SMALL + 1 + number)
        assert any("passes" in note for note in notes)
        room.compact()
        assert max(commits(room).values()) == 3
    with opened("ada") as room, room.read(purpose="case-work", reason="case 1") as desk:
        assert desk.get("persons", "P-000007")["address"] == f"street {SMALL + RUNS_PASSED_MAX}"
        for number in (0, SMALL // 2, SMALL - 1, SMALL + RUNS_PASSED_MAX):
            (found,) = desk.find("persons", {"mobile": f"1370000{number:04}"})
            assert found["person_id"] == f"Q-{number}"


def test_a_commit_of_more_runs_than_commits_are_merged_at_once_is_merged_too(opened, monkeypatch):
    """The runs of one commit are disjoint and are read in turn: they stand in nobody's way."""
    monkeypatch.setattr(tiers, "MERGE_COMMITS_MAX", 4)
    monkeypatch.setattr(merge, "MERGE_COMMITS_MAX", 4)
    monkeypatch.setattr(merge.merge, "__kwdefaults__", {**merge.merge.__kwdefaults__, "run_entries": 40, "group_bytes": 4096})
    with opened("kit") as room:
        room.put("persons", persons(800))
        room.put("persons", persons(400))
        room.compact()
        runs = [e for e in objects(room) if e.kind == KIND_RECORDS]
        assert len(runs) > 4
        assert len({e.commit for e in runs}) == 1
        room.put("persons", [{"person_id": "P-000007", "address": "street 1"}])
        room.compact()
        runs = [e for e in objects(room) if e.kind == KIND_RECORDS]
        assert len({e.commit for e in runs}) == 1
        assert sum(e.entries for e in runs) == 800
        assert room.check(deep=True).faults == []
    with opened("ada") as room, room.read(purpose="case-work", reason="case 1") as desk:
        assert desk.get("persons", "P-000007")["address"] == "street 1"


class Slow:
    """A clock that a test moves."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.mark.parametrize("renews", [True, False])
@pytest.mark.parametrize("verb", ["compact", "put"])
def test_what_outlasts_its_lease_renews_it(tmp_path, monkeypatch, verb, renews):
    """Minutes go by between one object and the next: the lease is renewed, and without that the work is refused."""
    monkeypatch.setattr(kept, "RENEW_SECONDS", 0.0 if renews else 1e9)
    room, clock = SmallRoom(tmp_path), Slow()
    room.create()
    with (
        open_keymaster(room.keys, passphrase=PASSPHRASE, clock=clock) as keymaster,
        strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened,
    ):
        opened.put("persons", persons(20))
        opened.put("persons", persons(10))
        mint = keymaster.mint_file_key

        def slowly(lease, kind, *args):
            clock.ahead += 400.0 if kind in (KIND_RECORDS, KIND_INDEX) else 0.0
            return mint(lease, kind, *args)

        monkeypatch.setattr(keymaster, "mint_file_key", slowly)
        with contextlib.nullcontext() if renews else pytest.raises(strongroom.ConflictError, match="lease"):
            if verb == "compact":
                assert opened.compact().superseded == 10
            else:
                assert opened.put("persons", persons(5)).records == 5
