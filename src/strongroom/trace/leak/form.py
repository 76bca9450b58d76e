"""Which form the text of a sample has: JSON, SQL, columns with a delimiter, or plain text; told from its beginning.

Rules it keeps:

1. A delimiter is believed when most lines agree on how many it makes; otherwise the file is plain text, in which
   nothing is lost either.
2. The first record is a header when words in it are known names of columns, or when it alone has no digits in columns
   that are made of them; and never when a value in it looks like an identifier.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.schema.draft_words import meaning_of, sounds_like_subject
from strongroom.trace.leak.words import known_words

LINES_MAX = 400
AGREE_MIN = 0.8

DELIMITERS = (",", "\t", "|", ";", "----", "||", "\x01", "\x1f", "::", "^", "#", "~", "$", "，", "、", ":", " ")
"""In order of belief where several agree as well; the last ones stand in ordinary text too."""
_WEAK = frozenset({"、", "，", ":", " ", "#", "~", "$", "^"})
_WEAK_AGREE_MIN = 0.95

_SQL = re.compile(rb"(?im)^[ \t]*(?:INSERT\s+(?:IGNORE\s+)?INTO|REPLACE\s+INTO|COPY\s[^\n]{1,2000}FROM\s+stdin)\b")
_SQL_HEAD = re.compile(rb"(?m)^(?:-- (?:MySQL|MariaDB|PostgreSQL|Dump)|/\*!\d{5} |PRAGMA foreign_keys|CREATE TABLE\s)")
_IDENTIFIER = re.compile(r"[0-9０-９]{4}|@[^\s@]+\.")
_DIGITS = re.compile(r"[0-9０-９]")


@dataclass(frozen=True)
class Columns:
    """How lines become columns.

    Args:
        delimiter: One or more characters.
        quote: The character around values, or None where quotes mean nothing.
        count: Columns that most lines have.
        header: Words of the first record, if it is a header.
    """

    delimiter: str
    quote: str | None
    count: int
    header: tuple[str, ...] | None


def is_json(head: bytes) -> bool:
    """Whether the beginning is of JSON objects: one a line, one after the other, or in an array."""
    start = head.lstrip()
    if start.startswith(b"["):
        start = start[1:].lstrip()
    return re.match(rb'\{\s*(?:"|\}\s*[\],{])', start) is not None


def is_sql(head: bytes) -> bool:
    """Whether statements of a dump stand in the beginning."""
    return _SQL.search(head) is not None or _SQL_HEAD.search(head) is not None


def has_backslash_escapes(head: bytes) -> bool:
    """Whether strings of a dump escape with backslashes (MySQL), or by doubled quotes alone (the standard)."""
    if b"`" in head or b"MySQL" in head or b"MariaDB" in head:
        return True
    return re.search(rb"\\'[^,)\s]", head) is not None


def columns_of(head: bytes, field_names: Sequence[str] = ()) -> Columns | None:
    """How the lines of a text become columns; None where they do not.

    Args:
        head: The beginning, whole lines of UTF-8.
        field_names: Names of fields, which make a first record with them a header.
    """
    text = head.decode("utf-8", "replace")
    lines = [line for line in text.split("\n")[:LINES_MAX] if line.strip()]
    if not lines:
        return None
    best: tuple[float, int, str, str | None, int] | None = None
    for at, delimiter in enumerate(DELIMITERS):
        if delimiter not in text:
            continue
        quote = _quote(lines, delimiter)
        agree, count = _agreement(lines, delimiter, quote)
        least = _WEAK_AGREE_MIN if delimiter in _WEAK else AGREE_MIN
        if count < 2 or agree < least or (delimiter in _WEAK and len(lines) < 3):
            continue
        rank = (agree - 0.02 * at + 0.01 * min(count, 10), -at, delimiter, quote, count)
        if best is None or rank[:2] > best[:2]:
            best = rank
    if best is None:
        return _single(lines, field_names)
    _, _, delimiter, quote, count = best
    records = split(lines[:50], delimiter, quote)
    header = records[0] if is_header(records[0], records[1:], field_names) else None
    return Columns(delimiter, quote, count, None if header is None else tuple(header))


def split(lines: list[str], delimiter: str, quote: str | None) -> list[list[str]]:
    """Lines as records; a quoted line end is two records here, which is good enough to look at them."""
    if quote is None or len(delimiter) > 1:
        return [line.rstrip("\r").split(delimiter) for line in lines]
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, quotechar=quote)
    try:
        return list(reader) or [[]]
    except csv.Error:
        return [line.rstrip("\r").split(delimiter) for line in lines]


def is_header(first: Sequence[str], rest: Sequence[Sequence[str]], field_names: Sequence[str] = ()) -> bool:
    """Whether a first record names the columns of the others."""
    cells = [cell.strip() for cell in first]
    filled = [cell for cell in cells if cell]
    if not filled or any(_IDENTIFIER.search(cell) for cell in filled) or len(set(filled)) < len(filled):
        return False
    names = {name.casefold() for name in field_names}
    if any(_is_name(cell, names) for cell in filled):
        return True
    digits = [i for i, cell in enumerate(cells) if cell and not _DIGITS.search(cell)]
    told = [i for i in digits if (column := [r[i] for r in rest if i < len(r) and r[i]]) and all(map(_digit, column))]
    return bool(told) and len(rest) >= 2


def _digit(text: str) -> bool:
    return _DIGITS.search(text) is not None


def _is_name(cell: str, names: set[str]) -> bool:
    if len(cell) > 64:
        return False
    word = cell.casefold()
    said = meaning_of(cell) is not None or sounds_like_subject(cell) or bool(known_words(cell))
    return word in names or (said and len(cell) <= 32)


def _single(lines: list[str], field_names: Sequence[str]) -> Columns | None:
    """One value a line: a list of numbers or addresses, told by lines without spaces of about the same length."""
    sizes = sorted(len(line.strip()) for line in lines)
    if any(" " in line.strip() or "\t" in line.strip() for line in lines) or sizes[-1] > 3 * max(sizes[0], 8):
        return None
    records = [[line.strip()] for line in lines[:50]]
    header = records[0] if is_header(records[0], records[1:], field_names) else None
    return Columns("\x1f", None, 1, None if header is None else tuple(header))


def _quote(lines: list[str], delimiter: str) -> str | None:
    """The quote that stands around values, if one does."""
    for quote in ('"', "'"):
        opening = sum(line.count(delimiter + quote) + line.startswith(quote) for line in lines)
        closing = sum(line.count(quote + delimiter) + line.rstrip("\r").endswith(quote) for line in lines)
        quotes = sum(line.count(quote) for line in lines)
        if quotes and opening + closing >= 0.5 * quotes and (quote == '"' or opening >= 0.9 * closing >= len(lines)):
            return quote
    return '"' if not any('"' in line for line in lines) else None


def _agreement(lines: list[str], delimiter: str, quote: str | None) -> tuple[float, int]:
    """The share of lines that have the commonest number of fields, and that number."""
    if delimiter == " " and any("  " in line for line in lines):
        return 0.0, 0
    counts = Counter(map(len, split(lines, delimiter, quote)))
    count, agree = counts.most_common(1)[0]
    return agree / sum(counts.values()), count
