"""`strongroom trace` from the command line: what it prints, the report, mistakes, and that no value is in either."""

import json
import os
import signal

import pytest
from cli_kit import Shell, ended
from small_room import person
from tracing_room import agreed, opened, write

TRACE = ("--actor", "ines", "--purpose", "incident", "--reason", "incident 7")


@pytest.fixture
def desk(tracing_template, tmp_path, monkeypatch, capsys):
    """A shell in a folder with a sample, of a room that exported twice; and the id of an agreement."""
    room = tracing_template.copy_to(tmp_path / "room")
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


def test_drafts_are_written_beside_the_report_for_their_owner_alone(desk):
    """The pages of the words' languages and the report, none with a value; a second run refuses before it looks anything up."""
    shell, ident = desk
    (shell.folder / "w.toml").write_text('languages = ["en"]\n[controller]\nname = "City Registry"\n', encoding="utf-8")
    words = ("trace", "s.csv", "--approval", ident, "--report", "r.html", "--drafts", "drafts", "--words", "w.toml")
    done = shell.run(*words, *TRACE)
    assert done.code == 0, done.err
    files = [shell.folder / "r.html", *(shell.folder / "drafts").iterdir()]
    names = {"gdpr-33-authority.html", "gdpr-34-persons.html", "pipl-57-authority-en.html", "pipl-57-persons-en.html"}
    assert {one.name for one in files} == {"r.html", *names}
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert (shell.folder / "drafts").stat().st_mode & 0o777 == 0o700
    pages = [one.read_text(encoding="utf-8") for one in files]
    assert all("City Registry" in page for page in pages[1:])
    assert not [value for value in values() if value in "".join(pages)]
    before = entries(shell)
    (shell.folder / "r.html").unlink()
    again = shell.run(*words, *TRACE)
    assert (again.code, "drafts/" in again.err, "exists already" in again.err) == (7, True, True), again.err
    assert not (shell.folder / "r.html").exists()
    assert entries(shell) == before


def entries(shell):
    """How many entries of ines the log has."""
    with shell.room.keymaster() as keys:
        return sum(one["actor"] == "ines" for one in keys.log_entries("kit"))


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        (("--report", "none/r.html"), 2, "there is no folder none"),
        (("--drafts", "none/deep"), 2, "there is no folder none"),
        (("--drafts", "s.csv"), 7, "s.csv is no folder"),
        (("--report", "s.csv"), 7, "s.csv exists already"),
        (("--persons", "-1"), 2, "--persons is a number"),
        (("--space", "persons.shoe=100"), 2, "the schema does not have"),
        (("--space", "persons.mobile=inf"), 2, "1 or more values of field persons.mobile"),
        (
            ("--notify-list", "s.csv", "--notify-table", "persons", "--notify-purpose", "told", "--recipient", "notices"),
            7, "s.csv exists already",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_written_or_meant_is_refused_before_anything_is_spent(desk, asked, code, told):
    """A trace costs look-ups and an agreement: nothing of it is spent on a wrong word."""
    shell, ident = desk
    before = entries(shell)
    done = shell.run("trace", "s.csv", "--approval", ident, *asked, *TRACE)
    assert (done.code, told in done.err, done.out) == (code, True, ""), done.err
    assert entries(shell) == before
    assert not (shell.folder / "none").exists()


def test_the_report_tells_of_the_list(desk):
    """Made: its entry, persons and time; waiting: the id, the answer all the same, and the refusal last."""
    shell, ident = desk
    more = ("--notify-table", "persons", "--notify-purpose", "told", "--recipient", "notices")
    done = shell.run("trace", "s.csv", "--approval", ident, "--notify-list", "l.csv", "--json", *more, *TRACE)
    assert done.code == 0, done.err
    listed = json.loads(done.out)["facts"]["affected"]["list"]
    with shell.room.keymaster() as keys:
        record = keys.exports.all("kit")[0]
        waits = keys.approvals.ask_read("ines", "incident", 500, "list").id
    assert (listed["state"], listed["persons"], listed["entry"]) == ("made", 120, record.leaf)
    assert listed["at"] == pytest.approx(record.at)
    words = ("--notify-list", "m.csv", "--notify-approval", waits, "--report", "r.html", "--json")
    more = ("--notify-table", "persons", "--notify-purpose", "incident", "--recipient", "notices")
    done = shell.run("trace", "s.csv", "--approval", ident, *words, *more, *TRACE)
    assert (done.code, "nobody has agreed to this yet" in done.err) == (3, True), done.err
    listed = json.loads(done.out)["facts"]["affected"]["list"]
    assert (listed["state"], listed["approval"]) == ("waiting", waits)
    assert f"(approval {waits})" in (shell.folder / "r.html").read_text(encoding="utf-8")
    assert not (shell.folder / "m.csv").exists()


def test_an_interrupt_leaves_no_page(desk):
    """Ctrl-C in the middle: one line, and neither report nor folder."""
    shell, ident = desk
    os.mkfifo(shell.folder / "slow.csv")
    words = ("trace", "slow.csv", "--approval", ident, "--report", "r.html", "--drafts", "drafts", *TRACE)
    process = shell.start(*words)
    with (shell.folder / "slow.csv").open("w", encoding="utf-8") as pipe:  # open once it reads
        pipe.write("mobile\n")
        pipe.flush()
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert (done.code, done.out) == (130, ""), done.err
    assert done.err.splitlines()[-1].startswith("strongroom: error: interrupted")
    assert not (shell.folder / "r.html").exists()
    assert not (shell.folder / "drafts").exists()


@pytest.mark.parametrize(
    ("name", "data", "code", "told"),
    [
        ("empty.csv", b"", 2, "the sample is empty"),
        ("picture.bin", bytes(range(256)) * 40, 2, "picture.bin"),
        ("head.csv", b"mobile\n", 0, "is it ours: not said: there was nothing to look for"),
        ("odd.csv", b"a,b\n1,2\n3,4\n", 0, "is it ours: not said: there was nothing to look for"),
    ],
)
def test_samples_without_rows_of_the_room_claim_nothing(desk, name, data, code, told):
    """Each is answered in words; nothing is claimed."""
    shell, ident = desk
    (shell.folder / name).write_bytes(data)
    done = shell.run("trace", name, "--approval", ident, *TRACE)
    assert (done.code, told in done.out + done.err) == (code, True), done.out + done.err
    assert "yes" not in done.out
    assert "defect" not in done.err


def test_one_row_and_rows_of_others_are_told_for_what_they_are(desk):
    """Of one row two identifiers of one person are shown, without a share; of strangers nothing is."""
    shell, ident = desk
    write(shell.folder / "one.csv", [person(7)])
    write(shell.folder / "others.csv", [person(n) for n in range(9_000, 9_100)])
    one = shell.run("trace", "one.csv", "--approval", ident, *TRACE).out.splitlines()
    assert one[:2] == [
        "sample: 1 row in 1 file, 0 repeat",
        "is it ours: yes, some of 1 row: 1 by two fields of one person",
    ]
    others = shell.run("trace", "others.csv", "--approval", ident, *TRACE).out.splitlines()
    assert others[1] == "is it ours: not shown: none of 100 rows matches"
    assert "not possible: of when the sample is: nobody of the room was found in it" in others


def test_a_room_that_never_exported_says_so(tracing_template, tmp_path, monkeypatch, capsys):
    """No export, no suspect."""
    room = tracing_template.copy_to(tmp_path / "room")
    (tmp_path / "desk").mkdir()
    with room.keymaster() as keys:
        ident = agreed(keys)
    write(tmp_path / "desk" / "s.csv", [person(n) for n in range(120)])
    done = Shell(tmp_path / "desk", room, monkeypatch, capsys).run("trace", "s.csv", "--approval", ident, *TRACE)
    assert "whose copy: not said: no export was ever issued" in done.out.splitlines()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("s.csv", *TRACE), 3, "needs another person's agreement"),
        (("none.csv", "--approval", "ID", *TRACE), 2, "none.csv"),
        (("s.csv", "--approval", "ID", "--space", "persons.mobile", *TRACE), 2, "--space is TABLE.FIELD=N"),
        (("s.csv", "--approval", "ID", "--notify-list", "l.csv", *TRACE), 2, "a notification list needs"),
        (("s.csv", "--approval", "ID", "--notify-approval", "ID", *TRACE), 2, "a notification list needs"),
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
