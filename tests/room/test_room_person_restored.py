"""The person's view after a keymaster was set back: what came home is told, what was lost is named."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from person_kit import DAY, PERSON_POLICY, START, PersonRoom
from small_room import PASSPHRASE

import strongroom
from strongroom.errors import IntegrityError
from strongroom.read.personlog import verify_person_log

TODAY = int(START // DAY)


@pytest.fixture
def room(tmp_path, monkeypatch):
    made = PersonRoom(tmp_path / "room", monkeypatch)
    yield made
    made.close()


def leave_tail(room):
    """A change of policy leaves the log's tail beside the objects, and needs no key of a later snapshot."""
    with room.open("kit") as opened:
        opened.set_policy(PERSON_POLICY)


def set_back(room, tmp_path):
    """The keymaster's folder is lost, and comes home from its copy; opening the room catches up."""
    import shutil

    room.close()
    shutil.rmtree(room.place.keys)
    strongroom.restore_keymaster(room.place.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)


def test_a_day_closed_after_the_copy_is_made_again_from_its_lists(room, tmp_path):
    """All lists of the day are in the copy, its closing is in the tail: the map is as it was."""
    room.read(1, 2, 3)
    room.keys.key_copies.copy("kit", str(tmp_path / "copy"))
    room.next_day()
    room.keys.publish()
    leave_tail(room)
    before = room.told(1).touched
    set_back(room, tmp_path)
    found = room.told(1)
    assert found.touched == before
    assert (found.lost_days, found.lost_entries) == ((), 0)
    assert room.keys.verify_log(maps=True)["lost"] == 0


def test_lists_lost_with_the_database_are_named(room, tmp_path):
    """A day whose map is lost, reads of an open day, and a delayed read: each is named where it would have been told."""
    room.read(1)
    room.keys.key_copies.copy("kit", str(tmp_path / "copy"))
    room.read(2)
    room.next_day()
    room.keys.publish()
    room.read(3)
    room.read(3, purpose="covert")
    leave_tail(room)
    set_back(room, tmp_path)
    room.read(4)
    room.next_day()
    found = room.told(3)
    assert (found.lost_days, found.lost_entries, found.touched) == ((TODAY,), 1, ())
    assert [one.act for one in room.told(4).touched] == ["get"]
    report = room.keys.verify_log(maps=True)
    assert (report["lost"], report["lost_days"]) == (3, 1)
    room.next_day(3)
    assert room.told(3).lost_entries == 2
    assert [one.act for one in room.told(4).touched] == ["get", "log"]
    assert room.keys.verify_log(maps=True)["lost_days"] == 1


def test_a_copy_of_the_keymaster_has_maps_lists_and_delays(room, tmp_path):
    """What was closed, what waits for its delay, and today's reads come home with a copy, for another place too."""
    room.read(1)
    room.read(1, purpose="covert")
    room.next_day()
    room.read(2)
    room.keys.publish()
    leave_tail(room)
    room.keys.key_copies.copy("kit", str(tmp_path / "copy"))
    set_back(room, tmp_path)
    room.next_day(3)
    assert [one.purpose for one in room.told(1).touched] == ["case-work", "covert"]
    assert [one.purpose for one in room.told(2).touched] == ["case-work"]


def test_maps_follow_a_turn_of_the_epoch(room, tmp_path):
    """After a turn the old days still open, and those that are due are closed."""
    room.read(1)
    room.read(1, purpose="covert")
    room.next_day()
    room.keys.publish()
    room.keys.turning.turn("kit", {"passphrase-1": _keeper()})
    room.next_day(3)
    assert [one.purpose for one in room.told(1).touched] == ["case-work", "covert"]
    assert room.keys.verify_log(maps=True)["lost"] == 0


def _keeper():
    from small_room import CHEAP

    from strongroom.keys.slot_passphrase import PassphraseKeeper

    return PassphraseKeeper(PASSPHRASE, CHEAP)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file with days of each kind: read, not read, nobody read."""
    with pytest.MonkeyPatch.context() as patched:
        made = PersonRoom(tmp_path_factory.mktemp("room"), patched)
        made.read(1, 2, 3, 1)
        made.next_day(3)
        made.read(2, 3, 4, 5)
        made.next_day()
        told = made.ask(1)
        made.close()
    return told


@given(st.integers(0, 1 << 40), st.integers(1, 4))
def test_no_changed_file_says_another_thing(file, seed, count):
    """Change any characters of a file: it is refused, or it says the same."""
    text, key = file
    good, chance = verify_person_log(text, key), random.Random(seed)
    changed = list(text)
    for _ in range(count):
        at = chance.randrange(len(changed))
        changed[at] = chance.choice(["", "0", "a", '"', "[", "A=", changed[at] * 2, "é", "\ud800"])
    try:
        assert verify_person_log("".join(changed), key) == good
    except IntegrityError:
        pass


@given(st.data())
def test_no_rearranged_file_says_another_thing(file, data):
    """Take out, double or swap whole parts of a file: it is refused, or it says the same."""
    text, key = file
    value = json.loads(text)
    places = []

    def walk(node):
        for at in range(len(node)) if isinstance(node, list) else list(node):
            places.append((node, at))
            if isinstance(node[at], list | dict):
                walk(node[at])

    walk(value)
    node, at = data.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    other, there = data.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    how = data.draw(st.sampled_from(["remove", "copy", "swap", "null"]))
    if how == "remove":
        del node[at]
    elif how == "null":
        node[at] = None
    else:
        mine, theirs = json.loads(json.dumps(node[at])), json.loads(json.dumps(other[there]))
        node[at] = theirs
        if how == "swap" and there in (range(len(other)) if isinstance(other, list) else other):
            other[there] = mine
    try:
        assert verify_person_log(json.dumps(value), key) == verify_person_log(text, key)
    except IntegrityError:
        pass
