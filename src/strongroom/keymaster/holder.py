"""Through whom a reading was opened, and what lifts its need for another person's agreement."""

from __future__ import annotations

from typing import NamedTuple

SERVER_ONLY = "room.server-only"
"""The rule that refuses what only a server is released."""


class Holder(NamedTuple):
    """Through which credential a reading was opened; `direct` when whoever holds it is not trusted to mask."""

    credential: str = ""
    direct: bool = False


class Leave(NamedTuple):
    """What lifts a reading's need for another person's agreement: an approval by its id, or broken glass."""

    approval: str = ""
    persons: int = 0
    broken: bool = False


HERE = Holder()
"""Who opens a keymaster in their own process."""
