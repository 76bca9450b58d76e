"""A room whose bucket and keymaster's store are on a real S3 server: put, find, sql, compact, check; reads are counted."""

import contextlib
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from small_room import PASSPHRASE, POLICY, SCHEMA, cases, parcels, person, persons

import strongroom
from strongroom.errors import ConflictError, DeniedError, NotFoundError, UnavailableError, UsageError
from strongroom.store.open import open_store


@contextlib.contextmanager
def made(tmp_path, room, keys_store=None):
    """A new room at a URL, its keymaster in a folder, open."""
    folder = str(tmp_path / "keys")
    with strongroom.create_keymaster(
        folder, passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, store=keys_store
    ) as keymaster:
        strongroom.create(room, keys=keymaster)
        yield keymaster


def fill(room, keymaster, people=300):
    with strongroom.open(room, keys=keymaster, actor="kit") as opened:
        opened.put("persons", persons(people))
        opened.put("parcels", parcels(2 * people, people))
        opened.put("cases", cases(people // 7))


def find(room, keymaster, number):
    with strongroom.open(room, keys=keymaster, actor="ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        (found,) = desk.find("persons", {"mobile": person(number)["mobile"]})
    return dict(found)


def test_a_room_on_s3_from_put_to_check(s3_server, s3_bucket, tmp_path):
    """Room and keymaster's store both on S3: put, find, get, sql, compact and check do what they do on a folder."""
    room, keys = f"s3://{s3_bucket}/room", f"s3://{s3_server.new_bucket()}/keys"
    with made(tmp_path, room, keys) as keymaster:
        fill(room, keymaster)
    assert sorted(path.name for path in (tmp_path / "keys").iterdir() if path.is_dir()) == ["slots"]
    assert {name.split("/")[0] for name, _ in open_store(keys).list()} == {"pages", "log"}
    with strongroom.open_keymaster(str(tmp_path / "keys"), passphrase=PASSPHRASE) as keymaster:
        assert find(room, keymaster, 7) == person(7)
        with strongroom.open(room, keys=keymaster, actor="kit") as opened:
            opened.put("persons", persons(50, start=300))
            opened.put("persons", persons(20))
            report = opened.check()
            assert (report.faults, report.orphans) == ([], [])
            opened.compact()
            assert opened.check().faults == []
        assert find(room, keymaster, 320) == person(320)
        with strongroom.open(room, keys=keymaster, actor="lin") as r, r.read(purpose="statistics", reason="q") as desk:
            answer = desk.sql("select sex, count(*) n from persons group by sex")
        assert sorted(answer["n"].to_pylist()) == [175, 175]


def test_a_room_whose_bucket_forgets_is_noticed(s3_bucket, tmp_path):
    """A room whose newest snapshot was deleted from its bucket does not open."""
    room = f"s3://{s3_bucket}/room"
    with made(tmp_path, room) as keymaster:
        fill(room, keymaster, 30)
        assert find(room, keymaster, 7) == person(7)
        store = open_store(room)
        for name, _ in list(store.list()):
            store.delete(name)
        with pytest.raises(strongroom.StrongroomError):
            strongroom.open(room, keys=keymaster, actor="ada")


def test_create_refuses_what_is_in_use(s3_bucket, tmp_path):
    """A bucket that holds something, or is not there, takes neither a room nor a keymaster's store; nothing is left behind."""
    open_store(f"s3://{s3_bucket}/used").put("a", b"x")
    with pytest.raises(ConflictError):
        strongroom.create_keymaster(
            str(tmp_path / "k"), passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, store=f"s3://{s3_bucket}/used"
        )
    assert not (tmp_path / "k").exists()
    with pytest.raises(ConflictError), made(tmp_path / "one", f"s3://{s3_bucket}/used"):
        pass
    with pytest.raises(NotFoundError, match="no bucket"), made(tmp_path / "two", "s3://absent-bucket"):
        pass
    assert [name for name, _ in open_store(f"s3://{s3_bucket}").list()] == ["used/a"]


def test_a_put_survives_a_bad_network(s3_server, s3_bucket, tmp_path, monkeypatch):
    """A put during which requests are dropped, throttled and lost after storing ends well, and the room is clean."""
    room = f"s3://{s3_bucket}/room"
    with made(tmp_path, room) as keymaster, FaultProxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for skip, action in enumerate(("drop after", "slow down", "error after", "cut", "drop")):
            proxy.fail(action, "Put|Get", skip=skip)
        fill(room, keymaster, 60)
        assert sum(fault.fired for fault in proxy.faults) == 5
        assert find(room, keymaster, 7) == person(7)
        with strongroom.open(room, keys=keymaster, actor="kit") as opened:
            assert opened.check().faults == []


def test_a_put_that_fails_leaves_the_older_room(s3_server, s3_bucket, tmp_path, monkeypatch):
    """A put whose bucket stops answering fails with a clear error, and the room is as it was before."""
    room = f"s3://{s3_bucket}/room"
    with made(tmp_path, room) as keymaster, FaultProxy(s3_server.port) as proxy:
        fill(room, keymaster, 60)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with strongroom.open(room, keys=keymaster, actor="kit") as opened:
            proxy.fail("full", "Put", times=None, skip=1)
            with pytest.raises(UnavailableError, match="full"):
                opened.put("persons", persons(10, start=60))
            proxy.heal()
            assert opened.check().faults == []
        assert find(room, keymaster, 7) == person(7)


def test_object_reads_of_a_find(s3_server, s3_bucket, tmp_path, monkeypatch):
    """A find reads four times with nothing but the manifest known, twice when the runs' tails are known too."""
    room = f"s3://{s3_bucket}/room"
    with made(tmp_path, room) as keymaster, FaultProxy(s3_server.port) as proxy:
        fill(room, keymaster)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with strongroom.open(room, keys=keymaster, actor="ada") as r, r.read(purpose="case-work", reason="c") as desk:
            proxy.heal()
            desk.find("persons", {"mobile": person(1)["mobile"]})
            first = list(proxy.requests)
            proxy.heal()
            desk.find("persons", {"mobile": person(2)["mobile"]})
            second = list(proxy.requests)
    assert {request.kind for request in first + second} == {"Get"}
    objects = [request.path for request in first]
    assert len(objects) == 5
    assert len(set(objects)) == 3  # the manifest once, then tail and block of the index run and of the records' run
    assert len(second) == 2


def test_another_s3_user_opens_nothing(s3_server, s3_bucket, tmp_path, monkeypatch):
    """With credentials of a user without rights the room does not open, and says that the store denies it."""
    room = f"s3://{s3_bucket}/room"
    with made(tmp_path, room) as keymaster:
        fill(room, keymaster, 30)
        for name, value in s3_server.environment(s3_server.new_user("intruder")).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DeniedError, match="denies"):
            strongroom.open(room, keys=keymaster, actor="ada")


def test_the_keymasters_store_may_be_a_folder_of_its_own(tmp_path):
    """Key pages and log lie in the folder that was named; without it the keymaster says so, and makes nothing."""
    elsewhere = tmp_path / "elsewhere"
    with made(tmp_path, str(tmp_path / "bucket"), str(elsewhere)) as keymaster:
        fill(str(tmp_path / "bucket"), keymaster, 30)
    assert {path.name for path in elsewhere.iterdir() if not path.name.startswith(".")} == {"pages", "log"}
    elsewhere.rename(tmp_path / "away")
    with pytest.raises(NotFoundError):
        strongroom.open_keymaster(str(tmp_path / "keys"), passphrase=PASSPHRASE)
    assert not Path(elsewhere).exists()
    with pytest.raises(UsageError):
        strongroom.create_keymaster(
            str(tmp_path / "k"), passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, store="ftp://x"
        )
