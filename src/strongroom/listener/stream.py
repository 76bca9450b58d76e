"""A reply's body that is made while it is sent: one thread writes it, the connection sends it, and little lies between.

Rules it keeps:

1. At most AHEAD_BYTES wait to be sent, and one piece more: whoever writes waits then.
2. The body has an end only where its writer says so (`end`). Whatever else becomes of it, it is cut, and looks so: it
   is sent in chunks (RFC 9112, 7.1), and the last one is missing.
3. When the connection has ended its writer is told so at the next piece, or where they wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from strongroom.errors import UnavailableError

AHEAD_BYTES = 4 << 20
LEAST_BYTES = 4 << 20
LEAST_SECONDS = 60.0


class Stream:
    """The body of one reply.

    Args:
        trailers: Names of the fields that `end` gives, which are told before.
    """

    def __init__(self, trailers: Sequence[bytes] = ()) -> None:
        self.trailers = tuple(trailers)
        self.whole = False
        """Whether its writer has ended it."""
        self._change = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._over = self._gone = self._awaited = False
        self._more: Callable[[], None] = lambda: None

    # -- who writes -----------------------------------------------------------------------------
    def write(self, data: bytes | memoryview) -> None:
        """Send some bytes after those before; waits while much is on its way.

        Raises:
            UnavailableError: The connection has ended.
        """
        if len(data):
            self._put(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))

    def end(self, fields: Sequence[bytes] = ()) -> None:
        """Say that all was written, with a value for each of `trailers`.

        Raises:
            UnavailableError: The connection has ended before.
        """
        told = [b"%s: %s\r\n" % pair for pair in zip(self.trailers, fields, strict=True)]
        self.whole = True
        self._put(b"".join((b"0\r\n", *told, b"\r\n")), last=True)

    def cut(self) -> None:
        """Give it up: the connection ends. Nothing where it was ended."""
        with self._change:
            self._over = True
            awaited, self._awaited = self._awaited, False
        if awaited:
            self._more()

    def _put(self, piece: bytes, *, last: bool = False) -> None:
        with self._change:
            while self._size >= AHEAD_BYTES and not self._gone:
                self._change.wait()
            if self._gone:
                raise UnavailableError("whoever asked has gone, or takes the answer too slowly")
            self._pieces.append(piece)
            self._size += len(piece)
            self._over = self._over or last
            awaited, self._awaited = self._awaited, False
        if awaited:
            self._more()

    # -- the connection -------------------------------------------------------------------------
    def opened(self, more: Callable[[], None]) -> None:
        """Its head is on its way; `more` is called when there is something after `take` gave nothing."""
        self._more = more

    def take(self) -> bytes | None:
        """The next piece; nothing where there is none yet, None when it is over."""
        with self._change:
            if self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                self._change.notify()
                return piece
            if self._over:
                return None
            self._awaited = True
            return b""

    def closed(self) -> None:
        """The connection has ended."""
        with self._change:
            self._gone = True
            self._pieces.clear()
            self._change.notify()


class Pace:
    """How fast the other side takes a stream: LEAST_BYTES in LEAST_SECONDS, while there is something to take."""

    def __init__(self) -> None:
        self._taken = 0

    def begin(self) -> float:
        """Count anew; within how many seconds the next LEAST_BYTES are to be taken."""
        self._taken = 0
        return LEAST_SECONDS

    def took(self, count: int) -> bool:
        """So many bytes were taken; whether that was enough for this time."""
        self._taken += count
        return self._taken >= LEAST_BYTES
