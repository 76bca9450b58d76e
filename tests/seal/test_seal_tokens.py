"""Tokens and index entries: vectors of others, every Arrow layout, and what must not verify."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.cmac import CMAC

from strongroom.errors import UsageError
from strongroom.seal import _hazmat, tokens
from strongroom.seal._cmac import ColumnMac

VECTORS = Path(__file__).parent.parent / "vectors"
INNER, OUTER, SIV, FIELD = bytes(range(32)), bytes(range(32, 64)), bytes(range(64)), b"f" * 16


def _token(value):
    """The token of one value as the library says it: AES-256-CMAC, enciphered as one block."""
    mac = CMAC(algorithms.AES(INNER))
    mac.update(value)
    return Cipher(algorithms.AES(OUTER), modes.ECB()).encryptor().update(mac.finalize())


def _values(rows, longest=70):
    rng = np.random.default_rng(rows)
    return [rng.bytes(int(n)) for n in rng.integers(0, longest, rows)]


def _entries(rows):
    rng = np.random.default_rng(rows)
    values, subjects = (rng.integers(0, 256, (rows, 16), dtype=np.uint8) for _ in range(2))
    return values, subjects, rng.integers(0, 2**32, rows, dtype=np.uint32)


def test_wycheproof_cmac():
    """Every vector of AES-CMAC holds, one by one and as a column; wrong tags are told apart."""
    seen = 0
    for group in json.loads((VECTORS / "aes_cmac_test.json").read_text())["testGroups"]:
        if group["keySize"] not in {128, 192, 256}:
            continue
        for t in group["tests"]:
            key, message = bytes.fromhex(t["key"]), bytes.fromhex(t["msg"])
            out = np.empty((3, 16), np.uint8)
            ColumnMac(key).values(np.frombuffer(message * 3, np.uint8), np.arange(4) * len(message), out)
            tag = _hazmat.aes_cmac(key, message)
            assert {row.tobytes() for row in out} == {tag}
            assert (tag.hex() == t["tag"]) == (t["result"] == "valid")
            seen += 1
    assert seen > 300


def test_wycheproof_siv_oracle():
    """The library that entries are compared with below holds every vector of AES-SIV with keys of 64 bytes."""
    seen = 0
    for group in json.loads((VECTORS / "aes_siv_cmac_test.json").read_text())["testGroups"]:
        for t in group["tests"] if group["keySize"] == 512 else ():
            key, ad, plain, sealed = (bytes.fromhex(t[k]) for k in ("key", "aad", "msg", "ct"))
            seen += 1
            if t["result"] == "valid":
                if plain:
                    assert AESSIV(key).encrypt(plain, [ad]) == sealed
            else:
                with pytest.raises(InvalidTag):
                    AESSIV(key).decrypt(sealed, [ad])
    assert seen > 100


@pytest.mark.parametrize("rows", [1, 2, 300, 20_000])
def test_entries_equal_library(rows):
    """Entries are what AES-SIV of the library makes, and open to what was sealed."""
    values, subjects, ordinals = _entries(rows)
    sequence = 2**63 + 5
    entries = tokens.seal_index_entries(SIV, FIELD, values, subjects, sequence, ordinals)
    oracle = AESSIV(SIV)
    for i in range(0, rows, max(1, rows // 50)):
        plain = subjects[i].tobytes() + sequence.to_bytes(8, "little") + int(ordinals[i]).to_bytes(4, "little")
        assert entries[i].tobytes() == oracle.encrypt(plain, [FIELD + values[i].tobytes()])
    back, sequences, rows_back, bad = tokens.open_index_entries(SIV, FIELD, values, entries)
    assert not bad.any()
    assert (back == subjects).all()
    assert (sequences == np.uint64(sequence)).all()
    assert (rows_back == ordinals).all()


def test_changed_entries_are_bad():
    """A flipped bit, another value token, field or key marks the entry and gives zeros."""
    values, subjects, ordinals = _entries(400)
    entries = tokens.seal_index_entries(SIV, FIELD, values, subjects, 3, ordinals)
    for i in range(352):
        entries[i, i % 44] ^= np.uint8(1 << (i // 44))
    back, sequences, rows, bad = tokens.open_index_entries(SIV, FIELD, values, entries)
    assert bad[:352].all()
    assert not bad[352:].any()
    assert not back[bad].any()
    assert not sequences[bad].any()
    assert not rows[bad].any()
    assert tokens.open_index_entries(SIV, FIELD, np.roll(values, 1, 0), entries)[3].all()
    assert tokens.open_index_entries(SIV, b"g" * 16, values, entries)[3].all()
    assert tokens.open_index_entries(SIV[::-1], FIELD, values, entries)[3].all()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("longest", [1, 12, 70, 5000])
def test_layouts(kind, longest):
    """Every layout, sliced and chunked, gives the tokens of its values one by one."""
    values = _values(400, longest)
    array = pa.array(values, kind)[3:-2]
    want = b"".join(_token(v) for v in values[3:-2])
    assert tokens.tokens(INNER, OUTER, array).tobytes() == want
    chunked = pa.chunked_array([array[:7], array[7:7], array[7:]])
    assert tokens.tokens(INNER, OUTER, chunked).tobytes() == want


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["一", "b", "", "b"] * 9),
        pa.array(["一", "b", "", "b"] * 9, pa.large_string()),
        pa.array(["一", "b", "", "b"] * 9, pa.string_view()),
        pa.array(["一", "b", "", "b"] * 9).dictionary_encode(),
        pa.chunked_array([pa.array(["一", "b", "", "b"]).dictionary_encode()] * 9),
    ],
)
def test_strings(column):
    """Text is taken as UTF-8 in every layout of strings."""
    want = [_token(v.encode()) for v in ["一", "b", "", "b"] * 9]
    assert [row.tobytes() for row in tokens.tokens(INNER, OUTER, column)] == want


def test_many_rows_over_chunks():
    """Columns longer than a chunk keep their order."""
    values = [str(i) * (i % 7) for i in range(20_000)]
    got = tokens.tokens(INNER, OUTER, pa.array(values))
    for i in range(0, 20_000, 97):
        assert got[i].tobytes() == _token(values[i].encode())


def test_nulls_and_other_types_are_refused():
    """A null might have a removed value beneath it, and numbers have no one text: both are refused."""
    hidden = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\1"), pa.array([0, 1, 7], pa.int32()).buffers()[1], pa.py_buffer(b"aSECRET")]
    )
    for column in (hidden, pa.array([None], pa.string()), pa.array([1, 2]), pa.array(["a", None]).dictionary_encode()):
        with pytest.raises(UsageError) as error:
            tokens.tokens(INNER, OUTER, column)
        assert "SECRET" not in str(error.value)
    assert tokens.tokens(INNER, OUTER, pa.array([], pa.string())).shape == (0, 16)


def test_dictionary_with_null_value_is_refused():
    """A null in the dictionary is a null of the column."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    with pytest.raises(UsageError):
        tokens.tokens(INNER, OUTER, column)


def test_labels_and_rotation():
    """Labels are plain CMACs of rows, and rotation gives what the new outer key would have given."""
    for width in (16, 24):
        for count in (0, 1, 500, 20_000):
            rows = np.frombuffer(os.urandom(width * count), np.uint8).reshape(count, width)
            labels = tokens.cmac_column(INNER, rows)
            assert labels.shape == (count, 16)
            for at in {0, 77, count - 1} & set(range(count)):
                assert labels[at].tobytes() == _hazmat.aes_cmac(INNER, rows[at].tobytes())
    rows = np.frombuffer(os.urandom(24 * 500), np.uint8).reshape(500, 24)
    column = pa.array([row.tobytes() for row in rows])
    old = tokens.tokens(INNER, OUTER, column)
    assert (tokens.rotate_tokens(OUTER, INNER, old) == tokens.tokens(INNER, INNER, column)).all()
    assert (old == tokens.tokens(INNER, OUTER, column)).all()


def test_misuse_is_refused():
    """Keys and arrays of the wrong size are refused."""
    values, subjects, ordinals = _entries(3)
    for call in (
        lambda: tokens.Tokens(INNER[:16], OUTER),
        lambda: tokens.cmac_column(INNER, values.astype(np.uint16)),
        lambda: tokens.rotate_tokens(INNER, OUTER, values[:, :8]),
        lambda: tokens.seal_index_entries(SIV[:32], FIELD, values, subjects, 1, ordinals),
        lambda: tokens.seal_index_entries(SIV, FIELD, values, subjects[:2], 1, ordinals),
        lambda: tokens.seal_index_entries(SIV, FIELD, values, subjects, 2**64, ordinals),
        lambda: tokens.open_index_entries(SIV, FIELD, values, np.zeros((3, 43), np.uint8)),
    ):
        with pytest.raises(UsageError):
            call()
