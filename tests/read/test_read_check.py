"""`check` goes on past damage and names every object that is missing, changed, extra or misplaced, and what it held."""

import contextlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "attacks"))
from attack_kit import objects
from small_room import persons

import strongroom
from strongroom.index import merge

RECORDS, INDEX, OPEN, MANIFEST, SNAPSHOT = 1, 2, 3, 4, 5


@contextlib.contextmanager
def opened(room):
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as found:
        yield found


def report_of(room, **how):
    with opened(room) as found:
        return found.check(**how)


def name_of(path):
    return f"{path.parent.name}/{path.name}"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_every_damaged_object_is_named_with_what_it_holds(room):
    """A missing run, a changed index, an open-columns file cut short, a stray object: all four in one report."""
    files = objects(room)
    gone, changed, cut = files[RECORDS, "persons"][0], files[INDEX, "parcels"][0], files[OPEN, "cases"][0]
    gone.unlink()
    flip(changed)
    cut.write_bytes(cut.read_bytes()[:-3])
    (room.bucket / "ab").mkdir(exist_ok=True)
    (room.bucket / "ab" / ("ab" * 16)).write_bytes(b"stray")
    report = report_of(room)
    found = {fault.object: fault for fault in report.faults}
    assert set(found) == {name_of(gone), name_of(changed), name_of(cut)}
    assert found[name_of(gone)][1:] == ("missing", "records", "table persons, 300 entries")
    assert found[name_of(changed)].holds == "table parcels, field tracking, 600 entries"
    assert "hash" in found[name_of(changed)].what
    assert "bytes where the manifest says" in found[name_of(cut)].what
    assert report.orphans == [f"ab/{'ab' * 16}"]
    assert report.objects == 9


def test_a_manifest_that_does_not_open_is_named_and_the_rest_is_checked(room):
    """What it lists cannot be judged, and is not called left over; older snapshots are still read."""
    newest = objects(room)[MANIFEST, None][-1]
    flip(newest)
    damaged = objects(room)[RECORDS, "persons"][0]
    flip(damaged)
    report = report_of(room)
    assert [(f.object, f.kind) for f in report.faults] == [(name_of(newest), "manifest"), (name_of(damaged), "records")]
    assert "objects of cases, parcels, persons" in report.faults[0].holds
    assert report.orphans == []
    assert report.unjudged > 0
    assert report.snapshots == 3


def test_an_older_snapshot_that_is_damaged_is_named(room):
    """The chain ends there, with a fault."""
    flip(objects(room)[SNAPSHOT, None][-2])
    report = report_of(room)
    assert [(f.object, f.kind) for f in report.faults] == [("snapshot 2", "snapshot")]


def test_objects_that_changed_names_are_told_as_misplaced(room):
    """Two runs under each other's name, and one under a name of nobody's."""
    files = objects(room)
    one, two = files[RECORDS, "parcels"][0], files[RECORDS, "persons"][0]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    moved = files[INDEX, "parcels"][0]
    elsewhere = room.bucket / "cd" / ("cd" * 16)
    elsewhere.parent.mkdir(exist_ok=True)
    moved.rename(elsewhere)
    told = {fault.object: fault.what for fault in report_of(room).faults}
    assert any("holds the bytes of object" in told[name_of(path)] for path in (one, two))
    assert told[name_of(moved)] == "missing"
    assert told[name_of(elsewhere)] == f"misplaced: it holds the bytes of object {name_of(moved)}"


def test_a_checkpoint_beside_the_objects_that_is_none_is_named(room):
    """An older note is overwritten."""
    note = min((room.bucket / "notes").iterdir())
    note.write_bytes(os.urandom(40))
    (fault,) = report_of(room).faults
    assert (fault.object, fault.kind) == (f"notes/{note.name}", "checkpoint")


def test_deep_computes_the_sums_of_a_compaction_again(room):
    """They add up; a compaction that drops a record and notes other sums is found out."""
    with opened(room) as found:
        found.put("persons", persons(100, 280))
        found.compact()
    report = report_of(room, deep=True)
    assert (report.sums, report.faults) == (3, [])
    assert report_of(room).sums == 0


def test_deep_finds_a_compaction_that_lost_a_record(room, monkeypatch):
    """One entry is left out and not told: read is no longer written and dropped."""
    real = merge._kept

    def losing(group, dead, expired, *, newest_only):
        kept, columns = real(group, dead, expired, newest_only=newest_only)
        if newest_only:
            kept = kept[1:]
            columns = merge.Columns(group.tokens[kept], *merge.gather(group.payload, group.offsets, kept))
        return kept, columns

    notes = merge.Merged.notes
    monkeypatch.setattr(merge, "_kept", losing)

    def boasting(self):
        said = notes(self)
        return said | {"written_entries": said["written_entries"] + 1}

    monkeypatch.setattr(merge.Merged, "notes", boasting)
    with opened(room) as found:
        found.put("persons", persons(100, 280))
        found.compact()
    monkeypatch.undo()
    wrong = report_of(room, deep=True).faults
    assert wrong
    assert all(fault.kind == "compaction" for fault in wrong)
    assert report_of(room).faults == []


def test_without_the_newest_snapshot_nothing_is_judged(room):
    """The room does not open then, and says which snapshot is missing."""
    objects(room)[SNAPSHOT, None][-1].unlink()
    with pytest.raises(strongroom.IntegrityError, match="snapshot 3 is missing"):
        report_of(room)
