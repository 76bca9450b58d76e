"""SQL dumps: rows of INSERT … VALUES and of COPY … FROM stdin, with the names that the dump gives their columns.

Rules it keeps:

1. Rows are read, nothing is run. Statements that hold no rows are counted in bytes; one that changes rows, and what
   cannot be followed, is read as plain text.
2. Strings escape as MySQL writes them or as the standard says; which, is told from the beginning of the dump.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from strongroom.trace.leak.base import BLOCK_BYTES, LOST_SQL, NO_ROWS, Int64s, Piece, Rows, text_piece
from strongroom.trace.leak.delimited import Delimited
from strongroom.trace.leak.form import Columns, has_backslash_escapes, split
from strongroom.trace.leak.sqlvalues import Tuples, rows_as_csv, tuples_of

CARRY_MAX = 4 * BLOCK_BYTES
HEADS_MAX = 1_000

_NAME = rb"(?:[`\"\[]?[^\s`\"\[\](),.;']+[`\"\]]?\s*\.\s*){0,3}[`\"\[]?([^\s`\"\[\](),.;']+)[`\"\]]?"
_INSERT = re.compile(rb"(?is)\b(?:INSERT|REPLACE)\s+(?:[A-Z_]+\s+){0,3}?INTO\s+" + _NAME + rb"\s*(?:(VALUES?)\s*)?\Z")
_VALUES = re.compile(rb"(?is)\A\s*(?:OVERRIDING\s+\w+\s+VALUE\s+)?VALUES?\s*\Z")
_CREATE = re.compile(rb"(?is)\bCREATE\s+(?:\w+\s+){0,3}?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?" + _NAME + rb"\s*\Z")
_COPY = re.compile(rb"(?im)^COPY\s+" + _NAME + rb"\s*(?:\(([^)\n]{0,60000})\)\s*)?FROM\s+stdin[^\n;]{0,200};[ \t\r]*\n")
_CHANGES = re.compile(rb"(?im)^[ \t]*(?:UPDATE|MERGE)\s")
_COMMENT = re.compile(rb"\A\s*(?:--|#|/\*|SET\s|LOCK\s|UNLOCK\s|COMMIT|;)")
_ODD_COMMENT = re.compile(rb"(?m)^(?:--|#)[^\n]*'[^\n]*$")
_CAST = re.compile(rb"(?i)'::[a-z][a-z0-9_ ]{0,40}(?:\([0-9, ]*\))?")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"", b"'": b"''", b"Z": b"", b"%": b"\\%", b"_": b"\\_"}
_NO_COLUMNS = frozenset(b"primary key unique constraint index foreign check fulltext spatial exclude like".split())
_COLUMN = re.compile(rb"\s*[`\"\[]?([^\s`\"\[\](),]+)")


@dataclass(frozen=True)
class _Target:
    """Where tuples go: a table, and the names of its columns where they are known."""

    table: str
    names: tuple[str, ...] | None


class Dump:
    """Reads blocks of a dump.

    Args:
        rows: Gives out row numbers.
        head: The beginning of the dump.
    """

    def __init__(self, rows: Rows, head: bytes) -> None:
        self._rows = rows
        self._backslash = has_backslash_escapes(head)
        self._created: dict[str, tuple[str, ...]] = {}
        self._target: _Target | None = None
        self._named: _Target | None = None
        self._copying: _Target | None = None
        self._heads: dict[bytes, _Target] = {}

    def pieces(self, blocks: Iterator[bytes]) -> Iterator[Piece]:
        """The rows of all blocks, in order."""
        carry = escape = b""
        for block in blocks:
            fresh, escape = self._unescaped(escape + block)
            data = carry + fresh
            if len(carry) > CARRY_MAX:
                yield from self._as_text(data)
                data, self._target = b"", None
            more = True
            while data and more:
                data, more = yield from (self._copied(data) if self._copying else self._stated(data))
            carry = data
        if self._copying:
            yield from self._copy_rows(carry)
        elif carry.strip():
            yield from self._as_text(carry)

    def _unescaped(self, data: bytes) -> tuple[bytes, bytes]:
        """Text in which strings hold doubled quotes and no backslashes of MySQL, and an escape that is cut in two."""
        if not self._backslash or b"\\" not in data:
            return data, b""
        cut = len(data) - (len(data) - len(data.rstrip(b"\\"))) % 2
        return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), data[:cut]), data[cut:]

    # -- COPY ----------------------------------------------------------------------------------------

    def _copied(self, data: bytes) -> Generator[Piece, None, tuple[bytes, bool]]:
        r"""Rows up to the line \. ; gives back what follows, and whether there is more to do with it."""
        end = 0 if data.startswith(b"\\.") else data.find(b"\n\\.") + 1
        if end or data.startswith(b"\\."):
            after = data.find(b"\n", end)
            yield from self._copy_rows(data[:end])
            self._copying = None
            return (data[after + 1 :], True) if after >= 0 else (b"", False)
        stop = data.rfind(b"\n") + 1
        yield from self._copy_rows(data[:stop])
        return data[stop:], False

    def _copy_rows(self, data: bytes) -> Iterator[Piece]:
        target = self._copying
        if target is None or not data.strip(b"\r\n"):
            return
        first = data.lstrip(b"\r\n").split(b"\n", 1)[0]
        count = len(target.names) if target.names else first.count(b"\t") + 1
        form = Columns("\t", None, count, target.names)
        reader = Delimited(form, self._rows, target.table, named=True)
        for piece in reader.block("\t", data, quoted=False):
            yield _without_backslashes(piece) if b"\\" in data else piece

    # -- statements ----------------------------------------------------------------------------------

    def _stated(self, data: bytes) -> Generator[Piece, None, tuple[bytes, bool]]:
        """Rows of INSERTs up to the next COPY; gives back what is left, and whether there is more to do with it."""
        copy = None if self._backslash else _COPY.search(data)
        part = data if copy is None else data[: copy.start()]
        if b"'::" in part:
            part = _CAST.sub(b"'", part)
        if part.startswith((b"--", b"#")) or b"\n--" in part or b"\n#" in part:
            part = _ODD_COMMENT.sub(b"--", part)
        tuples = tuples_of(part)
        yield from self._inserts(part, tuples)
        if copy is None:
            return part[tuples.done :], False
        if part[tuples.done :].strip():
            yield from self._as_text(part[tuples.done :])
        table, names = _text(copy[1]), copy[2]
        given = tuple(_text(name) for name in names.split(b",")) if names else self._created.get(table)
        self._copying, self._target = _Target(table, given), None
        return data[copy.end() :], True

    def _inserts(self, data: bytes, tuples: Tuples) -> Iterator[Piece]:
        """Rows of consecutive tuples that go to the same columns, together."""
        gathered: list[Int64s] = []
        target, skipped = self._target, 0
        breaks = [*tuples.breaks.tolist(), len(tuples.starts)]
        if breaks[0] and target is not None:
            gathered.append(np.arange(breaks[0], dtype=np.int64))
        for at, stop in pairwise(breaks):
            before = int(tuples.ends[at - 1]) if at else 0
            gap = data[before : int(tuples.starts[at])]
            skipped += len(gap)
            new = self._heads.get(gap) or self._told(gap, data[int(tuples.starts[at]) + 1 : int(tuples.ends[at]) - 1])
            if _CHANGES.search(gap) is not None:
                yield from self._as_text(data[before : int(tuples.ends[at])])
            self._target = new
            if new is None:
                continue
            if new != target:
                yield from self._values(data, tuples, target, gathered)
                target, gathered = new, []
            gathered.append(np.arange(at, stop, dtype=np.int64))
        yield from self._values(data, tuples, target, gathered)
        last = int(tuples.ends[-1]) if len(tuples.ends) else 0
        rest = data[last : tuples.done]
        if rest:
            self._target = None
        if _CHANGES.search(rest) is not None:
            yield from self._as_text(rest)
        elif skipped + len(rest):
            self._rows.account.lost(NO_ROWS, size=skipped + len(rest))

    def _told(self, gap: bytes, inside: bytes) -> _Target | None:
        """Where the tuple after a gap goes; None if it is no row but names columns, or something else."""
        named, self._named = self._named, None
        if named is not None and _VALUES.match(gap) is not None:
            return named
        insert = _INSERT.search(gap)
        if insert is None:
            create = _CREATE.search(gap)
            if create is not None:
                self._created[_text(create[1])] = _columns(inside)
            return None
        table = _text(insert[1])
        if insert[2] is None:
            self._named = _Target(table, tuple(_text(name) for name in inside.split(b",")))
            return None
        target = _Target(table, self._created.get(table))
        if len(self._heads) < HEADS_MAX:
            self._heads[gap] = target
        return target

    def _values(self, data: bytes, tuples: Tuples, target: _Target | None, gathered: list[Int64s]) -> Iterator[Piece]:
        """The gathered tuples as rows of a table."""
        if target is None or not gathered:
            return
        at = np.concatenate(gathered)
        lines = rows_as_csv(data, tuples.starts[at], tuples.ends[at])
        first = lines[: lines.find(b"\n")].decode("utf-8", "replace")
        count = len(split([first], ",", "'")[0])
        names = target.names if target.names and len(target.names) == count else None
        reader = Delimited(Columns(",", "'", count, names), self._rows, target.table, named=True)
        yield from reader.block(",", lines, quoted=lines.count(b"\n") != len(at))

    def _as_text(self, data: bytes) -> Iterator[Piece]:
        """What cannot be followed, as plain text; comments and settings hold no rows."""
        lines = data.split(b"\n")
        kept = [line for line in lines if _COMMENT.match(line) is None]
        self._rows.account.lost(NO_ROWS, size=sum(map(len, lines)) - sum(map(len, kept)))
        piece = text_piece(self._rows, kept, LOST_SQL)
        if len(piece.line_numbers):
            yield piece


def _columns(inside: bytes) -> tuple[str, ...]:
    """Names of the columns that a table is created with."""
    depth, start, parts = 0, 0, []
    for match in re.finditer(rb"[(),]|'(?:[^']|'')*'", inside):
        mark = match[0]
        depth += (mark == b"(") - (mark == b")")
        if mark == b"," and depth == 0:
            parts.append(inside[start : match.start()])
            start = match.end()
    names = [m[1] for part in [*parts, inside[start:]] if (m := _COLUMN.match(part)) is not None]
    return tuple(_text(name) for name in names if name.lower() not in _NO_COLUMNS)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace").strip(' \t\r\n`"[]')


def _without_backslashes(piece: Piece) -> Piece:
    r"""Values of COPY without its escapes; \N stays, and means null later."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = piece.columns
    if columns is None:
        return piece
    arrays = []
    for array in columns.columns:
        for escape, meant in (("\\\\", "\x00"), ("\\n", "\n"), ("\\t", "\t"), ("\\r", ""), ("\x00", "\\")):
            array = pc.replace_substring(array, pattern=escape, replacement=meant)  # noqa: PLW2901 - step by step
        arrays.append(array)
    changed = pa.RecordBatch.from_arrays(arrays, names=columns.schema.names)
    return Piece(piece.group, piece.headers, changed, piece.numbers, piece.lines, piece.line_numbers)
