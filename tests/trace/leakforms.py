"""Makes samples of one small table in every form, for the tests of reading them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from strongroom.schema.model import Schema
from strongroom.schema.parse import parse_schema
from strongroom.trace.leak.sample import LeakSample

SCHEMA_TEXT = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id = { type = "string", class = "identity" }
name = { type = "string", class = "identity" }
resident_id = { type = "string", class = "identity", find = true, normalise = ["id"] }
birth_date = { type = "date", class = "identity" }
mobile = { type = "string", class = "contact", find = true, normalise = ["phone:CN"] }
email = { type = "string", class = "contact", find = true, normalise = ["email"] }
address = { type = "string", class = "contact" }

[tables.deliveries]
subject = "person_id"
records = "many"
[tables.deliveries.fields]
tracking_no = { type = "string", class = "identity", find = true, normalise = ["id"] }
person_id = { type = "string", class = "identity" }
recipient_mobile = { type = "string", class = "contact", find = true, normalise = ["phone:CN"] }
"""
NAMES = ("person_id", "name", "resident_id", "birth_date", "mobile", "email", "address")
CHINESE = ("人员编号", "姓名", "身份证号", "出生日期", "手机号", "邮箱", "住址")


def schema() -> Schema:
    """The schema that samples are read against."""
    return parse_schema(SCHEMA_TEXT, None, lambda n: bytes(range(n)))


def rows(count: int, seed: int = 1) -> list[list[str]]:
    """Made-up persons: one list of seven values each."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        year, month, day = rng.integers(1950, 2005), rng.integers(1, 13), rng.integers(1, 29)
        body = f"510104{year:04d}{month:02d}{day:02d}{rng.integers(1, 1000):03d}"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(w * int(c) for w, c in zip(weights, body, strict=True)) % 11]
        mobile = f"1{rng.integers(30, 100):02d}{rng.integers(0, 10**8):08d}"
        name = "".join(rng.choice(list("王李张刘陈杨赵黄伟芳娜敏静强磊军洋勇艳杰"), 3))
        made.append(
            [f"P-{number:08d}", name, body + check, f"{year:04d}-{month:02d}-{day:02d}", mobile,
             f"user{number}@mail.example.com", f"四川省成都市青羊区人民路{number % 300 + 1}号{number % 9 + 1}单元"]
        )  # fmt: skip
    return made


def written(table: list[list[str]], header: tuple[str, ...] | None = NAMES, **how) -> bytes:
    """Rows as CSV in UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=how.pop("end", "\n"), **how)
    if header:
        writer.writerow(header)
    writer.writerows(table)
    return out.getvalue().encode()


def json_lines(table: list[list[str]]) -> bytes:
    """Rows as objects, one a line."""
    return b"".join(
        json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False).encode() + b"\n" for row in table
    )


def sql_text(value: str, *, backslash: bool) -> str:
    """A value as SQL writes it."""
    if backslash:
        value = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    else:
        value = value.replace("'", "''")
    return f"'{value}'"


def tuple_of(row: list[str], *, backslash: bool, gap: str = ",") -> str:
    """A row as a tuple."""
    return "(" + gap.join(sql_text(v, backslash=backslash) for v in row) + ")"


def read(data: bytes | Path, tmp_path: Path | None = None, name: str = "sample"):
    """Read a whole sample: values by (table, field) as sorted (row, value) pairs, the sample, and its batches."""
    if isinstance(data, bytes):
        assert tmp_path is not None
        path = tmp_path / name
        path.write_bytes(data)
    else:
        path = data
    sample = LeakSample(path, schema())
    return gathered(sample)


def gathered(sample: LeakSample):
    """See `read`."""
    found: dict[tuple[str, str], list[tuple[int, object]]] = {}
    for batch in sample:
        if batch.columns is not None:
            batch.columns.validate(full=True)
        for one in batch.candidates:
            assert len(one.numbers) == len(one.values)
            assert not one.values.null_count
            pairs = zip(one.numbers.tolist(), one.values.to_pylist(), strict=True)
            found.setdefault((one.table, one.field), []).extend(pairs)
    accounted(sample)
    return {key: sorted(pairs) for key, pairs in found.items()}, sample.description


def accounted(sample: LeakSample) -> None:
    """Rows in are rows out: of columns, of text, or unread."""
    for account in sample.description.accounts:
        lost = sum(tally.rows for tally in account.unread.values())
        assert account.rows == account.column_rows + account.text_rows + lost


def expected(table: list[list[str]]) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """What must be found to look for, from the columns of a table read whole."""
    return {
        ("persons", "person_id"): sorted((n, row[0]) for n, row in enumerate(table, 1)),
        ("persons", "resident_id"): sorted((n, row[2]) for n, row in enumerate(table, 1)),
        ("persons", "mobile"): sorted((n, "+86" + row[4]) for n, row in enumerate(table, 1)),
        ("persons", "email"): sorted((n, row[5]) for n, row in enumerate(table, 1)),
    }


def in_blocks(data: bytes, size: int) -> Iterator[bytes]:
    """Data in pieces of whole lines of about a size."""
    while data:
        stop = data.find(b"\n", size) + 1 or len(data)
        yield data[:stop]
        data = data[stop:]
