"""An insider who holds the bucket and every file key, and nobody's batch key, puts sealed cells where they do not belong.

Such a person (who runs compaction, say) opens and seals blocks at will, so that the blocks' own tags stop nothing here:
what stops them is what each cell and index entry is bound to.
"""

import os
import struct

import numpy as np
import pytest
from swap_kit import Insider, SwapRoom, cells_of, everywhere, record, token_of

from strongroom.errors import DeniedError, IntegrityError, NotFoundError
from strongroom.keymaster import behind, releasing
from strongroom.seal import blocks, cells, tokens

EDITION = {"homes": 0, "offices": 5}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("cells") / "room")


@pytest.fixture
def room(template, tmp_path):
    return template.copy_to(tmp_path / "room")


def filled(folder):
    room = SwapRoom(folder).create()
    for table, edition in EDITION.items():
        room.put(table, range(300), edition)
    return room


def others_read(room):
    """Everybody else is read as before."""
    for number in (0, 9, 299):
        assert room.get(number) == record(number)


# -- another person ------------------------------------------------------------------------------


def swap_persons(room, one=3, other=4):
    """Person `one` gets the whole entry of person `other`, row ordinal and cells, and the other way round."""
    first, second = token_of(room, one), token_of(room, other)

    def change(entries):
        payload = dict(entries)
        swapped = {first: payload[second], second: payload[first]}
        return [(token, swapped.get(token, data)) for token, data in entries]

    Insider(room).rewrite(change)


def test_attack_a_record_is_put_under_another_person(room):
    """The cells of one person under the token of another do not open: their key is the person's."""
    swap_persons(room)
    for number in (3, 4):
        with pytest.raises(IntegrityError, match="class identity, row"):
            room.get(number)
    others_read(room)


def keys_for_all_alike(monkeypatch):
    """Switch off the person in the batch key: every secret counts as zeros."""
    real = cells.batch_keys
    everywhere(monkeypatch, real, lambda secrets, compartment, batch: real(np.zeros_like(secrets), compartment, batch))
    release = releasing._batch_keys
    everywhere(monkeypatch, release, lambda secrets, parts, batches: release(np.zeros_like(secrets), parts, batches))


def test_control_without_the_person_in_the_key_the_wrong_record_is_given(tmp_path, monkeypatch):
    """Control: with one key for all persons of a batch the swap is read, and one person gets the other's record."""
    keys_for_all_alike(monkeypatch)
    room = filled(tmp_path / "room")
    swap_persons(room)
    assert room.get(3) == record(4)
    assert room.get(4) == record(3)


def test_attack_a_single_cell_is_put_into_another_person_s_record(room):
    """Only the contact cell is exchanged: the record it was put into does not open, and does not mix two persons."""
    first, second = token_of(room, 3), token_of(room, 4)

    def change(entries):
        header, one = cells_of(dict(entries)[first])
        _, other = cells_of(dict(entries)[second])
        mixed = header + one[0] + one[1] + other[2]
        return [(token, mixed if token == first else data) for token, data in entries]

    Insider(room).rewrite(change)
    with pytest.raises(IntegrityError, match="class contact, row"):
        room.get(3)
    assert room.get(4) == record(4)
    others_read(room)


# -- another class -------------------------------------------------------------------------------


def swap_classes(room, number=3):
    """The identity cell of a record where its contact cell was, and the other way round."""
    token = token_of(room, number)

    def change(entries):
        header, (plain, identity, contact) = cells_of(dict(entries)[token])
        turned = header[:7] + bytes([len(plain), len(contact), len(identity)]) + plain + contact + identity
        return [(t, turned if t == token else data) for t, data in entries]

    Insider(room).rewrite(change)


def test_attack_a_cell_is_put_into_another_class(room):
    """A contact cell in the place of the identity cell of the same person does not open: its key is the compartment's."""
    swap_classes(room)
    with pytest.raises(IntegrityError, match="class identity, row"):
        room.get(3)
    others_read(room)


def compartments_alike(monkeypatch):
    """Switch off compartment and table in key and associated data."""
    keys, release, ad = cells.batch_keys, releasing._batch_keys, cells.cell_ad
    none = bytes(16)
    everywhere(monkeypatch, keys, lambda secrets, compartment, batch: keys(secrets, none, batch))
    everywhere(monkeypatch, release, lambda secrets, parts, batches: release(secrets, [none] * len(parts), batches))
    everywhere(monkeypatch, ad, lambda room, table, compartment, version: ad(room, none, none, version))


def test_control_without_compartments_a_contact_is_given_as_an_identity(tmp_path, monkeypatch):
    """Control: with one compartment for all classes the phone number comes out where the person's id belongs."""
    compartments_alike(monkeypatch)
    room = filled(tmp_path / "room")
    swap_classes(room)
    found = room.get(3)
    assert (found["person_id"], found["phone"]) == (record(3)["phone"], record(3)["person_id"])


# -- another table -------------------------------------------------------------------------------


def put_into_homes(room, *, with_its_batch, number=3):
    """The person's entry from table offices in the run of table homes; with the shape that names its own batch, or not."""
    insider = Insider(room)
    token = token_of(room, number)
    foreign = dict(insider.entries(table="offices"))[token]
    shapes = insider.shapes(table="offices") if with_its_batch else None
    insider.rewrite(
        lambda entries: [(t, foreign if t == token else data) for t, data in entries],
        shapes=lambda own: tuple(shapes) if shapes else own,
    )


def test_attack_a_record_is_put_into_another_table(room):
    """A record of the same person from another table does not open under this table's batch and compartments."""
    put_into_homes(room, with_its_batch=False)
    with pytest.raises(IntegrityError, match="class identity, row"):
        room.get(3)
    others_read(room)


def test_attack_a_record_brings_its_own_batch_into_another_table(room):
    """Named with the batch it was sealed in, the keymaster refuses the key: that batch is not of this table."""
    put_into_homes(room, with_its_batch=True)
    with pytest.raises(DeniedError) as refused:
        room.get(3)
    assert refused.value.rule == "room.foreign-batch"


def test_control_without_table_and_batch_the_other_table_s_record_is_given(tmp_path, monkeypatch):
    """Control: with compartments, table ids and the look at the batch switched off, the office is read as the home."""
    compartments_alike(monkeypatch)
    room = filled(tmp_path / "room")
    put_into_homes(room, with_its_batch=True)
    monkeypatch.setattr(behind.Behind, "check_batches", lambda self, rows, batches, model: None)
    assert room.get(3) == record(3, EDITION["offices"])


# -- another row, version or room: what the nonce and the associated data hold --------------------


def test_attack_a_record_changes_its_row(room):
    """The row ordinal in the entry's header is another one: the nonce is another one, and nothing opens."""
    token = token_of(room, 3)

    def change(entries):
        data = dict(entries)[token]
        ordinal = struct.unpack_from("<I", data, 3)[0]
        moved = data[:3] + struct.pack("<I", ordinal + 1) + data[7:]
        return [(t, moved if t == token else d) for t, d in entries]

    Insider(room).rewrite(change)
    with pytest.raises(IntegrityError):
        room.get(3)
    others_read(room)


PLACES = {
    "room": {"room": b"R" * 16},
    "table": {"table": b"T" * 16},
    "compartment": {"compartment": b"C" * 16},
    "version": {"version": 8},
}
HOME = {"room": b"r" * 16, "table": b"t" * 16, "compartment": b"c" * 16, "version": 7}


@pytest.mark.parametrize("change", PLACES.values(), ids=PLACES)
def test_attack_a_cell_opens_nowhere_else(change):
    """Even under the right key and nonce a cell opens only in its room, table, compartment and schema version."""
    key = os.urandom(32)
    sealed = cells.seal_cell(key, 5, b"13800138000", cells.cell_ad(**HOME))
    assert cells.open_cell(key, 5, sealed, cells.cell_ad(**HOME)) == b"13800138000"
    with pytest.raises(IntegrityError):
        cells.open_cell(key, 5, sealed, cells.cell_ad(**HOME | change))
    with pytest.raises(IntegrityError):
        cells.open_cell(key, 6, sealed, cells.cell_ad(**HOME))


@pytest.mark.parametrize("change", PLACES.values(), ids=PLACES)
def test_control_without_associated_data_a_cell_opens_anywhere(change, monkeypatch):
    """Control: with nothing authenticated besides the text, the cell opens in any of these places."""
    monkeypatch.setattr(cells, "cell_ad", lambda room, table, compartment, version: b"")
    key = os.urandom(32)
    sealed = cells.seal_cell(key, 5, b"13800138000", cells.cell_ad(**HOME))
    assert cells.open_cell(key, 5, sealed, cells.cell_ad(**HOME | change)) == b"13800138000"


def test_control_without_the_row_in_the_nonce_a_cell_opens_in_any_row(monkeypatch):
    """Control: with a nonce that says nothing of the row, the cell opens as that of another row."""
    monkeypatch.setattr(cells, "_nonce", lambda ordinal: bytes(12))
    key, ad = os.urandom(32), cells.cell_ad(**HOME)
    assert cells.open_cell(key, 6, cells.seal_cell(key, 5, b"13800138000", ad), ad) == b"13800138000"


# -- index entries -------------------------------------------------------------------------------


def phone_token(room, number):
    with room.keymaster() as keys:
        field = keys.schema().table("homes").field("phone").id
        return keys._core.standing.field(field).tokens.one(record(number)["phone"].encode())


def swap_index_entries(room, one=3, other=4):
    first, second = phone_token(room, one), phone_token(room, other)

    def change(entries):
        payload = dict(entries)
        swapped = {first: payload[second], second: payload[first]}
        return [(token, swapped.get(token, data)) for token, data in entries]

    Insider(room).rewrite(change, kind=blocks.KIND_INDEX)


def test_attack_an_index_entry_is_put_under_another_value(room):
    """Somebody else's index entry under a value that was looked up opens for nobody: no wrong person is found."""
    swap_index_entries(room)
    for number in (3, 4):
        with pytest.raises(IntegrityError, match="index entry of table homes, field phone"):
            room.find(record(number)["phone"])
    assert room.find(record(5)["phone"]) == [record(5)]


def test_control_without_the_value_in_the_index_entry_another_person_is_found(tmp_path, monkeypatch):
    """Control: with entries that are not bound to their value, the look-up of one number gives another person."""
    seal, opener = tokens.seal_index_entries, tokens.EntryOpener.open

    def sealed(key, field, values, subjects, sequence, ordinals):
        return seal(key, field, np.zeros_like(values), subjects, sequence, ordinals)

    everywhere(monkeypatch, seal, sealed)
    monkeypatch.setattr(
        tokens.EntryOpener, "open", lambda self, values, entries: opener(self, np.zeros_like(values), entries)
    )
    room = filled(tmp_path / "room")
    swap_index_entries(room)
    assert room.find(record(3)["phone"]) == [record(4)]


# -- the keymaster's pages -------------------------------------------------------------------------


def swap_chunks(room):
    """Two chunks of the key page change places."""
    path = max((room.keys / "pages").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    data = bytearray(path.read_bytes())
    size = 128 * 64 + 16
    data[:size], data[size : 2 * size] = data[size : 2 * size], data[:size]
    path.write_bytes(data)


def first_in_page(room):
    """Who stands first in the page."""
    with room.keymaster() as keys:
        return min(range(300), key=lambda n: keys._core.subject.one(f"P-{n:05d}".encode()))


def test_attack_chunks_of_a_key_page_change_places(room):
    """Whoever writes to the keymaster's store exchanges two chunks of a page: neither opens in the other's place."""
    number = first_in_page(room)
    swap_chunks(room)
    with pytest.raises(IntegrityError):
        room.get(number)


def test_control_without_the_number_in_the_nonce_the_swap_makes_a_person_vanish(tmp_path, monkeypatch):
    """Control: with the same nonce for every chunk the swap opens, and a person is taken for erased."""
    monkeypatch.setattr(blocks, "_nonce", lambda number: bytes(12))
    room = filled(tmp_path / "room")
    number = first_in_page(room)
    assert room.get(number) == record(number)
    swap_chunks(room)
    with pytest.raises(NotFoundError):
        room.get(number)
