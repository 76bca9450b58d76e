"""An answer that is read while it comes: its head at once, then its body a piece at a time, then its trailers.

Rules it keeps:

1. Nothing of the body is held but the piece that came last.
2. A body is over only when its end came (RFC 9112): one that was cut raises.
3. It has a connection of its own, and is asked for once: who sends a long answer twice has charged for it twice.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

import httptools

from strongroom.closing import Closing
from strongroom.errors import UnavailableError

HEAD_BYTES_MAX = 1 << 16
_RECEIVED = 1 << 18
_CUT = (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade)


class Streamed(Closing):
    """One answer; close it. Names of headers and trailers are in lower case.

    Args:
        made: The connection, on which nothing was sent before.
        what: What messages call the other side.
        request: The request, in parts.

    Raises:
        UnavailableError: It is not answered.
    """

    def __init__(self, made: socket.socket, what: str, request: Sequence[bytes]) -> None:
        self._socket = made
        self._what = what
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._headed = self._done = False
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it was sent
                made.sendall(b"".join(request))
            received = 0
            while not self._headed:
                received += self._receive()
                if received > HEAD_BYTES_MAX + _RECEIVED:
                    raise ConnectionResetError
        except _CUT as error:
            self._socket.close()  # where the head was whole, the body is found to be cut
            if not self._headed:
                raise UnavailableError(f"the {what} does not answer ({type(error).__name__})") from None
        self.status: int = self._parser.get_status_code()

    def close(self) -> None:
        """Let go of the connection: what has not come is not waited for."""
        with suppress(OSError):
            self._socket.close()

    def pieces(self) -> Iterator[bytes]:
        """The body, in pieces as they come.

        Raises:
            UnavailableError: It was cut.
        """
        idle = 0
        while True:
            parts, self._parts = self._parts, []
            yield from parts
            if self._done:
                return
            try:
                idle = self._receive() + (0 if parts else idle)
                if idle > HEAD_BYTES_MAX + _RECEIVED:  # trailers, or what stands beside chunks, without an end
                    raise ConnectionResetError
            except _CUT as error:
                told = f"the {self._what}'s answer was cut before its end ({type(error).__name__})"
                raise UnavailableError(told) from None

    def rest(self, most: int) -> bytes:
        """A small body, whole; UnavailableError where it was cut, or has more than so many bytes."""
        found = b""
        for piece in self.pieces():
            found += piece
            if len(found) > most:
                raise UnavailableError(f"the {self._what}'s answer is too long")
        return found

    def _receive(self) -> int:
        data = self._socket.recv(_RECEIVED)
        if not data:
            raise ConnectionResetError
        self._parser.feed_data(data)
        return len(data)

    # -- the parser's callbacks -----------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the body a trailer."""
        own = self.trailers if self._headed else self.headers
        own[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """What comes now is body."""
        self._headed = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """It is there whole."""
        self._done = True
