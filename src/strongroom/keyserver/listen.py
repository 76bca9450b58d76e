"""The listener of whoever answers signed requests: signatures before bodies, and one thread for each answer.

Rules it keeps, besides those of `listener`:

1. A body larger than SMALL_BODY is read after its signature was verified, up to what its call may have. (A small one
   fits the buffer that a connection has anyway.)
2. No access log: the read log says who asked what.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from strongroom.errors import StrongroomError, UnavailableError, UsageError
from strongroom.identity.signing import Signed
from strongroom.keyserver.callers import unknown
from strongroom.keyserver.reply import Reply
from strongroom.listener import (
    BODY_SECONDS,
    HEADER_SECONDS,
    Listen,
    Listener,
    Receive,
    Scope,
    Send,
    length_of,
    parse_listen,
    read_sized,
    too_large,
)

__all__ = ["LISTEN_DEFAULT", "App", "Listen", "Listener", "parse_listen"]

THREADS = 32
LISTEN_DEFAULT = "127.0.0.1:8446"
SMALL_BODY = 1 << 15
BODIES_MOST = 512 << 20
"""So many bytes of large bodies are held at once, of all callers together."""
M_ARENA_MAX = -8
T = TypeVar("T")


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


async def send_reply(reply: Reply, send: Send) -> None:
    """Send an answer whole."""
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


class App:
    """The ASGI application of one listener."""

    def __init__(self, answers: Answers, threads: int = THREADS) -> None:
        self._service = answers
        self._pool = _Pool(threads)
        self._held = 0

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
        await send_reply(reply, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        method, path, headers, address = request_of(scope)
        service, size = self._service, length_of(headers)
        if 0 <= size <= SMALL_BODY:
            try:
                small = await read_sized(size, receive, HEADER_SECONDS)
            except UsageError:
                raise unknown() from None
            return await self._pool.run(lambda: self._whole(method, path, headers, address, small))
        who, signed = await self._pool.run(lambda: service.check(method, path, headers, address))
        most = service.most(path)
        if not 0 <= size <= most:
            raise too_large(most)
        if self._held + size > BODIES_MOST:
            raise UnavailableError("too many large requests at once", hint="send it again in a moment")
        self._held += size
        try:
            body = await read_sized(size, receive, BODY_SECONDS)
            return await self._pool.run(lambda: self._checked(who, path, body, signed))
        finally:
            self._held -= size

    def _whole(self, method: str, path: str, headers: Mapping[str, str], address: str, body: bytes) -> Reply:
        who, signed = self._service.check(method, path, headers, address)
        if len(body) > self._service.most(path):
            raise too_large(self._service.most(path))
        return self._checked(who, path, body, signed)

    def _checked(self, who: Any, path: str, body: bytes, signed: Signed) -> Reply:
        signed.check_body(body)
        return self._service.answer(who, path, body)


def request_of(scope: Scope) -> tuple[str, str, dict[str, str], str]:
    """Method, path, headers by their names in lower case, and the address that a request comes from.

    Raises:
        DeniedError: It has a query, or a header twice: nobody signs such a request.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if scope.get("query_string") or len(headers) != len(scope["headers"]):
        raise unknown()
    return scope["method"], scope["path"], headers, scope["client"][0] if scope.get("client") else "127.0.0.1"


def _share_memory() -> None:
    """Have the C library keep freed memory in two places, not in one for each thread: that would be 60 MB each."""
    with suppress(OSError, AttributeError):  # a C library without this call does not need it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


class _Pool:
    """Threads that answer: one hand-over to a thread and one back, and nothing in between."""

    def __init__(self, threads: int) -> None:
        _share_memory()
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
            job = None  # a body of many megabytes goes now, not when this thread has another

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
