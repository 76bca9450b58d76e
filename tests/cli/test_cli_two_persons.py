"""Asking, agreeing, reviewing and freezing from the command line."""

import json

import pytest
from cli_kit import CASE, KIT
from small_room import POLICY, SCHEMA

CAREFUL = POLICY.replace("[purposes.case-work]", '[purposes.case-work]\nbreak_glass = ["officer"]\n'
    'approval = { roles = ["counsel"], always = true, hours = 3 }')  # fmt: skip
NAN = ("--actor", "nan")


@pytest.fixture
def careful(shell):
    (shell.folder / "policy.toml").write_text(CAREFUL)
    assert shell.run("policy", "--set", "policy.toml", *KIT).code == 0
    return shell


def get(shell, *more):
    return shell.run("get", "persons", "-", *CASE, "--json", *more, stdin=b"P-000007\n")


def test_a_read_is_asked_agreed_to_and_made(careful):
    """Refused alone with the way out; asked; listed for who may agree, with the reason; agreed; read; refused by another."""
    alone = get(careful)
    assert alone.code == 3
    assert "strongroom ask" in alone.err
    asked = careful.run("ask", *CASE, "--persons", "3")
    ident = asked.out.strip()
    assert asked.code == 0
    assert get(careful, "--approval", ident).code == 3
    listed = careful.run("approve", *NAN)
    assert ident in listed.out
    assert "3 persons for case-work: case 12" in listed.out
    assert careful.run("approve", ident, "--actor", "ada").code == 3
    assert careful.run("approve", ident, *NAN).code == 0
    assert careful.run("approve", ident, *NAN).code == 7
    assert get(careful, "--approval", ident).code == 0
    other = careful.run("ask", *CASE, "--persons", "3").out.strip()
    assert careful.run("approve", other, "--refuse", *NAN).code == 0
    assert get(careful, "--approval", other).code == 3
    assert careful.run("approve", "0" * 16, *NAN).code == 5
    assert careful.run("ask", *CASE, "--persons", "0").code == 2


def test_broken_glass_is_reviewed(careful):
    """Read at once, listed as open, closed by another with a text."""
    assert get(careful, "--break-glass").code == 0
    (review,) = json.loads(careful.run("review", *NAN, "--json").out)
    assert (review["actor"], review["closed"]) == ("ada", 0.0)
    assert "open" in careful.run("review", *NAN).out
    assert careful.run("review", review["id"], *NAN).code == 2
    assert careful.run("review", review["id"], "--close", "needed", "--actor", "ada").code == 3
    assert careful.run("review", review["id"], "--close", "needed", *NAN).code == 0
    assert "closed by nan" in careful.run("review", *NAN).out


def test_freezing_and_lifting(careful):
    """At once by one; listed; what is left beside the objects; lifted by two."""
    assert careful.run("freeze", "actor", "mei", "--reason", "stolen", *KIT).code == 0
    listed = careful.run("freeze", *KIT)
    assert "mei" in listed.out
    words = ("--actor", "mei", "--purpose", "delivery", "--reason", "parcel 1")
    stopped = careful.run("get", "persons", "-", *words, "--json", stdin=b"P-000007\n")
    assert stopped.code == 3
    assert "mei is frozen" in stopped.err
    assert careful.run("freeze", "actor", *KIT, "--reason", "r").code == 2
    assert careful.run("freeze", "actor", "mei", *KIT, "--reason", "r").code == 7
    assert careful.run("freeze", "actor", "mei", *KIT).code == 2
    asked = careful.run("unfreeze", "actor", "mei", "--reason", "back", *KIT)
    ident = asked.err.split("`strongroom approve ")[1].split("`")[0]
    assert careful.run("approve", ident, *KIT).code == 3
    (careful.folder / "policy.toml").write_text(
        CAREFUL.replace('[actors.nan]\nroles = ["counsel"]', '[actors.nan]\nroles = ["counsel", "clerk"]')
    )
    assert careful.run("policy", "--set", "policy.toml", *KIT).code == 0
    assert careful.run("approve", ident, *NAN).code == 0
    assert careful.run("get", "persons", "-", *words, "--json", stdin=b"P-000007\n").code == 0
    assert json.loads(careful.run("freeze", *KIT, "--json").out) == []


def test_the_log_by_actor_and_time_and_ones_own(shell):
    """What was touched, added up; one's own without a right to the log; wrong times are told."""
    for _ in range(2):
        assert get(shell).code == 0
    own = shell.run("log", "--actor", "ada", "--mine", "--json")
    assert own.code == 0, own.err
    assert {e["actor"] for e in json.loads(own.out)["entries"]} == {"ada"}
    assert shell.run("log", "--actor", "ada").code == 3
    touched = json.loads(shell.run("log", *KIT, "--of", "ada", "--from", "2020-01-01", "--touched", "--json").out)
    (got,) = [one for one in touched if one["act"] == "get"]
    assert (got["table"], got["requests"], got["persons"], got["purpose"]) == ("persons", 2, 2, "case-work")
    assert "case-work" in shell.run("log", *KIT, "--of", "ada", "--touched").out
    assert json.loads(shell.run("log", *KIT, "--of", "ada", "--to", "2020-01-01", "--touched", "--json").out) == []
    assert shell.run("log", *KIT, "--from", "yesterday").code == 2


def test_whom_somebody_touched_and_who_they_are(shell):
    """Tokens without a purpose, records with one; a file of one's own; words that do not go together are told."""
    assert get(shell).code == 0
    which = ("log", *KIT, "--of", "ada", "--touched", "--persons", "--reason", "incident 9")
    tokens = json.loads(shell.run(*which, "--json").out)
    assert [set(one) for one in tokens] == [{"person", "erased", "entries", "acts", "purposes", "fields"}]
    told = shell.run(*which)
    assert tokens[0]["person"] in told.out
    assert "1 person in 1 entries" in told.err
    refused = shell.run(*which, "--purpose", "case-work", "--table", "persons", "--out", "touched.jsonl")
    assert refused.code == 3
    assert not (shell.folder / "touched.jsonl").exists()
    (shell.folder / "policy.toml").write_text(
        POLICY.replace('[actors.kit]\nroles = ["clerk"]', '[actors.kit]\nroles = ["clerk", "officer"]')
    )
    assert shell.run("policy", "--set", "policy.toml", *KIT).code == 0
    named = shell.run(*which, "--purpose", "case-work", "--table", "persons", "--out", "touched.jsonl")
    assert named.code == 0, named.err
    assert named.out == ""
    (line,) = (shell.folder / "touched.jsonl").read_text().splitlines()
    assert json.loads(line)["records"][0]["person_id"] == "P-000007"
    assert (shell.folder / "touched.jsonl").stat().st_mode & 0o777 == 0o600
    assert shell.run(*which, "--out", "touched.jsonl").code == 7
    for words in (
        ("--persons",), ("--touched", "--persons"), ("--persons", "--reason", "r"), ("--touched", "--out", "x"),
        ("--touched", "--persons", "--reason", "r", "--purpose", "case-work"),
        ("--touched", "--persons", "--reason", "r", "--approval", "x"),
    ):  # fmt: skip
        assert shell.run("log", *KIT, *words).code == 2
    assert shell.run("log", "--actor", "ada", "--touched", "--persons", "--reason", "r").code == 3


def test_a_policy_is_tried_on_the_past(shell):
    """What was allowed and would be refused, by whom; nothing changes; the policy in force would refuse nothing."""
    assert get(shell).code == 0
    (shell.folder / "same.toml").write_text(POLICY)
    same = shell.run("policy", *KIT, "--test", "same.toml", "--json")
    assert json.loads(same.out) == []
    (shell.folder / "less.toml").write_text(POLICY.replace('[actors.ada]\nroles = ["officer"]', '[actors.ada]\nroles = ["analyst"]'))
    found = json.loads(shell.run("policy", *KIT, "--test", "less.toml", "--json").out)
    assert ("ada", "get", 1) in {(one["actor"], one["act"], one["requests"]) for one in found}
    assert "would have been refused" in shell.run("policy", *KIT, "--test", "less.toml").err
    assert get(shell).code == 0
    assert json.loads(shell.run("policy", *KIT, "--test", "less.toml", "--to", "2020-01-01", "--json").out) == []
    assert shell.run("policy", *KIT, "--test", "less.toml", "--set", "less.toml").code == 2
    (shell.folder / "wrong.toml").write_text("[room]\n")
    assert shell.run("policy", *KIT, "--test", "wrong.toml").code == 2
    assert shell.run("policy", "--actor", "mei", "--test", "less.toml").code == 3


def test_a_room_whose_keymaster_is_in_postgresql(shell, postgres_server, tmp_path):
    """Made, filled and read from the command line; a password in the URL, and a schema that is in use, are refused."""
    (tmp_path / "schema.toml").write_text(SCHEMA)
    (tmp_path / "policy.toml").write_text(POLICY)
    files = ("--schema", str(tmp_path / "schema.toml"), "--policy", str(tmp_path / "policy.toml"))
    url = postgres_server.url()

    def places(name):
        return ("--room", str(tmp_path / name / "room"), "--keys", str(tmp_path / name / "keys"))

    (tmp_path / "a").mkdir()
    made = shell.run("create", *files, *places("a"), "--database", url)
    assert made.code == 0, made.err
    (tmp_path / "p.csv").write_text("person_id,name\nP-1,某人\n", encoding="utf-8")
    assert shell.run("put", "persons", str(tmp_path / "p.csv"), *KIT, *places("a")).code == 0
    found = shell.run("get", "persons", "-", *CASE, "--json", *places("a"), stdin=b"P-1\n")
    assert found.code == 0, found.err
    (tmp_path / "b").mkdir()
    assert shell.run("create", *files, *places("b"), "--database", url).code == 7
    (tmp_path / "c").mkdir()
    refused = shell.run("create", *files, *places("c"), "--database", "postgresql://k:secret@db/keys")
    assert refused.code == 2
    assert "secret" not in refused.err
    (tmp_path / "d").mkdir()
    away = shell.run("create", *files, *places("d"), "--database", "postgresql://k@127.0.0.1:1/keys")
    assert away.code == 6
    assert list((tmp_path / "d" / "keys").iterdir()) == []  # so that the same can be tried again
    assert shell.run("create", *files, *places("d"), "--database", postgres_server.url()).code == 0
