"""A witness over real HTTP: what it cosigns, what it refuses and how, and what it keeps when it is killed."""

import hashlib
import sqlite3
import stat
import sys
import threading
from pathlib import Path

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "audit"))
from audit_fixtures import ORIGIN, PUBLIC, SEED, entries, new_log, reader
from witness_kit import Process, Witness, post, submit

from strongroom.audit.cosign import check_quorum, cosigned_at, make_quorum
from strongroom.audit.note import Checkpoint, Note, open_checkpoint, parse_note, sign_checkpoint, verifier_key
from strongroom.audit.submission import SIZE_TYPE, Submission, parse_cosignatures
from strongroom.audit.tlog import consistency_proof
from strongroom.errors import ConflictError, NotFoundError, UsageError
from strongroom.seal.sign import public_key
from strongroom.witness.folder import logs_of, make_witness, open_witness
from strongroom.witness.judging import Judge

LOG = verifier_key(ORIGIN, PUBLIC)
ITEMS = entries(900)
FORK = entries(900, b"fork")
SIZES = (1, 5, 256, 300, 512, 600, 601, 900)


class Tree:
    """A log, its checkpoints by size, and proofs between them."""

    def __init__(self, items, seed=SEED):
        _store, log = new_log(seed=seed)
        self.text = {size: log.publish(reader(items), size) for size in SIZES} if seed == SEED else {}
        self._log = log

    def proof(self, old, new):
        return consistency_proof(self._log.reader(), old, new)


TREE, FORKED = Tree(ITEMS), Tree(ITEMS[:5] + FORK[5:])


@pytest.fixture
def witness(tmp_path):
    made = Witness(tmp_path / "w", "north.example/w", LOG, clock=lambda: 1_679_315_147.9).start()
    yield made
    made.stop()


def cosigned(answer, text, witness):
    """The checkpoint with what a witness answered."""
    assert answer.status == 200, answer.status
    note = parse_note(text)
    return Note(note.text, (*note.signatures, *parse_cosignatures(answer.data)))


def test_a_log_is_followed_from_its_first_checkpoint(witness):
    """Every checkpoint that continues the one before is cosigned, at the witness's time; the same one again too."""
    old = 0
    for size in SIZES:
        for start in (old, size):
            text = TREE.text[size]
            note = cosigned(submit(witness.url, start, TREE.proof(start, size), text), text, witness)
            assert cosigned_at(note, witness.cosigner) == 1_679_315_147
            assert check_quorum(str(note), make_quorum(1, [witness.cosigner])) == ("north.example/w",)
            assert open_checkpoint(str(note), ORIGIN, PUBLIC).size == size
        old = size


def test_a_checkpoint_of_an_empty_log_is_cosigned(witness):
    """Size 0 from old size 0, with an empty proof."""
    text = sign_checkpoint(Checkpoint(ORIGIN, 0, hashlib.sha256(b"").digest()), SEED)
    assert submit(witness.url, 0, [], text).status == 200
    wrong = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), SEED)
    assert submit(witness.url, 0, [], wrong).status == 409


def test_another_old_size_is_answered_with_the_right_one(witness):
    """409, the size in decimal and a newline, and the type that the specification names; so for older checkpoints."""
    assert submit(witness.url, 0, [], TREE.text[300]).status == 200
    for old, size in ((0, 600), (256, 600), (512, 600), (0, 256), (5, 256), (256, 300)):
        answer = submit(witness.url, old, TREE.proof(old, size), TREE.text[size])
        assert (answer.status, answer.headers["content-type"], answer.data) == (409, SIZE_TYPE, b"300\n")


def test_another_root_at_the_same_size_is_a_conflict(witness):
    """With the right old size and an empty proof."""
    assert submit(witness.url, 0, [], TREE.text[300]).status == 200
    answer = submit(witness.url, 300, [], FORKED.text[300])
    assert (answer.status, answer.headers["content-type"], answer.data) == (409, SIZE_TYPE, b"300\n")
    assert witness.newest(ORIGIN).note == TREE.text[300]


def test_a_proof_that_does_not_lead_there_is_unprocessable(witness):
    """Of the fork, of other sizes, cut short, too long, or where there is nothing to prove."""
    assert submit(witness.url, 0, TREE.proof(1, 300), TREE.text[300]).status == 422
    assert submit(witness.url, 0, [], TREE.text[300]).status == 200
    good = TREE.proof(300, 600)
    for proof in (FORKED.proof(300, 600), good[:-1], [*good, bytes(32)], [], TREE.proof(256, 600), good[::-1]):
        assert submit(witness.url, 300, proof, TREE.text[600]).status == 422
    assert submit(witness.url, 300, FORKED.proof(300, 600), FORKED.text[600]).status == 422
    assert submit(witness.url, 300, [bytes(32)], TREE.text[300]).status == 422
    assert submit(witness.url, 300, good, TREE.text[600]).status == 200


def test_nobody_but_a_known_log_learns_more_than_a_status(witness):
    """Unknown logs, keys and bodies: 404, 403, 400 with empty bodies, whatever the witness knows."""
    assert submit(witness.url, 0, [], TREE.text[300]).status == 200
    other = sign_checkpoint(Checkpoint("strongroom/other", 5, bytes(32)), SEED)
    thief = sign_checkpoint(Checkpoint(ORIGIN, 600, bytes(32)), bytes(32))
    note = parse_note(TREE.text[600])
    forged = str(Note(Checkpoint(ORIGIN, 600, bytes(32)).text(), note.signatures))
    for status, old, text in (
        (404, 0, other),
        (403, 300, thief),
        (403, 300, forged),
        (400, 601, TREE.text[600]),
    ):
        answer = submit(witness.url, old, [], text)
        assert (answer.status, answer.data) == (status, b"")
    for body in (b"", b"old 0\n", b"\xff" * 100, str(Submission(0, (), TREE.text[300])).encode()[:-1]):
        answer = post(witness.url, body)
        assert (answer.status, answer.data) == (400, b"")
    for path, method, status in (("/", "GET", 404), ("/add-checkpoint", "GET", 405), ("/add-checkpoint/", "POST", 404)):
        answer = post(witness.url, b"", path, method)
        assert (answer.status, answer.data) == (status, b"")
    assert post(witness.url, bytes(1 << 17)).status == 400
    assert witness.newest(ORIGIN).size == 300


def test_lines_of_other_keys_are_ignored_and_a_wrong_one_of_a_known_key_is_not(witness):
    """A log whose key changes is known by both keys; either is enough, and both must verify."""
    newer = bytes([9]) * 32
    point = open_checkpoint(TREE.text[300], ORIGIN, PUBLIC)
    both = sign_checkpoint(point, SEED, newer)
    assert submit(witness.url, 0, [], both).status == 200
    assert submit(witness.url, 300, [], sign_checkpoint(point, newer)).status == 403
    witness.watch(verifier_key(ORIGIN, public_key(newer)))
    assert submit(witness.url, 300, [], sign_checkpoint(point, newer)).status == 200
    assert submit(witness.url, 300, [], TREE.text[300]).status == 200
    mine, theirs = parse_note(both).signatures
    mixed = Note(point.text(), (mine, type(theirs)(theirs.name, theirs.key_id, bytes(64))))
    assert submit(witness.url, 300, [], str(mixed)).status == 403


def test_further_lines_of_a_checkpoint_are_cosigned_with_it(witness):
    """The specification lets a log add lines; they are covered by the cosignature."""
    from strongroom.audit.note import Signature, key_id
    from strongroom.seal.sign import sign

    text = open_checkpoint(TREE.text[5], ORIGIN, PUBLIC).text() + "more\n"
    note = str(Note(text, (Signature(ORIGIN, key_id(ORIGIN, PUBLIC), sign(SEED, text.encode())),)))
    assert cosigned_at(cosigned(submit(witness.url, 0, [], note), note, witness), witness.cosigner) is not None


def test_of_two_that_come_at_once_the_smaller_never_wins(witness):
    """Sixteen callers, a fork among them: what is kept at the end is the largest cosigned, and all are of one log."""
    jobs = [(tree, size) for tree in (TREE, FORKED) for size in SIZES]
    start, done = threading.Barrier(len(jobs)), []

    def work(tree, size):
        start.wait()
        old = 0
        for _ in range(20):
            if old > size:
                return
            answer = submit(witness.url, old, tree.proof(old, size), tree.text[size])
            if answer.status != 409:
                done.append((answer.status, tree, size))
                return
            if int(answer.data) == old:
                return
            old = int(answer.data)

    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signed = [(tree, size) for status, tree, size in done if status == 200]
    assert signed
    assert witness.newest(ORIGIN).size == max(size for _, size in signed)
    assert len({id(tree) for tree, size in signed if size > 5}) == 1


def test_a_witness_that_was_stopped_goes_on_where_it_was(witness):
    """The newest checkpoint is on the disk."""
    assert submit(witness.url, 0, [], TREE.text[300]).status == 200
    witness.stop()
    witness.start()
    assert submit(witness.url, 0, [], FORKED.text[600]).status == 409
    assert submit(witness.url, 300, TREE.proof(300, 600), TREE.text[600]).status == 200


def test_a_witness_killed_at_any_moment_never_cosigns_a_fork(tmp_path):
    """Killed again and again while it is asked: what it answered before the kill, it knows after it."""
    cosigner = make_witness(tmp_path / "w", "north.example/w")
    process = Process(tmp_path / "w", LOG).start()
    answered, notes = [0], []

    def ask():
        old = 0
        for size in SIZES:
            try:
                answer = submit(process.url, old, TREE.proof(old, size), TREE.text[size])
                while answer.status == 409 and int(answer.data) <= size:
                    old = int(answer.data)
                    answer = submit(process.url, old, TREE.proof(old, size), TREE.text[size])
            except (urllib3.exceptions.HTTPError, OSError):
                return
            if answer.status == 200:
                notes.append(cosigned(answer, TREE.text[size], None))
                answered.append(size)
                old = size

    for delay in (0.003, 0.02, 0.06):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(delay)
        while delay == 0.06 and not answered[1:] and thread.is_alive():  # a busy machine answers late
            thread.join(0.005)
        process.kill()
        thread.join()
        process.start()
        known = submit(process.url, 0, [], TREE.text[1])
        size = 1 if known.status == 200 else int(known.data)
        assert size >= max(answered)
        if size > 5:
            assert submit(process.url, size, FORKED.proof(size, 900), FORKED.text[900]).status in {409, 422}
    assert process.end()[0] == 0
    assert all(cosigned_at(note, cosigner) for note in notes)
    assert answered[1:]


def test_a_second_process_on_one_folder_cosigns_no_fork(tmp_path):
    """Two processes share the file: the second sees what the first cosigned."""
    make_witness(tmp_path / "w", "north.example/w")
    one = Process(tmp_path / "w", LOG).start()
    two = Process(tmp_path / "w", LOG).start()
    assert submit(one.url, 0, [], TREE.text[300]).status == 200
    assert submit(two.url, 0, [], FORKED.text[600]).status == 409
    assert submit(two.url, 300, TREE.proof(300, 600), TREE.text[600]).status == 200
    assert submit(one.url, 300, FORKED.proof(300, 900), FORKED.text[900]).data == b"600\n"
    for process in (one, two):
        assert process.end()[0] == 0


# -- its folder ---------------------------------------------------------------------------------
def test_the_key_is_its_owners_and_is_made_once(tmp_path):
    """Files 0600, folder 0700; a key that others may read is refused, and a folder that holds something too."""
    folder = tmp_path / "w"
    cosigner = make_witness(folder, "north.example/w")
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("key", "state.db")} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key, state = open_witness(folder)
    state.close()
    assert key.cosigner == cosigner
    assert key.seed.hex() not in repr(key)
    with pytest.raises(ConflictError, match="not empty"):
        make_witness(folder, "north.example/w")
    (folder / "key").chmod(0o640)
    with pytest.raises(UsageError, match="others may read"):
        open_witness(folder)
    with pytest.raises(NotFoundError):
        open_witness(tmp_path / "none")
    with pytest.raises(UsageError):
        make_witness(tmp_path / "bad", "a name")


def test_a_witness_without_its_database_does_not_start(tmp_path):
    """It would cosign anything; another witness's database is refused as well."""
    make_witness(tmp_path / "w", "north.example/w")
    make_witness(tmp_path / "v", "south.example/w")
    (tmp_path / "w" / "state.db").unlink()
    with pytest.raises(UsageError, match="two histories"):
        open_witness(tmp_path / "w")
    (tmp_path / "v" / "state.db").rename(tmp_path / "w" / "state.db")
    with pytest.raises(UsageError, match="another witness"):
        open_witness(tmp_path / "w")
    (tmp_path / "w" / "state.db").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no database of a witness"):
        open_witness(tmp_path / "w")


@pytest.mark.parametrize("change", ["", "{}", "[]", '{"strongroom": "witness", "version": 1, "name": "w", "seed": "AA"}'])
def test_a_key_file_that_is_none_is_refused(tmp_path, change):
    """Clear, without its bytes."""
    make_witness(tmp_path / "w", "north.example/w")
    (tmp_path / "w" / "key").write_text(change)
    with pytest.raises(UsageError, match="no key of a witness"):
        open_witness(tmp_path / "w")


def test_logs_are_read_from_lines():
    """Comments and blank lines are passed over; a log with two keys has both; what is none is named by its line."""
    newer = verifier_key(ORIGIN, public_key(bytes(32)))
    assert logs_of(["# logs", "", LOG, newer, LOG]) == {ORIGIN: (PUBLIC, public_key(bytes(32)))}
    with pytest.raises(UsageError, match="line 2"):
        logs_of([LOG, "nonsense"])
    with pytest.raises(UsageError, match="needs a log"):
        logs_of(["# none"])


def test_a_database_that_cannot_be_written_is_503_and_nothing_is_cosigned(tmp_path):
    """Another process holds the file: no cosignature without a durable record."""
    folder = tmp_path / "w"
    make_witness(folder, "north.example/w")
    key, state = open_witness(folder)
    state._connection.execute("PRAGMA busy_timeout = 50")
    judge = Judge(key, state, logs_of([LOG]), lambda: 1.0)
    other = sqlite3.connect(folder / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    body = str(Submission(0, (), TREE.text[300])).encode()
    assert judge.add(body).status == 503
    other.execute("ROLLBACK")
    other.close()
    assert judge.add(body).status == 200
    state.close()


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed") / "w"
    make_witness(folder, "north.example/w")
    key, state = open_witness(folder)
    yield Judge(key, state, logs_of([LOG]), lambda: 1.0), state
    state.close()


@given(st.binary(max_size=60), st.integers(0, 500), st.integers(0, 60))
def test_any_body_gets_a_status_and_changes_nothing_it_should_not(judge, insert, at, gone):
    """Mangled submissions: one of the protocol's statuses, and only the genuine checkpoint is ever kept."""
    body = str(Submission(0, (), TREE.text[300])).encode()
    for attempt in (insert, body[:at] + insert + body[at + gone :]):
        assert judge[0].add(attempt).status in {200, 400, 403, 404, 409, 422}
    newest = judge[1].newest(ORIGIN)
    assert newest is None or (newest.size, newest.root) == (300, open_checkpoint(TREE.text[300], ORIGIN, PUBLIC).root)
