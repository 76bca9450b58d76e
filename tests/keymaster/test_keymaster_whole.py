"""The embedded keymaster from end to end, with real ciphers, stores and database."""

import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from keymaster_fixtures import PASSPHRASE, Clock, ask, finish, identifiers, new_head, put, reopen

from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    IntegrityError,
    KeysError,
    NotFoundError,
    StrongroomError,
)
from strongroom.keymaster.create import open_keymaster
from strongroom.seal.blocks import block_key
from strongroom.seal.cells import cell_ad, open_cell, seal_cell


def test_what_a_put_seals_a_reading_opens(master):
    """The batch keys that a release gives open the cells that the put sealed, after a reopening too."""
    batch, sealing = put(master, identifiers(300))
    assert sealing.new == 300
    table = master.schema().tables["persons"]
    ad = cell_ad(master.room_id, table.id, table.compartments["contact"], table.version)
    sealed = seal_cell(sealing.keys["contact"][7].tobytes(), 7, b"13800138000", ad)
    master.close()
    with reopen(master.folder, Clock()) as again:
        reading = again.begin_reading(actor="ada", purpose="support", reason="ticket 1").reading_id
        token = again.subject_tokens(reading, "persons", ["p-7"])
        assert token[0].tobytes() == sealing.tokens[7].tobytes()
        released = again.release(reading, ask(token, batch))
        assert set(released.keys) == {"identity", "contact"}
        assert open_cell(released.keys["contact"][0].tobytes(), 7, sealed, ad) == b"13800138000"
        assert (released.persons, released.missing) == (1, ())
        assert released.remaining["persons/actor/ada/purpose/support/hour"] == 19
        again.publish()
        acts = [entry["act"] for entry in again.log_entries(actor="kit")]
        assert acts == ["create", "put", "commit", "open", "lookup", "get"]
        again.verify_log()


def test_index_hits_open_only_for_values_this_reading_asked_for(master):
    """Hits under a value token open in the reading that was given the token, and in no other."""
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    batch = master.mint_batch(lease)
    sealing = master.seal_subjects(lease, batch, identifiers(50))
    ordinals = np.arange(50, dtype=np.uint32)
    mobiles = pa.array([f"1380013{i:04}" for i in range(50)])
    tokens, entries = master.seal_index(lease, batch, "mobile", mobiles, sealing.tokens, ordinals)
    with pytest.raises(ConflictError):
        master.seal_index(lease, batch, "mobile", mobiles, sealing.tokens, ordinals)
    finish(master, lease)
    mine = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    other = master.begin_reading(actor="bob", purpose="support", reason="t").reading_id
    token = master.value_tokens(mine, "persons", "mobile", ["13800130009"])
    assert token[0].tobytes() == tokens[9].tobytes()
    hits = master.open_hits(mine, "persons", "mobile", token, entries[9:10])
    assert hits.subject_tokens[0].tobytes() == sealing.tokens[9].tobytes()
    assert (int(hits.sequences[0]), int(hits.ordinals[0])) == (int.from_bytes(batch[:8], "little"), 9)
    with pytest.raises(DeniedError):
        master.open_hits(other, "persons", "mobile", token, entries[9:10])


def test_the_budget_counts_distinct_persons_and_slides(master, clock):
    """Twenty persons an hour, each counted once however often released; an hour later they come back."""
    batch, sealing = put(master, identifiers(60))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    for _ in range(3):
        released = master.release(reading, ask(sealing.tokens[:15], batch))
        assert released.remaining["persons/actor/ada/purpose/support/hour"] == 5
    with pytest.raises(BudgetError) as refused:
        master.release(reading, ask(sealing.tokens[15:21], batch))
    assert refused.value.remaining == 5
    master.release(reading, ask(sealing.tokens[15:20], batch))
    clock.now += 3900
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    master.release(reading, ask(sealing.tokens[20:40], batch))
    refusals = [e for e in master.log_entries(actor="kit") if e["decision"] == "refused"]
    assert [e["rule"] for e in refusals] == ["persons/actor/ada/purpose/support/hour"]


def test_a_clock_set_back_gives_no_budget_back(master, clock):
    """Time never goes below the last logged time."""
    batch, sealing = put(master, identifiers(60))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    master.release(reading, ask(sealing.tokens[:20], batch))
    clock.now -= 100_000
    with pytest.raises(BudgetError):
        master.release(reading, ask(sealing.tokens[20:21], batch))
    times = [entry["time"] for entry in master.log_entries(actor="kit")]
    assert times == sorted(times)


def test_one_request_is_charged_once(master):
    """The same request id eight times: one leaf, one charge, the same keys; another request under it is refused."""
    batch, sealing = put(master, identifiers(40))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    request = os.urandom(16)
    answers = [master.release(reading, ask(sealing.tokens[:5], batch, request_id=request)) for _ in range(8)]
    assert {a.leaf for a in answers} == {answers[0].leaf}
    assert all(np.array_equal(a.keys["contact"], answers[0].keys["contact"]) for a in answers)
    later = master.release(reading, ask(sealing.tokens[5:6], batch))
    assert later.remaining["persons/actor/ada/purpose/support/hour"] == 14
    with pytest.raises(ConflictError):
        master.release(reading, ask(sealing.tokens[6:7], batch, request_id=request))


def test_a_foreign_batch_is_refused(master):
    """Keys go out for committed batches of the table asked for: not for another table's, an unknown or an open one."""
    batch, sealing = put(master, identifiers(10))
    parcels, _ = put(master, identifiers(10), table="parcels")
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    unfinished = master.mint_batch(lease)
    master.seal_subjects(lease, unfinished, identifiers(10))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    for foreign in (parcels, unfinished, os.urandom(16)):
        with pytest.raises(DeniedError) as refused:
            master.release(reading, ask(sealing.tokens[:1], foreign))
        assert refused.value.rule == "room.foreign-batch"
    with pytest.raises(DeniedError):
        master.release(reading, ask(sealing.tokens[:1], batch, table="parcels"))
    master.release(reading, ask(sealing.tokens[:1], batch))


def test_a_batch_is_sealed_once_and_only_under_its_own_running_lease(master, clock):
    """A second sealing, another lease, a finished and an expired lease are refused."""
    first = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    second = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    batch = master.mint_batch(first)
    with pytest.raises(ConflictError):
        master.seal_subjects(second, batch, identifiers(3))
    master.seal_subjects(first, batch, identifiers(3))
    with pytest.raises(ConflictError):
        master.seal_subjects(first, batch, identifiers(3))
    unused = master.mint_batch(first)
    finish(master, first)
    with pytest.raises(ConflictError):
        master.seal_subjects(first, unused, identifiers(3))
    late = master.mint_batch(second)
    clock.now += 16 * 60
    for act in (
        lambda: master.seal_subjects(second, late, identifiers(3)),
        lambda: master.renew(second),
        lambda: master.mint_batch(second),
        lambda: master.mint_file_key(second, 1, os.urandom(16), "persons"),
    ):
        with pytest.raises(ConflictError):
            act()


def test_two_attempts_cannot_share_a_file_key(master):
    """An object id gets one file key; an abandoned attempt's key is destroyed."""
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    other = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    object_id = os.urandom(16)
    key = master.mint_file_key(lease, 1, object_id, "persons")
    for again in (lease, other):
        with pytest.raises(ConflictError):
            master.mint_file_key(again, 1, object_id, "persons")
    master.abandon(lease)
    with pytest.raises(NotFoundError):
        master.file_keys(other, [key.key_id])


def test_the_head_moves_from_the_base_or_not_at_all(master):
    """Of two puts from one base, the second to commit is told to rebase, and may then commit."""
    one = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    two = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    base = master.head()
    master.commit(one, base, new_head(master, one, base), {"records": 0})
    with pytest.raises(ConflictError):
        master.commit(two, base, new_head(master, two, base), {"records": 0})
    assert master.head().number == 1
    master.commit(two, master.head(), new_head(master, two, master.head()), {"records": 0})
    assert master.head().number == 2


def test_block_keys_go_out_for_the_own_kind_and_table(master):
    """A file key's blocks open for its kind and table under a purpose that reads it; noted once a reading."""
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    key = master.mint_file_key(lease, 1, os.urandom(16), "persons")
    finish(master, lease)
    reading = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    assert master.block_keys(reading, key.key_id, 1, [0, 3], "persons") == [block_key(key.key, 1, n) for n in (0, 3)]
    assert master.block_keys(reading, key.key_id, 0x81, [0], "persons") == [block_key(key.key, 0x81, 0)]
    for kind, table in ((1, "parcels"), (2, "persons")):
        with pytest.raises(DeniedError):
            master.block_keys(reading, key.key_id, kind, [0], table)
    assert [e["act"] for e in master.log_entries(actor="kit")].count("keys") == 1


def test_put_budget_and_put_rights(master):
    """A put beyond the actor's budget makes no person and is noted; an actor without the right gets no lease."""
    lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
    with pytest.raises(BudgetError):
        master.seal_subjects(lease, master.mint_batch(lease), identifiers(101))
    assert master.seal_subjects(lease, master.mint_batch(lease), identifiers(100)).new == 100
    with pytest.raises(DeniedError):
        master.begin_put(actor="tom", table="parcels", request_id=os.urandom(16))
    with pytest.raises(DeniedError):
        master.begin_reading(actor="kit", purpose="support", reason="t")
    assert [e["decision"] for e in master.log_entries(actor="kit")].count("refused") == 3


def test_look_ups_are_reserved_and_come_back(master):
    """A reading reserves look-ups in growing blocks, is refused at the end, and returns what it did not use."""
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    for i in range(100):
        master.subject_tokens(reading, "persons", [f"p-{i}"])
    with pytest.raises(BudgetError):
        master.subject_tokens(reading, "persons", ["p-1"])
    assert sum(e["act"] == "lookup" for e in master.log_entries(actor="kit")) < 12
    other = master.begin_reading(actor="bob", purpose="support", reason="t").reading_id
    for _ in range(4):
        master.subject_tokens(other, "persons", ["p-1"])
    master.end_reading(other)
    third = master.begin_reading(actor="bob", purpose="support", reason="t").reading_id
    master.subject_tokens(third, "persons", [f"p-{i}" for i in range(96)])
    with pytest.raises(BudgetError):
        master.subject_tokens(third, "persons", ["p-1"])


def test_large_releases_are_counted_exactly(master):
    """Forty thousand persons in one request, then an overlapping request: only the new ones are charged."""
    batch, sealing = put(master, identifiers(60_000))
    reading = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    rule = "persons/actor/ada/purpose/bulk/hour"
    assert master.release(reading, ask(sealing.tokens[:40_000], batch)).remaining[rule] == 360_000
    released = master.release(reading, ask(sealing.tokens[20_000:], batch))
    assert (released.persons, released.remaining[rule]) == (40_000, 340_000)
    assert np.array_equal(released.keys["contact"], sealing.keys["contact"][20_000:])


def test_a_wrong_passphrase_says_nothing_more(master):
    """Every wrong passphrase gets the same error."""
    said = set()
    for wrong in ("", "x", PASSPHRASE + " "):
        with pytest.raises(KeysError) as refused:
            open_keymaster(master.folder, passphrase=wrong)
        said.add(str(refused.value))
    assert len(said) == 1


def test_files_are_private(master):
    """Files of the keymaster are 0600 and its folder 0700."""
    put(master, identifiers(10))
    assert stat.S_IMODE(Path(master.folder).stat().st_mode) == 0o700
    for path in Path(master.folder).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_log_set_back_is_refused(master, tmp_path, clock):
    """A database older than its published log, or than a checkpoint found elsewhere, does not open or pass."""
    import shutil

    master.close()
    shutil.copytree(master.folder, tmp_path / "old")
    with reopen(master.folder, clock) as again:
        put(again, identifiers(3))
        known = again.publish()
        again.check_checkpoint(known)
    with reopen(tmp_path / "old", clock) as old, pytest.raises(IntegrityError):
        old.check_checkpoint(known)
    shutil.rmtree(tmp_path / "old" / "log")
    shutil.copytree(master.folder / "log", tmp_path / "old" / "log")
    with pytest.raises(IntegrityError):
        reopen(tmp_path / "old", clock)


def test_schema_and_policy_change_under_their_rules(master):
    """A new field is a new table version, the old one stays readable; an actor without the right is refused."""
    from keymaster_fixtures import POLICY, SCHEMA

    old = master.schema().tables["persons"]
    text = SCHEMA.replace("birth_year =", 'email = { type = "string", class = "contact", find = true }\nbirth_year =')
    with pytest.raises(DeniedError):
        master.set_schema("ada", text)
    master.set_schema("kit", text)
    new = master.schema().tables["persons"]
    assert new.version == old.version + 1
    assert master.table_version(old.id, old.version) == old
    master.set_policy("kit", POLICY.replace("hour = 20, day = 50", "hour = 1, day = 50"))
    batch, sealing = put(master, identifiers(10))
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    with pytest.raises(BudgetError):
        master.release(reading, ask(sealing.tokens[:2], batch))


def test_nothing_secret_is_printed(master):
    """No repr of what the keymaster hands out shows a key, and errors are of this library."""
    batch, sealing = put(master, identifiers(4))
    reading = master.begin_reading(actor="ada", purpose="support", reason="sesame").reading_id
    released = master.release(reading, ask(sealing.tokens[:1], batch))
    texts = [repr(x) for x in (master, sealing, released, master._core, master._core.ring, master._core.keys)]
    assert not any("sesame" in t or "array" in t or "key=b" in t for t in texts)
    with pytest.raises(StrongroomError):
        master.begin_reading(actor="nobody", purpose="support", reason="t")
    assert "sesame" not in str(master.log_entries(actor="kit"))
