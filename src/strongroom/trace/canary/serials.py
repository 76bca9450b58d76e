"""Keeps the serial of an identifier to oneself where people do: no other year's, where no two years share one.

An identifier is a serial with something before or after it: a year, an area, a court. In one registry two years may
have the same serial, in another they never do, and then a new one that is free only as a whole gives itself away.
Which it is, the room says: some serials of the sample, and some of the new ones, are asked about under each of the
other leads that the sample shows. Where people share less, every new one is asked about so, and those that are
somebody's elsewhere are given up until canaries share as much as people do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import LIKE_MIN
from strongroom.trace.canary.tokens import encode, halves

if TYPE_CHECKING:
    from strongroom.trace.canary.checks import Checks
    from strongroom.trace.canary.numbers import Spread
    from strongroom.trace.canary.text import Part, TextModel

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LEADS_MAX = 16
"""A field whose serials stand under more leads is not looked after: each new one would be asked about so often."""
PROBES = 1_000
_SIGMAS = 2.0
_NEARLY_ALL = 0.95
_BETWEEN = "\x1f"


@dataclass(frozen=True)
class Form:
    """Where the serial stands in texts of one shape.

    Args:
        before: Characters before it, for each part there: one number, or one for each code of a part by its name.
        behind: The same after it.
        head: So many first digits of its number belong to the lead: those of the year, say.
        leads: What stands before and after it in the sample, by lead: two texts each.
        lead: Which lead each row of the sample has, -1 where hardly any has it; i64[m].
        serials: The serial of each of these rows, string[m].
    """

    before: list[tuple[str, Ints]]
    behind: list[tuple[str, Ints]]
    head: int
    leads: tuple[pa.Array, pa.Array]
    lead: Ints
    serials: pa.Array


@dataclass(frozen=True)
class Serials:
    """The forms of a field by shape."""

    name: str
    forms: dict[int, Form]

    @classmethod
    def learn(cls, model: TextModel, column: pa.Array, dates: Mapping[str, pa.Array]) -> Serials | None:
        """Learn from a column of the sample; None where no serial stands under several leads, or under too many.

        Args:
            model: How the column is made.
            column: Its texts.
            dates: Dates and moments of the same records.
        """
        sample = Drawn({}, {node.name: node.codes for node in model.nodes})
        years = [pc.year(date).fill_null(0).to_numpy(zero_copy_only=False) for date in dates.values()]
        forms = {}
        for code, parts in model.parts.items():
            rows = np.flatnonzero(model.shape.codes == code)
            form = _form(parts, sample, rows, column.take(pa.array(rows)), [year[rows] for year in years])
            if form is not None:
                forms[code] = form
        return cls(model.name, forms) if forms else None


def _form(parts: list[Part], sample: Drawn, rows: Ints, texts: pa.Array, years: list[Ints]) -> Form | None:
    at = [i for i, part in enumerate(parts) if part.spread is not None]
    if len(at) != 1 or parts[at[0]].running is not None or any(part.link for part in parts):
        return None
    spread = parts[at[0]].spread
    assert spread is not None
    before, behind = ([_lengths(p) for p in some] for some in (parts[: at[0]], parts[at[0] + 1 :]))
    head = _head(spread, rows, years)
    plain = Form(before, behind, head, (texts, texts), rows, texts)
    start, serials, tail = _split(plain, sample, rows, texts)
    codes, words = encode(pc.binary_join_element_wise(start, tail, pa.scalar(_BETWEEN, pa.large_string())))
    often = np.flatnonzero(np.bincount(codes, minlength=len(words)) >= LIKE_MIN)
    if not 1 < len(often) <= LEADS_MAX:
        return None
    first = np.unique(codes, return_index=True)[1][often]
    leads = (start.take(pa.array(first)), tail.take(pa.array(first)))
    number = np.full(len(words), -1, np.int64)
    number[often] = np.arange(len(often))
    return Form(before, behind, head, leads, number[codes], serials)


def _head(spread: Spread, rows: Ints, years: list[Ints]) -> int:
    """How many first digits of a number are those of the year of a date; or all that are not any, if none is."""
    assert spread.widths is not None
    width = int(spread.widths[rows].max())
    if not spread.head or (spread.widths[rows] != width).any():
        return 0
    numbers, found = spread.values[spread.codes[rows]], 0
    for length in range(1, min(width, 18)):
        begins = numbers // 10 ** (width - length)
        if not any(said(begins, year) for year in years):
            break
        found = length
    all_of_it = width - (len(str(spread.head)) - 1)
    return found if found or years else all_of_it


def said(begins: Ints, year: Ints) -> bool:
    """Whether numbers of one year begin alike, nearly all; i64[n] each."""
    both, sizes = np.unique(np.column_stack([year, begins]), axis=0, return_counts=True)
    most = np.zeros(len(sizes), np.int64)
    at = np.unique(both[:, 0], return_inverse=True)[1]
    np.maximum.at(most, at, sizes)
    return bool(most.sum() >= _NEARLY_ALL * len(begins))


def _lengths(part: Part) -> tuple[str, Ints]:
    length = pc.utf8_length(part.words).to_numpy(zero_copy_only=False).astype(np.int64)
    return (part.node.name if part.node is not None else "", length)


def _size(parts: list[tuple[str, Ints]], drawn: Drawn, rows: Ints) -> Ints:
    """How many characters some parts of new rows have."""
    total = np.zeros(len(rows), np.int64)
    for name, lengths in parts:
        total += lengths[drawn.codes[name][rows]] if name else lengths[0]
    return total


def _split(form: Form, drawn: Drawn, rows: Ints, texts: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """What stands before the serial of each text, the serial, and what stands after it."""
    start = _size(form.before, drawn, rows) + form.head
    stop = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64) - _size(form.behind, drawn, rows)
    front, rest = halves(texts.cast(pa.large_string()), start)
    serial, tail = halves(rest, stop - start)
    return front, serial, tail


class Elsewhere:
    """Says of new identifiers of a field which are to be given up, as their serial is somebody's under another lead.

    Args:
        serials: What was learnt of the field.
        rng: Where chance comes from.
        drawn: What the new ones are made from.
        checks: The check digits of the column: under another lead they are others.
        taken: Which values somebody has.
    """

    def __init__(
        self,
        serials: Serials,
        rng: np.random.Generator,
        drawn: Drawn,
        checks: Checks,
        taken: Callable[[pa.Array], Mask],
    ) -> None:
        self._serials, self._rng, self._drawn = serials, rng, drawn
        self._checks, self._taken = checks, taken
        self._given_up: dict[int, float] = {}

    def __call__(self, rows: Ints, column: pa.Array) -> Mask:
        """Which of some new rows are to be given up, bool[len(rows)]; `column` has the values of all new rows."""
        found = np.zeros(len(rows), np.bool_)
        shape = self._drawn.codes[self._serials.name]
        for code, form in self._serials.forms.items():
            there = np.flatnonzero(shape[rows] == code)
            if not len(there):
                continue
            every = np.flatnonzero((shape == code) & column.is_valid().to_numpy(zero_copy_only=False))
            start, serial, tail = _split(form, self._drawn, every, column.take(pa.array(every)))
            at = np.searchsorted(every, rows[there])
            here = [part.take(pa.array(at)) for part in (start, serial, tail)]
            if code not in self._given_up:
                self._given_up[code] = self._probe(form, *here)
            if self._given_up[code] > 0:
                shared = self._elsewhere(form, *here) | _again(serial)[at]
                found[there] = shared & (self._rng.random(len(there)) < self._given_up[code])
        return found

    def _probe(self, form: Form, start: pa.Array, serial: pa.Array, tail: pa.Array) -> float:
        """What share of new ones whose serial is somebody's elsewhere is to be given up."""
        new = pa.array(self._rng.permutation(len(serial))[:PROBES])
        canaries = self._elsewhere(form, *(part.take(new) for part in (start, serial, tail)))
        have = float(canaries.sum())
        if have <= _SIGMAS * np.sqrt(have):
            return 0.0  # whatever people do, so few may be chance
        mine = pa.array(self._rng.permutation(np.flatnonzero(form.lead >= 0))[:PROBES])
        leads = [part.take(pa.array(form.lead[mine.to_numpy()])) for part in form.leads]
        people = self._elsewhere(form, leads[0], form.serials.take(mine), leads[1])
        wanted = float(people.mean()) * len(canaries)
        return 1 - wanted / have if have - wanted > _SIGMAS * np.sqrt(have + people.sum()) else 0.0

    def _elsewhere(self, form: Form, start: pa.Array, serial: pa.Array, tail: pa.Array) -> Mask:
        """Whose serial is somebody's under another lead; bool[n]."""
        texts, rows = [], []
        for front, end in zip(*form.leads, strict=True):
            other = ~(pc.equal(start, front).to_numpy(zero_copy_only=False)
                      & pc.equal(tail, end).to_numpy(zero_copy_only=False))  # fmt: skip
            at = np.flatnonzero(other)
            texts.append(pc.binary_join_element_wise(front, serial.take(pa.array(at)), end, pa.scalar("", front.type)))
            rows.append(at)
        asked, kept = self._checks.keep(pa.concat_arrays(texts).cast(pa.string()))
        which = np.flatnonzero(kept)
        which = which[self._taken(asked.take(pa.array(which)))]
        found = np.zeros(len(serial), np.bool_)
        found[np.concatenate(rows)[which]] = True
        return found


def _again(serial: pa.Array) -> Mask:
    """Rows whose serial another new one has."""
    codes = encode(serial)[0]
    found: Mask = np.bincount(codes)[codes] > 1
    return found
