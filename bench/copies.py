"""A copy of the bucket and a restore of it beside `cp -r`; a second copy after a small put; opening after a kill.

Once of the room of this run, and once of ten gigabytes (`bulk`): with small rooms what each object costs shows more.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench.frame import Figures, Report, alternate, median, ratio, run, say, start
from bench.ours import PASSPHRASE, make

if TYPE_CHECKING:
    from bench.measures import Setting

MIB = 1 << 20
KILLED_AFTER = 0.5
"""At which share of the time that a whole put takes the process is killed."""

SLOW = "every object is hashed on its way and flushed to the disk; `cp` leaves both out: see the line beside a flush"
BULK_ROWS = 2_600_000
BULK_TEXT = 4_000
BULK_BATCH = 20_000


def copy(base: str) -> dict[str, Any]:
    """Copy a room to a new folder; seconds and bytes."""
    to = _gone(base, "copy")
    with _keymaster(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit") as room:
        started = time.perf_counter()
        report = room.copy(to=to)
        return {"seconds": time.perf_counter() - started, "bytes": report.copied_bytes}


def fill(base: str, rows: int) -> dict[str, Any]:
    """Make a room of records of four kilobytes, texts that nothing makes smaller; seconds of the put."""
    started = time.perf_counter()
    with make(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit") as room:
        room.put("persons", _long_records(0, rows))
        return {"seconds": time.perf_counter() - started}


def _long_records(first: int, rows: int) -> Any:
    import base64

    import numpy as np
    import pyarrow as pa

    drawn = np.random.default_rng(first)

    def batches() -> Iterator[pa.RecordBatch]:
        for at in range(first, first + rows, BULK_BATCH):
            size = min(BULK_BATCH, first + rows - at)
            text = pa.py_buffer(base64.b64encode(drawn.bytes(BULK_TEXT * 3 // 4 * size)))
            offsets = pa.py_buffer(np.arange(size + 1, dtype=np.int32) * BULK_TEXT)
            ids = pa.array([f"P{n:09d}" for n in range(at, at + size)])
            mobiles = pa.array([f"13{n:09d}" for n in range(at, at + size)])
            yield pa.record_batch([ids, mobiles, pa.StringArray.from_buffers(size, offsets, text)], names)

    names = ["id_number", "mobile", "address"]
    return pa.RecordBatchReader.from_batches(pa.schema([(name, pa.string()) for name in names]), batches())


def copy_again(base: str, csv: str | None = None, rows: int = 0, first: int = 0) -> dict[str, Any]:
    """Put a small file, or some long records, then copy to the same folder once more; seconds and bytes of that."""
    with _keymaster(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit") as room:
        room.put("persons", _long_records(first, rows) if csv is None else csv)
        started = time.perf_counter()
        report = room.copy(to=f"{base}/copy")
        return {"seconds": time.perf_counter() - started, "bytes": report.copied_bytes, "all": report.bytes}


def restore(base: str) -> dict[str, Any]:
    """Restore from the copy into a new folder, every object verified; seconds."""
    to = _gone(base, "home")
    with _keymaster(base) as keys:
        started = time.perf_counter()
        strongroom.restore(to, source=f"{base}/copy", keys=keys, actor="kit")
        return {"seconds": time.perf_counter() - started}


def plain_copy(base: str) -> dict[str, Any]:
    """`cp -r` of the bucket; seconds, and seconds until it is on the disk. Nothing is verified."""
    to = _gone(base, "plain")
    started = time.perf_counter()
    subprocess.run(["cp", "-r", f"{base}/room", to], check=True)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    for path in [path for path in Path(to).rglob("*") if path.is_file()]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    flushed = seconds + time.perf_counter() - started
    shutil.rmtree(to)
    return {"seconds": seconds, "flushed": flushed}


def opening(base: str) -> dict[str, Any]:
    """Open keymaster and room as they were left; seconds, and the number of the newest snapshot."""
    strongroom.prepare()
    started = time.perf_counter()
    with _keymaster(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit"):
        return {"seconds": time.perf_counter() - started, "snapshot": keys.head().number}


def _keymaster(base: str) -> Any:
    return strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE)


def _gone(base: str, name: str) -> str:
    shutil.rmtree(Path(base) / name, ignore_errors=True)
    return str(Path(base) / name)


def measure_copies(setting: Setting, report: Report) -> None:
    """Copy and restore beside cp; what a second copy costs; opening after a put was killed in the middle."""
    from bench.measures import fresh, persons

    _copies(setting.base, setting.rounds, report, "")
    small = persons(setting.folder, setting.rows // 100)
    _second(run("copy again", base=setting.base, csv=str(small)), report, "")
    _killed(setting.csv, report, fresh(str(setting.folder / "killed")), f"{setting.rows:,}")


def measure_bulk(setting: Setting, report: Report) -> None:
    """The same with ten gigabytes, and a put of ten times as many persons that is killed in the middle."""
    from bench.measures import fresh, persons

    base = fresh(str(setting.folder / "bulk"))
    say(f"  making a room of {BULK_ROWS:,} long records")
    run("fill", base=base, rows=BULK_ROWS)
    _copies(base, 2, report, " of 10 GB", targets=True)
    _second(run("copy again", base=base, rows=BULK_ROWS // 100, first=BULK_ROWS), report, " of 10 GB")
    shutil.rmtree(base, ignore_errors=True)
    rows = setting.rows * 10
    csv = persons(setting.folder, rows)
    _killed(csv, report, fresh(str(setting.folder / "killed")), f"{rows:,}")


def _copies(base: str, rounds: int, report: Report, of: str, *, targets: bool = False) -> None:
    found = alternate(
        {
            "ours": lambda: run("copy", base=base),
            "cp": lambda: run("plain copy", base=base),
            "restore": lambda: run("restore", base=base),
        },
        rounds,
    )
    report.rounds[f"copies{of}"] = found
    size = median(found["ours"], "bytes") / MIB
    for name, what, most in (("ours", "copy", 2.0), ("restore", "restore and check", 3.0)):
        times = ratio(found[name], found["cp"], "seconds")
        target = f"within {most:g} times cp" if targets else ""
        report.add(f"{what}{of}, folder to folder", size / median(found[name], "seconds"), unit="MiB/s", ratio=times,
                   peer=size / median(found["cp"], "seconds"), target=target,
                   reached=times <= most if targets else None, hindrance=SLOW)  # fmt: skip
        flushed = median(found[name], "seconds") / median(found["cp"], "flushed")
        report.add(f"{what}{of}, beside cp and a flush", size / median(found[name], "seconds"), unit="MiB/s",
                   peer=size / median(found["cp"], "flushed"), ratio=flushed)  # fmt: skip


def _second(again: Figures, report: Report, of: str) -> None:
    share = again["bytes"] / again["all"]
    report.add(f"second copy{of} after a put of 1 %", again["bytes"] / MIB, unit="MiB", ratio=share,
               peer=again["all"] / MIB, target="about 1 % of the bytes", reached=share <= 0.02,
               note=f"{again['seconds']:.2f} s")  # fmt: skip


def _killed(csv: Path, report: Report, base: str, rows: str) -> None:
    """Kill a put in the middle, then open what it left."""
    say(f"  killing a put of {rows} in the middle")
    whole = run("put", csv=str(csv), base=base)["seconds"]
    shutil.rmtree(base)
    Path(base).mkdir()
    process = start("put", {"csv": str(csv), "base": base})
    while not (Path(base) / "room").exists():
        time.sleep(0.05)
    time.sleep(whole * KILLED_AFTER)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = run("opening", base=base)
    report.rounds[f"opening after a kill of {rows}"] = found
    report.add(f"opening after a put of {rows} was killed in the middle", found["seconds"], unit="s",
               target="5 s, nothing of it", reached=found["seconds"] <= 5 and found["snapshot"] == 0)  # fmt: skip
    shutil.rmtree(base, ignore_errors=True)
