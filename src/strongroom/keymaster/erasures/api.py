"""What the room may ask of a keymaster about persons who go for good: plans, erasures, holds, which entries are dead.

Rules every keymaster keeps, besides those of `api`:

1. One transaction holds the check for a legal hold, the tombstone, the key page written anew without the secret, and
   the log entry.
2. An entry is dead when its batch sequence is not above its person's tombstone or its table's horizon. Keys of dead
   entries are never released, whatever the reader does.
3. A hold is lifted by another actor than the one who set it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.seal.columns import places_among, token_text

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import Lease, Receipt

Bytes2D = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

UNKNOWN, PRESENT, HELD, ERASED = range(4)
"""Where a subject stands: never seen, has a secret, has one and is held, has none any more."""


@dataclass(frozen=True)
class ErasurePlan:
    """Tokens u8[n,16] of the identifiers asked for, and where each stands, u8[n]."""

    tokens: Bytes2D = field(repr=False)
    states: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True)
class Buried:
    """Which entries of a table are dead.

    Args:
        horizon: Every entry with a batch sequence up to this one; 0 for none.
        tokens: Erased persons, u8[n,16], sorted.
        sequences: For each, every entry with a batch sequence up to this one, u64[n].
        newest: Log entry of the newest erasure in the room when this was said; 0 for none.
    """

    horizon: int
    tokens: Bytes2D = field(repr=False)
    sequences: U64 = field(repr=False)
    newest: int = 0

    def __bool__(self) -> bool:
        return self.horizon > 0 or len(self.tokens) > 0

    def of(self, tokens: Bytes2D) -> U64:
        """The newest dead batch sequence for each token u8[n,16], in any order: u64[n]."""
        found = np.full(len(tokens), self.horizon, np.uint64)
        if len(self.tokens) and len(tokens):
            at, there = places_among(token_text(self.tokens), token_text(tokens))
            hit = np.flatnonzero(there)
            found[hit] = np.maximum(found[hit], self.sequences[at[hit]])
        return found


@dataclass(frozen=True)
class ErasureProof:
    """One erasure as the log proves it.

    Args:
        leaf: Number of its entry.
        entry: The entry's bytes.
        proof: C2SP tlog-proof under the newest checkpoint.
        persons: How many went.
        waits: What it waits for until old backups of the keymaster open nobody either; empty when it is final.
        turned: Entry and proof of the end of its epoch, where that has ended.
    """

    leaf: int
    entry: bytes
    proof: str
    persons: int
    waits: tuple[str, ...]
    turned: tuple[bytes, str] | None = None


class Erasures(Protocol):
    """The part of a keymaster that this module is about."""

    def plan(self, lease: Lease, identifiers: pa.Array) -> ErasurePlan:
        """Tokens of canonical identifiers, and where each subject stands; under a lease to erase."""

    def erase(self, lease: Lease, tokens: Bytes2D, reason: str) -> list[Receipt]:
        """Erase persons for good; each receipt is of one transaction, complete in itself.

        Args:
            lease: To erase.
            tokens: Subject tokens u8[n,16]; those erased already are passed over.
            reason: Why; kept sealed.

        Raises:
            DeniedError: One is held, or the actor may not; nothing is erased.
            NotFoundError: One was never seen; nothing is erased.
            ConflictError: All are erased already.
        """

    def hold(self, actor: str, subjects: Sequence[Sequence[str]], reason: str, *, lift: bool = False) -> Receipt:
        """Set a legal hold on subjects, or lift one.

        Args:
            actor: Who does it.
            subjects: For each the canonical identifiers that it may have in one table or another.
            reason: Why; kept sealed.
            lift: Whether the hold is lifted.

        Raises:
            NotFoundError: A subject was never seen, or is not held.
            ConflictError: A subject is held already, or erased.
            DeniedError: It is lifted by the actor who set it.
        """

    def proofs(self, actor: str, leaves: Sequence[int]) -> list[ErasureProof]:
        """Proofs of erasures under a checkpoint made now; NotFoundError for an entry that is no erasure."""

    def buried(self, holder: bytes | Lease, table: str, low: bytes, high: bytes, since: int = -1) -> Buried:
        """What is dead of a table from one token to another, both included; a bounded number: ask on from the last.

        Args:
            holder: Id of a reading, or a lease to erase, compact or rotate.
            table: Name of the table.
            low: First token of the range.
            high: Last token of the range.
            since: Only erasures noted after this log entry.
        """

    def clean_through(self, holder: bytes | Lease, object_ids: Sequence[bytes]) -> list[int]:
        """For each object the newest log entry up to which no erasure left anything dead in it; -1 where unknown."""

    def horizon(self, lease: Lease, table: str, days: int) -> int:
        """The newest batch sequence that a retention of so many days by put time would let expire; 0 for none."""

    def erased(self, reading_id: bytes, token: bytes) -> bool:
        """Whether the person of a token was erased, as far as the reading's purpose may know; else False."""

    def dead_entries(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> npt.NDArray[np.bool_]:
        """Which entries of an index are of dead records, bool[n]; tells a compaction nothing else of them.

        Raises IntegrityError when an entry does not open.
        """

    def unclean(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """Of some objects those that may hold entries that are dead by now: older than the newest erasure."""

    def cleaned(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """Objects hold nothing that was dead when the lease began."""

    def destroy_keys(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """Destroy file keys of objects that are about to be removed for good, under a lease to compact."""


__all__ = [
    "ERASED",
    "HELD",
    "PRESENT",
    "UNKNOWN",
    "Buried",
    "ErasurePlan",
    "ErasureProof",
    "Erasures",
]
