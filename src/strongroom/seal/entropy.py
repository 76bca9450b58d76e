"""Draws random bytes from the operating system: the only place that does."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError


def random_bytes(n: int) -> bytes:
    """Draw `n` bytes from the operating system's generator.

    Raises:
        UsageError: `n` is negative.
    """
    if n < 0:
        raise UsageError("a negative number of random bytes was asked for")
    return os.urandom(n)


def random_keys(n: int) -> npt.NDArray[np.uint8]:
    """Draw `n` keys of 32 bytes as one writable u8[n, 32].

    Raises:
        UsageError: `n` is negative.
    """
    return np.frombuffer(bytearray(random_bytes(32 * n)), np.uint8).reshape(n, 32)
