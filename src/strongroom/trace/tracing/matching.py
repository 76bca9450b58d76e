"""Values of a sample to persons: distinct values looked up in batches, their index entries read in one pass.

Rules it keeps:

1. Each distinct value of a window and field is one look-up; blocks of the index are read once for all of them.
2. A value under which more persons lie than `PERSONS_OF_VALUE_MAX` tells nobody from another: it is counted, not used.
3. What is in memory is a window: its values, tokens of 16 bytes, and which rows they stand in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.index.bulk import Reads, Sorted, entries_under
from strongroom.index.finder import INDEX_ENTRY_BYTES
from strongroom.keymaster.tracing.api import HITS_AT_ONCE_MAX, VALUES_AT_ONCE_MAX, Traces
from strongroom.seal.blocks import KIND_INDEX
from strongroom.seal.columns import sort_entries, token_changes, value_buffers
from strongroom.seal.sha import LEAF, digests
from strongroom.trace.tracing.window import Pairs, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.finder import Finder
    from strongroom.schema.model import Schema, Table

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

PERSONS_OF_VALUE_MAX = 16


@dataclass
class Tally:
    """How values of a field fared: distinct ones of each window, those found, and those of too many persons."""

    tested: int = 0
    matched: int = 0
    crowded: int = 0


@dataclass
class Costs:
    """What a trace cost: look-ups, blocks of indexes, and blocks of records that versions were read from."""

    lookups: int = 0
    reads: Reads = field(default_factory=Reads)
    records: Reads = field(default_factory=Reads)


@dataclass(frozen=True)
class Looked:
    """Distinct values of a field that were looked up, and which of them somebody has, bool[n]."""

    table: str
    name: str
    values: pa.Array = field(repr=False)
    found: npt.NDArray[np.bool_] = field(repr=False)


class Matcher:
    """Looks values up for one trace.

    Args:
        traces: The keymaster's tracing.
        reading_id: The reading.
        finder: The snapshot's runs.
        schema: The schema in force.
    """

    def __init__(self, traces: Traces, reading_id: bytes, finder: Finder, schema: Schema) -> None:
        self._traces = traces
        self._reading = reading_id
        self._finder = finder
        self._schema = schema
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.costs = Costs()

    @property
    def snapshot(self) -> int:
        """Number of the snapshot that is read."""
        return self._finder.catalog.head.number

    def held(self, table: str, name: str) -> int:
        """How many distinct values of a field the room has, at most."""
        model = self._schema.table(table)
        field_ = model.field(name)
        if field_.find:
            return sum(reader.entry.persons for reader in self._finder.runs(model.id, KIND_INDEX, field_.id))
        return sum(entry.persons for entry in self._finder.catalog.objects(model.id))

    def of(self, wanted: Wanted, bit: int | None) -> tuple[Pairs, U64, Looked]:
        """The persons of some values by row, a number for each value (equal for equal ones), and what was found."""
        import pyarrow as pa

        rows, columns = np.concatenate(wanted.rows), np.concatenate(wanted.columns)
        coded = pa.chunked_array(wanted.values).combine_chunks()
        coded = (coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded).dictionary_encode()
        codes, distinct = np.asarray(coded.indices).astype(np.int64), coded.dictionary
        tokens, there = self._looked(wanted, distinct)
        model = self._schema.table(wanted.table)
        if wanted.name == model.subject:
            who, persons = np.flatnonzero(there), tokens[there]
            crowded = 0
        else:
            who, persons, crowded = self._persons(model, wanted.name, tokens, np.flatnonzero(there))
        tally = self.tallies.setdefault((wanted.table, wanted.name), Tally())
        tally.tested += len(distinct)
        tally.matched += len(np.unique(who))
        tally.crowded += crowded
        row, place = _spread(codes, len(distinct), who)
        number = np.full(len(row), 64 if bit is None else bit, np.uint8)
        own, certain = model.records == "one", bool(wanted.tokens_of) and wanted.certain
        pairs = Pairs(rows[row], persons[place], columns[row], number, certain=certain, own=own)
        found = np.zeros(len(distinct), np.bool_)
        found[who] = True
        return pairs, _tags(tokens, distinct)[codes], Looked(wanted.table, wanted.name, distinct, found)

    def _looked(self, wanted: Wanted, distinct: pa.Array) -> tuple[U8, npt.NDArray[np.bool_]]:
        """Tokens of distinct values, and which can be in the room."""
        tokens, there = [np.empty((0, 16), np.uint8)], [np.empty(0, np.bool_)]
        snapshot = self.snapshot
        for at in range(0, len(distinct), VALUES_AT_ONCE_MAX):
            some = distinct.slice(at, VALUES_AT_ONCE_MAX)
            if wanted.tokens_of:
                named = (self._reading, wanted.tokens_of, wanted.table, wanted.name)
                looked = self._traces.behind_tokens(*named, some, snapshot)
            else:
                looked = self._traces.look_up(self._reading, wanted.table, wanted.name, some, snapshot)
            tokens.append(looked.tokens)
            there.append(looked.there)
        self.costs.lookups += len(distinct)
        return np.concatenate(tokens), np.concatenate(there)

    def _persons(self, model: Table, name: str, tokens: U8, asked: I64) -> tuple[I64, U8, int]:
        """Which of some tokens lie in the index, whose entries those are, and how many are of too many persons."""
        fields = model.field(name)
        ordered, order = Sorted.of(tokens[asked])
        order = asked[order]
        who, persons = [np.empty(0, np.int64)], [np.empty((0, 16), np.uint8)]
        held: list[tuple[I64, U8]] = []
        count, crowded = 0, np.empty(0, np.int64)
        for hits in entries_under(self._finder.runs(model.id, KIND_INDEX, fields.id), ordered, self.costs.reads):
            crowded = np.union1d(crowded, hits.crowded)
            if not len(hits.places):
                continue
            held.append((hits.asked, _payloads(hits.entries.payload, hits.entries.offsets, hits.places)))
            count += len(hits.places)
            if count >= HITS_AT_ONCE_MAX // 2:
                self._opened(model.name, name, ordered, held, who, persons)
                held, count = [], 0
        if held:
            self._opened(model.name, name, ordered, held, who, persons)
        place, tokens_of = _distinct(np.concatenate(who), np.concatenate(persons))
        times = np.bincount(place, minlength=len(order)) if len(order) else np.zeros(0, np.int64)
        many = times > PERSONS_OF_VALUE_MAX
        many[crowded] = True
        kept = ~many[place]
        return order[place[kept]], np.ascontiguousarray(tokens_of[kept]), int(many.sum())

    def entries(self, looked: Looked, tokens: U8) -> tuple[U8, U8]:
        """The index entries of a field under distinct tokens u8[n,16]: the token of each, and its bytes u8[k,44]."""
        under, found = [np.empty((0, 16), np.uint8)], [np.empty((0, INDEX_ENTRY_BYTES), np.uint8)]
        if not len(tokens):
            return under[0], found[0]
        model = self._schema.table(looked.table)
        ordered, _ = Sorted.of(tokens)
        runs = self._finder.runs(model.id, KIND_INDEX, model.field(looked.name).id)
        for hits in entries_under(runs, ordered, self.costs.reads):
            if len(hits.places):
                under.append(ordered.tokens[hits.asked])
                found.append(_payloads(hits.entries.payload, hits.entries.offsets, hits.places))
        return np.concatenate(under), np.concatenate(found)

    def _opened(
        self, table: str, name: str, ordered: Sorted, held: list[tuple[I64, U8]], who: list[I64], persons: list[U8]
    ) -> None:
        """Have the keymaster open entries, and keep whose they are."""
        asked = np.concatenate([one for one, _ in held])
        entries = np.concatenate([one for _, one in held])
        for at in range(0, len(asked), HITS_AT_ONCE_MAX):
            some = slice(at, at + HITS_AT_ONCE_MAX)
            values = np.ascontiguousarray(ordered.tokens[asked[some]])
            hits = self._traces.open_hits(self._reading, table, name, values, np.ascontiguousarray(entries[some]))
            who.append(asked[some][hits.rows])
            persons.append(hits.subjects)


def _tags(tokens: U8, distinct: pa.Array) -> U64:
    """A number for each value: of its token; of what is no token of an export, which has none, of the text itself."""
    import pyarrow as pa

    tags = np.ascontiguousarray(tokens[:, :8]).view(np.uint64)[:, 0].copy()
    none = np.flatnonzero(~tokens.any(axis=1))
    at = 0
    for data, offsets in value_buffers(distinct.take(pa.array(none))):
        some = none[at : at + len(offsets) - 1]
        tags[some] = np.ascontiguousarray(digests(LEAF, data, offsets)[:, :8]).view(np.uint64)[:, 0]
        at += len(some)
    return tags


def _payloads(payload: U8, offsets: I64, places: I64) -> U8:
    """Index entries u8[k,44]."""
    if (np.diff(offsets) != INDEX_ENTRY_BYTES).any():
        raise IntegrityError("an index run has an entry of another length")
    return np.asarray(payload[: offsets[-1]].reshape(-1, INDEX_ENTRY_BYTES)[places])


def _distinct(who: I64, persons: U8) -> tuple[I64, U8]:
    """Each value and person once: an entry for every record of a person is one."""
    if len(who) < 2:
        return who, persons
    order = sort_entries(persons)
    fresh = token_changes(np.ascontiguousarray(persons[order]))
    ident = np.empty(len(who), np.int64)
    ident[order] = np.cumsum(fresh) - 1
    first = np.unique(who * (np.int64(ident.max()) + 1) + ident, return_index=True)[1]
    return who[first], np.ascontiguousarray(persons[first])


def _spread(codes: I64, size: int, who: I64) -> tuple[I64, I64]:
    """Rows whose value was found, and which find: each row with a value, for each find under it."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(size + 1))
    counts = (starts[1:] - starts[:-1])[who]
    place = np.repeat(np.arange(len(who)), counts)
    ahead = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(starts[:-1][who], counts) + ahead], place
