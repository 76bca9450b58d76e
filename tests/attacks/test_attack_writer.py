"""Somebody who may put tries to read, to seal twice, or to go on after the end."""

import os

import attack_kit
import numpy as np
import pytest
from keymaster_fixtures import ask, finish, identifiers, put

from strongroom.errors import ConflictError, DeniedError, IntegrityError
from strongroom.keymaster import releasing, sealing
from strongroom.keymaster.core import Core
from strongroom.keymaster.leases import Leases
from strongroom.seal.blocks import block_key, seal_block
from strongroom.seal.cells import batch_keys, cell_ad, open_cell, seal_cell

assert attack_kit


def lease_of(master, actor, table="persons"):
    return master.begin_put(actor=actor, table=table, request_id=os.urandom(16))


def foreign_batch(self, rows, lease, batch):
    """`Sealing._batch` without the question whose batch it is."""
    sql = "SELECT sequence, table_id, table_version, state, records FROM batch WHERE id = ?"
    row = rows.execute(sql, (batch,)).fetchone()
    return sealing._Batch(row[0], self._core.standing.table_version(row[1], row[2]), row[3], row[4])


def test_attack_sealing_keys_for_somebody_elses_batch(master):
    """A writer names the batch of another lease, open or committed, to get its keys: a batch belongs to its lease."""
    kits = lease_of(master, "kit")
    batch = master.mint_batch(kits)
    toms = lease_of(master, "tom")
    with pytest.raises(ConflictError, match="not of this lease"):
        master.seal_subjects(toms, batch, identifiers(5))
    master.seal_subjects(kits, batch, identifiers(5))
    finish(master, kits)
    for foreign in (batch, os.urandom(16)):
        with pytest.raises(ConflictError, match="not of this lease"):
            master.seal_subjects(toms, foreign, identifiers(5))


def test_control_without_the_check_the_batch_gives_its_keys(master, monkeypatch):
    """Control: with that check and the batch's state off, the writer gets the very keys and opens the other's cell."""
    batch, kits = put(master, identifiers(5))
    table = master.schema().table("persons")
    ad = cell_ad(master.room_id, table.id, table.compartments["contact"], table.version)
    sealed = seal_cell(kits.keys["contact"][2].tobytes(), 2, b"13800138000", ad)
    monkeypatch.setattr(sealing.Sealing, "_batch", foreign_batch)
    monkeypatch.setattr(sealing, "_must_be", lambda batch, state: None)
    stolen = master.seal_subjects(lease_of(master, "tom"), batch, identifiers(5))
    assert open_cell(stolen.keys["contact"][2].tobytes(), 2, sealed, ad) == b"13800138000"


def test_attack_one_batch_is_sealed_twice(master):
    """A writer seals other rows under the same batch, which would repeat nonces: a batch is sealed once."""
    lease = lease_of(master, "kit")
    batch = master.mint_batch(lease)
    master.seal_subjects(lease, batch, identifiers(5))
    with pytest.raises(ConflictError, match="sealed"):
        master.seal_subjects(lease, batch, identifiers(5))
    assert master.mint_batch(lease) != batch


def test_control_without_the_check_two_sealings_share_keys_and_nonces(master, monkeypatch):
    """Control: with the check off both sealings get the same keys, and equal nonces give away the difference of texts."""
    monkeypatch.setattr(sealing, "_must_be", lambda batch, state: None)
    lease = lease_of(master, "kit")
    batch = master.mint_batch(lease)
    first = master.seal_subjects(lease, batch, identifiers(5)).keys["contact"][0].tobytes()
    second = master.seal_subjects(lease, batch, identifiers(5)).keys["contact"][0].tobytes()
    one, other = seal_cell(first, 0, b"13800138000", bytes(53)), seal_cell(second, 0, b"13900139000", bytes(53))
    assert _xor(one[:11], other[:11]) == _xor(b"13800138000", b"13900139000")


def test_attack_two_attempts_share_a_file_key(master):
    """A second attempt asks a key for the object id of the first, or the first's key itself: both are refused."""
    first, second = lease_of(master, "kit"), lease_of(master, "tom")
    object_id = os.urandom(16)
    minted = master.mint_file_key(first, 1, object_id, "persons")
    for lease in (first, second):
        with pytest.raises(ConflictError, match="file key"):
            master.mint_file_key(lease, 1, object_id, "persons")
    with pytest.raises(DeniedError):
        master.file_keys(second, [minted.key_id])
    assert master.file_keys(first, [minted.key_id])[minted.key_id] == minted.key


def test_control_a_shared_file_key_repeats_its_nonces():
    """Control: two attempts that do share key and object id give away the difference of their texts."""
    key, room, object_id = block_key(os.urandom(32), 1, 0), os.urandom(16), os.urandom(16)
    one, other = (seal_block(key, room, object_id, 1, 0, text) for text in (b"first text", b"other text"))
    assert _xor(one[:10], other[:10]) == _xor(b"first text", b"other text")


def test_attack_an_expired_lease_seals_on(master, clock):
    """A writer goes on under a lease that has run out: nothing is minted, sealed, renewed or committed under it."""
    lease = lease_of(master, "kit")
    batch = master.mint_batch(lease)
    clock.now += 16 * 60
    for attempt in (
        lambda: master.mint_batch(lease),
        lambda: master.mint_file_key(lease, 1, os.urandom(16), "persons"),
        lambda: master.seal_subjects(lease, batch, identifiers(5)),
        lambda: master.renew(lease),
        lambda: finish(master, lease),
    ):
        with pytest.raises(ConflictError):
            attempt()


def test_control_without_the_check_an_expired_lease_seals(master, clock, monkeypatch):
    """Control: with the lease's check off, and nobody ending what has run out, the same calls go through."""
    lease = lease_of(master, "kit")
    batch = master.mint_batch(lease)
    clock.now += 16 * 60
    monkeypatch.setattr(Leases, "check", lambda *args, **kwargs: None)
    monkeypatch.setattr(Core, "lapse", lambda _self: None)
    assert len(master.seal_subjects(lease, batch, identifiers(5)).tokens) == 5


def _kept_and_later(master):
    """Keys that a reading released of the first put, and the cell of the same person in a later put."""
    batch, sealed = put(master, identifiers(5))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    kept = master.release(reading, ask(sealed.tokens[:1], batch)).keys["contact"][0].tobytes()
    _later, again = put(master, identifiers(5))
    table = master.schema().table("persons")
    ad = cell_ad(master.room_id, table.id, table.compartments["contact"], table.version)
    return kept, seal_cell(again.keys["contact"][0].tobytes(), 0, b"13800138000", ad), ad


def test_attack_keys_kept_from_a_reading_are_tried_on_a_later_put(master):
    """A reader keeps a person's batch key and tries it on what is put later: another batch has another key."""
    kept, cell, ad = _kept_and_later(master)
    with pytest.raises(IntegrityError):
        open_cell(kept, 0, cell, ad)


def test_control_without_the_batch_in_the_key_a_kept_key_opens_everything_later(master, monkeypatch):
    """Control: when the batch is left out of the key, the kept key opens the later put."""
    def without(secrets, compartment):
        return batch_keys(secrets, compartment, bytes(16))

    monkeypatch.setattr(sealing, "batch_keys", lambda secrets, compartment, _batch: without(secrets, compartment))
    monkeypatch.setattr(releasing, "_batch_keys", lambda secrets, own, _batches: [without(secrets, c) for c in own])
    kept, cell, ad = _kept_and_later(master)
    assert open_cell(kept, 0, cell, ad) == b"13800138000"


def _xor(a, b):
    return (np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).tobytes()
