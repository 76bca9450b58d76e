"""Several processes and threads at one keymaster, and processes that die."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from keymaster_fixtures import POLICY, ask, identifiers, make, put, reopen

from strongroom.errors import BudgetError, DeniedError

CONTEXT = multiprocessing.get_context("forkserver")  # each opens the keymaster itself, and none of them loads it anew
CONTEXT.set_forkserver_preload(["pytest", "strongroom"])


def _reader(folder, path, tokens, batch, turn, out):
    sys.path.insert(0, path)
    granted = []
    with reopen(folder) as master:
        reading = master.begin_reading(actor="ada", purpose="support", reason="race").reading_id
        for i in range(len(tokens)):
            at = (i * 7 + turn * 5) % len(tokens)
            try:
                master.release(reading, ask(tokens[at : at + 1], batch))
                granted.append(at)
            except BudgetError:
                pass
    out.put(granted)


def _putter(folder, path, out):
    sys.path.insert(0, path)
    with reopen(folder) as master:
        _, sealing = put(master, identifiers(5000))
        out.put((sealing.new, sealing.keys["contact"].shape, sealing.tokens.tobytes()))
        out.put(master._core.keys.lookup(sealing.tokens).secrets.tobytes())


def _dier(folder, path):
    sys.path.insert(0, path)
    master = reopen(folder)
    master._publishing._stop.set()
    for _ in range(20):
        reading = master.begin_reading(actor="bob", purpose="support", reason="t").reading_id
        master.subject_tokens(reading, "persons", ["p-1"])
    os.kill(os.getpid(), signal.SIGKILL)


AGREED = POLICY.replace("[actors.bob]\nroles = [", '[roles.chief]\n[actors.bob]\nroles = ["chief", ') + """
[purposes.careful]
legal_basis = "statute"
roles = ["reader"]
verbs = ["get"]
tables.persons = { name = "plain" }
budget = { day = 100 }
approval = { roles = ["chief"], always = true }
"""


def _agreed_to(folder, path, tokens, batch, said):
    """Asks, is agreed to, and reads a few persons, one after the other, until it is killed; says what was answered."""
    sys.path.insert(0, path)
    master = reopen(folder)
    asked = master.approvals.ask_read("ada", "careful", 30, "case 1")
    master.approvals.decide("bob", asked.id, agree=True)
    said.send(asked.id)
    reading = master.begin_reading(actor="ada", purpose="careful", reason="r", approval=asked.id).reading_id
    for at in range(28):  # fewer than were agreed to: a busy machine may kill late
        master.release(reading, ask(tokens[at : at + 1], batch, fields=("name",)))
        said.send(at + 1)
    time.sleep(60)


@pytest.fixture
def folder(tmp_path):
    with make(tmp_path / "keys") as master:
        put(master, identifiers(1))
    return tmp_path / "keys"


def test_eight_processes_cannot_spend_more_than_the_budget(folder):
    """Eight processes race for 40 persons on a budget of 20: exactly 20 distinct persons are released."""
    with reopen(folder) as master:
        batch, sealing = put(master, identifiers(40))
    out = CONTEXT.Queue()
    path = str(Path(__file__).parent)
    workers = [CONTEXT.Process(target=_reader, args=(folder, path, sealing.tokens, batch, n, out)) for n in range(8)]
    for worker in workers:
        worker.start()
    granted = [out.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(set().union(*granted)) == 20
    with reopen(folder) as master:
        master.verify_log()


def test_two_processes_agree_on_new_persons(folder):
    """Two processes put the same new persons at once: each person gets one secret, new is counted once."""
    path = str(Path(__file__).parent)
    outs = [CONTEXT.Queue(), CONTEXT.Queue()]
    workers = [CONTEXT.Process(target=_putter, args=(folder, path, out)) for out in outs]
    for worker in workers:
        worker.start()
    first = [out.get(timeout=300) for out in outs]
    secrets = [out.get(timeout=300) for out in outs]
    for worker in workers:
        worker.join(60)
    assert sum(new for new, _, _ in first) == 4999
    assert secrets[0] == secrets[1]


def test_a_killed_process_loses_no_leaf(folder):
    """Killed between commits and publishing, the keymaster opens, publishes what was committed, and verifies."""
    worker = CONTEXT.Process(target=_dier, args=(folder, str(Path(__file__).parent)))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    with reopen(folder) as master:
        entries = master.log_entries(actor="kit")
        assert sum(entry["act"] == "open" for entry in entries) == 20
        master.publish()
        assert master.verify_log()["size"] >= len(entries)


def test_threads_share_commits_and_never_overspend(folder):
    """Sixteen threads at once: the budget holds, leaves have no gaps."""
    with reopen(folder) as master:
        batch, sealing = put(master, identifiers(64))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        released, refused = [], []

        def work(n):
            for i in range(n, 64, 16):
                try:
                    master.release(reading, ask(np.ascontiguousarray(sealing.tokens[i : i + 1]), batch))
                    released.append(i)
                except BudgetError:
                    refused.append(i)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(released), len(refused)) == (20, 44)


def test_another_process_takes_over_from_a_killed_one(tmp_path, either_database):
    """Kill -9 while it answers: agreement, spends and entries of all that it answered are there, and go on being counted."""
    with make(tmp_path / "keys", policy=AGREED, **either_database) as master:
        batch, sealing = put(master, identifiers(100))
    told, said = CONTEXT.Pipe(duplex=False)
    words = (tmp_path / "keys", str(Path(__file__).parent), sealing.tokens, batch, said)
    with reopen(tmp_path / "keys") as standby:
        worker = CONTEXT.Process(target=_agreed_to, args=words)
        worker.start()
        said.close()
        approval, answered = told.recv(), 0
        while answered < 7:
            answered = told.recv()
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(60)
        try:
            while True:
                answered = told.recv()
        except EOFError:
            pass
        assert worker.exitcode == -signal.SIGKILL
        entries = [e for e in standby.log_entries("kit") if e["act"] == "get" and e["decision"] == "allowed"]
        assert answered <= len(entries) <= answered + 1 < 30  # of the last one nobody may have heard
        assert [(e["act"], e["actor"]) for e in standby.log_entries("kit") if e["act"] == "approve"] == [("approve", "bob")]
        reading = standby.begin_reading(actor="ada", purpose="careful", reason="r", approval=approval).reading_id
        left = np.ascontiguousarray(sealing.tokens[: 30 + 1])
        with pytest.raises(DeniedError):
            standby.release(reading, ask(left, batch, fields=("name",)))
        released = standby.release(reading, ask(left[:30], batch, fields=("name",)))
        assert (released.persons, released.remaining[f"persons/approval/{approval}/month"]) == (30, 0)
        assert released.remaining["persons/actor/ada/purpose/careful/day"] == 70
        standby.publish()
        assert standby.verify_log()["size"] >= len(entries)
