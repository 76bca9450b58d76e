"""Reads whole persons chosen at random, with all their records: what canaries are learnt from.

Rules kept here:

1. Stored tokens are random, so the persons of one range of them, from a random place on, are a random sample, and the
   same ones in every table.
2. First the tokens are read, without a key to any record; then the persons are released like any, a batch at a
   time. Whom the keymaster does not name there is left out: the erased, the expired, and canaries planted before.
3. Memory holds the persons of the sample, who are bounded in number, and one group of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import DeniedError, UsageError
from strongroom.index.expiry import cutoff, unexpired_column
from strongroom.keymaster.api import Ask
from strongroom.read.cellcolumns import CellColumns, batches_of
from strongroom.seal.blocks import KIND_RECORDS
from strongroom.seal.columns import join_columns, shapes_of, sort_entries, token_changes, token_text, token_words
from strongroom.seal.entropy import random_bytes
from strongroom.trace.canary.making import SAMPLE_PERSONS_MIN

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.finder import Finder
    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import Keymaster, ReadingGrant
    from strongroom.read.session import Session
    from strongroom.schema.model import Table
    from strongroom.seal.columns import Columns

VERB = "plant"
PERSONS_MAX = 200_000
"""So many persons with their records, and what is learnt from them, fit in some 1.6 GiB."""
PERSONS = 20_000
"""How many are learnt from where nobody says: each is charged, and told."""
RECORDS_MAX = 4_000_000
RELEASE_ROWS = 50_000
BLOCKS_AT_ONCE = 256
TOKENS = 1 << 128
_ASIDE = 1.25
"""So many times the persons wanted are looked at: what is there of them is known only then."""

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Span = tuple[bytes, bytes]


@dataclass(frozen=True)
class Sample:
    """Whole persons of the room.

    Args:
        tables: Their records by table.
        persons: How many they are.
        share: Which share of the room's persons, as the range of tokens says.
    """

    tables: dict[str, pa.Table] = field(repr=False)
    persons: int
    share: float


def persons_at_most(finder: Finder, tables: Sequence[Table]) -> int:
    """How many persons the room has, by the manifests: at most, as who is in several runs counts in each."""
    return max(sum(reader.entry.persons for reader in finder.runs(table.id, KIND_RECORDS)) for table in tables)


class Sampling:
    """Reads one sample.

    Args:
        session: The room's bucket and keymaster.
        finder: Look-ups in the snapshot that is read.
        grant: A reading whose purpose has the verb plant.
        tables: The tables that canaries have records in.
    """

    def __init__(self, session: Session, finder: Finder, grant: ReadingGrant, tables: Sequence[Table]) -> None:
        self._keymaster: Keymaster = session.keymaster
        self._grant = grant
        self._tables = tables
        self._now = session.now()
        self._held = persons_at_most(finder, tables)
        self._runs = {table.name: finder.runs(table.id, KIND_RECORDS) for table in tables}
        for table in tables:
            _refuse_hidden(grant, table)

    def read(self, most: int, start: bytes) -> Sample:
        """Read at most so many persons, from a random token (16 B) on.

        Raises:
            DeniedError: The purpose or a budget refuses; nobody is released.
            UsageError: There are too few persons, or more records than fit.
        """
        spans, share, chosen = self._choose(most, start)
        if chosen < SAMPLE_PERSONS_MIN:
            raise UsageError(
                f"the room has {chosen:,} persons to learn from, and at least {SAMPLE_PERSONS_MIN} are needed",
                hint="canaries among so few would be told apart: mark exports by tokens instead",
            )
        found, persons = {}, []
        for table in self._tables:
            found[table.name], tokens = self._table(table, spans)
            persons.append(tokens)
        count = len(np.unique(token_text(np.concatenate(persons))))
        return Sample(found, count, share)

    # -- which ----------------------------------------------------------------------------------
    def _choose(self, most: int, start: bytes) -> tuple[list[Span], float, int]:
        """The ranges of tokens to read, the share of all tokens that they are, and how many persons they hold."""
        held = self._held
        width = TOKENS if held <= most else min(TOKENS, int(TOKENS * (_ASIDE * most / held)))
        begin = int.from_bytes(start, "big")
        spans = _spans(begin, width)
        tokens = self._tokens(spans)
        if len(tokens) <= most:
            return spans, width / TOKENS, len(tokens)
        # from the beginning on, over the end of the numbers and round
        words = token_words(tokens)
        behind = (words[:, 0] > begin >> 64) | ((words[:, 0] == begin >> 64) & (words[:, 1] >= begin & (1 << 64) - 1))
        ordered = np.concatenate([np.flatnonzero(behind), np.flatnonzero(~behind)])
        last = int.from_bytes(tokens[ordered[most]].tobytes(), "big")
        width = (last - begin) % TOKENS
        return _spans(begin, width), width / TOKENS, most

    def _tokens(self, spans: Sequence[Span]) -> U8:
        """The distinct tokens of all tables within some ranges, sorted, u8[n,16]."""
        parts = [np.empty(0, "S16")]
        for runs in self._runs.values():
            for reader in runs:
                for entries, places in _within(reader, spans):
                    parts.append(np.unique(token_text(entries.tokens[places])))
                    if sum(map(len, parts)) > RECORDS_MAX:
                        parts = [np.unique(np.concatenate(parts))]
        return np.unique(np.concatenate(parts)).view(np.uint8).reshape(-1, 16)

    # -- their records --------------------------------------------------------------------------
    def _table(self, table: Table, spans: Sequence[Span]) -> tuple[pa.Table, U8]:
        """The live records of a table within some ranges, and their tokens u8[n,16]."""
        import pyarrow as pa

        from strongroom.schema.columns import arrow_type

        names = [f.name for f in table.fields]
        cells = CellColumns(self._keymaster, table, names)
        schema = pa.schema([(f.name, arrow_type(f.type)) for f in table.fields])
        batches: list[pa.RecordBatch] = []
        tokens: list[U8] = [np.empty((0, 16), np.uint8)]
        held = 0
        for reader in self._runs[table.name]:
            for entries, places in _within(reader, spans):
                for at in range(0, len(places), RELEASE_ROWS):
                    columns, own = self._opened(table, cells, reader, entries, places[at : at + RELEASE_ROWS])
                    batches.append(pa.RecordBatch.from_arrays([columns[n] for n in names], schema=schema))
                    tokens.append(own)
                    held += len(own)
                    if held > RECORDS_MAX:
                        raise UsageError(
                            f"the persons to learn from have more than {RECORDS_MAX:,} records of {table.name}",
                            hint="learn from fewer persons",
                        )
        rows, every = pa.Table.from_batches(batches, schema=schema), np.concatenate(tokens)
        if table.records == "one":
            last = _newest(every)
            rows, every = rows.take(pa.array(last)), every[last]
        until = cutoff(table, self._now)
        if until is not None:
            kept = unexpired_column(rows[until[0]].combine_chunks(), until)
            rows, every = rows.filter(pa.array(kept)), every[kept]
        return rows, every

    def _opened(
        self, table: Table, cells: CellColumns, reader: RunReader, entries: Columns, places: I64
    ) -> tuple[dict[str, pa.Array], U8]:
        shapes = shapes_of(entries.payload, entries.offsets)[places]
        tokens = np.ascontiguousarray(entries.tokens[places])
        batches = batches_of(reader, shapes)
        ask = Ask(random_bytes(16), VERB, table.name, None, tokens, batches)
        released = self._keymaster.release(self._grant.reading_id, ask)
        here = np.ones(len(places), np.bool_)
        here[list(released.missing)] = False
        keys = {klass: found[here] for klass, found in released.keys.items()}
        columns = cells.opened(reader, entries, places[here], shapes[here], keys)
        return columns, tokens[here]


def _refuse_hidden(grant: ReadingGrant, table: Table) -> None:
    """Canaries are learnt from whole records: DeniedError where the purpose does not show a field plain."""
    views = grant.views.get(table.name, {})
    hidden = [f.name for f in table.fields if f.name not in views or views[f.name].show != "plain"]
    if hidden:
        raise DeniedError(
            f"purpose {grant.purpose} does not show {', '.join(hidden)} of table {table.name} plain",
            rule=f"purposes.{grant.purpose}.tables.{table.name}",
            hint="canaries are learnt from whole records: show every field plain to who plants, or leave the table out",
        )


def _spans(begin: int, width: int) -> list[Span]:
    """Ranges of tokens, both ends within: one, or two where it goes over the end."""
    if width >= TOKENS:
        return [(bytes(16), b"\xff" * 16)]
    if width <= 0:
        return []
    end = begin + width - 1
    pairs = [(begin, min(end, TOKENS - 1))] + ([(0, end - TOKENS)] if end >= TOKENS else [])
    return [(low.to_bytes(16, "big"), high.to_bytes(16, "big")) for low, high in pairs]


def _within(reader: RunReader, spans: Sequence[Span]) -> Iterator[tuple[Columns, I64]]:
    """The blocks of a run that have tokens within some ranges, and the places of these."""
    table = reader.tail().table()
    firsts = token_words(np.ascontiguousarray(table["first"]).view(np.uint8).reshape(-1, 16))
    for low, high in spans:
        at = max(0, _before(firsts, low) - 1)
        stop = _before(firsts, high, equal=True)
        for first in range(at, stop, BLOCKS_AT_ONCE):
            blocks = reader.open_blocks(first, min(stop, first + BLOCKS_AT_ONCE))
            entries = join_columns([block.entries() for block in blocks])
            places = np.flatnonzero(_inside(entries.tokens, low, high))
            if len(places):
                yield entries, places


def _before(words: npt.NDArray[np.uint64], token: bytes, *, equal: bool = False) -> int:
    """How many of some sorted tokens, u64[n,2], are below one, or equal to it."""
    return int(np.count_nonzero(_below(words, token, equal=equal)))


def _inside(tokens: U8, low: bytes, high: bytes) -> Bool:
    words = token_words(tokens)
    return ~_below(words, low, equal=False) & _below(words, high, equal=True)


def _below(words: npt.NDArray[np.uint64], token: bytes, *, equal: bool) -> Bool:
    upper, lower = (np.uint64(int.from_bytes(part, "big")) for part in (token[:8], token[8:]))
    end = words[:, 1] <= lower if equal else words[:, 1] < lower
    found: Bool = (words[:, 0] < upper) | ((words[:, 0] == upper) & end)
    return found


def _newest(tokens: U8) -> I64:
    """The last place of each token, ascending."""
    order = sort_entries(tokens)
    return np.sort(order[np.roll(token_changes(tokens[order]), -1)])
