"""FF1: vectors of others, an implementation of its own value by value, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.seal import fpe
from strongroom.seal.fpe import Ff1, Permutation, shape_of

VECTORS = Path(__file__).parent.parent / "vectors"
KEY = bytes(range(32))
MANY = 40  # more than FEW_ROWS: done in columns


def _numerals(text):
    return [int(c, 36) for c in text]


def _ff1(key, radix, tweak, x):
    """Algorithm 7 of SP 800-38G, written from the standard's text for one value with numbers of any length."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    n, t = len(x), len(tweak)
    u, v = n // 2, n - n // 2

    def num(s):
        return sum(d * radix**i for i, d in enumerate(reversed(s)))

    def digits(value, m):
        return [value // radix**i % radix for i in range(m - 1, -1, -1)]

    a, b = x[:u], x[u:]
    width = math.ceil((radix**v - 1).bit_length() / 8)
    d = 4 * math.ceil(width / 4) + 4
    p = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big") + t.to_bytes(4, "big")
    for i in range(10):
        q = tweak + bytes((-t - width - 1) % 16) + bytes([i]) + num(b).to_bytes(width, "big")
        r = bytes(16)
        for at in range(0, len(p + q), 16):
            r = aes.update(bytes(m ^ n for m, n in zip(r, (p + q)[at : at + 16], strict=True)))
        s = r
        for j in range(1, math.ceil(d / 16)):
            s += aes.update(bytes(m ^ n for m, n in zip(r, j.to_bytes(16, "big"), strict=True)))
        m = u if i % 2 == 0 else v
        a, b = b, digits((num(a) + int.from_bytes(s[:d], "big")) % radix**m, m)
    return a + b


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    fpe.lanes()


_KEY_128 = "2B7E151628AED2A6ABF7158809CF4F3C"
_KEY_192 = _KEY_128 + "EF4359D8D580AA4F"
_KEY_256 = _KEY_192 + "7F036D6F04FC6A94"
_DIGITS, _TWEAK, _LONG, _LONG_TWEAK = (
    "0123456789",
    "39383736353433323130",
    "0123456789abcdefghi",
    "3737373770717273373737",
)


@pytest.mark.parametrize(
    ("key", "radix", "tweak", "plain", "sealed"),
    [
        (_KEY_128, 10, "", _DIGITS, "2433477484"),
        (_KEY_128, 10, _TWEAK, _DIGITS, "6124200773"),
        (_KEY_128, 36, _LONG_TWEAK, _LONG, "a9tv40mll9kdu509eum"),
        (_KEY_192, 10, "", _DIGITS, "2830668132"),
        (_KEY_192, 10, _TWEAK, _DIGITS, "2496655549"),
        (_KEY_192, 36, _LONG_TWEAK, _LONG, "xbj3kv35jrawxv32ysr"),
        (_KEY_256, 10, "", _DIGITS, "6657667009"),
        (_KEY_256, 10, _TWEAK, _DIGITS, "1001623463"),
        (_KEY_256, 36, _LONG_TWEAK, _LONG, "xs8a0azh2avyalyzuwd"),
    ],
)
def test_samples_of_the_standard(key, radix, tweak, plain, sealed):
    """The nine samples that NIST publishes with FF1 hold, alone and in a column, in both directions."""
    cipher = Ff1(bytes.fromhex(key), radix, len(plain), bytes.fromhex(tweak))
    for rows in (1, MANY):
        column = np.tile(np.array(_numerals(plain), np.uint8), (rows, 1))
        want = np.tile(np.array(_numerals(sealed), np.uint8), (rows, 1))
        assert (cipher.encrypt(column) == want).all()
        assert (cipher.decrypt(want) == column).all()


def test_wycheproof():
    """Every vector holds alone; what fits a column in a column; what is invalid, or has too few values, is refused."""
    seen = {"alone": 0, "column": 0, "refused": 0}
    for t in json.loads((VECTORS / "aes_ff1_test.json").read_text()):
        key, tweak, radix, plain = bytes.fromhex(t["key"]), bytes.fromhex(t["tweak"]), t["radix"], t["msg"]
        fits = t["result"] == "valid" and radix ** len(plain) >= 10**6
        if not fits:
            with pytest.raises((UsageError, OverflowError)):  # numpy itself refuses -1 and 65,536
                Ff1(key, radix, len(plain), tweak).encrypt(np.array([plain], np.uint16))
            seen["refused"] += 1
            continue
        cipher, row = Ff1(key, radix, len(plain), tweak), np.array([plain], np.uint16)
        assert cipher.encrypt(row)[0].tolist() == t["ct"]
        assert (cipher.decrypt(cipher.encrypt(row)) == row).all()
        seen["alone"] += 1
        column = np.repeat(row, MANY, 0)
        if radix ** (len(plain) - len(plain) // 2) >= 2**63:
            with pytest.raises(UsageError, match="too long for a column"):
                cipher.encrypt(column)
            continue
        assert (cipher.encrypt(column) == t["ct"]).all()
        assert (cipher.decrypt(np.array([t["ct"]] * MANY, np.uint16)) == column).all()
        seen["column"] += 1
    assert seen["alone"] > 1_000
    assert seen["column"] > 700
    assert seen["refused"] >= 27


@given(st.data())
def test_columns_are_the_standard_value_by_value(data):
    """Any radix, length, key and tweak: each row of a column is what the algorithm gives for it alone."""
    radix = data.draw(st.sampled_from([2, 3, 10, 16, 36, 62, 255, 256, 1000, 65_535, 65_536]) | st.integers(2, 65_536))
    least = next(n for n in range(2, 99) if radix**n >= 10**6)
    most = next(n for n in range(2, 999) if radix ** (n + 1 - (n + 1) // 2) >= 2**63)
    length = data.draw(st.integers(least, most))
    key = data.draw(st.sampled_from([16, 24, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)))
    tweak = data.draw(st.binary(max_size=40))
    numeral = st.integers(0, radix - 1) | st.sampled_from([0, radix - 1])
    rows = data.draw(st.lists(st.lists(numeral, min_size=length, max_size=length), min_size=1, max_size=8))
    want = [_ff1(key, radix, tweak, row) for row in rows]
    cipher, kind = Ff1(key, radix, length, tweak), np.uint8 if radix <= 256 else np.uint16
    for times in (1, 6):
        column = np.array(rows * times, kind)
        assert cipher.encrypt(column).tolist() == want * times
        assert cipher.decrypt(np.array(want * times, kind)).tolist() == rows * times
        assert cipher.encrypt(np.asfortranarray(column)).tolist() == want * times
    if radix**length <= 2**64:

        def number(row):
            return sum(d * radix**i for i, d in enumerate(reversed(row)))

        numbers = np.array([number(row) for row in rows * 6], np.uint64)
        assert cipher.encrypt_numbers(numbers).tolist() == [number(row) for row in want * 6]
        assert (cipher.decrypt_numbers(cipher.encrypt_numbers(numbers)) == numbers).all()


@given(st.integers(10**6, 2**64), st.data())
def test_a_permutation_stays_below_its_size(size, data):
    """Numbers below any size come out below it, no two alike, the same few or many, and go back."""
    numbers = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=60, unique=True))
    few, many = numbers[:4], np.array(numbers, np.uint64)
    cipher = Permutation(KEY, size, b"tweak")
    sealed = cipher.encrypt(many)
    assert int(sealed.max()) < size
    assert len(set(sealed.tolist())) == len(numbers)
    assert cipher.encrypt(np.array(few, np.uint64)).tolist() == sealed[:4].tolist()
    assert cipher.decrypt(sealed).tolist() == numbers


def test_a_permutation_of_a_million_hits_every_number_once():
    """Over its whole domain the walked cipher is a permutation."""
    size = 1_000_003
    radix, length = shape_of(size)
    assert (radix, length) == (1001, 2)
    sealed = Permutation(KEY, size).encrypt(np.arange(size, dtype=np.uint64))
    assert (np.sort(sealed) == np.arange(size)).all()


@pytest.mark.parametrize("size", [10**6, 2**32 - 1, 2**32, 2**32 + 1, 7 * 10**9, 10**16, 2**64 - 1, 2**64])
def test_shapes_are_the_least(size):
    """The radix is the least whose strings of 2 or 4 numerals hold the size."""
    radix, length = shape_of(size)
    assert radix <= 65_536
    assert (radix - 1) ** length < size <= radix**length


def test_long_columns_keep_their_order():
    """A column of several chunks is each row alone, and keys and tweaks tell results apart."""
    rows = np.random.default_rng(3).integers(0, 10, (20_000, 11), dtype=np.uint8)
    sealed = Ff1(KEY, 10, 11, b"a").encrypt(rows)
    for i in (0, 8191, 8192, 19_999):
        assert sealed[i].tolist() == _ff1(KEY, 10, b"a", rows[i].tolist())
    assert (Ff1(KEY, 10, 11, b"b").encrypt(rows) != sealed).any(axis=1).all()
    assert (Ff1(KEY[::-1], 10, 11, b"a").encrypt(rows) != sealed).any(axis=1).all()
    assert Ff1(KEY, 10, 11).encrypt(rows[:0]).shape == (0, 11)


def test_misuse_is_refused():
    """Keys, radixes, lengths, domains, shapes and numerals out of range are refused, and no message holds a numeral."""
    cipher, million = Ff1(KEY, 10, 11), Permutation(KEY, 10**6)
    bad = np.full((3, 11), 77, np.uint8)
    for call in (
        lambda: Ff1(KEY[:31], 10, 11),
        lambda: Ff1(KEY, 1, 40),
        lambda: Ff1(KEY, 65_537, 4),
        lambda: Ff1(KEY, 10, 5),
        lambda: Ff1(KEY, 10, 5_000),
        lambda: Ff1(KEY, 999, 2),
        lambda: Ff1(KEY, 10, 11, bytes(70_000)),
        lambda: cipher.encrypt(bad),
        lambda: cipher.decrypt(np.repeat(bad, 20, 0)),
        lambda: cipher.encrypt(bad[:, :10]),
        lambda: cipher.encrypt(bad.astype(np.int64)),
        lambda: cipher.encrypt_numbers(np.array([10**11], np.uint64)),
        lambda: cipher.encrypt_numbers(np.array([1], np.int64)),
        lambda: Ff1(KEY, 10, 20).encrypt_numbers(np.array([1], np.uint64)),
        lambda: Permutation(KEY, 999_999),
        lambda: Permutation(KEY, 2**64 + 1),
        lambda: million.encrypt(np.array([10**6], np.uint64)),
        lambda: million.decrypt(np.full(50, 10**6, np.uint64)),
    ):
        with pytest.raises(UsageError) as error:
            call()
        assert "77" not in str(error.value)
    assert "99" not in repr(Ff1(b"9" * 32, 10, 11))
