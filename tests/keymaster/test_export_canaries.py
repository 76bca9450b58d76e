"""Canary persons in exports at the keymaster: thrown and committed to there, held and counted, or missing and nobody."""

import os

import numpy as np
import pytest
from canary_pools import (
    EXPORTING,
    PERSONS,
    PLAN,
    POOL,
    entry_of,
    exported,
    new_pool,
    planted,
    released,
    with_canaries,
)
from keymaster_fixtures import Clock, beside, identifiers, make, put, reopen
from planting_kit import agreed

from strongroom.errors import BudgetError, DeniedError, IntegrityError
from strongroom.evidence.code import HALF, RARE, bits, found, members, sizes
from strongroom.evidence.coderow import open_row
from strongroom.evidence.opening import PoolTree
from strongroom.keymaster.exports.api import DECIDES, NAMED, ExportPlan
from strongroom.keymaster.exports.coins import NOBODY, TOO_FEW


@pytest.fixture
def master(tmp_path, either_database):
    with make(tmp_path / "keys", Clock(), policy=EXPORTING, **either_database) as made:
        yield made


@pytest.fixture
def filled(master):
    return with_canaries(master)


def test_an_export_holds_the_canaries_that_its_coins_chose_and_lacks_the_others(master, filled):
    """Keys come out for every person and just for the members of its code row, which the log committed to."""
    tokens, batches = filled
    _reading, export, grant, here = exported(master, tokens, batches)
    assert here[:PERSONS].all()
    kept = master.exports.ledger.of(export)
    row = open_row(kept.marked.opening, bytes.fromhex(entry_of(master, grant.leaf).extras["commitment"]))
    assert (row.room, row.export) == (master.room_id, export)
    wanted = sizes(PERSONS, colluders=1, sample=4000).pools[RARE]
    assert [(offer.bias, offer.count) for offer in row.offers] == [(RARE, wanted)]
    assert row.offers[0].root == PoolTree(new_pool(RARE, POOL, "c").digests[:wanted]).root
    assert np.flatnonzero(here[PERSONS:]).tolist() == members(row)[0].tolist()
    assert 15 < here[PERSONS:].sum() < 70
    assert (grant.marked, grant.names_from, grant.why_none) == (True, 4000, "")
    assert np.array(kept.marked.offered.to_array()).tolist() == list(range(wanted))


def test_a_canary_that_is_held_counts_like_a_person_and_any_other_like_nobody(master, filled):
    """Spent and counted are all who are in the files; people alone are told, and in the set that samples are compared with."""
    tokens, batches = filled
    _reading, export, grant, here = exported(master, tokens, batches)
    everybody = int(here.sum())
    assert everybody > PERSONS
    assert (grant.persons, entry_of(master, grant.leaf).count) == (everybody, everybody)
    assert grant.remaining["exports/room/day"] == 500_000 - everybody
    assert master.exports.all("kit")[0].persons == everybody
    assert len(master.exports.ledger.persons_of(export)) == PERSONS
    assert not master.exports.ledger.persons_of(export) & master._canaries.ordinals()
    ((stored,),) = master._core.state.read().execute(
        "SELECT length(sealed) FROM leaf_labels WHERE leaf = ?", (grant.leaf,)
    )
    assert stored == 16 * PERSONS + 28


def test_a_budget_of_the_people_alone_is_too_small(master, filled):
    """With room for the people and no canary nobody goes out, as with one person too many."""
    tokens, batches = filled
    with master._core.state.write() as rows:
        master._core.standing.set_policy(rows, EXPORTING.replace("exports = { day = 500000 }", f"exports = {{ day = {PERSONS} }}"))
    with pytest.raises(BudgetError):
        exported(master, tokens, batches)
    with master._core.state.write() as rows:
        most = PERSONS + POOL
        master._core.standing.set_policy(rows, EXPORTING.replace("exports = { day = 500000 }", f"exports = {{ day = {most} }}"))
    exported(master, tokens, batches)


def test_add_counts_a_canary_like_anybody(master, filled):
    """Whoever adds rows one by one is not told which are canaries."""
    tokens, batches = filled
    reading = master.begin_reading(actor="ada", purpose="extract", reason="study 9").reading_id
    export = master.exports.begin(reading, PLAN)
    counts = [
        master.exports.add(reading, export, "persons", tokens[at : at + 1], batches[at : at + 1])
        for at in (0, PERSONS, PERSONS, 1, PERSONS + 1)
    ]
    assert counts == [1, 2, 2, 3, 4]


def test_two_exports_hold_different_canaries_and_each_the_same_when_taken_up(tmp_path):
    """Coins are of the export; what was cut short has the same again, in another process too."""
    keys = tmp_path / "keys"
    with make(keys, policy=EXPORTING) as master:
        tokens, batches = with_canaries(master)
        _, export, first, here = exported(master, tokens, batches)
        _, _other, _second, there = exported(master, tokens, batches)
        assert not np.array_equal(here, there)
    with reopen(keys) as master:
        reading = master.begin_reading(actor="ada", purpose="extract", reason="study 9").reading_id
        again = master.exports.resume(reading, export, PLAN)
        assert (again.persons, again.marked, again.names_from) == (first.persons, True, first.names_from)
        assert np.array_equal(released(master, reading, export, tokens, batches), here)


def test_a_filtered_export_is_offered_as_many_among_its_own_records(master, filled):
    """Half of the canaries pass: twice as far into the pool, and only of those who are among the records."""
    tokens, batches = filled
    kept = np.ones(len(tokens), np.bool_)
    kept[PERSONS::2] = False  # canaries with odd numbers pass
    wanted = sizes(PERSONS, colluders=1, sample=5000).pools[RARE]
    rule = EXPORTING.replace("sample = 4000", "sample = 5000")
    with master._core.state.write() as rows:
        master._core.standing.set_policy(rows, rule)
    _reading, export, grant, here = exported(master, tokens[kept], batches[kept])
    marked = master.exports.ledger.of(export).marked
    assert np.array(marked.offered.to_array()).tolist() == list(range(1, 2 * min(wanted, POOL // 2), 2))
    row = open_row(marked.opening, marked.commitment)
    numbers = np.arange(1, POOL, 2)
    own = bits([row], found(np.zeros(len(numbers), np.int64), numbers))[0]
    assert here[PERSONS:].tolist() == own.tolist()
    assert grant.marked


NAMING = ExportPlan(("persons",), "uni-north", 1, named=True)
UNMARKED = [("extract", NAMING, PERSONS, NAMED), ("extract", PLAN, 2000, "tokens alone mark this export")]


@pytest.mark.parametrize(("purpose", "plan", "people", "why"), [("decide", PLAN, PERSONS, DECIDES), *UNMARKED])
def test_an_export_without_canaries_lacks_all_of_them(master, filled, purpose, plan, people, why):
    """Decisions on the copy, named subjects, too small: no coin is thrown, and the grant says why."""
    tokens, batches = filled
    chosen = np.r_[0:people, PERSONS : PERSONS + 100]
    agreed_to = people + 100 if purpose == "extract" else 0
    _reading, export, grant, here = exported(master, tokens[chosen], batches[chosen], purpose, plan, agreed_to=agreed_to)
    assert here.tolist() == [True] * people + [False] * 100
    assert not grant.marked
    assert (grant.persons, entry_of(master, grant.leaf).count) == (people, people)
    charged = people + 100 if purpose == "extract" else people
    assert grant.remaining["exports/room/day"] == 500_000 - charged
    assert why in grant.why_none
    assert "commitment" not in entry_of(master, grant.leaf).extras
    assert master.exports.ledger.of(export).marked.opening == b""


@pytest.mark.parametrize(("plan", "people"), [(NAMING, PERSONS), (PLAN, 2000)])
def test_an_export_that_would_show_who_is_a_canary_takes_another_person(master, filled, plan, people):
    """Alone it is refused and noted, whoever is among the records; where the purpose takes no approvals, too."""
    tokens, batches = filled
    spent = master._core.state.read().execute("SELECT count(*) FROM spent").fetchone()
    for chosen in (np.r_[0:people], np.r_[0:people, PERSONS : PERSONS + 40], np.r_[PERSONS : PERSONS + 1]):
        with pytest.raises(DeniedError, match="shows who is one: another person must agree") as refused:
            exported(master, tokens[chosen], batches[chosen], plan=plan)
        assert refused.value.rule == "approval.needed"
        assert "strongroom ask" in refused.value.hint
    with master._core.state.write() as rows:
        master._core.standing.set_policy(rows, EXPORTING.replace('approval = { roles = ["chief"], over = 200000 }\n', ""))
    with pytest.raises(DeniedError, match="and purpose extract takes no approvals") as refused:
        exported(master, tokens[:people], batches[:people], plan=plan)
    assert "a purpose that decides" in refused.value.hint
    assert master._core.state.read().execute("SELECT count(*) FROM spent").fetchone() == spent
    assert sum(one["decision"] == "refused" for one in master.log_entries("kit") if one["act"] == "export") == 4


def test_named_subjects_are_refused_before_anything_is_read(master, filled):
    """When the export would begin; those of whom a condition tells when it would start."""
    reading = master.begin_reading(actor="ada", purpose="extract", reason="study 9").reading_id
    with pytest.raises(DeniedError, match="another person must agree"):
        master.exports.begin(reading, NAMING)
    master.exports.begin(reading, PLAN)


def test_an_agreement_is_to_so_many_rows_whoever_they_are_of(master, filled):
    """Each row that such a copy asks about is charged once, a canary's like a person's: what is agreed to bounds them."""
    tokens, batches = filled
    approval = agreed(master, "ada", "extract", 2)
    for row, left in ((PERSONS, 1), (PERSONS, 1), (7, 0)):
        _, _, grant, here = exported(master, tokens[row : row + 1], batches[row : row + 1], approval=approval)
        assert grant.remaining[f"persons/approval/{approval}/month"] == left
        assert here.tolist() == [row < PERSONS]
    for row in (PERSONS + 1, 8):
        with pytest.raises(BudgetError):
            exported(master, tokens[row : row + 1], batches[row : row + 1], approval=approval)


def test_who_may_break_the_glass_makes_a_small_copy_and_it_is_reviewed(master, filled):
    """As with any agreement that a purpose asks for, where it allows that."""
    tokens, batches = filled
    with master._core.state.write() as rows:
        text = EXPORTING.replace("over = 200000 }", 'over = 200000 }\nbreak_glass = ["reader"]')
        master._core.standing.set_policy(rows, text)
    _, _, grant, here = exported(master, tokens[:20], batches[:20], break_glass=True)
    assert here.all()
    assert grant.persons == 20
    assert [one.actor for one in master.reviews.all("max")] == ["ada"]


def test_whether_an_export_is_marked_counts_everybody_among_its_records(master, filled):
    """One row more makes it large enough, whoever that is of. What it says of its marks is of the canaries among them."""
    tokens, batches = filled
    fewest = next(n for n in range(2000, PERSONS) if sizes(n, colluders=1, sample=4000).why_none is None)
    for last in (fewest, PERSONS):  # a person, a canary
        chosen = np.r_[0 : fewest - 1, last]
        _reading, _export, grant, _here = exported(master, tokens[chosen], batches[chosen])
        assert (grant.marked, grant.why_none) == ((False, NOBODY) if last == fewest else (True, TOO_FEW))
        with pytest.raises(DeniedError, match="another person must agree"):
            exported(master, tokens[chosen[1:]], batches[chosen[1:]])


def test_a_room_without_canaries_exports_few_alone(master):
    """There is nobody to be shown: named and small exports take nobody else."""
    batch, people = put(master, identifiers(20))
    tokens, batches = people.tokens, beside(batch, people.tokens)
    for plan in (PLAN, NAMING):
        _, _, grant, here = exported(master, tokens, batches, plan=plan)
        assert here.all()
        assert not grant.marked


def test_a_room_without_enough_canaries_is_told_so(master):
    """None among the records: no mark; too few: a weak one, and its strength is not made up."""
    batch, people = put(master, identifiers(PERSONS))
    tokens, batches = people.tokens, beside(batch, people.tokens)
    _, _, grant, _ = exported(master, tokens, batches)
    assert (grant.marked, grant.why_none) == (False, NOBODY)
    ((planted_batch, canaries),) = planted(master, [new_pool(RARE, 500, "c")])
    everybody = np.concatenate([tokens, canaries.tokens])
    rows = np.concatenate([batches, beside(planted_batch, canaries.tokens)])
    _, _, grant, _ = exported(master, everybody, rows)
    assert (grant.marked, grant.names_from, grant.why_none) == (True, 0, TOO_FEW)
    ((more_batch, more),) = planted(master, [new_pool(RARE, 3000, "d"), new_pool(HALF, 50, "h")], put_only=1)
    everybody = np.concatenate([everybody, more.tokens])
    rows = np.concatenate([rows, beside(more_batch, more.tokens)])
    _, export, grant, _ = exported(master, everybody, rows)
    marked = master.exports.ledger.of(export).marked
    row = open_row(marked.opening, marked.commitment)
    wanted = sizes(PERSONS, colluders=1, sample=4000).pools[RARE]
    assert [(offer.pool, offer.count) for offer in row.offers] == [(0, 500), (1, wanted - 500)]
    assert grant.names_from == 4000


def test_the_ledger_says_what_marks_an_export_and_shows_no_canary(master, filled):
    """The list has the smallest sample that names and the commitment; row and canaries lie sealed, bound to the export."""
    tokens, batches = filled
    _reading, export, grant, _here = exported(master, tokens, batches)
    (record,) = master.exports.all("kit")
    assert (record.marked, record.names_from, record.why_none, record.opened) == (True, grant.names_from, "", -1)
    assert record.commitment == entry_of(master, grant.leaf).extras["commitment"]
    kept = master.exports.ledger.of(export)
    ((stored,),) = master._core.state.read().execute("SELECT sealed FROM export")
    assert kept.marked.opening not in stored
    with master._core.state.write() as rows:
        rows.execute("UPDATE export SET id = ?", (os.urandom(16),))
    (moved,) = master.exports.all("kit")
    with pytest.raises(IntegrityError):
        master.exports.ledger.of(bytes.fromhex(moved.id))


def test_an_erased_canary_is_missing_like_an_erased_person(master, filled):
    """Erased between add and release: gone from the files, whoever it was."""
    tokens, batches = filled
    reading, export, _grant, here = exported(master, tokens, batches)
    held = int(np.flatnonzero(here[PERSONS:])[0]) + PERSONS
    lease = master.begin_maintenance(actor="kit", verb="erase")
    master.erasures.erase(lease, np.ascontiguousarray(tokens[[0, held]]), "they asked")
    now = released(master, reading, export, tokens, batches)
    assert np.flatnonzero(here & ~now).tolist() == [0, held]
