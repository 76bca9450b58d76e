"""Chooses which runs a compaction merges: neighbours in the order of commits, so that a look-up passes few of them.

Rules it keeps:

1. Only runs of neighbouring commits are merged, and the runs of one commit, which are disjoint, stay together: what is
   newer stays newer.
2. Neighbours are merged when neither has more than TIER_RATIO times the entries of the other; all that are smaller than
   SMALL_ENTRIES count as that many. So an entry is written anew about as often as its table grows by a quarter.
3. If more than COMMITS_LEFT_MAX would be left, the neighbours that cost least are merged, however they differ.

The policy is that of size tiers over an ordered sequence; see Mathieu, Staelin, Young and Yousefi, "Bigtable merge
compaction" (2014), for what is best when only neighbours may be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strongroom.index.merge import MERGE_COMMITS_MAX, MERGE_RUNS_MAX

if TYPE_CHECKING:
    from strongroom.catalog.entries import ObjectEntry

TIER_RATIO = 4
SMALL_ENTRIES = 4096
COMMITS_LEFT_MAX = 6
"""A look-up passes no more runs than that after a compaction; 8 before a put says that one is due."""


@dataclass(frozen=True)
class _Tier:
    """The commits from `first` to before `last`, with their entries."""

    first: int
    last: int
    entries: int

    def with_newer(self, newer: _Tier) -> _Tier:
        return _Tier(self.first, newer.last, self.entries + newer.entries)

    def is_like(self, other: _Tier) -> bool:
        low, high = sorted((self.entries, other.entries))
        return high <= TIER_RATIO * max(low, SMALL_ENTRIES)


def chosen_runs(runs: Iterable[ObjectEntry]) -> tuple[list[list[ObjectEntry]], bool]:
    """Which runs to merge, each list to one commit's place; and whether more is to be merged when that is done.

    Args:
        runs: Those of one table, kind and field.

    Returns:
        Lists of runs, oldest first, of 2 to MERGE_COMMITS_MAX commits each. A longer stretch of commits is cut.
    """
    commits: dict[int, list[ObjectEntry]] = {}
    for run in runs:
        commits.setdefault(run.commit, []).append(run)
    numbers = sorted(commits)
    sizes = [sum(run.entries for run in commits[number]) for number in numbers]
    chosen: list[list[ObjectEntry]] = []
    wanted = stretches(sizes)
    for first, last in wanted:
        pieces = _pieces([commits[number] for number in numbers[first:last]])
        chosen += [piece for piece in pieces if len({run.commit for run in piece}) > 1]
    whole = {(some[0].commit, some[-1].commit) for some in chosen}
    left = any((numbers[first], numbers[last - 1]) not in whole for first, last in wanted)
    return chosen, left and bool(chosen)


def _pieces(commits: Sequence[list[ObjectEntry]]) -> list[list[ObjectEntry]]:
    """The runs of some commits, oldest first, in lists that can be merged at once."""
    pieces: list[list[ObjectEntry]] = []
    taken = MERGE_COMMITS_MAX
    for runs in commits:
        if taken == MERGE_COMMITS_MAX or len(pieces[-1]) + len(runs) > MERGE_RUNS_MAX:
            pieces.append([])
            taken = 0
        pieces[-1] += runs
        taken += 1
    return pieces


def stretches(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Which of some commits, oldest first, to merge, by the entries of each: (first, after the last), two or more."""
    tiers = _tiered(_Tier(at, at + 1, size) for at, size in enumerate(sizes))
    while len(tiers) > COMMITS_LEFT_MAX:
        entries = np.array([tier.entries for tier in tiers], np.int64)
        at = int(np.argmin(entries[:-1] + entries[1:]))
        tiers = _tiered([*tiers[:at], tiers[at].with_newer(tiers[at + 1]), *tiers[at + 2 :]])
    return [(tier.first, tier.last) for tier in tiers if tier.last - tier.first > 1]


def _tiered(tiers: Iterable[_Tier]) -> list[_Tier]:
    """Neighbours that are alike, merged until no two are."""
    found: list[_Tier] = []
    for tier in tiers:
        found.append(tier)
        while len(found) > 1 and found[-2].is_like(found[-1]):
            newer = found.pop()
            found[-1] = found[-1].with_newer(newer)
    return found
