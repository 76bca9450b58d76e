"""The witness over HTTP: `POST /add-checkpoint` and nothing else.

There are no callers to sign in: a checkpoint that a known log signed is the credential (C2SP tlog-witness). Everything
else is answered with a status and an empty body. TLS and limits are the listener's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from strongroom.audit.submission import ADD_CHECKPOINT, BODY_BYTES_MAX
from strongroom.listener.message import Answered, Reply, Request, Take
from strongroom.listener.server import Listener
from strongroom.witness.judging import Answer, Judge

if TYPE_CHECKING:
    from strongroom.listener.address import Listen
    from strongroom.witness.folder import WitnessKey
    from strongroom.witness.state import WitnessState

THREADS = 8
BODY_SECONDS = 10.0
LISTEN_DEFAULT = "127.0.0.1:8448"


class App:
    """The application of one witness."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def close(self) -> None:
        """See `Application.close`."""

    def begin(self, request: Request) -> Take | Answered:
        """See `Application.begin`."""
        if request.path != ADD_CHECKPOINT or request.odd:
            return _reply(Answer(404))
        if request.method != "POST":
            return _reply(Answer(405))
        if not 0 <= request.size <= BODY_BYTES_MAX:
            return _reply(Answer(400))
        return Take(BODY_SECONDS, lambda body: _reply(self._judge.add(body)), lambda: _reply(Answer(400)))


def _reply(answer: Answer) -> Reply:
    return Reply(answer.status, answer.body.encode(), answer.kind.encode(), close=answer.status in {400, 404, 405})


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
        super().__init__(App(Judge(key, state, logs, clock)), listen, THREADS)
