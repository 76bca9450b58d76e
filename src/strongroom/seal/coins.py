"""Throws keyed coins, a column at a time: whether a numbered thing belongs to the holder of a key.

Rules:

1. The coin of number j of pool q under a key is 32 bits: word j mod 4 (little-endian) of
   AES-256-CMAC(key, q u32 LE | "coin" | j div 4 as u64 LE) (NIST SP 800-38B: a pseudo-random function).
2. A coin is heads for a bias b (1 to 2^32 - 1) when it is below b: of probability b / 2^32 exactly.
3. One key, one holder. Coins under one key tell nothing of coins under another.

It leaves to others what the pools hold, and whose key it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.seal.tokens import cmac_column

COINS_A_BLOCK = 4
CHUNK_BLOCKS = 1 << 18  # 4 MiB of blocks at a time, whatever is asked
POOLS_MAX = 1 << 32

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
_LABEL = np.frombuffer(b"coin", np.uint32)[0]


class Throws:
    """The coins of the same numbers under one key after another: what does not depend on the key is made once.

    Args:
        pools: u32[n], the pool of each.
        numbers: u64[n], its number there. Any order; cheapest where equal pools and near numbers stand together.

    Raises:
        UsageError: The two columns are not of one length.
    """

    def __init__(self, pools: U32, numbers: U64) -> None:
        pools, numbers = np.asarray(pools, np.uint32), np.asarray(numbers, np.uint64)
        if pools.ndim != 1 or pools.shape != numbers.shape:
            raise UsageError("coins are thrown for as many pools as numbers")
        quads = numbers >> np.uint64(2)
        new = np.ones(len(numbers), np.bool_)
        new[1:] = (pools[1:] != pools[:-1]) | (quads[1:] != quads[:-1])
        self._blocks = np.empty((int(new.sum()), 4), np.uint32)
        self._blocks[:, 0] = pools[new]
        self._blocks[:, 1] = _LABEL
        self._blocks[:, 2:] = np.ascontiguousarray(quads[new]).view(np.uint32).reshape(len(self._blocks), 2)
        self._places = (np.cumsum(new) - 1) * COINS_A_BLOCK + (numbers & np.uint64(3)).astype(np.int64)

    def under(self, key: bytes) -> U32:
        """The coins u32[n] under a key (32 B)."""
        words = np.empty(self._blocks.shape, np.uint32)
        for a in range(0, len(words), CHUNK_BLOCKS):
            part = slice(a, a + CHUNK_BLOCKS)
            words[part] = cmac_column(key, self._blocks[part].view(np.uint8)).view(np.uint32)
        coins: U32 = words.reshape(-1)[self._places]
        return coins


def heads(key: bytes, pool: int, bias: int, count: int) -> Iterator[U64]:
    """The numbers below `count` whose coin is heads, ascending, in parts: a pool of any size in bounded memory.

    Args:
        key: 32 B.
        pool: u32.
        bias: Heads are coins below it, 1 to 2^32 - 1.
        count: How many numbers the pool has, below 2^64.

    Raises:
        UsageError: A number is out of range or the key has not 32 bytes.
    """
    check_coin(pool, bias, count)
    step = CHUNK_BLOCKS * COINS_A_BLOCK
    for a in range(0, count, step):
        numbers = np.arange(a, min(count, a + step), dtype=np.uint64)
        coins = Throws(np.full(len(numbers), pool, np.uint32), numbers).under(key)
        yield numbers[coins < np.uint32(bias)]


def check_coin(pool: int, bias: int, count: int) -> None:
    """Raise UsageError unless the three are in range."""
    if not 0 <= pool < POOLS_MAX or not 0 < bias < 1 << 32 or not 0 <= count < 1 << 63:
        raise UsageError("a pool is a u32, a bias 1 to 2^32 - 1, a count below 2^63")
