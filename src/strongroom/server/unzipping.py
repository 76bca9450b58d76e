"""Reads a zip while it comes, as a server sends one: entries in a known order, in stored blocks of deflate.

APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.9 and 4.3.16: a local header with bit 3 set, data, a data descriptor of a zip64
entry. What follows the last entry, the central directory, repeats it; its end record, without comment, is the end.

Rules it keeps:

1. Nothing is held but a piece of what came: what is unpacked is handed on, at most PLAIN_AT_ONCE bytes at a time.
2. Names are those that are expected, in their order: no other file is ever opened.
3. No more is written than came: what unpacks to more is refused.
4. What does not fit is refused (IntegrityError), and so is what ends too early.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from strongroom.errors import IntegrityError

PLAIN_AT_ONCE = 1 << 20
_LOCAL, _DESCRIPTOR, _CENTRAL, _END = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02", b"PK\x05\x06"
_HEADER = struct.Struct("<4s5H3L2H")
_SIZES = struct.Struct("<4sLQQ")
_END_RECORD = struct.Struct("<4s4H2LH")
_DEFLATED, _SIZES_BEHIND = 8, 0x08


class Unzipping:
    """One zip that is being read.

    Args:
        names: Of its entries.
        write: Takes the name of an entry and some bytes of it; with no bytes when it begins.
    """

    def __init__(self, names: Sequence[str], write: Callable[[str, bytes], Any]) -> None:
        self._names = list(reversed(names))
        self._count = len(names)
        self._write = write
        self._left = b""
        self._name = ""
        self._inflating: Any = None
        self._check = self._packed = self._plain = 0
        self._step = self._header

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        self._left += data
        while self._left and self._step():
            pass

    def end(self) -> None:
        """Raise IntegrityError unless every entry was there whole."""
        if self._step != self._rest or len(self._left) < _END_RECORD.size:
            raise _other()
        mark, _disk, _first, here, count, _size, _offset, comment = _END_RECORD.unpack(self._left)
        if (mark, here, count, comment) != (_END, self._count, self._count, 0):
            raise _other()

    def _header(self) -> bool:
        """Read the header of an entry, if it is there; whether to go on."""
        if self._left[:4] == _CENTRAL and not self._names:
            self._step = self._rest
            return True
        if len(self._left) < _HEADER.size:
            return False
        mark, _version, flags, method, *_others, name, extra = _HEADER.unpack_from(self._left)
        end = _HEADER.size + name + extra
        if mark != _LOCAL or method != _DEFLATED or not flags & _SIZES_BEHIND or not self._names:
            raise _other()
        if len(self._left) < end:
            return False
        self._name = self._names.pop()
        if self._left[_HEADER.size : _HEADER.size + name] != self._name.encode():
            raise _other()
        self._left = self._left[end:]
        self._inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        self._check = self._packed = self._plain = 0
        self._write(self._name, b"")
        self._step = self._data
        return True

    def _data(self) -> bool:
        before = len(self._left)
        try:
            plain = self._inflating.decompress(self._left, PLAIN_AT_ONCE)
        except zlib.error:
            raise _other() from None
        over = self._inflating.eof
        self._left = self._inflating.unused_data if over else self._inflating.unconsumed_tail
        self._packed += before - len(self._left)
        self._plain += len(plain)
        if self._plain > self._packed:
            raise _other()
        self._check = zlib.crc32(plain, self._check)
        if plain:
            self._write(self._name, plain)
        if over:
            self._step = self._sizes
        return True

    def _sizes(self) -> bool:
        """Hold what was read against what stands behind it."""
        if len(self._left) < _SIZES.size:
            return False
        if _SIZES.unpack_from(self._left) != (_DESCRIPTOR, self._check, self._packed, self._plain):
            raise _other()
        self._left = self._left[_SIZES.size :]
        self._step = self._header
        return True

    def _rest(self) -> bool:
        """The directory at the end repeats what came: its last record is kept."""
        self._left = self._left[-_END_RECORD.size :]
        return False


def _other() -> IntegrityError:
    return IntegrityError("the server's answer is no zip of the tables that were asked for")
