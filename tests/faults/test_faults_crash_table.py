"""The crash table: each store call of put, compact, rotation, copy and restore fails, fails but was stored, or is the last one.

What must hold afterwards, whatever happened: the room opens; `check` finds no fault; every record committed before is
there; the act is done whole or not at all; what nothing names is exactly what the act had stored and not taken back;
the act works when it is done again; and compaction removes what was left.
"""

import contextlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_kit import MODES, Fault, FaultyStore, Killed, MortalKeymaster

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import PASSPHRASE, SmallRoom, fill, parcels, person, persons

import strongroom
from strongroom.catalog.catalog import Catalog
from strongroom.catalog.freshness import NOTES
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import StrongroomError
from strongroom.replicate.copy import copy
from strongroom.replicate.plan import plan_of
from strongroom.replicate.restore import restore
from strongroom.room import Room
from strongroom.store.base import object_name
from strongroom.store.memory import MemoryStore
from strongroom.store.open import open_store

PEOPLE = 300
SIDE = (NOTES, "tail/")
LEASE_SECONDS = 3600.0
STORED = MODES[1]
WRITES = ("put", "replace", "writer", "delete")
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
READS_TRIED = 1 if LONG else 4  # reads change nothing: a quarter of them will do
WRITES_TRIED_ON_S3 = 1 if LONG else 10


def clone(store, made=None):
    """The same objects in a store of its own, in memory if none is given."""
    made = MemoryStore(f"memory://clone-of-{store.url.rsplit('/', 1)[-1]}") if made is None else made
    for name, _ in store.list():
        made.put(name, store.get(name))
    return made


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """One trial's room: its bucket in memory, its keymaster in a folder of its own, a second store, and a clock."""

    folder: Path
    bucket: Any
    other: Any
    clock: Clock

    @contextlib.contextmanager
    def keymaster(self):
        keys = strongroom.open_keymaster(str(self.folder / "keys"), passphrase=PASSPHRASE, clock=self.clock)
        with keys:
            yield keys


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A filled room with an upsert, so that there is something to compact; and a copy of it."""
    room = SmallRoom(tmp_path_factory.mktemp("crash-table"))
    room.create()
    fill(room, PEOPLE)
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.put("persons", persons(20, PEOPLE))
        opened.put("parcels", parcels(30, 10))
        opened.copy(to=str(room.folder / "copy"))
    return room


@pytest.fixture
def bench(start, tmp_path):
    shutil.copytree(start.keys, tmp_path / "keys")
    bucket, other = clone(open_store(str(start.bucket))), MemoryStore("memory://other")
    return Bench(tmp_path, bucket, other, Clock())


# -- the acts: each takes the stores it works on and a keymaster -----------------------------------


def act_put(bucket, other, keys):
    Room(bucket, keys, "kit").put("persons", persons(40, 1000))


def act_compact(bucket, other, keys):
    Room(bucket, keys, "kit").compact()


def act_copy(bucket, other, keys):
    copy(bucket, keys, "kit", other)


def act_restore(bucket, other, keys):
    restore(bucket, other, keys, "kit")


def act_rotate_index(bucket, other, keys):
    Room(bucket, keys, "kit").rotate_index("persons", "mobile")


def act_rotate_files(bucket, other, keys):
    Room(bucket, keys, "kit").rotate_files(older_days=-1)


def act_erase(bucket, other, keys):
    Room(bucket, keys, "kit").erase(["P-000021", "P-000022"], reason="request 12")


ROTATIONS = {"rotate index": act_rotate_index, "rotate files": act_rotate_files}
ACTS = {
    "put": act_put,
    "compact": act_compact,
    "erase": act_erase,
    **ROTATIONS,
    "copy": act_copy,
    "restore": act_restore,
}


def calls_of(act, start, tmp_path_factory):
    """How many calls the act makes when nothing fails, by a run of its own."""
    folder = tmp_path_factory.mktemp("dry")
    shutil.copytree(start.keys, folder / "keys")
    bench = Bench(folder, clone(open_store(str(start.bucket))), MemoryStore("memory://other"), Clock())
    fault = Fault()
    with bench.keymaster() as keys:
        ACTS[act](FaultyStore(bench.bucket, fault), FaultyStore(bench.other, fault), keys)
    return fault.calls


@pytest.fixture(scope="module")
def counted(start, tmp_path_factory):
    known = {}

    def of(act, mode):
        if act not in known:
            known[act] = calls_of(act, start, tmp_path_factory)
        reads = LONG or mode != STORED  # a read that fails after it worked is one that fails: nothing was stored
        calls = enumerate(known[act])
        return [(at, call) for at, call in calls if call[0] in WRITES or (reads and at % READS_TRIED == 0)]

    return of


def trial(bench, act, at, mode):
    """Run an act with a fault; returns the fault, and whether the act said that it was done."""
    fault = Fault(at, mode)
    with bench.keymaster() as keys:
        mortal = MortalKeymaster(keys, fault)
        try:
            ACTS[act](FaultyStore(bench.bucket, fault), FaultyStore(bench.other, fault), mortal)
        except (StrongroomError, Killed):
            return fault, False
    return fault, True


def names_of(store):
    return {name for name, _ in store.list() if not name.startswith(SIDE)}


def judge(keys, store, expected_left):
    """The room in a store has no fault and every record of before; what is left over is what is expected."""
    report = Room(store, keys, "kit").check()
    assert report.faults == []
    assert set(report.orphans) == expected_left & names_of(store) - reached(keys, store)
    with Room(store, keys, "ada").read(purpose="case-work", reason="after a fault") as desk:
        for number in (0, 7, 150, PEOPLE - 1, PEOPLE + 3):
            assert dict(desk.get("persons", f"P-{number:06d}")) == person(number)
            assert [dict(one) for one in desk.find("persons", {"mobile": person(number)["mobile"]})] == [person(number)]
        try:
            desk.get("persons", "P-001005")
        except strongroom.NotFoundError:
            return keys.head().number, False
        return keys.head().number, True


def reached(keys, store):
    """Names that the kept snapshots reach."""
    lease = keys.begin_maintenance(actor="kit", verb="check")
    plan = plan_of(Catalog(store, keys.room_id, keys.head(), lease_block_keys(keys, lease)))
    keys.abandon(lease)
    return {item.name for item in plan.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("act", ["put", "compact", *ROTATIONS])
def test_a_fault_at_any_call_of_a_change_leaves_the_room_as_before_or_after(bench, counted, start, act, mode, tmp_path):
    """Every record is there, the change is whole or absent, what is left over is known, and the change works again."""
    before = names_of(bench.bucket)
    with bench.keymaster() as keys:
        head = keys.head().number
    for at, call in counted(act, mode):
        trial_folder = tmp_path / f"{act}-{at}"
        shutil.copytree(start.keys, trial_folder / "keys")
        one = Bench(trial_folder, clone(bench.bucket), MemoryStore("memory://other"), Clock())
        fault, done = trial(one, act, at, mode)
        assert fault.fired is not None, call
        added = names_of(one.bucket) - before
        with one.keymaster() as keys:
            number, there = judge(keys, one.bucket, added)
            assert number - head in ((1,) if done else (0, 1)), call
            room = Room(one.bucket, keys, "kit")
            # the same again, then time passes, and nothing is left that nothing names
            if act == "put":
                assert there == (number > head), call
                room.put("persons", persons(40, 1000))
            if act in ROTATIONS:
                ACTS[act](one.bucket, one.other, keys)
            one.clock.now += LEASE_SECONDS
            room.compact()
            room.compact()
            report = room.check()
            assert report.faults == []
            assert report.orphans == [], call
        shutil.rmtree(trial_folder)


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_call_of_a_copy_leaves_both_places_whole(bench, counted, start, mode, tmp_path):
    """The room is untouched, a snapshot in the copy has all its objects, and the next copy completes it."""
    before = dict(bench.bucket.list())
    for at, call in counted("copy", mode):
        trial_folder = tmp_path / f"copy-{at}"
        shutil.copytree(start.keys, trial_folder / "keys")
        one = Bench(trial_folder, bench.bucket, MemoryStore("memory://other"), Clock())
        trial(one, "copy", at, mode)
        assert dict(one.bucket.list()) == before, call
        with one.keymaster() as keys:
            head = keys.head()
            named = reached(keys, one.bucket)
            assert names_of(one.other) <= named
            if object_name(head.object_id) in names_of(one.other):
                assert names_of(one.other) == named, call
            copy(one.bucket, keys, "kit", one.other)
            assert names_of(one.other) == named
            judge(keys, one.other, set())
        shutil.rmtree(trial_folder)


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_call_of_a_restore_leaves_no_half_room_that_opens(bench, counted, start, mode, tmp_path):
    """Either the newest snapshot is there with everything, or it is not there and the restore works in an empty place."""
    for at, call in counted("restore", mode):
        trial_folder = tmp_path / f"restore-{at}"
        shutil.copytree(start.keys, trial_folder / "keys")
        one = Bench(trial_folder, bench.bucket, MemoryStore("memory://other"), Clock())
        trial(one, "restore", at, mode)
        with one.keymaster() as keys:
            newest = object_name(keys.head().object_id)
            if newest in names_of(one.other):
                assert names_of(one.other) == reached(keys, one.bucket), call
            else:
                home = MemoryStore("memory://home")
                restore(one.bucket, home, keys, "kit")
                assert names_of(home) == reached(keys, one.bucket), call
        shutil.rmtree(trial_folder)


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_call_of_an_erasure_leaves_it_in_force_or_not_begun(counted, start, mode, tmp_path):
    """Both persons are gone or both are there, no object changed, nobody else is missing, and the receipt can be had."""
    for at, call in counted("erase", mode):
        trial_folder = tmp_path / f"erase-{at}"
        shutil.copytree(start.keys, trial_folder / "keys")
        one = Bench(trial_folder, clone(open_store(str(start.bucket))), MemoryStore("memory://other"), Clock())
        before = names_of(one.bucket)
        _fault, done = trial(one, "erase", at, mode)
        with one.keymaster() as keys:
            judge(keys, one.bucket, set())
            assert names_of(one.bucket) == before
            rows = keys._core.state.read()
            leaves = [row[0] for row in rows.execute("SELECT leaf FROM erasure").fetchall()]
            assert done <= bool(leaves), call
            if not leaves:
                act_erase(one.bucket, one.other, keys)
            room = Room(one.bucket, keys, "kit")
            with pytest.raises(strongroom.ConflictError):
                act_erase(one.bucket, one.other, keys)
            leaves = [row[0] for row in rows.execute("SELECT leaf FROM erasure").fetchall()]
            assert room.erasure_receipt(*leaves)["persons"] == 2
            with Room(one.bucket, keys, "ada").read(purpose="case-work", reason="after a fault") as desk:
                for number in (21, 22):
                    with pytest.raises(strongroom.NotFoundError):
                        desk.get("persons", f"P-{number:06d}")
        shutil.rmtree(trial_folder)


# -- the same on a real S3 server: the calls that write, of which a share where the run is not a long one ---


@pytest.fixture
def places(s3_bucket):
    """Two new places on the server for each trial."""
    made = []

    def of(at):
        made.extend(open_store(f"s3://{s3_bucket}/{at}-{name}") for name in ("bucket", "other"))
        return made[-2:]

    yield of
    for store in made:
        store.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("act", ["put", "compact", "erase", "copy", "restore"])
def test_the_same_faults_on_s3(counted, start, places, act, mode, tmp_path):
    """After a fault at a write the room on S3 has no fault, everybody is there, and the act is done when it is done again."""
    writes = [(at, call) for at, call in counted(act, mode) if call[0] in WRITES]
    shift = MODES.index(mode)  # each mode meets other calls
    for at, call in writes[shift::WRITES_TRIED_ON_S3]:
        folder = tmp_path / f"{act}-{at}"
        shutil.copytree(start.keys, folder / "keys")
        bucket, other = places(at)
        one = Bench(folder, clone(open_store(str(start.bucket)), bucket), other, Clock())
        before = names_of(bucket)
        fault, _done = trial(one, act, at, mode)
        assert fault.fired is not None, call
        with one.keymaster() as keys:
            judge(keys, bucket, names_of(bucket) - before)
            if act == "restore":
                newest = object_name(keys.head().object_id)
                assert newest not in names_of(other) or names_of(other) == reached(keys, bucket), call
                continue
            with contextlib.suppress(strongroom.ConflictError):  # erased already: that is what it says then
                ACTS[act](bucket, other, keys)
            assert Room(bucket, keys, "kit").check().faults == [], call
            if act == "copy":
                assert names_of(other) == reached(keys, bucket), call
