"""Calls of a server that come together go in one request: one signature, one answer, one commit for all of them.

A server answers many callers at once, and each needs the keymaster two or three times. What comes while a request is
under way waits, and goes along in the next.

Rules it keeps:

1. Nothing waits while no request is under way: a call alone is sent alone. Of callers in one loop those go together who
   came before nobody could go on. A second request goes beside the first when COMPANY calls wait, in a loop
   COMPANY_LOOPED. Behind requests that take long nobody waits for longer than PATIENCE_SECONDS, as long as less than
   UNDER_WAY_MOST are under way.
2. A call is answered as if it had been sent by itself: its error is its caller's, and nobody else's.
3. Only a server's credential sends calls together, only those in GO_TOGETHER, each small: none of them takes long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, InputError, IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.holder import SERVER_ONLY
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.listener.defect import defect
from strongroom.loop import TICK_SECONDS, Loop, here, work_here
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
COMPANY_LOOPED = 4
"""In a loop a request costs its callers less: none of them has to be woken."""

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
    """One call: of a work of a loop, or of a thread, which waits for `wake`, and has the lead if `leads`."""

    __slots__ = ("answer", "body", "error", "leads", "loop", "name", "since", "wake", "work")

    def __init__(self, name: str, body: bytes, loop: Loop | None = None) -> None:
        self.name = name
        self.body = body
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.since = time.monotonic()
        self.loop = loop
        if loop is not None:
            self.work = work_here()
        else:
            self.wake = threading.Lock()
            self.wake.acquire()

    def given(self) -> Answer:
        """Its answer, or what sending raised."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


class Together:
    """Sends calls, those together that come together.

    Of callers in threads one sends for all who wait, and hands that on; for those in a loop the loop has it done when
    none of them can go on.

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
        loop = here()
        if loop is not None:
            return self._ask_looped(loop, name, body)
        own = _Call(name, body)
        with self._lock:
            if self._may_go(len(self._waiting) + 1, COMPANY):
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
        return own.given()

    def _may_go(self, waiting: int, company: int) -> bool:
        return not self._under_way or (self._under_way == 1 and waiting >= company)

    # -- in a loop ------------------------------------------------------------------------------
    def _ask_looped(self, loop: Loop, name: str, body: bytes) -> Answer:
        own = _Call(name, body, loop)
        if self._think not in loop.idle:
            loop.idle.append(self._think)
        with self._lock:
            self._waiting.append(own)
        loop.pause()
        return own.given()

    def _think(self) -> float:
        """Send what waits, if it may go; in how many seconds to think again."""
        with self._lock:
            if not self._waiting:
                return TICK_SECONDS
            late = self._waiting[0].since + PATIENCE_SECONDS - time.monotonic()
            goes = self._may_go(len(self._waiting), COMPANY_LOOPED) or (late <= 0 and self._under_way < UNDER_WAY_MOST)
            if not goes:
                return max(late, PATIENCE_SECONDS / 10)
            self._under_way += 1
            calls = self._taken(CALLS_MOST)
        loop = here()
        assert loop is not None
        loop.spawn(lambda: self._go_looped(calls))
        return TICK_SECONDS

    def _go_looped(self, calls: list[_Call]) -> None:
        try:
            self._go_for(calls)
        except Exception as error:  # noqa: BLE001  whoever asked is told that it failed, and a loop goes on
            defect(error)

    # -- threads --------------------------------------------------------------------------------
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
            calls = [own, *self._taken(CALLS_MOST - 1)]
        self._go_for(calls)

    def _leave(self, own: _Call) -> None:
        """Take an interrupted caller out; a lead that it was given goes to the next."""
        with self._lock:
            if own in self._waiting:
                self._waiting.remove(own)
                return
        if own.leads and own.answer is None and own.error is None:
            self._end([own], UnavailableError("a call failed"))

    # -- either ---------------------------------------------------------------------------------
    def _taken(self, most: int) -> list[_Call]:
        """The calls that have waited longest, which wait no more; the caller holds the lock."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

    def _go_for(self, calls: list[_Call]) -> None:
        told: BaseException = UnavailableError("a call failed")
        try:
            for one, answer in zip(calls, self._sent(calls), strict=True):
                one.answer = answer
        except StrongroomError as error:
            told = error
        finally:
            self._end(calls, told)

    def _end(self, calls: list[_Call], told: BaseException) -> None:
        """Calls are answered, or failed: their callers go on, and the lead goes to the first thread that waits."""
        for one in calls:
            if one.answer is None:
                one.error = told
            if one.loop is not None:
                one.loop.resume(one.work)
            elif not one.leads:  # whose caller is here
                one.wake.release()
        with self._lock:
            waits = next((one for one in self._waiting if one.loop is None), None)
            if waits is not None and self._under_way == 1:
                self._waiting.remove(waits)
                waits.leads = True
                waits.wake.release()
                return
            self._under_way -= 1
            loops = {one.loop for one in self._waiting if one.loop is not None}
        for loop in loops:
            loop.stir()

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
