"""Index, file and page keys rotate while a room is in use, and nobody who reads or puts notices."""

import json
import shutil
import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from small_room import person, persons

import strongroom
from strongroom.errors import ConflictError, DeniedError, IntegrityError, UsageError
from strongroom.seal.entropy import random_bytes


def opened(room, master, actor):
    return strongroom.open(str(room.bucket), keys=master, actor=actor)


def names(reading, number):
    return [record["name"] for record in reading.find("persons", {"mobile": person(number)["mobile"]})]


def tokens_in_use(master, snapshot=None):
    """The value token of person 7's number in a snapshot."""
    grant = master.begin_reading(actor="ada", purpose="case-work", reason="case")
    try:
        return master.value_tokens(grant.reading_id, "persons", "mobile", [person(7)["mobile"]], snapshot).tobytes()
    finally:
        master.end_reading(grant.reading_id)


def test_an_index_gets_a_new_outer_key_and_everybody_is_found(room):
    """Before, after, in an older snapshot, by what is put later, and after a compaction and a second rotation."""
    with room.keymaster() as master, opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
        before, first = master.head().number, tokens_in_use(master)
        with ada.read(purpose="case-work", reason="case") as reading:
            report = kit.rotate_index("persons", "mobile")
            assert (report.entries, report.snapshot) == (300, before + 1)
            assert names(reading, 7) == [person(7)["name"]]  # opened before, of the snapshot before
        assert tokens_in_use(master) != first
        assert tokens_in_use(master, before) == first
        kit.put("persons", persons(20, 300))
        for _ in range(2):
            for snapshot, number in ((None, 7), (None, 310), (before, 7)):
                with ada.read(purpose="case-work", reason="case", snapshot=snapshot) as reading:
                    assert names(reading, number) == [person(number)["name"]]
            kit.compact()
            kit.rotate_index("persons", "mobile")
        assert kit.check().faults == []
        assert [e["act"] for e in kit.log() if e["act"] == "rotate"]
    with room.keymaster() as master, opened(room, master, "ada") as ada:
        with ada.read(purpose="case-work", reason="case") as reading:
            assert names(reading, 310) == [person(310)["name"]]


def test_a_rotation_opens_no_cell(room, monkeypatch):
    """Neither a person's secret nor a cell is asked for while an index is rotated."""
    with room.keymaster() as master, opened(room, master, "kit") as kit:
        def never(*_args, **_more):
            raise AssertionError("a person's secret was looked up")

        for name in ("one", "few", "lookup", "ensure"):
            monkeypatch.setattr(master._core.keys, name, never)
        monkeypatch.setattr("strongroom.seal.cells.open_cell", never)
        assert kit.rotate_index("persons", "mobile").entries == 300


def test_tokens_of_before_find_nothing_after(room):
    """The rotated runs hold none of the tokens that the old key made: what leaked of it looks nothing up."""
    with room.keymaster() as master, opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
        old = tokens_in_use(master)
        kit.rotate_index("persons", "mobile")
        with ada.read(purpose="case-work", reason="case") as reading:
            model = master.schema().table("persons")
            wanted = np.frombuffer(old, np.uint8).reshape(1, 16)
            assert len(reading._finder.index_entries(model, model.field("mobile"), wanted)[0]) == 0


def test_what_others_commit_meanwhile_is_rotated_too(room, monkeypatch):
    """A put that commits while the runs are written anew is not left behind under the old key."""
    from strongroom.write import rotate

    with room.keymaster() as master, opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
        real, puts = rotate.commit_change, iter([persons(10, 400), persons(10, 500)])

        def commit(*args, **more):
            batch = next(puts, None)
            if batch is not None:
                kit.put("persons", batch)
            return real(*args, **more)

        monkeypatch.setattr(rotate, "commit_change", commit)
        assert kit.rotate_index("persons", "mobile").entries == 320
        with ada.read(purpose="case-work", reason="case") as reading:
            assert [names(reading, n) for n in (7, 405, 505)] == [[person(n)["name"]] for n in (7, 405, 505)]


def test_a_put_under_way_that_has_indexed_the_field_is_waited_for(room):
    """The switch is refused, nothing changed, and both go through afterwards."""
    with room.keymaster() as master, opened(room, master, "kit") as kit:
        lease = master.begin_put(actor="kit", table="persons", request_id=random_bytes(16))
        batch = master.mint_batch(lease)
        sealing = master.seal_subjects(lease, batch, pa.array(["P-900000"]))
        master.seal_index(lease, batch, "mobile", pa.array(["13800000000"]), sealing.tokens, np.zeros(1, np.uint32))
        head = master.head()
        with pytest.raises(ConflictError, match="put under way"):
            kit.rotate_index("persons", "mobile")
        assert master.head() == head
        master.abandon(lease)
        assert kit.rotate_index("persons", "mobile").runs == 1
        assert kit.check().faults == []


def test_an_older_snapshot_brought_home_is_looked_up_with_its_own_key(room, tmp_path):
    """Restored from before the rotation, the room finds what it found then, and what is put after."""
    with room.keymaster() as master:
        with opened(room, master, "kit") as kit:
            kit.copy(to=str(tmp_path / "copy"))
            before = master.head().number
            kit.rotate_index("persons", "mobile")
            kit.copy(to=str(tmp_path / "copy"))
        shutil.rmtree(room.bucket)
        strongroom.restore(str(room.bucket), source=str(tmp_path / "copy"), keys=master, actor="kit", snapshot=before)
        with opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
            kit.put("persons", persons(5, 600))
            for number in (7, 603):
                with ada.read(purpose="case-work", reason="case") as reading:
                    assert names(reading, number) == [person(number)["name"]]
            kit.rotate_index("persons", "mobile")
            with ada.read(purpose="case-work", reason="case") as reading:
                assert names(reading, 603) == [person(603)["name"]]


def test_an_entry_that_does_not_open_stops_the_rotation(room, monkeypatch):
    """What is not verified is not sealed again."""
    from strongroom.keymaster import reindexing

    real = reindexing.open_index_entries

    def one_bad(siv, field, tokens, entries):
        entries = entries.copy()
        entries[0, 20] ^= 1
        return real(siv, field, tokens, entries)

    monkeypatch.setattr(reindexing, "open_index_entries", one_bad)
    with room.keymaster() as master, opened(room, master, "kit") as kit:
        head = master.head()
        with pytest.raises(IntegrityError, match="1 entries"):
            kit.rotate_index("persons", "mobile")
        assert master.head() == head


def test_runs_get_new_file_keys(room):
    """Every run of the room is written anew, in bounded calls; records are found, the old keys name nothing live."""
    with room.keymaster() as master, opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
        assert kit.rotate_files(older_days=1).runs == 0
        first = kit.rotate_files(older_days=0, most=2)
        assert first.runs == 2
        assert first.left > 0
        database = sqlite3.connect(room.keys / "keymaster.db")
        keys = {row[0] for row in database.execute("SELECT id FROM file_key WHERE kind <= 3 AND state = 'live'")}
        kit.rotate_files(older_days=0)
        after = {row[0] for row in database.execute("SELECT id FROM file_key WHERE kind <= 3 AND state = 'live'")}
        database.close()
        assert keys < after
        with ada.read(purpose="case-work", reason="case") as reading:
            assert names(reading, 7) == [person(7)["name"]]
            assert reading.get("persons", "P-000009")["name"] == person(9)["name"]
        assert kit.check().faults == []


def test_key_pages_get_new_keys_a_few_a_call(room):
    """Each page has another id and wrap, and everybody's secret stays."""
    with room.keymaster() as master, opened(room, master, "kit") as kit, opened(room, master, "ada") as ada:
        kit.put("persons", persons(20, 700))
        pages = {row[0] for row in master._core.state.read().execute("SELECT id FROM page").fetchall()}
        assert len(pages) > 1
        left = len(pages)
        while left:
            report = master.rotating.pages("kit", 1)
            assert (report.pages, report.left) == (1, left - 1)
            left = report.left
        assert not pages & {row[0] for row in master._core.state.read().execute("SELECT id FROM page").fetchall()}
        with ada.read(purpose="case-work", reason="case") as reading:
            assert reading.get("persons", "P-000702")["name"] == person(702)["name"]
            assert reading.get("persons", "P-000002")["name"] == person(2)["name"]
        names_there = {row[0] for row in master._core.state.read().execute("SELECT object FROM page").fetchall()}
        assert {name for name, _ in master._core.keys._store.list()} == names_there
        with pytest.raises(DeniedError):
            master.rotating.pages("ada", 1)
        with pytest.raises(UsageError):
            master.rotating.pages("kit", 0)


def test_who_may_rotate_and_what_is_for_the_policy(room):
    """No right, no field, no index."""
    with room.keymaster() as master, opened(room, master, "ada") as ada, opened(room, master, "kit") as kit:
        with pytest.raises(DeniedError):
            ada.rotate_index("persons", "mobile")
        with pytest.raises(UsageError):
            kit.rotate_index("persons", "name")
        assert json.dumps(kit.rotate_index("persons", "mobile").to_dict())
