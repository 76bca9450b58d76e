"""Copies hold the same sealed objects and nothing else, follow the change, and come home checked."""

import contextlib
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import SmallRoom, fill, person, persons

import strongroom
from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.store.memory import MemoryStore
from strongroom.store.open import open_store


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file() and ".tmp" not in str(p)}


@contextlib.contextmanager
def opened_room(room, actor="kit"):
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor=actor) as opened:
        yield opened


@contextlib.contextmanager
def desk_of(room):
    with opened_room(room, "ada") as opened, opened.read(purpose="case-work", reason="after a restore") as desk:
        yield desk


def put_more(opened, start=500, count=20):
    return opened.put("persons", persons(count, start))


def test_a_copy_holds_the_sealed_objects_of_the_room_byte_for_byte_and_no_other(room, tmp_path):
    """Everything that kept snapshots reach, checkpoints, nothing else; and the log has it."""
    with opened_room(room) as opened:
        report = opened.copy(to=str(tmp_path / "copy"))
        entry = opened.log()[-1]
    mine, theirs = files(room.bucket), files(tmp_path / "copy")
    assert theirs == mine
    assert report.copied_objects == report.objects == sum(not n.startswith(("notes/", "tail/")) for n in theirs)
    assert entry["act"] == "copy"
    assert entry["extras"]["objects"] == report.objects
    assert str(tmp_path) not in str(entry)


def test_a_second_copy_moves_only_what_changed(room, tmp_path):
    """After a small put the new objects go, and none that was there."""
    with opened_room(room) as opened:
        first = opened.copy(to=str(tmp_path / "copy"))
        assert opened.copy(to=str(tmp_path / "copy")).copied_objects == 0
        put_more(opened)
        second = opened.copy(to=str(tmp_path / "copy"))
    assert 0 < second.copied_bytes < first.bytes / 2
    assert second.objects == first.objects + second.copied_objects
    assert files(tmp_path / "copy") == files(room.bucket)


def test_a_copy_cut_short_goes_on_where_it_stopped(room, tmp_path, monkeypatch):
    """Whatever write fails, no snapshot is there without its objects, and the next copy completes it."""
    from strongroom.store.folder import FolderStore

    writes = 0
    limit = None
    put = FolderStore.put

    def failing(self, name, pieces):
        nonlocal writes
        if str(tmp_path / "copy") in self.url and not name.startswith(("notes/", "tail/")):
            writes += 1
            if limit is not None and writes > limit:
                raise strongroom.UnavailableError("the disk is full")
        put(self, name, pieces)

    monkeypatch.setattr(FolderStore, "put", failing)
    with opened_room(room) as opened:
        total = opened.copy(to=str(tmp_path / "whole")).objects
        for limit in range(0, total, 3):
            writes = 0
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            with pytest.raises(strongroom.UnavailableError):
                opened.copy(to=str(tmp_path / "copy"))
            before = set(files(tmp_path / "copy"))
            held = limit
            limit = None
            report = opened.copy(to=str(tmp_path / "copy"))
            assert report.copied_objects == total - sum(not n.startswith(("notes/", "tail/")) for n in before)
            assert files(tmp_path / "copy") == files(room.bucket)
            limit = held


def test_a_changed_object_of_the_room_is_not_copied(room, tmp_path):
    """What does not have its hash does not arrive, and the error names the object."""
    victim = max((p for p in room.bucket.rglob("*") if p.is_file() and len(p.name) == 32), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with opened_room(room) as opened, pytest.raises(IntegrityError, match=victim.name):
        opened.copy(to=str(tmp_path / "copy"))
    assert not list((tmp_path / "copy").rglob(victim.name))


def test_again_replaces_what_is_damaged_in_the_copy(room, tmp_path):
    """A flipped bit in the copy is found by reading, and mended from the room."""
    with opened_room(room) as opened:
        opened.copy(to=str(tmp_path / "copy"))
        victim = next(p for p in (tmp_path / "copy").rglob("*") if len(p.name) == 32)
        victim.write_bytes(bytes(b ^ 1 for b in victim.read_bytes()))
        assert opened.copy(to=str(tmp_path / "copy")).copied_objects == 0
        assert opened.copy(to=str(tmp_path / "copy"), again=True).copied_objects == 1
    assert files(tmp_path / "copy") == files(room.bucket)


def test_a_place_with_something_else_is_left_as_it_is(room, filled_template, tmp_path):
    """Foreign files, and another room's copy."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").write_bytes(b"hello")
    second = tmp_path / "second"
    other = SmallRoom(second)
    other.create()
    fill(other)
    with opened_room(other) as opened:
        opened.copy(to=str(tmp_path / "of-another"))
    before = files(tmp_path / "of-another")
    with opened_room(room) as opened:
        with pytest.raises(ConflictError, match="holds no copy"):
            opened.copy(to=str(tmp_path / "other"))
        with pytest.raises(ConflictError, match="another room"):
            opened.copy(to=str(tmp_path / "of-another"))
        with pytest.raises(UsageError, match="another place"):
            opened.copy(to=str(room.bucket))
    assert files(tmp_path / "other") == {"letter": b"hello"}
    assert files(tmp_path / "of-another") == before


def test_copying_and_restoring_take_the_right_to(room, tmp_path):
    """An officer may neither copy nor restore."""
    with opened_room(room, "ada") as opened, pytest.raises(DeniedError):
        opened.copy(to=str(tmp_path / "copy"))
    with room.keymaster() as keys, pytest.raises(DeniedError):
        strongroom.restore(str(tmp_path / "new"), source=str(room.bucket), keys=keys, actor="ada")


def test_status_says_how_old_a_copy_is_and_what_it_lacks(room, tmp_path):
    """Behind by the snapshots since, with their objects missing; one out of reach says so."""
    with opened_room(room) as opened:
        assert opened.copies() == []
        opened.copy(to=str(tmp_path / "copy"))
        opened.copy(to=str(tmp_path / "gone"))
        shutil.rmtree(tmp_path / "gone")
        put_more(opened)
        new = {name for name in files(room.bucket) if name not in files(tmp_path / "copy") and len(name) == 35}
        status = {Path(s.url).name: s for s in opened.copies()}
    assert (status["copy"].behind, status["copy"].missing_objects) == (1, len(new))
    assert status["copy"].missing_bytes == sum(len(files(room.bucket)[name]) for name in new)
    assert status["gone"].problem


def restored(room, tmp_path, source, **options):
    with room.keymaster() as keys:
        report = strongroom.restore(str(tmp_path / "home"), source=str(source), keys=keys, actor="kit", **options)
        with strongroom.open(str(tmp_path / "home"), keys=keys, actor="kit") as opened:
            found = opened.check()
            assert found.faults == []
            return report, found


def test_a_room_comes_home_whole_from_its_copy(room, tmp_path):
    """Every object is there again and every record opens."""
    with opened_room(room) as opened:
        opened.copy(to=str(tmp_path / "copy"))
    before = files(room.bucket)
    shutil.rmtree(room.bucket)
    report, _found = restored(room, tmp_path, tmp_path / "copy")
    assert report.newest_lost == 0
    beside = ("notes/", "tail/")  # the restore itself is noted too
    assert {n: d for n, d in files(tmp_path / "home").items() if not n.startswith(beside)} == {
        n: d for n, d in before.items() if not n.startswith(beside)
    }
    shutil.move(tmp_path / "home", room.bucket)
    with desk_of(room) as desk:
        for number in (0, 7, 299):
            assert desk.get("persons", f"P-{number:06d}")["name"] == person(number)["name"]


def test_an_older_copy_does_not_pass_as_the_newest_and_is_restored_only_by_number(room, tmp_path):
    """Without a number it is refused; with one it becomes the newest by a commit of its own."""
    with opened_room(room) as opened:
        number = opened.copy(to=str(tmp_path / "copy")).snapshot
        put_more(opened)
    with pytest.raises(ConflictError, match=f"reaches snapshot {number}, and the newest is {number + 1}"):
        restored(room, tmp_path, tmp_path / "copy")
    assert files(tmp_path / "home") == {}
    report, _found = restored(room, tmp_path, tmp_path / "copy", snapshot=number)
    assert (report.restored, report.snapshot, report.newest_lost) == (number, number + 2, 1)
    shutil.rmtree(room.bucket)
    shutil.move(tmp_path / "home", room.bucket)
    with desk_of(room) as desk:
        assert desk.get("persons", "P-000007")["name"] == person(7)["name"]
        with pytest.raises(NotFoundError):
            desk.get("persons", "P-000501")
    with opened_room(room) as opened:
        put_more(opened, 600)
        assert opened.check().faults == []
    with desk_of(room) as desk:
        assert desk.get("persons", "P-000601")["name"] == person(601)["name"]


def test_restore_refuses_what_is_wrong_and_writes_nothing(room, filled_template, tmp_path):
    """A place that is not empty, an unknown snapshot, no copy at all, a copy cut short."""
    with opened_room(room) as opened:
        opened.copy(to=str(tmp_path / "copy"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "ransom-note").write_bytes(b"pay")
    with room.keymaster() as keys:
        with pytest.raises(ConflictError, match="not empty"):
            strongroom.restore(str(tmp_path / "full"), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        with pytest.raises(NotFoundError):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "copy"), keys=keys, actor="kit", snapshot=99)
        with pytest.raises(NotFoundError):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "nowhere"), keys=keys, actor="kit")
        (tmp_path / "empty").mkdir()
        with pytest.raises(NotFoundError, match="holds no snapshot"):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "empty"), keys=keys, actor="kit")
        victim = max(
            (p for p in (tmp_path / "copy").rglob("*") if len(p.name) == 32), key=lambda p: p.stat().st_size
        )
        data = victim.read_bytes()
        victim.write_bytes(data[:-1])
        with pytest.raises(IntegrityError, match="another length"):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        victim.unlink()
        with pytest.raises(IntegrityError, match="lacks 1 objects"):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        assert files(tmp_path / "a") == {}
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="not the one that was committed"):
            strongroom.restore(str(tmp_path / "a"), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        assert not list((tmp_path / "a").rglob(victim.name))


def test_a_copy_goes_to_and_comes_from_a_store_that_is_no_folder(room, tmp_path):
    """Memory stands for any store behind a URL."""
    url = f"memory://{tmp_path.name}"
    with opened_room(room) as opened:
        opened.copy(to=url)
    report, found = restored(room, tmp_path, url)
    assert isinstance(open_store(url), MemoryStore)
    assert found.entries > 0
    assert report.objects > 0


# -- mending ------------------------------------------------------------------------------------------


def damage(room):
    """One object missing, one changed, one with other bytes, the newest snapshot gone; returns their names."""
    there = {n: len(d) for n, d in files(room.bucket).items() if not n.startswith(("notes/", "tail/"))}
    names = sorted(there, key=lambda name: -there[name])  # the largest are runs: what names objects is small
    head = newest_snapshot(room)
    first, second, third = [n for n in names if n != head][:3]
    (room.bucket / first).unlink()
    data = (room.bucket / second).read_bytes()
    (room.bucket / second).write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    (room.bucket / third).write_bytes(b"pay us")
    (room.bucket / head).unlink()
    return {first, second, third, head}


def newest_snapshot(room):
    with room.keymaster() as keys:
        ident = keys.head().object_id.hex()
    return f"{ident[:2]}/{ident}"


def test_repair_fetches_what_is_missing_or_changed_and_nothing_else(room, tmp_path):
    """Four objects are mended from the copy, byte for byte; `check` finds nothing; the second time nothing is done."""
    with opened_room(room) as opened:
        opened.copy(to=str(tmp_path / "copy"))
    before = files(room.bucket)
    hurt = damage(room)
    with room.keymaster() as keys:
        with pytest.raises(IntegrityError):
            strongroom.open(str(room.bucket), keys=keys, actor="kit")
        done = strongroom.repair(str(room.bucket), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        assert (set(done.mended), done.lost) == (hurt, [])
        assert files(room.bucket) == before
        assert strongroom.repair(str(room.bucket), source=str(tmp_path / "copy"), keys=keys, actor="kit").mended == []
    with opened_room(room) as opened:
        assert opened.check().faults == []


def test_repair_tells_what_the_copy_lacks_too(room, tmp_path):
    """An object that is damaged in both places is named; the others are mended, and the copy is as it was."""
    with opened_room(room) as opened:
        opened.copy(to=str(tmp_path / "copy"))
    hurt = sorted(damage(room) - {newest_snapshot(room)})
    lost = tmp_path / "copy" / hurt[0]
    lost.write_bytes(lost.read_bytes()[:-1])
    there = files(tmp_path / "copy")
    with room.keymaster() as keys:
        done = strongroom.repair(str(room.bucket), source=str(tmp_path / "copy"), keys=keys, actor="kit")
        assert done.lost == [hurt[0]]
        assert len(done.mended) == 3
        with pytest.raises(DeniedError):
            strongroom.repair(str(room.bucket), source=str(tmp_path / "copy"), keys=keys, actor="ada")
        with pytest.raises(NotFoundError):
            strongroom.repair(str(room.bucket), source=str(tmp_path / "absent"), keys=keys, actor="kit")
    assert files(tmp_path / "copy") == there


def test_a_long_copy_renews_its_lease(room, tmp_path, monkeypatch):
    """A copy that takes longer than a lease lasts is remembered all the same."""
    from strongroom.write import kept

    renewed = []
    monkeypatch.setattr(kept, "RENEW_SECONDS", -1.0)
    with opened_room(room) as opened:
        real = type(opened._keymaster).renew
        monkeypatch.setattr(type(opened._keymaster), "renew", lambda self, lease: renewed.append(1) or real(self, lease))
        opened.copy(to=str(tmp_path / "copy"))
        assert len(opened.copies()) == 1
    assert renewed
