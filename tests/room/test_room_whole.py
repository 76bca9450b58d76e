"""The room as its users see it: put, get, find, sql, log, check, compact, and what is refused."""

import datetime as dt

import pyarrow as pa
import pyarrow.csv as pc
import pytest
from small_room import PASSPHRASE, POLICY, SmallRoom, fill, parcels, person, persons

import strongroom

pytestmark = pytest.mark.usefixtures("either_keymaster")


@pytest.fixture
def opened(room):
    with room.keymaster() as keymaster:

        def as_actor(actor):
            return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)

        yield as_actor


def test_find_masks_for_one_purpose_and_shows_plain_for_another(opened):
    """The same record, found by the same number, shows what its purpose shows."""
    wanted = person(7)
    with opened("mei") as r, r.read(purpose="delivery", reason="parcel 1") as desk:
        (masked,) = desk.find("persons", {"mobile": wanted["mobile"]})
        assert masked["address"] == wanted["address"]
        assert masked["mobile"].endswith(wanted["mobile"][-4:])
        assert wanted["mobile"] not in masked["mobile"]
        assert "ethnicity" in masked.withheld
        with pytest.raises(strongroom.DeniedError):
            masked["ethnicity"]
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        (plain,) = desk.find("persons", {"mobile": wanted["mobile"]})
        assert dict(plain) == wanted


def test_values_are_found_as_people_write_them(opened):
    """A number with spaces, a country code or full-width digits finds the same person."""
    number = person(3)["mobile"]
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        for written in (
            f"+86 {number[:3]} {number[3:7]} {number[7:]}",
            f"0086{number}",
            number.translate({48 + i: 0xFF10 + i for i in range(10)}),
        ):
            assert desk.find("persons", {"mobile": written})[0]["person_id"] == "P-000003"


def test_several_values_are_or_and_several_fields_are_and(opened):
    """Values of a field are joined by or, fields by and."""
    a, b = person(1), person(2)
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        both = desk.find("persons", {"mobile": [a["mobile"], b["mobile"]]})
        assert {p["person_id"] for p in both} == {"P-000001", "P-000002"}
        assert len(desk.find("persons", {"mobile": a["mobile"], "id_number": a["id_number"]})) == 1
        assert desk.find("persons", {"mobile": a["mobile"], "id_number": b["id_number"]}) == []


def test_get_opens_one_subject_and_records_opens_many(opened):
    """A table with one record a subject gives a record; one with many gives a list, oldest first."""
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.get("persons", " p-000009 ")["name"] == person(9)["name"]
        with pytest.raises(strongroom.NotFoundError):
            desk.get("persons", "P-999999")
    with opened("mei") as r, r.read(purpose="delivery", reason="parcel 1") as desk:
        assert [p["tracking"] for p in desk.records("parcels", "P-000005")] == ["SF100005", "SF100305"]
        with pytest.raises(strongroom.UsageError):
            desk.get("parcels", "P-000005")


def test_the_newest_put_wins_and_an_older_snapshot_shows_the_older_value(opened):
    """Tables with one record per subject are upserts."""
    moved = person(11) | {"mobile": "13700000011", "address": "new address 1"}
    with opened("kit") as r:
        receipt = r.put("persons", pa.Table.from_pylist([moved]))
        assert (receipt.records, receipt.new_subjects) == (1, 0)
    with opened("ada") as r:
        with r.read(purpose="case-work", reason="case 1") as desk:
            assert desk.get("persons", "P-000011")["address"] == "new address 1"
            assert desk.find("persons", {"mobile": person(11)["mobile"]}) == []
            assert len(desk.find("persons", {"mobile": "13700000011"})) == 1
        with r.read(purpose="case-work", reason="case 1", snapshot=receipt.snapshot - 1) as desk:
            assert desk.get("persons", "P-000011")["address"] == person(11)["address"]


def test_a_later_row_of_the_same_put_is_newer(opened):
    """Two rows of one subject in one put: the later one is live."""
    rows = [person(500) | {"address": f"address {i}"} for i in range(3)]
    with opened("kit") as r:
        r.put("persons", pa.Table.from_pylist(rows))
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.get("persons", "P-000500")["address"] == "address 2"


def test_a_token_stands_for_the_same_value_under_one_purpose_only(opened):
    """A field shown as a token gives a stand-in, equal for equal values, and never the value."""
    with opened("mei") as r, r.read(purpose="claims", reason="claim 1") as desk:
        first, second = (desk.records("parcels", "P-000005")[0]["tracking"] for _ in range(2))
        other = desk.records("parcels", "P-000006")[0]["tracking"]
        assert first == second != other
        assert "SF" not in first
        assert len(bytes.fromhex(first)) == 16


def test_sql_keeps_the_minimum_group_and_charges_rows(opened):
    """Aggregates show groups of enough persons; rows are charged as persons."""
    with opened("lin") as r, r.read(purpose="statistics", reason="yearbook") as desk:
        answer = desk.sql("select sex, count(*) as n from persons group by sex order by sex").to_pylist()
        assert sorted(row["n"] for row in answer) == [150, 150]
        assert desk.sql("select birth_year, count(*) as n from persons group by birth_year").num_rows == 0
        rows = desk.sql("select birth_year from persons where birth_year = 1960 limit 5")
        assert rows.num_rows == 5
        with pytest.raises(strongroom.DeniedError):
            desk.sql("select count(*) from persons where ethnicity = '回族'")
        with pytest.raises(strongroom.BudgetError):
            desk.sql("select birth_year from persons limit 200")


def test_sql_counts_a_superseded_row_once(opened):
    """After an upsert the older row is not counted."""
    with opened("kit") as r:
        r.put("persons", persons(100))
    with opened("lin") as r, r.read(purpose="statistics", reason="yearbook") as desk:
        assert desk.sql("select count(*) as n from persons").to_pylist() == [{"n": 300}]


def test_sql_counts_persons_and_not_records_for_the_minimum(opened):
    """Ten parcels of one person are not a group of ten."""
    one = [{"person_id": "P-000001", "tracking": f"X{n}", "goods": "x", "district": 77} for n in range(40)]
    with opened("kit") as r:
        r.put("parcels", pa.Table.from_pylist(one))
    with opened("lin") as r, r.read(purpose="statistics", reason="yearbook") as desk:
        found = desk.sql("select district, count(*) as n from parcels group by district").to_pylist()
        assert 77 not in {row["district"] for row in found}


def test_records_that_do_not_fit_are_kept_sealed_and_put_again(opened, room):
    """A bad record does not stop the load; it is listed, opened under a purpose, and put when it fits."""
    bad = room.folder / "bad.csv"
    bad.write_text("person_id,name,birth_year\nP-000700,甲,1980\n,乙,1981\nP-000702,丙,nineteen\n", encoding="utf-8")
    with opened("kit") as r:
        receipt = r.put("persons", str(bad))
        assert (receipt.records, receipt.rejected) == (1, 2)
        groups = r.rejects()
        assert sum(g.records for g in groups) == 2
        assert {g.field for g in groups} == {"person_id", "birth_year"}
    with opened("ada") as r, r.read(purpose="case-work", reason="clean up") as desk:
        opened_rejects = desk.rejects()
        assert {row["row"] for row in opened_rejects} == {2, 3}
    with opened("kit") as r:
        with pytest.raises(strongroom.InputError, match="row"):
            r.put("persons", str(bad), strict=True, again=True)
        again = r.reput_rejects()
        assert (again.records, again.rejected) == (0, 2)


def test_a_put_that_was_refused_can_be_corrected_within_the_same_budget(tmp_path):
    """A bad row, a file that was put before, a source that fails half way: nothing of the budget is gone."""

    def failing():
        yield persons(250, 2000).to_batches()[0]
        raise KeyboardInterrupt

    room = SmallRoom(tmp_path)
    room.create(policy=POLICY.replace("budget = { day = 1000000 }", "budget = { day = 300 }"))
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    pc.write_csv(persons(30, 2000), good)
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
        bad.write_text(good.read_text(encoding="utf-8") + ",nobody,,,,,,1950\n", encoding="utf-8")
        with pytest.raises(KeyboardInterrupt):
            r.put("persons", failing())
        with pytest.raises(strongroom.InputError):
            r.put("persons", str(bad), strict=True)
        assert r.put("persons", str(good)).records == 30
        with pytest.raises(strongroom.ConflictError):
            r.put("persons", str(good))
        assert r.put("persons", persons(270)).records == 270
        with pytest.raises(strongroom.BudgetError):
            r.put("persons", persons(1))


def test_a_second_put_of_the_same_file_is_noticed(opened, room):
    """The same bytes into the same table are a conflict unless asked for."""
    file = room.folder / "more.csv"
    file.write_text("person_id,name\nP-000800,甲\n", encoding="utf-8")
    with opened("kit") as r:
        r.put("persons", str(file))
        with pytest.raises(strongroom.ConflictError, match="before"):
            r.put("persons", str(file))
        assert r.put("persons", str(file), again=True).records == 1


def test_an_added_field_is_a_new_version_that_older_records_open_under(opened, room):
    """Adding a field changes the schema, not the records."""
    from small_room import SCHEMA

    wider = SCHEMA.replace(
        "birth_year = { type", 'joined = { type = "date", class = "contact" }\nbirth_year = { type', 1
    )
    with opened("kit") as r:
        r.set_schema(wider)
        r.put("persons", pa.Table.from_pylist([person(900) | {"joined": dt.date(2026, 1, 2)}]))
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        assert desk.get("persons", "P-000900")["joined"] == dt.date(2026, 1, 2)
        assert desk.get("persons", "P-000001")["joined"] is None


def test_compact_merges_runs_and_changes_no_answer(opened, room):
    """Compaction moves cells byte for byte; every record still opens, and what nothing names is removed."""
    with opened("kit") as r:
        for start in range(300, 330, 3):
            r.put("persons", persons(3, start))
        r.put("persons", persons(20))
        before = {p.name for p in room.bucket.rglob("*") if p.is_file()}
        report = r.compact()
        assert report.runs_after < report.runs_before
        check = r.check()
        assert check.faults == []
    assert before
    with opened("ada") as r, r.read(purpose="case-work", reason="case 1") as desk:
        for number in (0, 5, 19, 20, 150, 299, 301, 329):
            assert dict(desk.get("persons", f"P-{number:06d}")) == person(number)
            assert len(desk.find("persons", {"mobile": person(number)["mobile"]})) == 1


def test_the_log_holds_every_act_and_verifies(opened):
    """Puts, reads and refusals are in the log under the actor's name; it verifies."""
    with opened("mei") as r, r.read(purpose="delivery", reason="parcel 1") as desk:
        desk.find("persons", {"mobile": person(1)["mobile"]})
        with pytest.raises(strongroom.DeniedError):
            r.read(purpose="case-work", reason="nosy")
    with opened("kit") as r:
        entries = r.log()
        assert any(e["actor"] == "mei" and e["act"] == "find" and e.get("count") == 1 for e in entries)
        assert any(e["actor"] == "mei" and e.get("decision") == "refused" for e in entries)
        assert r.verify_log()["entries"] >= len(entries)


def test_a_put_says_how_many_people_the_open_columns_single_out(opened):
    """Sex and year of birth together single out those who are alone with theirs."""
    alone = [person(n) | {"birth_year": 1500 + n} for n in range(600, 610)]
    with opened("kit") as r:
        receipt = r.put("persons", pa.Table.from_pylist(alone))
    assert any("100.0%" in note and "sex, birth_year" in note for note in receipt.notes)


def test_an_empty_source_commits_nothing_wrong(opened, room):
    """A file with a header and no rows is a put of nothing."""
    file = room.folder / "none.csv"
    file.write_text("person_id,name\n", encoding="utf-8")
    with opened("kit") as r:
        assert r.put("persons", str(file)).records == 0
        assert r.check().faults == []


def test_wrong_passphrase_opens_nothing(room):
    """A wrong passphrase is told as such."""
    with pytest.raises(strongroom.KeysError):
        strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE + "x")


def test_a_room_is_made_once(tmp_path):
    """Create makes, open never does."""
    room = SmallRoom(tmp_path)
    with pytest.raises(strongroom.StrongroomError):
        room.keymaster()
    room.create()
    with pytest.raises(strongroom.ConflictError):
        room.create()
    fill(room, 10)
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
        assert r.put("parcels", parcels(3, 3), again=True).records == 3


def test_a_put_whose_values_show_that_an_index_would_list_groups_is_refused(tmp_path):
    """12,000 records with 200 different values of an indexed field: refused with field and counts, nothing is put."""
    room = SmallRoom(tmp_path)
    room.create()
    rows = [person(n) | {"mobile": str(13_900_000_000 + n % 200)} for n in range(12_000)]
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        with pytest.raises(strongroom.InputError, match="field mobile: at most 256 different values among the first 12,000"):
            opened.put("persons", pa.Table.from_pylist(rows))
        assert keymaster.head().number == 0
        assert opened.check().orphans == []
        assert opened.put("persons", pa.Table.from_pylist(rows[:9_000])).records == 9_000  # too few to tell
