"""Through whom the keymaster is asked: the credential behind a call and what it may spend, and what lifts an agreement.

Rules it keeps:

1. Every entry that is noted while a call is answered names the credential that signed it. The call's holder goes with
   its part of a transaction, whichever thread runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from strongroom.keys.rows import Rows
from strongroom.purpose.budget import NO_OWN, Kind, Limit, OwnBudgets, credential_limits

SERVER_ONLY = "room.server-only"
"""The rule that refuses what only a server is released."""

T = TypeVar("T")


class Holder(NamedTuple):
    """Through which credential a reading was opened; `direct` when whoever holds it is not trusted to mask."""

    credential: str = ""
    direct: bool = False
    own: OwnBudgets = NO_OWN

    def limits(self, kind: Kind) -> tuple[Limit, ...]:
        """What the credential may spend besides all that the policy limits."""
        return () if self.own is NO_OWN else credential_limits(self.credential, self.own, kind)


class Leave(NamedTuple):
    """What lifts a reading's need for another person's agreement: an approval by its id, or broken glass."""

    approval: str = ""
    persons: int = 0
    broken: bool = False


HERE = Holder()
"""Who opens a keymaster in their own process."""

_THROUGH: ContextVar[Holder] = ContextVar("through", default=HERE)


def through() -> Holder:
    """Through whom the call under way came; `HERE` where it is none of a server."""
    return _THROUGH.get()


class asked_through:  # noqa: N801  a context manager, named for what is read in the line that uses it
    """Answer a call of this holder."""

    __slots__ = ("_holder", "_token")

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def __enter__(self) -> None:
        self._token = _THROUGH.set(self._holder)

    def __exit__(self, *_exc: object) -> None:
        _THROUGH.reset(self._token)


def carried(work: Callable[[Rows], T]) -> Callable[[Rows], T]:
    """A part of a transaction that runs as asked by who asks now, also where another caller's thread runs it."""
    holder = _THROUGH.get()

    def part(rows: Rows) -> T:
        token = _THROUGH.set(holder)
        try:
            return work(rows)
        finally:
            _THROUGH.reset(token)

    return part
