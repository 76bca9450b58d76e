"""`strongroom export` and `strongroom exports` from the command line."""

import json
import re
import signal
import time

import export_room
import pytest
from cli_kit import Shell, first_line
from room_api import Api

EXTRACT = ("--recipient", "uni-north", "--actor", "ana", "--purpose", "extract", "--reason", "study 9")


@pytest.fixture
def sender(sending, tmp_path, monkeypatch, capsys):
    """A shell in a folder with a room that may export."""
    (tmp_path / "desk").mkdir()
    return Shell(tmp_path / "desk", sending, monkeypatch, capsys)


def test_an_export_says_what_went_where_and_the_ledger_lists_it(sender):
    """Data on stdout, the rest on stderr; --json for machines; nothing of a record in either."""
    done = sender.run("export", "persons", "--to", "p.csv", *EXTRACT)
    assert done.code == 0, done.err
    first, second = done.out.splitlines()
    assert first.startswith("exported 300 records of persons to uni-north: 300 persons, export ")
    assert second == "p.csv"
    assert "300 persons charged; --resume takes it up" in done.err
    ident = first.rpartition(" ")[2]
    listed = sender.run("exports", "--actor", "kit")
    assert (listed.code, ident in listed.out, "persons: person_id, name" in listed.out) == (0, True, True)
    (record,) = json.loads(sender.run("exports", "--actor", "ana", "--json").out)
    assert (record["id"], record["state"], record["persons"]) == (ident, "ended", 300)
    assert json.loads(sender.run("exports", "--actor", "tor", "--json").out) == []
    assert "P-0000" not in done.out + done.err + listed.out + listed.err


def test_subjects_come_from_a_file_or_stdin(sender):
    """One a line; whoever has no record is counted on stderr."""
    done = sender.run(
        "export", "persons", "parcels", "--to", "out/", "--format", "jsonl", "--subjects", "-", "--json", *EXTRACT,
        stdin=b"P-000001\n\np-000002\nP-777777\n",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["records"] == {"persons": 2, "parcels": 4}
    assert "named and not there: 1 subject" in done.err
    assert sorted(p.name for p in (sender.folder / "out").iterdir()) == ["parcels.jsonl", "persons.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("export", "persons", "--to", "p.csv", *EXTRACT[2:]), 2, "option --recipient is missing"),
        (("export", "persons", "--to", "p.doc", *EXTRACT), 2, "the format of the export is not told by the name"),
        (("export", "persons", "--to", "strongroom.toml", "--format", "csv", *EXTRACT), 7, "exists already"),
        (("export", "persons", "--to", "p.csv", "--recipient", "thief", *EXTRACT[2:]), 3, "this recipient"),
        (("export", "persons", "--to", "p.csv", "--where", "mobile = '1'", *EXTRACT), 2, "mobile is sealed"),
        (("export", "persons", "--to", "p.csv", "--subjects", "none.txt", *EXTRACT), 2, "cannot read none.txt"),
        (("export", "persons", "--to", "no/p.csv", *EXTRACT), 2, "there is no folder no"),
        (("exports", "--actor", "nobody"), 3, "nobody is no actor"),
    ],
)
def test_mistakes_are_one_line_with_a_code_and_leave_no_file(sender, words, code, told):
    """As everywhere."""
    done = sender.run(*words)
    assert (done.code, told in done.err) == (code, True), done.err
    assert not (sender.folder / "p.csv").exists()


def test_an_interrupted_export_leaves_nothing_and_goes_on_by_its_id(sender):
    """Ctrl-C after the persons were charged: the id stands on stderr."""
    process = sender.start("export", "persons", "--to", "p.csv", *EXTRACT)
    line = first_line(process)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    rest = process.stderr.read().decode()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    if process.returncode == 0:  # it was faster
        pytest.skip("the export had ended")
    assert process.returncode == 130, line + rest
    assert not (sender.folder / "p.csv").exists()
    ident = line.split()[1].rstrip(":")
    time.sleep(0.1)
    done = sender.run("export", "persons", "--to", "p.csv", "--resume", ident, *EXTRACT)
    assert done.code == 0, done.err
    assert (sender.folder / "p.csv").read_text(encoding="utf-8").count("\n") == 301


def test_the_purpose_that_asks_for_canary_persons_is_told_that_there_are_none(sender, tmp_path):
    """Nothing is claimed that is not in the file."""
    policy = export_room.POLICY + export_room.EXPORTS.replace(
        "month = 900 }, decides = true", "month = 900 }, canaries = { colluders = 2, sample = 100 }"
    )
    (sender.folder / "policy.toml").write_text(policy, encoding="utf-8")
    assert sender.run("policy", "--set", "policy.toml", "--actor", "kit").code == 0
    done = sender.run("export", "persons", "--to", "p.csv", *EXTRACT)
    assert done.code == 0, done.err
    assert "warning: no canary persons in these files: " in done.err


def test_tokens_are_made_and_read_a_line_at_a_time(sender):
    """Values on stdin, tokens on stdout, and back; what is no token is an empty line and a number on stderr."""
    coded = ("--recipient", "uni-north", "--actor", "ana", "--purpose", "coded", "--reason", "study 9")
    report = json.loads(sender.run("export", "persons", "--to", "p.jsonl", "--json", *coded).out)
    of = ("--export", report["export_id"])
    matching = ("--actor", "ana", "--purpose", "matching", "--reason", "case 9")
    made = sender.run("tokenize", "persons", "person_id", *of, *matching, stdin=b"P-000004\np-000009\n")
    assert made.code == 0, made.err
    tokens = made.out.splitlines()
    rows = [json.loads(line) for line in (sender.folder / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert set(tokens) <= {row["person_id"] for row in rows}
    answer = ("--actor", "max", "--purpose", "answer", "--reason", "case 9")
    given = "\n".join([tokens[1], "t1ff", tokens[0]]).encode()
    found = sender.run("detokenize", "persons", "person_id", *of, *answer, stdin=given)
    assert (found.code, found.out.splitlines()) == (0, ["P-000009", "", "P-000004"]), found.err
    assert "1 of 3: no token of this export" in found.err
    assert sender.run("detokenize", "persons", "person_id", *of, *answer, stdin=b"").code == 2
    assert sender.run("tokenize", "persons", "person_id", "--export", "x", *matching, stdin=b"a\n").code == 2


def test_through_a_server_masks_tokens_and_what_was_cut(sender, sending, monkeypatch):
    """With `room = "https://…"`: how many persons at most must be said; an id in the hint takes up what was cut."""
    from strongroom.errors import UnavailableError
    from strongroom.server import exporting

    shown = ("--recipient", "uni-north", "--actor", "ana", "--purpose", "shown", "--reason", "study 9")
    with Api(sending) as api:
        api.keys.credential("ana").write(sender.folder / "ana.credential")
        (sender.folder / "strongroom.toml").write_text(f'room = "{api.url}"\ncredential = "ana.credential"\n')
        done = sender.run("export", "persons", "--to", "p.csv", *shown)
        assert (done.code, "`--persons N`" in done.err) == (2, True)
        done = sender.run("export", "persons", "--to", "p.csv", "--persons", "10", *shown)
        assert (done.code, "the most was 10" in done.err) == (3, True)
        done = sender.run("export", "persons", "--to", "p.csv", "--persons", "300", *shown)
        assert done.code == 0, done.err
        assert done.out.startswith("exported 300 records of persons to uni-north: 300 persons, export ")
        assert "300 persons charged; --resume takes it up" in done.err
        assert "****" in (sender.folder / "p.csv").read_text(encoding="utf-8")
        words = ("export", "persons", "parcels", "--to", "out/", "--format", "jsonl", "--subjects", "-", *EXTRACT)
        names = b"P-000001\np-000002\nP-777777\n"
        with monkeypatch.context() as patch:
            patch.setattr(exporting._Zip, "publish", lambda _: (_ for _ in ()).throw(UnavailableError("stopped")))
            cut = sender.run(*words, stdin=names)
        assert (cut.code, "was cut before its end" in cut.err) == (6, True)
        (ident,) = re.findall(r"`--resume ([0-9a-f]{32})`", cut.err)
        assert list((sender.folder / "out").iterdir()) == []
        done = sender.run(*words, "--resume", ident, "--json", stdin=names)
        assert done.code == 0, done.err
        assert json.loads(done.out)["records"] == {"persons": 2, "parcels": 4}
        assert "named and not there: 1 subject" in done.err
    assert "P-0000" not in done.err + cut.err + cut.out
