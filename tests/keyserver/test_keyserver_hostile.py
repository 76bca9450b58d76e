"""A keymaster that answers whatever it likes: its client raises errors of this library, and believes nothing that does not fit."""

import contextlib
import math
import socket
import threading

import numpy as np
import pyarrow as pa
import pytest
from hostile_kit import ANY, values_of
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import BudgetError, IntegrityError, StrongroomError, UnavailableError
from strongroom.identity.credential import new_credential
from strongroom.keymaster.api import Ask, AtOnce, BucketCopy, Head, Lease
from strongroom.keymaster.canaries.api import NewPool
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.log.api import Which
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver import wire
from strongroom.keyserver.asking import Asking
from strongroom.keyserver.calls import CALLS, VERSION, Hello, Said, Trouble
from strongroom.keyserver.client import RemoteKeymaster
from strongroom.keyserver.frames import pack
from strongroom.keyserver.newcomers import Challenge, SignedIn
from strongroom.keyserver.signing_in import Newcomer
from strongroom.keyserver.wire import Wire

ROOM = bytes(16)
ID = b"i" * 16
HEAD = Head(1, ID, bytes(32), 9, ID)
LEASE = Lease(ID, "ada", "put", None, HEAD, 0.0)
TOKENS = np.zeros((2, 16), np.uint8)
ENTRIES = np.zeros((2, 44), np.uint8)
COLUMN = pa.array(["a", "b"])
WHICH = Which()
EXPORT = ExportPlan(("t",), "r", 1)
POOL = NewPool(1, COLUMN, np.arange(2, dtype=np.uint32), TOKENS, np.zeros((2, 32), np.uint8))
SAMPLE = SampleFound(
    TOKENS, np.zeros(2, np.bool_), np.zeros(2, np.uint64), [("t", "f")], bytes(32), 2, 0.5, np.ones(2, np.bool_)
)

# every call, as the client's methods make it
METHODS = {
    "schema": lambda k: k.schema(),
    "table_version": lambda k: k.table_version(ID, 1),
    "policy": lambda k: k.policy(),
    "set_schema": lambda k: k.set_schema("ada", "x"),
    "set_policy": lambda k: k.set_policy("ada", "x"),
    "head": lambda k: k.head(),
    "head_at": lambda k: k.head_at(1),
    "bucket_copies": lambda k: k.bucket_copies(),
    "note_copy": lambda k: k.note_copy(LEASE, BucketCopy("u", 1, 1, 1, 0.0)),
    "begin_put": lambda k: k.begin_put(actor="ada", table="t", request_id=ID),
    "begin_maintenance": lambda k: k.begin_maintenance(actor="ada", verb="compact"),
    "renew": lambda k: k.renew(LEASE),
    "seen_source": lambda k: k.seen_source(LEASE, ID),
    "mint_batch": lambda k: k.mint_batch(LEASE),
    "mint_file_key": lambda k: k.mint_file_key(LEASE, 1, ID, None),
    "seal_subjects": lambda k: k.seal_subjects(LEASE, ID, COLUMN),
    "seal_index": lambda k: k.seal_index(LEASE, ID, "f", COLUMN, TOKENS, np.zeros(2, np.uint32)),
    "file_keys": lambda k: k.file_keys(LEASE, [ID])[ID],
    "ended_objects": lambda k: k.ended_objects(LEASE, [ID]),
    "commit": lambda k: k.commit(LEASE, HEAD, HEAD, {}),
    "rotate_index": lambda k: k.rotate_index(LEASE, "t", "f", TOKENS, ENTRIES),
    "abandon": lambda k: k.abandon(LEASE),
    "begin_reading": lambda k: k.begin_reading(actor="ada", purpose="p", reason="r"),
    "end_reading": lambda k: k.end_reading(ID),
    "block_keys": lambda k: k.block_keys(ID, ID, 1, [1, 2], None)[1],
    "subject_tokens": lambda k: k.subject_tokens(ID, "t", ["a", "b"])[1].tobytes(),
    "value_tokens": lambda k: k.value_tokens(ID, "t", "f", ["a", "b"])[1].tobytes(),
    "open_hits": lambda k: k.open_hits(ID, "t", "f", TOKENS, ENTRIES),
    "release": lambda k: k.release(ID, Ask(ID, "get", "t", None, TOKENS, TOKENS)),
    "stand_ins": lambda k: k.stand_ins(ID, "t", "f", ["a", "b"])[1],
    "note_sql": lambda k: k.note_sql(ID, ID, "t", ["f"], 1),
    "exports.begin": lambda k: k.exports.begin(ID, EXPORT),
    "exports.add": lambda k: k.exports.add(ID, ID, "t", TOKENS, TOKENS),
    "exports.start": lambda k: k.exports.start(ID, ID),
    "exports.started": lambda k: k.exports.started(ID, ID),
    "exports.resume": lambda k: k.exports.resume(ID, ID, EXPORT),
    "exports.release": lambda k: k.exports.release(ID, ID, "t", TOKENS, TOKENS),
    "exports.end": lambda k: k.exports.end(ID, ID, {"t": 1}, bytes(32)),
    "exports.tokenize": lambda k: k.exports.tokenize(ID, ID, "t", "f", COLUMN)[1],
    "exports.detokenize": lambda k: k.exports.detokenize(ID, ID, "t", "f", COLUMN)[1][1],
    "exports.ask_open": lambda k: k.exports.ask_open("ada", "00", "r"),
    "exports.open_code": lambda k: k.exports.open_code("ada", "00"),
    "exports.all": lambda k: k.exports.all("ada"),
    "canaries.register": lambda k: k.canaries.register(ID, [POOL])[0],
    "canaries.hidden": lambda k: k.canaries.hidden(ID, "t", ID, ID).of(TOKENS),
    "canaries.pools": lambda k: k.canaries.pools("ada"),
    "canaries.known": lambda k: k.canaries.known(ID, "t", ["a", "b"])[1],
    "canaries.planted_pools": lambda k: k.canaries.planted_pools(ID),
    "canaries.planted": lambda k: k.canaries.planted(ID, [1], ["t.f"]),
    "canaries.dense": lambda k: k.canaries.dense("ada"),
    "canaries.is_canary": lambda k: k.canaries.is_canary(ID, "t", ["a", "b"])[1],
    "canaries.trial": lambda k: k.canaries.trial(ID, "t"),
    "canaries.heard": lambda k: k.canaries.heard(ID),
    "traces.look_up": lambda k: k.traces.look_up(ID, "t", "f", COLUMN, 1).tokens[1],
    "traces.open_hits": lambda k: ENTRIES[k.traces.open_hits(ID, "t", "f", TOKENS, ENTRIES).rows],
    "traces.name_tokens": lambda k: k.traces.name_tokens(ID, "t", "f", COLUMN),
    "traces.try_formed": lambda k: k.traces.try_formed(ID, "t", "f", COLUMN, held=1, snapshot=1),
    "traces.name_formed": lambda k: k.traces.name_formed(ID, TOKENS, ENTRIES),
    "traces.behind_tokens": lambda k: k.traces.behind_tokens(ID, "00", "t", "f", COLUMN, 1).there[1],
    "traces.weigh": lambda k: [ID[one.at] for one in k.traces.weigh(ID, SAMPLE).excluded],
    "traces.versions": lambda k: TOKENS[k.traces.versions(ID, "t", ["f"], TOKENS, TOKENS).missing],
    "publish": lambda k: k.publish(),
    "is_checkpoint": lambda k: k.is_checkpoint("x"),
    "log_key": lambda k: k.log_key(),
    "log_entries": lambda k: k.log_entries("ada"),
    "check_checkpoint": lambda k: k.check_checkpoint("x"),
    "verify_log": lambda k: k.verify_log(),
    "logs.newest": lambda k: k.logs.newest("ada", WHICH, 5),
    "logs.touched": lambda k: k.logs.touched("ada", WHICH),
    "logs.persons": lambda k: k.logs.persons("ada", WHICH, "r"),
    "erasures.plan": lambda k: k.erasures.plan(LEASE, COLUMN),
    "erasures.erase": lambda k: k.erasures.erase(LEASE, TOKENS, "r"),
    "erasures.hold": lambda k: k.erasures.hold("ada", [["a"]], "r"),
    "erasures.proofs": lambda k: k.erasures.proofs("ada", [1])[0],
    "erasures.buried": lambda k: k.erasures.buried(LEASE, "t", ID, ID).of(TOKENS),
    "erasures.buried_for_reading": lambda k: k.erasures.buried(ID, "t", ID, ID).of(TOKENS),
    "erasures.clean_through": lambda k: k.erasures.clean_through(LEASE, [ID])[0],
    "erasures.clean_through_for_reading": lambda k: k.erasures.clean_through(ID, [ID])[0],
    "erasures.horizon": lambda k: k.erasures.horizon(LEASE, "t", 1),
    "erasures.erased": lambda k: k.erasures.erased(ID, ID),
    "erasures.dead_entries": lambda k: k.erasures.dead_entries(LEASE, "t", "f", TOKENS, ENTRIES),
    "erasures.unclean": lambda k: k.erasures.unclean(LEASE, [ID]),
    "erasures.cleaned": lambda k: k.erasures.cleaned(LEASE, [ID]),
    "erasures.destroy_keys": lambda k: k.erasures.destroy_keys(LEASE, [ID]),
    "persons.begin": lambda k: k.persons.begin(ID, "t", "a"),
    "persons.days": lambda k: k.persons.days(ID, 1, 0),
    "persons.entries": lambda k: k.persons.entries(ID, 1, [1]),
    "credentials.all": lambda k: k.credentials.all("ada"),
    "credentials.own": lambda k: k.credentials.own(),
    "credentials.add": lambda k: k.credentials.add("ada", Wanted("ada", bytes(32), 1.0)),
    "credentials.revoke": lambda k: k.credentials.revoke("ada", "x"),
    "credentials.sign_out": lambda k: k.credentials.sign_out(),
    "identities.all": lambda k: k.identities.all("ada"),
    "identities.revoke": lambda k: k.identities.revoke("ada", "x"),
    "approvals.ask_read": lambda k: k.approvals.ask_read("ada", "p", 1, "r"),
    "approvals.decide": lambda k: k.approvals.decide("ada", "x", agree=True),
    "approvals.waiting": lambda k: k.approvals.waiting("ada"),
    "freezing.all": lambda k: k.freezing.all(),
    "freezing.freeze": lambda k: k.freezing.freeze("ada", "actor", "x", "r"),
    "freezing.ask_lift": lambda k: k.freezing.ask_lift("ada", "actor", "x", "r"),
    "reviews.all": lambda k: k.reviews.all("ada"),
    "reviews.close": lambda k: k.reviews.close("ada", "x", "t"),
    "tails.next": lambda k: k.tails.next(),
    "tails.placed": lambda k: k.tails.placed(1),
    "tails.needed_from": lambda k: k.tails.needed_from(),
    "tails.is_behind": lambda k: k.tails.is_behind("x"),
    "tails.chosen": lambda k: k.tails.catch_up("x", ["tail/a"], lambda name: {"tail/a": b"x"}[name]),
    "tails.accept_gap": lambda k: k.tails.accept_gap("ada", None),
    "tails.openable": lambda k: k.tails.openable(),
}


class Hostile:
    """A client whose keymaster greets properly and answers what it is told."""

    def __init__(self):
        own = new_credential(ROOM, "ada")
        self.asking = Asking("http://127.0.0.1:1", own, None, lambda: 1.0, bytes)
        self.keys = RemoteKeymaster(self.asking)
        self.hello = pack(Hello("0123abcd", ROOM, "ada", 0.0, VERSION))
        self.status, self.data = 200, b""
        self.asking._wire.post = lambda path, _body, _headers: (
            (200, self.hello) if path.endswith("/hello") else (self.status, self.data)
        )


def raises_only_ours(work):
    """Whatever comes of it, if it raises it is an error of this library."""
    with contextlib.suppress(StrongroomError):
        work()


def test_every_call_is_made_by_some_method():
    """What is fuzzed below is all that a client asks; a server's own calls and those of its tests stand aside."""
    apart = {"identities.add", "tails.catch_up", *(name for name in CALLS if name.startswith("served."))}
    assert METHODS.keys() == CALLS.keys() - apart


@pytest.mark.parametrize("name", METHODS)
def test_answers_of_any_content_raise_only_errors_of_this_library(name):
    """Every call, with values of the right types and whatever content: arrays of other lengths, numbers at their ends."""
    hostile = Hostile()

    @given(values_of(CALLS[name].gives), st.integers(0, 5))
    def answered(value, standing):
        hostile.data = pack(Said(standing, value))
        raises_only_ours(lambda: METHODS[name](hostile.keys))

    answered()


@given(st.sampled_from(sorted(METHODS)), st.one_of(st.binary(max_size=200), ANY.map(pack)), st.sampled_from((200, 403, 421, 502)))
def test_bytes_that_are_no_answer_are_told_as_such(name, data, status):
    """Neither of the call nor an error: integrity where it says that all is well, unavailable else."""
    hostile = Hostile()
    hostile.status, hostile.data = status, data
    with contextlib.suppress(IntegrityError, UnavailableError):
        METHODS[name](hostile.keys)


@given(values_of(Trouble), st.sampled_from((400, 401, 403, 421, 500)))
def test_errors_of_any_content_are_errors_of_this_library(trouble, status):
    """Any kind, any time at which a budget comes back."""
    hostile = Hostile()
    hostile.status, hostile.data = status, pack(trouble)
    with pytest.raises(StrongroomError) as raised:
        hostile.keys.head()
    assert not isinstance(raised.value, BudgetError) or (raised.value.resets_at or 0) >= 0


@given(values_of(Hello))
def test_greetings_of_any_content(hello):
    """Another room, actor or version, or a name that is no name of a process, ends it before a call is signed for it."""
    hostile = Hostile()
    hostile.hello = pack(hello)
    with contextlib.suppress(IntegrityError):
        hostile.keys.head()
    assert hostile.asking._instance.isalnum() or hostile.asking._instance == ""


@pytest.mark.parametrize("instance", ["", "a/b", "a\r\nX: y", "号", "a" * 65, "../x"])
def test_a_name_that_changes_the_path_is_refused(instance):
    """What a client signs is the path it means."""
    hostile = Hostile()
    hostile.hello = pack(Hello(instance, ROOM, "ada", 0.0, VERSION))
    with pytest.raises(IntegrityError, match="that is none"):
        hostile.keys.head()


@given(st.one_of(st.binary(max_size=100), values_of(Challenge).map(pack), values_of(SignedIn).map(pack)), st.sampled_from((200, 401)))
def test_a_newcomer_is_told_of_answers_that_are_none(data, status):
    """Signing in: the same."""
    new = Newcomer("http://127.0.0.1:1", ROOM, None, lambda: 1.0, bytes)
    new._wire.post = lambda *_: (status, data)
    raises_only_ours(new.challenge)
    raises_only_ours(lambda: new.by_token("t"))


# -- answers that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject_tokens", np.zeros((1, 16), np.uint8)),
        ("subject_tokens", np.zeros((2, 15), np.uint8)),
        ("subject_tokens", np.zeros(32, np.uint8)),
        ("block_keys", [bytes(32)]),
        ("block_keys", [bytes(32), bytes(31)]),
        ("file_keys", {}),
        ("file_keys", {ID: b"short"}),
        ("stand_ins", ["one"]),
        ("ended_objects", [b"another"]),
        ("tails.chosen", ["snapshot/1"]),
        ("log_entries", [{"leaf": 3}, {"leaf": 3}]),
        ("log_entries", [{}]),
        ("release", {"keys": {"c": np.zeros((1, 32), np.uint8)}, "leaf": 1, "persons": 1, "remaining": {}}),
        ("release", {"keys": {}, "leaf": 1, "persons": 1, "remaining": {}, "missing": [2]}),
        ("exports.begin", b"short"),
        ("exports.tokenize", pa.array(["one"])),
        ("exports.release", {"keys": {"c": np.zeros((1, 32), np.uint8)}, "leaf": 1, "persons": 1, "remaining": {}}),
        ("erasures.dead_entries", np.zeros(3, np.bool_)),
        (
            "open_hits",
            {"subject_tokens": TOKENS, "sequences": np.zeros(1, np.uint64), "ordinals": np.zeros(2, np.uint32)},
        ),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(name, value):
    """Fewer rows, other sizes, objects that nobody offered: told, before anybody looks at it."""
    hostile = Hostile()
    hostile.data = pack(Said(1, value))
    with pytest.raises(IntegrityError, match="does not fit"):
        METHODS[name](hostile.keys)


OPENED = {"subject_tokens": TOKENS, "sequences": np.zeros(2, np.uint64), "ordinals": np.zeros(2, np.uint32)}
RELEASED = {"keys": {"c": np.zeros((2, 32), np.uint8)}, "leaf": 1, "persons": 2, "remaining": {}}


@pytest.mark.parametrize(
    ("released", "wanted"),
    [
        (RELEASED, None),
        ({**RELEASED, "keys": {"c": np.zeros((1, 32), np.uint8)}}, AtOnce(ID, None, 10, 1)),
        ({**RELEASED, "keys": {"c": np.zeros((2, 31), np.uint8)}}, AtOnce(ID, None, 10, 1)),
        ({**RELEASED, "missing": [1]}, AtOnce(ID, None, 10, 1)),
    ],
)
def test_what_is_released_at_once_fits_the_hits_and_was_wanted(released, wanted):
    """Keys for other rows, of another size, of nobody, or that nobody asked for: told."""
    hostile = Hostile()
    hostile.data = pack(Said(1, {**OPENED, "released": released}))
    with pytest.raises(IntegrityError, match="does not fit"):
        hostile.keys.open_hits(ID, "t", "f", TOKENS, ENTRIES, wanted)
    hostile.data = pack(Said(1, {**OPENED, "released": RELEASED}))  # control
    assert hostile.keys.open_hits(ID, "t", "f", TOKENS, ENTRIES, AtOnce(ID, None, 10, 1)).released.persons == 2


EXPORTED = {
    "id": "0a" * 16, "leaf": 1, "actor": "a", "purpose": "p", "recipient": "r", "at": 1.0, "snapshot": 1, "tables": ["t"],
    "fields": {}, "named": False, "where": "", "persons": 1, "approval": "", "approver": "", "commitment": "",
    "marked": True, "names_from": 1, "why_none": "", "opened": -1, "state": "ended", "records": 1, "root": "",
    "ended": 1.0, "ended_leaf": 2,
}  # fmt: skip
ACCUSED = {"export": b"\x0a" * 16, "log_e": 30.0, "held": 1, "offered": 1}
VERDICT = {
    "accused": [ACCUSED], "epsilon": 1e-9, "ever_issued": 2, "threshold": math.log(2e9), "judged": 2, "found": 1,
    "nearest": 3.0, "spent": [],
}  # fmt: skip
WEIGHED = {
    "leaf": 1, "digest": bytes(32), "verdict": VERDICT, "others": np.array([3.0]), "accused": [EXPORTED],
    "excluded": [{"export": EXPORTED, "at": 1, "outside": 0}], "why_none": "", "persons": 1, "sure": 1, "counts": [1],
    "in_accused": 5,
}  # fmt: skip
ORIGIN = {"export": EXPORTED, "verified": 1, "tried": 2, "log_e": 60.0, "chance": 1e-20}
VERSIONS = {
    "keys": {"c": np.zeros((2, 32), np.uint8)}, "missing": np.array([1]), "born": np.zeros(2, np.uint64),
    "minted": np.ones(2), "since": 1.0, "leaf": 1, "persons": 1, "left_out": 0,
}  # fmt: skip
TRACED = {
    "traces.look_up": ({"tokens": TOKENS, "there": np.ones(2, np.bool_)}, [{"there": np.ones(3, np.bool_)}, {"tokens": ENTRIES}]),
    "traces.open_hits": (
        {"subjects": TOKENS, "rows": np.array([0, 1])},
        [{"rows": np.array([0, 2])}, {"rows": np.array([-1, 1])}, {"rows": np.array([1, 0])}, {"subjects": TOKENS[:1]}],
    ),
    "traces.try_formed": (
        {"lookups": 4, "asked": np.arange(32, dtype=np.uint8).reshape(2, 16)},
        [{"asked": TOKENS}, {"lookups": 1}, {"lookups": 1 << 40}, {"asked": ENTRIES}],
    ),
    "traces.weigh": (
        WEIGHED,
        [
            {"excluded": [{"export": EXPORTED, "at": 2, "outside": 0}]},
            {"excluded": [{"export": EXPORTED, "at": -1, "outside": 0}]},
            {"excluded": [{"export": {**EXPORTED, "id": "<b>"}, "at": 1, "outside": 0}]},
            {"accused": [{**EXPORTED, "id": "0b" * 16}]},
            {"accused": [], "verdict": None},
            {"digest": b"short"}, {"counts": [1, 1]}, {"persons": 3}, {"sure": 2}, {"others": np.array([np.nan])},
            {"others": np.array([99.0])}, {"persons": 2},
            *(
                {"verdict": {**VERDICT, **lie}}
                for lie in (
                    {"accused": [{**ACCUSED, "log_e": 21.0}]}, {"accused": [{**ACCUSED, "log_e": math.nan}]},
                    {"threshold": 3.0}, {"epsilon": 0.5}, {"ever_issued": 1}, {"found": 2}, {"nearest": 4.0},
                    {"accused": [ACCUSED, ACCUSED]}, {"judged": 3},
                )
            ),
        ],
    ),
    "traces.versions": (
        VERSIONS,
        [
            {"keys": {"c": np.zeros((1, 32), np.uint8)}}, {"missing": np.array([2])}, {"born": np.zeros(1, np.uint64)},
            {"minted": np.array([1.0, np.inf])}, {"minted": np.array([1.0, np.nan])}, {"since": math.inf}, {"persons": 3},
        ],
    ),
}  # fmt: skip
"""What is true of each call of a trace, and lies that contradict it or the question."""


@pytest.mark.parametrize("name", TRACED)
def test_a_trace_s_answer_that_contradicts_itself_or_the_question_is_refused(name):
    """Nobody is accused below the bound, or without a name; no place, key or time is one that cannot be."""
    hostile = Hostile()
    true, lies = TRACED[name]
    hostile.data = pack(Said(1, true))
    METHODS[name](hostile.keys)
    for lie in lies:
        hostile.data = pack(Said(1, {**true, **lie}))
        with pytest.raises(IntegrityError, match="does not fit"):
            METHODS[name](hostile.keys)


@pytest.mark.parametrize("name", ["traces.name_tokens", "traces.name_formed"])
def test_tokens_name_no_export_without_evidence(name):
    """Of a chance above the bound, of none that verifies, twice, or of one that has no id."""
    hostile = Hostile()
    hostile.data = pack(Said(1, [ORIGIN]))
    assert METHODS[name](hostile.keys)[0].export.id == "0a" * 16
    for lie in ({"chance": 1e-3}, {"chance": math.nan}, {"verified": 0}, {"verified": 3}, {"export": {**EXPORTED, "id": "x"}}):
        hostile.data = pack(Said(1, [{**ORIGIN, **lie}]))
        with pytest.raises(IntegrityError, match="does not fit"):
            METHODS[name](hostile.keys)
    hostile.data = pack(Said(1, [ORIGIN, ORIGIN]))
    with pytest.raises(IntegrityError, match="does not fit"):
        METHODS[name](hostile.keys)


def test_a_log_that_never_ends_ascends(monkeypatch):
    """Pages of a log that begin again, or go back, are refused."""
    monkeypatch.setattr("strongroom.keyserver.client.LOG_ENTRIES_AT_ONCE", 2)
    hostile = Hostile()
    hostile.data = pack(Said(1, [{"leaf": 0}, {"leaf": 1}]))
    with pytest.raises(IntegrityError, match="log_entries does not fit"):
        hostile.keys.log_entries("ada")


# -- bytes over a socket -----------------------------------------------------------------------


class Talker:
    """Says the same bytes to everybody who comes, and hangs up."""

    def __init__(self):
        self.data = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                with contextlib.suppress(OSError), one:
                    one.recv(1 << 16)
                    one.sendall(self.data)

    def close(self):
        self._listening.close()


PIECES = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 99999 X\r\n", b"HTTP/9.9 200 OK\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"hello",
    b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\nConnection: Upgrade\r\n", b"\r\n", b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n", b"X: \xff\r\n", b"\0", b"Connection: close\r\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def talker():
    made = Talker()
    yield made
    made.close()


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join), st.binary(max_size=60)))
def test_whatever_a_server_sends_is_an_answer_or_unavailable(talker, data):
    """Status lines, lengths and upgrades that are none, and anything else."""
    talker.data = data
    one = Wire(talker.url, "server", None)
    try:
        status, body = one.post("/x", b"{}", {})
    except UnavailableError:
        return
    finally:
        one.close()
    assert isinstance(status, int)
    assert isinstance(body, bytes)


def test_an_upgrade_is_no_answer(talker):
    """A server that switches protocols is told as one that does not answer."""
    talker.data = b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    with pytest.raises(UnavailableError):
        Wire(talker.url, "server", None).post("/x", b"", {})


@pytest.mark.parametrize("received", [1, 20, 40, 64, 4096])
def test_an_answer_is_whole_wherever_it_is_cut(talker, monkeypatch, received):
    """Also where a piece ends behind the length that is said, and the headers go on: what comes then is no body yet."""
    monkeypatch.setattr(wire, "_RECEIVED", received)
    body = bytes(range(256)) * 20
    talker.data = b"HTTP/1.1 200 OK\r\nContent-Length: 5120\r\nX: y\r\n\r\n" + body
    one = Wire(talker.url, "server", None)
    assert one.post("/x", b"{}", {}) == (200, body)
    one.close()


def test_an_answer_without_end_is_given_up(talker, monkeypatch):
    """It is held up to so many bytes."""
    monkeypatch.setattr(wire, "ANSWER_BYTES_MAX", 1000)
    talker.data = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000)
    with pytest.raises(UnavailableError):
        Wire(talker.url, "server", None).post("/x", b"", {})
