"""A stolen credential in a long log: what it touched, and whom. A keymaster of very many persons that serves.

Entries are written straight into the tables, in the form that the keymaster writes: so many could not be made one by
one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import strongroom
from bench.frame import Report, percentile, run, say
from bench.ours import PASSPHRASE, make
from bench.processes import peak_mib, together
from bench.served import RELEASED, prepare
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from bench.measures import Setting

MIB = 1 << 20
ACTORS = 1_000
DAYS = 30
DAY_MS = 86_400_000
AT_ONCE = 65_536
PERSONS_EACH = 5
STOLEN = "stolen"
CALLERS = 16
KEPT = 200_000
RELEASE = (
    "the rows that say who was seen, one a person and scope, are half of it; the hashes of the labels' tree a quarter"
)
_SAID: dict[str, Any] = {
    "purpose": "case-work", "legal_basis": "criminal procedure", "table": "persons", "fields": ("name", "mobile"),
    "count": 1, "reason": bytes(32), "labels": bytes(32), "request": bytes(16),
    "rule": "purposes.case-work.tables.persons", "remaining": {"persons/room/day": 1}, "extras": {"records": 1},
}  # fmt: skip


def fill(base: str, entries: int, subjects: int) -> dict[str, Any]:
    """Make a keymaster with so many persons, and a log of so many gets of ACTORS actors over DAYS days."""
    prepare(base)
    with strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE) as keymaster:
        core = keymaster._core  # noqa: SLF001 - a log of ten million entries is made by no caller
        Path(f"{base}/batch").write_bytes(_batch(keymaster))
        started = time.perf_counter()
        tokens = _persons(core, subjects)
        persons = time.perf_counter() - started
        np.save(f"{base}/tokens.npy", tokens[np.random.default_rng(9).permutation(len(tokens))])
        started = time.perf_counter()
        _entries(core, entries, tokens)
        written = time.perf_counter() - started
        started = time.perf_counter()
        _index(core)
        return {"persons": persons, "written": written, "indexed": time.perf_counter() - started}


def _batch(keymaster: Any) -> bytes:
    """A committed batch of one person."""
    import pyarrow as pa

    from strongroom.keymaster.api import Head

    lease = keymaster.begin_put(actor="kit", table="persons", request_id=random_bytes(16))
    batch: bytes = keymaster.mint_batch(lease)
    keymaster.seal_subjects(lease, batch, pa.array(["P-1"]))
    base, ident = keymaster.head(), random_bytes(16)
    key = keymaster.mint_file_key(lease, 5, ident, None)
    keymaster.commit(lease, base, Head(base.number + 1, ident, random_bytes(32), 100, key.key_id), {"records": 1})
    return batch


def _persons(core: Any, subjects: int) -> Any:
    """Tokens of some of the persons whose secrets are made here; tokens are random to everybody."""
    rng = np.random.default_rng(7)
    some = []
    for start in range(0, subjects, 1 << 20):
        tokens = rng.integers(0, 256, (min(1 << 20, subjects - start), 16), np.uint8)
        core.keys.ensure(tokens, 1)
        some.append(tokens[:: max(1, subjects // KEPT)].copy())
    return np.concatenate(some)


def _entries(core: Any, entries: int, tokens: Any) -> None:
    from strongroom.audit.entry import parse_entry

    rng = np.random.default_rng(8)
    with core.state.write() as rows:
        first, last = rows.execute("SELECT max(number) + 1, max(time) FROM leaf").fetchone()
    # the log begins so that it ends now: times never go back
    begin = last + 1
    step = DAYS * DAY_MS / entries
    keys: dict[int, Any] = {}
    for start in range(0, entries, AT_ONCE):
        size = min(AT_ONCE, entries - start)
        actors = rng.integers(0, ACTORS, size).tolist()
        with core.state.write() as rows:
            leaves, labels = [], []
            for at in range(size):
                number, when = first + start + at, begin + int((start + at) * step)
                root = bytes(32)
                if actors[at] == 0:
                    own = tokens[rng.integers(0, len(tokens), PERSONS_EACH)]
                    root, kept = _labels(core, rows, keys, (first + start + at, when), own)
                    labels.append((number, *kept))
                leaves.append((number, when, _entry(actors[at], when, root)))
            rows.executemany("INSERT INTO leaf VALUES (?, ?, ?)", leaves)
            rows.executemany("INSERT INTO leaf_labels VALUES (?, ?, ?, ?)", labels)
        parse_entry(leaves[-1][2])  # canonical, or this raises


def _entry(actor: int, when: int, root: bytes) -> bytes:
    name = STOLEN if actor == 0 else f"actor-{actor:04d}"
    return (
        f'{{"act":"get","actor":"{name}","count":{PERSONS_EACH},"credential":"{actor:032x}","decision":"allowed",'
        f'"extras":{{"looked_up":5,"misses":0,"records":5}},"fields":["name","mobile"],"labels":"{root.hex()}",'
        '"legal_basis":"criminal procedure","policy":1,"purpose":"case-work","reason":"' + "ab" * 32 + '",'
        f'"remaining":{{"persons/actor/{name}/purpose/case-work/day":99999,"persons/room/day":9999999}},'
        f'"request":"{when:032x}","rule":"purposes.case-work.tables.persons","table":"persons","time":{when},"v":1}}'
    ).encode()


def _labels(core: Any, rows: Any, keys: dict[int, Any], what: tuple[int, int], tokens: Any) -> Any:
    from strongroom.audit.entry import labels_root
    from strongroom.keymaster.log.journal import labels_bound
    from strongroom.seal.tokens import cmac_column
    from strongroom.seal.wrap import wrap

    day = what[1] // DAY_MS
    if day not in keys:
        keys[day] = core.journal._day(rows, day)  # noqa: SLF001
    key, month = keys[day]
    column = cmac_column(key, np.unique(tokens, axis=0))
    root = labels_root(column)
    sealed = wrap(core.journal._month(rows, month)[:32], column.tobytes(), labels_bound(what[0], day))  # noqa: SLF001
    return root, (day, month, sealed)


def _index(core: Any) -> None:
    from strongroom.keymaster.log import index as logindex

    logindex.index_more(core)


def ask(base: str, what: str, *, through: bool = False) -> dict[str, Any]:
    """Ask about the stolen credential, warm; `through` reads all of the log, as without an index."""
    from strongroom.keymaster.log.api import Which

    with strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE) as keymaster:
        if through:
            from strongroom.keymaster.log import search as logsearch

            logsearch.DENSE = 0  # type: ignore[misc]
        which = Which(of=STOLEN)
        ways: dict[str, Callable[[], int]] = {
            "touched": lambda: sum(one.requests for one in keymaster.logs.touched("kit", which)),
            "credential": lambda: sum(o.requests for o in keymaster.logs.touched("kit", Which(credential="0" * 32))),
            "newest": lambda: len(keymaster.logs.newest("kit", which, 20)),
            "persons": lambda: len(keymaster.logs.persons("kit", which, "measuring")),
        }
        ways[what]()
        started = time.perf_counter()
        size = ways[what]()
        return {"seconds": time.perf_counter() - started, "size": size}


# -- serving so many ---------------------------------------------------------------------------
def releases(base: str, url: str, finds: int) -> dict[str, Any]:
    """Release persons from all over the key pages, one by one by CALLERS callers, and then many at once."""
    from strongroom.keymaster.api import Ask

    tokens = np.load(f"{base}/tokens.npy")
    batch = np.frombuffer(Path(f"{base}/batch").read_bytes(), np.uint8)
    with strongroom.connect(url, credential=f"{base}/ada.credential") as keys:
        reading = keys.begin_reading(actor="ada", purpose="case-work", reason="measuring").reading_id

        def release(some: Any) -> float:
            ask = Ask(random_bytes(16), "get", "persons", None, some, np.tile(batch, (len(some), 1)))
            started = time.perf_counter()
            assert keys.release(reading, ask).persons == len(some)
            return time.perf_counter() - started

        with ThreadPoolExecutor(CALLERS) as pool:
            each = list(pool.map(lambda at: release(tokens[at : at + 1]), range(finds)))
        starts = 4 * list(range(0, len(tokens) - RELEASED + 1, RELEASED))
        at_once = [release(tokens[at : at + RELEASED]) for at in starts]
        return {"each_ms": [second * 1e3 for second in each], "at_once": float(np.median(at_once))}


def notes(base: str, callers: int, each: int) -> dict[str, Any]:
    """Note entries of the usual size, so many callers at once, each durable before the next of its caller."""
    with make(base) as keymaster:
        core = keymaster._core  # noqa: SLF001 - the log alone, without what is decided and charged besides

        def job(rows: Any) -> None:
            core.journal.note(rows, core.journal.entry(rows, "get", "ada", **_SAID))

        def work(_number: int, begin: Callable[[], object]) -> None:
            begin()
            for _ in range(each):
                core.run(job)

        seconds = together(callers, work)
        return {"per_second": callers * each / seconds}


# -- the table -----------------------------------------------------------------------------------
def measure_incident(setting: Setting, report: Report) -> None:
    """Questions to a long log beside reading it through; a keymaster of many persons that serves; entries a second."""
    from bench.measures import fresh
    from bench.served import serving

    base = str(setting.folder / "incident")
    say(f"  making {setting.subjects:,} persons and {setting.entries:,} entries")
    made = run("incident fill", base=fresh(base), entries=setting.entries, subjects=setting.subjects)
    report.rounds["incident fill"] = made
    asked = {what: run("incident ask", base=base, what=what) for what in ("touched", "credential", "newest", "persons")}
    through = run("incident ask", base=base, what="touched", through=True)
    report.rounds["incident"] = {**asked, "through": through}
    for what, told in (("touched", "what an actor touched"), ("credential", "what a credential touched")):
        times = through["seconds"] / asked[what]["seconds"]
        report.add(f"{told}, of {setting.entries:,} entries", asked[what]["seconds"], peer=through["seconds"],
                   ratio=times, unit="s", target="5 times reading through", reached=times >= 5)  # fmt: skip
    report.add("its newest 20 entries", asked["newest"]["seconds"], unit="s", target="1 s",
               reached=asked["newest"]["seconds"] <= 1)  # fmt: skip
    seconds, peak = asked["persons"]["seconds"], asked["persons"]["rss_bytes"] / MIB
    report.add(f"whom it touched in {DAYS} days, of {setting.subjects:,} persons", seconds, unit="s", target="10 s",
               reached=seconds <= 10, note=f"{asked['persons']['size']:,} found")  # fmt: skip
    report.add("the same, peak memory", peak, unit="MiB", target="500 MiB", reached=peak <= 500)
    with serving(base) as (url, pid):
        served = run("incident releases", base=base, url=url, finds=setting.finds)
        peak = peak_mib(pid)
    report.rounds["incident releases"] = served
    report.add(f"served keymaster of {setting.subjects:,} persons, peak memory", peak, unit="MiB", target="500 MiB",
               reached=peak <= 500, note="16 callers, and 100,000 persons at once")  # fmt: skip
    report.add("release of a person there, 16 callers, p50", percentile(served["each_ms"], 0.5), unit="ms")
    report.add(f"release of {RELEASED:,} persons there", served["at_once"], unit="s", target="1 s",
               reached=served["at_once"] <= 1, hindrance=RELEASE)  # fmt: skip
    noted = run("incident notes", base=fresh(base), callers=64, each=max(100, setting.finds // 10))
    report.add("log, 64 callers", noted["per_second"], unit="entries/s", target="10,000 a second",
               reached=noted["per_second"] >= 10_000,
               hindrance="an entry is 25 microseconds of Python, and a thread for each caller")  # fmt: skip
    shutil.rmtree(base, ignore_errors=True)
