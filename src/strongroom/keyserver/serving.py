"""A keymaster's server: open or sealed, with a door for those who sign in.

Rules it keeps:

1. Sealed, it gives everybody the same answer, and reads nothing of what they ask.
2. Each opening answers as another process would: what was signed before is not answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.keyserver.calls import Trouble
from strongroom.keyserver.frames import pack
from strongroom.keyserver.listen import App
from strongroom.keyserver.service import Service
from strongroom.listener.message import Answered, Reply, Request, Take
from strongroom.listener.server import Listener
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.listener.address import Listen

SEAL_SECONDS = 30.0
SEALED = Reply(
    503, pack(Trouble("UnavailableError", "the keymaster is sealed", "whoever runs it opens it")), close=True
)
"""What a sealed server says."""


class _Open(App):
    """Answers for one keymaster."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._newcomers = service.newcomers

    def begin(self, request: Request) -> Take | Answered:
        """See `Application.begin`."""
        if self._newcomers.owns(request.path):
            return self._newcomers.begin(request)
        return super().begin(request)

    def close(self) -> None:
        """See `App.close`; what was refused is noted."""
        super().close()
        self._newcomers.close()


class _Door:
    """Hands each request to the application of the keymaster that is open then, or says that it is sealed."""

    def __init__(self) -> None:
        self.inner: _Open | None = None
        self.under_way = 0
        self._lock = threading.Lock()

    def begin(self, request: Request) -> Take | Answered:
        """See `Application.begin`."""
        with self._lock:
            inner = self.inner
            if inner is None:
                return SEALED
            self.under_way += 1
        outcome: Take | Answered | None = None
        try:
            outcome = inner.begin(request)
        finally:
            if not isinstance(outcome, Take):
                self._ended()
        return outcome._replace(ended=self._after(outcome.ended)) if isinstance(outcome, Take) else outcome

    def _after(self, ended: Callable[[], None]) -> Callable[[], None]:
        def both() -> None:
            ended()
            self._ended()

        return both

    def _ended(self) -> None:
        with self._lock:
            self.under_way -= 1

    def closed(self) -> _Open | None:
        """Hand nobody on from now on; who was behind it."""
        with self._lock:
            inner, self.inner = self.inner, None
        return inner

    def close(self) -> None:
        """See `App.close`."""
        inner = self.closed()
        if inner is not None:
            inner.close()


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
        inner = self._door.closed()
        end = time.monotonic() + SEAL_SECONDS
        while self._door.under_way and time.monotonic() < end:
            time.sleep(0.01)
        if inner is not None:
            inner.close()
