"""Finds the tuples of SQL text in one pass over its bytes, and writes those of a table as CSV with single quotes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from strongroom.trace.leak.base import Int64s, Mask, paired

PREFIX_MAX = 12
"""Letters that may stand before a string: N'…', _binary'…'."""


def _table(characters: bytes) -> Mask:
    table = np.zeros(256, np.bool_)
    table[list(characters)] = True
    return table


_MARKS = _table(b"'();")
_JOINING = _table(b", \t\r\n")
_SPACE = _table(b" \t\r\n")
_WORD = _table(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


@dataclass(frozen=True)
class Tuples:
    """Outermost parentheses of a text.

    Args:
        starts: Where each opens, i64[n].
        ends: The place after each closes, i64[n].
        breaks: Those before which there is more than a comma.
        done: Up to where all is understood: the end of the last tuple or statement.
    """

    starts: Int64s = field(repr=False)
    ends: Int64s = field(repr=False)
    breaks: Int64s = field(repr=False)
    done: int


def tuples_of(text: bytes) -> Tuples:
    """Find outermost parentheses outside strings; a string is between single quotes, a doubled quote stays inside.

    Args:
        text: Begins outside any string.
    """
    data = np.frombuffer(text, np.uint8)
    marks = np.flatnonzero(_MARKS[data]).astype(np.int64)
    kinds = data[marks]
    quote = kinds == ord("'")
    outside = (np.cumsum(quote) & 1) == 0
    step = ((kinds == ord("(")).astype(np.int64) - (kinds == ord(")"))) * outside
    depth = np.cumsum(step)
    if len(depth):
        depth = depth - np.minimum(np.minimum.accumulate(depth), 0)
    opening = np.flatnonzero((step == 1) & (depth == 1))
    closing = np.flatnonzero((step == -1) & (depth == 0))
    opening, closing, _ = paired(opening, closing)
    starts, ends = marks[opening], marks[closing] + 1
    ending = marks[(kinds == ord(";")) & outside & (depth == 0)]
    done = max(int(ends[-1]) if len(ends) else 0, int(ending[-1]) + 1 if len(ending) else 0)
    other = np.concatenate([np.zeros(1, np.int32), np.cumsum(~_JOINING[data], dtype=np.int32)])
    before = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(starts)]
    breaks = np.flatnonzero(other[starts] > other[before]).astype(np.int64)
    return Tuples(starts, ends, breaks, done)


def rows_as_csv(text: bytes, starts: Int64s, ends: Int64s) -> bytes:
    """Tuples as lines of CSV with single quotes: without white space and type prefixes outside strings.

    Args:
        text: What `tuples_of` was given.
        starts: Where the tuples open.
        ends: The place after each closes.
    """
    low, high = int(starts[0]), int(ends[-1])
    data = np.frombuffer(text, np.uint8)[low:high].copy()
    edges = np.zeros(len(data) + 1, np.int8)
    edges[starts - low + 1] += 1
    edges[ends - low] -= 1
    keep = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)
    quote = data == ord("'")
    in_string = np.logical_xor.accumulate(quote)
    keep &= in_string | ~_SPACE[data]
    data[ends - low - 1] = ord("\n")
    before = np.flatnonzero(quote & in_string) - 1
    for _ in range(PREFIX_MAX):
        before = before[before >= 0]
        before = before[_WORD[data[before]] & ~in_string[before]]
        if not len(before):
            break
        keep[before] = False
        before = before - 1
    return data[keep].tobytes()
