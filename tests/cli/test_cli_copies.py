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
