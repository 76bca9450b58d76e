"""Waits until sockets are ready, for several threads at once: each event goes to one thread, and then the socket rests.

Where the system has epoll its one-shot events do that; elsewhere the standard library's selector, one thread at a time.
"""

from __future__ import annotations

import os
import select
import selectors
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol

READ, WRITE = 1, 2


class Poller(Protocol):
    """Which sockets are ready."""

    def add(self, fd: int) -> None:
        """Take a socket in: it is told once when it can be read."""

    def arm(self, fd: int, events: int) -> None:
        """Tell again, once, when a socket can be read or written."""

    def remove(self, fd: int) -> None:
        """Leave a socket out; before it is closed."""

    def wait(self) -> list[int]:
        """Sockets that are ready; none when it was woken."""

    def wake(self) -> None:
        """Wake everybody who waits, now and from now on."""

    def close(self) -> None:
        """Nobody waits any more."""


class EpollPoller:
    """By epoll; a loop waits with it too, whose thread is the only one then."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._masks = {
            READ: select.EPOLLIN | select.EPOLLONESHOT,
            WRITE: select.EPOLLOUT | select.EPOLLONESHOT,
        }
        self._waked, self._waker = os.pipe()
        self._epoll.register(self._waked, select.EPOLLIN)  # not once: everybody is woken
        self._stirred = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._stirred, select.EPOLLIN)

    def add(self, fd: int) -> None:
        """See `Poller.add`."""
        self._epoll.register(fd, self._masks[READ])

    def arm(self, fd: int, events: int) -> None:
        """See `Poller.arm`."""
        with suppress(OSError):  # it was closed a moment ago
            self._epoll.modify(fd, self._masks[events])

    def remove(self, fd: int) -> None:
        """See `Poller.remove`."""
        with suppress(OSError):
            self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        """See `Poller.wait`."""
        return [fd for fd, _ in self._epoll.poll(-1, 1) if fd != self._waked]

    def watch(self, fd: int) -> None:
        """See `loop.Events.watch`."""
        try:
            self._epoll.modify(fd, self._masks[READ])
        except FileNotFoundError:  # it is waited for the first time
            self._epoll.register(fd, self._masks[READ])

    def wait_for(self, seconds: float, most: int) -> list[int]:
        """See `loop.Events.wait_for`."""
        ready = [fd for fd, _ in self._epoll.poll(seconds, most)]
        if self._waked in ready:  # it stays readable, and nobody else waits here
            ready.remove(self._waked)
            self._epoll.unregister(self._waked)
        if self._stirred in ready:
            ready.remove(self._stirred)
            with suppress(BlockingIOError):
                os.eventfd_read(self._stirred)
        return ready

    def stir(self) -> None:
        """See `loop.Events.stir`."""
        os.eventfd_write(self._stirred, 1)

    def wake(self) -> None:
        """See `Poller.wake`."""
        os.write(self._waker, b"\0")

    def close(self) -> None:
        """See `Poller.close`."""
        self._epoll.close()
        os.close(self._waked)
        os.close(self._waker)
        os.close(self._stirred)


class SelectorPoller:
    """By the selector of the standard library: one thread waits, the others wait for its turn."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._turn = threading.Lock()
        self._changes: deque[tuple[int, int]] = deque()
        self._ready: deque[int] = deque()
        self._waked, self._waker = os.pipe()
        os.set_blocking(self._waked, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._waked, selectors.EVENT_READ)
        self._ended = False

    def add(self, fd: int) -> None:
        """See `Poller.add`."""
        self._change(fd, READ)

    def arm(self, fd: int, events: int) -> None:
        """See `Poller.arm`."""
        self._change(fd, events)

    def remove(self, fd: int) -> None:
        """See `Poller.remove`."""
        self._change(fd, 0)

    def _change(self, fd: int, events: int) -> None:
        self._changes.append((fd, events))
        with suppress(BlockingIOError):  # it is full: whoever waits is woken
            os.write(self._waker, b"\0")

    def wait(self) -> list[int]:
        """See `Poller.wait`."""
        with self._turn:
            while not self._ended:
                self._apply()
                if self._ready:
                    return [self._ready.popleft()]
                for key, _ in self._selector.select():
                    if key.fd == self._waked:
                        with suppress(BlockingIOError):
                            os.read(self._waked, 4096)
                    else:
                        self._selector.unregister(key.fd)
                        self._ready.append(key.fd)
        return []

    def _apply(self) -> None:
        while self._changes:
            fd, events = self._changes.popleft()
            with suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)
            if events:
                with suppress(KeyError, ValueError, OSError):  # it was closed a moment ago
                    self._selector.register(fd, selectors.EVENT_READ if events == READ else selectors.EVENT_WRITE)

    def wake(self) -> None:
        """See `Poller.wake`."""
        self._ended = True
        with suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def close(self) -> None:
        """See `Poller.close`."""
        self._selector.close()
        os.close(self._waked)
        os.close(self._waker)


def new_poller() -> Poller:
    """The poller of this system."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
