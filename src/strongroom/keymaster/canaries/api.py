"""What a room asks of a keymaster about canary persons: it alone knows who is one.

The order, and what holds after each step:

1. `register` says who will be a canary, with which number of which pool, and what commits to their contents. It is
   noted before any of them is put: a registered canary without records does no harm, an unregistered one is a false
   person.
2. They are put like anybody's records. From there on they are indexed, compacted, copied, erased like anybody.
3. Exports hold those that their coins choose, and lack the others; who asks is told of either like of anybody.

Who is a canary the keymaster's process alone knows, but for one thing: a server that counts for others is told which
records to leave out (`hidden`). Whoever asks a keymaster directly is not told, and counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.keymaster.erasures.api import Buried

POOLS_AT_ONCE_MAX = 64
PERSONS_MAX = 4_000_000
"""Canary persons of one pool: 3.3 million serve a room of a billion."""


@dataclass(frozen=True)
class NewPool:
    """A pool of canaries that nobody has registered yet.

    Args:
        bias: An export has each of them with probability bias / 2^32.
        subjects: Canonical subject identifiers of the canary persons, n texts without nulls, each once. A person with
            different identifiers in different tables is named by each of them.
        numbers: u32[n], the number of each in the pool, from 0 without gaps. What goes into files together, as the
            persons of a household, has one number.
        salts: u8[count, 16], random, one for each number.
        digests: u8[count, 32], for each number what commits to its contents (`audit.disclosure.disclosed_digest`).
    """

    bias: int
    subjects: pa.Array = field(repr=False)
    numbers: npt.NDArray[np.uint32] = field(repr=False)
    salts: npt.NDArray[np.uint8] = field(repr=False)
    digests: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True)
class PoolRecord:
    """A registered pool, as the log has it; it says how many, and not who.

    Args:
        number: Its number in the room.
        bias: Of 2^32.
        count: How many canaries it has, as numbers.
        persons: How many persons they are, by the identifiers that were registered.
        root: RFC 6962 root over what commits to their contents, hex.
        leaf: Number of its entry in the log.
        at: When it was registered, in seconds since 1970.
        planted: Whether the records of all of them were put: else the planting was cut short.
    """

    number: int
    bias: int
    count: int
    persons: int
    root: str
    leaf: int
    at: float
    planted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Heard:
    """What became of the alarms that one reading set off.

    Args:
        leaves: Numbers of the entries that have them.
        told: Whether the last of them was told to a webhook or a command.
        lost: Whether a notice could not be told: one of them, or one after them.
    """

    leaves: list[int]
    told: bool
    lost: bool


class Canaries(Protocol):
    """The canary persons of one keymaster. See the module's order."""

    def register(self, reading_id: bytes, pools: Sequence[NewPool]) -> list[int]:
        """Register pools, all of them or none; returns their numbers in the room.

        Args:
            reading_id: Of a purpose with the verb `plant`, to which another person has agreed.
            pools: 1 to `POOLS_AT_ONCE_MAX` of them.

        Raises:
            DeniedError: The purpose does not plant, or nobody else has agreed.
            UsageError: A pool is none: an array of another shape, a number left out, somebody named twice.
            ConflictError: Somebody is a canary already, or has or had records in the room.
        """

    def hidden(self, reading_id: bytes, table: str, low: bytes, high: bytes) -> Buried:
        """Whose records SQL leaves out of a table, from one token to another, both included: as if they were dead.

        A bounded number: ask on from the last. Nobody where the reading is not a server's, or not for SQL on the table.

        Args:
            reading_id: The reading.
            table: Name of the table.
            low: First token of the range.
            high: Last token of the range.
        """

    def pools(self, actor: str) -> list[PoolRecord]:
        """The pools of the room, by number, for whoever has the act `log`.

        Raises:
            DeniedError: The actor has not.
        """

    def known(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which canonical subject identifiers no canary may have, bool[n]: of whoever has or had records, and canaries.

        Under a purpose with the verb `plant`; metered as look-ups.
        """

    def planted_pools(self, reading_id: bytes) -> list[PoolRecord]:
        """The pools of the room, for whoever plants: under a purpose with the verb `plant`."""

    def planted(self, reading_id: bytes, pools: Sequence[int], dense: Sequence[str]) -> int:
        """Note that the records of all persons of some pools were put; returns the entry's number.

        Args:
            reading_id: Of a purpose with the verb `plant`.
            pools: Their numbers.
            dense: Fields, as "table.field", by whose values canaries are told: the last are theirs, say.

        Raises:
            UsageError: No pool, one twice, or a field that is not in the schema.
            ConflictError: A pool is not registered, or was planted before.
        """

    def dense(self, actor: str) -> list[str]:
        """Fields, as "table.field", by whose values canaries are told in this room: exports show them as tokens.

        Told to whoever may read the log or change the policy; to anybody else none: it says where canaries are.
        """

    def is_canary(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether subjects are canaries, bool[n], by canonical identifiers; noted, and metered as look-ups.

        Raises:
            DeniedError: The purpose lacks the verb `ask-canary`, or nobody else has agreed.
        """

    def trial(self, reading_id: bytes, table: str) -> bytes:
        """The subject token of one canary drawn at random, to test the alarm with; noted as a test.

        Raises:
            DeniedError: The purpose lacks the verb `ask-canary`, or nobody else has agreed.
            NotFoundError: No canary was put.
        """

    def heard(self, reading_id: bytes) -> Heard:
        """What became of the alarms that this reading set off in a test."""
