"""The collector: in memory or spilled, the same entries in the same order, and nothing plain on disk."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from catalog_kit import ROOM, TABLE, Keys, columns, keys_of_files, pairs

from strongroom.catalog.collector import CollectorLimits, SortedRuns
from strongroom.catalog.openfile import open_parquet, write_open_file
from strongroom.catalog.runs import RunPlan
from strongroom.catalog.spill import SpillFile
from strongroom.errors import IntegrityError
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, block_key
from strongroom.seal.run import Shape
from strongroom.store.base import object_name
from strongroom.store.folder import FolderStore

SHAPE = Shape(1, 0, 1, b"b" * 16)


def chunks(count, rows, persons):
    rng = np.random.default_rng(5)
    tokens = [rng.bytes(16) for _ in range(persons)]
    made = []
    for order in range(count):
        picked = [(tokens[rng.integers(persons)], b"PLAIN-%d-%d" % (order, row) + rng.bytes(40)) for row in range(rows)]
        made.append((order, picked))
    return made


def collected(tmp_path, given, limits):
    store, keys = FolderStore(tmp_path / os.urandom(4).hex()), Keys()

    def beside(run, rows):
        return write_open_file(store, keys.mint, run, rows)

    with SortedRuns(store, RunPlan(ROOM, TABLE, 1), keys.mint, on_run=beside, limits=limits) as runs:

        def add(chunk):
            order, picked = chunk
            names = pa.array([payload[:12].decode("latin1") for _, payload in picked]).dictionary_encode()
            rows = pa.RecordBatch.from_pydict({"name": names})
            runs.add(order, *columns(picked), rows)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(add, reversed(given)))
        spilled = runs._spill is not None
        entries = runs.finish([SHAPE])
    return store, keys, entries, spilled


LIMITS = {
    "memory": CollectorLimits(),
    "split": CollectorLimits(split_entries=100),
    "spilled": CollectorLimits(memory_bytes=200_000, run_bytes=150_000, run_entries=2000),
}


@pytest.mark.parametrize("name", LIMITS)
def test_collector_same_entries(tmp_path, name):
    """However it is held, the runs are disjoint, sorted, in chunk order for ties, and the open columns follow."""
    given = chunks(12, 500, 700)
    store, keys, entries, spilled = collected(tmp_path, given, LIMITS[name])
    assert spilled == (name == "spilled")
    runs = [entry for entry in entries if entry.kind == 1]
    files = [entry for entry in entries if entry.kind == KIND_OPEN_COLUMNS]
    assert len(runs) == len(files) > (name != "memory")
    assert all(a.hi < b.lo for a, b in itertools.pairwise(runs))
    found, shown = [], []
    for run, file in zip(runs, files, strict=True):
        reader = RunReader(store, run, ROOM, keys_of_files(keys))
        here = [pair for group in scan([reader]) for pair in pairs(group.columns())]
        table = open_parquet(store, file, block_key(keys[file.key_id], KIND_OPEN_COLUMNS, 0)).read()
        ranks = {token: rank for rank, token in enumerate(dict.fromkeys(token for token, _ in here))}
        assert file.open_of == run.object_id
        assert table["_person"].to_pylist() == [ranks[token] for token, _ in here]
        assert table["_row"].to_pylist() == list(range(len(here)))
        found += here
        shown += table["name"].to_pylist()
    want = sorted((pair for _, picked in given for pair in picked), key=lambda pair: pair[0])
    assert found == want
    assert shown == [payload[:12].decode("latin1") for _, payload in want]
    assert list(store.temporary_folder.iterdir()) == []


def test_collector_empty(tmp_path):
    """Nothing collected makes no run."""
    assert collected(tmp_path, [], CollectorLimits())[2] == []


def test_collector_abandoned(tmp_path):
    """A put that fails leaves no object and no temporary file."""
    store, keys = FolderStore(tmp_path / "b"), Keys()
    limits = CollectorLimits(memory_bytes=20_000)
    with pytest.raises(ZeroDivisionError), SortedRuns(store, RunPlan(ROOM, TABLE, 1), keys.mint, limits=limits) as runs:
        for order, picked in chunks(4, 100, 50):
            runs.add(order, *columns(picked))
        raise ZeroDivisionError
    assert list(store.list()) == []
    assert list(store.temporary_folder.iterdir()) == []


def test_spill_is_sealed(tmp_path):
    """The temporary file has no name and no plain bytes, and a changed segment does not open."""
    spill = SpillFile(tmp_path, os.urandom)
    picked = sorted(chunks(1, 50, 20)[0][1])
    spill.append(3, columns(picked), np.zeros(50, np.uint32), b"PLAIN ROWS")
    assert list(tmp_path.iterdir()) == []
    disk = os.pread(spill._file.fileno(), 1 << 20, 0)
    assert b"PLAIN" not in disk
    assert not any(token in disk for token, _ in picked)
    (segment,) = spill.segments
    back = spill.read(segment)
    assert pairs(back.entries) == picked
    assert back.rows.to_pybytes() == b"PLAIN ROWS"
    os.pwrite(spill._file.fileno(), bytes([disk[9] ^ 1]), 9)
    with pytest.raises(IntegrityError):
        spill.read(segment)
    spill.close()


def test_openfile_sealed(tmp_path):
    """The file shows no plain bytes, opens under its own key only, and its length is checked."""
    store, keys, entries, _ = collected(tmp_path, chunks(2, 50, 60), CollectorLimits())
    file = next(entry for entry in entries if entry.kind == KIND_OPEN_COLUMNS)
    data = store.get(object_name(file.object_id))
    assert b"PLAIN" not in data
    assert b"_person" not in data
    with pytest.raises(IntegrityError):
        open_parquet(store, file, os.urandom(32))
    store.replace(object_name(file.object_id), data[:-1])
    with pytest.raises(IntegrityError):
        open_parquet(store, file, block_key(keys[file.key_id], KIND_OPEN_COLUMNS, 0))
