"""Where the cells of many entries lie: as one by one, or an error of ours."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import IntegrityError
from strongroom.index import records
from strongroom.index.records import locate_cells, parse_record
from strongroom.seal.run import Shape
from strongroom.seal.scatter import load_kernels
from strongroom.write.assemble import varint

load_kernels()
SHAPES = (Shape(1, 0, 1, bytes(16)),)


def located(*args):
    """What both ways say: a column at a time, and by the compiled loop."""
    found = []
    for least in (0, 1_000_000):
        with patch.object(records, "LANES_FROM", least):
            try:
                found.append(locate_cells(*args))
            except IntegrityError as error:
                found.append(error)
    if any(isinstance(one, IntegrityError) for one in found):
        assert all(isinstance(one, IntegrityError) for one in found)
        raise found[0]
    assert all((one == other).all() for one, other in zip(*found, strict=True))
    return found[0]


def entry(cells):
    return bytes(7) + b"".join(varint(len(cell)) for cell in cells) + b"".join(cells)


def joined(entries):
    payload = np.frombuffer(b"".join(entries), np.uint8)
    return payload, np.cumsum([0, *map(len, entries)], dtype=np.int64)


@given(st.lists(st.lists(st.integers(0, 40_000), min_size=3, max_size=3), min_size=1, max_size=20), st.data())
def test_cells_lie_where_one_by_one_finds_them(sizes, data):
    """Any entries, any of them in any order: the cells are those of the parser of one entry."""
    entries = [entry([bytes([i % 251]) * size for i, size in enumerate(row)]) for row in sizes]
    payload, offsets = joined(entries)
    places = np.array(data.draw(st.lists(st.integers(0, len(entries) - 1), max_size=10)), np.int64)
    starts, lengths = located(payload, offsets, places, 3)
    for column, place in enumerate(places.tolist()):
        cells = parse_record(entries[place], SHAPES, lambda _version: 3).cells
        assert [
            payload[s : s + n].tobytes() for s, n in zip(starts[:, column], lengths[:, column], strict=True)
        ] == list(cells)


@given(st.binary(min_size=7, max_size=60), st.binary(min_size=7, max_size=60))
def test_any_bytes_are_refused_or_read_alike(one, other):
    """Whatever the bytes: both parsers take them or both refuse them."""
    payload, offsets = joined([bytes(3) + one[3:], bytes(3) + other[3:]])
    for place in (0, 1):
        raw = payload[offsets[place] : offsets[place + 1]].tobytes()
        try:
            cells = parse_record(raw, SHAPES, lambda _version: 2).cells
        except IntegrityError:
            with pytest.raises(IntegrityError):
                located(payload, offsets, np.array([place]), 2)
            continue
        _, lengths = located(payload, offsets, np.array([place]), 2)
        assert lengths[:, 0].tolist() == [len(cell) for cell in cells]


@pytest.mark.parametrize(
    "tail", [b"", b"\x80", b"\x80\x80\x80\x80\x80\x01", b"\x80\x00\x00", b"\xff\xff\xff\xff\x7f\x00", b"\x01\x00"]
)
def test_lengths_that_are_none_are_refused(tail):
    """Lengths cut short, too long, in a longer form, or beyond the entry."""
    payload, offsets = joined([bytes(7) + tail, entry([b"a", b"b"])])
    with pytest.raises(IntegrityError):
        located(payload, offsets, np.array([0]), 2)
    assert located(payload, offsets, np.array([1]), 2)[1].tolist() == [[1], [1]]
