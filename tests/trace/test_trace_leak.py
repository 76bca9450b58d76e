"""Samples of every form: the same persons come out, whatever the form, the encoding, the order and the writing."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leakforms import (
    CHINESE,
    NAMES,
    expected,
    gathered,
    json_lines,
    read,
    rows,
    schema,
    tuple_of,
    written,
)

from strongroom.errors import InputError
from strongroom.trace.leak import delimited, text
from strongroom.trace.leak.sample import LeakSample

TABLE = rows(400)
WANTED = expected(TABLE)


def holds(found, wanted=WANTED) -> None:
    """Everything wanted was found, at its row and in its form, and no more of it."""
    for key, pairs in wanted.items():
        assert found.get(key) == pairs, key


def wide(text_: str) -> str:
    """Digits and letters as full-width forms."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text_)


def zstd(data: bytes) -> bytes:
    """A zstd frame as a file has it."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sample.csv", data)
    return out.getvalue()


FORMS = {
    "comma": written,
    "chinese header": lambda t: written(t, CHINESE),
    "all quoted": lambda t: written(t, quoting=1),
    "windows line ends": lambda t: written(t, end="\r\n"),
    "old mac line ends": lambda t: written(t, end="\r"),
    "tabs": lambda t: written(t, delimiter="\t"),
    "bars": lambda t: written(t, delimiter="|"),
    "semicolons": lambda t: written(t, delimiter=";"),
    "single quotes": lambda t: written(t, quotechar="'", quoting=1),
    "four dashes": lambda t: b"".join("----".join(r).encode() + b"\n" for r in [list(NAMES), *t]),
    "hive": lambda t: b"".join("\x01".join(r).encode() + b"\n" for r in [list(NAMES), *t]),
    "json lines": json_lines,
    "json array": lambda t: b"[" + b",".join(json_lines(t).splitlines()) + b"]",
    "json array by line": lambda t: b"[\n" + b",\n".join(json_lines(t).splitlines()) + b"\n]\n",
    "pretty json": lambda t: json.dumps(
        [dict(zip(NAMES, r, strict=True)) for r in t], indent=2, ensure_ascii=False
    ).encode(),
    "search engine": lambda t: b"".join(
        b'{"_index":"p","_id":"1","_source":' + line + b"}\n" for line in json_lines(t).splitlines()
    ),
    "gzip": lambda t: gzip.compress(written(t)),
    "gzip of two members": lambda t: gzip.compress(written(t[:100])) + gzip.compress(written(t[100:], None)),
    "zstd": lambda t: zstd(written(t)),
    "zip": lambda t: zipped(written(t)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_persons_come_out_of_every_form(tmp_path: Path, form: str) -> None:
    """Each form gives the same identifiers at the same rows, all as columns."""
    found, description = read(FORMS[form](TABLE), tmp_path)
    holds(found)
    assert description.rows == len(TABLE)
    assert description.accounts[0].column_rows == len(TABLE)
    assert found[("persons", "birth_date")][0] == (1, date.fromisoformat(TABLE[0][3]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030", "gbk"])
@pytest.mark.parametrize("form", ["comma", "chinese header", "json lines"])
def test_encodings_are_told(tmp_path: Path, encoding: str, form: str) -> None:
    """Whatever the encoding, nothing is replaced and everything is found."""
    found, description = read(FORMS[form](TABLE).decode().encode(encoding), tmp_path)
    holds(found)
    assert found[("persons", "name")] == sorted((n, r[1]) for n, r in enumerate(TABLE, 1))
    assert description.accounts[0].replaced_bytes == 0


def test_lines_of_two_encodings_are_both_read(tmp_path: Path) -> None:
    """A file glued together from UTF-8 and GB18030 keeps the names of both."""
    for first, second in (("utf-8", "gb18030"), ("gb18030", "utf-8")):
        lines = written(TABLE).decode().splitlines(keepends=True)
        data = "".join(lines[:201]).encode(first) + "".join(lines[201:]).encode(second)
        found, description = read(data, tmp_path)
        assert found[("persons", "name")] == sorted((n, r[1]) for n, r in enumerate(TABLE, 1))
        assert description.accounts[0].encodings["gb18030"] >= 200
        assert description.accounts[0].replaced_bytes == 0


def test_bad_bytes_cost_no_row(tmp_path: Path) -> None:
    """Bytes that are no text are replaced and counted; the rows they stand in are read."""
    lines = written(TABLE).splitlines(keepends=True)
    for at in range(1, 401, 10):
        lines[at] = lines[at].replace("四川".encode(), b"\xff\xfe\x80")
    found, description = read(b"".join(lines), tmp_path)
    holds(found)
    assert description.accounts[0].replaced_bytes == 40 * 3


@pytest.mark.parametrize(
    ("style", "rewrite"),
    [
        ("plus", lambda m: "+86" + m),
        ("spaces", lambda m: f"+86 {m[:3]} {m[3:7]} {m[7:]}"),
        ("dashes", lambda m: f"{m[:3]}-{m[3:7]}-{m[7:]}"),
        ("zeros", lambda m: "0086" + m),
        ("bare code", lambda m: "86" + m),
        ("full width", wide),
        ("text mark", lambda m: "'" + m),
        ("formula", lambda m: f'="{m}"'),
        ("float", lambda m: m + ".0"),
        ("padded", lambda m: f"\u3000{m} "),
    ],
)
def test_phones_are_read_however_they_are_written(tmp_path: Path, style: str, rewrite) -> None:
    """Every way of writing a mobile number gives the form that the blind index has."""
    table = [[*r[:4], rewrite(r[4]), *r[5:]] for r in TABLE]
    for header in (NAMES, None):
        found, _ = read(written(table, header), tmp_path)
        assert found[("persons", "mobile")] == WANTED[("persons", "mobile")]
        assert found[("deliveries", "recipient_mobile")] == WANTED[("persons", "mobile")]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda d: d.replace("-", ""),
        lambda d: d.replace("-", "/"),
        lambda d: d.replace("-", "."),
        lambda d: f"{d[:4]}年{int(d[5:7])}月{int(d[8:])}日",
        lambda d: d + " 00:00:00",
        lambda d: f"{d[8:]}/{d[5:7]}/{d[:4]}",
        lambda d: f"{d[5:7]}/{d[8:]}/{d[:4]}",
        lambda d: f"{int(d[8:])}.{int(d[5:7])}.{d[:4]}",
        wide,
    ],
)
def test_dates_are_read_however_they_are_written(tmp_path: Path, rewrite) -> None:
    """Dates in any order and with any separator come out as dates."""
    table = [[*r[:3], rewrite(r[3]), *r[4:]] for r in TABLE]
    found, _ = read(written(table), tmp_path)
    assert found[("persons", "birth_date")] == sorted((n, date.fromisoformat(r[3])) for n, r in enumerate(TABLE, 1))


def test_a_date_that_may_be_two_is_none(tmp_path: Path) -> None:
    """Day or month first: where no value tells which, no date is given."""
    found, _ = read(written([[*r[:3], "03/04/1990", *r[4:]] for r in TABLE]), tmp_path)
    assert found.get(("persons", "birth_date"), []) == []


@pytest.mark.parametrize("columns", [(4,), (2, 1), (5, 6), (4, 0), (1, 3, 4, 2)])
def test_columns_may_be_missing_and_in_any_order(tmp_path: Path, columns: tuple[int, ...]) -> None:
    """Some columns in some order, without a header, are told by their values."""
    found, _ = read(written([[r[c] for c in columns] for r in TABLE], None), tmp_path)
    keys = {0: "person_id", 2: "resident_id", 4: "mobile", 5: "email"}
    for column in columns:
        if column in keys:
            key = ("persons", keys[column])
            assert found[key] == WANTED[key]


def test_names_that_are_not_ours_are_told_by_values_and_words(tmp_path: Path) -> None:
    """Headers of another system are understood by their words, or else by what stands below."""
    header = ("uid", "xm", "sfzh", "csrq", "lxdh", "contact", "dz")
    found, _ = read(written(TABLE, header), tmp_path)
    wanted = {key: pairs for key, pairs in WANTED.items() if key != ("persons", "person_id")}
    holds(found, wanted)


def test_rows_of_another_shape_are_read_as_text(tmp_path: Path) -> None:
    """Rows with too few or too many fields still give their identifiers, and are counted."""
    lines = written(TABLE).decode().splitlines()
    lines[10] += ",and,more"
    lines[20] = ",".join(lines[20].split(",")[2:5])
    found, description = read("\n".join(lines).encode(), tmp_path)
    for field in ("resident_id", "mobile", "email"):
        kept = [pair for pair in WANTED[("persons", field)] if field != "email" or pair[0] != 20]
        assert found[("persons", field)] == kept
    account = description.accounts[0]
    assert (account.rows, account.column_rows, account.text_rows) == (400, 398, 2)
    assert account.as_text["another number of fields"].rows == 2


def test_a_quote_that_is_not_closed_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stray quote the rows of the block still give their identifiers."""
    monkeypatch.setattr(delimited, "OPEN_QUOTE_BYTES_MAX", 4_096)
    lines = written(TABLE, quoting=1).decode().splitlines()
    lines[50] = lines[50].replace('"P-', '""P-"', 1) + '"'
    found, _ = read("\n".join(lines).encode(), tmp_path)
    mobiles = {value for _, value in found[("persons", "mobile")]}
    assert mobiles >= {"+86" + r[4] for r in TABLE}


def test_line_ends_inside_quotes_are_of_one_row(tmp_path: Path) -> None:
    """A quoted address of two lines is one row, and later rows keep their numbers."""
    table = [[*r[:6], r[6] + "\n二号楼"] if n % 7 == 0 else r for n, r in enumerate(TABLE)]
    found, _ = read(written(table), tmp_path)
    holds(found)


def test_plain_text_gives_identifiers_anywhere(tmp_path: Path) -> None:
    """Running text, full-width digits and grouped numbers among it, gives mobiles, residents, addresses and codes."""
    lines = []
    for number, r in enumerate(TABLE, 1):
        mobile = (r[4], wide(r[4]), f"{r[4][:3]}-{r[4][3:7]}-{r[4][7:]}", f"+86 {r[4]}")[number % 4]
        lines.append(
            f"{r[1]}，身份证{r[2]}；电话{mobile}。邮箱：{r[5]}，单号SF{number:013d} 于{r[3]}签收"
            + "，很" * (number % 40)
        )
    found, description = read("\n".join(lines).encode(), tmp_path)
    for field in ("resident_id", "mobile", "email"):
        assert found[("persons", field)] == WANTED[("persons", field)]
    codes = {value for _, value in found[("deliveries", "tracking_no")]}
    assert codes >= {f"SF{number:013d}" for number in range(1, 401)}
    assert description.accounts[0].form == "text"
    assert description.accounts[0].text_rows == 400


def test_text_inside_a_column_is_searched(tmp_path: Path) -> None:
    """A column of remarks gives the numbers that stand in it."""
    table = [[str(n), f"客户来电反映快递丢失，请回电{r[4]}，谢谢"] for n, r in enumerate(TABLE, 1)]
    found, _ = read(written(table, ("no", "remark")), tmp_path)
    assert found[("persons", "mobile")] == WANTED[("persons", "mobile")]


@pytest.mark.parametrize("between", ["/", "、", ", ", "；", " | "])
def test_two_numbers_in_a_cell_are_both_read(tmp_path: Path, between: str) -> None:
    """A cell with several mobiles or addresses gives each of them, at its row."""
    table = [[r[0], r[4] + between + "13800138000", r[5] + between + "x@b.example"] for r in TABLE]
    found, _ = read(written(table, ("person_id", "mobile", "email"), delimiter="\t"), tmp_path)
    pairs = set(found[("persons", "mobile")])
    assert pairs >= {*WANTED[("persons", "mobile")], *((n, "+8613800138000") for n in range(1, 401))}
    assert {*found[("persons", "email")]} >= {
        *WANTED[("persons", "email")],
        *((n, "x@b.example") for n in range(1, 401)),
    }


def test_files_glued_together_give_all_their_rows(tmp_path: Path) -> None:
    """After a table comes another with other columns: its rows are read as text, and none is lost."""
    other = [[r[5], r[4], "x"] for r in rows(200, 9)]
    found, description = read(written(TABLE) + written(other, ("mail", "tel", "note")), tmp_path)
    mobiles = {value for _, value in found[("persons", "mobile")]}
    assert mobiles >= {"+86" + r[4] for r in TABLE} | {"+86" + r[1] for r in other}
    assert description.rows == 400 + 201


def test_endless_white_space_is_no_delay(tmp_path: Path) -> None:
    """Blank space where a parser might try again and again is passed in a moment."""
    began = time.process_time()
    for data in (
        b"INSERT INTO t " + b" " * 200_000 + b"x ('13800138000');\n",
        b"-- MySQL dump\n" + b"\n" * 200_000 + b"INSERT INTO t VALUES ('13800138000');\n",
        b"COPY t" + b" " * 200_000 + b"FROM stdn\nmobile,13800138000\n",
        b'{"a":1}' + b" " * 200_000 + b'x{"mobile":"13800138000"}',
        b"," * 200_000 + b"\n" + b'"' * 50_001,
    ):
        read(data + b"\n13800138000\n", tmp_path)
    assert time.process_time() - began < 20


def test_foreign_rows_and_repetitions_stay(tmp_path: Path) -> None:
    """Rows of somebody else and rows that stand twice are given as they are."""
    foreign = [["x", "John", "", "", "202-224-3441", "john@else.example.org", "Main Street"]] * 50
    found, description = read(written(TABLE + foreign + TABLE), tmp_path)
    assert description.rows == 850
    assert len([v for _, v in found[("persons", "mobile")] if v == "+86" + TABLE[0][4]]) == 2


def test_masked_values_are_no_values(tmp_path: Path) -> None:
    """A column of masked mobiles is named as a column, and not looked for."""
    table = [[r[0], r[4][:3] + "****" + r[4][7:]] for r in TABLE]
    found, description = read(written(table, ("person_id", "mobile")), tmp_path)
    assert ("persons", "mobile") not in found
    assert description.groups[0].unknown == ("mobile",)


# -- SQL ---------------------------------------------------------------------------------------------

CREATE = "CREATE TABLE `people` (\n  `person_id` varchar(20) NOT NULL DEFAULT 'x(,',\n  `name` varchar(50),\n  `resident_id` char(18),\n  `birth_date` date,\n  `mobile` varchar(20),\n  `email` varchar(99),\n  `address` text,\n  PRIMARY KEY (`person_id`)\n) ENGINE=InnoDB COMMENT='it''s';\n"


def mysqldump(table, per: int = 100) -> str:
    out = ["-- MySQL dump 10.13  Host's: x\n/*!40101 SET NAMES utf8 */;\n", CREATE, "LOCK TABLES `people` WRITE;\n"]
    for at in range(0, len(table), per):
        values = ",".join(tuple_of(r, backslash=True) for r in table[at : at + per])
        out.append(f"INSERT INTO `people` VALUES {values};\n")
    return "".join([*out, "UNLOCK TABLES;\n-- Dump completed\n"])


def pg_inserts(table, *, named: bool) -> str:
    columns = f" ({', '.join(NAMES)})" if named else ""
    create = CREATE.replace("`", "").replace(" ENGINE=InnoDB COMMENT='it''s'", "") if not named else ""
    rows_ = [f"INSERT INTO public.people{columns} VALUES {tuple_of(r, backslash=False, gap=', ')};\n" for r in table]
    return "--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n" + create + "".join(rows_)


def pg_copy(table) -> str:
    rows_ = ["\t".join(v.replace("\\", "\\\\").replace("\n", "\\n") for v in r) + "\n" for r in table]
    return (
        "--\n-- PostgreSQL database dump\n--\n"
        f"COPY public.people ({', '.join(NAMES)}) FROM stdin;\n" + "".join(rows_) + "\\.\n\n"
        "SELECT pg_catalog.setval('public.x', 1, false);\n"
    )


DUMPS = {
    "mysqldump": mysqldump,
    "mysqldump, a row each": lambda t: mysqldump(t, 1),
    "pg_dump inserts": lambda t: pg_inserts(t, named=False),
    "pg_dump column inserts": lambda t: pg_inserts(t, named=True),
    "pg_dump copy": pg_copy,
}


@pytest.mark.parametrize("style", DUMPS)
@pytest.mark.parametrize("block", [700, 1 << 23])
def test_dumps_give_their_rows(tmp_path: Path, style: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a dump come out with the names of its columns, quotes and line ends inside values and all, in any blocks."""
    from strongroom.trace.leak import readers

    monkeypatch.setattr(readers, "BLOCK_BYTES", block)
    odd = ["it's", 'say "x"', "a, (b); c", "back\\slash", "two\nlines", "-- no comment", "VALUES ("]
    table = [[*r[:6], odd[n % len(odd)]] for n, r in enumerate(TABLE)]
    found, description = read(DUMPS[style](table).encode(), tmp_path, "dump.sql")
    holds(found)
    account = description.accounts[0]
    assert (account.form, account.column_rows, account.text_rows) == ("sql", 400, 0)
    assert description.groups[0].group == "people"
    assert [v for _, v in found[("persons", "address")]] == [r[6] for r in table]


def test_a_dump_of_two_tables_keeps_them_apart(tmp_path: Path) -> None:
    """Rows of each table come under its name."""
    data = pg_copy(TABLE) + pg_inserts(TABLE[:5], named=True).replace("public.people", "other")
    _, description = read(data.encode(), tmp_path, "dump.sql")
    assert [(g.group, len(g.columns)) for g in description.groups] == [("people", 7), ("other", 7)]


def test_statements_that_change_rows_are_read_as_text(tmp_path: Path) -> None:
    """An UPDATE gives the identifiers in it."""
    data = pg_inserts(TABLE, named=True) + "UPDATE people SET mobile='13800138000' WHERE person_id='P-1';\n"
    found, _ = read(data.encode(), tmp_path, "dump.sql")
    assert "+8613800138000" in {value for _, value in found[("persons", "mobile")]}


def test_a_dump_cut_in_a_value_gives_what_it_has(tmp_path: Path) -> None:
    """All whole rows are read, and what is left of the last one is read as text."""
    data = mysqldump(TABLE).encode()
    cut = data.rfind(TABLE[-1][5].encode())
    found, description = read(data[:cut], tmp_path, "dump.sql")
    assert len(found[("persons", "mobile")]) == 400
    assert description.accounts[0].text_rows >= 1


# -- Parquet, archives, bad input ------------------------------------------------------------------------


def test_parquet_keeps_types_and_flattens(tmp_path: Path) -> None:
    """Typed, nested and dictionary columns give the same values as text would."""
    columns = {name: [r[i] for r in TABLE] for i, name in enumerate(NAMES)}
    table = pa.table(
        {
            "person_id": pa.array(columns["person_id"]).dictionary_encode(),
            "birth_date": pa.array([date.fromisoformat(d) for d in columns["birth_date"]]),
            "contact": pa.array([{"mobile": int(m), "email": e} for m, e in zip(columns["mobile"], columns["email"], strict=True)]),
            "resident_id": pa.array([v.encode() for v in columns["resident_id"]]),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=90)
    found, description = read(tmp_path / "s.parquet")
    holds(found)
    assert description.rows == 400


def test_an_archive_of_several_files_is_read_whole(tmp_path: Path) -> None:
    """Each member has an account; one that is no text is counted, and the others are read."""
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("a.csv", written(TABLE[:200]))
        archive.writestr("photo.jpg", bytes(range(256)) * 40)
        archive.writestr("b.jsonl", json_lines(TABLE[200:]))
    found, description = read(tmp_path / "s.zip")
    assert len(found[("persons", "mobile")]) == 400
    assert [a.form for a in description.accounts] == ["csv", "", "json"]
    assert "is not text, nor Parquet" in description.accounts[1].unread


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_packed_data_cut_short_gives_what_it_has(tmp_path: Path, pack) -> None:
    """The rows before the cut are read; that more was there is told."""
    table = rows(6_000, 3)
    packed = pack(written(table))
    found, description = read(packed[: len(packed) // 2], tmp_path)
    assert 1_000 < len(found[("persons", "mobile")]) < 6_000
    assert "the compressed data is damaged or cut short" in description.accounts[0].unread


def test_one_row_is_read(tmp_path: Path) -> None:
    """A sample of one row, with or without a header, or of one number, gives it."""
    for data in (written(TABLE[:1]), written(TABLE[:1], None), TABLE[0][4].encode(), json_lines(TABLE[:1])):
        found, description = read(data, tmp_path)
        assert "+86" + TABLE[0][4] in {value for _, value in found[("persons", "mobile")]}
        assert description.rows == 1


@pytest.mark.parametrize("data", [b"", b"\n \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_sample_is_said_to_be(tmp_path: Path, data: bytes) -> None:
    """Nothing, blank lines and an empty archive are errors that say so."""
    with pytest.raises(InputError, match="empty"):
        read(data, tmp_path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bytes(range(256)) * 100, "not text"),
        (b"SQLite format 3\x00" + b"\x00" * 100, "SQLite"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PAR1" + b"x" * 1_000, "Parquet data is damaged"),
        (b"PK\x03\x04" + b"x" * 100, "zip archive is damaged"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    """Other kinds of files are named with what to do about them."""
    with pytest.raises(InputError, match=says):
        read(data, tmp_path)


def test_what_is_absent_is_said_to_be(tmp_path: Path) -> None:
    """A file that is not there and a folder are errors with their name."""
    for path in (tmp_path / "nothing.csv", tmp_path):
        with pytest.raises(InputError, match=path.name):
            list(LeakSample(path, schema()))


def test_a_sample_without_anything_of_ours_says_so(tmp_path: Path) -> None:
    """Columns that no field could be are named by their place, not by their header, and nothing is searchable."""
    table = [[f"{n * 0.37:.3f}", "ab cd"] for n in range(100)]
    _, description = read(written(table, ("weight_of_王伟", "note2")), tmp_path)
    assert not description.searchable
    assert description.groups[0].unknown == ("column 1", "column 2")


def test_nothing_prints_a_value(tmp_path: Path) -> None:
    """Neither batches, candidates, accounts nor errors print values or unknown headers."""
    (tmp_path / "s.csv").write_bytes(written(TABLE, (*NAMES[:6], "王小明的住址")))
    sample = LeakSample(tmp_path / "s.csv", schema())
    printed = "".join(repr(batch) for batch in sample) + repr(sample.description)
    for row in TABLE[:20]:
        assert not [value for value in row if value in printed]
    assert "王小明" not in printed


def test_a_stream_and_several_files_are_read(tmp_path: Path) -> None:
    """A binary stream and a list of paths are samples too."""
    found, _ = gathered(LeakSample(io.BytesIO(written(TABLE)), schema()))
    holds(found)
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, part in zip(paths, (TABLE[:200], TABLE[200:]), strict=True):
        path.write_bytes(written(part))
    _, description = gathered(LeakSample(paths, schema()))
    assert [a.rows for a in description.accounts] == [200, 200]


def test_memory_does_not_grow_with_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch holds more than a block, however long the file; numbers go on from block to block."""
    monkeypatch.setattr(text.Text.blocks, "__defaults__", (20_000,))
    (tmp_path / "s.csv").write_bytes(written(rows(3_000, 5)))
    sizes, numbers = [], []
    for batch in LeakSample(tmp_path / "s.csv", schema()):
        sizes.append(batch.columns.nbytes)
        numbers.append(batch.numbers)
    assert len(sizes) > 10
    assert max(sizes) < 60_000
    assert np.concatenate(numbers).tolist() == list(range(1, 3_001))
