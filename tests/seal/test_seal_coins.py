"""Coins of a column: what the standard says of each, and of the right frequency."""

import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.seal import coins
from strongroom.seal.coins import Throws, heads

KEY = bytes(range(32))


def one_coin(key, pool, number):
    """A coin by the words of rule 1, with the library alone."""
    mac = CMAC(algorithms.AES(key))
    mac.update(struct.pack("<I4sQ", pool, b"coin", number // 4))
    return struct.unpack("<4I", mac.finalize())[number % 4]


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)), max_size=40),
    st.binary(min_size=32, max_size=32),
)
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


@pytest.mark.parametrize(
    ("pool", "bias", "count"), [(-1, 1, 1), (1 << 32, 1, 1), (0, 0, 1), (0, 1 << 32, 1), (0, 1, -1)]
)
def test_what_is_out_of_range_is_refused(pool, bias, count):
    """A pool, bias or count that no coin is thrown for is told at once."""
    with pytest.raises(UsageError):
        list(heads(KEY, pool, bias, count))
