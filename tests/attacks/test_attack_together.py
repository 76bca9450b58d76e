"""Calls that a taken server sends together: repeated, beyond a budget, in each other's names, or before the disk has them."""

import os
import time

import msgspec
import numpy as np
import pytest
from room_api import Api
from test_attack_api import Thief, find, get
from test_attack_taken_server import signed

from strongroom.errors import UnavailableError
from strongroom.keymaster import warrant
from strongroom.keymaster.api import Ask
from strongroom.keymaster.database.groupcommit import GroupCommit
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keymaster.readings import Readings
from strongroom.keyserver import together
from strongroom.keyserver.asking import Asking
from strongroom.keyserver.calls import CALLS, read_trouble
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget

REPLIES = Unpacker(list[tuple[int, bytes]])


@pytest.fixture
def api(room):
    with Api(room) as made:
        with made.of("ada").read(purpose="case-work", reason="r") as desk:
            desk.get("persons", "P-000009")  # so that the server has the catalogue
        yield made


@pytest.fixture
def thief(api):
    return Thief(api)


def sent(asking, calls):
    """Calls in one request, as a server sends them: its status, and of each the status and the value or the trouble."""
    status, data = asking._call("together", pack([(name, pack(args)) for name, args in calls]))
    if status != 200:
        return status, read_trouble(data)
    return status, [
        (code, CALLS[name].read_answer(body).value if code == 200 else read_trouble(body))
        for (name, _), (code, body) in zip(calls, REPLIES(data), strict=True)
    ]


def reading(thief, request):
    return ("served.read", {"request": thief.original(*request), "files": []})


def test_a_request_twice_in_one_message_is_answered_once(thief):
    """Both are decided in the same transaction, one after the other."""
    captured = reading(thief, thief.request("ada", "get", get("P-000007")))
    _, answers = sent(thief.keys.asking, [captured, captured])
    assert [code for code, _ in answers] == [200, 403]
    assert answers[1][1].rule == "credential.once"


def test_control_without_the_memory_of_requests_it_is_answered_twice(thief, monkeypatch):
    """Control: the same message where nobody remembers requests."""
    monkeypatch.setattr(warrant.Signer, "once", lambda *_: None)
    captured = reading(thief, thief.request("ada", "get", get("P-000007")))
    assert [code for code, _ in sent(thief.keys.asking, [captured, captured])[1]] == [200, 200]


def spent(thief):
    """How many of six look-ups in one message a credential with three of them is given tokens for; and its id."""
    own = thief.api.keys.credential("ada", budgets=OwnBudgets(Budget(), Budget(day=3), Budget()))
    calls = [reading(thief, signed(thief, own, "find", find(number))) for number in range(6)]
    answers = sent(thief.keys.asking, calls)[1]
    return [code for code, _ in answers], own.id


def test_calls_together_do_not_exceed_a_budget(thief):
    """Each sees what those before it in the transaction have spent; who is refused undoes nothing of theirs."""
    codes, ident = spent(thief)
    assert codes == [200, 200, 200, 429, 429, 429]
    said = [e for e in thief.api.keys.log_entries("kit") if e.get("credential") == ident]
    assert [e["decision"] for e in said] == ["allowed"] * 3 + ["refused"] * 3


def test_control_where_nothing_is_counted_they_are_all_answered(thief, monkeypatch):
    """Control: the same message, and the credential's own budgets limit nothing."""
    monkeypatch.setattr(warrant.Signer, "holder", property(lambda self: warrant.Holder(self.credential)))
    assert spent(thief)[0] == [200] * 6


def test_each_call_is_noted_under_its_own_credential(thief):
    """Calls of three credentials take turns in one transaction; none of them is noted under another's."""
    own = [thief.api.keys.credential("ada") for _ in range(3)]
    calls = [reading(thief, signed(thief, own[number % 3], "find", find(number))) for number in range(6)]
    before = len(thief.api.keys.log_entries("kit"))
    assert [code for code, _ in sent(thief.keys.asking, calls)[1]] == [200] * 6
    said = [e["credential"] for e in thief.api.keys.log_entries("kit")[before:] if e["act"] == "open"]
    assert said == [own[number % 3].id for number in range(6)]


def closed(thief):
    """How often a reading that was ended twice in one message gave back the look-ups that it had not used."""
    keys = thief.api.keys
    with keys.connect(keys.credential("ada", server=True)) as own:
        reading_id = own.begin_reading(actor="ada", purpose="case-work", reason="r").reading_id
        for number in range(4):  # so many that some are reserved
            own.subject_tokens(reading_id, "persons", [f"P-{number:06}"])
        nobody = np.zeros((0, 16), np.uint8)
        calls = [
            ("served.release", {"reading": reading_id, "ask": Ask(os.urandom(16), "get", "persons", None, nobody, nobody)})
            for _ in range(2)
        ]
        before = len(keys.log_entries("kit"))
        codes = [code for code, _ in sent(own.asking, [*calls, ("end_reading", {"reading": reading_id})])[1]]
        assert codes == [200, 404, 200]  # what the first release ended, another does not find
        return len([e for e in keys.log_entries("kit")[before:] if e["act"] == "close"])


def test_look_ups_are_given_back_once(thief):
    """Whoever ends a reading many times at once does not fill a budget again."""
    assert closed(thief) == 1


def test_control_where_a_reading_keeps_what_it_gave_back_it_gives_it_again(thief, monkeypatch):
    """Control: the same message, and what is left stays in the reading."""
    real = Readings.end_with

    def keeping(readings, rows, reading):
        left = reading.left
        real(readings, rows, reading)
        reading.left = left

    monkeypatch.setattr(Readings, "end_with", keeping)
    assert closed(thief) == 2


def commit_that_fails(monkeypatch):
    def fail(_state):
        raise UnavailableError("the disk is full")

    monkeypatch.setattr(SqliteState, "_commit", fail)


def test_nobody_is_answered_before_the_disk_has_it(thief, monkeypatch):
    """The commit fails: none of the calls that shared it has a token or a key, and none is noted."""
    before = len(thief.api.keys.log_entries("kit"))
    own = thief.api.keys.credential("ada")
    calls = [reading(thief, signed(thief, own, "find", find(number))) for number in range(4)]
    with monkeypatch.context() as patched:
        commit_that_fails(patched)
        answers = sent(thief.keys.asking, calls)[1]
    assert [(code, said.kind) for code, said in answers] == [(503, "UnavailableError")] * 4
    assert not [e for e in thief.api.keys.log_entries("kit")[before:] if e["act"] == "open"]


def test_control_who_answers_before_the_commit_gives_tokens_that_nobody_noted(thief, monkeypatch):
    """Control: where what came of a part counts before its commit, tokens go out without an entry."""

    def early(group, works):
        with group._state.write() as rows:
            found = [group._part(rows, work) for work in works]
            rows.execute("ROLLBACK")
            rows.execute("BEGIN")
        return found

    before = len(thief.api.keys.log_entries("kit"))
    own = thief.api.keys.credential("ada")
    calls = [reading(thief, signed(thief, own, "find", find(number))) for number in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(GroupCommit, "run_all", early)
        answers = sent(thief.keys.asking, calls)[1]
    assert [code for code, _ in answers] == [200, 200]
    assert answers[0][1].tokens["mobile"]
    assert not [e for e in thief.api.keys.log_entries("kit")[before:] if e["act"] == "open"]


def test_only_a_server_sends_calls_together_and_only_those(thief):
    """A direct caller, other calls, a message within a message, a large one, too many: nothing of it is answered."""
    keys = thief.api.keys
    direct = Asking(keys.url, keys.credential("ada"), None, time.time, os.urandom)
    direct.greet()
    status, trouble = sent(direct, [("end_reading", {"reading": bytes(16)})])
    assert (status, trouble.rule) == (403, "room.server-only")
    direct.close()
    ending = ("end_reading", {"reading": bytes(16)})
    large = ("end_reading", {"reading": bytes(together.CALL_BYTES_MOST)})
    for calls in ([("head", {})], [ending, ("set_policy", {"text": ""})], [large], [ending] * (together.CALLS_MOST + 1)):
        assert sent(thief.keys.asking, calls)[0] == 400
    assert thief.keys.asking._call("together", pack([("together", pack([]))]))[0] == 400
    assert thief.keys.asking._call("together", b"\xc1")[0] == 400


def test_an_error_of_one_call_is_nobody_elses(thief):
    """A reading that is not there, a table that is not, and a request that is as it should be."""
    strange = msgspec.structs.replace(find(), table="nowhere")
    calls = [
        ("end_reading", {"reading": bytes(16)}),
        reading(thief, signed(thief, thief.api.keys.credential("ada"), "find", strange)),
        reading(thief, thief.request("ada", "find", find())),
    ]
    codes = [code for code, _ in sent(thief.keys.asking, calls)[1]]
    assert codes[0] == 404
    assert codes[1] >= 400
    assert codes[2] == 200
