"""End to end with canaries as they are planted: exports to several recipients, one copy leaks, its recipient is named."""

import csv

import numpy as np
import pytest
import tracing_room
from small_room import person
from tracing_room import MANY as PERSONS
from tracing_room import opened, trace, write

from strongroom.trace.tracing.facts import facts_of


@pytest.fixture(scope="module")
def leaked(tmp_path_factory):
    """A room, its keymaster, the exports by recipient, and the folder of their files."""
    folder = tmp_path_factory.mktemp("whole")
    room = tracing_room.make_many(folder / "room")
    with room.keymaster() as keys:
        found = {}
        for name in ("uni-north", "uni-south", "uni-west"):
            with opened(room, keys, "ana") as own:
                found[name] = own.export(
                    "persons", to=str(folder / f"{name}.csv"), recipient=name, purpose="handed-over", reason="study 9"
                )
        yield room, keys, found, folder


def rows_of(path, count, seed=3):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))[:count]]


@pytest.mark.parametrize("columns", [("name", "mobile", "id_number"), ("mobile",), ("person_id", "address")])
def test_the_recipient_whose_copy_leaked_is_named_and_nobody_else(leaked, tmp_path, columns):
    """A part of one file, with some of its columns, in another order."""
    room, keys, exports, folder = leaked
    assert exports["uni-south"].marked
    sample = write(tmp_path / "s.csv", rows_of(folder / "uni-south.csv", 3_400), columns)
    facts = facts_of(trace(room, keys, sample, persons=0))
    (accused,) = facts.accused
    assert (accused.export.recipient, accused.export.id) == ("uni-south", exports["uni-south"].export_id)
    assert accused.canaries.log_e >= facts.weighing.threshold
    assert accused.canaries.held == facts.weighing.canaries
    assert facts.affected.persons + facts.weighing.canaries == 3_400
    assert facts.affected.in_exports == PERSONS
    assert facts.excluded == ()


def test_a_copy_of_the_room_itself_names_no_recipient(leaked, tmp_path):
    """Rows of persons whom every export has, taken elsewhere: no canary says whose, so nobody is named."""
    room, keys, _exports, _folder = leaked
    sample = write(tmp_path / "s.csv", [person(n) for n in range(0, PERSONS, 2)])
    facts = facts_of(trace(room, keys, sample, persons=0))
    assert (facts.accused, facts.excluded) == ((), ())
    assert facts.ours.by_two.shown
    assert facts.affected.persons == PERSONS // 2


def test_two_copies_put_together_name_nobody_who_did_not_give_theirs(leaked, tmp_path):
    """With a code for one thief only: whoever is named gave a copy, and the third recipient never is."""
    room, keys, _exports, folder = leaked
    rows = rows_of(folder / "uni-north.csv", 2_000) + rows_of(folder / "uni-west.csv", 2_000, 4)
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", rows), persons=0))
    assert {one.export.recipient for one in facts.accused} <= {"uni-north", "uni-west"}


def test_few_rows_say_nothing(leaked, tmp_path):
    """A twentieth of what the code was made for: silence."""
    room, keys, _exports, folder = leaked
    rows = rows_of(folder / "uni-south.csv", 150)  # one or two canaries; six, in one of 200 runs, are enough to name it
    more = [row for row in rows if row["person_id"].startswith("C-")][3:]
    rows = [row for row in rows if row not in more]
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", rows), persons=0))
    assert facts.accused == ()
    assert facts.affected.persons > 100


def test_a_list_to_notify_has_no_canary(leaked, tmp_path):
    """Everybody in the sample who is a person, and none of those who do not exist."""
    room, keys, _exports, folder = leaked
    rows = rows_of(folder / "uni-south.csv", 2_000)  # some twenty canaries stand among them, anywhere in the file
    wanted = sorted(row["person_id"] for row in rows if row["person_id"].startswith("P-"))
    assert len(wanted) < 2_000
    found = trace(room, keys, write(tmp_path / "s.csv", rows), persons=0)
    with opened(room, keys) as own:
        own.notification_list(
            found, "persons", to=str(tmp_path / "list.csv"), recipient="notices", purpose="told", reason="incident 7"
        )
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row["person_id"] for row in csv.DictReader(file)) == wanted
