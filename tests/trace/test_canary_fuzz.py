"""Odd rooms: any schema, any values. Canaries of the right types come out, or an error that says what to do."""

import os
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from canary_kit import ENTROPY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.schema.columns import arrow_type
from strongroom.schema.parse import parse_schema
from strongroom.trace.canary.ids import restyled
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy
from strongroom.trace.canary.tokens import best_cut, halves, tokenise

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "0", "\ue000", "a1", "１２", "张三", "A-1", "A-2", " ", "x" * 300, "🙂3", "9" * 25, "\x00", "１", "+86 138"]
)
VALUES = {
    "string": TEXTS,
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5),
    "float": st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.5, 1.0]),
    "bool": st.booleans(),
    "date": st.dates(date(1, 1, 2)) | st.just(date(2024, 2, 29)),
    "timestamp": st.integers(-(2**40), 2**40).map(lambda s: datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=s)),
    "binary": st.binary(max_size=9),
}


@st.composite
def rooms(draw):
    """A schema of one to three tables and rows for it, few distinct values repeated over many rows."""
    text, rows = [], {}
    kind = draw(st.sampled_from(["string", "int"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    persons = 240
    for number in range(draw(st.integers(1, 3))):
        records = "one" if number == 0 and draw(st.booleans()) else "many"
        fields = draw(st.lists(st.tuples(st.sampled_from(list(VALUES)), st.booleans()), max_size=4))
        text += [f'[tables.t{number}]\nsubject = "id"\nrecords = "{records}"\n[tables.t{number}.fields]']
        text += [f'id = {{ type = "{kind}", class = "identity" }}']
        owner = np.arange(persons) if records == "one" else rng.integers(0, persons, draw(st.integers(1, 400)))
        subject = owner * 3 + 10
        columns = {"id": pa.array(subject) if kind == "int" else pa.array([f"p{i}" for i in subject])}
        for at, (of, opened) in enumerate(fields):
            klass = 'class = "open", reason = "odd"' if opened and of == "string" else 'class = "identity"'
            text.append(f'f{at} = {{ type = "{of}", {klass} }}')
            pool = draw(st.lists(st.none() | VALUES[of], min_size=1, max_size=20))
            columns[f"f{at}"] = pa.array([pool[i] for i in rng.integers(0, len(pool), len(owner))], arrow_type(of))
        rows[f"t{number}"] = pa.table(columns)
    return "\n".join(text), rows


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rooms())
def test_odd_rooms_give_rows_of_their_types_or_a_clear_error(room):
    """Whatever the schema and values: tables with the schema's fields and types, or an error of ours."""
    text, rows = room
    schema = parse_schema(text, None, os.urandom)
    with suppress(UsageError):
        made = learn(schema, rows, CanaryPolicy()).make(37, ENTROPY)
        _check(schema, made)


def _check(schema, made):
    for name, table in made.tables.items():
        assert table.schema == pa.schema([(f.name, arrow_type(f.type)) for f in schema.table(name).fields])
        assert len(table) == len(made.owner[name])
        table.validate(full=True)
    assert len(made.unit) == 37


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=20))
def test_tokens_and_halves_are_the_whole_text(texts):
    """Tokens in order, and both halves of a cut, join to the text they came from."""
    column = pa.array(texts)
    tokens = tokenise(column)
    words = tokens.text.to_pylist()
    assert ["".join(words[a:b]) for a, b in zip(tokens.first[:-1], tokens.first[1:], strict=True)] == texts
    two = halves(column.cast(pa.large_string()), best_cut(column))
    assert [a + b for a, b in zip(two[0].to_pylist(), two[1].to_pylist(), strict=True)] == texts


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("0123456789"), min_size=1, max_size=12),
            st.text(st.sampled_from("0123456789 -()+é号"), max_size=18),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_a_number_written_like_another_keeps_its_digits(pairs):
    """The digits of a restyled number end with the number's, and everything else is as the other text has it."""
    values, written = ([p[i] for p in pairs] for i in (0, 1))
    made = restyled(pa.array(values), pa.array(written)).to_pylist()
    for value, model, text in zip(values, written, made, strict=True):
        digits = "".join(c for c in text if c in "0123456789")
        assert digits.endswith(value)
        if sum(c in "0123456789" for c in model) >= len(value):
            assert [c for c in text if c not in "0123456789"] == [c for c in model if c not in "0123456789"]
        else:
            assert text == value


def test_a_sample_without_rows_is_refused():
    """There is nobody to learn from."""
    text = '[tables.t]\nsubject = "id"\n[tables.t.fields]\nid = { type = "int", class = "identity" }'
    schema = parse_schema(text, None, os.urandom)
    with pytest.raises(UsageError, match="no table of the sample has rows"):
        learn(schema, {"t": pa.table({"id": pa.array([], pa.int64())})}, CanaryPolicy())
