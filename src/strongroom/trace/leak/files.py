"""Bytes of a sample on their way to a reader: digested, unpacked, and told where they end too early.

Rules it keeps:

1. What a damaged archive still gives is read; that it ends early is counted, never passed over.
2. Memory is bounded: no member is unpacked as a whole.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from strongroom.errors import InputError
from strongroom.schema.model import shown
from strongroom.trace.leak.base import CUT_SHORT, LOCKED, Account
from strongroom.write.sources_bytes import DigestingReader, file_size, unreadable

READ_BYTES = 1 << 20
MEMBERS_MAX = 10_000
ZSTD_BYTES = 1 << 14
"""A read that meets damage gives nothing: so much is lost before it at most."""

_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_SHEETS = ("xl/workbook.xml", "content.xml")

KNOWN_FILES: dict[bytes, tuple[str, str]] = {
    b"SQLite format 3\x00": ("a SQLite database", "write its tables as SQL with .dump, or as CSV."),
    b"%PDF-": ("a PDF", "take the text out of it first."),
    b"\xd0\xcf\x11\xe0": ("an old Office file", "save the sheets as CSV."),
    b"Rar!": ("a RAR archive", "unpack it first."),
    b"7z\xbc\xaf": ("a 7-Zip archive", "unpack it first."),
    b"BZh": ("packed with bzip2", "unpack it first."),
    b"\xfd7zXZ": ("packed with xz", "unpack it first."),
    b"Obj\x01": ("an Avro file", "write it as JSON Lines or Parquet."),
    b"ORC": ("an ORC file", "write it as Parquet."),
    b"PGDMP": ("a binary dump of PostgreSQL", "turn it into SQL with pg_restore --file."),
}


class Reads(Protocol):
    """Something with bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none only at the end."""


class Front:
    """Bytes with some put back before them."""

    def __init__(self, front: bytes, rest: Reads) -> None:
        self._front, self._rest = front, rest

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        if self._front:
            out, self._front = self._front[:size], self._front[size:]
            return out
        return self._rest.read(size)


class Gunzipped:
    """gzip data, member after member, up to where it is damaged."""

    def __init__(self, raw: Reads, account: Account) -> None:
        self._raw, self._account = raw, account
        self._inflate: Any = zlib.decompressobj(31)
        self._input = b""
        self._done = False

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        while not self._done:
            if not self._input:
                self._input = self._raw.read(READ_BYTES)
            if not self._input:
                self._end(whole=self._inflate.eof)
                break
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(31)
            try:
                out: bytes = self._inflate.decompress(self._input, size)
            except zlib.error:
                self._end(whole=not self._input.strip(b"\0"))
                break
            self._input = self._inflate.unused_data or self._inflate.unconsumed_tail
            if out:
                return out
        return b""

    def _end(self, *, whole: bool) -> None:
        self._done = True
        rest = len(self._input)
        while more := self._raw.read(READ_BYTES):
            rest += len(more)
        if not whole:
            self._account.lost(CUT_SHORT, size=rest)


class Unzstd:
    """zstd data up to where it is damaged."""

    def __init__(self, raw: Reads, account: Account) -> None:
        import pyarrow as pa

        self._raw, self._account = raw, account
        self._done = False
        self._inner = pa.CompressedInputStream(pa.PythonFile(_Raw(raw), mode="r"), "zstd")

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        if self._done:
            return b""
        try:
            out = bytes(self._inner.read(min(size, ZSTD_BYTES) if size > 0 else ZSTD_BYTES))
        except (OSError, ValueError, EOFError):
            out = b""
            self._account.lost(CUT_SHORT)
        self._done = not out
        return out


class _Raw(io.RawIOBase):
    """Bytes as Arrow wants to read them."""

    def __init__(self, raw: Reads) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        view = memoryview(into).cast("B")
        got = self._raw.read(len(view))
        view[: len(got)] = got
        return len(got)


class _Member:
    """One member of a zip archive up to where it is damaged."""

    def __init__(self, raw: Any, account: Account) -> None:
        self._raw, self._account = raw, account

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        try:
            return bytes(self._raw.read(min(size, READ_BYTES) if size > 0 else READ_BYTES))
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError):
            self._account.lost(CUT_SHORT)
            return b""


@dataclass
class Opened:
    """One file to read.

    Args:
        account: Its name, and what was read of it.
        stream: Its bytes, unpacked.
        path: Where it lies on the disk, if it is not packed.
        member: Whether it is one of an archive.
    """

    account: Account
    stream: Reads
    path: Path | None = None
    member: bool = False

    def head(self, size: int) -> bytes:
        """The first bytes; they stay to be read."""
        got = b""
        while len(got) < size and (more := self.stream.read(size - len(got))):
            got += more
        self.stream = Front(got, self.stream)
        return got


def opened(path: Path | None, stream: BinaryIO | None, name: str) -> Iterator[Opened]:
    """The file of that name, or each member of it where it is a zip archive; closed when the next is asked for.

    Args:
        path: The file, or None to read `stream`.
        stream: A binary file object.
        name: What messages call it.

    Raises:
        InputError: It is absent or unreadable, or a kind of file that cannot be read here.
    """
    with ExitStack() as stack:
        if path is not None:
            stream = stack.enter_context(_file(path, name))
        whole = DigestingReader(cast("BinaryIO", stream), lambda _: None)
        start = _filled(whole, 16)
        if start.startswith(_ZIP):
            if path is None:
                raise InputError(f"{name}: a zip archive must be a file", hint="save it to a file first.")
            yield from _members(path, name)
            return
        for magic, (what, hint) in KNOWN_FILES.items():
            if start.startswith(magic):
                raise InputError(f"{name}: is {what}", hint=hint)
        account = Account(name)
        packed = start.startswith((_GZIP, _ZSTD))
        bytes_in = _unpacked(Front(start, _Guarded(whole, name)), start, account)
        yield Opened(account, bytes_in, None if packed else path)
        while _Guarded(whole, name).read(READ_BYTES):
            pass
        account.size, account.sha256 = whole.size, whole.sha256()


def _file(path: Path, name: str) -> BinaryIO:
    file_size(name, path)
    try:
        return cast("BinaryIO", path.open("rb", buffering=0))
    except OSError as error:
        raise unreadable(name, error) from None


class _Guarded:
    """A file whose errors come out as InputError."""

    def __init__(self, raw: DigestingReader, name: str) -> None:
        self._raw, self._name = raw, name

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        try:
            return self._raw.read(size if size > 0 else READ_BYTES) or b""
        except OSError as error:
            raise unreadable(self._name, error) from None


def _filled(raw: DigestingReader, size: int) -> bytes:
    out = b""
    while len(out) < size and (more := raw.read(size - len(out))):
        out += more
    return out


def _unpacked(stream: Reads, start: bytes, account: Account) -> Reads:
    if start.startswith(_GZIP):
        return Gunzipped(stream, account)
    return Unzstd(stream, account) if start.startswith(_ZSTD) else stream


def _members(path: Path, name: str) -> Iterator[Opened]:
    """Each file in a zip archive; one that cannot be read is an account of its own."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(f"{name}: the zip archive is damaged or cut short", hint="transfer it again.") from None
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if any(info.filename in _SHEETS for info in infos):
            raise InputError(f"{name}: is a spreadsheet", hint="save each sheet as CSV.")
        if len(infos) > MEMBERS_MAX:
            raise InputError(f"{name}: more than {MEMBERS_MAX} files in one archive", hint="unpack it first.")
        for info in infos:
            account = Account(f"{name}:{shown(info.filename)}", size=info.compress_size)
            try:
                raw = archive.open(info)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError):
                account.lost(LOCKED, size=info.compress_size)
                yield Opened(account, io.BytesIO(b""), member=True)
                continue
            with raw:
                member = Opened(account, _Member(raw, account), member=True)
                start = member.head(16)
                member.stream = _unpacked(member.stream, start, account)
                yield member
