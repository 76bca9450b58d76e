"""Shows a court what one export's code row proves: checked without a key, and telling nothing of other exports.

What is shown, and what keeps whoever holds every key from having fitted it to the accused:

1. The code row, against the commitment in the log entry of the export: its coins were fixed when it was issued.
2. Each canary that was found, against the root of its pool in that row: which made-up person has which number was fixed
   before that. (Whoever could number canaries afterwards could make any row fit.)
3. The whole list of finds, against its digest, which the log has from before coins were thrown for it: finds that speak
   for the accused were not left out.

It leaves to others that the three commitments are in the log, and when; that the canaries shown stand in the published
sample; and who may open a row. A row that was opened accuses nobody afterwards: whoever saw it can plant what it holds.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import disclosed_digest
from strongroom.audit.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    inclusion_proof,
    leaf_hash,
    root_from_tiles,
    tree_root,
    verify_inclusion,
)
from strongroom.errors import InputError, IntegrityError, UsageError
from strongroom.evidence.code import Found, found
from strongroom.evidence.coderow import CodeRow, open_row
from strongroom.evidence.verdict import EPSILON, Verdict, judge

FILE_BYTES_MAX = 256 << 20
_KIND = "strongroom code row opened 1"

U8 = npt.NDArray[np.uint8]


class PoolTree:
    """The tree over the commitments to a pool's canaries, as far as one export was offered it (RFC 6962).

    Args:
        digests: u8[count, 32]: of canary 0, 1, … the digest of its disclosure (`audit.disclosure`).

    Raises:
        UsageError: The array is of another shape.
    """

    def __init__(self, digests: U8) -> None:
        if digests.dtype != np.uint8 or digests.ndim != 2 or digests.shape[1] != HASH_BYTES:
            raise UsageError(f"commitments to canaries come as an array u8[n, {HASH_BYTES}]")
        self.size = len(digests)
        self._levels: list[bytes] = []
        tiles = (digests[a : a + TILE_WIDTH] for a in range(0, self.size, TILE_WIDTH))
        above = self._level([leaf_hash(one.tobytes()) for one in tile] for tile in tiles)
        while above:
            above = self._level(above[a : a + TILE_WIDTH] for a in range(0, len(above), TILE_WIDTH))
        self.root = root_from_tiles(self._tile, self.size)

    def path(self, number: int) -> tuple[bytes, ...]:
        """Proof that a canary has its number.

        Raises:
            UsageError: There is no such number.
        """
        return tuple(inclusion_proof(self._tile, number, self.size))

    def _level(self, tiles: Iterable[list[bytes]]) -> list[bytes]:
        """Keep the hashes of a level, tile by tile; gives those of the level above, one for each full tile."""
        kept, above = bytearray(), []
        for tile in tiles:
            kept += b"".join(tile)
            if len(tile) == TILE_WIDTH:
                above.append(tree_root(tile))
        self._levels.append(bytes(kept))
        return above

    def _tile(self, level: int, index: int, width: int) -> bytes:
        start = index * TILE_WIDTH * HASH_BYTES
        return self._levels[level][start : start + width * HASH_BYTES]


@dataclass(frozen=True, slots=True)
class Shown:
    """A canary that was found, as it is shown.

    Args:
        pool: Its pool.
        number: Its number there.
        disclosure: Its contents with their salt, as they were committed to.
        path: Proof that these contents have this number.
    """

    pool: int
    number: int
    disclosure: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """What is shown of one export.

    Args:
        row: What opens its code row (`coderow.row_opening`).
        finds: All canaries that were found in the sample.
        shown: Those of them that the export was offered, with their contents.
    """

    row: bytes = field(repr=False)
    finds: Found
    shown: tuple[Shown, ...] = field(repr=False)


def check_accusation(
    opened: Opened,
    *,
    commitment: bytes,
    finds: bytes,
    ever_issued: int,
    epsilon: float = EPSILON,
    fits: Callable[[Shown], bool] | None = None,
) -> Verdict:
    """Judge one export from what was opened: the whole of an accusation, made again without a key.

    Args:
        opened: What is shown.
        commitment: The commitment to the code row, from the log entry of the export.
        finds: The digest of the list of finds (`Found.digest`), from the log.
        ever_issued: N: all exports ever issued when the sample was judged.
        epsilon: Bound of the probability that any innocent export is accused.
        fits: Where the export was filtered: whether its filter lets a canary through, by the contents shown.

    Returns:
        The verdict on this export alone, with the bound for all N: it may be silent.

    Raises:
        IntegrityError: Row, canaries or list are not what was committed to, or a find is not shown.
    """
    row = open_row(opened.row, commitment)
    if not hmac.compare_digest(opened.finds.digest, finds):
        raise IntegrityError("these are not the finds that the log names: some are left out, or others are among them")
    for one in opened.shown:
        check_canary(row, one)
    shown = found([one.pool for one in opened.shown], [one.number for one in opened.shown])
    needed = opened.finds.offered_to(row)
    if shown.digest != needed.digest:
        raise IntegrityError(f"{len(needed)} finds were offered to the export, and not just these are shown")
    kept = [one for one in opened.shown if fits is None or fits(one)]
    sample = found([one.pool for one in kept], [one.number for one in kept])
    return judge([row], sample, ever_issued=ever_issued, epsilon=epsilon)


def check_canary(row: CodeRow, one: Shown) -> None:
    """Check that a canary's contents had its number when the export was issued.

    Raises:
        IntegrityError: They had not, or the export was not offered that number.
    """
    offer = row.offer(one.pool)
    if offer is None or not 0 <= one.number < offer.count:
        raise IntegrityError(f"the export was not offered canary {one.number} of pool {one.pool}")
    leaf = leaf_hash(disclosed_digest(one.disclosure))
    verify_inclusion(leaf, one.number, offer.count, one.path, offer.root)


# -- the file for a court ----------------------------------------------------------------------------------


def write_opened(opened: Opened) -> bytes:
    """What is shown, as one JSON text."""
    value = {
        "kind": _KIND,
        "row": opened.row.decode("utf-8"),
        "finds": [[pool, number] for pool, number in zip(*opened.finds.columns, strict=True)],
        "shown": [
            [one.pool, one.number, one.disclosure.decode("utf-8"), [step.hex() for step in one.path]]
            for one in opened.shown
        ],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def read_opened(data: bytes) -> Opened:
    """What a file shows; nothing of it is checked yet.

    Raises:
        InputError: It is not such a file.
    """
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"a file that opens a code row has at most {FILE_BYTES_MAX >> 20} MiB")
    try:
        value = json.loads(data.decode("utf-8"))
        if value["kind"] != _KIND:
            raise ValueError
        finds = found([pool for pool, _ in value["finds"]], [number for _, number in value["finds"]])
        return Opened(value["row"].encode("utf-8"), finds, tuple(_shown(*one) for one in value["shown"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, UsageError):
        raise InputError("this file does not open a code row", hint=f"its kind is {_KIND!r}") from None


def _shown(pool: Any, number: Any, disclosure: str, path: list[str]) -> Shown:
    if type(pool) is not int or type(number) is not int:
        raise ValueError
    return Shown(pool, number, disclosure.encode("utf-8"), tuple(bytes.fromhex(step) for step in path))
