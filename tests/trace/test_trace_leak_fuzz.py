"""Samples, fuzzed: whatever the bytes, rows are read, or counted, or an error of the library comes out."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leakforms import accounted, rows, schema, tuple_of, written

from strongroom.errors import StrongroomError
from strongroom.schema.normalise import normalise_one
from strongroom.schema.reading import read as read_typed
from strongroom.trace.leak import delimited, jsons, readers, sqldump
from strongroom.trace.leak.extract import CODE, EMAIL, RESIDENT, extract
from strongroom.trace.leak.form import columns_of, is_json, is_sql
from strongroom.trace.leak.sample import LeakSample
from strongroom.trace.leak.sqlvalues import rows_as_csv, tuples_of
from strongroom.trace.leak.values import as_text, prepared, times, without_marks

SCHEMA = schema()
TABLE = rows(12)
few = settings(max_examples=max(settings().max_examples // 3, 10))
MOBILE = b"13800138000"


def numbers_of(data: bytes) -> list[int] | None:
    """Row numbers of everything that was read, sorted; None where it was refused."""
    sample = LeakSample(io.BytesIO(data), SCHEMA)
    seen: list[int] = []
    try:
        for batch in sample:
            seen += batch.numbers.tolist() + batch.line_numbers.tolist()
            if batch.columns is not None:
                batch.columns.validate(full=True)
                assert batch.columns.num_rows == len(batch.numbers)
            for one in batch.candidates:
                one.values.validate(full=True)
                assert len(one.numbers) == len(one.values)
                assert set(one.numbers.tolist()) <= {*batch.numbers.tolist(), *batch.line_numbers.tolist()}
    except StrongroomError:
        return None
    finally:
        accounted(sample)
    assert len(seen) + sum(t.rows for a in sample.description.accounts for t in a.unread.values()) == (
        sample.description.rows
    )
    return sorted(seen)


def whole(data: bytes) -> None:
    """Rows have each number once, from 1 on, or the sample is refused."""
    seen = numbers_of(data)
    assert seen is None or seen == list(range(1, len(seen) + 1))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes, so that everything is cut everywhere."""
    from strongroom.trace.leak import text

    monkeypatch.setattr(text.Text.blocks, "__defaults__", (256,))
    monkeypatch.setattr(readers, "BLOCK_BYTES", 256)
    monkeypatch.setattr(jsons, "BLOCK_BYTES", 256)
    monkeypatch.setattr(sqldump, "CARRY_MAX", 1_024)
    monkeypatch.setattr(jsons, "LINE_BYTES_MAX", 1_024)
    monkeypatch.setattr(delimited, "OPEN_QUOTE_BYTES_MAX", 256)


def pieces(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Bytes glued together from some parts."""
    return st.lists(st.sampled_from(parts), max_size=80).map(b"".join)


WORDS = (MOBILE, b"a", "李".encode(), "李".encode("gb18030"), b"\xff", b"\x00", b" ", b"\r\n", b"\n", b'"', b"'", b"\\")
CSV = pieces(*WORDS, b",", b",", b"\t", b"mobile", b"----")
JSON = pieces(
    *WORDS, b"{", b"}", b"[", b"]", b":", b",", b'"mobile":', b'{"mobile":"13800138000"}', b"\n", b"null", b"1e400"
)
SQL = pieces(
    *WORDS, b"INSERT INTO t VALUES ", b"INSERT INTO t (mobile, b) VALUES ", b"(", b")", b",", b";", b"('13800138000',1)",
    b"COPY t (mobile, b) FROM stdin;\n", b"\\.\n", b"\t", b"--", b"CREATE TABLE t (", b"'::text", b"NULL", b"UPDATE t",
)  # fmt: skip


@few
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes without any form."""
    whole(data)


@few
@given(CSV)
@example(b'a,b\n"x\ny,1\n' + b"c,d\n" * 100)
def test_odd_columns_lose_no_row(data: bytes) -> None:
    """Quotes, delimiters and line ends in any order, after a header."""
    whole(data)
    whole(b"person_id,mobile\n1,13800138000\n2,13900139000\n" + data)


@few
@given(JSON)
@example(b'{"a":' * 600)
@example(b"}" + b" " * 300 + b'}{"a":1}')
@example(b'{"a":1}\n{"a":1}\n' + b"}" * 300)
@example(b'[{"a":1},{"a":1}null,{"b":[[[[1]]]]}]')
def test_odd_json_loses_no_row(data: bytes) -> None:
    """Brackets, quotes and names in any order, after objects of all three kinds."""
    whole(data)
    line = json.dumps({"mobile": MOBILE.decode(), "n": 1}).encode()
    whole(line + b"\n" + line + b"\n" + data)
    whole(b"[" + line + b"," + line + b"," + data)


@few
@given(SQL)
def test_odd_dumps_lose_no_row(data: bytes) -> None:
    """Statements in any order and cut anywhere, after a dump of either dialect."""
    whole(data)
    whole(b"-- MySQL dump\nINSERT INTO `t` VALUES ('1\\'',2),('2',3);\n" + data)
    whole(b"-- PostgreSQL database dump\nINSERT INTO t VALUES ('1''',2);\n" + data)


@few
@given(st.integers(0, 1_500), st.sampled_from([b"\n", b"\r\n"]), st.binary(min_size=1, max_size=3))
def test_a_flipped_place_in_a_table_loses_no_other_row(at: int, end: bytes, other: bytes) -> None:
    """One place of a good file overwritten: every other row still gives its mobile number."""
    data = written(TABLE, end=end.decode())
    at %= len(data)
    changed = data[:at] + other + data[at + len(other) :]
    whole(changed)
    sample = LeakSample(io.BytesIO(changed), SCHEMA)
    found = {value for b in sample for c in b.candidates if c.field == "mobile" for value in c.values.to_pylist()}
    hit = changed[:at].count(b"\n")
    lost = [number for number, row in enumerate(TABLE, 1) if "+86" + row[4] not in found]
    near = range(hit - 1, hit + 3)
    assert hit <= 1 or set(lost) <= set(near), (lost, hit)


@few
@given(st.integers(1, 5_000), st.binary(max_size=4))
def test_damaged_archives_are_read_or_refused(at: int, other: bytes) -> None:
    """gzip, zip and Parquet with some bytes overwritten or cut off."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", written(TABLE))
    for data in (gzip.compress(written(TABLE), mtime=0), packed.getvalue()):
        place = at % len(data)
        numbers_of(data[:place] + other + data[place + len(other) :])
        numbers_of(data[:place])


@few
@given(st.integers(1, 50_000), st.binary(min_size=1, max_size=4))
def test_damaged_parquet_is_read_or_refused(tmp_path_factory, at: int, other: bytes) -> None:
    """A Parquet file with some bytes overwritten."""
    out = io.BytesIO()
    pq.write_table(pa.table({"mobile": [r[4] for r in TABLE], "n": list(range(len(TABLE)))}), out, row_group_size=7)
    data = out.getvalue()
    place = at % len(data)
    path = tmp_path_factory.mktemp("p") / "s.parquet"
    path.write_bytes(data[:place] + other + data[place + len(other) :])
    sample = LeakSample(path, SCHEMA)
    try:
        for batch in sample:
            batch.columns.validate(full=True)
    except StrongroomError:
        return
    finally:
        accounted(sample)


TEXT = st.text(st.sampled_from("0123456789138 -.+@xX()（）aé李，０１３８＋:/'\"\n年月日\u3000\ufeff\x00"), max_size=40)


@given(st.lists(st.one_of(st.none(), TEXT), max_size=20))
def test_values_come_out_as_the_index_has_them(values: list[str | None]) -> None:
    """Whatever the text, a value is normalised as its field says once the marks around it are gone."""
    column = pa.array(values, pa.string())
    bare = without_marks(column)
    for field in SCHEMA.tables["persons"].fields:
        found = prepared(column, field)
        assert len(found) == len(values)
        if field.type == "string":
            source = bare if field.normalise or field.find else column
            wanted = [None if v is None else normalise_one(v, field.normalise) or None for v in source.to_pylist()]
            assert found.to_pylist() == wanted
    assert len(as_text(column)) == len(values)


@given(st.lists(st.one_of(st.none(), TEXT, st.dates().map(str)), max_size=20))
def test_dates_read_alone_are_read_the_same_among_others(values: list[str | None]) -> None:
    """A date in the usual form is what it is, whatever stands beside it."""
    column = pa.array(values, pa.string())
    for kind in ("date", "timestamp"):
        assert len(times(column, kind)) == len(values)
    plain, _ = read_typed(
        pa.array([v if v and len(v) == 10 and v[4:5] == "-" else None for v in values], pa.string()), "date"
    )
    found = times(column, "date")
    for one, other in zip(plain.to_pylist(), found.to_pylist(), strict=True):
        assert one is None or one == other


@given(st.lists(TEXT.map(lambda t: t.replace("\n", " ")), min_size=1, max_size=10))
def test_what_is_found_in_text_stands_there(lines: list[str]) -> None:
    """A hit's digits and letters are in its line, in order."""
    hits = extract(pa.array(lines), {"phone:CN", RESIDENT, EMAIL, CODE})
    for kind, hit in hits.items():
        for line, value in zip(hit.lines.tolist(), hit.values.to_pylist(), strict=True):
            narrow = "".join(c for c in normalise_one(lines[line], ("halfwidth",)) if c.isascii())
            packed = narrow.replace(" ", "").replace("-", "").replace(".", "")
            bare = value if kind == EMAIL else value.replace("+", "").replace("-", "")
            assert bare in (narrow if kind == EMAIL else packed)


@given(st.lists(st.lists(st.text(st.sampled_from("ab'\\(),;\n李 "), max_size=6), min_size=2, max_size=2), min_size=1))
def test_tuples_come_back_as_they_were_written(table: list[list[str]]) -> None:
    """Tuples of any text, written as the standard says, are found and are CSV of the same values."""
    import csv

    data = (
        "INSERT INTO t VALUES " + ",\n".join(tuple_of(row, backslash=False, gap=", ") for row in table) + ";"
    ).encode()
    tuples = tuples_of(data)
    assert len(tuples.starts) == len(table)
    assert tuples.breaks.tolist() == [0]
    assert tuples.done == len(data)
    lines = rows_as_csv(data, tuples.starts, tuples.ends).decode()
    assert list(csv.reader(io.StringIO(lines, newline=""), quotechar="'")) == table


@given(st.binary(max_size=300), st.lists(st.sampled_from([b",", b"\n", b"a", b'"', b"1"]), max_size=60).map(b"".join))
def test_the_form_of_anything_is_told(data: bytes, lines: bytes) -> None:
    """Telling the form never fails, and columns are at least one."""
    for one in (data, lines):
        is_json(one)
        is_sql(one)
        form = columns_of(one)
        assert form is None or form.count >= 1


def test_numbers_in_text_are_found_wherever_they_stand() -> None:
    """A million random characters with numbers planted at known lines give each of them at its line."""
    rng = np.random.default_rng(1)
    lines = ["".join(rng.choice(list("x王 ,.-"), 40)) for _ in range(2_000)]
    for at in range(0, 2_000, 7):
        place = int(rng.integers(0, 40))
        lines[at] = lines[at][:place] + " " + TABLE[at % 12][4] + " " + lines[at][place:]
    hits = extract(pa.array(lines), {"phone:CN"})["phone:CN"]
    assert sorted(hits.lines.tolist()) == list(range(0, 2_000, 7))
