"""A reader written from docs/FORMAT.md alone verifies a person's log, and makes the maps of the days again."""

import json
import sys
from pathlib import Path

import pytest
import second_person as second

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))

from person_kit import PersonRoom

from strongroom.audit.entry import parse_entry
from strongroom.errors import IntegrityError
from strongroom.keymaster.log.journal import labels_bound
from strongroom.read.personlog import verify_person_log
from strongroom.seal.wrap import unwrap


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Reads on three days with empty ones between, one delayed; the maps of all are closed."""
    with pytest.MonkeyPatch.context() as patched:
        made = PersonRoom(tmp_path_factory.mktemp("room"), patched)
        made.read(1, 2, 3, 4, 5, 1)
        made.read(1, 9, purpose="covert")
        made.next_day()
        made.read(2, 3)
        made.next_day(5)
        made.read(4)
        made.next_day()
        yield made
        made.close()


@pytest.mark.parametrize("number", [1, 2, 4, 9, 12])
def test_both_readers_are_told_the_same(room, number):
    """Whoever was read, and whoever was not: subject, days and entries are the same to both."""
    text, key = room.ask(number)
    found = verify_person_log(text, key)
    told = [(one.time, one.role, one.act, one.purpose) for one in found.touched]
    assert second.read(text) == (found.subject, found.first, found.open_day, told)
    file = json.loads(text)
    file["days"].pop(0)
    with pytest.raises(AssertionError):
        second.read(json.dumps(file))
    with pytest.raises(IntegrityError):
        verify_person_log(json.dumps(file), key)


def test_entries_and_maps_are_as_the_page_says(room):
    """Both lines of every entry, and the root of every map from the lists of its entries, as the log has it."""
    keys = room.keys
    keys.publish()
    core = keys._core
    rows = core.state.read()
    stored = dict(rows.execute("SELECT number, entry FROM leaf ORDER BY number").fetchall())
    lists, labelled = {}, 0
    for entry in stored.values():
        if b"\n" in entry:
            assert second.both_lines(entry) == parse_entry(entry).to_dict()
            labelled += 1
    for leaf, day, sealed in rows.execute("SELECT leaf, day, sealed FROM leaf_labels").fetchall():
        day_keys = core.journal.day_keys(rows, day)
        plain = unwrap(day_keys.month, sealed, labels_bound(leaf, day))
        labels = [plain[at : at + 16] for at in range(0, len(plain), 16)]
        assert second.root_of(sorted(set(labels))).hex() == json.loads(stored[leaf].split(b"\n")[0])["labels"]
        lists.setdefault(day, {})[leaf] = labels
    closed = [e["extras"] for e in map(json.loads, (s.split(b"\n")[0] for s in stored.values())) if e["act"] == "day"]
    assert (labelled >= 10, len(closed) >= 5) == (True, True)
    for said in closed:
        mine = second.map_of(core.journal.day_keys(rows, said["day"]).day, lists[said["day"]]) if said["labels"] else second.root_of([])
        assert (mine.hex(), said["entries"]) == (said["map"], len(lists.get(said["day"], {})))
