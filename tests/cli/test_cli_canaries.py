"""`strongroom canaries …` from the command line: plant, list, ask, test."""

import json
import shutil
import sys
import time

import planted_city
import pytest
from canary_kit import city_policy
from cli_kit import Shell
from planted_city import PERSONS, SPARE, a_canary, small_sizes
from row_kit import RowLog, a_row, file_of, text_of

import strongroom
from strongroom.audit.cosign import Cosigner
from strongroom.audit.note import verifier_key
from strongroom.keymaster.exports.codeopening import CodeOpening
from strongroom.keyserver import notifying
from strongroom.keyserver.notifying import Notifier
from strongroom.seal.sign import public_key
from strongroom.trace.canary import alarmtest

PLANT = ("canaries", "plant", "--policy", "canaries.toml", "--actor", "ana", "--purpose", "planting", "--reason", "r")
ASK = ("--actor", "ada", "--purpose", "asking", "--reason", "case 9")
TOML = """
[sources.persons]
mobile = { own = "numbers.txt" }
resident_id = "complete"
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_sizes(monkeypatch)


def shell_of(template, tmp_path, monkeypatch, capsys):
    (tmp_path / "desk").mkdir()
    shell = Shell(tmp_path / "desk", template.copy_to(tmp_path / "room"), monkeypatch, capsys)
    (shell.folder / "canaries.toml").write_text(TOML, encoding="utf-8")
    numbers = city_policy(PERSONS, SPARE).sources["persons.mobile"].values.to_pylist()
    (shell.folder / "numbers.txt").write_text("\n".join(numbers), encoding="utf-8")
    return shell


@pytest.fixture
def empty(city_template, tmp_path, monkeypatch, capsys):
    """A shell beside a city without canaries."""
    return shell_of(city_template, tmp_path, monkeypatch, capsys)


@pytest.fixture
def shell(planted_template, tmp_path, monkeypatch, capsys):
    """A shell beside a city with canaries."""
    return shell_of(planted_template[0], tmp_path, monkeypatch, capsys)


def agreed(shell, actor, purpose, persons):
    """Two people on the command line: one asks, another agrees; the id."""
    words = ("--actor", actor, "--purpose", purpose, "--reason", "r", "--persons", str(persons))
    ident = shell.run("ask", *words).out.strip()
    assert shell.run("approve", ident, "--actor", "max").code == 0
    return ident


def test_plant_and_list(empty):
    """Refused alone; with agreement planted, with what whoever plants should know on stderr, and no value anywhere."""
    alone = empty.run(*PLANT)
    assert (alone.code, "agreement" in alone.err) == (3, True)
    done = empty.run(*PLANT, "--learn-from", "500", "--approval", agreed(empty, "ana", "planting", 2_000))
    assert done.code == 0, done.err
    assert done.out.startswith("planted 128 persons with 128 records of persons, ")
    assert "pools 0 (12), 1 (20); learnt from 500 persons" in done.out
    assert "note: persons.person_id: the last numbers are canaries', export it as a token; plain now under extract" in done.err
    assert "registered: 128 canary persons; what is cut short from here on lacks records" in done.err
    listed = empty.run("canaries", "list", "--actor", "max")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["pool", "0", "1"]
    assert listed.out.count("planted") == 2
    assert [one["count"] for one in json.loads(empty.run("canaries", "list", "--actor", "max", "--json").out)] == [12, 20]
    assert empty.run("canaries", "list", "--actor", "ana").code == 3
    with empty.room.keymaster() as keys, strongroom.open(str(empty.room.bucket), keys=keys, actor="kit") as room:
        lines = room.explain("persons", actor="sam", purpose="extract").lines
        assert "  person_id shows whom canaries are: export it as a token" in lines
        assert keys.canaries.dense("kit") == ["persons.person_id"]
        assert keys.canaries.dense("sam") == keys.canaries.dense("mei") == []


def test_a_policy_that_exports_plain_what_tells_canaries_is_warned_of(shell):
    """When it is printed, tried or kept, to whoever may change it; none where the field is a token."""
    told = "warning: purpose extract exports plain what tells canaries from people: export it as a token (persons.person_id)"
    assert told in shell.run("policy", "--actor", "kit").err
    mended = planted_city.POLICY.replace(
        'verbs = ["export"]\ntables.persons = { identity = "plain",',
        'verbs = ["export"]\ntables.persons = { person_id = "withheld", identity = "plain",',
    )
    assert mended != planted_city.POLICY
    (shell.folder / "policy.toml").write_text(mended, encoding="utf-8")
    tried = shell.run("policy", "--actor", "kit", "--test", "policy.toml")
    assert (tried.code, "warning" in tried.err) == (0, False), tried.err


@pytest.mark.parametrize(
    ("toml", "code", "told"),
    [
        (None, 2, "there is no file canaries.toml"),
        ("sources = 3", 2, "sources must be a table"),
        ('[sources.persons]\nmobile = { own = "none.txt" }', 2, "cannot read none.txt"),
        ('[sources.persons]\nresident_id = "complete"', 2, "persons.mobile: a canary's phone must reach nobody"),
    ],
)
def test_a_wrong_policy(empty, toml, code, told):
    """Named by file, place and field; nothing is planted."""
    path = empty.folder / "canaries.toml"
    path.unlink() if toml is None else path.write_text(toml, encoding="utf-8")
    ident = agreed(empty, "ana", "planting", 2_000)
    done = empty.run(*PLANT, "--learn-from", "500", "--approval", ident)
    assert (done.code, told in done.err.replace(str(empty.folder) + "/", "")) == (code, True), done.err
    assert json.loads(empty.run("canaries", "list", "--actor", "max", "--json").out) == []


def test_ask(shell, monkeypatch):
    """One line for each subject, in their order; alone it is refused; answers do not go to a terminal unasked."""
    with shell.room.keymaster() as keys:
        canary = a_canary(shell.room, keys)["person_id"]
    words = ("canaries", "ask", "persons", "--subject", canary, "--subject", "P-nobody", *ASK)
    assert shell.run(*words).code == 3
    ident = agreed(shell, "ada", "asking", 10)
    done = shell.run(*words, "--approval", ident)
    assert (done.code, done.out) == (0, "canary\nno canary\n"), done.err
    piped = ("canaries", "ask", "persons", "--subject", "-", "--json", *ASK, "--approval", ident)
    assert json.loads(shell.run(*piped, stdin=f"P-nobody\n{canary}\n".encode()).out) == [False, True]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = shell.run(*words, "--approval", ident)
    assert (done.code, done.out, "personal values to a terminal" in done.err) == (2, "", True), done.err
    assert shell.run(*words, "--show", "--approval", ident).out == "canary\nno canary\n"


INCIDENT = """
[purposes.incident]
legal_basis = "GDPR 33"
roles = ["officer"]
verbs = ["trace"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
budget = { day = 5_000 }
lookups = { day = 100_000 }
approval = { roles = ["chief"], always = true }
"""


@pytest.fixture
def court(shell):
    """A shell beside a room of which one export went out and two people may disclose; and the export's id."""
    policy = planted_city.POLICY
    for may in ('"slots", "turn"]', '[roles.chief]\nmay = ["log"]'):
        assert policy.count(may) == 1
        policy = policy.replace(may, f'{may[:-1]}, "disclose"]')
    (shell.folder / "policy.toml").write_text(policy + INCIDENT, encoding="utf-8")
    assert shell.run("policy", "--actor", "kit", "--set", "policy.toml").code == 0
    sent = ("--recipient", "uni-north", "--actor", "sam", "--purpose", "extract", "--reason", "study 9", "--json")
    return shell, json.loads(shell.run("export", "persons", "--to", "p.csv", *sent).out)["export_id"]


def test_two_people_open_the_code_row_of_an_export(court):
    """Asked for, agreed to, and written to a new file for its owner alone; one that cannot be written may be had again."""
    shell, export = court
    opening = ("open-code", export, "--actor", "kit")
    assert shell.run(*opening).code == 2
    asked = shell.run(*opening, "--reason", "court, case 9").out.strip()
    assert shell.run(*opening, "--to", "row.json").code == 3
    assert shell.run("approve", asked, "--actor", "max").code == 0
    lost = shell.run(*opening, "--to", "none/row.json")
    assert (lost.code, "cannot write none/row.json" in lost.err) == (2, True), lost.err
    done = shell.run(*opening, "--to", "row.json")
    assert (done.code, "this code row alone accuses nobody" in done.err) == (0, True), done.err
    assert (shell.folder / "row.json").stat().st_mode & 0o777 == 0o600
    again = shell.run(*opening, "--to", "row.json")
    assert (again.code, "row.json exists already" in again.err) == (7, True), again.err


def handed_out(shell, export):
    """The code row of an export, written to a file; its text."""
    asked = shell.run("open-code", export, "--actor", "kit", "--reason", "court, case 9").out.strip()
    assert shell.run("approve", asked, "--actor", "max").code == 0
    assert shell.run("open-code", export, "--actor", "max", "--to", f"{export}.json").code == 0
    return (shell.folder / f"{export}.json").read_text(encoding="utf-8")


def test_a_court_verifies_a_code_row_by_command(court):
    """Where there is no room, no keymaster and no key but the log's: what it says is what the ledger said."""
    shell, export = court
    handed_out(shell, export)
    key = shell.run("log", "--public-key", "--actor", "kit").out
    (shell.folder / "log.key").write_text(key, encoding="utf-8")
    (record,) = json.loads(shell.run("exports", "--actor", "max", "--json").out)
    shutil.rmtree(shell.room.folder)
    (shell.folder / "strongroom.toml").unlink()
    good = shell.run("verify", f"{export}.json", "--key", "log.key")
    assert (good.code, good.err.splitlines()) == (
        0, ["good: the log committed to this code row when the export began, and two people opened it"],
    )  # fmt: skip
    lines = dict(line.split(": ", 1) for line in good.out.splitlines())
    said = {name: value.strip() for name, value in lines.items()}
    assert (said["export"], said["recipient"], said["purpose"], said["exported by"]) == (export, "uni-north", "extract", "sam")
    assert (said["persons"], said["asked for by"], said["agreed to by"]) == (f"{record['persons']:,}", "kit", "max")
    assert said["committed to by"] == f"entry {record['leaf']:,} of the log: {record['commitment']}"
    assert said["log"] == key.split("+")[0]
    alone = shell.run("verify", f"{export}.json")
    assert (alone.code, alone.out) == (0, good.out)
    assert f"key: {key.strip()}" in alone.err
    assert "vouches for itself" in alone.err
    unsaid = shell.run("verify", f"{export}.json", "--json")
    machine = json.loads(unsaid.out)
    assert (machine["key_compared"], "vouches for itself" in unsaid.err, key.strip() in unsaid.err) == (False, True, True)
    compared = shell.run("verify", f"{export}.json", "--json", "--key", "log.key")
    assert (json.loads(compared.out), compared.err) == (machine | {"key_compared": True}, "")
    assert (machine["recipient"], machine["leaf"], machine["opened"]) == ("uni-north", record["leaf"], record["opened"])
    assert machine["log_size"] > machine["opened"] > machine["leaf"]
    coins = json.loads(json.loads((shell.folder / f"{export}.json").read_text(encoding="utf-8"))["row"])[2]["key"]
    assert coins not in good.out + good.err + json.dumps(machine)


def other_entry(shell, export, entry):
    """A keymaster that proves no entry of a trace, or one that was not asked for: nothing is written."""
    real = CodeOpening.give
    for given, wanted in ((None, ("--trace", str(entry))), (entry, ())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CodeOpening, "give", lambda self, actor, of, _traced=None, given=given: real(self, actor, of, given))
            wrong = shell.run("open-code", export, "--actor", "kit", *wanted, "--to", "none.json")
        assert (wrong.code, "another entry of a trace" in wrong.err) == (4, True), wrong
        assert not (shell.folder / "none.json").exists()


def test_what_a_trace_noted_is_proved_beside_the_code_row(court):
    """The entry that the trace named: the finds stood in the log before the row was opened, and after the export began."""
    shell, export = court
    words = ("--actor", "ada", "--purpose", "incident", "--reason", "incident 7", "--persons")
    ident = agreed(shell, "ada", "incident", 2_000)
    traced = shell.run("trace", "p.csv", "--approval", ident, *words, "0", "--json")
    assert traced.code == 0, traced.err
    facts = json.loads(traced.out)["facts"]
    handed_out(shell, export)
    opening = ("open-code", export, "--actor", "kit", "--trace", str(facts["entry"]))
    assert shell.run(*opening).code == 2
    done = shell.run(*opening, "--to", "row.json")
    assert done.code == 0, done.err
    good = shell.run("verify", "row.json")
    assert good.code == 0, good.err
    assert f"finds noted by:   entry {facts['entry']:,} of the log, " in good.out
    assert json.loads(shell.run("verify", "row.json", "--json").out)["finds"]["leaf"] == facts["entry"]
    other_entry(shell, export, facts["entry"])
    for entry, code in (("0", 5), ("99999999999999999999", 5), ("-1", 2)):
        wrong = shell.run(*opening[:-1], entry, "--to", "none.json")
        assert (wrong.code, (shell.folder / "none.json").exists()) == (code, False), wrong
    late = json.loads(shell.run("trace", "p.csv", "--approval", ident, *words, "0", "--json").out)["facts"]["entry"]
    wrong = shell.run(*opening[:-1], str(late), "--to", "none.json")
    assert (wrong.code, "were not noted between" in wrong.err) == (4, True), wrong


def test_a_court_is_told_what_is_wrong_with_a_code_row(court):
    """Another export's row, a changed one, another log's key, a file cut short, no JSON, another kind: each is said."""
    shell, export = court
    sent = ("--recipient", "uni-north", "--actor", "sam", "--purpose", "extract", "--reason", "study 9", "--json")
    other = json.loads(shell.run("export", "persons", "--to", "q.csv", *sent).out)["export_id"]
    text, foreign = handed_out(shell, export), handed_out(shell, other)
    file, theirs = json.loads(text), json.loads(foreign)
    stranger = verifier_key(file["log"], public_key(bytes(32)))

    def told(text, *more):
        (shell.folder / "row.json").write_text(text, encoding="utf-8")
        result = shell.run("verify", "row.json", *more)
        assert (result.code, result.out) == (4, ""), result
        return result.lines[0].removeprefix("strongroom: error: ")

    assert "not what was committed to" in told(json.dumps({**file, "row": theirs["row"]}))
    assert "not what was committed to" in told(text.replace('\\"offers\\":[[0', '\\"offers\\":[[1'))
    assert "not proved under one checkpoint" in told(json.dumps({**theirs, "opened": file["opened"]}))
    assert "not in the tree" in told(text.replace("uni-north", "uni-south"))
    assert "not signed by the key of this log" in told(text, "--key", stranger)
    assert "is no JSON: it was cut short" in told(text[:-20])
    assert "is no JSON" in told("<html>")
    assert "of no kind that is verified here" in told('{"kind": "a letter"}')
    assert "0 of the 1 cosignatures" in told(text, "--witness", Cosigner("north.example/w", public_key(bytes(32))).line())


def test_a_file_that_vouches_for_itself_can_say_nothing_to_a_terminal_but_text(shell):
    """A log made up by whoever wrote the file: a time that is no date is refused, signs that steer a terminal are not printed."""
    row, log = a_row(), RowLog()
    began = log.began(row, recipient="uni\x1b[31m", time=2**63 - 1)
    (shell.folder / "row.json").write_text(text_of(file_of(log, row, began, log.opened(row))), encoding="utf-8")
    wrong = shell.run("verify", "row.json")
    assert (wrong.code, wrong.out, "a time in the file is no date" in wrong.err) == (4, "", True), wrong
    log = RowLog()
    began = log.began(row, recipient="uni\x1b[31m")
    (shell.folder / "row.json").write_text(text_of(file_of(log, row, began, log.opened(row))), encoding="utf-8")
    shown = shell.run("verify", "row.json")
    assert (shown.code, "\x1b" in shown.out, "uni\ufffd[31m" in shown.out) == (0, False, True), shown


class Receiver:
    """Takes notices, or refuses them."""

    def __init__(self, trouble=None):
        self.trouble, self.got = trouble, []

    def send(self, body):
        self.got.append(json.loads(body))
        return self.trouble

    def wait(self, many):
        end = time.monotonic() + 20
        while sum(one["event"] == "canary" for one in self.got) < many and time.monotonic() < end:
            time.sleep(0.01)


@pytest.mark.parametrize("trouble", [None, "status 500"])
def test_the_alarm_is_tested(shell, monkeypatch, trouble):
    """A canary is read and found as a thief would; whoever follows the log hears of it, and that it was a test."""
    monkeypatch.setattr(notifying, "FOLLOW_SECONDS", 0.02)
    monkeypatch.setattr(notifying, "WAITS_SECONDS", ())
    monkeypatch.setattr(alarmtest, "POLL_SECONDS", 0.05)
    ident = agreed(shell, "ada", "asking", 10)
    receiver = Receiver(trouble)
    with shell.room.keymaster() as keys:
        keys.notices.begin()
        notifier = Notifier(keys.notices, keys.room_id, receiver)
        notifier.start()
        try:
            done = shell.run("canaries", "test", "persons", *ASK, "--approval", ident, "--wait", "20")
            receiver.wait(2)  # one that is lost ends the command: the other may be under way
        finally:
            notifier.stop()
    assert "found by get and find: the log has the alarm, entry " in done.out
    assert [(one["event"], one["about"]["act"], one["about"]["test"]) for one in receiver.got if one["event"] == "canary"] == [
        ("canary", "get", 1),
        ("canary", "find", 1),
    ]
    if trouble is None:
        assert (done.code, "the notice was taken" in done.out) == (0, True), done.err
    else:
        assert (done.code, "the notice could not be delivered" in done.out) == (6, True)
    log = shell.run("log", "--actor", "kit", "--last", "20")
    assert "canary-test" in log.out
    assert "1 canary person (test)" in log.out


def test_without_a_webhook_the_test_says_so(shell, monkeypatch):
    """The alarm is in the log, nobody was told: exit code 6 after the wait."""
    monkeypatch.setattr(alarmtest, "POLL_SECONDS", 0.02)
    ident = agreed(shell, "ada", "asking", 10)
    done = shell.run("canaries", "test", "persons", *ASK, "--approval", ident, "--wait", "0.1", "--json")
    assert (done.code, json.loads(done.out)["told"]) == (6, False)
    assert "nobody was told of the alarm" in done.err
    assert "nobody took the notice within 0.1 s" in done.out


def test_the_alarm_of_a_room_without_canaries(empty):
    """There is nothing to test it with."""
    ident = agreed(empty, "ada", "asking", 10)
    done = empty.run("canaries", "test", "persons", *ASK, "--approval", ident)
    assert (done.code, "no canary has records in this room" in done.err) == (5, True), done.err


def test_the_log_marks_what_read_a_canary(shell):
    """In the table and in JSON for whoever may read it; not in one's own."""
    with shell.room.keymaster() as keys:
        number = a_canary(shell.room, keys)["mobile"]
    words = ("--actor", "mei", "--purpose", "delivery", "--reason", "r")
    assert shell.run("find", "persons", "--where", f"mobile={number}", *words).code == 0
    assert "find" in shell.run("log", "--actor", "mei", "--mine", "--last", "3").out
    assert "canar" not in shell.run("log", "--actor", "mei", "--mine").out
    assert "alarm" not in shell.run("log", "--actor", "mei", "--mine", "--json").out
    assert "1 canary person" in shell.run("log", "--actor", "max", "--last", "3").out
