"""A published sample: how fast each form is read and matched to fields, on one core, and what dating takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.frame import ROOT, Figures, Report, run

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.measures import Setting

MB = 1e6
ROWS = 750_000
READ_MIN = 50_000
"""Rows a second: 750,000 then take 15 of the 60 seconds that a trace may."""


def _table(rows: int) -> pa.Table:
    from strongroom.demo.people import made_up_persons

    return made_up_persons(rows)


def write(folder: str, rows: int) -> dict[str, Any]:
    """The same persons in every form; bytes of each file."""
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    table = _table(rows).cast(pa.schema([(name, pa.string()) for name in _table(1).column_names]))
    path = Path(folder)
    pv.write_csv(table, path / "csv")
    (path / "csv, gb18030").write_bytes((path / "csv").read_text(encoding="utf-8").encode("gb18030"))
    pq.write_table(table, path / "parquet")
    lists = [column.to_pylist() for column in table.columns]
    names = table.column_names
    with (path / "json lines").open("w", encoding="utf-8") as lines, (path / "sql").open("w", encoding="utf-8") as sql:
        sql.write("-- MySQL dump\n")
        for at in range(0, rows, 1_000):
            some = list(zip(*(values[at : at + 1_000] for values in lists), strict=True))
            lines.writelines(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in some)
            tuples = ",".join("(" + ",".join(f"'{value}'" for value in row) + ")" for row in some)
            sql.write(f"INSERT INTO `persons` ({', '.join(names)}) VALUES {tuples};\n")
    with (path / "text").open("w", encoding="utf-8") as text:
        text.writelines(f"{row[0]}住在这里，详见 {' '.join(map(str, row[1:]))}。\n" for row in zip(*lists, strict=True))
    return {p.name: p.stat().st_size for p in path.iterdir()}


def read(path: str) -> dict[str, Any]:
    """Read one file to its end, as a trace does; processor seconds, and how many mobile numbers came out."""
    from strongroom.schema.parse import parse_schema
    from strongroom.trace.leak.sample import LeakSample

    text = (ROOT / "src" / "strongroom" / "demo" / "schema.toml").read_text(encoding="utf-8")
    schema = parse_schema(text, None, lambda n: bytes(range(n)))
    began = time.process_time()
    sample = LeakSample(path, schema)
    found = sum(len(c.values) for b in sample for c in b.candidates if (c.table, c.field) == ("persons", "mobile"))
    return {"cpu_seconds": time.process_time() - began, "mobiles": found, "rows": sample.description.rows}


def date(rows: int) -> dict[str, Any]:
    """Date so many rows, a tenth of them of other dates; processor seconds, and hours that are left."""
    from strongroom.trace.dating import date_rows

    rng, hour, length = np.random.default_rng(1), 3_600, 3_000 * 86_400
    at, rate = 0.6 * length, 2.7e-4 / 86_400
    times = np.full(rows, at)
    times[: rows // 10] = rng.uniform(0, length, rows // 10)
    back, on = rng.exponential(1 / rate, (2, rows))
    starts, stops = (times - back).astype(np.int64), (times + on).astype(np.int64) + 1
    began = time.process_time()
    found = date_rows(starts, stops, period=(0, length))
    seconds = time.process_time() - began
    assert found.claimed
    assert any(i.start <= at < i.stop for i in found.likely)
    return {
        "cpu_seconds": seconds,
        "hours": sum(i.width for i in found.likely) / hour,
        "theory": 2 / rows / rate / hour,
    }


def measure_leak(setting: Setting, report: Report) -> None:
    """Reading of a sample of 750,000 rows in each form, and its dating."""
    rows = ROWS if setting.rows >= 1_000_000 else ROWS // 10
    folder = setting.folder / "leak"
    folder.mkdir(exist_ok=True)
    sizes: Figures = run("leak write", folder=str(folder), rows=rows)
    for form in ("csv", "csv, gb18030", "json lines", "sql", "parquet", "text"):
        found = run("leak read", [0], path=str(folder / form))
        report.rounds[f"leak {form}"] = [found]
        assert found["rows"] >= rows
        assert found["mobiles"] >= rows
        rate, speed = sizes[form] / MB / found["cpu_seconds"], rows / found["cpu_seconds"]
        report.add(f"sample read, {form}, a core", rate, unit="MB/s", target=f"{READ_MIN:,} rows/s",
                   reached=speed >= READ_MIN, note=f"{speed:,.0f} rows/s, peak {found['rss_bytes'] >> 20} MiB",
                   hindrance="a dozen passes over each column, and the parser")  # fmt: skip
    found = run("leak date", [0], rows=rows)
    report.rounds["leak date"] = [found]
    report.add(f"dating {rows:,} rows", found["cpu_seconds"], unit="s")
    report.add(f"dating {rows:,} rows, times left", found["hours"], peer=found["theory"], unit="hours",
               ratio=found["hours"] / found["theory"], target="10 times 2/(n rate)",
               reached=found["hours"] <= 10 * found["theory"], note="a tenth of rows of other dates")  # fmt: skip
