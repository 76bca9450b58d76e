"""When a sample was taken, from when its values were those of the room.

Model: a row taken at time T has intervals that hold T: the times in which the room held exactly these values. A share
of the rows is of other dates, spread over the period. A row whose intervals fill the share r of the period is then (1
- foreign) / r + foreign times as likely if they hold T as if all rows were of dates of their own, and `foreign` times
if they do not. A sweep over the ends of intervals adds the logarithms up. Reported are the times of greatest
likelihood, and the smallest set of times that holds `mass` of the posterior under a flat prior over the period.

Averaged over all times and over `FOREIGN_SHARES`, the product of these ratios is an e-value against dates of their
own: its mean is 1 if that is how the rows came, so it is at least 1 / CHANCE_MAX with a chance of at most CHANCE_MAX
(Markov; the changes of a row must be as likely at one time as at another). Only then, and when most of the period is
left out, is a date claimed. Without rows of other dates the interval of greatest overlap has a mean width of 2 / (n *
rate), for n rows that each change `rate` times in a unit of time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FOREIGN = 0.1
FOREIGN_SHARES = (0.25, 0.5, 0.75)
MASS = 0.999
CHANCE_MAX = 1e-6
PERIOD_SHARE_MAX = 0.5
PEAKS_MAX = 5
_SHARE_MIN = 1e-9


@dataclass(frozen=True)
class Interval:
    """Times from `start` to before `stop`.

    Args:
        start: In the unit of the period.
        stop: In the unit of the period.
        support: Rows that may be of a time in it: the most at any.
        mass: Posterior probability that the sample was taken in it, given that it was taken at one time of the period.
    """

    start: int
    stop: int
    support: int
    mass: float

    @property
    def width(self) -> int:
        """How long it is."""
        return self.stop - self.start


@dataclass(frozen=True)
class Dating:
    """When a sample was taken.

    Args:
        claimed: Whether the evidence allows to say so.
        why: What the evidence lacks, or "".
        rows: Rows with an interval in the period.
        informative: Those whose intervals leave out a part of the period.
        empty: Rows without one: no time in the period had their values.
        foreign: The share of rows of other dates under which all rows are likeliest, not less than what was stated.
        best: Where the likelihood is greatest; several where they tie.
        likely: The smallest set of times with at least `mass`, in order.
        log_e: The e-value against dates of their own, as a natural logarithm.
        others: Further times on which the rows that are not of the best one agree, by an e-value of their own: takes
            that were put together.
    """

    claimed: bool
    why: str
    rows: int
    informative: int
    empty: int
    foreign: float
    best: tuple[Interval, ...]
    likely: tuple[Interval, ...]
    log_e: float
    others: tuple[Interval, ...] = ()


@dataclass(frozen=True)
class _Rows:
    """Intervals inside the period: starts and stops i64[m], and to which of `count` rows each belongs."""

    starts: Int64s
    stops: Int64s
    rows: Int64s
    count: int

    def shares(self, length: float) -> Floats:
        """What share of the period the intervals of each row fill, f64[count]."""
        filled = np.bincount(self.rows, (self.stops - self.starts).astype(np.float64), self.count)
        return np.clip(filled / length, _SHARE_MIN, 1.0)

    def only(self, keep: Mask) -> _Rows:
        """Some of the rows, numbered anew."""
        number = np.cumsum(keep) - 1
        chosen = keep[self.rows]
        return _Rows(self.starts[chosen], self.stops[chosen], number[self.rows[chosen]], int(keep.sum()))


@dataclass(frozen=True)
class _Sweep:
    """Times between neighbouring ends.

    Args:
        ends: i64[k+1].
        support: Rows whose intervals hold them, i64[k].
        logs: Logarithm of the likelihood ratio at any of these times, f64[k].
        foreign: Share of rows of other dates that this is for.
    """

    ends: Int64s
    support: Int64s
    logs: Floats
    foreign: float

    @property
    def masses(self) -> Floats:
        """Logarithm of likelihood ratio times length, f64[k]."""
        return np.asarray(self.logs + np.log(np.diff(self.ends).astype(np.float64)), np.float64)

    @property
    def log_mean(self) -> float:
        """Logarithm of the likelihood ratio averaged over the period."""
        masses = self.masses
        return float(
            masses.max() + np.log(np.exp(masses - masses.max()).sum()) - math.log(self.ends[-1] - self.ends[0])
        )


def date_rows(
    valid_from: Int64s,
    valid_to: Int64s,
    *,
    period: tuple[int, int],
    rows: Int64s | None = None,
    foreign: float = FOREIGN,
    mass: float = MASS,
) -> Dating:
    """Find when a sample was taken.

    Args:
        valid_from: When values became the room's, i64[m], in any unit.
        valid_to: When they ceased to be, i64[m]; any large number if they did not.
        period: The times that are possible: from the first snapshot to before now.
        rows: Which row each interval is of, i64[m], from 0; intervals of one row do not overlap. One each if None.
        foreign: Least share of rows that may be of other dates; the more, the wider what is reported.
        mass: Least posterior probability of the times reported as likely.

    Raises:
        UsageError: The arrays differ in length, the period is empty, or a share is not between 0 and 1.
    """
    low, high = period
    if low >= high:
        raise UsageError("the period to date in is empty")
    if not (0 < foreign < 1 and 0 < mass < 1):
        raise UsageError("foreign and mass must be shares between 0 and 1")
    inside, empty = _clipped(np.asarray(valid_from), np.asarray(valid_to), rows, low, high)
    if not inside.count:
        return Dating(claimed=False, why="no row has values of this period", rows=0, informative=0, empty=empty,
                      foreign=foreign, best=(), likely=(), log_e=0.0)  # fmt: skip
    shares = inside.shares(float(high - low))
    sweep, log_e = _swept(inside, shares, period, foreign)
    posterior = _posterior(sweep)
    likely = _smallest(sweep, posterior, mass)
    best = _intervals(sweep, posterior, _near_top(sweep.logs))
    informative = int(np.count_nonzero(shares < 1.0))
    why = _lacking(informative, log_e, sum(i.width for i in likely) / (high - low))
    others = () if why else _others(inside, best[0], likely, period, foreign)
    return Dating(not why, why, inside.count, informative, empty, sweep.foreign, best, likely, log_e, others)


def _clipped(starts: Int64s, stops: Int64s, rows: Int64s | None, low: int, high: int) -> tuple[_Rows, int]:
    """Intervals cut to the period, their rows numbered without gaps, and how many rows have none."""
    rows = np.arange(len(starts), dtype=np.int64) if rows is None else np.asarray(rows)
    if not len(starts) == len(stops) == len(rows):
        raise UsageError("valid_from, valid_to and rows must be of one length")
    cut_starts, cut_stops = np.maximum(starts, low), np.minimum(stops, high)
    keep = cut_starts < cut_stops
    numbers, dense = np.unique(rows[keep], return_inverse=True)
    inside = _Rows(cut_starts[keep], cut_stops[keep], dense.astype(np.int64), len(numbers))
    return inside, len(np.unique(rows)) - len(numbers)


def _swept(inside: _Rows, shares: Floats, period: tuple[int, int], foreign: float) -> tuple[_Sweep, float]:
    """The sweep under the likeliest share of foreign rows, and the e-value over all of them, as a logarithm."""
    ends = np.unique(np.concatenate([inside.starts, inside.stops, np.array(period, np.int64)]))
    opened, closed = np.searchsorted(ends, inside.starts), np.searchsorted(ends, inside.stops)
    size = len(ends)
    support = np.cumsum(np.bincount(opened, minlength=size) - np.bincount(closed, minlength=size))[:-1]
    sweeps = []
    for rate in (foreign, *(share for share in FOREIGN_SHARES if share > foreign)):
        weights = np.log1p((1.0 - rate) / (rate * shares))[inside.rows]
        change = np.bincount(opened, weights, size) - np.bincount(closed, weights, size)
        logs = np.cumsum(change)[:-1] + inside.count * math.log(rate)
        sweeps.append(_Sweep(ends, support.astype(np.int64), logs, rate))
    means = np.array([sweep.log_mean for sweep in sweeps])
    log_e = float(means.max() + np.log(np.exp(means - means.max()).mean()))
    return sweeps[int(means.argmax())], log_e


def _posterior(sweep: _Sweep) -> Floats:
    """Probability of each stretch of times under a flat prior."""
    odds = np.exp(sweep.masses - sweep.masses.max())
    return np.asarray(odds / odds.sum(), np.float64)


def _near_top(logs: Floats) -> Mask:
    """Where a sum is the greatest, up to rounding."""
    top = float(logs.max())
    return np.asarray(logs >= top - 1e-9 * max(1.0, abs(top)), np.bool_)


def _smallest(sweep: _Sweep, posterior: Floats, mass: float) -> tuple[Interval, ...]:
    """The times of highest likelihood that together have the mass."""
    order = np.argsort(-sweep.logs, kind="stable")
    needed = int(np.searchsorted(np.cumsum(posterior[order]), mass)) + 1
    chosen = np.zeros(len(posterior), np.bool_)
    chosen[order[:needed]] = True
    least = sweep.logs[order[min(needed, len(order)) - 1]]
    return _intervals(sweep, posterior, chosen | (sweep.logs >= least))


def _intervals(sweep: _Sweep, posterior: Floats, chosen: Mask) -> tuple[Interval, ...]:
    """Neighbouring stretches as one interval each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return tuple(
        Interval(
            int(sweep.ends[start]),
            int(sweep.ends[stop]),
            int(sweep.support[start:stop].max()),
            float(posterior[start:stop].sum()),
        )
        for start, stop in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True)
    )


def _lacking(informative: int, log_e: float, share: float) -> str:
    if not informative:
        return "no value changed in this period"
    if log_e < -math.log(CHANCE_MAX):
        return "rows of dates of their own might agree as well"
    return "most of the period is left" if share > PERIOD_SHARE_MAX else ""


def _others(
    inside: _Rows, best: Interval, likely: tuple[Interval, ...], period: tuple[int, int], foreign: float
) -> tuple[Interval, ...]:
    """Times that rows which are not of the best one agree on.

    These rows were chosen for not holding the best time: as likely for any other time as for none, at most divided by
    the share of rows that would not hold it anyway. Their shares of the period are divided by that.
    """
    found: list[Interval] = []
    taken, rest = best, inside
    length = float(period[1] - period[0])
    missed = 1.0
    while len(found) < PEAKS_MAX:
        missed *= max(1.0 - float(rest.shares(length).mean()), _SHARE_MIN)
        rest = rest.only(~_holding(rest, taken))
        if not rest.count:
            break
        sweep, log_e = _swept(rest, np.minimum(rest.shares(length) / missed, 1.0), period, foreign)
        if log_e < -math.log(CHANCE_MAX):
            break
        taken = _intervals(sweep, _posterior(sweep), _near_top(sweep.logs))[0]
        if not any(taken.start < near.stop and taken.stop > near.start for near in likely):
            found.append(taken)
    return tuple(found)


def _holding(inside: _Rows, times: Interval) -> Mask:
    """Which rows have an interval that meets these times, bool[count]."""
    meets = (inside.starts < times.stop) & (inside.stops > times.start)
    out = np.zeros(inside.count, np.bool_)
    out[inside.rows[meets]] = True
    return out
