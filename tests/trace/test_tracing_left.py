"""What a trace does with a budget that is nearly used up, with snapshots, and with pages that cannot be written."""

import errno

import numpy as np
import pyarrow as pa
import pytest
from small_room import person
from tracing_room import agreed, opened, trace, write

from strongroom.errors import BudgetError, ConflictError, UnavailableError
from strongroom.keymaster.tracing import fitting
from strongroom.trace.report import files
from strongroom.trace.tracing import versions
from strongroom.trace.tracing.facts import facts_of
from strongroom.trace.tracing.told import lines


@pytest.fixture
def room(tracing_template, tmp_path):
    return tracing_template.copy_to(tmp_path / "room")


def counted(keys):
    return [one["count"] for one in keys.log_entries("kit") if one["act"] == "trace" and "count" in one]


def refused(keys):
    return [one for one in keys.log_entries("kit") if one["act"] == "trace" and one["decision"] != "allowed"]


def test_as_many_are_compared_as_are_left_and_it_says_so(room, tmp_path):
    """An agreement to 40 persons and a sample of 120: 40 are charged, the same 40 again for nothing, then none."""
    sample = write(tmp_path / "s.csv", [person(n) for n in range(120)])
    other = write(tmp_path / "o.csv", [person(n) for n in range(200, 260)])
    with room.keymaster() as keys:
        asked = agreed(keys, 40)
        found = trace(room, keys, sample, approval=asked)
        assert refused(keys) == []
        again = trace(room, keys, sample, approval=asked)
        assert (found.dated.persons, found.dated.left_out) == (40, 80)
        assert (again.dated.persons, again.dated.left_out) == (40, 80)
        assert counted(keys) == [40, 40]
        third = trace(room, keys, other, approval=asked)
        assert counted(keys) == [40, 40]
    told = "\n".join(lines(facts_of(found)))
    assert "not possible: versions of 80 further persons: 40 were compared: a budget, or what was agreed to" in told
    assert third.dated is None
    assert "has 0 of 40 left and 60 more were asked for" in third.undated


def test_of_persons_with_more_versions_than_one_release_takes_fewer_are_compared(room, tmp_path, monkeypatch):
    """120 with two versions each, where 100 go at once: 50 are compared and charged, and 70 are told as left out."""
    monkeypatch.setattr(versions, "VERSIONS_MAX", 100)
    sample = write(tmp_path / "s.csv", [person(n) for n in range(120)])
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", pa.Table.from_pylist([{**person(n), "address": f"新路 {n}"} for n in range(300)]))
        found = trace(room, keys, sample)
        assert counted(keys) == [50]
    assert (found.dated.persons, found.dated.left_out) == (50, 70)


def test_keys_of_persons_who_are_left_out_are_not_released(room, tmp_path, monkeypatch):
    """Of 120 asked, the rows of 80 are missing and their keys are zeros; with enough agreed to, nobody's are."""
    sample = write(tmp_path / "s.csv", [person(n) for n in range(120)])
    seen = []
    with room.keymaster() as keys:
        own = keys.traces.versions
        monkeypatch.setattr(keys.traces, "versions", lambda *given: seen.append((given, own(*given))) or seen[-1][1])
        trace(room, keys, sample, approval=agreed(keys, 40))
        trace(room, keys, sample, approval=agreed(keys, 120))
    for (given, got), released in zip(seen, (40, 120), strict=True):
        tokens = given[3]
        gone = np.zeros(len(tokens), np.bool_)
        gone[got.missing] = True
        assert len(np.unique(tokens[~gone], axis=0)) == released
        assert len(np.unique(tokens[gone], axis=0)) == 120 - released
        for made in got.keys.values():
            assert not made[gone].any()
            assert made[~gone].any(axis=1).all()


def test_the_most_that_fits_is_found(monkeypatch):
    """For every size and every limit the first by token, and no fewer; where none is left the refusal comes out."""
    from strongroom.keymaster.behind import PersonsBehind

    rng = np.random.default_rng(5)
    for size in (1, 2, 3, 7, 64):
        tokens = rng.integers(0, 256, (size, 16), np.uint8)
        ordinals = np.arange(size, dtype=np.uint64) * np.uint64(3)
        persons = PersonsBehind(0, np.ones(size, np.bool_), np.zeros((size, 32), np.uint8), ordinals, tokens, ordinals)
        first = sorted(range(size), key=lambda at: tokens[at].tobytes())
        for limit in range(size + 2):

            def planned(_core, _rows, _limits, asked, limit=limit):
                if len(asked) > limit:
                    raise BudgetError("no", remaining=limit)
                return len(asked)

            monkeypatch.setattr(fitting, "planned", planned)
            if not limit:
                with pytest.raises(BudgetError):
                    fitting.fitting(None, None, (), persons)
                continue
            plan, fewer = fitting.fitting(None, None, (), persons)
            kept = sorted(first[:limit])
            assert plan == len(kept)
            assert fewer.distinct.tolist() == ordinals[kept].tolist()
            assert fewer.tokens.tolist() == tokens[kept].tolist()
            assert np.flatnonzero(fewer.found).tolist() == kept


def test_snapshots_stand_on_the_axis_as_long_as_the_room_has_them(room, tmp_path):
    """Numbers and times are those of the catalogue; one whose object is gone ends them."""
    from strongroom.store.base import object_name

    sample = write(tmp_path / "s.csv", [person(n) for n in range(120)])
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            for turn in range(3):
                moved = [{**person(n), "address": f"新路 {turn}-{n}"} for n in range(turn, 300, 3)]
                own.put("persons", pa.Table.from_pylist(moved))
        found = trace(room, keys, sample)
        newest = found.snapshot
        chain = chained(room, keys)
        assert facts_of(found).dating.snapshots
        told = [(one.number, round(one.at * 1e6)) for one in facts_of(found).dating.snapshots]
        period = found.dated.period
        assert told == [(n, c.snapshot.created) for n, c in sorted(chain.items()) if c.snapshot.created >= period[0]]
        assert told[-1][0] == newest
        (gone,) = room.bucket.rglob(object_name(chain[newest - 2].head.object_id).rpartition("/")[2])
        gone.unlink()
        less = facts_of(trace(room, keys, sample)).dating.snapshots
    assert [one.number for one in less] == [newest - 1, newest]


def chained(room, keys):
    """The catalogues of all snapshots by number."""
    with opened(room, keys, "ines") as own:
        reading = keys.begin_reading(actor="ines", purpose="incident", reason="r", approval=agreed(keys)).reading_id
        catalog = own._session.catalog(own._session.reading_keys(reading))
        found = {}
        while catalog.head.number:
            found[catalog.head.number] = catalog
            catalog = catalog.parent()
        keys.end_reading(reading)
    return found


def test_pages_of_the_library_are_all_there_or_none(room, tmp_path, monkeypatch):
    """Written for their owner alone; a disk that fills takes all of them, and the folder, away again."""
    with room.keymaster() as keys, opened(room, keys) as own:
        sample = write(tmp_path / "s.csv", [person(n) for n in range(60)])
        found = own.trace(sample, purpose="incident", reason="incident 7", approval=agreed(keys))
        done = own.trace_pages(found, report=tmp_path / "r.html", drafts=str(tmp_path / "drafts"))
        assert sorted(done) == sorted([tmp_path / "r.html", *(tmp_path / "drafts").iterdir()])
        assert len(done) == 7
        with pytest.raises(ConflictError, match="exists already"):
            own.trace_pages(found, report=tmp_path / "new.html", drafts=tmp_path / "drafts")
        assert not (tmp_path / "new.html").exists()
        real, written = files.write_new, []

        def full(path, text):
            if len(written) == 3:
                path.write_text(text[:100], encoding="utf-8")
                raise OSError(errno.ENOSPC, "no space")
            written.append(path)
            real(path, text)

        monkeypatch.setattr(files, "write_new", full)
        with pytest.raises(UnavailableError, match="disk is full"):
            own.trace_pages(found, report=tmp_path / "new.html", drafts=tmp_path / "more")
    assert len(written) == 3
    assert not (tmp_path / "new.html").exists()
    assert not (tmp_path / "more").exists()
