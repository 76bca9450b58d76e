"""Cuts a column of text into tokens, whole columns at once: runs of digits, of letters, of marks, and places of links.

Chinese, spaces and Latin letters are all letters; what stands for another field of the same person (`LINK` and the
characters after it, of the private use area) is a token of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]

LETTERS, DIGITS, MARKS, LINKS = 0, 1, 2, 3
LINK = 0xE000
LINKS_MAX = 64
_CUT_CHARACTERS_MAX = 48
_DOUBLE_SHARE = 0.8


@dataclass(frozen=True)
class Tokens:
    """The tokens of a column.

    Args:
        text: All of them in order, string[t].
        codes: Equal tokens have equal codes, i64[t].
        kinds: LETTERS, DIGITS, MARKS or LINKS, i64[t].
        first: Position of each row's first token, i64[rows + 1].
    """

    text: pa.Array
    codes: Ints
    kinds: Ints
    first: Ints


def raw(column: pa.Array) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """Offsets i64[n + 1] from 0, and the bytes of a column of strings without nulls."""
    wide = column.cast(pa.large_string())
    offsets = np.frombuffer(wide.buffers()[1], np.int64, len(wide) + 1, 8 * wide.offset) if len(wide) else np.zeros(1)
    bounds = offsets.astype(np.int64)
    buffer = wide.buffers()[2] if len(wide) else None
    data = np.frombuffer(buffer, np.uint8)[bounds[0] : bounds[-1]] if buffer is not None else np.zeros(0, np.uint8)
    return bounds - bounds[0], data


def text_at(data: npt.NDArray[np.uint8], bounds: Ints) -> pa.Array:
    """Strings that lie side by side in a buffer."""
    offsets = pa.py_buffer(np.ascontiguousarray(bounds))
    return pa.LargeStringArray.from_buffers(len(bounds) - 1, offsets, pa.py_buffer(np.ascontiguousarray(data)))


def encode(column: pa.Array | pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Codes from 0 up, -1 for null, and the distinct values."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    coded = array.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, coded.dictionary


def _kinds(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """The kind of every byte; those inside a character have that of its first."""
    table = np.zeros(256, np.int8)
    table[:128] = MARKS
    table[[*range(65, 91), *range(97, 123), 32, 39]] = LETTERS
    table[48:58] = DIGITS
    kind = table[data]
    second = np.append(data[1:], np.uint8(0))
    third = np.append(data[2:], np.zeros(min(2, len(data)), np.uint8))
    kind[(data == 0xE3) & (second == 0x80) & (third != 0x80)] = MARKS
    kind[(data == 0xEF) & (second == 0xBC) & ((third < 0x90) | (third > 0x99)) & (third < 0xA1)] = MARKS
    kind[(data == 0xEF) & (second == 0xBD) & (third > 0x9A)] = MARKS
    kind[(data == 0xC2) & (second == 0xB7)] = MARKS
    kind[(data == 0xEE) & (second == 0x80)] = LINKS
    inside = (data & 0xC0) == 0x80
    at = np.where(inside, 0, np.arange(len(data)))
    return kind[np.maximum.accumulate(at)] if len(data) else kind


def tokenise(column: pa.Array) -> Tokens:
    """The tokens of a column of strings without nulls."""
    offsets, data = raw(column)
    kind = _kinds(data)
    starts = np.zeros(len(data) + 1, np.bool_)
    if len(data):
        starts[:-1] = (data & 0xC0) != 0x80
        starts[1:-1] &= (kind[1:] != kind[:-1]) | (kind[1:] == LINKS)
        starts[0] = True
    starts[offsets] = True
    starts[len(data)] = False
    bounds = np.append(np.flatnonzero(starts), len(data))
    text = text_at(data, bounds)
    codes, _ = encode(text)
    kinds = kind[bounds[:-1]].astype(np.int64) if len(data) else np.zeros(0, np.int64)
    return Tokens(text, codes, kinds, np.searchsorted(bounds[:-1], offsets).astype(np.int64))


def shapes(tokens: Tokens) -> Ints:
    """A number per row that rows of the same kinds of tokens and the same marks share; i64[rows]."""
    counts = np.diff(tokens.first)
    place = np.arange(len(tokens.codes)) - np.repeat(tokens.first[:-1], counts)
    literal = (tokens.kinds == MARKS) | (tokens.kinds == LINKS)
    mark = np.where(literal, tokens.codes + 2, tokens.kinds).astype(np.uint64)
    mixed = (mark + place.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed)])
    found: Ints = (total[tokens.first[1:]] - total[tokens.first[:-1]]).view(np.int64)
    return found


def common(codes: Ints, who: Ints, least: int) -> npt.NDArray[np.bool_]:
    """Which rows have a value that at least so many persons have; bool[n].

    Args:
        codes: Values, i64[n].
        who: Whose row it is, i64[n].
        least: How many persons.
    """
    if not len(codes):
        return np.zeros(0, np.bool_)
    values = np.unique(codes, return_inverse=True)[1]
    pairs = np.unique(values * (int(who.max()) + 1) + who) // (int(who.max()) + 1)
    found: npt.NDArray[np.bool_] = np.bincount(pairs)[values] >= least
    return found


def best_cut(column: pa.Array) -> Ints:
    """Where to cut each text in two so that both halves stand in many others; characters, i64[n]; 0 for nowhere.

    The rarer of the two halves decides: of all cuts the one whose rarer half is most frequent.
    """
    codes, words = encode(column)
    weight = np.bincount(codes, minlength=len(words)).astype(float)
    length = pc.utf8_length(words).to_numpy(zero_copy_only=False).astype(np.int64)
    which, cuts, heads, tails = [], [], [], []
    for cut in range(1, min(int(length.max(initial=1)), _CUT_CHARACTERS_MAX)):
        at = np.flatnonzero(length > cut)
        some = words.take(pa.array(at))
        which.append(at)
        cuts.append(np.full(len(at), cut))
        heads.append(pc.utf8_slice_codeunits(some, 0, cut))
        tails.append(pc.utf8_slice_codeunits(some, cut))
    best = np.zeros(len(words), np.int64)
    if not which:
        return best[codes]
    word, cut_at = np.concatenate(which), np.concatenate(cuts)
    score = np.minimum(*(_frequency(pa.concat_arrays(half), weight[word]) for half in (heads, tails)))
    order = np.lexsort((cut_at, score, word))
    last = np.append(word[order][1:] != word[order][:-1], True)
    best[word[order][last]] = cut_at[order][last]
    return best[codes]


def name_cut(column: pa.Array) -> Ints:
    """Where a family name ends that is written before the given name without a space; characters, i64[n].

    After the first character, or after the second where the first hardly ever stands before another (a family name of
    two characters). Texts with spaces or in other scripts are cut where `best_cut` says.
    """
    found = best_cut(column)
    words = column.cast(pa.string())
    length = pc.utf8_length(words).to_numpy(zero_copy_only=False)
    han = pc.match_substring_regex(words, "^[\u4e00-\u9fff]{2,4}$").to_numpy(zero_copy_only=False)
    one, two = (encode(pc.utf8_slice_codeunits(words, 0, k))[0] for k in (1, 2))
    double = han & (length > 2) & (np.bincount(two)[two] > _DOUBLE_SHARE * np.bincount(one)[one])
    return np.where(double, 2, np.where(han, 1, found))


def _frequency(halves: pa.Array, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    codes, _ = encode(halves)
    found: npt.NDArray[np.float64] = np.bincount(codes, weights=weight).astype(np.float64)[codes]
    return found


def halves(column: pa.Array, cut: Ints) -> tuple[pa.Array, pa.Array]:
    """Each text before and after its cut, given in characters."""
    offsets, data = raw(column)
    begins = np.flatnonzero((data & 0xC0) != 0x80)
    begins = np.append(begins, len(data))
    first = np.searchsorted(begins, offsets[:-1])
    middle = begins[np.minimum(first + cut, len(begins) - 1)]
    bounds = np.empty(2 * len(cut) + 1, np.int64)
    bounds[0::2], bounds[1::2] = offsets, middle
    both = text_at(data, bounds)
    even = pa.array(np.arange(0, 2 * len(cut), 2))
    return both.take(even), both.take(pc.add(even, 1))
