"""Canary persons in a room: counted nowhere, found like anybody, whatever happened to the runs they lie in."""

import csv
import json
import shutil

import pyarrow as pa
import pytest
import survey_room
from planting_kit import PLANTING, register
from room_api import Api
from served_room import Served
from small_room import PASSPHRASE, POLICY, SmallRoom, cases, parcels, person, persons
from survey_room import people, plainly

import strongroom
from strongroom.audit.note import parse_verifier_key
from strongroom.catalog.freshness import leave_act
from strongroom.errors import ConflictError, DeniedError
from strongroom.evidence.code import HALF, RARE
from strongroom.evidence.rowfile import verify_row_file

PEOPLE, FIRST, CANARIES = 300, 500, 60


@pytest.fixture
def room(tmp_path):
    made = SmallRoom(tmp_path / "room")
    made.create(policy=POLICY + PLANTING)
    return made


def opened(room, keys, actor):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def fill(keys, room):
    """300 persons with parcels, 60 canaries with parcels in the same tables, some in the same put as people."""
    register(keys, HALF, [person(n)["person_id"] for n in range(FIRST, FIRST + CANARIES)])
    with opened(room, keys, "kit") as own:
        own.put("persons", pa.concat_tables([persons(200), persons(CANARIES - 10, FIRST)]))
        own.put("persons", pa.concat_tables([persons(100, 200), persons(10, FIRST + CANARIES - 10)]))
        own.put("parcels", parcels(2 * PEOPLE, PEOPLE))
        own.put("parcels", parcels_of(range(FIRST, FIRST + CANARIES)))
        own.put("cases", cases(40))


def parcels_of(numbers):
    rows = [{"person_id": f"P-{n:06d}", "tracking": f"SF{900_000 + n}", "goods": "x", "district": n % 3} for n in numbers]
    return pa.Table.from_pylist(rows)


def counted(room, keys):
    """What SQL says of the room: persons by sex, parcels by district, and birth years of rows."""
    with opened(room, keys, "lin") as own, own.read(purpose="statistics", reason="yearbook") as desk:
        sexes = desk.sql("select sex, count(*) n from persons group by sex order by n").to_pylist()
        districts = desk.sql("select district, count(*) n from parcels group by district").to_pylist()
        rows = desk.sql("select birth_year from persons where birth_year = 1955 limit 100").to_pylist()
    return sum(row["n"] for row in sexes), sum(row["n"] for row in districts), len(rows)


def born(numbers, year=1955):
    return sum(person(n)["birth_year"] == year for n in numbers)


def seen(room, keys, number):
    """Whether a person shows to get and to find, one after the other in the same session, as anybody would."""
    with opened(room, keys, "ada") as own, own.read(purpose="case-work", reason="case 9") as desk:
        got = desk.get("persons", f"P-{number:06d}")
        hits = desk.find("persons", {"mobile": person(number)["mobile"]})
        return got is not None and len(list(hits)) == 1


def test_sql_counts_people_and_finds_see_canaries(room, either_keymaster):
    """With nothing erased, after an erasure, compacted, rotated, and with a pool that came later: people are counted."""
    with room.keymaster() as keys:
        fill(keys, room)
        assert seen(room, keys, FIRST)
        assert counted(room, keys) == (PEOPLE, 2 * PEOPLE, born(range(PEOPLE)))
        assert seen(room, keys, FIRST + 1)
        with opened(room, keys, "kit") as own:
            own.erase("P-000005", reason="asked to")
        left = [n for n in range(PEOPLE) if n != 5]
        assert counted(room, keys) == (len(left), 2 * len(left), born(left))
        with opened(room, keys, "kit") as own:
            own.compact()
            own.rotate_index("persons", "mobile")
            own.rotate_files(older_days=0)
        assert counted(room, keys) == (len(left), 2 * len(left), born(left))
        assert seen(room, keys, FIRST + 2)
        register(keys, RARE, ["P-000700", "P-000701"])
        with opened(room, keys, "kit") as own:
            own.put("persons", persons(2, 700))
        assert counted(room, keys) == (len(left), 2 * len(left), born(left))
        assert seen(room, keys, 700)


def test_one_session_counts_and_finds(room):
    """What is kept of runs between readings of a session does not hide a canary from whoever asks for one."""
    both = POLICY.replace('verbs = ["get", "find", "rejects"]', 'verbs = ["get", "find", "rejects", "sql"]\nsql = {}')
    with room.keymaster() as keys:
        fill(keys, room)
        with opened(room, keys, "kit") as own:
            own.set_policy(both + PLANTING)
            own.erase("P-000005", reason="asked to")
        with opened(room, keys, "ada") as own, own.read(purpose="case-work", reason="case 9") as desk:
            for number in (FIRST, FIRST + 55):
                assert desk.sql("select count(*) n from persons").to_pylist() == [{"n": PEOPLE - 1}]
                assert desk.get("persons", f"P-{number:06d}") is not None
                assert len(list(desk.find("persons", {"mobile": person(number)["mobile"]}))) == 1


def test_a_group_of_canaries_and_few_people_is_too_small(room):
    """The least group counts people: canaries do not make one large enough to show."""
    with room.keymaster() as keys:
        fill(keys, room)
        with opened(room, keys, "kit") as own:
            own.put("persons", pa.Table.from_pylist([{**person(n), "birth_year": 1800} for n in range(400, 409)]))
            register(keys, HALF, [f"P-{n:06d}" for n in range(800, 820)])
            own.put("persons", pa.Table.from_pylist([{**person(n), "birth_year": 1800} for n in range(800, 820)]))
        with opened(room, keys, "lin") as own, own.read(purpose="statistics", reason="yearbook") as desk:
            found = desk.sql("select birth_year, count(*) n from persons where birth_year = 1800 group by birth_year")
            assert found.num_rows == 0


def test_aggregates_over_sealed_fields_charge_and_count_people(tmp_path, either_keymaster):
    """Groups are those of a plain table of people; canaries are neither released nor charged."""
    made = survey_room.SurveyRoom(tmp_path / "room")
    made.create(policy=survey_room.POLICY + PLANTING.replace("[actors.max]\n", "[actors.boss]\n"))
    with made.keymaster() as keys:
        canaries = people(200, seed=9, first=50_000)
        register(keys, HALF, canaries["person_id"].to_pylist(), by="boss")
        with opened(made, keys, "kit") as own:
            own.put("persons", pa.concat_tables([people(), canaries]))
        text = "select ethnicity, count(*) n from persons group by 1 order by 1"
        with opened(made, keys, "lin") as own, own.read(purpose="health", reason="r") as desk:
            found = [tuple(row.values()) for row in desk.sql(text).to_pylist()]
        assert found == [row for row in plainly(text) if row[1] >= 20]
        with opened(made, keys, "kit") as own:
            (released,) = [one for one in own.log() if one["act"] == "sql" and one.get("count")]
        assert released["count"] == survey_room.PEOPLE


def test_whoever_asks_a_keymaster_directly_is_not_told_who_is_hidden(room):
    """A server is told whom to leave out; who has none in front counts nothing, and is told nothing."""
    with room.keymaster() as embedded:
        fill(embedded, room)
        with Served(embedded, alone=True) as served:
            direct, behind = served.connect(served.credential("lin")), served.of("lin")
            told = []
            for keys in (direct, behind):
                reading = keys.begin_reading(actor="lin", purpose="statistics", reason="yearbook").reading_id
                told.append(len(keys.canaries.hidden(reading, "persons", bytes(16), b"\xff" * 16).tokens))
            assert told == [0, CANARIES]
            with opened(room, direct, "lin") as own, own.read(purpose="statistics", reason="yearbook") as desk:
                with pytest.raises(DeniedError, match="by a server only"):
                    desk.sql("select count(*) n from parcels")


def test_a_keymaster_that_is_set_back_has_its_pools_again(room, tmp_path):
    """Its folder comes home from a copy made before they were registered: the tail beside the objects brings them."""
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", persons(PEOPLE))
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
        register(keys, RARE, ["P-000900", "P-000901"])
        register(keys, HALF, [person(n)["person_id"] for n in range(FIRST, FIRST + CANARIES)], unit=2)
        with opened(room, keys, "kit") as own:
            leave_act(own._store, keys, keys.canaries.pools("kit")[-1].leaf)  # as the commit of their put would
        before, tokens = keys.canaries.pools("kit"), keys._canaries.all()
    shutil.rmtree(room.keys)
    strongroom.restore_keymaster(room.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)
    with room.keymaster() as keys, opened(room, keys, "kit"):
        assert keys.canaries.pools("kit") == before
        assert (keys._canaries.all() == tokens).all()
        assert keys._canaries.which(tokens).found.all()
        assert register(keys, RARE, ["P-000910"]) == 2
        with pytest.raises(ConflictError):
            register(keys, RARE, ["P-000901"])


EXPORTING = """
[roles.sender]
[actors.sam]
roles = ["sender"]
[purposes.extract]
legal_basis = "research act"
roles = ["sender"]
verbs = ["export"]
tables.persons = { person_id = "plain", birth_year = "plain" }
tables.parcels = { person_id = "plain", tracking = "plain" }
export = { recipients = ["uni-north"], budget = { day = 4000 }, canaries = { colluders = 1, sample = 2700 } }
"""


def in_file(path, column="person_id"):
    with path.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def test_files_hold_the_people_and_the_export_s_own_canaries_in_every_table(tmp_path, either_keymaster):
    """Who is in one file is in the other; two exports differ in canaries alone; the report says what names the recipient."""
    made = SmallRoom(tmp_path / "room")
    made.create(policy=POLICY + PLANTING + EXPORTING)
    people, planted = 2800, range(10_000, 10_000 + 1_730)
    with made.keymaster() as keys:
        register(keys, RARE, [f"P-{n:06d}" for n in planted])
        with opened(made, keys, "kit") as own:
            own.put("persons", pa.concat_tables([persons(people), persons(len(planted), planted[0])]))
            own.put("parcels", pa.concat_tables([parcels(people, people), parcels_of(planted)]))
        found = []
        for name in ("one", "two"):
            with opened(made, keys, "sam") as own:
                report = own.export(
                    ["persons", "parcels"], to=f"{tmp_path / name}/", recipient="uni-north", purpose="extract",
                    reason="study 9", where="birth_year >= 1900", format="csv",
                )  # fmt: skip
            assert (report.marked, report.names_from, report.why_none) == (True, 2700, "")
            first, second = (in_file(tmp_path / name / f"{table}.csv") for table in ("persons", "parcels"))
            assert sorted(first) == sorted(second)
            assert len(first) == report.persons == report.records["persons"] == report.records["parcels"]
            found.append(set(first))
    everybody = {f"P-{n:06d}" for n in range(people)}
    assert all(everybody < one for one in found)
    assert found[0] != found[1]
    assert all(2 < len(one - everybody) < 65 for one in found)  # 27 are expected, by coins of a random id


def test_a_code_row_is_opened_by_two_and_proved(tmp_path, either_keymaster):
    """Whichever keymaster hands it out, its file verifies with the log's key: once more later, and not as another's."""
    made = SmallRoom(tmp_path / "room")
    policy = (POLICY + PLANTING + EXPORTING).replace('"freeze"]', '"freeze", "disclose"]')
    made.create(policy=policy.replace("[roles.chief]\n", '[roles.chief]\nmay = ["disclose"]\n'))
    planted = range(10_000, 10_000 + 1_730)
    with made.keymaster() as keys:
        register(keys, RARE, [f"P-{n:06d}" for n in planted])
        with opened(made, keys, "kit") as own:
            own.put("persons", pa.concat_tables([persons(2_800), persons(len(planted), planted[0])]))
        with opened(made, keys, "sam") as own:
            sent = own.export("persons", to=str(tmp_path / "p.csv"), recipient="uni-north", purpose="extract", reason="study 9")
        kit, boss = (keys.of(name) if isinstance(keys, Served) else keys for name in ("kit", "max"))
        asked = kit.exports.ask_open("kit", sent.export_id, "court, case 9")
        with pytest.raises(DeniedError):
            kit.exports.open_code("kit", sent.export_id)
        boss.approvals.decide("max", asked.id, agree=True)
        for opener, name in ((kit, "kit"), (boss, "max")):
            given = opener.exports.open_code(name, sent.export_id)
            found = verify_row_file(json.dumps(given.to_dict()), parse_verifier_key(keys.log_key())[1])
            assert (found.export, found.recipient, found.persons) == (sent.export_id, "uni-north", sent.persons)
            assert (found.asked, found.agreed, found.leaf) == ("kit", "max", sent.leaf)


def test_through_a_server_in_a_caller_s_name(tmp_path):
    """Over HTTP counts of open and of sealed fields are of people: what was signed for them is enough."""
    made = survey_room.SurveyRoom(tmp_path / "room")
    made.create(policy=survey_room.POLICY + PLANTING.replace("[actors.max]\n", "[actors.boss]\n"))
    canaries = people(200, seed=9, first=50_000)
    with made.keymaster() as keys:
        register(keys, HALF, canaries["person_id"].to_pylist(), by="boss")
        with opened(made, keys, "kit") as own:
            own.put("persons", pa.concat_tables([people(), canaries]))
    text = "select ethnicity, count(*) n from persons group by 1 order by 1"
    with Api(made) as api, api.of("lin").read(purpose="health", reason="r") as desk:
        found = [tuple(row.values()) for row in desk.sql(text, persons=survey_room.PEOPLE).to_pylist()]
        assert found == [row for row in plainly(text) if row[1] >= 20]
        assert desk.sql("select count(*) n from persons").to_pylist() == [{"n": survey_room.PEOPLE}]
