"""Filters of key pages: whoever is in a page passes, and both ways to probe them agree."""

import numpy as np
import pytest

from strongroom.keys import bloom
from strongroom.seal.scatter import load_kernels


@pytest.mark.parametrize("present", [0, 1, 100, 4096])
def test_the_compiled_probes_are_those_of_numpy(present, monkeypatch):
    """Tokens of the page pass all of them; of others few, and the same ones."""
    load_kernels()
    rng = np.random.default_rng(present)
    tokens = [rng.integers(0, 2**63, present, dtype=np.uint64) * np.uint64(2) for _ in range(3)]
    filters = np.stack([np.frombuffer(bloom.build(own), np.uint8) for own in tokens])
    low = np.concatenate([*tokens, rng.integers(0, 2**63, 9_000, dtype=np.uint64)])
    rows = np.concatenate([np.repeat(np.arange(3), present), np.sort(rng.integers(0, 3, 9_000))])
    compiled = bloom.contains(filters, rows, low)
    monkeypatch.setattr(bloom, "LANES_FROM", len(low) + 1)
    assert (compiled == bloom.contains(filters, rows, low)).all()
    assert compiled[: 3 * present].all()
    assert compiled[3 * present :].sum() < 60  # 1 in 1,700 at most


def test_few_tokens_are_probed_as_many_are():
    """One by one, as for a single look-up."""
    rng = np.random.default_rng(7)
    own = rng.integers(0, 2**63, 4096, dtype=np.uint64)
    held = np.frombuffer(bloom.build(own), np.uint8)
    asked = np.concatenate([own[:50], rng.integers(0, 2**63, 50, dtype=np.uint64)])
    found = bloom.contains(held[None], np.zeros(100, np.int64), asked)
    assert found.tolist() == [bloom.may_contain(held.data, 0, int(low)) for low in asked]
