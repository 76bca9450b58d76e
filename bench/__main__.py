"""`python -m bench`: measure, print the table, draw the plots as PNG and write the numbers to bench/out."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from bench.frame import ROOT, Report, say
from bench.measures import MEASURES, Setting, persons
from bench.plots import draw

OUT = ROOT / "bench" / "out"
ALONE = {"cells", "tokens", "proofs", "incident", "leak", "detection", "endtoend"}
OWN_ROOM = {"put", "http"}
ONLY = f"these; all but {', '.join(sorted(ALONE | OWN_ROOM))} need put before them"


def main() -> int:
    """Run the measures asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 persons, 2 rounds, nothing ten times as large")
    parser.add_argument("--rows", type=int, help="persons (1,000,000)")
    parser.add_argument("--rounds", type=int, help="rounds (5)")
    parser.add_argument("--entries", type=int, help="entries of the long log, and persons beside it (10,000,000)")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help=ONLY)
    options = parser.parse_args()
    rows = options.rows or (100_000 if options.quick else 1_000_000)
    entries = options.entries or (200_000 if options.quick else 10_000_000)
    rounds = options.rounds or (2 if options.quick else 5)
    chosen = options.only or [m for m in MEASURES if not (options.quick and m in {"large", "bulk"})]
    without = next((m for at, m in enumerate(chosen) if m not in ALONE | OWN_ROOM and "put" not in chosen[:at]), None)
    if without is not None:
        parser.error(f"{without} needs the room of put: name put before it")
    OUT.mkdir(parents=True, exist_ok=True)
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    try:
        csv = persons(folder, rows) if set(chosen) - ALONE else folder
        setting = Setting(folder, csv, rows, rounds, 700 if options.quick else 5_000, entries, entries)
        for name in chosen:
            say(f"measuring {name}")
            MEASURES[name](setting, report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{rows:,} persons, {rounds} rounds, {os.cpu_count()} processors, {platform.machine()}\n")
    print(table(report))
    (OUT / "bench.json").write_text(report.as_json() + "\n", encoding="utf-8")
    if find_spec("matplotlib") is None:
        say("no plots: matplotlib is not installed (`make bench` does)")
        return 0
    for path in draw(report, rows, OUT):
        say(f"drawn {path.relative_to(ROOT)}")
    return 0


def table(report: Report) -> str:
    """The table as text."""
    head = ("measure", "ours", "peer", "unit", "ratio", "target", "reached")
    lines = [head]
    for row in report.rows:
        reached = {True: "yes", False: "NO", None: ""}[row.reached]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append((row.measure, _number(row.ours), _number(row.peer), row.unit, ratio, row.target, reached))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, *_hindrances(report)])


def _hindrances(report: Report) -> list[str]:
    """Below the table: what stands in the way of each target that is not reached."""
    missed: dict[str, list[str]] = {}
    for row in report.rows:
        if row.reached is False:
            missed.setdefault(row.hindrance or "not known yet", []).append(row.measure)
    lines = [f"  {'; '.join(measures)}: {why}" for why, measures in missed.items()]
    return ["", "Not reached, and what stands in the way:", *lines] if lines else []


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"


if __name__ == "__main__":
    sys.exit(main())
