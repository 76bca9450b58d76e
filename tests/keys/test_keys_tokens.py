"""Token slots, in a real PKCS#11 token."""

import json
from dataclasses import replace

import pytest
from token_kit import MODULE, delete_token, make_token, needs_tokens, objects_of

from strongroom.errors import IntegrityError, KeysError, UnavailableError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.slot_pkcs11 import TokenKeeper
from strongroom.keys.slots import destroy_slot, make_slot, open_any

pytestmark = needs_tokens
RING = KeyRing(b"r" * 16, 1, b"k" * 32)


@pytest.fixture
def token():
    return make_token()


def test_a_token_opens_the_epoch_key(token, tmp_path):
    """The key object names room and epoch, stays in the token, and opens the slot."""
    make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0)
    assert open_any(tmp_path, token, 1).epoch_key() == RING.epoch_key()
    assert objects_of(token) == [f"strongroom {RING.room_id.hex()} 1"]


def test_the_key_cannot_leave_the_token(token, tmp_path):
    """Its value is not given out by the token."""
    import pkcs11

    make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0)
    with pkcs11.lib(MODULE).get_token(token_label=token.token).open(user_pin=token.pin) as session:
        (key,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]


def test_a_wrong_pin_another_token_and_a_lost_one_are_clear_errors(token, tmp_path):
    """Each says what is wrong, and none opens."""
    make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0)
    with pytest.raises(KeysError, match="PIN"):
        open_any(tmp_path, replace(token, pin="9999"), 1)
    other = make_token()
    with pytest.raises(KeysError, match="no slot"):
        open_any(tmp_path, other, 1)
    with pytest.raises((UsageError, UnavailableError)):
        open_any(tmp_path, TokenKeeper("missing.so", token.token, "1"), 1)
    delete_token(token)
    with pytest.raises(UnavailableError, match="is not there"):
        open_any(tmp_path, token, 1)


def test_a_token_slot_changed_by_hand_does_not_open(token, tmp_path):
    """The head is associated data of the wrap that the token checks."""
    path = make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0).path
    value = json.loads(path.read_text())
    value["head"]["room"] = "00" * 16
    path.write_text(json.dumps(value))
    with pytest.raises(KeysError):
        open_any(tmp_path, token, 1)
    value["head"]["object"] = "zz"
    path.write_text(json.dumps(value))
    with pytest.raises(IntegrityError):
        open_any(tmp_path, token, 1)


def test_a_destroyed_slot_opens_nothing_and_a_failed_one_leaves_nothing(token, tmp_path, monkeypatch):
    """The key object goes with the slot, and with one that cannot be tested."""
    slot = make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0)
    text = slot.path.read_text()
    destroy_slot(slot, token)
    destroy_slot(slot, token)
    assert objects_of(token) == []
    slot.path.write_text(text)
    with pytest.raises(KeysError):
        open_any(tmp_path, token, 1)
    slot.path.unlink()
    monkeypatch.setattr(TokenKeeper, "unwrap", lambda *_: b"x" * 32)
    with pytest.raises(IntegrityError):
        make_slot(tmp_path, "pkcs11-1", token, RING, 1000.0)
    assert (objects_of(token), list(tmp_path.iterdir())) == ([], [])
