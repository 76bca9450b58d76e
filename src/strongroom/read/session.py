"""What the readings of a room share: the catalogue of the newest snapshot and opened tails of runs.

Nothing kept here opens a cell: tails hold tokens and places, catalogues hold names and counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from strongroom.catalog.catalog import Catalog
from strongroom.index.dead import Kept
from strongroom.index.finder import Finder
from strongroom.index.runreader import TailCache

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys
    from strongroom.keymaster.api import Keymaster
    from strongroom.store.base import Store


class Session:
    """The bucket, its keymaster, and what may be kept between readings.

    Args:
        store: The bucket.
        keymaster: Releases keys.
        actor: Who asks.
        now: Seconds since 1970.

    `turn` is held by a reading while it looks up and opens, never while it waits for the keymaster to note.
    """

    def __init__(
        self, store: Store, keymaster: Keymaster, actor: str, now: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.keymaster = keymaster
        self.actor = actor
        self.now = now
        self.tails = TailCache()
        self.graves: Kept = {}
        self._newest: Catalog | None = None
        # a store on this machine answers at once: threads that take turns are quicker than threads that compete
        # for Python's lock. One behind a network is waited for, and meanwhile others go on
        near = getattr(store, "local_path", None) is not None
        self.turn: contextlib.AbstractContextManager[object] = threading.Lock() if near else contextlib.nullcontext()
        self._lock = threading.Lock()

    def catalog(self, block_keys: BlockKeys, snapshot: int | None = None) -> Catalog:
        """The catalogue of the newest snapshot, or of an older one by number."""
        head = self.keymaster.head()
        catalog = Catalog(self.store, self.keymaster.room_id, head, block_keys, previous=self._newest)
        newer = self._newest is None or self._newest.head != head
        if newer and catalog.snapshot.checkpoint:
            self.keymaster.check_checkpoint(catalog.snapshot.checkpoint)
        with self._lock:
            self._newest = catalog
        return catalog if snapshot is None else catalog.at(snapshot)

    def finder(self, catalog: Catalog, block_keys: BlockKeys) -> Finder:
        """Look-ups in a snapshot."""
        return Finder(catalog, block_keys, self.keymaster.table_version, self.tails)

    def reading_keys(self, reading_id: bytes) -> BlockKeys:
        """Block keys under a reading."""

        def block_keys(key_id: bytes, kind: int, numbers: Sequence[int], table: bytes | None) -> list[bytes]:
            name = None if table is None else self._table_name(table)
            return self.keymaster.block_keys(reading_id, key_id, kind, numbers, name)

        return block_keys

    def _table_name(self, table: bytes) -> str:
        return next(t.name for t in self.keymaster.schema().tables.values() if t.id == table)
