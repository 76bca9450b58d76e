"""A thief takes the bucket back to an older state."""

import attack_kit as kit
import pyarrow as pa
import pytest
from small_room import SmallRoom, person

import strongroom
from strongroom.errors import IntegrityError


def newest_two(room):
    """Paths of the last snapshot but one and the last."""
    import sqlite3

    database = sqlite3.connect(room.keys / "keymaster.db")
    rows = database.execute("SELECT object FROM head ORDER BY number").fetchall()
    database.close()
    return [room.bucket / o.hex()[:2] / o.hex() for (o,) in rows[-2:]]


def move_person(room):
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
        r.put("persons", pa.Table.from_pylist([person(11) | {"address": "new address 1"}]))


def address(room):
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as r:
        with r.read(purpose="case-work", reason="case 1") as desk:
            return desk.get("persons", "P-000011")["address"]


@pytest.mark.parametrize("how", ["removed", "replaced by the older one", "cut", "empty"])
def test_attack_the_newest_snapshot_is_taken_away(room, how):
    """The newest snapshot is removed, replaced or cut: the keymaster's head names its hash, opening and reading stop."""
    older, newest = newest_two(room)
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as r:
        stolen = newest.read_bytes()
        newest.unlink()
        if how != "removed":
            newest.write_bytes({"c": stolen[:-1], "e": b""}.get(how[0], older.read_bytes()))
        with pytest.raises(IntegrityError, match="snapshot"):
            r.read(purpose="case-work", reason="case 1")
        with pytest.raises(IntegrityError, match="snapshot"):
            strongroom.open(str(room.bucket), keys=keymaster, actor="ada")


def test_attack_the_whole_bucket_is_an_older_copy(room, tmp_path):
    """The bucket is replaced by its copy of yesterday: the head names a snapshot it does not have, so it does not open."""
    import shutil

    shutil.copytree(room.bucket, tmp_path / "yesterday")
    move_person(room)
    shutil.rmtree(room.bucket)
    shutil.copytree(tmp_path / "yesterday", room.bucket)
    with pytest.raises(IntegrityError, match="missing"):
        address(room)


def test_control_without_the_head_the_older_state_is_served(room, tmp_path):
    """Control: when the head row itself is taken back with the whole of both folders, the older state is read unnoticed."""
    before = room.copy_to(tmp_path / "yesterday")
    move_person(room)
    assert address(room) == "new address 1"
    assert address(SmallRoom(before.folder)) == person(11)["address"]


def test_control_when_the_bucket_says_what_is_newest_its_older_copy_is_served(room, tmp_path, monkeypatch):
    """Control: a keymaster that takes what the bucket has for the head serves yesterday's copy, and nobody notices."""
    import shutil

    from strongroom.keymaster.embedded import EmbeddedKeymaster

    shutil.copytree(room.bucket, tmp_path / "yesterday")
    with room.keymaster() as keymaster:
        head = keymaster.head()
    move_person(room)
    shutil.rmtree(room.bucket)
    shutil.copytree(tmp_path / "yesterday", room.bucket)
    monkeypatch.setattr(EmbeddedKeymaster, "head", lambda self: head)
    assert address(room) == person(11)["address"]


def test_control_without_the_check_of_the_head_an_older_snapshot_passes(room, monkeypatch):
    """Control: with the look at the head switched off, the room opens on a bucket whose newest snapshot is gone."""
    from strongroom import room as module

    _older, newest = newest_two(room)
    newest.unlink()
    monkeypatch.setattr(module, "verify_head", lambda store, head: None)
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as r:
        with pytest.raises(IntegrityError):  # the second look, when a reading begins, is still there
            r.read(purpose="case-work", reason="case 1")


assert kit
