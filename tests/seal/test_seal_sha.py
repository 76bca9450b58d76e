"""SHA-256 of columns against hashlib, and the tree over them against RFC 6962 written plainly."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.tlog import tree_root
from strongroom.errors import UsageError
from strongroom.seal import sha


def packed(messages):
    offsets = np.zeros(len(messages) + 1, np.int64)
    np.cumsum([len(m) for m in messages], out=offsets[1:])
    return np.frombuffer(b"".join(messages), np.uint8), offsets


@pytest.mark.parametrize("least", [1, 10**9])
def test_every_length_around_a_block_is_hashlibs(monkeypatch, least):
    """Lengths 0 to 300, and some beyond what vectors take, in a mixed order."""
    monkeypatch.setattr(sha, "LANES_FROM", least)
    rng = np.random.default_rng(5)
    lengths = rng.permutation([*range(300), 16_383, 16_384, 16_385, 40_000])
    messages = [rng.bytes(int(length)) for length in lengths]
    found = sha.digests(7, *packed(messages))
    assert [row.tobytes() for row in found] == [hashlib.sha256(b"\7" + m).digest() for m in messages]


@given(st.lists(st.binary(max_size=200), max_size=40))
def test_whatever_is_hashed_is_hashlibs(messages):
    """Any messages, through the vectors."""
    before, sha.LANES_FROM = sha.LANES_FROM, 1
    try:
        found = sha.digests(0, *packed(messages))
    finally:
        sha.LANES_FROM = before
    assert [row.tobytes() for row in found] == [hashlib.sha256(b"\0" + m).digest() for m in messages]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 4096, 5001])
def test_the_root_is_that_of_the_log(size):
    """The same tree as the log's, for sizes that are no power of two."""
    leaves = np.random.default_rng(size).integers(0, 256, (size, 32), np.uint8)
    assert sha.root_over(leaves) == tree_root([row.tobytes() for row in leaves])


def test_offsets_outside_of_the_data_are_refused():
    """Nothing beside the messages is read."""
    data = np.zeros(10, np.uint8)
    for offsets in ([0, 11], [5, 3], [-1, 4]):
        with pytest.raises(UsageError):
            sha.digests(0, data, np.array(offsets, np.int64))
