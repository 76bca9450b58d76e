"""Columns of which some values are not valid UTF-8: which they are, and their bytes.

What is not valid is parsed by way of Latin-1, in which every byte is a character, and taken back to bytes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


def is_utf8(data: memoryview) -> bool:
    """Whether the bytes are valid UTF-8, told without the interpreter lock."""
    import pyarrow as pa

    ends = pa.py_buffer(np.array([0, len(data)], dtype=np.int64))
    whole = pa.LargeStringArray.from_buffers(1, ends, pa.py_buffer(data))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """All of a column as one array."""
    import pyarrow as pa

    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def bytes_of_latin(column: pa.ChunkedArray) -> pa.Array:
    """UTF-8 text that stands for Latin-1 bytes, back to those bytes, as a binary array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = one_array(column).view(pa.string())
    lengths = pc.fill_null(pc.utf8_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    joined = b"".join(v.encode("latin-1") for v in pc.binary_join(_as_list(array), "").to_pylist())
    valid = pc.is_valid(array)
    out = pa.BinaryArray.from_buffers(pa.binary(), len(array), [None, pa.py_buffer(offsets), pa.py_buffer(joined)])
    return pc.if_else(valid, out, pa.scalar(None, pa.binary()))


def _as_list(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(array, b"" if pa.types.is_binary(array.type) else "")
    return pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled)


def invalid_utf8(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values of a binary array are not valid UTF-8, bool[n]; null is valid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bad = np.zeros(len(column), dtype=np.bool_)
    if not len(column):
        return bad
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths + 1)
    joined = pc.binary_join(_as_list(column.cast(pa.binary())), b"\n")[0].as_py()
    text = joined.decode("utf-8", "surrogateescape")
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lone = (points >= 0xDC80) & (points <= 0xDCFF)
    if not lone.any():
        return bad
    width = np.ones(len(points), dtype=np.int64)
    width += (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    width[lone] = 1
    starts = np.cumsum(width) - width
    bad[np.searchsorted(ends, starts[lone], side="right")] = True
    return bad


def is_ascii(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which values of a binary column of UTF-8 are ASCII, bool[n]; null is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flags = pc.fill_null(pc.string_is_ascii(one_array(column).view(pa.string())), pa.scalar(value=True))
    return np.asarray(flags.to_numpy(zero_copy_only=False), dtype=np.bool_)


def quoted_lines(columns: list[pa.Array], rows: npt.NDArray[np.int64], delimiter: str) -> list[bytes]:
    """The given rows written as CSV again, every value quoted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(rows):
        return []
    at = pa.array(rows)
    quoted = [
        pc.binary_join_element_wise(
            b'"', pc.replace_substring(pc.fill_null(c.take(at), b""), pattern=b'"', replacement=b'""'), b'"', b""
        )
        for c in columns
    ]
    return list(pc.binary_join_element_wise(*quoted, delimiter.encode()).to_pylist())
