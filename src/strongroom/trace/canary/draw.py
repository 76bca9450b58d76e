"""Draws the parts of new persons and records, each from a row of the sample that fits what was drawn before.

Rules kept here:

1. Parts of one new person come from rows drawn independently: a combination of parts is nobody's, unless many share it.
2. A class of fewer than `LIKE_MIN` rows is not drawn from: conditions are seen coarser, and the weakest is given up.
3. A value stands no more often in people and new rows together than it would if all had been drawn alike (`shares`).
4. Whole columns: nothing loops over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from strongroom.trace.canary.nodes import LIKE_MIN, Ints, Node, joint
from strongroom.trace.canary.shares import Floats


class Likeness(NamedTuple):
    """Conditions, at the donor rows and at the new ones: as many columns in both, i64[rows] and i64[new rows] each."""

    donors: Sequence[Ints]
    wanted: Sequence[Ints]


def draw(
    rng: np.random.Generator, ladder: Sequence[Likeness], rows: Ints, count: int, weights: Floats | None = None
) -> Ints:
    """A row of the sample for each new one, among those alike in as many conditions as there are enough rows for.

    Args:
        rng: Where chance comes from.
        ladder: What new rows and donors are to have alike, the most first.
        rows: The donor rows.
        count: How many new rows there are.
        weights: How likely each donor row is beside the others, f64[len(rows)]; None for all alike.

    Returns:
        For each new row one of `rows`, i64[count].
    """
    out = np.empty(count, np.int64)
    left = np.arange(count)
    for donors, wanted in (*ladder, Likeness([], [])):
        if not len(left):
            break
        have = joint(donors) if donors else np.zeros(len(rows), np.int64)
        want = joint([column[left] for column in wanted]) if wanted else np.zeros(len(left), np.int64)
        order = np.argsort(have, kind="stable")
        ranked = have[order]
        low, high = np.searchsorted(ranked, want, side="left"), np.searchsorted(ranked, want, side="right")
        enough = high - low >= (LIKE_MIN if len(donors) > 1 else 1)
        low, high = low[enough], high[enough]
        chance = rng.random(len(low))
        if weights is None:
            spot = low + (chance * (high - low)).astype(np.int64)
        else:
            edges = np.concatenate([np.zeros(1), np.cumsum(weights[order])])
            at = edges[low] + chance * (edges[high] - edges[low])
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
        tries: How often new ones were taken before.
        about: Numbers that run in time are drawn after all of about their date, not of that date alone.
        used: How many of a field's own identifiers were given out, and `pools`: in which order they are.
    """

    rows: dict[str, Ints]
    codes: dict[str, Ints]
    beyond: int = 0
    tries: int = 0
    about: bool = False
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
        needs = [_Need(known[n], level, drawn.codes[n][wanted[there]]) for n, level in node.parents]
        ladder = [_need_all(rung, usable) for rung in _rungs(node, needs)]
        out[there] = draw(rng, ladder, usable, len(there), _weights(node, usable))
        if not node.smooth and len(needs) > len(node.forced[:1]):
            _exchange(rng, node, needs, usable, out, there)
    return out


def _weights(node: Node, rows: Ints) -> Floats | None:
    """How likely rows are drawn for a part; None for all alike, as where a number near the row's is made."""
    return None if node.smooth or node.weights is None else node.weights[rows]


class _Need(NamedTuple):
    """A part that another depends on, the level of its view, and its codes at the new rows."""

    part: Node
    level: int
    codes: Ints

    @property
    def coarser(self) -> _Need:
        """The same at its first coarse view, if it has one."""
        return _Need(self.part, 0, self.codes) if self.level < 0 and self.part.coarse else self


def _need_all(needs: Sequence[_Need], rows: Ints) -> Likeness:
    """That all of these are alike."""
    return Likeness(
        [part.view(level, part.codes[rows]) for part, level, _ in needs],
        [part.view(level, codes) for part, level, codes in needs],
    )


def _rungs(node: Node, needs: Sequence[_Need]) -> list[list[_Need]]:
    """What is asked for first, and what if too few have it: coarser views before the weakest condition is given up.

    Before that a forced condition that can be seen coarser is left out: a rare group keeps its places of birth, if not
    those of the year.
    """
    found: list[list[_Need]] = []
    for depth in range(len(needs), 0, -1):
        fine = list(needs[:depth])
        coarse = [need.coarser for need in fine]
        loose = [need for need in fine if need.part.name not in node.forced[1:] or not need.part.coarse]
        found += [rung for rung in (fine, coarse, loose) if rung]
    same = [[(need.part.name, need.level) for need in rung] for rung in found]
    return [rung for i, rung in enumerate(found) if same[i] not in same[:i]]


def _exchange(
    rng: np.random.Generator, node: Node, needs: Sequence[_Need], usable: Ints, out: Ints, there: Ints
) -> None:
    """Values that few rows have together with what they are conditional on are exchanged among themselves.

    Else value and condition together would be one person's. They keep what coarser views of the conditions say; without
    any they stay.
    """
    both = joint([*_need_all(needs, usable).donors, node.codes[usable]])
    _, which, size = np.unique(both, return_inverse=True, return_counts=True)
    few = size[which] < LIKE_MIN
    at = np.searchsorted(usable, out[there])
    left = np.flatnonzero(few[at])
    if not len(left):
        return
    rows = usable[few]
    coarser = [_Need(*need.coarser[:2], need.codes[left]) for need in needs]
    if [need.level for need in coarser] == [need.level for need in needs]:
        return
    ladder = [_need_all(rung, rows) for rung in _rungs(node, coarser)]
    out[there[left]] = draw(rng, ladder, rows, len(left), _weights(node, rows))
