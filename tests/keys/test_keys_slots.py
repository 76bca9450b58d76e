"""Root slots: what opens them, and what does not."""

import json

import pytest

from strongroom.errors import ConflictError, IntegrityError, KeysError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.slot_passphrase import PassphraseKeeper
from strongroom.keys.slots import make_slot, open_any, read_slot, slots_of
from strongroom.seal.passphrase import Argon2Params

FAST = Argon2Params(19 * 1024, 2, 1)
ROOM, KEY = b"r" * 16, b"k" * 32


def keeper(passphrase, params=FAST):
    return PassphraseKeeper(passphrase, params)


def make(folder, name="passphrase-1", passphrase="right", epoch=1, params=FAST):
    return make_slot(folder, name, keeper(passphrase, params), KeyRing(ROOM, epoch, KEY), 1000.0)


@pytest.fixture
def slot(tmp_path):
    return make(tmp_path).path


def test_the_passphrase_opens_the_epoch_key(slot, tmp_path):
    """What one slot's ring wraps, a ring of the same epoch key opens."""
    ring = open_any(tmp_path, keeper("right"), 1)
    assert (ring.room_id, ring.epoch) == (ROOM, 1)
    assert slot.stat().st_mode & 0o777 == 0o600
    wrapped = ring.wrap("page", b"id", b"secret")
    assert KeyRing(ROOM, 1, KEY).unwrap("page", b"id", wrapped) == b"secret"
    for purpose, ident, bound in (("file", b"id", b""), ("page", b"di", b""), ("page", b"id", b"v2")):
        with pytest.raises(IntegrityError):
            ring.unwrap(purpose, ident, wrapped, bound)
    with pytest.raises(IntegrityError):
        KeyRing(ROOM, 2, KEY).unwrap("page", b"id", wrapped)


def test_any_of_several_slots_opens(slot, tmp_path):
    """A second slot with another passphrase opens the same key; a third passphrase opens none."""
    make(tmp_path, "passphrase-2", "other")
    assert open_any(tmp_path, keeper("other"), 1).epoch == open_any(tmp_path, keeper("right"), 1).epoch == 1
    with pytest.raises(KeysError):
        open_any(tmp_path, keeper("third"), 1)
    with pytest.raises(ConflictError):
        make(tmp_path, "passphrase-2", "again")


def test_slots_of_two_epochs_lie_beside_each_other(slot, tmp_path):
    """Which epoch is in force is said by the caller, and only its slots are tried."""
    make(tmp_path, epoch=2)
    assert [s.name for s in slots_of(tmp_path)] == ["passphrase-1", "passphrase-1"]
    assert [open_any(tmp_path, keeper("right"), epoch).epoch for epoch in (1, 2)] == [1, 2]
    with pytest.raises(IntegrityError):
        open_any(tmp_path, keeper("right"), 3)


def test_a_slot_whose_key_was_never_made_opens_nothing(slot, tmp_path):
    """A file that a crash left without a wrap is passed over."""
    value = json.loads(slot.read_text())
    slot.write_text(json.dumps({**value, "wrapped": ""}))
    assert not read_slot(slot).finished
    with pytest.raises(IntegrityError):
        open_any(tmp_path, keeper("right"), 1)


def test_a_slot_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    """Whatever fails while a slot is made or tested, its file is taken back."""
    monkeypatch.setattr(PassphraseKeeper, "unwrap", lambda *_: b"x" * 32)
    with pytest.raises(IntegrityError):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["epoch", "room", "salt", "passes", "made"])
def test_a_slot_changed_by_hand_does_not_open(slot, tmp_path, change):
    """Everything the head says is authenticated; the error is that of a wrong passphrase."""
    value = json.loads(slot.read_text())
    head = value["head"]
    if change == "passes":
        head["argon2id"]["passes"] = 3
    else:
        head[change] = {"epoch": 2, "made": 7}.get(change, "00" * 16)
    slot.write_text(json.dumps(value))
    epoch = head["epoch"]
    with pytest.raises(KeysError) as refused:
        open_any(tmp_path, keeper("right"), epoch)
    with pytest.raises(KeysError) as wrong:
        open_any(tmp_path, keeper("wrong"), epoch)
    assert str(refused.value) == str(wrong.value)


def test_weak_parameters_and_broken_files_are_refused(slot, tmp_path):
    """Parameters below the minimum are refused when made and when opened; so is what is no slot."""
    with pytest.raises(UsageError):
        make(tmp_path, "x", params=Argon2Params(1024, 1, 1))
    for name, passphrase in (("x", ""), ("../x", "p"), ("X", "p")):
        with pytest.raises(UsageError):
            make(tmp_path, name, passphrase)
    value = json.loads(slot.read_text())
    value["head"]["argon2id"]["memory_kib"] = 8
    slot.write_text(json.dumps(value))
    with pytest.raises(IntegrityError):
        open_any(tmp_path, keeper("right"), 1)
    for text in ("", "{}", "[1]", '{"head": 3}'):
        slot.write_text(text)
        with pytest.raises(IntegrityError):
            open_any(tmp_path, keeper("right"), 1)
