"""A stolen credential in a long log: what it touched, and whom, beside reading all of the log through.

Entries are written straight into the tables, in the form that the keymaster writes: so many could not be made one by one.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import strongroom
from bench.frame import Report, run, say
from bench.ours import PASSPHRASE, make

if TYPE_CHECKING:
    from bench.measures import Setting

MIB = 1 << 20
ACTORS = 1_000
DAYS = 30
DAY_MS = 86_400_000
AT_ONCE = 65_536
PERSONS_EACH = 5
STOLEN = "stolen"
SEEN_MOST = 10_000


def fill(base: str, entries: int, subjects: int) -> dict[str, Any]:
    """Make a keymaster with so many persons, and a log of so many gets of ACTORS actors over DAYS days."""
    with make(base) as keymaster:
        Path(f"{base}/passphrase").write_text(PASSPHRASE, encoding="utf-8")
        core = keymaster._core  # noqa: SLF001 - a log of ten million entries is made by no caller
        started = time.perf_counter()
        tokens = _persons(core, subjects)
        persons = time.perf_counter() - started
        started = time.perf_counter()
        _entries(core, entries, tokens)
        written = time.perf_counter() - started
        started = time.perf_counter()
        _index(core)
        return {"persons": persons, "written": written, "indexed": time.perf_counter() - started}


def _persons(core: Any, subjects: int) -> Any:
    """Tokens of some of the persons whose secrets are made here; tokens are random to everybody."""
    rng = np.random.default_rng(7)
    some = []
    for start in range(0, subjects, 1 << 20):
        tokens = rng.integers(0, 256, (min(1 << 20, subjects - start), 16), np.uint8)
        core.keys.ensure(tokens, 1)
        some.append(tokens[:: max(1, subjects // 200_000)].copy())
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
                    root, kept = _labels(core, rows, keys, when, tokens[rng.integers(0, len(tokens), PERSONS_EACH)])
                    labels.append((number, *kept))
                leaves.append((number, when, _entry(actors[at], when, root)))
            rows.executemany("INSERT INTO leaf VALUES (?, ?, ?)", leaves)
            rows.executemany("INSERT INTO leaf_labels VALUES (?, ?, ?)", labels)
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


def _labels(core: Any, rows: Any, keys: dict[int, Any], when: int, tokens: Any) -> tuple[bytes, tuple[bytes, bytes]]:
    from strongroom.audit.entry import labels_root
    from strongroom.seal.tokens import cmac_column
    from strongroom.seal.wrap import wrap

    day = when // DAY_MS
    if day not in keys:
        keys[day] = core.journal._day(rows, day)  # noqa: SLF001
    key, month = keys[day]
    column = cmac_column(key, np.unique(tokens, axis=0))
    root = labels_root(column)
    sealed = wrap(core.journal._month(rows, month)[:32], column.tobytes(), b"labels" + root)  # noqa: SLF001
    return root, (month, sealed)


def _index(core: Any) -> None:
    from strongroom.keymaster import logindex

    logindex.index_more(core)


def ask(base: str, what: str, *, through: bool = False) -> dict[str, Any]:
    """Ask about the stolen credential, of the last DAYS days; `through` reads all of the log, as without an index."""
    from strongroom.keymaster.logapi import Which

    with strongroom.open_keymaster(f"{base}/keys", passphrase=PASSPHRASE) as keymaster:
        if through:
            from strongroom.keymaster import logsearch

            logsearch.DENSE = 0  # type: ignore[misc]
        which = Which(of=STOLEN)
        started = time.perf_counter()
        if what == "touched":
            found: Any = keymaster.logs.touched("kit", which)
            size = sum(one.requests for one in found)
        elif what == "credential":
            size = sum(one.requests for one in keymaster.logs.touched("kit", Which(credential="0" * 32)))
        elif what == "newest":
            size = len(keymaster.logs.newest("kit", which, 20))
        elif what == "day":
            end = keymaster._core.state.read().execute("SELECT max(time) FROM leaf").fetchone()[0] / 1000  # noqa: SLF001
            size = len(keymaster.logs.persons("kit", Which(STOLEN, None, end - 86_400), "measuring"))
        else:
            size = len(keymaster.logs.persons("kit", which, "measuring"))
        return {"seconds": time.perf_counter() - started, "size": size}


if __name__ == "__main__":
    import sys

    print(json.dumps(fill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
