"""Gives a schema its ids: those of the schema before it where a table, class or field is the same.

Rules kept here:

1. Nothing disappears by accident: what is missing must be named as renamed (`was`) or `dropped`.
2. What older records depend on cannot change: a field's type and class, a table's subject and records.
3. An index covers all records or does not exist: it cannot be added to, or normalised otherwise in, a field
   that records already have.
4. Any change of a table makes a new version of it; without a change the version stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from strongroom.schema.model import OPEN, ClassInfo, Field, Schema, Table, shown
from strongroom.schema.parse import FieldText, TableText
from strongroom.schema.place import Place

VERSION_MAX = 2**32 - 1


def build(
    tables: Sequence[TableText],
    classes: Mapping[str, ClassInfo],
    dropped: Sequence[str],
    previous: Schema | None,
    random_bytes: Callable[[int], bytes],
    place: Place,
) -> Schema:
    """Make a schema of what the text says, keeping the ids of `previous`.

    Args:
        tables: As the text has them, checked.
        classes: All classes, the built-in ones too.
        dropped: Names of tables given up on purpose.
        previous: The schema in force, or None.
        random_bytes: Gives n random bytes for new ids.
        place: The top of the text, for messages.

    Raises:
        SchemaError: A change that would lose or misread older records.
    """
    before = dict(previous.tables) if previous else {}
    if previous:
        _same_classes(classes, previous.classes, place)
    olds = _match([(t.name, t.was) for t in tables], before, "table", place.at("tables"))
    kept = {old.name for old in olds.values()}
    for name in before:
        if name not in kept and name not in dropped:
            place.refuse(
                f"table {shown(name)} of the schema in force is missing",
                f'say was = "{shown(name)}" where it is renamed, or dropped = ["{shown(name)}"] at the top',
            )
    built = [_table(t, olds.get(t.name), classes, random_bytes, place.at("tables", t.name)) for t in tables]
    schema = Schema(tables={t.name: t for t in built}, classes=dict(classes), number=previous.number if previous else 1)
    # Dictionaries compare without order, and the order of tables says nothing to older records.
    return schema if previous is None or schema == previous else replace(schema, number=previous.number + 1)


def _same_classes(new: Mapping[str, ClassInfo], old: Mapping[str, ClassInfo], place: Place) -> None:
    for name, info in old.items():
        if name in new and new[name] != info:
            place.at("classes", name).refuse("a class keeps what it was declared with", "add another class")


def _match(
    names: Sequence[tuple[str, str | None]], before: Mapping[str, Table], what: str, place: Place
) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for name, source in _sources(names, before, what, place).items():
        found[name] = before[source]
    return found


def _sources(
    names: Sequence[tuple[str, str | None]], before: Mapping[str, object], what: str, place: Place
) -> dict[str, str]:
    """New name to old name. `was` may stand after a rename: it is ignored once the new name is known."""
    sources: dict[str, str] = {}
    for name, was in names:
        if name in before:
            source = name
        elif was is not None and was in before:
            source = was
        else:
            continue
        if source in sources.values():
            place.at(name).refuse(f"two {what}s claim to have been {shown(source)}")
        sources[name] = source
    return sources


def _table(
    text: TableText,
    old: Table | None,
    classes: Mapping[str, ClassInfo],
    fresh: Callable[[int], bytes],
    place: Place,
) -> Table:
    fields = _fields(text, old, fresh, place)
    used = tuple(dict.fromkeys(f.klass for f in fields))
    kept = old.compartments if old else {}
    table = Table(
        name=text.name,
        id=old.id if old else fresh(16),
        klass=text.klass,
        subject=text.subject,
        records=text.records,
        fields=fields,
        version=old.version if old else 1,
        compartments={k: kept.get(k) or fresh(16) for k in used if k != OPEN},
        class_info={k: classes[k] for k in used},
        retention=text.retention,
    )
    if old is None or table == old:
        return table
    _same_table(table, old, place)
    if old.version >= VERSION_MAX:
        place.refuse("the table has had too many versions")
    return replace(table, version=old.version + 1)


def _same_table(new: Table, old: Table, place: Place) -> None:
    if new.subject_field.normalise != old.subject_field.normalise:
        place.at("fields", new.subject, "normalise").refuse(
            "the normalisation of the subject cannot change: the same person would become two"
        )
    if new.records != old.records:
        place.at("records").refuse("one or many records per subject cannot change", "make a new table")
    if old.klass == "sensitive" and new.klass != "sensitive":
        place.at("class").refuse("a table of class sensitive stays so", "make a new table")


def _fields(text: TableText, old: Table | None, fresh: Callable[[int], bytes], place: Place) -> tuple[Field, ...]:
    before = {f.name: f for f in old.fields} if old else {}
    here = place.at("fields")
    sources = _sources([(f.name, f.was) for f in text.fields], before, "field", here)
    if old and sources.get(text.subject) != old.subject:
        place.at("subject").refuse("the subject of a table cannot change", "make a new table")
    for name in before:
        if name not in sources.values() and name not in text.dropped:
            place.refuse(
                f"field {shown(name)} of the schema in force is missing",
                f'say was = "{shown(name)}" where it is renamed, or dropped = ["{shown(name)}"] in the table',
            )
    fields = []
    for f in text.fields:
        was = before[sources[f.name]] if f.name in sources else None
        fields.append(_field(f, was, old is not None, fresh, here.at(f.name)))
    return tuple(fields)


def _field(
    text: FieldText, old: Field | None, table_is_old: bool, fresh: Callable[[int], bytes], place: Place
) -> Field:
    field = Field(
        name=text.name,
        type=text.type,
        klass=text.klass,
        id=old.id if old else fresh(16),
        nullable=text.nullable,
        normalise=text.normalise,
        find=text.find,
        mask=text.mask,
        token=text.token,
        low_cardinality=text.low_cardinality,
        reason=text.reason,
    )
    if old is None:
        if table_is_old and not field.nullable:
            place.refuse("a field added later may be null: older records lack it", "remove nullable = false")
        return field
    if field.type != old.type:
        place.at("type").refuse(f"the type cannot change from {old.type} to {field.type}", "add a field")
    if field.klass != old.klass:
        place.at("class").refuse(f"the class cannot change from {old.klass} to {field.klass}", "add a field")
    if old.nullable and not field.nullable:
        place.at("nullable").refuse("a field that may be null stays so: older records may lack it")
    if field.find and not old.find:
        place.at("find").refuse("an index cannot be added: older records would not be found", "add a field")
    if field.find and field.normalise != old.normalise:
        place.at("normalise").refuse(
            "the normalisation of an indexed field cannot change: older records would not be found",
            "add a field",
        )
    return field
