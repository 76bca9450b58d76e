"""Which fields of the schema the columns of a sample may be: by words of headers and by what values are.

Rules it keeps:

1. Several fields may be meant by one column; a wrong guess costs look-ups and claims nothing.
2. A header alone starts no look-up where its values are of another shape.
3. Values come out normalised by the field's own steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from strongroom.schema.draft_words import meaning_of
from strongroom.schema.model import Field, Schema
from strongroom.schema.normalise import normalise
from strongroom.schema.phone import SEPARATORS, USUAL
from strongroom.schema.vocabulary import PHONE_STEP
from strongroom.trace.leak.extract import CODE, EMAIL, EMAIL_PATTERN, RESIDENT, resident_numbers
from strongroom.trace.leak.values import LIKE_TIMES, without_marks
from strongroom.trace.leak.words import bare, known_words, only_known, plain_words

if TYPE_CHECKING:
    import pyarrow as pa

INDEX, SUBJECT, COMPARE = "index", "subject", ""
"""How a field is looked for: by its blind index, as the subject, or not: it is compared once the person is found."""

SAMPLE_VALUES = 2_000
SHAPE_MIN = 0.5
SHAPE_WITH_HEADER_MIN = 0.05
CODE_SHAPE_MIN = 0.9
CODE_DISTINCT_MIN = 0.3

NAME, ADDRESS, GROUP, SEX, TIME, WORDS, TEXT = "name", "address", "ethnic group", "sex", "time", "words", "text"

_CODE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{2,63}$"
_PATTERNS: dict[str, str] = {
    EMAIL: EMAIL_PATTERN,
    NAME: r"^\p{Han}{1,6}(?:·\p{Han}{1,12})?$",
    ADDRESS: r"^.*\p{Han}.*[省市区县旗镇乡村街路道巷弄号室].*$",
    GROUP: r"^\p{Han}{1,5}族$",
    SEX: r"^(?:男|女|男性|女性|[MmFf]|(?i:male|female))$",
}
_BY_VALUES = frozenset({EMAIL, RESIDENT, NAME, ADDRESS, GROUP, SEX, TIME})
_SHAPED_BY_MEANING = {
    "name": NAME,
    "address": ADDRESS,
    "ethnicity": GROUP,
    "sex": SEX,
    "resident identity number": RESIDENT,
    "e-mail": EMAIL,
}
_EXACT, _TOPIC, _MEANING = 3, 2, 1


@dataclass(frozen=True)
class Target:
    """A field that values of a sample may belong to.

    Args:
        table: Name of its table.
        field: The field itself.
        kind: What its values are: `email`, `resident`, `code`, phone:<country>, `name`, `time`, ...
        lookup: INDEX, SUBJECT or COMPARE.
    """

    table: str
    field: Field
    kind: str
    lookup: str

    @property
    def in_text(self) -> bool:
        """Whether its values can be told in running text."""
        known_phone = self.kind.startswith(PHONE_STEP) and self.kind[len(PHONE_STEP) :] in USUAL
        return bool(self.lookup) and (known_phone or self.kind in {EMAIL, RESIDENT, CODE})


def targets_of(schema: Schema) -> tuple[Target, ...]:
    """All fields of a schema, in its order."""
    found = []
    for table in schema.tables.values():
        for one in table.fields:
            is_subject = one.name == table.subject
            lookup = INDEX if one.find else SUBJECT if is_subject else COMPARE
            found.append(Target(table.name, one, _kind(one, lookup), lookup))
    return tuple(found)


def _kind(one: Field, lookup: str) -> str:
    phone = next((step for step in one.normalise if step.startswith(PHONE_STEP)), None)
    meaning = meaning_of(one.name)
    said = meaning.kind if meaning else ""
    if one.type in {"date", "timestamp"}:
        return TIME
    if one.type not in {"string", "int"}:
        return one.type
    if phone is not None:
        return phone
    if "email" in one.normalise or (said == "e-mail" and lookup):
        return EMAIL
    if said == "resident identity number" and one.type == "string" and "id" in one.normalise:
        return RESIDENT
    if lookup:
        return CODE
    return _SHAPED_BY_MEANING.get(said, WORDS) if one.type == "string" else "int"


@dataclass(frozen=True)
class Guess:
    """A field that a column may be.

    Args:
        target: The field.
        how: `name`, `word` or `values`.
        share: Of the sampled values, how many have the shape of the field; 1 where it has none.
    """

    target: Target
    how: str
    share: float


class Profile:
    """What a sample of a column's values looks like; each shape is told once.

    Args:
        text: The column as text.
    """

    def __init__(self, text: pa.Array) -> None:
        import pyarrow as pa

        some = text.drop_null()
        if len(some) > SAMPLE_VALUES:
            some = some.take(pa.array(np.linspace(0, len(some) - 1, SAMPLE_VALUES).astype(np.int64)))
        self.count = len(some)
        self._text = without_marks(some)
        self._tidy = normalise(self._text, ("halfwidth", "trim")).drop_null()
        self._shares: dict[str, float] = {}

    def share(self, kind: str) -> float | None:
        """The share of values that are of a kind; None where that cannot be told by a value."""
        if not self.count:
            return None
        if kind not in self._shares:
            told = self._told(kind)
            if told is None:
                return None
            self._shares[kind] = told / self.count
        return self._shares[kind]

    @cached_property
    def distinct_share(self) -> float:
        """Distinct values by values."""
        return len(self._tidy.unique()) / self.count if self.count else 0.0

    @cached_property
    def mean_length(self) -> float:
        """Characters of a value."""
        import pyarrow.compute as pc

        return float(pc.mean(pc.utf8_length(self._tidy)).as_py() or 0.0) if self.count else 0.0

    def _told(self, kind: str) -> int | None:
        import pyarrow.compute as pc

        if kind.startswith(PHONE_STEP):
            return _phones(self._text, kind)
        if kind == RESIDENT:
            return _residents(self._text)
        if kind == TIME:
            return int(pc.match_substring_regex(self._tidy, LIKE_TIMES).true_count)
        if kind == CODE:
            return int(pc.match_substring_regex(self._tidy, _CODE_PATTERN).true_count)
        pattern = _PATTERNS.get(kind)
        return None if pattern is None else int(pc.match_substring_regex(self._tidy, pattern).true_count)


def _phones(text: pa.Array, kind: str) -> int:
    import pyarrow.compute as pc

    form = USUAL.get(kind[len(PHONE_STEP) :])
    if form is None:
        numbers = normalise(text, (kind,)).drop_null()
        return int(pc.match_substring_regex(numbers, r"^\+[0-9]{7,15}$").true_count)
    numbers = pc.replace_substring_regex(normalise(text, ("halfwidth", "trim")), SEPARATORS, "")
    digits = [f"[{low}-{high}]" for low, high in zip(form.lowest, form.highest, strict=True)]
    prefixes = "|".join(map(re.escape, form.prefixes))
    pattern = f"^(?:{''.join(digits)}|(?:{prefixes}){''.join(digits[form.trunk :])})$"
    return int(pc.match_substring_regex(numbers, pattern).true_count)


def _residents(text: pa.Array) -> int:
    import pyarrow.compute as pc

    numbers = normalise(text, ("id",)).drop_null()
    numbers = numbers.filter(pc.match_substring_regex(numbers, r"^[0-9]{17}[0-9X]$"))
    if not len(numbers):
        return 0
    rows = np.frombuffer("".join(numbers.to_pylist()).encode(), np.uint8).reshape(-1, 18)
    return int(resident_numbers(rows).sum())


def guesses(header: str | None, profile: Profile, targets: Sequence[Target]) -> list[Guess]:
    """The fields that a column may be.

    Args:
        header: What it is called; None or "" where nobody says.
        profile: What its values look like.
        targets: All fields of the schema.
    """
    if not profile.count:
        return []
    said = {id(t): _said(header, t.field.name, t.kind, bool(t.lookup)) for t in targets} if header else {}
    if any(strength == _EXACT for strength in said.values()):
        # Its own name, letter for letter: other fields only where they speak of the same.
        said = {key: strength for key, strength in said.items() if strength >= _TOPIC}
    found = []
    for target in targets:
        strength = said.get(id(target), 0)
        share = profile.share(target.kind)
        if strength and (share is None or share >= SHAPE_WITH_HEADER_MIN or not target.lookup):
            found.append(Guess(target, "name" if strength == _EXACT else "word", 1.0 if share is None else share))
        elif not strength and share is not None and _by_values(target, share, profile, header):
            found.append(Guess(target, "values", share))
    named = any(g.how != "values" for g in found)
    if named or any(g.target.kind != CODE and g.target.lookup for g in found):
        found = [g for g in found if g.how != "values" or g.target.kind != CODE]
    if named:
        found = [g for g in found if g.how != "values" or g.target.lookup]
    return _one_subject(found)


def _one_subject(found: list[Guess]) -> list[Guess]:
    """A subject is looked for once, whatever tables it has: its token is the same in all of them."""
    kept, seen = [], set()
    for guess in found:
        key = (guess.target.field.type, guess.target.field.normalise)
        if guess.target.lookup == SUBJECT and key in seen:
            continue
        if guess.target.lookup == SUBJECT:
            seen.add(key)
        kept.append(guess)
    return kept


def _by_values(target: Target, share: float, profile: Profile, header: str | None) -> bool:
    if target.kind == CODE:
        strong = (profile.share(kind) or 0.0 for kind in (RESIDENT, EMAIL, TIME, "phone:CN"))
        return (
            share >= CODE_SHAPE_MIN
            and profile.distinct_share >= CODE_DISTINCT_MIN
            and max(strong, default=0) < SHAPE_MIN
        )
    if target.kind in {NAME, TIME} and header and (known_words(header) or meaning_of(header)):
        return False
    return share >= SHAPE_MIN and (target.kind in _BY_VALUES or target.kind.startswith(PHONE_STEP))


@lru_cache(maxsize=4_096)
def _said(header: str, name: str, kind: str, looked_for: bool) -> int:
    """How strongly a header names a field: 3 letter for letter, 2 by what it speaks of, 1 by its kind, 0 not."""
    if bare(header) == bare(name):
        return _EXACT
    topics, own = known_words(header), known_words(name)
    if topics and topics == own:
        return _TOPIC
    if topics & own and kind not in {CODE, WORDS}:
        return _TOPIC if looked_for else _MEANING
    if topics and topics <= own:
        return _MEANING
    if plain_words(header) and plain_words(header) == plain_words(name):
        return _TOPIC
    one, other = meaning_of(header), meaning_of(name)
    same = one is not None and other is not None and one.kind == other.kind
    return _MEANING if same and one is not None and one.kind not in {"few values", "time or amount"} else 0


def targets_in_text(targets: Iterable[Target]) -> tuple[Target, ...]:
    """The fields whose values can be told in running text; of subjects that are written alike, one."""
    guesses_ = [Guess(t, "text", 1.0) for t in targets if t.in_text]
    return tuple(g.target for g in _one_subject(guesses_))


@dataclass
class Seen:
    """A column over all batches: how it may be called, and how its values fared.

    Args:
        place: Its place, from 1.
        shown: Its header if that is made of known words; "column N" otherwise.
        values: Values that are not null.
        fields: For each (table, field) the rows it was read as, and how it was guessed.
    """

    place: int
    shown: str
    values: int = 0
    fields: dict[tuple[str, str], FieldSeen] = field(default_factory=dict)


@dataclass
class FieldSeen:
    """How a column fared as one field: rows of values given, and by what it was guessed."""

    lookup: str
    how: str
    rows: int = 0
    shaped: float = 0.0


def shown_header(header: str | None, place: int, targets: Iterable[Target]) -> str:
    """A header if its words are known ones, so that a value taken for a header is never shown."""
    name = f"column {place}"
    if not header or len(header) > 40 or not header.isprintable():
        return name
    known = {bare(t.field.name) for t in targets}
    if bare(header) in known:
        return header
    return header if only_known(header) else name
