"""One connection of a listener: reads requests, hands them to the application, sends the replies. HTTP/1.1.

Rules it keeps:

1. It belongs to one thread at a time, the holder of `lock`; nothing here waits for the other side, nor for whoever
   writes a stream. Of a stream the other side takes so much in a time (`stream.Pace`), or the connection ends.
2. Parsing is left to httptools (llhttp). What is no HTTP ends the connection.
3. Headers have HEAD_MOST bytes at most. A body is read only as long as its headers said, and only if the application
   takes it; whoever is refused before may send on for a while, so that the reply arrives, and nothing of it is kept.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

import httptools

from strongroom.listener.defect import defect
from strongroom.listener.message import Answered, Application, Reply, Request, Take, head_of, length_of
from strongroom.listener.poller import READ, WRITE
from strongroom.listener.stream import Pace, Stream
from strongroom.loop import here
from strongroom.turns import leave

HEADER_SECONDS = 10.0
HEAD_MOST = 1 << 16
IDLE_SECONDS = 75.0
SEND_SECONDS = 120.0
DRAIN_SECONDS = 2.0
DRAIN_MOST = 1 << 20
_RECEIVED = 1 << 16
_RECEIVED_BODY = 1 << 18
_TOGETHER = 1 << 16

HANDSHAKE, HEAD, BODY, WAITING, SENDING, STREAMING, DRAINING, CLOSED = range(8)
_BAD = Reply(400, close=True)
_DEFECT = Reply(500, close=True)
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Come(NamedTuple):
    """A request that is there whole, or of which no more is read."""

    outcome: Take | Answered
    body: bytes
    keep: bool
    head_only: bool


class Connection:
    """One connection.

    Args:
        made: The socket, which does not block.
        address: Of the other side.
        app: Answers.
        tls: Whether it greets first.
    """

    def __init__(self, made: socket.socket, address: str, app: Application, *, tls: bool) -> None:
        self.socket = made
        self.fd = made.fileno()
        self.lock = threading.Lock()
        self.state = HANDSHAKE if tls else HEAD
        self.deadline = time.monotonic() + HEADER_SECONDS
        self.waits_for = READ
        """What the last turn was to be followed by."""
        self.rearm: Callable[[Connection], None] = lambda _own: None
        """Called by who answers later, when this connection is to be waited for again."""
        self._address = address
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._come: deque[_Come] = deque()
        self._out: deque[memoryview] = deque()
        self._keep = True
        self._head = 0
        self._take: Take | None = None
        self._wants = READ
        self._stream: Stream | None = None
        self._pace = Pace()
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._twice = False
        self._outcome: Take | Answered | None = None
        self._parts: list[bytes] = []

    # -- the parser's callbacks -----------------------------------------------------------------
    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        key = name.decode("latin-1").lower()
        self._twice = self._twice or key in self._headers
        self._headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All headers have come: the application says what becomes of it."""
        path, mark, _ = self._url.partition(b"?")
        odd = self._twice or bool(mark) or not path.startswith(b"/")
        size, method = length_of(self._headers), self._parser.get_method().decode("latin-1")
        old = self._parser.get_http_version() == "1.0"
        request = Request(method, path.decode("latin-1"), self._headers, self._address, size, odd, old)
        outcome = self._app.begin(request)
        self._outcome = outcome
        if isinstance(outcome, Take):
            self._take = outcome
            if size > _RECEIVED:
                leave()
            if self._headers.get("expect", "").lower() == "100-continue":
                self._out.append(memoryview(b"HTTP/1.1 100 Continue\r\n\r\n"))

    def on_body(self, data: bytes) -> None:
        """A part of its body."""
        if self._take is not None:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """It is there whole."""
        if self._outcome is not None:
            self._queue(keep=self._parser.should_keep_alive())

    def _queue(self, *, keep: bool) -> None:
        parts, outcome = self._parts, self._outcome
        assert outcome is not None
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._come.append(_Come(outcome, body, keep, self._parser.get_method() == b"HEAD"))
        self._take = self._outcome = None
        self._parts = []

    @property
    def small(self) -> bool:
        """Whether nothing large is under way."""
        return self._stream is None and (self.state != BODY or length_of(self._headers) <= _RECEIVED)

    # -- one turn -------------------------------------------------------------------------------
    def turn(self) -> int:
        """Go on as far as it can be gone; what to wait for then, 0 for nothing. The caller holds `lock`."""
        try:
            self.waits_for = self._turn()
        except OSError:
            self.waits_for = self.close()
        return self.waits_for

    def _turn(self) -> int:
        if self.state == HANDSHAKE and not self._greeted():
            return self._wants
        if self.state in {WAITING, CLOSED}:
            return 0
        if self.state == DRAINING:
            return self._drained()
        while True:
            if self._out and not self._sent():
                return self._wants
            if self._stream is not None:
                if not self._filled(self._stream):
                    return 0  # whoever writes goes on with it
                continue
            if self.state == SENDING:
                if not self._after():
                    return self._drained()
                if not self._come and not self._unread():
                    return READ
            if self._come:
                if not self._answered(self._come.popleft()):
                    return 0
            elif not self._received():
                return READ if self.state in {HEAD, BODY} else 0

    def _unread(self) -> bool:
        """Whether something has come that no event will tell."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _greeted(self) -> bool:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._wants = READ
            return False
        except ssl.SSLWantWriteError:
            self._wants = WRITE
            return False
        self._expect(HEAD, HEADER_SECONDS)
        return True

    def _expect(self, state: int, seconds: float) -> None:
        self.state = state
        self.deadline = time.monotonic() + seconds

    def _received(self) -> bool:
        """Read once and parse; False when there was nothing, or the end."""
        try:
            data = self.socket.recv(_RECEIVED if self.state == HEAD else _RECEIVED_BODY)
        except _BLOCKED:
            return False
        if not data:
            self.close()
            return False
        if self.state == HEAD:
            if not self._head:
                self.deadline = time.monotonic() + HEADER_SECONDS
            self._head += len(data)
        self._parse(data)
        if self._take is not None:
            if self.state == HEAD:
                self._expect(BODY, self._take.seconds)
                if here() is not None and not self.small:
                    return False  # a loop is for what is small
        elif self._outcome is not None:
            self._queue(keep=False)  # refused, while a body is under way that nobody reads
        elif not self._come and self._head > HEAD_MOST:
            self.close()
            return False
        return True

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # nothing else is spoken here: it is answered as it is, and that is the end
            self._come = deque(one._replace(keep=False) for one in self._come)
        except httptools.HttpParserError:
            self._drop()
            self._come.append(_Come(_BAD, b"", keep=False, head_only=False))

    def _answered(self, come: _Come) -> bool:
        """Have one request answered; False when the answer comes later."""
        self._head = 0
        self._keep = come.keep
        outcome: Answered
        if isinstance(come.outcome, Take):
            try:
                outcome = come.outcome.then(come.body)
            except Exception as error:  # noqa: BLE001  an application does not raise: its place is told to the operator
                defect(error)
                outcome = _DEFECT
            finally:
                come.outcome.ended()
        else:
            outcome = come.outcome
        if isinstance(outcome, Reply):
            self._reply(outcome, head_only=come.head_only)
            return True
        self._expect(WAITING, float("inf"))
        waited = outcome
        # whoever holds the lock lets it go first: the callback may run in this very thread
        threading.Thread(target=self._later, args=(waited, come.head_only), daemon=True).start()
        return False

    def _later(self, waited: Future[Reply], head_only: bool) -> None:
        try:
            reply = waited.result()
        except Exception as error:  # noqa: BLE001  see above
            defect(error)
            reply = _DEFECT
        with self.lock:
            if self.state != WAITING:
                if reply.stream is not None:
                    reply.stream.closed()
                return
            try:
                self._reply(reply, head_only=head_only)
            except OSError:
                self.close()
        self.rearm(self)

    # -- replies --------------------------------------------------------------------------------
    def _reply(self, reply: Reply, *, head_only: bool = False) -> None:
        self._keep = self._keep and not reply.close
        head, body = head_of(reply, keep=self._keep), b"" if head_only else reply.body
        if len(body) <= _TOGETHER:
            self._out.append(memoryview(head + body))
        else:
            self._out.extend((memoryview(head), memoryview(body)))
        if not head_only:
            self._out.extend(memoryview(part) for part in reply.parts if len(part))  # nothing is no TLS record
        self._expect(SENDING, SEND_SECONDS)
        if reply.stream is not None and head_only:
            reply.stream.closed()
        elif reply.stream is not None:
            self._stream = reply.stream
            self._expect(STREAMING, self._pace.begin())
            reply.stream.opened(lambda: self.rearm(self))

    def _filled(self, stream: Stream) -> bool:
        """Take what of a stream is to be sent next; False where there is nothing yet, or it was cut."""
        piece = stream.take()
        if piece is None:
            self._stream = None
            if not stream.whole:
                self.close()
                return False
            self._expect(SENDING, SEND_SECONDS)
        elif not piece:
            self.deadline = float("inf")
            return False
        else:
            self._out.append(memoryview(piece))
            if self.deadline == float("inf"):
                self._expect(STREAMING, self._pace.begin())
        return True

    def _sent(self) -> bool:
        """Send what is to be sent; False when the other side does not take it yet."""
        while self._out:
            data = self._out[0]
            try:
                count = self.socket.send(data)
            except ssl.SSLWantReadError:
                self._wants = READ
                return False
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wants = WRITE
                return False
            if self._stream is not None and self._pace.took(count):
                self._expect(STREAMING, self._pace.begin())
            if count == len(data):
                self._out.popleft()
            else:
                self._out[0] = data[count:]
        return True

    def _after(self) -> bool:
        """A reply was sent whole: whether another request is waited for."""
        if self._keep:
            if self._take is None:
                self._expect(HEAD, IDLE_SECONDS)
            else:
                self._expect(BODY, self._take.seconds)
            return True
        self._drop()
        self._expect(DRAINING, DRAIN_SECONDS)
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return False

    def _drained(self) -> int:
        """Let go what still comes."""
        while self._head < DRAIN_MOST:
            try:
                data = self.socket.recv(_RECEIVED)
            except _BLOCKED:
                return READ
            if not data:
                break
            self._head += len(data)
        return self.close()

    # -- ends -----------------------------------------------------------------------------------
    def expire(self) -> int:
        """Its time is over; what to wait for, 0 for nothing. The caller holds `lock`."""
        if self.state != BODY or self._take is None:
            return self.close()
        reply = self._take.late()
        self._drop()
        self._keep = False
        self._reply(reply)
        return self.turn()

    def _drop(self) -> None:
        """Nothing becomes of what has come so far."""
        takes = [one.outcome for one in self._come if isinstance(one.outcome, Take)]
        if self._take is not None:
            takes.append(self._take)
        self._take = self._outcome = None
        self._parts = []
        self._come.clear()
        for take in takes:
            take.ended()

    def close(self) -> int:
        """End it; always 0."""
        if self.state != CLOSED:
            self.state = CLOSED
            self._drop()
            self._out.clear()
            if self._stream is not None:
                self._stream.closed()
                self._stream = None
            with suppress(OSError):
                self.socket.close()
        return 0
