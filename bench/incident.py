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
EXPORT_EVERY, EXPORTED = 25, 200
"""Every so many entries of the stolen credential is an export, of so many persons."""
STOLEN = "stolen"
SECONDS, PERSONS_SECONDS = 5.0, 10.0
"""What "within seconds" is held to: of entries, and of persons, who are looked for among all of the room's."""
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
    """Make a keymaster with so many persons, and a log of so many gets and exports of ACTORS actors in DAYS days."""
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
    stolen = 0
    for start in range(0, entries, AT_ONCE):
        size = min(AT_ONCE, entries - start)
        actors = rng.integers(0, ACTORS, size).tolist()
        with core.state.write() as rows:
            leaves, labels = [], []
            for at in range(size):
                number, when = first + start + at, begin + int((start + at) * step)
                root, export = bytes(32), False
                if actors[at] == 0:
                    stolen += 1
                    export = stolen % EXPORT_EVERY == 0
                    own = tokens[rng.integers(0, len(tokens), EXPORTED if export else PERSONS_EACH)]
                    root, kept = _labels(core, rows, keys, (first + start + at, when), own)
                    labels.append((number, *kept))
                leaves.append((number, when, _entry(actors[at], when, root, export=export)))
                if export:
                    parse_entry(leaves[-1][2])  # canonical, or this raises
            rows.executemany("INSERT INTO leaf VALUES (?, ?, ?)", leaves)
            rows.executemany("INSERT INTO leaf_labels VALUES (?, ?, ?, ?)", labels)
        parse_entry(leaves[-1][2])


def _entry(actor: int, when: int, root: bytes, *, export: bool) -> bytes:
    name = STOLEN if actor == 0 else f"actor-{actor:04d}"
    act, count, extras, recipient = "get", PERSONS_EACH, '"looked_up":5,"misses":0,"records":5', ""
    if export:
        act, count, recipient = "export", EXPORTED, '"recipient":"uni-north",'
        extras = f'"as":"plain","export":"{when:032x}","snapshot":1,"tables":"persons"'
    return (
        f'{{"act":"{act}","actor":"{name}","count":{count},"credential":"{actor:032x}","decision":"allowed",'
        f'"extras":{{{extras}}},"fields":["name","mobile"],"labels":"{root.hex()}",'
        '"legal_basis":"criminal procedure","policy":1,"purpose":"case-work","reason":"' + "ab" * 32 + '",'
        f'{recipient}"remaining":{{"persons/actor/{name}/purpose/case-work/day":99999,"persons/room/day":9999999}},'
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
    """Ask about the stolen credential, as one does who has not asked before; `through` reads all of the log."""
    from strongroom.keymaster.log.api import Which

    with strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE) as keymaster:
        if through:
            from strongroom.keymaster.log import search as logsearch

            logsearch.DENSE = 0  # type: ignore[misc]
        rows, logs = keymaster._core.state.read(), keymaster.logs  # noqa: SLF001 - when so many entries were
        (last,) = rows.execute("SELECT max(number) FROM leaf").fetchone()
        since, until = (
            rows.execute("SELECT time FROM leaf WHERE number = ?", (last * third // 3,)).fetchone()[0] / 1_000
            for third in (1, 2)
        )
        which = Which(of=STOLEN)
        within = Which(of=STOLEN, since=since, until=until)
        ways: dict[str, Callable[[], int]] = {
            "touched": lambda: sum(one.requests for one in logs.touched("kit", which)),
            "credential": lambda: sum(one.requests for one in logs.touched("kit", Which(credential="0" * 32))),
            "within": lambda: sum(one.requests for one in logs.touched("kit", within)),
            "exports": lambda: sum(one.requests for one in logs.touched("kit", within) if one.act == "export"),
            "newest": lambda: len(logs.newest("kit", which, 20)),
            "persons": lambda: len(logs.persons("kit", which, "measuring")),
            "persons within": lambda: len(logs.persons("kit", within, "measuring")),
        }
        started = time.perf_counter()
        size = ways[what]()
        first = time.perf_counter() - started
        started = time.perf_counter()
        if not through:
            ways[what]()
        return {"seconds": first, "again": time.perf_counter() - started, "size": size}


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
    names = ("touched", "credential", "within", "exports", "newest", "persons", "persons within")
    asked = {what: run("incident ask", base=base, what=what) for what in names}
    through = run("incident ask", base=base, what="touched", through=True)
    report.rounds["incident"] = {**asked, "through": through}

    def add(what: str, told: str, most: float, **more: Any) -> None:
        seconds, size = asked[what]["seconds"], asked[what]["size"]
        reached, note = seconds <= most, f"{size:,} found"
        report.add(told, seconds, unit="s", target=f"{most:.0f} s", reached=reached, note=note, **more)

    beside = {"peer": through["seconds"], "ratio": through["seconds"] / asked["touched"]["seconds"]}
    add("touched", f"what an actor touched, of {setting.entries:,} entries, and reading through", SECONDS, **beside)
    add("credential", "what a credential touched", SECONDS)
    add("within", "what an actor touched from one time to another, a third of the log", SECONDS)
    add("exports", "which exports of theirs", SECONDS)
    add("newest", "its newest 20 entries", 1.0)
    add("persons", f"whom it touched in {DAYS} days, of {setting.subjects:,} persons", PERSONS_SECONDS)
    add("persons within", "whom from one time to another", PERSONS_SECONDS)
    peak = asked["persons"]["rss_bytes"] / MIB
    report.add("whom in all, peak memory", peak, unit="MiB", target="500 MiB", reached=peak <= 500)
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
