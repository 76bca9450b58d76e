"""Reads the text of `schema.toml` into a `Schema`, or says what is wrong, where.

Rules kept here:

1. Nothing but `SchemaError` comes out, whatever the text. Messages name the line, table and field.
2. An unknown key, class, type, step or mask is refused, with the nearest known one: nothing is ignored.
3. A field whose values could single out a group, or that is sensitive, is never an index.
4. The subject of a record is never null, never sensitive, and text or a whole number.

Keeping ids and refusing changes that would lose records is left to `evolve`; looking at data to `check`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from strongroom.errors import SchemaError
from strongroom.schema.model import (
    BUILT_IN_CLASSES,
    OPEN,
    PAD_BYTES,
    RECORDS,
    TABLE_CLASSES,
    TYPES,
    ClassInfo,
    Retention,
    Schema,
    shown,
)
from strongroom.schema.place import Place, line_numbers
from strongroom.schema.vocabulary import MASKS, PHONE_STEP, STEPS, is_step, sounds_like_few_values

SCHEMA_BYTES_MAX = 1 << 20
TABLES_MAX = 256
FIELDS_MAX = 512
CLASSES_MAX = 32
STEPS_MAX = 8
NAME_BYTES_MAX = 64
REASON_BYTES_MAX = 500
RETENTION_DAYS_MAX = 366 * 200

_TOP_KEYS = ("classes", "tables", "dropped")
_CLASS_KEYS = ("sensitive", "pad")
_TABLE_KEYS = ("subject", "records", "class", "fields", "was", "dropped", "retention")
_RETENTION_KEYS = ("days", "by")
_BY_PUT = "put"
_FIELD_KEYS = (
    "type", "class", "nullable", "normalise", "find", "mask", "token", "low_cardinality", "reason", "was",
)  # fmt: skip


@dataclass(frozen=True)
class FieldText:
    """A field as the text has it: checked, without an id."""

    name: str
    type: str
    klass: str
    nullable: bool
    normalise: tuple[str, ...]
    find: bool
    mask: str | None
    token: bool
    low_cardinality: bool
    reason: str | None
    was: str | None


@dataclass(frozen=True)
class TableText:
    """A table as the text has it: checked, without ids and version."""

    name: str
    subject: str
    records: str
    klass: str
    fields: tuple[FieldText, ...]
    was: str | None
    dropped: tuple[str, ...]
    retention: Retention | None


def parse_schema(toml_text: str, previous: Schema | None, random_bytes: Callable[[int], bytes]) -> Schema:
    """Read a schema, keeping the ids of the one before it.

    Args:
        toml_text: The text of `schema.toml`.
        previous: The schema in force, or None for a new room.
        random_bytes: Gives n random bytes for new ids.

    Returns:
        The new schema; equal to `previous`, number included, when nothing changed.

    Raises:
        SchemaError: The text says something it may not; names line, table and field.
    """
    from strongroom.schema.evolve import build

    place = Place(line_numbers(toml_text) if len(toml_text) <= SCHEMA_BYTES_MAX else {})
    data = _load(toml_text, place)
    _known_keys(data, _TOP_KEYS, place)
    classes = _classes(_section(data, "classes", place), place.at("classes"))
    raw_tables = _section(data, "tables", place)
    if not raw_tables:
        place.refuse("there is no table", "add a section such as [tables.persons]")
    if len(raw_tables) > TABLES_MAX:
        place.refuse(f"there are {len(raw_tables)} tables, at most {TABLES_MAX} are allowed")
    _distinct(raw_tables, "tables", place.at("tables"))
    tables = [_table(name, raw, classes, place.at("tables", name)) for name, raw in raw_tables.items()]
    dropped = _names(data, "dropped", place)
    return build(tables, classes, dropped, previous, random_bytes, place)


def _load(text: str, place: Place) -> dict[str, Any]:
    if len(text) > SCHEMA_BYTES_MAX:
        place.refuse(f"the text is longer than {SCHEMA_BYTES_MAX} bytes")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
        where = f" {found.group(1)}" if found else ""
        problem = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
        raise SchemaError(f"schema{where}: not TOML: {shown(problem[:1].lower() + problem[1:])}") from error
    except (ValueError, RecursionError) as error:
        raise SchemaError("schema: not TOML: nested too deep or a number too large") from error


# -- classes ------------------------------------------------------------------------------------------


def _classes(raw: dict[str, Any], place: Place) -> dict[str, ClassInfo]:
    if len(raw) > CLASSES_MAX:
        place.refuse(f"there are {len(raw)} classes, at most {CLASSES_MAX} are allowed")
    _distinct([*BUILT_IN_CLASSES, *(n for n in raw if n not in BUILT_IN_CLASSES)], "classes", place)
    classes = dict(BUILT_IN_CLASSES)
    for name, settings in raw.items():
        here = place.at(name)
        _identifier(name, here)
        if name in BUILT_IN_CLASSES:
            here.refuse("this class is built in and cannot be declared again", "choose another name")
        if not isinstance(settings, dict):
            here.refuse("a class is a section", f"write [classes.{shown(name)}]")
        _known_keys(settings, _CLASS_KEYS, here)
        sensitive = _flag(settings, "sensitive", here, default=False)
        pad = settings.get("pad", PAD_BYTES if sensitive else 0)
        if isinstance(pad, bool) or pad not in {0, PAD_BYTES}:
            here.at("pad").refuse(f"pad is 0 or {PAD_BYTES}")
        if sensitive and not pad:
            here.at("pad").refuse(f"a sensitive class is padded: pad is {PAD_BYTES}")
        classes[name] = ClassInfo(pad=int(pad), sensitive=sensitive)
    return classes


# -- tables -------------------------------------------------------------------------------------------


def _table(name: str, raw: Any, classes: dict[str, ClassInfo], place: Place) -> TableText:
    _identifier(name, place)
    if not isinstance(raw, dict):
        place.refuse("a table is a section", f"write [tables.{shown(name)}]")
    _known_keys(raw, _TABLE_KEYS, place)
    klass = _choice(raw, "class", TABLE_CLASSES, place, default="plain")
    raw_fields = _section(raw, "fields", place)
    if not raw_fields:
        place.refuse("the table has no fields", f"add a section [tables.{shown(name)}.fields]")
    if len(raw_fields) > FIELDS_MAX:
        place.refuse(f"the table has {len(raw_fields)} fields, at most {FIELDS_MAX} are allowed")
    _distinct(raw_fields, "fields", place.at("fields"))
    subject = _text(raw, "subject", place)
    if subject is None:
        place.refuse("the table does not say whom a record is about", 'add subject = "<field>"')
    if subject not in raw_fields:
        meant = _meant(subject, raw_fields)
        place.at("subject").refuse(f"the subject {shown(subject)} is not a field{meant}")
    fields = tuple(
        _field(fname, settings, fname == subject, klass, classes, place.at("fields", fname))
        for fname, settings in raw_fields.items()
    )
    return TableText(
        name=name,
        subject=subject,
        records=_choice(raw, "records", RECORDS, place, default="many"),
        klass=klass,
        fields=fields,
        was=_text(raw, "was", place),
        dropped=_names(raw, "dropped", place),
        retention=_retention(raw["retention"], fields, place.at("retention")) if "retention" in raw else None,
    )


def _retention(raw: Any, fields: tuple[FieldText, ...], place: Place) -> Retention:
    if not isinstance(raw, dict):
        place.refuse("retention is a table of settings", 'write retention = { days = 365, by = "put" }')
    _known_keys(raw, _RETENTION_KEYS, place)
    days = raw.get("days")
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= RETENTION_DAYS_MAX:
        place.at("days").refuse(f"days is a whole number from 1 to {RETENTION_DAYS_MAX}")
    by = _text(raw, "by", place)
    if by is None:
        place.refuse("the retention does not say from when", 'add by = "put", or by = "<field>"')
    if by == _BY_PUT:
        return Retention(days)
    field = next((f for f in fields if f.name == by), None)
    if field is None:
        place.at("by").refuse(f"{shown(by)} is not a field{_meant(by, [f.name for f in fields])}")
    if field.type not in {"date", "timestamp"}:
        place.at("by").refuse(f"retention counts from a date or timestamp, not {field.type}", 'or from by = "put"')
    if field.klass != OPEN:
        place.at("by").refuse(
            f"the field is of class {field.klass}: nobody could see what has expired without opening it",
            'let the field be of class open, or write by = "put"',
        )
    return Retention(days, by)


def _field(
    name: str, raw: Any, is_subject: bool, table_class: str, classes: dict[str, ClassInfo], place: Place
) -> FieldText:
    _identifier(name, place)
    if not isinstance(raw, dict):
        place.refuse("a field is a table of settings", 'write { type = "string", class = "identity" }')
    _known_keys(raw, _FIELD_KEYS, place)
    for key in ("type", "class"):
        if key not in raw:
            place.refuse(f"the field has no {key}", f'add {key} = "..."')
    ftype = _choice(raw, "type", TYPES, place)
    field = FieldText(
        name=name,
        type=ftype,
        klass=_choice(raw, "class", tuple(classes), place),
        nullable=_flag(raw, "nullable", place, default=not is_subject),
        normalise=_steps(raw, ftype, place),
        find=_flag(raw, "find", place, default=False),
        mask=_mask(raw, ftype, place),
        token=_flag(raw, "token", place, default=False),
        low_cardinality=_flag(raw, "low_cardinality", place, default=False),
        reason=_text(raw, "reason", place),
        was=_text(raw, "was", place),
    )
    _rules(field, is_subject, table_class, classes, place)
    return field


def _rules(f: FieldText, is_subject: bool, table_class: str, classes: dict[str, ClassInfo], place: Place) -> None:
    sensitive = classes[f.klass].sensitive
    if is_subject:
        if f.nullable:
            place.at("nullable").refuse("the subject may not be null", "remove nullable = true")
        if f.type not in {"string", "int"}:
            place.at("type").refuse(f"the subject is a string or an int, not {f.type}")
        if sensitive:
            place.at("class").refuse(f"the subject may not be of the sensitive class {f.klass}")
    if f.find:
        here, hint = place.at("find"), "remove find = true"
        if sensitive:
            here.refuse(f"a field of the sensitive class {f.klass} can never be searched", hint)
        if table_class == "sensitive":
            here.refuse("nothing starts from a table of class sensitive, so it has no index", hint)
        if f.type not in {"string", "int"}:
            here.refuse(f"a field of type {f.type} cannot be searched: only string and int can", hint)
        if f.low_cardinality or sounds_like_few_values(f.name):
            here.refuse("a field with few distinct values cannot be searched: it finds groups, not a person", hint)
    if f.klass == OPEN and f.type == "string" and not f.reason:
        place.refuse(
            "open text lies unsealed and needs a stated reason",
            'add reason = "..." (few values, nobody singled out), or choose a sealed class',
        )
    if f.klass == OPEN and f.type == "binary":
        place.at("class").refuse("binary fields cannot be open", "choose a sealed class")
    if f.reason is not None and len(f.reason.encode("utf-8", "replace")) > REASON_BYTES_MAX:
        place.at("reason").refuse(f"the reason is longer than {REASON_BYTES_MAX} bytes")


def _steps(raw: dict[str, Any], ftype: str, place: Place) -> tuple[str, ...]:
    here = place.at("normalise")
    steps = raw.get("normalise", [])
    if isinstance(steps, str):
        steps = [steps]
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        here.refuse("normalise is a list of steps", 'write normalise = ["trim", "upper"]')
    if len(steps) > STEPS_MAX:
        here.refuse(f"there are {len(steps)} steps, at most {STEPS_MAX} are allowed")
    if steps and ftype != "string":
        here.refuse(f"only string fields are normalised, not {ftype}")
    for step in steps:
        if not is_step(step):
            known = [*STEPS, PHONE_STEP + "CN"]
            here.refuse(
                f"unknown normalisation {shown(step)}" + _meant(step, known),
                f"known: {', '.join(STEPS)}, phone:<country> such as phone:CN",
            )
    if any(step.startswith(PHONE_STEP) for step in steps[:-1]):
        here.refuse("phone:<country> is the last step")
    return tuple(steps)


def _mask(raw: dict[str, Any], ftype: str, place: Place) -> str | None:
    if "mask" not in raw:
        return None
    mask = _choice(raw, "mask", tuple(MASKS), place)
    if ftype not in MASKS[mask]:
        place.at("mask").refuse(f"the mask {mask} is for {' and '.join(MASKS[mask])}, not {ftype}")
    return mask


# -- words of TOML ------------------------------------------------------------------------------------


def _known_keys(raw: dict[str, Any], known: tuple[str, ...], place: Place) -> None:
    for key in raw:
        if key not in known:
            hint = f"known: {', '.join(known)}"
            place.at(key).refuse(f"unknown key {shown(key)}{_meant(key, known)}", hint)


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word[:NAME_BYTES_MAX], list(known), n=1, cutoff=0.6)
    return f" (did you mean {shown(close[0])}?)" if close else ""


def _section(raw: dict[str, Any], key: str, place: Place) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        place.at(key).refuse(f"{key} is a section, not a value")
    return value


def _flag(raw: dict[str, Any], key: str, place: Place, *, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        place.at(key).refuse(f"{key} is true or false")
    return value


def _text(raw: dict[str, Any], key: str, place: Place) -> str | None:
    value = raw.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        place.at(key).refuse(f"{key} is text and not empty")
    return value


def _choice(raw: dict[str, Any], key: str, known: tuple[str, ...], place: Place, default: str | None = None) -> str:
    value = raw.get(key, default)
    if not isinstance(value, str) or value not in known:
        meant = _meant(value, known) if isinstance(value, str) else ""
        word = f"unknown {key} {shown(value)}" if isinstance(value, str) else f"{key} is a word"
        place.at(key).refuse(word + meant, f"known: {', '.join(known)}")
    return value


def _names(raw: dict[str, Any], key: str, place: Place) -> tuple[str, ...]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        place.at(key).refuse(f"{key} is a list of names")
    return tuple(value)


def _identifier(name: str, place: Place) -> None:
    # Letters of any script are welcome: headers are often Chinese. NFKC keeps look-alikes apart.
    if not name.isidentifier() or name.startswith("_") or unicodedata.normalize("NFKC", name) != name:
        place.refuse(
            "the name is not an identifier",
            "use letters, digits and underscores, beginning with a letter",
        )
    if len(name.encode()) > NAME_BYTES_MAX:
        place.refuse(f"the name is longer than {NAME_BYTES_MAX} bytes")


def _distinct(names: Iterable[str], what: str, place: Place) -> None:
    seen: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        if folded in seen:
            place.at(name).refuse(f"the {what} {shown(seen[folded])} and {shown(name)} differ in case only")
        seen[folded] = name
