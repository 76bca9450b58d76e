"""A keymaster whose database is PostgreSQL: the same answers, several processes at once, a server that goes away."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from keymaster_fixtures import FAST, PASSPHRASE, POLICY, SCHEMA, ask, identifiers, put, reopen

from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.keymaster.create import create_keymaster
from strongroom.keymaster.database.postgres import PostgresState, parse_url, tables_for_postgres, to_postgres
from strongroom.keymaster.keyrestore import restore_keymaster

CONTEXT = multiprocessing.get_context("forkserver")  # each opens the keymaster itself, and none of them loads it anew
CONTEXT.set_forkserver_preload(["pytest", "strongroom"])
PEOPLE = 200
DAY = 50


@pytest.fixture
def folder(postgres_server, tmp_path):
    """A keymaster's folder that names its database, with some persons put."""
    made = create_keymaster(
        tmp_path / "keys", passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, argon2=FAST,
        database=postgres_server.url(),
    )  # fmt: skip
    with made:
        batch, sealing = put(made, identifiers(PEOPLE))
        np.save(tmp_path / "tokens.npy", sealing.tokens)
        (tmp_path / "batch").write_bytes(batch)
    return tmp_path / "keys"


@pytest.fixture
def master(folder):
    with reopen(folder) as made:
        yield made


def people(folder):
    return np.load(folder.parent / "tokens.npy"), (folder.parent / "batch").read_bytes()


def released(master, folder, first, last, purpose="bulk"):
    tokens, batch = people(folder)
    grant = master.begin_reading(actor="ada", purpose=purpose, reason="r")
    return master.release(
        grant.reading_id, ask(np.ascontiguousarray(tokens[first:last]), batch, fields=("name",))
    )


def test_the_folder_holds_no_database_and_no_password(folder, master):
    """Slots, and the URL; the log verifies, another keymaster in the same schema is refused."""
    assert not (folder / "keymaster.db").exists()
    url = (folder / "database.url").read_text().strip()
    assert released(master, folder, 0, 5).persons == 5
    assert master.verify_log()["entries"] > 3
    with pytest.raises(ConflictError, match="is not empty"):
        create_keymaster(
            folder.parent / "other", passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, argon2=FAST, database=url
        )
    with pytest.raises(NotFoundError, match="holds no keymaster"):
        PostgresState.open(url + "_none")


def _races(folder, path, first, start, out):
    """One process of the race: opens the keymaster, and asks for every eighth person when all are there."""
    sys.path.insert(0, path)
    tokens, batch = people(folder)
    got = 0
    with reopen(folder) as master:
        grant = master.begin_reading(actor="ada", purpose="support", reason="r")
        start.wait(300)
        for n in range(first, PEOPLE, 8):
            try:
                one = ask(np.ascontiguousarray(tokens[n : n + 1]), batch, fields=("name",))
                got += master.release(grant.reading_id, one).persons
            except BudgetError:
                pass
    out.put(got)


def test_eight_processes_on_one_database_never_exceed_a_budget(folder):
    """Each asks for other persons as fast as it can: together exactly as many as an hour allows are released."""
    hour = 20
    start, out = CONTEXT.Barrier(8), CONTEXT.Queue()
    racers = [CONTEXT.Process(target=_races, args=(folder, str(Path(__file__).parent), n, start, out)) for n in range(8)]
    for one in racers:
        one.start()
    got = [out.get(timeout=300) for _ in racers]
    for one in racers:
        one.join(60)
    assert sum(got) == hour
    with reopen(folder) as master:
        said = [e for e in master.log_entries("kit") if e["act"] == "get" and e["decision"] == "allowed"]
        assert sum(e["count"] for e in said) == hour
        assert master.verify_log()["entries"] > len(said)


def overtaken(folder, monkeypatch, note=None, seconds=20):
    """Two keymasters that each plan before the other commits, where nothing stops that within a time; what each was released."""
    from strongroom.keymaster.ledger import Ledger
    from strongroom.keymaster.log.journal import Journal

    real, gate = Ledger.plan_persons, threading.Barrier(2, timeout=seconds)

    def together(self, *args):
        plan = real(self, *args)
        try:
            gate.wait()
        except threading.BrokenBarrierError:
            pass
        return plan

    found = []
    with reopen(folder) as one, reopen(folder) as two:
        released(one, folder, 199, 200, "support")  # the row of each scope is there: nobody waits to make it
        grants = [m.begin_reading(actor="ada", purpose="support", reason="r").reading_id for m in (one, two)]
        monkeypatch.setattr(Ledger, "plan_persons", together)
        if note is not None:
            monkeypatch.setattr(Journal, "note", note)
        tokens, batch = people(folder)

        def race(master, grant, first):
            some = np.ascontiguousarray(tokens[first : first + 15])
            try:
                found.append(master.release(grant, ask(some, batch, fields=("name",))).persons)
            except BudgetError:
                found.append(0)

        pairs = zip((one, two), grants, (0, 100), strict=True)
        threads = [threading.Thread(target=race, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(found)


def test_two_that_plan_at_once_cannot(folder, monkeypatch):
    """The second waits for the lock: it plans with what the first has spent, and is refused."""
    assert overtaken(folder, monkeypatch, seconds=1) == [0, 15]


def test_control_without_the_lock_both_are_released(folder, monkeypatch):
    """Control: a keymaster that does not take the lock lets two requests through where the hour has room for one."""
    from strongroom.keymaster.database import postgres as state_postgres

    real = state_postgres._Rows.execute

    def unlocked(self, sql, parameters=(), /):
        return real(self, "SELECT 1" if "pg_advisory_xact_lock" in sql else sql, () if "xact_lock" in sql else parameters)

    monkeypatch.setattr(state_postgres._Rows, "execute", unlocked)
    assert overtaken(folder, monkeypatch, _spread()) == [15, 15]


def _spread():
    """Note entries without their number colliding: the log is not what this control is about."""
    from strongroom.keymaster.log.journal import Journal

    real, numbers, lock = Journal.note, [], threading.Lock()

    def note(self, rows, entry):
        if b'"act":"get"' not in entry:
            return real(self, rows, entry)
        with lock:
            if not numbers:
                numbers.append(itertools.count(rows.execute("SELECT max(number) FROM leaf").fetchone()[0] + 1))
            number = next(numbers[0])
        rows.execute("INSERT INTO leaf VALUES (?, ?, ?)", (number, 0, entry))
        return number

    return note


def test_a_server_that_goes_away_and_comes_back(folder, postgres_server):
    """Clear errors meanwhile, nothing released; afterwards the same process goes on, and nothing that was spent is lost."""
    with reopen(folder) as master:
        assert released(master, folder, 0, 10, "support").persons == 10
        tokens, batch = people(folder)
        grant = master.begin_reading(actor="ada", purpose="support", reason="r")
        postgres_server.stop()
        try:
            for _ in range(2):
                with pytest.raises(UnavailableError, match="does not answer"):
                    master.release(grant.reading_id, ask(np.ascontiguousarray(tokens[50:60]), batch, fields=("name",)))
        finally:
            postgres_server.start()
        with pytest.raises(BudgetError):
            released(master, folder, 100, 111, "support")
        assert released(master, folder, 100, 110, "support").persons == 10
        assert master.verify_log()["entries"] > 3
    postgres_server.stop()
    try:
        with pytest.raises(UnavailableError):
            reopen(folder)
    finally:
        postgres_server.start()


@pytest.mark.parametrize("when", ["before it commits", "after it committed"])
def test_a_server_that_goes_away_in_the_middle_of_a_request(folder, postgres_server, monkeypatch, when):
    """Decided, spent and noted, and then the database is gone: no key; the same request again is answered, and counted once."""
    with reopen(folder) as master:
        tokens, batch = people(folder)
        one = ask(np.ascontiguousarray(tokens[:12]), batch, fields=("name",))
        reading = master.begin_reading(actor="ada", purpose="support", reason="r").reading_id
        real, gone, late = PostgresState._commit, [], when == "after it committed"

        def going(self):
            if late:
                real(self)
            if not gone:
                gone.append(postgres_server.stop())
            self._writer.execute("SELECT 1") if late else real(self)  # neither is answered

        with monkeypatch.context() as patch:
            patch.setattr(PostgresState, "_commit", going)
            try:
                with pytest.raises(UnavailableError):
                    master.release(reading, one)
            finally:
                postgres_server.start()
        assert gone
        noted = [e for e in master.log_entries("kit") if e["act"] == "get"]
        assert len(noted) == late
        again = master.release(reading, one)
        assert (again.persons, again.remaining["persons/actor/ada/purpose/support/hour"]) == (12, 8)
        assert all(keys.any(axis=1).all() for keys in again.keys.values())
        assert [e["count"] for e in master.log_entries("kit") if e["act"] == "get"] == [12]
        with pytest.raises(BudgetError):
            released(master, folder, 100, 109, "support")
        assert master.verify_log()["entries"] > 3


def _dies(folder, path):
    """One process that kills itself while its transaction has deleted the log."""
    sys.path.insert(0, path)
    master = reopen(folder)
    master.begin_reading(actor="ada", purpose="support", reason="r")
    with master._core.state.write() as rows:
        rows.execute("DELETE FROM leaf")
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_in_the_middle_of_a_transaction_nothing_of_it_is_there(folder):
    """The connection dies with the process: the server undoes what was not committed, and the lock is free."""
    child = CONTEXT.Process(target=_dies, args=(folder, str(Path(__file__).parent)))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with reopen(folder) as master:
        assert master.verify_log()["entries"] > 3
        assert released(master, folder, 0, 5).persons == 5


def test_a_copy_comes_home_into_a_file_or_into_another_database(folder, postgres_server, tmp_path):
    """Every table goes along: counts, log, policy; keys are there, and what is made next does not collide."""
    with reopen(folder) as master:
        released(master, folder, 0, 12, "support")
        master.key_copies.copy("kit", str(tmp_path / "copy"))
        before = master.log_entries("kit")
    for number, database in enumerate((None, postgres_server.url())):
        home = tmp_path / f"home-{number}"
        restore_keymaster(home, source=str(tmp_path / "copy"), passphrase=PASSPHRASE, database=database)
        with reopen(home) as again:
            assert (home / "keymaster.db").exists() is (database is None)
            text = again.publish()
            assert again.tails.is_behind(text)
            again.tails.catch_up(text, [], lambda name: b"")
            assert again.log_entries("kit")[: len(before) - 1] == before[:-1]
            tokens, batch = people(folder)
            grant = again.begin_reading(actor="ada", purpose="support", reason="r")
            with pytest.raises(BudgetError):
                some = np.ascontiguousarray(tokens[50:60])
                again.release(grant.reading_id, ask(some, batch, fields=("name",)))
            grant = again.begin_reading(actor="bob", purpose="support", reason="r")
            assert again.release(grant.reading_id, ask(tokens[:3].copy(), batch, fields=("name",))).persons == 3
            put(again, identifiers(5, 1000))


def test_the_epoch_turns_and_persons_are_erased(folder, tmp_path):
    """Locks, rewraps and removals work the same; another process that was open notices."""
    from strongroom.keys.slot_passphrase import PassphraseKeeper

    with reopen(folder) as master, reopen(folder) as other:
        lease = master.begin_maintenance(actor="kit", verb="erase")
        plan = master.erasures.plan(lease, identifiers(1))
        master.erasures.erase(lease, plan.tokens, "request 1")
        assert released(other, folder, 0, 2).missing == (0,)
        name = master.slots.all()[0].name
        master.turning.turn("kit", {name: PassphraseKeeper(PASSPHRASE, FAST)})
        with pytest.raises(UnavailableError, match="turned by another process"):
            released(other, folder, 1, 3)
    with reopen(folder) as master:
        assert released(master, folder, 1, 3).persons == 2


def test_statements_and_tables_in_the_other_dialect():
    """Marks, per cent signs, hints that only SQLite has; no word of SQLite's is left in the tables."""
    assert to_postgres("SELECT a % ? FROM t INDEXED BY i WHERE b = ?") == "SELECT a %% %s FROM t WHERE b = %s"
    assert to_postgres("SELECT 1 FROM tombstone NOT INDEXED WHERE leaf > ?") == "SELECT 1 FROM tombstone WHERE leaf > %s"
    for word in ("BLOB", "WITHOUT ROWID", "REAL,", "INTEGER"):
        assert word not in tables_for_postgres()


def test_urls_of_a_database():
    """A schema and where to connect; a password, another kind, anything else is refused."""
    assert parse_url("postgresql://k@db/keys")[1] == "strongroom"
    assert parse_url("postgresql://k@db/keys?schema=a_1&sslmode=verify-full") == (
        "postgresql://k@db/keys?sslmode=verify-full", "a_1",
    )  # fmt: skip
    for wrong in (
        "postgresql://k:secret@db/keys", "mysql://k@db/keys", "postgresql://db", "postgresql://db/keys?password=x",
        "postgresql://db/keys?schema=A;drop", "postgresql://db/keys?options=-c", "keys",
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            parse_url(wrong)
        assert "secret" not in str(caught.value)


def test_the_wrong_passphrase_and_a_database_of_another_room(folder, postgres_server, tmp_path):
    """Refused as where the database is a file."""
    from strongroom.keymaster.create import open_keymaster

    with pytest.raises(DeniedError):
        open_keymaster(folder, passphrase="guess")
    other = create_keymaster(
        tmp_path / "other", passphrase=PASSPHRASE, schema=SCHEMA, policy=POLICY, argon2=FAST,
        database=postgres_server.url(),
    )  # fmt: skip
    other.close()
    (folder / "database.url").write_text((tmp_path / "other" / "database.url").read_text())
    with pytest.raises(IntegrityError):
        reopen(folder)
