"""One thread in which many small works go on beside each other: whoever waits lets the others go on meanwhile.

Threads that answer one small request each take the interpreter's lock from one another, and the system wakes one
whenever an answer comes: of a look-up over HTTP that was a quarter of a server's time. Here each work is a greenlet.

Rules it keeps:

1. What is done in a loop neither waits nor takes long. What does goes `elsewhere`: to one of some threads, and its work
   goes on when it is done. What those threads may wait for themselves, such as an answer that a work brings, goes
   `apart`: to a thread of its own.
2. No lock is held while a work waits: another work of the same thread could want it.
3. A loop that is told to end goes on until its works are done.
4. What a work knew goes with it when it ends: nothing here keeps it while it waits for the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent, greenlet

from strongroom.errors import UnavailableError

T = TypeVar("T")

AT_ONCE = 64
"""So many files that are ready are looked at before whoever can go on does."""
TICK_SECONDS = 1.0


class Events(Protocol):
    """Which files are ready."""

    def watch(self, fd: int) -> None:
        """Tell once when a file can be read."""

    def wait_for(self, seconds: float, most: int) -> list[int]:
        """Up to so many files that are ready; none when it was stirred, or after some seconds."""

    def stir(self) -> None:
        """Wake whoever waits, once; from any thread."""


class Loop:
    """Works that go on beside each other in the thread that calls `run`.

    Args:
        events: Which files are ready.
        submit: Has something done in another thread.
    """

    def __init__(self, events: Events, submit: Callable[[Callable[[], None]], None]) -> None:
        self._events = events
        self._submit = submit
        self._hub: Any = None
        self._ready: deque[greenlet] = deque()
        self._resumed: deque[greenlet] = deque()
        self._reading: dict[int, tuple[greenlet, float]] = {}
        self._works = 0
        self._asleep = False
        self._looked = 0.0
        self.idle: list[Callable[[], float]] = []
        """Called when no work can go on; each says within how many seconds it is to be called again."""

    def run(self, on_event: Callable[[int], None], ended: Callable[[], bool]) -> None:
        """Go on until it is told to end and every work has.

        Args:
            on_event: Called with a file that no work waits for; it neither waits nor raises.
            ended: Whether it is told to end.
        """
        self._hub = getcurrent()
        _OWN.loop = self
        try:
            while self._works or not ended():
                self._go_on()
                for fd in self._wait():
                    if fd in self._reading:
                        self._ready.append(self._reading.pop(fd)[0])
                    else:
                        on_event(fd)
                self._give_up_late()
        finally:
            _OWN.loop = self._hub = None  # it is of this thread, and must not outlive it

    def _go_on(self) -> None:
        while self._ready or self._resumed:
            while self._resumed:
                self._ready.append(self._resumed.popleft())
            self._ready.popleft().switch()

    def _wait(self) -> list[int]:
        self._asleep = True  # from here on whoever brings something stirs
        try:
            seconds = min([TICK_SECONDS, *(hook() for hook in self.idle)])
            return self._events.wait_for(0.0 if self._ready or self._resumed else seconds, AT_ONCE)
        finally:
            self._asleep = False

    def _give_up_late(self) -> None:
        now = time.monotonic()
        if now - self._looked < TICK_SECONDS:
            return
        self._looked = now
        for fd, (work, until) in list(self._reading.items()):
            if until < now:
                del self._reading[fd]
                self._ready.append(work)

    # -- for works ------------------------------------------------------------------------------
    def spawn(self, work: Callable[[], None]) -> None:
        """Have a work done; it does not raise. To be called in the loop's thread, while it runs."""
        self._works += 1
        self._ready.append(greenlet(partial(self._whole, work), self._hub))

    def _whole(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._works -= 1

    def pause(self) -> None:
        """Let the others go on until `resume` is called for this work."""
        self._hub.switch()

    def readable(self, fd: int, seconds: float) -> bool:
        """Let the others go on until a file can be read; False if it cannot within some seconds."""
        until = time.monotonic() + seconds
        self._reading[fd] = (getcurrent(), until)
        self._events.watch(fd)
        self._hub.switch()
        return time.monotonic() < until

    def elsewhere(self, call: Callable[[], T]) -> T:
        """What a call gives, or raises, that is made in another thread."""
        return self._made_by(self._submit, call)

    def apart(self, call: Callable[[], T]) -> T:
        """The same, in a thread of its own: for what threads that do `elsewhere` may be waiting for."""
        return self._made_by(_in_own_thread, call)

    def _made_by(self, submit: Callable[[Callable[[], None]], None], call: Callable[[], T]) -> T:
        own, given, raised = getcurrent(), list[T](), list[BaseException]()

        def make() -> None:
            try:
                given.append(call())
            except BaseException as error:  # noqa: BLE001  it is the work's to raise
                raised.append(error)
            self.resume(own)

        submit(make)
        self._hub.switch()
        if raised:
            raise raised.pop()
        return given.pop()

    @property
    def works(self) -> int:
        """How many works there are."""
        return self._works

    # -- from any thread ------------------------------------------------------------------------
    def resume(self, work: greenlet) -> None:
        """Let a work go on that paused."""
        self._resumed.append(work)
        self.stir()

    def stir(self) -> None:
        """Have `idle` called soon."""
        if self._asleep:
            self._events.stir()


def _in_own_thread(call: Callable[[], None]) -> None:
    try:
        threading.Thread(target=call, name="strongroom-apart", daemon=True).start()
    except RuntimeError:  # the system gives no more threads
        raise UnavailableError("too much at once", hint="send it again in a moment") from None


class _Own(threading.local):
    loop: Loop | None = None


_OWN = _Own()


def here() -> Loop | None:
    """The loop in which this is called, if any."""
    return _OWN.loop


def work_here() -> greenlet:
    """The work that calls this."""
    return getcurrent()


def elsewhere(call: Callable[[], T]) -> T:
    """What a call gives that may wait or take long: from a loop it is made in another thread."""
    loop = _OWN.loop
    return call() if loop is None else loop.elsewhere(call)


def apart(call: Callable[[], T]) -> T:
    """What a call gives that may wait; from a loop it is made in a thread of its own (see `Loop.apart`)."""
    loop = _OWN.loop
    return call() if loop is None else loop.apart(call)
