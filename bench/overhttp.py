"""A find over HTTP: a room behind its server, the keymaster behind its own, and clients, all on this machine."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench import processes
from bench.frame import Figures, Report, percentile, run, say
from bench.ours import WARM_UP, finds
from bench.processes import together
from bench.served import serving

if TYPE_CHECKING:
    from bench.measures import Setting

CLIENTS = 16
OFFERED = 500.0
"""Finds a second that are asked of it, of all clients together."""
CLOSED = "each client asks again when it was answered: the time is their number by the rate (Little's law)"
COST = "processor time of a find, all parts of it on the processors of one machine; see the rows of each process"


@contextmanager
def serving_room(base: str, keys: str) -> Iterator[tuple[str, int]]:
    """Serve the room under `base`; gives its URL and the number of its process."""
    words = ("--room", f"{base}/room", "--keys", keys, "--metrics-port", "0")
    with processes.serving("serve", *words, env={"STRONGROOM_CREDENTIAL": f"{base}/front.credential"}) as found:
        yield found


def find(
    base: str, mobiles: list[str], clients: int, url: str, pids: dict[str, int], offered: float = 0.0
) -> dict[str, Any]:
    """Find persons by mobile over HTTP; milliseconds of each, and processor milliseconds a find of each process.

    Each client asks when it was answered; or, with `offered` finds a second, of all clients together, at its times.
    """
    every = {**pids, "clients": os.getpid()}
    with strongroom.connect_room(url, credential=f"{base}/ada.credential") as room:
        before = {name: _processor(pid) for name, pid in every.items()}
        found = paced(room, mobiles, clients, offered) if offered else finds(room, mobiles, clients, lambda: 0.0)
        spent = {name: (_processor(pid) - before[name]) * 1e3 / len(mobiles) for name, pid in every.items()}
    return {**found, "processor_ms": spent}


def paced(room: Any, mobiles: list[str], clients: int, offered: float) -> dict[str, Any]:
    """Find each mobile, so many finds a second offered, whatever the answers take.

    Milliseconds are from the time at which a find was to be sent: one that had to wait for its client's last answer has
    waited. Each client has its times a fixed while apart; when its first one is, is drawn.
    """
    times: list[list[float]] = [[] for _ in range(clients)]
    late: list[bool] = []
    pause = clients / offered
    begins = random.Random(7)
    phases = [begins.random() * pause for _ in range(clients)]

    def work(number: int, begin: Callable[[], object]) -> None:
        share = mobiles[number::clients]
        warm, rest = share[: WARM_UP // clients], share[WARM_UP // clients :]
        with room.read(purpose="case-work", reason="measuring") as desk:
            for mobile in warm:
                desk.find("persons", {"mobile": mobile}, limit=1)
            begin()
            due = time.perf_counter() + phases[number]
            for mobile in rest:
                spare = due - time.perf_counter()
                late.append(spare <= 0)
                if spare > 0:
                    time.sleep(spare)
                assert len(desk.find("persons", {"mobile": mobile}, limit=1)) == 1
                times[number].append((time.perf_counter() - due) * 1e3)
                due += pause

    seconds = together(clients, work)
    every = [t for one in times for t in one]
    return {"ms": every, "per_second": len(every) / seconds, "late": sum(late) / len(late)}


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

            def measured(clients: int, offered: float, whom: str = "") -> Figures:
                how = f"{offered:.0f} a second offered" if offered else "each waits for its answer"
                say(f"  finds over HTTP{whom}, {clients} clients, {how}")
                one = run("http find", base=base, mobiles=wanted, clients=clients, url=url, pids=pids, offered=offered)
                report.rounds[f"http find{whom}, {clients}, {how}"] = one
                return one

            for clients, offered in ((1, 0.0), (CLIENTS, 0.0), (CLIENTS, OFFERED)):
                _rows(report, measured(clients, offered), clients, offered)
            run("served put", csv=str(_records_of(setting.csv, wanted)), base=base, url=keys)
            _rows_again(report, measured(CLIENTS, OFFERED, " of persons put again"))
    shutil.rmtree(base, ignore_errors=True)


def _records_of(csv: Path, mobiles: list[str]) -> Path:
    """A file beside another with the records that have one of some mobile numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pv

    with csv.open(encoding="utf-8") as lines:
        names = lines.readline().strip().split(",")
    text = pv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    table = pv.read_csv(csv, convert_options=text)
    some = csv.with_suffix(".again.csv")
    pv.write_csv(table.filter(pc.is_in(table["mobile"], pa.array(mobiles))), some)
    return some


def _rows_again(report: Report, found: Figures) -> None:
    """Of persons who have an older record: which one is live is seen between two questions to the keymaster."""
    name = f"find over HTTP of persons put again, {CLIENTS} clients, {OFFERED:.0f} a second offered"
    for share, which in ((0.5, "p50"), (0.99, "p99")):
        report.add(f"{name}, {which}", percentile(found["ms"], share), unit="ms", note="asks the keymaster once more")
    report.add(f"{name}, answered", found["per_second"], unit="finds/s")


def _rows(report: Report, found: Figures, clients: int, offered: float) -> None:
    name = f"find over HTTP, {clients} client{'s' if clients > 1 else ''}"
    name += f", {offered:.0f} a second offered" if offered else ""
    p50, p99 = percentile(found["ms"], 0.5), percentile(found["ms"], 0.99)
    rate = found["per_second"]
    bound = {"hindrance": COST}
    if offered or clients == 1:
        report.add(f"{name}, p50", p50, unit="ms", target="15 ms", reached=p50 <= 15, **bound)
        report.add(f"{name}, p99", p99, unit="ms", target="60 ms", reached=p99 <= 60, **bound)
    else:
        report.add(f"{name}, p50", p50, unit="ms", note=CLOSED)
        report.add(f"{name}, p99", p99, unit="ms", target="60 ms", reached=p99 <= 60, **bound)
        report.add(name, rate, unit="finds/s", target="500 a second", reached=rate >= 500, **bound)
    if offered:
        least = offered * 0.98
        report.add(f"{name}, answered", rate, unit="finds/s", target="as offered", reached=rate >= least,
                   note=f"{found['late']:.1%} were due while their client waited", **bound)  # fmt: skip
    if clients > 1:
        for process, spent in found["processor_ms"].items():
            report.add(f"{name}, processor time, {process}", spent, unit="ms/find")
