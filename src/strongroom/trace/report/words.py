"""What only the operator knows and a report needs: who the controller is, whom to ask, what was done (TOML).

A trace finds facts; it does not know a data protection officer, causes, or measures. What is not said here stands in
the drafts as a marked blank.
"""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from strongroom.errors import InputError

BYTES_MAX = 1 << 20
Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
Text = Annotated[str, msgspec.Meta(max_length=20_000)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(max_length=200)]


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How somebody is reached; what is empty is unknown."""

    name: Text = ""
    email: Text = ""
    phone: Text = ""
    address: Text = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is known of it."""
        return tuple(one for one in (self.name, self.email, self.phone, self.address) if one.strip())

    @property
    def reachable(self) -> bool:
        """Whether it says how to reach anybody."""
        return any(one.strip() for one in (self.email, self.phone, self.address))


class Authority(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is notified; `phase` and `reference` of an earlier notification, where information comes in phases."""

    name: Text = ""
    reference: Text = ""
    phase: Literal["", "first", "further", "last"] = ""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator says in one language.

    Args:
        controller: The controller's name in that language; its name otherwise.
        contact: How to reach it, a line each, in that language; the officer otherwise.
        happened: What happened, beyond what the trace shows.
        causes: Why it could happen.
        persons: Categories of persons concerned: "customers", "patients".
        consequences: What is likely to follow for the persons.
        measures: What was done.
        proposed: What is going to be done.
        advice: What the persons can do.
        delay: Why notification came later than 72 hours after becoming aware.
        later: Which information follows in a further phase.
        kinds: What a field is called, by "table.field".
    """

    controller: Text = ""
    contact: Texts = ()
    happened: Text = ""
    causes: Texts = ()
    persons: Texts = ()
    consequences: Texts = ()
    measures: Texts = ()
    proposed: Texts = ()
    advice: Texts = ()
    delay: Text = ""
    later: Texts = ()
    kinds: dict[str, Text] = {}


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the operator says.

    Args:
        controller: Who decides about the data: the controller (GDPR), the handler (PIPL).
        officer: The data protection officer, or another contact point.
        authority: Whom it notifies.
        aware: When the controller became aware of the breach.
        languages: In which languages persons and authorities are written to under the PIPL.
        en: In English.
        zh: In Chinese.
    """

    controller: Contact = Contact()
    officer: Contact = Contact()
    authority: Authority = Authority()
    aware: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    languages: tuple[Language, ...] = LANGUAGES
    en: Said = Said()
    zh: Said = Said()

    def said(self, language: Language) -> Said:
        """What is said in a language."""
        return self.zh if language == "zh" else self.en

    def named(self, language: Language) -> str:
        """The controller's name in a language; empty where nobody said it."""
        return self.said(language).controller.strip() or self.controller.name.strip()

    def kind(self, table: str, field: str, language: Language) -> str:
        """What a field is called; its name where nobody said."""
        return self.said(language).kinds.get(f"{table}.{field}", "").strip() or f"{table}.{field}"


def from_toml(text: str, *, name: str = "the words of the report") -> Words:
    """Read what the operator says.

    Args:
        text: TOML; see docs/reference/report.md.
        name: What errors call it.

    Raises:
        InputError: It is not TOML, or says something where it may not: with the place, never with the text.
    """
    if len(text) > BYTES_MAX:
        raise InputError(f"{name}: longer than {BYTES_MAX} characters")
    try:
        return msgspec.convert(tomllib.loads(text), Words)
    except tomllib.TOMLDecodeError as error:
        _, _, place = str(error).rpartition("(")
        raise InputError(f"{name}: not TOML ({place or 'nowhere to be understood)'}") from None
    except msgspec.ValidationError as error:
        _, _, place = str(error).rpartition(" - at `$.")
        where = place.rstrip("`") or "the file"
        raise InputError(f"{name}: {where} is not as it must be", hint=_hint(str(error))) from None
    except (ValueError, RecursionError):
        raise InputError(f"{name}: not TOML: nested too deep, or a number too large") from None


def read(path: str | Path) -> Words:
    """Read what the operator says from a file; see `from_toml`.

    Raises:
        InputError: The file cannot be read, or does not hold such words.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as UTF-8 text") from None
    return from_toml(text, name=str(path))


def _hint(said: str) -> str:
    """What to do, in words that repeat nothing of the file but the name of a key."""
    if "unknown field" in said:
        key = said.split("`")[1] if said.count("`") >= 2 else ""
        return f"no such key: {key}" if key.isidentifier() else "there is a key that is not known."
    if "timezone" in said:
        return "a time ends with Z or an offset: 2026-11-29T09:30:00Z."
    return "see docs/reference/report.md for what may be said."
