"""What takes two persons, asked of a keymaster on another host: approvals, freezes, reviews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from strongroom.keymaster.api import Receipt
from strongroom.keymaster.approvals import Asked
from strongroom.keymaster.freezing import Frozen
from strongroom.keymaster.reviews import Review

Asker = Callable[..., Any]


class RemoteApprovals:
    """See `keymaster.approvals.Approvals`; the credential says who."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def ask_read(self, actor: str, purpose: str, persons: int, reason: str) -> Asked:
        """See `Approvals.ask_read`."""
        del actor
        return cast("Asked", self._ask("approvals.ask_read", purpose=purpose, persons=persons, reason=reason))

    def decide(self, actor: str, ident: str, *, agree: bool) -> Asked:
        """See `Approvals.decide`."""
        del actor
        return cast("Asked", self._ask("approvals.decide", ident=ident, agree=agree))

    def waiting(self, actor: str) -> list[Asked]:
        """See `Approvals.waiting`."""
        del actor
        return cast("list[Asked]", self._ask("approvals.waiting"))


class RemoteFreezing:
    """See `keymaster.freezing.Freezing`; the credential says who."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def all(self) -> list[Frozen]:
        """See `Freezing.all`."""
        return cast("list[Frozen]", self._ask("freezing.all"))

    def freeze(self, actor: str, kind: str, name: str, reason: str) -> Receipt:
        """See `Freezing.freeze`."""
        del actor
        return cast("Receipt", self._ask("freezing.freeze", kind=kind, name=name, reason=reason))

    def ask_lift(self, actor: str, kind: str, name: str, reason: str) -> Asked:
        """See `Freezing.ask_lift`."""
        del actor
        return cast("Asked", self._ask("freezing.ask_lift", kind=kind, name=name, reason=reason))


class RemoteReviews:
    """See `keymaster.reviews.Reviews`; the credential says who."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def all(self, actor: str) -> list[Review]:
        """See `Reviews.all`."""
        del actor
        return cast("list[Review]", self._ask("reviews.all"))

    def close(self, actor: str, ident: str, text: str) -> Receipt:
        """See `Reviews.close`."""
        del actor
        return cast("Receipt", self._ask("reviews.close", ident=ident, text=text))
