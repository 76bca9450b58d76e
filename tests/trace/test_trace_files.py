"""Files of exports: what is written reads back in every format, and their rows have one root, made plainly too."""

import csv
import hashlib
import io
import json
from datetime import UTC, date, datetime
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.tlog import EMPTY_ROOT, tree_root
from strongroom.trace.exporting.formats import open_writer
from strongroom.trace.exporting.rowroots import RowRoot
from strongroom.trace.exporting.rowtext import Piece, joined

SCHEMA = pa.schema([
    ("text", pa.string()), ("number", pa.int64()), ("share", pa.float64()), ("yes", pa.bool_()), ("day", pa.date32()),
    ("time", pa.timestamp("us", tz="UTC")), ("data", pa.binary()),
])  # fmt: skip
SPAN = (datetime(1900, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - hypothesis takes them so
ROW = st.fixed_dictionaries({
    "text": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    "number": st.none() | st.integers(-(2**63), 2**63 - 1),
    "share": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "yes": st.none() | st.booleans(),
    "day": st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    "time": st.none() | st.datetimes(*SPAN, timezones=st.just(UTC)),
    "data": st.none() | st.binary(max_size=9),
})  # fmt: skip


def written(word, batches):
    """What a writer makes of rows that come in several batches."""
    sink = io.BytesIO()
    writer = open_writer(word, sink, SCHEMA)
    for rows in batches:
        writer.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    writer.close()
    return sink.getvalue()


def plain(row):
    """A row as JSON has it."""
    made = dict(row)
    made["day"] = row["day"] and row["day"].isoformat()
    made["time"] = row["time"] and row["time"].replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    made["data"] = None if row["data"] is None else row["data"].hex()
    return made


@given(st.lists(st.lists(ROW, max_size=5), max_size=3))
def test_lines_of_json_read_back(batches):
    """Whatever text there is, quotes and control characters among it; in the order of the columns."""
    rows = [row for some in batches for row in some]
    lines = written("jsonl", batches).decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [plain(row) for row in rows]
    assert all(list(json.loads(line)) == SCHEMA.names for line in lines)


@given(st.lists(st.lists(ROW, max_size=5), max_size=3))
def test_csv_reads_back_and_tells_an_empty_text_from_nothing(batches):
    """By Python's own reader; a header stands there also where no row does."""
    rows = [row for some in batches for row in some]
    text = written("csv", batches).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[0] == SCHEMA.names
    assert [row[0] for row in found[1:]] == [row["text"] or "" for row in rows]
    assert [row[1] for row in found[1:]] == ["" if row["number"] is None else str(row["number"]) for row in rows]
    assert [row[4] for row in found[1:]] == [plain(row)["day"] or "" for row in rows]
    assert [row[6] for row in found[1:]] == [plain(row)["data"] or "" for row in rows]


def test_an_empty_text_is_in_quotes_and_nothing_is_not():
    """What tells them apart in the file."""
    rows = [dict.fromkeys(SCHEMA.names, None) | {"text": text} for text in ("", None)]
    assert written("csv", [rows]).decode().splitlines()[1:] == ['"",,,,,,', ",,,,,,"]


@given(st.lists(st.lists(ROW, max_size=5), max_size=3))
def test_parquet_reads_back_with_its_types(batches):
    """Columns of the schema's own types, also without rows."""
    found = pq.read_table(io.BytesIO(written("parquet", batches)))
    assert found.schema.equals(SCHEMA)
    assert found.to_pylist() == [row for some in batches for row in some]


def test_parquet_keeps_a_dictionary_only_of_what_comes_again():
    """In row groups; of a column of distinct values it would be thrown away."""
    sink, schema = io.BytesIO(), pa.schema([("sex", pa.string()), ("number", pa.string())])
    rows = 300_000
    table = pa.table({"sex": ["f", "m"] * (rows // 2), "number": [f"{i:06d}" for i in range(rows)]}, schema=schema)
    writer = open_writer("parquet", sink, schema)
    for batch in table.to_batches(max_chunksize=30_000):
        writer.write(batch)
    writer.close()
    file = pq.ParquetFile(sink)
    assert file.metadata.num_row_groups > 1
    first = file.metadata.row_group(0)
    assert [first.column(at).has_dictionary_page for at in range(2)] == [True, False]
    assert file.read().equals(table)


MARK = st.text(st.characters(exclude_categories=["Cs"]), max_size=19)
TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=3, max_size=12)


@given(TEXTS, MARK, MARK, MARK, st.booleans(), st.integers(0, 2), st.booleans())
def test_rows_of_text_are_the_same_by_the_loop_and_by_arrow(texts, before, after, null, counted, start, wide):
    """Nulls, slices, marks of any length; both are what Python joins."""
    column = pa.array(texts, pa.large_string() if wide else pa.string())[start:]
    other = pa.array([str(i) for i in range(len(texts))])[start:]
    pieces = [Piece(column, before, after, null, counted), Piece(other, "", ";", "?")]

    def plain(text):
        size = f"{len(text.encode())}:" if counted and text is not None else ""
        return null if text is None else f"{before}{size}{text}{after}"

    expected = [f"{plain(t)}{i};".encode() for i, t in enumerate(texts)][start:]
    for least in (0, 1_000):
        data, ends = joined(pieces, least)
        assert data.tobytes() == b"".join(expected)
        assert [data[a:b].tobytes() for a, b in pairwise(ends)] == expected


@pytest.mark.parametrize("text", ['quoted "so"', "back\\slash", "line\nend", "\x01", "张\t三", ""])
def test_many_lines_of_json_escape_what_few_do(text):
    """As many as the compiled loop takes; a dictionary of texts too."""
    values = [None if i % 7 == 3 else f"{text}{i % 5}" for i in range(5_000)]
    for column in (pa.array(values), pa.array(values).dictionary_encode()):
        sink = io.BytesIO()
        batch = pa.RecordBatch.from_arrays([column, pa.array(range(5_000))], ["text", "number"])
        open_writer("jsonl", sink, batch.schema).write(batch)
        found = [json.loads(line) for line in sink.getvalue().decode().split("\n")[:-1]]
        assert found == [{"text": value, "number": i} for i, value in enumerate(values)]


def netstrings(table, row):
    """The data of a row's leaf, written plainly from the format's words."""
    texts = [table]
    for name in SCHEMA.names:
        value = row[name]
        if value is None or name in {"text", "data"}:
            texts.append(value.hex() if name == "data" and value is not None else value)
        elif name == "yes":
            texts.append(str(value).lower())
        elif name == "day":
            texts.append(str((value - date(1970, 1, 1)).days))
        elif name == "time":
            seconds = value - datetime(1970, 1, 1, tzinfo=UTC)
            texts.append(str((seconds.days * 86400 + seconds.seconds) * 10**6 + seconds.microseconds))
        else:
            texts.append(str(value))
    return b"".join(b"-," if t is None else b"%d:%s," % (len(t.encode()), t.encode()) for t in texts)


@given(st.lists(st.lists(ROW, max_size=6), max_size=4))
def test_the_root_over_rows_is_made_plainly(batches):
    """Netstrings of the values, hashed one by one, whatever batches they came in; floats are left to Arrow's words."""
    batches = [[row | {"share": None} for row in some] for some in batches]
    root = RowRoot()
    for some in batches:
        root.add("personen", pa.RecordBatch.from_pylist(some, schema=SCHEMA).columns)
    leaves = [hashlib.sha256(b"\0" + netstrings("personen", row)).digest() for some in batches for row in some]
    assert root.rows == len(leaves)
    assert root.root() == (tree_root(leaves) if leaves else EMPTY_ROOT)


@pytest.mark.parametrize("size", [65_535, 65_536, 140_000])
def test_the_root_of_many_rows_is_that_of_the_tree(size):
    """Parts of the tree are hashed as they fill: the root is the same."""
    root, column = RowRoot(), pa.array(range(size)).cast(pa.string())
    for start in range(0, size, 50_001):
        root.add("t", [column.slice(start, 50_001)])
    leaves = [hashlib.sha256(f"\0001:t,{len(t)}:{t},".encode()).digest() for t in map(str, range(size))]
    assert root.root() == tree_root(leaves)
