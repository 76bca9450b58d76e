"""Answers, from the live runs of a snapshot, which records a person has and which entries lie under a value.

Rules it keeps:

1. The order of entries is the commit order of runs, then the order in the run. In a table with one record per person
   only the newest entry is live; in others all are.
2. A look-up touches only runs whose token range can hold the token, newest first where the newest is enough.
3. Block keys are asked for once per run and call.

It leaves to the keymaster which persons may be asked for, and to `read` what an entry says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.entries import BlockKeys, ObjectEntry
from strongroom.errors import IntegrityError
from strongroom.index.dead import Graves
from strongroom.index.hidden import Uncounted
from strongroom.index.records import RecordEntry, parse_record
from strongroom.index.runreader import RunReader, TailCache
from strongroom.index.scan import scan
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS
from strongroom.seal.columns import U8, token_changes

if TYPE_CHECKING:
    from strongroom.keymaster.api import Buried
    from strongroom.schema.model import Field, Table

INDEX_ENTRY_BYTES = 44


class Finder:
    """Looks things up in one snapshot.

    Args:
        catalog: Its objects.
        block_keys: Gives block keys of (key id, kind, numbers, table id).
        table_version: Gives a table as it was at a schema version: (table id, version).
        tails: Where tails of runs are kept; share one between readings.
    """

    def __init__(
        self,
        catalog: Catalog,
        block_keys: BlockKeys,
        table_version: Callable[[bytes, int], Table],
        tails: TailCache | None = None,
    ) -> None:
        self.catalog = catalog
        self._block_keys = block_keys
        self._table_version = table_version
        self._tails = tails or TailCache()
        self._readers: dict[tuple[bytes, int, bytes | None], list[RunReader]] = {}
        self._cells: dict[tuple[bytes, int], int] = {}

    def runs(self, table: bytes, kind: int, field: bytes | None = None) -> list[RunReader]:
        """Readers of the live runs of a table (and field), oldest first."""
        wanted = (table, kind, field)
        readers = self._readers.get(wanted)
        if readers is None:
            readers = [self.reader(entry) for entry in self.catalog.objects(table, kind, field)]
            self._readers[wanted] = readers
        return readers

    def reader(self, entry: ObjectEntry) -> RunReader:
        """A reader of one run, of this snapshot or an older one."""
        return RunReader(self.catalog.store, entry, self.catalog.room, self._block_keys, self._tails)

    def records(self, table: Table, token: bytes, buried: Buried | None = None) -> list[RecordEntry]:
        """The live records of a person, oldest first; none is an empty list."""
        return self.records_of(table, [token], buried)[0]

    def records_of(
        self, table: Table, tokens: Sequence[bytes], buried: Buried | None = None
    ) -> list[list[RecordEntry]]:
        """The live records of each person, oldest first.

        Args:
            table: The table.
            tokens: Subject tokens.
            buried: What is dead of these persons: it is passed over as if it were not there.

        Raises:
            IntegrityError: A run is not the one that was written.
            UnavailableError: The store does not answer.
        """
        readers = self.runs(table.id, KIND_RECORDS)
        cells_of = self._cells_of(table.id)
        found: list[list[RecordEntry]] = [[] for _ in tokens]
        newest_only = table.records == "one"
        limits = buried.of(_stacked(list(tokens), 16)).tolist() if buried else None
        for reader in reversed(readers) if newest_only else readers:
            entry = reader.entry
            asked = [
                position
                for position, token in enumerate(tokens)
                if entry.may_hold(token) and not (newest_only and found[position])
            ]
            if not asked:
                continue
            payloads = reader.lookup([tokens[position] for position in asked])
            shapes = reader.tail().shapes
            for position, here in zip(asked, payloads, strict=True):
                if limits is None:
                    chosen = here[-1:] if newest_only else here
                    found[position] += [parse_record(payload, shapes, cells_of) for payload in chosen]
                else:
                    entries = [parse_record(payload, shapes, cells_of) for payload in here]
                    living = [entry for entry in entries if entry.sequence > limits[position]]
                    found[position] += living[-1:] if newest_only else living
        return found

    def index_entries(self, table: Table, field: Field, tokens: U8) -> tuple[U8, U8]:
        """The sealed index entries under some value tokens, over all runs of the field.

        Args:
            table: The table.
            field: An indexed field of it.
            tokens: Value tokens, u8[n,16].

        Returns:
            Value token u8[k,16] and sealed entry u8[k,44] of each hit.

        Raises:
            IntegrityError: A run is not the one that was written.
        """
        wanted = [token.tobytes() for token in tokens]
        found_tokens: list[bytes] = []
        found: list[bytes] = []
        for reader in self.runs(table.id, KIND_INDEX, field.id):
            asked = [token for token in wanted if reader.entry.may_hold(token)]
            if not asked:
                continue
            for token, here in zip(asked, reader.lookup(asked), strict=True):
                found_tokens += [token] * len(here)
                found += here
        if any(len(entry) != INDEX_ENTRY_BYTES for entry in found):
            raise IntegrityError("an index run has an entry of another length")
        return _stacked(found_tokens, 16), _stacked(found, INDEX_ENTRY_BYTES)

    def live_hits(
        self,
        table: Table,
        subject_tokens: U8,
        sequences: npt.NDArray[np.uint64],
        ordinals: npt.NDArray[np.uint32],
        buried: Buried | None = None,
    ) -> list[tuple[bytes, RecordEntry]]:
        """Those opened index hits that are live rows: batch and ordinal equal those of a live record of the person.

        Args:
            table: The table.
            subject_tokens: u8[k,16].
            sequences: Batch sequence of each hit, u64[k].
            ordinals: Row of each hit in its batch, u32[k].
            buried: What is dead of these persons.

        Returns:
            Subject token and record of each live hit, each record once, in hit order.
        """
        keys = [token.tobytes() for token in subject_tokens]
        persons = list(dict.fromkeys(keys))
        rows = {
            (token, entry.sequence, entry.ordinal): entry
            for token, entries in zip(persons, self.records_of(table, persons, buried), strict=True)
            for entry in entries
        }
        hits = dict.fromkeys(zip(keys, sequences.tolist(), ordinals.tolist(), strict=True))
        return [(hit[0], rows[hit]) for hit in hits if hit in rows]

    def live_masks(self, table: Table, graves: Graves | Uncounted | None = None) -> dict[bytes, npt.NDArray[np.bool_]]:
        """Which entries of each records run are live, by run id: bool[entries], in the run's order.

        In a table with many records per person all are that are not dead. In others a run that has each person once and
        whose token range no other run touches is not read.

        Args:
            table: The table.
            graves: Says what is dead, or not counted; None where nothing is.

        Raises:
            IntegrityError: A run is not the one that was written.
        """
        readers = self.runs(table.id, KIND_RECORDS)
        masks = {reader.entry.object_id: np.ones(reader.entry.entries, dtype=bool) for reader in readers}
        if graves is not None:
            for reader, places in graves.positions(readers):
                masks[reader.entry.object_id][places] = False
        if table.records != "one":
            return masks
        together = crowded([reader.entry for reader in readers])
        some = [reader for reader in readers if reader.entry.object_id in together]
        for group in scan(some, payload=False):
            living = np.ones(len(group.tokens), np.bool_)
            for number, reader in enumerate(some):
                mine = group.source == number
                living[mine] = masks[reader.entry.object_id][group.position[mine]]
            # the newest of what is not dead, as if the dead were not there
            kept = np.flatnonzero(living)
            live = np.zeros(len(group.tokens), np.bool_)
            live[kept] = np.append(token_changes(group.tokens[kept])[1:], True)[: len(kept)]
            for number, reader in enumerate(some):
                mine = group.source == number
                masks[reader.entry.object_id][group.position[mine]] = live[mine]
        return masks

    def _cells_of(self, table_id: bytes) -> Callable[[int], int]:
        known = self._cells

        def cells_of(version: int) -> int:
            count = known.get((table_id, version))
            if count is None:
                count = known[table_id, version] = 1 + len(self._table_version(table_id, version).classes)
            return count

        return cells_of


def crowded(entries: Sequence[ObjectEntry]) -> set[bytes]:
    """Ids of runs that can hold an entry which is not its person's only one: ranges touch, or persons repeat."""
    found = {entry.object_id for entry in entries if entry.persons != entry.entries}
    ordered = sorted((entry for entry in entries if entry.entries), key=lambda entry: entry.lo)
    furthest: ObjectEntry | None = None
    for entry in ordered:
        if furthest is not None and entry.lo <= furthest.hi:
            found |= {entry.object_id, furthest.object_id}
        if furthest is None or entry.hi > furthest.hi:
            furthest = entry
    return found


def _stacked(parts: list[bytes], width: int) -> U8:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
