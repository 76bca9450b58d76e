"""Makes identifiers: the operator's own, random characters, or none; and sees that each is one canary's alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import UsageError
from strongroom.trace.canary.checks import Checks
from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.nodes import LIKE_MIN, Node
from strongroom.trace.canary.numbers import digit_matrix, of_matrix
from strongroom.trace.canary.tokens import encode, raw, text_at
from strongroom.trace.canary.values import present

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Collides = Callable[[str, str, pa.Array], Mask]

_TRIES = 12
_TRIES_BEYOND = 28


@dataclass
class PoolModel:
    """Identifiers that the operator holds, each given out once, written as the room writes such."""

    there: Node
    values: pa.Array
    written: pa.Array

    @classmethod
    def learn(cls, name: str, column: pa.Array, values: pa.Array) -> PoolModel:
        """Learn how often and in which form a column has such identifiers."""
        return cls(present(name, column), values.drop_null().unique(), column)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """The next of the pool for each new row that has one."""
        del links
        name = self.there.name
        rows = np.arange(len(drawn.codes[name])) if again is None else again
        has = np.flatnonzero(drawn.codes[name][rows] == 1)
        start = drawn.used.get(name, 0)
        if start + len(has) > len(self.values):
            raise UsageError(
                f"{name}: the operator's own identifiers are {len(self.values):,}, more are needed",
                hint="add identifiers to the source of this field, or ask for fewer canaries",
            )
        if name not in drawn.pools:
            drawn.pools[name] = rng.permutation(len(self.values))
        order = drawn.pools[name][start : start + len(has)]
        drawn.used[name] = start + len(has)
        donors = self.written.take(pa.array(drawn.rows[name][rows[has]]))
        texts = restyled(self.values.take(pa.array(order)), donors)
        out = pa.concat_arrays([texts, pa.nulls(1, texts.type)])
        where = np.full(len(rows), len(has), np.int64)
        where[has] = np.arange(len(has))
        return out.take(pa.array(where))


def restyled(values: pa.Array, written: pa.Array) -> pa.Array:
    """Numbers with their digits set as those of other texts are: the last digits of each text give way.

    Where a text has fewer digits than the number, or the number is not all digits, the number stays as it is.
    """
    values, written = values.cast(pa.string()), written.cast(pa.string())
    if not len(values):
        return values
    digits_only = pc.match_substring_regex(values, "^[0-9]+$").fill_null(False).to_numpy(zero_copy_only=False)
    plain = pc.if_else(pa.array(digits_only), values, "")
    offsets, data = raw(written.fill_null(""))
    own_offsets, own = raw(plain.fill_null(""))
    is_digit = (data >= 48) & (data <= 57)
    count = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_digit)])
    of_row = count[offsets[1:]] - count[offsets[:-1]]
    wanted = np.diff(own_offsets)
    fits = digits_only & (of_row >= wanted) & (wanted > 0)
    # The k-th digit of a row from its end takes the k-th of the number from its end.
    places = np.flatnonzero(is_digit)
    row = np.repeat(np.arange(len(values)), of_row)
    from_end = count[offsets[1:]][row] - np.arange(len(places)) - 1
    take = fits[row] & (from_end < wanted[row])
    out = data.copy()
    out[places[take]] = own[own_offsets[1:][row[take]] - 1 - from_end[take]]
    return pc.if_else(pa.array(fits), text_at(out, offsets).cast(pa.string()), values)


@dataclass
class NullModel:
    """Nothing, as in those rows of the sample that have nothing either."""

    there: Node
    type: pa.DataType

    @classmethod
    def learn(cls, name: str, column: pa.Array) -> NullModel:
        """Learn which rows have nothing."""
        node = present(name, column)
        if (node.codes == 0).any():
            node.donors = node.codes == 0
        return cls(node, column.type)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.there]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """Nulls."""
        del rng, links
        return pa.nulls(len(drawn.codes[self.there.name]) if again is None else len(again), self.type)


@dataclass
class CharactersModel:
    """Texts of characters that do not depend on each other, such as random keys: each from another row."""

    length: Node
    blocks: dict[int, npt.NDArray[np.uint8]]

    @classmethod
    def learn(cls, name: str, column: pa.Array) -> CharactersModel | None:
        """Learn the characters at each place; None where texts are not ASCII or hardly two are of one length."""
        texts = column.fill_null("")
        _, data = raw(texts)
        sizes = pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        lengths, counts = np.unique(sizes[sizes > 0], return_counts=True)
        able = lengths[counts >= 4 * LIKE_MIN]
        if (len(data) and data.max() >= 0x80) or not len(able):
            return None
        blocks = {int(k): digit_matrix(texts.take(pa.array(np.flatnonzero(sizes == k))), int(k)) for k in able}
        codes = np.where(np.isin(sizes, [0, *able]), sizes, -1)
        return cls(Node(name, codes), blocks)

    @property
    def nodes(self) -> list[Node]:
        """What is to be drawn."""
        return [self.length]

    def make(
        self, rng: np.random.Generator, drawn: Drawn, links: Mapping[str, pa.Array], *, again: Ints | None = None
    ) -> pa.Array:
        """Texts for the new rows, or for some of them."""
        del links
        codes = drawn.codes[self.length.name]
        sizes = codes if again is None else codes[again]
        out, where, size = [pa.nulls(1, pa.string())], np.zeros(len(sizes), np.int64), 1
        for length, block in self.blocks.items():
            rows = np.flatnonzero(sizes == length)
            if len(rows):
                picked = rng.integers(0, len(block), (len(rows), length))
                out.append(of_matrix(block[picked, np.arange(length)]))
                where[rows] = size + np.arange(len(rows))
                size += len(rows)
        return pa.concat_arrays(out).take(pa.array(where))


def make_distinct(
    field: str,
    make: Callable[[Ints], pa.Array],
    drawn: Drawn,
    checks: Checks,
    taken: Callable[[pa.Array], Mask],
    elsewhere: Callable[[Ints, pa.Array], Mask] | None = None,
) -> tuple[pa.Array, bool]:
    """Identifiers that keep their check digits, no two equal and none taken; and whether numbers ran out.

    Args:
        field: "table.field", for messages.
        make: Gives values for rows, each time others.
        drawn: What they are made from; `beyond` is set while numbers above the sample's are wanted.
        checks: The check digits of the column.
        taken: Which values somebody has.
        elsewhere: Which of some rows have a serial that is somebody's under another lead, and may not.

    Raises:
        UsageError: There are none left.
    """
    count = len(next(iter(drawn.codes.values())))
    column = pa.nulls(count, pa.string())
    left = np.arange(count)
    drawn.beyond = 0
    for attempt in range(_TRIES + _TRIES_BEYOND):
        drawn.beyond, drawn.tries = 4 * count + 16 if attempt >= _TRIES else 0, attempt
        fresh = make(left)
        kept = np.ones(len(fresh), np.bool_)
        if pa.types.is_string(fresh.type):
            fresh, kept = checks.keep(fresh)
        column = fresh if len(left) == count else _put(column, left, fresh)
        bad = np.zeros(count, np.bool_)
        bad[left] = ~kept | taken(fresh)
        bad |= _repeated(column)
        if elsewhere is not None and not drawn.beyond:
            free = left[~bad[left]]
            bad[free] = elsewhere(free, column)
        left = np.flatnonzero(bad)
        if not len(left):
            beyond, drawn.beyond = drawn.beyond > 0, 0
            return column, beyond
    drawn.beyond = 0
    raise UsageError(
        f"{field}: {len(left):,} of {count:,} canaries found no identifier that is free",
        hint="ask for fewer canaries, or give the field a source with more identifiers",
    )


def _put(column: pa.Array, rows: Ints, values: pa.Array) -> pa.Array:
    where = np.arange(len(column))
    where[rows] = len(column) + np.arange(len(rows))
    return pa.concat_arrays([column, values]).take(pa.array(where))


def _repeated(column: pa.Array) -> Mask:
    """Rows whose value an earlier row has; null is no value."""
    codes, words = encode(column)
    first = np.full(len(words) + 1, len(codes), np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    found: Mask = (codes >= 0) & (first[codes] != np.arange(len(codes)))
    return found
