"""Says where in the text of a schema something stands: line, table and field.

Lines are for messages only, and are found without parsing TOML.
"""

from __future__ import annotations

import re
from typing import NoReturn

from strongroom.errors import SchemaError
from strongroom.schema.model import shown


class Place:
    """Where in the text something stands; it raises what is said about that place."""

    def __init__(self, lines: dict[tuple[str, ...], int], path: tuple[str, ...] = ()) -> None:
        self._lines = lines
        self._path = path

    def at(self, *names: str) -> Place:
        """The place of a key below this one."""
        return Place(self._lines, (*self._path, *names))

    def refuse(self, problem: str, hint: str | None = None) -> NoReturn:
        """Raise a SchemaError that names line, table and field.

        Raises:
            SchemaError: Always.
        """
        path = self._path
        named = []
        if len(path) > 1 and path[0] in {"tables", "classes"}:
            named.append(f"{'table' if path[0] == 'tables' else 'class'} {shown(path[1])}")
        if len(path) > 3 and path[2] == "fields":
            named.append(f"field {shown(path[3])}")
        where = ", ".join(([f"line {line}"] if (line := self._line()) else []) + named)
        raise SchemaError(f"schema{' ' if where else ''}{where}: {problem}", hint=hint)

    def _line(self) -> int | None:
        for length in range(len(self._path), 0, -1):
            if (line := self._lines.get(self._path[:length])) is not None:
                return line
        return None


_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_NAME = r"""(?:"[^"]*"|'[^']*'|[^\s=.#\[\]"']+)"""
_KEY = re.compile(rf"^\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([^\s.]+)""")


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Line of each header and key, for messages only: a line inside a multi-line string may be misread."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > 4096:
            continue
        if header := _HEADER.match(line):
            section = _parts(header.group(1))
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault(section + _parts(key.group(1)), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))
