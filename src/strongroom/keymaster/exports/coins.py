"""Throws the coins of an export: which of the canary persons among its records it holds, and what commits to that.

Rules it keeps:

1. Coins are thrown for pools that were registered before, under a key of this export alone; the keymaster commits to
   them before anybody is released a key.
2. Of each bias so many canaries are offered as the size asks for, counted among the records that were chosen: a filter
   lets a part of a pool through, and no coin decides how many are offered.
3. No canaries where decisions are taken on the copy, where subjects are named, and where the share would be too large.
   Whether it would be, everybody among the records is counted for, canaries too: one row more tells nobody apart.
4. Where the room has canaries, a copy without any shows who is one. A purpose whose copies have them makes it when
   another person agrees, or, where it allows that, when somebody breaks the glass, which others review.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from strongroom.evidence.code import BIAS_ONE, Sizes, bits, found, sizes, smallest_sample
from strongroom.evidence.coderow import CodeRow, Offer, commit_row, row_key, row_opening
from strongroom.keymaster.canaries.api import PoolRecord
from strongroom.keymaster.canaries.register import CanaryRegister
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.api import DECIDES, NAMED, ExportPlan
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.marks import U64, Added, Marked, coded
from strongroom.keymaster.seenmaps import bitmap
from strongroom.purpose.model import CanaryRule

SALT_BYTES = 16
EXPORTS_EXPECTED = 10_000
NOBODY = "no canary persons are planted among these records: tokens alone mark this export"
TOO_FEW = "too few canary persons are planted: even the whole export may not name its recipient"
_SHOWS = "has no canary persons, and so shows who is one: another person must agree"
UNMARKED_NAMED, UNMARKED_FEW = f"a copy of named subjects {_SHOWS}", f"a copy of so few persons {_SHOWS}"


class Coins:
    """The coins of one keymaster's exports."""

    def __init__(self, core: Core, canaries: CanaryRegister, ledger: ExportLedger) -> None:
        self._core = core
        self._canaries = canaries
        self._ledger = ledger

    def unmarked(self, purpose: str, plan: ExportPlan, chosen: int) -> str:
        """Why another person must agree to an export; empty where the purpose alone decides.

        Args:
            purpose: Under which purpose.
            plan: What it is to hold.
            chosen: How many are among its records, canaries too.
        """
        rule = self._rule(purpose)
        if rule is None or not self._canaries.any():
            return ""
        if plan.named:
            return UNMARKED_NAMED
        return "" if self._wanted(rule, chosen).why_none is None else UNMARKED_FEW

    def throw(self, export_id: bytes, purpose: str, plan: ExportPlan, persons: int, added: Added) -> Marked:
        """Throw the coins of an export that is about to start.

        Args:
            export_id: 16 B.
            purpose: Under which purpose.
            plan: What it is to hold.
            persons: How many people the export has.
            added: The canaries among its records.
        """
        rule = self._rule(purpose)
        if rule is None:
            return Marked(why_none=DECIDES)
        if plan.named:
            return Marked(why_none=NAMED)
        ordinals, numbers = added.columns()
        wanted, of_all = self._wanted(rule, persons), self._wanted(rule, persons + len(ordinals))
        if of_all.why_none is not None:
            return Marked(why_none=wanted.why_none or of_all.why_none)
        if wanted.why_none is not None:  # too few people, and enough with the canaries
            wanted = of_all
        canaries, core = self._canaries, self._core
        records = canaries.records()
        chosen = _offers(wanted, records, np.unique(numbers))
        if not chosen:
            return Marked(why_none=NOBODY)
        biases = {pool.number: pool.bias for pool in records}
        offers = tuple(
            Offer(pool, biases[pool], count, canaries.root(pool, count)) for pool, count in sorted(chosen.items())
        )
        key = row_key(self._ledger.root(core.state.read()), export_id)
        row = CodeRow(canaries.room_id, export_id, key, offers)
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
        names_from = smallest_sample(persons, expected, colluders=rule.colluders, exports=self._expected())
        salt = core.entropy(SALT_BYTES)
        return Marked(
            row_opening(row, salt),
            commit_row(row, salt),
            bitmap(ordinals[np.isin(numbers, heads)]),
            bitmap(offered),
            names_from or 0,
            "" if names_from else TOO_FEW,
        )

    def _rule(self, purpose: str) -> CanaryRule | None:
        known = self._core.standing.policy.purposes.get(purpose)
        return None if known is None or known.export is None else known.export.canaries

    def _wanted(self, rule: CanaryRule, chosen: int) -> Sizes:
        return sizes(chosen, colluders=rule.colluders, sample=rule.sample, exports=self._expected())

    def _expected(self) -> int:
        """How many exports the room expects to issue in all."""
        return max(EXPORTS_EXPECTED, self._ledger.count() + 1)


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
