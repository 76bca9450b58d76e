"""Inclusion proofs in a large log: made from tiles on the disk and checked with the signed checkpoint, one by one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.frame import Report, percentile, run

if TYPE_CHECKING:
    from bench.measures import Setting

ORIGIN = "strongroom/bench"
SEED = bytes(range(32))
ENTRIES = 10_000_000
PROOFS = 2_000


def _entry(number: int) -> bytes:
    return b"%016d" % number


def proofs(folder: str, entries: int) -> dict[str, Any]:
    """Publish so many entries, then make and check proofs of some; milliseconds of each, no tile kept in between.

    Entries are short: neither making nor checking a proof depends on what stands in the others.
    """
    from strongroom.audit.log import TileLog, tile_reader
    from strongroom.audit.proof import make_proof, verify_proof
    from strongroom.seal.sign import public_key
    from strongroom.store.folder import FolderStore

    store, public = FolderStore(folder), public_key(SEED)
    log = TileLog(store, ORIGIN, SEED, public)
    started = time.perf_counter()
    text = log.publish(lambda start, stop: [_entry(n) for n in range(start, stop)], entries)
    seconds = time.perf_counter() - started
    made, whole, busy = [], [], []
    for index in np.random.default_rng(7).integers(0, entries, PROOFS).tolist():
        begun, used = time.perf_counter(), time.thread_time()
        proof = make_proof(tile_reader(store), index, entries, text)
        made.append((time.perf_counter() - begun) * 1e3)
        verify_proof(proof, _entry(index), ORIGIN, public)
        whole.append((time.perf_counter() - begun) * 1e3)
        busy.append((time.thread_time() - used) * 1e3)
    return {"seconds": seconds, "made": made, "whole": whole, "busy": busy}


def measure_proofs(setting: Setting, report: Report) -> None:
    """Proofs in a log of ten million entries, or of a tenth in a quick look."""
    entries = ENTRIES if setting.rows >= 1_000_000 else ENTRIES // 10
    folder = Path(setting.folder) / "log"
    folder.mkdir()
    found = run("proofs", [0, 1], folder=str(folder), entries=entries)
    report.rounds["proofs"] = [found]
    p50, p99 = percentile(found["whole"], 0.5), percentile(found["whole"], 0.99)
    name = f"inclusion proof made and checked, {entries:,} entries"
    busy = percentile(found["busy"], 0.99)
    report.add(f"{name}, p50", p50, unit="ms", target="5 ms", reached=p50 <= 5,
               note=f"making it: {percentile(found['made'], 0.5):.2f} ms")  # fmt: skip
    report.add(f"{name}, p99", p99, unit="ms", target="5 ms", reached=p99 <= 5,
               hindrance=f"what else the machine does: of a processor it takes {busy:.1f} ms")  # fmt: skip
    report.add("entries published as tiles", entries / found["seconds"], unit="entries/s")
    shutil.rmtree(folder, ignore_errors=True)
