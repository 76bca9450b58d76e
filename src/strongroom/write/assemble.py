"""Join the cells of a record into one run entry, a column at a time.

Entry: shape u24 | row ordinal u32 | LEB128 length of each cell (open first, then sealed classes in schema
order) | the cells in that order (docs/FORMAT.md, "Record entry").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Column = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

HEAD_BYTES = 7
SHAPES_MAX = 1 << 24
KERNEL_ROWS_MIN = 4_096  # below this, compiling or loading the kernel costs more than it saves


def assemble_entries(shape: int, ordinals: npt.NDArray[np.uint32], cells: Sequence[Column]) -> Column:
    """Entries of a batch.

    Args:
        shape: Index into the run's shape table, below 2**24.
        ordinals: Row ordinals u32[n].
        cells: Per class (data u8, offsets i64[n+1]).

    Returns:
        (payload u8, offsets i64[n+1]).
    """
    n = len(ordinals)
    lengths = np.empty((len(cells), n), np.int64)
    total = np.full(n, HEAD_BYTES, np.int64)
    for i, (_, offsets) in enumerate(cells):
        np.subtract(offsets[1:], offsets[:-1], out=lengths[i])
        total += lengths[i] + _varint_sizes(lengths[i])
    out_offsets = np.zeros(n + 1, np.int64)
    np.cumsum(total, out=out_offsets[1:])
    out = np.empty(int(out_offsets[-1]), np.uint8)
    if n >= KERNEL_ROWS_MIN:
        _assemble_lanes(shape, ordinals, cells, lengths, out, out_offsets)
    else:
        _assemble_rows(shape, ordinals, cells, lengths, out, out_offsets)
    return out, out_offsets


def _varint_sizes(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    sizes = np.ones(len(lengths), np.int64)
    limit = 1 << 7
    top = int(lengths.max(initial=0))
    while limit <= top:
        sizes += lengths >= limit
        limit <<= 7
    return sizes


def _assemble_lanes(
    shape: int,
    ordinals: npt.NDArray[np.uint32],
    cells: Sequence[Column],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    out_offsets: npt.NDArray[np.int64],
) -> None:
    from strongroom.write._assemble_lanes import heads, place

    at = heads(shape, ordinals, lengths, out, out_offsets)
    for data, offsets in cells:
        place(data, offsets, out, at)


def _assemble_rows(
    shape: int,
    ordinals: npt.NDArray[np.uint32],
    cells: Sequence[Column],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    out_offsets: npt.NDArray[np.int64],
) -> None:
    head = shape.to_bytes(3, "little")
    raw = [(memoryview(data), offsets.tolist()) for data, offsets in cells]
    view, ends = memoryview(out), out_offsets.tolist()
    columns = lengths.T.tolist()
    for row, ordinal in enumerate(ordinals.tolist()):
        parts = [head, ordinal.to_bytes(4, "little"), b"".join(map(varint, columns[row]))]
        parts += [data[offsets[row] : offsets[row + 1]] for data, offsets in raw]
        view[ends[row] : ends[row + 1]] = b"".join(parts)


def varint(value: int) -> bytes:
    """LEB128, unsigned."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
