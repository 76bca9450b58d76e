"""A keymaster's database of another format: refused by its number, whatever it lacks, and nothing of it is lost."""

import contextlib
import hashlib

import pytest
from keymaster_fixtures import PASSPHRASE, identifiers, make, put, reopen

from strongroom.cli.app import main
from strongroom.errors import IntegrityError
from strongroom.keymaster.database.tables import FORMAT


def made_otherwise(folder, number, where):
    """A keymaster with persons and a log, whose database says another format and lacks a table of this one; its log, and tokens."""
    with make(folder, **where) as master:
        _, sealing = put(master, identifiers(30))
        entries = master.log_entries("kit")
        with master._core.state.write() as rows:
            rows.execute("UPDATE room SET format = ?", (number,))
            rows.execute("ALTER TABLE canary_planted RENAME TO kept_from_before")
    return entries, sealing.tokens


def said_of_files(folder):
    """What every file of a folder holds, as digests."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_it_is_refused_with_its_number_and_stays_as_it_is(tmp_path, either_database, number):
    """Older and newer: the message says which it is and which is read, the hint what to do; as it was it opens again."""
    folder = tmp_path / "keys"
    entries, tokens = made_otherwise(folder, number, either_database)
    before = said_of_files(folder)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"another format: {number}, and this version reads {FORMAT}") as refused:
            reopen(folder)
        assert refused.value.hint.startswith("nothing was changed: open it with the version of strongroom that made it")
        assert said_of_files(folder) == before
    _back(folder, either_database)
    with reopen(folder) as master:
        assert master.log_entries("kit") == entries
        assert master.verify_log()["entries"] == len(entries)
        assert master._core.keys.lookup(tokens).found.all()


def _back(folder, where):
    """What the version that made it would find."""
    sql = (f"UPDATE room SET format = {FORMAT}", "ALTER TABLE kept_from_before RENAME TO canary_planted")
    if where:
        from strongroom.keymaster.database.postgres import PostgresState

        state = PostgresState(where["database"])
        with state.write() as rows:
            for one in sql:
                rows.execute(one)
        state.close()
    else:
        import sqlite3

        with contextlib.closing(sqlite3.connect(folder / "keymaster.db")) as rows, rows:
            for one in sql:
                rows.execute(one)


def test_the_command_line_says_so_before_anything_is_done(tmp_path, monkeypatch, capsys):
    """A server, and a verb of the folder: the same two lines, and an exit code of their own."""
    made_otherwise(tmp_path / "keys", FORMAT - 1, {})
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    monkeypatch.chdir(tmp_path)
    for words in (["keymaster", "serve"], ["actor", "list", "--actor", "kit"]):
        with pytest.raises(SystemExit) as told:
            main([*words, "--keys", "keys", "--passphrase-file", "passphrase"])
        said = capsys.readouterr().err
        assert told.value.code == IntegrityError.exit_code
        assert f"another format: {FORMAT - 1}, and this version reads {FORMAT}" in said
        assert "hint: nothing was changed: open it with the version of strongroom that made it" in said
