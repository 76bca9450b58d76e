"""The keymaster's side of exports: spent as a whole and noted once before any key, charged once, sealed, taken up again."""

import os

import numpy as np
import pytest
from keymaster_fixtures import Clock, beside, identifiers, make, noted, put, reopen
from planting_kit import agreed

from strongroom.audit.daymap import day_of
from strongroom.audit.entry import labels_root
from strongroom.errors import BudgetError, ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.exports.api import DECIDES, ENDED, OPEN, ExportPlan
from strongroom.keymaster.holder import Holder
from strongroom.seal.tokens import cmac_column

POLICY = """
[room]
budget = { day = 5000 }
exports = { day = 50000 }
[roles.reader]
[roles.chief]
[roles.clerk]
may = ["put", "log", "erase", "freeze", "policy", "schema"]
put = { tables = ["persons", "parcels"], budget = { day = 20000000 } }
[actors.kit]
roles = ["clerk"]
[actors.ada]
roles = ["reader"]
[actors.bob]
roles = ["reader"]
[actors.eve]
roles = ["chief"]
[purposes.extract]
legal_basis = "research act"
roles = ["reader"]
verbs = ["export"]
tables.persons = { identity = "plain", birth_year = "plain" }
tables.parcels = { goods = "plain" }
export = { recipients = ["uni-north"], budget = { day = 10000 }, decides = true }
[purposes.asked]
legal_basis = "research act"
roles = ["reader"]
verbs = ["export"]
tables.persons = { identity = "plain" }
approval = { roles = ["chief"], over = 10 }
export = { recipients = ["uni-north", "uni-south"], budget = { day = 10000 }, canaries = { colluders = 3, sample = 900 } }
[purposes.support]
legal_basis = "contract"
roles = ["reader"]
verbs = ["get"]
tables.persons = { name = "plain" }
budget = { day = 50 }
"""
PLAN = ExportPlan(("persons",), "uni-north", 1)


@pytest.fixture
def master(tmp_path, either_database):
    with make(tmp_path / "keys", Clock(), policy=POLICY, **either_database) as made:
        yield made


def reading(master, purpose="extract", actor="ada", **more):
    return master.begin_reading(actor=actor, purpose=purpose, reason="study 9", **more).reading_id


def begun(master, sealing, batch, purpose="extract", plan=PLAN, **more):
    """A reading, and an export of all persons that is not started yet."""
    ident = reading(master, purpose, **more)
    export = master.exports.begin(ident, plan)
    master.exports.add(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    return ident, export


@pytest.mark.parametrize("count", [3, 6000])
def test_one_entry_with_the_root_over_all_persons_then_their_keys(master, count):
    """Keys are those of any release; the entry names recipient and export, and its labels stand in the day's lists."""
    batch, sealing = put(master, identifiers(count))
    ident, export = begun(master, sealing, batch)
    with pytest.raises(ConflictError):
        master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    grant = master.exports.start(ident, export)
    released = master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    assert grant.persons == count
    assert set(released.keys) == {"identity"}
    assert np.array_equal(released.keys["identity"], sealing.keys["identity"])
    ((leaf, entry),) = noted(master, "export")
    assert (leaf, entry.count, entry.recipient) == (grant.leaf, count, "uni-north")
    assert "commitment" not in entry.extras
    assert (grant.marked, grant.names_from, grant.why_none) == (False, 0, DECIDES)
    assert entry.fields == ("person_id", "name", "birth_year")
    core = master._core
    keys = core.journal.day_keys(core.state.read(), day_of(entry))
    assert labels_root(cmac_column(keys.day, sealing.tokens)) == entry.labels
    stored = core.state.read().execute("SELECT length(sealed) FROM leaf_labels WHERE leaf = ?", (leaf,)).fetchone()
    assert stored[0] == 16 * count + 28


def test_a_person_is_charged_once_by_the_same_export_and_by_the_next(master):
    """Started twice, taken up, and exported again under the same purpose: the same persons left in the budget."""
    batch, sealing = put(master, identifiers(5000))
    ident, export = begun(master, sealing, batch)
    first = master.exports.start(ident, export)
    assert master.exports.start(ident, export).remaining == first.remaining
    assert first.remaining["exports/actor/ada/purpose/extract/day"] == 5000
    again = master.exports.resume(reading(master), export, PLAN)
    assert (again.persons, again.leaf) == (5000, first.leaf)
    other, second = begun(master, sealing, batch)
    assert master.exports.start(other, second).remaining == first.remaining


def test_one_person_too_many_is_refused_before_any_key_and_spends_nothing(master):
    """Exactly the budget goes out; with one more nobody does, and the refusal is in the log."""
    batch, sealing = put(master, identifiers(10_001))
    ident, export = begun(master, sealing, batch)
    with pytest.raises(BudgetError) as caught:
        master.exports.start(ident, export)
    assert (caught.value.remaining, caught.value.rule) == (10_000, "exports/actor/ada/purpose/extract/day")
    with pytest.raises(ConflictError):
        master.exports.release(ident, export, "persons", sealing.tokens[:1], beside(batch, sealing.tokens[:1]))
    assert [entry.decision for _, entry in noted(master, "export")] == ["refused"]
    assert master.exports.all("ada") == []
    fits = reading(master)
    export = master.exports.begin(fits, PLAN)
    master.exports.add(fits, export, "persons", sealing.tokens[:-1], beside(batch, sealing.tokens[:-1]))
    assert master.exports.start(fits, export).remaining["exports/actor/ada/purpose/extract/day"] == 0


def test_exports_and_reads_are_counted_apart_where_the_room_says_so(master):
    """5,001 persons exported leave the room's budget for reads as it was."""
    batch, sealing = put(master, identifiers(5001))
    ident, export = begun(master, sealing, batch)
    left = master.exports.start(ident, export).remaining
    assert left == {"exports/actor/ada/purpose/extract/day": 4999, "exports/room/day": 44_999}


def test_nobody_outside_the_export_is_released(master):
    """Rows of persons who were not added are missing, whoever names them."""
    batch, sealing = put(master, identifiers(100))
    ident = reading(master)
    export = master.exports.begin(ident, PLAN)
    master.exports.add(ident, export, "persons", sealing.tokens[:50], beside(batch, sealing.tokens[:50]))
    master.exports.start(ident, export)
    released = master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    assert released.missing == tuple(range(50, 100))
    assert not released.keys["identity"][50:].any()
    with pytest.raises(UsageError):
        master.exports.add(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))


def test_whoever_was_erased_is_not_charged_and_not_released(master):
    """Before the export: not in the set. After its start: charged, and no key any more."""
    import pyarrow as pa

    batch, sealing = put(master, identifiers(100))

    def erase(name):
        lease = master.begin_maintenance(actor="kit", verb="erase")
        plan = master.erasures.plan(lease, pa.array([name]))
        master.erasures.erase(lease, plan.tokens, "request 12")

    erase("p-3")
    ident, export = begun(master, sealing, batch)
    assert master.exports.start(ident, export).persons == 99
    erase("p-7")
    released = master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    assert released.missing == (3, 7)


@pytest.mark.parametrize(
    ("purpose", "plan", "rule"),
    [
        ("extract", ExportPlan(("persons",), "uni-south", 1), "purposes.extract.export.recipients"),
        ("support", PLAN, "purposes.support.verbs"),
        ("extract", ExportPlan(("persons",), "uni-north", 1, where="x", where_fields=("name",)), "room.export-filter"),
        ("asked", ExportPlan(("parcels",), "uni-north", 1), "purposes.asked.tables"),
    ],
)
def test_what_may_not_be_exported_is_refused_and_noted(master, purpose, plan, rule):
    """Another recipient, a purpose without the verb, a sealed field in the condition, a table it does not reach."""
    ident = reading(master, purpose)
    with pytest.raises(DeniedError) as caught:
        master.exports.begin(ident, plan)
    assert caught.value.rule == rule
    assert [(entry.decision, entry.rule) for _, entry in noted(master, "export")] == [("refused", rule)]


def test_a_direct_caller_exports_whole_classes_only(master):
    """`extract` shows all of identity, and open fields; parcels show one class whole; a masked field is a server's."""
    direct = {"holder": Holder("c1", direct=True)}
    master.exports.begin(reading(master, **direct), PLAN)
    with pytest.raises(DeniedError) as caught:
        master.exports.begin(reading(master, "asked", **direct), PLAN)  # open fields are withheld
    assert caught.value.rule == "room.server-only"


def test_an_export_needs_the_agreement_that_its_purpose_asks_for(master):
    """Eleven persons are refused; agreed to by another they go out, and the ledger names who agreed."""
    batch, sealing = put(master, identifiers(11))
    ident, export = begun(master, sealing, batch, "asked")
    with pytest.raises(DeniedError) as caught:
        master.exports.start(ident, export)
    assert caught.value.rule == "approval.needed"
    approval = agreed(master, "ada", "asked", 11, by="eve")
    ident, export = begun(master, sealing, batch, "asked", approval=approval)
    grant = master.exports.start(ident, export)
    assert not grant.marked
    assert "tokens alone mark this export" in grant.why_none
    (record,) = master.exports.all("ada")
    assert (record.approval, record.approver) == (approval, "eve")


def test_the_ledger_keeps_who_and_what_and_seals_the_persons(master):
    """After the end it has rows and root; the exact set opens with the keymaster's keys alone."""
    batch, sealing = put(master, identifiers(50))
    plan = ExportPlan(("persons",), "uni-north", 1, where="birth_year > 1980", where_fields=("birth_year",))
    ident = reading(master)
    export = master.exports.begin(ident, plan)
    master.exports.add(ident, export, "persons", sealing.tokens[:20], beside(batch, sealing.tokens[:20]))
    master.exports.start(ident, export)
    assert master.exports.all("ada")[0].state == OPEN
    record = master.exports.end(ident, export, {"persons": 20}, b"r" * 32)
    assert (record.state, record.records, record.root) == (ENDED, 20, (b"r" * 32).hex())
    assert master.exports.all("kit")[0].where == "birth_year > 1980"
    assert master.exports.all("ada")[0].where == ""
    assert master.exports.all("bob") == []
    ordinals = master._core.keys.lookup(sealing.tokens[:20]).ordinals
    assert sorted(master.exports.ledger.persons_of(export)) == sorted(ordinals.tolist())
    stored = master._core.state.read().execute("SELECT said, sealed FROM export").fetchone()
    assert "1980" not in stored[0]
    assert b"1980" not in stored[1]
    assert [entry.extras["records"] for _, entry in noted(master, "exported")] == [20]
    with pytest.raises(NotFoundError):
        master.exports.release(ident, export, "persons", sealing.tokens[:1], beside(batch, sealing.tokens[:1]))


def test_an_export_is_taken_up_by_its_own_actor_for_the_same_plan_only(master):
    """Not by another actor, not with another table, not after its end, not after a week; a frozen purpose stops it."""
    batch, sealing = put(master, identifiers(20))
    ident, export = begun(master, sealing, batch)
    master.exports.start(ident, export)
    with pytest.raises(DeniedError):
        master.exports.resume(reading(master, actor="bob"), export, PLAN)
    with pytest.raises(ConflictError):
        master.exports.resume(reading(master), export, ExportPlan(("persons", "parcels"), "uni-north", 1))
    with pytest.raises(NotFoundError):
        master.exports.resume(reading(master), os.urandom(16), PLAN)
    later = reading(master)
    master.exports.resume(later, export, PLAN)
    with pytest.raises(NotFoundError):  # the reading that began it does not have it any more
        master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
    master.freezing.freeze("kit", "purpose", "extract", "odd")
    with pytest.raises(DeniedError):
        master.exports.release(later, export, "persons", sealing.tokens, beside(batch, sealing.tokens))


def test_a_week_later_an_export_cannot_be_taken_up(master):
    """Whoever takes so long begins anew, under the policy of that day."""
    batch, sealing = put(master, identifiers(20))
    ident, export = begun(master, sealing, batch)
    master.exports.start(ident, export)
    master._core.clock.now += 8 * 86400
    with pytest.raises(ConflictError):
        master.exports.resume(reading(master), export, PLAN)


def test_a_started_export_survives_a_restart(tmp_path):
    """Killed after the start: another process takes it up, charges nobody, and releases the same keys."""
    clock = Clock()
    folder = tmp_path / "keys"
    with make(folder, clock, policy=POLICY) as master:
        batch, sealing = put(master, identifiers(30))
        ident, export = begun(master, sealing, batch)
        before = master.exports.start(ident, export)
    with reopen(folder, clock) as master:
        ident = reading(master)
        after = master.exports.resume(ident, export, PLAN)
        assert (after.leaf, after.token_key) == (before.leaf, before.token_key)
        released = master.exports.release(ident, export, "persons", sealing.tokens, beside(batch, sealing.tokens))
        assert np.array_equal(released.keys["identity"], sealing.keys["identity"])


def test_midnight_between_labels_and_entry_makes_the_labels_anew(master, monkeypatch):
    """The entry's labels always stand in the day that it says."""
    batch, sealing = put(master, identifiers(40))
    clock = master._core.clock
    clock.now = (clock.now // 86400 + 1) * 86400 - 0.5
    ident, export = begun(master, sealing, batch)
    labeller = master.exports._labeller

    def slow(self):
        made = labeller(self)
        clock.now += 1.0
        return made

    monkeypatch.setattr(master.exports, "_labeller", slow)
    monkeypatch.setattr("strongroom.keymaster.exports.exporting.ATTEMPTS_MAX", 3)
    grant = master.exports.start(ident, export)
    ((leaf, entry),) = noted(master, "export")
    assert leaf == grant.leaf
    keys = master._core.journal.day_keys(master._core.state.read(), entry.time // 86_400_000)
    assert labels_root(cmac_column(keys.day, sealing.tokens)) == entry.labels


def test_keys_of_two_exports_differ(master):
    """So that two recipients cannot join what they have."""
    batch, sealing = put(master, identifiers(3))
    keys = set()
    for _ in range(2):
        ident, export = begun(master, sealing, batch)
        keys.add(master.exports.start(ident, export).token_key)
    assert len(keys) == 2
