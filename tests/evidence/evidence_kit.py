"""Exports and samples of them for the tests of tracing."""

import numpy as np

from strongroom.evidence.code import HALF, HITS, RARE, found, members
from strongroom.evidence.coderow import CodeRow, Offer, row_key

ROOT, ROOM = bytes(range(32)), b"r" * 16
DESIGN = 10_000


def export(number, offers):
    """The code row of export `number`."""
    name = number.to_bytes(16, "big")
    return CodeRow(ROOM, name, row_key(ROOT, name), offers)


def whole_offers(colluders=2, times=4):
    """Offers such that a sample of one in `times` of an export holds the designed number of canaries."""
    hits = HITS[colluders]
    return tuple(Offer(pool, bias, int(found_ * times * 2**32 / bias)) for pool, (bias, found_) in enumerate(hits.items()))


def sample_of(rows, rng, share=0.25, strategy="union", pools=None):
    """The canaries in a random share of what some exports publish together, each row by the strategy."""
    found_pools, found_numbers = [], []
    held = [members(row) for row in rows]
    for pool in held[0] if pools is None else pools:
        numbers, holders = np.unique(np.concatenate([one[pool] for one in held]), return_counts=True)
        shown = rng.random(len(numbers)) < share * published(strategy, holders, len(rows))
        found_numbers.append(numbers[shown])
        found_pools.append(np.full(int(shown.sum()), pool))
    return found(np.concatenate(found_pools), np.concatenate(found_numbers))


def published(strategy, holders, colluders):
    """How likely colluders publish a row that `holders` of them have, for each of an array of holders."""
    all_hold, half = holders == colluders, (np.sign(2 * holders - colluders) + 1) / 2
    return {
        "intersection": all_hold * 1.0,
        "union": np.ones(len(holders)),
        "interleave": holders / colluders,
        "majority": np.where(all_hold, 1.0, half),
        "coin": np.where(all_hold, 1.0, 0.5),
        "minority": np.where(all_hold, 1.0, 1 - half),
    }[strategy]


STRATEGIES = ("intersection", "union", "interleave", "majority", "coin", "minority")

__all__ = ["DESIGN", "HALF", "RARE", "ROOM", "ROOT", "STRATEGIES", "export", "published", "sample_of", "whole_offers"]
