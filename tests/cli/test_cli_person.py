"""The person's view on the command line: ask, print, write, verify offline."""

import json
import shutil

import pytest
from cli_kit import Shell
from person_kit import PersonRoom

ASK = ("log", "--subject", "-", "--actor", "pia", "--purpose", "subject-access", "--reason", "letter 7")
ID = b"P-000001\n"


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """A shell whose working directory names a room in which person 1 was read twice, once under a delay."""
    made = PersonRoom(tmp_path / "room", monkeypatch)
    made.read(1, 2)
    made.read(1, purpose="covert")
    made.next_day()
    made.close()
    (tmp_path / "desk").mkdir()
    shell = Shell(tmp_path / "desk", made.place, monkeypatch, capsys)
    shell.made = made
    return shell


def test_ask_write_and_verify_without_the_room(shell):
    """The table says who by role; the file is the owner's alone, and verifies where there is no room."""
    asked = shell.run(*ASK, "--out", "person.json", stdin=ID)
    assert asked.code == 0, asked.err
    (line,) = asked.out.splitlines()[1:]
    assert "officer" in line
    assert "case-work" in line
    assert "ada" not in asked.out
    assert "complete from 2027-01-15 to 2027-01-15" in asked.err
    assert (shell.folder / "person.json").stat().st_mode & 0o777 == 0o600
    key = shell.run("log", "--public-key", "--actor", "kit").out.strip()
    shutil.rmtree(shell.room.folder)
    alone = shell.run("verify", "person.json")
    assert (alone.code, alone.out) == (0, asked.out)
    assert f"key: {key}" in alone.err
    assert "vouches for itself" in alone.err
    known = shell.run("verify", "person.json", "--key", key)
    assert known.code == 0
    assert "vouches for itself" not in known.err
    unsaid = shell.run("verify", "person.json", "--json")
    machine = json.loads(unsaid.out)
    assert (machine["subject"], len(machine["touched"]), machine["key_compared"]) == ("P-000001", 1, False)
    assert "vouches for itself" in unsaid.err
    compared = shell.run("verify", "person.json", "--json", "--key", key)
    assert (json.loads(compared.out), compared.err) == (machine | {"key_compared": True}, "")
    other = key.split("+")[0] + "+" + "00000000" + key[key.rindex("+") :]
    assert shell.run("verify", "person.json", "--key", other).code == 2


def test_a_changed_file_ends_with_an_integrity_error(shell):
    """A role put over another, or another room's key: exit code 4, and nothing on stdout."""
    assert shell.run(*ASK, "--out", "person.json", stdin=ID).code == 0
    path = shell.folder / "person.json"
    path.write_text(path.read_text(encoding="utf-8").replace("officer", "cleaner"), encoding="utf-8")
    changed = shell.run("verify", "person.json")
    assert (changed.code, changed.out) == (4, "")
    assert "strongroom: error:" in changed.err


def test_a_delayed_read_is_told_with_the_day_from_which_it_is(shell):
    """After the delay the table has the true time, and the day it was told from."""
    shell.made.next_day(3)
    told = shell.run(*ASK, stdin=ID)
    line = next(line for line in told.out.splitlines() if "covert" in line)
    assert "2027-01-15" in line
    assert "2027-01-19" in line
    machine = json.loads(shell.run(*ASK, "--json", stdin=ID).out)
    assert machine["kind"] == "strongroom person's log"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("log", "--subject", "P-000001", "--actor", "pia"), 2),
        (("log", "--purpose", "subject-access", "--actor", "pia"), 2),
        (("log", "--subject", "P-000001", "--actor", "ada", "--purpose", "subject-access", "--reason", "r"), 3),
        (("log", "--subject", "P-999999", "--actor", "pia", "--purpose", "subject-access", "--reason", "r"), 5),
        ((*ASK[:2], "P-000001", *ASK[3:], "--table", "parcels"), 3),
        ((*ASK[:2], "P-000001", *ASK[3:], "--out", "strongroom.toml"), 2),
        ((*ASK[:2], "P-000001", *ASK[3:], "--out", "nowhere/person.json"), 2),
        (("verify", "strongroom.toml"), 4),
    ],
)
def test_misuse_is_said_and_leaves_no_file(shell, words, code):
    """Each ends with its code and one line of error; there is no file."""
    before = sorted(shell.folder.iterdir())
    told = shell.run(*words)
    assert (told.code, told.out if code != 2 else "") == (code, "")
    assert told.lines[0].startswith("strongroom: error:") or "strongroom: error:" in told.err
    assert sorted(shell.folder.iterdir()) == before
