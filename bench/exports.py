"""Exports: every person of a table counted, released, opened and written to one file, beside the writer alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench import served
from bench.frame import Figures, Report, alternate, median, ratio, run
from bench.ours import PASSPHRASE, _paths
from bench.overhttp import serving_room
from bench.processes import peak_mib

if TYPE_CHECKING:
    from bench.measures import Setting

FORMATS = ("csv", "jsonl", "parquet")
RECORDS_TARGET = 300_000
WAY = (
    "of each record cells of three classes are opened, the row is hashed, and ten columns are written; each person is "
    "looked up twice, charged and labelled once"
)


def export(base: str) -> dict[str, Any]:
    """Export the whole table in each format; seconds of each.

    One export goes before, of persons not charged before (`first`): it loads what the process has not used yet, a
    tenth of a second however many records there are.
    """
    room_folder, keys_folder = _paths(base)
    strongroom.prepare()
    figures: dict[str, Any] = {}
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="ada") as room,
    ):
        for name in ("first", *FORMATS):
            word = FORMATS[0] if name == "first" else name
            path = Path(base) / f"exported.{word}"
            path.unlink(missing_ok=True)
            cpu, started = time.process_time(), time.perf_counter()
            report = room.export(
                "persons", to=str(path), recipient="elsewhere", purpose="handing-over", reason="measuring"
            )
            figures[name] = time.perf_counter() - started
            figures[f"{name} processor"] = time.process_time() - cpu
            assert report.records["persons"] == report.persons
            path.unlink()
    return figures


def let_in(base: str) -> dict[str, Any]:
    """Make credentials for a room that was put."""
    _, keys_folder = _paths(base)
    with strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster:
        served.let_in(keymaster, base)
    return {}


def export_through(base: str, url: str, rows: int) -> dict[str, Any]:
    """Export the whole table in each format through a room's server, to files here; seconds of each."""
    strongroom.prepare()
    figures: dict[str, Any] = {}
    with strongroom.connect_room(url, credential=f"{base}/ada.credential") as room:
        for name in ("first", *FORMATS):
            word = FORMATS[0] if name == "first" else name
            path = Path(base) / f"through.{word}"
            wanted = {"to": str(path), "recipient": "elsewhere", "purpose": "handing-over", "reason": "measuring"}
            started = time.perf_counter()
            report = room.export("persons", persons=rows, **wanted)
            figures[name] = time.perf_counter() - started
            assert report.records["persons"] == report.persons
            path.unlink()
    return figures


def plain(csv: str) -> dict[str, Any]:
    """The same table, in memory already, written by the same writers and nothing else; seconds of each format."""
    import pyarrow.csv as pv

    from strongroom.trace.exporting.formats import open_writer

    strongroom.prepare()
    kinds = pv.ConvertOptions(column_types={"mobile": "string", "id_number": "string", "household_no": "string"})
    table = pv.read_csv(csv, convert_options=kinds).combine_chunks()
    figures: dict[str, Any] = {}
    for word in FORMATS:
        path = Path(csv).with_suffix(f".plain.{word}")
        cpu, started = time.process_time(), time.perf_counter()
        with path.open("wb") as file:
            writer = open_writer(word, file, table.schema)
            for batch in table.to_batches(max_chunksize=65_536):
                writer.write(batch)
            writer.close()
        figures[word] = time.perf_counter() - started
        figures[f"{word} processor"] = time.process_time() - cpu
        path.unlink()
    return figures


def duckdb(csv: str) -> dict[str, Any]:
    """The same table, in memory already, written by DuckDB on the same processors; seconds of each format."""
    import duckdb as other

    kinds = "{'mobile': 'VARCHAR', 'id_number': 'VARCHAR', 'household_no': 'VARCHAR'}"
    how = {"csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json", "parquet": "FORMAT parquet, COMPRESSION zstd"}
    figures: dict[str, Any] = {}
    with other.connect() as base:
        base.execute("SET threads = 2; SET preserve_insertion_order = true")
        base.execute(f"CREATE TABLE persons AS FROM read_csv('{csv}', types = {kinds})")
        for word, options in how.items():
            path = Path(csv).with_suffix(f".duckdb.{word}")
            cpu, started = time.process_time(), time.perf_counter()
            try:
                base.execute(f"COPY persons TO '{path}' ({options})")
            except other.Error as error:  # its JSON is an extension that may not be there
                return {"absent": f"DuckDB writes no {word}: {type(error).__name__}"}
            figures[word] = time.perf_counter() - started
            figures[f"{word} processor"] = time.process_time() - cpu
            path.unlink()
    return figures


def measure_exports(setting: Setting, report: Report) -> None:
    """Exports of every record beside the writers alone."""

    def ours() -> Figures:
        found = run("export", [0, 1], base=setting.base)
        return found | {"mib": found["rss_bytes"] / (1 << 20)}

    run("export credentials", base=setting.base)
    both = {
        "ours": ours,
        "over HTTP": lambda: _through(setting),
        "the writer alone": lambda: run("plain export", [0, 1], csv=str(setting.csv)),
        "DuckDB": lambda: run("duckdb export", [0, 1], csv=str(setting.csv)),
    }
    found = alternate(both, min(setting.rounds, 3))
    report.rounds["exports"] = found
    for word in FORMATS:
        seconds = median(found["ours"], word)
        rate = setting.rows / seconds
        report.add(
            f"export, {word}",
            rate,
            peer=setting.rows / median(found["the writer alone"], word),
            ratio=ratio(found["the writer alone"], found["ours"], word),
            unit="records/s",
            target=f"{RECORDS_TARGET:,} records/s",
            reached=rate >= RECORDS_TARGET,
            hindrance=WAY,
            note=f"{median(found['ours'], f'{word} processor') / setting.rows * 1e6:.2f} µs of processor a record",
        )
        if "DuckDB" in found:
            report.add(
                f"export, {word}, beside DuckDB",
                rate,
                peer=setting.rows / median(found["DuckDB"], word),
                ratio=ratio(found["DuckDB"], found["ours"], word),
                unit="records/s",
                note="DuckDB writes a plain table that it holds in memory, by two threads",
            )
    first = setting.rows / median(found["ours"], "first")
    report.add(
        f"export, first of a process, {FORMATS[0]}",
        first,
        unit="records/s",
        target=f"{RECORDS_TARGET:,} records/s",
        reached=first >= RECORDS_TARGET,
        hindrance="a tenth of a second to load and to grow, however many records there are",
    )
    report.add("export, memory", median(found["ours"], "mib"), unit="MiB")
    _over_http(setting, report, found)


def _through(setting: Setting) -> Figures:
    """One round through servers of room and keymaster, all on this machine; with the most memory of each."""
    with served.serving(setting.base) as (keys, keys_pid), serving_room(setting.base, keys) as (url, pid):
        found = run("export through", [0, 1], base=setting.base, url=url, rows=setting.rows)
        most = {"server": peak_mib(pid), "keymaster": peak_mib(keys_pid), "client": found["rss_bytes"] / (1 << 20)}
    return found | most


def _over_http(setting: Setting, report: Report, found: dict[str, list[Figures]]) -> None:
    for word in FORMATS:
        rate, peer = (setting.rows / median(found[name], word) for name in ("over HTTP", "ours"))
        times = ratio(found["ours"], found["over HTTP"], word)
        report.add(f"export over HTTP, {word}", rate, peer=peer, ratio=times, unit="records/s",
                   note="beside the export of one process")  # fmt: skip
    for name in ("server", "keymaster", "client"):
        report.add(f"export over HTTP, memory, {name}", median(found["over HTTP"], name), unit="MiB")
