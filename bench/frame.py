"""Runs contenders in turn, each in a process of its own, and keeps what they say as rows of one table.

Orders alternate from round to round, so that what else the machine does falls on all alike; a figure is the median of
the rounds, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, Any]


class Absent(Exception):  # noqa: N818 - not an error: a rival that this machine does not have
    """A rival that cannot be run here, and why."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        measure: What was measured.
        ours: Our figure, with its unit in `unit`.
        peer: The figure it stands beside, or None.
        ratio: What the target is about, if it is a ratio.
        target: The target in words.
        reached: Whether it is reached; None where there is no target.
        unit: Unit of `ours` and `peer`.
        note: What to know.
        hindrance: What stands in the way, where the target is not reached.
    """

    measure: str
    ours: float | None
    peer: float | None
    ratio: float | None
    target: str
    reached: bool | None
    unit: str
    note: str = ""
    hindrance: str = ""


@dataclass
class Report:
    """Rows and raw rounds of one run."""

    rows: list[Row] = field(default_factory=list)
    rounds: dict[str, Any] = field(default_factory=dict)

    def add(self, measure: str, ours: float | None, **more: Any) -> None:
        """Add one line; leaves out nothing that fails to be measured."""
        base: dict[str, Any] = {"peer": None, "ratio": None, "target": "", "reached": None, "unit": "", "note": ""}
        if more.get("reached"):
            more.pop("hindrance", None)
        self.rows.append(Row(measure, ours, **(base | more)))

    def as_json(self) -> str:
        """All of it, for machines."""
        return json.dumps({"rows": [asdict(r) for r in self.rows], "rounds": self.rounds}, indent=1, ensure_ascii=False)


def start(task: str, arguments: Mapping[str, Any], cpus: Sequence[int] | None = None) -> subprocess.Popen[bytes]:
    """Start a task of `tasks` in a process of its own, on the processors given."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.tasks", task, json.dumps(arguments), json.dumps(list(cpus or []))],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[bytes], task: str) -> Figures:
    """What a started task measured, with the peak of its memory (`rss_bytes`)."""
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"task {task} ended with {process.returncode}")
    figures: Figures = json.loads(said.splitlines()[-1])
    if "absent" in figures:
        raise Absent(figures["absent"])
    return figures | {"rss_bytes": usage.ru_maxrss * 1024}


def run(task: str, cpus: Sequence[int] | None = None, **arguments: Any) -> Figures:
    """Run one task to its end."""
    return finish(start(task, arguments, cpus), task)


def together(task: str, arguments: Sequence[Mapping[str, Any]], cpus: Sequence[Sequence[int] | None]) -> list[Figures]:
    """Run tasks at the same time; each waits for the moment `begin`, so that starting up is nobody's cost."""
    begin = time.time() + 1.0 + 0.35 * len(arguments)
    started = [start(task, {**a, "begin": begin}, c) for a, c in zip(arguments, cpus, strict=True)]
    return [finish(process, task) for process in started]


def alternate(contenders: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, list[Figures]]:
    """Each contender once a round, forwards and backwards by turns; one that is absent is left out, with its reason."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    gone: set[str] = set()
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            if name in gone:
                continue
            try:
                found[name].append(contenders[name]())
            except (Absent, RuntimeError) as reason:
                if name == "ours":
                    raise
                gone.add(name)
                say(f"  left out: {name}: {reason}")
    return {name: figures for name, figures in found.items() if name not in gone}


def median(figures: Sequence[Figures], key: str) -> float:
    """Median of one figure over the rounds."""
    return float(statistics.median(f[key] for f in figures))


def ratio(upper: Sequence[Figures], lower: Sequence[Figures], key: str) -> float:
    """Median of the rounds' ratios of one figure."""
    return float(statistics.median(a[key] / b[key] for a, b in zip(upper, lower, strict=True)))


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile of a list, by position."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def say(text: str) -> None:
    """Progress, beside the data."""
    print(text, file=sys.stderr, flush=True)
