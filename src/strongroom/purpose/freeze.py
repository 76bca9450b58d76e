"""What is frozen: an actor, a purpose, or the whole room; what stays possible then.

Rules it keeps:

1. A frozen actor may do nothing, and nobody may read under a frozen purpose.
2. In a frozen room nothing is read and nothing changes but what lifts the freeze: reading the log, freezing more, and
   agreeing to what was asked.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("actor", "purpose", "room")
ROOM = "room"
GOES_ON = ("log", "freeze")


@dataclass(frozen=True)
class Freezes:
    """Everything that is frozen now."""

    actors: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    room: bool = False

    @staticmethod
    def of(rows: list[tuple[str, str]]) -> Freezes:
        """From pairs of kind and name."""
        named = {kind: frozenset(name for own, name in rows if own == kind) for kind in KINDS}
        return Freezes(named["actor"], named["purpose"], bool(named[ROOM]))

    def stops(self, actor: str, purpose: str | None = None, act: str | None = None) -> tuple[str, str] | None:
        """The rule and the words of what stops somebody; None where nothing does.

        Args:
            actor: Who asks.
            purpose: Under which purpose, for a read.
            act: Which act, for another than a read.
        """
        if actor in self.actors:
            return f"freeze.actor.{actor}", f"{actor} is frozen"
        if purpose is not None and purpose in self.purposes:
            return f"freeze.purpose.{purpose}", f"purpose {purpose} is frozen"
        if self.room and act not in GOES_ON:
            return "freeze.room", "the room is frozen"
        return None


NOTHING = Freezes()
