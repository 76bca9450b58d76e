"""Which runs a compaction merges: neighbours, so that few are left and an entry is written anew seldom."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.index.merge import MERGE_COMMITS_MAX, MERGE_RUNS_MAX
from strongroom.write.tiers import COMMITS_LEFT_MAX, SMALL_ENTRIES, chosen_runs, stretches

BIG = 1_000_000


def after(sizes):
    """Sizes of the commits that are left when those stretches are merged."""
    ends = dict(stretches(sizes))
    left, at = [], 0
    while at < len(sizes):
        end = ends.get(at, at + 1)
        left.append(sum(sizes[at:end]))
        at = end
    return left


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([], []),
        ([5], [5]),
        ([1] * 100, [100]),
        ([1] * 50 + [BIG] + [1] * 50, [50, BIG, 50]),
        ([BIG] + [1] * 50 + [BIG], [BIG, 50, BIG]),
        ([BIG, BIG // 4], [BIG + BIG // 4]),
        ([BIG, BIG // 5, BIG // 5], [BIG + 2 * (BIG // 5)]),
        ([BIG, BIG // 5], [BIG, BIG // 5]),
        ([SMALL_ENTRIES * 4, 1], [SMALL_ENTRIES * 4 + 1]),
        ([SMALL_ENTRIES * 4 + 1, 1], [SMALL_ENTRIES * 4 + 1, 1]),
    ],
)
def test_small_neighbours_are_merged_and_a_large_one_is_left(sizes, left):
    """A large commit stands between small ones and is not written anew for them; what is alike is merged."""
    assert after(sizes) == left


@given(st.lists(st.integers(0, 10**9), max_size=80))
def test_whatever_there_is_few_are_left_and_none_is_lost(sizes):
    """Stretches are apart and in order, what is left holds every entry, and compacting again changes nothing."""
    found = stretches(sizes)
    assert all(first + 2 <= last for first, last in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    left = after(sizes)
    assert len(left) <= COMMITS_LEFT_MAX
    assert sum(left) == sum(sizes)
    assert after(left) == left


@pytest.mark.parametrize("put", [1, 1000, 30_000])
def test_an_entry_is_written_anew_seldom(put):
    """Of 500 puts of a size, a compaction after every eighth writes each entry some 20 times at most."""
    commits, written = [], 0
    for number in range(500):
        commits.append(put)
        if number % 8 == 7:
            written += sum(sum(commits[first:last]) for first, last in stretches(commits))
            commits = after(commits)
            assert len(commits) <= COMMITS_LEFT_MAX
    assert written <= 20 * 500 * max(put, SMALL_ENTRIES / 8)


def test_large_and_small_in_turn_do_not_write_the_large_each_time():
    """Whoever puts a million and one record in turn has few runs, and a large commit is not rewritten for each."""
    rng, commits, written, total = np.random.default_rng(5), [], 0, 0
    for number in range(300):
        size = int(rng.integers(BIG // 2, BIG)) if number % 2 else 1
        commits.append(size)
        total += size
        written += sum(sum(commits[first:last]) for first, last in stretches(commits))
        commits = after(commits)
        assert len(commits) <= COMMITS_LEFT_MAX
    assert written < 15 * total


def entries(*runs_of_commits):
    return [
        SimpleNamespace(commit=number, entries=1, object_id=(number, n))
        for number, count in enumerate(runs_of_commits)
        for n in range(count)
    ]


def test_a_long_stretch_is_cut_and_told():
    """At most so many commits and runs at once, in order, and word that more is to be merged when that is done."""
    chosen, more = chosen_runs(reversed(entries(*[1] * 150)))
    assert [len(some) for some in chosen] == [MERGE_COMMITS_MAX, MERGE_COMMITS_MAX, 150 - 2 * MERGE_COMMITS_MAX]
    assert [run.commit for some in chosen for run in some] == list(range(150))
    assert more
    assert chosen_runs(entries(*[1] * MERGE_COMMITS_MAX))[1] is False
    chosen, more = chosen_runs(entries(MERGE_RUNS_MAX - 1, 1, MERGE_RUNS_MAX, 2))
    assert [{run.commit for run in some} for some in chosen] == [{0, 1}]
    assert more
    assert chosen_runs(entries(MERGE_RUNS_MAX, 2, MERGE_RUNS_MAX)) == ([], False)
