"""A find over HTTP: a room behind its server, the keymaster behind its own, and clients, all on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench import processes
from bench.frame import Figures, Report, percentile, run, say
from bench.ours import finds
from bench.served import serving

if TYPE_CHECKING:
    from bench.measures import Setting

CLIENTS = 16
COST = "processor time of a find, all parts of it on the processors of one machine; see the rows of each process"


@contextmanager
def serving_room(base: str, keys: str) -> Iterator[tuple[str, int]]:
    """Serve the room under `base`; gives its URL and the number of its process."""
    words = ("--room", f"{base}/room", "--keys", keys, "--metrics-port", "0")
    with processes.serving("serve", *words, env={"STRONGROOM_CREDENTIAL": f"{base}/front.credential"}) as found:
        yield found


def find(base: str, mobiles: list[str], clients: int, url: str, pids: dict[str, int]) -> dict[str, Any]:
    """Find persons by mobile over HTTP; milliseconds of each, and processor milliseconds a find of each process."""
    every = {**pids, "clients": os.getpid()}
    with strongroom.connect_room(url, credential=f"{base}/ada.credential") as room:
        before = {name: _processor(pid) for name, pid in every.items()}
        found = finds(room, mobiles, clients, lambda: 0.0)
        spent = {name: (_processor(pid) - before[name]) * 1e3 / len(mobiles) for name, pid in every.items()}
    return {**found, "processor_ms": spent}


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_http(setting: Setting, report: Report) -> None:
    """Finds over HTTP with a separate keymaster, one client and sixteen."""
    from bench.measures import fresh, mobiles

    base = str(setting.folder / "http")
    run("served prepare", base=fresh(base))
    with serving(base) as (keys, keys_pid):
        run("served put", csv=str(setting.csv), base=base, url=keys)
        wanted = mobiles(setting.csv, setting.finds)
        with serving_room(base, keys) as (url, pid):
            pids = {"server": pid, "keymaster": keys_pid}
            for clients in (1, CLIENTS):
                say(f"  finds over HTTP, {clients} clients")
                one = run("http find", base=base, mobiles=wanted, clients=clients, url=url, pids=pids)
                report.rounds[f"http find, {clients}"] = one
                _rows(report, one, clients)
    shutil.rmtree(base, ignore_errors=True)


def _rows(report: Report, found: Figures, clients: int) -> None:
    name = f"find over HTTP, {clients} client{'s' if clients > 1 else ''}"
    p50, p99 = percentile(found["ms"], 0.5), percentile(found["ms"], 0.99)
    report.add(f"{name}, p50", p50, unit="ms", target="15 ms", reached=p50 <= 15, hindrance=COST)
    report.add(f"{name}, p99", p99, unit="ms", target="60 ms", reached=p99 <= 60, hindrance=COST)
    if clients > 1:
        rate = found["per_second"]
        report.add(name, rate, unit="finds/s", target="500 a second", reached=rate >= 500, hindrance=COST)
        for process, spent in found["processor_ms"].items():
            report.add(f"{name}, processor time, {process}", spent, unit="ms/find")
