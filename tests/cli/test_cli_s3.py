"""The command line on S3 URLs: a room made, filled, searched and copied, and what is said when the store is not right."""

import pyarrow.csv as pv
import pytest
from cli_kit import CASE, KIT, ended
from small_room import POLICY, SCHEMA, person, persons

FILES = ("--schema", "schema.toml", "--policy", "policy.toml")


@pytest.fixture
def desk(shell, s3_bucket):
    """A shell beside the files that a room is made from."""
    (shell.folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (shell.folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    pv.write_csv(persons(40), shell.folder / "persons.csv")
    return shell


def test_a_room_on_s3_by_hand(desk, s3_server, s3_bucket):
    """create, put, find in a process of its own, check, copy to another bucket, restore into a third."""
    room, keys = f"s3://{s3_bucket}/room", f"s3://{s3_server.new_bucket()}/keys"
    there = ("--room", room, "--keys", "k")
    made = desk.run("create", *FILES, *there, "--keys-store", keys)
    assert made.code == 0, made.err
    put = desk.run("put", "persons", "persons.csv", *there, *KIT)
    assert put.code == 0, put.err
    found = ended(desk.start("find", "persons", "--where", f"mobile={person(7)['mobile']}", "--json", *there, *CASE))
    assert found.code == 0, found.err
    assert person(7)["name"] in found.out
    assert desk.run("check", *there, *KIT).code == 0
    copy = f"s3://{s3_server.new_bucket()}/copy"
    assert desk.run("copy", "--to", copy, *there, *KIT).code == 0
    home = desk.run("restore", "--from", copy, "--room", f"s3://{s3_server.new_bucket()}", "--keys", "k", *KIT)
    assert home.code == 0, home.err


def test_a_wrong_bucket_makes_no_keymaster(desk, s3_bucket, monkeypatch):
    """A bucket that is absent, in use or denied, or a URL with credentials in it: its exit code, a hint, and nothing made."""
    new = ("create", *FILES, "--keys", "k", "--room")
    assert desk.run("create", *FILES, "--room", f"s3://{s3_bucket}/used", "--keys", "other").code == 0
    for url, code, words in (
        ("s3://absent-bucket", 5, "no bucket absent-bucket"),
        ("s3://key:hidden@bucket", 2, "holds no credentials"),
    ):
        told = desk.run(*new, url)
        assert (told.code, words in told.err, "hint" in told.err) == (code, True, True)
        assert "hidden" not in told.err
    desk.run("put", "persons", "persons.csv", "--room", f"s3://{s3_bucket}/used", "--keys", "other", *KIT)
    assert desk.run(*new, f"s3://{s3_bucket}/used").code == 7
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    told = desk.run(*new, f"s3://{s3_bucket}/new")
    assert (told.code, "credentials" in told.err) == (3, True)
    assert not (desk.folder / "k").exists()


def test_the_keymasters_store_is_not_in_the_room(desk, s3_bucket):
    """The two may not lie in one another, on S3 as in folders."""
    room = f"s3://{s3_bucket}/room"
    for inside in (f"{room}/keys", f"s3://{s3_bucket}", room):
        told = desk.run("create", *FILES, "--room", room, "--keys", "k", "--keys-store", inside)
        assert (told.code, "in one another" in told.err) == (2, True)
    told = desk.run("create", *FILES, "--room", "b", "--keys", "k", "--keys-store", "b/keys")
    assert (told.code, "in one another" in told.err) == (2, True)
