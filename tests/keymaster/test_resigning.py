"""The log's signing key changes: both keys sign at the change, old checkpoints still verify, the old key is done."""

import keymaster_fixtures as kit
import pytest

from strongroom.audit.keychange import follow
from strongroom.audit.note import Checkpoint, open_checkpoint, parse_note, sign_checkpoint
from strongroom.errors import DeniedError, IntegrityError, UnavailableError
from strongroom.keymaster.log import publishing


@pytest.fixture
def master(tmp_path):
    with kit.make(tmp_path / "keys") as made:
        kit.put(made, kit.identifiers(5))
        yield made


def lines(text):
    return len(parse_note(text).signatures)


def seeds(master):
    rows = master._core.state.read()
    found = rows.execute("SELECT id, wrapped FROM wrapped_key WHERE purpose = 'signing'").fetchall()
    return {ident: master._core.ring.unwrap("signing", ident, wrapped) for ident, wrapped in found}


def test_old_checkpoints_verify_and_new_ones_have_the_new_key(master, tmp_path):
    """Kept checkpoints of before, of the change and of after are all of this log; it opens again and verifies."""
    kept = [master.publish()]
    for number in (2, 3):
        report = master.resigning.rotate("kit")
        assert (report.number, len(seeds(master))) == (number, 1)
        kept.append(master.publish())
        kit.put(master, kit.identifiers(5, 100 * number))
        kept.append(master.publish())
    assert [lines(text) for text in kept] == [1, 2, 1, 2, 1]
    for text in kept:
        master.check_checkpoint(text)
    assert master.verify_log(known=kept)["known"] == 5
    master.close()
    with kit.reopen(tmp_path / "keys") as again:
        assert again.verify_log(known=kept)["known"] == 5


def test_who_knows_the_first_key_follows_to_the_newest(master):
    """Bridges lead from key to key; the keys they give verify every checkpoint of their time, and no other."""
    first = master._publishing.keys[0].public_key
    before = master.publish()
    master.resigning.rotate("kit")
    kit.put(master, kit.identifiers(5, 100))
    master.resigning.rotate("kit")
    kit.put(master, kit.identifiers(5, 200))
    after, origin = master.publish(), master._publishing.origin
    keys = follow(master._publishing.bridges(), origin, first)
    assert keys == master._publishing.keys
    for text in (before, after):
        open_checkpoint(text, origin, keys)
    with pytest.raises(IntegrityError):
        open_checkpoint(after, origin, first)
    with pytest.raises(IntegrityError):
        follow(master._publishing.bridges()[1:], origin, first)


def test_a_stolen_old_key_signs_nothing_after_the_change(master):
    """A larger log under the old key is refused; so is a smaller one under the new key. Control: within its time it passes."""
    (old,) = seeds(master).values()
    origin = master._publishing.origin
    report = master.resigning.rotate("kit")
    (new,) = seeds(master).values()
    keys = master._publishing.keys
    assert open_checkpoint(sign_checkpoint(Checkpoint(origin, report.size, bytes(32)), old), origin, keys)
    for size, seed in ((report.size + 1, old), (1, new)):
        with pytest.raises(IntegrityError, match="not in force"):
            open_checkpoint(sign_checkpoint(Checkpoint(origin, size, bytes(32)), seed), origin, keys)


def test_a_bridge_of_another_entry_or_of_a_key_nobody_holds_leads_nowhere(master, monkeypatch):
    """A proof of any other entry is no bridge; nor is one that the new key did not sign."""
    from strongroom.audit.proof import make_proof

    first, origin = master._publishing.keys[0].public_key, master._publishing.origin
    text = master.publish()
    size = open_checkpoint(text, origin, first).size
    (entry,) = master._publishing.read_entries(0, 1)
    with pytest.raises(IntegrityError, match="another entry"):
        follow([make_proof(master._publishing._log.reader(), 0, size, text, entry)], origin, first)
    monkeypatch.setattr("strongroom.audit.log.sign_checkpoint", lambda point, *own: sign_checkpoint(point, own[0]))
    monkeypatch.setattr("strongroom.audit.log.is_signed_by", lambda *_: True)
    master.resigning.rotate("kit")
    with pytest.raises(IntegrityError):
        follow(master._publishing.bridges(), origin, first)


@pytest.mark.parametrize("stored", [False, True])
def test_a_change_that_was_interrupted_is_completed(master, tmp_path, monkeypatch, stored):
    """Whether the bridge was stored or not, the log opens, both keys sign, and the next call completes the change."""
    real = publishing.Publishing.bridge

    def fails(self, *args):
        if stored:
            real(self, *args)
        raise UnavailableError("the store does not answer")

    monkeypatch.setattr(publishing.Publishing, "bridge", fails)
    with pytest.raises(UnavailableError):
        master.resigning.rotate("kit")
    monkeypatch.undo()
    master.close()
    with kit.reopen(tmp_path / "keys") as again:
        kit.put(again, kit.identifiers(5, 100))
        assert lines(again.publish()) == 2
        assert len(seeds(again)) == 2
        assert again.resigning.rotate("kit").number == 2
        assert len(seeds(again)) == 1
        kit.put(again, kit.identifiers(5, 200))
        assert lines(again.publish()) == 1
        assert len(again._publishing.bridges()) == 1


def test_another_process_signs_with_the_new_key(master, tmp_path):
    """A keymaster that was open before publishes under the new key by itself."""
    with kit.reopen(tmp_path / "keys") as other:
        other.publish()
        report = master.resigning.rotate("kit")
        kit.put(other, kit.identifiers(5, 100))
        text = other.publish()
        assert lines(text) == 1
        assert open_checkpoint(text, master._publishing.origin, master._publishing.keys[-1].public_key).size > report.size
        master.check_checkpoint(text)


def test_who_may_is_for_the_policy(master):
    """Without the right the key stays."""
    with pytest.raises(DeniedError):
        master.resigning.rotate("ada")
    assert len(master._publishing.keys) == 1
