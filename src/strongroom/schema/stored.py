"""The stored form of a schema and of a table: canonical JSON with ids in hexadecimal.

What is read is checked for its shape only; the rules of a schema were applied when it was parsed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from strongroom.errors import SchemaError
from strongroom.schema.model import ClassInfo, Field, Retention, Schema, Table


def schema_to_json(schema: Schema) -> str:
    """Canonical JSON text of a schema; `schema_from_json` gives an equal schema."""
    return _dump(
        {
            "number": schema.number,
            "classes": {name: asdict(info) for name, info in schema.classes.items()},
            "tables": [_table_out(table) for table in schema.tables.values()],
        }
    )


def schema_from_json(text: str) -> Schema:
    """The schema that `schema_to_json` wrote.

    Raises:
        SchemaError: The text is not such JSON.
    """
    try:
        data = json.loads(text)
        tables = [_table_in(item) for item in data["tables"]]
        return Schema(
            tables={table.name: table for table in tables},
            classes={str(name): _class_in(info) for name, info in data["classes"].items()},
            number=_int(data["number"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaError("this is not a stored schema") from error


def table_to_json(table: Table) -> str:
    """Canonical JSON text of one table at one version."""
    return _dump(_table_out(table))


def table_from_json(text: str) -> Table:
    """The table that `table_to_json` wrote.

    Raises:
        SchemaError: The text is not such JSON.
    """
    try:
        return _table_in(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaError("this is not a stored table") from error


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _table_out(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "id": table.id.hex(),
        "class": table.klass,
        "subject": table.subject,
        "records": table.records,
        "version": table.version,
        "fields": [_field_out(f) for f in table.fields],
        "compartments": {name: ident.hex() for name, ident in table.compartments.items()},
        "classes": {name: asdict(info) for name, info in table.class_info.items()},
        **({} if table.retention is None else {"retention": asdict(table.retention)}),
    }


def _field_out(f: Field) -> dict[str, Any]:
    return {**asdict(f), "id": f.id.hex(), "normalise": list(f.normalise)}


def _table_in(data: dict[str, Any]) -> Table:
    return Table(
        name=_str(data["name"]),
        id=_id(data["id"]),
        klass=_str(data["class"]),
        subject=_str(data["subject"]),
        records=_str(data["records"]),
        version=_int(data["version"]),
        fields=tuple(_field_in(item) for item in data["fields"]),
        compartments={str(name): _id(ident) for name, ident in data["compartments"].items()},
        class_info={str(name): _class_in(info) for name, info in data["classes"].items()},
        retention=_retention_in(data.get("retention")),
    )


def _field_in(data: dict[str, Any]) -> Field:
    return Field(
        name=_str(data["name"]),
        type=_str(data["type"]),
        klass=_str(data["klass"]),
        id=_id(data["id"]),
        nullable=_bool(data["nullable"]),
        normalise=tuple(_str(step) for step in data["normalise"]),
        find=_bool(data["find"]),
        mask=None if data["mask"] is None else _str(data["mask"]),
        token=_bool(data["token"]),
        low_cardinality=_bool(data["low_cardinality"]),
        reason=None if data["reason"] is None else _str(data["reason"]),
    )


def _class_in(data: dict[str, Any]) -> ClassInfo:
    return ClassInfo(pad=_int(data["pad"]), sensitive=_bool(data["sensitive"]))


def _retention_in(data: dict[str, Any] | None) -> Retention | None:
    if data is None:
        return None
    return Retention(_int(data["days"]), None if data["by"] is None else _str(data["by"]))


def _id(value: object) -> bytes:
    ident = bytes.fromhex(_str(value))
    if len(ident) != 16:
        raise ValueError("an id has 16 bytes")
    return ident


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a whole number")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value
