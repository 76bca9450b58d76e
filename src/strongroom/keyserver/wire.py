"""Requests over kept connections: plain or TLS, one answer for each, and a broken connection tried once more.

urllib3 was measured: of a call to a keymaster on the same machine it took a third. Parsing is left to httptools.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools

from strongroom.errors import UnavailableError, UsageError
from strongroom.identity.signing import Body
from strongroom.keyserver.streamed import Streamed
from strongroom.loop import apart, here
from strongroom.turns import aside

ANSWER_SECONDS = 600.0
ANSWER_BYTES_MAX = 1 << 30
CONNECT_SECONDS = 10.0
CONNECTIONS_KEPT = 64
_TOGETHER = 1 << 16
_RECEIVED = 1 << 16
"""The most that is received at once: for more memory the system is asked, and has it back, each time."""
_LARGE = 1 << 18


class Wire:
    """Connections to one server.

    Args:
        url: As `https://keys.example:8446`, checked.
        what: What messages call the other side.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.
    """

    def __init__(self, url: str, what: str, authorities: Path | None) -> None:
        parts = urlsplit(url)
        self._what = what
        self._tls = parts.scheme == "https"
        self._authorities = authorities
        self._context: ssl.SSLContext | None = None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._head = f"Host: {parts.netloc}\r\n"
        self._idle: deque[_Connection] = deque()

    def close(self) -> None:
        """Let go of the connections."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def post(self, path: str, body: Body, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send one request, whose body may come in parts; the answer's status and body.

        A connection that broke is replaced once by a new one, and the very same bytes are sent again: what was answered
        before is refused then, so that nothing is done twice.

        Raises:
            UnavailableError: Nobody answers, or with a certificate that does not hold.
        """
        parts = (body,) if isinstance(body, bytes) else body
        size = sum(map(len, parts))
        head = self._head_of(path, headers, size)
        for last in (False, True):
            try:
                connection = apart(self._dialled) if last else self._taken()
                try:
                    answer = connection.send(head, parts, size)
                except BaseException:
                    connection.close()
                    raise
            except ssl.SSLError as error:
                raise self._refused(error) from None
            except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                if not last and not isinstance(error, TimeoutError):
                    continue
                raise UnavailableError(f"the {self._what} does not answer ({type(error).__name__})") from None
            if connection.kept and len(self._idle) < CONNECTIONS_KEPT:
                self._idle.append(connection)
            else:
                connection.close()
            return answer
        raise AssertionError("the loop returns or raises")

    def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> Streamed:
        """Send one request, once, on a connection of its own; the answer is read while it comes.

        Raises:
            UnavailableError: Nobody answers, or with a certificate that does not hold.
        """
        try:
            made = self._socket()
        except ssl.SSLError as error:
            raise self._refused(error) from None
        except OSError as error:
            raise UnavailableError(f"the {self._what} does not answer ({type(error).__name__})") from None
        return Streamed(made, self._what, (self._head_of(path, headers, len(body)), body))

    def _head_of(self, path: str, headers: Mapping[str, str], size: int) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\n{self._head}{lines}Content-Length: {size}\r\n\r\n".encode()

    def _refused(self, error: ssl.SSLError) -> UnavailableError:
        if "certificate has expired" in str(error):
            return UnavailableError(f"the {self._what}'s certificate has expired")
        told = f"the {self._what}'s certificate does not hold ({type(error).__name__})"
        return UnavailableError(told, hint="name the authorities that signed it")

    def _taken(self) -> _Connection:
        with suppress(IndexError):
            return self._idle.pop()
        return apart(self._dialled)

    def _dialled(self) -> _Connection:
        return _Connection(self._socket())

    def _socket(self) -> socket.socket:
        made = socket.create_connection((self._host, self._port), CONNECT_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            made = self._wrapped(made)
        made.settimeout(ANSWER_SECONDS)
        return made

    def _wrapped(self, made: socket.socket) -> socket.socket:
        if self._context is None:
            own = None if self._authorities is None else str(self._authorities)
            try:
                self._context = ssl.create_default_context(cafile=own)
            except (OSError, ssl.SSLError):
                raise UsageError(f"no certificates can be read from {own}", hint="it names the authorities") from None
        try:
            return self._context.wrap_socket(made, server_hostname=self._host)
        except BaseException:
            made.close()
            raise


class _Connection:
    """One connection, and what its parser tells."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self.kept = False
        self._done = False
        self._parts: list[bytes] = []
        self._said = self._length = 0
        self._parser: httptools.HttpResponseParser

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def send(self, head: bytes, body: Sequence[bytes | memoryview], size: int) -> tuple[int, bytes]:
        if size > _TOGETHER and here() is not None:
            return apart(lambda: self.send(head, body, size))
        self._done, self._parts, self._said, self._length = False, [], 0, 0
        if size <= _TOGETHER:
            self._sent(b"".join((head, *body)))
        else:
            self._socket.sendall(head)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it was sent
                for part in body:
                    if len(part):
                        self._socket.sendall(part)
        received = 0
        self._parser = parser = httptools.HttpResponseParser(self)
        while not self._done:
            data = self._received()
            received += len(data)
            if not data or received > ANSWER_BYTES_MAX:
                raise ConnectionResetError
            parser.feed_data(data)
            if self._length > _LARGE and not self._done:
                return parser.get_status_code(), apart(self._whole)
        parts, self._parts = self._parts, []  # keys are in it: an idle connection has none
        return parser.get_status_code(), parts[0] if len(parts) == 1 else b"".join(parts)

    def _sent(self, data: bytes) -> None:
        """Send all of it; in a loop what the other side does not take at once goes by another thread."""
        if here() is None:
            self._socket.sendall(data)
            return
        self._socket.setblocking(False)
        try:
            count = self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            count = 0
        finally:
            self._socket.settimeout(ANSWER_SECONDS)
        if count < len(data):
            apart(lambda: self._socket.sendall(memoryview(data)[count:]))

    def _received(self) -> bytes:
        """What has come, once something has."""
        loop = here()
        if loop is None:
            with aside():
                return self._socket.recv(_RECEIVED)
        while True:
            waits = not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending()
            if waits and not loop.readable(self._socket.fileno(), ANSWER_SECONDS):
                raise TimeoutError
            self._socket.setblocking(False)  # a part of a TLS record may be all that has come
            try:
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    return self._socket.recv(_RECEIVED)
            finally:
                self._socket.settimeout(ANSWER_SECONDS)

    def _whole(self) -> bytes:
        """A large body whose length was said, received into its place: in pieces it would be copied once more."""
        if self._length > ANSWER_BYTES_MAX:
            raise ConnectionResetError
        whole = bytearray(self._length)
        view, got = memoryview(whole), 0
        for part in self._parts:
            view[got : got + len(part)] = part
            got += len(part)
        self._parts = []
        while got < self._length:
            with aside():
                count = self._socket.recv_into(view[got:])
            if not count:
                raise ConnectionResetError
            got += count
        return cast("bytes", whole)  # read like any bytes, and written by nobody

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self._said = int(value)

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_headers_complete(self) -> None:
        self.kept, self._length = self._parser.should_keep_alive(), self._said  # what comes now is body

    def on_message_complete(self) -> None:
        self._done = True
