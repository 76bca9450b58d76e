"""Measures cells sealed and opened on one core, against one library call for each cell.

Every round measures each contender once, in turn, so that what else the machine does falls on all alike; ratios
are medians of the rounds' ratios. Time is the processor time of the thread.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt as sodium_open,
)
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_encrypt as sodium_seal,
)

from strongroom.seal import _hazmat
from strongroom.seal.cells import batch_keys, cell_ad, open_cells, seal_cells
from strongroom.seal.entropy import random_bytes, random_keys

ROWS, CALLS, ROUNDS = 200_000, 10_000, 5
AD = cell_ad(bytes(16), bytes(16), bytes(16), 1)


def _seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _contenders(size: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name of each contender, how many cells it does, and the work."""
    keys, ordinals, offsets = random_keys(ROWS), np.arange(ROWS, dtype=np.uint64), np.arange(ROWS + 1) * size
    data = np.frombuffer(random_bytes(ROWS * size), np.uint8)
    sealed, sealed_offsets = seal_cells(keys, ordinals, data, offsets, AD)
    rows = [
        (keys[i].tobytes(), bytes(4) + i.to_bytes(8, "little"), data[i * size : (i + 1) * size].tobytes())
        for i in range(CALLS)
    ]
    cells = [sodium_seal(plain, AD, nonce, key) for key, nonce, plain in rows]
    gcm = [AESGCM(key).encrypt(nonce, plain, AD) for key, nonce, plain in rows]
    return {
        "seal": (ROWS, lambda: seal_cells(keys, ordinals, data, offsets, AD)),
        "open": (ROWS, lambda: open_cells(keys, ordinals, sealed, sealed_offsets, AD)),
        "seal, PyNaCl call": (CALLS, lambda: [sodium_seal(p, AD, n, k) for k, n, p in rows]),
        "open, PyNaCl call": (
            CALLS,
            lambda: [sodium_open(c, AD, n, k) for (k, n, _), c in zip(rows, cells, strict=True)],
        ),
        "seal, AES-GCM call": (CALLS, lambda: [AESGCM(k).encrypt(n, p, AD) for k, n, p in rows]),
        "open, AES-GCM call": (
            CALLS,
            lambda: [AESGCM(k).decrypt(n, c, AD) for (k, n, _), c in zip(rows, gcm, strict=True)],
        ),
    }


def _size(size: int) -> dict[str, object]:
    contenders = _contenders(size)
    rounds = [{name: _seconds(work) / n for name, (n, work) in contenders.items()} for _ in range(ROUNDS)]
    row: dict[str, object] = {"cell_bytes": size}
    for name in contenders:
        row[f"{name}: M cells/s"] = round(1e-6 / statistics.median(r[name] for r in rounds), 2)
    for act in ("seal", "open"):
        for other in ("PyNaCl call", "AES-GCM call"):
            ratios = [r[f"{act}, {other}"] / r[act] for r in rounds]
            row[f"{act}, times {other}"] = round(statistics.median(ratios), 1)
    return row


def _large_buffer() -> dict[str, object]:
    """OpenSSL's ChaCha20-Poly1305 over one large buffer: what the same cipher does without keys of their own."""
    plain, cipher = random_bytes(8 << 20), ChaCha20Poly1305(random_bytes(32))
    out = bytearray(len(plain) + 16)
    seconds = statistics.median(_seconds(lambda: cipher.encrypt_into(bytes(12), plain, AD, out)) for _ in range(ROUNDS))
    return {"one buffer of 8 MiB, OpenSSL: GB/s": round(len(plain) / seconds / 1e9, 2)}


def _keys() -> dict[str, object]:
    secrets = random_keys(ROWS)
    batch_keys(secrets, bytes(16), bytes(16))
    seconds = statistics.median(_seconds(lambda: batch_keys(secrets, bytes(16), bytes(16))) for _ in range(ROUNDS))
    return {"batch keys: M/s": round(ROWS / seconds / 1e6, 1)}


def run() -> list[dict[str, object]]:
    """Measure, and give one row for each size of cell, one for keys and one for the large buffer."""
    _hazmat.lanes()
    return [*(_size(size) for size in (16, 48, 160)), _keys(), _large_buffer()]


if __name__ == "__main__":
    for measured in run():
        print(json.dumps(measured))
