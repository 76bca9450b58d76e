"""Keeps sorted segments of entries in a sealed temporary file that nobody can open after this process.

Rules it keeps:

1. Nothing plain reaches the disk: every segment is sealed as a block under a key drawn at start, which is never
   written anywhere.
2. The file has no name from the moment it is open, so that a crash leaves nothing to clean.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, UnavailableError
from strongroom.seal.blocks import block_key, open_block, seal_block
from strongroom.seal.columns import U8, Columns

if TYPE_CHECKING:
    import pyarrow as pa

KIND_SPILL = 0x7F
_HEADER = struct.Struct("<QQQ")


class Segment(NamedTuple):
    """Where a sealed segment lies, and how much is in it."""

    bucket: int
    number: int
    offset: int
    sealed: int
    entries: int
    payload: int


class Spilled(NamedTuple):
    """An opened segment: sorted entries, the rank of each, and their open columns as a serialised batch."""

    entries: Columns
    rank: npt.NDArray[np.uint32]
    rows: pa.Buffer | None


class SpillFile:
    """A sealed temporary file of segments.

    Args:
        folder: Where to put it.
        random_bytes: Draws the key.
    """

    def __init__(self, folder: Path, random_bytes: Callable[[int], bytes]) -> None:
        self._key = random_bytes(32)
        self._room = random_bytes(16)
        self._object = random_bytes(16)
        self._end = 0
        self._lock = threading.Lock()
        self.segments: list[Segment] = []
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise _unavailable(error) from None

    def append(self, bucket: int, entries: Columns, rank: npt.NDArray[np.uint32], rows: bytes | None) -> None:
        """Seal and write one segment of at least one entry."""
        count, size = len(entries.tokens), len(entries.payload)
        plain = b"".join(
            (
                _HEADER.pack(count, size, 0 if rows is None else len(rows) + 1),
                np.ascontiguousarray(entries.tokens).data,
                rank.astype("<u4").tobytes(),
                np.diff(entries.offsets).astype("<u4").tobytes(),
                entries.payload.data,
                rows or b"",
            )
        )
        with self._lock:
            number = len(self.segments)
            # The number is taken under the lock: each is used for one seal only.
            sealed_length = len(plain) + 16
            self.segments.append(Segment(bucket, number, self._end, sealed_length, count, size))
            offset, self._end = self._end, self._end + sealed_length
        key = block_key(self._key, KIND_SPILL, number)
        sealed = memoryview(seal_block(key, self._room, self._object, KIND_SPILL, number, plain))
        try:
            while sealed:
                written = os.pwrite(self._file.fileno(), sealed, offset)
                sealed, offset = sealed[written:], offset + written
        except OSError as error:
            raise _unavailable(error) from None

    def read(self, segment: Segment) -> Spilled:
        """Read and open one segment."""
        try:
            parts = []
            done = 0
            while done < segment.sealed:
                part = os.pread(self._file.fileno(), segment.sealed - done, segment.offset + done)
                if not part:
                    raise IntegrityError("the temporary file is shorter than what was written to it")
                parts.append(part)
                done += len(part)
        except OSError as error:
            raise _unavailable(error) from None
        key = block_key(self._key, KIND_SPILL, segment.number)
        sealed = parts[0] if len(parts) == 1 else b"".join(parts)
        plain = open_block(key, self._room, self._object, KIND_SPILL, segment.number, sealed)
        return _parsed(plain)

    def close(self) -> None:
        """Give the disk space back and forget the key."""
        self._file.close()
        self._key = b""


def _parsed(plain: bytes) -> Spilled:
    count, size, rows = _HEADER.unpack_from(plain)
    at = _HEADER.size
    tokens: U8 = np.frombuffer(plain, np.uint8, 16 * count, at).reshape(count, 16)
    at += 16 * count
    rank = np.frombuffer(plain, "<u4", count, at)
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.frombuffer(plain, "<u4", count, at + 4 * count), out=offsets[1:])
    at += 8 * count
    payload = np.frombuffer(plain, np.uint8, size, at)
    tail = None
    if rows:
        import pyarrow as pa

        tail = pa.py_buffer(plain).slice(at + size, rows - 1)
    return Spilled(Columns(tokens, payload, offsets), rank, tail)


def _unavailable(error: OSError) -> UnavailableError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return UnavailableError("no room on the disk for temporary data", hint="Free some space, then try again.")
    return UnavailableError(f"temporary data cannot be kept: {os.strerror(error.errno or 0).lower()}")
