"""Identifiers anywhere in text, a block of lines at a time: numbers, e-mail addresses, codes.

Runs of digits and of letters are found in one pass over the bytes; up to GROUPS_MAX runs with a single space, dash or
dot between them are also one number (138-0013-8000). What is found is a candidate: chance makes some too.

Not found are phone numbers of countries whose usual form `schema.phone` does not know, and addresses or codes with
letters beyond ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from strongroom.schema.phone import USUAL
from strongroom.schema.vocabulary import PHONE_STEP
from strongroom.trace.leak.base import Bytes, Int64s, Mask

if TYPE_CHECKING:
    import pyarrow as pa

GROUPS_MAX = 4
CODE_MIN, CODE_MAX, CODE_DIGITS_MIN = 6, 40, 4

EMAIL, RESIDENT, CODE = "email", "resident", "code"
EMAIL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,24}$"

_NO_CODE = r"^(?:1[3-9][0-9]{9}|(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9])$"
"""Mobile numbers and days, which are no codes."""

_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], np.int64)
_CHECKS = np.frombuffer(b"10X98765432", np.uint8)


def _table(characters: bytes) -> Mask:
    table = np.zeros(256, np.bool_)
    table[list(characters)] = True
    return table


_DIGITS = b"0123456789"
_ALNUM = _DIGITS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IS_CODE = _table(_ALNUM + b"-")
_IS_EMAIL = _table(_ALNUM + b"._%+-@")
_IS_ALNUM = _table(_ALNUM)
_JOINS = _table(b" -.")


@dataclass(frozen=True)
class Hits:
    """What was found of one kind: the line of each, i64[n], and the texts, without nulls."""

    lines: Int64s = field(repr=False)
    values: pa.Array = field(repr=False)


def extract(lines: pa.Array, kinds: Iterable[str]) -> dict[str, Hits]:
    """Find identifiers in lines.

    Args:
        lines: Text, one a row, without line ends; null is no text.
        kinds: `email`, `resident` (a Chinese resident identity number with a right check digit), `code` (letters and
            digits, at least four of these), and phone:<country>.

    Returns:
        Hits by kind, in order of lines within each way of writing; kinds without hits are left out.
    """
    kinds = set(kinds)
    if not len(lines) or not kinds:
        return {}
    data, ends = _joined(lines)
    found: dict[str, list[tuple[Int64s, pa.Array]]] = {}
    phones = {kind for kind in kinds if kind.startswith(PHONE_STEP) and kind[len(PHONE_STEP) :] in USUAL}
    if phones or RESIDENT in kinds:
        runs = _Runs(data)
        for kind in phones:
            found[kind] = list(_phones(runs, kind[len(PHONE_STEP) :]))
        if RESIDENT in kinds:
            found[RESIDENT] = list(_residents(runs))
    if EMAIL in kinds:
        found[EMAIL] = [_emails(data)]
    if CODE in kinds:
        found[CODE] = [_codes(data)]
    return {kind: hits for kind, parts in found.items() if (hits := _hits(parts, ends)) is not None}


def resident_numbers(digits: Bytes) -> Mask:
    """Which rows u8[n,18] of ASCII are resident identity numbers: digits, a date of birth, the check digit (MOD 11-2).

    Source: GB 11643-1999, with the check of ISO 7064.
    """
    numbers = digits[:, :17].astype(np.int64) - 48
    fine = ((numbers >= 0) & (numbers <= 9)).all(axis=1) & (numbers[:, 0] >= 1)
    last = digits[:, 17]
    last = np.where(last == ord("x"), ord("X"), last)
    fine &= _CHECKS[(np.where(fine[:, None], numbers, 0) @ _WEIGHTS) % 11] == last
    year = numbers[:, 6:10] @ np.array([1000, 100, 10, 1])
    month, day = numbers[:, 10] * 10 + numbers[:, 11], numbers[:, 12] * 10 + numbers[:, 13]
    inside = (year >= 1850) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return np.asarray(fine & inside, np.bool_)


def _joined(lines: pa.Array) -> tuple[Bytes, Int64s]:
    """The bytes of all lines, each with a line end, in half-width forms; and where each line ends."""
    import pyarrow.compute as pc

    filled = lines.fill_null("") if lines.null_count else lines
    text = pc.binary_join_element_wise(filled, "", "\n")
    bounds = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    data = np.frombuffer(text.buffers()[2], np.uint8)[bounds[0] : bounds[-1]]
    return _narrow(data, bounds[1:] - bounds[0])


def _narrow(data: Bytes, ends: Int64s) -> tuple[Bytes, Int64s]:
    """Full-width forms (U+FF01 to U+FF5E, three bytes each) and the wide space as ASCII."""
    lead = np.flatnonzero((data == 0xEF) | (data == 0xE3))
    if not len(lead):
        return data, ends
    second, third = data[lead + 1], data[lead + 2]
    low = (data[lead] == 0xEF) & (second == 0xBC) & (third >= 0x81)
    high = (data[lead] == 0xEF) & (second == 0xBD) & (third <= 0x9E)
    space = (data[lead] == 0xE3) & (second == 0x80) & (third == 0x80)
    wide = low | high | space
    at = lead[wide]
    ascii_ = np.where(low, third - np.uint8(0x60), np.where(high, third - np.uint8(0x20), np.uint8(0x20)))[wide]
    out = data.copy()
    out[at] = ascii_
    keep = np.ones(len(data), np.bool_)
    keep[at + 1] = keep[at + 2] = False
    return out[keep], ends - 2 * np.searchsorted(at, ends)


def _hits(parts: list[tuple[Int64s, pa.Array]], ends: Int64s) -> Hits | None:
    import pyarrow as pa

    parts = [(starts, values) for starts, values in parts if len(starts)]
    if not parts:
        return None
    starts = np.concatenate([starts for starts, _ in parts])
    lines = np.searchsorted(ends, starts, side="right").astype(np.int64)
    return Hits(lines, pa.concat_arrays([values for _, values in parts]))


def _edges(inside: Mask) -> tuple[Int64s, Int64s]:
    """Where runs of true begin and end; the last value is false, because a line end is last."""
    change = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if inside[0]:
        change = np.concatenate([np.zeros(1, np.int64), change])
    if len(change) % 2:
        change = np.concatenate([change, [len(inside)]])
    return change[0::2].astype(np.int64), change[1::2].astype(np.int64)


class _Runs:
    """Runs of digits, and windows of neighbouring ones."""

    def __init__(self, data: Bytes) -> None:
        inside = (data - np.uint8(48)) < 10
        self.data = data
        self.digits = data[inside]
        self.starts, self.ends = _edges(inside)
        self.offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.ends - self.starts)])
        self.after = data[np.minimum(self.ends, len(data) - 1)]
        self._joins = (self.starts[1:] == self.ends[:-1] + 1) & _JOINS[self.after[:-1]]

    def windows(self, total: int) -> Iterable[tuple[Int64s, int]]:
        """First runs of windows with that many digits together, and how many runs they have."""
        count = len(self.starts)
        joined = np.ones(count, np.bool_)
        for groups in range(1, min(GROUPS_MAX, count) + 1):
            joined = joined[: count - groups + 1]
            if groups > 1:
                joined = joined & self._joins[groups - 2 :][: len(joined)]
            sums = self.offsets[groups:] - self.offsets[: count - groups + 1]
            first = np.flatnonzero(joined & (sums == total))
            if len(first):
                yield first.astype(np.int64), groups

    def splits(self, first: Int64s, at: int) -> Mask:
        """Whether a run ends after so many digits of a window."""
        ends = self.offsets[np.minimum(first[:, None] + np.arange(1, GROUPS_MAX), len(self.starts))]
        return np.asarray((ends - self.offsets[first][:, None] == at).any(axis=1), np.bool_)

    def matrix(self, first: Int64s, total: int) -> Bytes:
        """The digits of windows, u8[n,total]."""
        return self.digits[self.offsets[first][:, None] + np.arange(total)]


def _phones(runs: _Runs, country: str) -> Iterable[tuple[Int64s, pa.Array]]:
    """Numbers with as many digits as the usual form has, or as it has with a prefix."""
    form = USUAL[country]
    width = len(form.lowest)
    low, high = (np.frombuffer(text.encode(), np.uint8) for text in (form.lowest, form.highest))
    prefixes = {"", *(prefix.lstrip("+") for prefix in form.prefixes)}
    for prefix in prefixes:
        skipped = form.trunk if prefix else 0
        total = len(prefix) + width - skipped
        lead = np.frombuffer(prefix.encode(), np.uint8)
        for first, _ in runs.windows(total):
            digits = runs.matrix(first, total)
            body = digits[:, len(prefix) :]
            fits = ((body >= low[skipped:]) & (body <= high[skipped:])).all(axis=1)
            fits &= (digits[:, : len(prefix)] == lead).all(axis=1)
            if prefix and not skipped:
                fits &= ~runs.splits(first, len(prefix))  # a prefix on its own: the number after it is found anyway
            if fits.any():
                plus = b"+" if prefix and not prefix.startswith("0") else b""
                yield runs.starts[first[fits]], _fixed(digits[fits], plus)


def _residents(runs: _Runs) -> Iterable[tuple[Int64s, pa.Array]]:
    """Resident identity numbers: 18 digits, or 17 and an X."""
    for total in (18, 17):
        for first, groups in runs.windows(total):
            digits = runs.matrix(first, total)
            if total == 17:
                last = runs.after[first + groups - 1]
                digits = np.concatenate([digits, last[:, None]], axis=1)
            fits = resident_numbers(digits)
            if fits.any():
                yield runs.starts[first[fits]], _fixed(digits[fits])


def _emails(data: Bytes) -> tuple[Int64s, pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = np.flatnonzero(data == ord("@"))
    if not len(at):
        return np.zeros(0, np.int64), pa.array([], pa.string())
    starts, ends = _edges(_IS_EMAIL[data])
    run = np.unique(np.searchsorted(starts, at, side="right") - 1)
    values = pc.ascii_trim(_gathered(data, starts[run], ends[run]), characters=".-_%+")
    fits = pc.match_substring_regex(values, EMAIL_PATTERN)
    return starts[run][np.asarray(fits)], values.filter(fits)


def _codes(data: Bytes) -> tuple[Int64s, pa.Array]:
    import pyarrow as pa
    import pyarrow.compute as pc

    starts, ends = _edges(_IS_CODE[data])
    size = ends - starts
    some = np.flatnonzero((size >= CODE_MIN) & (size <= CODE_MAX))
    starts, ends = starts[some], ends[some]
    digits = np.concatenate([np.zeros(1, np.int32), np.cumsum((data - np.uint8(48)) < 10, dtype=np.int32)])
    alnum = np.concatenate([np.zeros(1, np.int32), np.cumsum(_IS_ALNUM[data], dtype=np.int32)])
    fits = (digits[ends] - digits[starts] >= CODE_DIGITS_MIN) & (alnum[ends] - alnum[starts] >= CODE_MIN)
    starts, ends = starts[fits], ends[fits]
    values = pc.ascii_trim(_gathered(data, starts, ends), characters="-")
    other = np.asarray(pc.match_substring_regex(values, _NO_CODE))
    return starts[~other], values.filter(pa.array(~other))


def _gathered(data: Bytes, starts: Int64s, ends: Int64s) -> pa.Array:
    """The bytes between, as strings; they are ASCII."""
    import pyarrow as pa

    sizes = ends - starts
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    at = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data[at]))]
    return pa.Array.from_buffers(pa.string(), len(sizes), buffers)


def _fixed(digits: Bytes, before: bytes = b"") -> pa.Array:
    """Rows of ASCII characters as strings, each with `before` in front."""
    import pyarrow as pa

    lead = np.broadcast_to(np.frombuffer(before, np.uint8), (len(digits), len(before)))
    rows = np.ascontiguousarray(np.concatenate([lead, digits], axis=1))
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.Array.from_buffers(pa.string(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])
