"""`strongroom trace` from the command line: what it prints, the report, mistakes, and that no value is in either."""

import json

import pytest
import tracing_room
from cli_kit import Shell
from small_room import person
from tracing_room import agreed, opened, write

TRACE = ("--actor", "ines", "--purpose", "incident", "--reason", "incident 7")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return tracing_room.make(tmp_path_factory.mktemp("tracing"))


@pytest.fixture
def desk(template, tmp_path, monkeypatch, capsys):
    """A shell in a folder with a sample, of a room that exported twice; and the id of an agreement."""
    room = template.copy_to(tmp_path / "room")
    (tmp_path / "desk").mkdir()
    with room.keymaster() as keys:
        with opened(room, keys, "ana") as own:
            more = {"recipient": "uni-north", "reason": "study 9"}
            own.export("persons", to=str(tmp_path / "coded.csv"), purpose="coded", **more)
            own.export("persons", to=str(tmp_path / "old.csv"), purpose="extract", where="birth_year < 1990", **more)
        ident = agreed(keys)
    write(tmp_path / "desk" / "s.csv", [person(n) for n in range(120)])
    (tmp_path / "desk" / "coded.csv").write_bytes((tmp_path / "coded.csv").read_bytes())
    return Shell(tmp_path / "desk", room, monkeypatch, capsys), ident


def values():
    return [value for n in range(120) for name in ("name", "mobile", "id_number") if (value := person(n)[name])]


def test_it_says_what_is_shown_and_no_value(desk):
    """Ours with a bound, nobody named, one export excluded by a row, of when nothing, who by field."""
    shell, ident = desk
    done = shell.run("trace", "s.csv", "--approval", ident, *TRACE)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[1].startswith("is it ours: yes, at least ")
    assert lines[2].startswith("whose copy: not said: the evidence names no export")
    assert any(line.startswith("  export ") and "of s.csv: the person is not in it" in line for line in lines)
    assert any(line.startswith("of when: not said") for line in lines)
    assert "who: 120 persons of the room, 120 by two identifiers or a token" in lines
    assert not [value for value in values() if value in done.out + done.err]


def test_a_coded_copy_is_named_and_the_report_and_json_have_it(desk):
    """The report is written once, and what it is made of is what --json prints."""
    shell, ident = desk
    done = shell.run("trace", "coded.csv", "--approval", ident, "--report", "r.html", "--json", *TRACE)
    assert done.code == 0, done.err
    facts = json.loads(done.out)["facts"]
    (accused,) = facts["accused"]
    page = (shell.folder / "r.html").read_text(encoding="utf-8")
    assert accused["export"]["id"] in page
    assert accused["export"]["recipient"] == "uni-north"
    assert not [value for value in values() if value in done.out + done.err + page]
    again = shell.run("trace", "coded.csv", "--approval", ident, "--report", "r.html", *TRACE)
    assert (again.code, "exists already" in again.err) == (7, True)


def test_the_list_is_an_export_of_its_own(desk):
    """Under its own purpose, to its own recipient."""
    shell, ident = desk
    more = ("--notify-table", "persons", "--notify-purpose", "told", "--recipient", "notices")
    done = shell.run("trace", "s.csv", "--approval", ident, "--notify-list", "list.csv", *more, *TRACE)
    assert done.code == 0, done.err
    assert "notification list: 120 persons, export " in done.err
    assert len((shell.folder / "list.csv").read_text(encoding="utf-8").splitlines()) == 121


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("s.csv", *TRACE), 3, "needs another person's agreement"),
        (("none.csv", "--approval", "ID", *TRACE), 2, "none.csv"),
        (("s.csv", "--approval", "ID", "--space", "persons.mobile", *TRACE), 2, "--space is TABLE.FIELD=N"),
        (("s.csv", "--approval", "ID", "--notify-list", "l.csv", *TRACE), 2, "a notification list needs"),
        (("s.csv", "--approval", "ID", "--words", "none.toml", *TRACE), 2, "none.toml"),
        (("s.csv", "--approval", "ID", "--actor", "ana", *TRACE[2:]), 3, ""),
    ],
)
def test_mistakes_are_one_line_with_a_code(desk, words, code, told):
    """As everywhere; nothing is printed to stdout."""
    shell, ident = desk
    done = shell.run("trace", *(ident if word == "ID" else word for word in words))
    assert (done.code, told in done.err, done.out) == (code, True, ""), done.err
    assert done.err.startswith("strongroom: error: ")
