"""A direct caller turns tracing against people: questions beside their own look-ups, again and again. Each control succeeds."""

import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tracing_room
from served_room import Served
from small_room import person
from tracing_room import agreed, canary, plant

from strongroom.errors import DeniedError, NotFoundError, StrongroomError, UsageError
from strongroom.evidence.code import RARE
from strongroom.keymaster import unlocking
from strongroom.keymaster.tracing import state, tracing
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.keymaster.tracing.state import Tracing
from strongroom.seal.blocks import KIND_RECORDS

NAMES = [person(n)["person_id"] for n in range(30)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A room with a few canaries."""
    room = tracing_room.make(tmp_path_factory.mktemp("traces"))
    with room.keymaster() as keys:
        plant(room, keys, 4, RARE)
    return room


@pytest.fixture
def served(template, tmp_path):
    with Served(template.copy_to(tmp_path / "room").keymaster()) as made:
        yield made


@pytest.fixture
def keys(served):
    """The connection of ines, who holds a credential of her own and may trace."""
    with served.connect(served.credential("ines")) as made:
        yield made


def begun(served, keys, actor="ines"):
    approval = agreed(served.keymaster)
    return keys.begin_reading(actor=actor, purpose="incident", reason="r", approval=approval).reading_id


def looked(keys, reading, names=NAMES):
    return keys.traces.look_up(reading, "persons", "person_id", pa.array(names), 3).tokens


def sample_of(tokens, **more):
    size = len(tokens)
    flags = np.ones(size, np.bool_)
    own = SampleFound(tokens, flags, np.zeros(size, np.uint64), [("persons", "mobile")], bytes(32), size, 1.0, flags)
    return replace(own, **more)


def stolen(served, count=30):
    """Tokens of persons, as somebody has them who reads blocks of records."""
    from strongroom.seal.tokens import tokens

    subject = served._core.subject
    return tokens(subject.inner, subject.outer, pa.array(NAMES[:count]))


def test_attack_persons_and_hits_of_nobody_s_look_ups(served, keys):
    """Weighed, released, opened or taken for tokens: refused, and nothing is spent; the control has looked them up."""
    reading, own = begun(served, keys), stolen(served)
    size = len(own)
    for ask in (
        lambda: keys.traces.weigh(reading, sample_of(own)),
        lambda: keys.traces.versions(reading, "persons", ["mobile"], own, np.zeros((size, 16), np.uint8)),
        lambda: keys.traces.open_hits(reading, "persons", "mobile", own, np.zeros((size, 44), np.uint8)),
        lambda: keys.traces.behind_tokens(reading, "00" * 16, "persons", "person_id", pa.array(["t1"]), 3),
        lambda: keys.traces.name_formed(reading, own, np.zeros((size, 44), np.uint8)),
    ):
        with pytest.raises(DeniedError):
            ask()
    assert not any("values" in e.get("extras", {}) for e in served.log_entries("kit") if e["act"] == "trace")
    assert np.array_equal(looked(keys, reading), own)
    assert keys.traces.weigh(reading, sample_of(own)).persons == size


def test_attack_the_reading_of_another(served, keys):
    """Under its id with another credential, of another actor or of the same: as if it were not there."""
    reading = begun(served, keys)
    tokens = looked(keys, reading)
    for actor in ("ines", "ana"):
        with served.connect(served.credential(actor)) as thief:
            with pytest.raises(NotFoundError):
                thief.traces.weigh(reading, sample_of(tokens))
            with pytest.raises(NotFoundError):
                looked(thief, reading)
    assert keys.traces.weigh(reading, sample_of(tokens)).persons == len(NAMES)


def one_by_one(keys, reading, tokens):
    """Who is a canary, by weighing each person alone."""
    return [keys.traces.weigh(reading, sample_of(tokens[at : at + 1])).persons == 0 for at in range(len(tokens))]


def test_attack_persons_are_weighed_one_by_one(served, keys):
    """After the first answer there is none: whoever wants another looks everybody up anew, and it stands in the log."""
    reading = begun(served, keys)
    tokens = looked(keys, reading, [*NAMES[:3], canary(1)["person_id"]])
    with pytest.raises(DeniedError) as refused:
        one_by_one(keys, reading, tokens)
    assert refused.value.rule == "room.weighed-once"
    assert sum("finds" in e.get("extras", {}) for e in served.log_entries("kit")) == 1


def test_control_weighed_as_often_as_one_likes_it_tells_who_is_a_canary(served, keys, monkeypatch):
    """With the rule off one trace of a few persons tells of each."""
    monkeypatch.setattr(Tracing, "weighing", lambda _self: nullcontext())
    reading = begun(served, keys)
    tokens = looked(keys, reading, [*NAMES[:3], canary(1)["person_id"]])
    assert one_by_one(keys, reading, tokens) == [False, False, False, True]


def test_what_failed_before_it_was_noted_may_be_weighed_again(served, keys, monkeypatch):
    """The agreement had ended: nothing was weighed, and nothing is lost."""
    reading = begun(served, keys)
    tokens = looked(keys, reading)

    def refuses(*_args):
        raise DeniedError("the approval has ended", rule="approval.ended")

    with monkeypatch.context() as patch:
        patch.setattr(tracing.EmbeddedTraces, "_note", refuses)
        with pytest.raises(DeniedError, match="approval has ended"):
            keys.traces.weigh(reading, sample_of(tokens))
    assert keys.traces.weigh(reading, sample_of(tokens)).persons == len(NAMES)


def test_attack_arrays_and_numbers_of_any_size(served, keys):
    """Shapes, counts and numbers that no trace has are refused at once, whatever they would cost."""
    reading = begun(served, keys)
    tokens = looked(keys, reading)
    size = len(tokens)
    begin = time.process_time()
    for ask in (
        lambda: keys.traces.look_up(reading, "persons", "mobile", pa.array(["1"] * 200_001), 3),
        lambda: keys.traces.look_up(reading, "persons", "mobile", pa.array([1, 2]), 3),
        lambda: keys.traces.look_up(reading, "persons", "mobile", pa.array(["1", None]), 3),
        lambda: keys.traces.open_hits(reading, "persons", "mobile", tokens, np.zeros((size, 43), np.uint8)),
        lambda: keys.traces.weigh(reading, sample_of(tokens, sure=np.ones((size, 2), np.bool_))),
        lambda: keys.traces.weigh(reading, sample_of(tokens, alone=np.ones(size - 1, np.bool_))),
        lambda: keys.traces.weigh(reading, sample_of(tokens, tested=1 << 60)),
        lambda: keys.traces.weigh(reading, sample_of(tokens, chance=float("nan"))),
        lambda: keys.traces.weigh(reading, sample_of(np.repeat(tokens, 2, axis=0))),
        lambda: keys.traces.weigh(reading, sample_of(tokens, names=[("persons", "mobile")] * 2)),
        lambda: keys.traces.versions(reading, "persons", [], tokens, tokens),
        lambda: keys.traces.versions(reading, "persons", ["mobile"], np.zeros((1_000_001, 16), np.uint8), tokens),
    ):
        with pytest.raises(UsageError):
            ask()
    found = keys.traces.weigh(reading, sample_of(tokens, tested=1 << 47, chance=1e-3, sure=np.zeros(size, np.bool_)))
    assert found.persons == size
    assert time.process_time() - begin < 20


def test_what_a_trace_holds_is_bounded_and_goes_with_its_reading(served, keys, monkeypatch):
    """Of values the newest, of persons so many, of a reading that nobody ended nothing once its hour is over."""
    monkeypatch.setattr(state, "VALUES_HELD_MAX", 40)
    reading = begun(served, keys)
    mobiles = [pa.array([person(n)["mobile"] for n in range(at, at + 30)]) for at in (0, 30)]
    old, new = (keys.traces.look_up(reading, "persons", "mobile", some, 3).tokens for some in mobiles)
    none = np.zeros((0, 16), np.uint8)
    with pytest.raises(DeniedError):
        keys.traces.open_hits(reading, "persons", "mobile", old[:1], np.zeros((1, 44), np.uint8))
    with pytest.raises(StrongroomError, match="does not open"):
        keys.traces.open_hits(reading, "persons", "mobile", new[:1], np.zeros((1, 44), np.uint8))
    assert len(keys.traces.open_hits(reading, "persons", "mobile", none, np.zeros((0, 44), np.uint8)).rows) == 0
    held = served._readings._open[reading].tracing
    held.persons_max = 40
    assert looked(keys, reading).shape == looked(keys, reading).shape == (30, 16)  # the same persons are held once
    with pytest.raises(UsageError, match="at most 40 persons"):
        looked(keys, reading, [person(n)["person_id"] for n in range(20, 60)])
    later = served._core.clock() + 3_601.0
    monkeypatch.setattr(served._core, "clock", lambda: later)
    monkeypatch.setattr(served._core.journal, "_clock", lambda: later)
    another = begun(served, keys)
    looked(keys, another)
    assert set(served._readings._open) == {another}


def opened_traces(served, count):
    """How many traces a thief of two of ines's credentials opens before one is refused; and the refusal."""
    with served.connect(served.credential("ines")) as one, served.connect(served.credential("ines")) as other:
        for at in range(count):
            keys = (one, other)[at % 2]
            try:
                looked(keys, begun(served, keys))
            except DeniedError as error:
                return at, error
        return count, None


def test_attack_any_number_of_traces_is_opened_and_left(served):
    """Each holds memory until its hour is over: the fifth of an actor is refused, and says what to do."""
    opened, refused = opened_traces(served, 8)
    assert (opened, refused.rule) == (4, "room.traces-open")
    assert "ines has 4 traces open" in str(refused)
    assert "the first in 60 minutes" in refused.hint
    assert sum(one.tracing is not None for one in served._readings._open.values()) == 4


def test_a_trace_that_ended_makes_room_for_another(served, keys):
    """Ended by who opened it, or over with its hour; one that is open goes on meanwhile, and another's does not count."""
    readings = [begun(served, keys) for _ in range(6)]
    for reading in readings[:4]:
        looked(keys, reading)
    with pytest.raises(DeniedError, match="4 traces open"):
        looked(keys, readings[4])
    looked(keys, readings[0])
    keys.end_reading(readings[1])
    looked(keys, readings[4])
    with pytest.raises(DeniedError, match="4 traces open"):
        looked(keys, readings[5])
    own = served._readings._open
    own[readings[0]].actor = "ana"
    assert len(looked(keys, readings[5])) == len(NAMES)
    own[readings[2]].expires = served._core.clock()
    assert len(looked(keys, begun(served, keys))) == len(NAMES)
    assert readings[2] not in own


def test_control_without_the_bound_any_number_is_held(served, monkeypatch):
    """With it off, eight traces hold what they were given, and as many more as somebody opens."""
    monkeypatch.setattr(tracing, "TRACES_OPEN_MAX", 1_000)
    assert opened_traces(served, 8) == (8, None)
    held = [one.tracing._persons.count for one in served._readings._open.values()]
    assert held == [len(NAMES)] * 8


def open_columns(served, keys, approval=None):
    """The key of a block of records, which hold the open columns of everybody."""
    reading = keys.begin_reading(actor="ines", purpose="incident", reason="r", approval=approval).reading_id
    sql = "SELECT id FROM file_key WHERE kind = ? AND state = 'live' AND table_id = ?"
    core = served.keymaster._core
    row = core.state.read().execute(sql, (KIND_RECORDS, core.standing.schema.table("persons").id)).fetchone()
    return keys.block_keys(reading, row[0], KIND_RECORDS, [0], "persons")


def test_attack_blocks_of_records_without_agreement(served, keys):
    """Nobody agreed: no key of a block, and the refusal is noted; the control has it once somebody did."""
    with pytest.raises(DeniedError) as refused:
        open_columns(served, keys)
    assert refused.value.rule == "approval.needed"
    noted = served.log_entries("kit")[-1]
    assert (noted["act"], noted["actor"], noted["decision"], noted["rule"]) == ("keys", "ines", "refused", "approval.needed")
    assert len(open_columns(served, keys, agreed(served.keymaster))) == 1


def test_control_without_the_check_blocks_of_records_go_to_one_alone(served, keys, monkeypatch):
    """With it off, whoever may trace reads the open columns of the room alone."""
    monkeypatch.setattr(unlocking, "agreed", lambda *_: ())
    assert len(open_columns(served, keys)) == 1
