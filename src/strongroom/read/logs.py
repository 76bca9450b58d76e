"""What the log of a room says about an incident: the newest entries, what was touched, and whom.

`strongroom log` prints it; `Room.logs` gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.keymaster.log.api import Touched, TouchedPersons, Which

if TYPE_CHECKING:
    from strongroom.read.reading import Reading
    from strongroom.read.record import Record
    from strongroom.read.session import Session

NAMED_AT_ONCE = 500


class RoomLogs:
    """Questions to the log of a room.

    Args:
        session: The room.
    """

    def __init__(self, session: Session) -> None:
        self._keymaster = session.keymaster
        self._actor = session.actor

    def newest(self, which: Which, most: int = 20) -> list[dict[str, Any]]:
        """The newest entries, oldest first; one's own take no right to the log."""
        return self._keymaster.logs.newest(self._actor, which, most)

    def touched(self, which: Which) -> list[Touched]:
        """What entries touched, added up by actor, credential, purpose, act, table and fields."""
        return self._keymaster.logs.touched(self._actor, which)

    def persons(self, which: Which, reason: str) -> TouchedPersons:
        """Whom entries touched, by tokens that name nobody; noted with its reason."""
        return self._keymaster.logs.persons(self._actor, which, reason)


def named(
    reading: Reading, found: TouchedPersons, table: str, fields: Sequence[str] | None = None
) -> Iterator[tuple[int, list[Record]]]:
    """Open the records of persons who were touched, some at a time; each is charged as any other.

    Args:
        reading: Under which purpose.
        found: What `RoomLogs.persons` gave.
        table: Where they are named.
        fields: Names wanted; None for all that the purpose shows.

    Yields:
        The position of a person in `found`, and their records in the table; none of who was erased or has none.
    """
    living = [at for at in range(len(found)) if not found.erased[at]]
    for start in range(0, len(living), NAMED_AT_ONCE):
        some = living[start : start + NAMED_AT_ONCE]
        records = reading.of_tokens(table, [found.tokens[at].tobytes() for at in some], fields=fields)
        yield from zip(some, records, strict=True)
