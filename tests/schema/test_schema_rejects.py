"""Rejects in columns: what is packed comes back, and each record is JSON that says what came."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import IntegrityError
from strongroom.schema.rejects import (
    decode,
    encode,
    json_objects,
    rejects_from_batch,
    rejects_from_lines,
)


def test_rejected_rows_come_back_with_number_first_reason_and_record():
    """A batch and unreadable lines are packed together and unpacked the same."""
    columns = {"id": pa.array(["1", "2", None, "4"]), "名": pa.array(["a", 'b"\n\\', "丙", None])}
    late = np.array([False, True, True, False])
    early = np.array([False, False, True, False])
    mask = early | late
    made = rejects_from_batch(columns, mask, [(early, "id", "missing"), (late, "名", "too-long")], 11, "a.csv", b"p")
    lines = rejects_from_lines((5,), ("not valid in its encoding",), (b"\xff",), "b.csv", b"p")
    back = decode(encode([made, lines]))
    found = [(r.source, r.row, r.reason, r.field, r.put_id, r.is_record) for r in back]
    assert found == [
        ("a.csv", 12, "too-long", "名", b"p", True),
        ("a.csv", 13, "missing", "id", b"p", True),
        ("b.csv", 5, "not valid in its encoding", None, b"p", False),
    ]
    raw = [r.raw for r in back]
    assert [json.loads(r) for r in raw[:2]] == [{"id": "2", "名": 'b"\n\\'}, {"id": None, "名": "丙"}]
    assert raw[2] == b"\xff"
    assert back.counts() == {("too-long", "名"): 1, ("missing", "id"): 1, ("not valid in its encoding", ""): 1}
    assert "丙" not in repr(back) + repr(next(iter(back)))


def test_numbers_may_have_gaps_and_a_batch_may_be_sliced():
    """Row numbers are taken from the batch where rows were left out."""
    batch = pa.RecordBatch.from_pydict({"a": ["x", "y", "z"], "n": [1, 2, 3]}).slice(1)
    bad = np.array([False, True])
    made = rejects_from_batch(batch, bad, [(bad, "a", "wrong")], np.array([7, 9]), "s")
    assert [(r.row, json.loads(r.raw)) for r in made] == [(9, {"a": "z", "n": "3"})]


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), max_size=20))
def test_json_is_made_as_the_standard_library_reads_it(rows):
    """Whatever text stands in a field, its record is a JSON object with that text."""
    texts = [[None if v is None else v.encode("utf-8", "replace").decode() for v in row] for row in rows]
    columns = {"a\n": pa.array([r[0] for r in texts], pa.string()), "b": pa.array([r[1] for r in texts], pa.string())}
    found = json_objects(columns, len(rows)).to_pylist()
    assert [json.loads(f) for f in found] == [{"a\n": a, "b": b} for a, b in texts]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_an_integrity_error(data):
    """What is not packed rejects is said to be damaged."""
    with pytest.raises(IntegrityError):
        decode(data)


def test_a_packed_stream_with_a_byte_changed_or_cut_is_an_error_or_rejects():
    """Nothing but an IntegrityError comes out of damaged rejects."""
    data = encode([rejects_from_lines((5,), ("not valid in its encoding",), (b"abc",), "b.csv")])
    for at in range(0, len(data), 7):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]):
            try:
                list(decode(damaged))
            except IntegrityError:
                continue
