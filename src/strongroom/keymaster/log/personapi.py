"""What a person may be told of who read them, as a keymaster gives it out: proofs, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

DAYS_AT_ONCE = 64
ENTRIES_AT_ONCE = 1_000


@dataclass(frozen=True)
class EntryTold:
    """An entry as the log has it (the first line of two), its number, and the hashes beside its path, from below."""

    entry: bytes
    index: int
    path: list[bytes] = field(repr=False)


@dataclass(frozen=True)
class LeafTold:
    """A leaf of a day's map: its place, label and digest of its entries (48 B), the hashes beside its path."""

    at: int
    data: bytes
    path: list[bytes] = field(repr=False)


@dataclass(frozen=True)
class DayTold:
    """A closed span of days, and what its map says of the person.

    Args:
        closing: The entry that closed it.
        lost: The map is lost: the keymaster was set back.
        salt: Of the list of entries, where the person's label is in the map; else empty.
        leaves: Numbers of those entries.
        near: The leaf of the person's label, or those beside where it would stand; none in an empty map.
    """

    closing: EntryTold
    lost: bool
    salt: bytes
    leaves: list[int]
    near: list[LeafTold]


@dataclass(frozen=True)
class PersonAsked:
    """The request that a person's log was made for, which touches them too.

    Args:
        request: Its entry.
        checkpoint: What every proof is under.
        key: The log's public key in force.
        disclosure: What the entry commits to: subject, table, first day, and the label of each day with a map.
        first: The first day that is told of.
        spans: How many spans of days are told of.
    """

    request: EntryTold
    checkpoint: str
    key: str
    disclosure: bytes = field(repr=False)
    first: int
    spans: int


class Persons(Protocol):
    """Who read a person, told to that person under a purpose with the verb `log`."""

    def begin(self, reading_id: bytes, table: str, identifier: str) -> PersonAsked:
        """Decide, charge and note one request for one person's log.

        Args:
            reading_id: The reading.
            table: A table that the purpose lets the actor ask about.
            identifier: The subject, normalised.

        Raises:
            NotFoundError: There is no such subject, or it was erased.
            ErasedError: It was erased, and the purpose may know.
            DeniedError: The purpose or a budget refuses.
        """

    def days(self, reading_id: bytes, request: int, after: int) -> list[DayTold]:
        """Up to DAYS_AT_ONCE spans of days from number `after` on, for the request whose entry has a number."""

    def entries(self, reading_id: bytes, request: int, numbers: Sequence[int]) -> list[EntryTold]:
        """Up to ENTRIES_AT_ONCE entries that `days` has named."""
