"""Reading ahead: the next batches are parsed in threads while the consumer works on this one.

Rules it keeps:

1. Order is kept, and at most DEPTH finished batches and PARSE_THREADS unfinished ones are in hand.
2. An error comes out where its batch would have; nothing after it does.
3. A consumer that stops early ends the threads; none outlives the iterator.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

PARSE_THREADS = 2
DEPTH = 2
_POLL_SECONDS = 0.1

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _Done:
    pass


def in_order(items: Iterator[T], work: Callable[[T], U], pool: ThreadPoolExecutor) -> Iterator[U]:
    """`map(work, items)` with PARSE_THREADS of them at work ahead of the one asked for.

    An error in `items` comes out after the results of the items before it.
    """
    pending: deque[Future[U]] = deque()
    failed: BaseException | None = None
    try:
        while True:
            try:
                item = next(items)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - it is raised below, in its turn
                failed = error
                break
            pending.append(pool.submit(work, item))
            if len(pending) > PARSE_THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failed is not None:
            raise failed
    finally:
        for future in pending:
            future.cancel()


def ahead(make: Callable[[], Iterator[T]], let_go: Callable[[], None], depth: int = DEPTH) -> Iterator[T]:
    """The items of `make()`, made in a thread up to `depth` ahead of the consumer.

    Args:
        make: Called in the thread.
        let_go: Called when the consumer stops: ends a wait for bytes that may never come.
        depth: How many items may wait.
    """
    ready: queue.Queue[T | _Failed | _Done] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: T | _Failed | _Done) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in make():
                if not offer(item):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised in the consumer's thread
            offer(_Failed(error))
            return
        offer(_Done())

    thread = threading.Thread(target=run, name="strongroom-read", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _Done):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        let_go()
        while thread.is_alive():
            _drain(ready)
            thread.join(_POLL_SECONDS)


def _drain(ready: queue.Queue[T]) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return
