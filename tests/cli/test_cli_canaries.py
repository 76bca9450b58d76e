"""`strongroom canaries …` from the command line: plant, list, ask, test."""

import json
import sys
import time

import planted_city
import pytest
from canary_kit import city_policy
from cli_kit import Shell
from planted_city import PERSONS, SPARE, a_canary, small_sizes

import strongroom
from strongroom.errors import IntegrityError
from strongroom.evidence.coderow import open_row
from strongroom.keyserver import notifying
from strongroom.keyserver.notifying import Notifier
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


def test_two_people_open_the_code_row_of_an_export(shell):
    """Asked for, agreed to, and written to a new file for its owner alone; one that cannot be written may be had again."""
    policy = planted_city.POLICY
    for may in ('"slots", "turn"]', '[roles.chief]\nmay = ["log"]'):
        assert policy.count(may) == 1
        policy = policy.replace(may, f'{may[:-1]}, "disclose"]')
    (shell.folder / "policy.toml").write_text(policy, encoding="utf-8")
    assert shell.run("policy", "--actor", "kit", "--set", "policy.toml").code == 0
    sent = ("--recipient", "uni-north", "--actor", "sam", "--purpose", "extract", "--reason", "study 9", "--json")
    export = json.loads(shell.run("export", "persons", "--to", "p.csv", *sent).out)["export_id"]
    opening = ("open-code", export, "--actor", "kit")
    assert shell.run(*opening).code == 2
    asked = shell.run(*opening, "--reason", "court, case 9").out.strip()
    assert shell.run(*opening, "--to", "row.json").code == 3
    assert shell.run("approve", asked, "--actor", "max").code == 0
    lost = shell.run(*opening, "--to", "none/row.json")
    assert (lost.code, "cannot write none/row.json" in lost.err) == (2, True), lost.err
    done = shell.run(*opening, "--to", "row.json")
    assert (done.code, "this code row alone accuses nobody" in done.err) == (0, True), done.err
    path = shell.folder / "row.json"
    assert path.stat().st_mode & 0o777 == 0o600
    (record,) = json.loads(shell.run("exports", "--actor", "max", "--json").out)
    said = json.loads(path.read_text(encoding="utf-8"))
    assert said["commitment"] == record["commitment"]
    assert open_row(said["row"].encode(), bytes.fromhex(said["commitment"])).export.hex() == said["export"] == export
    with pytest.raises(IntegrityError):
        open_row(said["row"].encode(), bytes(32))
    again = shell.run(*opening, "--to", "row.json")
    assert (again.code, "row.json exists already" in again.err) == (7, True), again.err


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
