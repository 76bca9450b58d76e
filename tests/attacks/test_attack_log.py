"""A thief who can write the keymaster's folder, but lacks the signing key, rewrites the log."""

import shutil
import sqlite3

import attack_kit
import pytest
from keymaster_fixtures import identifiers, make, put, reopen
from small_room import PASSPHRASE, SmallRoom, persons

import strongroom
from strongroom.errors import IntegrityError

assert attack_kit


def edit(folder, *statements):
    database = sqlite3.connect(folder / "keymaster.db")
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


@pytest.fixture
def folder(tmp_path):
    """A closed keymaster with a published log of some entries."""
    with make(tmp_path / "keys") as master:
        put(master, identifiers(5))
        put(master, identifiers(5))
        for n in range(4):
            master.begin_reading(actor="ada", purpose="support", reason=f"t{n}")
    return tmp_path / "keys"


def verify(folder, known=()):
    with reopen(folder) as master:
        return master.verify_log(known=list(known))


def last(folder):
    database = sqlite3.connect(folder / "keymaster.db")
    number = database.execute("SELECT max(number) FROM leaf").fetchone()[0]
    database.close()
    return number


def test_control_an_untouched_log_verifies(folder):
    """Control: the same log, not touched, verifies."""
    assert verify(folder)["entries"] == last(folder) + 1


@pytest.mark.parametrize("number", [0, 3, 8])
def test_attack_an_entry_is_changed(folder, number):
    """One entry names another actor: its hash is in the signed tree, and the error names the entry."""
    edit(
        folder,
        f"""UPDATE leaf SET entry = CAST(replace(CAST(entry AS TEXT), '"actor":"', '"actor":"x') AS BLOB) WHERE number = {number}""",
    )
    with pytest.raises(IntegrityError, match=rf"\b{number}\b"):
        verify(folder)


def test_attack_an_entry_is_removed(folder):
    """One entry is deleted, or deleted and the rest moved up: the numbering or the tree tells, and names the place."""
    edit(folder, "DELETE FROM leaf WHERE number = 4")
    with pytest.raises(IntegrityError, match=r"\d"):
        verify(folder)


def test_attack_an_entry_is_removed_and_the_rest_moved_up(folder):
    """The gap is closed by renumbering: the published log is longer then, and the keymaster does not open."""
    edit(
        folder,
        "DELETE FROM leaf WHERE number = 4",
        "UPDATE leaf SET number = -number WHERE number > 4",
        "UPDATE leaf SET number = -number - 1 WHERE number < 0",
    )
    with pytest.raises(IntegrityError, match="set back|published"):
        verify(folder)


def test_attack_the_tail_is_cut_off(folder):
    """The last entries are deleted: the signed checkpoint says how many there were, and the keymaster does not open."""
    size = last(folder)
    edit(folder, f"DELETE FROM leaf WHERE number > {size - 2}")
    with pytest.raises(IntegrityError, match=f"published with {size + 1} entries, and the keymaster has {size - 1}"):
        verify(folder)


def test_attack_tail_and_published_log_are_cut_off_together(folder):
    """Tail, tiles and checkpoint go together: a checkpoint kept elsewhere is longer than the log, and says so."""
    with reopen(folder) as master:
        kept = master.publish()
    edit(folder, f"DELETE FROM leaf WHERE number > {last(folder) - 2}")
    shutil.rmtree(folder / "log")
    (folder / "log").mkdir()
    with pytest.raises(IntegrityError):
        verify(folder, [kept])


def test_control_without_a_kept_checkpoint_that_cut_is_not_noticed(folder):
    """Control: nobody kept a checkpoint, and the same cut passes: the checkpoint elsewhere is what tells."""
    size = last(folder)
    edit(folder, f"DELETE FROM leaf WHERE number > {size - 2}")
    shutil.rmtree(folder / "log")
    (folder / "log").mkdir()
    assert verify(folder)["entries"] == size - 1


def test_attack_the_checkpoint_is_replaced(folder, tmp_path):
    """The checkpoint is replaced by another log's, or its size is changed: it is signed by this log's key."""
    own = folder / "log" / "checkpoint"
    text = own.read_text()
    with make(tmp_path / "other") as other:
        foreign = other.publish()
    lines = text.split("\n")
    for forged in (foreign, "\n".join([lines[0], str(int(lines[1]) - 1), *lines[2:]]), "nothing"):
        own.write_text(forged)
        with pytest.raises(IntegrityError):
            verify(folder)
    own.write_text(text)
    assert verify(folder)


def rolled_back(room, tmp_path):
    """The keymaster's folder as it was before a put that the bucket has."""
    shutil.copytree(room.keys, tmp_path / "old keys")
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
        r.put("persons", persons(5, 400))
    shutil.rmtree(room.keys)
    shutil.copytree(tmp_path / "old keys", room.keys)
    return SmallRoom(room.folder)


def test_attack_the_whole_keymaster_is_rolled_back(room, tmp_path):
    """The keymaster's folder is taken back whole while the bucket has a newer snapshot: opening or checking names it."""
    old = rolled_back(room, tmp_path)
    with pytest.raises(IntegrityError):
        with old.keymaster() as keymaster, strongroom.open(str(old.bucket), keys=keymaster, actor="kit") as r:
            faults = r.check().faults
            r.verify_log()
            if faults:
                raise IntegrityError(str(faults))


def test_control_without_the_notes_a_rolled_back_keymaster_opens(room, tmp_path, monkeypatch):
    """With the check of the notes switched off it opens, and the later put is only listed as objects nothing names."""
    for place in ("strongroom.room.catch_up", "strongroom.read.check._Check.beside"):
        monkeypatch.setattr(place, lambda *_: None)
    old = rolled_back(room, tmp_path)
    with old.keymaster() as keymaster, strongroom.open(str(old.bucket), keys=keymaster, actor="kit") as r:
        report = r.check()
        assert report.faults == []
        assert len(report.orphans) >= 4


def test_attack_a_rolled_back_keymaster_meets_the_newer_snapshots_checkpoint(room, tmp_path):
    """The checkpoint that the newer snapshot keeps is shown to the rolled back keymaster: its log is shorter, it says so."""
    shutil.copytree(room.keys, tmp_path / "old keys")
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
        r.put("persons", persons(5, 400))
        newer = keymaster.publish()
    old_keys = strongroom.open_keymaster(str(tmp_path / "old keys"), passphrase=PASSPHRASE)
    with old_keys as old, pytest.raises(IntegrityError, match="set back|shorter|has|known"):
        old.check_checkpoint(newer)
