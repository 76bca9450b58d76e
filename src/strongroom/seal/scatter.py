"""Entries that lie where batches left them, in any order, and how they get into blocks without another copy.

Rules it keeps:

1. `Scattered` keeps the arrays alive that its addresses point into, and every entry lies inside one of them.
2. Many entries are copied by compiled kernels, few by Python; both give the same bytes.

It leaves the format of a block to `run`, whose `pack_block` the kernels repeat.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.seal import _hazmat

KERNEL_ENTRIES_MIN = 100_000  # from here on the import of numba (0.5 s, once in a process) is paid back
PIECE_BYTES = 1 << 20  # plain bytes of the blocks that are packed, sealed and hashed together: they stay in the cache
_PIECE_BLOCKS = 64

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scattered:
    """Entries in order of arrival.

    Args:
        tokens: u8[n,16].
        starts: i64[n], the address of each payload.
        lengths: i64[n], the bytes of each.
        kept: The arrays that the addresses point into.
    """

    tokens: U8
    starts: I64
    lengths: I64
    kept: Sequence[U8] = field(repr=False)

    def take(self, order: I64) -> tuple[U8, I64]:
        """Payload and offsets (from 0) of the entries at `order`, one behind the other."""
        offsets = np.zeros(len(order) + 1, np.int64)
        np.cumsum(self.lengths[order], out=offsets[1:])
        if not use_kernels(len(order)):
            pairs = zip(self.starts[order].tolist(), self.lengths[order].tolist(), strict=True)
            return np.frombuffer(b"".join([ctypes.string_at(at, size) for at, size in pairs]), np.uint8), offsets
        from strongroom.seal import _run_lanes as lanes

        payload = np.empty(int(offsets[-1]), np.uint8)
        lanes.take(self.starts, self.lengths, order, payload)
        return payload, offsets


class Ordered(NamedTuple):
    """Entries, and the order in which they are meant."""

    entries: Scattered
    order: I64


def scattered(parts: Sequence[tuple[U8, U8, I64]]) -> Scattered:
    """Entries of several batches, each (tokens u8[n,16], payload u8[m], offsets i64[n+1] into it).

    Raises:
        UsageError: Offsets are out of order or beyond their payload.
    """
    kept, starts, lengths = [], [], []
    for tokens, payload, offsets in parts:
        offsets = np.asarray(offsets, np.int64)  # noqa: PLW2901 - an address does not fit into less
        sizes = np.diff(offsets)
        if len(sizes) != len(tokens) or payload.dtype != np.uint8 or not payload.flags.c_contiguous:
            raise UsageError("tokens, payload and offsets of entries do not fit each other")
        if len(sizes) and (sizes.min() < 0 or offsets[0] < 0 or offsets[-1] > payload.size):
            raise UsageError("offsets of entries are out of order or beyond the payload")
        kept.append(payload)
        lengths.append(sizes)
        starts.append(offsets[:-1] + payload.ctypes.data)
    none = np.empty(0, np.int64)
    return Scattered(
        np.concatenate([tokens for tokens, _, _ in parts]) if parts else np.empty((0, 16), np.uint8),
        np.concatenate(starts) if parts else none,
        np.concatenate(lengths) if parts else none,
        kept,
    )


def load_kernels() -> None:
    """Import the compiled kernels of cells and runs now, before many entries come."""
    _hazmat.lanes()
    import_module(f"{__package__}._run_lanes")


def use_kernels(entries: int) -> bool:
    """Whether the compiled kernels pay for so many entries."""
    return bool(entries) and (entries >= KERNEL_ENTRIES_MIN or _hazmat.lanes_loaded())


@dataclass(frozen=True)
class PackedBlocks:
    """Plain blocks behind each other. `plain` is used again for the next ones.

    Args:
        plain: Their bytes.
        sizes: How many bytes each has.
        counts: How many entries each has.
        firsts: The first token of each.
        changes: How many tokens differ from the one before in the order; the first of all does.
        end: The place in the order behind them.
    """

    plain: memoryview = field(repr=False)
    sizes: list[int]
    counts: list[int]
    firsts: list[bytes] = field(repr=False)
    changes: int
    end: int


def packed_blocks(entries: Scattered, order: I64, limit: int, overhead: int) -> Iterator[PackedBlocks]:
    """All full blocks of the entries in that order, some at a time; what is behind the last one is left over.

    Args:
        entries: The entries.
        order: Which, in sorted order.
        limit: Cost of a block at most: payload and `overhead` of each entry.
        overhead: Cost of an entry beside its payload.

    Raises:
        UsageError: The order does not sort the entries.
    """
    from strongroom.seal import _run_lanes as lanes

    tokens, order = np.ascontiguousarray(entries.tokens), np.ascontiguousarray(order)
    ends, sizes, widths = (np.empty(_PIECE_BLOCKS, np.int64) for _ in range(3))
    buffer = np.empty(PIECE_BYTES, np.uint8)
    start = 0
    while True:
        found = lanes.cut(entries.lengths, order, start, limit, overhead, len(buffer), ends, sizes, widths)
        if not found:
            return
        total = int(sizes[:found].sum())
        if total > len(buffer):
            buffer = np.empty(total, np.uint8)
        changes = lanes.pack(tokens, entries.starts, entries.lengths, order, start, ends, sizes, widths, found, buffer)
        if changes < 0:
            raise UsageError("entries of a run come sorted by token")
        firsts = np.concatenate([[start], ends[: found - 1]])
        yield PackedBlocks(
            buffer.data[:total],
            sizes[:found].tolist(),
            np.diff(ends[:found], prepend=start).tolist(),
            [token.tobytes() for token in tokens[order[firsts]]],
            int(changes),
            int(ends[found - 1]),
        )
        start = int(ends[found - 1])
