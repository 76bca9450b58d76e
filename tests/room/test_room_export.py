"""Exports of a room: what is in the files, who is charged and told, and that nothing half done is left."""

import csv
import json
import os
import re
import weakref

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_room import parcels, person, persons

import strongroom
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.trace.exporting import choosing
from strongroom.trace.exporting import export as module
from strongroom.trace.exporting.rowroots import RowRoot

EXTRACT = {"recipient": "uni-north", "purpose": "extract", "reason": "study 9"}
SHOWN = ("person_id", "name", "id_number", "mobile", "address", "sex", "birth_year")


def people(count=300):
    return sorted(({name: person(n)[name] for name in SHOWN} for n in range(count)), key=lambda p: p["person_id"])


def opened(room, keys, actor="ana"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [{**row, "birth_year": int(row["birth_year"])} for row in csv.DictReader(file)]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READERS = {"csv": read_csv, "jsonl": read_lines, "parquet": lambda path: pq.read_table(path).to_pylist()}


@pytest.mark.parametrize("word", list(READERS))
def test_all_records_as_the_purpose_shows_them(sending, either_keymaster, tmp_path, word):
    """Every format, with the keymaster in a file, in PostgreSQL, and behind its server: each record once, as it was put."""
    place = tmp_path / f"persons.{word}"
    with sending.keymaster() as keys, opened(sending, keys) as room:
        report = room.export("persons", to=str(place), **EXTRACT)
        ledger = room.exports()
    found = READERS[word](place)
    assert sorted(found, key=lambda p: p["person_id"]) == people()
    assert tuple(found[0]) == SHOWN
    assert (report.persons, report.records, report.files) == (300, {"persons": 300}, (str(place),))
    assert [(one.id, one.state, one.persons, one.records) for one in ledger] == [(report.export_id, "ended", 300, 300)]
    assert (ledger[0].root, ledger[0].recipient) == (report.root, "uni-north")
    assert names_in(tmp_path) == sorted([place.name, "room"])
    assert names_in(tmp_path / "room") == ["bucket", "keys"]


def test_the_root_over_rows_is_that_of_the_files_rows_in_their_order(sending, tmp_path):
    """Made again from the file, by whoever has it, and the same for every format."""
    roots = set()
    with sending.keymaster() as keys, opened(sending, keys) as room:
        for word, reader in READERS.items():
            place = tmp_path / f"persons.{word}"
            roots.add(room.export("persons", to=str(place), **EXTRACT).root)
            rows = reader(place)
            again = RowRoot()
            again.add("persons", [pa.array([row[name] for row in rows]) for name in SHOWN])
            roots.add(again.root().hex())
    assert len(roots) == 1


def test_a_condition_chooses_persons_and_a_second_table_follows_them(sending, either_keymaster, tmp_path):
    """Open fields of the first table; of the other exactly the records of the same persons, so that joins hold."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        condition = "birth_year >= 2000 and (sex = '女' or birth_year in (2001, 2002))"
        report = room.export(["persons", "parcels"], to=str(tmp_path / "out"), where=condition, format="csv", **EXTRACT)
    wanted = {
        p["person_id"] for p in people() if p["birth_year"] >= 2000 and (p["sex"] == "女" or p["birth_year"] in {2001, 2002})
    }
    assert {row["person_id"] for row in read_csv(tmp_path / "out" / "persons.csv")} == wanted
    with (tmp_path / "out" / "parcels.csv").open(encoding="utf-8", newline="") as file:
        found = sorted(row["tracking"] for row in csv.DictReader(file))
    assert found == sorted(p["tracking"] for p in parcels(600, 300).to_pylist() if p["person_id"] in wanted)
    assert report.persons == len(wanted)
    assert report.records == {"persons": len(wanted), "parcels": 2 * len(wanted)}


def alive_at_once(tracing_template, tmp_path, monkeypatch):
    """How many batches of an export there are, and how many of them at the same time at the most."""
    room, alive, most = tracing_template.copy_to(tmp_path / "many"), weakref.WeakSet(), [0, 0]
    monkeypatch.setattr(choosing, "GROUP_BYTES", 1)
    monkeypatch.setattr(choosing, "BLOCKS_AT_ONCE", 1)

    class Counted(choosing.Batch):
        def __init__(self, *parts):
            super().__init__(*parts)
            alive.add(self)
            most[:] = most[0] + 1, max(most[1], len(alive))

    Counted.__hash__ = object.__hash__
    monkeypatch.setattr(choosing, "Batch", Counted)
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", persons(4_000, 300))
        with opened(room, keys) as own:
            assert own.export("persons", to=str(tmp_path / "many.csv"), **EXTRACT).persons == 4_300
    return most


def test_an_export_is_a_few_batches_at_a_time(tracing_template, tmp_path, monkeypatch):
    """However many persons go out: of a batch that was written nothing is held."""
    made, most = alive_at_once(tracing_template, tmp_path, monkeypatch)
    assert made > 20
    assert most <= 2 * (module.AHEAD + 3)


def test_control_held_together_they_are_all_there(tracing_template, tmp_path, monkeypatch):
    """Control: the same count, of an export that makes all of them before it writes the first."""
    monkeypatch.setattr(module, "ahead", list)
    made, most = alive_at_once(tracing_template, tmp_path, monkeypatch)
    assert most >= made // 2


def test_named_subjects_are_found_by_their_blocks_and_the_absent_are_counted(sending, either_keymaster, tmp_path):
    """However they are written; somebody who has no record is told of as a number."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        named = [" p-000007", "P-000250", "P-000007", "P-999999"]
        report = room.export("persons", to=str(tmp_path / "few.jsonl"), subjects=named, **EXTRACT)
    assert sorted(row["person_id"] for row in read_lines(tmp_path / "few.jsonl")) == ["P-000007", "P-000250"]
    assert (report.persons, report.absent) == (2, 1)


def test_the_newest_record_of_a_person_alone_goes_out_and_nobody_erased(sending, tmp_path):
    """After a second put and an erasure, beside runs that hold older records."""
    with sending.keymaster() as keys:
        with opened(sending, keys, "kit") as room:
            newer = persons(50).set_column(4, "address", pa.array([f"新路 {n}" for n in range(50)]))
            room.put("persons", newer)
            room.erase("P-000003", reason="request 1")
        with opened(sending, keys) as room:
            report = room.export("persons", to=str(tmp_path / "all.jsonl"), **EXTRACT)
    found = {row["person_id"]: row["address"] for row in read_lines(tmp_path / "all.jsonl")}
    assert len(found) == report.persons == report.records["persons"] == 299
    assert found["P-000004"] == "新路 4"
    assert found["P-000060"] == person(60)["address"]


def test_masks_show_what_a_mask_shows(sending, tmp_path):
    """A purpose that masks a field gives its mask, of a server or in one's own process."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        room.export("persons", to=str(tmp_path / "m.jsonl"), **(EXTRACT | {"purpose": "shown"}))
    row = next(r for r in read_lines(tmp_path / "m.jsonl") if r["person_id"] == "P-000001")
    assert row == {"person_id": "P-000001", "name": "李****", "mobile": f"****{person(1)['mobile'][-4:]}", "birth_year": 1951}


def test_an_export_is_one_entry_and_each_of_its_persons_is_told(sending, tmp_path, monkeypatch):
    """The person's own log has it, with the recipient, and is complete; somebody else's has not."""
    import time

    from strongroom.read.personlog import verify_person_log

    clock = [time.time()]
    with sending.keymaster() as keys:
        keys._core.clock = keys._core.journal._clock = lambda: clock[0]
        with opened(sending, keys) as room:
            room.export("persons", to=str(tmp_path / "x.csv"), where="birth_year = 1951", **EXTRACT)
            clock[0] += 86400
            with room.read(purpose="own-view", reason="letter") as desk:
                told = {n: verify_person_log(json.dumps(desk.log(f"P-00000{n}", table="persons"))) for n in (1, 2)}
    (touched,) = [one for one in told[1].touched if one.act == "export"]
    assert (touched.recipient, touched.role, touched.purpose) == ("uni-north", "sender", "extract")
    assert touched.classes == ("contact", "identity", "open")
    assert [one for one in told[2].touched if one.act == "export"] == []


def test_a_table_of_cases_goes_out_by_names_or_by_law_with_agreement(sending, tmp_path):
    """From a sensitive table nothing starts: all of it is refused; named subjects go, and all under a named law."""
    court = {"recipient": "court", "purpose": "court", "reason": "case 4"}
    census = {"recipient": "bureau", "purpose": "census", "reason": "census"}
    with sending.keymaster() as keys, opened(sending, keys) as room:
        for more in ({}, {"where": "year = 2020"}):
            with pytest.raises(DeniedError) as refused:
                room.export("cases", to=str(tmp_path / "c.csv"), **court, **more)
            assert refused.value.rule == "room.sensitive-table"
        report = room.export("cases", to=str(tmp_path / "named.jsonl"), subjects=["P-000007", "P-000014"], **court)
        assert report.records == {"cases": 2}
        with pytest.raises(DeniedError) as refused:
            room.export("cases", to=str(tmp_path / "c.csv"), **census)
        assert refused.value.rule == "approval.needed"
        asked = keys.approvals.ask_read("ana", "census", 42, "census")
        keys.approvals.decide("max", asked.id, agree=True)
        whole = room.export("cases", to=str(tmp_path / "all.csv"), approval=asked.id, **census)
        assert (whole.persons, room.exports()[0].approver) == (42, "max")
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["all.csv", "named.jsonl"]


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        ({"recipient": "thief"}, DeniedError, "does not export to this recipient"),
        ({"purpose": "own-view"}, DeniedError, "does not allow export"),
        ({"where": "name = 'x'"}, UsageError, "name is sealed"),
        ({"where": "birth_year = 'x'"}, UsageError, "something else than a int"),
        ({"where": "exists (select 1)"}, UsageError, "not understood"),
        ({"where": "1 = 1; drop table x"}, UsageError, "cannot be read"),
        ({"subjects": ["P-000001"], "where": "birth_year = 1"}, UsageError, "or of those"),
        ({"format": "xlsx"}, UsageError, "format"),
        ({"resume": "00" * 16}, NotFoundError, "no export of this id"),
        ({"tables": "nobody"}, NotFoundError, "no table nobody"),
        ({"tables": ["persons", "persons"]}, UsageError, "each once"),
        ({"to": "https://elsewhere/x.csv"}, UsageError, "do not go to https"),
        ({"to": "no/such/folder/x.csv"}, UsageError, "no folder"),
    ],
)
def test_bad_requests_say_what_is_wrong_and_leave_nothing(sending, tmp_path, more, error, told):
    """No file, no charge."""
    wanted = {"tables": "persons", "to": str(tmp_path / "x.csv"), **EXTRACT, **more}
    if "to" in more and "://" not in more["to"]:
        wanted["to"] = str(tmp_path / more["to"])
    with sending.keymaster() as keys, opened(sending, keys) as room:
        with pytest.raises(error, match=told):
            room.export(wanted.pop("tables"), **wanted)
        assert room.exports() == []
    assert [p.name for p in tmp_path.iterdir()] == ["room"]


def test_a_file_that_is_there_is_refused_before_anybody_is_charged(sending, tmp_path):
    """One of two names is enough; what is there stays."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "parcels.csv").write_text("mine")
    with sending.keymaster() as keys, opened(sending, keys) as room:
        with pytest.raises(ConflictError, match=r"parcels\.csv exists already"):
            room.export(["persons", "parcels"], to=str(tmp_path / "out"), format="csv", **EXTRACT)
        assert room.exports() == []
    assert (tmp_path / "out" / "parcels.csv").read_text() == "mine"
    assert names_in(tmp_path / "out") == ["parcels.csv"]


def test_one_person_beyond_the_budget_is_refused_and_no_file_is_left(sending, tmp_path):
    """300 may go in a day: with one more nobody does."""
    with sending.keymaster() as keys:
        with opened(sending, keys, "kit") as room:
            room.put("persons", persons(1, 300))
        with opened(sending, keys) as room:
            with pytest.raises(BudgetError) as refused:
                room.export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)
            assert (refused.value.remaining, refused.value.rule) == (300, "exports/actor/ana/purpose/extract/day")
            room.export("persons", to=str(tmp_path / "y.csv"), where="birth_year < 2009", **EXTRACT)
    assert [p.name for p in tmp_path.glob("*.csv")] == ["y.csv"]


class _StopError(Exception):
    pass


@pytest.mark.parametrize("step", ["open", "first", "middle", "publish", "end"])
def test_an_export_cut_short_leaves_no_file_and_is_taken_up_without_a_second_charge(sending, tmp_path, monkeypatch, step):
    """At the first file, in the middle of rows, when names are given, when the end is noted: resumed, it is whole."""
    from strongroom.keymaster.exports.exporting import EmbeddedExports
    from strongroom.trace.exporting.targets import _Files

    def stops(*_args, **_more):
        raise UnavailableError("stopped")

    with sending.keymaster() as keys, opened(sending, keys) as room, monkeypatch.context() as patch:
        if step == "open":
            patch.setattr(_Files, "open", stops)
        elif step == "publish":
            patch.setattr(os, "link", stops)
        elif step == "end":
            patch.setattr(EmbeddedExports, "end", stops)
        else:
            real, counted = module.RowRoot.add, []

            def add(self, *args):
                counted.append(1)
                if len(counted) > (step == "middle"):
                    stops()
                return real(self, *args)

            patch.setattr(module.RowRoot, "add", add)
        with pytest.raises(UnavailableError) as caught:
            room.export(["persons", "parcels"], to=str(tmp_path / "out"), format="csv", **EXTRACT)
        ident = re.search("--resume ([0-9a-f]{32})", caught.value.hint)[1]
    out = tmp_path / "out"
    assert not out.exists() or names_in(out) == []
    with sending.keymaster() as keys, opened(sending, keys) as room:
        assert room.exports()[0].state == "open"
        report = room.export(["persons", "parcels"], to=str(out), format="csv", resume=ident, **EXTRACT)
        assert (report.export_id, report.persons) == (ident, 300)
        assert report.remaining["exports/actor/ana/purpose/extract/day"] == 0
        assert [one.state for one in room.exports()] == ["ended"]
        entries = [e for e in keys.log_entries("kit") if e["act"] == "export"]
        assert len(entries) == 1
    assert len(read_csv(out / "persons.csv")) == 300
    with sending.keymaster() as keys, opened(sending, keys) as room, pytest.raises(ConflictError, match="has ended"):
        room.export(["persons", "parcels"], to=str(tmp_path / "again"), format="csv", resume=ident, **EXTRACT)


def test_a_full_disk_is_said_and_leaves_nothing(sending, tmp_path, monkeypatch):
    """The error tells how to go on."""
    import errno

    from strongroom.trace.exporting import targets

    def full(self, data):
        with targets._telling(self._path):
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(targets._Told, "write", full)
    with sending.keymaster() as keys, opened(sending, keys) as room:
        for word in READERS:
            with pytest.raises(UnavailableError, match="the disk is full") as caught:
                room.export("persons", to=str(tmp_path / f"x.{word}"), **EXTRACT)
            assert "--resume" in caught.value.hint
    assert list(tmp_path.glob("x.*")) == []


def test_without_unnamed_files_a_name_beside_is_used_and_removed(sending, tmp_path, monkeypatch):
    """On file systems that have none; an interruption removes it too."""
    monkeypatch.delattr(os, "O_TMPFILE")
    with sending.keymaster() as keys, opened(sending, keys) as room:
        room.export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)
        assert len(read_csv(tmp_path / "x.csv")) == 300
        monkeypatch.setattr(module.RowRoot, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            room.export("persons", to=str(tmp_path / "y.csv"), **EXTRACT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["room", "x.csv"]


def test_objects_of_a_bucket_are_whole_or_not_there(sending, tmp_path, s3_bucket):
    """A multipart upload that was cut short shows nothing; a taken name is refused."""
    url = f"s3://{s3_bucket}/handed"
    with sending.keymaster() as keys, opened(sending, keys) as room:
        report = room.export(["persons", "parcels"], to=url, format="jsonl", **EXTRACT)
        assert report.files == (f"{url}/persons.jsonl", f"{url}/parcels.jsonl")
        with pytest.raises(ConflictError):
            room.export("persons", to=f"{url}/persons.jsonl", **EXTRACT)
        from strongroom.store.open import open_store

        store = open_store(url, create=False)
        assert len(store.get("persons.jsonl").splitlines()) == 300
        real, counted = module.RowRoot.add, []

        def add(self, *args):
            counted.append(1)
            if len(counted) > 1:
                raise UnavailableError("stopped")
            return real(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.RowRoot, "add", add)
            with pytest.raises(UnavailableError):
                room.export(["persons", "parcels"], to=f"{url}/second", format="jsonl", **EXTRACT)
        assert sorted(name for name, _ in store.list()) == ["parcels.jsonl", "persons.jsonl"]
        store.close()


def test_a_keymaster_that_is_set_back_has_its_ledger_again(sending, tmp_path):
    """Its folder comes home from a copy made before the export: the tail beside the objects brings the entry, and the set."""
    import shutil

    from small_room import PASSPHRASE

    with sending.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
        with opened(sending, keys) as room:
            report = room.export("persons", to=str(tmp_path / "x.csv"), where="birth_year < 1980", **EXTRACT)
            before = room.exports()
            wanted = keys.exports.ledger.persons_of(bytes.fromhex(report.export_id))
    shutil.rmtree(sending.keys)
    strongroom.restore_keymaster(sending.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)
    with sending.keymaster() as keys, opened(sending, keys) as room:
        assert room.exports() == before
        assert keys.exports.ledger.persons_of(bytes.fromhex(report.export_id)) == wanted
        with pytest.raises(BudgetError):  # what was spent stands too
            room.export("persons", to=str(tmp_path / "y.csv"), **EXTRACT)
