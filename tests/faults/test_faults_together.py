"""Several at once, and clocks that jump: a writer and a reader beside compaction, a put while the time is set."""

import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import PASSPHRASE, person, persons

import strongroom
from strongroom.errors import ConflictError, IntegrityError

PUTS = 12
DAY = 86_400.0


def opened(room, actor, **more):
    """A keymaster and a room of one's own, as another process would have them."""
    keys = strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE, **more)
    return keys, strongroom.open(str(room.bucket), keys=keys, actor=actor)


def test_a_writer_and_a_reader_beside_compaction(room):
    """While one compacts without pause, another's puts all land and a third reads on: nothing is lost, nothing fails."""
    wrong, compactions, stop = [], [], threading.Event()

    def guarded(work):
        def run():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told below
                wrong.append(error)

        return threading.Thread(target=run)

    def compact():
        keys, kit = opened(room, "kit")
        with keys, kit:
            while not stop.is_set():
                kit.compact()
                compactions.append(1)

    def read():
        keys, ada = opened(room, "ada")
        with keys, ada, ada.read(purpose="case-work", reason="r") as desk:
            number = 0
            while not stop.is_set():
                assert dict(desk.get("persons", f"P-{number % 200:06d}")) == person(number % 200)
                number += 1

    threads = [guarded(compact), guarded(read)]
    for thread in threads:
        thread.start()
    keys, kit = opened(room, "kit")
    with keys, kit:
        for at in range(PUTS):
            assert kit.put("persons", persons(10, 1000 + 10 * at)).records == 10
        stop.set()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert compactions
        assert kit.check().faults == []
    keys, ada = opened(room, "ada")
    with keys, ada, ada.read(purpose="case-work", reason="r") as desk:
        for number in (0, 150, 299, *range(1000, 1000 + 10 * PUTS, 7)):
            assert dict(desk.get("persons", f"P-{number:06d}")) == person(number)


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@pytest.mark.parametrize("jump", [-40 * DAY, -3600.0, 60.0, 3600.0, 40 * DAY])
def test_the_clock_jumps_in_the_middle_of_a_put(room, monkeypatch, jump):
    """Set back, a put goes on; set forward past its lease, it ends with a clear error and nothing of it: both can go on."""
    from strongroom.keymaster.leases import Leases

    clock = Clock()
    keys, kit = opened(room, "kit", clock=clock)
    with keys, kit:
        head, mint = keys.head().number, Leases.mint_batch

        def jumping(self, lease):
            batch = mint(self, lease)
            clock.now += jump
            return batch

        with monkeypatch.context() as patch:
            patch.setattr(Leases, "mint_batch", jumping)
            if jump > 900:
                with pytest.raises(ConflictError, match="lease"):
                    kit.put("persons", persons(20, 1000))
                assert keys.head().number == head
            else:
                assert kit.put("persons", persons(20, 1000)).records == 20
        assert kit.put("persons", persons(20, 2000)).records == 20
        times = [entry["time"] for entry in kit.log()]
        assert times == sorted(times)
        assert kit.check().faults == []
        assert kit.verify_log()["entries"] > len(times)
    keys, ada = opened(room, "ada", clock=clock)
    with keys, ada, ada.read(purpose="case-work", reason="r") as desk:
        assert dict(desk.get("persons", "P-002005")) == person(2005)


def test_a_put_that_commits_while_compaction_looks_for_leftovers_is_not_taken_for_one(room, monkeypatch):
    """The put's objects are stored when the leftovers are listed, and its lease has ended when that is asked: they stay."""
    from strongroom.keymaster.leases import Leases

    commit, ended = Leases.commit, Leases.ended_objects
    stored, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def late(self, lease, *more):
        if lease.verb == "put":
            stored.set()
            assert go_on.wait(60)
        return commit(self, lease, *more)

    def meanwhile(self, lease, object_ids):
        go_on.set()
        assert done.wait(60)
        return ended(self, lease, object_ids)

    def put():
        keys, kit = opened(room, "kit")
        with keys, kit:
            kit.put("persons", persons(20, 1000))
        done.set()

    monkeypatch.setattr(Leases, "commit", late)
    thread = threading.Thread(target=put)
    thread.start()
    assert stored.wait(60)
    monkeypatch.setattr(Leases, "ended_objects", meanwhile)
    keys, kit = opened(room, "kit")
    with keys, kit:
        kit.compact()
        thread.join(60)
        monkeypatch.undo()
        assert kit.check().faults == []
    keys, ada = opened(room, "ada")
    with keys, ada, ada.read(purpose="case-work", reason="r") as desk:
        assert dict(desk.get("persons", "P-001005")) == person(1005)


def test_compaction_removes_nothing_while_an_older_snapshot_is_damaged(room):
    """What a damaged snapshot alone names is no leftover: compaction stops and says what mends it; a copy mends it."""
    keys, kit = opened(room, "kit")
    with keys, kit:
        kit.copy(to=str(room.folder / "copy"))
        kit.compact()  # from here on some objects are of older snapshots alone
        older = keys.head_at(keys.head().number - 1).object_id.hex()
        path = room.bucket / older[:2] / older
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        before = sorted(p.name for p in room.bucket.rglob("*") if p.is_file())
        with pytest.raises(IntegrityError) as told:
            kit.compact()
        assert "--repair" in told.value.hint
        assert sorted(p.name for p in room.bucket.rglob("*") if p.is_file()) == before
        strongroom.repair(str(room.bucket), source=str(room.folder / "copy"), keys=keys, actor="kit")
        kit.compact()
        assert kit.check().faults == []
