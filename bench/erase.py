"""Erasing: one person, and 100,000 in one call, in a room and in one ten times as large."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench.frame import Figures, Report, percentile, run, say
from bench.ours import PASSPHRASE

if TYPE_CHECKING:
    from bench.measures import Setting

SINGLES = 30
MANY = 100_000
WARM_UP = 5


def erase(base: str, csv: str, many_count: int) -> dict[str, Any]:
    """Erase some persons one by one, then many in one call; milliseconds of each, and seconds."""
    wanted = subjects(Path(csv), many_count + SINGLES)
    singles, many = wanted[:SINGLES], wanted[SINGLES:]
    room_folder, keys_folder = str(Path(base) / "room"), str(Path(base) / "keys")
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="kit") as room,
    ):
        times, processor = [], []
        for number, subject in enumerate(singles):
            began, started = time.process_time(), time.perf_counter()
            report = room.erase(subject, reason="measuring")
            if number >= WARM_UP:
                times.append((time.perf_counter() - started) * 1e3)
                processor.append((time.process_time() - began) * 1e3)
            assert report.persons == 1
        began, started = time.process_time(), time.perf_counter()
        report = room.erase(many, reason="measuring")
        seconds, cpu = time.perf_counter() - started, time.process_time() - began
        assert report.persons == len(many)
    return {"ms": times, "cpu_ms": processor, "seconds": seconds, "cpu_seconds": cpu, "entries": len(report.leaves)}


def subjects(csv: Path, count: int) -> list[str]:
    """Ids of persons spread over the file."""
    import pyarrow.csv as pc

    ids = pc.read_csv(csv, convert_options=pc.ConvertOptions(include_columns=["id_number"],
                      column_types={"id_number": "string"}))["id_number"]  # fmt: skip
    step = len(ids) // count
    return list(dict.fromkeys(ids.take(list(range(0, step * count, step))).to_pylist()))


def measure_erase(setting: Setting, report: Report) -> None:
    """One person and 100,000, at the size asked for and at ten times that."""
    from bench.measures import fresh, persons

    found: dict[int, Figures] = {}
    sizes = [setting.rows, setting.rows * 10] if setting.rounds > 2 else [setting.rows]
    for rows in sizes:
        csv = persons(setting.folder, rows)
        base = fresh(str(setting.folder / "erase"))
        run("put", [0, 1], csv=str(csv), base=base)
        many = min(MANY, rows // 4)
        say(f"  erasing {SINGLES} and {many:,} of {rows:,}")
        found[rows] = run("erase", [0, 1], base=base, csv=str(csv), many_count=many)
        shutil.rmtree(base, ignore_errors=True)
    report.rounds["erase"] = {str(rows): figures for rows, figures in found.items()}
    small = _add(report, setting.rows, found[setting.rows], None)
    for rows in sizes[1:]:
        _add(report, rows, found[rows], small)


def _add(report: Report, rows: int, figures: Figures, small: float | None) -> float:
    one = percentile(figures["ms"], 0.5)
    ratio = None if small is None else one / small
    report.add(f"erase one of {rows:,}, p50", one, peer=small, ratio=ratio, unit="ms",
               target="100 ms, within 1.3 times", reached=one <= 100 and (ratio is None or ratio <= 1.3),
               note=f"{percentile(figures['cpu_ms'], 0.5):.1f} ms of processor")  # fmt: skip
    report.add(f"erase 100,000 of {rows:,} at once", figures["seconds"], unit="s", target="120 s",
               reached=figures["seconds"] <= 120, note=f"{figures['entries']} entries of the log")  # fmt: skip
    return one
