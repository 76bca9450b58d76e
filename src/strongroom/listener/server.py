"""Serves an application: threads that answer, connections, an end on a signal.

Rules it keeps:

1. Loopback is the default. Elsewhere it listens with a certificate only, TLS 1.3.
2. A connection that has not sent its request's headers within HEADER_SECONDS is closed, and so is one that stays idle,
   or does not greet. A body is read up to what its application allows, and within the time that it gives.
3. A thread is taken by a request that is there, never by one that is awaited; small ones take turns (`turns`), or go on
   beside each other in one thread (`loop`).
4. At most CONNECTIONS_MOST connections are open, those that greet among them; FILES_OWN files are left to the server.
5. No access log.

Who may ask, and what is answered, is its application's to decide.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import signal
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from strongroom.errors import UnavailableError
from strongroom.listener.address import Listen, bound
from strongroom.listener.certificate import server_context
from strongroom.listener.connection import CLOSED, WAITING, Connection
from strongroom.listener.defect import defect
from strongroom.listener.poller import READ, EpollPoller, new_poller
from strongroom.loop import Loop, here
from strongroom.turns import turn

if TYPE_CHECKING:
    from strongroom.listener.message import Application

THREADS = 32
WORKS_MOST = 1024
"""So many requests go on beside each other in a loop; whoever comes then is read later."""
FILES_MOST = 65_536
FILES_OWN = 512
"""Files that connections leave to the rest of the process: its database, its bucket, its own calls."""
CONNECTIONS_MOST = FILES_MOST - FILES_OWN
GRACE_SECONDS = 10.0
TICK_SECONDS = 0.5
ACCEPTED_AT_ONCE = 64
M_ARENA_MAX = -8
GARBAGE_LOOKED_FOR = (50_000, 20, 50)
"""After so many new objects more than gone ones; every so many times among older ones (`gc.set_threshold`)."""


class Listener:
    """Serves an application; `run` goes on until it is told to stop.

    Args:
        app: Answers.
        listen: Where.
        threads: How many requests are answered at once.
        looped: Answer in a loop, where the system has epoll: for an application that knows what is not for a loop. The
            threads do what is large, and what goes elsewhere.
    """

    def __init__(
        self, app: Application, listen: Listen, threads: int = THREADS, *, looped: bool = False
    ) -> None:
        self._app = app
        self._tls = None if listen.certificate is None else server_context(listen.certificate, listen.key)
        self._poller = new_poller()
        self._socket = bound(listen)
        self._listening = self._socket.fileno()
        self._connections: dict[int, Connection] = {}
        self._told, self._tell = socket.socketpair()
        self._tell.setblocking(False)
        self._ended = False
        self._full = False
        self._most = CONNECTIONS_MOST
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._loop: Loop | None = None
        if looped and isinstance(self._poller, EpollPoller):
            self._loop = Loop(self._poller, self._submit)
            self._loop.idle.append(self._let_in)
        self._let_later: deque[int] = deque()
        self._over = False
        work = self._work if self._loop is None else self._work_off
        self._threads = [
            threading.Thread(target=work, name=f"strongroom-answer-{number}", daemon=True) for number in range(threads)
        ]
        self._looping = threading.Thread(target=self._go_round, name="strongroom-loop", daemon=True)
        self.started = False
        """Whether it answers."""
        self.port: int = self._socket.getsockname()[1]
        """The port that it listens on: the one it was given, or that the system chose."""

    def run(self) -> None:
        """Serve until `stop`, or a signal where this is the main thread."""
        _share_memory()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        least = FILES_MOST if most == resource.RLIM_INFINITY else min(most, FILES_MOST)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
        self._most = max(1, min(CONNECTIONS_MOST, least - FILES_OWN))
        with self._signals(), _collecting_seldom():
            self._poller.add(self._listening)
            for thread in self._threads:
                thread.start()
            if self._loop is not None:
                self._looping.start()
            self.started = True
            try:
                while not self._is_told():
                    self._sweep()
                    if self._loop is not None and not self._looping.is_alive():
                        raise UnavailableError("the server answers nobody any more", hint="start it again")
            finally:
                self._end()

    def stop(self) -> None:
        """Tell it to end; calls under way are answered. A signal's handler may do so: no lock is taken for it."""
        with suppress(OSError):  # it was told, or has ended
            self._tell.send(b"\0")

    def _is_told(self) -> bool:
        """Wait for a moment; whether it is to end."""
        self._told.settimeout(TICK_SECONDS)
        try:
            self._told.recv(1)
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        self._ended = True
        self._poller.remove(self._listening)
        self._socket.close()
        self._poller.wake()
        end = time.monotonic() + GRACE_SECONDS
        if self._loop is not None:
            self._looping.join(GRACE_SECONDS)
            self._over = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        while any(one.state == WAITING for one in list(self._connections.values())) and time.monotonic() < end:
            time.sleep(0.01)
        for one in list(self._connections.values()):
            if one.lock.acquire(timeout=max(0.0, end - time.monotonic())):
                one.close()
                one.lock.release()
        self._connections.clear()
        self._told.close()
        self._app.close()
        if not any(thread.is_alive() for thread in (*self._threads, self._looping)):
            self._poller.close()

    # -- threads --------------------------------------------------------------------------------
    def _work(self) -> None:
        while not self._ended:
            for fd in self._poller.wait():
                if fd == self._listening:
                    self._accept()
                    continue
                one = self._connections.get(fd)
                if one is not None and one.lock.acquire(blocking=False):  # else who has it goes on
                    self._go_on(one, Connection.turn)

    def _go_round(self) -> None:
        assert self._loop is not None
        self._loop.run(self._happened, lambda: self._ended)

    def _happened(self, fd: int) -> None:
        """Something came, in a loop."""
        try:
            self._goes_on(fd)
        except Exception as error:  # noqa: BLE001  a loop lives on; the place is told to the operator
            defect(error)
            self._full = self._full or fd == self._listening

    def _goes_on(self, fd: int) -> None:
        assert self._loop is not None
        if fd == self._listening:
            self._accept()
            return
        one = self._connections.get(fd)
        if self._ended or one is None or not one.lock.acquire(blocking=False):
            return
        if not one.small:
            self._jobs.put(partial(self._go_on, one, Connection.turn))
        elif self._loop.works < WORKS_MOST:
            self._loop.spawn(partial(self._go_on, one, Connection.turn))
        else:
            one.lock.release()
            self._let_later.append(fd)

    def _let_in(self) -> float:
        """Wait again for those who came when there was too much at once."""
        assert self._loop is not None
        while self._let_later and self._loop.works < WORKS_MOST:
            self._poller.arm(self._let_later.popleft(), READ)
        return TICK_SECONDS

    def _submit(self, call: Callable[[], None]) -> None:
        if self._over:
            raise UnavailableError("the server is ending", hint="send it again")
        self._jobs.put(partial(_in_turn, call))

    def _work_off(self) -> None:
        """Do what is not for the loop."""
        while (job := self._jobs.get()) is not None:
            job()
            job = None  # it knows who asked, and what: not while this waits for another

    def _go_on(self, one: Connection, work: Callable[[Connection], int]) -> None:
        """Let a connection go on whose lock this thread has, and wait for it again."""
        looped = here() is not None
        try:
            with turn() if one.small and not looped else nullcontext():
                wants = work(one)
            if looped and not one.small:  # it turned out to be large: a thread goes on, and has the lock
                self._jobs.put(partial(self._go_on, one, Connection.turn))
                return
        except Exception as error:  # noqa: BLE001  a thread lives on; the place is told to the operator
            defect(error)
            wants = one.close()
        if one.state == CLOSED and self._connections.get(one.fd) is one:
            del self._connections[one.fd]
        one.lock.release()
        if wants:
            self._poller.arm(one.fd, wants)

    def _rearm(self, one: Connection) -> None:
        """Go on with a connection whose answer, or more of it, came later: who has it now may not have seen that."""
        one.lock.acquire()
        self._go_on(one, Connection.turn)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                made, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError:  # too many files are open: it is tried again in a moment
                self._full = True
                return
            if len(self._connections) >= self._most:
                made.close()
            else:
                self._take_in(made, address[0])
        if not self._ended:
            self._poller.arm(self._listening, READ)

    def _take_in(self, made: socket.socket, address: str) -> None:
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # answers would wait 40 ms otherwise
            if self._tls is not None:
                made = self._tls.wrap_socket(made, server_side=True, do_handshake_on_connect=False)
            one = Connection(made, address, self._app, tls=self._tls is not None)
            one.rearm = self._rearm
            self._connections[one.fd] = one
            self._poller.add(one.fd)
        except (OSError, ssl.SSLError):
            self._connections.pop(made.fileno(), None)
            made.close()

    # -- time -----------------------------------------------------------------------------------
    def _sweep(self) -> None:
        """End what took too long."""
        if self._full:
            self._full = False
            self._poller.arm(self._listening, READ)
        now = time.monotonic()
        for one in list(self._connections.values()):
            if one.deadline < now and one.lock.acquire(blocking=False):
                self._go_on(one, lambda one: one.expire() if one.deadline < now else one.waits_for)


def _in_turn(call: Callable[[], None]) -> None:
    with turn():
        call()


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for cycles of garbage less often, and not among what was there before.

    A request leaves none, and looking takes a tenth of its time. Only where the process is the server's own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_LOOKED_FOR)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _share_memory() -> None:
    """Have the C library keep freed memory in two places, not in one for each thread: that would be 60 MB each."""
    with suppress(OSError, AttributeError):  # a C library without this call does not need it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
