"""Tracing fuzzed: rows to persons against a plain reckoning, dates that hold the true time, questions that make no sense."""

import numpy as np
import pyarrow as pa
import pytest
import tracing_room
from hypothesis import given, settings
from hypothesis import strategies as st
from tracing_room import agreed, plant, trace, write

from strongroom.errors import StrongroomError
from strongroom.evidence.code import RARE
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.keymaster.tracing.outside import _beyond_chance
from strongroom.trace.chance import log_upper_tail
from strongroom.trace.leak.sample import Candidate
from strongroom.trace.tracing.facts import facts_of
from strongroom.trace.tracing.matching import _distinct, _spread
from strongroom.trace.tracing.told import lines
from strongroom.trace.tracing.window import Names, Pairs, Persons, Window


def token(number):
    return np.frombuffer(int(number).to_bytes(16, "big"), np.uint8)


FOUND = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=40
)
"""(row, column, the person that the value in it is of)."""


@given(found=FOUND, last=st.booleans())
def test_a_row_s_person_is_whom_most_of_its_columns_point_to(found, last):
    """Against a reckoning with dictionaries: columns tested and matched, the person, who is sure, the first row."""
    cells = {(row, column): who for row, column, who in found}
    names, window, pairs, tags = Names(), Window(Names()), [], []
    for column in sorted({c for _, c in cells}):
        rows = [row for (row, c) in cells if c == column]
        values = pa.array([f"{row}-{column}" for row in rows])
        candidate = Candidate(column, "t", f"f{column}", "index", "name", np.array(rows, np.int64), values)
        window.add(100, candidate, steps=("trim",), known=not (last and column == 3))
        hits = [(row, cells[row, column]) for row in rows if cells[row, column] is not None]
        tokens = np.stack([token(who) for _, who in hits]) if hits else np.empty((0, 16), np.uint8)
        bit = names.bit("t", f"f{column}")
        size = len(hits)
        row_ids = np.array([100 + row for row, _ in hits], np.int64)
        pairs.append(Pairs(row_ids, tokens, np.full(size, column, np.uint8), np.full(size, bit, np.uint8)))
        tags.append(np.array([hash(("x", row)) & 0xFFFF for row in rows], np.uint64))
    result = window.found(pairs, tags)
    sure, first = {}, {}
    for at, row in enumerate(sorted({r for r, _ in cells})):
        own = {c: who for (r, c), who in cells.items() if r == row}
        counts = {}
        for who in own.values():
            if who is not None:
                counts[who] = counts.get(who, 0) + 1
        best = max(counts.values(), default=0)
        assert (result.rows[at], result.tested[at], result.matched[at]) == (100 + row, len(own), best)
        assert result.weighed[at] == sum(not (last and c == 3) for c in own)
        if counts:
            likely = [who for who, n in counts.items() if n == best]
            chosen, alone = min(likely), len(likely) == 1
            assert result.persons.tokens[result.person[at]].tobytes() == token(chosen).tobytes()
            shown = alone + (alone and best >= 2)
            sure[chosen] = sure.get(chosen, False) or shown == 2
            first.setdefault(chosen, []).append((-shown, 100 + row))
        else:
            assert result.person[at] == -1
    for at, who in enumerate(result.persons.tokens):
        number = int.from_bytes(who.tobytes(), "big")
        assert result.persons.sure[at] == sure[number]
        assert result.persons.first[at] == min(first[number])[1]
        assert result.persons.alone[at] == (min(first[number])[0] < 0)
    assert len(result.persons.tokens) == len(sure)


SHOWN = st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 99), st.integers(0, 7))
"""(person, 2 if sure, 1 if alone, first row, fields)."""


@given(st.lists(st.lists(SHOWN), max_size=4))
def test_windows_together_are_one_window(parts):
    """Persons of several windows: sure if somewhere sure, alone if somewhere alone, the first such row, all fields."""
    joined, told = Persons.none(), {}
    for part in parts:
        own = {who: (shown, first, fields) for who, shown, first, fields in part}
        order = sorted(own)
        joined = joined.joined(
            Persons(
                np.stack([token(who) for who in order]) if order else np.empty((0, 16), np.uint8),
                np.array([own[who][0] == 2 for who in order], np.bool_),
                np.array([own[who][1] for who in order], np.int64),
                np.array([own[who][2] for who in order], np.uint64),
                np.array([own[who][0] > 0 for who in order], np.bool_),
            )
        )
        for who in order:
            told.setdefault(who, []).append(own[who])
    assert [int.from_bytes(t.tobytes(), "big") for t in joined.tokens] == sorted(told)
    for at, who in enumerate(sorted(told)):
        best = max(shown for shown, _, _ in told[who])
        assert (joined.sure[at], joined.alone[at]) == (best == 2, best > 0)
        assert joined.first[at] == min(first for shown, first, _ in told[who] if shown == best)
        assert joined.fields[at] == np.bitwise_or.reduce([f for _, _, f in told[who]])


@given(st.lists(st.integers(0, 6), max_size=30), st.lists(st.integers(0, 6), max_size=20))
def test_every_row_with_a_value_meets_every_find_under_it(codes, who):
    """As two loops would."""
    rows, finds = _spread(np.array(codes, np.int64), 7, np.array(who, np.int64))
    wanted = sorted((row, find) for row, code in enumerate(codes) for find, own in enumerate(who) if own == code)
    assert sorted(zip(rows.tolist(), finds.tolist(), strict=True)) == wanted


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_a_value_and_a_person_are_one_find_however_many_records(pairs):
    """As a set would."""
    who = np.array([v for v, _ in pairs], np.int64)
    tokens = np.stack([token(p) for _, p in pairs]) if pairs else np.empty((0, 16), np.uint8)
    values, persons = _distinct(who, tokens)
    found = sorted((int(v), int.from_bytes(p.tobytes(), "big")) for v, p in zip(values, persons, strict=True))
    assert found == sorted(set(pairs))


@given(st.integers(1, 5_000), st.floats(1e-9, 0.5), st.integers(1, 10_000))
def test_what_excludes_by_number_is_beyond_chance(tested, chance, exports):
    """The least number has a probability of at most 1e-9 over all exports, by the bound for sums of rare events."""
    least = _beyond_chance(tested, chance, exports)
    assert least >= 1
    if least <= tested:
        mean = tested * chance
        exponent = least * np.log(least / mean) - least + mean
        assert exponent >= -np.log(1e-9 / exports) - 1e-9
        assert log_upper_tail(tested, least, chance) <= np.log(1e-9 / exports) + 1e-6


# -- a keymaster that is asked nonsense --------------------------------------------------------


@pytest.fixture(scope="module")
def asked(tracing_template, tmp_path_factory):
    """A room, its keymaster, and a reading to trace under."""
    room = tracing_template.copy_to(tmp_path_factory.mktemp("fuzz"))
    with room.keymaster() as keys:
        plant(room, keys, 40, RARE)
        reading = keys.begin_reading(actor="ines", purpose="incident", reason="r", approval=agreed(keys)).reading_id
        yield room, keys, reading


BYTES = st.sampled_from([0, 1, 3])
NAMES = st.sampled_from(["persons", "parcels", "cases", "nobody", ""])
FIELDS = st.sampled_from(["mobile", "person_id", "name", "ethnicity", "charge", "tracking", "x", ""])


@settings(max_examples=60)
@given(
    table=NAMES, name=FIELDS, count=BYTES, width=st.sampled_from([16, 15, 44]), data=st.binary(min_size=1, max_size=40),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.int64(), pa.null()]), held=st.integers(-2, 1 << 60),
)
def test_only_errors_of_this_library_come_out(asked, table, name, count, width, data, kind, held):
    """Of every call, whatever tables, fields, shapes and bytes are asked for; no value is in an error."""
    _room, keys, reading = asked
    tokens = np.resize(np.frombuffer(data, np.uint8), (count, width))
    entries = np.resize(np.frombuffer(data, np.uint8), (count, 44))
    batches = np.resize(np.frombuffer(data, np.uint8), (count, 16))
    one = {pa.int64(): len(data), pa.null(): None, pa.binary(): data}.get(kind, data.hex())
    text = pa.array([one] * count, kind)
    traces = keys.traces
    sample = SampleFound(
        tokens, np.zeros(count, np.bool_), np.zeros(count, np.uint64), [(table, name)], data[:32], count, 0.5
    )
    for call in (
        lambda: traces.look_up(reading, table, name, text, 3),
        lambda: traces.open_hits(reading, table, name, tokens, entries),
        lambda: traces.name_tokens(reading, table, name, text),
        lambda: traces.try_formed(reading, table, name, text, held=held, snapshot=3),
        lambda: traces.name_formed(reading, tokens, entries),
        lambda: traces.behind_tokens(reading, data.hex(), table, name, text, 3),
        lambda: traces.weigh(reading, sample),
        lambda: traces.versions(reading, table, [name], tokens, batches),
        lambda: traces.look_up(data, table, name, text, 3),
    ):
        said = ""
        try:
            call()
        except StrongroomError as error:
            said = str(error)
        assert data.hex() not in said or len(data) < 3


CELLS = st.one_of(
    st.text(max_size=12),
    st.integers(0, 299).map(lambda n: tracing_room.small_room.person(n)["mobile"]),
    st.integers(0, 299).map(lambda n: tracing_room.small_room.person(n)["id_number"]),
    st.integers(0, 299).map(lambda n: f"P-{n:06d}"),
    st.just("t1" + "0f" * 32),
)


@settings(max_examples=15)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8))
def test_samples_of_anything_are_answered(asked, tmp_path_factory, rows):
    """Values of persons in any column among anything: an answer that names nobody, or an error of this library."""
    room, keys, _reading = asked
    path = tmp_path_factory.mktemp("s") / "s.csv"
    write(path, [dict(zip(("a", "mobile", "person_id"), row, strict=True)) for row in rows])
    try:
        found = trace(room, keys, path)
    except StrongroomError:
        return
    assert facts_of(found).accused == ()
    assert list(lines(facts_of(found)))
