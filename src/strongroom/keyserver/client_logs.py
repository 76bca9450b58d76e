"""Questions about an incident, asked of a keymaster on another host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from strongroom.keymaster.log.api import Touched, TouchedPersons, Which


class RemoteLogs:
    """See `keymaster.log.api.Logs`; the credential says who."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def newest(self, actor: str, which: Which, most: int) -> list[dict[str, Any]]:
        """See `Logs.newest`."""
        del actor
        return cast("list[dict[str, Any]]", self._ask("logs.newest", which=which, most=most))

    def touched(self, actor: str, which: Which) -> list[Touched]:
        """See `Logs.touched`."""
        del actor
        return cast("list[Touched]", self._ask("logs.touched", which=which))

    def persons(self, actor: str, which: Which, reason: str) -> TouchedPersons:
        """See `Logs.persons`."""
        del actor
        return cast("TouchedPersons", self._ask("logs.persons", which=which, reason=reason))
