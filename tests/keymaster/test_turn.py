"""The epoch turn: what it changes, what stops it, and what a crash after each step leaves."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import keymaster_fixtures as kit
import pytest
import turn_kit
from token_kit import delete_token, make_token, needs_tokens, objects_of
from turn_kit import KEEPERS, SECOND, FolderCopies, opens, with_reading, with_two_slots, wraps

import strongroom
from strongroom.errors import DeniedError, IntegrityError, KeysError, NotFoundError, UnavailableError, UsageError
from strongroom.keymaster.create import create_keymaster, open_keymaster
from strongroom.keymaster.database.wrapped import WRAPPED
from strongroom.keymaster.erasures.turning import STEPS
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.slot_passphrase import PassphraseKeeper
from strongroom.keys.slots import make_slot, slots_of


class StoppedError(Exception):
    """A crash."""


def stop_after(step):
    def after(done):
        if done == step:
            raise StoppedError
    return after


@pytest.fixture
def master(tmp_path):
    made, batch, sealing = with_two_slots(tmp_path / "keys")
    made.batch, made.sealing = batch, sealing
    yield made
    made.close()


def test_every_wrapped_key_follows(master):
    """After the turn each wrapped key opens under the new epoch and none under the old, whatever column it is in."""
    old = KeyRing(master.room_id, 1, master._core.ring.epoch_key())
    before = wraps(master._core.state, old)
    assert all(fine for _, fine in before)
    report = master.turning.turn("kit", KEEPERS)
    new = master._core.ring
    assert (report.epoch, report.wrapped, new.epoch) == (2, len(before), 2)
    after = wraps(master._core.state, new)
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(fine for _, fine in after)
    assert not any(fine for _, fine in wraps(master._core.state, old))
    kinds = {name for name, _ in after}
    assert {"page:page", "file_key:file", "wrapped_key:subject", "wrapped_key:signing", "wrapped_key:field", "wrapped_key:month", "day_key"} <= kinds


def test_the_list_of_wrapped_columns_is_whole(master):
    """Each column named `wrapped` in the database is in the list that the turn walks."""
    rows = master._core.state.read()
    tables = [row[0] for row in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    has = {t for t in tables if any("wrapped" in column[1] for column in rows.execute(f"PRAGMA table_info({t})").fetchall())}
    assert has == {column.table for column in WRAPPED} | {"day_key"}


def test_each_use_of_the_ring_is_in_the_list(master):
    """Whatever purpose the source wraps under, it goes into one of the tables of the list, or a copy's manifest."""
    found = set()
    for path in Path(strongroom.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"ring\.wrap\(\s*\"?([\w-]+)", path.read_text()))
    assert found <= {"page", "file", "field", "month", "purpose", "subject", "replay", "signing", "outer", "key-copy", "challenge", "exports"}


def test_reads_and_puts_go_on_after_a_turn_and_after_reopening(master, tmp_path):
    """Keys of persons are the same before and after; both slots open; the old passphrase wraps are gone."""
    before = with_reading(master, master.batch, master.sealing)
    master.turning.turn("kit", KEEPERS)
    for _ in range(2):
        after = with_reading(master, master.batch, master.sealing)
        assert all((before[klass] == after[klass]).all() for klass in before)
    kit.put(master, kit.identifiers(300, 200))
    master.turning.turn("kit", KEEPERS)
    master.close()
    assert opens(tmp_path / "keys") == opens(tmp_path / "keys", SECOND) == 3
    with kit.reopen(tmp_path / "keys") as again:
        again_keys = with_reading(again, master.batch, master.sealing)
        assert (again_keys["contact"] == before["contact"]).all()
    assert {slot.head.epoch for slot in slots_of(tmp_path / "keys" / "slots")} == {3}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_after_any_step_leaves_what_opens_and_can_go_on(master, tmp_path, step):
    """Whichever step was the last, both slots open, everybody is there, and the next turn completes or begins again."""
    folder = tmp_path / "keys"
    copies = FolderCopies(folder, tmp_path / "copy")
    before = with_reading(master, master.batch, master.sealing)
    with pytest.raises(StoppedError):
        master.turning.turn("kit", KEEPERS, copies, after=stop_after(step))
    with_reading(master, master.batch, master.sealing)
    kit.put(master, kit.identifiers(10, 1000))
    master.close()
    switched = STEPS.index(step) >= STEPS.index("switch")
    assert opens(folder) == opens(folder, SECOND) == (2 if switched else 1)
    with kit.reopen(folder) as again:
        assert (with_reading(again, master.batch, master.sealing)["contact"] == before["contact"]).all()
        report = again.turning.turn("kit", KEEPERS, copies)
        # after the end nothing is left to complete: the next turn is one more
        assert report.epoch == (3 if step == "end" else 2)
        assert all(fine for _, fine in wraps(again._core.state, again._core.ring))
        assert {slot.head.epoch for slot in slots_of(folder / "slots")} == {report.epoch}
        kit.put(again, kit.identifiers(10, 2000))
    assert opens(folder, SECOND) == report.epoch


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_after_any_step(tmp_path, step):
    """A killed process leaves what a crash leaves: both slots open and the turn completes."""
    folder = tmp_path / "keys"
    with_two_slots(folder)[0].close()
    code = (
        "import sys, os, signal\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "import keymaster_fixtures as kit, turn_kit\n"
        f"master = kit.reopen({str(folder)!r})\n"
        f"def after(done):\n    if done == {step!r}:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "master.turning.turn('kit', turn_kit.KEEPERS, after=after)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == -9
    assert opens(folder) == opens(folder, SECOND) in (1, 2)
    with kit.reopen(folder) as again:
        epoch = again.turning.turn("kit", KEEPERS).epoch
    assert opens(folder) == opens(folder, SECOND) == epoch


class Failing(PassphraseKeeper):
    """Does what it is asked, then fails, at the n-th call of one of its acts."""

    left: ClassVar = {}

    def _then(self, what, result):
        Failing.left[what] = Failing.left.get(what, 0) - 1
        if Failing.left[what] == 0:
            raise UnavailableError("it fails, and was done")
        return result

    def wrap(self, head, key):
        return self._then("wrap", super().wrap(head, key))

    def unwrap(self, head, wrapped):
        return self._then("unwrap", super().unwrap(head, wrapped))

    def destroy(self, head):
        return self._then("destroy", super().destroy(head))


@pytest.mark.parametrize(("what", "call"), [("wrap", 1), ("wrap", 2), ("unwrap", 1), ("unwrap", 3), ("unwrap", 5), ("destroy", 1), ("destroy", 2)])
def test_a_slot_that_fails_and_was_done_stops_the_turn(master, tmp_path, what, call):
    """The turn says so and stops; nothing in force is lost, and the next one goes through."""
    keepers = {name: Failing(keeper.passphrase, kit.FAST) for name, keeper in KEEPERS.items()}
    Failing.left = {what: call}
    with pytest.raises(UnavailableError):
        master.turning.turn("kit", keepers)
    with_reading(master, master.batch, master.sealing)
    master.close()
    epoch = opens(tmp_path / "keys")
    assert epoch == opens(tmp_path / "keys", SECOND) in (1, 2)
    with kit.reopen(tmp_path / "keys") as again:
        assert again.turning.turn("kit", KEEPERS).epoch == 2


def test_a_commit_that_fails_and_was_done_is_found_out(master, tmp_path, monkeypatch):
    """The database says which epoch is in force, not the error: the process goes on in it."""
    core = master._core
    real = core.act

    def act(verb, *args, **more):
        answer = real(verb, *args, **more)
        if verb == "turn":
            raise UnavailableError("the commit failed, and was done")
        return answer

    monkeypatch.setattr(core, "act", act)
    with pytest.raises(UnavailableError):
        master.turning.turn("kit", KEEPERS)
    monkeypatch.undo()
    assert core.ring.epoch == 2
    kit.put(master, kit.identifiers(10, 5000))
    assert master.turning.turn("kit", KEEPERS).epoch == 2
    master.close()
    assert opens(tmp_path / "keys") == 2


def test_a_commit_that_fails_changes_nothing(master, tmp_path, monkeypatch):
    """A rewrap that cannot be committed leaves the old epoch in force, and new slots destroyed."""
    monkeypatch.setattr("strongroom.keymaster.erasures.turning.insert_slot", lambda *_: 1 / 0)
    with pytest.raises(UnavailableError):
        master.turning.turn("kit", KEEPERS)
    monkeypatch.undo()
    assert master._core.ring.epoch == 1
    assert {slot.head.epoch for slot in slots_of(tmp_path / "keys" / "slots")} == {1}
    with_reading(master, master.batch, master.sealing)
    kit.put(master, kit.identifiers(10, 5000))


def test_a_slot_or_copy_out_of_reach_stops_the_turn(master, tmp_path):
    """No keeper, a wrong one, a missing file, a copy that is away: a clear error, and nothing changed."""
    folder = tmp_path / "keys"
    copies = FolderCopies(folder, tmp_path / "copy")
    for keepers, error in (({"spare": KEEPERS["spare"]}, UsageError), ({**KEEPERS, "spare": PassphraseKeeper("x")}, KeysError)):
        with pytest.raises(error):
            master.turning.turn("kit", keepers)
    copies.away = True
    with pytest.raises(UnavailableError):
        master.turning.turn("kit", KEEPERS, copies)
    path = folder / "slots" / "spare.json"
    path.rename(tmp_path / "spare.json")
    with pytest.raises(IntegrityError, match="missing"):
        master.turning.turn("kit", KEEPERS)
    assert master._core.ring.epoch == 1
    assert [slot.head.epoch for slot in slots_of(folder / "slots")] == [1]


def test_a_copy_that_goes_away_in_the_middle_destroys_nothing(master, tmp_path):
    """Old slots stay until every copy was brought up to date and sampled; then the turn goes on."""
    folder = tmp_path / "keys"
    copies = FolderCopies(folder, tmp_path / "copy")

    def after(step):
        copies.away = step == "switch"

    with pytest.raises(UnavailableError):
        master.turning.turn("kit", KEEPERS, copies, after=after)
    assert sorted(slot.head.epoch for slot in slots_of(folder / "slots")) == [1, 1, 2, 2]
    assert any("next turn" in line or "never" in line for line in master.turning.waits(1))
    copies.away = False
    assert master.turning.turn("kit", KEEPERS, copies).destroyed == 2
    assert copies.sampled == [str(tmp_path / "copy")]


def test_who_may_turn_is_for_the_policy(master):
    """An actor without the right is refused, and the refusal is noted."""
    for call in (lambda: master.turning.turn("ada", KEEPERS), lambda: master.slots.add("ada", "x", KEEPERS["spare"])):
        with pytest.raises(DeniedError):
            call()
    assert [e["act"] for e in master.log_entries("kit") if e["decision"] == "refused"] == ["turn", "slots"]


def test_another_process_notices_the_turn(master, tmp_path):
    """What was open before fails clearly, reading and writing alike, and works once it is opened again."""
    other = kit.reopen(tmp_path / "keys")
    lease = other.begin_put(actor="kit", table="persons", request_id=b"1" * 16)
    master.turning.turn("kit", KEEPERS)
    for call in (
        lambda: other.mint_batch(lease),
        lambda: other.begin_reading(actor="ada", purpose="bulk", reason="case"),
        lambda: other._core.keys.one(master.sealing.tokens[0].tobytes()),
    ):
        with pytest.raises(UnavailableError, match="turned by another process"):
            call()
    other.close()
    with kit.reopen(tmp_path / "keys") as again:
        with_reading(again, master.batch, master.sealing)


def test_puts_and_reads_beside_turns_lose_nothing(master):
    """Threads that put and read while the epoch is turned three times get every person's key right."""
    expected = with_reading(master, master.batch, master.sealing)
    errors, stop = [], threading.Event()

    def put():
        start = 10_000
        while not stop.is_set():
            kit.put(master, kit.identifiers(50, start))
            start += 50

    def read():
        while not stop.is_set():
            if not (with_reading(master, master.batch, master.sealing)["contact"] == expected["contact"]).all():
                raise AssertionError("another key")

    def guarded(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (put, read)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            master.turning.turn("kit", KEEPERS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert all(fine for _, fine in wraps(master._core.state, master._core.ring))


def test_a_slot_that_a_crash_left_half_made_is_destroyed_by_the_next_turn(master, tmp_path):
    """Files of an epoch that never came into force go away."""
    folder = tmp_path / "keys" / "slots"
    make_slot(folder, "spare", KEEPERS["spare"], KeyRing(master.room_id, 2, b"x" * 32), 1.0)
    assert master.turning.turn("kit", KEEPERS).epoch == 2
    assert {slot.head.epoch for slot in slots_of(folder)} == {2}


def test_slots_come_and_go_but_the_last_stays(master, tmp_path):
    """A removed slot opens nothing, the last is not removed, a lost one can be taken off the list."""
    folder = tmp_path / "keys"
    assert [(s.name, s.kind, s.there) for s in master.slots.all()] == [("passphrase-1", "passphrase", True), ("spare", "passphrase", True)]
    with pytest.raises(KeysError):
        master.slots.remove("kit", "spare", PassphraseKeeper("x"))
    master.slots.remove("kit", "spare", KEEPERS["spare"])
    assert opens(folder, SECOND) is KeysError
    with pytest.raises(UsageError, match="stays"):
        master.slots.remove("kit", "passphrase-1", KEEPERS["passphrase-1"])
    with pytest.raises(NotFoundError):
        master.slots.remove("kit", "spare", None)
    master.slots.add("kit", "third", KEEPERS["spare"])
    (folder / "slots" / "third.json").unlink()
    assert [s.there for s in master.slots.all()] == [True, False]
    master.slots.remove("kit", "third", None)
    assert master.turning.turn("kit", {"passphrase-1": KEEPERS["passphrase-1"]}).slots == 1


@needs_tokens
def test_one_token_lost_and_the_room_opens_with_the_other(tmp_path):
    """Two tokens; one is deleted: the other opens, the lost one is taken off, and a turn goes through."""
    one, two = make_token(), make_token()
    folder = tmp_path / "keys"
    with create_keymaster(folder, token=one, schema=kit.SCHEMA, policy=kit.POLICY) as master:
        master.slots.add("kit", "pkcs11-2", two)
        batch, sealing = kit.put(master, kit.identifiers(20))
        keys = with_reading(master, batch, sealing)
    delete_token(one)
    assert opens(folder, token=one) is UnavailableError
    with open_keymaster(folder, token=two) as master:
        assert (with_reading(master, batch, sealing)["contact"] == keys["contact"]).all()
        with pytest.raises(UnavailableError):
            master.turning.turn("kit", {"pkcs11-1": one, "pkcs11-2": two})
        master.slots.remove("kit", "pkcs11-1", None)
        assert master.turning.turn("kit", {"pkcs11-2": two}).waits == (
            "pkcs11 slot pkcs11-1 of epoch 1 never forgets: whoever kept it opens old backups",
        )
    assert opens(folder, token=two) == 2
    assert len(objects_of(two)) == 1


@needs_tokens
@pytest.mark.parametrize("step", STEPS)
def test_tokens_hold_one_key_after_a_crash_and_a_turn(tmp_path, step):
    """Whatever a crash left in the tokens, the turn that follows leaves exactly the key of the epoch in force."""
    one, two = make_token(), make_token()
    keepers = {"pkcs11-1": one, "pkcs11-2": two}
    with create_keymaster(tmp_path / "keys", token=one, schema=kit.SCHEMA, policy=kit.POLICY) as master:
        master.slots.add("kit", "pkcs11-2", two)
        with pytest.raises(StoppedError):
            master.turning.turn("kit", keepers, after=stop_after(step))
    assert opens(tmp_path / "keys", token=one) == opens(tmp_path / "keys", token=two)
    with open_keymaster(tmp_path / "keys", token=two) as master:
        report = master.turning.turn("kit", keepers)
        assert report.waits == ()
        own = f"strongroom {master.room_id.hex()} {report.epoch}"
    assert objects_of(one) == objects_of(two) == [own]


def test_copies_of_before_the_turn_do_not_open_with_the_new_slots(master, tmp_path):
    """An old database beside the new slot files finds no slot of its epoch."""
    master.close()
    shutil.copytree(tmp_path / "keys", tmp_path / "old")
    with kit.reopen(tmp_path / "keys") as again:
        again.turning.turn("kit", KEEPERS)
    shutil.rmtree(tmp_path / "old" / "slots")
    shutil.copytree(tmp_path / "keys" / "slots", tmp_path / "old" / "slots")
    assert opens(tmp_path / "old") is IntegrityError
    assert turn_kit.opens(tmp_path / "keys") == 2
