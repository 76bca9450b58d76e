"""Moves objects from one store to another, several at a time, each verified by its hash before it is there.

Rules it keeps:

1. An object that does not have the length and SHA-256 it must have is not written: the writer is left by an exception.
2. An object that is there is not written again; one of another length under its name is damage, and is replaced.
3. Memory holds WORKERS pieces of `store.base.PIECE_BYTES`, whatever the objects are.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, IntegrityError
from strongroom.store.base import in_pieces
from strongroom.write.kept import Kept

if TYPE_CHECKING:
    from strongroom.replicate.plan import Item
    from strongroom.store.base import Store

WORKERS = 4

Progress = Callable[[int, int, int | None], None]
"""(objects done, bytes done, bytes in all)."""

Write = Callable[["Item", Iterable[bytes]], None]
"""Writes one new object from its pieces, in order; nothing is there when the pieces raise."""


@dataclass
class Moved:
    """What a transfer did. Thread-safe through `add`."""

    total: int
    progress: Progress | None = None
    objects: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    kept: Kept | None = None

    def add(self, size: int, objects: int = 0) -> None:
        """Count bytes that were moved, and objects that are done."""
        with self.lock:
            self.bytes += size
            self.objects += objects
            if self.kept is not None:
                self.kept.tick()
            if self.progress is not None:
                self.progress(self.objects, self.bytes, self.total)


def verified(source: Store, item: Item, moved: Moved | None = None) -> Iterable[bytes]:
    """The bytes of an object, a piece at a time, verified at their end.

    Raises:
        IntegrityError: After the last piece, when they were not those that were committed; or it is too short or long.
        NotFoundError: The source has no such object.
    """
    size = source.size(item.name)
    if size != item.length:
        raise IntegrityError(f"object {item.name} has {size} bytes where {item.length} were committed")
    digest = hashlib.sha256()
    for piece in in_pieces(source, item.name, item.length):
        digest.update(piece)
        yield piece
        if moved is not None:
            moved.add(len(piece))
    if not hmac.compare_digest(digest.digest(), item.sha256):
        raise IntegrityError(f"object {item.name} is not the one that was committed")


def verify(store: Store, item: Item) -> None:
    """Raise IntegrityError or NotFoundError unless the store holds the object as it was committed."""
    for _ in verified(store, item):
        pass


def missing(there: Mapping[str, int], items: Iterable[Item]) -> list[Item]:
    """Those that a store lacks, or has with another length.

    Args:
        there: Names and lengths of what the store has.
        items: What it should have.
    """
    return [item for item in items if there.get(item.name) != item.length]


def move(source: Store, target: Store, items: Sequence[Item], moved: Moved, write: Write | None = None) -> None:
    """Copy objects, several at a time; all are durable in the target when this returns.

    Args:
        source: Where they are.
        target: Where they go.
        items: Which, each absent from the target or damaged there.
        moved: Counts them.
        write: How the target takes one; create-only `put` if None.

    Raises:
        IntegrityError: One is not what was committed; those before it may have been copied.
        UnavailableError: A store does not answer.
    """

    def one(item: Item) -> None:
        if write is not None:
            write(item, verified(source, item, moved))
        else:
            _put(target, item, source, moved)
        moved.add(0, 1)

    if len(items) < 2:
        for item in items:
            one(item)
        return
    with ThreadPoolExecutor(min(WORKERS, len(items)), thread_name_prefix="strongroom-copy") as pool:
        running = [pool.submit(one, item) for item in items]
        try:
            for future in running:
                future.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise


def _put(target: Store, item: Item, source: Store, moved: Moved) -> None:
    try:
        target.put(item.name, verified(source, item, moved))
    except ConflictError:
        # Taken: another copy at the same time was faster, or something else lies under this name.
        if target.size(item.name) != item.length:
            target.delete(item.name)
            target.put(item.name, verified(source, item, moved))
