r"""Brings a value to the one form under which it is looked for: the steps a field's `normalise` names.

Steps, applied in the order given:

- trim: without white space at both ends.
- upper, lower, casefold, nfkc: as Python's `str` and `unicodedata` do them.
- halfwidth: full-width forms (U+FF01 to U+FF5E) and the wide space as ASCII.
- digits: halfwidth, then only the digits 0 to 9.
- id: halfwidth, upper, then without white space, dashes, dots, slashes, underscores and middle dots.
- email: nfkc, trim, casefold.
- phone:<country>: E.164 (such as +8613800138000) of a number as people of that country write it; what is no
  number is halfwidth, trim, casefold.

Rules kept here:

1. `normalise` of a column and `normalise_one` of each value give the same text; what comes out empty is null in
   a column and "" alone: there is nothing to look for.
2. No value is refused: one that is not what its step expects still has one form.
3. Columns of ASCII never meet Unicode tables, and numbers in their country's usual form never meet the phone
   library: it is loaded only for the distinct values that are left.
4. These forms are part of the format: after a change, values sealed before would not be found.

Which steps a field may have is left to `parse`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from strongroom.errors import InputError
from strongroom.schema.phone import phone
from strongroom.schema.vocabulary import PHONE_STEP

if TYPE_CHECKING:
    import pyarrow as pa

_SPACE_POINTS = (0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF)
SPACES = "".join(map(chr, (*range(0x09, 0x0E), *range(0x1C, 0x20), *range(0x2000, 0x200C), *_SPACE_POINTS)))
"""White space as `trim` knows it: Unicode's, the separators 0x1C-0x1F, the zero-width space and the BOM."""

SEPARATORS = f"[{re.escape(SPACES)}./_·\\-‐‑‒–—―−－]+"
NOT_DIGITS = "[^0-9]+"
_WIDE = re.compile("[！-～\u3000]")

_PARTS: dict[str, tuple[str, ...]] = {
    "digits": ("halfwidth", "only_digits"),
    "id": ("halfwidth", "upper", "no_separators"),
    "email": ("nfkc", "trim", "casefold"),
}


def normalise(
    column: pa.Array | pa.ChunkedArray, steps: Sequence[str], *, name: str = "?"
) -> pa.Array | pa.ChunkedArray:
    """Normalise a column of strings, or write a column of whole numbers as decimals.

    Args:
        column: Strings in any Arrow layout, or integers.
        steps: As a field names them.
        name: What messages call the column.

    Returns:
        An array of strings of the same length; null where the value is null or comes out empty.

    Raises:
        InputError: The column is of another type or not UTF-8.
    """
    from strongroom.schema import _normalise_columns

    return _normalise_columns.normalise(column, parts_of(tuple(steps)), name)


def normalise_one(value: str | int, steps: Sequence[str]) -> str:
    """Normalise one value; "" means that there is nothing to look for.

    Args:
        value: Text, or a whole number, which is written as a decimal.
        steps: As a field names them.

    Raises:
        InputError: The text is not Unicode (lone surrogates) or the value is neither text nor a whole number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError("only text and whole numbers are looked for")
    text = value
    for part in parts_of(tuple(steps)):
        text = ONE[part](text) if part in ONE else phone(text, part[len(PHONE_STEP) :])
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a value to look for is not Unicode text") from None
    return text


@cache
def parts_of(steps: tuple[str, ...]) -> tuple[str, ...]:
    """The simple parts of steps, in order: names of `ONE`, or phone:<country>."""
    return tuple(part for step in steps for part in _PARTS.get(step, (step,)))


def halfwidth(text: str) -> str:
    """Full-width forms and the wide space as ASCII."""
    return text if text.isascii() else _WIDE.sub(_narrow, text)


def _narrow(match: re.Match[str]) -> str:
    point = ord(match.group())
    return " " if point == 0x3000 else chr(point - 0xFEE0)


def _nfkc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


_SEPARATORS = re.compile(SEPARATORS)
_NOT_DIGITS = re.compile(NOT_DIGITS)

ONE: dict[str, Callable[[str], str]] = {
    "trim": lambda text: text.strip(SPACES),
    "upper": str.upper,
    "lower": str.lower,
    "casefold": str.casefold,
    "nfkc": _nfkc,
    "halfwidth": halfwidth,
    "only_digits": lambda text: _NOT_DIGITS.sub("", text),
    "no_separators": lambda text: _SEPARATORS.sub("", text),
}
"""Each simple part on one text. All but trim and the last two treat every character, or every line, alone."""
