"""Attacks on the person's view: hiding a read from the person it touched, telling too much, telling too early."""

import hashlib
import json
import re

import attack_kit
import numpy as np
import pytest
from person_kit import DAY, START, PersonRoom

import strongroom
from strongroom.audit import daymap
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.keymaster.log import days, persons
from strongroom.read import personlog
from strongroom.read.personlog import verify_person_log

assert attack_kit
TODAY = int(START // DAY)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Persons 0 to 9 were read on the first day, person 1 three times in all; person 12 by nobody."""
    made = PersonRoom(tmp_path, monkeypatch)
    made.read(*range(10), 1, 1)
    made.next_day()
    yield made
    made.close()


def changed(text, change):
    """The file after somebody's hand."""
    file = json.loads(text)
    change(file)
    return json.dumps(file)


def refused(text, key):
    with pytest.raises(IntegrityError) as caught:
        verify_person_log(text, key)
    return str(caught.value)


# -- hiding -------------------------------------------------------------------------------------
def test_attack_an_entry_is_left_out(room, monkeypatch):
    """One of three reads is taken out of the file: the map of the day names it."""
    text, key = room.ask(1)
    assert len(verify_person_log(text, key).touched) == 3
    for at in range(3):
        less = changed(text, lambda file, at=at: file["days"][0]["entries"].pop(at))
        assert "not those that its map names" in refused(less, key)
    # control: without comparing with the map, nobody misses it
    monkeypatch.setattr(personlog.hmac, "compare_digest", lambda one, other: True)
    assert len(verify_person_log(less, key).touched) == 2


def test_attack_a_day_is_left_out(room, monkeypatch):
    """A day is taken out of the file, at its beginning, in the middle or at its end: days follow without a gap."""
    room.read(2)
    room.next_day()
    room.read(1)
    room.next_day()
    text, key = room.ask(1)
    assert len(verify_person_log(text, key).touched) == 4
    for at in range(3):
        refused(changed(text, lambda file, at=at: file["days"].pop(at)), key)
    refused(changed(text, lambda file: file.update(days=[])), key)
    # control: without comparing spans and labels with what was answered, the last day is gone
    monkeypatch.setattr(personlog, "check_spans", lambda spans, first: TODAY + 3)
    monkeypatch.setattr(personlog, "_About", _Forgiving)
    assert len(verify_person_log(changed(text, lambda file: file["days"].pop()), key).touched) == 3


class _Forgiving(personlog._About):
    """What a verifier would hold that does not ask for the days which the request was answered with."""

    def __init__(self, subject, table, first, labels):
        super().__init__(subject, table, first, _Any(labels))


class _Any(dict):
    def keys(self):
        return _Equal()


class _Equal:
    def __eq__(self, _other):
        return True

    __hash__ = None


def beside(room, number):
    """The leaves on both sides of a person's own in the map of the first day, as the keymaster could make them."""
    keys = room.keys
    keys.publish()
    core = keys._core
    rows, token = core.state.read(), core.subject.one(f"P-{number:06d}".encode())
    day = core.journal.day_keys(rows, TODAY)
    above = keys._days.tops(rows, TODAY, day)[1]
    part = persons._Opened(keys._days.part(rows, TODAY, 0, day), day, 0, above)
    label = persons.cmac_one(day.day, token)
    at = next(i for i, data in enumerate(part.data) if data[:16] == label)
    near = [part.leaf(i) for i in (at - 1, at + 1) if 0 <= i < len(part.data)]
    told = [{"at": leaf.at, "data": personlog._base64(leaf.data), "path": personlog._path(leaf.path)} for leaf in near]
    return at, len(part.data), told


def test_attack_neighbours_that_are_not_neighbours(room, monkeypatch):
    """Whoever was read is shown the leaves left and right of their own, as if they were side by side."""
    inner = next(n for n in range(10) if 0 < beside(room, n)[0] < beside(room, n)[1] - 1)
    _at, _size, near = beside(room, inner)
    text, key = room.ask(inner)

    def hide(file):
        file["days"][0] |= {"near": near, "salt": "", "entries": []}

    hidden = changed(text, hide)
    assert "does not show what the map" in refused(hidden, key)
    for one in near:  # one of them alone proves nothing either
        refused(changed(text, lambda file, one=one: file["days"][0].update(near=[one], salt="", entries=[])), key)
    # control: a verifier that does not ask whether they are side by side believes it
    monkeypatch.setattr(personlog, "_between", lambda places, label, size: places[0][1] < label < places[1][1])
    assert verify_person_log(hidden, key).touched == ()


def test_attack_the_day_of_somebody_else(room, monkeypatch):
    """A person who was read gets the proof, label and all, of one who was not: the request committed to the labels."""
    text, key = room.ask(1)
    other = json.loads(room.ask(12)[0])
    mine, theirs = json.loads(json.loads(text)["person"]), json.loads(other["person"])
    swapped = json.dumps([mine[0], mine[1], {**mine[2], "labels": theirs[2]["labels"]}], separators=(",", ":"), sort_keys=True)
    forged = changed(text, lambda file: file.update(person=swapped, days=other["days"]))
    assert "not what was committed to" in refused(forged, key)
    refused(changed(text, lambda file: file.update(days=other["days"])), key)
    refused(changed(text, lambda file: file.update(person=other["person"], days=other["days"])), key)
    # the whole file of another is theirs: it says so
    assert verify_person_log(json.dumps(other), key).subject == "P-000012"
    # control: a verifier that takes the label from the file believes it
    monkeypatch.setattr(personlog, "open_disclosure", lambda text, _name, _digest: (b"", json.loads(text)[2]))
    mixed = changed(text, lambda file: file.update(person=swapped, days=other["days"], checkpoint=other["checkpoint"], request=other["request"]))
    assert verify_person_log(mixed, key).touched == ()
    assert verify_person_log(mixed, key).subject == "P-000001"


def test_attack_a_map_without_a_label(room, monkeypatch):
    """A keymaster leaves a person out of the map: the person is not able to tell, an auditor is, without a name."""
    keys, real = room.keys, days.sorted_parts

    def without(lists, pairs):
        day = keys._core.journal.day_keys(keys._core.state.read(), TODAY)
        label = persons.cmac_one(day.day, keys._core.subject.one(b"P-000001"))
        for part in real(lists, pairs):
            kept = [i for i in range(len(part.labels)) if part.labels[i].tobytes() != label]
            numbers = [part.entries(i) for i in kept]
            starts = np.cumsum([0, *map(len, numbers)])
            yield daymap.Part(part.labels[kept], starts, np.array([n for some in numbers for n in some], np.int64))

    with monkeypatch.context() as patched:
        patched.setattr(days, "sorted_parts", without)
        keys._days.close_due()
    # control: her own file verifies, and says that nobody read her
    assert room.told(1).touched == ()
    assert len(room.told(2).touched) == 1
    assert keys.verify_log()["days"] == 1
    with pytest.raises(IntegrityError, match=f"map of day {TODAY}"):
        keys.verify_log(maps=True)
    with room.open("kit") as opened:
        assert [fault.kind for fault in opened.check().faults] == ["log"]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DELETE FROM leaf_labels WHERE leaf = {leaf}", "in no list"),
        ("UPDATE leaf_labels SET day = day + 1 WHERE leaf = {leaf}", "in no list"),
        ("UPDATE leaf_labels SET sealed = (SELECT sealed FROM leaf_labels WHERE leaf = {other}) WHERE leaf = {leaf}", "."),
        ("INSERT INTO leaf_labels SELECT 0, day, month, sealed FROM leaf_labels WHERE leaf = {leaf}", "belong to no entry"),
    ],
)
def test_attack_lists_are_removed_or_moved(room, sql, told):
    """Lists of labels that are not those of their entries are found, each by the entry at fault."""
    import sqlite3

    room.told(1)
    with room.open("kit") as opened:
        gets = [entry["leaf"] for entry in opened.log(actor="ada") if entry["act"] == "get"]
    assert room.keys.verify_log(maps=True)["labels"] == 10  # control
    room.close()
    database = sqlite3.connect(room.place.keys / "keymaster.db")
    database.execute(sql.format(leaf=gets[0], other=gets[1]))
    database.commit()
    database.close()
    with pytest.raises(IntegrityError, match=told):
        room.keys.verify_log(maps=True)


# -- telling too much ---------------------------------------------------------------------------
def test_attack_reading_the_neighbours_lists(room, tmp_path, monkeypatch):
    """From the leaves beside one's place nobody tells how often a neighbour was read: lists are salted."""

    def guessed(text):
        """Neighbours whose digest is that of one to three entries of the day, tried without a salt."""
        from itertools import combinations

        near = [personlog._leaf_of(one).data[16:] for day in json.loads(text)["days"] for one in day["near"]]
        tried = {
            daymap.entries_digest(b"", some) for count in (1, 2, 3) for some in combinations(range(80), count)
        }
        return [one for one in near if one in tried]

    text, _key = room.ask(12)
    assert guessed(text) == []
    # control: unsalted lists are found at once
    made = PersonRoom(tmp_path / "control", monkeypatch)
    monkeypatch.setattr(daymap.Part, "leaf_data", unsalted)
    made.read(3)
    made.next_day()
    assert guessed(made.ask(12)[0]) != []
    made.close()


def unsalted(part, _salts):
    return [
        part.labels[i].tobytes() + daymap.entries_digest(b"", part.entries(i)) for i in range(len(part.labels))
    ]


def test_attack_the_reader_is_searched_for_in_the_file(room):
    """No name of an actor, no hash of one, and no count or reason is in what a person gets."""
    text, _key = room.ask(1)
    stored = [row[0] for row in room.keys._core.state.read().execute("SELECT entry FROM leaf").fetchall()]
    seconds = [entry.partition(b"\n")[2] for entry in stored if b"\n" in entry]
    assert any(b'"actor":"ada"' in line for line in seconds)  # control: the second line has them
    for actor in ("ada", "pia", "kit"):
        for found in (f'"{actor}"', f'\\"{actor}\\"', hashlib.sha256(actor.encode()).hexdigest()):
            assert found not in text
    for word in ("count", "remaining", "reason", "actor", "request\\", "looked_up", "fields"):
        told = text.replace('\\"actor\\":\\"keymaster\\"', "")
        assert f'"{word}' not in told.replace('"request": {', "")
    # who knows everything but the salt does not find the actor by trying
    for line in seconds:
        name, value = json.loads(line)[1:]
        unsalted_text = json.dumps(["", name, value], separators=(",", ":"), sort_keys=True).encode()
        assert daymap.hashlib.sha256(unsalted_text).hexdigest() not in text


# -- telling too early --------------------------------------------------------------------------
def two_rooms(tmp_path, monkeypatch, policy=None):
    """The same room twice, chance and all; in one person 1 is read under the delayed purpose, in the other person 2."""
    from person_kit import PERSON_POLICY

    files = {}
    base = PersonRoom(tmp_path / "base", monkeypatch, policy=policy or PERSON_POLICY)
    base.read(1, 5)
    base.close()
    for who in (1, 2):
        made = base.copy_to(tmp_path / f"room-{who}")
        made.clock.now = START
        with monkeypatch.context() as patched:
            patched.setattr(strongroom, "open_keymaster", _chance(strongroom.open_keymaster))
            made.read(who, purpose="covert")
            files[who] = []
            for _ in range(5):
                made.next_day()
                made.keys.publish()  # closes the day now, and not beside the next read
                made.read(7)
                files[who].append(made.ask(1))
            made.close()
    return files


def _chance(opened):
    """Open keymasters whose random bytes are a sequence that only the number of calls decides."""
    state = [0]

    def random(count):
        state[0] += 1
        return hashlib.shake_256(state[0].to_bytes(8, "little")).digest(count)

    return lambda *a, **k: opened(*a, **k, random=random)


def shape(text):
    """All that a file says but hashes, signatures and seals, of which the length stays."""
    return re.sub(r"[A-Za-z0-9+/=]{43,}", lambda found: f"<{len(found[0])}>", text)


def test_attack_a_delayed_read_shows_early(tmp_path, monkeypatch):
    """Until the delay ends, a person's files are the same whether it was them who was read: words, counts and sizes."""
    files = two_rooms(tmp_path, monkeypatch)
    for day, (mine, other) in enumerate(zip(files[1], files[2], strict=True), 1):
        told = [one.purpose for one in verify_person_log(*mine).touched]
        if day <= 3:
            assert "covert" not in told
            assert len(mine[0]) == len(other[0])
            assert shape(mine[0]) == shape(other[0])
        else:
            assert "covert" in told
            assert "covert" not in [one.purpose for one in verify_person_log(*other).touched]


def test_control_without_the_delay_the_files_differ_at_once(tmp_path, monkeypatch):
    """Control: under a purpose without a delay the first file tells, and the comparison finds it."""
    from person_kit import PERSON_POLICY

    files = two_rooms(tmp_path, monkeypatch, PERSON_POLICY.replace("delay_days = 3\n", ""))
    mine, other = files[1][0], files[2][0]
    assert "covert" in [one.purpose for one in verify_person_log(*mine).touched]
    assert shape(mine[0]) != shape(other[0])


def test_attack_asking_for_an_entry_that_no_day_named(room):
    """A reading gets proofs of the entries that its own answer named, and of no others, nor of another's answer."""
    keys = room.keys
    grant = keys.begin_reading(actor="pia", purpose="subject-access", reason="r")
    asked = keys.persons.begin(grant.reading_id, "persons", "P-000001")
    named = keys.persons.days(grant.reading_id, asked.request.index, 0)[0].leaves
    assert len(keys.persons.entries(grant.reading_id, asked.request.index, named)) == 3  # control
    other = next(n for n in range(min(named), max(named)) if n not in named)
    with pytest.raises(strongroom.errors.UsageError):
        keys.persons.entries(grant.reading_id, asked.request.index, [other])
    second = keys.begin_reading(actor="pia", purpose="subject-access", reason="r")
    with pytest.raises(NotFoundError):
        keys.persons.days(second.reading_id, asked.request.index, 0)
