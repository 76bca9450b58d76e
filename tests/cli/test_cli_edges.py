"""What a newcomer trips over: versions, JSON where it is asked for, who waits for whom, and which server is meant."""

import json
import re
import time
from importlib.metadata import version

import pytest
from cli_kit import DELIVERY, KIT

from strongroom.cli import actor_add

SERVER_ONLY = 'room = "https://room.example:8447"\ncredential = "ada.credential"\n'


def test_the_version_is_printed(shell):
    """--version goes to stdout; no room is needed."""
    (shell.folder / "strongroom.toml").unlink()
    told = shell.run("--version")
    assert (told.code, told.out, told.err) == (0, f"strongroom {version('strongroom')}\n", "")


def test_policy_and_schema_are_json_where_it_is_asked_for(shell):
    """The policy in force with its Cedar rules, and the schema with its fields."""
    said = json.loads(shell.run("policy", *KIT, "--json").out)
    assert said["cedar"] == shell.run("policy", *KIT).out
    assert said["policy"]["purposes"]["delivery"]["legal_basis"] == "contract"
    tables = json.loads(shell.run("schema", *KIT, "--json").out)["tables"]
    assert {table["name"] for table in tables} == {"persons", "parcels", "cases"}


def test_a_spent_budget_says_when_it_comes_back(shell):
    """The hint names the minute from which as much fits again."""
    for n in range(20):
        assert shell.run("get", "persons", f"P-{n:06}", *DELIVERY, "--json").code == 0
    told = shell.run("get", "persons", "P-000021", *DELIVERY, "--json")
    assert told.code == 3
    hint = re.fullmatch(r"strongroom: hint: as much fits again from (.{16}) UTC on", told.lines[1])
    assert hint is not None, told.err
    assert time.strftime("%Y-%m-%d %H:%M", time.gmtime()) < hint[1]


def test_a_credential_that_has_expired_is_listed_as_such(shell, monkeypatch):
    """In force until its time is over, then expired; one that was revoked stays revoked."""
    for name in ("ada", "mei"):
        assert shell.run("actor", "add", name, "--out", f"{name}.credential", "--days", "1", *KIT).code == 0
    listed = json.loads(shell.run("actor", "list", "--json", *KIT).out)
    ident = next(one["id"] for one in listed if one["actor"] == "mei")
    assert shell.run("actor", "revoke", ident, *KIT).code == 0
    now = shell.run("actor", "list", *KIT).out
    assert (now.count("in force"), now.count("revoked"), now.count("expired")) == (1, 1, 0)
    later = time.time() + 2 * 24 * 3600
    monkeypatch.setattr(actor_add.standing, "__defaults__", (lambda: later,))
    now = shell.run("actor", "list", *KIT).out
    assert (now.count("in force"), now.count("revoked"), now.count("expired")) == (0, 1, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("approve",), ("freeze",), ("freeze", "room", "--reason", "r"), ("actor", "list"), ("review",),
        ("log", "--last", "1"), ("put", "persons", "x.csv"), ("compact",), ("schema",), ("policy", "--test", "x"),
    ],
)  # fmt: skip
def test_a_folder_that_names_the_room_s_server_alone_says_what_else_is_needed(shell, words):
    """The error names the verb, the hint what to name, and which verbs the room's server answers."""
    (shell.folder / "strongroom.toml").write_text(SERVER_ONLY)
    told = shell.run(*words, *KIT)
    assert told.code == 2
    verb = " ".join(words[:2]) if words[0] == "actor" else words[0]
    assert told.lines[0].startswith(f"strongroom: error: `{verb}` is ")
    assert "no keymaster at" not in told.err
    assert "--keys" in told.lines[1]
    assert "reads, holds, tokens, rejects" in told.lines[1]
