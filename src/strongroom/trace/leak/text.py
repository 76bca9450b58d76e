"""Bytes of unknown encoding in, blocks of whole lines in UTF-8 out.

Rules it keeps:

1. A block that is valid UTF-8 passes as it is. In any other each line is read in the encoding that makes sense of it,
   so that a file glued together from several stays readable.
2. No line is dropped for a bad byte: what is no text in its line's encoding becomes U+FFFD, one for each byte, and is
   counted.
3. Lines end with a line feed, whatever they ended with before.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import numpy as np

from strongroom.trace.leak.base import BLOCK_BYTES, LINE_BYTES_MAX, LONG_LINE, Account
from strongroom.trace.leak.files import Front, Opened, Reads
from strongroom.write.sources_encoding import detect_encoding
from strongroom.write.sources_mixed import is_utf8

HEAD_BYTES = 1 << 18

_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\x84\x31\x95\x33", "gb18030"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_LONE = re.compile("[\ud800-\udfff]")
_UTF8_LONG = re.compile(rb"[\xe0-\xf4][\x80-\xbf]{2}")
_ODD = bytes(sorted({*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F} - {1, 2, 3, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F}))
_ODD_SHARE_MAX = 0.01


class _Wide:
    """UTF-16 or UTF-32 as UTF-8."""

    def __init__(self, raw: Reads, encoding: str, account: Account) -> None:
        self._raw, self._account = raw, account
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._done = False

    def read(self, size: int = -1, /) -> bytes:
        """See `Reads`."""
        while not self._done:
            data = self._raw.read(size)
            self._done = not data
            text = self._decoder.decode(data, final=self._done)
            if text:
                self._account.replaced_bytes += text.count("\ufffd")
                return text.encode()
        return b""


class Text:
    """The lines of one file.

    Args:
        file: Where the bytes come from.

    `head` is the beginning as UTF-8, ending with a whole line where there is one; `binary` says it is no text.
    """

    def __init__(self, file: Opened) -> None:
        self._account = file.account
        self._stream = file.stream
        start = file.head(HEAD_BYTES)
        self._stream = file.stream
        bom = next(((mark, name) for mark, name in _BOMS if start.startswith(mark)), None)
        encoding = bom[1] if bom else _without_bom(start)
        if bom:
            self._stream.read(len(bom[0]))
            start = start[len(bom[0]) :]
        if encoding.startswith(("utf-16", "utf-32")):
            self._account.encodings[encoding] = 0
            self._stream = _Wide(self._stream, encoding, self._account)
            start = self._refill()
        self.binary = _is_binary(start)
        self._main = encoding if encoding == "gb18030" else _main(start)
        self._old_mac = b"\n" not in start and b"\r" in start
        if self._old_mac:
            start = start.replace(b"\r", b"\n")
        whole = start[: start.rfind(b"\n") + 1] or start
        self.head = self._decoded(whole, Account(""))

    def _refill(self) -> bytes:
        got = b""
        while len(got) < HEAD_BYTES and (more := self._stream.read(HEAD_BYTES - len(got))):
            got += more
        self._stream = Front(got, self._stream)
        return got

    def blocks(self, size: int = BLOCK_BYTES, *, longest: int = LINE_BYTES_MAX) -> Iterator[bytes]:
        """Whole lines of valid UTF-8, about `size` bytes at a time; the last may lack its line end.

        Args:
            size: Bytes of a block.
            longest: A longer line is cut, and that is counted; with `size` it is cut without a word, for readers that
                find the ends of records by themselves.
        """
        held: list[bytes] = []
        length = 0
        while more := self._stream.read(size):
            if self._old_mac:
                more = more.replace(b"\r", b"\n")
            held.append(more)
            length += len(more)
            if length < size:
                continue
            block = b"".join(held)
            stop = block.rfind(b"\n") + 1
            if not stop and length < longest:
                held = [block]
                continue
            if not stop:
                stop = _between_characters(block)
                if longest > size:
                    self._account.fell_back(LONG_LINE, rows=1, size=stop)
            yield self._decoded(block[:stop], self._account)
            held, length = [block[stop:]], len(block) - stop
        if length:
            yield self._decoded(b"".join(held), self._account)

    def _decoded(self, block: bytes, account: Account) -> bytes:
        if is_utf8(memoryview(block)):
            return block
        if self._main == "gb18030" and not _has_utf8_han(block):
            try:
                text = block.decode("gb18030")
            except UnicodeDecodeError:
                pass
            else:
                _count(account, "gb18030", block.count(b"\n") + 1)
                return text.encode()
        # One step a line, and only in a block of mixed encodings or with bytes that are no text.
        return b"\n".join([self._line(line, account) for line in block.split(b"\n")])

    def _line(self, line: bytes, account: Account) -> bytes:
        if line.isascii():
            return line
        gb = self._main == "gb18030"
        try:
            line.decode()
        except UnicodeDecodeError:
            encoding = detect_encoding(line)
            if gb and encoding == "utf-8" and not _has_utf8_han(line):
                encoding = "gb18030"
        else:
            # A few words of GB18030 happen to be valid UTF-8, and then of short sequences only.
            if not gb or _UTF8_LONG.search(line) is not None:
                return line
            encoding = "gb18030"
        text = line.decode(encoding, "surrogateescape")
        text, bad = _LONE.subn("\ufffd", text)
        account.replaced_bytes += bad
        if encoding != "utf-8":
            _count(account, encoding, 1)
        return text.encode()


def _count(account: Account, encoding: str, lines: int) -> None:
    account.encodings[encoding] = account.encodings.get(encoding, 0) + lines


def _main(start: bytes) -> str:
    """The encoding of most of the beginning."""
    return "utf-8" if start.isascii() else detect_encoding(start[: start.rfind(b"\n") + 1] or start)


def _without_bom(start: bytes) -> str:
    """UTF-16 shows by zero bytes at every other place; anything else is told later."""
    pairs = start[: len(start) // 2 * 2]
    if len(pairs) >= 4:
        even, odd = pairs[0::2].count(0) / (len(pairs) / 2), pairs[1::2].count(0) / (len(pairs) / 2)
        if odd > 0.3 and even < 0.05:
            return "utf-16-le"
        if even > 0.3 and odd < 0.05:
            return "utf-16-be"
    return ""


def _is_binary(start: bytes) -> bool:
    """Whether control characters are too many for text."""
    odd = len(start) - len(start.translate(None, _ODD))
    return odd > _ODD_SHARE_MAX * len(start)


def _has_utf8_han(data: bytes) -> bool:
    """Whether two characters of Chinese in UTF-8 stand side by side: in GB18030 that is so by chance very rarely."""
    values = np.frombuffer(data, np.uint8)
    at = np.flatnonzero((values[:-5] >= 0xE3) & (values[:-5] <= 0xE9))
    for ahead in (1, 2, 4, 5):
        at = at[(values[at + ahead] & 0xC0) == 0x80]
    return bool(((values[at + 3] >= 0xE3) & (values[at + 3] <= 0xE9)).any())


def _between_characters(block: bytes) -> int:
    """A place near the end that is not inside a character, for UTF-8; for others it is inside now and then."""
    at = len(block) - 1
    while at > len(block) - 4 and 0x80 <= block[at] < 0xC0:
        at -= 1
    return at if block[at] >= 0xC0 else len(block)
