"""Bytes of a file on their way to a parser: counted, digested, decompressed.

Rules it keeps:

1. Each byte is read once; the SHA-256 is of the bytes as stored, computed as they pass.
2. What the system or a decompressor says comes out as an InputError with the file's name.
"""

from __future__ import annotations

import hashlib
import io
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from strongroom.errors import InputError
from strongroom.write.sources_base import SourceDigest

READ_BYTES = 1 << 20
HEAD_BYTES = 1 << 20
STDIN = "<stdin>"
WAIT_SECONDS = 0.1

_GZIP, _ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_UTF8_BOM, _GB_BOM = b"\xef\xbb\xbf", b"\x84\x31\x95\x33"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")


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


class StandardInput:
    """Standard input, read so that a thread which waits for bytes can be let go.

    A read that blocks in the system ends when bytes come or the other end closes, and that may be never.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        stream = sys.stdin.buffer
        self._raw: Any = getattr(stream, "raw", stream)
        try:
            self._number: int | None = self._raw.fileno()
        except (OSError, AttributeError, ValueError):
            self._number = None  # no file of the system: something in memory that stands for it

    def readinto(self, view: memoryview) -> int:
        """Read what is there; 0 at the end. InputError once it was stopped."""
        while self._number is not None and not select.select([self._number], [], [], WAIT_SECONDS)[0]:
            if self._stopped.is_set():
                raise InputError(f"{STDIN}: reading was stopped")
        return int(self._raw.readinto(view) or 0)

    def stop(self) -> None:
        """Let whoever waits for bytes go."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing: it is the process's."""


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
        self._opened: TextStream | None = None
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

    def _open(self) -> TextStream:
        raw = self._stream
        if raw is None:
            try:
                raw = cast("BinaryIO", open(cast("Path", self.path), "rb", buffering=0))  # noqa: SIM115, PTH123
            except OSError as error:
                raise unreadable(self.name, error) from None
        return TextStream(self.name, DigestingReader(raw, self._count))

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

    def stop(self) -> None:
        """Let a thread that waits for its bytes go; nothing is read from it any more."""
        if isinstance(self._stream, StandardInput):
            self._stream.stop()

    def stream(self) -> TextStream:
        """The whole of it, from the first byte."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.unread(self.head)
            return opened
        return self._open()


class TextStream:
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
        return int(self._rest.readinto(into) or 0)


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
