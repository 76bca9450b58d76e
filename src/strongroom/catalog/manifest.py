"""Turns manifests into sealed bytes and back: tables of objects, in blocks of at most 4 MiB.

A manifest of up to JSON_ENTRIES_MAX entries is canonical JSON, a list of objects with bytes in hex: so a look-up in a
small room does not wait for Parquet's libraries to load. A larger one is a Parquet table of the same columns.

Rules it keeps: a manifest opens only in its own room and under its own object id (both are authenticated); its
columns and types must be exactly those below; every id has 16 bytes; anything else is an IntegrityError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from strongroom.catalog.entries import BlockKeys, ManifestRef, ObjectEntry, ObjectRef
from strongroom.errors import IntegrityError
from strongroom.keymaster.api import FileKey
from strongroom.seal.blocks import KIND_MANIFEST, TAG_BYTES, block_key, open_block, seal_block

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_ENTRIES_MAX = 4096
PIECE_BYTES = 4 << 20
JSON_ENTRIES_MAX = 512
_BYTES = ("object_id", "table", "field", "key_id", "lo", "hi", "sha256", "open_of", "put_id")
_ID = 16
_COUNTS = ("length", "blocks", "tail_offset", "tail_length", "entries", "persons", "commit", "created")


def _schema() -> pa.Schema:
    import pyarrow as pa

    known, maybe = pa.binary(_ID), pa.binary()
    types = {
        "object_id": known,
        "kind": pa.uint8(),
        "table": known,
        "field": maybe,
        "key_id": known,
        **dict.fromkeys(_COUNTS, pa.int64()),
        "lo": maybe,
        "hi": maybe,
        "sha256": pa.binary(32),
        "open_of": maybe,
        "batches": pa.list_(pa.binary()),
        "put_id": known,
    }
    return pa.schema(list(types.items()))


def pack_manifest(entries: Sequence[ObjectEntry]) -> bytes:
    """The plain bytes of a manifest."""
    if len(entries) <= JSON_ENTRIES_MAX:
        rows = [_row(entry) for entry in entries]
        return json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    columns = {name: [getattr(entry, name) for entry in entries] for name in schema.names}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd", store_schema=False)
    return bytes(sink.getvalue())


def parse_manifest(plain: bytes) -> list[ObjectEntry]:
    """The entries of a manifest's plain bytes; IntegrityError if they are not exactly a manifest."""
    if plain[:1] == b"[":
        return _parse_rows(plain)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(plain)).read()
        wanted = _schema()
        if table.schema.names != wanted.names:
            raise IntegrityError("a manifest does not have the columns of one")
        rows = table.cast(wanted).to_pylist()
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        raise IntegrityError("a manifest cannot be read") from None
    return [_entry(row) for row in rows]


def _row(entry: ObjectEntry) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(entry, name) for name in ("kind", *_COUNTS)}
    for name in _BYTES:
        value = getattr(entry, name)
        row[name] = None if value is None else value.hex()
    return {**row, "batches": [batch.hex() for batch in entry.batches]}


def _parse_rows(plain: bytes) -> list[ObjectEntry]:
    wanted = {"kind", "batches", *_COUNTS, *_BYTES}
    try:
        rows = json.loads(plain)
        entries = []
        for row in rows:
            numbers = [row["kind"], *(row[name] for name in _COUNTS)]
            if set(row) != wanted or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
                raise IntegrityError("a manifest does not have the columns of one")
            opened = {name: None if row[name] is None else bytes.fromhex(row[name]) for name in _BYTES}
            batches = [bytes.fromhex(batch) for batch in row["batches"]]
            entries.append(_entry({**row, **opened, "batches": batches}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise IntegrityError("a manifest cannot be read") from None
    if not entries:
        raise IntegrityError("a manifest without entries is never written")
    return entries


def _entry(row: dict[str, Any]) -> ObjectEntry:
    ids: list[Any] = [row["object_id"], row["table"], row["key_id"], row["put_id"]]
    ids += [row[name] for name in ("field", "open_of") if row[name] is not None]
    batches = row["batches"]
    fine = (
        batches is not None
        and all(item is not None and len(item) == _ID for item in (*ids, *batches))
        and row["kind"] is not None
        and row["kind"] <= 0xFF
        and row["sha256"] is not None
        and len(row["sha256"]) == 32
        and all(row[name] is not None and row[name] >= 0 for name in _COUNTS)
        and all(row[name] is not None and len(row[name]) in {0, _ID} for name in ("lo", "hi"))
    )
    if not fine or row["tail_offset"] + row["tail_length"] > row["length"]:
        raise IntegrityError("a manifest has a row that describes no object")
    return ObjectEntry(**{**row, "batches": tuple(batches)})


def seal_manifest(
    entries: Sequence[ObjectEntry], file_key: FileKey, room: bytes, object_id: bytes
) -> tuple[bytes, ManifestRef]:
    """Seal a manifest.

    Returns:
        The bytes of the object, and the reference that its snapshot keeps.
    """
    plain = pack_manifest(entries)
    data = b"".join(
        seal_block(
            block_key(file_key.key, KIND_MANIFEST, number),
            room,
            object_id,
            KIND_MANIFEST,
            number,
            plain[start : start + PIECE_BYTES],
        )
        for number, start in enumerate(range(0, len(plain), PIECE_BYTES))
    )
    reference = ManifestRef(
        object_id=object_id,
        key_id=file_key.key_id,
        length=len(data),
        sha256=hashlib.sha256(data).digest(),
        entries=len(entries),
        tables=tuple(sorted({entry.table for entry in entries})),
    )
    return data, reference


def open_manifest(data: bytes, reference: ManifestRef, room: bytes, block_keys: BlockKeys) -> list[ObjectEntry]:
    """Open a manifest that a snapshot names.

    Raises:
        IntegrityError: It is not the object named, or not of this room.
    """
    check_whole(data, reference, "manifest")
    starts = range(0, len(data), PIECE_BYTES + TAG_BYTES)
    keys = block_keys(reference.key_id, KIND_MANIFEST, range(len(starts)), None)
    plain = b"".join(
        open_block(key, room, reference.object_id, KIND_MANIFEST, number, data[start : start + PIECE_BYTES + TAG_BYTES])
        for number, (key, start) in enumerate(zip(keys, starts, strict=True))
    )
    entries = parse_manifest(plain)
    if len(entries) != reference.entries or {entry.table for entry in entries} != set(reference.tables):
        raise IntegrityError(f"manifest {reference.object_id.hex()} is not the one its snapshot names")
    return entries


def check_whole(data: bytes, reference: ObjectRef, what: str) -> None:
    """IntegrityError unless these bytes have the length and hash that the reference says."""
    if len(data) != reference.length or hashlib.sha256(data).digest() != reference.sha256:
        raise IntegrityError(f"{what} {reference.object_id.hex()} is not the one that was written")
