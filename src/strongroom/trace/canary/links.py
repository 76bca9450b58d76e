"""Keeps what fields of one person have in common: a parcel goes to their own number, their phone stands in a report.

Where a field equals a field of the person in the sample, it equals that of the canary; where it is another person's,
it is that of another canary of the same unit; else it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.schema.normalise import normalise
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.ids import restyled
from strongroom.trace.canary.nodes import Node
from strongroom.trace.canary.tokens import LINK, LINKS_MAX

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OTHER = "@other"  # behind a field's name: its value at another person of the unit
LINKED_SHARE = 0.02
_REFERS_SHARE = 0.5
_MENTION_CHARACTERS_MIN = 3
_LINKS = 3
_NULL, _NEW, _REFERS, _FIRST = 0, 1, 2, 3


@dataclass(frozen=True)
class Known:
    """A field of persons that others may repeat: its values at the rows of a frame, and those of everybody.

    Args:
        name: "table.field".
        steps: Its normalisation steps.
        here: The person's value at each row, string[n].
        everybody: All values of the sample.
    """

    name: str
    steps: tuple[str, ...]
    here: pa.Array
    everybody: pa.Array


@dataclass
class LinkModel:
    """A field that repeats a field of the person in some rows.

    Args:
        node: 0 null, 1 made, 2 another person's, 3 and up the person's own field of `names`.
        names: Fields of the person.
        inner: Makes what is new; None where nothing is.
        written: The sample's texts, for the form; None where the forms are equal.
    """

    node: Node
    names: list[str]
    inner: Any
    written: pa.Array | None

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.node, *(self.inner.nodes if self.inner is not None else [])]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The values of the new rows, or of some of them."""
        codes = drawn.codes[self.node.name]
        rows = np.arange(len(codes)) if again is None else again
        out = pa.nulls(len(rows), pa.string())
        if self.inner is not None:
            out = self.inner.make(rng, drawn, links, again=again)
        for code, name in enumerate((self.names[0] + OTHER, *self.names), _REFERS):
            here = pa.array(codes[rows] == code)
            if here.true_count:
                value = links[name].take(pa.array(rows))
                if self.written is not None:
                    donors = np.maximum(drawn.rows[self.node.name][rows], 0)
                    value = restyled(value, self.written.take(pa.array(donors)))
                out = pc.if_else(here, value, out)
        return out


@dataclass(frozen=True)
class Found:
    """How a column repeats fields of persons.

    Args:
        codes: As a `LinkModel`'s node has them.
        names: The fields.
        rest: The column where it is new, null elsewhere.
        styled: Whether equal values are written in different forms.
    """

    codes: Ints
    names: list[str]
    rest: pa.Array
    styled: bool


def find_links(column: pa.Array, steps: tuple[str, ...], known: Sequence[Known], sampled: float) -> Found | None:
    """How a column of strings repeats fields of the person; None where it does not.

    Args:
        column: The field's texts, string[n].
        steps: Its normalisation steps.
        known: Fields of persons.
        sampled: Share of the room's persons in the sample: so many of those that are named are in it.
    """
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if not valid.any():
        return None
    codes = np.where(valid, _NEW, _NULL)
    names: list[str] = []
    other: Known | None = None
    for field in known:
        equal = pc.equal(*_forms(column, steps, field.here, field.steps)).fill_null(False)
        equal = equal.to_numpy(zero_copy_only=False) & (codes == _NEW)
        if equal.sum() < LINKED_SHARE * valid.sum():
            continue
        codes[equal] = _FIRST + len(names)
        other = other or field
        names.append(field.name)
        if len(names) == _LINKS:
            break
    if other is None:
        return None
    plain, everybody = _forms(column, steps, other.everybody, other.steps)
    named = pc.is_in(plain, everybody.drop_null().unique()).to_numpy(zero_copy_only=False) & (codes == _NEW)
    new = int((codes == _NEW).sum())
    if new and named.sum() >= _REFERS_SHARE * sampled * new:
        named = codes == _NEW
    codes[named] = _REFERS
    own = codes >= _FIRST
    raw_equal = pc.equal(column, other.here).fill_null(False).to_numpy(zero_copy_only=False)
    styled = bool((own & ~raw_equal).sum() > 0.02 * own.sum()) and len(names) == 1
    rest = pc.if_else(pa.array(codes == _NEW), column, pa.scalar(None, column.type))
    return Found(codes, names, rest, styled)


def _forms(
    left: pa.Array, left_steps: tuple[str, ...], right: pa.Array, right_steps: tuple[str, ...]
) -> tuple[pa.Array, pa.Array]:
    """Two columns as they are compared: normalised where both fields say the same steps."""
    if left_steps and left_steps == right_steps:
        return normalise(left, left_steps), normalise(right, right_steps)
    return left, right


def mark_mentions(column: pa.Array, known: Sequence[Known]) -> tuple[pa.Array, dict[str, str]]:
    """The texts with a character of the private use area wherever a field of the person stands in them.

    Returns:
        The texts, and the field's name by its character.
    """
    meaning: dict[str, str] = {}
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if not valid.any():
        return column, meaning
    texts = np.array(column.fill_null("").to_pylist(), dtype=np.dtypes.StringDType())
    for number, field in enumerate(known[:LINKS_MAX]):
        values = np.array(field.here.fill_null("").to_pylist(), dtype=np.dtypes.StringDType())
        able = np.strings.str_len(values) >= _MENTION_CHARACTERS_MIN
        hit = np.zeros(len(texts), np.bool_)
        hit[able] = np.strings.find(texts[able], values[able]) >= 0
        if hit.sum() < LINKED_SHARE * valid.sum():
            continue
        character = chr(LINK + number)
        texts[hit] = np.strings.replace(texts[hit], values[hit], character)
        meaning[character] = field.name
    marked = pa.array(texts.tolist(), pa.string())
    return pc.if_else(pa.array(valid), marked, pa.scalar(None, pa.string())), meaning
