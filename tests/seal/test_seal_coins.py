"""Coins and derived keys: what the standards say, one by one and as columns."""

import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.seal import _hazmat, coins
from strongroom.seal.coins import Throws, heads
from strongroom.seal.derive import derive_key

KEY = bytes(range(32))
RFC5869 = [  # appendix A, the three cases of SHA-256: secret, salt, info, output
    (
        b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)),
        ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
    ),
    (
        b"\x0b" * 22, b"", b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]  # fmt: skip


def one_coin(key, pool, number):
    """A coin by the words of rule 1, with the library alone."""
    mac = CMAC(algorithms.AES(key))
    mac.update(struct.pack("<I4sQ", pool, b"coin", number // 4))
    return struct.unpack("<4I", mac.finalize())[number % 4]


@pytest.mark.parametrize(("secret", "salt", "info", "out"), RFC5869)
def test_hkdf_vectors(secret, salt, info, out):
    """HKDF gives what RFC 5869 lists."""
    assert _hazmat.hkdf_sha256(secret, salt, info, len(out) // 2).hex() == out


def test_derived_keys_differ_by_every_part():
    """Another secret, salt, part, cut between parts or length is another key; a short secret is refused."""
    base = derive_key(KEY, b"room", b"a", b"bc")
    others = [
        derive_key(KEY[::-1], b"room", b"a", b"bc"), derive_key(KEY, b"moor", b"a", b"bc"),
        derive_key(KEY, b"room", b"ab", b"c"), derive_key(KEY, b"room", b"abc"),
    ]  # fmt: skip
    assert len({base, *others}) == 5
    assert derive_key(KEY, b"room", b"a", b"bc", length=64)[:32] == base
    with pytest.raises(UsageError):
        derive_key(KEY[:31], b"room", b"a")


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)), max_size=40), st.binary(min_size=32, max_size=32))
def test_a_column_of_coins_is_coins_one_by_one(places, key):
    """In any order and with repeats, each coin is the word of the CMAC that the rule names."""
    pools = np.array([pool for pool, _ in places], np.uint32)
    numbers = np.array([number for _, number in places], np.uint64)
    assert Throws(pools, numbers).under(key).tolist() == [one_coin(key, pool, number) for pool, number in places]


def test_heads_are_the_numbers_whose_coin_is_low(monkeypatch):
    """Part by part, the numbers below the count with a coin below the bias, and no other."""
    monkeypatch.setattr(coins, "CHUNK_BLOCKS", 8)
    bias = 1 << 30
    parts = list(heads(KEY, 7, bias, 101))
    assert len(parts) == 4
    assert np.concatenate(parts).tolist() == [n for n in range(101) if one_coin(KEY, 7, n) < bias]


def test_coins_fall_evenly():
    """Over a million numbers the share of heads is the bias, within five standard deviations, for each bias."""
    thrown = Throws(np.zeros(1_000_000, np.uint32), np.arange(1_000_000, dtype=np.uint64)).under(KEY)
    for bias in (1 << 26, 1 << 30, 1 << 31, 3 << 30):
        p = bias / 2**32
        assert abs(float((thrown < bias).mean()) - p) < 5 * (p * (1 - p) / 1e6) ** 0.5


@pytest.mark.parametrize(("pool", "bias", "count"), [(-1, 1, 1), (1 << 32, 1, 1), (0, 0, 1), (0, 1 << 32, 1), (0, 1, -1)])
def test_what_is_out_of_range_is_refused(pool, bias, count):
    """A pool, bias or count that no coin is thrown for is told at once."""
    with pytest.raises(UsageError):
        list(heads(KEY, pool, bias, count))
