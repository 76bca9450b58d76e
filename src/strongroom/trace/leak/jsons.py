"""JSON objects: one a line, in an array, pretty or one after the other; what is no object is read as plain text.

Rules it keeps:

1. Objects are found by their braces, in one pass over the bytes of a block. A string ends with its line, as JSON says,
   so that an open quote costs one line.
2. Blocks that Arrow's parser takes are parsed a column at a time; others object by object with the standard library.
3. Objects within objects become columns of their own, lists become text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.trace.leak.base import (
    BLOCK_BYTES,
    COLUMNS_MAX,
    LINE_BYTES_MAX,
    NOT_JSON,
    Bytes,
    Int64s,
    Mask,
    Piece,
    Rows,
    paired,
)
from strongroom.trace.leak.parquet import flattened
from strongroom.trace.leak.text import Text

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH_MAX = 32
_EXACT_INTEGERS = 2.0**53
_BETWEEN = np.zeros(256, np.bool_)
_BETWEEN[list(b" \t\r\n,[]")] = True
_AFTER_OBJECT = (re.compile(rb"\}[ \t\r]*n"), re.compile(rb"\][ \t\r]*n"))


@dataclass(frozen=True)
class Spans:
    """Objects of a block: where each begins and ends, i64[n]; how deep they nest; where the first open one begins."""

    starts: Int64s
    ends: Int64s
    depth: int
    open_at: int


def spans_of(data: Bytes, *, lines: bool) -> Spans:
    """Find the outermost objects.

    Args:
        data: Bytes of JSON, u8[n].
        lines: Whether an object ends with its line at the latest.
    """
    marks = np.flatnonzero(_MARKS[data])
    kinds = data[marks]
    quote = kinds == ord('"')
    quote &= ~_escaped(data, marks, quote)
    newline = kinds == ord("\n")
    count = np.cumsum(quote)
    inside = ((count - np.maximum.accumulate(np.where(newline, count, 0))) & 1) == 1
    step = _STEPS[kinds] * ~inside
    braces = step * ((kinds == ord("{")) | (kinds == ord("}")))
    depth = np.cumsum(braces)
    if len(depth):
        depth = _since_line(depth, newline) if lines else depth - np.minimum(np.minimum.accumulate(depth), 0)
    opening = np.flatnonzero((braces == 1) & (depth == 1))
    closing = np.flatnonzero((braces == -1) & (depth == 0))
    begins, ends, rest = paired(opening, closing)
    open_at = int(marks[opening[-1]]) if rest and not lines else len(data)
    nesting = np.cumsum(step)
    deepest = int(nesting.max() - nesting.min()) if len(nesting) else 0
    return Spans(marks[begins].astype(np.int64), marks[ends].astype(np.int64) + 1, deepest, open_at)


_MARKS = np.zeros(256, np.bool_)
_MARKS[list(b'{}[]"\n')] = True
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"{[")] = 1
_STEPS[list(b"}]")] = -1


def _since_line(depth: Int64s, newline: Mask) -> Int64s:
    """Depth counted anew from each line; below nothing it stays nothing."""
    at = np.maximum.accumulate(np.where(newline, np.arange(len(depth)), -1))
    base = np.where(at >= 0, depth[at], 0)
    return depth - base


def _escaped(data: Bytes, marks: Int64s, quote: Mask) -> Mask:
    """Which marks are quotes after an odd number of backslashes."""
    out = np.zeros(len(marks), np.bool_)
    at = np.flatnonzero(quote)
    places = marks[at]
    suspect = (places > 0) & (data[np.maximum(places - 1, 0)] == ord("\\"))
    at, places = at[suspect], places[suspect]
    run = np.ones(len(at), np.int64)
    alive = np.ones(len(at), np.bool_)
    while alive.any():
        before = places - run - 1
        alive &= (before >= 0) & (data[np.maximum(before, 0)] == ord("\\"))
        run += alive
    out[at] = run % 2 == 1
    return out


class Objects:
    """Reads blocks of JSON as columns; names keep their places over all blocks.

    Args:
        rows: Gives out row numbers.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._places: dict[str, int] = {}

    def pieces(self, text: Text) -> Iterator[Piece]:
        """The objects of a file, in order."""
        lines = _by_line(text.head)
        carry = b""
        for block in text.blocks() if lines else text.blocks(BLOCK_BYTES, longest=BLOCK_BYTES):
            carry += block
            data = np.frombuffer(carry, np.uint8)
            spans = spans_of(data, lines=lines)
            stop = len(carry) if lines or len(carry) - spans.open_at > LINE_BYTES_MAX else spans.open_at
            yield from self._block(carry[:stop], spans)
            carry = carry[stop:]
        if carry.strip():
            yield from self._block(carry, Spans(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 0))

    def _block(self, block: bytes, spans: Spans) -> Iterator[Piece]:
        data = np.frombuffer(block, np.uint8)
        loose = _between(data, spans)
        order = np.argsort(np.concatenate([spans.starts, np.array([at for at, _ in loose], np.int64)]), kind="stable")
        first = self._rows.next
        self._rows.take(len(order))
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.arange(first, first + len(order))
        of_objects, of_loose = numbers[: len(spans.starts)], numbers[len(spans.starts) :]
        columns: pa.RecordBatch | None = None
        bad: list[tuple[int, bytes]] = []
        if len(spans.starts):
            joined = _joined(data, spans)
            columns = self._fast(joined, len(spans.starts), spans.depth)
            if columns is None:
                columns, of_objects, bad = self._slow(joined, of_objects)
        lines = [*zip(of_loose.tolist(), (line for _, line in loose), strict=True), *bad]
        yield self._piece(columns, of_objects, sorted(lines))

    def _piece(self, columns: pa.RecordBatch | None, numbers: Int64s, lines: list[tuple[int, bytes]]) -> Piece:
        import pyarrow as pa

        account = self._rows.account
        if columns is None:
            numbers = numbers[:0]
        account.column_rows += len(numbers)
        account.text_rows += len(lines)
        if lines:
            account.fell_back(NOT_JSON, rows=len(lines), size=sum(len(line) for _, line in lines))
        texts = pa.array([line for _, line in lines], pa.binary()).view(pa.string()) if lines else None
        headers = tuple(name.rpartition(".")[2] for name in self._places)
        return Piece(
            headers=headers,
            columns=columns,
            numbers=numbers,
            lines=texts,
            line_numbers=np.array([number for number, _ in lines], np.int64),
        )

    def _fast(self, joined: bytes, count: int, depth: int) -> pa.RecordBatch | None:
        """Objects of one line each by Arrow's parser; None where it cannot or must not read them.

        That parser ends the process on a null outside an object and on very deep nesting.
        """
        import pyarrow as pa
        import pyarrow.json as pj

        if depth > DEPTH_MAX or any(after.search(joined) for after in _AFTER_OBJECT):
            return None
        read = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        try:
            table = pj.read_json(pa.BufferReader(joined), read, pj.ParseOptions(newlines_in_values=False))
            table.validate(full=True)
            if table.num_rows != count or not table.num_columns:
                return None
            table = flattened(table, self._rows)
        except (pa.ArrowException, UnicodeDecodeError, OverflowError):
            return None
        if len(set(table.column_names)) < table.num_columns or _is_rounded(table):
            return None
        return self._placed({name: table.column(name).combine_chunks() for name in table.column_names}, count)

    def _slow(self, joined: bytes, numbers: Int64s) -> tuple[pa.RecordBatch | None, Int64s, list[tuple[int, bytes]]]:
        """Objects one by one; those that are no JSON come back as lines."""
        import pyarrow as pa

        objects: list[dict[str, str | None]] = []
        kept, bad = [], []
        for number, line in zip(numbers.tolist(), joined.split(b"\n")[: len(numbers)], strict=True):
            found = _object(line)
            if found is None or len(self._places.keys() | found.keys()) > COLUMNS_MAX:
                bad.append((number, line))
                continue
            for name in found:
                self._places.setdefault(name, len(self._places))
            objects.append(found)
            kept.append(number)
        if not objects:
            return None, numbers[:0], bad
        arrays = {n: pa.array([o.get(n) for o in objects], pa.string()) for n in self._places}
        return self._placed(arrays, len(objects)), np.array(kept, np.int64), bad

    def _placed(self, arrays: dict[str, pa.Array], count: int) -> pa.RecordBatch:
        """Columns in the places their names have had since they were first seen."""
        import pyarrow as pa

        for name in arrays:
            self._places.setdefault(name, len(self._places))
        columns = []
        for name in self._places:
            column = arrays.get(name)
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks) if column.num_chunks else None
            columns.append(pa.nulls(count, pa.string()) if column is None else column)
        return pa.RecordBatch.from_arrays(columns, names=[f"c{i}" for i in range(len(columns))])


def _by_line(head: bytes) -> bool:
    """Whether the first lines are one object each."""
    lines = [line.strip().rstrip(b",") for line in head.split(b"\n")[:6]]
    lines = [line for line in lines if line not in {b"", b"[", b"]"}]
    whole = [line for line in lines if line.startswith(b"{") and line.endswith(b"}") and _object(line) is not None]
    return len(whole) > 1 or (len(whole) == len(lines) == 1 and head.count(b"\n") <= 1)


def _between(data: Bytes, spans: Spans) -> list[tuple[int, bytes]]:
    """Lines that stand outside objects, and where."""
    if len(spans.starts) and _is_lines(data, spans):
        return []
    outside = ~_inside(len(data), spans.starts, spans.ends)
    stray = outside & ~_BETWEEN[data]
    if not stray.any():
        return []
    found = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], outside, [False]]).astype(np.int8)))
    for start, stop in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
        if not stray[start:stop].any():
            continue
        at = start
        for line in bytes(data[start:stop]).split(b"\n"):
            if line.strip(b" \t\r,[]"):
                found.append((at, line))
            at += len(line) + 1
    return found


def _joined(data: Bytes, spans: Spans) -> bytes:
    """The objects, one a line."""
    if _is_lines(data, spans):
        return data.tobytes()
    out = np.append(np.where(data == ord("\n"), np.uint8(32), data), np.uint8(32))
    if (spans.starts[1:] == spans.ends[:-1]).any():
        return b"".join([out[a:b].tobytes() + b"\n" for a, b in zip(spans.starts, spans.ends, strict=True)])
    out[spans.ends] = ord("\n")
    return out[_inside(len(out), spans.starts, spans.ends + 1)].tobytes()


def _is_lines(data: Bytes, spans: Spans) -> bool:
    """Whether there is nothing but objects, one a line."""
    inside = int((spans.ends - spans.starts).sum())
    ends = spans.ends[spans.ends < len(data)]
    return inside + len(ends) == len(data) and bool((data[ends] == ord("\n")).all())


def _inside(size: int, starts: Int64s, ends: Int64s) -> Mask:
    """Which places are from a start to before its end; ranges do not overlap, but may touch."""
    edges = np.zeros(size + 1, np.int8)
    edges[starts] += 1
    edges[ends] -= 1
    return np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)


def _is_rounded(table: pa.Table) -> bool:
    """Whether a number was too large for Arrow to keep its digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in table.columns:
        if pa.types.is_floating(column.type):
            most = pc.max(pc.abs(column)).as_py()
            if most is not None and not most < _EXACT_INTEGERS:
                return True
    return False


def _object(line: bytes) -> dict[str, str | None] | None:
    """An object as text by flat names; None where it is none."""
    try:
        found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        if not isinstance(found, dict) or not found:
            return None
        flat: dict[str, str | None] = {}
        _flatten(found, "", flat, DEPTH_MAX)
        "".join([*flat, *(v for v in flat.values() if v is not None)]).encode()
    except (ValueError, RecursionError):
        return None
    return flat


def _flatten(found: dict[str, Any], before: str, into: dict[str, str | None], depth: int) -> None:
    for key, value in found.items():
        if isinstance(value, dict) and depth:
            _flatten(value, f"{before}{key}.", into, depth - 1)
        elif value is None or isinstance(value, str):
            into[before + key] = value
        elif isinstance(value, bool):
            into[before + key] = "true" if value else "false"
        else:
            into[before + key] = json.dumps(value, ensure_ascii=False)
