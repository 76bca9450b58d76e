"""Says how many rows a value is expected to have, from how many it has in the sample and how many the others have.

A person with a value is one of those who have it; a canary with the value is one more. If values were drawn as often as
they stand in the sample, those of canaries would stand once more than those of people, and whoever counts would see it.
What is expected of a value seen so many times is less by just as much (Good 1953, Robbins 1956).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_VALUES_MIN = 20
_ROWS_MAX = 2_500  # of a value: what one row more is of so many nobody counts
_LEAST = 0.05
_GRID_STEP = 0.2
_STEPS = 400


def expected(counts: Ints) -> Floats:
    """How many rows each value is expected to have in another sample of the same size, f64[values].

    The rates of all values are taken as drawn from one distribution, the likeliest there is for these counts
    (Kiefer and Wolfowitz 1956), found by expectation maximisation on a grid; a value's share is the mean of what rates
    it may have. That a value was seen at all is conditioned on.

    Args:
        counts: Rows of each value, i64[values], each at least 1.
    """
    found = counts.astype(np.float64)
    small = counts <= _ROWS_MAX
    if int(small.sum()) < _VALUES_MIN:
        return found
    seen, which, of_each = np.unique(counts[small], return_inverse=True, return_counts=True)
    rates = np.arange(np.sqrt(_LEAST), np.sqrt(float(seen[-1])) + 2, _GRID_STEP) ** 2
    chance = _chance(seen, rates)
    share = np.full(len(rates), 1 / len(rates))
    for _ in range(_STEPS):
        share *= (of_each / (chance @ share)) @ chance / of_each.sum()
    found[small] = ((chance @ (share * rates)) / (chance @ share))[which]
    return found


def _chance(seen: Ints, rates: Floats) -> Floats:
    """Chance of each count, where it is not 0, at each rate: f64[counts, rates]."""
    highest = int(seen[-1])
    factorials = np.concatenate([np.zeros(1), np.cumsum(np.log(np.arange(1, highest + 1)))])
    logs = seen[:, None] * np.log(rates) - rates - factorials[seen][:, None] - np.log(-np.expm1(-rates))
    found: Floats = np.exp(logs)
    return found


def row_weights(codes: Ints) -> Floats:
    """How likely each row is drawn for its value, f64[n]: what the value is expected to have over what it has.

    What is expected of values that no row has is given to those of one row: they are the likest to them.

    Args:
        codes: Values, i64[n]; below 0 where there is none, which has weight 0.
    """
    weights = np.zeros(len(codes))
    there = np.flatnonzero(codes >= 0)
    if not len(there):
        return weights
    _, which, counts = np.unique(codes[there], return_inverse=True, return_counts=True)
    share = expected(counts)
    once = counts == 1
    if once.any():
        share[once] += max(0.0, (len(there) - float(share.sum())) / int(once.sum()))
    weights[there] = (share / counts)[which]
    return weights
