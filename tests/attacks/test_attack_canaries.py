"""Somebody wants to know who is a canary: from the keymaster's database, as an exporter, by counting, or with two copies."""

import keymaster_fixtures
import numpy as np
import pyarrow as pa
import pytest
from planting_kit import PLANTING, agreed, register
from small_room import POLICY, SCHEMA, SmallRoom, person, persons

import strongroom
from strongroom.errors import DeniedError
from strongroom.evidence.code import HALF, RARE, found, members, sizes
from strongroom.evidence.coderow import open_row
from strongroom.evidence.verdict import judge
from strongroom.index.hidden import Hidden
from strongroom.keymaster.canaries import pool as canarypool
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.exports.coins import Coins
from strongroom.keymaster.exports.exporting import EmbeddedExports

EXPORTING = """
[roles.sender]
[actors.sam]
roles = ["sender"]
[purposes.extract]
legal_basis = "research act"
roles = ["sender"]
verbs = ["export"]
tables.persons = { identity = "plain" }
export = { recipients = ["uni-north"], budget = { day = 200000 }, canaries = { colluders = 1, sample = 4000 } }
approval = { roles = ["chief"], over = 200000 }
"""
ROOM_POLICY = POLICY.replace("budget = { hour = 5000, day = 5000", "budget = { hour = 500000, day = 500000").replace(
    "month = 50000 }", "month = 500000 }"
)
PERSONS, CANARIES = 5000, 2200


@pytest.fixture
def master(tmp_path):
    policy = ROOM_POLICY + PLANTING + EXPORTING
    with keymaster_fixtures.make(tmp_path / "keys", policy=policy, schema=SCHEMA) as made:
        yield made


def put(master, subjects):
    """Tokens and batches of people put at the keymaster alone, as whoever has bucket and reading knows them."""
    batch, sealing = keymaster_fixtures.put(master, pa.array(subjects))
    return sealing.tokens, keymaster_fixtures.beside(batch, sealing.tokens)


def filled(master, pools=((RARE, CANARIES),), people=PERSONS):
    """People, then canaries: tokens and batches of all of them."""
    parts = [put(master, [f"P-{n:06d}" for n in range(people)])]
    for at, (bias, count) in enumerate(pools):
        subjects = [f"C{at}-{n:06d}" for n in range(count)]
        register(master, bias, subjects)
        parts.append(put(master, subjects))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


PLAN = ExportPlan(("persons",), "uni-north", 1)
NAMING = ExportPlan(("persons",), "uni-north", 1, named=True)


def started(master, tokens, batches, add=None, plan=PLAN, approval=None):
    """A started export: its reading, its id, and what `add` answered."""
    reading = master.begin_reading(actor="sam", purpose="extract", reason="study 9", approval=approval).reading_id
    export = master.exports.begin(reading, plan)
    steps = [slice(0, len(tokens))] if add is None else add
    counts = [master.exports.add(reading, export, "persons", tokens[step], batches[step]) for step in steps]
    master.exports.start(reading, export)
    return reading, export, counts


def given(master, reading, export, tokens, batches):
    """For which rows keys came out, bool[n]."""
    answer = master.exports.release(reading, export, "persons", tokens, batches)
    return answer.keys["identity"].any(axis=1)


# -- a stolen database ---------------------------------------------------------------------------


def everything(master, tmp_path):
    """All that the keymaster's folder holds but its slots, as a thief copies it."""
    master._core.state.read().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return b"".join(path.read_bytes() for path in (tmp_path / "keys").glob("keymaster.db*"))


def told_by(master, tmp_path):
    """How many canaries a thief of the database tells from people, whose tokens all lie in the bucket."""
    tokens, _batches = filled(master, ((RARE, 200),), people=500)
    stolen = everything(master, tmp_path)
    return sum(token.tobytes() in stolen for token in tokens[500:]), sum(t.tobytes() in stolen for t in tokens[:500])


def test_attack_a_stolen_database_names_no_canary(master, tmp_path):
    """The thief has every token of the bucket, and finds none of the canaries' in the register."""
    canaries, people = told_by(master, tmp_path)
    assert canaries <= people + 2  # a page key's range names a first and a last token, whoever they are of


def test_control_a_register_in_plain_names_them_all(master, tmp_path, monkeypatch):
    """The same database with pools that are not sealed."""
    monkeypatch.setattr(canarypool, "wrap", lambda _key, plain, _ad: plain)
    canaries, _people = told_by(master, tmp_path)
    assert canaries >= 190  # pages of the database cut a few in two


# -- an exporter whose program was changed -------------------------------------------------------


def test_attack_keys_of_canaries_that_the_export_does_not_hold(master):
    """Asked for again and again, and by themselves: keys are those of the code row's members and nobody else."""
    tokens, batches = filled(master)
    reading, export, _counts = started(master, tokens, batches)
    marked = master.exports.ledger.of(export).marked
    own = members(open_row(marked.opening, marked.commitment))[0].tolist()
    here = given(master, reading, export, tokens, batches)
    assert here[:PERSONS].all()
    assert np.flatnonzero(here[PERSONS:]).tolist() == own
    others = np.flatnonzero(~here)
    for _ in range(2):
        assert not given(master, reading, export, tokens[others], batches[others]).any()


def test_control_without_leaving_them_out_every_canary_goes_along(master, monkeypatch):
    """The same export where whoever was asked for is released."""
    monkeypatch.setattr(EmbeddedExports, "_only", staticmethod(lambda _export, behind: behind))
    tokens, batches = filled(master)
    reading, export, _counts = started(master, tokens, batches)
    assert given(master, reading, export, tokens, batches).all()


def suspects(master):
    """Of 40 rows, added one by one, those released that `add` did not count, and how many canaries are among the held."""
    tokens, batches = filled(master)
    canaries = np.arange(PERSONS, PERSONS + CANARIES)
    steps = [slice(0, PERSONS), *(slice(at, at + 1) for at in canaries)]
    reading, export, counts = started(master, tokens, batches, steps)
    uncounted = canaries[np.diff(counts) == 0]
    here = given(master, reading, export, tokens, batches)
    return int(here[uncounted].sum()) if len(uncounted) else 0, int(here[canaries].sum())


def test_attack_adding_rows_one_by_one_does_not_tell_which_are_held(master):
    """Nobody is released whom `add` did not count: a held canary is counted, and released, like a person."""
    caught, held = suspects(master)
    assert held > 10
    assert caught == 0


def test_control_counts_of_people_alone_tell_every_held_canary(master, monkeypatch):
    """The same where `add` counts people alone: who is released and was not counted is a canary, and goes out of the file."""
    monkeypatch.setattr(EmbeddedExports, "_counted", staticmethod(lambda export: len(export.persons)))
    caught, held = suspects(master)
    assert caught == held > 10


# -- one row alone, or one row more --------------------------------------------------------------


def learnt(master, plan, approval=None):
    """What somebody hears who exports one row of their copy: a person's, a canary's that the copy holds, another's."""
    tokens, batches = filled(master)
    here = given(master, *started(master, tokens, batches)[:2], tokens, batches)
    rows = (7, PERSONS + int(np.flatnonzero(here[PERSONS:])[0]), PERSONS + int(np.flatnonzero(~here[PERSONS:])[0]))
    heard = []
    for row in rows:
        one = slice(row, row + 1)
        try:
            reading, export, _ = started(master, tokens[one], batches[one], plan=plan, approval=approval)
        except DeniedError as error:
            heard.append(str(error))
        else:
            found = given(master, reading, export, tokens[one], batches[one]).sum()
            heard.append((master.exports.ledger.of(export).persons, int(found)))
    return heard


@pytest.mark.parametrize("plan", [PLAN, NAMING], ids=["chosen", "named"])
def test_attack_exporting_one_row_tells_one_caller_nothing(master, plan):
    """Chosen by a condition or named, a person's row and a canary's are refused with the same words."""
    first, *others = learnt(master, plan)
    assert "another person must agree" in first
    assert others == [first, first]


@pytest.mark.parametrize("plan", [PLAN, NAMING], ids=["chosen", "named"])
def test_control_with_another_person_one_row_tells(master, plan):
    """Two people may learn who is a canary: the person goes out, the canaries do not."""
    assert learnt(master, plan, agreed(master, "sam", "extract", 10_000)) == [(1, 1), (0, 0), (0, 0)]


@pytest.mark.parametrize("plan", [PLAN, NAMING], ids=["chosen", "named"])
def test_control_where_small_copies_are_nobody_else_s_matter_one_row_tells(master, plan, monkeypatch):
    """The same where an export without marks is made alone: who is not in it is a canary."""
    monkeypatch.setattr(Coins, "unmarked", lambda *_: "")
    assert learnt(master, plan) == [(1, 1), (0, 0), (0, 0)]


TRIED = 20


def told_by_one_more(master):
    """Of some canaries and some people, who shows by an export with them counting no more persons than one without."""
    tokens, batches = filled(master)

    def counted(rows):
        reading, export, _ = started(master, tokens[rows], batches[rows])
        return master.exports.end(reading, export, {"persons": len(rows)}, bytes(32)).persons

    def told(row):
        others = np.setdiff1d(np.arange(len(tokens)), [row])
        return counted(others) == counted(np.append(others, row))

    return sum(map(told, range(PERSONS, PERSONS + TRIED))), sum(map(told, range(TRIED)))


def test_attack_one_row_more_does_not_show_in_a_count(master):
    """Canaries that are held count, each time others: it says next to nothing how many more a copy has with one more row."""
    canaries, people = told_by_one_more(master)
    assert canaries < TRIED // 2
    assert people < TRIED // 2


def test_control_where_people_alone_are_counted_one_row_more_tells(master, monkeypatch):
    """The same where people alone are counted and charged: whoever adds nothing to the count is one."""
    monkeypatch.setattr(EmbeddedExports, "_in_files", staticmethod(lambda export, _marked: export.persons))
    assert told_by_one_more(master) == (TRIED, 0)


# -- counting before and after -------------------------------------------------------------------


def grown(tmp_path):
    """By how much the counts of a statistician grow, group by group, when canaries are planted between two of them."""
    room = SmallRoom(tmp_path / "room")
    room.create(policy=POLICY + PLANTING)
    with room.keymaster() as keys:

        def opened(actor):
            return strongroom.open(str(room.bucket), keys=keys, actor=actor)

        def counts():
            with opened("lin") as own, own.read(purpose="statistics", reason="yearbook") as desk:
                found = desk.sql("select sex, count(*) n from persons group by sex order by sex").to_pylist()
            return np.array([row["n"] for row in found])

        with opened("kit") as own:
            own.put("persons", persons(100))
            before = counts()
            register(keys, HALF, [person(n)["person_id"] for n in range(500, 540)])
            own.put("persons", persons(40, 500))
        return int((counts() - before).sum())


def test_attack_counts_before_and_after_planting_show_nothing(tmp_path):
    """Counts stay: neither how many canaries there are nor which groups they are in can be read off them."""
    assert grown(tmp_path) == 0


def test_control_counts_with_canaries_show_them(tmp_path, monkeypatch):
    """The same where nothing is hidden."""
    monkeypatch.setattr(Hidden, "positions", lambda _self, _readers: iter(()))
    assert grown(tmp_path) == 40


# -- two copies ----------------------------------------------------------------------------------


def intersection(master, pools):
    """Two exports of a room publish what both have; another is innocent. Returns their ids, his, and who is accused."""
    people = 30_000
    tokens, batches = filled(master, pools, people)
    rule = "canaries = { colluders = 2, sample = 30000 }"
    with master._core.state.write() as rows:
        text = (ROOM_POLICY + PLANTING + EXPORTING).replace("canaries = { colluders = 1, sample = 4000 }", rule)
        master._core.standing.set_policy(rows, text)
    ids, held = [], []
    for _ in range(3):
        reading, export, _counts = started(master, tokens, batches)
        ids.append(export)
        held.append(given(master, reading, export, tokens, batches))
    both = np.flatnonzero(held[0] & held[1])
    which = master._canaries.which(np.ascontiguousarray(tokens[both]))
    finds = found(which.pool[which.found], which.number[which.found])
    rows = [open_row(m.opening, m.commitment) for m in (master.exports.ledger.of(one).marked for one in ids)]
    verdict = judge(rows, finds, ever_issued=3)
    return set(ids[:2]), ids[2], {one.export for one in verdict.accused}


def test_attack_a_recipient_of_two_copies_publishes_what_both_have(master):
    """Who is in one copy and not in the other goes out of the sample; the shared canaries still name the copies."""
    wanted = sizes(30_000, colluders=2, sample=30_000).pools
    guilty, innocent, accused = intersection(master, [(RARE, wanted[RARE]), (HALF, wanted[HALF])])
    assert accused
    assert accused <= guilty
    assert innocent not in accused


def test_control_with_rare_canaries_alone_the_intersection_names_nobody(master):
    """The same without canaries that exports share: none is left in what both have."""
    wanted = sizes(30_000, colluders=2, sample=30_000).pools
    _guilty, _innocent, accused = intersection(master, [(RARE, wanted[RARE])])
    assert accused == set()
