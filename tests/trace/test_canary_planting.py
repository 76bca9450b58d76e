"""Planting: canaries are read like anybody, registered first, put whole, and never left without a register."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import planted_city
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pytest
from canary_kit import city_tables
from planted_city import PERSONS, agreed, canary_policy, plant, small_sizes
from served_room import Served
from small_room import PASSPHRASE, SmallRoom

import strongroom
from strongroom.audit.disclosure import disclosed_digest
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    IntegrityError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.evidence.code import HALF, QUARTER, RARE, sizes
from strongroom.evidence.opening import PoolTree
from strongroom.keymaster.canaries.register import CanaryRegister
from strongroom.keys.rows import counter
from strongroom.seal.tokens import tokens
from strongroom.trace.canary import planting, sampling
from strongroom.trace.canary.contents import opening_of, unit_contents
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy, Source
from strongroom.trace.canary.sizing import needed, tables_of, without_approval


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_sizes(monkeypatch)


@pytest.fixture
def city(city_template, tmp_path):
    return city_template.copy_to(tmp_path / "city")


@pytest.fixture
def planted(planted_template, tmp_path):
    return planted_template[0].copy_to(tmp_path / "planted")


def opened(room, keys, actor):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def persons_put(keys):
    """How many persons ever got a key."""
    return counter(keys._core.state.read(), "ordinal")


def put_canaries(keys):
    """How many of them are canaries."""
    return len(keys._canaries.ordinals())


# -- what is planted ---------------------------------------------------------------------------


def test_canaries_stand_in_the_room_like_anybody(planted_template, planted):
    """As many as the sizes say, in every table but the sensitive one; found by their numbers; `check` finds no fault."""
    report = planted_template[1]
    assert (report.canaries, report.persons, report.learnt_from) == (32, 128, PERSONS)
    assert report.records["persons"] == 128
    assert set(report.records) == {"persons", "deliveries", "police_reports"}
    with planted.keymaster() as keys:
        assert (persons_put(keys), put_canaries(keys)) == (PERSONS + 128, 128)
        pools = keys.canaries.pools("kit")
        assert [(p.bias, p.count, p.persons, p.planted) for p in pools] == [(QUARTER, 12, 48, True), (HALF, 20, 80, True)]
        with opened(planted, keys, "kit") as room:
            assert room.check().faults == []
        every = [t.tobytes() for t in keys._canaries.all()]
        with opened(planted, keys, "mei") as room, room.read(purpose="delivery", reason="r") as desk:
            records = [r for (r,) in desk.of_tokens("persons", every)]
            assert len({r["mobile"] for r in records} & set(city_tables(PERSONS)["persons"]["mobile"].to_pylist())) == 0
            (found,) = desk.find("persons", {"mobile": records[5]["mobile"]})
            assert found["name"] == records[5]["name"]


def test_what_was_committed_to_is_what_stands_in_the_room(planted):
    """The records of a unit, read from the room, give the commitment that the log has under its pool's root."""
    with planted.keymaster() as keys:
        own = keys._canaries
        approval = agreed(keys, "ana", "planting", 3_000)
        rows, units = {}, {}
        for record in own.records():
            pool = own.pool(record.number)
            assert PoolTree(pool.digests).root.hex() == record.root
            numbers = {t.tobytes(): int(n) for t, n in zip(pool.tokens, pool.numbers, strict=True)}
            with pytest.MonkeyPatch.context() as patch, opened(planted, keys, "ana") as room:
                patch.setattr(CanaryRegister, "found_in", lambda _self, _rows, _asked: [])
                grant = keys.begin_reading(actor="ana", purpose="planting", reason="r", approval=approval)
                session = room._session
                block_keys = session.reading_keys(grant.reading_id)
                finder = session.finder(session.catalog(block_keys), block_keys)
                tables = tables_of(keys.schema(), CanaryPolicy())
                reader = sampling.Sampling(session, finder, grant, tables)
                for table in tables:
                    every, own_tokens = reader._table(table, [(bytes(16), b"\xff" * 16)])
                    at = [i for i, t in enumerate(own_tokens) if t.tobytes() in numbers]
                    rows[table.name] = every.take(pa.array(at))
                    units[table.name] = np.array([numbers[own_tokens[i].tobytes()] for i in at], np.int64)
            contents = unit_contents(rows, units, record.count)
            made = [disclosed_digest(opening_of(s.tobytes(), c.tobytes())) for s, c in zip(pool.salts, contents, strict=True)]
            assert b"".join(made) == pool.digests.tobytes()


def test_numbers_say_nothing_of_identifiers(planted):
    """Canaries of one pool are spread over all numbers of persons, those of a unit do not follow one another in tokens."""
    with planted.keymaster() as keys:
        pools = [keys._canaries.pool(p.number) for p in keys.canaries.pools("kit")]
        for pool in pools:
            assert np.array_equal(np.sort(np.unique(pool.numbers)), np.arange(pool.count))
            assert np.array_equal(np.bincount(pool.numbers), np.full(pool.count, 4))
        with opened(planted, keys, "mei") as room, room.read(purpose="delivery", reason="r") as desk:
            ids = [[desk.of_tokens("persons", [t.tobytes()])[0][0]["person_id"] for t in pool.tokens] for pool in pools]
        named = sorted((i, at) for at, pool in enumerate(ids) for i in pool)
        changes = sum(one[1] != other[1] for one, other in pairwise(named))
        assert changes > 30  # 59 are expected by chance; one where a pool had the first identifiers


def test_a_planter_reads_no_canaries_again(planted):
    """Another sample has none of them: canaries are learnt from people alone, and nobody is charged for one."""
    with planted.keymaster() as keys, opened(planted, keys, "ana") as room:
        approval = agreed(keys, "ana", "planting", 3_000)
        grant = keys.begin_reading(actor="ana", purpose="planting", reason="r", approval=approval)
        block_keys = room._session.reading_keys(grant.reading_id)
        finder = room._session.finder(room._session.catalog(block_keys), block_keys)
        tables = tables_of(keys.schema(), CanaryPolicy())
        found = sampling.Sampling(room._session, finder, grant, tables).read(20_000, bytes(16))
        assert (found.persons, found.share) == (PERSONS, 1.0)
        assert set(found.tables["persons"]["mobile"].to_pylist()) == set(
            city_tables(PERSONS)["persons"]["mobile"].to_pylist()
        )
        assert not [e for e in keys.log_entries("kit") if "alarm" in e.get("extras", {})]


def test_a_part_of_the_persons_is_whole_persons_at_random(city):
    """At most so many, the same in every table with all their records, over the end of the tokens and round; the share."""
    with city.keymaster() as keys, opened(city, keys, "ana") as room:
        approval = agreed(keys, "ana", "planting", 3_000)
        grant = keys.begin_reading(actor="ana", purpose="planting", reason="r", approval=approval)
        block_keys = room._session.reading_keys(grant.reading_id)
        finder = room._session.finder(room._session.catalog(block_keys), block_keys)
        tables = tables_of(keys.schema(), CanaryPolicy())
        whole = city_tables(PERSONS)
        subject, ids = keys._core.subject, whole["persons"]["person_id"].combine_chunks()
        places = [int.from_bytes(token.tobytes(), "big") for token in tokens(subject.inner, subject.outer, ids)]
        for start in (bytes(16), b"\xf0" + bytes(15)):
            found = sampling.Sampling(room._session, finder, grant, tables).read(400, start)
            assert found.persons == 400
            behind = sorted((place - int.from_bytes(start, "big")) % (1 << 128) for place in places)
            assert found.share == pytest.approx(behind[400] / (1 << 128))
            assert found.share == pytest.approx(400 / PERSONS, rel=0.25)  # 6 standard deviations of random tokens
            who = found.tables["persons"]["person_id"]
            for name, rows in found.tables.items():
                expected = pc.sum(pc.is_in(whole[name]["person_id"], who.combine_chunks())).as_py()
                assert len(rows) == expected, name


def test_an_export_holds_whole_units_and_sql_leaves_them_out(planted, tmp_path):
    """What is planted is what exports hold: a part of it, by units, counted like people; sql counts people alone."""
    out = tmp_path / "persons.csv"
    with planted.keymaster() as keys:
        with opened(planted, keys, "sam") as room:
            report = room.export("persons", to=str(out), recipient="uni-north", purpose="extract", reason="r")
        rows = pv.read_csv(out)
        own = set(canary_policy().sources["persons.mobile"].values.to_pylist())
        mobiles = [str(value) for value in rows["mobile"].to_pylist()]
        held = [person for person, mobile in zip(rows["person_id"].to_pylist(), mobiles, strict=True) if mobile in own]
        assert (report.persons, report.marked, len(rows)) == (len(rows), True, PERSONS + len(held))
        assert 0 < len(held) < 128
        units = {}
        for record in keys.canaries.pools("kit"):
            pool = keys._canaries.pool(record.number)
            made = tokens(keys._core.subject.inner, keys._core.subject.outer, pa.array(held))
            number = {t.tobytes(): (record.number, int(n)) for t, n in zip(pool.tokens, pool.numbers, strict=True)}
            for token in made:
                if token.tobytes() in number:
                    unit = number[token.tobytes()]
                    units[unit] = units.get(unit, 0) + 1
        assert set(units.values()) == {4}
        with opened(planted, keys, "lin") as room, room.read(purpose="statistics", reason="r") as desk:
            assert desk.sql("select count(*) as n from persons")["n"].to_pylist() == [PERSONS]
        assert not [e for e in keys.log_entries("kit") if "alarm" in e.get("extras", {})]


# -- how many ----------------------------------------------------------------------------------


def test_how_many_a_room_needs(monkeypatch):
    """The code's sizes, and the most of all purposes; no fewer for canaries of several persons."""
    monkeypatch.undo()
    assert needed(10_000_000, [(2, 750_000.0)]) == dict(sizes(10_000_000).pools)
    both = needed(10_000_000, [(1, 75_000.0), (2, 750_000.0)])
    assert set(both) == {RARE, HALF}
    assert both[RARE] == sizes(10_000_000, colluders=1, sample=75_000).pools[RARE] > sizes(10_000_000).pools[RARE]
    assert both[HALF] == sizes(10_000_000).pools[HALF]
    with pytest.raises(UsageError, match="is too small for canaries: 7,500 published rows"):
        needed(10_000_000, [(2, 7_500.0)])
    with pytest.raises(UsageError, match="is too small for canaries: 1,000 published rows"):
        needed(1_000, [(2, 750_000.0)])


def test_a_room_that_has_what_it_needs_gets_no_more(planted):
    """Refused before anybody is read; more colluders need more, and only those."""
    with planted.keymaster() as keys:
        before = keys.log_size
        with pytest.raises(ConflictError, match="has the canaries that"):
            plant(planted, keys)
        assert not [e for e in keys.log_entries("kit", before) if e["act"] == "plant"]


# -- what refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"approval": None}, DeniedError, "agreement"),
        ({"actor": "idle", "purpose": "planting"}, DeniedError, "may not put into table persons"),
        ({"purpose": "half"}, DeniedError, "does not show ethnicity of table persons plain"),
        ({"policy": CanaryPolicy(unit=4)}, UsageError, "persons.resident_id: a canary's resident id must reach nobody"),
        (
            {"policy": CanaryPolicy(sources={"persons.address": Source("complete")})},
            UsageError, "persons.address: a complete source needs an index",
        ),
        ({"colluders": 2, "sample": 1_500.0}, UsageError, "too small for canaries"),
        ({"learn_from": 100}, UsageError, "at least 200 are needed"),
        ({"learn_from": 200_001}, UsageError, "at most 200,000 persons"),
    ],
)  # fmt: skip
def test_what_is_refused(city, change, kind, told):
    """With the reason; nobody is registered, nothing is put."""
    with city.keymaster() as keys:
        with pytest.raises(kind) as refused:
            plant(city, keys, **change)
        assert told in str(refused.value)
        assert keys.canaries.pools("kit") == []
        assert persons_put(keys) == PERSONS


def test_an_approval_for_too_few_persons_reads_nobody(city):
    """The sample is counted whole by the agreement's own budget."""
    with city.keymaster() as keys:
        with pytest.raises(DeniedError):
            plant(city, keys, approval=agreed(keys, "ana", "planting", 1_000))
        assert keys.canaries.pools("kit") == []


def test_too_few_own_numbers(city):
    """The operator's list is shorter than the canaries are many: the field's name, and no value."""
    with city.keymaster() as keys, pytest.raises(UsageError, match=r"persons.mobile.* identifiers are 20, more are needed"):
        own = canary_policy()
        few = own.sources["persons.mobile"].values.slice(0, 20)
        sources = {**own.sources, "persons.mobile": type(own.sources["persons.mobile"])("own", few)}
        plant(city, keys, policy=CanaryPolicy(sources=sources))


def test_own_numbers_that_somebody_has_are_passed_over(city):
    """The room is asked for each, by its index: a list with people's numbers gives only those that are free."""
    own = canary_policy()
    taken = city_tables(PERSONS)["persons"]["mobile"].combine_chunks().slice(0, 300)
    mixed = pa.concat_arrays([taken, own.sources["persons.mobile"].values])
    sources = {**own.sources, "persons.mobile": type(own.sources["persons.mobile"])("own", mixed)}
    with city.keymaster() as keys:
        plant(city, keys, policy=CanaryPolicy(sources=sources), learn_from=600)
        every = [t.tobytes() for t in keys._canaries.all()]
        with opened(city, keys, "mei") as room, room.read(purpose="delivery", reason="r") as desk:
            mobiles = {r["mobile"] for (r,) in desk.of_tokens("persons", every)}
    assert len(mobiles) == 128
    assert not mobiles & set(city_tables(PERSONS)["persons"]["mobile"].to_pylist())


def test_an_empty_room(tmp_path):
    """Said plainly; nothing is registered."""
    room = SmallRoom(tmp_path / "empty")
    room.create(schema=planted_city.schema_text(), policy=planted_city.POLICY)
    with room.keymaster() as keys, pytest.raises(UsageError, match="the room has 0 persons"):
        plant(room, keys)


# -- cut short ---------------------------------------------------------------------------------


def test_a_full_disk_while_records_are_put(city, monkeypatch):
    """Told as it is, with the pools that lack records; the next run names them, plants what is needed, and all is whole."""
    real, count = planting.put, []

    def full(*args, **more):
        count.append(1)
        if len(count) == 2:
            raise UnavailableError("the disk is full")
        return real(*args, **more)

    with city.keymaster() as keys:
        with monkeypatch.context() as patch:
            patch.setattr(planting, "put", full)
            with pytest.raises(UnavailableError, match="the disk is full") as stopped:
                plant(city, keys, learn_from=400)
        assert "pools 0, 1 are registered and lack records" in stopped.value.hint
        assert [p.planted for p in keys.canaries.pools("kit")] == [False, False]
        report = plant(city, keys, learn_from=400)
        assert "pools 0, 1 are of an earlier run that was cut short" in report.notes[0]
        assert list(report.pools) == [2, 3]
        assert persons_put(keys) == PERSONS + put_canaries(keys)
        with opened(city, keys, "kit") as room:
            assert room.check().faults == []


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import planted_city, pytest
from pathlib import Path
from small_room import SmallRoom
from strongroom.keymaster.canaries.asking import EmbeddedCanaries
from strongroom.trace.canary import planting

def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

step, count = {step!r}, []
if step == "registered":
    planting.put = die
elif step == "table":
    real = planting.put
    planting.put = lambda *args, **more: die() if count else (count.append(1), real(*args, **more))[1]
elif step == "noted":
    EmbeddedCanaries.planted = die
with pytest.MonkeyPatch.context() as patch:
    planted_city.small_sizes(patch)
    room = SmallRoom(Path({room!r}))
    with room.keymaster() as keys:
        planted_city.plant(room, keys, learn_from=400)
"""


@pytest.mark.parametrize("step", ["registered", "table", "noted"])
def test_a_killed_planting_leaves_no_person_whom_nobody_registered(city, step):
    """Whatever was put is a canary's; the room opens; the next run works and says what the first left."""
    path = [str(Path(planted_city.__file__).parent), *filter(None, sys.path)]
    script = KILLED.format(path=path, step=step, room=str(city.folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with city.keymaster() as keys:
        assert [(p.planted, p.persons) for p in keys.canaries.pools("kit")] == [(False, 48), (False, 80)]
        assert persons_put(keys) == PERSONS + put_canaries(keys)
        report = plant(city, keys, learn_from=400)
        assert "pools 0, 1 are of an earlier run that was cut short" in report.notes[0]
        assert persons_put(keys) == PERSONS + put_canaries(keys)
        with opened(city, keys, "kit") as room:
            assert room.check().faults == []


def test_a_keymaster_that_is_set_back_knows_who_was_planted_whole(city, tmp_path):
    """From the tail beside the objects, though it lacks the keys of what was put since its copy."""
    with city.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
        plant(city, keys, learn_from=400)
        before, tokens_before = keys.canaries.pools("kit"), keys._canaries.all().tobytes()
    shutil.rmtree(city.keys)
    strongroom.restore_keymaster(city.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)
    with city.keymaster() as keys:
        with pytest.raises(IntegrityError, match="came home from an older copy"):
            opened(city, keys, "kit")
        assert keys.canaries.pools("kit") == before
        assert [pool.planted for pool in before] == [True, True]
        assert keys._canaries.all().tobytes() == tokens_before
        assert keys.canaries.dense("kit") == ["persons.person_id"]


def test_fields_in_exact_order_of_time_are_named_like_those_with_last_numbers(city, monkeypatch):
    """Where canaries' numbers are in order only nearly, the report says so, and exports that show them plain are told."""

    class Ordered:
        def __init__(self, *given, **more):
            self._model = learn(*given, **more)
            self.blind = self._model.blind

        def make(self, *given):
            return replace(self._model.make(*given), ordered=("police_reports.report_no",))

    monkeypatch.setattr(planting, "learn", Ordered)
    with city.keymaster() as keys:
        report = plant(city, keys, learn_from=400)
        assert report.dense == ("persons.person_id", "police_reports.report_no")
        told = "police_reports.report_no: only people's are in order of time, export it as a token"
        assert any(note.startswith(told) for note in report.notes)
        assert any("purpose extract exports with canaries and takes no approvals" in note for note in report.notes)
        policy = keys.policy()
        extract = replace(policy.purposes["extract"], approval=policy.purposes["asking"].approval)
        assert without_approval(policy) == ["extract"]
        assert without_approval(replace(policy, purposes={**policy.purposes, "extract": extract})) == []
        assert keys.canaries.dense("kit") == list(report.dense)


# -- through a served keymaster ----------------------------------------------------------------


def test_through_a_served_keymaster(city):
    """The same over the wire: sampling, look-ups, register, put, and the note; a direct caller plants as well."""
    with Served(city.keymaster()) as served:
        approval = agreed(served.keymaster, "ana", "planting", 4_000)
        with served.connect(served.credential("ana")) as keys, opened(city, keys, "ana") as room:
            report = room.plant_canaries(
                canary_policy(), purpose="planting", reason="r", approval=approval, learn_from=500
            )
            assert (report.canaries, report.persons) == (32, 128)
            with pytest.raises(StrongroomError):
                keys.canaries.pools("ana")
        with served.connect(served.credential("max")) as keys:
            assert [p.planted for p in keys.canaries.pools("max")] == [True, True]


def test_an_agreement_to_the_sample_alone_is_told_to_how_many_it_must_be(city):
    """The canaries count into the agreement, too; nobody is registered without."""
    with city.keymaster() as keys:
        ident = agreed(keys, "ana", "planting", 1_000)
        with pytest.raises(BudgetError) as caught:
            plant(city, keys, approval=ident, learn_from=1_000)
        assert not keys._canaries.any()
        asked, learnt, planted = (int(word.replace(",", "")) for word in caught.value.hint.split() if word[0].isdigit())
        assert (learnt, asked) == (1_000, learnt + planted)
        assert planted > 100
