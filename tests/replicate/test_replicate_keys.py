"""Copies of the keymaster: a consistent cut, incremental, home by a slot, and what the room makes it catch up with."""

import hashlib
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import CHEAP, PASSPHRASE, POLICY, SCHEMA, SmallRoom, person, persons

import strongroom
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    ErasedError,
    IntegrityError,
    KeysError,
    NotFoundError,
    UsageError,
)
from strongroom.keymaster import keycopies
from strongroom.keymaster.database.state import State
from strongroom.keymaster.wanted import WantedIdentity

TWO_CLERKS = POLICY.replace('[actors.nan]\nroles = ["counsel"]', '[actors.nan]\nroles = ["clerk"]')


@pytest.fixture
def copy_of(room, tmp_path):
    """A copy of the keymaster, and the room with the keymaster that came home from it."""
    url = str(tmp_path / "keys-copy")
    with room.keymaster() as keys:
        keys.key_copies.copy("kit", url)
    return url


def home(room, url, folder, passphrase=PASSPHRASE):
    """The same bucket with the keymaster from a copy, in a folder of its own."""
    where = SmallRoom(folder)
    folder.mkdir(exist_ok=True)
    strongroom.restore_keymaster(where.keys, source=url, passphrase=passphrase)
    if not where.bucket.exists():
        where.bucket.symlink_to(room.bucket)
    return where


def opened(room, actor="kit"):
    keys = room.keymaster()
    try:
        return keys, strongroom.open(str(room.bucket), keys=keys, actor=actor)
    except BaseException:
        keys.close()
        raise


def read_one(room, number, actor="ada"):
    keys, there = opened(room, actor)
    with keys, there, there.read(purpose="case-work", reason="r") as desk:
        return dict(desk.get("persons", f"P-{number:06d}"))


def erase(room, *numbers):
    keys, there = opened(room)
    with keys, there:
        return there.erase([f"P-{n:06d}" for n in numbers], reason="art. 17")


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_a_keymaster_comes_home_and_reads_what_it_read(room, copy_of, tmp_path):
    """Database, pages and slots: records open, budgets are where they were, the log goes on and verifies."""
    there = home(room, copy_of, tmp_path / "home")
    assert read_one(there, 7) == person(7)
    keys, kit = opened(there)
    with keys, kit:
        assert kit.verify_log()["entries"] > 3
        assert kit.put("persons", persons(5, 700)).records == 5
    assert read_one(there, 702) == person(702)


def test_a_second_copy_moves_what_changed_and_forgets_what_went(room, copy_of):
    """Pages are copied once; a page of before an erasure leaves the copy with the next one; the log counts both."""
    before = files(copy_of)
    with room.keymaster() as keys:
        again = keys.key_copies.copy("kit", copy_of)
    assert {n for n in files(copy_of) if n.startswith("pages/")} == {n for n in before if n.startswith("pages/")}
    erase(room, 7)
    with room.keymaster() as keys:
        third = keys.key_copies.copy("kit", copy_of)
        (status,) = keys.key_copies.copies()
        acts = [e["act"] for e in keys.log_entries("kit")]
    assert acts.count("copy") == 3
    assert (status.url, status.leaf) == (copy_of, third.leaf)
    assert third.leaf > again.leaf
    now = files(copy_of)
    gone = {n for n in before if n.startswith("pages/")} - set(now)
    assert len(gone) == 1
    assert sum(n.startswith("database/") for n in now) == 1


def test_the_copy_tells_nothing_in_plain(room, copy_of):
    """Whoever has the copy and no slot sees no actor, no table, no value; a changed byte of the database is noticed."""
    blob = b"".join(files(copy_of).values())
    for word in (b"persons", b"case-work", b"mobile", b"SQLite format", person(7)["name"].encode()):
        assert word not in blob
    (name,) = [n for n in files(copy_of) if n.startswith("database/")]
    path = Path(copy_of) / name
    data = path.read_bytes()
    for at in (0, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(IntegrityError):
            strongroom.restore_keymaster(Path(copy_of) / "x", source=copy_of, passphrase=PASSPHRASE)
        assert not any((Path(copy_of) / "x").iterdir())


def test_wrong_ways_home(room, copy_of, tmp_path):
    """Wrong passphrase, no copy, a folder that holds something, a copy cut short: clear errors, nothing left behind."""
    folder = tmp_path / "home"
    with pytest.raises(KeysError):
        strongroom.restore_keymaster(folder, source=copy_of, passphrase="guess")
    with pytest.raises(NotFoundError):
        strongroom.restore_keymaster(folder, source=str(room.bucket), passphrase=PASSPHRASE)
    with pytest.raises(ConflictError):
        strongroom.restore_keymaster(room.keys, source=copy_of, passphrase=PASSPHRASE)
    (page, *_) = [p for p in (Path(copy_of) / "pages").rglob("*") if p.is_file()]
    page.unlink()
    with pytest.raises(NotFoundError):
        strongroom.restore_keymaster(folder, source=copy_of, passphrase=PASSPHRASE)
    (Path(copy_of) / "manifest").write_bytes(b"{}")
    with pytest.raises(IntegrityError):
        strongroom.restore_keymaster(folder, source=copy_of, passphrase=PASSPHRASE)
    assert not any(folder.iterdir())


def test_wrong_places_for_a_copy(room, tmp_path):
    """Another keymaster's copy, a folder with something else, an actor without the act: refused, nothing written."""
    other = SmallRoom(tmp_path / "other")
    other.folder.mkdir()
    with strongroom.create_keymaster(other.keys, passphrase="p" * 20, schema=SCHEMA, policy=POLICY, argon2=CHEAP) as k:
        k.key_copies.copy("kit", str(tmp_path / "theirs"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("b")
    before = files(tmp_path / "theirs"), files(tmp_path / "full")
    with room.keymaster() as keys:
        for place in ("theirs", "full"):
            with pytest.raises(ConflictError):
                keys.key_copies.copy("kit", str(tmp_path / place))
        with pytest.raises(DeniedError):
            keys.key_copies.copy("ada", str(tmp_path / "new"))
        with pytest.raises(NotFoundError):
            keys.key_copies.forget_copy("kit", str(tmp_path / "new"))
    assert (files(tmp_path / "theirs"), files(tmp_path / "full")) == before
    assert not (tmp_path / "new").exists()


# -- catching up --------------------------------------------------------------------------------------


def test_an_older_keymaster_erases_again_before_any_key_works(room, copy_of, tmp_path):
    """A copy from before an erasure holds the secret; the room it opens knows better, and it is gone there too."""
    erase(room, 7, 8)
    there = home(room, copy_of, tmp_path / "home")
    with there.keymaster() as keys:
        token = np_token(keys, 7)
        assert keys._core.keys.lookup(token).found.all()  # control: the copy has the secret
    with pytest.raises((NotFoundError, ErasedError)):
        read_one(there, 7)
    assert read_one(there, 9) == person(9)
    with there.keymaster() as keys:
        assert not keys._core.keys.lookup(token).found.any()
        entry = keys.log_entries("kit")
    assert any(e["act"] == "catch-up" and e["extras"]["erased"] == 2 for e in entry)


def np_token(keys, number):
    import numpy as np

    return np.frombuffer(keys._core.subject.one(f"P-{number:06d}".encode()), np.uint8).reshape(1, 16)


def test_control_without_the_tail_the_keymaster_is_refused(room, copy_of, tmp_path):
    """Control: when nobody kept the tail, the keymaster that was set back is noticed and does not open the room."""
    erase(room, 7)
    there = home(room, copy_of, tmp_path / "home")
    shutil.rmtree(room.bucket / "tail")
    with pytest.raises(IntegrityError, match="set back"):
        read_one(there, 9)


def test_control_without_catching_up_the_erased_opens(room, copy_of, tmp_path, monkeypatch):
    """Control: a room that does not look at its notes, and a keymaster that does not wait, open who was erased."""
    from strongroom import room as module
    from strongroom.keymaster import create

    erase(room, 7)
    there = home(room, copy_of, tmp_path / "home")
    monkeypatch.setattr(module, "catch_up", lambda store, keys: None)
    with pytest.raises(IntegrityError, match="has not caught up"):
        read_one(there, 7)
    monkeypatch.setattr(create, "shut", lambda rows, replayer: None)
    assert read_one(there, 7) == person(7)


def test_what_came_home_does_nothing_before_its_room_is_opened(room, copy_of, tmp_path):
    """No copy, no policy, no put by itself: what it did alone would be another history than the room's."""
    there = home(room, copy_of, tmp_path / "home")
    with there.keymaster() as keys:
        for act in (
            lambda: keys.key_copies.copy("kit", str(tmp_path / "another")),
            lambda: keys.set_policy("kit", POLICY),
            lambda: keys.begin_put(actor="kit", table="persons", request_id=b"1" * 16),
        ):
            with pytest.raises(IntegrityError, match="has not caught up"):
                act()
    assert read_one(there, 9) == person(9)
    with there.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "another"))


def test_the_keymaster_of_an_empty_room_comes_home(tmp_path):
    """Nothing was ever put, so no checkpoint lies anywhere: the room opens with the keymaster from the copy."""
    room = SmallRoom(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    room.create()
    with room.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
    there = home(room, str(tmp_path / "copy"), tmp_path / "home")
    keys, kit = opened(there)
    with keys, kit:
        assert kit.put("persons", persons(5)).records == 5


def test_without_any_checkpoint_two_people_say_so(room, copy_of, tmp_path):
    """The notes are gone: what came home cannot know what it lacks, and the room opens when two people accept that."""
    from strongroom.replicate.home import accept_gap

    with room.keymaster() as keys:
        keys.set_policy("kit", TWO_CLERKS)
        keys.key_copies.copy("kit", copy_of)
    shutil.rmtree(room.bucket / "notes")
    there = home(room, copy_of, tmp_path / "home")
    with pytest.raises(IntegrityError, match="no checkpoint lies beside"):
        read_one(there, 9)
    with there.keymaster() as keys:
        asked = accept_gap(str(room.bucket), keys=keys, actor="kit")
        assert asked.first == asked.end
        with pytest.raises(IntegrityError, match="no checkpoint lies beside"):
            strongroom.open(str(room.bucket), keys=keys, actor="kit")
        assert accept_gap(str(room.bucket), keys=keys, actor="nan").accepted
    assert read_one(there, 9) == person(9)
    with there.keymaster() as keys, pytest.raises(UsageError):
        accept_gap(str(room.bucket), keys=keys, actor="kit")


def test_a_keymaster_that_went_its_own_way_is_told_and_can_be_accepted(room, tmp_path):
    """A folder put back from a plain backup acts before the room is opened: as long a log, and another history."""
    from strongroom.replicate.home import accept_gap

    keys, kit = opened(room)
    with keys, kit:
        kit.set_policy(TWO_CLERKS)
    shutil.copytree(room.keys, tmp_path / "backup")
    erase(room, 7)
    shutil.rmtree(room.keys)
    shutil.copytree(tmp_path / "backup", room.keys)
    with room.keymaster() as keys:
        for _ in range(3):
            keys.set_policy("kit", TWO_CLERKS)
            keys.set_policy("kit", TWO_CLERKS + "# again\n")
        with pytest.raises(IntegrityError, match="another history"):
            strongroom.open(str(room.bucket), keys=keys, actor="kit")
        asked = accept_gap(str(room.bucket), keys=keys, actor="kit")
        assert asked.first < asked.end
        assert accept_gap(str(room.bucket), keys=keys, actor="nan").accepted
        with strongroom.open(str(room.bucket), keys=keys, actor="kit") as kit:
            assert kit.check().faults == []
    # the tail beside the objects is that of the history that goes on: an older keymaster catches up with it
    shutil.rmtree(room.keys)
    shutil.copytree(tmp_path / "backup", room.keys)
    keys, kit = opened(room)
    with keys, kit:
        acts = [entry["act"] for entry in kit.log()]
    assert acts[-1] == "catch-up"
    assert "accept-gap" in acts


def test_a_copy_cut_at_a_piece_is_refused(room, tmp_path, monkeypatch):
    """Whoever keeps the copy cannot leave pieces of the database out: its key opens beside all of them only."""
    monkeypatch.setattr(keycopies, "PIECE_BYTES", 1 << 15)
    url = tmp_path / "copy"
    with room.keymaster() as keys:
        keys.key_copies.copy("kit", str(url))
    manifest = json.loads((url / "manifest").read_bytes())
    database = url / "database" / manifest["object"]
    whole, piece = database.read_bytes(), (1 << 15) + 16
    assert len(whole) > piece
    for said in (
        {"length": piece, "sha256": hashlib.sha256(whole[:piece]).hexdigest()},
        {"leaf": manifest["leaf"] + 5},
    ):
        (url / "manifest").write_text(json.dumps({**manifest, **said}))
        database.write_bytes(whole[: said.get("length", len(whole))])
        with pytest.raises(IntegrityError):
            strongroom.restore_keymaster(tmp_path / "home", source=str(url), passphrase=PASSPHRASE)
    (url / "manifest").write_text(json.dumps(manifest))
    database.write_bytes(whole)
    strongroom.restore_keymaster(tmp_path / "home", source=str(url), passphrase=PASSPHRASE)


def test_two_that_copy_to_one_place_leave_a_whole_copy(room, copy_of, tmp_path):
    """They take turns: neither takes the other's newest database for a leftover."""

    def one(_number):
        with room.keymaster() as keys:
            return keys.key_copies.copy("kit", copy_of).leaf

    with ThreadPoolExecutor(4) as pool:
        leaves = list(pool.map(one, range(8)))
    assert len(set(leaves)) == 8
    assert len(list((Path(copy_of) / "database").iterdir())) == 1
    assert read_one(home(room, copy_of, tmp_path / "home"), 9) == person(9)


def test_revocations_and_freezes_are_done_again(room, copy_of, tmp_path):
    """A credential revoked since the copy lets nobody in; what was frozen is frozen; broken glass is open for review."""
    from strongroom.identity.credential import new_credential
    from strongroom.keymaster.wanted import Wanted
    from strongroom.purpose.budget import OwnBudgets
    from strongroom.purpose.model import Budget

    kept, gone, later = (new_credential(b"r" * 16, "ada") for _ in range(3))
    rule = '[purposes.case-work]\nbreak_glass = ["officer"]\napproval = { roles = ["counsel"], over = 0 }'
    with room.keymaster() as keys:
        keys.set_policy("kit", POLICY.replace("[purposes.case-work]", rule))
        for one in (kept, gone):
            keys.credentials.add("kit", Wanted("ada", one.public_key, 9))
        keys.key_copies.copy("kit", copy_of)
    keys, kit = opened(room)
    with keys, kit:
        keys.credentials.revoke("kit", gone.id)
        keys.credentials.add("kit", Wanted("ada", later.public_key, 9, budgets=OwnBudgets(Budget(day=3))))
        keys.freezing.freeze("kit", "actor", "mei", "stolen")
        keys.begin_reading(actor="ada", purpose="case-work", reason="now", break_glass=True)
        kit.hold(["P-000011"], reason="court")  # whatever is noted beside the objects takes the log along
    there = home(room, copy_of, tmp_path / "home")
    keys, kit = opened(there)
    with keys, kit:
        assert keys.credentials.find(gone.id).revoked > 0
        assert keys.credentials.find(kept.id).revoked == 0
        assert keys.credentials.find(later.id).actor == "ada"
        assert keys.credentials.find(later.id).budgets.budget == Budget(day=3)
        assert [(one.kind, one.name) for one in keys.freezing.all()] == [("actor", "mei")]
        (review,) = keys.reviews.all("nan")
        assert (review.actor, review.closed, review.reason) == ("ada", 0.0, "")  # texts stay where they were
        keys.reviews.close("nan", review.id, "was needed")
    keys, mei = opened(there, "mei")
    with keys, mei, pytest.raises(DeniedError, match="frozen"):
        mei.read(purpose="delivery", reason="r")


def test_who_signs_in_is_known_again_and_sessions_are_not(room, copy_of, tmp_path):
    """An identity ended since the copy signs nobody in, one let in since does; whoever was signed in signs in again."""
    import time

    from signin_kit import CLIENT, Issuer

    from strongroom.identity.commitment import token_nonce
    from strongroom.keymaster.wanted import Person

    def sign_in(keys, issuer, number):
        own, salt = bytes([number]) * 32, b"s" * 32
        return keys.identities.signing_in().by_token(own, salt, issuer.issue(token_nonce(keys.room_id, own, salt)), "127.0.0.1")

    with Issuer() as issuer:
        with room.keymaster() as keys:
            gone, kept = (
                keys.identities.add("kit", WantedIdentity("ada", person=Person(issuer.url, CLIENT, "sub", name), days=9))
                for name in ("u-1", "u-2")
            )
            before = sign_in(keys, issuer, 1)
            keys.key_copies.copy("kit", copy_of)
        keys, kit = opened(room)
        with keys, kit:
            keys.identities.revoke("kit", gone.id)
            new = keys.identities.add("kit", WantedIdentity("mei", person=Person(issuer.url, CLIENT, "sub", "u-3"), days=9))
            issuer.subject = "u-2"
            since = sign_in(keys, issuer, 2)
            kit.hold(["P-000011"], reason="court")  # whatever is noted beside the objects takes the log along
        there = home(room, copy_of, tmp_path / "home")
        keys, kit = opened(there)
        with keys, kit:
            assert {one.id: bool(one.revoked) for one in keys.identities.all("kit")} == {
                gone.id: True, kept.id: False, new.id: False,
            }  # fmt: skip
            assert keys.credentials.find(before.id) is None
            assert keys.credentials.find(since.id) is None
            assert sign_in(keys, issuer, 3).expires > time.time()
            issuer.subject = "u-1"
            with pytest.raises(DeniedError):
                sign_in(keys, issuer, 4)


def test_holds_policies_schemas_and_spends_are_done_again(room, copy_of, tmp_path):
    """What was decided since the copy stands: a revoked role, a hold, a field more, a budget that is spent."""
    more = SCHEMA.replace("district  =", 'note      = { type = "string", class = "contact" }\ndistrict  =')
    keys, kit = opened(room)
    with keys, kit:
        kit.hold(["P-000011"], reason="court")
    keys, mei = opened(room, "mei")
    with keys, mei, mei.read(purpose="delivery", reason="r") as desk:
        for n in range(20):
            desk.get("persons", f"P-{n:06d}")
    keys, kit = opened(room)
    with keys, kit:
        kit.set_schema(more)
        kit.set_policy(POLICY.replace('[actors.ada]\nroles = ["officer"]', '[actors.ada]\nroles = ["analyst"]'))
    there = home(room, copy_of, tmp_path / "home")
    with pytest.raises(DeniedError):
        read_one(there, 9)
    keys, kit = opened(there)
    with keys, kit:
        assert kit.schema.table("parcels").field("note").klass == "contact"
        with pytest.raises(DeniedError, match="hold"):
            kit.erase(["P-000011"], reason="r")
    keys, mei = opened(there, "mei")
    with keys, mei, mei.read(purpose="delivery", reason="r") as desk, pytest.raises(BudgetError):
        desk.get("persons", "P-000030")


def test_a_snapshot_newer_than_the_copy_is_named_and_the_older_one_goes_on(room, copy_of, tmp_path):
    """Keys made after the copy are gone: the error says which snapshot opens, and a restore of it goes on from there."""
    keys, kit = opened(room)
    with keys, kit:
        newest = kit.put("persons", persons(5, 800)).snapshot
    there = home(room, copy_of, tmp_path / "home")
    with pytest.raises(IntegrityError, match=f"snapshot {newest}") as refused:
        read_one(there, 9)
    assert f"--snapshot {newest - 1}" in refused.value.hint
    with there.keymaster() as keys:
        strongroom.restore(
            str(tmp_path / "again"), source=str(room.bucket), keys=keys, actor="kit", snapshot=newest - 1
        )
        with strongroom.open(str(tmp_path / "again"), keys=keys, actor="kit") as kit:
            assert kit.check().faults == []
            batch = keys._core.state.read().execute("SELECT value FROM counter WHERE name = 'batch'").fetchone()[0]
            assert batch > 1 << 20
            assert kit.put("persons", persons(5, 800)).records == 5
        with strongroom.open(str(tmp_path / "again"), keys=keys, actor="ada") as officer:
            with officer.read(purpose="case-work", reason="r") as desk:
                assert dict(desk.get("persons", "P-000802")) == person(802)
                assert dict(desk.get("persons", "P-000009")) == person(9)


@pytest.mark.parametrize("when", range(6))
def test_a_crash_while_catching_up_leaves_it_shut_until_it_is_done(room, copy_of, tmp_path, monkeypatch, when):
    """Whichever transaction fails, no key works before all is done, and opening the room again does it."""
    erase(room, 7)
    erase(room, 8)
    there = home(room, copy_of, tmp_path / "home")
    real, left = State.write, [None]

    def failing(self):
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise strongroom.UnavailableError("crash")
        return real(self)

    keys = there.keymaster()
    with monkeypatch.context() as patch:
        patch.setattr(State, "write", failing)
        left[0] = when
        try:
            strongroom.open(str(there.bucket), keys=keys, actor="ada")
        except strongroom.UnavailableError:
            pass
        left[0] = None
    with there.keymaster() as second:
        behind = second._core.state.read().execute("SELECT value FROM counter WHERE name = 'behind'").fetchone()[0]
        if behind:
            with pytest.raises(IntegrityError, match="caught up"):
                second.begin_reading(actor="ada", purpose="case-work", reason="r")
    keys.close()
    for number in (7, 8):
        with pytest.raises((NotFoundError, ErasedError)):
            read_one(there, number)
    assert read_one(there, 9) == person(9)


@pytest.mark.parametrize("how", ["flipped", "cut", "another's", "missing"])
def test_a_tail_that_was_tampered_with_is_refused(room, copy_of, tmp_path, how):
    """A piece that is changed, cut, swapped or gone: the keymaster stays as it was, and shut."""
    erase(room, 7)
    erase(room, 8)
    there = home(room, copy_of, tmp_path / "home")
    pieces = sorted((room.bucket / "tail").iterdir())
    newest = pieces[-1]
    data = newest.read_bytes()
    if how == "missing":
        newest.unlink()
    else:
        forged = {"flipped": data[:20] + bytes([data[20] ^ 1]) + data[21:], "cut": data[:-1]}
        newest.write_bytes(forged.get(how, pieces[0].read_bytes()))
    with pytest.raises(IntegrityError):
        read_one(there, 9)
    with there.keymaster() as keys:
        assert keys._core.keys.lookup(np_token(keys, 7)).found.all()
        assert keys.log_entries("kit")[-1]["act"] != "catch-up"
    newest.write_bytes(data)
    assert read_one(there, 9) == person(9)


def test_pieces_go_with_compaction_when_every_copy_is_newer(room, copy_of):
    """The tail is kept as long as a known copy of the keymaster may need it."""
    erase(room, 7)
    keys, kit = opened(room)
    with keys, kit:
        kit.compact()
        assert any((room.bucket / "tail").iterdir())
        keys.key_copies.copy("kit", copy_of)
        before = set((room.bucket / "tail").iterdir())
        kit.compact()
    assert len(set((room.bucket / "tail").iterdir()) & before) < len(before)


# -- a tail that is lost for good ------------------------------------------------------------------


def test_two_people_accept_a_gap_and_the_room_goes_on(room, copy_of, tmp_path):
    """The tail is lost: one asks, the same cannot agree, another does; the log names the gap and verifies, the room opens."""
    from strongroom.replicate.home import accept_gap

    with room.keymaster() as keys:
        keys.set_policy("kit", TWO_CLERKS)
        keys.key_copies.copy("kit", copy_of)
    erase(room, 7)
    keys, kit = opened(room)
    with keys, kit:
        kit.set_policy(POLICY.replace('[actors.nan]\nroles = ["counsel"]', '[actors.nan]\nroles = ["analyst"]'))
    there = home(room, copy_of, tmp_path / "home")
    shutil.rmtree(room.bucket / "tail")
    with there.keymaster() as keys:
        with pytest.raises(DeniedError):
            accept_gap(str(room.bucket), keys=keys, actor="ada")
        asked = accept_gap(str(room.bucket), keys=keys, actor="kit")
        assert not asked.accepted
        with pytest.raises(DeniedError, match="another person"):
            accept_gap(str(room.bucket), keys=keys, actor="kit")
        with pytest.raises(IntegrityError):
            strongroom.open(str(room.bucket), keys=keys, actor="kit")
        agreed = accept_gap(str(room.bucket), keys=keys, actor="nan")
        assert agreed.accepted
        with strongroom.open(str(room.bucket), keys=keys, actor="kit") as kit:
            said = [e for e in kit.log() if e["act"] in ("ask-gap", "accept-gap") and e["decision"] == "allowed"]
            assert [(e["actor"], e["extras"]["from"]) for e in said] == [("kit", asked.first), ("nan", asked.first)]
            assert kit.check().faults == []
            assert kit.put("persons", persons(5, 700)).records == 5
        with pytest.raises(strongroom.StrongroomError):
            accept_gap(str(room.bucket), keys=keys, actor="kit")  # nothing is missing any more
    assert read_one(there, 7) == person(7)  # what the gap held is gone with it, and the command says so
    with pytest.raises(IntegrityError):
        read_one(room, 9)  # the keymaster that had the lost part is of another history now


def test_a_damaged_database_is_told_and_a_copy_brings_it_back(room, copy_of, tmp_path):
    """Cut, overwritten or emptied: a clear error and no answer; from the copy the room opens again."""
    path = room.keys / "keymaster.db"
    data = path.read_bytes()
    for forged in (b"", data[: len(data) // 2], b"x" * len(data), data[:100] + bytes(4096) + data[4196:]):
        path.write_bytes(forged)
        with pytest.raises((IntegrityError, strongroom.UsageError)) as told:
            read_one(room, 9)
        assert "Traceback" not in str(told.value)
    there = home(room, copy_of, tmp_path / "home")
    assert read_one(there, 9) == person(9)
