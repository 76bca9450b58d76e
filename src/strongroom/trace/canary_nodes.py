"""Learns which parts of a record depend on each other, and draws each part from another person who fits.

A part (`Node`) is one column of small whole numbers over the sample: a sex, a year of birth, a street. Parts are drawn
one after the other; each comes from a random row of the sample among those that are like the new person in the parts
that this one depends on. This is hot-deck imputation by classes, in sequence; what depends on what is found by mutual
information above that of a shuffled column.

Rules kept here:

1. Parts of one new person come from rows drawn independently: a combination of parts is nobody's, unless many share it.
2. A class of fewer than `LIKE_MIN` rows is not drawn from: its weakest condition is given up first.
3. Whole columns: nothing loops over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LIKE_MIN = 5
PARENTS_MAX = 4
_ROWS_LEARNT = 20_000
_CANDIDATES = 8
_GAIN_MIN = 0.002  # nats
_SHUFFLE = 7
_SIGMAS = 4.0
_TIED = 0.95
_SHARED_SHARE = 0.6
_ROWS_PER_CODE = 4
_CELLS_SHARE = 0.3
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


def learn_parents(nodes: Sequence[Node], context: Sequence[Node]) -> list[Node]:
    """Put the parts into an order and choose what each depends on.

    Args:
        nodes: The parts of a frame.
        context: Parts that are given before: those of the person, at this frame's rows.

    Returns:
        The nodes in the order in which they are drawn, their `parents` filled in.
    """
    rng = np.random.default_rng(_SHUFFLE)
    ordered = _ordered(nodes)
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


def _learnt(rng: np.random.Generator, node: Node) -> tuple[Ints, Ints]:
    """Rows to learn from, and the part at them, no finer than so many rows can tell."""
    has = node.codes >= 0
    if node.donors is not None:
        has &= node.donors
    rows = np.flatnonzero(has)
    if len(rows) > _ROWS_LEARNT:
        rows = np.sort(rng.permutation(rows)[:_ROWS_LEARNT])
    if not len(rows):
        return rows, rows
    views = [compact(node.view(level, node.codes[rows])) for level in node.levels]
    fine = [v for v in views if int(v.max()) < max(2, len(rows) // _ROWS_PER_CODE)]
    return rows, max(fine, key=lambda v: int(v.max())) if fine else views[0]


def _shared(child: Ints, given: Ints, least: float) -> bool:
    """Whether most rows have their value and what it is conditional on in common with enough others.

    Else the condition would lead to one row, and value and condition together would be that person's.
    """
    both = compact(_pair(given, child))
    alone = np.bincount(compact(child))[child] >= least
    return float((np.bincount(both)[both] >= least).mean()) >= _SHARED_SHARE * float(alone.mean())


def _parents(rng: np.random.Generator, node: Node, before: Sequence[Node]) -> list[tuple[str, int]]:
    by_name = {n.name: n for n in before}
    chosen: list[tuple[str, int]] = [(name, -1) for name in node.forced if name in by_name]
    rows, child = _learnt(rng, node)
    if len(rows) < 8 * LIKE_MIN or int(child.max()) < 1:
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
    least = max(2.0, LIKE_MIN * len(rows) / max(1, int((node.codes >= 0).sum())))
    views = {k: v for k, v in views.items() if 1 < int(v.max()) + 1 <= len(rows) // LIKE_MIN}
    while views and len(chosen) < PARENTS_MAX + len(node.forced):
        gains = {}
        for key, codes in views.items():
            if not node.smooth and not _shared(child, _pair(given, codes), least):
                continue
            more = _quick_gain(rng, child, given, codes)
            if more > max(_GAIN_MIN, _noise(child, codes)):
                gains[key] = more
        ranked = sorted(gains, key=lambda key: -gains[key])[:_CANDIDATES]
        sure = {k: gain(rng, child, given, views[k]) for k in ranked}
        sure = {k: g for k, g in sure.items() if g > max(_GAIN_MIN, _noise(child, views[k]))}
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


def draw(
    rng: np.random.Generator, donors: Sequence[Ints], wanted: Sequence[Ints], rows: Ints, count: int
) -> Ints:
    """A row of the sample for each new one, among those alike in as many conditions as there are enough rows for.

    Args:
        rng: Where chance comes from.
        donors: Conditions, strongest first, at the donor rows; i64[len(rows)] each.
        wanted: The same conditions at the new rows; i64[count] each.
        rows: The donor rows.
        count: How many new rows there are.

    Returns:
        For each new row one of `rows`, i64[count].
    """
    out = np.empty(count, np.int64)
    left = np.arange(count)
    for depth in range(len(donors), -1, -1):
        if not len(left):
            break
        if depth == 0:
            out[left] = rows[rng.integers(0, len(rows), len(left))]
            break
        have = joint(donors[:depth])
        want = joint([column[left] for column in wanted[:depth]])
        order = np.argsort(have, kind="stable")
        ranked = have[order]
        low = np.searchsorted(ranked, want, side="left")
        many = np.searchsorted(ranked, want, side="right") - low
        enough = many >= (LIKE_MIN if depth > 1 else 1)
        spot = low[enough] + (rng.random(int(enough.sum())) * many[enough]).astype(np.int64)
        out[left[enough]] = rows[order[spot]]
        left = left[~enough]
    return out


@dataclass
class Drawn:
    """What was drawn for the new rows of a frame.

    Args:
        rows: Row of the sample per new row, by part; -1 where the new row has no such part.
        codes: Code per new row, by part; below 0 where it has none.
        beyond: Among so many numbers above those of the sample new ones are drawn, because between them none is free.
        used: How many of a field's own identifiers were given out, and `pools`: in which order they are.
    """

    rows: dict[str, Ints]
    codes: dict[str, Ints]
    beyond: int = 0
    used: dict[str, int] = field(default_factory=dict)
    pools: dict[str, Ints] = field(default_factory=dict)


def draw_nodes(
    rng: np.random.Generator,
    ordered: Sequence[Node],
    context: Mapping[str, tuple[Node, Ints]],
    count: int,
    given: Mapping[str, Ints] | None = None,
) -> Drawn:
    """Draw every part of `count` new rows, in order.

    Args:
        rng: Where chance comes from.
        ordered: As `learn_parents` gave them.
        context: Parts given before by name, with the codes that the new rows have of them.
        count: How many.
        given: Rows of the sample that some parts are taken from, by name; below 0 where they are drawn.
    """
    drawn = Drawn({}, {name: codes for name, (_, codes) in context.items()})
    known = {name: node for name, (node, _) in context.items()} | {node.name: node for node in ordered}
    for node in ordered:
        rows = np.full(count, -1, np.int64) if given is None or node.name not in given else given[node.name].copy()
        left = np.flatnonzero(rows < 0)
        rows[left] = _drawn(rng, node, known, drawn, left)
        drawn.rows[node.name], drawn.codes[node.name] = rows, _codes(node, rows)
    return drawn


def redraw(
    rng: np.random.Generator, nodes: Sequence[Node], known: Mapping[str, Node], drawn: Drawn, rows: Ints
) -> None:
    """Draw some parts anew, in order, for some of the new rows."""
    for node in nodes:
        drawn.rows[node.name][rows] = _drawn(rng, node, known, drawn, rows)
        drawn.codes[node.name] = _codes(node, drawn.rows[node.name])


def _codes(node: Node, rows: Ints) -> Ints:
    return np.where(rows >= 0, node.codes[rows], -1)


def _drawn(
    rng: np.random.Generator, node: Node, known: Mapping[str, Node], drawn: Drawn, wanted: Ints
) -> Ints:
    """Rows of the sample for some new rows, by what these have of the parts that this one depends on."""
    out = np.full(len(wanted), -1, np.int64)
    there = np.arange(len(wanted))
    if node.when is not None:
        there = np.flatnonzero(drawn.codes[node.when[0]][wanted] == node.when[1])
    has = node.codes >= 0
    usable = np.flatnonzero(has if node.donors is None else has & node.donors)
    if not len(usable):
        usable = np.flatnonzero(has)
    if len(usable) and len(there):
        needs = [(known[n], level, drawn.codes[n][wanted[there]]) for n, level in node.parents]
        donors = [parent.view(level, parent.codes[usable]) for parent, level, _ in needs]
        likes = [parent.view(level, codes) for parent, level, codes in needs]
        out[there] = draw(rng, donors, likes, usable, len(there))
    return out


def only_where(nodes: Sequence[Node], when: str, code: int, there: npt.NDArray[np.bool_]) -> None:
    """Make parts exist only in rows where another part has a code; `there` says which rows of the sample these are."""
    for node in nodes:
        node.codes = np.where(there, node.codes, -1)
        if node.when is None:
            node.when = (when, code)
            node.forced = (when, *node.forced)
