"""`strongroom copy` and `restore` from the command line, and what they say when something is wrong."""

import json
import shutil

from cli_kit import CASE, KIT
from small_room import person


def test_a_room_is_copied_lost_and_brought_home(shell):
    """Copy, status, loss of the bucket, restore with its check, and a record opens."""
    made = shell.run("copy", "--to", "elsewhere", *KIT)
    assert made.code == 0
    assert made.out == ""
    assert "snapshot 3 is at" in made.err
    status = json.loads(shell.run("copy", "--status", "--json", *KIT).out)
    assert [(s["behind"], s["missing_objects"], s["problem"]) for s in status] == [(0, 0, "")]
    assert "elsewhere" in shell.run("copy", "--status", *KIT).out
    shutil.rmtree(shell.room.bucket)
    home = shell.run("restore", "--from", "elsewhere", "--json", *KIT)
    assert home.code == 0, home.err
    said = json.loads(home.out)
    assert (said["restored"], said["snapshot"], said["newest_lost"], said["check"]["faults"]) == (3, 3, 0, [])
    found = shell.run("get", "persons", "P-000007", *CASE)
    assert person(7)["name"] in found.out


def test_an_older_snapshot_comes_home_and_what_was_lost_is_told(shell):
    """With --snapshot, into a new place."""
    shell.run("copy", "--to", "elsewhere", *KIT)
    told = shell.run("restore", "--from", "elsewhere", "--snapshot", "2", "--room", "second", *KIT)
    assert told.code == 0, told.err
    assert "snapshot 2, now the newest as 4" in told.err
    assert "1 newer snapshot left aside" in told.err


def test_misuse_of_copy_and_restore_is_told(shell):
    """Neither or both options, a room in the way, no copy there, no right to it."""
    assert shell.run("copy", *KIT).code == 2
    assert shell.run("copy", "--to", "elsewhere", "--status", *KIT).code == 2
    assert "no copy was made yet" in shell.run("copy", "--status", *KIT).err
    occupied = shell.run("restore", "--from", "elsewhere", *KIT)
    assert occupied.code == 5  # there is no such copy
    shell.run("copy", "--to", "elsewhere", *KIT)
    occupied = shell.run("restore", "--from", "elsewhere", *KIT)
    assert occupied.code == 7
    assert "not empty" in occupied.err
    assert shell.run("copy", "--to", "elsewhere", "--actor", "ada").code == 3
    assert shell.run("restore", "--from", "elsewhere", "--keys", "nowhere", *KIT).code == 5


def test_the_keymaster_is_copied_and_comes_home_on_the_command_line(shell, tmp_path):
    """`keys copy`, `--status`, `keys restore`, `keys forget`: each says what it did, and the room opens with what came home."""
    copy = str(tmp_path / "keys-copy")
    result = shell.run("keys", "copy", "--to", copy, *KIT)
    assert result.code == 0, result
    assert "of pages" in result.out + result.err
    listed = json.loads(shell.run("keys", "copy", "--status", *KIT, "--json").out)
    assert [c["url"] for c in listed] == [copy]
    home = str(tmp_path / "home")
    result = shell.run("keys", "restore", "--from", copy, "--keys", home)
    assert result.code == 0, result
    result = shell.run("find", "persons", "--where", f"mobile={person(5)['mobile']}", "--keys", home, *CASE)
    assert result.code == 0, result
    assert shell.run("keys", "restore", "--from", copy, "--keys", home).code == 7
    assert shell.run("keys", "copy", "--to", str(shell.room.bucket / "keys"), *KIT).code == 2
    assert shell.run("keys", "copy", *KIT).code == 2
    assert shell.run("keys", "forget", copy, *KIT).code == 0
    assert shell.run("keys", "forget", copy, *KIT).code == 5


def test_check_mends_from_a_copy(shell):
    """`check --repair --from`: what was damaged is fetched again, and the check that follows finds nothing."""
    shell.run("copy", "--to", "elsewhere", *KIT)
    victim = next(p for p in sorted(shell.room.bucket.glob("??/*")))
    victim.write_bytes(b"pay us")
    assert shell.run("check", *KIT).code == 4
    result = shell.run("check", "--repair", "--from", "elsewhere", *KIT)
    assert result.code == 0, result
    assert "1 object mended" in result.err
    assert shell.run("check", "--repair", *KIT).code == 2
    assert shell.run("check", "--from", "elsewhere", *KIT).code == 2
