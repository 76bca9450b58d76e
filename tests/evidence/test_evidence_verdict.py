"""What evidence promises: mean one for the innocent, a bound at every moment, the guilty named, nobody else."""

import itertools
import math

import numpy as np
import pytest
from evidence_kit import DESIGN, HALF, RARE, STRATEGIES, export, sample_of, whole_offers

from strongroom.errors import UsageError
from strongroom.evidence.code import BIAS_ONE, HITS, Counts, count_held, found, members
from strongroom.evidence.coderow import Offer
from strongroom.evidence.verdict import DOUBT, HYPOTHESES, holding, judge, log_e

QUARTER, MOST = 1 << 30, 3 << 30


def counts(biases, held, offered):
    """Counts of as many exports as there are lines."""
    return Counts([bytes(16)] * len(held), tuple(biases), np.array(held, np.int64), np.array(offered, np.int64))


def patterns(biases):
    """Every way an innocent export's coins can fall on finds of these biases: (probability, bits)."""
    chances = [bias / BIAS_ONE for bias in biases]
    for bits in itertools.product((0, 1), repeat=len(biases)):
        yield math.prod(p if bit else 1 - p for p, bit in zip(chances, bits, strict=True)), bits


def tallied(finds, bits):
    """Held and offered by bias, of finds whose biases are listed."""
    biases = sorted(set(finds))
    return biases, [sum(bit for one, bit in zip(finds, bits, strict=True) if one == bias) for bias in biases], [finds.count(bias) for bias in biases]


@pytest.mark.parametrize("finds", [[HALF], [RARE], [HALF] * 9, [RARE] * 3 + [HALF] * 6, [RARE, QUARTER, HALF, MOST] * 2])
def test_evidence_has_mean_one_for_the_innocent_exactly(finds):
    """Summed over all ways that coins can fall, each with its probability, E is 1: no approximation, no simulation."""
    total = 0.0
    for chance, bits in patterns(finds):
        biases, held, offered = tallied(finds, bits)
        total += chance * math.exp(log_e(counts(biases, [held], [offered]))[0])
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("finds", [[RARE, HALF] * 5, [HALF] * 11, [QUARTER, MOST] * 5])
def test_looking_after_every_find_keeps_the_bound(finds):
    """Whoever looks after each find and stops at the best moment is wrong with probability 1/x at most, exactly summed."""
    wrong = dict.fromkeys((2.0, 5.0, 20.0, 100.0), 0.0)
    for chance, bits in patterns(finds):
        best = 0.0
        for stop in range(1, len(finds) + 1):
            biases, held, offered = tallied(finds[:stop], bits[:stop])
            best = max(best, math.exp(log_e(counts(biases, [held], [offered]))[0]))
        for x in wrong:
            wrong[x] += chance * (best >= x)
    assert all(share <= 1 / x for x, share in wrong.items())
    assert wrong[2.0] > 0


@pytest.mark.parametrize("bias", [RARE, QUARTER, HALF, MOST])
def test_every_hypothesis_is_a_probability_above_chance(bias):
    """26 of them; each holds more than chance and less than certainty, so that both factors are finite."""
    p = bias / BIAS_ONE
    assert len(HYPOTHESES) == 26
    for one in HYPOTHESES.values():
        assert p <= one(p) <= 1 - DOUBT * (1 - p) + 1e-12


@pytest.mark.parametrize("strategy", ["union", "interleave", "majority", "coin", "minority"])
@pytest.mark.parametrize("colluders", [2, 3, 5])
def test_what_a_colluder_holds_is_what_the_strategy_says(strategy, colluders):
    """The closed form is the sum over every way that the coins of all colluders can fall."""
    p, shown, held = 0.3, 0.0, 0.0
    for bits in itertools.product((0, 1), repeat=colluders):
        t = sum(bits)
        chance = p**t * (1 - p) ** (colluders - t)
        if t == 0:
            continue
        more = (2 * t > colluders) + 0.5 * (2 * t == colluders)
        theta = {"union": 1, "interleave": t / colluders, "majority": more, "coin": 0.5, "minority": 1 - more}[strategy]
        theta = 1 if t == colluders else theta
        shown, held = shown + chance * theta, held + chance * theta * bits[0]
    assert holding(strategy, colluders, p) == pytest.approx(held / shown)


def test_the_mean_over_real_coins_is_one():
    """Over 8,000 exports with coins of their own, the mean of E for a handful of finds is 1 within its own error."""
    offers = (Offer(0, HALF, 100), Offer(1, QUARTER, 100))
    rows = (export(number, offers) for number in range(8_000))
    values = np.exp(log_e(count_held(rows, found([0, 0, 1], [3, 50, 99]))))
    assert abs(values.mean() - 1) < 5 * values.std() / 8_000**0.5


def test_a_thief_is_named_and_nobody_else():
    """One export of 500 publishes a quarter of its rows: it is accused, and no other; the rest stays far below."""
    offers, rng = whole_offers(), np.random.default_rng(1)
    rows = [export(number, offers) for number in range(500)]
    verdict = judge(rows, sample_of([rows[77]], rng), ever_issued=DESIGN)
    assert [one.export for one in verdict.accused] == [rows[77].export]
    assert verdict.accused[0].held == verdict.accused[0].offered == verdict.found
    assert verdict.threshold == pytest.approx(29.93, abs=0.01)
    assert not verdict.silent
    assert verdict.judged == 500
    assert verdict.nearest < 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_colluders_are_named_whatever_they_do(strategy):
    """In 20 pairs of exports at least one of the two is accused under each strategy, and nobody else ever."""
    offers, rng = whole_offers(), np.random.default_rng(2)
    rows = [export(number, offers) for number in range(60)]
    for pair in range(20):
        guilty = rows[2 * pair : 2 * pair + 2]
        verdict = judge(rows, sample_of(guilty, rng, strategy=strategy), ever_issued=DESIGN)
        assert not verdict.silent
        assert {one.export for one in verdict.accused} <= {row.export for row in guilty}


def test_too_little_is_silence():
    """Of no finds, of one and of three nothing follows, not even for an export that holds them all."""
    row = export(5, whole_offers())
    held = members(row)[0]
    for n in (0, 1, 3):
        verdict = judge([row], found(np.zeros(n, int), held[:n]), ever_issued=DESIGN)
        assert verdict.silent
        assert verdict.found == n
        assert verdict.nearest < verdict.threshold
    assert judge([], found([], []), ever_issued=1).nearest is None


def test_more_rows_later_are_the_rows_at_once():
    """Evidence of a sample that comes in parts is the evidence of the whole, and repeated rows add nothing."""
    offers, rng = whole_offers(), np.random.default_rng(3)
    rows = [export(number, offers) for number in range(20)]
    first, second = (sample_of([rows[3]], rng, share=0.05) for _ in range(2))
    whole = judge(rows, first.more(*second.columns).more(*first.columns), ever_issued=DESIGN)
    again = judge(rows[::-1], second.more(*first.columns), ever_issued=DESIGN)
    assert whole == again


def test_a_small_export_is_not_weighed_by_what_it_was_not_offered():
    """Finds beyond its part of the pool speak neither for nor against it, and it is still named by the others."""
    small = export(1, tuple(Offer(o.pool, o.bias, o.count // 2) for o in whole_offers()))
    large, rng = export(2, whole_offers()), np.random.default_rng(4)
    sample = sample_of([small], rng, share=1.0)
    beyond = sample_of([large], rng, share=1.0)
    keep = beyond.numbers >= np.array([offer.count for offer in small.offers])[beyond.pools]
    mixed = sample.more(beyond.pools[keep], beyond.numbers[keep])
    alone, both = (judge([small], one, ever_issued=DESIGN) for one in (sample, mixed))
    assert keep.sum() > 100
    assert alone.accused == both.accused != ()


def test_opened_rows_accuse_nobody():
    """An export whose row was opened is told apart and not weighed: whoever saw the row can plant what it holds."""
    rows, rng = [export(number, whole_offers()) for number in range(3)], np.random.default_rng(5)
    sample = sample_of([rows[1]], rng)
    verdict = judge(rows, sample, ever_issued=DESIGN, opened=[rows[1].export])
    assert verdict.silent
    assert verdict.spent == (rows[1].export,)
    assert verdict.judged == 2
    assert judge(rows, sample, ever_issued=DESIGN).accused[0].export == rows[1].export


@pytest.mark.parametrize("wrong", [{"ever_issued": 1}, {"ever_issued": 0}, {"epsilon": 0}, {"epsilon": 1}])
def test_numbers_that_would_break_the_bound_are_refused(wrong):
    """Fewer exports than are weighed, or a bound that is none."""
    rows = [export(number, whole_offers()) for number in range(2)]
    with pytest.raises(UsageError):
        judge(rows, found([], []), **({"ever_issued": 5} | wrong))


def test_a_row_given_twice_is_refused():
    """Weighing an export twice would count it twice."""
    row = export(1, whole_offers())
    with pytest.raises(UsageError, match="twice"):
        judge([row, row], found([], []), ever_issued=5)


def test_designed_sizes_name_one_thief_with_the_fewest_finds():
    """The finds designed for one thief reach the threshold even when a third of them is missing."""
    (rare,) = HITS[1].values()
    few = math.floor(rare * 0.35)
    assert log_e(counts([RARE], [[few]], [[few]]))[0] >= math.log(DESIGN / 1e-9)
