"""How often values stand in people and canaries together tells nothing, and rare groups keep what goes with them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.trace.canary import nodes
from strongroom.trace.canary.draw import Likeness, draw, draw_nodes
from strongroom.trace.canary.kinds import check_characters
from strongroom.trace.canary.nodes import Node, learn_parents
from strongroom.trace.canary.numbers import of_matrix
from strongroom.trace.canary.resident import ResidentModel, area_years
from strongroom.trace.canary.shares import row_weights, shares

VALUES, PEOPLE, CANARIES = 3000, 30_000, 3000


def area_under(score, canary):
    """Area under the curve by ranks, ties counted half."""
    _, which, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[which]
    positive = canary.sum()
    return (rank[canary].sum() - positive * (positive + 1) / 2) / (positive * (len(canary) - positive))


def expected(counts):
    """What another sample of the same size lets expect of each value: where none may be drawn, nothing else is given."""
    return shares(counts, 1.0, np.zeros(len(counts), np.bool_))


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


@given(st.lists(st.integers(-1, 400) | st.integers(0, 3), max_size=300), st.sampled_from([1.0, 0.999, 0.3, 1e-6]))
def test_weights_are_there_where_values_are(codes, sampled):
    """Whatever the codes: no weight without a value, some weight with one, and the same for the same value."""
    codes = np.array(codes, np.int64)
    weights = row_weights(codes, sampled)
    assert np.isfinite(weights).all()
    assert ((weights > 0) == (codes >= 0)).all()
    assert all(len(set(weights[codes == code])) == 1 for code in set(codes.tolist()))
    assert (row_weights(codes, sampled) == weights).all()


def test_few_values_keep_their_shares():
    """A category of few values is drawn as often as it stands in the sample."""
    assert (row_weights(np.array([0, 0, 0, 1, 1, 2])) == 1).all()


def given_to_rare_values(share_of):
    """Of what is expected of values that ten of the room have, the part they are given; others have sixty."""
    rng = np.random.default_rng(3)
    rates = np.repeat([10.0, 60.0], [6000, 1500])
    room = rng.poisson(rates)
    sample = rng.binomial(room, 0.2)
    seen = sample > 0
    share = share_of(sample[seen], sample[seen] >= 2)
    rare = rates[seen] == 10
    total = share[sample[seen] >= 2].sum()
    return share[(sample[seen] >= 2) & rare].sum() / total / (room[:6000].sum() / room.sum())


def test_values_too_few_of_the_sample_have_are_made_up_for_by_their_like():
    """Two in five of the values that ten have are had by none or one of a fifth: the others of ten stand for them."""
    assert given_to_rare_values(lambda counts, drawn: shares(counts, 0.2, drawn)) == pytest.approx(1, abs=0.03)


def test_what_the_sample_lets_expect_alone_gives_rare_values_too_little():
    """The control: shares that only say what is expected of each value."""
    assert given_to_rare_values(lambda counts, _: expected(counts)) < 0.85


def told_by_the_room(share_of):
    """What the room's count of a street tells, where each has about eleven people and a fifth of them is learnt from."""
    rng = np.random.default_rng(9)
    room = rng.poisson(10.6, 94_000)
    sample = rng.binomial(room, 0.2)
    able = sample >= 2
    share = np.zeros(len(room))
    share[sample > 0] = share_of(sample[sample > 0], able[sample > 0])
    share *= able
    drawn = rng.choice(len(room), 20_000, p=share / share.sum())
    people = np.repeat(room, room)
    both = np.append(people, room[drawn] + 1)
    return area_under(both, np.arange(len(both)) >= len(people))


def test_streets_that_the_sample_has_a_few_of_are_not_those_the_room_has_most_of():
    """A street that three of the sample live in has more people than most; those of two are drawn in its place."""
    assert told_by_the_room(lambda counts, drawn: shares(counts, 0.2, drawn)) == pytest.approx(0.5, abs=0.02)


def test_streets_of_the_sample_drawn_alike_are_those_the_room_has_most_of():
    """The control: what each street is expected to have, which is the same for all."""
    assert told_by_the_room(lambda counts, _: expected(counts)) > 0.55


def test_of_a_whole_room_what_is_expected_is_given():
    """Where the sample is the room, values get what is expected of them; of those nobody has, the rarest do."""
    counts = np.random.default_rng(6).poisson(4.0, 5000)
    counts = counts[counts > 0]
    share, plain = shares(counts, 1.0, np.ones(len(counts), np.bool_)), expected(counts)
    assert (share[counts > 1] == plain[counts > 1]).all()
    assert share.sum() == pytest.approx(counts.sum(), rel=0.02)


def test_sparse_and_dense_groups_of_rare_values_keep_their_shares():
    """In a province of few people hardly two of the sample are of one place; it gets as many canaries all the same."""
    rng = np.random.default_rng(4)
    codes = np.concatenate([rng.integers(0, 2000, 400), 2000 + rng.integers(0, 2000, 8000)])
    drawable = np.bincount(codes)[codes] >= 2
    with_view, without = (row_weights(codes, 0.1, drawable, views) * drawable for views in ([codes // 2000], []))
    assert with_view[:400].sum() / with_view.sum() == pytest.approx(400 / 8400, rel=0.03)
    assert without[:400].sum() / without.sum() < 0.7 * 400 / 8400


def test_a_dependency_of_groups_of_values_is_found_and_no_other():
    """Two thousand places in twenty regions: a group that comes from one region is seen, chance is not."""
    rng = np.random.default_rng(8)
    count = 6000
    place = rng.integers(0, 2000, count)
    group = np.where((place < 100) & (rng.random(count) < 0.8), 1, 0)
    there = Node("there", np.ones(count, np.int64))
    others = [Node(f"other {k}", rng.integers(0, k, count)) for k in (2, 3, 8, 40)]
    years = Node("year", rng.integers(0, 70, count))
    where = Node("place", place, ("there", 1), ("there", "year"), (np.arange(2000) // 100,))
    found = learn_parents([there, years, Node("group", group), *others, where], [])
    parents = next(node for node in found if node.name == "place").parents
    assert parents == [("there", -1), ("year", -1), ("group", -1)]


def places_by_group(cells_share, monkeypatch):
    """What a place of birth is found to depend on beside the year, among twelve parts that it does not depend on."""
    monkeypatch.setattr(nodes, "_CELLS_SHARE", cells_share)
    rng = np.random.default_rng(3)
    count = 20_000
    place = np.where(rng.random(count) < 0.6, rng.integers(0, 20, count), rng.integers(0, 3400, count))
    group = np.where((place // 100 == 30) & (rng.random(count) < 0.6), 1, 0)
    others = [Node(f"other {k}", rng.integers(0, 3 + k % 6, count)) for k in range(12)]
    year = Node("year", rng.integers(0, 74, count))
    there = Node("there", np.ones(count, np.int64))
    where = Node("place", place, ("there", 1), ("there", "year"), (np.arange(3400) // 100,))
    found = learn_parents([there, year, Node("group", group), *others, where], [])
    return next(node for node in found if node.name == "place").parents


def test_what_seems_to_tell_in_a_sparse_table_does_not_hide_what_tells(monkeypatch):
    """Twelve parts seem to tell of a place only because each place has few rows: the group that does tell is found."""
    assert places_by_group(nodes._CELLS_SHARE, monkeypatch) == [("there", -1), ("year", -1), ("group", -1)]
    assert ("group", -1) not in places_by_group(1.0, monkeypatch)


def test_places_that_few_were_born_in_are_not_exchanged_for_frequent_ones():
    """Of a city with two large districts and many small ones, each gets its share."""
    rng = np.random.default_rng(2)
    codes, first, last = area_years()
    city = codes[(codes // 100 == 5101) & (first < 1985) & (last > 2005)]
    large, small = city[:2], city[2:]
    area = np.concatenate([rng.choice(large, 3000), rng.choice(small, 60 * len(small))])
    block = np.empty((len(area), 18), np.uint8)
    text = [f"{a}19900101{n:03d}0" for a, n in zip(area, rng.integers(1, 1000, len(area)), strict=True)]
    block[:] = np.frombuffer("".join(text).encode(), np.uint8).reshape(-1, 18)
    block[:, 17] = check_characters(block)
    born = pa.array(np.full(len(area), 7305, np.int32), pa.int32()).cast(pa.date32())
    model = ResidentModel.learn("id", of_matrix(block), {"born": born}, void=False)
    year = Node("born.year", np.zeros(len(area), np.int64))
    nodes = learn_parents([model.there, year, model.area, model.serial], [])
    drawn = draw_nodes(rng, nodes, {}, 4000)
    made = model.make(rng, drawn, {"born": pa.repeat(born[0], 4000)})
    areas = np.array([int(text[:6]) for text in made.to_pylist()])
    assert np.isin(areas, large).mean() == pytest.approx(np.isin(area, large).mean(), abs=0.025)
    assert set(areas) - set(area) <= set(codes)


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
