"""Entries a column at a time: compared, sorted, gathered, joined, and the shape numbers in their payload.

It knows of an entry that it is a token of 16 bytes and a payload; what the payload means it leaves to others, but for
the three bytes that name a record's shape. And it gives the bytes that lie behind an Arrow column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Text = npt.NDArray[np.bytes_]


class Columns(NamedTuple):
    """Entries a column at a time: tokens u8[n,16], payload u8[m], offsets i64[n+1] (from 0)."""

    tokens: U8
    payload: U8
    offsets: I64


def token_words(tokens: U8) -> npt.NDArray[np.uint64]:
    """Tokens u8[n,16] as big-endian numbers u64[n,2], which sort like the bytes."""
    return np.ascontiguousarray(tokens).view(">u8").reshape(-1, 2).astype(np.uint64)


def token_text(tokens: npt.NDArray[Any]) -> Text:
    """Tokens of 16 bytes as text S16[n], which numpy sorts and looks up.

    It compares like the bytes: zeros at the end are stripped, but from both sides alike.
    """
    return np.ascontiguousarray(tokens).view("S16").reshape(-1)


def places_among(own: Text, asked: Text) -> tuple[I64, Bool]:
    """Where tokens stand among others, which are sorted: places i64[n], and which are there at all, bool[n].

    Args:
        own: Sorted, as `token_text` gives them.
        asked: Those that are looked for, in any order.
    """
    if not len(own):
        return np.zeros(len(asked), np.int64), np.zeros(len(asked), np.bool_)
    places = np.minimum(np.searchsorted(own, asked), len(own) - 1).astype(np.int64)
    return places, own[places] == asked


def token_changes(tokens: U8) -> Bool:
    """For sorted tokens u8[n,16]: whether each differs from the one before; the first does."""
    words = np.ascontiguousarray(tokens).view(np.uint64).reshape(-1, 2)
    changes = np.ones(len(words), dtype=bool)
    if len(words) > 1:
        np.logical_or(words[1:, 0] != words[:-1, 0], words[1:, 1] != words[:-1, 1], out=changes[1:])
    return changes


def sort_entries(tokens: U8, rank: npt.NDArray[np.integer] | None = None) -> I64:
    """The order that sorts entries by token; equal tokens by rank if given, then by position.

    Args:
        tokens: u8[n,16].
        rank: One number per entry.

    Returns:
        i64[n]: positions in sorted order.
    """
    leading = np.ascontiguousarray(tokens).view(">u8")[:, 0].astype(np.uint64)
    order = np.argsort(leading)
    ordered = leading[order]
    ties = ordered[1:] == ordered[:-1]
    if not ties.any():
        return order
    # The fast sort is not stable: with equal leading halves the order is made again, stable.
    order = np.argsort(leading, kind="stable")
    words = token_words(tokens)
    trailing = words[:, 1][order]
    unsorted = ties & (trailing[1:] != trailing[:-1])
    if rank is not None:
        ranks = rank[order]
        unsorted |= ties & (ranks[1:] < ranks[:-1])
    if unsorted.any():
        tied = np.zeros(len(order), dtype=bool)
        tied[1:] |= ties
        tied[:-1] |= ties
        some = order[tied]
        keys = (words[some, 1], words[some, 0])
        order[tied] = some[np.lexsort(keys if rank is None else (rank[some], *keys))]
    return order


def gather(payload: U8, offsets: I64, order: I64) -> tuple[U8, I64]:
    """Copy the entries at `order` one behind the other.

    Args:
        payload: u8[m].
        offsets: i64[n+1], where each entry starts and the last ends in the payload.
        order: Positions 0 to n-1, any number of them.

    Returns:
        Payload and offsets (from 0) of the entries in that order. The copying runs without the interpreter's lock.
    """
    if not len(order):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    import pyarrow as pa
    import pyarrow.compute as pc

    entries = pa.Array.from_buffers(
        pa.large_binary(),
        len(offsets) - 1,
        [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(payload))],
    )
    taken = pc.take(entries, pa.array(order), boundscheck=False)
    _, ends, data = taken.buffers()
    new_offsets = np.frombuffer(ends, dtype=np.int64, count=len(order) + 1)
    if data is None or not new_offsets[-1]:
        return np.empty(0, np.uint8), new_offsets
    return np.frombuffer(data, dtype=np.uint8, count=int(new_offsets[-1])), new_offsets


def join_columns(parts: Sequence[Columns]) -> Columns:
    """Put columns of entries one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Columns(np.empty((0, 16), np.uint8), np.empty(0, np.uint8), np.zeros(1, np.int64))
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Columns(
        np.concatenate([part.tokens for part in parts]), np.concatenate([part.payload for part in parts]), offsets
    )


def write_shapes(payload: U8, offsets: I64, numbers: npt.NDArray[np.uint32]) -> None:
    """Write the shape (first 3 bytes) of record entries in place.

    Args:
        payload: u8[m], writable.
        offsets: i64[n+1] into it; the entries were checked by `shapes_of`.
        numbers: New shape of each entry, u32[n].
    """
    starts = offsets[:-1]
    for byte in range(3):
        payload[starts + byte] = (numbers >> np.uint32(8 * byte)).astype(np.uint8)


def shapes_of(payload: U8, offsets: I64) -> npt.NDArray[np.uint32]:
    """The shape of each record entry, u32[n]; IntegrityError if one is too short to have one."""
    starts = offsets[:-1]
    if (np.diff(offsets) < 7).any():
        raise IntegrityError("an entry is shorter than its header")
    found = payload[starts].astype(np.uint32)
    found |= payload[starts + 1].astype(np.uint32) << np.uint32(8)
    found |= payload[starts + 2].astype(np.uint32) << np.uint32(16)
    return found


def value_buffers(column: pa.Array | pa.ChunkedArray) -> Iterator[tuple[U8, I64]]:
    """Bytes and offsets of each chunk of a column, without copying them where Arrow's layout has them.

    Args:
        column: String or binary values in any Arrow layout, without nulls.

    Raises:
        UsageError: The column has nulls or is of another type.
    """
    import pyarrow as pa

    if column.null_count:
        raise UsageError(f"a column to make tokens of has {column.null_count} nulls")
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        yield _buffers(chunk)


def _buffers(chunk: Any) -> tuple[U8, I64]:
    import pyarrow as pa

    if isinstance(chunk, pa.DictionaryArray):
        chunk = chunk.dictionary_decode()
        if chunk.null_count:
            raise UsageError(f"a column to make tokens of has {chunk.null_count} nulls")
    kind = chunk.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        chunk = chunk.cast(pa.large_binary())
        kind = chunk.type
    wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    if not wide and not pa.types.is_string(kind) and not pa.types.is_binary(kind):
        raise UsageError(f"tokens are made of strings or bytes, not of {kind}")
    n = len(chunk)
    _, starts, values = chunk.buffers()
    if n == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    raw = np.frombuffer(starts, np.int64 if wide else np.int32, n + 1, chunk.offset * (8 if wide else 4))
    data = np.empty(0, np.uint8) if values is None or not values.size else np.frombuffer(values, np.uint8)
    return data, raw.astype(np.int64)
