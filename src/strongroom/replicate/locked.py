"""A copy in a bucket with Object Lock: what is written is locked, what is read is what was written first.

Rules it keeps:

1. Every object that a copy needs is locked until the date of the newest copy that needs it: those that are there
   already get a later date, never an earlier one.
2. Reads go by version (`store.archive`), so that whoever empties the bucket or writes over its names changes nothing of
   what comes home. Where the oldest version is not the right one, the one whose hash fits is taken.
3. Nothing is removed here. What was damaged on its way gets one more version.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, IntegrityError, UsageError
from strongroom.replicate.transfer import WORKERS, Moved, verified
from strongroom.store.archive import Archive, Mode, Originals
from strongroom.store.open import open_archive, open_store
from strongroom.store.s3 import S3Store

if TYPE_CHECKING:
    from strongroom.replicate.plan import Item
    from strongroom.store.base import Store, Writer

DAY_SECONDS = 24 * 3600
DAYS_MAX = 100 * 366
MODES: tuple[Mode, ...] = ("governance", "compliance")


@dataclass(frozen=True)
class Lock:
    """How long a copy's objects cannot be removed, counted from the copy, and who is bound by it."""

    days: int
    mode: Mode

    def __post_init__(self) -> None:
        if not 0 < self.days <= DAYS_MAX:
            raise UsageError(f"a lock holds for 1 to {DAYS_MAX:,} days")
        if self.mode not in MODES:
            raise UsageError(f"a lock is of mode {' or '.join(MODES)}")

    def until(self, now: float) -> float:
        """When it ends: whole days, so that copies of one day ask for the same date."""
        return (math.ceil(now / DAY_SECONDS) + self.days) * DAY_SECONDS


class LockedTarget:
    """A store (`store.base`) that locks what is put, and shows what was put first.

    Args:
        archive: The bucket.
        until: Seconds since 1970.
        mode: See `store.archive.Retention`.
    """

    def __init__(self, archive: Archive, until: float, mode: Mode) -> None:
        self._archive = archive
        self._until = until
        self._mode = mode
        self._seen = archive.originals()
        self._over: set[str] = set()
        self._change = threading.Lock()
        self.url = archive.url

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Create an object, locked; over what is there only where `delete` let go of it."""
        with self._change:
            over = name in self._over
        version = self._archive.put_locked(name, pieces, until=self._until, mode=self._mode, over=over)
        self._seen.choose(version)
        with self._change:
            self._over.discard(name)

    def delete(self, name: str) -> None:
        """Let go of what is there: nothing is removed, the next `put` lays one more version over it."""
        with self._change:
            self._over.add(name)

    def keep(self, items: Sequence[Item]) -> None:
        """Lock objects that are there already, several at a time, at least until this copy's date."""

        def one(item: Item) -> None:
            version = self._seen.version(item.name)
            if version.length != item.length:
                version = self._archive.find_version(item.name, item.length, item.sha256)
            try:
                self._archive.lock(item.name, version.id, until=self._until, mode=self._mode)
            except DeniedError as error:
                hint = "what is locked in governance mode stays so: copy in that mode, or to a new place"
                raise DeniedError(str(error), hint=hint) from error

        with ThreadPoolExecutor(WORKERS, thread_name_prefix="strongroom-lock") as pool:
            for _ in pool.map(one, items):
                pass

    def get(self, name: str) -> bytes:
        """See `Originals.get`."""
        return self._seen.get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See `Originals.get_range`."""
        return self._seen.get_range(name, start, length)

    def size(self, name: str) -> int:
        """See `Originals.size`."""
        return self._seen.size(name)

    def exists(self, name: str) -> bool:
        """See `Originals.exists`."""
        return self._seen.exists(name)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """See `Originals.list`."""
        return self._seen.list(prefix)

    def replace(self, name: str, data: bytes) -> None:
        """Refused: a locked version stays."""
        del data
        raise DeniedError(f"object {name}: nothing in an archive is replaced")

    def writer(self, name: str, *, hashed: bool = False) -> AbstractContextManager[Writer]:
        """Refused: an archive takes whole objects."""
        raise DeniedError(f"object {name}: an archive takes whole objects" + (", hashed or not" if hashed else ""))

    def close(self) -> None:
        """Let go of connections."""
        self._seen.close()


def open_copy(url: str) -> Store:
    """Open a copy for reading: by versions where its bucket has Object Lock, whatever was put over them.

    Raises:
        NotFoundError, DeniedError, UsageError, UnavailableError: As `open_store`.
    """
    store = open_store(url, create=False)
    if isinstance(store, S3Store):
        archive = Archive(store)
        with suppress(UsageError, DeniedError):  # no locks, or no right to ask: a copy like any other
            archive.check_locking()
            return archive.originals()
    return store


def open_target(url: str, lock: Lock | None, now: Callable[[], float] = time.time) -> Store:
    """Open the place a copy goes to.

    Raises:
        UsageError: Locks are asked for, and the URL's bucket has none.
        NotFoundError, DeniedError, UnavailableError: As `open_store`.
    """
    if lock is None:
        return open_store(url)
    return LockedTarget(open_archive(url), lock.until(now()), lock.mode)


def settled(source: Store, item: Item) -> bool:
    """Take the version of an archived object that was committed, where the oldest is not it.

    Returns:
        Whether another version is read from now on.

    Raises:
        IntegrityError: None of them was committed.
    """
    if not isinstance(source, Originals):
        return False
    found = source.archive.find_version(item.name, item.length, item.sha256)
    if found.id == source.version(item.name).id:
        return False
    source.choose(found)
    return True


def fetch(source: Store, target: Store, item: Item, moved: Moved) -> None:
    """Copy one object out of an archive or any other copy; IntegrityError if no version is the one committed."""
    try:
        target.put(item.name, verified(source, item, moved))
    except IntegrityError:
        if not settled(source, item):
            raise
        target.put(item.name, verified(source, item, moved))
