"""Readings that are open while something else changes: a policy, an end, an hour, a caller who says much."""

import os
import threading

import pytest
from keymaster_fixtures import POLICY, ask, finish, identifiers, put

from strongroom.errors import DeniedError, NotFoundError
from strongroom.keymaster.holder import Holder
from strongroom.keymaster.readings import PRUNE_SECONDS
from strongroom.purpose.policy import Policy


def changed(master, policy):
    assert policy != POLICY
    master.set_policy(actor="kit", text=policy)


BULK = 'tables.persons = { identity = "plain", contact = "plain" }'


def test_a_file_key_is_kept_unwrapped_for_an_hour(master, clock):
    """A key that was destroyed, and that nobody asks for again, does not stay with a process that runs for months."""
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    key = master.mint_file_key(lease, 1, os.urandom(16), "persons")
    finish(master, lease)
    reading = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    assert master.block_keys(reading, key.key_id, 1, [0], "persons")
    assert list(master._readings.file_keys._known) == [key.key_id]
    clock.now += PRUNE_SECONDS + 1
    master.begin_reading(actor="ada", purpose="bulk", reason="t")
    assert not master._readings.file_keys._known


def test_a_field_that_is_asked_for_many_times_is_kept_once(master):
    """What is kept of a release is as large as its table, however much its caller says."""
    batch, sealing = put(master, identifiers(1))
    reading = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    for many in (1, 2, 500):
        master.release(reading, ask(sealing.tokens, batch, fields=("mobile",) * many))
    assert [key[-1] for key in master._releasing._shows] == [{"mobile"}]


def test_a_reading_that_is_open_has_what_the_policy_shows_now(master):
    """A class that is withheld since is not released, by name or without; what a policy adds takes another reading."""
    batch, sealing = put(master, identifiers(1))
    reading = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    assert master.release(reading, ask(sealing.tokens, batch)).keys.keys() == {"identity", "contact"}
    changed(master, POLICY.replace(BULK, BULK.replace(', contact = "plain"', "")))
    assert master.release(reading, ask(sealing.tokens, batch)).keys.keys() == {"identity"}
    with pytest.raises(DeniedError):
        master.release(reading, ask(sealing.tokens, batch, fields=("mobile",)))
    later = master.begin_reading(actor="ada", purpose="bulk", reason="t").reading_id
    master.set_policy(actor="kit", text=POLICY)
    assert master.release(later, ask(sealing.tokens, batch)).keys.keys() == {"identity"}
    assert master.release(reading, ask(sealing.tokens, batch)).keys.keys() == {"identity", "contact"}


def test_a_field_that_is_masked_since_is_not_released_to_a_caller_without_a_server(master):
    """The reading was opened when the purpose showed it plain; where a server masks, its class still goes out."""
    batch, sealing = put(master, identifiers(1))
    direct, server = (
        master._core.finish(master._readings.beginning("ada", "bulk", "t", holder=Holder("c", alone))).reading_id
        for alone in (True, False)
    )
    assert master.release(direct, ask(sealing.tokens, batch)).persons == 1
    changed(master, POLICY.replace(BULK, BULK.replace('contact = "plain"', 'contact = "masked"')))
    with pytest.raises(DeniedError, match="hides or masks"):
        master.release(direct, ask(sealing.tokens, batch))
    assert master.release(server, ask(sealing.tokens, batch)).keys.keys() == {"identity", "contact"}


def test_a_table_that_the_policy_added_since_is_refused_and_nobody_else_is(master):
    """Not an error in the middle of a transaction, which others share; and it is noted."""
    batch, sealing = put(master, identifiers(1), table="parcels")
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    own = 'tables.persons = { name = "plain", mobile = "plain" }'
    changed(master, POLICY.replace(own, f'{own}\ntables.parcels = {{ contact = "plain" }}'))
    with pytest.raises(DeniedError, match="when the reading was opened"):
        master.release(reading, ask(sealing.tokens, batch, table="parcels"))
    assert master.log_entries(actor="kit")[-1]["decision"] == "refused"
    later = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    assert master.release(later, ask(sealing.tokens, batch, table="parcels")).persons == 1


def test_a_reading_that_was_ended_meanwhile_reserves_nothing(master, monkeypatch):
    """A look-up that was decided while another call ended its reading is refused: nobody would give back the rest."""
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    master.subject_tokens(reading, "persons", ["p-1"])
    real = master._readings.decide

    def ending(*args):
        master.end_reading(reading)
        return real(*args)

    monkeypatch.setattr(master._readings, "decide", ending)
    with pytest.raises(NotFoundError, match="closed"):
        master.subject_tokens(reading, "persons", ["p-1", "p-2", "p-3"])
    assert [e["extras"]["reserved"] for e in master.log_entries(actor="kit") if e["act"] == "lookup"] == [1]


def test_a_policy_that_was_read_before_a_change_does_not_come_after_it(master, monkeypatch):
    """A thread that is held up while it reads the policy puts nothing old in the place of a newer one."""
    standing, real = master._core.standing, Policy.from_json
    began, go_on = threading.Event(), threading.Event()

    def held_up(stored):
        found = real(stored)
        if threading.current_thread() is late:
            began.set()
            go_on.wait(0.5)
        return found

    monkeypatch.setattr(Policy, "from_json", held_up)
    late = threading.Thread(target=standing.refresh)
    standing.number = -1
    late.start()
    assert began.wait(20)
    changed(master, POLICY.replace(BULK, BULK.replace(', contact = "plain"', "")))
    standing.refresh()
    go_on.set()
    late.join()
    assert standing.policy.purposes["bulk"].tables["persons"].shows.keys() == {"identity"}


def test_whoever_writes_and_whoever_reads_for_the_first_time_do_not_wait_for_each_other(master):
    """A thread without rows of its own asks for them before it holds up who has a transaction open."""
    core, done = master._core, []

    def writing():
        with core.state.write() as rows:
            core.standing.number = -1
            reading.start()
            reading.join(0.3)  # it waits for the transaction
            done.append(core.standing.refresh(rows))

    reading = threading.Thread(target=lambda: done.append(core.standing.refresh()), daemon=True)
    writer = threading.Thread(target=writing, daemon=True)
    writer.start()
    writer.join(20)
    reading.join(20)
    assert len(done) == 2
