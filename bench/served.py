"""The keymaster behind its server, on the same machine: put and find through it beside the embedded one.

Both share the processors, and every call is signed, decided, spent and noted as it is embedded.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench import processes
from bench.frame import Figures, Report, alternate, median, percentile, ratio, run, say
from bench.ours import PASSPHRASE, finds, make

if TYPE_CHECKING:
    from bench.measures import Setting

MIB = 1 << 20
RELEASED = 100_000
WIRE = (
    "each find is several calls to the keymaster, one after the other, each signed, verified and answered in Python"
)


@contextmanager
def serving(base: str) -> Iterator[tuple[str, int]]:
    """Serve the keymaster under `base`; gives its URL and the number of its process."""
    words = ("--keys", f"{base}/keys", "--passphrase-file", f"{base}/passphrase")
    with processes.serving("keymaster", "serve", *words) as found:
        yield found


def prepare(base: str) -> dict[str, Any]:
    """Make an empty room and a credential for each actor under `base`."""
    with make(base) as keymaster:
        let_in(keymaster, base)
    return {}


def let_in(keymaster: Any, base: str) -> None:
    """Make a credential for each actor under `base`, and one for a server, and write what opens the keymaster."""
    from strongroom.identity.credential import new_credential
    from strongroom.keymaster.wanted import Wanted

    for actor in ("kit", "ada"):
        made = new_credential(keymaster.room_id, actor)
        keymaster.credentials.add("kit", Wanted(actor, made.public_key, 1))
        made.write(Path(base) / f"{actor}.credential")
    front = new_credential(keymaster.room_id, "kit")
    keymaster.credentials.add("kit", Wanted("kit", front.public_key, 1, server=True))
    front.write(Path(base) / "front.credential")
    (Path(base) / "passphrase").write_text(PASSPHRASE, encoding="utf-8")


def put(csv: str, base: str, url: str) -> dict[str, Any]:
    """Put a CSV file through the server; seconds from the file to the committed snapshot."""
    strongroom.prepare()
    with (
        strongroom.connect(url, credential=f"{base}/kit.credential") as keys,
        strongroom.open(f"{base}/room", keys=keys, actor="kit") as room,
    ):
        started = time.perf_counter()
        room.put("persons", csv)
        return {"seconds": time.perf_counter() - started}


def find(base: str, mobiles: list[str], callers: int, url: str) -> dict[str, Any]:
    """Find persons by mobile through the server; milliseconds of each find."""
    strongroom.prepare()
    with (
        strongroom.connect(url, credential=f"{base}/ada.credential") as keys,
        strongroom.open(f"{base}/room", keys=keys, actor="ada") as opened,
    ):
        return finds(opened, mobiles, callers, lambda: 0.0)


def release(base: str, csv: str, url: str | None = None) -> dict[str, Any]:
    """Release the keys of so many persons at once, through the server or without; seconds."""
    import pyarrow.csv as pv

    strongroom.prepare()
    ids = pv.read_csv(csv, convert_options=pv.ConvertOptions(include_columns=["id_number"]))["id_number"]
    wanted = [str(ident).upper() for ident in ids.slice(0, RELEASED).to_pylist()]
    with strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE) as own:
        rows = own._core.state.read()  # noqa: SLF001 - the id of a batch, which no caller needs to know
        batch = rows.execute("SELECT id FROM batch WHERE state = 'committed'").fetchone()[0]
        if url is None:
            return _released(own, wanted, batch)
    with strongroom.connect(url, credential=f"{base}/ada.credential") as keys:
        return _released(keys, wanted, batch)


def _released(keys: Any, wanted: list[str], batch: bytes) -> dict[str, Any]:
    import numpy as np

    from strongroom.keymaster.api import Ask

    reading = keys.begin_reading(actor="ada", purpose="case-work", reason="measuring").reading_id
    some = [keys.subject_tokens(reading, "persons", wanted[at : at + 10_000]) for at in range(0, len(wanted), 10_000)]
    tokens = np.concatenate(some)
    batches = np.tile(np.frombuffer(batch, np.uint8), (len(tokens), 1))
    ask = Ask(time.time_ns().to_bytes(16, "big"), "get", "persons", None, tokens, batches)
    started = time.perf_counter()
    released = keys.release(reading, ask)
    seconds = time.perf_counter() - started
    assert released.persons == len(set(wanted))
    return {"seconds": seconds, "persons": released.persons}


def measure_served(setting: Setting, report: Report) -> None:
    """Put, find and a large release through a served keymaster, by turns with the embedded one."""
    from bench.measures import fresh, mobiles

    base, embedded = str(setting.folder / "served"), str(setting.folder / "beside")

    def through() -> Figures:
        run("served prepare", base=fresh(base))
        with serving(base) as (url, _):
            return run("served put", csv=str(setting.csv), base=base, url=url)

    contenders = {"ours": through, "embedded": lambda: run("put", csv=str(setting.csv), base=fresh(embedded))}
    found = alternate(contenders, setting.rounds)
    report.rounds["served put"] = found
    share = ratio(found["embedded"], found["ours"], "seconds")
    rate, peer = (setting.rows / median(found[name], "seconds") for name in ("ours", "embedded"))
    report.add("put through a served keymaster", rate, peer=peer, ratio=share, unit="persons/s",
               target="0.8 of embedded", reached=share >= 0.8, note="ratio of rates: served to embedded",
               hindrance="keys of every record go over the wire: 112 bytes a person, 60 of its index")  # fmt: skip
    shutil.rmtree(embedded, ignore_errors=True)
    wanted = mobiles(setting.csv, setting.finds)
    with serving(base) as (url, pid):
        for callers in (1, 16):
            say(f"  finds through the server, {callers} callers")
            one = run("served find", base=base, mobiles=wanted, callers=callers, url=url)
            report.rounds[f"served find, {callers}"] = one
            _find_rows(report, one, callers)
        several = run("served release", base=base, csv=str(setting.csv), url=url)
        report.add(f"release of {RELEASED:,} persons, served", several["seconds"], unit="s", target="1 s",
                   reached=several["seconds"] <= 1, hindrance="see the embedded one: the wire adds")  # fmt: skip
        peak = processes.peak_mib(pid)
        report.add("served keymaster, peak memory", peak, unit="MiB", target="500 MiB",
                   reached=peak <= 500, note=f"{setting.rows:,} subjects")  # fmt: skip
    alone = run("served release", base=base, csv=str(setting.csv))
    report.add(f"release of {RELEASED:,} persons, embedded", alone["seconds"], unit="s")
    shutil.rmtree(base, ignore_errors=True)


def _find_rows(report: Report, found: Figures, callers: int) -> None:
    p50, p99 = percentile(found["ms"], 0.5), percentile(found["ms"], 0.99)
    if callers == 1:
        report.add("find through a served keymaster, p50", p50, unit="ms", target="15 ms", reached=p50 <= 15,
                   hindrance=WIRE)  # fmt: skip
        return
    report.add("find through a served keymaster, 16 callers, p50", p50, unit="ms", target="15 ms", reached=p50 <= 15,
               hindrance=WIRE)  # fmt: skip
    report.add("find through a served keymaster, 16 callers, p99", p99, unit="ms", target="60 ms", reached=p99 <= 60,
               hindrance=WIRE)  # fmt: skip
    report.add("find through a served keymaster, 16 callers", found["per_second"], unit="finds/s",
               target="500 a second", reached=found["per_second"] >= 500, hindrance=WIRE)  # fmt: skip
