"""Tries what the room relies on before anything is trusted to a store, and refuses one that does not keep its promises.

Run when a room, a keymaster or an archive is made; not at every opening, since it writes. It costs about fifteen
requests and leaves nothing, except in an archive: a locked object of a kilobyte, until its lock ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.store.archive import Archive, Mode
from strongroom.store.base import Store

PREFIX = "probe-"
"""Names of what a probe writes start with this; what an interrupted one left may be removed."""
LOCK_SECONDS = 60.0
"""How long the object of an archive's probe is locked."""
_DATA = bytes(range(256)) * 4


@dataclass(frozen=True)
class ProbeReport:
    """What a store was found to do.

    Attributes:
        create_only: Whether a second creator of a name is refused. Nothing relies on it.
        locks: The mode of object lock that was tried and holds; None if none was asked for.
    """

    create_only: bool
    locks: Mode | None = None


def is_empty(store: Store) -> bool:
    """Whether a store holds nothing, or only what an interrupted probe left there."""
    return next((name for name, _ in store.list() if not name.startswith(PREFIX)), None) is None


def probe(store: Store, random: Callable[[int], bytes]) -> ProbeReport:
    """Try a store.

    Args:
        store: One that is to hold a room or key pages.
        random: Source of random bytes, for names.

    Raises:
        UsageError: It breaks a promise; the message says which.
        DeniedError, UnavailableError, NotFoundError: It cannot be used at all.
    """
    name = f"{PREFIX}{random(16).hex()}"
    try:
        store.put(name, _DATA)
        _need(store.get(name) == _DATA and store.size(name) == len(_DATA), "read after write")
        _need(store.get_range(name, 250, 20) == _DATA[250:270], "reads of ranges")
        _need(_refuses(lambda: store.get_range(name, 1000, 100), IntegrityError), "errors for ranges past the end")
        _need(dict(store.list(PREFIX)).get(name) == len(_DATA), "a list that shows what was just written")
        second = _refuses(lambda: store.put(name, _DATA[:10]), ConflictError)
        store.replace(name, b"second")
        _need(store.get(name) == b"second", "read after an overwrite")
        _need(store.get_range(name, 0, 6) == b"second", "reads of ranges after an overwrite")
        store.delete(name)
        _need(_refuses(lambda: store.get(name), NotFoundError), "removal")
        _need(not store.exists(name) and name not in dict(store.list(PREFIX)), "a list without what was just removed")
        store.delete(name)
    finally:
        with contextlib.suppress(DeniedError, NotFoundError):
            store.delete(name)
    return ProbeReport(create_only=second)


def probe_archive(
    archive: Archive, mode: Mode, random: Callable[[int], bytes], clock: Callable[[], float] = time.time
) -> ProbeReport:
    """Try a store that is to keep locked versions.

    Args:
        archive: The bucket.
        mode: Of the lock that will be asked for.
        random: Source of random bytes, for names.
        clock: Seconds since 1970.

    Raises:
        UsageError: It breaks a promise; the message says which.
        DeniedError, UnavailableError, NotFoundError: It cannot be used at all.
    """
    archive.check_locking()
    name = f"{PREFIX}{random(16).hex()}"
    until = clock() + LOCK_SECONDS
    locked = archive.put_locked(name, _DATA, until=until, mode=mode)
    held = archive.retention(name, locked.id)
    _need(held is not None and held.until >= int(until), "object lock: a date until which it holds")
    kept = _refuses(lambda: archive.delete_version(name, locked.id), DeniedError)
    _need(kept, "object lock: no removal before its date")
    if mode == "compliance":
        sooner = until - LOCK_SECONDS / 2
        shorten = _refuses(lambda: archive.ask_lock(name, locked.id, sooner, mode), DeniedError)
        _need(shorten, "object lock: no earlier date")
    archive.store.replace(name, b"put over it")
    # An archive's own rights best hold no removal at all: then there is no marker to see and nothing to clear up.
    may_delete = not _refuses(lambda: archive.store.delete(name), DeniedError)
    found = archive.versions(name)
    _need(found[-1].id == locked.id and len(found) == 2 + may_delete, "versions, listed oldest last")
    _need(found[0].marker == may_delete, "versions, with the markers over them")
    _need(archive.originals().get(name) == _DATA, "reading a version that is no longer the newest")
    for version in found[:-1]:
        with contextlib.suppress(DeniedError):
            archive.delete_version(name, version.id)
    return ProbeReport(create_only=False, locks=mode)


def _refuses(call: Callable[[], object], kind: type[Exception]) -> bool:
    try:
        call()
    except kind:
        return True
    return False


def _need(kept: bool, promise: str) -> None:
    if not kept:
        message = f"this store does not keep a promise that a room relies on: {promise}"
        raise UsageError(message, hint="Use another store, or a newer one.")
