"""A reader written from docs/FORMAT.md alone opens one record of a room that the library has just written."""

import hashlib

import pytest
import second_reader as second
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

import strongroom
from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.keymaster.filekeys import open_file_key

FIELD_KIND = 2


@pytest.fixture
def opened(room):
    """The room's parts: keymaster, its manifest entries, and a way to the bytes of an object."""
    with room.keymaster() as keymaster:
        lease = keymaster.begin_maintenance(actor="kit", verb="check")
        with strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
            catalog = Catalog(r._store, keymaster.room_id, keymaster.head(), lease_block_keys(keymaster, lease))
            yield keymaster, catalog, lambda e: (room.bucket / e.object_id.hex()[:2] / e.object_id.hex()).read_bytes()


def file_key(keymaster, entry):
    return open_file_key(keymaster._core.ring, keymaster._core.state.read(), entry.key_id).key


def token_of(keymaster, person_id):
    return keymaster._core.subject.one(person_id.encode())


def entries_under(keymaster, entry, data, token):
    at = (file_key(keymaster, entry), keymaster.room_id, entry.object_id, entry.kind, data)
    tail = second.open_tail(*at, entry.tail_offset, entry.tail_length)
    return tail, second.find_entries(*at, tail, token)


@pytest.mark.parametrize("number", [0, 3, 7, 299])
def test_one_record_opens_from_its_run(opened, number):
    """Every field of a record, sealed and open, is what was put: keys, blocks, entry, cells and packing as the page says."""
    from small_room import person

    keymaster, catalog, data_of = opened
    table = keymaster.schema().table("persons")
    (entry,) = catalog.objects(table.id, second.KIND_RECORDS)
    data = data_of(entry)
    assert hashlib.sha256(data).digest() == entry.sha256
    token = token_of(keymaster, person(number)["person_id"])
    tail, (raw,) = entries_under(keymaster, entry, data, token)
    record = second.parse_entry(raw, 1 + len(table.classes))
    secret = keymaster._core.keys.one(token).secret
    shape = tail.shapes[record.shape]
    found = {}
    for klass, cell in zip(("open", *table.classes), record.cells, strict=True):
        fields = table.fields_of(klass)
        if klass != "open":
            at = (table.compartments[klass], shape, keymaster.room_id, table.id, record.ordinal)
            cell = second.open_cell(secret, *at, cell)
            assert klass != "sensitive" or len(cell) % 32 == 0
        values = second.parse_cell(cell, [f.type for f in fields]) if cell else [None] * len(fields)
        found.update(zip([f.name for f in fields], values, strict=True))
    assert found == person(number)


def test_control_another_persons_secret_opens_nothing(opened):
    """Control: with the secret of somebody else the same cell does not open."""
    keymaster, catalog, data_of = opened
    table = keymaster.schema().table("persons")
    (entry,) = catalog.objects(table.id, second.KIND_RECORDS)
    token = token_of(keymaster, "P-000003")
    tail, (raw,) = entries_under(keymaster, entry, data_of(entry), token)
    record = second.parse_entry(raw, 1 + len(table.classes))
    klass = table.classes[0]
    secret = keymaster._core.keys.one(token_of(keymaster, "P-000004")).secret
    at = (table.compartments[klass], tail.shapes[record.shape], keymaster.room_id, table.id, record.ordinal)
    with pytest.raises(InvalidTag):
        second.open_cell(secret, *at, record.cells[1])


def test_an_index_entry_opens_as_rfc_5297_says(opened):
    """Under its value token lies AES-SIV of subject token, batch sequence and row ordinal, by the page."""
    from small_room import person

    keymaster, catalog, data_of = opened
    table = keymaster.schema().table("persons")
    field = table.field("mobile")
    (entry,) = catalog.objects(table.id, FIELD_KIND, field.id)
    keys = keymaster._core.standing.field(field.id)
    value = keys.tokens.one(("+86" + person(7)["mobile"]).encode())
    _tail, found = entries_under(keymaster, entry, data_of(entry), value)
    if not found:  # the normalised number is kept without its country code
        value = keys.tokens.one(person(7)["mobile"].encode())
        _tail, found = entries_under(keymaster, entry, data_of(entry), value)
    (sealed,) = found
    plain = AESSIV(keys.siv).decrypt(sealed, [field.id + value])
    assert plain[:16] == token_of(keymaster, "P-000007")
    assert (len(sealed), int.from_bytes(plain[24:], "little")) == (44, 7)
