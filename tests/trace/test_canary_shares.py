"""How often values stand in people and canaries together tells nothing, and rare groups keep what goes with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.trace.canary.draw import Likeness, draw, draw_nodes
from strongroom.trace.canary.nodes import Node
from strongroom.trace.canary.shares import expected, row_weights

VALUES, PEOPLE, CANARIES = 3000, 30_000, 3000


def area_under(score, canary):
    """Area under the curve by ranks, ties counted half."""
    _, which, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[which]
    positive = canary.sum()
    return (rank[canary].sum() - positive * (positive + 1) / 2) / (positive * (len(canary) - positive))


def told_by_counts(weighted, seed):
    """What the number of rows of a value tells, where 3,000 values are as likely and each stands ten times."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, VALUES, PEOPLE)
    weights = row_weights(codes) if weighted else None
    rows = draw(rng, [Likeness([], [])], np.arange(PEOPLE), CANARIES, weights)
    both = np.concatenate([codes, codes[rows]])
    return area_under(np.bincount(both)[both], np.arange(len(both)) >= PEOPLE)


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_values_tell_nobody(seed):
    """The number of people and canaries with a value does not tell canaries; if donors are drawn alike, it does."""
    assert told_by_counts(True, seed) == pytest.approx(0.5, abs=0.018)
    assert told_by_counts(False, seed) > 0.55


def test_what_is_expected_is_what_another_sample_has():
    """Values that stand so often in one sample stand on average as often as expected in another of its size."""
    rng = np.random.default_rng(1)
    rates = np.concatenate([np.full(20_000, 1.5), np.full(2_000, 12.0), np.full(60, 300.0)])
    one, two = rng.poisson(rates), rng.poisson(rates)
    seen = one > 0
    share = expected(one[seen])
    for count in (1, 2, 3, 10, 15):
        some = one[seen] == count
        assert share[some].mean() == pytest.approx(two[seen][some].mean(), rel=0.12), count
    assert share.sum() + 20_000 * 1.5 * np.exp(-1.5) == pytest.approx(one.sum(), rel=0.02)


@given(st.lists(st.integers(-1, 400) | st.integers(0, 3), max_size=300))
def test_weights_are_there_where_values_are(codes):
    """Whatever the codes: no weight without a value, some weight with one, and the same for the same value."""
    codes = np.array(codes, np.int64)
    weights = row_weights(codes)
    assert np.isfinite(weights).all()
    assert ((weights > 0) == (codes >= 0)).all()
    assert all(len(set(weights[codes == code])) == 1 for code in set(codes.tolist()))
    assert (row_weights(codes) == weights).all()


def test_few_values_keep_their_shares():
    """A category of few values is drawn as often as it stands in the sample."""
    assert (row_weights(np.array([0, 0, 0, 1, 1, 2])) == 1).all()


def test_a_rare_group_keeps_its_places():
    """Twelve people of one group, each born in another year: canaries of the group are born where one of them was."""
    rng = np.random.default_rng(5)
    many, few = 4000, 12
    group = np.append(np.zeros(many, np.int64), np.ones(few, np.int64))
    year = np.append(rng.integers(0, 40, many), np.arange(few) * 3)
    place = np.append(rng.integers(0, 50, many), 100 + np.arange(few))
    there = Node("there", np.ones(many + few, np.int64))
    born = Node("year", year, coarse=(np.arange(40) // 10,))
    of = Node("group", group)
    where = Node("place", place, ("there", 1), ("there", "year"))
    where.parents = [("there", -1), ("year", -1), ("group", -1)]
    wanted = 500
    context = {
        "there": (there, np.ones(wanted, np.int64)),
        "year": (born, rng.integers(0, 40, wanted)),
        "group": (of, np.arange(wanted) % 2),
    }
    places = draw_nodes(rng, [where], context, wanted).codes["place"]
    assert (places[1::2] >= 100).all()
    assert (places[::2] < 50).all()
