"""Calls of a server that come together go in one request: one signature, one answer, one commit for all of them.

A server answers many callers at once, and each needs the keymaster three times. What comes while a request is under
way waits, and goes along in the next.

Rules it keeps:

1. Nothing waits while no request is under way: a call alone is sent alone. A second request goes beside the first when
   COMPANY calls wait. Behind requests that take long nobody waits for longer than PATIENCE_SECONDS, as long as less
   than UNDER_WAY_MOST are under way.
2. A call is answered as if it had been sent by itself: its error is its caller's, and nobody else's.
3. Only a server's credential sends calls together, only those in GO_TOGETHER, each small: none of them takes long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, InputError, IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.holder import SERVER_ONLY
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.turns import aside

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import CredentialState

TOGETHER = "together"
GO_TOGETHER = frozenset({"served.read", "served.release", "release", "end_reading", "open_hits"})
CALLS_MOST = 64
CALL_BYTES_MOST = 1 << 15
UNDER_WAY_MOST = 4
PATIENCE_SECONDS = 0.05
COMPANY = 8

_read_calls = Unpacker(list[tuple[str, bytes]])
_read_replies = Unpacker(list[tuple[int, bytes]])

Answer = tuple[int, bytes]
"""Status and body."""


def read_together(credential: CredentialState, body: bytes) -> list[tuple[str, bytes]]:
    """The calls in a body: names and what each says.

    Raises:
        DeniedError: The credential is no server's.
        InputError: They are no calls that go together, too large, or too many.
    """
    if not credential.server:
        raise DeniedError("calls are sent together by a server only", rule=SERVER_ONLY)
    calls: list[tuple[str, bytes]] = _read_calls(body)
    if len(calls) > CALLS_MOST or not all(name in GO_TOGETHER and len(said) <= CALL_BYTES_MOST for name, said in calls):
        raise InputError("the message is not what this call takes")
    return calls


class _Call:
    """One call; `wake` is held until its caller may go on, and `leads` says whether the lead is theirs."""

    __slots__ = ("answer", "body", "error", "leads", "name", "wake")

    def __init__(self, name: str, body: bytes) -> None:
        self.name = name
        self.body = body
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()


class Together:
    """Sends calls, those together that come together.

    Args:
        send: Sends one request, the name of a call and its body; status and body of the answer.
    """

    def __init__(self, send: Callable[[str, bytes], Answer]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._under_way = 0

    def ask(self, name: str, body: bytes) -> Answer:
        """Send one call, alone or with others; status and body of its answer, or what sending raised."""
        own = _Call(name, body)
        with self._lock:
            if not self._under_way or (self._under_way == 1 and len(self._waiting) + 1 >= COMPANY):
                self._under_way += 1
                own.leads = True
            else:
                self._waiting.append(own)
        try:
            if not own.leads:
                with aside():
                    while not own.wake.acquire(timeout=PATIENCE_SECONDS) and not self._goes_past(own):
                        pass
            if own.leads:
                self._go(own)
        except BaseException:
            self._leave(own)
            raise
        if own.error is not None:
            raise own.error
        assert own.answer is not None
        return own.answer

    def _goes_past(self, own: _Call) -> bool:
        """Whether a call that has waited long is sent beside what is under way."""
        with self._lock:
            if own in self._waiting and self._under_way < UNDER_WAY_MOST:
                self._waiting.remove(own)
                self._under_way += 1
                own.leads = True
            return own.leads

    def _go(self, own: _Call) -> None:
        """Send a call, and whatever came meanwhile; let everybody go on whose call was among them."""
        with self._lock:
            calls = [own, *self._waiting[: CALLS_MOST - 1]]
            self._waiting = self._waiting[CALLS_MOST - 1 :]
        told: BaseException = UnavailableError("a call failed")
        try:
            for one, answer in zip(calls, self._sent(calls), strict=True):
                one.answer = answer
        except StrongroomError as error:
            told = error
        finally:
            self._end(calls, told)

    def _end(self, calls: list[_Call], told: BaseException) -> None:
        """Calls are answered, or failed: their callers go on, and the lead goes to the first who waits."""
        for one in calls:
            if one.answer is None:
                one.error = told
            if one is not calls[0]:  # whose caller is here
                one.wake.release()
        with self._lock:
            if self._waiting and self._under_way == 1:
                first = self._waiting.pop(0)
                first.leads = True
                first.wake.release()
            else:
                self._under_way -= 1

    def _leave(self, own: _Call) -> None:
        """Take an interrupted caller out; a lead that it was given goes to the next."""
        with self._lock:
            if own in self._waiting:
                self._waiting.remove(own)
                return
        if own.leads and own.answer is None and own.error is None:
            self._end([own], UnavailableError("a call failed"))

    def _sent(self, calls: list[_Call]) -> list[Answer]:
        if len(calls) == 1:
            return [self._send(calls[0].name, calls[0].body)]
        status, data = self._send(TOGETHER, pack([(one.name, one.body) for one in calls]))
        if status != 200:
            return [(status, data)] * len(calls)
        try:
            answers: list[Answer] = _read_replies(data)
        except InputError:
            answers = []
        if len(answers) != len(calls):
            raise IntegrityError("the keymaster's answer is not one to these calls")
        return answers
