"""The listener: TLS, limits on what a connection may hold, and one thread for each call that is being answered.

Rules it keeps:

1. Loopback is the default. Elsewhere it listens with a certificate only, TLS 1.3.
2. A connection that has not sent its request's headers within HEADER_SECONDS is closed, and so is one that stays idle.
   A body larger than SMALL_BODY is read after its signature was verified; any up to what its call may have, and
   within BODY_SECONDS. (A small one fits the buffer that a connection has anyway.)
3. No access log: the read log says who asked what.
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
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from strongroom.errors import InputError, IntegrityError, StrongroomError, UnavailableError, UsageError
from strongroom.identity.signing import Signed
from strongroom.keyserver.callers import unknown
from strongroom.keyserver.reply import Reply
from strongroom.keyserver.service import Service
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster

HEADER_SECONDS = 10.0
IDLE_SECONDS = 75
BODY_SECONDS = 120.0
THREADS = 32
BACKLOG = 4096
LISTEN_DEFAULT = "127.0.0.1:8446"
FILES_MOST = 65_536
SMALL_BODY = 1 << 15
T = TypeVar("T")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


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


class Answers(Protocol):
    """Who answers what is asked of a listener; the calls may come from several threads."""

    def check(self, method: str, path: str, headers: Mapping[str, str], address: str) -> tuple[Any, Signed]:
        """Who asks, by the signature alone; DeniedError for nobody known."""

    def most(self, path: str) -> int:
        """The most bytes that the body of a request to a path may have."""

    def answer(self, who: Any, path: str, body: bytes) -> Reply:
        """The answer to what was signed."""

    def refuse(self, error: StrongroomError) -> Reply:
        """What is said of an error."""


class App:
    """The ASGI application of one listener."""

    def __init__(self, answers: Answers, threads: int = THREADS) -> None:
        self._service = answers
        self._pool = _Pool(threads)

    def close(self) -> None:
        """Let the calls end that are being answered."""
        self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._answer(scope, receive)
        except StrongroomError as error:
            reply = self._service.refuse(error)
        headers = [
            (b"content-type", reply.media),
            (b"content-length", str(len(reply.body)).encode()),
            (b"cache-control", b"no-store"),
            *reply.headers,
        ]
        if reply.status in {401, 413}:
            headers.append((b"connection", b"close"))  # a body may be under way that nobody will read
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        path: str = scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope.get("query_string") or len(headers) != len(scope["headers"]):
            raise unknown()
        address = scope["client"][0] if scope.get("client") else "127.0.0.1"
        service, method = self._service, scope["method"]
        length = headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else -1
        if 0 <= size <= SMALL_BODY:
            small = await _read(size, receive, HEADER_SECONDS)
            return await self._pool.run(lambda: self._whole(method, path, headers, address, small))
        who, signed = await self._pool.run(lambda: service.check(method, path, headers, address))
        most = service.most(path)
        if not 0 <= size <= most:
            raise UsageError(f"a request has a length, of at most {most:,} bytes here")
        body = await _read(size, receive, BODY_SECONDS)
        return await self._pool.run(lambda: self._checked(who, path, body, signed))

    def _whole(self, method: str, path: str, headers: Mapping[str, str], address: str, body: bytes) -> Reply:
        who, signed = self._service.check(method, path, headers, address)
        if len(body) > self._service.most(path):
            raise UsageError(f"a request has a length, of at most {self._service.most(path):,} bytes here")
        return self._checked(who, path, body, signed)

    def _checked(self, who: Any, path: str, body: bytes, signed: Signed) -> Reply:
        try:
            signed.check_body(body)
        except IntegrityError as error:
            raise InputError(str(error)) from None
        return self._service.answer(who, path, body)


class _Pool:
    """Threads that answer: one hand-over to a thread and one back, and nothing in between."""

    def __init__(self, threads: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"strongroom-answer-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def run(self, work: Callable[[], T]) -> T:
        """What a thread makes of it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                found = work()
            except BaseException as error:  # noqa: BLE001  whatever it is, it is raised where it is waited for
                with suppress(RuntimeError):  # the loop has ended, and so has whoever waited
                    loop.call_soon_threadsafe(_fail, done, error)
            else:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_fill, done, found)

        self._jobs.put(job)
        return await done

    def close(self) -> None:
        """Let what is under way end."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


def _fill(done: asyncio.Future[T], found: T) -> None:
    if not done.done():
        done.set_result(found)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


async def _read(size: int, receive: Receive, seconds: float) -> bytes:
    """A body of so many bytes, if it comes in time."""
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
        self._first = self.loop.call_later(HEADER_SECONDS, self._close_silent)

    def on_headers_complete(self) -> None:
        self._first.cancel()
        super().on_headers_complete()

    def connection_lost(self, error: Exception | None) -> None:
        self._first.cancel()
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


class Listener:
    """Listens for requests; `run` serves until it is told to stop.

    Args:
        answers: Who answers.
        listen: Where.
    """

    def __init__(self, answers: Answers, listen: Listen) -> None:
        self._app = App(answers)
        config = uvicorn.Config(
            self._app,
            ssl_certfile=None if listen.certificate is None else str(listen.certificate),
            ssl_keyfile=None if listen.key is None else str(listen.key),
            http=_Protocol,
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


class Server(Listener):
    """A keymaster's server.

    Args:
        keymaster: Open, in this process; its opener closes it.
        listen: Where.
        clock: Seconds since 1970.
    """

    def __init__(self, keymaster: EmbeddedKeymaster, listen: Listen, clock: Callable[[], float] = time.time) -> None:
        super().__init__(Service(keymaster, clock, random_bytes(8).hex()), listen)
