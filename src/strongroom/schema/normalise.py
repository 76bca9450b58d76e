"""Brings a value to the one form under which it is looked for: the steps a field's `normalise` names.

Steps, applied in the order given:

- trim: without white space at both ends.
- upper, lower, casefold, nfkc: as Python's `str` and `unicodedata` do them.
- halfwidth: full-width forms (U+FF01 to U+FF5E) and the wide space as ASCII.
- digits: halfwidth, then only the digits 0 to 9.
- id: halfwidth, upper, then without white space, dashes, dots, slashes, underscores and middle dots.
- email: nfkc, trim, casefold.
- phone:<country>: E.164 (+8613800138000) for a number as written in that country; what is no number is
  halfwidth, trim and casefold.

Rules kept here:

1. `normalise` of a column and `normalise_one` of each value give the same text; what comes out empty is null in a
   column and "" alone: there is nothing to look for.
2. No value is refused: one that is not what its step expects still has one form.
3. Columns of ASCII never meet Unicode tables, and numbers in their country's usual form never meet the phone
   library: it is loaded only for the distinct values that are left.
4. The forms are part of the format: a change makes values sealed before impossible to find.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.errors import SchemaError
from strongroom.schema.vocabulary import PHONE_STEP

if TYPE_CHECKING:
    import pyarrow as pa

SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff\u200b"  # noqa: E501, PLE2515
_ASCII_SPACES = "".join(c for c in SPACES if c < "\x80")

_HALFWIDTH = {0x3000: 0x20, **{point: point - 0xFEE0 for point in range(0xFF01, 0xFF5F)}}
_NOT_DIGITS = re.compile(r"[^0-9]+")
_SEPARATORS = re.compile(f"[{re.escape(SPACES)}\\-./_·‐‑‒–—―－]+")

_PHONE_FORMS: dict[str, tuple[str, str, str]] = {
    # Country: (numbers in usual form once separators are gone, prefix written before a +, what + stands for).
    "CN": (r"(?:\+?86|0086)?(1[3-9][0-9]{9})", "+86", "1[3-9][0-9]{9}"),
    "US": (r"(?:\+?1)?([2-9][0-9]{2}[2-9][0-9]{6})", "+1", "[2-9][0-9]{2}[2-9][0-9]{6}"),
    "CA": (r"(?:\+?1)?([2-9][0-9]{2}[2-9][0-9]{6})", "+1", "[2-9][0-9]{2}[2-9][0-9]{6}"),
    "GB": (r"(?:\+44|0044|0)(7[1-9][0-9]{8})", "+44", ""),
    "FR": (r"(?:\+33|0033|0)([67][0-9]{8})", "+33", ""),
    "IN": (r"(?:\+91|0091|0)?([6-9][0-9]{9})", "+91", "[6-9][0-9]{9}"),
    "HK": (r"(?:\+852|00852)?([5679][0-9]{7})", "+852", "[5679][0-9]{7}"),
    "SG": (r"(?:\+65)?([89][0-9]{7})", "+65", "[89][0-9]{7}"),
    "JP": (r"(?:\+81|0)([789]0[0-9]{8})", "+81", ""),
    "AU": (r"(?:\+61|0)(4[0-9]{8})", "+61", ""),
}
