"""Is it ours: shares with bounds that hold, and chance matches that do not count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strongroom.errors import UsageError
from strongroom.trace.chance import log_upper_tail, share_bounds
from strongroom.trace.ours import density, judge, share_of


def log_tail(n: int, k: int, p: float) -> float:
    """The exact chance of at least k hits of n."""
    terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
             for i in range(k, n + 1)]  # fmt: skip
    top = max(terms)
    return top + math.log(sum(math.exp(t - top) for t in terms))


@pytest.mark.parametrize(
    ("n", "k", "p"), [(10, 5, 0.1), (100, 20, 0.1), (1_000, 30, 0.01), (50, 50, 0.3), (750, 9, 1e-3)]
)
def test_the_bound_is_above_the_true_tail(n, k, p) -> None:
    """The bound is never below the exact binomial tail, nor more than a few nats above it."""
    assert log_tail(n, k, p) <= log_upper_tail(n, k, p) <= log_tail(n, k, p) + 4


def test_bounds_of_a_share_hold_the_truth() -> None:
    """Of many trials at one percent error, the true share is outside its bounds in less than one percent."""
    rng = np.random.default_rng(1)
    outside = 0
    for truth in (0.001, 0.1, 0.5, 0.99):
        for hits in rng.binomial(500, truth, 500).tolist():
            low, high = share_bounds(500, hits, 0.01)
            outside += not low <= truth <= high
    assert outside < 20


def test_a_sample_of_ours_among_foreign_rows_gets_its_share() -> None:
    """With 60 % of rows ours and chance matches at one percent, the share is bounded around 60 % and shown."""
    rng = np.random.default_rng(2)
    ours = rng.random(20_000) < 0.6
    tested = rng.integers(1, 4, 20_000)
    matched = np.where(ours, tested, rng.binomial(1, 0.01, 20_000))
    found = judge(matched, tested, 0.01)
    assert found.by_one.shown
    assert 0.57 < found.by_one.low < 0.6 < found.by_one.high < 0.63
    assert found.by_two.low > 0.35


def test_foreign_rows_that_match_by_chance_show_nothing() -> None:
    """A foreign sample that matches at the rate of chance is not ours, in a thousand tries."""
    rng = np.random.default_rng(3)
    for _ in range(1_000):
        tested = np.full(3_000, 2)
        found = judge(rng.binomial(2, 0.004, 3_000), tested, 0.004)
        assert not found.by_one.shown
        assert found.by_one.low < 0.01


def test_repeated_and_untested_rows_are_not_counted() -> None:
    """A thousand copies of one matched row are one row; rows without a field to test are said apart."""
    same = np.concatenate([np.zeros(1_000, np.uint64), np.arange(1, 11, dtype=np.uint64)])
    matched = np.concatenate([np.ones(1_000), np.zeros(10)]).astype(int)
    tested = np.concatenate([np.ones(1_000), np.array([1] * 5 + [0] * 5)]).astype(int)
    found = judge(matched, tested, 1e-6, same=same)
    assert (found.rows, found.repeated, found.untested) == (1_010, 999, 5)
    assert (found.by_one.tested, found.by_one.matched) == (6, 1)
    assert not found.by_one.shown


def test_columns_are_judged_by_themselves() -> None:
    """Each column has its own chance: dense identifiers need more matches than sparse ones."""
    dense, sparse = density(1_000_000_000, 1.7e9), density(10_000_000, 7e9)
    found = judge(
        np.zeros(1), np.ones(1), 0.1, columns={"mobile": (1_000, 600, dense), "person_id": (1_000, 600, sparse)}
    )
    assert not found.columns["mobile"].shown
    assert found.columns["person_id"].shown
    assert found.columns["person_id"].low > 0.4


def test_an_empty_sample_shows_nothing() -> None:
    """Nothing tested is bounded by everything and nothing."""
    found = judge(np.zeros(0), np.zeros(0), 0.0)
    assert (found.by_one.low, found.by_one.high, found.by_one.shown) == (0.0, 1.0, False)
    certain = share_of(10, 10, 1.0)
    assert (certain.low, certain.shown) == (0.0, False)


def test_counts_that_make_no_sense_are_refused() -> None:
    """More matches than tests, a chance beyond one, a space smaller than the room, arrays of two lengths."""
    for call in (
        lambda: share_of(1, 2, 0.1),
        lambda: share_of(1, 1, 1.1),
        lambda: density(10, 5),
        lambda: judge(np.ones(2), np.ones(3), 0.1),
        lambda: judge(np.full(2, 2), np.ones(2), 0.1),
    ):
        with pytest.raises(UsageError):
            call()
