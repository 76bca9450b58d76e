"""Erasing in a whole room: who goes is gone from every read, nobody else is, and who comes back starts anew."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))

from small_room import SCHEMA, person, persons

import strongroom
from strongroom.erase.receipt import verify_receipt
from strongroom.errors import ConflictError, DeniedError, ErasedError, IntegrityError, NotFoundError, UnavailableError

GONE, OTHER = "P-000007", "P-000008"

pytestmark = [
    pytest.mark.usefixtures("either_keymaster"),
    pytest.mark.parametrize("either_keymaster", ["embedded", "served"], indirect=True),
]


@pytest.fixture
def opened(room):
    with room.keymaster() as keymaster:

        def as_actor(actor):
            return strongroom.open(str(room.bucket), keys=keymaster, actor=actor)

        as_actor.keymaster = keymaster
        yield as_actor


def case(opened, snapshot=None):
    return opened("ada").read(purpose="case-work", reason="case 1", snapshot=snapshot)


def delivery(opened):
    return opened("mei").read(purpose="delivery", reason="parcel 1")


def counted(opened, table="persons"):
    with opened("lin").read(purpose="statistics", reason="yearly") as desk:
        return desk.sql(f"select count(*) as n from {table}")["n"][0].as_py()


def test_the_erased_is_in_no_read_and_nobody_else_is_missing(opened):
    """Get, find by either index, parcels and sql are without the person; older snapshots too; the others are all there."""
    before = counted(opened)
    report = opened("kit").erase(GONE, reason="request 12")
    assert (report.persons, report.already, report.state) == (1, 0, "in force")
    for snapshot in (None, 1, 2):
        with case(opened, snapshot) as desk:
            with pytest.raises(NotFoundError):
                desk.get("persons", GONE)
            assert desk.find("persons", {"mobile": person(7)["mobile"]}) == []
            assert desk.find("persons", {"id_number": person(7)["id_number"]}) == []
            assert dict(desk.get("persons", OTHER)) == person(8)
    with delivery(opened) as desk:
        with pytest.raises(NotFoundError):
            desk.records("parcels", GONE)
        assert desk.find("parcels", {"tracking": "SF100007"}) == []
        assert len(desk.records("parcels", OTHER)) == 2
    assert counted(opened) == before - 1
    assert counted(opened, "parcels") == 598
    with opened("lin").read(purpose="statistics", reason="yearly") as desk:
        assert len(desk.sql("select birth_year from persons where birth_year = 1957 and sex = '女' limit 9")) == 4


def test_a_dead_entry_costs_nothing_and_takes_no_place(opened):
    """Nobody is charged for the erased, and a limit of one still finds the living one behind it."""
    values = [person(7)["mobile"], person(8)["mobile"]]
    opened("kit").erase(GONE, reason="request 12")
    with case(opened) as desk:
        found = desk.find("persons", {"mobile": values}, limit=1)
        assert [record["person_id"] for record in found] == [OTHER]
        with pytest.raises(NotFoundError):
            desk.get("persons", GONE)
    entries = [e for e in opened("kit").log(actor="ada") if e["act"] in ("get", "find")]
    assert [e.get("count", 0) for e in entries] == [1, 0]


def test_who_may_know_is_told_and_who_may_not_hears_what_everybody_hears(opened):
    """A purpose that may know gets ErasedError for the erased alone; every other purpose NotFoundError with one text."""
    opened("kit").erase(GONE, reason="request 12")
    policy = opened.keymaster._core.state.read().execute("select text from policy_version").fetchone()[0]
    with case(opened) as desk:
        texts = set()
        for subject in (GONE, "P-999999"):
            with pytest.raises(NotFoundError) as caught:
                desk.get("persons", subject)
            assert not isinstance(caught.value, ErasedError)
            texts.add(str(caught.value))
        assert len(texts) == 1
    told = 'sensitive = "the inquiry is about these facts"\nmay_know_erased = true'
    opened("kit").set_policy(policy.replace('sensitive = "the inquiry is about these facts"', told))
    with case(opened) as desk:
        with pytest.raises(ErasedError):
            desk.get("persons", GONE)
        with pytest.raises(NotFoundError) as caught:
            desk.get("persons", "P-999999")
        assert not isinstance(caught.value, ErasedError)


def test_who_comes_back_shows_only_what_is_new(opened):
    """A person put again after the erasure is a new subject: the old phone finds nobody, old parcels stay dead."""
    kit = opened("kit")
    kit.erase(GONE, reason="request 12")
    before = counted(opened, "parcels")
    again = person(7) | {"mobile": "13700000001"}
    assert kit.put("persons", pa.Table.from_pylist([again])).new_subjects == 1
    kit.put("parcels", pa.Table.from_pylist([{"person_id": GONE, "tracking": "SF9", "goods": "杯", "district": 1}]))
    with case(opened) as desk:
        assert desk.get("persons", GONE)["mobile"] == "13700000001"
        assert desk.find("persons", {"mobile": person(7)["mobile"]}) == []
        assert len(desk.find("persons", {"mobile": "13700000001"})) == 1
    with delivery(opened) as desk:
        assert [r["tracking"] for r in desk.records("parcels", GONE)] == ["SF9"]
        assert desk.find("parcels", {"tracking": "SF100007"}) == []
    assert counted(opened, "parcels") == before + 1
    assert counted(opened) == 300
    kit.erase(GONE, reason="request 13")
    with case(opened) as desk, pytest.raises(NotFoundError):
        desk.get("persons", GONE)


def test_compaction_drops_the_dead_and_sums_add_up(opened):
    """After a compaction the newest snapshot holds no entry of the erased: records, index entries and open columns."""
    kit = opened("kit")
    kit.put("persons", persons(20, 280))
    kit.erase([f"P-{n:06d}" for n in range(20)], reason="request 12")
    report = kit.compact()
    assert report.dead == 20 * 3 + 40 * 2 + 3  # persons and two indexes, parcels and one, cases 0, 7 and 14
    assert kit.check(deep=True).faults == []
    head = opened.keymaster.head()
    with opened("ada").read(purpose="case-work", reason="case 1") as desk:
        catalog = desk._finder.catalog
        assert catalog.head == head
        sizes = {e.kind: 0 for e in catalog.objects()}
        for entry in catalog.objects():
            sizes[entry.kind] += entry.entries
        notes = catalog.snapshot.notes
        read = sum(v for k, v in notes.items() if k.endswith("/read_entries"))
        assert read == sum(v for k, v in notes.items() if k.endswith(("/written_entries", "/dropped_entries")))
        assert desk.get("persons", "P-000021")["person_id"] == "P-000021"
        with pytest.raises(NotFoundError):
            desk.get("persons", "P-000003")
    assert counted(opened) == 280
    assert kit.compact().dead == 0


def test_a_compaction_without_erasures_looks_into_nothing(opened, monkeypatch):
    """Without tombstones neither reads nor compaction open a block for them."""
    from strongroom.index import dead

    monkeypatch.setattr(dead, "_of_persons", None)
    assert counted(opened) == 300
    assert opened("kit").compact().dead == 0


def test_the_file_key_goes_with_the_last_snapshot_that_names_its_object(opened):
    """What compaction removes for good has no key any more, not for a copy of the object either."""
    from strongroom.write.compact import compact

    kit = opened("kit")
    kit.put("persons", persons(20, 280))
    rows = opened.keymaster._core.state.read()
    sql = "select count(*) from file_key where state = 'destroyed' and wrapped is null"
    kit.erase(GONE, reason="request 12")
    kit.compact()
    before = rows.execute(sql).fetchone()[0]
    report = compact(kit._store, opened.keymaster, "kit", keep_seconds=-1e9)
    assert report.removed > 0
    assert rows.execute(sql).fetchone()[0] >= before + report.removed
    assert counted(opened) == 299


def test_unknown_and_erased_subjects_change_nothing(opened):
    """An unknown subject is not found, one erased already is a conflict that names its entry, and nothing happens."""
    kit = opened("kit")
    (leaf,) = kit.erase(GONE, reason="request 12").leaves
    with pytest.raises(NotFoundError):
        kit.erase("P-999999", reason="r")
    with pytest.raises(NotFoundError, match="1 of 2 subjects"):
        kit.erase([OTHER, "P-999999"], reason="r")
    with pytest.raises(ConflictError, match=f"entry {leaf} "):
        kit.erase(GONE, reason="r")
    with pytest.raises(DeniedError):
        opened("mei").erase(OTHER, reason="r")
    with case(opened) as desk:
        assert desk.get("persons", OTHER)["person_id"] == OTHER
    assert kit.erase([GONE, OTHER], reason="r").already == 1


def test_a_hold_keeps_a_subject_until_a_second_person_lifts_it(opened):
    """A held subject is not erased, alone or among many; who set the hold cannot lift it; both acts are in the log."""
    kit, nan = opened("kit"), opened("nan")
    kit.hold(GONE, reason="suit 4")
    for subjects in (GONE, [OTHER, GONE]):
        with pytest.raises(DeniedError, match="legal hold"):
            kit.erase(subjects, reason="r")
    with pytest.raises(ConflictError):
        nan.hold(GONE, reason="suit 5")
    with pytest.raises(DeniedError, match="another person"):
        kit.unhold(GONE, reason="r")
    with pytest.raises(NotFoundError):
        nan.hold("P-999999", reason="r")
    with case(opened) as desk:
        assert desk.get("persons", OTHER)["person_id"] == OTHER
    nan.unhold(GONE, reason="suit 4 is over")
    with pytest.raises(NotFoundError):
        nan.unhold(GONE, reason="again")
    assert kit.erase(GONE, reason="r").persons == 1
    with pytest.raises(ConflictError):
        nan.hold(GONE, reason="too late")
    acts = [(e["act"], e["decision"]) for e in kit.log() if e["act"] in ("hold", "unhold", "erase")]
    assert acts == [
        ("hold", "allowed"),
        ("erase", "refused"),
        ("erase", "refused"),
        ("unhold", "refused"),
        ("unhold", "allowed"),
        ("erase", "allowed"),
    ]


def test_a_put_that_races_an_erasure_leaves_nothing_alive(opened, monkeypatch):
    """Whoever is erased while a put is under way is not brought back by it, whichever batch the person is in."""
    from strongroom.keymaster.leases import Leases
    from strongroom.keymaster.sealing import Sealing

    for step in ("before the batch", "before the sealing", "after the sealing"):
        subject = {"before the batch": 10, "before the sealing": 11, "after the sealing": 12}[step]
        place, name = (Leases, "mint_batch") if step == "before the batch" else (Sealing, "seal_subjects")
        real = getattr(place, name)

        def racing(self, *args, real=real, subject=subject, step=step, **more):
            if step != "after the sealing":
                opened("kit").erase(f"P-{subject:06d}", reason="race")
            done = real(self, *args, **more)
            if step == "after the sealing":
                opened("kit").erase(f"P-{subject:06d}", reason="race")
            return done

        kit = opened("kit")
        with monkeypatch.context() as patch:
            patch.setattr(place, name, racing)
            kit.put("persons", persons(2, subject - 1 if subject == 12 else subject), again=True)
        with case(opened) as desk:
            with pytest.raises(NotFoundError):
                desk.get("persons", f"P-{subject:06d}")
            assert desk.find("persons", {"mobile": person(subject)["mobile"]}) == []
        assert kit.check(deep=True).faults == []
        kit.put("persons", persons(1, subject), again=True)
        with case(opened) as desk:
            assert dict(desk.get("persons", f"P-{subject:06d}")) == person(subject)
            assert len(desk.find("persons", {"mobile": person(subject)["mobile"]})) == 1


def test_a_slow_put_committed_last_does_not_hide_who_came_back(opened):
    """A dead entry in the newest run is passed over: the returned person's record lies behind it and is found."""
    kit = opened("kit")
    from strongroom.keymaster.sealing import Sealing

    real = Sealing.seal_subjects

    def racing(self, *args):
        Sealing.seal_subjects = real
        done = real(self, *args)
        kit.erase(GONE, reason="race")
        kit.put("persons", pa.Table.from_pylist([person(7) | {"address": "new"}]))
        return done

    try:
        Sealing.seal_subjects = racing
        kit.put("persons", persons(1, 7), again=True)
    finally:
        Sealing.seal_subjects = real
    with case(opened) as desk:
        assert desk.get("persons", GONE)["address"] == "new"
        (found,) = desk.find("persons", {"mobile": person(7)["mobile"]})
        assert found["address"] == "new"
    assert counted(opened) == 300
    kit.compact()
    with case(opened) as desk:
        assert desk.get("persons", GONE)["address"] == "new"


def test_a_receipt_is_verified_with_the_public_key_alone(opened):
    """The receipt holds against the log's key; a changed entry, count, state or another log's key does not."""
    report = opened("kit").erase([GONE, OTHER], reason="request 12")
    key = opened.keymaster._publishing.keys
    text = json.dumps(report.receipt)
    found = verify_receipt(text, key)
    assert (found.state, found.persons, found.leaves) == ("in force", 2, report.leaves)
    assert report.receipt["waits_for"]
    for change in (
        {"persons": 3},
        {"state": "final"},
        {"state": "final", "waits_for": []},
        {"entries": []},
        {"entries": report.receipt["entries"] * 2},
        {"log": "strongroom/" + "0" * 32},
        {"kind": "x"},
        {"entries": [{**report.receipt["entries"][0], "entry": report.receipt["entries"][0]["entry"].replace("2", "3")}]},
        {"log": "\ud800"},
        {"entries": [{**report.receipt["entries"][0], "entry": "\ud800"}]},
    ):
        with pytest.raises(IntegrityError):
            verify_receipt(json.dumps(report.receipt | change), key)
    with pytest.raises(IntegrityError):
        verify_receipt(text, bytes(32))
    again = opened("kit").erasure_receipt(*report.leaves)
    assert verify_receipt(json.dumps(again), key).leaves == report.leaves
    with pytest.raises(NotFoundError, match="no erasure"):
        opened("kit").erasure_receipt(0)


def test_when_the_second_place_fails_the_erasure_is_in_force_and_its_receipt_can_be_had_later(opened, monkeypatch):
    """A bucket that takes no note does not undo an erasure, and says how to get the receipt."""
    kit = opened("kit")

    def fails(*_a):
        raise UnavailableError("full")

    with monkeypatch.context() as patch:
        patch.setattr("strongroom.erase.erasing.leave_act", fails)
        with pytest.raises(UnavailableError, match="in force") as caught:
            kit.erase(GONE, reason="r")
    with case(opened) as desk, pytest.raises(NotFoundError):
        desk.get("persons", GONE)
    leaf = int(caught.value.hint.split("--receipt ")[1].split("`")[0])
    assert kit.erasure_receipt(leaf)["persons"] == 1


def kept(by):
    """The schema with a retention of 30 days on parcels."""
    line = f'retention = {{ days = 30, by = "{by}" }}'
    return SCHEMA.replace('[tables.parcels]\nsubject = "person_id"', f'[tables.parcels]\nsubject = "person_id"\n{line}')


def test_retention_by_put_time_hides_at_once_and_drops_at_compaction(opened):
    """Records put longer ago than the retention are in no read and leave at compaction; the dry run counts them first."""
    kit, core = opened("kit"), opened.keymaster._core
    real = core.clock
    core.clock = core.journal._clock = lambda: real() + 40 * 86400
    kit.put("parcels", pa.Table.from_pylist([{"person_id": GONE, "tracking": "SF9", "goods": "杯", "district": 1}]))
    schema = kept("put")
    (said,) = kit.retention(schema=schema)
    assert (said.table, said.records, said.expired, said.everything) == ("parcels", 601, 600, False)
    kit.set_schema(schema)
    with delivery(opened) as desk:
        assert [r["tracking"] for r in desk.records("parcels", GONE)] == ["SF9"]
        assert desk.find("parcels", {"tracking": "SF100008"}) == []
        with pytest.raises(NotFoundError):
            desk.records("parcels", OTHER)
    assert counted(opened, "persons") == 300
    with opened("lin").read(purpose="statistics", reason="r") as desk:
        assert len(desk.sql("select district from parcels limit 99")) == 1
    assert [e.expired for e in kit.retention()] == [600]
    assert kit.compact().dead == 1200
    assert [(e.records, e.expired) for e in kit.retention()] == [(1, 0)]
    with delivery(opened) as desk:
        assert [r["tracking"] for r in desk.records("parcels", GONE)] == ["SF9"]
    assert kit.check(deep=True).faults == []


def test_retention_by_a_date_field_goes_by_the_record(tmp_path):
    """A record whose open date is longer ago than the retention is in no read and leaves at compaction."""
    import datetime as dt

    from small_room import POLICY, SmallRoom

    room = SmallRoom(tmp_path)
    schema = kept("sent").replace("district  =", 'sent = { type = "date", class = "open" }\ndistrict  =')
    room.create(schema=schema, policy=POLICY)
    today = dt.datetime.now(dt.UTC).date()
    rows = [
        {"person_id": f"P-{n}", "tracking": f"T{n}", "goods": "x", "sent": today - dt.timedelta(days=n), "district": 1}
        for n in (1, 29, 31, 400)
    ] + [{"person_id": "P-0", "tracking": "T0", "goods": "x", "sent": None, "district": 1}]
    with room.keymaster() as keymaster:
        kit = strongroom.open(str(room.bucket), keys=keymaster, actor="kit")
        kit.put("parcels", pa.Table.from_pylist(rows))
        (said,) = kit.retention()
        assert (said.records, said.expired) == (5, 2)
        for compacted in (False, True):
            with strongroom.open(str(room.bucket), keys=keymaster, actor="mei").read(purpose="delivery", reason="r") as desk:
                assert desk.find("parcels", {"tracking": ["T31", "T400"]}) == []
                assert len(desk.find("parcels", {"tracking": ["T1", "T29", "T0"]})) == 3
                with pytest.raises(NotFoundError):
                    desk.records("parcels", "P-400")
            with strongroom.open(str(room.bucket), keys=keymaster, actor="lin").read(purpose="statistics", reason="r") as desk:
                assert len(desk.sql("select district from parcels limit 99")) == 3
            if not compacted:
                assert kit.compact().dead == 2
        assert kit.check(deep=True).faults == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('{ days = 0, by = "put" }', "days"),
        ("{ days = 3 }", "from when"),
        ('{ days = 3, by = "goods" }', "date or timestamp"),
        ('{ days = 3, by = "nothing" }', "not a field"),
        ('{ days = 3, by = "put", x = 1 }', "unknown key"),
    ],
)
def test_a_retention_that_cannot_be_kept_is_refused(opened, words, said):
    """A retention without days, from an unknown field, or from one that nobody can see, is a schema error."""
    text = SCHEMA.replace('records = "many"', f'records = "many"\nretention = {words}', 1)
    with pytest.raises(strongroom.SchemaError, match=said):
        opened("kit").set_schema(text)
