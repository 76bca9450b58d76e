"""Keeps object versions that nobody can remove before a date: S3 buckets with versions and Object Lock.

Rules it keeps:

1. A version is reported as locked only when the store itself says until when: some servers take the request for an
   object that comes in parts and lock nothing. Such a version is locked afterwards, and looked at again.
2. A lock holds a *version*. Whoever may write may still put a marker or a newer version over it, after which the name
   is gone or reads as something else. So nothing here reads by name alone: `originals` reads each name's oldest
   version, which nobody could have put later, and `find_version` takes the one whose hash fits.
3. Locks are only ever made longer.

It leaves to others when a lock should end, and what the bytes mean.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Literal

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.store.base import Writer, check_name, check_prefix
from strongroom.store.remote import PART_BYTES
from strongroom.store.s3 import S3Store, Upload

Mode = Literal["governance", "compliance"]
CHOSEN_MAX = 4_096
"""Names for which a reader of originals remembers the version."""
READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Version:
    """One version of an object, or a marker that hides the older ones.

    Attributes:
        name: Name of the object.
        id: The store's id of the version.
        length: Bytes; 0 for a marker.
        newest: Whether a read by name gives this one.
        marker: Whether it is a delete marker.
        modified: Seconds since 1970, by the store's clock.
    """

    name: str
    id: str
    length: int
    newest: bool
    marker: bool
    modified: float


@dataclass(frozen=True)
class Retention:
    """Until when a version cannot be removed.

    Attributes:
        mode: `compliance` binds everybody; `governance` spares those with s3:BypassGovernanceRetention.
        until: Seconds since 1970.
    """

    mode: Mode
    until: float


class Archive:
    """Versions and locks of a bucket.

    Args:
        store: The bucket, under a prefix; made with Object Lock by whoever runs the store.
    """

    def __init__(self, store: S3Store) -> None:
        self.store = store
        self.url = store.url

    def check_locking(self) -> None:
        """Raise UsageError unless the bucket was made with Object Lock."""
        try:
            found = self._tried("lock", lambda core: core.get_object_lock_configuration(Bucket=self.store.bucket))
        except NotFoundError:
            found = {}
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise UsageError(
                f"bucket {self.store.bucket} has no Object Lock", hint="Object Lock is chosen when a bucket is made."
            )

    def put_locked(
        self, name: str, pieces: bytes | Iterable[bytes], *, until: float, mode: Mode, over: bool = False
    ) -> Version:
        """Create an object that cannot be removed before a date; durable and locked when this returns.

        Args:
            name: Its name.
            pieces: Its bytes, in order.
            until: Seconds since 1970.
            mode: See `Retention`.
            over: Whether a newer version is laid over what a read by that name gives already.

        Raises:
            ConflictError: A read by that name gives something already.
            UsageError: The bucket takes no locks, or not this one.
            UnavailableError: The store does not answer; a version without a lock may be there.
        """
        if not over and self.store.exists(check_name(name)):
            raise ConflictError(f"object {name} exists")
        extra = {"ObjectLockMode": mode.upper(), "ObjectLockRetainUntilDate": _date(until)}
        source = iter((pieces,) if isinstance(pieces, bytes) else pieces)
        parts = _parts(source)
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            version, length = self._put_short(name, first, extra), len(first)
        else:
            version, length = self._put_long(name, first, second, parts, extra)
        if version in {"", "null"}:
            raise UsageError(f"bucket {self.store.bucket} keeps no versions", hint="An archive needs Object Lock.")
        self.lock(name, version, until=until, mode=mode)
        return Version(name, version, length, newest=True, marker=False, modified=0.0)

    def lock(self, name: str, version: str, *, until: float, mode: Mode) -> None:
        """See to it that a version is locked at least until a date, in this mode or compliance.

        Raises:
            DeniedError: It is locked in governance mode, and there is no right to make that compliance.
            UsageError: The store says it did and did not.
        """
        if self._is_locked(name, version, until, mode):
            return
        held = self.retention(name, version)
        self.ask_lock(name, version, max(until, held.until) if held else until, mode)
        if not self._is_locked(name, version, until, mode):
            raise UsageError(
                f"the store took a lock for object {name} and did not set it", hint="Keep archives on another store."
            )

    def ask_lock(self, name: str, version: str, until: float, mode: Mode) -> None:
        """Ask for a lock, without looking at what is there or came of it; DeniedError if it would be shorter."""
        given = {"Mode": mode.upper(), "RetainUntilDate": _date(until)}
        self._tried(
            f"lock of object {name}", lambda core: core.put_object_retention(**self._at(name, version), Retention=given)
        )

    def retention(self, name: str, version: str) -> Retention | None:
        """Until when a version is locked; None if it is not."""
        answer = self._tried(f"object {name}", lambda core: core.head_object(**self._at(name, version)))
        mode, until = answer.get("ObjectLockMode"), answer.get("ObjectLockRetainUntilDate")
        if not mode or until is None:
            return None
        return Retention("compliance" if mode == "COMPLIANCE" else "governance", until.timestamp())

    def versions(self, name: str) -> list[Version]:
        """Every version of an object and every marker over it, newest first; empty if there never was one."""
        return [found for found in self.list_versions(check_name(name)) if found.name == name]

    def list_versions(self, prefix: str = "") -> Iterator[Version]:
        """Every version and marker whose name starts with the prefix, by name, newest first; a page at a time."""
        base = self.store.key("")
        where: dict[str, Any] = {"Bucket": self.store.bucket, "Prefix": base + check_prefix(prefix)}
        held: list[Version] = []  # a name's versions may be divided between pages
        while True:
            page = self._tried("listing of the versions", lambda core: core.list_object_versions(**where))
            found = [_version(item, base, marker=False) for item in page.get("Versions", ())]
            found += [_version(item, base, marker=True) for item in page.get("DeleteMarkers", ())]
            held = _in_order(held + found)
            last = page.get("NextKeyMarker") if page.get("IsTruncated") else None
            if last is None:
                yield from held
                return
            name = str(last)[len(base) :]
            yield from (version for version in held if version.name != name)
            held = [version for version in held if version.name == name]
            where["KeyMarker"], where["VersionIdMarker"] = last, page.get("NextVersionIdMarker", "")

    def get_version(self, name: str, version: str) -> bytes:
        """The bytes of one version; NotFoundError if there is none."""
        import obstore

        check_name(name)
        return self.store.tried(
            f"read of object {name}",
            lambda _: bytes(obstore.get(self.store.client, name, options={"version": version}).bytes()),
        )

    def get_version_range(self, name: str, version: str, start: int, length: int) -> bytes:
        """Exactly so many bytes of one version; IntegrityError if it has fewer."""
        import obstore

        check_name(name)
        if start < 0 or length < 0:
            raise UsageError("a range starts at 0 or later and has no negative length")
        if length == 0:
            return b""
        options: Any = {"version": version, "range": (start, start + length)}
        data = self.store.tried(
            f"read of object {name}", lambda _: bytes(obstore.get(self.store.client, name, options=options).bytes())
        )
        if len(data) != length:
            raise IntegrityError(f"object {name} is shorter than {start + length} bytes")
        return data

    def find_version(self, name: str, length: int, sha256: bytes) -> Version:
        """The oldest version with this length and hash.

        Raises:
            NotFoundError: No version of that name was ever there.
            IntegrityError: There are versions, and none is the one.
        """
        found = [version for version in self.versions(name) if not version.marker]
        if not found:
            raise NotFoundError(f"object {name}: no version of it is in the store")
        for version in reversed(found):
            if version.length == length and hmac.compare_digest(self._sha256(version), sha256):
                return version
        raise IntegrityError(f"object {name}: none of its {len(found)} versions is the one that was committed")

    def delete_version(self, name: str, version: str) -> None:
        """Remove one version for good; DeniedError while it is locked."""
        with contextlib.suppress(NotFoundError):
            self._tried(
                f"removal of a version of object {name}", lambda core: core.delete_object(**self._at(name, version))
            )

    def originals(self) -> Originals:
        """A store for reading that shows each name's oldest version, whatever was put over it."""
        return Originals(self)

    # -- inside ---------------------------------------------------------------------------------
    def _tried(self, what: str, call: Any) -> Any:
        return self.store.tried(what, lambda _: call(self.store.core()))

    def _at(self, name: str, version: str) -> dict[str, str]:
        return {"Bucket": self.store.bucket, "Key": self.store.key(check_name(name)), "VersionId": version}

    def _is_locked(self, name: str, version: str, until: float, mode: Mode) -> bool:
        held = self.retention(name, version)
        return held is not None and held.until >= int(until) and held.mode in {mode, "compliance"}

    def _sha256(self, version: Version) -> bytes:
        digest, size = hashlib.sha256(), version.length
        for start in range(0, size, READ_BYTES):
            digest.update(self.get_version_range(version.name, version.id, start, min(READ_BYTES, size - start)))
        return digest.digest()

    def _put_short(self, name: str, data: bytes, extra: dict[str, Any]) -> str:
        where = {"Bucket": self.store.bucket, "Key": self.store.key(name), "ContentMD5": _md5(data)}
        answer = self._tried(f"write of object {name}", lambda core: core.put_object(**where, Body=data, **extra))
        return str(answer.get("VersionId") or "")

    def _put_long(
        self, name: str, first: bytes, second: bytes, rest: Iterator[bytes], extra: dict[str, Any]
    ) -> tuple[str, int]:
        upload = Upload(self.store, name, extra, create_only=False)
        length, digest = 0, hashlib.sha256()
        try:
            for part in chain((first, second), rest):
                upload.part(part)
                length += len(part)
                digest.update(part)
            upload.finish()
        except BaseException:
            upload.abandon()
            raise
        # An answer that was lost took the version's id with it.
        return upload.version or self.find_version(name, length, digest.digest()).id, length


class Originals:
    """A store, for reading, of each name's oldest version. See the rules above and in `store/base.py`.

    Where the oldest version is not the right one (it was damaged on its way, and put again), `choose` says which is.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.url = archive.url
        self._chosen: OrderedDict[str, Version] = OrderedDict()
        self._lock = threading.Lock()

    def choose(self, version: Version) -> None:
        """Read this version of its name from now on."""
        with self._lock:
            self._chosen[version.name] = version
            while len(self._chosen) > CHOSEN_MAX:
                self._chosen.popitem(last=False)

    def get(self, name: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        return self.archive.get_version(name, self.version(name).id)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`; IntegrityError if it has fewer."""
        return self.archive.get_version_range(name, self.version(name).id, start, length)

    def size(self, name: str) -> int:
        """Length in bytes; NotFoundError if there is none."""
        return self.version(name).length

    def exists(self, name: str) -> bool:
        """Whether any version of it is there."""
        try:
            self.version(name)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names of which any version is there, each with the length of the oldest."""
        oldest: Version | None = None
        for version in self.archive.list_versions(prefix):
            if version.marker:
                continue
            if oldest is not None and oldest.name != version.name:
                yield oldest.name, oldest.length
            oldest = version
        if oldest is not None:
            yield oldest.name, oldest.length

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Refused."""
        del pieces
        raise DeniedError(f"object {name}: originals are for reading")

    def replace(self, name: str, data: bytes) -> None:
        """Refused."""
        self.put(name, data)

    def writer(self, name: str, *, hashed: bool = False) -> contextlib.AbstractContextManager[Writer]:
        """Refused."""
        raise DeniedError(f"object {name}: originals are for reading" + (", hashed or not" if hashed else ""))

    def delete(self, name: str) -> None:
        """Refused."""
        raise DeniedError(f"object {name}: originals are for reading")

    def close(self) -> None:
        """Let go of connections."""
        self.archive.store.close()

    def version(self, name: str) -> Version:
        """The version that is read; NotFoundError if there is none."""
        with self._lock:
            known = self._chosen.get(check_name(name))
        if known is not None:
            return known
        found = [version for version in self.archive.versions(name) if not version.marker]
        if not found:
            raise NotFoundError(f"object {name}: no version of it is in the store")
        self.choose(found[-1])
        return found[-1]


def _parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of PART_BYTES; the last may be shorter."""
    waiting = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        while rest.nbytes:
            taken = min(PART_BYTES - len(waiting), len(rest))
            waiting += rest[:taken]
            rest = rest[taken:]
            if len(waiting) == PART_BYTES:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)


def _version(item: dict[str, Any], base: str, *, marker: bool) -> Version:
    return Version(
        name=str(item["Key"])[len(base) :],
        id=str(item["VersionId"]),
        length=int(item.get("Size", 0)),
        newest=bool(item["IsLatest"]),
        marker=marker,
        modified=item["LastModified"].timestamp(),
    )


def _in_order(found: list[Version]) -> list[Version]:
    """By name, newest first. A store lists versions newest first, and markers apart: they go in by their time."""
    return sorted(found, key=lambda version: (version.name, not version.newest, -version.modified))


def _date(seconds: float) -> datetime:
    """A store counts whole seconds: rounded up, so that a lock is never shorter than was asked."""
    return datetime.fromtimestamp(-int(-seconds // 1), UTC)


def _md5(data: bytes) -> str:
    # S3 asks for it with every locked object, against damage on the way; it protects nothing
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
