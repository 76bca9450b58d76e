"""A log whose checkpoints wait for cosignatures: tries that fail leave nothing behind, and cost no second way."""

import contextlib

import pytest
from audit_fixtures import ORIGIN, PUBLIC, SEED, FailingStore, entries, new_log, objects, published, reader

from strongroom.audit.cosign import Cosigner, Quorum, cosign, cosigners_of
from strongroom.audit.log import TileLog
from strongroom.audit.note import Note, open_checkpoint, parse_note
from strongroom.audit.tlog import leaf_hash, tree_root, verify_consistency
from strongroom.audit.verify import verify
from strongroom.errors import IntegrityError, UnavailableError
from strongroom.seal.sign import public_key
from strongroom.store.memory import MemoryStore

ITEMS = entries(3000)
WITNESS = Cosigner("w.example/w", public_key(bytes(32)))
SIZES = (1, 255, 256, 300, 700, 701, 2600)


class Rule:
    """Cosigns itself where it is not told to fail; checks the proof from the size that it knows."""

    def __init__(self):
        self.fails, self.known = False, 0

    def counts(self, text):
        return bool(cosigners_of(text, [WITNESS]))

    def cosign(self, text, prove):
        new = open_checkpoint(text, ORIGIN, PUBLIC)
        proof = prove(self.known)
        verify_consistency(self.known, new.size, brute(self.known), new.root, proof)
        if self.fails:
            raise UnavailableError("too few answered")
        self.known = new.size
        note = parse_note(text)
        return str(Note(note.text, (*note.signatures, cosign(note.text, WITNESS.name, bytes(32), 5))))


def brute(size):
    return tree_root([leaf_hash(item) for item in ITEMS[:size]])


def test_tries_that_fail_leave_the_objects_of_one_go_and_read_each_entry_once():
    """However many came between: no partial tile of a size that never counted, no entry read twice but the last bundle."""
    store, log = new_log()
    rule, asked = Rule(), []

    def read(start, stop):
        asked.append(stop - start)
        return ITEMS[start:stop]

    log.publish(read, 100, rule)
    rule.fails = True
    for size in (*range(101, 400, 7), *SIZES[4:], 2999):
        with pytest.raises(UnavailableError):
            log.publish(read, size, rule)
    assert open_checkpoint(store.get("checkpoint").decode(), ORIGIN, PUBLIC).size == 100
    rule.fails = False
    text = log.publish(read, 3000, rule)
    assert log.publish(read, 3000, rule) == text
    once, _log, _text = published(ITEMS, 100, 3000)
    assert set(objects(store)) == set(objects(once))
    assert all(store.get(name) == data for name, data in objects(once).items() if name != "checkpoint")
    assert sum(asked) < 3000 + 256 * 60
    report = verify(store, PUBLIC, ORIGIN, reader(ITEMS), quorum=Quorum(1, (WITNESS,)))
    assert report.witnesses == (WITNESS.name,)


def test_another_process_goes_on_where_the_stored_checkpoint_is():
    """What one remembers of its tries is nothing that another must know, nor is it used when another was faster."""
    store, one = new_log()
    two, rule = TileLog(store, ORIGIN, SEED, PUBLIC), Rule()
    one.publish(reader(ITEMS), 300, rule)
    rule.fails = True
    with pytest.raises(UnavailableError):
        one.publish(reader(ITEMS), 1500, rule)
    rule.fails = False
    two.publish(reader(ITEMS), 700, rule)
    text = one.publish(reader(ITEMS), 2600, rule)
    assert open_checkpoint(text, ORIGIN, PUBLIC).root == brute(2600)
    verify(store, PUBLIC, ORIGIN, reader(ITEMS), quorum=Quorum(1, (WITNESS,)))


def test_a_stored_checkpoint_that_no_longer_counts_is_cosigned_again():
    """A rule that came later: nothing was noted since, and the checkpoint is replaced by the same one, cosigned."""
    store, log, plain = published(ITEMS[:300])
    with pytest.raises(IntegrityError, match="0 of the 1"):
        verify(store, PUBLIC, ORIGIN, reader(ITEMS[:300]), quorum=Quorum(1, (WITNESS,)))
    text = log.publish(reader(ITEMS), 300, Rule())
    assert parse_note(text).text == parse_note(plain).text
    assert verify(store, PUBLIC, ORIGIN, reader(ITEMS[:300]), quorum=Quorum(1, (WITNESS,))).size == 300


@pytest.mark.parametrize("stored", [False, True])
def test_after_a_crash_at_any_write_the_next_try_counts(stored):
    """Each call of the store fails once, before or after it took effect, between a cosignature and the checkpoint too."""
    for at in range(1, 40):
        inner, rule = MemoryStore(), Rule()
        TileLog(inner, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 250, rule)
        failing = FailingStore(inner, at, stored=stored)
        with contextlib.suppress(UnavailableError):
            TileLog(failing, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 700, rule)
        text = TileLog(inner, ORIGIN, SEED, PUBLIC).publish(reader(ITEMS), 701, rule)
        assert open_checkpoint(text, ORIGIN, PUBLIC).root == brute(701)
        verify(inner, PUBLIC, ORIGIN, reader(ITEMS[:701]), quorum=Quorum(1, (WITNESS,)))


def test_a_checkpoint_that_goes_back_while_others_wait_is_noticed():
    """The stored one is replaced by an older one, or removed, after a try that failed: the next one stops."""
    store, log = new_log()
    rule = Rule()
    older = log.publish(reader(ITEMS), 100, rule)
    log.publish(reader(ITEMS), 300, rule)
    rule.fails = True
    with pytest.raises(UnavailableError):
        log.publish(reader(ITEMS), 700, rule)
    store.replace("checkpoint", older.encode())
    with pytest.raises(IntegrityError, match="went back"):
        log.publish(reader(ITEMS), 700, rule)
    store.delete("checkpoint")
    with pytest.raises(IntegrityError, match="disappeared"):
        log.publish(reader(ITEMS), 700, rule)


def test_the_tree_ahead_of_the_checkpoint_proves_without_one():
    """`advance` signs and stores no checkpoint, and its reader proves; `continued` changes nothing of it."""
    store, log, text = published(ITEMS[:300])
    ahead, read = log.advance(reader(ITEMS), 2600)
    from strongroom.audit.tlog import consistency_proof

    assert store.get("checkpoint").decode() == text
    for old in (1, 256, 300, 1000, 2599):
        verify_consistency(old, 2600, brute(old), ahead.root, consistency_proof(read, old, 2600))
    assert log.continued(reader(ITEMS), 2600, [ITEMS[2600:2700], ITEMS[2700:]]).root == brute(3000)
    assert log.advance(reader(ITEMS), 2600)[0] == ahead
    assert open_checkpoint(log.publish(reader(ITEMS), 2601), ORIGIN, PUBLIC).root == brute(2601)
