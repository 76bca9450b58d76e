"""Cells: vectors of others, both paths against each other and against two libraries, and what must not open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_aead_chacha20poly1305_ietf_encrypt as sodium_seal

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import _hazmat, cells

VECTORS = Path(__file__).parent.parent / "vectors"
AD = cells.cell_ad(b"r" * 16, b"t" * 16, b"c" * 16, 7)
LIBRARY, LANES = 1 << 60, 0


@pytest.fixture(params=[LIBRARY, LANES], ids=["library", "lanes"])
def path(request, monkeypatch):
    """Send every column through one of the two paths."""
    _take(monkeypatch, request.param)
    return request.param


def _take(monkeypatch, rows):
    monkeypatch.setattr(cells, "LANES_ROWS_MIN", rows)
    monkeypatch.setattr(cells, "LANES_ROWS_MIN_LOADED", rows)
    monkeypatch.setattr(cells, "DERIVE_ROWS_MIN_LOADED", rows)


def _random_column(seed, rows, low, high, lead=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(low, high + 1, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) + lead
    data = rng.integers(0, 256, int(offsets[-1]), dtype=np.uint8)
    keys = rng.integers(0, 256, (rows, 32), dtype=np.uint8)
    return keys, rng.integers(0, 2**64 - 1, rows, dtype=np.uint64), data, offsets


def _row(data, offsets, i):
    return data[offsets[i] : offsets[i + 1]].tobytes()


def _wycheproof():
    for group in json.loads((VECTORS / "chacha20_poly1305_test.json").read_text())["testGroups"]:
        if group["ivSize"] == 96 and group["keySize"] == 256 and group["tagSize"] == 128:
            for t in group["tests"]:
                sealed = bytes.fromhex(t["ct"] + t["tag"])
                yield *(bytes.fromhex(t[k]) for k in ("key", "iv", "aad", "msg")), sealed, t["result"] == "valid"


def test_wycheproof_library():
    """Every valid vector seals and opens, every invalid one is refused."""
    count = 0
    for key, nonce, ad, plain, sealed, valid in _wycheproof():
        count += 1
        if valid:
            assert _hazmat.chacha20_poly1305_seal(key, nonce, plain, ad) == sealed
            assert _hazmat.chacha20_poly1305_open(key, nonce, sealed, ad) == plain
        else:
            with pytest.raises(IntegrityError):
                _hazmat.chacha20_poly1305_open(key, nonce, sealed, ad)
    assert count > 250


def test_wycheproof_columns(path):
    """Vectors whose nonce is a row ordinal agree as columns of twenty equal rows."""
    count = 0
    for key, nonce, ad, plain, sealed, valid in _wycheproof():
        if nonce[:4] != bytes(4):
            continue
        count += 1
        n = 20
        keys = np.tile(np.frombuffer(key, np.uint8), (n, 1))
        ordinals = np.full(n, int.from_bytes(nonce[4:], "little"), np.uint64)
        data, offsets = np.frombuffer(sealed * n, np.uint8), np.arange(n + 1) * len(sealed)
        out, out_offsets, bad = cells.open_cells(keys, ordinals, data, offsets, ad)
        assert bad.all() == (not valid)
        assert bad.any() == (not valid)
        if valid:
            assert out.tobytes() == plain * n
            again = cells.seal_cells(keys, ordinals, out, out_offsets, ad)[0]
            assert again.tobytes() == sealed * n
        else:
            assert not out.any()
    assert count > 0


def test_rfc_8439_aead_text(path):
    """A key, text and nonce of the RFC's kind give what libsodium gives, in every lane."""
    keys, ordinals, data, offsets = _random_column(1, 37, 0, 5000)
    out, at = cells.seal_cells(keys, ordinals, data, offsets, AD)
    for i in range(37):
        nonce = bytes(4) + int(ordinals[i]).to_bytes(8, "little")
        assert _row(out, at, i) == sodium_seal(_row(data, offsets, i), AD, nonce, keys[i].tobytes())


@pytest.mark.parametrize(
    ("rows", "low", "high"), [(1, 5, 5), (16, 64, 64), (17, 48, 48), (100, 0, 0), (5000, 0, 200), (300, 0, 5000)]
)
def test_lanes_equal_library(monkeypatch, rows, low, high):
    """Both paths give the same bytes, whatever the lengths, with rows skipped and data not starting at zero."""
    keys, ordinals, data, offsets = _random_column(rows, rows, low, high, lead=5)
    skip = np.random.default_rng(2).random(rows) < 0.2
    results = []
    for taken in (LIBRARY, LANES):
        _take(monkeypatch, taken)
        out, at = cells.seal_cells(keys, ordinals, data, offsets, AD, skip)
        plain, back, bad = cells.open_cells(keys, ordinals, out, at, AD)
        assert not bad.any()
        assert all(_row(plain, back, i) == (b"" if skip[i] else _row(data, offsets, i)) for i in range(rows))
        results.append((out.tobytes(), at.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 53, 64, 100])
def test_any_associated_data(path, size):
    """Associated data of any length are what the `cryptography` library makes of them."""
    keys, ordinals, data, offsets = _random_column(size, 20, 0, 80)
    ad = os.urandom(size)
    out, at = cells.seal_cells(keys, ordinals, data, offsets, ad)
    nonce = bytes(4) + int(ordinals[3]).to_bytes(8, "little")
    assert _row(out, at, 3) == ChaCha20Poly1305(keys[3].tobytes()).encrypt(nonce, _row(data, offsets, 3), ad)


def test_bad_rows_are_marked_and_zero(path):
    """A flipped bit anywhere in a row marks that row only, and nothing of it comes out."""
    rows = 200
    keys, ordinals, data, offsets = _random_column(3, rows, 0, 150)
    sealed, at = cells.seal_cells(keys, ordinals, data, offsets, AD)
    rng = np.random.default_rng(4)
    hit = rng.choice(rows, 60, replace=False)
    for i in hit:
        sealed[rng.integers(at[i], at[i + 1])] ^= np.uint8(1 << rng.integers(8))
    plain, back, bad = cells.open_cells(keys, ordinals, sealed, at, AD)
    assert sorted(np.flatnonzero(bad)) == sorted(hit)
    for i in range(rows):
        text = _row(data, offsets, i)
        assert _row(plain, back, i) == (bytes(len(text)) if bad[i] else text)


def test_wrong_key_ordinal_or_context(path):
    """Another key, ordinal or associated data opens no row."""
    keys, ordinals, data, offsets = _random_column(5, 40, 1, 90)
    sealed, at = cells.seal_cells(keys, ordinals, data, offsets, AD)
    assert cells.open_cells(np.roll(keys, 1, 0), ordinals, sealed, at, AD)[2].all()
    assert cells.open_cells(keys, ordinals + np.uint64(1), sealed, at, AD)[2].all()
    assert cells.open_cells(keys, ordinals ^ np.uint64(1 << 40), sealed, at, AD)[2].all()
    assert cells.open_cells(keys, ordinals, sealed, at, AD[:-1] + b"\1")[2].all()


def test_empty_and_short_cells(path):
    """Empty cells stay empty; cells too short for a tag are bad and empty."""
    keys, ordinals = np.zeros((60, 32), np.uint8), np.arange(60)
    lengths = np.arange(60) % 16
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    plain, at, bad = cells.open_cells(keys, ordinals, np.zeros(int(offsets[-1]), np.uint8), offsets, AD)
    assert plain.size == 0
    assert not at.any()
    assert (bad == (lengths > 0)).all()


def test_read_only_and_no_rows(path):
    """Arrays that cannot be written and columns of no rows are taken."""
    keys, ordinals, data, offsets = _random_column(6, 50, 0, 60)
    for array in (keys, ordinals, data, offsets):
        array.flags.writeable = False
    sealed, at = cells.seal_cells(keys, ordinals, data, offsets, AD)
    assert not cells.open_cells(keys, ordinals, sealed, at, AD)[2].any()
    assert cells.batch_keys(keys, b"c" * 16, b"b" * 16).shape == (50, 32)
    out, at = cells.seal_cells(keys[:0], ordinals[:0], data[:0], np.zeros(1, np.int64), AD)
    assert out.size == 0
    assert at.tolist() == [0]
    assert cells.derive(keys[:0], b"c" * 16).shape == (0, 32)


def test_one_cell_equals_column(path):
    """One cell is sealed and opened as a row of a column is."""
    keys, _, data, offsets = _random_column(7, 20, 0, 60)
    ordinals = np.arange(20, dtype=np.uint64) + np.uint64(2**32 - 10)
    sealed, at = cells.seal_cells(keys, ordinals, data, offsets, AD)
    for i in range(20):
        one = cells.seal_cell(keys[i].tobytes(), int(ordinals[i]), _row(data, offsets, i), AD)
        assert one == _row(sealed, at, i)
        assert cells.open_cell(keys[i].tobytes(), int(ordinals[i]), one, AD) == _row(data, offsets, i)
        with pytest.raises(IntegrityError):
            cells.open_cell(keys[i].tobytes(), int(ordinals[i]) + 1, one, AD)


def test_hchacha20_vector(path):
    """HChaCha20 gives the key of draft-irtf-cfrg-xchacha-03 section 2.2.1."""
    keys = np.tile(np.arange(32, dtype=np.uint8), (20, 1))
    label = bytes.fromhex("000000090000004a0000000031415927")
    want = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert {row.tobytes().hex() for row in cells.derive(keys, label)} == {want}


def test_derive_paths_agree(monkeypatch):
    """Both paths derive the same keys, with one label or one for each row; two steps are two steps."""
    rng = np.random.default_rng(8)
    secrets, labels = (rng.integers(0, 256, (83, w), dtype=np.uint8) for w in (32, 16))
    results = []
    for taken in (LIBRARY, LANES):
        _take(monkeypatch, taken)
        two = cells.derive(cells.derive(secrets, b"c" * 16), labels)
        assert (cells.batch_keys(secrets, b"c" * 16, labels) == two).all()
        results.append((two.tobytes(), cells.batch_keys(secrets, b"c" * 16, b"b" * 16).tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("rows", [0, 1, 2, 40])
@pytest.mark.parametrize("sets", [0, 1, 3])
def test_several_compartments_at_once_are_each_alone(path, rows, sets):
    """Keys of several compartments made together are those of each compartment made alone."""
    rng = np.random.default_rng(9)
    secrets, batches = (rng.integers(0, 256, (rows, w), dtype=np.uint8) for w in (32, 16))
    compartments = [bytes([number]) * 16 for number in range(sets)]
    found = cells.batch_keys_of(secrets, compartments, batches)
    assert len(found) == sets
    for keys, compartment in zip(found, compartments, strict=True):
        assert (keys == cells.batch_keys(secrets, compartment, batches)).all()
        assert keys.shape == (rows, 32)


def test_misuse_is_refused():
    """Shapes that do not agree and offsets outside the data are refused before any kernel runs."""
    keys, ordinals, data, offsets = _random_column(9, 4, 5, 5)
    wrong = offsets.copy()
    wrong[2] = wrong[4] + 1
    for call in (
        lambda: cells.seal_cells(keys[:, :31], ordinals, data, offsets, AD),
        lambda: cells.seal_cells(keys, ordinals[:3], data, offsets, AD),
        lambda: cells.seal_cells(keys, ordinals, data[:-1], offsets, AD),
        lambda: cells.seal_cells(keys, ordinals, data, wrong, AD),
        lambda: cells.seal_cells(keys, ordinals, data, offsets - 1, AD),
        lambda: cells.seal_cells(keys, ordinals, data, offsets, AD, np.zeros(3, bool)),
        lambda: cells.seal_cells(keys, np.array([0, 1, -1, 2]), data, offsets, AD),
        lambda: cells.derive(keys, b"short"),
        lambda: cells.seal_cell(b"k", 0, b"", AD),
        lambda: cells.cell_ad(b"", b"", b"", 0),
    ):
        with pytest.raises(UsageError):
            call()


def test_other_machine_and_fresh_cache(tmp_path):
    """Compiled anew for a machine without AVX-512, the kernels give the same bytes."""
    script = (
        "import numpy as np; from strongroom.seal import cells, _hazmat; _hazmat.lanes(); r=np.random.default_rng(1);"
        "k=r.integers(0,256,(200,32),dtype=np.uint8); o=np.arange(201)*50; d=r.integers(0,256,10000,dtype=np.uint8);"
        "a=cells.seal_cells(k,np.arange(200),d,o,b'ad'); cells.LANES_ROWS_MIN_LOADED=1<<60;"
        "b=cells.seal_cells(k,np.arange(200),d,o,b'ad'); assert a[0].tobytes()==b[0].tobytes(); print('same')"
    )
    machine = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+sse4.2,+ssse3"}
    env = {**os.environ, **machine, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr[-2000:]
    assert any(tmp_path.rglob("*.nbi"))


def test_small_columns_do_not_import_numba():
    """A few rows are sealed, and their keys derived, without the import of numba."""
    script = (
        "import sys, numpy as np; from strongroom.seal import cells; k=np.zeros((60,32),np.uint8);"
        "cells.seal_cells(cells.batch_keys(k,bytes(16),bytes(16)),np.arange(60),k.reshape(-1),np.arange(61)*32,b'');"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_keys_of_many_blocks_are_those_of_each():
    """Below and above the number from which they are made together, with numbers up to the last."""
    from strongroom.errors import UsageError
    from strongroom.seal.blocks import MANY_BLOCKS, TAIL, block_key, keys_of_blocks

    key = bytes(range(32))
    for count in (0, 1, MANY_BLOCKS - 1, MANY_BLOCKS, 500):
        numbers = [(1 << 64) - 1 - 7 * n for n in range(count)]
        assert keys_of_blocks(key, 3 | TAIL, numbers) == [block_key(key, 3 | TAIL, number) for number in numbers]
    with pytest.raises(UsageError):
        keys_of_blocks(key, 3, [*range(MANY_BLOCKS), 1 << 64])
