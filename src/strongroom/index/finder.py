"""Answer look-ups over all runs of a snapshot.

Rules it keeps:

1. In a table with one record a subject the newest is the live one: the last run in commit order, and in it the last
   entry. In a table with many records all are live, in commit order.
2. What is found is sealed: opening needs keys that only the keymaster releases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.index.records import RecordEntry, parse_record
from strongroom.index.runs import RunReader, TailCache
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS

if TYPE_CHECKING:
    from strongroom.catalog.catalog import Catalog
    from strongroom.catalog.entries import BlockKeys
    from strongroom.schema.model import Field, Table

INDEX_ENTRY_BYTES = 44
TableVersion = Callable[[bytes, int], "Table"]


class Finder:
    """Look-ups in one snapshot.

    Args:
        catalog: The objects of the snapshot.
        block_keys: Gives block keys of runs, under a reading or a lease.
        table_version: A table as it was at a version.
        tails: Where opened tails are kept.
    """

    def __init__(
        self, catalog: Catalog, block_keys: BlockKeys, table_version: TableVersion, tails: TailCache
    ) -> None:
        self.catalog = catalog
        self._block_keys = block_keys
        self._table_version = table_version
        self._tails = tails
        self._runs: dict[tuple[bytes, int, bytes | None], list[RunReader]] = {}
        self._cells: dict[tuple[bytes, int], int] = {}

    def runs(self, table: bytes, kind: int, field: bytes | None = None) -> list[RunReader]:
        """Readers of a table's runs of one kind, in commit order."""
        key = (table, kind, field)
        found = self._runs.get(key)
        if found is None:
            catalog = self.catalog
            found = self._runs[key] = [
                RunReader(catalog.store, catalog.room, entry, self._block_keys, self._tails)
                for entry in catalog.objects(table, kind, field)
            ]
        return found

    def records(self, table: Table, token: bytes) -> list[RecordEntry]:
        """Live record entries of a subject, oldest first."""
        runs = self.runs(table.id, KIND_RECORDS)
        if table.records == "one":
            for run in reversed(runs):
                payloads = run.lookup(token)
                if payloads:
                    return [self._parse(table, run, payloads[-1])]
            return []
        return [self._parse(table, run, payload) for run in runs for payload in run.lookup(token)]

    def index_entries(
        self, table: Table, field: Field, tokens: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Sealed index entries under value tokens.

        Args:
            table: The table.
            field: An indexed field of it.
            tokens: Value tokens u8[n,16].

        Returns:
            Value token u8[k,16] and entry u8[k,44] of each hit.
        """
        found_tokens: list[bytes] = []
        found: list[bytes] = []
        for run in self.runs(table.id, KIND_INDEX, field.id):
            for row in tokens:
                token = row.tobytes()
                payloads = run.lookup(token)
                found += payloads
                found_tokens += [token] * len(payloads)
        return _stack(found_tokens, 16), _stack(found, INDEX_ENTRY_BYTES)

    def _parse(self, table: Table, run: RunReader, payload: bytes) -> RecordEntry:
        def cells_of(version: int) -> int:
            key = (table.id, version)
            count = self._cells.get(key)
            if count is None:
                model = table if version == table.version else self._table_version(table.id, version)
                count = self._cells[key] = 1 + len(model.classes)
            return count

        return parse_record(payload, run.tail.shapes, cells_of)


def _stack(parts: Sequence[bytes], width: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
