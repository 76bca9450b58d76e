"""The probe: real stores keep their promises; a store that breaks one is refused by the promise's name."""

import pytest

from strongroom.errors import DeniedError, UsageError
from strongroom.seal.entropy import random_bytes
from strongroom.store.folder import FolderStore
from strongroom.store.memory import MemoryStore
from strongroom.store.open import open_archive, open_store
from strongroom.store.probe import PREFIX, probe, probe_archive


@pytest.fixture(params=["memory", "folder", "s3", "s3 locked"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "b")
    bucket = request.getfixturevalue("s3_bucket")
    if request.param == "s3 locked":
        bucket = request.getfixturevalue("s3_server").new_bucket(locked=True)
    return open_store(f"s3://{bucket}/p")


def test_real_stores_keep_their_promises(store, request):
    """Memory, folder and S3 pass and are left empty; this server ignores create-only in a versioned bucket, and is found to."""
    report = probe(store, random_bytes)
    assert report.create_only == ("locked" not in request.node.name)
    assert list(store.list()) == []


class Broken:
    """A memory store that breaks one promise. No real server here does, so it is made up."""

    def __init__(self, fault):
        self.inner = MemoryStore()
        self.url = "memory://broken"
        self.fault = fault
        self.first = {}

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def put(self, name, data):
        if self.fault == "loses" :
            return
        self.first.setdefault(name, data)
        self.inner.put(name, data)

    def get(self, name):
        if self.fault == "stale" and name in self.first:
            return self.first[name]
        if self.fault == "denies absence" and not self.inner.exists(name):
            raise DeniedError("denied")
        return self.inner.get(name)

    def get_range(self, name, start, length):
        if self.fault == "ignores ranges":
            return self.inner.get(name)
        if self.fault == "short ranges":
            return self.inner.get(name)[start : start + length]
        return self.inner.get_range(name, start, length)

    def list(self, prefix=""):
        if self.fault == "lists late":
            return iter(())
        return iter([*self.inner.list(prefix), *([(name, 1024) for name in self.first] if self.fault == "lists ghosts" else [])])

    def delete(self, name):
        if self.fault != "keeps":
            self.inner.delete(name)


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("ignores ranges", "reads of ranges"),
        ("short ranges", "ranges past the end"),
        ("lists late", "just written"),
        ("lists ghosts", "just removed"),
        ("stale", "overwrite"),
        ("keeps", "removal"),
    ],
)
def test_a_broken_promise_is_named(fault, promise):
    """A store that breaks a promise is refused, and the message says which; the control passes."""
    with pytest.raises(UsageError, match=promise) as caught:
        probe(Broken(fault), random_bytes)
    assert caught.value.hint
    assert probe(Broken("none"), random_bytes).create_only


def test_absence_must_not_look_like_denial():
    """A store that says "denied" for what is absent (no right to list) is refused with that error."""
    with pytest.raises(DeniedError):
        probe(Broken("denies absence"), random_bytes)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_an_archive_keeps_its_promises(s3_server, s3_bucket, mode):
    """A bucket with Object Lock passes, and holds one locked object of the probe's afterwards."""
    archive = open_archive(f"s3://{s3_server.new_bucket(locked=True)}/p")
    assert probe_archive(archive, mode, random_bytes).locks == mode
    left = list(archive.list_versions())
    assert len(left) == 1
    assert left[0].name.startswith(PREFIX)


def test_an_archive_whose_locks_do_not_hold(s3_server, s3_bucket, monkeypatch):
    """An archive whose locked version can be deleted after all, here through bypass, is refused."""
    archive = open_archive(f"s3://{s3_server.new_bucket(locked=True)}")

    def bypassing(name, version):
        archive.store.core().delete_object(**archive._at(name, version), BypassGovernanceRetention=True)

    monkeypatch.setattr(archive, "delete_version", bypassing)
    with pytest.raises(UsageError, match="no removal before its date"):
        probe_archive(archive, "governance", random_bytes)
