"""The listener of every server here: TLS, limits on what a connection may hold, an end on a signal.

Rules it keeps:

1. Loopback is the default. Elsewhere it listens with a certificate only, TLS 1.3.
2. A connection that has not sent its request's headers within HEADER_SECONDS is closed, and so is one that stays idle.
   A body is read up to what its server allows, and within BODY_SECONDS.
3. No access log.

Who may ask, and what is answered, is its application's to decide.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from strongroom.errors import UnavailableError, UsageError

HEADER_SECONDS = 10.0
HEAD_MOST = 1 << 16
IDLE_SECONDS = 75
BODY_SECONDS = 120.0
FILES_MOST = 65_536
BACKLOG = 4096
_EXPIRED, _NOT_YET = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(Protocol):
    """What answers requests (ASGI)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

    def close(self) -> None:
        """Let the requests end that are being answered."""


@dataclass(frozen=True)
class Listen:
    """Where to listen, and with which certificate and key (PEM files); None for plain http on loopback."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


def parse_listen(text: str, certificate: Path | None = None, key: Path | None = None) -> Listen:
    """`address:port`, or `[address]:port`.

    Raises:
        UsageError: It is none; or it is not loopback, and there is no certificate.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
        number = int(port)
        if not 0 <= number < 65_536:
            raise ValueError
    except ValueError:
        raise UsageError("listen on an address and a port, as 127.0.0.1:8446 or [::1]:8446") from None
    if (certificate is None) != (key is None):
        raise UsageError("a certificate and its key go together")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise UsageError(f"there is no file {path}")
    if certificate is None and not address.is_loopback:
        raise UsageError("without a certificate only loopback is listened on", hint="--certificate FILE and --key FILE")
    return Listen(host, number, certificate, key)


async def read_body(headers: Mapping[str, str], receive: Receive, most: int) -> bytes:
    """The body of a request.

    Args:
        headers: Of the request.
        receive: Gives its parts.
        most: Bytes it may have.

    Raises:
        UsageError: It says no length, is longer than it may be or than it said, or does not come in time.
    """
    size = length_of(headers)
    if not 0 <= size <= most:
        raise too_large(most)
    return await read_sized(size, receive, BODY_SECONDS)


def length_of(headers: Mapping[str, str]) -> int:
    """How long the body of a request says that it is; -1 where it does not say."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else -1


def too_large(most: int) -> UsageError:
    """The error for a body that says no length, or is longer than it may be."""
    return UsageError(f"a request has a length, of at most {most:,} bytes here")


async def read_sized(size: int, receive: Receive, seconds: float) -> bytes:
    """A body of so many bytes; UsageError when it does not come in time, or is longer than it said."""
    parts: list[bytes] = []
    left = size
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise UsageError("the caller went away")
                parts.append(message.get("body", b""))
                left -= len(parts[-1])
                if left < 0:
                    raise UsageError("the request is longer than it said")
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise UsageError("the request did not come in time") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Protocol(HttpToolsProtocol):
    """Closes a connection whose first request does not come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def _wait(self) -> None:
        """Headers are to come: so long, and so many bytes."""
        self._head = 0
        self._first: asyncio.TimerHandle | None = self.loop.call_later(HEADER_SECONDS, self._close_silent)

    def _come(self) -> None:
        if self._first is not None:
            self._first.cancel()
            self._first = None

    def data_received(self, data: bytes) -> None:
        idle = self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is not None
        if idle and self._first is None:
            self._wait()
        super().data_received(data)
        if self._first is not None:
            self._head += len(data)
            if self._head > HEAD_MOST:
                self._close_silent()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._first is None:
            self._wait()

    def on_headers_complete(self) -> None:
        self._come()
        super().on_headers_complete()

    def connection_lost(self, error: Exception | None) -> None:
        self._come()
        super().connection_lost(error)

    def _close_silent(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def _bound(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named: answers would wait 40 ms otherwise
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen.host, listen.port))
        made.listen(BACKLOG)  # from here on callers wait, and are not refused
    except OSError as error:
        made.close()
        raise UnavailableError(
            f"cannot listen on {listen.host}, port {listen.port}: {os.strerror(error.errno or 0).lower()}"
        ) from None
    return made


class _Uvicorn(uvicorn.Server):
    """Ends on a signal and returns, so that the keymaster is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def refuse_expired(server: ssl.SSLContext, certificate: Path) -> None:
    """Greet a server within this process, as a client that trusts its certificate would.

    Raises:
        UsageError: The certificate is not of this time.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it is for the callers to judge
    client.load_verify_locations(certificate)
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(sent, received, server_side=True)
    two = client.wrap_bio(received, sent)
    for _ in range(4):
        for side in (two, one):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                if error.verify_code in {_EXPIRED, _NOT_YET}:
                    when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
                    problem = f"the certificate {certificate} {when}"
                    raise UsageError(problem, hint="give the server a new one") from None
                return
            except ssl.SSLError:
                return


class Listener:
    """Serves an application; `run` goes on until it is told to stop.

    Args:
        app: Answers.
        listen: Where.
    """

    def __init__(self, app: Application, listen: Listen) -> None:
        self._app = app
        config = uvicorn.Config(
            app,
            ssl_certfile=None if listen.certificate is None else str(listen.certificate),
            ssl_keyfile=None if listen.key is None else str(listen.key),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=10,
            backlog=BACKLOG,
        )
        try:
            config.load()
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"the certificate or its key cannot be used ({type(error).__name__})") from None
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        if config.ssl is not None and listen.certificate is not None:
            refuse_expired(config.ssl, listen.certificate)
        self._server = _Uvicorn(config)
        self._socket = _bound(listen)
        self.port: int = self._socket.getsockname()[1]
        """The port that it listens on: the one it was given, or that the system chose."""

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return self._server.started

    def run(self) -> None:
        """Serve until `stop`, or a signal where this is the main thread."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        least = FILES_MOST if most == resource.RLIM_INFINITY else min(most, FILES_MOST)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._app.close()

    def stop(self) -> None:
        """Tell it to end; calls under way are answered."""
        self._server.should_exit = True
