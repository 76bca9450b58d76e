"""Sources: files, patterns, standard input and Arrow data give exact rows, or a clear error."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from strongroom.errors import InputError, StrongroomError, UsageError
from strongroom.write import sources_csv, sources_cut
from strongroom.write.sources import (
    BAD_ENCODING,
    NESTED_VALUE,
    NOT_JSON,
    WRONG_FIELD_COUNT,
    digest_file,
    open_sources,
    sample_tables,
)

PEOPLE = [("1", "李小明", "13800138000"), ("2", 'Ann "B"', "x,y"), ("3", "two\nlines", ""), ("4", "王五", "139")]


def written(rows=PEOPLE, header=("id", "name", "mobile"), **how) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **how)
    if header:
        writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def read(what, **how):
    """All rows as (number, *values), all bad rows as (number, reason, raw), and the sources."""
    good, bad = [], []
    with open_sources(what, **how) as sources:
        for batch in sources:
            columns = [column.to_pylist() for column in batch.columns.columns]
            good += list(zip(batch.row_numbers().tolist(), *columns, strict=True))
            bad += list(zip(batch.bad.rows, batch.bad.reasons, batch.bad.raw, strict=True))
            assert batch.rows == batch.columns.num_rows + len(batch.bad)
            batch.columns.validate(full=True)
    return good, bad, sources


def put(folder: Path, data: bytes | str, name="people.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


EXPECTED = [
    (1, "1", "李小明", "13800138000"),
    (2, "2", 'Ann "B"', "x,y"),
    (3, "3", "two\nlines", None),
    (4, "4", "王五", "139"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_csv_is_read_whatever_its_encoding_line_ends_and_quotes(tmp_path, encoding, end, quoting):
    """Encoding is told from the bytes; quotes, embedded newlines and CRLF give the same rows."""
    path = put(tmp_path, written(lineterminator=end, quoting=quoting).encode(encoding))
    good, bad, sources = read(path)
    assert (good, bad) == (EXPECTED, [])
    assert sources.digests[0].sha256 == hashlib.sha256(path.read_bytes()).digest() == digest_file(path).sha256
    assert sources.bytes_done == sources.bytes_total == path.stat().st_size


@pytest.mark.parametrize("name", ["gb18030", "GBK", "gb2312"])
def test_a_named_encoding_is_used(tmp_path, name):
    """GBK and its relatives may be named."""
    assert read(put(tmp_path, written().encode("gb18030")), encoding=name)[0] == EXPECTED


def test_named_columns_make_the_first_line_a_record(tmp_path):
    """With columns given the file has no header."""
    path = put(tmp_path, written(header=None))
    assert read(path, columns=["id", "name", "mobile"])[0] == EXPECTED


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_the_delimiter_is_told_from_the_header(tmp_path, delimiter):
    """Tabs, semicolons and bars work without being named."""
    assert read(put(tmp_path, written(delimiter=delimiter)))[0] == EXPECTED


@pytest.mark.parametrize("pack", [gzip.compress, lambda d: pa.compress(d, "zstd", asbytes=True)])
def test_compressed_text_is_read_and_digested_as_stored(tmp_path, pack):
    """Gzip and zstd are told from the bytes, and the digest is of the stored bytes."""
    path = put(tmp_path, pack(written().encode()), "people.csv.gz")
    good, _, sources = read(path)
    assert good == EXPECTED
    assert sources.digests[0] == digest_file(path)


def test_two_gzip_members_are_one_file(tmp_path):
    """Concatenated gzip files are read to the end."""
    text = written().encode()
    assert read(put(tmp_path, gzip.compress(text[:20]) + gzip.compress(text[20:]), "a.csv.gz"))[0] == EXPECTED


@pytest.mark.parametrize("keep", [10, 30, -9, -1])
def test_a_gzip_cut_short_is_an_error(tmp_path, keep):
    """A truncated archive is an InputError that names the file."""
    path = put(tmp_path, gzip.compress(written(PEOPLE * 500).encode())[:keep], "a.csv.gz")
    with pytest.raises(InputError, match="csv"):
        read(path)


def many(rows: int, bad: set[int]) -> str:
    lines = ["id,name"]
    lines += [f"{i},p{i},extra" if i in bad else f"{i},p{i}" for i in range(1, rows + 1)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("chunk", [40, 1000, 1 << 20])
def test_row_numbers_are_exact_around_bad_lines(tmp_path, monkeypatch, chunk):
    """Numbers of good and bad rows stay right over chunks, slices and blank lines."""
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MIN", chunk)
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MAX", chunk)
    wrong = {1, 2, 7, 500, 501, 999, 1000}
    text = many(1000, wrong).replace("\n300,", "\n\n\n300,")
    good, bad, _ = read(put(tmp_path, text), rows_per_batch=64)
    assert [g[0] for g in good] == [int(g[1]) for g in good] == [i for i in range(1, 1001) if i not in wrong]
    assert bad == [(i, WRONG_FIELD_COUNT, f"{i},p{i},extra".encode()) for i in sorted(wrong)]


@pytest.mark.parametrize("chunk", [30, 333, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_rows_with_bad_bytes_are_taken_out_alone(tmp_path, monkeypatch, chunk, encoding):
    """A byte that is not valid costs its own row, which comes out as it came."""
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MIN", chunk)
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MAX", chunk)
    lines = [f"{i},李明{i}".encode(encoding) for i in range(1, 301)]
    lines[9], lines[10], lines[200] = b"10,\xff\xfe", b"11,ab\xff,\xff", b"201,x\xff"
    path = put(tmp_path, b"id,name\n" + b"\n".join(lines))
    good, bad, _ = read(path, encoding=encoding)
    assert [g[0] for g in good] == [i for i in range(1, 301) if i not in {10, 11, 201}]
    assert all(g[2] == f"李明{g[0]}" for g in good)
    assert bad == [
        (10, BAD_ENCODING, b'"10","\xff\xfe"'),
        (11, WRONG_FIELD_COUNT, b"11,ab\xff,\xff"),
        (201, BAD_ENCODING, b'"201","x\xff"'),
    ]


def test_a_sequence_cut_by_a_field_end_is_bad_in_both_fields(tmp_path):
    """Bytes that would be valid only across a comma are not taken for valid."""
    half = "李".encode()
    path = put(tmp_path, b"a,b\nx,y\n" + half[:1] + b"," + half[1:] + "\nok,好\n".encode())
    good, bad, _ = read(path, encoding="utf-8")
    assert [g[0] for g in good] == [1, 3]
    assert [b[:2] for b in bad] == [(2, BAD_ENCODING)]


def test_a_wrong_encoding_is_an_error_of_the_file(tmp_path):
    """A GB18030 file read as UTF-8 is refused with the row and without values."""
    text = "id,name\n" + "".join(f"{i},李小明{i}\n" for i in range(100))
    with pytest.raises(InputError, match="from row 1 on") as caught:
        read(put(tmp_path, text.encode("gb18030")), encoding="utf-8")
    assert "李" not in str(caught.value)


def test_gb18030_is_told_even_after_a_megabyte_of_ascii(tmp_path):
    """The encoding is told by the first text that is not ASCII, wherever it stands."""
    text = "id,name\n" + "1,plain\n" * 400_000 + "2,李小明的家庭住址\n"
    good, _, _ = read(put(tmp_path, text.encode("gb18030")))
    assert good[-1] == (400_001, "2", "李小明的家庭住址")


@pytest.mark.parametrize("chunk", [16, 17, 64, 1000])
def test_cuts_never_fall_inside_a_quoted_value(tmp_path, monkeypatch, chunk):
    """Embedded newlines, escaped quotes and stray quotes come out whole at any chunk size."""
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MIN", chunk)
    monkeypatch.setattr(sources_csv, "CHUNK_BYTES_MAX", chunk)
    rows = [(str(i), ['a\n"b"\n,c', "plain", '""', "\n\n"][i % 4], "z" * (i % 40)) for i in range(1, 200)]
    good, bad, _ = read(put(tmp_path, written(rows)))
    assert bad == []
    assert [g[1:] for g in good] == [tuple(v or None for v in row) for row in rows]
    stray = put(tmp_path, "id,size\n" + "".join(f'{i},5"{i}\n"{i}x",6\n' for i in range(100)))
    assert [g[1:] for g in read(stray)[0]] == [r for i in range(100) for r in ((str(i), f'5"{i}'), (f"{i}x", "6"))]


def test_an_open_quote_does_not_fill_the_memory(tmp_path, monkeypatch):
    """A record longer than the limit is an error with a hint at the quote."""
    monkeypatch.setattr(sources_cut, "RECORD_BYTES_MAX", 1 << 20)
    path = put(tmp_path, 'id,name\n1,"open\n' + "2,x\n" * 3_000_000)
    with pytest.raises(InputError, match="longer than") as caught:
        read(path)
    assert "quote" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "no header"),
        (b"id,name,id\n1,2,3\n", "columns 1 and 3 have the same name"),
        (b"id,,name\n1,2,3\n", "column 2 has no name"),
        (b"\xff\xfei\x00d\x00", "UTF-16"),
        ("id,\xe9\n1,2\n".encode("latin-1"), "header is not valid"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything(tmp_path, data, words):
    """Empty files, missing or doubtful headers are errors when opening, with the file's name."""
    path = put(tmp_path, data)
    with pytest.raises(InputError, match=words) as caught:
        open_sources(path)
    assert "people.csv" in str(caught.value)


def test_fields_the_table_needs_must_be_in_the_header(tmp_path):
    """A needed field not there is an error that names it; unknown columns are left out; others may be absent."""
    path = put(tmp_path, written(header=("id", "name", "")))
    with pytest.raises(InputError, match="no column for mobile"):
        open_sources(path, table_fields=["id", "mobile"])
    with open_sources(path, table_fields=["name", "id", "mobile"], needed=["id"]) as sources:
        assert next(sources).columns.schema.names == ["id", "name"]


@pytest.mark.parametrize("header", [("id", "Name", "mobile"), ("id", "NAME ", "mobile")])
def test_a_field_in_other_letters_is_refused_and_not_left_out(tmp_path, header):
    """Left out, it would come out empty, over a good record: the error names the field and the column's place."""
    path = put(tmp_path, written(header=header))
    with pytest.raises(InputError, match="column 2 is field name in other letters"):
        open_sources(path, table_fields=["id", "name", "mobile"], needed=["id"])
    with open_sources(path, table_fields=["id", "mobile"], needed=["id"]) as sources:  # no field of the table: left out
        assert next(sources).columns.schema.names == ["id", "mobile"]


def left_out(what, **how):
    """Names left out of all batches, in the order met."""
    with open_sources(what, **how) as sources:
        return list(dict.fromkeys(name for batch in sources for name in batch.left_out))


def test_names_that_the_table_lacks_are_told_for_every_kind_of_source(tmp_path, monkeypatch):
    """CSV, JSON Lines regular or not, Parquet, Arrow and dictionaries name what is left out; nothing when all is asked."""
    table = pa.table({"id": ["1", "2"], "fax": ["3", "4"], "": ["5", "6"], "zip": ["7", "8"]})
    pq.write_table(table, tmp_path / "p.parquet")
    csv_file = put(tmp_path, "id,fax,,zip\n1,3,5,7\n2,4,6,8\n")
    regular = put(tmp_path, '{"id":"1","fax":"3"}\n{"id":"2","zip":[8]}\n', "a.jsonl")
    by_line = put(tmp_path, '{"id":"1","fax":"3"}\nno\n{"id":"2","zip":"8"}\n', "b.jsonl")
    objects = [{"id": "1", "fax": "3"}, {"id": "2", "zip": {}}]
    unnamed = "(a column without a name)"
    for what in (csv_file, tmp_path / "p.parquet", table):
        assert left_out(what, table_fields=["id"]) == ["fax", unnamed, "zip"]
    for what in (regular, by_line, objects):
        assert left_out(what, table_fields=["id"]) == ["fax", "zip"]
    assert left_out(csv_file, table_fields=["id"], rows_per_batch=1) == ["fax", unnamed, "zip"]
    assert left_out(regular, table_fields=["id", "fax", "zip"], needed=["id"]) == []
    assert left_out(objects, table_fields=None) == []
    for what in (put(tmp_path, '{"id":"1","FAX":"3"}\n', "c.jsonl"), [{"id": "1", "FAX": 3}]):
        with pytest.raises(InputError, match="column 2 is field fax in other letters"):
            left_out(what, table_fields=["id", "fax"], needed=["id"])


@pytest.mark.parametrize("irregular", ["", "\nno"])
def test_names_left_out_are_bounded_and_can_be_shown(tmp_path, irregular):
    """Ten thousand names that change from line to line leave a hundred, each short and printable."""
    lines = [json.dumps({"id": str(n), f"\x1b[31m{n}" + "n" * 500: 1}) for n in range(10_500)]
    path = put(tmp_path, "\n".join(lines) + irregular, "many.jsonl")
    found = left_out(path, table_fields=["id"])
    assert len(found) == 100
    assert {len(name) for name in found} == {65}
    assert all(name.isprintable() for name in found)


def test_absent_files_folders_and_patterns_are_refused(tmp_path):
    """What is not there is named, and a folder is not a file."""
    for what in (tmp_path / "no.csv", tmp_path, str(tmp_path / "*.csv")):
        with pytest.raises(InputError):
            open_sources(what)
    with pytest.raises(UsageError):
        open_sources(5)
    with pytest.raises(InputError):
        open_sources(put(tmp_path, "a\n"), encoding="utf-16")


def test_a_pattern_reads_its_files_in_order(tmp_path):
    """Globs are sorted, rows are numbered per file, and every file has its digest."""
    for i in range(3):
        put(tmp_path, f"id\n{i}a\n{i}b\n", f"part-{i}.csv")
    with open_sources(str(tmp_path / "part-*.csv")) as sources:
        batches = list(sources)
    assert [b.columns.column(0).to_pylist() for b in batches] == [["0a", "0b"], ["1a", "1b"], ["2a", "2b"]]
    assert [b.first_row for b in batches] == [1, 1, 1]
    assert len(sources.digests) == 3


def test_standard_input_is_read_to_its_end(monkeypatch):
    """A dash is standard input; its size is not known and its digest is."""
    data = written(PEOPLE * 1000).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    good, _, sources = read("-")
    assert len(good) == 4000
    assert sources.bytes_total is None
    assert sources.digests[0].sha256 == hashlib.sha256(data).digest()


@pytest.mark.parametrize("data", ["id,name\n", "id,name", "id,name\r\n\r\n"])
def test_a_header_alone_is_no_rows(tmp_path, data):
    """A file with a header and no records gives no batch, and has a digest."""
    good, bad, sources = read(put(tmp_path, data))
    assert (good, bad, len(sources.digests)) == ([], [], 1)


def test_no_thread_outlives_a_consumer_that_stops(tmp_path):
    """Closing early ends the reading threads."""
    path = put(tmp_path, many(50_000, set()))
    before = threading.enumerate()
    with open_sources(path, rows_per_batch=100) as sources:
        next(sources)
    assert [one for one in threading.enumerate() if one not in before] == []


def test_json_lines_become_text_and_bad_lines_are_taken_out(tmp_path):
    """Numbers, booleans and null are text or null; nested values and broken lines are bad rows."""
    lines = [
        '{"id": 1, "name": "李", "ok": true, "when": "2020-01-02T03:04:05Z"}',
        "",
        '{"id": 2.50, "name": null}',
        '{"id": 3, "name": {"a": 1}}',
        '{"id": 4, "id": 5}',
        "[1]",
        "{",
        '{"id": 123456789012345678901234567890, "ok": false}',
        '{"id": NaN}',
        '{"id": "\\ud800"}',
    ]
    good, bad, _ = read(put(tmp_path, "\n".join(lines), "a.jsonl"))
    assert good == [
        (1, "1", "李", "true", "2020-01-02T03:04:05Z"),
        (2, "2.50", None, None, None),
        (7, "123456789012345678901234567890", None, "false", None),
    ]
    assert [b[:2] for b in bad] == [
        (3, NESTED_VALUE), (4, NOT_JSON), (5, NOT_JSON), (6, NOT_JSON), (8, NOT_JSON), (9, NOT_JSON),
    ]  # fmt: skip
    assert bad[0][2] == lines[3].encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_regular_json_lines_take_the_fast_way_with_the_same_result(tmp_path, encoding, monkeypatch):
    """Columns parsed at once equal lines parsed one by one."""
    rows = [{"id": i, "name": f"李{i}", "at": "2020-01-02 03:04:05", "x": None if i % 3 else i / 4} for i in range(500)]
    text = "".join(json.dumps(r, ensure_ascii=encoding != "gb18030" and r["id"] % 2 == 0) + "\n" for r in rows)
    path = put(tmp_path, text.encode(encoding), "a.jsonl")
    fast = read(path, table_fields=["name", "id", "at"])[0]
    from strongroom.write.sources_json import JsonPart

    monkeypatch.setattr(JsonPart, "_fast", lambda self, data: None)
    assert fast == read(path, table_fields=["name", "id", "at"])[0]
    assert fast[7] == (8, "李7", "7", "2020-01-02 03:04:05")


@pytest.mark.parametrize(
    "line", ["null", "{}null", "null}", "{} null {}", '{"a":' * 100_000, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"]
)
def test_lines_that_end_the_fast_parser_do_not_end_the_process(tmp_path, line):
    """A null outside an object and deep nesting, which crash Arrow's parser, are bad rows."""
    path = put(tmp_path, '{"id": 1}\n' + line + '\n{"id": 2}\n', "a.jsonl")
    good, bad, _ = read(path, table_fields=["id"], needed=[])
    assert [g[0] for g in good if g[1]] == [1, 3]
    assert [b[0] for b in bad] in ([2], [])


def test_json_lines_in_which_a_needed_field_never_stands_are_refused(tmp_path):
    """Objects that use other names are an error of the file."""
    with pytest.raises(InputError, match="no value for mobile"):
        read(put(tmp_path, '{"id": 1}\n', "a.jsonl"), table_fields=["id", "mobile"])
    with pytest.raises(InputError, match="JSON array"):
        open_sources(put(tmp_path, '[{"id": 1}]', "a.json"))


def test_parquet_keeps_types_and_is_digested(tmp_path):
    """Parquet columns come typed and selected, over row groups; the digest is the file's."""
    table = pa.table({"id": np.arange(1000), "name": [f"n{i}" for i in range(1000)], "more": [[1]] * 1000})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=300)
    good, _, sources = read(path, table_fields=["id", "name"], rows_per_batch=128)
    assert good == [(i + 1, i, f"n{i}") for i in range(1000)]
    assert sources.digests == (digest_file(path),)
    with pytest.raises(InputError, match="nested columns: more"):
        open_sources(path)
    put(tmp_path, path.read_bytes()[:-20], "cut.parquet")
    with pytest.raises(InputError, match="damaged or cut short"):
        open_sources(tmp_path / "cut.parquet")


def test_arrow_data_and_dictionaries_are_read(tmp_path):
    """Tables, readers, batches and dictionaries give the same rows; a nested value is a bad row."""
    table = pa.table({"id": [1, 2, 3], "name": ["a", None, "c"]})
    expected = [(1, 1, "a"), (2, 2, None), (3, 3, "c")]
    assert read(table)[0] == expected
    assert read(table.to_reader())[0] == expected
    assert read(iter(table.to_batches(max_chunksize=2)))[0] == expected
    assert read(table.to_pylist())[0] == expected
    assert read(iter([]))[0] == []
    good, bad, _ = read([{"id": 1}, {"id": [1]}, 5, {"id": "x"}], table_fields=["id"])
    assert good == [(1, "1"), (4, "x")]
    assert [b[:2] for b in bad] == [(2, NESTED_VALUE), (3, NOT_JSON)]


def test_samples_are_named_after_their_files():
    """A sample has the first rows of a file under its name."""
    here = Path(__file__).parent.parent / "data"
    samples = sample_tables([here / "officials-sample.csv"], rows=20)
    assert list(samples) == ["officials-sample"]
    assert samples["officials-sample"].num_rows == 20


def test_errors_of_the_library_are_the_only_ones(tmp_path):
    """Arguments that make no sense are usage errors."""
    path = put(tmp_path, "a\n1\n")
    for how in (
        {"format": "xml"},
        {"delimiter": "ab"},
        {"columns": []},
        {"columns": ["a", "a"]},
        {"rows_per_batch": 0},
    ):
        with pytest.raises(StrongroomError):
            open_sources(path, **how)
