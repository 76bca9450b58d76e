"""A published sample traced end to end: whose copy, what is excluded, who is in it, and silence where nothing is shown."""

import csv
import json

import pyarrow as pa
import pytest
from small_room import person
from tracing_room import PLANTED, agreed, canary, opened, plant, trace, write

from strongroom.errors import BudgetError, DeniedError, InputError
from strongroom.evidence.code import HALF, RARE
from strongroom.trace.report.facts import from_json, to_json
from strongroom.trace.tracing.facts import facts_of
from strongroom.trace.tracing.told import lines

EXTRACT = {"purpose": "extract", "reason": "study 9"}


@pytest.fixture
def room(tracing_template, tmp_path):
    return tracing_template.copy_to(tmp_path / "room")


def exported(room, keys, path, **more):
    with opened(room, keys, "ana") as own:
        wanted = {"recipient": "uni-north", **EXTRACT, **more}
        return own.export(wanted.pop("tables", "persons"), to=str(path), **wanted)


def told(traced):
    return "\n".join(lines(facts_of(traced)))


def test_a_sample_of_the_room_is_known_and_nobody_is_named(room, tmp_path):
    """No canary, no token: what is ours is shown with a bound, exports without one of its persons are excluded."""
    rows = [person(n) for n in range(0, 300, 2)]
    with room.keymaster() as keys:
        old = exported(room, keys, tmp_path / "old.csv", where="birth_year < 1990")
        whole = exported(room, keys, tmp_path / "all.csv", recipient="uni-south")
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
        facts = facts_of(found)
    assert facts.ours.by_two.shown
    assert (facts.ours.by_two.matched, facts.affected.persons, facts.affected.sure) == (150, 150, 150)
    assert facts.accused == ()
    (excluded,) = facts.excluded
    assert (excluded.export.id, excluded.export.recipient, excluded.file) == (old.export_id, "uni-north", "s.csv")
    assert rows[excluded.row - 1]["birth_year"] >= 1990
    assert all(one["birth_year"] < 1990 for one in rows[: excluded.row - 1])
    assert whole.export_id not in told(found)
    assert {(k.field, k.persons) for k in facts.affected.kinds} >= {("mobile", 150), ("name", 150), ("address", 150)}
    assert "P-0000" not in told(found)
    assert from_json(to_json(facts)) == facts


def test_one_token_names_the_export_and_the_persons_behind_tokens_are_counted(room, tmp_path):
    """Of two coded exports the one whose token leaked; a single row is enough, under any header and order."""
    with room.keymaster() as keys:
        guilty = exported(room, keys, tmp_path / "one.csv", purpose="coded")
        exported(room, keys, tmp_path / "two.csv", purpose="coded", recipient="uni-south", where="birth_year < 2005")
        header, *rest = (tmp_path / "one.csv").read_text(encoding="utf-8").splitlines()
        (tmp_path / "row.csv").write_text("\n".join([header, rest[7]]), encoding="utf-8")
        found = trace(room, keys, tmp_path / "row.csv")
        whole = trace(room, keys, tmp_path / "one.csv")
    (accused,) = facts_of(found).accused
    assert accused.export.id == guilty.export_id
    assert accused.tokens.chance < 1e-30
    assert facts_of(found).affected.persons == 1
    assert (facts_of(whole).affected.persons, facts_of(whole).affected.in_exports) == (300, 300)
    assert [one.export.id for one in facts_of(whole).accused] == [guilty.export_id]
    assert "by tokens of persons.person_id" in told(found)


def test_tokens_that_no_named_export_made_are_rows_of_their_own(room, tmp_path):
    """Beside those of an export that is named: different ones are different rows, the same one twice is one."""
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "one.csv", purpose="coded")
        with (tmp_path / "one.csv").open(encoding="utf-8", newline="") as file:
            made = [row["person_id"] for row in csv.DictReader(file)][:10]
        rows = [*made, *(f"t1{n:064x}" for n in range(1, 11)), f"t1{1:064x}"]
        found = trace(room, keys, write(tmp_path / "s.csv", [{"person_id": token, "x": "a"} for token in rows]))
    assert (found.repeated, found.ours.rows, found.ours.by_one.matched) == (1, 21, 10)


def test_canaries_name_the_guilty_and_spare_the_innocent(room, tmp_path):
    """A sample of real persons and of the canaries that one export holds; canaries are no persons, and exclude nobody."""
    with room.keymaster() as keys:
        codes = plant(room, keys, PLANTED, RARE)
        ids = [exported(room, keys, tmp_path / f"{n}.csv", where=f"birth_year < {2005 + n}").export_id for n in range(3)]
        rows = [person(n) for n in range(60) if person(n)["birth_year"] < 2005]
        rows += [canary(n) for n in codes.held(ids[1])]
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
        silent = trace(room, keys, write(tmp_path / "t.csv", rows[:60]))
    facts = facts_of(found)
    assert [one.export.id for one in facts.accused] == [ids[1]]
    held = len(codes.held(ids[1]))
    assert (facts.accused[0].canaries.held, facts.weighing.canaries) == (held, held)
    assert facts.accused[0].canaries.log_e >= facts.weighing.threshold
    assert facts.affected.persons == len(rows) - held
    assert facts.excluded == ()
    assert facts_of(silent).accused == ()


def test_canaries_alone_or_planted_to_frame_below_the_bound_name_nobody(room, tmp_path):
    """A few canaries of an export, which somebody planted: below the bound no name, and no share either."""
    with room.keymaster() as keys:
        codes = plant(room, keys, 400, HALF)
        one = exported(room, keys, tmp_path / "a.csv").export_id
        exported(room, keys, tmp_path / "b.csv", recipient="uni-south")
        rows = [canary(n) for n in codes.held(one)[:20]]
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
    facts = facts_of(found)
    assert (facts.accused, facts.affected.persons, facts.weighing.canaries) == ((), 0, 20)
    assert one not in told(found)
    assert one not in to_json(facts).decode()


def test_exports_whose_code_was_opened_are_not_weighed(room, tmp_path):
    """Whoever saw a row can plant what it holds: the same sample names nobody then."""
    with room.keymaster() as keys:
        codes = plant(room, keys, PLANTED, RARE)
        one = exported(room, keys, tmp_path / "a.csv").export_id
        sample = write(tmp_path / "s.csv", [canary(n) for n in codes.held(one)])
        assert [a.export.id for a in facts_of(trace(room, keys, sample)).accused] == [one]
        codes.shut.add(bytes.fromhex(one))
        facts = facts_of(trace(room, keys, sample))
    assert (facts.accused, facts.weighing.opened) == ((), 1)


def test_versions_tell_of_when_a_sample_is(room, tmp_path, monkeypatch):
    """Three states of the same people, days apart: a sample of the second is dated between the second and the third."""
    day, clock = 86_400.0, [0.0]
    with room.keymaster() as keys:
        clock[0] = keys._core.clock()
        keys._core.clock = keys._core.journal._clock = lambda: clock[0]
        states = []
        for turn in range(1, 4):
            clock[0] += day
            moved = [{**person(n), "address": f"新路 {turn}-{n}"} for n in range(300) if n % 3 == turn % 3]
            with opened(room, keys, "kit") as own:
                monkeypatch.setattr(own._session, "now", lambda: clock[0])
                own.put("persons", pa.Table.from_pylist(moved))
            before = states[-1][1] if states else {n: person(n) for n in range(300)}
            states.append((clock[0], {**before, **{int(m["person_id"][2:]): m for m in moved}}))
        clock[0] += day
        sample = write(tmp_path / "s.csv", [states[1][1][n] for n in range(0, 300, 2)])
        with opened(room, keys) as own:
            monkeypatch.setattr(own._session, "now", lambda: clock[0])
            found = own.trace(sample, purpose="incident", reason="incident 7", approval=agreed(keys))
        told_of = [e for e in keys.log_entries("kit") if e["act"] == "trace" and "count" in e]
    dating = facts_of(found).dating
    assert dating.claimed, dating.why
    assert dating.likely[0].start == pytest.approx(states[1][0], abs=1)
    assert dating.likely[-1].stop == pytest.approx(states[2][0], abs=1)
    assert [e["count"] for e in told_of] == [150]


@pytest.fixture
def clocked(room, monkeypatch):
    """A keymaster and writers that share a clock, and the clock: a list of one number."""
    from functools import partial

    from strongroom.write import compact, put

    with room.keymaster() as keys:
        clock = [keys._core.clock()]
        keys._core.clock = keys._core.journal._clock = lambda: clock[0]
        monkeypatch.setattr(put, "put", partial(put.put, now=lambda: clock[0]))
        monkeypatch.setattr(compact, "compact", partial(compact.compact, now=lambda: clock[0], keep_seconds=0.0))
        yield keys, clock


def dated(room, keys, clock, monkeypatch, sample):
    with opened(room, keys) as own:
        monkeypatch.setattr(own._session, "now", lambda: clock[0])
        found = own.trace(sample, purpose="incident", reason="incident 7", approval=agreed(keys))
    return facts_of(found).dating


def test_a_room_put_anew_every_night_and_compacted_dates_nothing(room, clocked, tmp_path, monkeypatch):
    """The same values, the older records merged away: a sample is not dated to the night of the last put."""
    keys, clock = clocked
    with opened(room, keys, "kit") as own:
        for _ in range(3):
            clock[0] += 86_400.0
            own.put("persons", pa.Table.from_pylist([person(n) for n in range(300)]))
            own.compact()
    clock[0] += 86_400.0
    dating = dated(room, keys, clock, monkeypatch, write(tmp_path / "s.csv", [person(n) for n in range(300)]))
    assert not dating.claimed
    assert dating.why == "no value changed in this period"


def test_what_a_compaction_dropped_makes_a_date_wider_and_never_wrong(room, clocked, tmp_path, monkeypatch):
    """Moved twice, the middle address merged away: a sample of any of the three states is dated wrongly in none."""
    keys, clock = clocked
    states, times = [[person(n) for n in range(300)]], [clock[0]]
    with opened(room, keys, "kit") as own:
        for turn in (1, 2):
            clock[0] += 86_400.0
            states.append([{**p, "address": f"新路 {turn}-{p['person_id']}"} for p in states[0]])
            times.append(clock[0])
            own.put("persons", pa.Table.from_pylist(states[-1]))
        own.compact()
    clock[0] += 86_400.0
    ends = [*times[1:], clock[0]]
    for state, begun, ended in zip(states, times, ends, strict=True):
        dating = dated(room, keys, clock, monkeypatch, write(tmp_path / "s.csv", state))
        truth = (begun + ended) / 2
        assert not dating.claimed or any(one.start <= truth < one.stop for one in dating.likely), (begun, dating)


@pytest.mark.parametrize("kind", ["nothing", "foreign", "other room", "values"])
def test_what_is_not_ours_is_said_to_be_so(room, tmp_path, kind):
    """One row of nobody, another list of people, values that nobody can look for: clear answers, nothing claimed."""
    rows = {
        "nothing": [{"mobile": "13800138000"}],
        "foreign": [{"name": "王伟", "mobile": f"15{n:09d}"} for n in range(500)],
        "other room": [{**person(5_000_000 + n), "person_id": f"X-{n}"} for n in range(500)],
        "values": [{"weather": "rain", "wind": str(n)} for n in range(30)],
    }[kind]
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "a.csv")
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
    facts = facts_of(found)
    assert (facts.accused, facts.excluded, facts.affected.persons, facts.affected.kinds) == ((), (), 0, ())
    assert not facts.ours.by_one.shown
    assert facts.dating is None or not facts.dating.claimed
    assert "whose copy: not said" in told(found)
    assert "yes" not in told(found)


def test_one_row_of_somebody_says_who_many_and_excludes_no_export(room, tmp_path):
    """A sample made to ask about one person: exports that lack the person are not told."""
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "a.csv", where="birth_year = 1951")
        found = trace(room, keys, write(tmp_path / "s.csv", [person(7)]))
    facts = facts_of(found)
    assert (facts.affected.persons, facts.excluded, facts.accused) == (1, (), ())
    assert "fewer than 20 persons" in told(found)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\x00\x01\x02" * 999, b"PK\x03\x04" + bytes(99), b"SQLite format 3\0" + bytes(99)])
def test_what_is_no_sample_is_refused_and_nothing_is_looked_up(room, tmp_path, data):
    """Empty, binary, a spreadsheet, a database: what it is, and no look-up is spent."""
    (tmp_path / "s").write_bytes(data)
    with room.keymaster() as keys:
        with pytest.raises(InputError):
            trace(room, keys, tmp_path / "s")
        assert [e for e in keys.log_entries("kit") if e["act"] == "trace"] == []


def test_without_any_export_nobody_is_weighed(room, tmp_path):
    """A room that never exported: the sample is ours, and no copy is asked about."""
    with room.keymaster() as keys:
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [person(n) for n in range(40)])))
    assert (facts.weighing, facts.accused, facts.affected.persons) == (None, (), 40)


def test_foreign_rows_duplicates_and_other_forms_change_only_what_they_must(room, tmp_path):
    """GB18030, full-width digits, other names and order, rows twice, rows of nobody: the same persons."""
    rows = [
        {"手机": f"+86 {p['mobile'][:3]}-{p['mobile'][3:7]}-{p['mobile'][7:]}", "身份证号": p["id_number"].lower(), "姓名": p["name"]}
        for p in map(person, range(100))
    ]
    foreign = [{"手机": f"1560000{n:04d}", "身份证号": "", "姓名": "无名"} for n in range(50)]
    path = tmp_path / "s.csv"
    text = "手机,身份证号,姓名\n" + "".join(f"{r['手机']},{r['身份证号']},{r['姓名']}\n" for r in rows + rows + foreign)
    path.write_bytes(text.translate({ord(str(d)): chr(0xFF10 + d) for d in range(10)}).encode("gb18030"))
    with room.keymaster() as keys:
        found = trace(room, keys, path)
    facts = facts_of(found)
    assert (facts.affected.persons, facts.affected.sure, facts.sample.repeated) == (100, 100, 100)
    assert (facts.ours.by_one.tested, facts.ours.by_one.matched) == (150, 100)


def test_erased_persons_are_not_in_it_and_who_came_back_excludes_nobody(room, tmp_path):
    """An erased person is nobody; one who came back has another number than exports of before have."""
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "a.csv")
        with opened(room, keys, "kit") as own:
            own.erase(["P-000001", "P-000002"], reason="request 1")
            own.put("persons", pa.Table.from_pylist([person(2)]))
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [person(n) for n in range(60)])))
    assert (facts.affected.persons, facts.excluded) == (59, ())


def test_the_notification_list_is_an_export_without_canaries(room, tmp_path):
    """Charged, noted, in the ledger and told to those on it; never by itself."""
    with room.keymaster() as keys:
        codes = plant(room, keys, 400, HALF)
        one = exported(room, keys, tmp_path / "a.csv").export_id
        rows = [person(n) for n in range(30)] + [canary(n) for n in codes.held(one)[:10]]
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
        assert len(keys.exports.all("kit")) == 1
        with opened(room, keys) as own:
            made = own.notification_list(
                found, "persons", to=str(tmp_path / "list.jsonl"), recipient="notices", purpose="told", reason="incident 7"
            )
    listed = [json.loads(line)["person_id"] for line in (tmp_path / "list.jsonl").read_text("utf-8").splitlines()]
    assert sorted(listed) == [f"P-{n:06d}" for n in range(30)]
    assert made.persons == len(listed)


def test_a_trace_takes_a_purpose_an_agreement_and_look_ups(room, tmp_path):
    """Each is refused by its own rule; a value is a look-up, hits and misses alike."""
    sample = write(tmp_path / "s.csv", [person(n) for n in range(30)])
    with room.keymaster() as keys:
        with pytest.raises(DeniedError) as refused:
            trace(room, keys, sample, approval=None)
        assert refused.value.rule == "approval.needed"
        with pytest.raises(DeniedError):
            trace(room, keys, sample, purpose="told", approval=None)
        with opened(room, keys) as own:
            with pytest.raises(BudgetError):
                many = write(tmp_path / "m.csv", [{"mobile": str(13_000_000_000 + n)} for n in range(100_001)])
                own.trace(many, purpose="incident", reason="r", approval=agreed(keys))
        trace(room, keys, sample)
        (entry,) = [e for e in keys.log_entries("kit") if e["act"] == "trace" and "finds" in e.get("extras", {})]
        spent = [e["extras"]["values"] for e in keys.log_entries("kit") if "values" in e.get("extras", {})]
    assert sum(spent) == 90
    assert len(entry["extras"]["finds"]) == 64


def test_a_field_that_the_purpose_does_not_show_is_not_looked_for_and_named(room, tmp_path):
    """The ethnic group is sensitive and not the purpose's: no look-up, no count, a line that says so."""
    rows = [{"mobile": person(n)["mobile"], "ethnicity": "汉族"} for n in range(40)]
    with room.keymaster() as keys:
        found = trace(room, keys, write(tmp_path / "s.csv", rows))
    assert found.hidden == (("persons", "ethnicity"),)
    assert "persons.ethnicity: purpose incident does not show them" in told(found)
    assert {one.field for one in facts_of(found).affected.kinds} == {"mobile"}


def test_fields_that_an_excluded_export_never_showed_are_named_with_it(room, tmp_path):
    """By the ledger: it lacks the person, and has no address."""
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "a.csv", purpose="shown", where="birth_year < 1990")
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [person(n) for n in range(60)])))
    (excluded,) = facts.excluded
    assert excluded.why == "the person is not in it; nor does it show persons.address, persons.sex, persons.id_number"


def test_a_value_of_very_many_persons_tells_nobody_and_is_counted(room, tmp_path):
    """A number that 40 persons gave is no identifier: those are found by their own alone."""
    shared = [{**person(n), "mobile": "13900000000"} for n in range(100, 140)]
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", pa.Table.from_pylist(shared))
        found = trace(room, keys, write(tmp_path / "s.csv", [{"mobile": "13900000000"}, {"mobile": person(7)["mobile"]}]))
    assert facts_of(found).affected.persons == 1
    assert found.tallies["persons", "mobile"].crowded == 1


def test_a_large_sample_in_windows_says_the_same(room, tmp_path, monkeypatch):
    """Windows of some dozen values instead of millions, and columns in another order: the same persons and rows."""
    from strongroom.trace.leak import base
    from strongroom.trace.tracing import run

    rows = [person(n) for n in range(0, 300, 2)] * 2
    with room.keymaster() as keys:
        exported(room, keys, tmp_path / "a.csv", where="birth_year < 1990")
        sample = write(tmp_path / "s.csv", rows)
        once = facts_of(trace(room, keys, sample))
        monkeypatch.setattr(run, "WINDOW_VALUES", 50)
        monkeypatch.setattr(base, "BLOCK_BYTES", 2_000)
        turned = write(tmp_path / "t.csv", rows[:40], list(reversed(rows[0])))
        again = facts_of(trace(room, keys, [sample, turned]))
    assert (once.affected.persons, once.affected.kinds) == (again.affected.persons, again.affected.kinds)
    assert [(e.export.id, e.row, e.file) for e in once.excluded] == [(e.export.id, e.row, e.file) for e in again.excluded]
    assert (once.sample.repeated, again.sample.repeated) == (150, 190)
