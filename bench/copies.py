"""A copy of the bucket and a restore of it beside `cp -r`; a second copy after a small put; opening after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench.frame import Figures, Report, alternate, median, ratio, run, say, start
from bench.ours import PASSPHRASE

if TYPE_CHECKING:
    from bench.measures import Setting

MIB = 1 << 20
KILLED_AFTER = 0.5
"""At which share of the time that a whole put takes the process is killed."""

SLOW = "every object is hashed on its way and flushed to the disk; `cp` leaves both out: see the line beside a flush"


def copy(base: str) -> dict[str, Any]:
    """Copy a room to a new folder; seconds and bytes."""
    to = _gone(base, "copy")
    with _keymaster(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit") as room:
        started = time.perf_counter()
        report = room.copy(to=to)
        return {"seconds": time.perf_counter() - started, "bytes": report.copied_bytes}


def copy_again(base: str, csv: str) -> dict[str, Any]:
    """Put a small file, then copy to the same folder once more; seconds and bytes of the second copy."""
    with _keymaster(base) as keys, strongroom.open(f"{base}/room", keys=keys, actor="kit") as room:
        room.put("persons", csv)
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

    base = setting.base
    found = alternate(
        {
            "ours": lambda: run("copy", base=base),
            "cp": lambda: run("plain copy", base=base),
            "restore": lambda: run("restore", base=base),
        },
        setting.rounds,
    )
    report.rounds["copies"] = found
    size = median(found["ours"], "bytes") / MIB
    for name, what, most in (("ours", "copy", 2.0), ("restore", "restore, verified", 3.0)):
        times = ratio(found[name], found["cp"], "seconds")
        report.add(f"{what}, folder to folder", size / median(found[name], "seconds"), unit="MiB/s", ratio=times,
                   peer=size / median(found["cp"], "seconds"), target=f"within {most:g} times cp",
                   reached=times <= most, hindrance=SLOW)  # fmt: skip
        flushed = median(found[name], "seconds") / median(found["cp"], "flushed")
        report.add(f"{what}, beside cp and a flush", size / median(found[name], "seconds"), unit="MiB/s",
                   peer=size / median(found["cp"], "flushed"), ratio=flushed)  # fmt: skip
    small = persons(setting.folder, setting.rows // 100)
    again: Figures = run("copy again", base=base, csv=str(small))
    share = again["bytes"] / again["all"]
    report.add("second copy after a put of 1 %", again["bytes"] / MIB, unit="MiB", ratio=share, peer=again["all"] / MIB,
               target="about 1 % of the bytes", reached=share <= 0.02, note=f"{again['seconds']:.2f} s")  # fmt: skip
    _killed(setting, report, fresh(str(setting.folder / "killed")))


def _killed(setting: Setting, report: Report, base: str) -> None:
    """Kill a put in the middle, then open what it left."""
    say("  killing a put in the middle")
    whole = run("put", csv=str(setting.csv), base=base)["seconds"]
    shutil.rmtree(base)
    Path(base).mkdir()
    process = start("put", {"csv": str(setting.csv), "base": base})
    while not (Path(base) / "room").exists():
        time.sleep(0.05)
    time.sleep(whole * KILLED_AFTER)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = run("opening", base=base)
    report.rounds["opening after a kill"] = found
    report.add("opening after a put was killed in the middle", found["seconds"], unit="s", target="5 s, nothing of it",
               reached=found["seconds"] <= 5 and found["snapshot"] == 0)  # fmt: skip
    shutil.rmtree(base, ignore_errors=True)
