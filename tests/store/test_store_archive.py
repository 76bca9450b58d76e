"""Archives: locked versions on a real S3 server, against somebody who may write and delete."""

import contextlib
import hashlib
import time

import pytest
from fault_proxy import FaultProxy

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UnavailableError, UsageError
from strongroom.store.archive import Archive
from strongroom.store.open import open_archive, open_store
from strongroom.store.remote import PART_BYTES
from strongroom.store.s3 import S3Store
from strongroom.store.trouble import Patience

HOUR = 3_600.0
LONG = bytes(range(256)) * ((PART_BYTES >> 8) + 10)
MODES = ("governance", "compliance")


@pytest.fixture
def archive(s3_server, s3_bucket):
    archive = open_archive(f"s3://{s3_server.new_bucket(locked=True)}/p")
    yield archive
    archive.store.close()


def wipe(archive):
    """What a thief with the archive's own credentials can do: delete all, remove versions, put a note in place."""
    client, bucket = archive.store.core(), archive.store.bucket
    refused = 0
    for version in list(archive.list_versions()):
        archive.store.delete(version.name)
        try:
            client.delete_object(Bucket=bucket, Key=archive.store.key(version.name), VersionId=version.id)
        except client.exceptions.ClientError:
            refused += 1
        archive.store.replace(version.name, b"pay us")
    return refused


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data", [b"", b"short", LONG], ids=["empty", "short", "long"])
def test_a_locked_object_outlives_a_wipe(archive, mode, data):
    """A locked object, of one request or several, is read back after all was deleted and put over; unlocked ones are gone."""
    until = time.time() + HOUR
    version = archive.put_locked("ab/cd", data, until=until, mode=mode)
    archive.store.put("un/locked", b"control")
    held = archive.retention("ab/cd", version.id)
    assert (held.mode, held.until >= until) == (mode, True)
    assert wipe(archive) == 1
    assert archive.store.get("ab/cd") == b"pay us"
    originals = archive.originals()
    assert originals.get("ab/cd") == data
    assert originals.size("ab/cd") == len(data)
    assert originals.get("un/locked") == b"pay us"
    assert dict(originals.list()) == {"ab/cd": len(data), "un/locked": 6}
    assert archive.find_version("ab/cd", len(data), hashlib.sha256(data).digest()).id == version.id


def test_versions_newest_first(archive):
    """Every version and marker of a name is listed, newest first, and each is read by its id."""
    first = archive.put_locked("ab/cd", b"one", until=time.time() + HOUR, mode="governance")
    archive.store.put("ab/cde", b"another name")
    archive.store.replace("ab/cd", b"second")
    archive.store.delete("ab/cd")
    found = archive.versions("ab/cd")
    assert [(v.marker, v.newest, v.length) for v in found] == [(True, True, 0), (False, False, 6), (False, False, 3)]
    assert found[2].id == first.id
    assert [archive.get_version("ab/cd", v.id) for v in found[1:]] == [b"second", b"one"]
    assert archive.get_version_range("ab/cd", first.id, 1, 2) == b"ne"
    with pytest.raises(IntegrityError):
        archive.get_version_range("ab/cd", first.id, 2, 5)
    with pytest.raises(NotFoundError):
        archive.get_version("ab/absent", first.id)
    assert archive.versions("ab/absent") == []


def test_the_version_whose_hash_fits(archive):
    """The right version is found between a damaged older one and a thief's newer one; a hash of none is an error."""
    archive.store.put("ab/cd", b"broken")
    archive.store.replace("ab/cd", b"proper")
    archive.store.replace("ab/cd", b"thief!")
    version = archive.find_version("ab/cd", 6, hashlib.sha256(b"proper").digest())
    assert archive.get_version("ab/cd", version.id) == b"proper"
    originals = archive.originals()
    assert originals.get("ab/cd") == b"broken"
    originals.choose(version)
    assert originals.get("ab/cd") == b"proper"
    with pytest.raises(IntegrityError, match="3 versions"):
        archive.find_version("ab/cd", 6, bytes(32))
    with pytest.raises(NotFoundError):
        archive.find_version("ab/absent", 6, bytes(32))


def test_locks_only_grow(archive):
    """A lock is made longer, never shorter by asking for less, and a change of its mode needs a right of its own."""
    until = time.time() + HOUR
    version = archive.put_locked("a", b"x", until=until, mode="governance")
    archive.lock("a", version.id, until=until - 600, mode="governance")
    assert archive.retention("a", version.id).until >= until
    archive.lock("a", version.id, until=until + 600, mode="governance")
    assert archive.retention("a", version.id).until >= until + 600
    with pytest.raises(DeniedError):
        archive.ask_lock("a", version.id, until, "governance")
    with pytest.raises(DeniedError):
        archive.lock("a", version.id, until=until + 600, mode="compliance")


def test_a_lock_ends(archive):
    """A version can be removed when its date is over."""
    version = archive.put_locked("a", b"x", until=time.time() + 3.0, mode="compliance")
    with pytest.raises(DeniedError):
        archive.delete_version("a", version.id)
    end = time.monotonic() + 30
    while archive.versions("a"):
        assert time.monotonic() < end
        with contextlib.suppress(DeniedError):
            archive.delete_version("a", version.id)
        time.sleep(0.1)


def test_an_archive_creates_only(archive):
    """A name that reads as something is refused, and no second version of it is made."""
    archive.put_locked("a", b"x", until=time.time() + HOUR, mode="governance")
    with pytest.raises(ConflictError):
        archive.put_locked("a", b"y", until=time.time() + HOUR, mode="governance")
    assert len(archive.versions("a")) == 1


def test_many_versions_are_listed(archive):
    """Names and versions beyond a page of the server come once each, a name's together and in order."""
    for number in range(3):
        for round_ in range(350):
            archive.store.replace(f"n{number}", b"%d" % round_)
    found = list(archive.list_versions())
    assert len({v.id for v in found}) == len(found) == 1_050
    assert [v.name for v in found] == [f"n{number}" for number in range(3) for _ in range(350)]
    assert [archive.get_version("n1", v.id) for v in archive.versions("n1")[:2]] == [b"349", b"348"]
    assert archive.originals().get("n2") == b"0"
    assert dict(archive.originals().list()) == {"n0": 1, "n1": 1, "n2": 1}


def test_originals_are_for_reading(archive):
    """Nothing can be written or removed through the view of originals."""
    view = archive.originals()
    for call in (
        lambda: view.put("a", b""), lambda: view.replace("a", b""), lambda: view.delete("a"), lambda: view.writer("a"),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            call()
    assert not view.exists("a")
    with pytest.raises(NotFoundError):
        view.size("a")


def test_a_bucket_without_locks_is_no_archive(s3_bucket, tmp_path):
    """A bucket without Object Lock, and a store of another kind, are refused by name; so is a lock on such a bucket."""
    with pytest.raises(UsageError, match="no Object Lock"):
        open_archive(f"s3://{s3_bucket}")
    with pytest.raises(UsageError, match="only S3"):
        open_archive(str(tmp_path))
    plain = Archive(open_store(f"s3://{s3_bucket}"))
    with pytest.raises((UsageError, UnavailableError)):
        plain.put_locked("a", b"x", until=time.time() + HOUR, mode="compliance")
    assert not plain.store.exists("a")


@pytest.mark.parametrize("action", ["drop after", "error after", "slow down"])
@pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
def test_a_lost_answer_ends_locked(archive, s3_server, monkeypatch, data, action):
    """When one answer of any kind is lost, what `put_locked` returns is whole and locked."""
    with FaultProxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        flaky = Archive(S3Store(archive.url, Patience(wait=lambda _: None)))
        for number, kind in enumerate(["Put", "CreateUpload", "UploadPart", "CompleteUpload", "Head"]):
            proxy.heal()
            proxy.fail(action, kind)
            version = flaky.put_locked(f"n{number}", data, until=time.time() + HOUR, mode="governance")
            assert archive.get_version(f"n{number}", version.id) == data
            assert archive.retention(f"n{number}", version.id) is not None
        flaky.store.close()
