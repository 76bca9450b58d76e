"""Which canary is in which export: sizes, members, and counts that agree with coins one by one."""

import numpy as np
import pytest
from evidence_kit import HALF, RARE, ROOM, ROOT, export, whole_offers
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.evidence.code import HITS, bits, count_held, found, members, sizes
from strongroom.evidence.coderow import CodeRow, Offer, row_key
from strongroom.seal._hazmat import hchacha20

places = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=60)


def column(finds):
    """Finds as the two columns that `found` takes."""
    return [pool for pool, _ in finds], [number for _, number in finds]


def test_the_default_at_the_design_point():
    """A billion rows of which 750,000 are published: 388 canaries in a million rows, from pools of 3.3 million."""
    plan = sizes(10**9)
    assert plan.expected == {RARE: 41_334, HALF: 346_667}
    assert plan.pools == {RARE: 2_645_334, HALF: 693_334}
    assert plan.why_none is None
    assert plan.share == pytest.approx(388e-6, rel=0.01)


@given(st.integers(1, 10**9), st.integers(1, 5), st.one_of(st.floats(1e-6, 0.99), st.integers(1, 10**9)))
def test_sizes_hold_what_they_promise(rows, colluders, sample):
    """The canaries expected among the smallest sample are at least the designed ones, or there is a reason and none."""
    plan = sizes(rows, colluders=colluders, sample=sample)
    published = min(rows, sample if sample >= 1 else np.ceil(sample * rows))
    wanted = sum(HITS[colluders].values())
    if wanted / published > 0.01:
        assert not plan.expected
        assert not plan.pools
        assert "tokens alone" in plan.why_none
        return
    for bias, hits in HITS[colluders].items():
        assert hits <= plan.expected[bias] * published / rows <= hits + published / rows + 1e-6
        assert plan.pools[bias] * bias / 2**32 == pytest.approx(plan.expected[bias], abs=2)
    assert plan.share <= 0.01 + 5 / rows


def test_more_exports_need_more_canaries():
    """The threshold grows with the logarithm of the number of exports, and the sizes with it; fewer do not shrink them."""
    base, many, few = (sizes(10**8, exports=n).share for n in (10_000, 10_000_000, 10))
    assert many / base == pytest.approx((29.93 + np.log(1000) + 3.26) / (29.93 + 3.26), rel=0.01)
    assert few == base


@pytest.mark.parametrize(
    "wrong",
    [{"rows": -1}, {"colluders": 0}, {"colluders": 6}, {"sample": 0}, {"sample": float("inf")}, {"exports": 0},
     {"share_max": 0}, {"share_max": 1}],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(wrong):
    """A policy that asks for what no code gives is told so."""
    with pytest.raises(UsageError):
        sizes(**({"rows": 10**6} | wrong))


def test_members_are_what_was_expected():
    """An export of the design has as many canaries as expected, within five standard deviations, and two share p of them."""
    offers = tuple(Offer(pool, bias, count) for pool, (bias, count) in enumerate(sizes(10**8).pools.items()))
    one, other = members(export(1, offers)), members(export(2, offers))
    for offer in offers:
        p = offer.bias / 2**32
        assert abs(len(one[offer.pool]) - offer.count * p) < 5 * (offer.count * p) ** 0.5
        both = len(np.intersect1d(one[offer.pool], other[offer.pool]))
        assert abs(both - offer.count * p * p) < 5 * (offer.count * p * p) ** 0.5


@given(places, places)
def test_finds_are_a_set(first, later):
    """Order, repeats and the number of times that finds were added change nothing, nor the digest of the list."""
    at_once = found(*column(first + later))
    step_by_step = found(*column(later)).more(*column(first)).more(*column(first))
    assert set(zip(*at_once.columns, strict=True)) == set(first + later)
    assert len(at_once) == len(set(first + later))
    assert at_once.digest == step_by_step.digest
    assert at_once.columns == step_by_step.columns


@given(places, st.lists(st.tuples(st.integers(0, 3), st.sampled_from([RARE, HALF, 3 << 30]), st.integers(0, 250)), max_size=4))
def test_counts_are_the_bits_one_by_one(finds, offered):
    """What is counted of an export is what its members, listed in full, say: for pools it was not offered, nothing."""
    offers = tuple(Offer(*one) for one in sorted({pool: (pool, bias, n) for pool, bias, n in offered}.values()))
    rows, sample = [export(n, offers) for n in range(3)], found(*column(finds))
    counts, table = count_held(rows, sample), bits(rows, sample)
    for line, row in enumerate(rows):
        inside = {(pool, n) for pool, numbers in members(row).items() for n in numbers.tolist()}
        there = list(zip(*sample.columns, strict=True))
        assert table[line].tolist() == [one in inside for one in there]
        for at, bias in enumerate(counts.biases):
            pools = {offer.pool: offer.count for offer in offers if offer.bias == bias}
            assert counts.offered[line, at] == sum(pool in pools and n < pools[pool] for pool, n in there)
            assert counts.held[line, at] == sum(one in inside for one in there if one[0] in pools)
        assert len(sample.offered_to(row)) == counts.offered[line].sum()


def test_a_filter_leaves_finds_out():
    """Finds that an export's filter does not let through are neither held nor offered."""
    offers = (Offer(0, HALF, 1000),)
    sample = found(np.zeros(500, int), np.arange(500))
    every_other = np.arange(500) % 2 == 0
    rows = [export(n, offers) for n in range(2)]
    counts = count_held(rows, sample, lambda row: None if row.export == rows[0].export else every_other)
    assert counts.offered.tolist() == [[500], [250]]
    assert counts.held[1, 0] == bits(rows, sample)[1, ::2].sum()


@pytest.mark.parametrize(("pools", "numbers"), [([0], [1, 2]), ([1 << 32], [0]), ([-1], [0]), ([0], [-1]), ([0.5], [1]), ([0], [1 << 64])])
def test_finds_that_are_none_are_refused(pools, numbers):
    """A find has a pool and a number."""
    with pytest.raises(UsageError):
        found(pools, numbers)


def test_rows_of_two_exports_have_nothing_in_common():
    """Keys of rows differ by export and root, as the key hierarchy derives them, and print nowhere."""
    name = bytes(16)
    assert len({row_key(ROOT, name), row_key(ROOT[::-1], name), row_key(ROOT, b"x" * 16)}) == 3
    assert row_key(ROOT, name) == hchacha20(hchacha20(ROOT, name), b"export code row\0")
    row = export(1, whole_offers())
    assert row.key.hex() not in repr(row)
    assert repr(row.key) not in repr(row)
    for wrong in (lambda: row_key(ROOT[1:], name), lambda: row_key(ROOT, name[1:]),
                  lambda: CodeRow(ROOM, name, row.key, (Offer(1, HALF, 1), Offer(0, HALF, 1))),
                  lambda: CodeRow(ROOM, b"short", row.key, ())):  # fmt: skip
        with pytest.raises(UsageError):
            wrong()
