"""The keymaster's side of erasing: what is dead, who is told, what a put under way may do, what the log says."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest
from keymaster_fixtures import Clock, ask, finish, identifiers, make, put, reopen

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.erasures.api import ERASED, HELD, PRESENT, UNKNOWN, Buried
from strongroom.keymaster.erasures.tombstones import buried_at, bury
from strongroom.keys.rows import counter


@pytest.fixture
def master(tmp_path):
    with make(tmp_path / "keys") as made:
        yield made


def leased(master):
    return master.begin_maintenance(actor="kit", verb="erase")


def erase(master, *names):
    lease = leased(master)
    plan = master.erasures.plan(lease, pa.array(names))
    return master.erasures.erase(lease, plan.tokens, "request 12")


def release(master, tokens, batch):
    grant = master.begin_reading(actor="ada", purpose="bulk", reason="r")
    return master.release(grant.reading_id, ask(tokens, batch))


@pytest.mark.parametrize("count", [3, 200])
def test_keys_of_the_dead_are_not_released_and_not_charged(master, count):
    """In a small and in a large ask: the erased are missing, the others get the keys they had."""
    batch, sealing = put(master, identifiers(count))
    before = release(master, sealing.tokens, batch)
    erase(master, "p-1")
    after = release(master, sealing.tokens, batch)
    assert after.missing == (1,)
    assert (before.persons, after.persons) == (count, count - 1)
    for klass, keys in after.keys.items():
        assert not keys[1].any()
        keep = np.arange(count) != 1
        assert np.array_equal(keys[keep], before.keys[klass][keep])


@pytest.mark.parametrize("count", [3, 200])
def test_who_comes_back_has_keys_for_new_rows_only(master, count):
    """A new secret; rows of the old batch stay dead beside living ones, and each person is charged once."""
    old, sealing = put(master, identifiers(count))
    erase(master, "p-1")
    new, again = put(master, identifiers(count))
    assert again.new == 1
    assert release(master, sealing.tokens, old).missing == (1,)
    assert release(master, sealing.tokens, new).missing == ()
    assert erase(master, "p-1")[0].counts == {"persons": 1}
    assert release(master, sealing.tokens, new).missing == (1,)


def test_one_transaction_holds_all_of_an_erasure(master, monkeypatch):
    """A failure at the last step leaves no tombstone, no entry and the secret; the next attempt works."""
    from strongroom.keymaster.erasures import erasing

    put(master, identifiers(5))
    rows = master._core.state.read()
    leaves = rows.execute("select count(*) from leaf").fetchone()[0]
    lease = leased(master)
    tokens = master.erasures.plan(lease, identifiers(1)).tokens

    def fails(*_a):
        raise ConflictError("no")

    with monkeypatch.context() as patch:
        patch.setattr(erasing.Erasing, "_epoch_of", fails)
        with pytest.raises(ConflictError):
            master.erasures.erase(lease, tokens, "r")
    assert rows.execute("select count(*) from tombstone").fetchone()[0] == 0
    assert rows.execute("select count(*) from leaf").fetchone()[0] == leaves + 1
    assert master._core.keys.lookup(tokens).found.all()
    assert len(master.erasures.erase(lease, tokens, "r")) == 1


def test_states_and_refusals(master):
    """Unknown, present, held and erased are told apart; held and unknown stop the whole call; a lease is needed."""
    put(master, identifiers(4))
    erase(master, "p-3")
    master.erasures.hold("kit", [["p-2"]], "suit")
    lease = leased(master)
    plan = master.erasures.plan(lease, pa.array(["p-0", "p-9", "p-2", "p-3"]))
    assert plan.states.tolist() == [PRESENT, UNKNOWN, HELD, ERASED]
    with pytest.raises(NotFoundError):
        master.erasures.erase(lease, plan.tokens, "r")
    with pytest.raises(DeniedError, match="legal hold"):
        master.erasures.erase(lease, plan.tokens[[0, 2]], "r")
    with pytest.raises(ConflictError, match="already"):
        master.erasures.erase(lease, plan.tokens[[3]], "r")
    with pytest.raises(UsageError, match="reason"):
        master.erasures.erase(lease, plan.tokens[[0]], " ")
    with pytest.raises(UsageError):
        master.erasures.erase(lease, plan.tokens[:0], "r")
    assert release(master, *[put(master, identifiers(1))[1].tokens, put(master, identifiers(1))[0]]).missing == ()
    with pytest.raises(UsageError):
        master.erasures.plan(master.begin_maintenance(actor="kit", verb="check"), identifiers(1))
    master.abandon(lease)
    with pytest.raises(ConflictError, match="lease"):
        master.erasures.erase(lease, plan.tokens[[0]], "r")
    with pytest.raises(DeniedError):
        master.begin_maintenance(actor="tom", verb="erase")


def test_a_hold_set_after_the_plan_still_stops_the_erasure(master):
    """The check for a hold is in the transaction, not in the plan."""
    put(master, identifiers(2))
    lease = leased(master)
    tokens = master.erasures.plan(lease, identifiers(1)).tokens
    states = master.erasures._erasing.states

    def late(some):
        found = states(some)
        master.erasures._erasing.states = states
        master.erasures.hold("kit", [["p-0"]], "suit")
        return found

    master.erasures._erasing.states = late
    with pytest.raises(DeniedError, match="legal hold"):
        master.erasures.erase(lease, tokens, "r")
    assert master._core.keys.lookup(tokens).found.all()


def test_an_erasure_holds_for_other_processes_and_after_reopening(master, tmp_path):
    """Another keymaster on the same folder, opened before, releases nothing of the erased."""
    batch, sealing = put(master, identifiers(3))
    with reopen(tmp_path / "keys") as other:
        assert release(other, sealing.tokens, batch).missing == ()
        erase(master, "p-0")
        assert release(other, sealing.tokens, batch).missing == (0,)
    with reopen(tmp_path / "keys") as again:
        assert release(again, sealing.tokens, batch).missing == (0,)


@pytest.mark.parametrize("erases", [True, False])
def test_what_another_process_did_a_moment_ago_holds(tmp_path, monkeypatch, erases):
    """Where this one has not looked since: who was erased there is missing here, and who came there is found."""
    with make(tmp_path / "keys") as master, reopen(tmp_path / "keys") as other:
        batch, sealing = put(master, identifiers(3))
        warm, reading = (other.begin_reading(actor="ada", purpose="bulk", reason="r").reading_id for _ in range(2))
        assert other.release(warm, ask(sealing.tokens, batch)).missing == ()
        monkeypatch.setattr("strongroom.keymaster.database.state.RECENT_SECONDS", 3600.0)
        before = other._core.state.recent_counter("pages")
        if erases:
            erase(master, "p-0")
            missing = (0,)
        else:
            batch, sealing = put(master, identifiers(1, start=7))
            missing = ()
        assert other._core.state.recent_counter("pages") == before < counter(other._core.state.read(), "pages")  # control
        assert other.release(reading, ask(sealing.tokens, batch)).missing == missing


def test_somebody_erased_while_a_release_is_decided_is_missing(master, monkeypatch):
    """The release looks again and answers without the person, instead of failing the whole request."""
    from strongroom.keymaster.behind import Behind

    batch, sealing = put(master, identifiers(3))
    real = Behind.persons

    def racing(self, *args, **how):
        found = real(self, *args, **how)
        monkeypatch.setattr(Behind, "persons", real)
        erase(master, "p-2")
        return found

    monkeypatch.setattr(Behind, "persons", racing)
    assert release(master, sealing.tokens, batch).missing == (2,)


def test_a_batch_sealed_after_the_erasure_gives_the_person_no_secret(master):
    """Minted before or after the erasure, by a put begun before it: keys that open nothing, no new subject, dead rows."""
    put(master, identifiers(3))
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    first = master.mint_batch(lease)
    erase(master, "p-1")
    second = master.mint_batch(lease)
    for batch in (first, second):
        sealing = master.seal_subjects(lease, batch, identifiers(3))
        assert sealing.new == 0
        assert all(keys[1].any() for keys in sealing.keys.values())
    finish(master, lease)
    token = np.ascontiguousarray(sealing.tokens[1:2])
    assert not master._core.keys.lookup(token).found.any()
    for batch in (first, second):
        assert release(master, sealing.tokens, batch).missing == (1,)
    third, again = put(master, identifiers(3))
    assert again.new == 1
    assert release(master, again.tokens, third).missing == ()
    for batch in (first, second):
        assert release(master, again.tokens, batch).missing == (1,)


def test_tombstones_in_bulk_are_those_one_by_one(master):
    """Many tokens at once, few at once and a range give the same answer, over the size that is given at a time."""
    core = master._core
    some = np.random.default_rng(1).integers(0, 256, (9000, 16), np.uint8)
    core.run(lambda rows: bury(rows, (t.tobytes() for t in some[:5000]), 7, 1, 1.0))
    core.run(lambda rows: bury(rows, (t.tobytes() for t in some[:10]), 9, 2, 2.0))
    core.run(lambda rows: bury(rows, (t.tobytes() for t in some[:10]), 3, 1, 1.0))
    rows = core.state.read()
    wanted = np.where(np.arange(9000) < 10, 9, np.where(np.arange(9000) < 5000, 7, 0)).astype(np.uint64)
    assert np.array_equal(buried_at(rows, some), wanted)
    assert np.array_equal(buried_at(rows, some[:40]), wanted[:40])
    grant = master.begin_reading(actor="ada", purpose="bulk", reason="r")
    every = master.erasures.buried(grant.reading_id, "persons", bytes(16), b"\xff" * 16)
    assert np.array_equal(every.of(some), wanted)
    assert len(master.erasures.buried(grant.reading_id, "persons", bytes(16), bytes(16)).tokens) == 0
    assert not Buried(0, some[:0], np.empty(0, np.uint64))
    with pytest.raises(NotFoundError):
        master.erasures.buried(os.urandom(16), "persons", bytes(16), bytes(16))


def test_without_erasures_nobody_looks_at_the_table(master):
    """A counter says so: the statements of a release do not name tombstones."""
    batch, sealing = put(master, identifiers(3))
    seen = []
    master._core.state.read().set_trace_callback(seen.append)
    master._core.state._writer.set_trace_callback(seen.append)
    release(master, sealing.tokens, batch)
    master._core.state.read().set_trace_callback(None)
    master._core.state._writer.set_trace_callback(None)
    assert seen
    assert not any("tombstone" in text for text in seen)


def test_a_receipt_becomes_final_with_the_turn_and_never_with_a_passphrase(tmp_path):
    """After a turn the receipt of an erasure before it names what it still waits for: a passphrase slot, for ever."""
    from keymaster_fixtures import PASSPHRASE

    from strongroom.keys.slot_passphrase import PassphraseKeeper

    clock = Clock()
    policy_actor = "kit"
    with make(tmp_path / "keys", clock) as master:
        put(master, identifiers(3))
        (receipt,) = erase(master, "p-1")
        (before,) = master.erasures.proofs(policy_actor, [receipt.leaf])
        assert before.turned is None
        assert before.waits
        clock.now += 60
        master.turning.turn(policy_actor, {"passphrase-1": PassphraseKeeper(PASSPHRASE)})
        (after,) = master.erasures.proofs(policy_actor, [receipt.leaf])
        assert after.turned is not None
        assert any("never forgets" in line for line in after.waits)
        core = master._core
        core.run(lambda rows: rows.execute("UPDATE slot SET forgets = 1"))
        (final,) = master.erasures.proofs(policy_actor, [receipt.leaf])
        assert final.waits == ()
        from strongroom.erase.receipt import make_receipt, verify_receipt

        text = json.dumps(make_receipt(f"strongroom/{master.room_id.hex()}", [final]))
        assert verify_receipt(text, master._publishing.keys).state == "final"
        with pytest.raises(DeniedError):
            master.erasures.proofs("tom", [receipt.leaf])


def begun(master):
    """A put under way: its lease, and a batch."""
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    return lease, master.mint_batch(lease)


@pytest.mark.parametrize("who", ["p-1", "p-2"])
def test_who_came_back_is_not_sealed_dead_behind_a_put_from_before(master, who):
    """A put from before the erasure seals them, dead; one from after it had its batch by then: told, and put again."""
    put(master, pa.array(["p-1"]))
    old = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    erase(master, "p-1")
    young, batch = begun(master)
    master.seal_subjects(old, master.mint_batch(old), pa.array(["p-1"]))
    if who == "p-1":
        with pytest.raises(ConflictError, match="erased before it began"):
            master.seal_subjects(young, batch, pa.array(["p-3", who]))
        master.abandon(young)
        young, batch = begun(master)
    tokens = master.seal_subjects(young, batch, pa.array(["p-3", who])).tokens
    finish(master, young)
    assert release(master, tokens, batch).missing == ()
