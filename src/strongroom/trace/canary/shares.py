"""Says how many rows a value is expected to have, from how many it has in the sample and how many the others have.

A person with a value is one of those who have it; a canary with the value is one more. If values were drawn as often as
they stand in the sample, those of canaries would stand once more than those of people, and whoever counts would see it.
What is expected of a value seen so many times is less by just as much (Good 1953, Robbins 1956).
"""

from __future__ import annotations

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
_GRID_STEP = 0.1
_STEPS = 1_000
_STEPS_BETWEEN = 10
_LOGARITHM_LEFT = 0.5  # of the likelihood, so near to the likeliest distribution
_KEPT = 1e-3
_SAMPLED_MIN = 0.01
_FITTED_MAX = 40  # counts in the sample up to this one have shares that are fitted; others have what is expected
_VALUES_HELD = 5.0  # a fitted share is that of as many values as have the count, and of so many with what is expected
_BESIDE = 60  # counts above those, which values have as often in the room as some of those
_ROOM_POINTS = 400
_FIT_STEPS = 200
_TINY = 1e-12


def shares(counts: Ints, sampled: float, drawn: Mask) -> Floats:
    """How many rows each value is to be given in a sample of the same size, f64[values].

    Where the sample is the room, what is expected of it: the mean of what rates it may have. Where it is part of the
    room, nobody knows how many rows of the room have a value; the shares are those with which values of n rows of the
    room come out as often as expected, for every n (`_fitted`). What is expected of values that nobody in the room has
    is given to the rarest.

    Args:
        counts: Rows of each value in the sample, i64[values], each at least 1.
        sampled: Share of the room in the sample.
        drawn: Which values may be drawn, bool[values].
    """
    found = counts.astype(np.float64)
    small = counts <= _ROWS_MAX
    if int(small.sum()) < _VALUES_MIN:
        return found
    seen, which, of_each = np.unique(counts[small], return_inverse=True, return_counts=True)
    rates = _Rates.of(seen, of_each)
    room = rates.in_room(sampled)
    share = rates.mean(seen)
    able = np.bincount(which, drawn[small]) / of_each
    rarest = int(np.argmax(able > 0))
    if able[rarest] > 0 and seen[rarest] <= _FITTED_MAX:
        if sampled < 1:
            every = np.arange(1, min(int(seen[-1]), _FITTED_MAX + _BESIDE) + 1)
            among = int(np.searchsorted(seen, every[-1], side="right"))
            # Of counts that no value happens to have, those above the rarest could be drawn.
            may = (every >= seen[rarest]).astype(np.float64)
            may[seen[:among] - 1] = able[:among]
            fitted = _fitted(room, may, rates.mean(every), len(which))
            share[:among] = fitted[seen[:among] - 1]
        share[rarest] += room.unseen() * len(which) / (able[rarest] * of_each[rarest])
    found[small] = share[which]
    return found


class _Rates(NamedTuple):
    """What rates values of the sample have that were seen at all.

    The rates of all values are taken as drawn from one distribution, the likeliest there is for their counts (Kiefer
    and Wolfowitz 1956), on a grid.

    Args:
        roots: Square roots of rates, in rows of the sample, evenly spaced; f64[r].
        share: Share of the values seen, f64[r].
    """

    roots: Floats
    share: Floats

    @classmethod
    def of(cls, seen: Ints, of_each: Ints) -> _Rates:
        """The likeliest for so many values of each count."""
        roots = np.arange(np.sqrt(_LEAST), np.sqrt(float(seen[-1])) + 2, _GRID_STEP)
        chance = _chance(seen, roots**2)
        return cls(roots, _likeliest(chance, of_each))

    def mean(self, seen: Ints) -> Floats:
        """Mean rate of values of each count, f64[k]."""
        chance = _chance(seen, self.roots**2)
        found: Floats = (chance @ (self.share * self.roots**2)) / np.maximum(chance @ self.share, _TINY)
        return found

    def in_room(self, sampled: float) -> _Room:
        """The same in the room, of which a share was sampled."""
        # There counts say more of a rate than these points do; those of a hundred times as many rows, nearly all.
        sampled = max(sampled, _SAMPLED_MIN)
        parts = int(np.ceil(1 / np.sqrt(sampled)))
        beside = (np.arange(parts) - (parts - 1) / 2) * _GRID_STEP / parts
        rates = (self.roots[:, None] + beside).ravel().clip(_GRID_STEP) ** 2
        return _Room(rates / sampled, np.repeat(self.share / parts, parts) / -np.expm1(-rates), sampled)


def _likeliest(chance: Floats, of_each: Ints) -> Floats:
    """Shares of the grid's points with which so many values of each count are likeliest, f64[r].

    Expectation maximisation, whose steps are drawn out where they go one way (SQUAREM, Varadhan and Roland 2008). It
    ends where no distribution can be likelier by more than `_LOGARITHM_LEFT`: the likelihood is concave in the shares.
    """
    weight = of_each / of_each.sum()

    def likely(share: Floats) -> Floats:
        found: Floats = np.maximum(chance @ share, _TINY)
        return found

    def better(share: Floats) -> Floats:
        found: Floats = share * ((weight / likely(share)) @ chance)
        return found

    share: Floats = np.full(chance.shape[1], 1 / chance.shape[1])
    for step in range(1, _STEPS + 1):
        one = better(share)
        two = better(one)
        first, second = one - share, two - 2 * one + share
        length = max(1.0, float(np.linalg.norm(first) / max(float(np.linalg.norm(second)), _TINY)))
        far = np.maximum(share + 2 * length * first + length**2 * second, _KEPT * two)
        far /= far.sum()
        share = better(far) if weight @ np.log(likely(far)) > weight @ np.log(likely(two)) else two
        if step % _STEPS_BETWEEN == 0:
            rise = ((weight / likely(share)) @ chance).max() - 1
            if rise * of_each.sum() < _LOGARITHM_LEFT:
                break
    return share


def _chance(seen: Ints, rates: Floats) -> Floats:
    """Chance of each count, where it is not 0, at each rate: f64[counts, rates]."""
    logs = seen[:, None] * np.log(rates) - rates - _log_factorials(seen)[:, None] - np.log(-np.expm1(-rates))
    found: Floats = np.exp(logs)
    return found


def _log_factorials(numbers: Ints) -> Floats:
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

    def mean(self, rows: Ints) -> Floats:
        """How many rows of a sample are expected of a value that so many rows of the room have, f64[n]."""
        logs = rows[:, None] * np.log(self.rates) - self.rates
        chance = np.exp(logs - logs.max(axis=1, keepdims=True))
        rate = (chance @ (self.weight * self.rates)) / np.maximum(chance @ self.weight, _TINY)
        found: Floats = rate * self.sampled
        return found

    def unseen(self) -> float:
        """How many rows of a sample are expected of values that nobody in the room has, for one that was seen."""
        return float((self.weight * np.exp(-self.rates) * self.rates).sum() * self.sampled)


def _fitted(room: _Room, able: Floats, start: Floats, values: int) -> Floats:
    """Shares by count in the sample with which values come out as expected by their count in the room.

    Whoever counts has the room before him: of values that n rows have, canaries are to have as many as n lets expect,
    whatever the sample has of each. Values of n rows have k rows in the sample by the binomial distribution; shares
    by k are found by the multiplicative steps of Richardson (1972) and Lucy (1974), which keep them positive and
    bring both distributions over n as close as can be (Kullback and Leibler). A count that few values have says little:
    its share stays near what is expected, as if `_VALUES_HELD` more values had that.

    Args:
        room: What is known of the room.
        able: Share of the values of 1, 2, … rows of the sample that may be drawn, f64[k].
        start: What is expected, f64[k]; counts above `_FITTED_MAX` keep it.
        values: How many values were seen.
    """
    seen = np.arange(1, len(able) + 1)
    rows = np.unique(np.rint(np.geomspace(1, max(2.0, seen[-1] / room.sampled), _ROOM_POINTS)).astype(np.int64))
    logs = rows[:, None] * np.log(room.rates) - room.rates - _log_factorials(rows)[:, None]
    often = (np.exp(logs) @ room.weight) * np.gradient(rows.astype(np.float64))
    often[rows > _FITTED_MAX / room.sampled] = 0
    wanted = room.mean(rows)
    parts = _binomial(rows, seen, room.sampled) * able
    share = start.copy()
    free = (seen <= _FITTED_MAX) & (able > 0)
    weight = often[:, None] * parts[:, free] * values
    held = _VALUES_HELD * start[free]
    total = weight.sum(axis=0) + _VALUES_HELD
    for _ in range(_FIT_STEPS):
        has = parts @ share
        share[free] *= np.where(has > 0, wanted / np.maximum(has, _TINY), 0) @ weight
        share[free] = (share[free] + held) / total
    return share


def _binomial(rows: Ints, seen: Ints, sampled: float) -> Floats:
    """Chance that of so many rows of the room so many are in the sample: f64[rows, seen]."""
    able = seen[None, :] <= rows[:, None]
    rest = np.where(able, rows[:, None] - seen[None, :], 0)
    logs = _log_factorials(rows)[:, None] - _log_factorials(seen)[None, :] - _log_factorials(rest)
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
    found: Floats = (shares(counts, sampled, able[first]) / counts)[which]
    return found
