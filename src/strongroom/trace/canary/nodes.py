"""Learns which parts of a record depend on each other.

A part (`Node`) is one column of small whole numbers over the sample: a sex, a year of birth, a street. Parts are drawn
one after the other; each comes from a random row of the sample among those that are like the new person in the parts
that this one depends on. This is hot-deck imputation by classes, in sequence; what depends on what is found by mutual
information above that of a shuffled column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from strongroom.trace.canary.shares import Floats, row_weights

Ints = npt.NDArray[np.int64]

LIKE_MIN = 5
PARENTS_MAX = 4
_ROWS_LEARNT = 20_000
_CANDIDATES = 8
_GAIN_MIN = 0.002  # nats
_SHUFFLE = 7
_SIGMAS = 4.0
_TIED = 0.95
_ROWS_PER_CODE = 4
_CELLS_SHARE = 0.03
_TABLE_MAX = 1 << 18


@dataclass(eq=False)
class Node:
    """One part of a record.

    Args:
        name: Unique in its frame.
        codes: Its value per row of the sample, i64[n]; below 0 where the row has no such part.
        when: Name of another part and the code that part must have for this one to be there.
        forced: Parts that this one is always conditional on, strongest first.
        coarse: Coarser views of the part: a code for each code, i64[codes] each.
        apart: Parts of the same text that it was cut from because few share both: of these only the first view counts.
        donors: Rows it may be drawn from, bool[n]; None for every row that has it.
        smooth: Whether a new value near the one drawn is made, so that none is copied.
        parents: What it depends on, strongest first: a part's name and the level of its view.
        sampled: Share of the room's persons in the sample.
    """

    name: str
    codes: Ints
    when: tuple[str, int] | None = None
    forced: tuple[str, ...] = ()
    coarse: tuple[Ints, ...] = ()
    donors: npt.NDArray[np.bool_] | None = None
    apart: frozenset[str] = frozenset()
    smooth: bool = False
    parents: list[tuple[str, int]] = field(default_factory=list)
    sampled: float = 1.0

    def view(self, level: int, codes: Ints) -> Ints:
        """Codes as seen at a level: -1 is the part itself, 0 and up are its coarser views."""
        if level < 0:
            return codes
        table = self.coarse[level]
        return np.where(codes >= 0, table[np.maximum(codes, 0)], -1) if len(table) else codes

    @property
    def levels(self) -> range:
        """The views there are."""
        return range(-1, len(self.coarse))

    @cached_property
    def weights(self) -> Floats | None:
        """How likely each row of the sample is drawn beside the others, None for all alike; asked for when learnt."""
        views = [self.view(level, self.codes) for level in self.levels if level >= 0]
        views.sort(key=lambda view: -int(view.max(initial=0)))
        found = row_weights(self.codes, self.sampled, self.donors, views)
        return None if np.allclose(found[self.codes >= 0], 1) else found

    def size(self) -> int:
        """How many codes there are."""
        return int(self.codes.max(initial=-1)) + 1


def compact(values: Ints) -> Ints:
    """The same grouping with codes from 0 up."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def joint(columns: Sequence[Ints]) -> Ints:
    """One code per row for the combination of columns; equal rows get equal codes (64 bits, mixed)."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key.view(np.int64)


def _counts(codes: Ints) -> Ints:
    """How often each code stands, without those that do not."""
    if int(codes.max(initial=0)) <= _TABLE_MAX:
        counts = np.bincount(codes)
        return counts[counts > 0]
    return np.unique(codes, return_counts=True)[1]


def _entropy(codes: Ints) -> tuple[float, int]:
    """Entropy of a column of codes from 0 up, in nats, and how many codes there are."""
    counts = _counts(codes)
    share = counts / len(codes)
    return float(-(share * np.log(share)).sum()), len(counts)


def _pair(left: Ints, right: Ints) -> Ints:
    """One code for two, from 0 up, in no more than a table's range where that is possible."""
    both = left * (int(right.max(initial=0)) + 1) + right
    if int(both.max(initial=0)) <= _TABLE_MAX:
        return both
    return compact(both)


def _shuffled_within(rng: np.random.Generator, values: Ints, group: Ints) -> Ints:
    """The values in another order, each staying in its group."""
    if not group.any():
        return rng.permutation(values)
    into = np.argsort(group, kind="stable")
    order = np.lexsort((rng.random(len(values)), group))
    out = np.empty_like(values)
    out[into] = values[order]
    return out


def _told(child: Ints, given: Ints, more: Ints) -> tuple[float, float, int]:
    """How much knowing `more` beside `given` tells about the child, in nats; what of it is chance; and how many cells.

    Chance is the bias of entropies from samples (Miller 1955), which is right where cells have several rows.
    """
    both = _pair(given, more)
    parts = [_entropy(x) for x in (_pair(given, child), given, _pair(both, child), both)]
    (a, ka), (b, kb), (c, kc), (d, kd) = parts
    return (a - b) - (c - d), (kc - kd - ka + kb) / (2 * len(child)), kc


def gain(rng: np.random.Generator, child: Ints, given: Ints, more: Ints) -> float:
    """How much knowing `more` beside `given` tells about the child, above what its shuffled values tell; in nats."""
    return _told(child, given, more)[0] - _told(child, given, _shuffled_within(rng, more, given))[0]


def _quick_gain(rng: np.random.Generator, child: Ints, given: Ints, more: Ints) -> float:
    told, chance, cells = _told(child, given, more)
    if cells > _CELLS_SHARE * len(child):
        chance = _told(child, given, _shuffled_within(rng, more, given))[0]
    return told - chance


def _noise(child: Ints, more: Ints) -> float:
    """What a gain by chance hardly reaches: four standard deviations of that of independent columns."""
    cells = min(float(len(child)), float(child.max()) * float(more.max()))
    return _SIGMAS * float(np.sqrt(2 * cells)) / (2 * len(child))


def _noise_given(child: Ints, given: Ints, more: Ints) -> float:
    """The same of chi-squared with the degrees of freedom that are left given others (Wilson and Hilferty 1931).

    Twice, as what shuffled values tell is chance too.
    """
    freedom = max(1.0, 2 * len(child) * _told(child, given, more)[1])
    reached = freedom * (1 - 2 / (9 * freedom) + _SIGMAS * float(np.sqrt(2 / (9 * freedom)))) ** 3
    return float(np.sqrt(2)) * (reached - freedom) / (2 * len(child))


def learn_parents(nodes: Sequence[Node], context: Sequence[Node], first: Sequence[Node] = ()) -> list[Node]:
    """Put the parts into an order and choose what each depends on.

    Args:
        nodes: The parts of a frame.
        context: Parts that are given before: those of the person, at this frame's rows.
        first: Those of the parts that come before all others.

    Returns:
        The nodes in the order in which they are drawn, their `parents` filled in.
    """
    rng = np.random.default_rng(_SHUFFLE)
    ordered = [*first, *_ordered([n for n in nodes if n not in first])]
    before: list[Node] = list(context)
    for node in ordered:
        node.parents = _parents(rng, node, before)
        before.append(node)
    return ordered


def _ordered(nodes: Sequence[Node]) -> list[Node]:
    """Few codes first, and none before the parts it needs."""
    waiting = sorted(nodes, key=lambda n: (n.size(), n.name))
    names = {n.name for n in nodes}
    done: dict[str, Node] = {}
    while waiting:
        for node in waiting:
            needs = {*node.forced, *([node.when[0]] if node.when else [])} & names
            if needs <= done.keys():
                break
        else:
            node = waiting[0]
        waiting.remove(node)
        done[node.name] = node
    return list(done.values())


def _learnt(rng: np.random.Generator, node: Node) -> tuple[Ints, list[Ints]]:
    """Rows to learn from, and views of the part at them, the finest that so many rows can tell and those coarser."""
    has = node.codes >= 0
    if node.donors is not None:
        has &= node.donors
    rows = np.flatnonzero(has)
    if len(rows) > _ROWS_LEARNT:
        rows = np.sort(rng.permutation(rows)[:_ROWS_LEARNT])
    if not len(rows):
        return rows, [rows]
    views = [compact(node.view(level, node.codes[rows])) for level in node.levels]
    fine = [v for v in views if int(v.max()) < max(2, len(rows) // _ROWS_PER_CODE)]
    fine.sort(key=lambda v: -int(v.max()))
    return rows, [fine[0], *(v for v in fine[1:] if 1 <= int(v.max()) < int(fine[0].max()))] if fine else views[:1]


def _surely(
    ask: Callable[[np.random.Generator, Ints, Ints, Ints], float],
    rng: np.random.Generator,
    child: Sequence[Ints],
    given: Ints,
    more: Ints,
) -> float:
    """What a part tells about another beyond chance, in nats, as `ask` has it; 0 where that may be chance.

    Where a view of many codes hides it in noise, the next coarser is asked: a group comes from some provinces, though
    hardly two of the sample come from one place.
    """
    for view in child:
        told = ask(rng, view, given, more)
        if told > max(_GAIN_MIN, _noise(view, more)) and told > _noise_given(view, given, more):
            return told
    return 0.0


def _parents(rng: np.random.Generator, node: Node, before: Sequence[Node]) -> list[tuple[str, int]]:
    by_name = {n.name: n for n in before}
    chosen: list[tuple[str, int]] = [(name, -1) for name in node.forced if name in by_name]
    rows, child = _learnt(rng, node)
    if len(rows) < 8 * LIKE_MIN or int(child[0].max()) < 1:
        return chosen
    given = np.zeros(len(rows), np.int64)
    for name, _ in chosen:
        given = compact(_pair(given, compact(by_name[name].codes[rows])))
    views = {}
    for other in before:
        for level in other.levels:
            codes = other.codes[rows]
            cut = other.name in node.apart and level != 0
            if (other.name, level) not in chosen and other.size() > 1 and not cut:
                views[other.name, level] = compact(other.view(level, codes))
    views = {k: v for k, v in views.items() if 1 < int(v.max()) + 1 <= len(rows) // LIKE_MIN}
    while views and len(chosen) < PARENTS_MAX + len(node.forced):
        gains = {key: _surely(_quick_gain, rng, child, given, codes) for key, codes in views.items()}
        ranked = sorted((k for k, g in gains.items() if g), key=lambda key: -gains[key])[:_CANDIDATES]
        sure = {k: _surely(gain, rng, child, given, views[k]) for k in ranked}
        sure = {k: g for k, g in sure.items() if g}
        if not sure:
            break
        # Of those that tell as much, the one of fewest codes: its classes are the largest.
        enough = _TIED * max(sure.values())
        best = min((k for k in sure if sure[k] >= enough), key=lambda k: int(views[k].max()))
        chosen.append(best)
        given = compact(_pair(given, views[best]))
        # What told nothing is not asked again; nor are other views of the same part.
        views = {k: views[k] for k in ranked if k[0] != best[0]}
        if int(given.max()) + 1 > len(rows) // 2:
            break
    return chosen


def only_where(nodes: Sequence[Node], when: str, code: int, there: npt.NDArray[np.bool_]) -> None:
    """Make parts exist only in rows where another part has a code; `there` says which rows of the sample these are."""
    for node in nodes:
        node.codes = np.where(there, node.codes, -1)
        if node.when is None:
            node.when = (when, code)
            node.forced = (when, *node.forced)
