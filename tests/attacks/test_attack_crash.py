"""A process that dies at each step of a put or a release: the room opens, nothing is lost, nothing is left alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attack_kit  # noqa: F401  puts the folder of small_room on the path
import pytest
from small_room import PASSPHRASE, person

import strongroom

ROOM_FOLDER = Path(__file__).parent.parent / "room"

CHILD = """
import os, sys
sys.path.insert(0, sys.argv[1])
folder, step, act = sys.argv[2], sys.argv[3], sys.argv[4]
import strongroom
from small_room import PASSPHRASE, SmallRoom, person, persons
from pathlib import Path
from strongroom.keymaster import leases, releasing
from strongroom.keymaster.log import publishing
from strongroom.store import folder as stores

def die(*_a, **_k):
    os._exit(77)

def after(place, name, count=1):
    real, left = getattr(place, name), [count]
    def call(*args, **kwargs):
        found = real(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            die()
        return found
    setattr(place, name, call)

room = SmallRoom(Path(folder))
keymaster = strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE)
publishing.Publishing._follow = lambda self: None
if step.startswith("object"):
    after(stores.FolderStore, "_place", int(step[6:]))
elif step == "before-head":
    leases.Leases.commit = die
elif step == "after-head":
    after(leases.Leases, "commit")
elif step == "before-tile":
    leases_commit = leases.Leases.commit
    def commit(*args, **kwargs):
        found = leases_commit(*args, **kwargs)
        publishing.Publishing.publish = die
        return found
    leases.Leases.commit = commit
elif step == "before-release":
    releasing.Releasing._keys = die
opened = strongroom.open(str(room.bucket), keys=keymaster, actor="kit" if act == "put" else "ada")
if act == "put":
    opened.put("persons", persons(40, 1000))
else:
    desk = opened.read(purpose="case-work", reason="crash")
    desk.get("persons", "P-000007")
os._exit(0)
"""

PUT_STEPS = ["object1", "object2", "object3", "object4", "object5", "before-head", "after-head", "before-tile"]


def crash(room, step: str, act: str) -> int:
    arguments = [sys.executable, "-c", CHILD, str(ROOM_FOLDER), str(room.folder), step, act]
    return subprocess.run(arguments, check=False, timeout=120, env={**os.environ}).returncode


@pytest.mark.parametrize("step", PUT_STEPS)
def test_attack_a_put_dies_and_the_room_is_whole(room, step):
    """A put is killed after an object, before or after the head, before the tiles: all of it is there, or nothing."""
    assert crash(room, step, "put") == 77
    with (
        strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE) as keymaster,
        strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as kit,
    ):
        report = kit.check()
        assert report.faults == []
        committed = step in ("after-head", "before-tile")
        assert keymaster.head().number == (4 if committed else 3)
        with strongroom.open(str(room.bucket), keys=keymaster, actor="ada").read(purpose="case-work", reason="r") as desk:
            assert dict(desk.get("persons", "P-000007")) == person(7)
            if committed:
                assert dict(desk.get("persons", "P-001007")) == person(1007)
            else:
                with pytest.raises(strongroom.NotFoundError):
                    desk.get("persons", "P-001007")
        assert kit.put("persons", [person(2000)]).records == 1
        assert kit.check().faults == []


def test_attack_a_reader_dies_between_the_entry_and_the_keys(room):
    """A reader is killed after the spend and before the keys: the spend and the entry stay; it paid for nothing."""
    assert crash(room, "before-release", "get") == 77
    with (
        strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE) as keymaster,
        strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as kit,
    ):
        entries = [e for e in kit.log(actor="ada") if e["act"] == "get"]
        assert [e["count"] for e in entries] == [1]
        left = [n for rule, n in entries[0]["remaining"].items() if "purpose/case-work/hour" in rule]
        assert left == [999]
        assert kit.verify_log()["entries"] > entries[0]["leaf"]


def test_control_without_a_crash_both_end_well(room):
    """Control: the same child, not killed, puts and reads."""
    assert crash(room, "nothing", "put") == 0
    assert crash(room, "nothing", "get") == 0
