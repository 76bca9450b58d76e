"""Somebody wants an erased person back: from the live room, older snapshots, a copied bucket, a slow put, a return."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attack_kit  # noqa: F401  puts the folder of small_room on the path
import numpy as np
import pyarrow as pa
import pytest
from small_room import PASSPHRASE, SmallRoom, person, persons

import strongroom
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.keymaster.api import Ask
from strongroom.seal.entropy import random_bytes

GONE = "P-000007"
ROOM_FOLDER = Path(__file__).parent.parent / "room"


def as_actor(room, keymaster, actor):
    return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)


def erased(room, *subjects):
    with room.keymaster() as keymaster:
        return as_actor(room, keymaster, "kit").erase(subjects or GONE, reason="request 12")


def reads(room, keymaster, snapshot=None):
    """What every door says of the person: a record by id, by phone, by id number, and parcels by id and tracking."""
    found = []
    with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r", snapshot=snapshot) as desk:
        try:
            found.append(desk.get("persons", GONE))
        except NotFoundError:
            pass
        found += desk.find("persons", {"mobile": person(7)["mobile"]})
        found += desk.find("persons", {"id_number": person(7)["id_number"]})
        try:
            found += desk.records("cases", GONE)
        except NotFoundError:
            pass
    with as_actor(room, keymaster, "mei").read(purpose="delivery", reason="r", snapshot=snapshot) as desk:
        try:
            found += desk.records("parcels", GONE)
        except NotFoundError:
            pass
        found += desk.find("parcels", {"tracking": ["SF100007", "SF100307"]})
    return found


def without_the_defence(monkeypatch):
    """Erasure as a mere mark: no secret is taken away, and nobody asks for tombstones."""
    from strongroom.keymaster import behind, lookups
    from strongroom.keymaster.erasures.erasing import Erasing
    from strongroom.keys.keystore import KeyStore, Removed

    def marking(self, tokens, within):
        with self._database.write() as rows:
            said = within(rows, tokens, np.ones(len(tokens), np.uint64))
        return Removed(np.ones(len(tokens), np.bool_), [said])

    monkeypatch.setattr(KeyStore, "remove_many", marking)
    monkeypatch.setattr(behind.Behind, "_living", lambda *_a: None)
    monkeypatch.setattr(lookups.Lookups, "_buried", lambda *_a: None)
    assert Erasing


@pytest.mark.parametrize("snapshot", [None, 1, 3])
def test_attack_the_erased_from_the_live_room_and_older_snapshots(room, snapshot):
    """Every door of every snapshot is tried: nobody is there."""
    erased(room)
    with room.keymaster() as keymaster:
        assert reads(room, keymaster, snapshot) == []


@pytest.mark.parametrize("snapshot", [None, 3])
def test_control_an_erasure_that_only_marks_is_undone(room, snapshot, monkeypatch):
    """Control: with the secret kept and no tombstone asked for, the same doors give every record."""
    without_the_defence(monkeypatch)
    erased(room)
    with room.keymaster() as keymaster:
        assert len(reads(room, keymaster, snapshot)) == 8


def test_attack_the_erased_from_a_copy_of_the_bucket_made_before(room, tmp_path):
    """The bucket is put back as it was before the erasure: it opens, everybody else is there, the erased is not."""
    shutil.copytree(room.bucket, tmp_path / "before")
    erased(room)
    shutil.rmtree(room.bucket)
    shutil.copytree(tmp_path / "before", room.bucket)
    with room.keymaster() as keymaster:
        assert reads(room, keymaster) == []
        with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r") as desk:
            assert dict(desk.get("persons", "P-000008")) == person(8)


def rows_of(room, keymaster, subject=GONE):
    """Token and batch ids of a person's rows, as a reader that looks for itself finds them in the bucket."""
    with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r") as desk:
        model = desk._table("persons")
        token = keymaster.subject_tokens(desk._grant.reading_id, "persons", [subject])[0].tobytes()
        return token, [entry.batch for entry in desk._finder.records(model, token)]


def asked(keymaster, room, token, batches):
    """A release of exactly these rows, as a reader that ignores tombstones would ask for it."""
    tokens = np.frombuffer(token * len(batches), np.uint8).reshape(-1, 16)
    names = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, 16)
    with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r") as desk:
        ask = Ask(random_bytes(16), "get", "persons", None, tokens, names)
        return keymaster.release(desk._grant.reading_id, ask)


def test_attack_a_reader_that_ignores_tombstones(room):
    """It asks for keys of the erased person's old rows, after the return too: zeros, nobody charged."""
    with room.keymaster() as keymaster:
        token, batches = rows_of(room, keymaster)
        kit = as_actor(room, keymaster, "kit")
        kit.erase(GONE, reason="r")
        kit.put("persons", pa.Table.from_pylist([person(7) | {"mobile": "13700000001"}]))
        released = asked(keymaster, room, token, batches)
        assert released.persons == 0
        assert released.missing == (0,)
        assert not any(keys.any() for keys in released.keys.values())


def test_control_a_reader_that_ignores_tombstones_gets_the_living(room):
    """Control: the same reader, before the erasure, gets keys and is charged."""
    with room.keymaster() as keymaster:
        released = asked(keymaster, room, *rows_of(room, keymaster))
        assert released.persons == 1
        assert all(keys.any() for keys in released.keys.values())


def test_attack_the_key_pages_after_the_erasure_hold_no_secret(room):
    """Every live page is opened with the epoch key: the person's token is in none, and the old page has no key left."""
    with room.keymaster() as keymaster:
        token, _ = rows_of(room, keymaster)
        before = {row[0] for row in keymaster._core.state.read().execute("select id from page").fetchall()}
        as_actor(room, keymaster, "kit").erase(GONE, reason="r")
        keys = keymaster._core.keys
        pages = [page for generation in keys.refresh().generations for page in generation.pages]
        held = b"".join(keys._reader.whole(page).tobytes() for page in pages)
        assert token not in held
        after = {row[0] for row in keymaster._core.state.read().execute("select id from page").fetchall()}
        assert before - after
    database = (room.keys / "keymaster.db").read_bytes()
    assert not any(ident in database for ident in before - after)


def test_attack_an_old_backup_of_the_keymaster_opens_the_erased_and_the_receipt_says_so(room, tmp_path):
    """Before a turn a backup with its passphrase opens the person: the receipt says in force, and what it waits for."""
    backup = SmallRoom(tmp_path / "backup")
    shutil.copytree(room.keys, backup.keys)
    shutil.copytree(room.bucket, backup.bucket)
    report = erased(room)
    assert report.state == "in force"
    assert any("passphrase" in line for line in report.receipt["waits_for"])
    with backup.keymaster() as keymaster:
        assert len(reads(backup, keymaster)) == 8


def _put_around_an_erasure(room, keymaster, monkeypatch):
    """Put the person again; the erasure falls between the reading of the file and the sealing."""
    from strongroom.keymaster.sealing import Sealing

    real, kit = Sealing.seal_subjects, as_actor(room, keymaster, "kit")

    def slow(self, *args):
        monkeypatch.setattr(Sealing, "seal_subjects", real)
        kit.erase(GONE, reason="r")
        return real(self, *args)

    monkeypatch.setattr(Sealing, "seal_subjects", slow)
    kit.put("persons", persons(3, 6), again=True)


def test_attack_a_put_under_way_brings_the_erased_back(room, monkeypatch):
    """A put reads its file before the erasure and seals after it: nothing of the person is alive in any read."""
    with room.keymaster() as keymaster:
        _put_around_an_erasure(room, keymaster, monkeypatch)
        assert reads(room, keymaster) == []
        token = keymaster._core.subject.one(GONE.encode())
        assert keymaster._core.keys.one(token) is None


def test_control_without_the_check_the_slow_put_brings_the_person_back(room, monkeypatch):
    """Control: with the look for erasures during the put switched off, the person has a secret again."""
    from strongroom.keymaster.erasures import racing

    monkeypatch.setattr(racing, "_newest", lambda *_a: 0)
    with room.keymaster() as keymaster:
        _put_around_an_erasure(room, keymaster, monkeypatch)
        token = keymaster._core.subject.one(GONE.encode())
        assert keymaster._core.keys.one(token) is not None


def test_attack_who_comes_back_brings_nothing_of_the_old_along(room):
    """After the return: the old phone finds nobody, old parcels are dead, old open columns are in no answer."""
    with room.keymaster() as keymaster:
        kit = as_actor(room, keymaster, "kit")
        kit.erase(GONE, reason="r")
        new = person(7) | {"mobile": "13700000001", "id_number": None, "birth_year": 1900}
        kit.put("persons", pa.Table.from_pylist([new]))
        (found,) = reads(room, keymaster)
        assert found["mobile"] == "13700000001"
        with as_actor(room, keymaster, "lin").read(purpose="statistics", reason="r") as desk:
            rows = desk.sql("select birth_year from persons where birth_year in (1900, 1957) limit 50")
            assert sorted(rows["birth_year"].to_pylist()) == [1900] + [1957] * 4
            assert desk.sql("select count(*) as n from parcels")["n"][0].as_py() == 598
        for snapshot in (1, 3):
            assert reads(room, keymaster, snapshot) == []


def test_attack_the_log_denies_that_an_erased_person_was_read(room):
    """A read before the erasure stays provable: the label of that day is still the root that the entry names."""
    from strongroom.audit.entry import labels_root

    with room.keymaster() as keymaster:
        with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r") as desk:
            desk.get("persons", GONE)
        kit = as_actor(room, keymaster, "kit")
        kit.erase(GONE, reason="r")
        (entry,) = [e for e in kit.log(actor="ada") if e["act"] == "get"]
        (gone,) = [e for e in kit.log(actor="kit") if e["act"] == "erase"]
        core = keymaster._core
        token = np.frombuffer(core.subject.one(GONE.encode()), np.uint8).reshape(1, 16)
        root = core.run(lambda rows: core.journal.labels(rows, token)).root
        assert entry["labels"] == gone["labels"] == root.hex()
        other = np.frombuffer(core.subject.one(b"P-000008"), np.uint8).reshape(1, 16)
        assert core.run(lambda rows: core.journal.labels(rows, other)).root != root
        assert kit.verify_log()["entries"] > gone["leaf"]
        assert labels_root


def test_attack_a_receipt_is_made_to_prove_more(room):
    """A receipt that names another person's erasure, more persons or finality does not verify."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.erase.receipt import verify_receipt

    report = erased(room)
    other = erased(room, "P-000008", "P-000009")
    with room.keymaster() as keymaster:
        _name, key = parse_verifier_key(keymaster.log_key())
    assert verify_receipt(json.dumps(report.receipt), key).persons == 1
    swapped = [{**report.receipt["entries"][0], "entry": other.receipt["entries"][0]["entry"]}]
    for change in ({"entries": swapped, "persons": 2}, {"persons": 2}, {"state": "final", "waits_for": []}):
        with pytest.raises(IntegrityError):
            verify_receipt(json.dumps(report.receipt | change), key)


# -- crashes ------------------------------------------------------------------------------------

CHILD = """
import os, sys
sys.path.insert(0, sys.argv[1])
folder, step = sys.argv[2], sys.argv[3]
import strongroom
from small_room import PASSPHRASE, SmallRoom
from pathlib import Path
from strongroom.keymaster.erasures import erasing
from strongroom.keymaster.log import publishing
from strongroom.keymaster.database import state
from strongroom.keys import removal, writer
from strongroom.catalog import freshness
from strongroom.erase import erasing as acts

def die(*_a, **_k):
    os._exit(77)

def after(place, name):
    real = getattr(place, name)
    def call(*args, **kwargs):
        real(*args, **kwargs)
        die()
    setattr(place, name, call)

room = SmallRoom(Path(folder))
keymaster = strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE)
publishing.Publishing._follow = lambda self: None
opened = strongroom.open(str(room.bucket), keys=keymaster, actor="kit")
if step == "plan":
    after(erasing.Erasing, "plan")
elif step == "page":
    after(writer.PageWriter, "write")
elif step == "entry":
    after(erasing.Erasing, "_bury")
elif step == "commit":
    after(removal.Removal, "_swap")
elif step == "publish":
    acts.receipt_of = die
elif step == "note":
    acts.leave_act = die
opened.erase(["P-000007", "P-000008"], reason="crash")
os._exit(0)
"""

STEPS = {"plan": False, "page": False, "entry": False, "commit": True, "publish": True, "note": True}


def crash(room, step):
    arguments = [sys.executable, "-c", CHILD, str(ROOM_FOLDER), str(room.folder), step]
    return subprocess.run(arguments, check=False, timeout=120, env={**os.environ}).returncode


@pytest.mark.parametrize("step", STEPS)
def test_attack_an_erasure_dies_and_holds_or_does_not(room, step):
    """Killed at each step, the room opens, the persons are erased or not, and asking again ends it."""
    assert crash(room, step) == 77
    with room.keymaster() as keymaster:
        kit = as_actor(room, keymaster, "kit")
        assert kit.check().faults == []
        assert bool(reads(room, keymaster)) is not STEPS[step]
        if STEPS[step]:
            with pytest.raises(strongroom.ConflictError) as caught:
                kit.erase(["P-000007", "P-000008"], reason="again")
            leaf = int(caught.value.hint.split("--receipt ")[1].split("`")[0])
            assert kit.erasure_receipt(leaf)["persons"] == 2
        else:
            assert kit.erase(["P-000007", "P-000008"], reason="again").persons == 2
        assert reads(room, keymaster) == []
        keymaster._core.keys.clean()
        named = {r[0] for r in keymaster._core.state.read().execute("select object from page").fetchall()}
        pending = {r[0] for r in keymaster._core.state.read().execute("select name from page_object_pending").fetchall()}
        assert {name for name, _ in keymaster._core.keys._store.list()} <= named | pending
        with as_actor(room, keymaster, "ada").read(purpose="case-work", reason="r") as desk:
            assert dict(desk.get("persons", "P-000009")) == person(9)


def test_control_an_erasure_that_is_not_killed_ends(room):
    """Control: the same child, not killed, erases both."""
    assert crash(room, "nothing") == 0
    with strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE) as keymaster:
        assert reads(room, keymaster) == []
