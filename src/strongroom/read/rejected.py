"""Open rejected records under a purpose. They have no person's key yet: whole objects are released, and noted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from strongroom.errors import InputError, IntegrityError, NotFoundError
from strongroom.keymaster.api import Ask
from strongroom.schema.rejects import decode
from strongroom.seal.blocks import KIND_REJECTS, open_block
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.catalog.catalog import Catalog
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.keymaster.api import ReadingGrant
    from strongroom.read.session import Session


def opened_rejects(
    session: Session,
    grant: ReadingGrant,
    catalog: Catalog,
    block_keys: BlockKeys,
    put_id: str | None,
    most: int | None = None,
) -> list[dict[str, Any]]:
    """Rejects of every table the purpose reads; see `Reading.rejects`."""
    found: list[dict[str, Any]] = []
    tables = session.keymaster.schema().tables
    chosen = {
        name: [e for e in catalog.objects(tables[name].id, KIND_REJECTS) if put_id in (None, e.put_id.hex())]
        for name in grant.views
    }
    counts = {name: sum(entry.entries for entry in entries) for name, entries in chosen.items()}
    if most is not None and sum(counts.values()) > most:
        hint = "name a put, or open them with the bucket and the keymaster"
        raise InputError(f"more than {most:,} rejected records", hint=hint)
    for name, entries in chosen.items():
        if not entries:
            continue
        none, count = np.empty((0, 16), np.uint8), counts[name]
        ask = Ask(random_bytes(16), "rejects", name, None, none, none, looked_up=count)
        session.keymaster.release(grant.reading_id, ask)
        for entry in entries:
            found += _opened(session, name, entry, block_keys)
    return found


def _opened(session: Session, table: str, entry: ObjectEntry, block_keys: BlockKeys) -> list[dict[str, Any]]:
    key = block_keys(entry.key_id, KIND_REJECTS, [0], entry.table)[0]
    try:
        sealed = session.store.get(object_name(entry.object_id))
    except NotFoundError:
        raise IntegrityError(f"rejects {entry.object_id.hex()} are in the manifest and not in the store") from None
    try:
        plain = open_block(key, session.keymaster.room_id, entry.object_id, KIND_REJECTS, 0, sealed)
    except IntegrityError as error:
        raise IntegrityError(f"rejects {entry.object_id.hex()}: {error}") from error
    return [
        {
            "put": entry.put_id.hex(),
            "table": table,
            "source": one.source,
            "row": one.row,
            "reason": one.reason,
            "field": one.field,
            "record": json.loads(one.raw) if one.is_record else one.raw.decode("utf-8", errors="replace"),
        }
        for one in decode(plain)
    ]
