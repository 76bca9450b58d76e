"""What the readings of a room share: the catalogue of the newest snapshot and opened tails of runs.

Nothing kept here opens a cell: tails hold tokens and places, catalogues hold names and counts. Nor does it lead to
whoever read before: what they asked, and keys of theirs, go with their reading.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from strongroom.catalog.catalog import Catalog
from strongroom.index.dead import Graves, Kept
from strongroom.index.finder import Finder
from strongroom.index.hidden import Hidden, Uncounted
from strongroom.index.runreader import TailCache

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys
    from strongroom.keymaster.api import Keymaster
    from strongroom.schema.model import Table
    from strongroom.store.base import Store


class Session:
    """The bucket, its keymaster, and what may be kept between readings.

    Args:
        store: The bucket.
        keymaster: Releases keys.
        actor: Who asks.
        now: Seconds since 1970.
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
        self.hidden: Kept = {}
        self._newest: list[Catalog] = []  # the newest alone, shared with whoever else speaks
        self._lock = threading.Lock()

    def speaking(self, keymaster: Keymaster, actor: str) -> Session:
        """The same bucket for another caller of the same room: what is kept is shared."""
        made = object.__new__(type(self))  # what copy.copy does, at a third of its cost
        made.__dict__.update(self.__dict__)
        made.keymaster, made.actor = keymaster, actor
        return made

    @property
    def newest(self) -> Catalog | None:
        """The newest catalogue that somebody opened, as far as it was; there may be a newer snapshot."""
        with self._lock:
            return self._newest[0] if self._newest else None

    def catalog(self, block_keys: BlockKeys, snapshot: int | None = None) -> Catalog:
        """The catalogue of the newest snapshot, or of an older one by number."""
        head = self.keymaster.head()
        before = self.newest
        catalog = Catalog(self.store, self.keymaster.room_id, head, block_keys, previous=before)
        newer = before is None or before.head != head
        if newer and catalog.snapshot.checkpoint:
            self.keymaster.check_checkpoint(catalog.snapshot.checkpoint)
        with self._lock:
            self._newest[:] = [catalog.kept()]
        return catalog if snapshot is None else catalog.at(snapshot)

    def finder(self, catalog: Catalog, block_keys: BlockKeys) -> Finder:
        """Look-ups in a snapshot."""
        return Finder(catalog, block_keys, self.keymaster.table_version, self.tails)

    def graves_of(self, reading_id: bytes, table: Table) -> Graves:
        """What is dead of a table, for one reading; what is found is remembered for others."""
        erasures = self.keymaster.erasures
        return Graves(
            lambda low, high, since: erasures.buried(reading_id, table.name, low, high, since),
            lambda ids: erasures.clean_through(reading_id, ids),
            self.graves,
        )

    def uncounted(self, reading_id: bytes, table: Table) -> Uncounted:
        """What is dead of a table, and what counts and aggregates leave out: canary persons, where a server asks."""
        canaries = self.keymaster.canaries
        hidden = Hidden(lambda low, high: canaries.hidden(reading_id, table.name, low, high), self.hidden)
        return Uncounted(self.graves_of(reading_id, table), hidden)

    def reading_keys(self, reading_id: bytes) -> BlockKeys:
        """Block keys under a reading."""
        names: dict[bytes | None, str | None] = {None: None}

        def block_keys(key_id: bytes, kind: int, numbers: Sequence[int], table: bytes | None) -> list[bytes]:
            if table is not None and table not in names:
                names[table] = self._table_name(table)
            return self.keymaster.block_keys(reading_id, key_id, kind, numbers, names[table])

        return block_keys

    def _table_name(self, table: bytes) -> str:
        return next(t.name for t in self.keymaster.schema().tables.values() if t.id == table)
