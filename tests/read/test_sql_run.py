"""What questions over open columns answer, and what they keep to themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from strongroom.errors import IntegrityError, UnavailableError, UsageError
from strongroom.read.sql import OpenFile, run
from strongroom.read.sqlcheck import ColumnView, TableView, check_sql

KEY = bytes(range(32))
TYPES = {"sex": "string", "city": "string", "year": "int", "height": "float", "seen": "timestamp", "born": "date"}
COLUMNS = {n: ColumnView(n, t) for n, t in TYPES.items()}
MASKED = {**COLUMNS, "city": ColumnView("city", "string", "open", "masked", "first1"),
          "born": ColumnView("born", "date", "open", "masked", "year")}  # fmt: skip


def table(n=1000, seed=1):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "sex": pa.array(np.array(["f", "m"])[rng.integers(0, 2, n)]),
            "city": pa.array([f"city{i}" for i in rng.integers(0, 20, n)]),
            "year": pa.array(rng.integers(1940, 2010, n), mask=rng.random(n) < 0.1),
            "height": pa.array(rng.normal(170, 10, n)),
            "seen": pa.array(rng.integers(1.6e15, 1.7e15, n), pa.timestamp("us", "UTC")),
            "born": pa.array(rng.integers(0, 20_000, n).astype(np.int32), pa.int32()).cast(pa.date32()),
        }
    )


def sealed(tmp_path, given, name="a", **marks):
    path = tmp_path / f"{name}.parquet"
    pq.write_table(
        given, path, compression="zstd", row_group_size=300, encryption_properties=pe.create_encryption_properties(KEY)
    )
    return OpenFile(str(path), KEY, **marks)


def ask(text, files, *, records="one", columns=COLUMNS, min_group=5, rows=False, **limits):
    view = TableView("persons", records, columns, "statistics")
    return run(check_sql(text, {"persons": view}, min_group, rows), files, **limits)


def test_groups_equal_a_count_by_hand(tmp_path):
    """Counts and averages over two sealed files are those of the rows."""
    parts = [table(seed=1), table(700, seed=2)]
    files = [sealed(tmp_path, t, str(i)) for i, t in enumerate(parts)]
    whole = pa.concat_tables(parts)
    answer = ask("select sex, count(*) n, avg(height) h, count(year) y from persons group by sex order by sex", files)
    for row in answer.table.to_pylist():
        mine = whole.filter(pa.array([s == row["sex"] for s in whole["sex"].to_pylist()]))
        assert row["n"] == len(mine)
        assert row["h"] == pytest.approx(np.mean(mine["height"].to_numpy()))
        assert row["y"] == len(mine) - mine["year"].null_count
    assert answer.suppressed == 0


def test_superseded_rows_are_not_counted(tmp_path):
    """Rows that a mark says are not live count for nothing, whatever the batch they are in."""
    given = table()
    live = np.random.default_rng(3).random(len(given)) < 0.5
    for marks in (live, pa.array(live)):
        answer = ask("select count(*) n from persons", [sealed(tmp_path, given, live=marks)])
        assert answer.table["n"].to_pylist() == [int(live.sum())]


def test_small_groups_are_dropped_and_counted():
    """A group below the minimum does not show, and having, order and limit do not see it."""
    given = pa.table({"sex": ["a"] * 7 + ["b"] * 4 + ["c"] * 6, "year": [1] * 17})
    answer = ask("select sex, count(*) n from persons group by sex order by n", [OpenFile(given)])
    assert answer.table.to_pylist() == [{"sex": "c", "n": 6}, {"sex": "a", "n": 7}]
    assert answer.suppressed == 1
    first = ask("select sex, count(*) n from persons group by sex order by n limit 1", [OpenFile(given)])
    assert first.table["sex"].to_pylist() == ["c"]
    below = ask("select sex, count(*) n from persons group by sex having count(*) < 5", [OpenFile(given)])
    assert len(below.table) == 0
    assert below.suppressed == 1


def test_nobody_and_too_few_look_the_same():
    """A question that few match and one that nobody matches have the same answer."""
    given = pa.table({"sex": ["a"] * 3 + ["b"] * 9, "year": [1] * 12})
    for shape in ("select count(*) n from persons where sex = '{}'",
                  "select sex, count(*) n from persons where sex = '{}' group by sex"):  # fmt: skip
        few, none = (ask(shape.format(sex), [OpenFile(given)]) for sex in ("a", "z"))
        assert few.table.equals(none.table)
        assert len(few.table) == 0
        assert few.suppressed == none.suppressed == 1


def test_an_aggregate_of_a_field_few_have_is_blank():
    """A sum or count of a field that too few persons of a large group have gives null."""
    given = pa.table({"sex": ["a"] * 10, "year": pa.array([1950] + [None] * 9, pa.int64())})
    answer = ask("select count(*) n, sum(year) s, count(year) c, avg(year) + 1 a from persons", [OpenFile(given)])
    assert answer.table.to_pylist() == [{"n": 10, "s": None, "c": None, "a": None}]


def test_persons_are_counted_not_rows():
    """Where a person may have many records, a group of many rows of few persons is dropped."""
    given = pa.table({"sex": ["a"] * 40 + ["b"] * 6})
    persons = np.concatenate([np.repeat([0, 1], 20), np.arange(2, 8)])
    answer = ask("select sex, count(*) n from persons group by sex", [OpenFile(given, persons=persons)], records="many")
    assert answer.table.to_pylist() == [{"sex": "b", "n": 6}]


def test_a_person_in_several_files_is_not_taken_for_several():
    """Over two files a group needs twice the minimum of persons counted file by file."""
    given = pa.table({"sex": ["a"] * 6, "_person": pa.array(range(6), pa.int32())})
    two = [OpenFile(given), OpenFile(given)]
    one = ask("select count(*) n from persons", two[:1], records="many")
    assert one.table["n"].to_pylist() == [6]
    both = ask("select count(*) n from persons", two, records="many", min_group=6)
    assert both.table["n"].to_pylist() == [12]
    assert len(ask("select count(*) n from persons", two, records="many", min_group=7).table) == 0


def test_a_mask_holds_in_every_clause(tmp_path):
    """A masked field is its mask when shown, filtered and grouped by."""
    files = [sealed(tmp_path, table())]
    shown = ask("select city, count(*) n from persons group by city", files, columns=MASKED)
    assert shown.table.to_pylist() == [{"city": "c****", "n": 1000}]
    assert len(ask("select count(*) n from persons where city = 'city3'", files, columns=MASKED).table) == 0
    years = ask("select born, count(*) n from persons where born >= '1990' group by born", files, columns=MASKED)
    assert years.table["born"].to_pylist()
    assert all(len(y) == 4 and y >= "1990" for y in years.table["born"].to_pylist())


def test_rows_say_whom_to_charge(tmp_path):
    """Rows come with the file and the place of each person, live rows only."""
    parts = [table(seed=1), table(500, seed=2)]
    live = np.arange(1000) % 2 == 0
    files = [sealed(tmp_path, parts[0], "0", live=live), sealed(tmp_path, parts[1], "1")]
    answer = ask("select year, sex from persons where year > 1999 order by height limit 50", files, rows=True)
    assert answer.table.column_names == ["year", "sex"]
    assert len(answer.table) == len(answer.files) == len(answer.rows) == 50
    for row, file, place in zip(answer.table.to_pylist(), answer.files, answer.rows, strict=True):
        assert parts[file]["year"][int(place)].as_py() == row["year"]
        assert file == 1 or live[int(place)]


@pytest.mark.parametrize(
    "condition",
    [
        "cast(sex as int) = 1",
        "year / 0 = 1",
        "year // 0 = 1",
        "year % 0 = 1",
        "year + 9223372036854775807 > 0",
        "year * 9223372036854775807 > 0",
        "abs(-9223372036854775807 - year) > 0",
        "cast(city as date) > '2020-01-01'",
        "cast(height as int) + cast(sex as double) > 0",
        "case when sex = 'f' then cast(city as int) else 1 end = 2",
    ],
)
def test_no_value_makes_an_error(tmp_path, condition):
    """Casts, divisions and overflows that fail on someone's value give null, so that failing tells nothing."""
    files = [sealed(tmp_path, table())]
    assert ask(f"select count(*) n from persons where {condition}", files).suppressed in (0, 1)
    assert ask(f"select {condition} k, count(*) n from persons group by 1", files).table is not None


def test_dates_and_times(tmp_path):
    """Parts and truncations of dates and times are those of UTC, and a text is compared as a date."""
    given = table()
    files = [sealed(tmp_path, given)]
    answer = ask("select date_trunc('year', seen) y, year(born) b, count(*) n from persons "
                 "where seen >= '2021-01-01' and born between '1980-01-01' and '1999-12-31' group by all", files,
                 min_group=2)  # fmt: skip
    assert answer.table["y"].type == pa.timestamp("us")
    assert {1980 <= b <= 1999 for b in answer.table["b"].to_pylist()} == {True}


def test_a_wrong_key_and_a_cut_file_are_integrity_errors(tmp_path):
    """A file that does not open ends in an integrity error that names the file, not its content."""
    good = sealed(tmp_path, table())
    with pytest.raises(IntegrityError):
        ask("select count(*) from persons", [OpenFile(good.source, bytes(32))])
    data = Path(good.source).read_bytes()
    with pytest.raises(IntegrityError):
        ask("select sex, count(*) from persons group by sex", [OpenFile(pa.py_buffer(data[:-9]), KEY)])
    changed = bytearray(data)
    changed[len(data) // 10] ^= 1
    with pytest.raises(IntegrityError):
        ask("select * from persons limit 1000", [OpenFile(pa.py_buffer(bytes(changed)), KEY)], rows=True)


def test_marks_of_another_length_are_refused(tmp_path):
    """Live marks that do not fit the file are an integrity error."""
    with pytest.raises(IntegrityError):
        ask("select count(*) from persons", [sealed(tmp_path, table(), live=np.ones(999, bool))])


def test_an_older_file_without_a_field_has_nulls(tmp_path):
    """A field added later is null in older files."""
    files = [sealed(tmp_path, table(), "new"), sealed(tmp_path, table().drop_columns(["city"]), "old")]
    answer = ask("select city is null c, count(*) n from persons group by 1 order by 1", files)
    assert answer.table.to_pylist() == [{"c": False, "n": 1000}, {"c": True, "n": 1000}]


def test_no_files_is_an_empty_answer():
    """A table without objects answers like one that nobody matches."""
    for text in ("select count(*) n from persons", "select sex, count(*) n from persons group by sex"):
        answer = ask(text, [])
        assert len(answer.table) == 0
        assert answer.suppressed == 1


def test_too_little_memory_and_time_end_in_unavailable(tmp_path):
    """A question that would spill, or takes too long, fails, and nothing is written to a disk."""
    n = 400_000
    given = pa.table({"city": [f"{i:040d}" for i in range(n)], "year": pa.array(np.arange(n))})
    files = [sealed(tmp_path, given)]
    before = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(UnavailableError):
        ask("select city, year, count(*) from persons group by all", files, memory_limit="16MB")
    with pytest.raises(UnavailableError):
        ask("select city, year, count(*) from persons group by all", files * 8, seconds_max=0.02, memory_limit="4GB")
    assert {p.name for p in tmp_path.iterdir()} == before


def test_the_engine_is_shut_off(tmp_path, monkeypatch):
    """Even a text of its own cannot make the engine read a file, change a setting or attach a database."""
    import duckdb

    from strongroom.read.sql import _engine

    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("a\n1\n")
    secret = pa.table({"a": [1]})
    engine = _engine("64MB", 1)
    for text in ("select * from read_csv('x.csv')", "select * from 'x.csv'", "set threads = 4", "attach 'x.db'",
                 "copy (select 1) to 'y.csv'", "install httpfs", "load httpfs", "select * from secret",
                 "set enable_external_access = true", "set temp_directory = 'x'"):  # fmt: skip
        with pytest.raises(duckdb.Error):
            engine.sql(text).fetchall()
    assert len(secret) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_errors_of_the_engine_do_not_carry_values():
    """What the engine says never leaves, not as a cause and not as a context."""
    from strongroom.read.sql import _ask, _engine, _Feed

    plan = check_sql("select count(*) from persons", {"persons": TableView("persons", "one", COLUMNS, "x")}, 5, False)
    given = pa.table({"city": ["13800138000x"]})
    with pytest.raises(UsageError) as caught:
        _ask(_engine("64MB", 1), "select cast(city as int) from data", "data", given, _Feed(plan, [], 0.0))
    assert "138" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
