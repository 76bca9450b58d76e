"""What docs/reference/stores.md says about S3 is what happens: its policies suffice, and are needed."""

import json
import re

import pytest
from small_room import PASSPHRASE, POLICY, SCHEMA, person, persons

import strongroom
from strongroom.errors import DeniedError
from strongroom.seal.entropy import random_bytes
from strongroom.store import trouble
from strongroom.store.open import open_archive, open_store
from strongroom.store.probe import probe_archive
from strongroom.store.remote import PART_BYTES


@pytest.fixture
def page(project):
    """The page's text."""
    return (project / "docs" / "reference" / "stores.md").read_text(encoding="utf-8")


@pytest.fixture
def granted(page, s3_server, s3_bucket, monkeypatch):
    """Makes a bucket of the server's owner with one of the page's policies for a new user; returns the bucket's name."""

    def grant(kind, *, locked=False, without=None):
        bucket = s3_server.new_bucket(locked=locked)
        user = s3_server.new_user(f"{kind}{s3_server.buckets}")
        text = re.search(rf"```json {kind}\n(.*?)```", page, re.DOTALL)[1]
        text = text.replace("BUCKET", bucket).replace("user/USER", f"user/{kind}{s3_server.buckets}")
        policy = json.loads(text)
        actions = policy["Statement"][0]["Action"]
        if without:
            actions.remove(without)
        s3_server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        for name, value in s3_server.environment(user).items():
            monkeypatch.setenv(name, value)
        return bucket

    return grant


@pytest.mark.parametrize("kind", ["room", "keymaster"])
def test_the_policy_suffices(granted, tmp_path, kind):
    """A room, or a keymaster's store, lives with the rights of its policy: create, put, find, compact, check."""
    url = f"s3://{granted(kind)}/x"
    room, store = (url, None) if kind == "room" else (str(tmp_path / "bucket"), url)
    with strongroom.create_keymaster(
        str(tmp_path / "k"), passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, store=store
    ) as keymaster:
        strongroom.create(room, keys=keymaster)
        with strongroom.open(room, keys=keymaster, actor="kit") as opened:
            opened.put("persons", persons(40))
            opened.put("persons", persons(40))
            opened.compact()
            assert opened.check().faults == []
        with strongroom.open(room, keys=keymaster, actor="ada") as r, r.read(purpose="case-work", reason="1") as desk:
            assert dict(desk.find("persons", {"mobile": person(7)["mobile"]})[0]) == person(7)
    store = open_store(url)
    with pytest.raises(ZeroDivisionError), store.writer("long") as out:
        out.write(bytes(2 * PART_BYTES + 1))
        raise ZeroDivisionError
    store.close()


# Not s3:GetObject: this server lets whoever put an object read it, whatever the policy says.
@pytest.mark.parametrize("right", ["s3:ListBucket", "s3:PutObject", "s3:DeleteObject"])
def test_each_right_of_a_room_is_needed(granted, tmp_path, right):
    """Without one of the rights no room is made, and the store is said to deny it."""
    url = f"s3://{granted('room', without=right)}/x"
    with strongroom.create_keymaster(
        str(tmp_path / "k"), passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY
    ) as keymaster, pytest.raises(DeniedError, match="denies"):
        strongroom.create(url, keys=keymaster)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_the_policy_of_an_archive_suffices_and_removes_nothing(granted, mode):
    """With its rights an archive is probed, filled and read, and neither versions nor names can be removed."""
    archive = open_archive(f"s3://{granted('archive', locked=True)}/x")
    probe_archive(archive, mode, random_bytes)
    long = bytes(PART_BYTES + 1)
    for name, data in (("short", b"x"), ("long", long)):
        version = archive.put_locked(name, data, until=4e9, mode=mode)
        assert archive.originals().get(name) == data
        for call in (lambda n=name: archive.store.delete(n), lambda n=name, v=version: archive.delete_version(n, v.id)):
            with pytest.raises(DeniedError):
                call()
    archive.store.close()


def test_the_limits_are_those_of_the_code(page):
    """The numbers of the page are the constants."""
    words = " ".join(page.split())
    assert f"at most {trouble.ATTEMPTS_MAX} times, waiting {trouble.FIRST_WAIT_SECONDS} seconds" in words
    assert f"up to {trouble.LONGEST_WAIT_SECONDS:.0f} seconds, and never later than {trouble.RETRY_SECONDS_MAX:.0f} seconds" in words
    assert f"may take {trouble.CONNECT_SECONDS_MAX:.0f} seconds to open, and be silent for {trouble.IDLE_SECONDS_MAX:.0f}" in words
