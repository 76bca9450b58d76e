"""Sealed texts are AES-SIV of the padded text, whatever the layout, and what was changed comes back as nothing."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.seal import siv
from strongroom.seal.derive import derive
from strongroom.seal.siv import TextSiv

VECTORS = Path(__file__).parent.parent / "vectors"
KEY, AD = bytes(range(64)), b"a column"
MANY = 30  # more than FEW_ROWS: done by the kernels


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    siv.lanes()


def _padded(text):
    return (text + b"\x80").ljust(16 * (len(text) // 16 + 1), b"\0")


def _rows(blocks, starts):
    return [blocks[a:z].tobytes() for a, z in itertools.pairwise(starts)]


def _texts(data, offsets):
    return [data[a:z].tobytes() for a, z in itertools.pairwise(offsets)]


def _sealed(rows):
    counts = np.array([len(row) // 16 for row in rows])
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16), np.concatenate([[0], np.cumsum(counts)])


def _vectors():
    for group in json.loads((VECTORS / "aes_siv_cmac_test.json").read_text())["testGroups"]:
        for t in group["tests"] if group["keySize"] == 512 else ():
            yield t["result"] == "valid", *(bytes.fromhex(t[k]) for k in ("key", "aad", "msg", "ct"))


def test_wycheproof_whole_blocks():
    """The steps of the kernels give every valid vector whose message is whole blocks, which is all they ever see."""
    seen = 0
    for valid, key, ad, plain, sealed in _vectors():
        if not valid or not plain or len(plain) % 16:
            continue
        blocks, starts = _sealed([bytes(16) + plain] * MANY)
        run, words = siv._Run(key, ad), np.array(blocks).view(np.uint64)
        state, order = run.s2v(words, starts)
        run.lanes.put_tags(state, order, starts, words)
        run.encrypt(words, starts)
        assert _rows(words.view(np.uint8), starts) == [sealed] * MANY
        seen += 1
    assert seen >= 14


def test_wycheproof_messages():
    """Of every message of a vector the padded form comes out as from the library, which holds the vectors themselves."""
    seen = 0
    for valid, key, ad, plain, _ in _vectors():
        if valid:
            want = [AESSIV(key).encrypt(_padded(plain), [ad])]
            for rows in (1, MANY):
                assert _rows(*TextSiv(key, ad).seal(pa.array([plain] * rows))) == want * rows
            seen += 1
    assert seen >= 39


def test_wycheproof_forgeries():
    """No invalid vector opens, and no valid one whose message is no padded text."""
    seen = 0
    for valid, key, ad, plain, sealed in _vectors():
        _, pad, zeros = plain.rpartition(b"\x80")
        if len(sealed) < 32 or len(sealed) % 16 or (valid and pad and len(zeros) < 16 and not zeros.strip(b"\0")):
            continue
        for rows in (1, MANY):
            data, _, bad = TextSiv(key, ad).open(*_sealed([sealed] * rows))
            assert bad.all()
            assert not len(data)
        seen += 1
    assert seen > 20


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=20), st.binary(max_size=40), st.sampled_from([1, 20]))
def test_rows_equal_the_library(texts, ad, times):
    """Every row, few or many, is what AES-SIV of the library gives for the padded text, and opens to the text."""
    texts = texts * times
    cipher, oracle = TextSiv(KEY, ad), AESSIV(KEY)
    blocks, starts = cipher.seal(pa.array(texts, pa.binary()))
    assert _rows(blocks, starts) == [oracle.encrypt(_padded(text), [ad]) for text in texts]
    data, offsets, bad = cipher.open(blocks, starts)
    assert not bad.any()
    assert _texts(data, offsets) == texts


@pytest.mark.parametrize("rows", [3, 5_000])
def test_what_was_changed_is_marked_and_comes_out_empty(rows):
    """A flipped bit anywhere in a row, another key or another string: the row is marked, and only it."""
    rng = np.random.default_rng(rows)
    texts = [rng.bytes(int(n)) for n in rng.integers(0, 60, rows)]
    cipher = TextSiv(KEY, AD)
    blocks, starts = cipher.seal(pa.array(texts, pa.binary()))
    hit = rng.random(rows) < 0.5
    changed = blocks.copy()
    for i in np.flatnonzero(hit):
        changed[rng.integers(starts[i], starts[i + 1]), rng.integers(16)] ^= np.uint8(1 << rng.integers(8))
    data, offsets, bad = cipher.open(changed, starts)
    assert (bad == hit).all()
    assert _texts(data, offsets) == [b"" if h else text for h, text in zip(hit, texts, strict=True)]
    for other in (TextSiv(KEY, b"another column"), TextSiv(KEY[::-1], AD)):
        data, offsets, bad = other.open(blocks, starts)
        assert bad.all()
        assert not len(data)


@pytest.mark.parametrize("rows", [1, MANY])
@pytest.mark.parametrize(
    "plain", [bytes(16), b"a" * 16, b"a" * 15 + b"\x81", b"\x80" + bytes(31), b"a" * 14 + b"\x80\x01"]
)
def test_a_sealed_text_without_a_pad_is_bad(rows, plain):
    """What verifies and is not a padded text, as only who has the key could make it, is bad too."""
    data, _offsets, bad = TextSiv(KEY, AD).open(*_sealed([AESSIV(KEY).encrypt(plain, [AD])] * rows))
    assert bad.all()
    assert not len(data)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_layouts(kind):
    """Every layout of strings, sliced, gives the same."""
    texts = ["", "一二三四五六", "b" * 15, "c" * 16, "d" * 40] * 20
    want = TextSiv(KEY, AD).seal(pa.array(texts[3:-2]))
    got = TextSiv(KEY, AD).seal(pa.array(texts).cast(kind)[3:-2])
    assert (got[0] == want[0]).all()
    assert (got[1] == want[1]).all()


def test_long_texts_and_many_chunks():
    """Columns of several chunks and texts of very different lengths keep their order."""
    rng = np.random.default_rng(8)
    texts = [rng.bytes(int(n)) for n in rng.integers(0, 40, 9_000)] + [rng.bytes(n) for n in (300_000, 5, 2_000_000, 0)]
    cipher, oracle = TextSiv(KEY, AD), AESSIV(KEY)
    blocks, starts = cipher.seal(pa.array(texts, pa.binary()))
    for i in (*range(0, 9_000, 997), *range(9_000, 9_004)):
        assert blocks[starts[i] : starts[i + 1]].tobytes() == oracle.encrypt(_padded(texts[i]), [AD])
    data, offsets, bad = cipher.open(blocks, starts)
    assert not bad.any()
    assert _texts(data, offsets) == texts


def test_a_token_tells_its_length_in_steps_only():
    """Texts of 0 to 15 bytes have two blocks, of 16 to 31 three."""
    _, starts = TextSiv(KEY, AD).seal(pa.array(["x" * n for n in range(32)]))
    assert np.diff(starts).tolist() == [2] * 16 + [3] * 16


def test_misuse_is_refused():
    """Keys and arrays of the wrong size, nulls and numbers are refused; no rows are no rows."""
    cipher = TextSiv(KEY, AD)
    for call in (
        lambda: TextSiv(KEY[:32], AD),
        lambda: cipher.seal(pa.array(["a", None])),
        lambda: cipher.seal(pa.array([1])),
        lambda: cipher.open(np.zeros((3, 16), np.uint8), np.array([0, 2])),
        lambda: cipher.open(np.zeros((3, 16), np.uint8), np.array([0, 1, 3])),
        lambda: cipher.open(np.zeros((3, 8), np.uint8), np.array([0, 3])),
    ):
        with pytest.raises(UsageError):
            call()
    assert cipher.seal(pa.array([], pa.string()))[0].shape == (0, 16)
    assert not len(cipher.open(np.empty((0, 16), np.uint8), np.zeros(1, np.int64))[2])


def test_derived_keys():
    """A key depends on every word, on where each ends and on its size; sizes out of range are refused."""
    key = bytes(range(32))
    keys = {derive(key, 32, *words) for words in ((b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), ())}
    assert len(keys) == 5
    assert derive(key, 64, b"abc")[:32] == derive(key, 32, b"abc")
    # RFC 5869, test case 3, expand only: no words are empty info
    prk = bytes.fromhex("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04")
    assert (
        derive(prk, 42).hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    for call in (lambda: derive(key[:31], 32), lambda: derive(key, 0), lambda: derive(key, 8161)):
        with pytest.raises(UsageError):
            call()
