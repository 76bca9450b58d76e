"""The witness over HTTP: `POST /add-checkpoint` and nothing else.

There are no callers to sign in: a checkpoint that a known log signed is the credential (C2SP tlog-witness). Everything
else is answered with a status and an empty body. TLS and limits are the listener's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from strongroom.audit.submission import ADD_CHECKPOINT, BODY_BYTES_MAX
from strongroom.errors import UsageError
from strongroom.listener import Listen, Listener, Receive, Scope, Send, read_body
from strongroom.witness.judging import Answer, Judge

if TYPE_CHECKING:
    from strongroom.witness.folder import WitnessKey
    from strongroom.witness.state import WitnessState

THREADS = 8
LISTEN_DEFAULT = "127.0.0.1:8448"


class App:
    """The ASGI application of one witness."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="strongroom-witness")

    def close(self) -> None:
        """Let the requests end that are being answered."""
        self._pool.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        body = answer.body.encode()
        headers = [
            (b"content-type", answer.kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if answer.status in {400, 404, 405}:
            headers.append((b"connection", b"close"))  # a body may be under way that nobody will read
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["path"] != ADD_CHECKPOINT:
            return Answer(404)
        if scope["method"] != "POST":
            return Answer(405)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await read_body(headers, receive, BODY_BYTES_MAX)
        except UsageError:
            return Answer(400)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._judge.add, body)


class WitnessServer(Listener):
    """A witness's server; `run` serves until it is told to stop.

    Args:
        key: Name and seed.
        state: What it has cosigned; its opener closes it.
        logs: Keys of the logs it knows, by their names.
        listen: Where.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        key: WitnessKey,
        state: WitnessState,
        logs: Mapping[str, tuple[bytes, ...]],
        listen: Listen,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(App(Judge(key, state, logs, clock)), listen)
