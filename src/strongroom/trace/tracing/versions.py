"""Of when a sample is: values of some of its rows, chosen at random, compared with versions of their persons' records.

Rules it keeps:

1. Rows are chosen by a random number of each before anything is known of them: at most `ROWS_KEPT` are in memory.
2. At most so many persons as are asked for are released, charged and told. Their values are compared and dropped.
3. A field of the sample counts where it agrees with some version in half of the rows: else it is another field.
4. What is not known makes an interval wider, never narrower: before the oldest version that is left, unless the person
   came with it, anything may have been; and before a version in a run that a compaction wrote, the same values may
   have been since the version before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.catalog.catalog import Catalog
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.index.bulk import Reads, Sorted, entries_under
from strongroom.index.runreader import RunReader
from strongroom.keymaster.tracing.api import VERSIONS_MAX
from strongroom.read.cellcolumns import CellColumns, batches_of
from strongroom.schema.normalise import normalise
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.seal.columns import Columns, gather, shapes_of
from strongroom.trace.dating import Dating, date_rows
from strongroom.trace.tracing.window import RowsFound, grouped

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.finder import Finder
    from strongroom.keymaster.api import Bytes2D, Keymaster
    from strongroom.keymaster.tracing.api import Traces, Versions
    from strongroom.schema.model import Schema, Table
    from strongroom.trace.leak.sample import Candidate

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

PERSONS = 20_000
ROWS_KEPT = 40_000
SNAPSHOTS_MAX = 64
AGREES_MIN = 0.5
SECOND = 1_000_000
"""Times are microseconds."""
_END = np.int64(1) << 62


class Kept:
    """Some rows of a sample, chosen at random, with the values that they have of fields of tables with versions.

    Args:
        schema: The schema in force.
        shown: (table, field) that the purpose shows plain.
        seed: A random number.
    """

    def __init__(self, schema: Schema, shown: set[tuple[str, str]], seed: int) -> None:
        self._fields = {key for key in shown if schema.tables[key[0]].records == "one"}
        self._seed = np.uint64(seed)
        self._seen = 0
        self._values: dict[tuple[str, str], list[tuple[I64, Any]]] = {}
        self._count = 0
        self._found: list[tuple[I64, U8]] = []

    def _chosen(self, rows: I64) -> Bool:
        """Which rows are among those kept, as long as no more are seen."""
        mixed = rows.astype(np.uint64) + self._seed
        with np.errstate(over="ignore"):
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
        share = min(1.0, ROWS_KEPT / max(self._seen, 1))
        return np.asarray(mixed >> np.uint64(11) < np.uint64(int(share * 2**53)), np.bool_)

    def saw(self, rows: int) -> None:
        """So many rows come now."""
        self._seen += rows

    def add(self, base: int, candidate: Candidate) -> None:
        """Values of a column that may be of one field."""
        import pyarrow as pa

        key = (candidate.table, candidate.field)
        if key not in self._fields or not len(candidate.numbers):
            return
        rows = base + candidate.numbers
        here = self._chosen(rows)
        if not here.any():
            return
        self._values.setdefault(key, []).append((rows[here], candidate.values.filter(pa.array(here))))
        self._count += int(here.sum())
        if self._count > 4 * ROWS_KEPT * max(len(self._values), 1):
            self._prune()

    def _prune(self) -> None:
        import pyarrow as pa

        self._count = 0
        for key, parts in self._values.items():
            kept = []
            for rows, values in parts:
                here = self._chosen(rows)
                kept.append((rows[here], values.filter(pa.array(here))))
                self._count += int(here.sum())
            self._values[key] = kept

    def assign(self, found: RowsFound) -> None:
        """Whose the rows of a window are."""
        chosen = np.flatnonzero(found.person >= 0)
        chosen = chosen[self._chosen(found.rows[chosen])]
        self._found.append((found.rows[chosen], found.persons.tokens[found.person[chosen]]))

    def tables(self) -> list[str]:
        """Tables with versions, of which the sample has values."""
        return list(dict.fromkeys(table for table, _ in self._values))

    def rows(self, persons: int) -> tuple[I64, U8]:
        """Rows of so many persons at most, one each: ids i64[n] and tokens u8[n,16]."""
        none: list[tuple[I64, U8]] = [(np.empty(0, np.int64), np.empty((0, 16), np.uint8))]
        rows = np.concatenate([one for one, _ in none + self._found])
        tokens = np.concatenate([one for _, one in none + self._found])
        here = self._chosen(rows)
        rows, tokens = rows[here], tokens[here]
        if not len(rows):
            return rows, tokens
        order, starts = grouped(tokens)
        first = order[starts][:persons]  # tokens are random to whoever chose the sample: so are the first of them
        by_row = np.argsort(rows[first])
        return rows[first][by_row], np.ascontiguousarray(tokens[first][by_row])

    def values(self, table: str, name: str, rows: I64) -> pa.Array | None:
        """What the sample has of a field in some rows, ascending; null where nothing, or two values."""
        import pyarrow as pa

        parts = self._values.get((table, name))
        if not parts:
            return None
        own = np.concatenate([one for one, _ in parts])
        values = pa.chunked_array([one for _, one in parts]).combine_chunks()
        own, first, counts = np.unique(own, return_index=True, return_counts=True)
        at = np.minimum(np.searchsorted(own, rows), len(own) - 1)
        there = (own[at] == rows) & (counts[at] == 1)
        return values.take(pa.array(first[at], mask=~there))

    def fields(self, table: str) -> list[str]:
        """Fields of a table of which the sample has values."""
        return [name for own, name in self._values if own == table and self._values[own, name]]


@dataclass(frozen=True)
class Dated:
    """A dating and what it stands on.

    Args:
        dating: Times in microseconds since 1970.
        period: The times that were possible.
        table: Whose versions were compared.
        fields: Which fields.
        persons: How many persons were charged for it.
        leaf: Number of the entry in the log.
        left_out: How many more were not: budgets and the agreement held no more, or they have too many versions.
        snapshots: Number and time (seconds since 1970) of the snapshots in the period: of the newest ones, those that
            the room still has.
    """

    dating: Dating
    period: tuple[int, int]
    table: str
    fields: tuple[str, ...]
    persons: int
    leaf: int
    left_out: int
    snapshots: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class _Piece:
    """Entries of one run under some tokens: which token, the entries, their shapes and batches."""

    reader: RunReader
    entries: Columns = field(repr=False)
    asked: I64
    shapes: npt.NDArray[np.uint32]
    batches: Bytes2D = field(repr=False)


class VersionReader:
    """Reads versions of records for one trace.

    Args:
        keymaster: Knows older versions of tables.
        traces: Its tracing, which releases.
        reading_id: The reading.
        finder: The newest snapshot.
        reads: What reading costs is added here.
    """

    def __init__(self, keymaster: Keymaster, traces: Traces, reading_id: bytes, finder: Finder, reads: Reads) -> None:
        self._keymaster = keymaster
        self._traces = traces
        self._reading = reading_id
        self._finder = finder
        self._reads = reads
        self._snapshots: dict[int, int] = {}

    def date(self, kept: Kept, table: Table, persons: int, now: float) -> Dated | None:
        """When the rows were those of the room, by versions of a table; None where there is nothing to compare."""
        rows, tokens = kept.rows(persons)
        names = [name for name in kept.fields(table.name) if name != table.subject]
        if not len(rows) or not names:
            return None
        pieces = list(self._pieces(table, tokens))
        if not pieces:
            return None
        versions = sum(len(one.asked) for one in pieces)
        if versions > VERSIONS_MAX:
            fewer = len(rows) * VERSIONS_MAX // versions
            less = self.date(kept, table, fewer, now)
            return less and replace(less, left_out=less.left_out + len(rows) - fewer)
        asked = np.concatenate([one.asked for one in pieces])
        batches = np.concatenate([one.batches for one in pieces])
        got = self._traces.versions(self._reading, table.name, names, tokens[asked], batches)
        here = np.ones(len(asked), np.bool_)
        here[got.missing] = False
        columns = self._opened(table, names, pieces, got, here)
        times = _times(asked, batches, got, here, pieces)
        of_rows = {name: kept.values(table.name, name, rows) for name in names}
        match, used = _matching(of_rows, columns, times.person)
        period = (int(got.since * SECOND), int(now * SECOND))
        if not used or period[0] >= period[1]:
            return None
        found = times.intervals(match, period[0])
        dating = date_rows(found[0], found[1], period=period, rows=found[2])
        there = {number: at for number, at in self._snapshots.items() if number and period[0] <= at <= period[1]}
        snapshots = tuple((number, there[number] / SECOND) for number in sorted(there))
        return Dated(dating, period, table.name, tuple(used), got.persons, got.leaf, got.left_out, snapshots)

    def _pieces(self, table: Table, tokens: U8) -> Iterator[_Piece]:
        ordered, order = Sorted.of(tokens)
        for hits in entries_under(list(self._runs(table)), ordered, self._reads):
            if not len(hits.places):
                continue
            own = hits.entries
            entries = Columns(own.tokens[hits.places], *gather(own.payload, own.offsets, hits.places))
            shapes = shapes_of(entries.payload, entries.offsets)
            yield _Piece(hits.reader, entries, order[hits.asked], shapes, batches_of(hits.reader, shapes))

    def _runs(self, table: Table) -> Iterator[RunReader]:
        """Records runs of the newest snapshot, and of older ones as long as they are there, each once."""
        seen: set[bytes] = set()
        catalog: Catalog = self._finder.catalog
        self._snapshots = {catalog.head.number: catalog.snapshot.created}
        for reader in self._finder.runs(table.id, KIND_RECORDS):
            seen.add(reader.entry.object_id)
            yield reader
        for _ in range(SNAPSHOTS_MAX):
            if catalog.head.number <= 1:
                return
            try:
                catalog = catalog.parent()
                self._snapshots[catalog.head.number] = catalog.snapshot.created
                objects = catalog.objects(table.id, KIND_RECORDS)
            except (IntegrityError, NotFoundError):
                return  # removed after its time
            for entry in objects:
                if entry.object_id not in seen:
                    seen.add(entry.object_id)
                    reader = self._finder.reader(entry)
                    if _is_there(reader):
                        yield reader

    def _opened(
        self, table: Table, names: Sequence[str], pieces: Sequence[_Piece], got: Versions, here: Bool
    ) -> dict[str, pa.Array]:
        """The fields of the versions that were released, in order."""
        import pyarrow as pa

        cells = CellColumns(self._keymaster, table, names)
        parts: dict[str, list[pa.Array]] = {name: [] for name in names}
        at = 0
        for piece in pieces:
            mine = here[at : at + len(piece.asked)]
            keys = {klass: found[at : at + len(piece.asked)][mine] for klass, found in got.keys.items()}
            at += len(piece.asked)
            if mine.any():
                opened = cells.opened(piece.reader, piece.entries, np.flatnonzero(mine), piece.shapes[mine], keys)
                for name in names:
                    parts[name].append(_comparable(opened[name], table, name))
        return {name: pa.concat_arrays(some) if some else pa.nulls(0) for name, some in parts.items()}


def _is_there(reader: RunReader) -> bool:
    """Whether a run of an older snapshot can still be read."""
    try:
        reader.tail()
    except (IntegrityError, NotFoundError):
        return False
    return True


def _comparable(column: pa.Array, table: Table, name: str) -> pa.Array:
    """Stored values as a sample's are prepared."""
    import pyarrow as pa

    own = table.field(name)
    if own.type == "string":
        return normalise(column, own.normalise, name=name)
    return normalise(column, ()) if pa.types.is_integer(column.type) else column


@dataclass(frozen=True)
class _Times:
    """Versions in the order they were opened: whose row (place among the rows), and from when to when each held."""

    person: I64
    start: I64
    stop: I64

    def intervals(self, match: tuple[I64, Bool], low: int) -> tuple[I64, I64, I64]:
        """Starts, stops and rows of the intervals in which rows may have been taken."""
        versions, same = match
        chosen = versions[same]
        start = np.where(self.start[chosen] < 0, low, self.start[chosen])
        rows = self.person[chosen]
        empty = np.setdiff1d(np.unique(self.person), rows)
        # before the oldest version that is left, unless the person came with it, any values may have been
        open_rows, open_stops = self._unknown(empty)
        nothing = np.setdiff1d(empty, open_rows)
        return (
            np.concatenate([start, np.full(len(open_rows), low), np.full(len(nothing), _END)]),
            np.concatenate([self.stop[chosen], open_stops, np.full(len(nothing), _END)]),
            np.concatenate([rows, open_rows, nothing]),
        )

    def _unknown(self, rows: I64) -> tuple[I64, I64]:
        oldest = np.flatnonzero((self.start < 0) & np.isin(self.person, rows))
        return self.person[oldest], self.stop[oldest]


def _times(asked: I64, batches: Bytes2D, got: Versions, here: Bool, pieces: Sequence[_Piece]) -> _Times:
    """From when to when each released version held; a start of -1: not known."""
    kept = np.flatnonzero(here)
    person = asked[kept]
    sequence = np.ascontiguousarray(batches[kept, :8]).view("<u8")[:, 0].astype(np.uint64)
    minted = (got.minted[kept] * SECOND).astype(np.int64)
    created = np.concatenate([np.full(len(one.asked), one.reader.entry.created, np.int64) for one in pieces])[kept]
    merged = created > minted
    order = np.lexsort((merged, sequence, person))
    again = np.zeros(len(order), np.bool_)  # the same entry in a run and in the one it was merged into
    again[1:] = (person[order][1:] == person[order][:-1]) & (sequence[order][1:] == sequence[order][:-1])
    order = order[~again]
    new = np.ones(len(order), np.bool_)
    new[1:] = person[order][1:] != person[order][:-1]
    begun = minted[order]
    starts = begun.copy()
    # of a version that a compaction wrote, the same values may have been there since the one before
    widened = np.flatnonzero(merged[order] & ~new)
    starts[widened] = begun[widened - 1]
    starts[new & (sequence[order] != got.born[kept][order])] = -1
    stops = np.append(begun[1:], _END)
    stops[np.append(new[1:], True)] = _END
    start, stop = np.zeros(len(kept), np.int64), np.zeros(len(kept), np.int64)
    start[order], stop[order] = starts, np.maximum(stops, starts)
    return _Times(person, start, stop)


def _matching(
    of_rows: dict[str, pa.Array | None], columns: dict[str, pa.Array], person: I64
) -> tuple[tuple[I64, Bool], list[str]]:
    """Which versions have just the values of their row, and the fields that were compared."""
    import pyarrow as pa
    import pyarrow.compute as pc

    same, told = np.ones(len(person), np.bool_), np.zeros(len(person), np.bool_)
    used = []
    for name, values in of_rows.items():
        if values is None or not len(person):
            continue
        given = values.take(pa.array(person))
        stored = columns[name]
        if given.type != stored.type:
            given = given.cast(stored.type)
        there = np.asarray(given.is_valid())
        equal = np.asarray(pc.fill_null(pc.equal(given, stored), pa.scalar(value=False)))
        asked = np.unique(person[there])
        if len(asked) and len(np.unique(person[there & equal])) >= AGREES_MIN * len(asked):
            used.append(name)
            same &= equal | ~there
            told |= there
    compared = np.isin(person, np.unique(person[told]))
    return (np.flatnonzero(compared), same[compared]), used
