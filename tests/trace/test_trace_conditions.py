"""Conditions on open fields: what SQL says of them, three-valued, and nothing else is understood."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import StrongroomError, UsageError
from strongroom.schema.model import BUILT_IN_CLASSES, Field, Table
from strongroom.trace.exporting.conditions import parse_condition

KINDS = {"area": "string", "year": "int", "share": "float", "works": "bool", "born": "date", "seen": "timestamp"}
FIELDS = (
    *(Field(name, kind, "open", name.encode().ljust(16, b"-")) for name, kind in KINDS.items()),
    Field("name", "string", "identity", b"n" * 16),
)
TABLE = Table("persons", b"t" * 16, "plain", "name", "many", FIELDS, 1, {"identity": b"c" * 16}, BUILT_IN_CLASSES)
ROWS = [
    {"area": "north", "year": 1990, "share": 0.5, "works": True, "born": date(1990, 1, 2), "seen": datetime(2020, 1, 1, tzinfo=UTC)},
    {"area": "it's", "year": -3, "share": -1.5, "works": False, "born": date(2001, 5, 6), "seen": datetime(2021, 1, 1, 8, tzinfo=UTC)},
    dict.fromkeys(KINDS),
]


def chosen(text):
    found = parse_condition(text, TABLE)
    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32(),
             "timestamp": pa.timestamp("us", tz="UTC")}  # fmt: skip
    columns = {name: pa.array([row[name] for row in ROWS], types[KINDS[name]]) for name in found.fields}
    return [at for at, kept in enumerate(found.chosen(columns).tolist()) if kept]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("area = 'north'", [0]),
        ("AREA <> 'north'", [1]),
        ("area = 'it''s'", [1]),
        ("1990 <= year", [0]),
        ("year < -2", [1]),
        ("year between -5 and 1990", [0, 1]),
        ("year in (1990, 7)", [0]),
        ("year not in (1990, 7)", [1]),
        ("not year = 1990", [1]),
        ("year is null", [2]),
        ("year is not null and area is not null", [0, 1]),
        ("year = 1990 or area is null", [0, 2]),
        ("not (year = 1990 or area is null)", [1]),
        ("share >= -1.5 and share < 0.5", [1]),
        ("works = true", [0]),
        ("born > '1995-01-01'", [1]),
        ("born = date '1990-01-02'", [0]),
        ("seen < '2020-06-01'", [0]),
        ("seen >= timestamp '2021-01-01 08:00:00'", [1]),
    ],
)
def test_a_condition_chooses_what_sql_would(text, rows):
    """A record whose condition is unknown is not chosen."""
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("area", "not understood"),
        ("area = ", "cannot be read"),
        ("area = year", "something else than a string"),
        ("lower(area) = 'x'", "compares a field with a value"),
        ("area like 'n%'", "not understood"),
        ("year + 1 = 3", "compares a field with a value"),
        ("year in (select 1)", "not understood"),
        ("exists (select 1)", "not understood"),
        ("1 = 1", "compares a field"),
        ("year = '1990'", "something else than a int"),
        ("year = 1.5", "something else than a int"),
        ("area = 3", "something else than a string"),
        ("born = '1990-13-01'", "something else than a date"),
        ("year = 99999999999999999999", "something else than a int"),
        ("name = 'Ada'", "name is sealed"),
        ("nobody = 1", "names no field"),
        ("p.area = 'x'", "compares a field"),
        ("area = 'x' order by 1", "cannot be read"),
        ("area = 'x'; select 2", "cannot be read"),
        ("area = 'x' union select 1", "cannot be read"),
        ("not " * 40 + "year = 1", "nested too deeply"),
        ("area = '" + "x" * 5000 + "'", "at most 4096"),
    ],
)
def test_what_is_no_condition_is_refused_without_its_values(text, told):
    """Functions, patterns, arithmetic, other fields, sub-queries, sealed fields, values of another type."""
    with pytest.raises(UsageError, match=told) as caught:
        parse_condition(text, TABLE)
    assert "Ada" not in str(caught.value)
    assert "1990" not in str(caught.value)


@given(st.text(st.sampled_from("areyin()'<>=! andortul0123456789.-,;\"`\n\0_号"), max_size=60))
def test_whatever_is_given_is_a_condition_or_an_error_of_this_library(text):
    """No parser's own error comes out."""
    try:
        found = parse_condition(text, TABLE)
    except StrongroomError:
        return
    assert found.fields
