"""Checking columns: what reads, what is flagged with which code, and that nothing raises."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_tables import every_type

from strongroom.errors import InputError
from strongroom.schema.check import SUBJECT_BYTES_MAX, VALUE_BYTES_MAX, check, too_few_values
from strongroom.schema.columns import arrow_type

TABLE = every_type().table("persons")


def _check(name, values, **options):
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.string())
    ids = pa.array([f"p{i}" for i in range(len(column))], pa.string())
    return check(TABLE, {"id": ids, name: column}, **options)


def _codes(checked):
    return {(f, code): np.flatnonzero(mask).tolist() for mask, f, code in checked.reasons}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("number", ["7", " -8 ", "+9", "007", ""], [7, -8, 9, 7, None]),
        ("ratio", ["1", "-.5", "1e3", " 2.50 ", ""], [1.0, -0.5, 1000.0, 2.5, None]),
        ("flag", ["true", "0", "是", "No", ""], [True, False, True, False, None]),
        ("day", ["2020-02-29", "2020/02/29", "20200229", "2020-2-29", "2020年2月29日"], [date(2020, 2, 29)] * 5),
        ("day", ["20200229", "19991231"], [date(2020, 2, 29), date(1999, 12, 31)]),
        ("moment", ["2020-01-02 03:04:05", ""], [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), None]),
        (
            "moment",
            ["2020-01-02T03:04:05Z", "2020-01-02T11:04:05+08:00"],
            [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)] * 2,
        ),
        ("moment", ["2020/01/02 03:04", "2020-01-02 03:04:00"], [datetime(2020, 1, 2, 3, 4, tzinfo=UTC)] * 2),
        ("moment", ["2020-01-02 03:04:05.25 +0000", "x"], [datetime(2020, 1, 2, 3, 4, 5, 250000, tzinfo=UTC), None]),
        ("blob", ["YWI=", ""], [b"ab", None]),
        ("name", [" as given ", "", "１"], [" as given ", None, "１"]),
    ],
)
def test_text_reads_as_its_type(field, text, value):
    """The usual spellings of each type read, alone or mixed; text stays as given."""
    checked = _check(field, text)
    assert checked.columns[field].to_pylist() == value
    assert checked.columns[field].type == arrow_type(TABLE.field(field).type)


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        ("number", "0x10", "not-an-int"),
        ("number", "1.5", "not-an-int"),
        ("number", "1_0", "not-an-int"),
        ("number", "9223372036854775808", "out-of-range"),
        ("ratio", "nan", "not-a-float"),
        ("ratio", "1e999", "out-of-range"),
        ("flag", "maybe", "not-a-bool"),
        ("day", "2021-02-29", "not-a-date"),
        ("day", "0000-01-01", "not-a-date"),
        ("day", "29.02.2020", "not-a-date"),
        ("moment", "2020-01-02 24:00:00", "not-a-timestamp"),
        ("moment", "2020-01-02 03:04:05.1234567", "not-a-timestamp"),
        ("blob", "!", "not-a-binary"),
        ("name", "x" * (VALUE_BYTES_MAX + 1), "too-long"),
        ("other", "x", "unknown-field"),
    ],
)
def test_what_does_not_read_is_flagged_alone(field, text, code):
    """One bad row is flagged with field and code; its neighbours stay good."""
    checked = _check(field, ["", text, ""])
    assert _codes(checked) == {(field, code): [1]}
    assert checked.bad.tolist() == [False, True, False]


def test_a_subject_is_needed():
    """Null, empty and blank subjects are missing; an endless one is too long."""
    ids = pa.array([" p1 ", "", None, "  ", "x" * (SUBJECT_BYTES_MAX + 1)])
    checked = check(TABLE, {"id": ids})
    assert checked.bad.tolist() == [False, True, True, True, True]
    assert checked.subjects.to_pylist()[:4] == ["P1", None, None, None]
    assert checked.columns["id"].to_pylist()[0] == " p1 "
    assert check(TABLE, {"name": pa.array(["x"])}).bad.tolist() == [True]


def test_bytes_that_are_not_utf8_are_flagged():
    """A string field takes UTF-8 bytes and flags others."""
    checked = _check("name", pa.array(["好".encode(), b"\xff", None]))
    assert _codes(checked) == {("name", "not-utf8"): [1]}
    assert checked.columns["name"].to_pylist() == ["好", None, None]
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"]).buffers())
    assert _codes(_check("name", broken)) == {("name", "not-utf8"): [0]}


def test_empty_text_may_be_a_value():
    """Where the source tells null from empty, so do strings."""
    assert _check("name", ["", None], empty_is_null=False).columns["name"].to_pylist() == ["", None]
    assert _check("number", ["", None], empty_is_null=False).columns["number"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("field", "column", "value", "bad"),
    [
        ("number", pa.array([1, None], pa.uint8()), [1, None], []),
        ("number", pa.array([2**63, 5], pa.uint64()), [None, 5], [0]),
        ("number", pa.array([1.0, 1.5, float("nan"), 2.0**63, 1e300]), [1, None, None, None, None], [1, 2, 3, 4]),
        ("number", pa.array([Decimal("3.0"), Decimal("3.5")]), [3, None], [1]),
        ("number", pa.array([True]), [None], [0]),
        ("number", pa.array([[1]]), [None], [0]),
        ("ratio", pa.array([1, 2**53 + 1]), [1.0, None], [1]),
        ("ratio", pa.array([1.5, float("inf"), float("nan")]), [1.5, None, None], [1, 2]),
        ("ratio", pa.array([Decimal("1.5")]), [1.5], []),
        ("flag", pa.array([0, 1, 2, -1]), [False, True, None, None], [2, 3]),
        (
            "day",
            pa.array([datetime(2020, 1, 2, tzinfo=UTC), datetime(2020, 1, 2, 3, tzinfo=UTC)]),
            [date(2020, 1, 2), None],
            [1],
        ),
        ("moment", pa.array([1, 1001, None], pa.timestamp("ns")), [None, None, None], [0, 1]),
        ("moment", pa.array([1000], pa.timestamp("ns")), [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)], []),
        ("moment", pa.array([date(2020, 1, 2)]), [datetime(2020, 1, 2, tzinfo=UTC)], []),
        ("moment", pa.array([2**60], pa.timestamp("s")), [None], [0]),
        ("name", pa.array([13800138000, None]), ["13800138000", None], []),
        ("name", pa.array([1.5]), [None], [0]),
        ("blob", pa.array([b"x"], pa.large_binary()), [b"x"], []),
        ("name", pa.nulls(2), [None, None], []),
        ("name", pa.array(["a", "a", None]).dictionary_encode(), ["a", "a", None], []),
        ("name", pa.array(["a", None], pa.string_view()), ["a", None], []),
        ("name", pa.chunked_array([pa.array(["a"]), pa.array(["b"])]), ["a", "b"], []),
    ],
)
def test_typed_columns_convert_without_loss(field, column, value, bad):
    """Arrow columns convert where nothing is lost; rows where something would be are flagged."""
    checked = _check(field, column)
    assert checked.columns[field].to_pylist() == value
    assert np.flatnonzero(checked.bad).tolist() == bad


def test_unknown_columns_may_be_left_out_on_purpose():
    """An unknown column flags rows that hold something there, unless it is ignored."""
    assert _check("other", ["x", "", None]).bad.tolist() == [True, False, False]
    assert not _check("other", ["x"], ignore=["other"]).bad.any()


def test_columns_of_different_length_are_refused():
    """Columns must be of one length, and there must be one."""
    for columns in ({}, {"id": pa.array(["a"]), "name": pa.array(["a", "b"])}):
        with pytest.raises(InputError):
            check(TABLE, columns)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.text(max_size=25) | st.from_regex(r"\A[0-9:/TZ .+-]{0,30}\Z"), min_size=1, max_size=8))
def test_check_never_raises_on_text(values):
    """Arbitrary text in every field is read or flagged; flagged cells are null."""
    columns = {f.name: pa.array(values, pa.string()) for f in TABLE.fields}
    checked = check(TABLE, columns)
    for mask, name, _ in checked.reasons:
        if name != "id":
            assert checked.columns[name].filter(pa.array(mask)).null_count == mask.sum()
    for name, column in checked.columns.items():
        assert (column.type, len(column)) == (arrow_type(TABLE.field(name).type), len(values))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_check_never_raises_on_bytes(values):
    """Arbitrary bytes in every field are read or flagged."""
    check(TABLE, {f.name: pa.array(values, pa.binary()) for f in TABLE.fields})


def test_a_column_of_groups_has_too_few_values():
    """Many rows of few values would make an index of groups."""
    assert too_few_values(pa.array(["男", "女"] * 10_000))
    assert not too_few_values(pa.array(["男", "女"]))
    assert not too_few_values(pa.array([str(i) for i in range(20_000)]))
