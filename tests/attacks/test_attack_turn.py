"""Old backups of the keymaster, today's slots and the bucket: before the turn they open the removed, after it nobody."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "keymaster"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "keys"))

import keymaster_fixtures as kit
from token_kit import make_token, needs_tokens
from turn_kit import KEEPERS, SECOND, opens, with_reading, with_two_slots

from strongroom.errors import IntegrityError, KeysError
from strongroom.keymaster.create import create_keymaster, open_keymaster
from strongroom.keys.keystore import KeyStore
from strongroom.keys.slots import open_any
from strongroom.store.folder import FolderStore


def thief_opens(backup, slots, keeper, token):
    """Whether a backup with some slots gives the secret of a person; goes round every check of the keymaster."""
    from strongroom.keymaster.database.sqlite import SqliteState
    from strongroom.seal.entropy import random_bytes

    state = SqliteState.open(backup / "keymaster.db")
    try:
        epoch = state.read().execute("SELECT epoch FROM room").fetchone()[0]
        # the thief may also pretend that the slots are of the backup's epoch
        for tried in range(1, epoch + 3):
            try:
                ring = open_any(slots, keeper, tried)
            except (KeysError, IntegrityError):
                continue
            ring.admit(type(ring)(ring.room_id, epoch, ring.epoch_key()))
            keys = KeyStore(state, FolderStore(backup / "pages"), ring, random_bytes, lambda: 0.0)
            try:
                if keys.one(token) is not None:
                    return True
            except IntegrityError:
                continue
        return False
    finally:
        state.close()


@needs_tokens
def test_backups_of_before_the_turn_open_nobody_with_todays_tokens(tmp_path):
    """Control before the turn: the backup opens the removed person. After it: neither that person nor any other."""
    one, two = make_token(), make_token()
    folder = tmp_path / "keys"
    with create_keymaster(folder, token=one, schema=kit.SCHEMA, policy=kit.POLICY) as master:
        master.slots.add("kit", "pkcs11-2", two)
        batch, sealing = kit.put(master, kit.identifiers(200))
    victim, other = (sealing.tokens[i].tobytes() for i in (7, 8))
    backup = shutil.copytree(folder, tmp_path / "backup")
    with open_keymaster(folder, token=one) as master:
        assert master._core.keys.remove(victim)
        assert master._core.keys.one(victim) is None
        waits = master.turning.waits(master._core.ring.epoch)
    # control: in force, and not final
    assert len(waits) == 2
    assert thief_opens(backup, folder / "slots", one, victim)
    assert thief_opens(backup, folder / "slots", two, victim)
    with open_keymaster(folder, token=two) as master:
        report = master.turning.turn("kit", {"pkcs11-1": one, "pkcs11-2": two})
        assert report.waits == ()
        assert master._core.keys.one(victim) is None
        assert master._core.keys.one(other) is not None
        with_reading(master, batch, sealing)
    for slots in (folder / "slots", backup / "slots"):
        for keeper in (one, two):
            assert not thief_opens(backup, slots, keeper, victim)
            assert not thief_opens(backup, slots, keeper, other)


def test_a_passphrase_slot_never_forgets_and_the_turn_says_so(tmp_path):
    """Who kept the slot file beside the backup still opens it: the report calls no such erasure final."""
    folder = tmp_path / "keys"
    master, _batch, sealing = with_two_slots(folder)
    victim = sealing.tokens[7].tobytes()
    master.close()
    backup = shutil.copytree(folder, tmp_path / "backup")
    with kit.reopen(folder) as again:
        again._core.keys.remove(victim)
        report = again.turning.turn("kit", KEEPERS)
    assert [line.split()[0] for line in report.waits] == ["passphrase", "passphrase"]
    assert thief_opens(backup, backup / "slots", KEEPERS["spare"], victim)
    # today's slots alone open nothing of the backup
    assert not thief_opens(backup, folder / "slots", KEEPERS["spare"], victim)
    assert opens(folder, SECOND) == 2


@pytest.mark.parametrize("name", ["passphrase-1", "spare"])
def test_a_wrap_of_the_old_epoch_put_back_does_not_open(tmp_path, name):
    """Rows of before the turn in today's database are refused, whatever slot opened it."""
    folder = tmp_path / "keys"
    master, batch, sealing = with_two_slots(folder)
    rows = master._core.state.read().execute("SELECT wrapped, id FROM page").fetchall()
    master.turning.turn("kit", KEEPERS)
    with master._core.state.write() as inside:
        inside.executemany("UPDATE page SET wrapped = ? WHERE id = ?", rows)
    master.close()
    with open_keymaster(folder, passphrase=KEEPERS[name].passphrase) as again:
        with pytest.raises(IntegrityError):
            with_reading(again, batch, sealing)
