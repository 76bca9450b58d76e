"""What the room may ask of a keymaster about the tail of its log: the part that a keymaster set back would have lost.

Rules every keymaster keeps:

1. A piece is sealed under a key that every copy of the keymaster has, and holds no key. It names actors, so it is never
   in plain where the room's objects lie.
2. A keymaster that learns of a longer log of its own, or came home from a copy, does nothing until it has caught up: no
   key is released, nothing is charged, before every erasure, hold, policy, schema, spend and head of the missing part
   is in force.
3. What it catches up with is the very history that the signed checkpoint vouches for, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

PREFIX = "tail/"
_NAME = re.compile(PREFIX + r"([0-9]{12})-([0-9]{12})")


def span_of(name: str) -> tuple[int, int] | None:
    """Start and end of the piece of this name; None for a name that no piece has."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Piece:
    """Sealed entries `start` to `end` of the log, and what they changed."""

    start: int
    end: int
    sealed: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Its name beside the objects."""
        return f"{PREFIX}{self.start:012d}-{self.end:012d}"


@dataclass(frozen=True)
class CaughtUp:
    """What was done again: entries `start` to `end`, persons erased, snapshots that became known, and the new entry."""

    start: int
    end: int
    erased: int
    snapshots: int
    leaf: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {n: getattr(self, n) for n in ("start", "end", "erased", "snapshots", "leaf")}


@dataclass(frozen=True)
class Gap:
    """Entries `first` to `end` of the log, lost for good: asked for, or `accepted` by a second person.

    `end` is `first` where nobody knows how far the log had come.
    """

    first: int
    end: int
    accepted: bool
    leaf: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {n: getattr(self, n) for n in ("first", "end", "accepted", "leaf")}


class Tails(Protocol):
    """The tail of one keymaster's log. See the module's rules."""

    def next(self) -> Piece | None:
        """The oldest piece that is in no second place yet; None when all of the log is."""

    def placed(self, end: int) -> None:
        """Remember that every entry below `end` is durable in a second place."""

    def needed_from(self) -> int:
        """The first entry that the oldest known copy of the keymaster lacks; 0 where no copy is known."""

    def is_behind(self, checkpoint: str) -> bool:
        """Whether this log has signed the checkpoint, and the keymaster lacks entries of it or never looked for any."""

    def catch_up(self, checkpoint: str, pieces: Sequence[str], fetch: Callable[[str], bytes]) -> CaughtUp:
        """Do again what the log says up to a checkpoint.

        Args:
            checkpoint: Text of a signed checkpoint that `is_behind` is true of.
            pieces: Names of pieces in the second place.
            fetch: Gives the bytes of one.

        Raises:
            IntegrityError: Pieces are missing, do not open, or have another history than the checkpoint; nothing was
                changed then.
        """

    def accept_gap(self, actor: str, checkpoint: str | None) -> Gap:
        """Ask to go on without the entries that a checkpoint covers and this keymaster lacks, or agree to it.

        Args:
            actor: Who asks or agrees.
            checkpoint: Text of a signed checkpoint; None where none is left and the keymaster came home from a copy.

        Raises:
            DeniedError: The actor may not restore, or is the one who asked.
            UsageError: Nothing is missing.
        """

    def openable(self) -> int:
        """Number of the newest snapshot whose key is here; 0 if there is none."""
