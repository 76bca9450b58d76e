"""Throws the coins of an export: which of the canary persons among its records it holds, and what commits to that.

Rules it keeps:

1. Coins are thrown for pools that were registered before, under a key of this export alone; the keymaster commits to
   them before anybody is released a key.
2. Of each bias so many canaries are offered as the size asks for, counted among the records that were chosen: a filter
   lets a part of a pool through, and no coin decides how many are offered.
3. No canaries where decisions are taken on the copy, where subjects are named, and where the share would be too large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.evidence.code import BIAS_ONE, Sizes, bits, found, sizes, smallest_sample
from strongroom.evidence.coderow import CodeRow, Offer, commit_row, row_key, row_opening
from strongroom.keymaster.behind import PersonsBehind
from strongroom.keymaster.canaries.api import PoolRecord
from strongroom.keymaster.canaries.register import CanaryRegister, Which
from strongroom.keymaster.seenmaps import bitmap
from strongroom.purpose.model import CanaryRule

SALT_BYTES = 16
EXPORTS_EXPECTED = 10_000
NOBODY = "no canary persons are planted among these records: tokens alone mark this export"
TOO_FEW = "too few canary persons are planted: even the whole export may not name its recipient"

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Marked:
    """The canary persons of one export.

    Args:
        opening: What opens its code row; empty where it has none.
        commitment: What commits to that row, 32 B; empty where there is none.
        held: Ordinals of the canary persons that it holds.
        offered: Those it could have held, as pool << 32 | number: among its records, and coins were thrown for them.
        names_from: The smallest sample, in persons, that is expected to name the recipient; 0 where none is.
        why_none: Why there are no canaries, or no such sample; empty where there is one.
    """

    opening: bytes = field(default=b"", repr=False)
    commitment: bytes = b""
    held: BitMap64 = field(default_factory=BitMap64, repr=False)
    offered: BitMap64 = field(default_factory=BitMap64, repr=False)
    names_from: int = 0
    why_none: str = ""


class Added:
    """The canaries among the records that an export is to hold, as far as they were told."""

    def __init__(self) -> None:
        self.ordinals = BitMap64()
        self._parts: list[tuple[U64, U64]] = []

    def add(self, ordinals: U64, which: Which) -> None:
        """Take in persons by ordinal, all of them canaries."""
        fresh = bitmap(ordinals) - self.ordinals
        rows = np.isin(ordinals, np.asarray(fresh.to_array(), np.uint64))
        self._parts.append((ordinals[rows], coded(which.pool, which.number)[rows]))
        self.ordinals |= fresh

    def columns(self) -> tuple[U64, U64]:
        """Ordinal, and pool << 32 | number, of each person."""
        none = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        ordinals, numbers = (np.concatenate(column) for column in zip(none, *self._parts, strict=True))
        return ordinals, numbers


def without(found: PersonsBehind, which: Which, added: Added) -> PersonsBehind:
    """The persons who are no canaries; those who are go into `added`."""
    people = ~which.found
    canaries = Which(which.pool[which.found], which.number[which.found], which.found[which.found])
    added.add(found.distinct[which.found], canaries)
    own, tokens = found.distinct[people], found.tokens[people]
    return PersonsBehind(found.removals, found.found, found.secrets, own, tokens, found.row_ordinals)


def coded(pools: npt.ArrayLike, numbers: npt.ArrayLike) -> U64:
    """Pool << 32 | number."""
    joined: U64 = np.asarray(pools, np.uint64) << np.uint64(32) | np.asarray(numbers, np.uint64)
    return joined


def throw(
    canaries: CanaryRegister,
    export_id: bytes,
    root: bytes,
    entropy: Callable[[int], bytes],
    rule: CanaryRule,
    persons: int,
    issued: int,
    added: Added,
) -> Marked:
    """Throw the coins of an export.

    Args:
        canaries: The register.
        export_id: 16 B.
        root: Root key of exports, 32 B.
        entropy: Gives the salt of the commitment.
        rule: What canary persons must withstand.
        persons: How many persons the export has.
        issued: How many exports the room has issued so far.
        added: The canaries among its records.
    """
    exports = max(EXPORTS_EXPECTED, issued + 1)
    wanted = sizes(persons, colluders=rule.colluders, sample=rule.sample, exports=exports)
    if wanted.why_none is not None:
        return Marked(why_none=wanted.why_none)
    ordinals, numbers = added.columns()
    records = canaries.records()
    chosen = _offers(wanted, records, np.unique(numbers))
    if not chosen:
        return Marked(why_none=NOBODY)
    biases = {pool.number: pool.bias for pool in records}
    offers = tuple(
        Offer(pool, biases[pool], count, canaries.root(pool, count)) for pool, count in sorted(chosen.items())
    )
    row = CodeRow(canaries.room_id, export_id, row_key(root, export_id), offers)
    within = np.zeros(len(numbers), np.bool_)
    for pool, count in chosen.items():
        within |= (numbers >= coded(pool, 0)) & (numbers < coded(pool, count))
    offered = np.unique(numbers[within])
    sample = found(offered >> np.uint64(32), offered & np.uint64(BIAS_ONE - 1))
    heads = offered[bits([row], sample)[0]]
    expected: dict[int, float] = dict.fromkeys(wanted.pools, 0.0)
    for pool, bias in biases.items():
        own = int(((offered >> np.uint64(32)) == pool).sum())
        expected[bias] = expected.get(bias, 0.0) + own * bias / BIAS_ONE
    names_from = smallest_sample(persons, expected, colluders=rule.colluders, exports=exports)
    salt = entropy(SALT_BYTES)
    return Marked(
        row_opening(row, salt),
        commit_row(row, salt),
        bitmap(ordinals[np.isin(numbers, heads)]),
        bitmap(offered),
        names_from or 0,
        "" if names_from else TOO_FEW,
    )


def _offers(wanted: Sizes, records: list[PoolRecord], numbers: U64) -> Mapping[int, int]:
    """Pool to how many of its canaries are offered: the first ones, until enough are among the records."""
    chosen = {}
    for bias, count in wanted.pools.items():
        left = count
        for pool in records:
            own = numbers[(numbers >> np.uint64(32)) == pool.number]
            if pool.bias != bias or left <= 0 or not len(own):
                continue
            whole = len(own) < left
            chosen[pool.number] = pool.count if whole else int(own[left - 1] & np.uint64(BIAS_ONE - 1)) + 1
            left -= len(own)
    return chosen
