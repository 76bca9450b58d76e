"""What a listener does for whoever answers signed requests: signatures before bodies.

Rules it keeps, besides those of `listener`:

1. A body larger than SMALL_BODY is read after its signature was verified, up to what its call may have. (A small one
   fits the buffer that a connection has anyway.)
2. No access log: the read log says who asked what.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from strongroom.errors import StrongroomError, UnavailableError, UsageError
from strongroom.identity.signing import Signed
from strongroom.keyserver.callers import unknown
from strongroom.listener.message import Answered, Reply, Request, Take, too_large

LISTEN_DEFAULT = "127.0.0.1:8446"
SMALL_BODY = 1 << 15
SMALL_SECONDS = 10.0
BODY_SECONDS = 120.0
BODIES_MOST = 512 << 20
"""So many bytes of large bodies are held at once, of all callers together."""
_ENDING = {401, 413}


class Answers(Protocol):
    """Who answers what is asked of a listener; the calls may come from several threads."""

    def check(self, method: str, path: str, headers: Mapping[str, str], address: str) -> tuple[Any, Signed]:
        """Who asks, by the signature alone; DeniedError for nobody known."""

    def most(self, path: str) -> int:
        """The most bytes that the body of a request to a path may have."""

    def answer(self, who: Any, path: str, body: bytes) -> Answered:
        """The answer to what was signed."""

    def refuse(self, error: StrongroomError) -> Reply:
        """What is said of an error."""


class App:
    """The application of one listener."""

    def __init__(self, answers: Answers) -> None:
        self._service = answers
        self._lock = threading.Lock()
        self._held = 0

    def close(self) -> None:
        """See `Application.close`."""

    def begin(self, request: Request) -> Take | Answered:
        """See `Application.begin`."""
        try:
            if request.odd:
                raise unknown()
            if 0 <= request.size <= SMALL_BODY:
                return Take(SMALL_SECONDS, lambda body: self._whole(request, body), lambda: self._refused(unknown()))
            return self._large(request)
        except StrongroomError as error:
            return self._refused(error)

    def _large(self, request: Request) -> Take:
        service, size = self._service, request.size
        who, signed = self.check(request)
        most = service.most(request.path)
        if not 0 <= size <= most:
            raise too_large(most)
        with self._lock:
            if self._held + size > BODIES_MOST:
                raise UnavailableError("too many large requests at once", hint="send it again in a moment")
            self._held += size

        def ended() -> None:
            with self._lock:
                self._held -= size

        late = UsageError("the request did not come in time")
        return Take(
            BODY_SECONDS,
            lambda body: self._checked(who, request.path, body, signed),
            lambda: self._refused(late),
            ended,
        )

    def check(self, request: Request) -> tuple[Any, Signed]:
        """Who asks; see `Answers.check`."""
        return self._service.check(request.method, request.path, request.headers, request.address)

    def _whole(self, request: Request, body: bytes) -> Answered:
        try:
            who, signed = self.check(request)
            if len(body) > self._service.most(request.path):
                raise too_large(self._service.most(request.path))
        except StrongroomError as error:
            return self._refused(error)
        return self._checked(who, request.path, body, signed)

    def _checked(self, who: Any, path: str, body: bytes, signed: Signed) -> Answered:
        try:
            signed.check_body(body)
            return self._service.answer(who, path, body)
        except StrongroomError as error:
            return self._refused(error)

    def _refused(self, error: StrongroomError) -> Reply:
        reply = self._service.refuse(error)
        return reply._replace(close=True) if reply.status in _ENDING else reply
