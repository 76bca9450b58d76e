"""Draws the rounds as pictures: load rates, look-up times, questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.frame import Report


def draw(report: Report, rows: int, folder: Path) -> list[Path]:
    """Write one PNG for each picture that this run has figures for; gives their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    made = []
    if "put" in report.rounds:
        bars = {n: [rows / f["seconds"] / 1e3 for f in figures] for n, figures in report.rounds["put"].items()}
        made.append(_bars(bars, "put: thousand persons a second, every round", folder / "put.png"))
    finds = {f"{who}, {callers}": [f["p50"] for f in figures]
             for callers in (1, 16) for who, figures in report.rounds.get(f"find, {callers}", {}).items()}  # fmt: skip
    if finds:
        made.append(_bars(finds, "find by mobile, noted: p50 in ms, by callers", folder / "find.png"))
    if "sql" in report.rounds:
        asked = report.rounds["sql"]
        names = [q for q in asked["ours"][0] if q != "rss_bytes"]
        bars = {f"{who}: {q}": [f[q] for f in asked[who]] for q in names for who in asked}
        made.append(_bars(bars, "sql over open columns: ms", folder / "sql.png"))
    if "detection" in report.rounds:
        made.append(_curves(report.rounds["detection"]["curves"], folder / "detection.png"))
    return made


def _curves(curves: dict[str, list[list[float]]], path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4))
    for name, points in curves.items():
        axes.plot([n / 1e3 for n, _ in points], [100 * share for _, share in points], "o-", markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("thousand rows published, of a billion")
    axes.set_ylabel("% of samples that name a source")
    axes.set_title("default code (two colluders, 750,000 rows published): how small a sample speaks")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _bars(bars: dict[str, list[float]], title: str, path: Path) -> Path:
    import statistics

    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(bars) + 1.4))
    for place, (name, values) in enumerate(bars.items()):
        colour: Any = "#1f5f8b" if name.startswith("ours") else "#b0b0b0"
        axes.barh(place, statistics.median(values), color=colour)
        axes.plot(values, [place] * len(values), "k.", markersize=4)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
