"""The person's view: closing a day of many persons, and a person's file over a year."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.frame import Figures, Report, run, say

if TYPE_CHECKING:
    from bench.measures import Setting

DAY = 24 * 3600.0
START = 1_800_000_000.0
MIB = 1 << 20
AN_ENTRY = 1_000
YEAR, YEAR_LABELS = 365, 10_000
SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id = { type = "string", class = "identity", nullable = false }
"""
POLICY = """
[room]
budget = { day = 1000 }
[roles.clerk]
may = ["put"]
put = { tables = ["persons"], budget = { day = 1000 } }
[roles.privacy]
[actors.kit]
roles = ["clerk", "privacy"]
[purposes.subject-access]
legal_basis = "GDPR, art. 15"
roles = ["privacy"]
verbs = ["log"]
tables.persons = { person_id = "plain" }
budget = { day = 100 }
"""


class _Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def close_day(base: str, labels: int, an_entry: int) -> dict[str, Any]:
    """Close a day of so many persons, each in one entry; then make the map again, as an auditor does."""
    clock = _Clock()
    with _made(Path(base), clock) as keymaster:
        chance = np.random.default_rng(1)
        for _ in range(0, labels, an_entry):
            _touch(keymaster, chance.integers(0, 256, (an_entry, 16), np.uint8))
        clock.now += DAY
        began, started = time.process_time(), time.perf_counter()
        keymaster._days.close_due()  # noqa: SLF001  what is measured, alone
        seconds, cpu = time.perf_counter() - started, time.process_time() - began
        started = time.perf_counter()
        keymaster.publish()
        report = keymaster.verify_log(maps=True) if labels <= 1_000_000 else {"labels": labels}
        assert report["labels"] == labels
    size = (Path(base) / "keymaster.db").stat().st_size
    return {"seconds": seconds, "cpu_seconds": cpu, "verify_seconds": time.perf_counter() - started, "bytes": size}


def year(base: str) -> dict[str, Any]:
    """The file of one person over a year of 10,000 persons a day, who was read on every tenth day."""
    from strongroom.read.personlog import person_log, verify_person_log

    clock = _Clock()
    with _made(Path(base), clock) as keymaster:
        chance, token = np.random.default_rng(1), _put(keymaster)
        for day in range(YEAR):
            tokens = chance.integers(0, 256, (YEAR_LABELS, 16), np.uint8)
            if day % 10 == 0:
                tokens[0] = token
            for at in range(0, YEAR_LABELS, AN_ENTRY):
                _touch(keymaster, tokens[at : at + AN_ENTRY])
            clock.now += DAY
            keymaster.publish()
        grant = keymaster.begin_reading(actor="kit", purpose="subject-access", reason="measuring")
        started = time.perf_counter()
        text = json.dumps(person_log(keymaster.persons, grant.reading_id, "persons", "p-1"))
        made = time.perf_counter() - started
        started = time.perf_counter()
        found = verify_person_log(text)
        assert len(found.touched) == -(-YEAR // 10)
        assert found.open_day - found.first == YEAR
    return {"seconds": made, "verify_seconds": time.perf_counter() - started, "bytes": len(text)}


def _made(base: Path, clock: _Clock) -> Any:
    from strongroom.keymaster.create import create_keymaster
    from strongroom.seal.passphrase import Argon2Params

    argon2 = Argon2Params(19 * 1024, 2, 1)
    return create_keymaster(base, passphrase="bench", schema=SCHEMA, policy=POLICY, argon2=argon2, clock=clock)


def _put(keymaster: Any) -> Any:
    """One person, and their token."""
    import pyarrow as pa

    lease = keymaster.begin_put(actor="kit", table="persons", request_id=bytes(16))
    batch = keymaster.mint_batch(lease)
    return keymaster.seal_subjects(lease, batch, pa.array(["p-1"])).tokens[0]


def _touch(keymaster: Any, tokens: Any) -> None:
    """One entry that touches persons, as a release notes it."""
    core = keymaster._core  # noqa: SLF001  entries without persons behind them

    def work(rows: Any) -> None:
        labels = core.journal.labels(rows, tokens)
        entry = core.journal.entry(rows, "get", "kit", role="clerk", purpose="x", labels=labels.root, count=len(tokens))
        core.journal.keep_labels(rows, core.journal.note(rows, entry), labels)

    core.run(work)


def measure_person(setting: Setting, report: Report) -> None:
    """A day of a million persons in entries of 1,000 and of one, and one of ten million; a year of one person."""
    from bench.measures import fresh

    full = setting.rounds > 2
    shapes = [(1_000_000, AN_ENTRY), (100_000, 1), *([(10_000_000, AN_ENTRY)] if full else [])]
    for labels, an_entry in shapes:
        say(f"  closing a day of {labels:,} persons, {an_entry:,} an entry")
        base = fresh(str(setting.folder / "person"))
        shutil.rmtree(base)
        found: Figures = run("close day", [0, 1], base=base, labels=labels, an_entry=an_entry)
        shutil.rmtree(base)
        name = f"close a day of {labels:,} persons, {an_entry:,} an entry"
        report.add(name, found["seconds"], unit="s", note=f"{found['bytes'] / MIB:,.0f} MiB of database")
        report.add(f"{name}: peak memory", found["rss_bytes"] / MIB, unit="MiB", target="500 MiB",
                   reached=found["rss_bytes"] <= 500 * MIB)  # fmt: skip
        if labels <= 1_000_000:
            report.add(f"{name}: verify log and maps", found["verify_seconds"], unit="s")
    say("  a person's file over a year")
    base = fresh(str(setting.folder / "person"))
    shutil.rmtree(base)
    found = run("person year", [0, 1], base=base)
    report.add("person's file over 365 days of 10,000 persons", found["seconds"], unit="s")
    report.add("person's file, size", found["bytes"] / MIB, unit="MiB")
    report.add("person's file, verified offline", found["verify_seconds"], unit="s")
