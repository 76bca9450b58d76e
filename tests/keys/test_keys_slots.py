"""Root slots: what opens them, and what does not."""

import json

import pytest

from strongroom.errors import ConflictError, IntegrityError, KeysError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.slots import create_slot, open_any, open_slot
from strongroom.seal.passphrase import Argon2Params

FAST = Argon2Params(19 * 1024, 2, 1)
ROOM, KEY = b"r" * 16, b"k" * 32


@pytest.fixture
def slot(tmp_path):
    path = tmp_path / "passphrase-1.json"
    create_slot(path, "right", ROOM, 1, KEY, params=FAST)
    return path


def test_the_passphrase_opens_the_epoch_key(slot):
    """What one slot's ring wraps, a ring of the same epoch key opens."""
    ring = open_slot(slot, "right")
    assert (ring.room_id, ring.epoch) == (ROOM, 1)
    wrapped = ring.wrap("page", b"id", b"secret")
    assert KeyRing(ROOM, 1, KEY).unwrap("page", b"id", wrapped) == b"secret"
    for purpose, ident, bound in (("file", b"id", b""), ("page", b"di", b""), ("page", b"id", b"v2")):
        with pytest.raises(IntegrityError):
            ring.unwrap(purpose, ident, wrapped, bound)
    with pytest.raises(IntegrityError):
        KeyRing(ROOM, 2, KEY).unwrap("page", b"id", wrapped)


def test_any_of_several_slots_opens(slot, tmp_path):
    """A second slot with another passphrase opens the same key; a third passphrase opens none."""
    create_slot(tmp_path / "passphrase-2.json", "other", ROOM, 1, KEY, params=FAST)
    assert open_any(tmp_path, "other").epoch == open_any(tmp_path, "right").epoch == 1
    with pytest.raises(KeysError):
        open_any(tmp_path, "third")
    with pytest.raises(ConflictError):
        create_slot(slot, "again", ROOM, 1, KEY, params=FAST)


@pytest.mark.parametrize("change", ["epoch", "room", "salt", "passes"])
def test_a_slot_changed_by_hand_does_not_open(slot, change):
    """Everything the head says is authenticated; the error is that of a wrong passphrase."""
    value = json.loads(slot.read_text())
    head = value["head"]
    if change == "passes":
        head["argon2id"]["passes"] = 3
    else:
        head[change] = 2 if change == "epoch" else "00" * 16
    slot.write_text(json.dumps(value))
    with pytest.raises(KeysError) as refused:
        open_slot(slot, "right")
    with pytest.raises(KeysError) as wrong:
        open_slot(slot, "wrong")
    assert str(refused.value) == str(wrong.value)


def test_weak_parameters_and_broken_files_are_refused(slot, tmp_path):
    """Parameters below the minimum are refused when made and when opened; so is what is no slot."""
    with pytest.raises(UsageError):
        create_slot(tmp_path / "x.json", "p", ROOM, 1, KEY, params=Argon2Params(1024, 1, 1))
    with pytest.raises(UsageError):
        create_slot(tmp_path / "x.json", "", ROOM, 1, KEY, params=FAST)
    value = json.loads(slot.read_text())
    value["head"]["argon2id"]["memory_kib"] = 8
    slot.write_text(json.dumps(value))
    with pytest.raises(IntegrityError):
        open_slot(slot, "right")
    for text in ("", "{}", "[1]", '{"head": 3}'):
        slot.write_text(text)
        with pytest.raises(IntegrityError):
            open_slot(slot, "right")
