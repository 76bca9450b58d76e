"""Copies in a bucket with Object Lock: what a thief with every right of the writer can do to them, and what comes home."""

import hashlib
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from cli_kit import KIT, Shell
from small_room import cases, parcels, person

import strongroom
from strongroom.errors import DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.replicate.locked import DAY_SECONDS
from strongroom.store.open import open_archive, open_store

PEOPLE = 300
NOTE = b"your data are ours, pay"


@pytest.fixture
def archive_url(s3_server, s3_bucket):
    """A bucket with Object Lock, under a prefix."""
    return f"s3://{s3_server.new_bucket(locked=True)}/archive"


@pytest.fixture
def opened(room):
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        yield opened


def copied(room, url, **more):
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        return opened.copy(to=url, **{"lock_days": 7, **more})


def wipe_archive(url):
    """Delete every name and every version, and put a ransom note in its place; returns how many versions stayed."""
    archive = open_archive(url)
    client, stayed = archive.store.core(), 0
    for version in list(archive.list_versions()):
        archive.store.delete(version.name)
        try:
            client.delete_object(
                Bucket=archive.store.bucket, Key=archive.store.key(version.name), VersionId=version.id
            )
        except client.exceptions.ClientError:
            stayed += 1
        archive.store.replace(version.name, NOTE)
    client.put_object(Bucket=archive.store.bucket, Key=archive.store.key("") + "READ ME", Body=NOTE)
    archive.store.replace("notes/999999999999", NOTE)
    archive.store.close()
    return stayed


def wipe_bucket(room):
    """Delete every object of the room and put a ransom note in its place."""
    for path in [p for p in room.bucket.rglob("*") if p.is_file()]:
        path.write_bytes(NOTE)
    (room.bucket / "READ ME").write_bytes(NOTE)


def everything(room, bucket):
    """Every record of every table, by subject: what was put, as it is read."""
    with room.keymaster() as keys, strongroom.open(str(bucket), keys=keys, actor="ada") as officer:
        with officer.read(purpose="case-work", reason="after the wipe") as desk:
            people = [dict(desk.get("persons", person(n)["person_id"])) for n in range(PEOPLE)]
            charges = [r for n in range(PEOPLE // 7) for r in desk.records("cases", f"P-{7 * n:06d}")]
    with room.keymaster() as keys, strongroom.open(str(bucket), keys=keys, actor="lin") as analyst:
        with analyst.read(purpose="statistics", reason="after the wipe") as desk:
            counted = {
                table: desk.sql(f"select count(*) as n from {table}").to_pylist()[0]["n"]
                for table in ("persons", "parcels", "cases")
            }
    return people, [dict(c) for c in charges], counted


def test_wipe_drill(room, archive_url, tmp_path, monkeypatch, capsys):
    """Bucket and archive are emptied and hold ransom notes: one command brings every record home, and checks it."""
    assert copied(room, archive_url).copied_objects > 10
    wipe_bucket(room)
    assert wipe_archive(archive_url) > 10
    with room.keymaster() as keys, pytest.raises(IntegrityError):
        strongroom.open(str(room.bucket), keys=keys, actor="kit")
    shell = Shell(tmp_path, room, monkeypatch, capsys)
    result = shell.run("restore", "--from", archive_url, "--room", str(tmp_path / "home"), *KIT)
    assert result.code == 0, result
    assert "0 faults" in result.out + result.err
    people, charges, counted = everything(room, tmp_path / "home")
    assert people == [person(n) for n in range(PEOPLE)]
    assert [(c["person_id"], c["charge"], c["year"]) for c in charges] == [
        (c["person_id"], c["charge"], c["year"]) for c in cases(PEOPLE // 7).to_pylist()
    ]
    assert counted == {"persons": PEOPLE, "parcels": len(parcels(2 * PEOPLE, PEOPLE)), "cases": PEOPLE // 7}
    assert not [name for name, _ in open_store(str(tmp_path / "home")).list() if "999999999999" in name]


def test_control_a_copy_without_locks_is_lost_with_the_bucket(room, s3_bucket, tmp_path):
    """Control: the same wipe of a copy that nothing locks leaves nothing to restore."""
    url = f"s3://{s3_bucket}/plain"
    copied(room, url, lock_days=None)
    store = open_store(url)
    for name, _ in list(store.list()):
        store.replace(name, NOTE)
    store.close()
    with room.keymaster() as keys, pytest.raises((IntegrityError, NotFoundError)):
        strongroom.restore(str(tmp_path / "home"), source=url, keys=keys, actor="kit")


def test_a_second_copy_moves_what_changed_and_locks_all_of_it_longer(room, archive_url, opened):
    """What is there already is not written again, and cannot be removed before the newer copy's date either."""
    first = opened.copy(to=archive_url, lock_days=1)
    before = time.time()
    opened.put("persons", [person(900)])
    with pytest.raises(DeniedError, match="object lock|lock of object") as refused:
        opened.copy(to=archive_url, lock_days=30, lock_mode="compliance")
    assert "governance" in refused.value.hint
    second = opened.copy(to=archive_url, lock_days=30)
    assert 0 < second.copied_objects < first.objects
    archive = open_archive(archive_url)
    named = [name for name, _ in archive.originals().list() if not name.startswith(("notes/", "tail/"))]
    assert len(named) == second.objects
    for name in named:
        (version,) = archive.versions(name)
        held = archive.retention(name, version.id)
        assert held.mode == "governance"
        assert before + 30 * DAY_SECONDS <= held.until <= before + 32 * DAY_SECONDS
    archive.store.close()


def test_what_was_damaged_on_its_way_is_put_again_and_comes_home(room, archive_url, opened, tmp_path):
    """The oldest version of a run is not the one committed: --again lays the right one over it, and restore takes it."""
    name, size = max(open_store(str(room.bucket)).list(), key=lambda found: found[1])
    archive = open_archive(archive_url)
    archive.store.put(name, bytes(size))
    report = opened.copy(to=archive_url, lock_days=1)
    assert report.copied_objects == report.objects - 1  # of its length, and nobody has read it yet
    with room.keymaster() as keys, pytest.raises(IntegrityError, match=name):
        strongroom.restore(str(tmp_path / "early"), source=archive_url, keys=keys, actor="kit")
    assert opened.copy(to=archive_url, lock_days=1, again=True).copied_objects == 1
    assert len(archive.versions(name)) == 2
    with room.keymaster() as keys:
        strongroom.restore(str(tmp_path / "home"), source=archive_url, keys=keys, actor="kit")
    home = open_store(str(tmp_path / "home")).get(name)
    assert hashlib.sha256(home).digest() == hashlib.sha256(open_store(str(room.bucket)).get(name)).digest()
    archive.store.close()


def test_locks_are_refused_where_there_are_none(room, s3_bucket, tmp_path, opened):
    """A bucket without Object Lock, a folder, and days or modes that mean nothing: nothing is written."""
    for url in (f"s3://{s3_bucket}/x", str(tmp_path / "copy")):
        with pytest.raises(UsageError):
            opened.copy(to=url, lock_days=1)
    for days, mode in ((0, "governance"), (-1, "compliance"), (1, "forever")):
        with pytest.raises(UsageError):
            opened.copy(to=str(tmp_path / "copy"), lock_days=days, lock_mode=mode)
    assert not (tmp_path / "copy").exists()
    assert next(iter(open_store(f"s3://{s3_bucket}/x").list()), None) is None


def test_the_age_of_an_archive_is_told_after_a_wipe_too(room, archive_url, opened):
    """`copy --status` reads by version: markers and notes over the names hide nothing."""
    opened.copy(to=archive_url, lock_days=1)
    wipe_archive(archive_url)
    (status,) = opened.copies()
    assert (status.missing_objects, status.behind, status.problem) == (0, 0, "")

