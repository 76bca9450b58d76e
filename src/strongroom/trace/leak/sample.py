"""A published sample: rows of any form in, values by the fields of a schema out, and an account of everything.

Rules it keeps:

1. Memory does not grow with the sample: a block of some megabytes is in hand, whatever the file.
2. Rows in are rows out: of columns, of plain text, or counted as unread with why (`Account`).
3. What nobody's field could be is told, not dropped: `Description.unknown`.

Which person a value belongs to is left to the keymaster and to matching.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.errors import InputError, UsageError
from strongroom.schema.model import Schema
from strongroom.trace.leak.base import Account, Int64s, Piece
from strongroom.trace.leak.extract import CODE, EMAIL, extract
from strongroom.trace.leak.fields import (
    COMPARE,
    TIME,
    FieldSeen,
    Guess,
    Profile,
    Seen,
    guesses,
    shown_header,
    targets_in_text,
    targets_of,
)
from strongroom.trace.leak.files import Opened, opened
from strongroom.trace.leak.readers import read
from strongroom.trace.leak.values import as_text, prepared

if TYPE_CHECKING:
    import pyarrow as pa

FREE_TEXT_LENGTH_MIN = 16
LONGEST_VALUE = 22
"""Characters of one number with its country code and separators, at most."""
_SEVERAL = r"@.*[\s,;/|、，；].*@"


@dataclass(frozen=True)
class Candidate:
    """Values of a batch that may be of one field.

    Args:
        column: Place of the column in the batch, from 0; None for plain text.
        table: Name of the table.
        field: Name of the field.
        lookup: `index` (look up by blind index), `subject` (by subject token) or "" (compare, once it is found).
        how: By what it was guessed: `name`, `word`, `values` or `text`.
        numbers: Row number of each value, i64[m]; a row may have several.
        values: Without nulls. Strings normalised by the field's steps, or typed values of a field of another type.
    """

    column: int | None
    table: str
    field: str
    lookup: str
    how: str
    numbers: Int64s = dataclasses.field(repr=False)
    values: pa.Array = dataclasses.field(repr=False)


@dataclass(frozen=True)
class LeakBatch:
    """Some rows of a sample.

    Args:
        source: Name of the file.
        group: Name of the table in a dump; "" elsewhere.
        numbers: Row number of each row of `columns`, i64[n].
        columns: Rows as read, all text, columns named c0, c1 ...; None where all rows are plain text.
        line_numbers: Rows that are plain text, i64[m].
        candidates: Values by field.
    """

    source: str
    group: str
    numbers: Int64s = field(repr=False)
    columns: pa.RecordBatch | None = field(repr=False)
    line_numbers: Int64s = field(repr=False)
    candidates: tuple[Candidate, ...] = field(repr=False)


@dataclass
class GroupSeen:
    """The columns of one table of one source, and what was found in its plain text, by field."""

    source: str
    group: str
    columns: list[Seen] = field(default_factory=list)
    in_text: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Columns with values that no field of the schema could be."""
        return tuple(c.shown for c in self.columns if c.values and not c.fields)


@dataclass
class Description:
    """What was read so far: an account of each source, and its columns.

    `searchable` is whether any value was found that can be looked for in the room.
    """

    accounts: list[Account] = field(default_factory=list)
    groups: list[GroupSeen] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Records looked at, in all sources."""
        return sum(a.rows for a in self.accounts)

    @property
    def searchable(self) -> bool:
        """Whether there is anything to look for."""
        seen = (f for g in self.groups for c in g.columns for f in c.fields.values())
        return any(f.lookup != COMPARE and f.rows for f in seen) or any(g.in_text for g in self.groups)

    def group(self, source: str, group: str) -> GroupSeen:
        """The columns of one table of a source, made when it is new."""
        for one in reversed(self.groups):
            if one.source == source and one.group == group:
                return one
        self.groups.append(GroupSeen(source, group))
        return self.groups[-1]


class LeakSample:
    """The batches of a sample, in order; an iterator to be used once.

    Args:
        what: A path, a list of paths, or a binary file object.
        schema: Whose fields are looked for.

    `description` grows with the reading and is whole at its end.

    Raises:
        InputError: On reading: a file is absent, or of a kind that cannot be read.
    """

    def __init__(self, what: Any, schema: Schema) -> None:
        self.description = Description()
        self._targets = targets_of(schema)
        self._text_targets = targets_in_text(self._targets)
        self._kinds = frozenset(t.kind for t in self._text_targets)
        self._what = _files(what)
        self._batches = self._all()

    def __iter__(self) -> Iterator[LeakBatch]:
        return self

    def __next__(self) -> LeakBatch:
        return next(self._batches)

    def _all(self) -> Iterator[LeakBatch]:
        names = tuple({t.field.name: None for t in self._targets})
        for path, stream, name in self._what:
            for file in opened(path, stream, name):
                self.description.accounts.append(file.account)
                for piece in self._pieces(file, names):
                    yield self._batch(file.account.source, piece)
        if not any(a.rows or a.headers or a.unread for a in self.description.accounts):
            raise InputError("the sample is empty", hint="name a file that holds at least one row.")

    def _pieces(self, file: Opened, names: tuple[str, ...]) -> Iterator[Piece]:
        """The pieces of a file; one of an archive that cannot be read is counted, a file on its own refused."""
        try:
            yield from read(file, names)
        except InputError as error:
            if not file.member:
                raise
            file.account.lost(str(error).removeprefix(f"{file.account.source}: "), size=file.account.size)

    def _batch(self, source: str, piece: Piece) -> LeakBatch:
        seen = self.description.group(source, piece.group)
        candidates: list[Candidate] = []
        columns = None
        if piece.columns is not None:
            columns = _texts(piece.columns)
            for place in range(columns.num_columns):
                header = piece.headers[place] if piece.headers and place < len(piece.headers) else None
                candidates += self._column(seen, place, header, columns.column(place), piece.numbers)
        if piece.lines is not None and len(piece.lines):
            found = self._in_text(piece.lines, piece.line_numbers, None, self._kinds)
            for one in found:
                key = (one.table, one.field)
                seen.in_text[key] = seen.in_text.get(key, 0) + len(one.values)
            candidates += found
        return LeakBatch(source, piece.group, piece.numbers, columns, piece.line_numbers, tuple(candidates))

    def _column(
        self, seen: GroupSeen, place: int, header: str | None, text: pa.Array, numbers: Int64s
    ) -> list[Candidate]:
        while len(seen.columns) <= place:
            seen.columns.append(Seen(len(seen.columns) + 1, f"column {len(seen.columns) + 1}"))
        column = seen.columns[place]
        if header:
            column.shown = shown_header(header, place + 1, self._targets)
        column.values += len(text) - text.null_count
        profile = Profile(text)
        found, made = [], {}
        for guess in guesses(header, profile, self._targets):
            one = guess.target.field
            key = (one.type, one.normalise, one.find)
            if key not in made:
                made[key] = _given(prepared(text, one), numbers)
            rows, values = made[key]
            found.append(Candidate(place, guess.target.table, one.name, guess.target.lookup, guess.how, rows, values))
            _note(column, guess, len(values))
        found += self._several(found, text, numbers, place)
        kinds = _kinds_inside(self._kinds, found, profile)
        if kinds:
            inside = self._in_text(text, numbers, place, kinds)
            for candidate in inside:
                key2 = (candidate.table, candidate.field)
                fared = column.fields.setdefault(key2, FieldSeen(candidate.lookup, "text"))
                fared.rows += len(candidate.values)
            found += inside
        return found

    def _several(self, found: list[Candidate], text: pa.Array, numbers: Int64s, place: int) -> list[Candidate]:
        """Identifiers in those values of a column that are too long to be one: two numbers in a cell."""
        import pyarrow as pa
        import pyarrow.compute as pc

        named = {(c.table, c.field) for c in found if c.lookup}
        kinds = {t.kind for t in self._text_targets if (t.table, t.field.name) in named} - {CODE}
        if not kinds:
            return []
        no = pa.scalar(value=False)
        many = pc.match_substring_regex(text, _SEVERAL)
        if kinds != {EMAIL}:
            many = pc.or_(many, pc.greater(pc.utf8_length(text), LONGEST_VALUE))
        chosen = pc.fill_null(many, no)
        if not chosen.true_count:
            return []
        return self._in_text(text.filter(chosen), numbers[np.asarray(chosen)], place, frozenset(kinds))

    def _in_text(self, lines: pa.Array, numbers: Int64s, column: int | None, kinds: frozenset[str]) -> list[Candidate]:
        """Identifiers in running text, as every field of their kind."""
        hits = extract(lines, kinds)
        found, made = [], {}
        for target in self._text_targets:
            if target.kind not in hits:
                continue
            hit = hits[target.kind]
            key = (target.kind, target.field.type, target.field.normalise)
            if key not in made:
                made[key] = _given(prepared(hit.values, target.field), numbers[hit.lines])
            rows, values = made[key]
            if len(values):
                found.append(Candidate(column, target.table, target.field.name, target.lookup, "text", rows, values))
        return found


def _kinds_inside(kinds: frozenset[str], found: list[Candidate], profile: Profile) -> frozenset[str]:
    """What to look for inside the values of a column: nothing where it is looked for itself, is short, or is times."""
    if any(c.lookup for c in found) or profile.mean_length < FREE_TEXT_LENGTH_MIN or (profile.share(TIME) or 0) > 0.5:
        return frozenset()
    return kinds - {CODE} if any(c.how == "name" for c in found) else kinds


def _note(column: Seen, guess: Guess, rows: int) -> None:
    key = (guess.target.table, guess.target.field.name)
    fared = column.fields.setdefault(key, FieldSeen(guess.target.lookup, guess.how))
    fared.rows += rows
    fared.shaped += guess.share * rows


def _texts(columns: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [as_text(columns.column(i)) for i in range(columns.num_columns)]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))])


def _given(values: pa.Array, numbers: Int64s) -> tuple[Int64s, pa.Array]:
    """The values that are there, and their rows."""
    if not values.null_count:
        return numbers, values
    return numbers[np.asarray(values.is_valid())], values.drop_null()


def _files(what: Any) -> list[tuple[Path | None, Any, str]]:
    if isinstance(what, str | Path):
        return [(Path(what), None, str(what))]
    if hasattr(what, "read"):
        return [(None, what, str(getattr(what, "name", "<file object>")))]
    if isinstance(what, Iterable) and not isinstance(what, bytes | bytearray):
        return [one for item in what for one in _files(item)]
    raise UsageError("this is no sample", hint="give a path, a list of paths, or a binary file object.")
