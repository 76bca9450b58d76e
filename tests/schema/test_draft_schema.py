"""Drafting a schema: the text parses, finds what is there, and seals what it should."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InputError
from strongroom.schema.draft import draft_tables
from strongroom.schema.draft_values import kind_of
from strongroom.schema.draft_words import meaning_of, sounds_sensitive
from strongroom.schema.parse import parse_schema
from strongroom.schema.quasi import unique_share

DATA = Path(__file__).parent.parent / "data"


def drafted(samples):
    text = draft_tables(samples)
    return text, parse_schema(text, None, os.urandom)


def resident_id(n: int) -> str:
    body = f"110105{1960 + n % 40}{1 + n % 12:02}{1 + n % 28:02}{n % 1000:03}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def made_up(rows: int = 400) -> pa.Table:
    return pa.table({
        "编号": [f"P{i:06}" for i in range(rows)],
        "姓名": [f"李{chr(0x4E00 + i)}" for i in range(rows)],
        "身份证号": [resident_id(i) for i in range(rows)],
        "手机号": [f"138{i:08}" for i in range(rows)],
        "民族": [["汉族", "回族"][i % 2] for i in range(rows)],
        "邮箱": [f"user{i}@example.com" if i % 4 else "" for i in range(rows)],
        "出生日期": [f"19{60 + i % 40}-0{1 + i % 9}-11" for i in range(rows)],
        "创建时间": [f"2024-01-01 00:{i % 60:02}:00" for i in range(rows)],
        "状态": [["启用", "停用"][i % 2] for i in range(rows)],
    })  # fmt: skip


def test_a_chinese_file_is_recognised_by_headers_and_values():
    """Types, classes, indexes and normalisation come from validators and from Chinese headers."""
    text, schema = drafted({"persons": made_up()})
    table = schema.tables["persons"]
    field = {f.name: f for f in table.fields}
    assert (table.subject, table.records) == ("编号", "one")
    assert field["身份证号"].find
    assert field["身份证号"].normalise == ("id",)
    assert (field["手机号"].klass, field["手机号"].find, field["手机号"].normalise) == ("contact", True, ("phone:CN",))
    assert (field["民族"].klass, field["民族"].find) == ("sensitive", False)
    assert (field["邮箱"].find, field["邮箱"].mask) == (True, "email")
    assert (field["出生日期"].type, field["出生日期"].klass, field["出生日期"].mask) == ("date", "identity", "year")
    assert (field["创建时间"].type, field["创建时间"].klass) == ("timestamp", "open")
    assert (field["状态"].klass, field["姓名"].klass) == ("open", "identity")
    assert "100.0 % of 400 values are CN mobile numbers" in text
    assert "100.0 % of 400 values are CN resident identity numbers" in text


def test_public_officials_are_drafted_to_a_usable_schema():
    """Real data: the subject is the internal number, party and religion are sensitive, phones are found."""
    sample = pyarrow.csv.read_csv(DATA / "officials-sample.csv")
    _, schema = drafted({"officials": sample})
    table = schema.tables["officials"]
    field = {f.name: f for f in table.fields}
    assert (table.subject, table.records) == ("bioguide", "one")
    assert field["party"].klass == field["religion"].klass == "sensitive"
    assert (field["phone"].find, field["phone"].normalise) == (True, ("phone:US",))
    assert not any(f.find for f in table.fields if f.klass == "sensitive" or f.name in {"gender", "state", "chamber"})


def test_a_second_table_takes_the_subject_of_the_first():
    """Records about the same people are about the same subject, many to one."""
    visits = pa.table({"visit_id": [str(i) for i in range(9)], "编号": [f"P{i % 3:06}" for i in range(9)]})
    _, schema = drafted({"persons": made_up(), "visits": visits})
    assert (schema.tables["visits"].subject, schema.tables["visits"].records) == ("编号", "many")


def test_a_table_of_cases_is_sensitive_and_has_no_index():
    """A table that is sensitive by its name is drafted as such, and parses."""
    _, schema = drafted({"criminal_cases": made_up()})
    assert schema.tables["criminal_cases"].klass == "sensitive"
    assert not any(field.find for field in schema.tables["criminal_cases"].fields)


def test_no_value_stands_in_a_draft():
    """A draft holds shares and counts, and none of the values."""
    table = made_up()
    text = draft_tables({"persons": table})
    for name in ("编号", "姓名", "身份证号", "手机号", "邮箱", "状态"):
        assert not any(v and v in text for v in table.column(name).to_pylist())


@pytest.mark.parametrize(
    ("header", "klass"),
    [
        ("Ethnicity", "sensitive"), ("bloodType", "sensitive"), ("政治面貌", "sensitive"),
        ("union_member", "sensitive"),
        ("fingerprint_hash", "sensitive"), ("诊断结果", "sensitive"), ("sexual_orientation", "sensitive"),
        ("criminal_record", "sensitive"), ("EmailAddress", "contact"), ("home_address", "contact"),
        ("户籍地址", "contact"),
        ("date_of_birth", "identity"), ("religion_name", "sensitive"), ("sex", "identity"), ("created_at", "open"),
    ],
)  # fmt: skip
def test_headers_say_the_class(header, klass):
    """Words in English and Chinese, in any case style, give the class."""
    found = meaning_of(header)
    assert found is not None
    assert found.klass == klass


def test_values_say_the_kind():
    """Validators tell kinds apart; numbers that fit by chance need the header's word."""
    cards = ["4111111111111111", "5500005555555559", "4012888888881881"]
    ones = [1, 1, 1]
    assert kind_of(cards, ones, None) is None
    assert kind_of(cards, ones, "card or account").kind.name == "payment card numbers"
    ibans = ["GB82WEST12345698765432", "DE89370400440532013000", "x"]
    assert kind_of(ibans, [5, 5, 1], None).share == pytest.approx(10 / 11)
    assert (
        kind_of(["+44 20 7946 0958", "+1 202-224-3121"], [1, 1], None).kind.name == "phone numbers with a country code"
    )
    assert kind_of(["hello", "world"], [1, 1], "phone") is None


def test_the_share_of_rows_alone_is_counted():
    """A row is alone if no other has its combination; null counts as a value."""
    table = pa.table({"a": ["x", "x", "y", None], "b": [1, 1, 2, 2]})
    assert unique_share(table, ["a", "b"]) == 0.5
    assert unique_share(table, ["b"]) == 0.0
    assert unique_share(table, []) == 0.0
    assert unique_share(table.slice(0, 0), ["a"]) == 0.0
    views = pa.table({"a": pa.array(["x", "y"]).cast(pa.string_view()), "c": pa.array(["q", "q"]).dictionary_encode()})
    assert unique_share(views, ["a", "c"]) == 1.0


def test_there_must_be_something_to_draft_from():
    """No table, or one without columns, is an error."""
    with pytest.raises(InputError):
        draft_tables({})
    with pytest.raises(InputError):
        draft_tables({"a": pa.table({})})
    assert not sounds_sensitive("persons")


columns = st.one_of(
    st.lists(st.none() | st.text(max_size=8), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.none() | st.integers(-(2**40), 2**40), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.none() | st.floats(), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | st.binary(max_size=4), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.binary())),
    st.lists(st.booleans(), min_size=3, max_size=3).map(pa.array),
    st.lists(st.dates(), min_size=3, max_size=3).map(pa.array),
    st.just(pa.array([[1], [2], None])),
    st.just(pa.nulls(3)),
)
headers = st.text(max_size=12) | st.sampled_from(
    ["party", "Id", "id", "ID", "sex", "手机", "名 称", "1st", "_x", "a" * 90, "ﬁ"]
)


@given(st.dictionaries(headers, columns, min_size=1, max_size=5), headers)
def test_every_draft_parses(made, name):
    """Whatever the headers and the values, the drafted text is a schema."""
    table = pa.Table.from_arrays(list(made.values()), names=[h.encode("utf-8", "replace").decode() for h in made])
    drafted({name.encode("utf-8", "replace").decode(): table})
