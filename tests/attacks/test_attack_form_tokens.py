"""Numbers planted so that a wrong export is named by tokens of a form: nobody is. Each control names the innocent."""

import csv

import export_room
import numpy as np
import pyarrow as pa
import pytest
import tracing_room
from served_room import Served
from small_room import SmallRoom, person
from tracing_room import agreed, opened, trace, write

from strongroom.errors import DeniedError, IntegrityError, UsageError
from strongroom.keymaster.exports.tokenorigin import tokens_needed
from strongroom.keymaster.tracing import tokens as at_keymaster
from strongroom.keymaster.tracing.api import FORM_TRIES_MAX
from strongroom.keymaster.tracing.state import Tracing
from strongroom.trace.report.facts import to_json
from strongroom.trace.tracing.facts import facts_of
from strongroom.trace.tracing.matching import Looked, Matcher

PERSONS = 20_000
EXPORTS = 10
CARD = 'card = { type = "string", class = "contact", find = true, normalise = ["digits"], token = true }\n'
NEEDED = tokens_needed(PERSONS / 1e6, EXPORTS * FORM_TRIES_MAX)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A room in which one of fifty six-digit numbers is somebody's, ten exports with such tokens, and their rows."""
    folder = tmp_path_factory.mktemp("forms")
    room = SmallRoom(folder / "room")
    schema = export_room.CODED.replace("address   =", CARD + "address   =", 1)
    room.create(schema=schema, policy=tracing_room.policy().replace('mobile = "token"', 'mobile = "token", card = "token"', 1))
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", pa.Table.from_pylist([{**person(n), "card": f"{100_000 + 7 * n}"} for n in range(PERSONS)]))
        exports = {}
        with opened(room, keys, "ana") as own:
            for n in range(EXPORTS):
                path = folder / f"{n}.csv"
                made = own.export(
                    "persons", to=str(path), where=f"birth_year = {1950 + n}", recipient="uni-north", purpose="coded", reason="study 9"
                )
                with path.open(encoding="utf-8", newline="") as file:
                    exports[made.export_id] = [row["card"] for row in csv.DictReader(file)]
    return room, exports


@pytest.fixture
def room(template, tmp_path):
    return template[0].copy_to(tmp_path / "room")


def planted(path):
    """Numbers of nobody in the room, chosen by somebody without any key."""
    return write(path, [{"card": f"{500_000 + 11 * n}"} for n in range(1_000)])


def of_export(path, cards, count):
    """So many tokens that somebody saw of an export."""
    return write(path, [{"card": card} for card in cards[:count]])


def test_attack_planted_numbers_name_nobody(room, template, tmp_path):
    """Under every key some of 256 numbers come back as somebody's: no export is named, and nobody is told as in it."""
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, planted(tmp_path / "s.csv")))
        spent = [e["extras"]["values"] for e in keys.log_entries("kit") if "values" in e.get("extras", {}) and e["act"] == "trace"]
    assert spent == [1_000, 256 * EXPORTS]  # they were tried, with every key
    assert (facts.accused, facts.affected.persons) == ((), 0)
    assert not any(ident in to_json(facts).decode() for ident in template[1])


def test_control_who_takes_a_live_number_for_proof_names_the_innocent(room, template, tmp_path, monkeypatch):
    """With the bound off innocent exports have numbers to be named by; the report refuses to accuse them, once more."""
    monkeypatch.setattr(at_keymaster, "EPSILON", 1.0)
    with room.keymaster() as keys:
        found = trace(room, keys, planted(tmp_path / "s.csv"))
    named = {one.origin.export.id for one in found.tokens}
    assert len(named) > EXPORTS / 2
    assert named <= set(template[1])
    assert all(0 < one.origin.verified < 30 and one.origin.tried == 256 for one in found.tokens)
    assert found.weighed.persons > 0
    with pytest.raises(UsageError, match="below the bound"):
        facts_of(found)


def test_attack_fewer_tokens_of_another_export_than_the_bound_asks_for_name_nobody(room, template, tmp_path):
    """Whoever saw some rows of an export plants them among numbers of nobody: below the handful it stays unnamed."""
    few = next(iter(template[1].values()))[: NEEDED - 2]
    rows = [{"card": card} for card in few] + [{"card": f"{500_000 + 11 * n}"} for n in range(200)]
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", rows)))
    assert facts.accused == ()


def test_control_the_handful_names_where_tokens_were_made(room, template, tmp_path):
    """A few more rows do: it says where tokens were made, and whoever holds an export can copy from it."""
    ident, cards = next(iter(template[1].items()))
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, of_export(tmp_path / "s.csv", cards, NEEDED + 2)))
    assert [one.export.id for one in facts.accused] == [ident]


def begun(keys):
    return keys.begin_reading(actor="ines", purpose="incident", reason="r", approval=agreed(keys)).reading_id


def formed(keys, reading, cards, index):
    """Whom tokens name where an index has what `index` says of what it is asked for."""
    wanted = {"held": PERSONS, "snapshot": keys.head().number}
    tried = keys.traces.try_formed(reading, "persons", "card", pa.array(cards), **wanted)
    return keys.traces.name_formed(reading, *index(tried.asked)) if tried.lookups else ()


NONE = np.empty((0, 16), np.uint8), np.empty((0, 44), np.uint8)


class Index:
    """The index of a room, as a process with the bucket reads it, and what it found last."""

    def __init__(self, room, keys):
        self._room, self._keys, self.found = room, keys, NONE

    def __call__(self, asked):
        ident = begun(self._keys)
        with opened(self._room, self._keys) as own:
            held = own._session.reading_keys(ident)
            matcher = Matcher(self._keys.traces, ident, own._session.finder(own._session.catalog(held), held), self._keys.schema())
            self.found = matcher.entries(Looked("persons", "card", pa.array([], pa.string()), np.empty(0, np.bool_)), asked)
        return self.found

    def without(self, at):
        """All but one of what was found."""
        return tuple(np.ascontiguousarray(np.delete(one, at, axis=0)) for one in self.found)


def test_attack_entries_that_were_not_asked_for_or_do_not_open_count_for_nothing(room, template):
    """A process that says the room has what it has not: entries of other values are refused, and so are made-up ones."""
    cards = [f"{500_000 + 11 * n}" for n in range(100)]
    with room.keymaster() as keys:
        with pytest.raises(DeniedError):
            formed(keys, begun(keys), cards, lambda asked: (asked ^ np.uint8(1), np.zeros((len(asked), 44), np.uint8)))
        with pytest.raises(IntegrityError):
            formed(keys, begun(keys), cards, lambda asked: (asked, np.zeros((len(asked), 44), np.uint8)))
        assert formed(keys, begun(keys), next(iter(template[1].values()))[:100], lambda _asked: NONE) == ()


def test_attack_what_the_index_is_asked_tells_no_export_from_another(room, template):
    """The tokens of all keys come sorted, as one set: whoever reads the index does not see whose key gave a hit."""
    seen = []

    def index(asked):
        seen.append(asked.copy())
        return NONE

    with room.keymaster() as keys:
        formed(keys, begun(keys), next(iter(template[1].values()))[:50], index)
    (asked,) = seen
    own = asked.view("S16")[:, 0]
    assert len(own) > 50 * EXPORTS * 0.95
    assert (own[1:] > own[:-1]).all()


@pytest.mark.parametrize("trusted", [False, True])
def test_attack_who_says_that_the_room_has_next_to_no_values(room, template, tmp_path, monkeypatch, trusted):
    """A direct caller's own program gives the number: it is not believed. The control is a credential that is trusted.

    With fewer values in the room than there are, the few that chance gives under every key would name innocent exports.
    """
    monkeypatch.setattr(Matcher, "held", lambda *_: 1)
    with Served(room.keymaster()) as served:
        approval = agreed(served.keymaster)
        with served.connect(served.credential("ines", server=trusted)) as keys, opened(room, keys) as own:
            found = own.trace(planted(tmp_path / "s.csv"), purpose="incident", reason="r", approval=approval)
    named = {one.origin.export.id for one in found.tokens}
    assert named <= set(template[1])
    assert bool(named) == trusted  # four hits of five expected name an export: of ten some seven or eight, none in a million runs


def test_attack_a_try_that_was_answered_is_asked_again(room, template):
    """Whose key gave which value is what many answers would tell: of one try there is one, and none without a try."""
    cards = next(iter(template[1].values()))[:50]
    with room.keymaster() as keys:
        reading = begun(keys)
        with pytest.raises(DeniedError, match="no tokens of a form wait"):
            keys.traces.name_formed(reading, *NONE)
        assert formed(keys, reading, cards, lambda _asked: NONE) == ()
        with pytest.raises(DeniedError, match="no tokens of a form wait"):
            keys.traces.name_formed(reading, *NONE)
        for _ in range(FORM_TRIES_MAX):
            formed(keys, reading, cards, lambda _asked: NONE)
        spent = [e["extras"]["values"] for e in keys.log_entries("kit") if "values" in e.get("extras", {})]
    assert spent == [50 * EXPORTS] * FORM_TRIES_MAX  # each anew, and no more of them than the bound counts


def test_control_an_answer_for_every_question_would_tell_whose_key_gave_a_value(room, template, monkeypatch):
    """With the rule off, and one value less each time: which values an export's key gave, in as many questions."""
    monkeypatch.setattr(Tracing, "answer", lambda self: self._try)
    cards = next(iter(template[1].values()))[: NEEDED + 1]
    with room.keymaster() as keys:
        reading, index = begun(keys), Index(room, keys)
        assert len(formed(keys, reading, cards, index)) == 1
        told = [keys.traces.name_formed(reading, *index.without(at)) for at in range(len(index.found[0]))]
    assert sum(one == () or one[0].verified < NEEDED + 1 for one in told) == NEEDED + 1
