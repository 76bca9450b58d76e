"""Finding and merging across runs equals brute force over all entries."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "catalog"))

from catalog_kit import ROOM, TABLE, Keys, columns, keys_of_files, pairs, record

from strongroom.catalog.catalog import EMPTY_HEAD, Catalog
from strongroom.catalog.commit import CommitBuilder
from strongroom.catalog.openfile import open_parquet, write_open_file
from strongroom.catalog.runs import RunPlan, store_run
from strongroom.errors import StrongroomError
from strongroom.index.finder import Finder
from strongroom.index.merge import MergeInput, merge
from strongroom.index.records import parse_record
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.index.sums import run_sum
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, block_key
from strongroom.seal.run import Block, Shape
from strongroom.store.memory import MemoryStore

FIELD = b"f" * 16


def table(records):
    return SimpleNamespace(id=TABLE, records=records, version=1, classes=("contact", "identity"))


class Bench:
    """A room of several runs whose entries and shapes are known."""

    def __init__(self, runs=5, rows=3000, persons=2000, seed=3):
        self.store, self.keys = MemoryStore(), Keys()
        self.block_keys = keys_of_files(self.keys)
        self.catalog = Catalog(self.store, ROOM, EMPTY_HEAD, self.block_keys)
        rng = np.random.default_rng(seed)
        tokens = [rng.bytes(16) for _ in range(persons)]
        self.rows = []  # (token, batch, ordinal, cells), in commit order
        for run in range(runs):
            shapes = [Shape(1, 0, 1, bytes([run, s]) * 8) for s in range(1 + run % 3)]
            here = []
            for ordinal in range(rows):
                shape = int(rng.integers(len(shapes)))
                cells = (b"open", rng.bytes(int(rng.integers(60))), b"")
                here.append((tokens[rng.integers(persons)], shape, ordinal, cells))
            here.sort(key=lambda row: row[0])
            self.rows += [(t, shapes[s].batch, o, c) for t, s, o, c in here]
            self.put(1, None, [(t, record(s, o, *c)) for t, s, o, c in here], shapes, [r[2] for r in here])

    def put(self, kind, field, given, shapes, numbers):
        object_id = os.urandom(16)
        plan = RunPlan(ROOM, TABLE, kind, field=field)
        run = store_run(self.store, plan, object_id, self.keys.mint(kind, object_id), [columns(given)], shapes)
        builder = CommitBuilder(self.catalog)
        builder.add(run)
        if kind == 1:
            extra = {"number": pa.array(numbers), f"only{len(shapes)}": pa.array([str(n) for n in numbers])}
            builder.add(write_open_file(self.store, self.keys.mint, run, pa.table(extra)))
        head = builder.write(mint=self.keys.mint, created=1)
        self.catalog = Catalog(self.store, ROOM, head, self.block_keys, previous=self.catalog)

    def finder(self, records):
        return Finder(self.catalog, self.block_keys, lambda _id, _version: table(records))

    def expected(self, token, records):
        found = [(b, o, c) for t, b, o, c in self.rows if t == token]
        return found[-1:] if records == "one" else found


@pytest.mark.parametrize("records", ["one", "many"])
def test_finder_records(records):
    """A person's live records equal brute force: the newest only, or all in commit order; batched or one by one."""
    bench = Bench()
    finder = bench.finder(records)
    asked = [*sorted({row[0] for row in bench.rows})[:60], b"?" * 16]
    found = finder.records_of(table(records), asked)
    for token, entries in zip(asked, found, strict=True):
        assert [(e.batch, e.ordinal, e.cells) for e in entries] == bench.expected(token, records)
        assert finder.records(table(records), token) == entries


def test_many_tokens_are_looked_up_one_block_after_the_other(monkeypatch):
    """However many blocks hold them, the plain bytes of one are there at a time."""
    bench, steps = Bench(runs=1), []
    (run,) = bench.catalog.objects(TABLE, 1)
    reader = RunReader(bench.store, run, ROOM, bench.block_keys)
    opened, find = RunReader._open, Block.find
    monkeypatch.setattr(RunReader, "_open", lambda self, number, *args: steps.append(number) or opened(self, number, *args))
    monkeypatch.setattr(Block, "find", lambda self, token: steps.append("find") or find(self, token))
    tokens = sorted({row[0] for row in bench.rows})
    found = reader.lookup(tokens)
    assert [len(some) for some in found] == [sum(row[0] == token for row in bench.rows) for token in tokens]
    places = [at for at, step in enumerate(steps) if step != "find"]
    assert len(places) == run.blocks > 3
    assert all(steps[at + 1] == "find" for at in places)


def test_a_token_by_itself_is_found_as_among_others():
    """In one block or several: many entries of a person go on in the next block, or begin in the one before."""
    bench = Bench(runs=1, persons=40)
    (run,) = bench.catalog.objects(TABLE, 1)
    reader = RunReader(bench.store, run, ROOM, bench.block_keys)
    tokens = [*sorted({row[0] for row in bench.rows}), bytes(16), b"\xff" * 16]
    spans = {len(reader.tail().blocks_of(token)) for token in tokens}
    assert {0, 1, 2} <= spans
    assert [reader.lookup([token])[0] for token in tokens] == reader.lookup(tokens)


def test_finder_live_masks():
    """The masks of a table with one record per person mark just the newest entry of each."""
    bench = Bench()
    masks = bench.finder("one").live_masks(table("one"))
    newest = {row[0]: number for number, row in enumerate(bench.rows)}
    marked = np.concatenate([masks[run.object_id] for run in bench.catalog.objects(TABLE, 1)])
    assert sorted(np.flatnonzero(marked).tolist()) == sorted(newest.values())
    assert all(mask.all() for mask in bench.finder("many").live_masks(table("many")).values())


def test_finder_index_and_liveness():
    """Index entries come from every run of the field; only hits that are live rows stay."""
    bench = Bench(runs=2, rows=50, persons=30)
    values = [bytes([n]) * 16 for n in range(3)]
    for run in range(2):
        bench.put(2, FIELD, [(v, bytes([run, n]) * 22) for n, v in enumerate(values)], [], [])
    finder = bench.finder("one")
    tokens, entries = finder.index_entries(
        table("one"), SimpleNamespace(id=FIELD), np.frombuffer(values[1] + b"!" * 16, np.uint8).reshape(2, 16)
    )
    assert [t.tobytes() for t in tokens] == [values[1]] * 2
    assert [e.tobytes() for e in entries] == [bytes([0, 1]) * 22, bytes([1, 1]) * 22]
    hits = bench.rows
    found = finder.live_hits(
        table("one"),
        np.frombuffer(b"".join(row[0] for row in hits), np.uint8).reshape(-1, 16),
        np.array([int.from_bytes(row[1][:8], "little") for row in hits], np.uint64),
        np.array([row[2] for row in hits], np.uint32),
    )
    assert {(t, e.ordinal) for t, e in found} == {(t, bench.expected(t, "one")[0][1]) for t, *_ in hits}
    assert len(found) == len({row[0] for row in hits})


@pytest.mark.parametrize("newest_only", [True, False])
def test_merge_is_brute_force(newest_only):
    """Merged runs hold the same records, with shapes, open columns, counts and sums that agree with the inputs."""
    bench = Bench()
    runs = bench.catalog.objects(TABLE, 1)
    beside = {e.open_of: e for e in bench.catalog.objects(TABLE, KIND_OPEN_COLUMNS)}
    given = MergeInput(bench.store, ROOM, runs, beside, bench.block_keys)
    done = merge(
        given, RunPlan(ROOM, TABLE, 1), bench.keys.mint, newest_only=newest_only, run_entries=500, group_bytes=100_000
    )
    made = [e for e in done.entries if e.kind == 1]
    files = [e for e in done.entries if e.kind == KIND_OPEN_COLUMNS]
    assert len(made) == len(files) > 1
    want = []
    records = "one" if newest_only else "many"
    for token in sorted({row[0] for row in bench.rows}):
        want += [(token, *row) for row in bench.expected(token, records)]
    found, numbers = [], []
    read = written = 0
    for run, file in zip(made, files, strict=True):
        reader = RunReader(bench.store, run, ROOM, bench.block_keys)
        for group in scan([reader]):
            for token, payload in pairs(group.columns()):
                e = parse_record(payload, reader.tail().shapes, lambda _v: 3)
                found.append((token, e.batch, e.ordinal, e.cells))
        opened = open_parquet(bench.store, file, block_key(bench.keys[file.key_id], KIND_OPEN_COLUMNS, 0)).read()
        numbers += opened["number"].to_pylist()
        assert opened["_row"].to_pylist() == list(range(run.entries))
        assert opened["_person"].to_pylist()[-1] == run.persons - 1
        written += run_sum(reader).total
        assert run.commit == 5
    read = sum(run_sum(RunReader(bench.store, run, ROOM, bench.block_keys)).total for run in runs)
    assert found == want
    assert numbers == [row[2] for row in want]
    assert (done.read.entries, done.written.entries) == (len(bench.rows), len(want))
    assert (done.read.total, done.written.total) == (read % 2**128, written % 2**128)
    assert done.dropped.entries == len(bench.rows) - len(want)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda tail: bytes(7) + tail)))
def test_record_fuzz(payload):
    """Any bytes parse as a record entry or raise our error, and what parses has all the bytes."""
    try:
        entry = parse_record(payload, [Shape(1, 0, 1, bytes(16))], lambda _version: 3)
    except StrongroomError:
        return
    assert payload.endswith(b"".join(entry.cells))
    assert len(entry.cells) == 3


def test_record_long_cells():
    """Cell lengths of several bytes are read."""
    cells = (b"a" * 127, b"b" * 128, b"c" * 20_000)
    head = bytes(3) + (9).to_bytes(4, "little") + b"\x7f" + b"\x80\x01" + b"\xa0\x9c\x01"
    entry = parse_record(head + b"".join(cells), [Shape(1, 0, 1, bytes(16))], lambda _version: 3)
    assert (entry.cells, entry.ordinal) == (cells, 9)
