"""Makes new text of one field from parts of many persons' text: addresses, names, numbers with letters, reports.

Rows of the same shape (the same marks, with digits and letters between them) are cut into parts at the same places. A
part that many persons share is drawn as it is; neighbours that depend on each other stay together while many persons
share both; letters that few share are cut once more where both halves are frequent; digits that few share are a number,
and a new one is drawn between its neighbours. No text is taken whole from one person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import Node, compact, gain, joint
from strongroom.trace.canary.numbers import Spread
from strongroom.trace.canary.running import Running, in_time
from strongroom.trace.canary.tokens import (
    DIGITS,
    LETTERS,
    LINKS,
    best_cut,
    common,
    encode,
    halves,
    name_cut,
    shapes,
    tokenise,
)

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SHAPES_MAX = 48
COMMON_SHARE = 0.7  # a part is drawn as it is when this share of rows has a value that many persons share
TOGETHER_SHARE = 0.5
_NAMES_TOGETHER = 0.75
_NUMBER_DIGITS_MAX = 18
_CUTS_MAX = 2
_TIED = 0.02  # nats
_SEED = 11
_NAMES_MIN = 100
_VIEWED_MIN = 20


@dataclass
class Part:
    """A stretch of the text of one shape.

    Args:
        kind: LETTERS, DIGITS, MARKS or LINKS.
        node: What is drawn; None where all rows have the same text, or another field's value stands here.
        words: Distinct texts by code; for a fixed part its one text.
        spread: For numbers: draws a new one near a row's.
        link: Which other field of the person stands here.
        running: For numbers that go up with a date of the record: gives a new one by that date.
        among: Names of the parts that such numbers stand among.
    """

    kind: int
    node: Node | None
    words: pa.Array
    spread: Spread | None = None
    link: str = ""
    running: Running | None = None
    among: tuple[str, ...] = ()


@dataclass
class TextModel:
    """How the text of a field is made.

    Args:
        name: The field's, as its nodes begin.
        shape: Which shape a row has; code 0 is null.
        parts: The parts of each shape, by code.
    """

    name: str
    shape: Node
    parts: dict[int, list[Part]] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.shape, *(p.node for parts in self.parts.values() for p in parts if p.node is not None)]

    @property
    def dates(self) -> tuple[str, ...]:
        """The fields that have to be made before, as numbers run with them."""
        return tuple({p.running.link: None for parts in self.parts.values() for p in parts if p.running})

    @property
    def exact(self) -> bool:
        """Whether numbers are in so exact an order that new ones are seen to be out of it."""
        return any(p.running.exact for parts in self.parts.values() for p in parts if p.running)

    @property
    def strict(self) -> bool:
        """Whether hardly any number is lower than one of an earlier date."""
        return any(p.running.strict for parts in self.parts.values() for p in parts if p.running)

    def run(self, dates: Mapping[str, pa.Array], sampled: float) -> None:
        """Learn which numbers go up with a date of their record; `dates` has columns of the sample by "table.field"."""
        for parts in self.parts.values():
            for part in parts:
                if part.spread is None or part.node is None:
                    continue
                rows = np.flatnonzero(part.node.codes >= 0)
                others = [p.node for p in parts if p is not part and p.node is not None and p.spread is None]
                part.running = in_time(dates, rows, part.spread, [node.codes[rows] for node in others], sampled)
                part.among = tuple(node.name for node in others)

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The texts of the new rows.

        Args:
            rng: Where chance comes from.
            drawn: The parts.
            links: Values of the person's other fields, at the new rows, by number.
            again: Only these rows, for which numbers are drawn anew; None for all.
        """
        codes = drawn.codes[self.name]
        rows = np.arange(len(codes)) if again is None else again
        out: list[pa.Array] = [pa.nulls(1, pa.large_string())]
        at = np.zeros(len(rows), np.int64)
        size = 1
        for code, parts in self.parts.items():
            here = np.flatnonzero(codes[rows] == code)
            if not len(here):
                continue
            columns = [_column(rng, part, drawn, rows[here], links) for part in parts]
            joined = pc.binary_join_element_wise(*columns, pa.scalar("", pa.large_string()))
            out.append(pa.repeat(joined, len(here)) if isinstance(joined, pa.Scalar) else joined)  # nothing is drawn
            at[here] = size + np.arange(len(here))
            size += len(here)
        return pa.concat_arrays(out).take(pa.array(at)).cast(pa.string())


def _column(
    rng: np.random.Generator, part: Part, drawn: Drawn, rows: Ints, links: Mapping[str, pa.Array]
) -> pa.Array | pa.Scalar:
    if part.link:
        return links[part.link].take(pa.array(rows)).cast(pa.large_string())
    if part.node is None:
        return pa.scalar(part.words[0].as_py(), pa.large_string())
    if part.spread is not None:
        donors = drawn.rows[part.node.name][rows]
        new = part.spread.near(rng, donors, beyond=drawn.beyond)
        if part.running is not None and not drawn.beyond:
            among, date = [drawn.codes[n][rows] for n in part.among], links[part.running.link].take(pa.array(rows))
            new = part.running.instead(rng, new, part.spread, donors, among, date, drawn)
        return part.spread.written(new, donors, beyond=drawn.beyond, running=part.running is not None)
    return part.words.take(pa.array(drawn.codes[part.node.name][rows])).cast(pa.large_string())


def learn_text(
    name: str,
    column: pa.Array,
    who: Ints,
    *,
    least: int,
    often: int,
    rare_parts: bool,
    link_of: Callable[[str], str],
) -> TextModel | None:
    """Learn how the text of a field is made; None where its texts have nothing in common.

    Args:
        name: The field's.
        column: The sample's texts, string[n], null where there is none.
        who: Whose row it is, i64[n].
        least: How many persons of the sample are many.
        often: How many persons of the sample say how often a part stands in the room: such as fewer share is cut once
            more, and put together again where its halves depend on each other.
        rare_parts: Whether a part that few persons share may be drawn (names).
        link_of: Name of the other field that a character of the private use area stands for.
    """
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    text = column.take(pa.array(there)).cast(pa.large_string())
    tokens = tokenise(text)
    shape = compact(shapes(tokens)) + 1
    usable = common(shape, who[there], least)
    keep = np.argsort(-np.bincount(shape))[:SHAPES_MAX]
    usable &= np.isin(shape, keep)
    if len(there) and usable.mean() < 0.5:
        return None
    codes = np.zeros(len(column), np.int64)
    codes[there] = np.where(usable, shape, -1)
    codes[there] = np.where(codes[there] > 0, np.searchsorted(np.unique(shape[usable]), codes[there]) + 1, -1)
    model = TextModel(name, Node(name, codes))
    for code in np.unique(codes[codes > 0]):
        local = np.flatnonzero(codes[there] == code)
        first = tokens.first[local]
        count = int(tokens.first[local[0] + 1] - first[0])
        columns = [tokens.text.take(pa.array(first + j)) for j in range(count)]
        kinds = [int(tokens.kinds[first[0] + j]) for j in range(count)]
        among = _Sharing(who[there[local]], least, often)
        parts = _Cutter(f"{name}/{code}", (name, int(code)), there[local], len(column), among, rare_parts)
        model.parts[int(code)] = parts.cut(columns, kinds, link_of)
    return model


class _Sharing(NamedTuple):
    """Whose rows they are, i64[rows], and how many persons are many, and often."""

    who: Ints
    least: int
    often: int


class _Cutter:
    """Cuts the rows of one shape into parts."""

    def __init__(self, name: str, when: tuple[str, int], rows: Ints, n: int, among: _Sharing, rare: bool) -> None:
        self._name, self._when, self._rows, self._n = name, when, rows, n
        self._who, self._least, self._often = among
        self._rare = rare
        self._made = 0
        self._kept: list[pa.Array] = []  # so that no two columns ever have the same id()

    def cut(self, columns: list[pa.Array], kinds: list[int], link_of: Callable[[str], str]) -> list[Part]:
        columns, kinds = self._smaller(columns, kinds)
        columns, kinds = self._together(columns, kinds)
        parts = [self._part(column, kind, link_of) for column, kind in zip(columns, kinds, strict=True)]
        for part in parts:
            # Parts that few have together are not to come from one person by way of what depends on what.
            others = [p for p in parts if p.node and part.node and p is not part and self._few(part, p)]
            if part.node is not None:
                part.node.apart = frozenset(p.node.name for p in others if p.node)
        return parts

    def _few(self, left: Part, right: Part) -> bool:
        assert left.node is not None
        assert right.node is not None
        both = joint([left.node.codes[self._rows], right.node.codes[self._rows]])
        return bool(common(both, self._who, self._least).mean() < COMMON_SHARE)

    def _common(self, column: pa.Array) -> float:
        return float(common(encode(column)[0], self._who, self._least).mean())

    def _smaller(self, columns: list[pa.Array], kinds: list[int]) -> tuple[list[pa.Array], list[int]]:
        """Cut letters that few persons share, where both halves are frequent."""
        out: list[pa.Array] = []
        out_kinds: list[int] = []
        for column, kind in zip(columns, kinds, strict=True):
            pieces = [column]
            if kind == LETTERS and self._rare and len(encode(column)[1]) > _NAMES_MIN:
                first, rest = halves(column, name_cut(column))
                pieces = [first, *halves(rest, best_cut(rest))]
            for _ in range(_CUTS_MAX if kind == LETTERS and len(pieces) == 1 else 0):
                pieces = [half for piece in pieces for half in self._halved(piece)]
            out += pieces
            out_kinds += [kind] * len(pieces)
        return out, out_kinds

    def _halved(self, piece: pa.Array) -> list[pa.Array]:
        if common(encode(piece)[0], self._who, self._often).mean() >= COMMON_SHARE:
            return [piece]
        whole = self._common(piece)
        two = list(halves(piece, best_cut(piece)))
        better = min(self._common(half) for half in two) > whole
        return two if better else [piece]

    def _together(self, columns: list[pa.Array], kinds: list[int]) -> tuple[list[pa.Array], list[int]]:
        """Join neighbours that depend on each other, the most dependent first, while many persons share both.

        Neighbours are parts that differ from row to row, with only fixed text between them. What is put together anew
        is mostly a name that others have too, but mostly a room that nobody has: names are parted sooner.
        """
        rng = np.random.default_rng(_SEED)
        told: dict[tuple[int, int], float] = {}
        while True:
            varied = [i for i, c in enumerate(columns) if kinds[i] == LINKS or len(encode(c)[1]) > 1]
            pairs = [(i, j) for i, j in pairwise(varied) if LINKS not in (kinds[i], kinds[j])]
            for i, j in pairs:
                if (id(columns[i]), id(columns[j])) not in told:
                    told[id(columns[i]), id(columns[j])] = self._tied(rng, columns[i], columns[j])
            best = max(pairs, key=lambda pair: told[id(columns[pair[0]]), id(columns[pair[1]])], default=None)
            if best is None or told[id(columns[best[0]]), id(columns[best[1]])] <= _TIED:
                return columns, kinds
            i, j = best
            both = pc.binary_join_element_wise(*columns[i : j + 1], pa.scalar("", pa.large_string()))
            if self._common(both) < (_NAMES_TOGETHER if self._rare else TOGETHER_SHARE):
                told[id(columns[i]), id(columns[j])] = 0.0
                continue
            self._kept += columns[i : j + 1]
            columns = [*columns[:i], both, *columns[j + 1 :]]
            kinds = [*kinds[:i], LETTERS, *kinds[j + 1 :]]

    @staticmethod
    def _tied(rng: np.random.Generator, left: pa.Array, right: pa.Array) -> float:
        codes = encode(left)[0]
        return gain(rng, encode(right)[0], np.zeros(len(codes), np.int64), codes)

    def _part(self, column: pa.Array, kind: int, link_of: Callable[[str], str]) -> Part:
        codes, words = encode(column)
        if kind == LINKS:
            return Part(kind, None, words, link=link_of(words[0].as_py()))
        if len(words) == 1:
            return Part(kind, None, words)
        name = f"{self._name}.{self._made}"
        self._made += 1
        shared = common(codes, self._who, self._least)
        if kind == DIGITS and shared.mean() < COMMON_SHARE:
            length = pc.utf8_length(words).to_numpy(zero_copy_only=False)
            if int(length.max()) <= _NUMBER_DIGITS_MAX:
                return self._number(name, column)
        donors = None
        if not self._rare and not shared.all() and shared.any():
            donors = np.zeros(self._n, np.bool_)
            donors[self._rows[shared]] = True
        size = pc.utf8_length(words).to_numpy(zero_copy_only=False).astype(np.int64)
        heads = (compact(encode(pc.utf8_slice_codeunits(words, 0, k))[0]) for k in (1, 2))
        views = (size, *heads) if len(words) > _VIEWED_MIN else ()
        return Part(kind, self._node(name, codes, views, donors), words)

    def _number(self, name: str, column: pa.Array) -> Part:
        spread = Spread.of_digits(column, self._rows, self._n)
        return Part(DIGITS, self._node(name, spread.codes, spread.coarse, None, smooth=True), pa.array([""]), spread)

    def _node(
        self, name: str, codes: Ints, coarse: tuple[Ints, ...], donors: Mask | None, *, smooth: bool = False
    ) -> Node:
        full = codes
        if not smooth:
            full = np.full(self._n, -1, np.int64)
            full[self._rows] = codes
        return Node(name, full, self._when, (self._when[0],), coarse, donors, smooth=smooth)
