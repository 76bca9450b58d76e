"""Bytes of a file on their way to a parser: counted, digested, decompressed, their encoding told, cut at records.

Rules it keeps:

1. Each byte is read once; the SHA-256 is of the bytes as stored, computed as they pass.
2. A cut is only made at the end of a record, by the same quoting rules as the CSV parser's.
3. A record longer than RECORD_BYTES_MAX is an error, so that an open quote cannot fill the memory.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from strongroom.errors import InputError
from strongroom.write.sources_base import SourceDigest

READ_BYTES = 1 << 20
HEAD_BYTES = 1 << 20
CHUNK_BYTES_MIN = 1 << 20
CHUNK_BYTES_MAX = 32 << 20
RECORD_BYTES_MAX = 64 << 20
STDIN = "<stdin>"

_GZIP, _ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_UTF8_BOM, _GB_BOM = b"\xef\xbb\xbf", b"\x84\x31\x95\x33"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SUPERSETS = {"gbk": "gb18030", "gb2312": "gb18030", "ascii": "utf-8", "utf-8-sig": "utf-8"}
_ENCODINGS = frozenset(
    [
        "utf-8",
        "gb18030",
        "big5",
        "big5hkscs",
        "cp950",
        "iso8859-1",
        "cp1252",
        "shift_jis",
        "cp932",
        "euc_jp",
        "euc_kr",
        "cp949",
    ]
)
"""Encodings in which a comma, a quote and a line end are never part of another character."""


class DigestingReader(io.RawIOBase):
    """A binary file that counts and digests what is read from it.

    Args:
        raw: The file; closed with this one.
        on_read: Told the number of bytes of each piece.
    """

    def __init__(self, raw: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._raw, self._on_read = raw, on_read
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def readinto(self, into: Any) -> int:
        """Read up to READ_BYTES, so that what is digested is still in the cache."""
        view = memoryview(into).cast("B")[:READ_BYTES]
        got = self._raw.readinto(view)  # type: ignore[attr-defined]
        if got:
            self._hash.update(view[:got])
            self.size += got
            self._on_read(got)
        return int(got or 0)

    def sha256(self) -> bytes:
        """The digest of what was read so far."""
        return self._hash.digest()

    def close(self) -> None:
        """Close the file too, unless it is standard input."""
        if not self.closed and self._raw is not getattr(sys.stdin, "buffer", None):
            self._raw.close()
        super().close()


class ByteSource:
    """One file, or standard input, to be read as text once.

    Args:
        name: What messages call it.
        path: The file, or None to read `stream`.
        stream: A binary file object.
    """

    def __init__(self, name: str, path: Path | None = None, stream: BinaryIO | None = None) -> None:
        self.name = name
        self.path = path
        self._stream = stream
        self._opened: _Stream | None = None
        self.bytes_done = 0
        self.bytes_total = None if path is None else file_size(name, path)
        self.head = b""
        self.codec: str | None = None
        self._sniff()

    def _sniff(self) -> None:
        """Read the beginning; a file is closed again, a stream stays open."""
        opened = self._open()
        try:
            self.head = opened.fill(HEAD_BYTES)
        finally:
            if self.path is None:
                self._opened = opened
            else:
                opened.close()
                self.bytes_done = 0
        if not self.head:
            raise InputError(f"{self.name}: is empty")
        if self.head.startswith(_WIDE_BOMS):
            raise InputError(
                f"{self.name}: is UTF-16 or UTF-32", hint="save it as UTF-8, for example with iconv -f utf-16 -t utf-8."
            )

    def _open(self) -> _Stream:
        raw = self._stream
        if raw is None:
            try:
                raw = cast("BinaryIO", open(cast("Path", self.path), "rb", buffering=0))  # noqa: SIM115, PTH123
            except OSError as error:
                raise unreadable(self.name, error) from None
        return _Stream(self.name, DigestingReader(raw, self._count))

    def _count(self, got: int) -> None:
        self.bytes_done += got

    def text_offset(self) -> int:
        """Where the text starts after a byte-order mark."""
        for bom in (_UTF8_BOM, _GB_BOM):
            if self.head.startswith(bom):
                return len(bom)
        return 0

    def marked_encoding(self) -> str | None:
        """The encoding that a byte-order mark states."""
        if self.head.startswith(_UTF8_BOM):
            return "utf-8"
        return "gb18030" if self.head.startswith(_GB_BOM) else None

    def stream(self) -> _Stream:
        """The whole of it, from the first byte."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.unread(self.head)
            return opened
        return self._open()


class _Stream:
    """Decompressed bytes of one source; errors of reading come out as InputError."""

    def __init__(self, name: str, reader: DigestingReader) -> None:
        self._name, self._reader = name, reader
        self._back = b""
        start = self._raw_fill(4)
        self._codec = "gzip" if start.startswith(_GZIP) else "zstd" if start == _ZSTD else None
        if self._codec is None:
            self._inner: Any = reader
            self._back = start
        else:
            import pyarrow as pa

            self._inner = pa.CompressedInputStream(pa.PythonFile(_Pushed(start, reader), mode="r"), self._codec)

    def _raw_fill(self, size: int) -> bytes:
        out = bytearray()
        try:
            while len(out) < size and (piece := self._reader.read(size - len(out))):
                out += piece
        except OSError as error:
            raise unreadable(self._name, error) from None
        return bytes(out)

    def unread(self, data: bytes) -> None:
        """Put bytes back in front."""
        self._back = data + self._back

    def readinto(self, view: memoryview) -> int:
        """Fill the view as far as there is something; less than its length only at the end."""
        done = min(len(self._back), len(view))
        view[:done] = self._back[:done]
        self._back = self._back[done:]
        try:
            while done < len(view) and (got := self._inner.readinto(view[done : done + READ_BYTES])):
                done += got
        except (OSError, ValueError, EOFError) as error:
            if self._codec is None and isinstance(error, OSError):
                raise unreadable(self._name, error) from None
            raise InputError(
                f"{self._name}: the {self._codec or 'input'} data is damaged or cut short",
                hint="transfer the file again; nothing of it was put.",
            ) from None
        return done

    def fill(self, size: int) -> bytes:
        """Up to `size` bytes."""
        into = bytearray(size)
        return bytes(memoryview(into)[: self.readinto(memoryview(into))])

    def digest(self) -> SourceDigest:
        """The digest of the source; what a decompressor left unread is read now."""
        while self._reader.read(READ_BYTES):
            pass
        return SourceDigest(self._name, self._reader.sha256(), self._reader.size)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class _Pushed(io.RawIOBase):
    """A file with some bytes put back in front of it."""

    def __init__(self, front: bytes, rest: io.RawIOBase) -> None:
        self._front, self._rest = front, rest

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if self._front:
            view = memoryview(into).cast("B")
            got = min(len(view), len(self._front))
            view[:got] = self._front[:got]
            self._front = self._front[got:]
            return got
        return int(self._rest.readinto(into) or 0)  # type: ignore[attr-defined]


def file_size(name: str, path: Path) -> int:
    """Bytes of a file; InputError if it is absent, unreadable or a folder."""
    try:
        stat = path.stat()
    except OSError as error:
        raise unreadable(name, error) from None
    if path.is_dir():
        raise InputError(f"{name}: is a folder", hint="name its files, for example with a pattern: folder/*.csv.")
    return stat.st_size


def unreadable(name: str, error: OSError) -> InputError:
    """The InputError for a file that the system refuses."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name}: there is no such file", hint="check the path.")
    return InputError(f"{name}: cannot be read ({(error.strerror or 'input error').lower()})")


def known_encoding(name: str) -> str:
    """The canonical name of an encoding that can be read; GBK and GB2312 are read as GB18030, which holds them.

    Raises:
        InputError: It is unknown, or commas and line ends may be parts of other characters in it.
    """
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    found = _SUPERSETS.get(found, found)
    if found not in _ENCODINGS:
        raise InputError(
            "this encoding cannot be read", hint=f"convert the file to UTF-8; read are {', '.join(sorted(_ENCODINGS))}."
        )
    return found


_LONE = re.compile("[\udc80-\udcff]")
_WIDE = re.compile("[^\x00-\x7f]")
_HAN = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u2010-\u2027\u00b7]")


def detect_encoding(sample: bytes) -> str:
    """Tell UTF-8 from GB18030 by which of them makes sense of the bytes; UTF-8 where neither does.

    Args:
        sample: Whole lines with at least one byte that is not ASCII.
    """
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    as_utf8 = sample.decode("utf-8", "surrogateescape")
    bad = len(_LONE.findall(as_utf8))
    good = len(_WIDE.findall(as_utf8)) - bad
    if good >= 2 * bad:
        return "utf-8"
    as_gb = sample.decode("gb18030", "surrogateescape")
    wide, bad, han = len(_WIDE.findall(as_gb)), len(_LONE.findall(as_gb)), len(_HAN.findall(as_gb))
    return "gb18030" if bad * 20 <= wide and han >= 0.7 * (wide - bad) else "utf-8"


@dataclass
class Chunk:
    """Whole records of a source: `data` is a view of `buffer`, which goes back to the pool when parsed."""

    data: memoryview
    buffer: bytearray
    quoted: bool
    encoding: str | None = None


Cut = Callable[[bytearray, int, int], tuple[int, bool]]


class Buffers:
    """Reused buffers: fresh memory costs more than the copy into it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: deque[bytearray] = deque(maxlen=8)

    def take(self, at_least: int) -> bytearray:
        """A buffer of at least so many bytes."""
        try:
            buffer = self._free.pop()
        except IndexError:
            return bytearray(max(at_least, self._size))
        return buffer if len(buffer) >= at_least else bytearray(at_least)

    def give(self, buffer: bytearray) -> None:
        """Take it back."""
        self._free.append(buffer)


def chunks(stream: _Stream, name: str, size: int, buffers: Buffers, cut: Cut, skip: int) -> Iterator[Chunk]:
    """Cut a stream into chunks of whole records of about `size` bytes.

    Args:
        stream: Where the bytes come from.
        name: What messages call the source.
        size: Bytes of a chunk, more only where one record is longer.
        buffers: Where buffers come from.
        cut: (buffer, start, end) to the end of the last whole record in it (or `start`), and whether it has quotes.
        skip: Bytes at the beginning that are no records: byte-order mark and header.
    """
    carry: memoryview | bytes = b""
    start = skip
    while True:
        buffer = buffers.take(max(size, 2 * len(carry), 2 * start))
        view = memoryview(buffer)
        view[: len(carry)] = carry
        want = max(size, 2 * len(carry), 2 * start)
        end = len(carry) + stream.readinto(view[len(carry) : want])
        last = end < want
        if last:
            if end > start:
                yield Chunk(view[start:end], buffer, buffer.find(b'"', start, end) >= 0)
            return
        stop, quoted = cut(buffer, start, end)
        if stop > start:
            carry = bytes(view[stop:end])
            yield Chunk(view[start:stop], buffer, quoted)
            start = 0
            continue
        if end > RECORD_BYTES_MAX:
            raise InputError(
                f"{name}: a record is longer than {RECORD_BYTES_MAX} bytes",
                hint="look for a quote that is opened and not closed.",
            )
        carry = bytes(view[:end])


def cut_at_line(buffer: bytearray, start: int, end: int) -> tuple[int, bool]:
    """The end of the last line: where lines are records whatever they hold (JSON Lines)."""
    return max(buffer.rfind(b"\n", start, end) + 1, start), False


class RecordCutter:
    """Finds the end of the last whole CSV record.

    A quote opens a quoted value only as the first byte of a field. Where every quote of a chunk obeys that, a
    line end with an even number of quotes before it ends a record; otherwise the records are walked one by one.

    Args:
        delimiter: One ASCII character.
        old_mac: Lines end with a carriage return alone.
    """

    def __init__(self, delimiter: str, *, old_mac: bool = False) -> None:
        self._end = b"\r" if old_mac else b"\n"
        self._before = np.frombuffer(delimiter.encode() + b'\r\n"', dtype=np.uint8)
        self.record = _record_pattern(delimiter)

    def __call__(self, buffer: bytearray, start: int, end: int) -> tuple[int, bool]:
        """See `chunks`."""
        stop = buffer.rfind(self._end, start, end)
        if stop < 0:
            return start, False
        if buffer.find(b'"', start, stop) < 0:
            return stop + 1, False
        data = np.frombuffer(memoryview(buffer)[start:stop], dtype=np.uint8)
        quotes = np.flatnonzero(data == ord('"'))
        opening = quotes[0::2]
        before = data[opening - 1]
        lawful = np.isin(before, self._before)
        lawful[opening == 0] = True
        if not lawful.all():
            return self._walk(buffer, start, end), True
        while stop >= 0:
            before_stop = int(np.searchsorted(quotes, stop - start))
            if before_stop % 2 == 0:
                return stop + 1, True
            stop = buffer.rfind(self._end, start, start + int(quotes[before_stop - 1]))
        return start, True

    def _walk(self, buffer: bytearray, start: int, end: int) -> int:
        view = memoryview(buffer)[:end]
        while (match := self.record.match(view, start)) is not None and match.end() < end:
            if match.end() == start:
                break
            start = match.end()
        del match
        view.release()
        return start


def _record_pattern(delimiter: str) -> re.Pattern[bytes]:
    d = re.escape(delimiter.encode())
    plain = b"[^" + d + b"\r\n]*+"
    quoted = b'"(?:[^"]++|"")*+(?:"' + plain + b")?+"
    value = b"(?:" + quoted + b'|(?!")' + plain + b")"
    return re.compile(value + b"(?:" + d + value + b")*+(?:\r\n|\r|\n|\\Z)", re.DOTALL)


def digest_file(path: str | Path) -> SourceDigest:
    """The SHA-256 of a file as stored, to see before a put whether it was put already.

    Raises:
        InputError: It cannot be read.
    """
    name = str(path)
    file_size(name, Path(path))
    try:
        with Path(path).open("rb", buffering=0) as raw:
            reader = DigestingReader(cast("BinaryIO", raw), lambda _: None)
            into = bytearray(READ_BYTES)
            while reader.readinto(into):
                pass
    except OSError as error:
        raise unreadable(name, error) from None
    return SourceDigest(name, reader.sha256(), reader.size)
