"""Join the cells of a record into one run entry, a column at a time.

Entry: shape u24 | row ordinal u32 | LEB128 length of each cell (open first, then sealed classes in schema
order) | the cells in that order (docs/FORMAT.md, "Record entry").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.seal.scatter import use_kernels

Column = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

HEAD_BYTES = 7
SHAPES_MAX = 1 << 24


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
    if use_kernels(n):
        return _assemble_lanes(shape, ordinals, cells)
    lengths = np.empty((len(cells), n), np.int64)
    total = np.full(n, HEAD_BYTES, np.int64)
    for i, (_, offsets) in enumerate(cells):
        np.subtract(offsets[1:], offsets[:-1], out=lengths[i])
        total += lengths[i] + _varint_sizes(lengths[i])
    out_offsets = np.zeros(n + 1, np.int64)
    np.cumsum(total, out=out_offsets[1:])
    out = np.empty(int(out_offsets[-1]), np.uint8)
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


def _assemble_lanes(shape: int, ordinals: npt.NDArray[np.uint32], cells: Sequence[Column]) -> Column:
    from strongroom.write._assemble_lanes import measure, write

    flat = [np.ascontiguousarray(data) for data, _ in cells]
    offsets = np.stack([ends for _, ends in cells]).astype(np.int64, copy=False)
    # The kernels copy what the offsets say: this is what keeps them inside the data.
    sizes = np.array([data.nbytes for data in flat])
    if (offsets[:, 0] < 0).any() or (offsets[:, -1] > sizes).any() or (offsets[:, 1:] < offsets[:, :-1]).any():
        raise UsageError("offsets of cells are out of order or beyond the data")
    if offsets.shape[1] != len(ordinals) + 1:
        raise UsageError("cells and ordinals are not as many")
    out_offsets = np.empty(len(ordinals) + 1, np.int64)
    measure(offsets, HEAD_BYTES, out_offsets)
    out = np.empty(int(out_offsets[-1]), np.uint8)
    addresses = np.array([data.ctypes.data for data in flat], np.int64)
    write(shape, np.ascontiguousarray(ordinals), addresses, offsets, out, out_offsets)
    return out, out_offsets


def _assemble_rows(
    shape: int,
    ordinals: npt.NDArray[np.uint32],
    cells: Sequence[Column],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    out_offsets: npt.NDArray[np.int64],
) -> None:
    head = shape.to_bytes(3, "little")
    raw = [(np.ascontiguousarray(data).data, offsets.tolist()) for data, offsets in cells]
    view, ends = out.data, out_offsets.tolist()
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
