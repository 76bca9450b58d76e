"""What a reading asks of a keymaster by value or person, and what it is given.

Arrays are numpy: tokens u8[n,16], keys u8[n,32].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strongroom.keymaster.erasures.api import Buried

Bytes2D = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ask:
    """What one read request wants released. Rows are the live rows of the persons asked for, one per record.

    Args:
        request_id: 16 random bytes made by the caller; the same id is charged once.
        verb: get, find, sql or rejects.
        table: Table name.
        fields: Names of the fields wanted; None means all that the purpose shows.
        tokens: Subject token per row, u8[n,16].
        batches: Batch id per row, u8[n,16].
        looked_up: Number of index values looked up for this request.
        misses: Number of persons or values asked for and not found.
    """

    request_id: bytes
    verb: str
    table: str
    fields: tuple[str, ...] | None
    tokens: Bytes2D = field(repr=False)
    batches: Bytes2D = field(repr=False)
    looked_up: int = 0
    misses: int = 0


@dataclass(frozen=True)
class Released:
    """Batch keys per sealed class the purpose shows, in the row order of the ask.

    `persons` counts those charged, `remaining` is what each rule has left, `missing` names rows (by position)
    whose person has no secret any more: not found, and their keys are zeros.
    """

    keys: Mapping[str, Bytes2D] = field(repr=False)
    leaf: int
    persons: int
    remaining: Mapping[str, int]
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class AtOnce:
    """What is wanted released with the hits of a look-up, if none of them can be an older record of its person.

    Args:
        request_id: 16 random bytes made by the caller; the same id is charged once.
        fields: Names of the fields wanted; None means all that the purpose shows.
        most: With more hits than that nothing is released.
        looked_up: Number of index values looked up for this request.
        last: End the reading with it.
    """

    request_id: bytes
    fields: tuple[str, ...] | None
    most: int
    looked_up: int
    last: bool = False


@dataclass(frozen=True)
class Hits:
    """Index entries opened by the keymaster, in entry order, without the dead; `buried` tells what else is dead.

    `released` has the keys of each hit where they were wanted at once, and it was certain that all of them are live.
    """

    subject_tokens: Bytes2D = field(repr=False)
    sequences: npt.NDArray[np.uint64]
    ordinals: npt.NDArray[np.uint32]
    buried: Buried | None = None
    released: Released | None = None

    def places(self) -> dict[tuple[bytes, int, int], int]:
        """Where each stands, by subject token, batch sequence and row in the batch."""
        tokens = (token.tobytes() for token in self.subject_tokens)
        named = zip(tokens, self.sequences.tolist(), self.ordinals.tolist(), strict=True)
        return {hit: at for at, hit in enumerate(named)}
