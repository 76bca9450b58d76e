"""Writes a phone number in the one form of E.164, such as +8613800138000.

A number in its country's usual form is decided by `USUAL` alone: range by range of its digits, whatever a
library thinks of it today, so that a number keeps its form when number plans change. Other numbers are read
by the phonenumbers library (Google's libphonenumber), without asking whether they are in use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEPARATORS = r"[ \t\xa0().\-‐‑‒–—―−/]+"
_SEPARATORS = re.compile(SEPARATORS)


@dataclass(frozen=True)
class Usual:
    """The usual form of a country's mobile numbers, once separators are gone.

    Args:
        lowest: Lowest character at each position.
        highest: Highest character at each position.
        trunk: How many leading digits are left out after the country's code.
        code: The country's code with its +.
        prefixes: What may be written before the number, in place of the trunk digits.
    """

    lowest: str
    highest: str
    trunk: int
    code: str
    prefixes: tuple[str, ...]

    def form(self, text: str) -> str | None:
        """E.164 of a number without prefix; None where it is not of the usual form."""
        if len(text) != len(self.lowest) or not text.isascii():
            return None
        inside = all(a <= c <= b for a, c, b in zip(self.lowest, text, self.highest, strict=True))
        return self.code + text[self.trunk :] if inside else None


_NORTH_AMERICA = Usual("2002000000", "9999999999", 0, "+1", ("+1", "1", "001"))

USUAL: dict[str, Usual] = {
    "CN": Usual("13000000000", "19999999999", 0, "+86", ("+86", "86", "0086")),
    "US": _NORTH_AMERICA,
    "CA": _NORTH_AMERICA,
    "GB": Usual("07000000000", "07999999999", 1, "+44", ("+44", "0044")),
    "FR": Usual("0600000000", "0799999999", 1, "+33", ("+33", "0033")),
    "IN": Usual("6000000000", "9999999999", 0, "+91", ("+91", "0091")),
}


def phone(text: str, country: str) -> str:
    """E.164 of a number as written in a country; of other text its halfwidth, trimmed and casefolded form.

    Args:
        text: A phone number, with or without separators and country code.
        country: Two capital letters (ISO 3166-1).
    """
    from strongroom.schema.normalise import SPACES, halfwidth

    text = halfwidth(text).strip(SPACES)
    return usual(text, country) or _read(text, country) or text.casefold()


def usual(text: str, country: str) -> str | None:
    """E.164 of a number in its country's usual form, with separators or prefix; None for any other."""
    form = USUAL.get(country)
    if form is None:
        return None
    bare = _SEPARATORS.sub("", text)
    if (found := form.form(bare)) is not None:
        return found
    for prefix in form.prefixes:
        if bare.startswith(prefix) and (found := form.form(form.lowest[: form.trunk] + bare[len(prefix) :])):
            return found
    return None


def _read(text: str, country: str) -> str | None:
    if not any("0" <= c <= "9" for c in text):
        return None
    import phonenumbers

    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
