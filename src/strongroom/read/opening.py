"""Open released cells and show them as the purpose says: trust logic without I/O.

Rules it keeps:

1. A broken seal names the record's table and class and says no more.
2. A record opens under the table version it was sealed under, then moves to the version in force by field id.
3. Only classes whose keys were released are opened; every other sealed field is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.errors import IntegrityError
from strongroom.read.record import Record
from strongroom.schema.mask import mask_value
from strongroom.schema.model import OPEN, Table
from strongroom.schema.packing import unpack_cell, upgrade
from strongroom.seal.cells import cell_ad, open_cell

if TYPE_CHECKING:
    from strongroom.index.records import RecordEntry
    from strongroom.keymaster.api import Keymaster, ReadingGrant, Released
    from strongroom.purpose.policy import FieldView

StandIn = Callable[[str, str], str]
"""(field name, value) -> what stands for it."""


def open_placed(
    keymaster: Keymaster,
    grant: ReadingGrant,
    table: Table,
    placed: Sequence[tuple[RecordEntry, int]],
    released: Released,
    fields: Sequence[str] | None,
) -> list[Record | None]:
    """Open record entries, each with the keys at some place among those that were released.

    Args:
        keymaster: Knows older versions of the table, and makes stand-ins.
        grant: Of the reading.
        table: The table version in force.
        placed: Entries, each with its place.
        released: The keys.
        fields: Names asked for; None for all that the purpose shows.

    Returns:
        The record of each; None where nothing was released for it.
    """
    chosen = None if fields is None else frozenset(fields)
    gone, keys = set(released.missing), released.keys.items()

    def stand_in(name: str, value: str) -> str:
        return keymaster.stand_ins(grant.reading_id, table.name, name, [value])[0]

    def opened(entry: RecordEntry, at: int) -> Record:
        older = entry.version != table.version
        under = keymaster.table_version(table.id, entry.version) if older else table
        own = {klass: some[at].tobytes() for klass, some in keys}
        said = (grant.views[table.name], grant.purpose, chosen, stand_in)
        return open_record(entry, own, keymaster.room_id, table, under, *said)

    return [None if at in gone else opened(entry, at) for entry, at in placed]


def open_record(
    entry: RecordEntry,
    keys: Mapping[str, bytes],
    room_id: bytes,
    table: Table,
    sealed_under: Table,
    views: Mapping[str, FieldView],
    purpose: str,
    fields: frozenset[str] | None,
    stand_in: StandIn,
) -> Record:
    """Open one record entry.

    Args:
        entry: The entry as found in its run; cells open first, then sealed classes in schema order.
        keys: Class name to the batch key released for this row.
        room_id: Room id, 16 bytes.
        table: The table version in force.
        sealed_under: The table version the entry names.
        views: How each field shows under the purpose.
        purpose: Name of the purpose.
        fields: Names asked for; None for all that the purpose shows.
        stand_in: Gives what stands for the value of a field shown as a token.

    Raises:
        IntegrityError: A cell does not open under its key, or is malformed.
    """
    plain: dict[str, Any] = {}
    for position, klass in enumerate((OPEN, *sealed_under.classes)):
        cell = entry.cells[position]
        if klass != OPEN:
            if klass not in keys:
                continue
            cell = _open(entry, cell, keys[klass], room_id, sealed_under, klass)
        if cell:
            plain.update(unpack_cell(sealed_under, klass, cell))
        else:
            plain.update({f.name: None for f in sealed_under.fields_of(klass)})
    if sealed_under.version != table.version:
        plain = upgrade(plain, sealed_under, table)
    return _show(plain, table, views, purpose, fields, stand_in)


def _open(
    entry: RecordEntry, cell: bytes, key: bytes, room_id: bytes, sealed_under: Table, klass: str
) -> bytes:
    if not cell:
        return b""
    ad = cell_ad(room_id, sealed_under.id, sealed_under.compartments[klass], sealed_under.version)
    try:
        return open_cell(key, entry.ordinal, cell, ad)
    except IntegrityError as error:
        raise IntegrityError(
            f"a record of table {sealed_under.name} does not open: class {klass}, row {entry.ordinal} of its batch",
            hint="the object was changed or swapped: run `strongroom check`",
        ) from error


def _show(
    plain: Mapping[str, Any],
    table: Table,
    views: Mapping[str, FieldView],
    purpose: str,
    fields: frozenset[str] | None,
    stand_in: StandIn,
) -> Record:
    shown: dict[str, Any] = {}
    withheld, masked = set(), set()
    for f in table.fields:
        view = views.get(f.name)
        if view is None or view.show == "withheld" or f.name not in plain:
            withheld.add(f.name)
        elif fields is not None and f.name not in fields:
            continue
        elif view.show == "masked":
            shown[f.name] = mask_value(plain[f.name], view.mask)
            masked.add(f.name)
        elif view.show == "token":
            value = plain[f.name]
            shown[f.name] = None if value is None else stand_in(f.name, str(value))
            masked.add(f.name)
        elif view.show == "plain":
            shown[f.name] = plain[f.name]
        else:
            withheld.add(f.name)
    return Record(table.name, shown, frozenset(withheld), frozenset(masked), purpose)
