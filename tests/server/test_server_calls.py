"""How often a room's server asks the keymaster for one request of a caller."""

import pyarrow as pa
import pytest
from room_api import Api
from small_room import POLICY, person

import strongroom
from strongroom.keyserver.asking import Asking


@pytest.fixture
def api(room):
    with Api(room) as made:
        with made.of("ada").read(purpose="case-work", reason="r") as desk:
            desk.find("persons", {"mobile": person(9)["mobile"]})  # the server learns what is in the room
        yield made


@pytest.fixture
def asked(api, monkeypatch):
    """The names of calls that the server makes."""
    names, real = [], Asking.ask

    def ask(self, name, **args):
        if self is api.own.asking:
            names.append(name)
        return real(self, name, **args)

    monkeypatch.setattr(Asking, "ask", ask)
    return names


def find(api, mobile, purpose="case-work", actor="ada"):
    with api.of(actor).read(purpose=purpose, reason="case 1") as desk:
        return desk.find("persons", {"mobile": mobile})


def test_a_find_of_somebody_who_was_put_once_is_two_calls(api, asked):
    """One opens the reading and looks up, one opens hits and releases; both end what they began."""
    assert [dict(one) for one in find(api, person(7)["mobile"])] == [person(7)]
    assert asked == ["served.read", "open_hits"]


def test_a_find_of_nobody_is_noted(api, asked):
    """Nothing lies under the value: a miss is noted, and the reading ended."""
    assert find(api, "13700000099") == []
    assert asked == ["served.read", "release", "end_reading"]


def test_whoever_was_put_again_is_three_calls(api, asked):
    """Which record is the newest is seen between the hits and the release."""
    moved = person(11) | {"mobile": "13700000011"}
    with strongroom.open(str(api.bucket), keys=api.keys.keymaster, actor="kit") as opened:
        opened.put("persons", pa.Table.from_pylist([moved]))
    find(api, person(12)["mobile"])  # the server learns of the new snapshot
    asked.clear()
    assert [dict(one) for one in find(api, "13700000011")] == [moved]
    assert asked == ["served.read", "open_hits", "served.release"]
    asked.clear()
    assert find(api, person(11)["mobile"]) == []
    assert asked == ["served.read", "open_hits", "release", "end_reading"]


def test_where_stand_ins_are_shown_the_reading_ends_after_them(room, monkeypatch):
    """They are made under the reading: it goes on until the records are open."""
    shown = POLICY.replace(
        'tables.parcels = { identity = "plain", contact = "plain" }', 'tables.parcels = { tracking = "token", goods = "plain" }'
    )
    assert shown != POLICY
    with Api(room) as api:
        api.keys.keymaster.changes.make("kit", "policy", shown)
        with api.of("mei").read(purpose="delivery", reason="parcel 1") as desk:
            (before,) = desk.find("parcels", {"tracking": "SF100007"})
            names, real = [], Asking.ask
            monkeypatch.setattr(Asking, "ask", lambda self, name, **args: (names.append(name), real(self, name, **args))[1])
            (again,) = desk.find("parcels", {"tracking": "SF100007"})
    assert len(bytes.fromhex(again["tracking"])) == 16
    assert again["tracking"] == before["tracking"]
    assert names == ["served.read", "open_hits", "stand_ins", "end_reading"]


def test_a_snapshot_that_the_server_does_not_know_yet_is_read_under_the_same_reading(api, asked):
    """Its runs' keys are asked for when they are needed: until then the reading stays open."""
    with strongroom.open(str(api.bucket), keys=api.keys.keymaster, actor="kit") as opened:
        opened.put("persons", pa.Table.from_pylist([person(400)]))
    assert [dict(one) for one in find(api, person(7)["mobile"])] == [person(7)]
    assert asked[0] == "served.read"
    assert asked[-1] == "end_reading"
    assert "release" not in asked
    asked.clear()
    assert [dict(one) for one in find(api, person(400)["mobile"])] == [person(400)]
    assert asked == ["served.read", "open_hits"]
