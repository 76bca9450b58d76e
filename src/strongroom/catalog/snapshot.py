"""Turns snapshots into sealed bytes and back: canonical JSON in one block.

Rules it keeps: canonical means sorted names, no spaces, ASCII; what does not print back to the same bytes is an
IntegrityError, and so is an unknown name, a missing one or a value of another type. A snapshot opens only in its
own room.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from strongroom.catalog.entries import BlockKeys, ManifestRef, ObjectRef, Snapshot
from strongroom.errors import IntegrityError
from strongroom.keymaster.api import FileKey, Head
from strongroom.seal.blocks import KIND_SNAPSHOT, block_key, open_block, seal_block

FORMAT = 1


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """The plain bytes of a snapshot."""
    parent, tombstones = snapshot.parent, snapshot.tombstones
    return _canonical(
        {
            "format": FORMAT,
            "number": snapshot.number,
            "created": snapshot.created,
            "parent": None if parent is None else {"number": parent.number, **_reference(parent)},
            "manifests": [
                {**_reference(item), "entries": item.entries, "tables": [table.hex() for table in item.tables]}
                for item in snapshot.manifests
            ],
            "checkpoint": snapshot.checkpoint,
            "stats": {table: dict(counts) for table, counts in snapshot.stats.items()},
            "tombstones": None if tombstones is None else _reference(tombstones),
            "notes": dict(snapshot.notes),
        }
    )


def parse_snapshot(plain: bytes) -> Snapshot:
    """The snapshot of plain bytes; IntegrityError if they are not exactly what `pack_snapshot` writes."""
    try:
        raw = json.loads(plain)
        snapshot = _parsed(raw)
        same = pack_snapshot(snapshot) == plain
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise IntegrityError("a snapshot cannot be read") from None
    if not same:
        raise IntegrityError("a snapshot is not in its canonical form")
    return snapshot


def seal_snapshot(snapshot: Snapshot, file_key: FileKey, room: bytes, object_id: bytes) -> tuple[bytes, Head]:
    """Seal a snapshot.

    Returns:
        The bytes of the object, and the head row that makes it the newest.
    """
    key = block_key(file_key.key, KIND_SNAPSHOT, 0)
    data = seal_block(key, room, object_id, KIND_SNAPSHOT, 0, pack_snapshot(snapshot))
    head = Head(
        number=snapshot.number,
        object_id=object_id,
        sha256=hashlib.sha256(data).digest(),
        length=len(data),
        key_id=file_key.key_id,
    )
    return data, head


def open_snapshot(data: bytes, head: Head, room: bytes, block_keys: BlockKeys) -> Snapshot:
    """Open the snapshot that a head row names (the room's, or a parent's within a snapshot).

    Raises:
        IntegrityError: It is another object than the one named, of another room, or has another number.
    """
    if len(data) != head.length or hashlib.sha256(data).digest() != head.sha256:
        raise IntegrityError(f"snapshot {head.number} in the store is not the one that was committed")
    (key,) = block_keys(head.key_id, KIND_SNAPSHOT, [0], None)
    snapshot = parse_snapshot(open_block(key, room, head.object_id, KIND_SNAPSHOT, 0, data))
    if snapshot.number != head.number:
        raise IntegrityError(f"snapshot {head.number} is not the newest: the object says {snapshot.number}")
    return snapshot


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _reference(item: ObjectRef | Head) -> dict[str, Any]:
    return {
        "object": item.object_id.hex(),
        "key": item.key_id.hex(),
        "length": item.length,
        "sha256": item.sha256.hex(),
    }


def _bytes(text: str, length: int = 16) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != length:
        raise ValueError
    return data


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "object_id": _bytes(raw["object"]),
        "key_id": _bytes(raw["key"]),
        "length": _count(raw["length"]),
        "sha256": _bytes(raw["sha256"], 32),
    }


def _parsed(raw: dict[str, Any]) -> Snapshot:
    if raw["format"] != FORMAT:
        raise IntegrityError("a snapshot has a format that this version does not know")
    parent, tombstones = raw["parent"], raw["tombstones"]
    notes = {_text(name): value if isinstance(value, str) else _count(value) for name, value in raw["notes"].items()}
    return Snapshot(
        number=_count(raw["number"]),
        created=_count(raw["created"]),
        parent=None if parent is None else Head(number=_count(parent["number"]), **_whole(parent)),
        manifests=tuple(
            ManifestRef(
                **_whole(item),
                entries=_count(item["entries"]),
                tables=tuple(_bytes(table) for table in item["tables"]),
            )
            for item in raw["manifests"]
        ),
        checkpoint=_text(raw["checkpoint"]),
        stats={
            _bytes(table).hex(): {_text(name): _count(count) for name, count in counts.items()}
            for table, counts in raw["stats"].items()
        },
        tombstones=None if tombstones is None else ObjectRef(**_whole(tombstones)),
        notes=notes,
    )
