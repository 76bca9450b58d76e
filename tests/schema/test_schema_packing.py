"""Cells: what goes in comes out, in Python and in the compiled loops, byte for byte the same."""

import math
import os
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_tables import EVERY_TYPE, every_type

from strongroom.errors import InputError, IntegrityError, StrongroomError
from strongroom.schema import packing
from strongroom.schema.columns import arrow_type
from strongroom.schema.parse import parse_schema

TABLE = every_type().table("persons")
NAME = replace(TABLE, fields=(TABLE.field("id"), TABLE.field("name")))
_CHINESE = st.text(st.sampled_from("张三李四深圳市龙华区，。·—€ñéЖ𠮷a 1"), max_size=40)
_TEXT = st.one_of(
    st.text(max_size=30),
    _CHINESE,
    st.text(st.sampled_from("0123456789"), max_size=45),
    st.text(st.characters(max_codepoint=127), max_size=20),
    st.sampled_from(["", "0", "12", "1" * 5000, "中" * 3000, "ñ" * 70, "\x00"]),
)
_VALUES = {
    "string": _TEXT,
    "int": st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300)),
    "float": st.floats(),
    "bool": st.booleans(),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "binary": st.binary(max_size=300),
}
_RECORDS = {
    klass: st.lists(
        st.fixed_dictionaries({f.name: st.none() | _VALUES[f.type] for f in TABLE.fields_of(klass)}), max_size=12
    )
    for klass in ("open", *TABLE.classes)
}


def _columns(klass, records):
    return {f.name: pa.array([r[f.name] for r in records], arrow_type(f.type)) for f in TABLE.fields_of(klass)}


def _both(table, klass, columns, rows):
    """Pack in Python and in the loops; the two must agree."""
    with mock.patch.object(packing, "LOOP_ROWS_MIN", 1 << 60):
        slow, slow_offsets = packing.pack_cells(table, klass, columns, rows)
    with mock.patch.object(packing, "LOOP_ROWS_MIN", 0):
        data, offsets = packing.pack_cells(table, klass, columns, rows)
    assert data.tobytes() == slow.tobytes()
    assert offsets.tolist() == slow_offsets.tolist()
    return data, offsets


def _cells(data, offsets):
    return [data[a:b].tobytes() for a, b in pairwise(offsets)]


def _same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("klass", ["open", *TABLE.classes])
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_records_come_back_as_they_were(klass, data):
    """Every type, null or not, survives packing, one cell or a column at a time, in both implementations."""
    records = data.draw(_RECORDS[klass])
    cells, offsets = _both(TABLE, klass, _columns(klass, records), len(records))
    for record, cell in zip(records, _cells(cells, offsets), strict=True):
        assert packing.pack_cell(TABLE, klass, record) == cell
        opened = packing.unpack_cell(TABLE, klass, cell)
        assert all(_same(opened[name], value) for name, value in record.items())
    for minimum in (0, 1 << 60):
        with mock.patch.object(packing, "LOOP_ROWS_MIN", minimum):
            columns = packing.unpack_cells(TABLE, klass, cells, offsets)
        for name, column in columns.items():
            assert column.type == arrow_type(TABLE.field(name).type)
            column.validate(full=True)
            assert all(_same(a, r[name]) for a, r in zip(column.to_pylist(), records, strict=True))
        last = list(columns)[-1]
        with mock.patch.object(packing, "LOOP_ROWS_MIN", minimum):
            assert packing.unpack_cells(TABLE, klass, cells, offsets, [last]).keys() == {last}


_LAYOUTS = {
    "string": lambda a: a,
    "large_string": lambda a: a.cast(pa.large_string()),
    "string_view": lambda a: a.cast(pa.string_view()),
    "dictionary": lambda a: a.dictionary_encode(),
    "chunked": lambda a: pa.chunked_array([a[: len(a) // 3], a[len(a) // 3 :]], a.type),
    "no chunks": lambda a: pa.chunked_array([a]),
    "sliced": lambda a: pa.concat_arrays([pa.array(["前", None, "x"], pa.string()), a, pa.array(["y"])])[3:-1],
    "sliced large": lambda a: pa.concat_arrays([pa.array(["前"]), a]).cast(pa.large_string())[1:],
}


@pytest.mark.parametrize("layout", _LAYOUTS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | _TEXT, max_size=20))
def test_the_layout_of_a_column_does_not_matter(layout, values):
    """The same strings give the same cells in every layout Arrow has for them."""
    plain = pa.array(values, pa.string())
    data, offsets = _both(NAME, "identity", {"name": plain, "id": plain}, len(values))
    other = _LAYOUTS[layout](plain)
    again, again_offsets = _both(NAME, "identity", {"name": other, "id": plain}, len(values))
    assert (again.tobytes(), again_offsets.tolist()) == (data.tobytes(), offsets.tolist())


@settings(max_examples=30, deadline=None)
@given(_RECORDS["identity"], st.integers(0, 9), st.integers(0, 9))
def test_slices_with_offsets_pack_their_own_rows(records, start, stop):
    """A slice of a column of any type, validity bits and all, gives the cells of just those rows."""
    columns = _columns("identity", records)
    data, offsets = _both(TABLE, "identity", columns, len(records))
    part = {name: column[start : start + stop] for name, column in columns.items()}
    rows = len(records[start : start + stop])
    cut, cut_offsets = _both(TABLE, "identity", part, rows)
    assert _cells(cut, cut_offsets) == _cells(data, offsets)[start : start + stop]


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (None, b"\x03"),
        ("", b"\x00"),
        ("7", b"\x04" + b"7"),
        ("12", b"\x09\x12"),
        ("13800138000", bytes([11 << 2 | 1]) + bytes.fromhex("13800138000f")),
        ("12a", b"\x0c12a"),
        ("张三", bytes([4 << 2 | 2]) + "张三".encode("gbk")),
        ("Ж", bytes([2 << 2]) + "Ж".encode()),
        ("a𠮷", bytes([5 << 2]) + "a𠮷".encode()),
        ("1" * 40, b"\xa1\x01" + b"\x11" * 20),
    ],
)
def test_strings_take_their_shortest_form(value, packed):
    """Digits are two a byte, Chinese is GBK where that is shorter, and ties go to the lower kind."""
    both = {"id": pa.array(["x"]), "name": pa.array([value], pa.string())}
    data, _ = _both(NAME, "identity", both, 1)
    assert data.tobytes() == b"\x04x" + packed


@pytest.mark.parametrize(
    ("field", "value", "packed"),
    [
        ("number", 0, b"\x00"),
        ("number", 127, b"\x04\x7f"),
        ("number", 128, b"\x08\x80\x00"),
        ("number", -1, b"\x04\xff"),
        ("number", -128, b"\x04\x80"),
        ("number", -(2**63), b"\x20" + b"\x00" * 7 + b"\x80"),
        ("flag", True, b"\x04\x01"),
        ("flag", False, b"\x00"),
        ("day", date(1970, 1, 2), b"\x04\x01"),
        ("moment", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), b"\x05\x01"),
        ("moment", datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), b"\x04\x01"),
        ("moment", datetime(1970, 1, 1, tzinfo=UTC), b"\x01"),
        ("ratio", 1.0, b"\x20" + struct.pack("<d", 1.0)),
        ("blob", b"\x03", b"\x04\x03"),
    ],
)
def test_other_types_are_packed_as_the_format_says(field, value, packed):
    """Whole numbers are as short as they can be; seconds are a kind of their own."""
    f = TABLE.field(field)
    one = replace(TABLE, fields=(TABLE.field("id"), f))
    columns = {"id": pa.array(["x"]), field: pa.array([value], arrow_type(f.type))}
    data, _ = _both(one, "identity", columns, 1)
    assert data.tobytes() == b"\x04x" + packed


def test_sensitive_cells_are_padded_and_others_empty_when_null():
    """Nulls of a padded class make a whole pad; nulls of another class make nothing."""
    nulls = {"note": pa.nulls(3, pa.string()), "mobile": pa.nulls(3, pa.string()), "code": pa.nulls(3, pa.int64())}
    assert _cells(*_both(TABLE, "sensitive", nulls, 3)) == [b"\x03" + bytes(31)] * 3
    assert _cells(*_both(TABLE, "medical", {}, 3)) == [b"\x03" + bytes(31)] * 3
    assert _cells(*_both(TABLE, "contact", nulls, 3)) == [b""] * 3
    for length in (30, 31, 32, 63, 64, 200):
        cell = _cells(*_both(TABLE, "sensitive", {"note": pa.array(["x" * length])}, 1))[0]
        assert len(cell) == -(-(length + (1 if length < 32 else 2)) // 32) * 32


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["open", *TABLE.classes]), st.binary(max_size=80))
def test_what_is_not_a_cell_is_an_integrity_error_in_both(klass, cell):
    """Arbitrary bytes open to the same values in both implementations, or to an IntegrityError in both."""
    results = []
    data, offsets = np.frombuffer(cell, np.uint8), np.array([0, len(cell)])
    for minimum in (0, 1 << 60):
        with mock.patch.object(packing, "LOOP_ROWS_MIN", minimum):
            try:
                columns = packing.unpack_cells(TABLE, klass, data, offsets)
                results.append({name: repr(column.to_pylist()) for name, column in columns.items()})
            except IntegrityError:
                results.append(None)
    assert results[0] == results[1]


@settings(max_examples=200, deadline=None)
@given(_RECORDS["identity"].filter(len), st.data())
def test_a_damaged_cell_is_refused_or_reads_the_same_in_both(records, data):
    """One byte changed, cut or added: both implementations agree on what it says, if anything."""
    cells, offsets = packing.pack_cells(TABLE, "identity", _columns("identity", records), len(records))
    cell = bytearray(_cells(cells, offsets)[0]) or bytearray(b"\x00")
    at = data.draw(st.integers(0, len(cell) - 1))
    cell[at] = data.draw(st.integers(0, 255))
    cell = cell[: data.draw(st.integers(0, len(cell)))]
    test_what_is_not_a_cell_is_an_integrity_error_in_both.hypothesis.inner_test("identity", bytes(cell))


def test_errors_do_not_tell_values():
    """A malformed cell and a value of the wrong type are named by table, class and field only."""
    with pytest.raises(IntegrityError) as caught:
        packing.unpack_cell(NAME, "identity", b"\x40secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError) as wrong:
        packing.pack_cell(TABLE, "identity", {"number": "secret"})
    assert "secret" not in str(wrong.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("minimum", [0, 1 << 60])
def test_what_is_not_utf8_is_refused_by_both(minimum):
    """A string column with other bytes in it is an InputError."""
    for raw in (b"\xff", b"\xe4\xb8", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"abc\xe0\x80\x80"):
        broken = pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(np.array([0, len(raw)], np.int32)), pa.py_buffer(raw)]
        )
        with mock.patch.object(packing, "LOOP_ROWS_MIN", minimum), pytest.raises(StrongroomError):
            packing.pack_cells(NAME, "identity", {"id": pa.array(["x"]), "name": broken}, 1)


def test_a_wrong_type_or_length_is_refused():
    """A column of another type or length never reaches the loops."""
    for column in (pa.array([1]), pa.array(["a", "b"])):
        with pytest.raises(InputError):
            packing.pack_cells(NAME, "identity", {"id": pa.array(["x"]), "name": column}, 1)


def test_an_older_record_opens_under_a_newer_schema():
    """Fields are matched by id: renamed, added and dropped ones, and those of classes that were not opened."""
    schema = every_type()
    text = EVERY_TYPE.replace("name    = { type", 'full_name = { was = "name", type')
    text = text.replace("number  =", 'nick = { type = "string", class = "identity" }\n# number  =')
    text = text.replace('subject = "id"', 'subject = "id"\ndropped = ["number"]')
    old, new = schema.table("persons"), parse_schema(text, schema, os.urandom).table("persons")
    opened = packing.unpack_cell(
        old, "identity", packing.pack_cell(old, "identity", {"id": "p1", "name": "n", "number": 3})
    )
    upgraded = packing.upgrade(opened, old, new)
    assert (upgraded["full_name"], upgraded["nick"]) == ("n", None)
    assert not {"name", "number", "mobile"} & set(upgraded)
    assert packing.upgrade(opened, old, old) == opened


def test_small_commands_load_no_heavy_library():
    """Parsing, one cell and one value need neither Arrow, numpy, numba nor the phone library."""
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1]);"
        "import types; p = types.ModuleType('strongroom'); p.__path__ = [sys.argv[2]]; sys.modules['strongroom'] = p\n"
        "from schema_tables import every_type\n"
        "from strongroom.schema import packing\n"
        "from strongroom.schema.normalise import normalise_one\n"
        "from strongroom.schema.mask import mask_value\n"
        "t = every_type().table('persons')\n"
        "r = {'id': 'p1', 'name': '张三'}\n"
        "assert packing.unpack_cell(t, 'identity', packing.pack_cell(t, 'identity', r))['name'] == '张三'\n"
        "assert normalise_one('138-0013-8000', ('phone:CN',)) == '+8613800138000'\n"
        "assert mask_value('13800138000', 'last4') == '****8000'\n"
        "print([m for m in ('pyarrow', 'numpy', 'numba', 'phonenumbers') if m in sys.modules])"
    )
    source = str(Path(packing.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), source], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
