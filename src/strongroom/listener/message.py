"""What goes between a listener and its application: requests, what is to be read of them, and replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import NamedTuple, Protocol

from strongroom.errors import UsageError
from strongroom.listener.stream import Stream

_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CLOSE = b"connection: close\r\n\r\n"


class Request(NamedTuple):
    """A request without its body: method, path and headers as they came, header names in lower case.

    `odd` tells that it has a query, or a header twice; `size` is the length that it says its body has, -1 for none;
    `old` that it is of HTTP/1.0, which knows no chunks.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    address: str
    size: int
    odd: bool = False
    old: bool = False


class Reply(NamedTuple):
    """Status, body, media type, headers besides, and whether the connection ends with it.

    `parts` are sent behind the body and belong to it: what is large need not be copied into one piece. With `stream`
    the body is what is written there, and nothing else.
    """

    status: int
    body: bytes = b""
    media: bytes = b"application/msgpack"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False
    parts: tuple[bytes | memoryview, ...] = ()
    stream: Stream | None = None


Answered = Reply | Future[Reply]


class Take(NamedTuple):
    """The body is to be read, within so many seconds.

    `then` makes the reply of it, or a future of one; `late` the reply where it did not come in time; `ended` is called
    once, whatever becomes of the request.
    """

    seconds: float
    then: Callable[[bytes], Answered]
    late: Callable[[], Reply]
    ended: Callable[[], None] = lambda: None


class Application(Protocol):
    """What answers requests; the calls come from several threads. None of them raises."""

    def begin(self, request: Request) -> Take | Answered:
        """What becomes of a request whose headers have come."""

    def close(self) -> None:
        """No more requests come."""


def length_of(headers: Mapping[str, str]) -> int:
    """How long the body of a request says that it is; -1 where it does not say."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else -1


def too_large(most: int) -> UsageError:
    """The error for a body that says no length, or is longer than it may be."""
    return UsageError(f"a request has a length, of at most {most:,} bytes here")


def head_of(reply: Reply, *, keep: bool) -> bytes:
    """The head of a reply, and whether its connection is kept."""
    length = b"content-length: %d\r\n" % (len(reply.body) + sum(map(len, reply.parts)))
    if reply.stream is not None:
        names = reply.stream.trailers
        length = b"transfer-encoding: chunked\r\n" + (b"trailer: %s\r\n" % b", ".join(names) if names else b"")
    further = [b"%s: %s\r\n" % pair for pair in reply.headers]
    head = (_REASONS[reply.status], b"content-type: ", reply.media, b"\r\n", length, b"cache-control: no-store\r\n")
    return b"".join((*head, *further, b"\r\n" if keep else _CLOSE))
