"""Entries that lie scattered become the same bytes by the compiled kernels as by Python."""

import numpy as np
import pytest

from strongroom.errors import UsageError
from strongroom.seal import _hazmat, run, scatter
from strongroom.seal.blocks import block_key, block_keys
from strongroom.seal.columns import sort_entries
from strongroom.seal.run import RunWriter
from strongroom.seal.scatter import scattered
from strongroom.write import assemble


def parts(count, sizes, seed, jumbo=0):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(3):
        tokens = np.frombuffer(rng.bytes(16 * count), np.uint8).reshape(count, 16).copy()
        tokens[::5] = tokens[0]
        lengths = rng.integers(*sizes, count)
        if jumbo:
            lengths[::97] = jumbo
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        made.append((tokens, np.frombuffer(rng.bytes(int(offsets[-1])), np.uint8), offsets))
    return made


def written(monkeypatch, entries, cuts, kernels):
    for module in (run, scatter):
        monkeypatch.setattr(module, "use_kernels", lambda count: bool(count) and kernels)
    out = []
    writer = RunWriter(b"k" * 32, b"r" * 16, b"o" * 16, 1, lambda data: out.append(bytes(data)))
    for order in cuts:
        writer.add_ordered(entries, order)
    return writer.finish(), b"".join(out)


@pytest.mark.parametrize(
    ("count", "sizes", "jumbo"),
    [(4000, (0, 300), 0), (4000, (44, 45), 0), (700, (0, 300), 200_000), (40, (0, 20), 2_000_000), (1, (0, 1), 0)],
)
def test_scatter_same_run(monkeypatch, count, sizes, jumbo):
    """A run has the same bytes and summary however its entries are copied, and wherever the calls are cut."""
    entries = scattered(parts(count, sizes, 1, jumbo))
    order = sort_entries(entries.tokens)
    plain = written(monkeypatch, entries, [order], kernels=False)
    assert written(monkeypatch, entries, [order], kernels=True) == plain
    third = len(order) // 3
    for kernels in (False, True):
        assert written(monkeypatch, entries, [order[:third], order[third:]], kernels) == plain


@pytest.mark.parametrize("kernels", [False, True])
def test_scatter_unsorted(monkeypatch, kernels):
    """Entries that are not in order are refused."""
    entries = scattered(parts(2000, (0, 300), 2))
    with pytest.raises(UsageError):
        written(monkeypatch, entries, [sort_entries(entries.tokens)[::-1].copy()], kernels)
    order = sort_entries(entries.tokens)
    with pytest.raises(UsageError):
        written(monkeypatch, entries, [order[4000:], order[:4000]], kernels)


def test_scatter_bounds():
    """Offsets that point outside their payload never become addresses."""
    tokens, payload, offsets = parts(50, (1, 9), 3)[0]
    shifted = offsets.copy()
    shifted[0] = -1
    for wrong in (offsets + 1, offsets[::-1].copy(), offsets[:-1], shifted):
        with pytest.raises(UsageError):
            scattered([(tokens, payload, wrong)])
    with pytest.raises(UsageError):
        scattered([(tokens, payload[:-1], offsets)])


def test_scatter_block_keys():
    """Keys of many blocks are those of each alone, whether the kernels are loaded or not."""
    want = [block_key(b"f" * 32, 2, number) for number in range(3, 60)]
    _hazmat.lanes()
    assert block_keys(b"f" * 32, 2, 3, 57) == want


@pytest.mark.parametrize("top", [1, 40, 20_000])
def test_scatter_assembled(monkeypatch, top):
    """Entries assembled by the kernel are those that Python assembles."""
    rng = np.random.default_rng(top)
    cells = []
    for most in (20, 150, 0, top):
        offsets = np.zeros(301, np.int64)
        np.cumsum(rng.integers(0, most + 1, 300), out=offsets[1:])
        cells.append((np.frombuffer(rng.bytes(int(offsets[-1])), np.uint8), offsets))
    ordinals = np.arange(300, dtype=np.uint32) + np.uint32(70_000)
    both = []
    for kernels in (False, True):
        monkeypatch.setattr(assemble, "use_kernels", lambda _, kernels=kernels: kernels)
        both.append(assemble.assemble_entries(0x123456, ordinals, cells))
    assert (both[0][0] == both[1][0]).all()
    assert (both[0][1] == both[1][1]).all()
    with pytest.raises(UsageError):
        assemble.assemble_entries(1, ordinals, [(cells[0][0][:-1], cells[0][1])])
