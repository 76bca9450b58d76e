"""Tables, fields and classes as the rest of the library sees them: values without behaviour of their own.

Rules kept here:

1. Everything is frozen. A schema changes by parsing a new one against it (`parse.parse_schema`).
2. Ids are random and stay when names change; a record is bound to ids and to the version of its table.
3. Field order is packing order. A table knows the pads of its classes: a cell opens with it alone.

Reading the text of a schema and its rules is left to `parse`, its stored form to `stored`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from strongroom.errors import NotFoundError

OPEN = "open"
TYPES = ("string", "int", "float", "bool", "date", "timestamp", "binary")
TABLE_CLASSES = ("plain", "sensitive")
RECORDS = ("one", "many")
PAD_BYTES = 32


@dataclass(frozen=True)
class ClassInfo:
    """How the cells of a class are treated.

    Args:
        pad: Cells are padded to a multiple of this many bytes and sealed when null too; 0 means neither.
        sensitive: Its fields are never a search key, an index or a filter.
    """

    pad: int
    sensitive: bool


BUILT_IN_CLASSES: Mapping[str, ClassInfo] = {
    OPEN: ClassInfo(pad=0, sensitive=False),
    "identity": ClassInfo(pad=0, sensitive=False),
    "contact": ClassInfo(pad=0, sensitive=False),
    "sensitive": ClassInfo(pad=PAD_BYTES, sensitive=True),
}


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Args:
        name: An identifier, unique in its table whatever the case.
        type: One of `TYPES`.
        klass: Sensitivity class; `open` is not sealed per person.
        id: 16 random bytes that stay when the name changes.
        nullable: Whether a record may lack it.
        normalise: Steps applied before a value becomes a token; the stored value is as given.
        find: Whether records are found by exact value (blind index).
        mask: Mask shown under a purpose that says `masked`; None means the default of the type.
        token: Whether a purpose may show it as a token.
        low_cardinality: Declared to have few distinct values.
        reason: Why open text may lie unsealed.
    """

    name: str
    type: str
    klass: str
    id: bytes
    nullable: bool = True
    normalise: tuple[str, ...] = ()
    find: bool = False
    mask: str | None = None
    token: bool = False
    low_cardinality: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Retention:
    """How long records of a table are kept.

    Args:
        days: Whole days.
        by: Name of an open field of dates or times that the days are counted from; None for when a record was put.
    """

    days: int
    by: str | None = None


@dataclass(frozen=True)
class Table:
    """One table at one version.

    Args:
        name: An identifier, unique in the schema whatever the case.
        id: 16 random bytes that stay when the name changes.
        klass: `plain`, or `sensitive`: nothing starts from such a table.
        subject: Name of the field that says whom a record is about.
        records: `one` record per subject (the newest put wins) or `many`.
        fields: In schema order, which is packing order.
        version: Counts up from 1 with every change of the table.
        compartments: Compartment id (16 random bytes) of each sealed class.
        class_info: Pad and sensitivity of each class that the fields use.
        retention: How long records are kept; None for as long as they are wanted.
    """

    name: str
    id: bytes
    klass: str
    subject: str
    records: str
    fields: tuple[Field, ...]
    version: int
    compartments: Mapping[str, bytes] = field(hash=False)
    class_info: Mapping[str, ClassInfo] = field(hash=False)
    retention: Retention | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Sealed classes in order of first appearance."""
        return tuple(dict.fromkeys(f.klass for f in self.fields if f.klass != OPEN))

    @cached_property
    def open_fields(self) -> tuple[Field, ...]:
        """Fields of class `open`, in schema order."""
        return self.fields_of(OPEN)

    @cached_property
    def subject_field(self) -> Field:
        """The field that says whom a record is about."""
        return self.field(self.subject)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    @cached_property
    def _by_class(self) -> dict[str, tuple[Field, ...]]:
        names = dict.fromkeys(f.klass for f in self.fields)
        return {name: tuple(f for f in self.fields if f.klass == name) for name in names}

    def fields_of(self, klass: str) -> tuple[Field, ...]:
        """Fields of one class in schema order; none for a class the table does not use."""
        return self._by_class.get(klass, ())

    def pad_of(self, klass: str) -> int:
        """Bytes that cells of a class are padded to a multiple of; 0 means not padded."""
        info = self.class_info.get(klass)
        return info.pad if info else 0

    def has_field(self, name: str) -> bool:
        """Whether the table has a field of this name."""
        return name in self._by_name

    def field(self, name: str) -> Field:
        """The field of this name.

        Raises:
            NotFoundError: The table has no such field.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NotFoundError(f"table {self.name} has no field {shown(name)}")
        return found


@dataclass(frozen=True)
class Schema:
    """All tables and classes of a room at one point.

    Args:
        tables: By name, in the order of the text.
        classes: By name; the built-in ones are always there.
        number: Counts up from 1 with every change.
    """

    tables: Mapping[str, Table] = field(hash=False)
    classes: Mapping[str, ClassInfo] = field(hash=False)
    number: int

    def table(self, name: str) -> Table:
        """The table of this name.

        Raises:
            NotFoundError: The schema has no such table.
        """
        found = self.tables.get(name)
        if found is None:
            raise NotFoundError(f"the schema has no table {shown(name)}")
        return found

    def to_json(self) -> str:
        """The schema with its ids as canonical JSON text; `from_json` gives an equal schema."""
        from strongroom.schema.stored import schema_to_json

        return schema_to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """The schema that `to_json` wrote.

        Raises:
            SchemaError: The text is not such JSON.
        """
        from strongroom.schema.stored import schema_from_json

        return schema_from_json(text)


def shown(name: object) -> str:
    """A name as messages print it: one line, at most 40 characters, without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(name)[:41])
    return text if len(text) <= 40 else text[:39] + "…"
