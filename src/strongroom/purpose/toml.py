"""Typed reading of TOML tables: every key is asked for by name, and what nobody asked for is an error.

Errors name the place as a TOML path and suggest the nearest known word; they never quote what a value says.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import date, datetime
from difflib import get_close_matches

from strongroom.errors import PolicyError

TEXT_LENGTH_MAX = 1 << 20
NAME_LENGTH_MAX = 64
INTEGER_MAX = 10**15

Point = int | float | str
"""A number, or a date as its ISO text."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_PLACE = re.compile(r"at line \d+, column \d+|at end of document")


def load(text: str) -> Node:
    """Parse TOML text.

    Raises:
        PolicyError: It is not TOML, with the line where it stops being so, or it is longer than 1 MiB.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise PolicyError(f"the policy is longer than {TEXT_LENGTH_MAX} characters")
    try:
        return Node("", tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        place = _PLACE.search(str(error))
        where = f" ({place.group()})" if place else ""
        raise PolicyError(f"the policy is not TOML{where}") from None


def nearest(word: str, known: Collection[str]) -> str | None:
    """A hint for a misspelt word: the nearest known one, or the list of them if it is short."""
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    if 0 < len(known) <= 12:
        return f"known: {', '.join(sorted(known))}"
    return None


def check_name(name: str, what: str) -> str:
    """Names of actors, roles and purposes: letters, digits and _ . @ + -, at most 64.

    Raises:
        PolicyError: The name has another character or length.
    """
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise PolicyError(
            f"a name of {what} has a character or a length that names may not have",
            hint="letters, digits and _ . @ + - after the first, at most 64 characters",
        )
    return name


class Node:
    """One TOML table and its path.

    Args:
        path: Where it stands, as "purposes.delivery"; empty for the document.
        values: What it holds.
    """

    def __init__(self, path: str, values: Mapping[str, object]) -> None:
        self.path = path
        self._values = values

    def place(self, key: str) -> str:
        """The path of a key of this table."""
        return f"{self.path}.{key}" if self.path else key

    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the text."""
        return tuple(self._values)

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        return key in self._values

    def only(self, *known: str) -> None:
        """Refuse keys other than these."""
        for key in self._values:
            if key not in known:
                where = self.path or "the policy"
                raise PolicyError(f"{where} has an unknown key {key!r}", hint=nearest(key, known))

    def table(self, key: str) -> Node:
        """A sub-table; empty if not given."""
        value = self._values.get(key, {})
        if not isinstance(value, Mapping):
            raise PolicyError(f"{self.place(key)} must be a table")
        return Node(self.place(key), value)

    def text(self, key: str) -> str | None:
        """A string that is not blank, or None if not given."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise PolicyError(f"{self.place(key)} must be text that says something")
        return value.strip()

    def flag(self, key: str) -> bool:
        """A boolean; false if not given."""
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise PolicyError(f"{self.place(key)} must be true or false")
        return value

    def count(self, key: str, least: int = 0) -> int | None:
        """A whole number from `least` up, or None if not given."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= INTEGER_MAX:
            raise PolicyError(f"{self.place(key)} must be a whole number from {least} up")
        return value

    def points(self, key: str) -> tuple[Point, ...]:
        """A list of numbers or dates, dates as ISO texts; empty if not given."""
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise PolicyError(f"{self.place(key)} must be a list of numbers or dates")
        found: list[Point] = []
        for one in value:
            if isinstance(one, date) and not isinstance(one, datetime):
                found.append(one.isoformat())
            elif isinstance(one, int | float | str) and not isinstance(one, bool):
                found.append(one)
            else:
                raise PolicyError(f"{self.place(key)} must be a list of numbers or dates")
        return tuple(found)

    def words(self, key: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of strings without repeats, each one of `known` if that is given; empty if not given."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise PolicyError(f"{self.place(key)} must be a list of names")
        words = tuple(str(word) for word in value)
        if len(set(words)) != len(words):
            raise PolicyError(f"{self.place(key)} names something twice")
        for word in words:
            if known is not None and word not in known:
                raise PolicyError(f"{self.place(key)} names an unknown {word!r}", hint=nearest(word, known))
        return words
