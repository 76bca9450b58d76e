"""Work that is done in steps: it yields what it wants done in a transaction, and goes on when that is durable.

Several such works that came together have their transactions together too, in one thread: what each of them wants
done is gathered, committed once, and each goes on with what came of its own part.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar

from strongroom.keys.rows import Rows

T = TypeVar("T")

Part = Callable[[Rows], Any]
"""What is done in a transaction."""
Steps = Generator[Part, Any, T]
"""Yields parts of transactions, is sent what came of each when it is durable, and returns what it is about."""


class Done(NamedTuple):
    """What came of a part: its value, or the error that it raised."""

    value: Any = None
    error: BaseException | None = None


def finish(steps: Steps[T], run: Callable[[Part], Any]) -> T:
    """Go through the steps of one work.

    Args:
        steps: The work.
        run: Runs a part in a transaction; returns when it is durable, or raises what it raised.
    """
    try:
        part = next(steps)
        while True:
            try:
                value = run(part)
            except BaseException as error:  # noqa: BLE001  it is the work's to raise
                part = steps.throw(error)
            else:
                part = steps.send(value)
    except StopIteration as end:
        found: T = end.value
        return found


def finish_together(every: Sequence[Steps[T]], run: Callable[[Sequence[Part]], Sequence[Done]]) -> list[T]:
    """Go through the steps of works that do not raise, each in a context of its own; what each returned.

    Args:
        every: The works.
        run: Runs parts in one transaction; what came of each.
    """
    found: list[Any] = [None] * len(every)
    contexts = [copy_context() for _ in every]
    waiting = [(at, Done()) for at in range(len(every))]
    while waiting:
        wanted: list[tuple[int, Part]] = []
        for at, done in waiting:
            try:
                wanted.append((at, contexts[at].run(_on, every[at], done)))
            except StopIteration as end:
                found[at] = end.value
        outcomes = run([part for _, part in wanted]) if wanted else ()
        waiting = [(at, done) for (at, _), done in zip(wanted, outcomes, strict=True)]
    return found


def _on(steps: Steps[Any], done: Done) -> Part:
    """One work's next part; StopIteration at its end."""
    return steps.send(done.value) if done.error is None else steps.throw(done.error)
