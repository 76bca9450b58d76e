"""KMS slots against a server with AWS's API: opened by the key, refused when it is disabled or about to be deleted."""

import json

import botocore.session
import ministack_kms
import pytest

from strongroom.errors import KeysError, UnavailableError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.slot_kms import KmsKeeper
from strongroom.keys.slots import make_slot, open_any, slots_of
from strongroom.seal.entropy import random_bytes

RING = KeyRing(b"r" * 16, 1, b"k" * 32)


@pytest.fixture(scope="module")
def server():
    if reason := ministack_kms.missing():
        pytest.skip(reason)
    made = ministack_kms.Server()
    yield made
    made.close()


@pytest.fixture
def kms(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return botocore.session.get_session().create_client("kms")


@pytest.fixture
def key(kms):
    return kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]


@pytest.fixture
def folder(key, tmp_path):
    (tmp_path / "slots").mkdir()
    make_slot(tmp_path / "slots", "kms-1", KmsKeeper(key), RING, 1.8e9, random_bytes)
    return tmp_path / "slots"


def test_a_slot_is_opened_by_the_key_it_names(folder, key, kms):
    """The file holds neither the epoch key nor a credential; a keeper by another name of the key opens it too."""
    kms.create_alias(AliasName="alias/acme-room", TargetKeyId=key)
    for name in (key, "alias/acme-room", kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]):
        ring = open_any(folder, KmsKeeper(name), 1)
        assert ring.epoch_key(1) == RING.epoch_key(1)
    text = (folder / "kms-1.json").read_text()
    assert RING.epoch_key(1).hex() not in text
    assert "test" not in json.loads(text).values()


def test_a_key_that_is_disabled_or_about_to_be_deleted_opens_nothing(folder, key, kms):
    """And opens again when it is enabled again: the key is its owner's."""
    kms.disable_key(KeyId=key)
    with pytest.raises(KeysError, match="cannot be used"):
        open_any(folder, KmsKeeper(key), 1)
    with pytest.raises(UsageError, match="Disabled"):
        KmsKeeper(key).describe(random_bytes)
    kms.enable_key(KeyId=key)
    assert open_any(folder, KmsKeeper(key), 1).room_id == RING.room_id
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with pytest.raises(KeysError, match="cannot be used"):
        open_any(folder, KmsKeeper(key), 1)


@pytest.mark.parametrize("part", ["room", "epoch", "made", "wrapped"])
def test_a_changed_slot_opens_nothing(folder, key, part):
    """Room, epoch and everything else of the head are in the encryption context; the wrap is authenticated."""
    path = folder / "kms-1.json"
    said = json.loads(path.read_text())
    if part == "room":
        said["head"]["room"] = "00" * 16
    elif part == "wrapped":
        said["wrapped"] = said["wrapped"][:-8] + "00000000"
    else:
        said["head"][part] += 1
    path.write_text(json.dumps(said))
    with pytest.raises((KeysError, UnavailableError)):
        open_any(folder, KmsKeeper(key), said["head"]["epoch"])


def test_another_key_and_no_key_at_all(folder, key, kms):
    """A wrap under one key does not open under another; a key that is not there, no credentials, no server."""
    other = kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    path = folder / "kms-1.json"
    said = json.loads(path.read_text())
    said["head"]["key"] = other["Arn"]
    path.write_text(json.dumps(said))
    with pytest.raises(KeysError):
        open_any(folder, KmsKeeper(key), 1)
    with pytest.raises((KeysError, UsageError)):
        KmsKeeper("00000000-0000-0000-0000-000000000000").describe(random_bytes)
    with pytest.raises(UsageError):
        KmsKeeper("").describe(random_bytes)


def test_a_service_that_does_not_answer(folder, key, monkeypatch):
    """Told as unavailable; without credentials as refused."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="does not answer"):
        open_any(folder, KmsKeeper(key), 1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(folder))
    with pytest.raises(KeysError, match="without credentials"):
        open_any(folder, KmsKeeper(key), 1)


def test_a_keymaster_that_kms_opens(kms, key, tmp_path):
    """Made with a KMS slot alone, opened again, and its slot listed as one that never forgets."""
    from strongroom.keymaster.create import create_keymaster, open_keymaster

    schema = '[tables.t]\nsubject = "i"\n[tables.t.fields]\ni = { type = "string", class = "identity", nullable = false }\n'
    policy = '[room]\nbudget = { day = 10 }\n[roles.clerk]\nmay = ["log"]\n[actors.kit]\nroles = ["clerk"]\n'
    create_keymaster(tmp_path / "keys", token=KmsKeeper(key), schema=schema, policy=policy).close()
    with open_keymaster(tmp_path / "keys", token=KmsKeeper(key)) as again:
        (slot,) = again.slots.all()
        assert slot.kind == "kms"
    assert [one.head.kind for one in slots_of(tmp_path / "keys" / "slots")] == ["kms"]
    kms.disable_key(KeyId=key)
    with pytest.raises(KeysError):
        open_keymaster(tmp_path / "keys", token=KmsKeeper(key))
