"""A process that puts, erases and compacts is killed at moments nobody chose: what it had reported is there afterwards.

The moments come from a seeded generator, so that a run can be made again; 200 of them in a long run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import PASSPHRASE, POLICY, SmallRoom, person

import strongroom
from strongroom.errors import ErasedError, NotFoundError

KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 6
PEOPLE_A_PUT = 20
APART = 20_000  # so many persons a child has at most: none puts another's
LARGE = POLICY.replace("budget = { hour = 1000, day = 2000 }", "budget = { hour = 900000, day = 900000 }").replace(
    "budget = { hour = 5000, day = 5000, month = 50000 }", "budget = { hour = 900000, day = 900000, month = 900000 }"
)

CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from small_room import PASSPHRASE, SmallRoom, persons
import strongroom
room, start = SmallRoom(Path(sys.argv[2])), int(sys.argv[3])
keys = strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE)
kit = strongroom.open(str(room.bucket), keys=keys, actor="kit")
print("ready", flush=True)
for turn in range(1000):
    first = start + 20 * turn
    kit.put("persons", persons(20, first))
    print(json.dumps(["put", first]), flush=True)
    if turn % 2 == 0:
        kit.erase([f"P-{first:06d}"], reason="r")
        print(json.dumps(["erase", first]), flush=True)
    if turn % 4 == 3:
        kit.compact()
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = SmallRoom(tmp_path_factory.mktemp("kills"))
    room.create(policy=LARGE)
    return room


def run_and_kill(room, start, seconds, first=b""):
    """Run the child and kill it so long after it was ready, or after its first report of a kind; what it reported."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent.parent / "room"), str(room.folder), str(start)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"ready\n"
    said = b""
    while first not in said:
        line = child.stdout.readline()
        assert line, said
        said += line
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    said = (said + child.stdout.read()).decode()
    child.stdout.close()
    assert child.wait(30) == -signal.SIGKILL
    # the last line may be cut in the middle
    return [json.loads(line) for line in said.split("\n")[:-1]]


def test_nothing_that_was_reported_is_lost_whenever_the_process_is_killed(room):
    """After each kill the room opens within seconds, has no fault, and holds every record that was reported."""
    moments = np.random.default_rng(22).uniform(0.0, 2.0, KILLS)
    put, erased = [], set()
    for at, seconds in enumerate(moments.tolist()):
        # how far one comes in two seconds is the machine's; a half of them come to work that is under way
        reported = run_and_kill(room, APART * at, seconds, b"" if at % 2 else b'"erase"')
        put += [first for act, first in reported if act == "put"]
        erased |= {first for act, first in reported if act == "erase"}
        began = time.monotonic()
        with (
            strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE) as keys,
            strongroom.open(str(room.bucket), keys=keys, actor="ada") as officer,
        ):
            assert time.monotonic() - began < 5
            with strongroom.open(str(room.bucket), keys=keys, actor="kit") as kit:
                assert kit.check().faults == []
            with officer.read(purpose="case-work", reason="after a kill") as desk:
                for first in put[-3 * 20 :]:
                    for n in (first + 1, first + PEOPLE_A_PUT - 1):
                        assert dict(desk.get("persons", f"P-{n:06d}")) == person(n)
                for first in erased:
                    with pytest.raises((NotFoundError, ErasedError)):
                        desk.get("persons", f"P-{first:06d}")
    assert put
    assert erased
    shutil.rmtree(room.bucket)


def test_control_a_commit_that_is_not_durable_is_noticed(room, tmp_path):
    """Control: when an object of the newest commit is gone after all, the same look finds it."""
    other = SmallRoom(tmp_path / "other")
    shutil.copytree(room.keys, other.keys)
    with (
        strongroom.open_keymaster(str(other.keys), passphrase=PASSPHRASE) as keys,
        pytest.raises(strongroom.StrongroomError),
    ):
        other.bucket.mkdir()
        strongroom.open(str(other.bucket), keys=keys, actor="kit")
