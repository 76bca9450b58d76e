"""Which canary is in which export: a Tardos-type code with a few biases, thrown by keyed coins.

Rules:

1. A pool is a numbered list of canaries of one bias p. Its canaries are made, and committed to, before any coin is
   thrown for them, members or not: that a canary exists says nothing about any export (decision 41).
   What goes into files together, as the persons of a household, is one canary here: it has one number, and one coin.
2. Export i has canary j exactly when coin(key of i, pool, j) is heads, of probability p, whatever else is known.
3. An export is offered the first canaries of each pool, as many as its size asks for. No coin decides how many.
4. Sizes come from what must be published for the code to speak: so many canaries expected among the published rows.

What was found is weighed in `verdict`; contents of canaries and where they stand in a file are left to others.

Sources: G. Tardos, "Optimal probabilistic fingerprint codes", J. ACM 55(2), 2008; K. Nuida et al., discrete biases,
Designs, Codes and Cryptography 52, 2009.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.evidence.coderow import CodeRow
from strongroom.seal.coins import Throws, heads

BIAS_ONE = 1 << 32
RARE, QUARTER, HALF, MOST = BIAS_ONE // 64, BIAS_ONE // 4, BIAS_ONE // 2, 3 * (BIAS_ONE // 4)

HITS: dict[int, dict[int, int]] = {
    1: {RARE: 26},
    2: {RARE: 31, HALF: 260},
    3: {RARE: 78, HALF: 702},
    4: {RARE: 96, QUARTER: 224, HALF: 478, MOST: 798},
    5: {RARE: 202, QUARTER: 469, HALF: 1005, MOST: 1676},
}
"""Colluders → bias → canaries of one export to expect among the published rows.

Sized so that with 10,000 exports and a bound of 1e-9 every strategy of so many colluders is answered in 99 of 100
cases, with 30 % of the canaries lost, or with 10 % foreign rows, and not both. `bench/detection.py` measures it.
"""
COLLUDERS_MAX = max(HITS)
COLLUDERS = 2
SAMPLE = 750_000
SHARE_MAX = 0.01
_DESIGN_NATS = math.log(1e4 / 1e-9) + math.log(26)

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Fits = Callable[[CodeRow], Bool | None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many canaries an export of so many rows gets.

    Args:
        expected: Bias → members to expect.
        pools: Bias → canaries that the pool must have, members or not.
        share: Expected members as a share of the export's rows.
        why_none: Why the export gets no canaries and must carry tokens alone; None where it gets some.
    """

    expected: Mapping[int, int]
    pools: Mapping[int, int]
    share: float
    why_none: str | None = None


def sizes(
    rows: int,
    *,
    colluders: int = COLLUDERS,
    sample: float = SAMPLE,
    exports: int = 10_000,
    share_max: float = SHARE_MAX,
) -> Sizes:
    """How many canaries an export needs to name its recipient when a sample of it is published.

    What counts is how many canaries are among the published rows, so the share of canaries is that number over the
    sample, and a small sample asks for a large share.

    Args:
        rows: Rows of the export (persons, where a person has several).
        colluders: How many recipients may put their copies together, 1 to 5.
        sample: The smallest sample that must name its source: rows (1 or more), or a share of the export (below 1).
        exports: How many exports the room expects to issue in all.
        share_max: The greatest share of canaries that the export's user can bear.

    Returns:
        The sizes; without canaries, and with the reason, where they would be more than `share_max` of the export.

    Raises:
        UsageError: A number is out of range.
    """
    if rows < 0 or exports < 1 or not 0 < share_max < 1:
        raise UsageError("an export has 0 or more rows, a room at least 1, and the share of canaries is within 0 and 1")
    if colluders not in HITS:
        raise UsageError(f"a code stands 1 to {COLLUDERS_MAX} colluders", hint="more would take too many canaries")
    if not 0 < sample < math.inf:
        raise UsageError("a sample is a number of rows, or a share of the export below 1")
    published = max(1, min(rows, math.ceil(sample * rows if sample < 1 else sample)))
    hits = _hits(colluders, exports)
    share = sum(hits.values()) / published
    if share > share_max or not rows:
        why = (
            f"{published:,} published rows would have to hold {sum(hits.values()):,.0f} canaries to name a source, "
            f"and at most {share_max:.2%} may be canaries: tokens alone mark this export"
        )
        return Sizes({}, {}, 0.0, why)
    expected = {bias: math.ceil(found * rows / published) for bias, found in hits.items()}
    pools = {bias: math.ceil(found * rows / published * BIAS_ONE / bias) for bias, found in hits.items()}
    return Sizes(expected, pools, sum(expected.values()) / rows)


def smallest_sample(
    rows: int, members: Mapping[int, float], *, colluders: int = COLLUDERS, exports: int = 10_000
) -> int | None:
    """The smallest sample that is expected to name its source.

    Args:
        rows: Rows of the export (persons, where a person has several).
        members: Bias → canaries that the export has, or is expected to have.
        colluders: As for `sizes`.
        exports: As for `sizes`.

    Returns:
        So many rows; None where the whole export would not do.
    """
    hits = _hits(colluders, exports)
    if any(members.get(bias, 0.0) < needed for bias, needed in hits.items()):
        return None
    return max(math.ceil(needed * rows / members[bias]) for bias, needed in hits.items())


def _hits(colluders: int, exports: int) -> dict[int, float]:
    """Bias → canaries of one export to expect among the published rows, with so many exports issued in all."""
    scale = max(1.0, (math.log(exports / 1e-9) + math.log(26)) / _DESIGN_NATS)
    return {bias: scale * found for bias, found in HITS[colluders].items()}


def members(row: CodeRow) -> dict[int, U64]:
    """The canaries of an export: pool → their numbers, ascending."""
    empty = np.empty(0, np.uint64)
    return {
        offer.pool: np.concatenate([empty, *heads(row.key, offer.pool, offer.bias, offer.count)])
        for offer in row.offers
    }


@dataclass(frozen=True, slots=True)
class Found:
    """The canaries found in a sample, each once, in the order of pools and numbers.

    Args:
        pools: u32[n].
        numbers: u64[n].
    """

    pools: U32
    numbers: U64

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the list, for the log before any coin is thrown for it: nobody leaves out finds afterwards."""
        head = b"strongroom finds 1" + len(self).to_bytes(8, "little")
        return hashlib.sha256(head + self.pools.astype("<u4").tobytes() + self.numbers.astype("<u8").tobytes()).digest()

    @property
    def columns(self) -> tuple[list[int], list[int]]:
        """Pools and numbers as lists."""
        return self.pools.tolist(), self.numbers.tolist()

    def offered_to(self, row: CodeRow) -> Found:
        """Those that were offered to an export."""
        spans = _spans(self)
        parts = [_offered(self, spans, offer.pool, offer.count) for offer in row.offers]
        keep = np.zeros(len(self), np.bool_)
        for part in parts:
            keep[part] = True
        return Found(self.pools[keep], self.numbers[keep])

    def more(self, pools: npt.ArrayLike, numbers: npt.ArrayLike) -> Found:
        """These and others: rows that are found later, again or in another order change nothing else."""
        return found(np.concatenate([_u64(self.pools), _u64(pools)]), np.concatenate([self.numbers, _u64(numbers)]))


def found(pools: npt.ArrayLike, numbers: npt.ArrayLike) -> Found:
    """Put found canaries in order, each once.

    Args:
        pools: The pool of each find, n of them below 2^32.
        numbers: Its number there, n of them.

    Raises:
        UsageError: Not as many pools as numbers, or one that is none.
    """
    wide = _u64(pools)
    places = _u64(numbers)
    if wide.ndim != 1 or wide.shape != places.shape or (wide.size and int(wide.max()) >= BIAS_ONE):
        raise UsageError("each canary that was found has a pool below 2^32 and a number there")
    order = np.lexsort((places, wide))
    wide, places = wide[order], places[order]
    first = np.ones(len(wide), np.bool_)
    first[1:] = (wide[1:] != wide[:-1]) | (places[1:] != places[:-1])
    return Found(wide[first].astype(np.uint32), places[first])


def _u64(values: npt.ArrayLike) -> U64:
    given = np.asarray(values)
    if given.size == 0:
        return np.empty(given.shape, np.uint64)
    if given.dtype.kind not in "iu" or int(given.min()) < 0:
        raise UsageError("pools and numbers of canaries are whole numbers from 0")
    return given.astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Counts:
    """What the found canaries are to each of some exports: all that the evidence depends on.

    Args:
        exports: n ids, 16 bytes each.
        biases: b biases, ascending.
        held: i64[n, b], found canaries that the export holds.
        offered: i64[n, b], found canaries that were offered to it.
    """

    exports: list[bytes]
    biases: tuple[int, ...]
    held: I64
    offered: I64


def count_held(rows: Iterable[CodeRow], sample: Found, fits: Fits | None = None) -> Counts:
    """Count, for each export, how many of the canaries found were offered to it, and how many of these it holds.

    Work grows with exports times finds; memory with their sum.

    Args:
        rows: The code rows, one at a time.
        sample: What was found.
        fits: Where exports were filtered: which finds the filter lets through, bool[len(sample)]; None for all. It may
            depend on anything but coins.
    """
    throws = Throws(sample.pools, sample.numbers)
    spans = _spans(sample)
    exports: list[bytes] = []
    tallies: list[dict[int, tuple[int, int]]] = []
    for row in rows:
        exports.append(row.export)
        tallies.append(_tally(row, sample, spans, throws, None if fits is None else fits(row)))
    biases = tuple(sorted({bias for tally in tallies for bias in tally}))
    held = np.array([[tally.get(bias, (0, 0))[0] for bias in biases] for tally in tallies], np.int64)
    offered = np.array([[tally.get(bias, (0, 0))[1] for bias in biases] for tally in tallies], np.int64)
    shape = (len(exports), len(biases))
    return Counts(exports, biases, held.reshape(shape), offered.reshape(shape))


def bits(rows: Sequence[CodeRow], sample: Found) -> Bool:
    """Which export holds which of the canaries found: bool[exports, finds], false where it was not offered."""
    out = np.zeros((len(rows), len(sample)), np.bool_)
    throws, spans = Throws(sample.pools, sample.numbers), _spans(sample)
    for line, row in zip(out, rows, strict=True):
        coins = throws.under(row.key)
        for offer in row.offers:
            part = _offered(sample, spans, offer.pool, offer.count)
            line[part] = coins[part] < np.uint32(offer.bias)
    return out


def _spans(sample: Found) -> dict[int, tuple[int, int]]:
    pools, starts = np.unique(sample.pools, return_index=True)
    edges = [*starts.tolist(), len(sample)]
    return dict(zip(pools.tolist(), pairwise(edges), strict=True))


def _offered(sample: Found, spans: Mapping[int, tuple[int, int]], pool: int, count: int) -> slice:
    """Where the finds of a pool stand that are among its first `count` canaries."""
    start, stop = spans.get(pool, (0, 0))
    return slice(start, start + int(np.searchsorted(sample.numbers[start:stop], np.uint64(count))))


def _tally(
    row: CodeRow, sample: Found, spans: Mapping[int, tuple[int, int]], throws: Throws, fits: Bool | None
) -> dict[int, tuple[int, int]]:
    coins = throws.under(row.key) if row.offers else np.empty(0, np.uint32)
    tally: dict[int, tuple[int, int]] = {}
    for offer in row.offers:
        part = _offered(sample, spans, offer.pool, offer.count)
        member = coins[part] < np.uint32(offer.bias)
        offered = len(member)
        if fits is not None:
            member, offered = member & fits[part], int(fits[part].sum())
        held, before = tally.get(offer.bias, (0, 0))
        tally[offer.bias] = held + int(member.sum()), before + offered
    return tally
