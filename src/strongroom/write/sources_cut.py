"""Cuts a stream of bytes into chunks of whole records.

Rules it keeps:

1. A cut is only made at the end of a record, by the same quoting rules as the CSV parser's.
2. A record longer than RECORD_BYTES_MAX is an error, so that an open quote cannot fill the memory.
3. Buffers are used again: fresh memory costs more than the copy into it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from strongroom.errors import InputError
from strongroom.write.sources_bytes import TextStream

RECORD_BYTES_MAX = 64 << 20


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


def chunks(stream: TextStream, name: str, size: int, buffers: Buffers, cut: Cut, skip: int) -> Iterator[Chunk]:
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
