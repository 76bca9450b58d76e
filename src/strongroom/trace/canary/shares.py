"""Says how many rows a value is expected to have, from how many it has in the sample and how many the others have.

A person with a value is one of those who have it; a canary with the value is one more. If values were drawn as often as
they stand in the sample, those of canaries would stand once more than those of people, and whoever counts would see it.
What is expected of a value seen so many times is less by just as much (Good 1953, Robbins 1956).
"""

from __future__ import annotations

from collections.abc import Sequence

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_VALUES_MIN = 20
_ROWS_MAX = 2_500  # of a value: what one row more is of so many nobody counts
_LEAST = 0.05
_GRID_STEP = 0.2
_STEPS = 400
_SAMPLED_MIN = 0.01
_FITTED_MAX = 200  # counts in the sample up to this one have weights that are fitted; those of others are what they say
_BESIDE = 60  # counts above those, which values have as often in the room as some of those
_ROOM_POINTS = 400
_FIT_STEPS = 200
_TINY = 1e-12


def expected(counts: Ints, sampled: float = 1.0, drawn: Mask | None = None) -> Floats:
    """How many rows each value is to be given in another sample of the same size, f64[values].

    The rates of all values are taken as drawn from one distribution, the likeliest there is for these counts
    (Kiefer and Wolfowitz 1956), found by expectation maximisation on a grid. A value that n rows of the room have is
    expected to have the mean of what rates it may have. Where the sample is the room, that is its share. Where it is
    part of the room, how many rows of the room have a value is not known, and the shares are those with which
    values of n rows come out as often as expected, for every n (`_fitted`). That a value was seen at all is
    conditioned on; what is expected of values that nobody has is given to the rarest.

    Args:
        counts: Rows of each value in the sample, i64[values], each at least 1.
        sampled: Share of the room in the sample.
        drawn: Which values may be drawn, bool[values]; None for all.
    """
    found = counts.astype(np.float64)
    small = counts <= _ROWS_MAX
    if int(small.sum()) < _VALUES_MIN:
        return found
    drawn = np.ones(len(counts), np.bool_) if drawn is None else drawn
    seen, which, of_each = np.unique(counts[small], return_inverse=True, return_counts=True)
    roots = np.arange(np.sqrt(_LEAST), np.sqrt(float(seen[-1])) + 2, _GRID_STEP)
    rates = roots**2
    chance = _chance(seen, rates)
    share = np.full(len(rates), 1 / len(rates))
    for _ in range(_STEPS):
        share *= (of_each / (chance @ share)) @ chance / of_each.sum()
    # In the room counts say more of a rate than the grid has points for; of a hundred times as many rows, nearly all.
    sampled = max(sampled, _SAMPLED_MIN)
    parts = int(np.ceil(1 / np.sqrt(sampled)))
    fine = (roots[:, None] + (np.arange(parts) - (parts - 1) / 2) * _GRID_STEP / parts).ravel().clip(_GRID_STEP) ** 2
    room = _Room(fine / sampled, np.repeat(share / parts, parts) / -np.expm1(-fine), sampled)
    each = (chance @ (share * rates)) / (chance @ share)
    able = np.bincount(which, drawn[small]) / of_each
    rarest = int(np.argmax(able > 0))
    if sampled < 1 and able[rarest] > 0 and seen[rarest] <= _FITTED_MAX:
        every = np.arange(1, min(int(seen[-1]), _FITTED_MAX + _BESIDE) + 1)
        all_able = (every >= seen[rarest]).astype(np.float64)
        low = int(np.searchsorted(seen, every[-1], side="right"))
        all_able[seen[:low] - 1] = able[:low]
        chance = _chance(every, rates)
        fitted = _fitted(room, every, all_able, (chance @ (share * rates)) / (chance @ share))
        each[:low] = fitted[seen[:low] - 1]
    if able[rarest] > 0 and seen[rarest] <= _FITTED_MAX:
        each[rarest] += room.unseen() * len(which) / (able[rarest] * of_each[rarest])
    found[small] = each[which]
    return found


def _chance(seen: Ints, rates: Floats) -> Floats:
    """Chance of each count, where it is not 0, at each rate: f64[counts, rates]."""
    logs = seen[:, None] * np.log(rates) - rates - log_factorials(seen)[:, None] - np.log(-np.expm1(-rates))
    found: Floats = np.exp(logs)
    return found


def log_factorials(numbers: Ints) -> Floats:
    """Logarithms of factorials, f64[n]."""
    table = np.concatenate([np.zeros(1), np.cumsum(np.log(np.arange(1, int(numbers.max(initial=0)) + 1)))])
    found: Floats = table[numbers]
    return found


class _Room(NamedTuple):
    """What is known of the room's values.

    Args:
        rates: How many rows of the room a value may be expected to have, f64[r].
        weight: How many values have each rate, for one that was seen in the sample, f64[r].
        sampled: Share of the room in the sample.
    """

    rates: Floats
    weight: Floats
    sampled: float

    def mean(self, rows: Floats) -> Floats:
        """How many rows of a sample are expected of a value that so many rows of the room have."""
        chance = self.chance(rows)
        found: Floats = (chance @ (self.weight * self.rates)) / np.maximum(chance @ self.weight, _TINY) * self.sampled
        return found

    def chance(self, rows: Floats) -> Floats:
        """Chance of each count in the room at each rate, each row times a number of its own: f64[rows, rates]."""
        logs = rows[:, None] * np.log(self.rates) - self.rates
        found: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
        return found

    def unseen(self) -> float:
        """How many rows of a sample are expected of values that nobody in the room has, for one that was seen."""
        return float((self.weight * np.exp(-self.rates) * self.rates).sum() * self.sampled)


def _fitted(room: _Room, seen: Ints, able: Floats, start: Floats) -> Floats:
    """Shares by count in the sample with which values come out as expected by their count in the room.

    Whoever counts has the room before him: of values that n rows have, canaries are to have as many as n lets expect,
    whatever the sample has of each. Values of n rows have k rows in the sample by the binomial distribution; shares
    by k are found by the multiplicative steps of Richardson and Lucy, which keep them positive and
    make the two distributions over n as hard to tell apart as can be.

    Args:
        room: What is known of the room.
        seen: Counts in the sample, i64[k], sorted.
        able: Share of the values of each count that may be drawn, f64[k].
        start: Shares to begin with, and those of counts above `_FITTED_MAX`, f64[k].
    """
    rows = np.unique(np.rint(np.geomspace(1, max(2.0, seen[-1] / room.sampled), _ROOM_POINTS)).astype(np.int64))
    logs = rows[:, None] * np.log(room.rates) - room.rates - log_factorials(rows)[:, None]
    often = (np.exp(logs) @ room.weight) * np.gradient(rows.astype(np.float64))
    wanted = room.mean(rows.astype(np.float64))
    parts = _binomial(rows, seen, room.sampled) * able
    share = start.copy()
    free = (seen <= _FITTED_MAX) & (able > 0)
    often[rows > _FITTED_MAX / room.sampled] = 0
    weight = often[:, None] * parts[:, free]
    total = np.maximum(weight.sum(axis=0), _TINY)
    for _ in range(_FIT_STEPS):
        has = parts @ share
        share[free] *= (np.where(has > 0, wanted / np.maximum(has, _TINY), 0) @ weight) / total
    return share


def _binomial(rows: Ints, seen: Ints, sampled: float) -> Floats:
    """Chance that of so many rows of the room so many are in the sample: f64[rows, seen]."""
    able = seen[None, :] <= rows[:, None]
    rest = np.where(able, rows[:, None] - seen[None, :], 0)
    logs = log_factorials(rows)[:, None] - log_factorials(seen)[None, :] - log_factorials(rest)
    logs += seen * np.log(sampled) + rest * np.log1p(-sampled)
    found: Floats = np.where(able, np.exp(logs), 0)
    return found


def row_weights(codes: Ints, sampled: float = 1.0, drawable: Mask | None = None, views: Sequence[Ints] = ()) -> Floats:
    """How likely each row is drawn for its value, f64[n]: what the value is to be given over what it has.

    Where a coarser view of the values is known, each group of the view keeps what is expected of the group: rare
    values stand in sparse groups, which would else have what is expected of those in dense ones.

    Args:
        codes: Values, i64[n]; below 0 where there is none, which has weight 0.
        sampled: Share of the room in the sample.
        drawable: Rows that are drawn from, bool[n], the same for all rows of a value; None for all.
        views: Codes of coarser views at the rows, i64[n] each, the finest first.
    """
    weights = np.zeros(len(codes))
    there = np.flatnonzero(codes >= 0)
    if not len(there):
        return weights
    able = np.ones(len(there), np.bool_) if drawable is None or not drawable[there].any() else drawable[there]
    weights[there] = _of_rows(codes[there], sampled, able)
    for view in views:
        _, group = np.unique(view[there], return_inverse=True)
        wanted = np.bincount(group, _of_rows(group, sampled, np.ones(len(there), np.bool_)))
        has = np.bincount(group, weights[there] * able)
        weights[there] *= np.where(has > 0, wanted / np.maximum(has, _TINY), 1)[group]
    return weights


def _of_rows(codes: Ints, sampled: float, able: Mask) -> Floats:
    """Weights of rows that all have a value."""
    _, first, which, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    found: Floats = (expected(counts, sampled, able[first]) / counts)[which]
    return found
