"""Aggregates over sealed fields: every person of a table released, charged, noted, opened and added up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import strongroom
from bench.frame import Figures, Report, alternate, median, ratio, run
from bench.ours import PASSPHRASE, _paths

if TYPE_CHECKING:
    from bench.measures import Setting

SEALED = {
    "one sealed dimension": "select ethnicity, count(*) n from persons group by ethnicity",
    "a sealed cut, an open key": "select birth_date, sex, count(*) n from persons group by birth_date, sex",
    "two sealed classes": "select ethnicity, birth_date, count(*) n from persons group by ethnicity, birth_date",
}
WAY = (
    "of a million persons each is looked up, charged in two scopes and labelled in the log, which is most of it; the "
    "cells themselves take a second"
)


def aggregate(base: str, questions: dict[str, str] = SEALED) -> dict[str, Any]:
    """Ask each question once, the first time of persons not charged before; seconds of each."""
    room_folder, keys_folder = _paths(base)
    strongroom.prepare()
    figures = {}
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="lin") as room,
        room.read(purpose="health-statistics", reason="measuring") as desk,
    ):
        for name, text in questions.items():
            started = time.perf_counter()
            assert desk.sql(text).num_rows
            figures[name] = time.perf_counter() - started
    return figures


def plain(csv: str, questions: dict[str, str] = SEALED) -> dict[str, Any]:
    """The same questions of plain Parquet with DuckDB on two threads, intervals made by it; seconds of each."""
    from pathlib import Path

    import duckdb
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    path = Path(csv).with_suffix(".whole.parquet")
    if not path.exists():
        names = ["sex", "ethnicity", "birth_date"]
        table = pv.read_csv(csv, convert_options=pv.ConvertOptions(include_columns=names))
        pq.write_table(table, path, compression="zstd")
    cut = "case" + "".join(f" when birth_date < '{year}-01-01' then {year}" for year in (1950, 1970, 1990)) + " end"
    figures = {}
    for name, text in questions.items():
        question = text.replace("birth_date", cut).replace("from persons", f"from read_parquet('{path}')")
        for _ in range(2):
            started = time.perf_counter()
            duckdb.connect(config={"threads": 2}).sql(question).to_arrow_table()
            figures[name] = time.perf_counter() - started
    return figures


def measure_aggregates(setting: Setting, report: Report) -> None:
    """Aggregates over sealed fields beside the same over plain Parquet."""

    def ours() -> Figures:
        found = run("aggregate", [0, 1], base=setting.base)
        return found | {"mib": found["rss_bytes"] / (1 << 20)}

    both = {"ours": ours, "DuckDB": lambda: run("plain aggregate", [0, 1], csv=str(setting.csv))}
    found = alternate(both, min(setting.rounds, 3))
    report.rounds["aggregates"] = found
    for name in SEALED:
        seconds = median(found["ours"], name)
        times = ratio(found["ours"], found["DuckDB"], name)
        report.add(f"sql, {name}", seconds, peer=median(found["DuckDB"], name), ratio=times, unit="s", hindrance=WAY,
                   note=f"{setting.rows / seconds:,.0f} sealed records a second")  # fmt: skip
    report.add("sql over sealed fields, memory", median(found["ours"], "mib"), unit="MiB")
