"""Sources: whatever the bytes, only rows or errors of the library come out."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import StrongroomError
from strongroom.write import sources_csv
from strongroom.write.sources import open_sources


def rows_of(data: bytes, **how) -> tuple[list[int], list[int]]:
    good, bad = [], []
    with open_sources(io.BytesIO(data), **how) as sources:
        for batch in sources:
            batch.columns.validate(full=True)
            good += batch.row_numbers().tolist()
            bad += batch.bad.rows
    return good, bad


def numbered(data: bytes, **how) -> None:
    try:
        good, bad = rows_of(data, **how)
    except StrongroomError:
        return
    assert sorted(good + bad) == list(range(1, len(good) + len(bad) + 1))


pieces = st.lists(
    st.sampled_from(
        [b"a", b",", b'"', b"\n", b"\r", b"\r\n", b"\xff", "李".encode(), "李".encode("gb18030"), b"\x00", b" "]
    ),
    max_size=60,
).map(b"".join)


@given(pieces | st.binary(max_size=200), st.sampled_from([None, "utf-8", "gb18030"]), st.sampled_from([8, 50, 1000]))
def test_arbitrary_bytes_as_csv(data, encoding, chunk):
    """Every row of any bytes has its number, once, or the library says what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_csv, "CHUNK_BYTES_MIN", chunk)
        patch.setattr(sources_csv, "CHUNK_BYTES_MAX", chunk)
        numbered(b"x,y\n" + data, format="csv", encoding=encoding)
    numbered(data, format="csv", encoding=encoding)
    numbered(data, format="csv", columns=["x", "y"], encoding=encoding)


@given(
    st.lists(
        st.sampled_from([b"{", b"}", b'"a"', b":", b"1", b"\n", b",", b"[", b"null", b"\xff", b'{"a":1}\n']),
        max_size=40,
    ).map(b"".join)
    | st.binary(max_size=100),
    st.sampled_from([None, "gb18030"]),
)
def test_arbitrary_bytes_as_json_lines(data, encoding):
    """The same for JSON Lines."""
    numbered(data, format="jsonl", encoding=encoding)
    numbered(data, format="jsonl", encoding=encoding, table_fields=["a"], needed=[])


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"PAR1"]))
def test_arbitrary_bytes_after_a_magic_number(data, magic):
    """The same for what claims to be compressed or Parquet."""
    numbered(magic + data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_as_parquet(tmp_path_factory, data):
    """A file that says it is Parquet is an InputError, not an Arrow error."""
    path = tmp_path_factory.mktemp("fuzz") / "a.parquet"
    path.write_bytes(b"PAR1" + data + b"PAR1")
    with pytest.raises(StrongroomError):
        open_sources(path)


value = st.text(st.sampled_from('ab"\n\r,; 李'), max_size=6)


@given(st.lists(st.tuples(st.text("ab", min_size=1), value, value), max_size=30), st.sampled_from([20, 64, 4096]))
def test_what_the_standard_library_writes_comes_back(rows, chunk):
    """Records written by `csv` are read as they were, however the chunks are cut."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("x", "y", "z"))
    writer.writerows(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_csv, "CHUNK_BYTES_MIN", chunk)
        patch.setattr(sources_csv, "CHUNK_BYTES_MAX", chunk)
        with open_sources(io.BytesIO(out.getvalue().encode()), format="csv", encoding="utf-8") as sources:
            got = [tuple(r.values()) for batch in sources for r in batch.columns.to_pylist()]
    assert got == [tuple(v or None for v in row) for row in rows]
