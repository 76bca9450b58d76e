"""A keymaster's server: open or sealed, with a door for those who sign in.

Rules it keeps:

1. Sealed, it gives everybody the same answer, and reads nothing of what they ask.
2. Each opening answers as another process would: what was signed before is not answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.identity.signing import Signed
from strongroom.keyserver.calls import Trouble
from strongroom.keyserver.frames import pack
from strongroom.keyserver.listen import App, request_of, send_reply
from strongroom.keyserver.newcomers import Newcomers
from strongroom.keyserver.reply import Reply
from strongroom.keyserver.service import Service
from strongroom.listener import Listen, Listener, Receive, Scope, Send, length_of, read_sized, too_large
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster

SEAL_SECONDS = 30.0
SEALED = Reply(
    503,
    pack(Trouble("UnavailableError", "the keymaster is sealed", "whoever runs it opens it")),
    headers=((b"connection", b"close"),),  # a body may be under way that nobody will read
)
"""What a sealed server says."""


class _Open(App):
    """Answers for one keymaster."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._newcomers = service.newcomers

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        if self._newcomers.owns(scope["path"]):
            return Reply(200, await _sign_in(self._newcomers, scope, receive))
        return await super()._answer(scope, receive)

    def close(self) -> None:
        """See `App.close`; what was refused is noted."""
        super().close()
        self._newcomers.close()


async def _sign_in(newcomers: Newcomers, scope: Scope, receive: Receive) -> bytes:
    method, path, headers, address = request_of(scope)

    async def read(signed: Signed, most: int, seconds: float) -> bytes:
        size = length_of(headers)
        if not 0 <= size <= most:
            raise too_large(most)
        body = await read_sized(size, receive, seconds)
        signed.check_body(body)
        return body

    return await newcomers.answer(method, path, headers, address, read)


class _Door:
    """Hands each request to the application of the keymaster that is open then, or says that it is sealed."""

    def __init__(self) -> None:
        self.inner: _Open | None = None
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        inner = self.inner
        if inner is None:
            await send_reply(SEALED, send)
            return
        self.under_way += 1
        try:
            await inner(scope, receive, send)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """See `App.close`."""
        if self.inner is not None:
            self.inner.close()
            self.inner = None


class Server(Listener):
    """A keymaster's server.

    Args:
        keymaster: Open, in this process; its opener closes it. None for a server that starts sealed.
        listen: Where.
        clock: Seconds since 1970.
    """

    def __init__(
        self, keymaster: EmbeddedKeymaster | None, listen: Listen, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._door = _Door()
        super().__init__(self._door, listen)
        if keymaster is not None:
            self.serve(keymaster)

    def serve(self, keymaster: EmbeddedKeymaster) -> None:
        """Answer for a keymaster from now on."""
        self._door.inner = _Open(Service(keymaster, self._clock, random_bytes(8).hex()))

    def seal(self) -> None:
        """Answer nobody from now on; returns when the calls under way have ended, or after SEAL_SECONDS."""
        inner, self._door.inner = self._door.inner, None
        end = time.monotonic() + SEAL_SECONDS
        while self._door.under_way and time.monotonic() < end:
            time.sleep(0.01)
        if inner is not None:
            inner.close()
