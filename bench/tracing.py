"""Traces of published samples: seconds and memory, and that the cost grows with the sample and not with the room."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import strongroom
from bench.frame import Figures, Report, run, say
from bench.ours import PASSPHRASE, agreed

if TYPE_CHECKING:
    from bench.measures import Setting

HERE = Path(__file__).parent
MIB, GIB = 1 << 20, 1 << 30
ROWS = 750_000
SECONDS = 60.0
HINDRANCE = "putting rows and persons together takes a third, look-ups and the blocks of the index two fifths"
TRACING = """
[roles.inspector]
[roles.chief]
[actors.ines]
roles = ["inspector"]
[actors.max]
roles = ["chief"]
[purposes.incident]
legal_basis = "measuring"
roles = ["inspector"]
verbs = ["trace"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
budget = { day = 1_000_000 }
lookups = { day = 100_000_000 }
approval = { roles = ["chief"], always = true }
"""


def _schema() -> str:
    text = (HERE / "schema.toml").read_text(encoding="utf-8")
    text = text.replace('normalise = ["trim"], mask', 'normalise = ["phone:CN"], mask')
    return text.replace('["trim", "upper"]', '["id"]')


def room(base: str, csv: str) -> Figures:
    """Make a room of a CSV file under `base`, of which half was exported."""
    folder = Path(base)
    policy = (HERE / "policy.toml").read_text(encoding="utf-8") + TRACING
    strongroom.prepare()
    with strongroom.create_keymaster(
        str(folder / "keys"), passphrase=PASSPHRASE, schema=_schema(), policy=policy
    ) as keys:
        strongroom.create(str(folder / "room"), keys=keys)
        with strongroom.open(str(folder / "room"), keys=keys, actor="kit") as opened:
            opened.put("persons", csv)
        with strongroom.open(str(folder / "room"), keys=keys, actor="ada") as opened:
            more = {"recipient": "elsewhere", "purpose": "handing-over", "reason": "measuring"}
            opened.export("persons", to=str(folder / "half.parquet"), where="sex = '女'", **more)
    return {}


def sample(csv: str, rows: int, out: str, seed: int = 1) -> Figures:
    """Rows of a CSV file chosen at random, in an order of their own; four columns of it."""
    import pyarrow.csv as pv

    columns = pv.ConvertOptions(include_columns=["name", "id_number", "mobile", "address"])
    table = pv.read_csv(csv, convert_options=columns)
    chosen = np.random.default_rng(seed).permutation(len(table))[:rows]
    pv.write_csv(table.take(chosen), out)
    return {"bytes": Path(out).stat().st_size}


def trace(base: str, path: str, persons: int = 0) -> Figures:
    """Trace a sample; seconds, processor seconds, blocks read and look-ups."""
    folder = Path(base)
    strongroom.prepare()
    with strongroom.open_keymaster(str(folder / "keys"), passphrase=PASSPHRASE) as keys:
        approval = agreed(keys, "ines", "incident")
        with strongroom.open(str(folder / "room"), keys=keys, actor="ines") as opened:
            begun, spent = time.perf_counter(), time.process_time()
            found = opened.trace(path, purpose="incident", reason="measuring", approval=approval, persons=persons)
            seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    costs = found.costs
    return {
        "seconds": seconds, "processor": processor, "lookups": costs.lookups, "persons": found.weighed.persons,
        "blocks": costs.reads.blocks, "of": costs.reads.there, "bytes": costs.reads.bytes,
        "records": costs.records.blocks, "excluded": len(found.excluded),
    }  # fmt: skip


def measure_tracing(setting: Setting, report: Report) -> None:
    """A sample of 750,000 rows against the largest room, and one tenth of it against two rooms."""
    from bench.measures import persons

    folder, rows = setting.folder, min(ROWS, setting.rows * 3 // 4)
    csvs = {size: persons(folder, size) for size in (setting.rows // 10, setting.rows)}
    figures: dict[int, Figures] = {}
    tenth = folder / "tenth.csv"
    run("tracing sample", csv=str(csvs[setting.rows // 10]), rows=rows // 10, out=str(tenth))
    for size, csv in csvs.items():
        base = folder / f"tracing-{size}"
        base.mkdir()
        say(f"  a room of {size:,} persons")
        run("tracing room", base=str(base), csv=str(csv))
        figures[size] = run("tracing", base=str(base), path=str(tenth))
        note = f"{figures[size]['blocks']:,} of {figures[size]['of']:,} blocks of indexes read"
        report.add(f"trace of {rows // 10:,} rows, room of {size:,}", figures[size]["seconds"], unit="s", note=note)
    whole = folder / "sample.csv"
    base = folder / f"tracing-{setting.rows}"
    run("tracing sample", csv=str(csvs[setting.rows]), rows=rows, out=str(whole))
    found = run("tracing", base=str(base), path=str(whole))
    dated = run("tracing", base=str(base), path=str(whole), persons=20_000)
    report.rounds["tracing"] = {"whole": found, "dated": dated} | {str(k): v for k, v in figures.items()}
    note = f"{found['blocks']:,} of {found['of']:,} blocks, {found['lookups']:,} look-ups, {found['persons']:,} persons"
    report.add(
        f"trace of {rows:,} rows, room of {setting.rows:,}", found["seconds"], unit="s", target="60 s", note=note,
        reached=found["seconds"] <= SECONDS, hindrance=HINDRANCE,
    )  # fmt: skip
    report.add("the same, with versions of 20,000 persons", dated["seconds"], unit="s")
    peak = dated["rss_bytes"] / MIB
    report.add("the same, peak memory", peak, unit="MiB", target="4 GiB", reached=peak * MIB <= 4 * GIB)
    for size in csvs:
        shutil.rmtree(folder / f"tracing-{size}", ignore_errors=True)
