"""The resurrection drill: everything is lost and comes home from copies, and nobody who was erased comes with it."""

import json
import shutil
import sys
from pathlib import Path

import attack_kit
import pytest
from small_room import POLICY, SCHEMA, person, persons

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "keys"))

from token_kit import make_token, needs_tokens

import strongroom
from strongroom.erase.receipt import verify_receipt
from strongroom.errors import ErasedError, IntegrityError, KeysError, NotFoundError

assert attack_kit
PEOPLE, ERASED = 3_000, 1_000
LARGE = POLICY.replace("budget = { hour = 1000, day = 2000 }", "budget = { hour = 100000, day = 100000 }").replace(
    "budget = { hour = 5000, day = 5000, month = 50000 }", "budget = { hour = 100000, day = 100000, month = 100000 }"
)


def opens(keys, bucket, numbers):
    """Which of these people open, each as it was put."""
    found = []
    with strongroom.open(str(bucket), keys=keys, actor="ada") as room:
        with room.read(purpose="case-work", reason="drill") as desk:
            for n in numbers:
                try:
                    assert dict(desk.get("persons", f"P-{n:06d}")) == person(n)
                except (NotFoundError, ErasedError):
                    continue
                found.append(n)
    return found


class Drill:
    """A room with two tokens, its copies of before and after, and the receipt of an erasure in between."""

    def __init__(self, folder, *, turn=True):
        self.folder, self.one, self.two = folder, make_token(), make_token()
        self.bucket, self.keys = folder / "bucket", folder / "keys"
        with strongroom.create_keymaster(self.keys, token=self.one, schema=SCHEMA, policy=LARGE) as keys:
            strongroom.create(str(self.bucket), keys=keys)
            keys.slots.add("kit", "pkcs11-2", self.two)
            with strongroom.open(str(self.bucket), keys=keys, actor="kit") as room:
                room.put("persons", persons(PEOPLE))
                room.copy(to=str(folder / "bucket-copy"))
                keys.key_copies.copy("kit", str(folder / "keys-copy"))
                shutil.copytree(folder / "keys-copy", folder / "keys-copy-of-before")
                who = [f"P-{n:06d}" for n in range(ERASED)]
                report = room.erase(who, reason="art. 17")
                self.receipt, self.log_keys = report.receipt, keys._publishing.keys
                if turn:
                    self.turned = keys.turning.turn("kit", {"pkcs11-1": self.one, "pkcs11-2": self.two})
                    self.final = room.erasure_receipt(*report.leaves)
        shutil.copytree(self.bucket / "tail", folder / "tail")

    def destroy(self):
        """Bucket and keymaster are gone; of two tokens one is left."""
        shutil.rmtree(self.bucket)
        shutil.rmtree(self.keys)

    def come_home(self, keys_copy):
        """The bucket from its copy of before the erasure, the keymaster from a copy, by the second token."""
        strongroom.restore_keymaster(self.keys, source=str(self.folder / keys_copy), token=self.two)
        with strongroom.open_keymaster(self.keys, token=self.two) as keys:
            strongroom.restore(str(self.bucket), source=str(self.folder / "bucket-copy"), keys=keys, actor="kit")


@needs_tokens
def test_attack_everything_is_lost_and_nobody_erased_comes_home(tmp_path):
    """1,000 erased, the epoch turned, all lost: from the old bucket copy and one token none of them opens, all others do."""
    drill = Drill(tmp_path)
    assert (drill.turned.copies, drill.turned.waits) == (1, ())
    assert (drill.receipt["state"], drill.final["state"]) == ("in force", "final")
    assert verify_receipt(json.dumps(drill.final), drill.log_keys).persons == ERASED
    drill.destroy()
    drill.come_home("keys-copy")
    with strongroom.open_keymaster(drill.keys, token=drill.two) as keys:
        assert opens(keys, drill.bucket, range(PEOPLE)) == list(range(ERASED, PEOPLE))
        with strongroom.open(str(drill.bucket), keys=keys, actor="kit") as room:
            assert room.check().faults == []


@needs_tokens
def test_attack_the_copy_of_before_the_turn_opens_by_no_token(tmp_path):
    """The thief kept the keymaster's copy of before the erasure: today's tokens do not open it."""
    drill = Drill(tmp_path)
    for token in (drill.one, drill.two):
        with pytest.raises((KeysError, IntegrityError)):
            strongroom.restore_keymaster(tmp_path / "stolen", source=str(tmp_path / "keys-copy-of-before"), token=token)


@needs_tokens
def test_control_before_the_turn_that_copy_opens_them_and_the_receipt_said_so(tmp_path):
    """Control: without the turn the older copy opens the erased, where the tail of the log is lost too."""
    drill = Drill(tmp_path, turn=False)
    assert drill.receipt["state"] == "in force"
    drill.destroy()
    drill.come_home("keys-copy-of-before")
    with strongroom.open_keymaster(drill.keys, token=drill.two) as keys:
        assert opens(keys, drill.bucket, range(0, PEOPLE, 100)) == list(range(0, PEOPLE, 100))


@needs_tokens
def test_attack_before_the_turn_the_tail_alone_keeps_them_erased(tmp_path):
    """Without the turn, but with the tail kept anywhere: the older copy catches up, and none of them opens."""
    drill = Drill(tmp_path, turn=False)
    notes = shutil.copytree(drill.bucket / "notes", tmp_path / "notes")
    drill.destroy()
    for folder, kept in (("tail", tmp_path / "tail"), ("notes", notes)):
        shutil.copytree(kept, tmp_path / "bucket-copy" / folder, dirs_exist_ok=True)
    drill.come_home("keys-copy-of-before")
    with strongroom.open_keymaster(drill.keys, token=drill.two) as keys:
        assert opens(keys, drill.bucket, range(0, PEOPLE, 100)) == list(range(ERASED, PEOPLE, 100))
