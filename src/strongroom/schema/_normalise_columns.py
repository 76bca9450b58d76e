"""The steps of `normalise`, a column at a time.

Nulls are empty text while the steps run, because what comes out empty is null in the end.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.errors import InputError
from strongroom.schema.columns import one_chunk, plain, text_bytes
from strongroom.schema.normalise import NOT_DIGITS, ONE, SEPARATORS, SPACES
from strongroom.schema.phone import SEPARATORS as PHONE_SEPARATORS
from strongroom.schema.phone import USUAL, phone
from strongroom.schema.vocabulary import PHONE_STEP

TEXT_ROWS = 8_192
"""Rows whose characters are treated as one text: one odd character slows only its neighbours."""

_ASCII_SPACES = "".join(c for c in SPACES if c.isascii())
_ASCII_FORMS: dict[str, str | None] = {
    "upper": "ascii_upper",
    "lower": "ascii_lower",
    "casefold": "ascii_lower",
    "nfkc": None,
    "halfwidth": None,
}
_BYTES = npt.NDArray[np.uint8]
_MASK = npt.NDArray[np.bool_]


def normalise(column: pa.Array | pa.ChunkedArray, parts: tuple[str, ...], name: str) -> pa.Array:
    """See `normalise.normalise`; `parts` are simple parts."""
    if pa.types.is_integer(column.type):
        return one_chunk(column.cast(pa.string()))
    array = plain(column, "string", name)
    if pa.types.is_large_string(array.type):
        if array.nbytes >= 2**30:
            half = len(array) // 2
            return pa.concat_arrays(
                [normalise(a, parts, name).cast(pa.large_string()) for a in (array[:half], array[half:])]
            )
        array = array.cast(pa.string())
    try:
        array = array.fill_null("") if array.null_count else array
        for part in parts:
            array = _part(array, part)
        empty = pc.equal(pc.binary_length(array), 0)
        return pc.if_else(empty, pa.scalar(None, pa.string()), array) if empty.true_count else array
    except (pa.ArrowException, UnicodeDecodeError):
        raise InputError(f"field {name}: the column is not UTF-8") from None


def _part(array: pa.Array, part: str) -> pa.Array:
    if part.startswith(PHONE_STEP):
        return _phones(array, part[len(PHONE_STEP) :])
    if part == "trim":
        if _is_ascii(array):
            return pc.ascii_trim(array, characters=_ASCII_SPACES)
        return pc.utf8_trim(array, characters=SPACES)
    if part == "only_digits":
        return _without(array, NOT_DIGITS, pc.ascii_is_decimal(array))
    if part == "no_separators":
        return _without(array, SEPARATORS, pc.ascii_is_alnum(array))
    ascii_form = _ASCII_FORMS[part]
    if _is_ascii(array):
        return getattr(pc, ascii_form)(array) if ascii_form else array
    plainly = np.asarray(pc.string_is_ascii(array))
    easy, hard = array.filter(pa.array(plainly)), array.filter(pa.array(~plainly))
    if ascii_form:
        easy = getattr(pc, ascii_form)(easy)
    return merge(plainly, easy, _as_text(hard, part))


def _without(array: pa.Array, pattern: str, clean: pa.Array) -> pa.Array:
    """Remove a pattern from the rows that are not `clean`: most columns have none."""
    if clean.true_count == len(array):
        return array
    mask = np.asarray(clean)
    rest = _removed(array.filter(pa.array(~mask)), pattern)
    return merge(mask, array.filter(clean), rest)


def _removed(array: pa.Array, pattern: str) -> pa.Array:
    """Remove every match of a pattern of single characters."""
    if not _is_ascii(array):
        return pc.replace_substring_regex(array, pattern=pattern, replacement="")
    data = text_bytes(array)
    kept = np.zeros(len(data) + 1, np.int32)
    keep = _kept_bytes(pattern)[data]
    np.cumsum(keep, out=kept[1:])
    bounds = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    buffers = [None, pa.py_buffer(kept[bounds - bounds[0]]), pa.py_buffer(data[keep])]
    return pa.Array.from_buffers(pa.string(), len(array), buffers)


@cache
def _kept_bytes(pattern: str) -> _MASK:
    return np.array([not re.fullmatch(pattern, chr(byte)) for byte in range(128)])


def _as_text(array: pa.Array, part: str) -> pa.Array:
    """Apply a part that treats every line alone to many rows as the lines of one text."""
    do = ONE[part]
    pieces = []
    for start in range(0, len(array), TEXT_ROWS):
        rows = array.slice(start, TEXT_ROWS)
        lines = pc.binary_join_element_wise(rows, pa.scalar(""), "\n")
        text = text_bytes(lines).tobytes().decode()
        if text.count("\n") != len(rows):
            pieces.append(_distinct(rows, do))
            continue
        data = np.frombuffer(do(text).encode(), np.uint8)
        breaks = data == 10
        ends = np.flatnonzero(breaks) - np.arange(len(rows))
        offsets = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[~breaks])]
        pieces.append(pa.Array.from_buffers(pa.string(), len(rows), buffers))
    return pa.concat_arrays(pieces) if pieces else array


def _distinct(array: pa.Array, do: Any) -> pa.Array:
    """Apply a function to each distinct value once."""
    coded = array.dictionary_encode()
    values = pa.array([do(value) for value in coded.dictionary.to_pylist()], pa.string())
    return values.take(coded.indices)


# -- phones ------------------------------------------------------------------------------------------


def _phones(array: pa.Array, country: str) -> pa.Array:
    """Usual forms as ranges of bytes: as they are, without separators, without prefix; then one by one."""
    if country not in USUAL:
        return _distinct(array, lambda text: phone(text, country))
    found, mask = _usual(array, country)
    if mask.all():
        return found
    rest = array.filter(pa.array(~mask))
    bare = rest
    if not _is_ascii(rest):
        bare = _part(bare, "halfwidth")
    bare = pc.utf8_trim(bare, characters=SPACES)
    bare = _removed(bare, PHONE_SEPARATORS)
    rest = _usual_or(rest, bare, country)
    return merge(mask, found, rest)


def _usual_or(written: pa.Array, bare: pa.Array, country: str) -> pa.Array:
    found, mask = _usual(bare, country)
    if mask.all():
        return found
    other = pa.array(~mask)
    written, bare = written.filter(other), bare.filter(other)
    trunk = USUAL[country].lowest[: USUAL[country].trunk]
    local = _without_prefix(bare, USUAL[country].prefixes, trunk)
    again, mask_again = _usual(local, country)
    slow = _distinct(written.filter(pa.array(~mask_again)), lambda text: phone(text, country))
    return merge(mask, found, merge(mask_again, again, slow))


def _without_prefix(bare: pa.Array, prefixes: tuple[str, ...], trunk: str) -> pa.Array:
    """Numbers with the trunk digits in place of their prefix; empty where they have none (no two can match)."""
    local = pa.repeat(pa.scalar(""), len(bare))
    for prefix in prefixes:
        has = pc.starts_with(bare, prefix)
        if has.true_count:
            rest = pc.utf8_slice_codeunits(bare, start=len(prefix))
            local = pc.if_else(has, pc.binary_join_element_wise(trunk, rest, "") if trunk else rest, local)
    return local


def _usual(array: pa.Array, country: str) -> tuple[pa.Array, _MASK]:
    """E.164 of the rows that are of the usual form, and which they are."""
    form = USUAL[country]
    width = len(form.lowest)
    fits = np.asarray(pc.equal(pc.binary_length(array), width))
    candidates = array if fits.all() else array.filter(pa.array(fits))
    digits = text_bytes(candidates).reshape(-1, width)
    lowest, highest = (np.frombuffer(text.encode(), np.uint8) for text in (form.lowest, form.highest))
    inside = np.ones(len(digits), np.bool_)
    for at in range(width):  # a column at a time: numpy is slow at many short rows
        inside &= digits[:, at] - lowest[at] <= highest[at] - lowest[at]  # below the lowest a u8 is large
    fits[fits] = inside
    kept = digits if inside.all() else digits[inside]
    code = np.frombuffer(form.code.encode(), np.uint8)
    out = np.empty((len(kept), len(code) + width - form.trunk), np.uint8)
    out[:, : len(code)] = code
    out[:, len(code) :] = kept[:, form.trunk :]
    offsets = np.arange(len(out) + 1, dtype=np.int32) * out.shape[1]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.string(), len(out), buffers), fits


# -- arrays ------------------------------------------------------------------------------------------


def merge(mask: _MASK, yes: pa.Array, no: pa.Array) -> pa.Array:
    """One array: the next of `yes` where the mask is true, the next of `no` where it is not."""
    if not len(no):
        return yes
    if not len(yes):
        return no
    at = np.where(mask, np.cumsum(mask) - 1, len(yes) + np.cumsum(~mask) - 1)
    return pa.concat_arrays([yes, no]).take(pa.array(at))


def _is_ascii(array: pa.Array) -> bool:
    data = text_bytes(array)
    return not len(data) or int(data.max()) < 0x80
