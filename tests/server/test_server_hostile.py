"""A room's server that answers whatever it likes: its client raises errors of this library, and goes on for ever with nothing."""

import contextlib

import msgspec
import pyarrow as pa
import pytest
from hostile_kit import ANY, values_of
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import BudgetError, IntegrityError, StrongroomError, UnavailableError
from strongroom.identity.credential import new_credential
from strongroom.server.answers import ANSWERS, LogSaid, Problem, SqlSaid
from strongroom.server.client import RoomClient
from strongroom.server.problem import TYPE

METHODS = {
    "get": lambda c: c.read(purpose="p", reason="r").each("t", ["a", "b"]),
    "find": lambda c: c.read(purpose="p", reason="r").find("t", {"f": "v"}),
    "sql": lambda c: c.read(purpose="p", reason="r").sql("select 1"),
    "put": lambda c: c.put("t", b"a\n1\n", format="csv"),
    "erase": lambda c: c.erase("a", reason="r"),
    "hold": lambda c: c.hold("a", reason="r"),
    "unhold": lambda c: c.unhold("a", reason="r"),
    "erasure-receipt": lambda c: c.erasure_receipt(7),
    "tokenize": lambda c: c.tokenize("0a" * 16, "t", "f", ["a", "b"], purpose="p", reason="r")[1],
    "detokenize": lambda c: c.detokenize("0a" * 16, "t", "f", ["a", "b"], purpose="p", reason="r")[1],
    "exports": lambda c: [one.to_dict() for one in c.exports()],
    "rejects": lambda c: [one.row() for one in c.rejects()],
    "reput-rejects": lambda c: c.reput_rejects(records=1).to_dict(),
    "open-rejects": lambda c: c.read(purpose="p", reason="r").rejects(),
    "retention": lambda c: [one.everything for one in c.retention()],
    "policy": lambda c: (c.cedar(), c.policy),
    "log": lambda c: c.log(),
    "subject-log": lambda c: c.read(purpose="p", reason="r").log("a", table="t"),
    "explain": lambda c: c.explain("t"),
    "schema": lambda c: c.schema,
    "whoami": lambda c: c.whoami(),
}
TYPES = ("int64", "string", "date32[day]", "timestamp[us]", "double", "bool", "uint8", "null", "list", "x", "month_day_nano_interval")
DATES = ("2026-11-29", "0000-00-00", "9999-99-99T", "2026-11-29T00:00:00+99:99", "")


class Hostile:
    def __init__(self):
        self.status, self.data, self.asked = 200, b"", 0
        self.client = RoomClient("http://127.0.0.1:1", new_credential(bytes(16), "ada"), clock=lambda: 1.0, entropy=bytes)
        self.client._wire.post = self.post

    def post(self, *_args):
        self.asked += 1
        assert self.asked < 50, "it asks for ever"
        return self.status, self.data

    def says(self, value, status=200):
        self.status, self.asked = status, 0
        self.data = value if isinstance(value, bytes) else msgspec.json.encode(value)


def in_json(value):
    """Whether a value goes into JSON."""
    with contextlib.suppress(Exception):
        return bool(msgspec.json.encode(value))
    return False


def test_every_verb_is_fuzzed():
    """What is fuzzed below is all that the client asks."""
    assert METHODS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("verb", METHODS)
def test_answers_of_any_content_raise_only_errors_of_this_library(verb):
    """Of the right shape, with whatever in it; and bytes that are none."""
    hostile = Hostile()
    drawn = values_of(ANSWERS[verb]).filter(in_json)

    @given(st.one_of(drawn, ANY.filter(in_json), st.binary(max_size=60), st.just(b"[" * 100_000)))
    def answered(value):
        hostile.says(value)
        with contextlib.suppress(StrongroomError):
            METHODS[verb](hostile.client)

    answered()


@given(
    st.lists(st.sampled_from(TYPES), max_size=3),
    st.lists(st.lists(st.one_of(st.sampled_from(DATES), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.just([1])), max_size=3), max_size=3),
    st.lists(st.sampled_from(("a", "b", "a")), max_size=3),
)
def test_columns_of_any_kind_are_a_table_or_no_answer(types, columns, names):
    """More types than columns, dates that are none, numbers that do not fit, columns of unequal length."""
    hostile = Hostile()
    hostile.says(SqlSaid(names, types, columns))
    try:
        table = METHODS["sql"](hostile.client)
    except IntegrityError:
        return
    assert isinstance(table, pa.Table)


@given(values_of(Problem).filter(in_json), st.sampled_from((400, 401, 429, 500)))
def test_problems_of_any_content_are_errors_of_this_library(problem, status):
    """Any type, any time at which a budget comes back, in the place of an item too."""
    hostile = Hostile()
    hostile.says(problem, status)
    with pytest.raises(StrongroomError):
        hostile.client.whoami()
    hostile.says({"items": [{"status": 404, "records": [], "problem": problem}] * 2, "budget": {}})
    with contextlib.suppress(StrongroomError):
        METHODS["get"](hostile.client)


@pytest.mark.parametrize("when", ["soon", "2026-13-45", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1"])
def test_a_budget_that_comes_back_at_no_time(when):
    """It is a spent budget all the same."""
    hostile = Hostile()
    hostile.says(Problem(f"{TYPE}budget", "t", 429, "spent", resets_at=when), 429)
    with pytest.raises(BudgetError, match="spent"):
        hostile.client.whoami()


@pytest.mark.parametrize("data", [b"", b"<html>502 Bad Gateway</html>", b"[" * 100_000, b"\xff\xfe"])
def test_a_proxy_in_the_place_of_a_server_is_told_as_such(data):
    """By its status, and as something to try again."""
    hostile = Hostile()
    hostile.says(data, 502)
    with pytest.raises(UnavailableError, match="status 502"):
        hostile.client.whoami()
    hostile.says(data, 200)
    with pytest.raises(IntegrityError, match="not one of this API"):
        hostile.client.whoami()


def test_no_record_more_or_less_than_was_asked_for():
    """Two subjects asked for, and one answered; one asked for, and none."""
    hostile = Hostile()
    hostile.says({"items": [{"status": 200, "records": []}], "budget": {}})
    with pytest.raises(IntegrityError):
        METHODS["get"](hostile.client)
    with pytest.raises(IntegrityError):
        hostile.client.read(purpose="p", reason="r").get("t", "a")


def test_a_log_that_goes_round_ends():
    """A cursor that says the same again, or leads on behind nothing."""
    for said in (LogSaid([{"leaf": 1}], "5"), LogSaid([], "5")):
        hostile = Hostile()
        hostile.says(said)
        with pytest.raises(IntegrityError):
            hostile.client.log()
        assert hostile.asked <= 2
