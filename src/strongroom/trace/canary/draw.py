"""Draws the parts of new persons and records, each from a row of the sample that fits what was drawn before.

Rules kept here:

1. Parts of one new person come from rows drawn independently: a combination of parts is nobody's, unless many share it.
2. A class of fewer than `LIKE_MIN` rows is not drawn from: its weakest condition is given up first.
3. A value stands no more often in people and new rows together than it would if all had been drawn alike (`shares`).
4. Whole columns: nothing loops over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from strongroom.trace.canary.nodes import LIKE_MIN, Ints, Node, joint
from strongroom.trace.canary.shares import Floats

def draw(
    rng: np.random.Generator,
    donors: Sequence[Ints],
    wanted: Sequence[Ints],
    rows: Ints,
    count: int,
    weights: Floats | None = None,
) -> Ints:
    """A row of the sample for each new one, among those alike in as many conditions as there are enough rows for.

    Args:
        rng: Where chance comes from.
        donors: Conditions, strongest first, at the donor rows; i64[len(rows)] each.
        wanted: The same conditions at the new rows; i64[count] each.
        rows: The donor rows.
        count: How many new rows there are.
        weights: How likely each donor row is beside the others, f64[len(rows)]; None for all alike.

    Returns:
        For each new row one of `rows`, i64[count].
    """
    out = np.empty(count, np.int64)
    left = np.arange(count)
    weights = np.ones(len(rows)) if weights is None else weights
    for depth in range(len(donors), -1, -1):
        if not len(left):
            break
        have = joint(donors[:depth]) if depth else np.zeros(len(rows), np.int64)
        want = joint([column[left] for column in wanted[:depth]]) if depth else np.zeros(len(left), np.int64)
        order = np.argsort(have, kind="stable")
        ranked = have[order]
        low, high = np.searchsorted(ranked, want, side="left"), np.searchsorted(ranked, want, side="right")
        enough = high - low >= (LIKE_MIN if depth > 1 else 1)
        low, high = low[enough], high[enough]
        edges = np.concatenate([np.zeros(1), np.cumsum(weights[order])])
        at = edges[low] + rng.random(len(low)) * (edges[high] - edges[low])
        spot = np.clip(np.searchsorted(edges, at, side="right") - 1, low, high - 1)
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
        weights = None if node.smooth else node.weights[usable]
        out[there] = draw(rng, donors, likes, usable, len(there), weights)
        if not node.smooth and len(needs) > len(node.forced[:1]):
            _exchange(rng, node, needs, usable, donors, out, there)
    return out


def _exchange(
    rng: np.random.Generator,
    node: Node,
    needs: Sequence[tuple[Node, int, Ints]],
    usable: Ints,
    donors: Sequence[Ints],
    out: Ints,
    there: Ints,
) -> None:
    """Values that few rows have together with what they are conditional on are exchanged among themselves.

    Else value and condition together would be one person's. They keep what coarser views of the conditions say; without
    any they stay.
    """
    both = joint([*donors, node.codes[usable]])
    _, which, size = np.unique(both, return_inverse=True, return_counts=True)
    few = size[which] < LIKE_MIN
    at = np.searchsorted(usable, out[there])
    left = np.flatnonzero(few[at])
    if not len(left):
        return
    rows = usable[few]
    coarser = [(p, 0 if level < 0 and p.coarse else level, c) for p, level, c in needs]
    if [level for _, level, _ in coarser] == [level for _, level, _ in needs]:
        return
    have = [p.view(level, p.codes[rows]) for p, level, _ in coarser]
    want = [p.view(level, c[left]) for p, level, c in coarser]
    out[there[left]] = draw(rng, have, want, rows, len(left), node.weights[rows])
