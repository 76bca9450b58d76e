"""The code row of an export: the key of its coins and the canaries they were thrown for; committed to, and opened.

Rules:

1. The key of a row is derived from a root key of the room by the export's id, as keys of persons are (HChaCha20): who
   has one row has no other.
2. The row is fixed when the export is issued: its commitment goes into the export's log entry. Whoever holds the root
   key can show another row afterwards only by finding a second text of the same SHA-256.
3. The commitment is salted (RFC 9901, as in `disclosure`): it tells nothing of the row.
4. What is opened is read as strictly as it was written: one text for one row.

What the coins mean is in `evidence.code`, what follows from them in `evidence.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from strongroom.audit.disclosure import disclose, disclosed_digest, open_disclosure
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.cells import derive
from strongroom.seal.coins import check_coin

CODE_VERSION = 1
ID_BYTES = 16
KEY_BYTES = 32
ROOT_BYTES = 32
NO_ROOT = bytes(ROOT_BYTES)
_NAME = "code row"
_LABEL = b"export code row\0"


@dataclass(frozen=True, slots=True)
class Offer:
    """The part of one pool for which an export's coins were thrown.

    Args:
        pool: Number of the pool in its room, u32.
        bias: Members are canaries whose coin is below it, of 2^32.
        count: Canaries 0 to count - 1 of the pool were thrown for.
        root: RFC 6962 root over the commitments of these canaries; zeros where nothing was committed to.

    Raises:
        UsageError: A number is out of range.
    """

    pool: int
    bias: int
    count: int
    root: bytes = NO_ROOT

    def __post_init__(self) -> None:
        check_coin(self.pool, self.bias, self.count)
        if len(self.root) != ROOT_BYTES:
            raise UsageError(f"the root of a pool has {ROOT_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class CodeRow:
    """What decides which canaries are in one export.

    Args:
        room: 16 bytes.
        export: 16 bytes.
        key: Key of the coins, 32 bytes.
        offers: One for each pool, ascending by pool.

    Raises:
        UsageError: A length is wrong, or pools are out of order.
    """

    room: bytes
    export: bytes
    key: bytes = field(repr=False)
    offers: tuple[Offer, ...]

    def __post_init__(self) -> None:
        if len(self.room) != ID_BYTES or len(self.export) != ID_BYTES or len(self.key) != KEY_BYTES:
            raise UsageError(f"ids of room and export have {ID_BYTES} bytes, the key of a code row {KEY_BYTES}")
        pools = [offer.pool for offer in self.offers]
        if any(later <= earlier for earlier, later in pairwise(pools)):
            raise UsageError("a code row names each pool once, in ascending order")

    def offer(self, pool: int) -> Offer | None:
        """What was offered of a pool; None if nothing was."""
        return next((offer for offer in self.offers if offer.pool == pool), None)


def row_key(root: bytes, export: bytes) -> bytes:
    """The key of an export's row (32 B), from a root key of the room (32 B) and the export's id (16 B).

    Raises:
        UsageError: A length is wrong.
    """
    return bytes(derive(derive(np.frombuffer(root, np.uint8).reshape(1, -1), export), _LABEL)[0])


def row_opening(row: CodeRow, salt: bytes) -> bytes:
    """The text that opens a row; its digest is the commitment. Keep it sealed until a court asks.

    Args:
        row: The row.
        salt: 16 random bytes, of this row alone.

    Raises:
        UsageError: The salt does not have 16 bytes.
    """
    return disclose(salt, _NAME, _as_json(row))


def commit_row(row: CodeRow, salt: bytes) -> bytes:
    """The commitment to a row, 32 bytes, for the log entry of its export."""
    return disclosed_digest(row_opening(row, salt))


def open_row(opening: bytes, commitment: bytes) -> CodeRow:
    """The row that was committed to; needs no key.

    Raises:
        IntegrityError: The text is not the one that was committed to, or is no code row.
    """
    salt, value = open_disclosure(opening, _NAME, commitment)
    try:
        row = _from_json(value)
        same = row_opening(row, salt) == opening  # as text: to Python 1 and True are equal
    except (UsageError, ValueError, TypeError, KeyError, AttributeError):
        same = False
    if not same:
        raise IntegrityError("what was committed to is not a code row")
    return row


def _as_json(row: CodeRow) -> dict[str, Any]:
    return {
        "code": CODE_VERSION,
        "room": row.room.hex(),
        "export": row.export.hex(),
        "key": row.key.hex(),
        "offers": [[offer.pool, offer.bias, offer.count, offer.root.hex()] for offer in row.offers],
    }


def _from_json(value: Any) -> CodeRow:
    if any(type(number) is not int for offer in value["offers"] for number in offer[:3]):
        raise ValueError  # True is 1 to Python
    offers = tuple(Offer(pool, bias, count, bytes.fromhex(root)) for pool, bias, count, root in value["offers"])
    room, export, key = (bytes.fromhex(value[name]) for name in ("room", "export", "key"))
    return CodeRow(room, export, key, offers)


__all__ = ["CodeRow", "Offer", "commit_row", "open_row", "row_key", "row_opening"]
