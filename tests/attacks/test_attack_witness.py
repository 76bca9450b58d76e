"""The log is cut off or forked behind the keymaster's back: nothing of it is left to compare with, but at witnesses."""

import contextlib
import shutil
import sqlite3
from types import SimpleNamespace

import attack_kit
import pytest
from small_room import POLICY, SmallRoom, persons
from witness_kit import Liar, Witness, post, section, submit

import strongroom
from strongroom.audit.cosign import cosigners_of
from strongroom.audit.note import Checkpoint, Note, open_checkpoint, parse_note, parse_verifier_key, sign_checkpoint
from strongroom.audit.submission import Submission
from strongroom.errors import IntegrityError, UnavailableError
from strongroom.keymaster.log import witnessing

assert attack_kit


@pytest.fixture
def two(room, tmp_path):
    """Two witnesses that have followed the room's log; the policy asks for one."""
    with room.keymaster() as keys:
        made = [Witness(tmp_path / n, f"{n}.example/w", keys.log_key()).start() for n in ("north", "south")]
        keys.set_policy("kit", POLICY + section(1, *made))
        keys.publish()
    yield made
    for witness in made:
        witness.stop()


def note(keys, count):
    for n in range(count):
        keys.begin_reading(actor="ada", purpose="case-work", reason=f"r{n}")


def taken_back(room, tmp_path, before=20, after=0):
    """The keymaster's folder as it was before entries that witnesses have seen; then it is used again."""
    shutil.copytree(room.keys, tmp_path / "old keys")
    with room.keymaster() as keys:
        note(keys, before)
        seen = keys.publish()
    shutil.rmtree(room.keys)
    shutil.copytree(tmp_path / "old keys", room.keys)
    if after:
        _behind_the_back(room, after)
    return SmallRoom(room.folder), seen


def _behind_the_back(room, count):
    """The thief, who has passphrase and folder, adds entries without asking anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witnessing.Witnessing, "use", lambda _self, _rule: None)
        with room.keymaster() as keys:
            note(keys, count)


def test_attack_the_log_is_cut_off_behind_the_keymasters_back(room, two, tmp_path):
    """Database, tiles and checkpoint are those of before: the witness knows more, and nothing is published any more."""
    old, seen = taken_back(room, tmp_path)
    size = int(seen.split("\n")[1])
    for _ in range(2):
        keys = old.keymaster()
        before = keys.log_size
        with strongroom.open(str(old.bucket), keys=keys, actor="kit") as opened:
            note(keys, 1)
            assert keys.log_size > before
            with pytest.raises(IntegrityError, match=rf"witness \w+\.example/w refuses the log: it knows a log of {size}"):
                keys.publish()
            with pytest.raises(IntegrityError, match="refuses the log"):
                opened.put("persons", persons(5, 400))
            with pytest.raises(IntegrityError, match="refuses the log"):
                opened.verify_log()
        with pytest.raises(IntegrityError, match="refuses the log"):
            keys.close()


def test_control_without_witnesses_the_same_cut_is_not_noticed(room, two, tmp_path, monkeypatch):
    """Control: nobody asks a witness, and the cut log is published, verified and put into the next snapshot."""
    old, seen = taken_back(room, tmp_path)
    monkeypatch.setattr(witnessing.Witnessing, "use", lambda _self, _rule: None)
    with old.keymaster() as keys, strongroom.open(str(old.bucket), keys=keys, actor="kit") as opened:
        note(keys, 1)
        assert int(keys.publish().split("\n")[1]) < int(seen.split("\n")[1])
        assert opened.put("persons", persons(5, 400)).leaf > 0
        assert opened.verify_log()["unpublished"] == 0


@pytest.mark.parametrize("after", [20, 60])
def test_attack_the_log_is_forked_behind_the_keymasters_back(room, two, tmp_path, after):
    """Cut off and grown again, as long as it was or longer: no proof leads from what the witness knows to it."""
    old, _seen = taken_back(room, tmp_path, after=after)
    keys = old.keymaster()
    with pytest.raises(IntegrityError, match=r"witness \w+\.example/w refuses the log: (it knows|that of)"):
        note(keys, 1)
        keys.publish()
    with pytest.raises(IntegrityError):
        keys.close()


def test_control_without_witnesses_the_same_fork_is_not_noticed(room, two, tmp_path, monkeypatch):
    """Control: the keymaster itself finds nothing wrong."""
    old, _seen = taken_back(room, tmp_path, after=60)
    monkeypatch.setattr(witnessing.Witnessing, "use", lambda _self, _rule: None)
    with old.keymaster() as keys:
        note(keys, 1)
        assert keys.verify_log()["unpublished"] == 0


def test_attack_one_witness_is_bribed(room, two, tmp_path):
    """One of two is enough for the rule, and one cosigns anything: the other's refusal stops all the same."""
    old, _seen = taken_back(room, tmp_path, after=60)
    with contextlib.closing(sqlite3.connect(two[0].folder / "state.db")) as state, state:
        state.execute("DELETE FROM newest")
    keys = old.keymaster()
    note(keys, 1)
    with pytest.raises(IntegrityError, match=r"witness south\.example/w refuses"):
        keys.publish()
        keys.publish()
    assert two[0].newest(keys._publishing.origin) is not None
    with pytest.raises(IntegrityError):
        keys.close()


def test_attack_the_witness_is_shown_what_the_thief_signed(room, two, tmp_path):
    """The signing key is stolen too: the witness cosigns no second history, whatever old size and proof are claimed."""
    with room.keymaster() as keys:
        note(keys, 5)
        seen = keys.publish()
        origin, public = parse_verifier_key(keys.log_key())
        (seed,) = keys._publishing._seeds
    point = open_checkpoint(seen, origin, public)
    statuses = set()
    for size in (1, point.size - 1, point.size, point.size + 1, point.size + 1000):
        forged = sign_checkpoint(Checkpoint(origin, size, bytes(32)), seed)
        for old in (0, point.size, size):
            for proof in ([], [bytes(32)], [point.root]):
                statuses.add(submit(two[0].url, old, proof, forged).status)
    assert statuses <= {400, 409, 422}
    assert two[0].newest(origin).root == point.root


def test_control_a_witness_that_forgot_cosigns_the_thiefs_log(room, two):
    """Control: with its record gone, which `witness serve` refuses to start without, the forged log is cosigned."""
    with room.keymaster() as keys:
        origin, _ = parse_verifier_key(keys.log_key())
        (seed,) = keys._publishing._seeds
    with contextlib.closing(sqlite3.connect(two[0].folder / "state.db")) as state, state:
        state.execute("DELETE FROM newest")
    assert submit(two[0].url, 0, [], sign_checkpoint(Checkpoint(origin, 7, bytes(32)), seed)).status == 200


def test_attack_a_submission_is_captured_and_sent_again_or_altered(room, two):
    """Anybody may send what a log signed: an older one is a conflict, the newest is cosigned as before, others nothing."""
    with room.keymaster() as keys:
        old = keys.publish()
        note(keys, 5)
        new = keys.publish()
    before = two[0].newest(old.split("\n")[0])
    assert submit(two[0].url, 0, [], old).status == 409
    body = str(Submission(before.size, (), new)).encode()
    assert post(two[0].url, body).status == 200
    for at in range(0, len(body), 7):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        answer = post(two[0].url, changed)
        assert answer.status in {400, 403, 404, 409} or parse_note(new).text.encode() in changed
    assert two[0].newest(old.split("\n")[0])[:2] == before[:2]


def test_attack_cosignatures_are_taken_off_the_stored_checkpoint(room, two):
    """Who writes to the log's folder takes them off, or puts others there: it does not count, and is cosigned again."""
    path = room.keys / "log" / "checkpoint"
    text = path.read_text()
    parsed = parse_note(text)
    path.write_text(str(Note(parsed.text, parsed.signatures[:1])))
    for witness in two:
        witness.stop()
    with room.keymaster() as keys:
        with pytest.raises(UnavailableError, match="0 did"):
            keys.verify_log()
    forged = [type(s)(s.name, s.key_id, bytes(72)) for s in parsed.signatures[1:]]
    path.write_text(str(Note(parsed.text, (parsed.signatures[0], *forged))))
    keys = room.keymaster()
    with pytest.raises(IntegrityError, match="cosignature of witness"):
        keys.verify_log()
    with pytest.raises(IntegrityError):
        keys.close()
    path.write_text(text)
    for witness in two:
        witness.start()
    with room.keymaster() as keys:
        assert keys.verify_log()["witnesses"]


def receipt_of(keys, bucket):
    with strongroom.open(str(bucket), keys=keys, actor="kit") as opened:
        return opened.erase(["P-000003"], reason="asked").receipt


def test_attack_a_receipt_of_a_log_that_no_witness_saw(room, two, tmp_path):
    """The thief hands out a receipt from a fork: good to who asks for no witness, refused where one must have cosigned."""
    import json

    from strongroom.audit.cosign import make_quorum
    from strongroom.erase.receipt import verify_receipt

    quorum = make_quorum(1, [two[0].cosigner])
    other = room.copy_to(tmp_path / "fork")
    with room.keymaster() as keys:
        _, public = parse_verifier_key(keys.log_key())
        good = json.dumps(receipt_of(keys, room.bucket))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witnessing.Witnessing, "use", lambda _self, _rule: None)
        with other.keymaster() as keys:
            forked = json.dumps(receipt_of(keys, other.bucket))
    assert verify_receipt(good, public, quorum).persons == 1
    with pytest.raises(IntegrityError, match="0 of the 1 cosignatures"):
        verify_receipt(forked, public, quorum)
    assert verify_receipt(forked, public).persons == 1  # control: without witnesses it is as good as the other


def test_attack_somebody_on_the_way_answers_for_the_witness(room, two):
    """What comes back is believed only where it verifies: no made-up cosignature counts; a made-up refusal stops, loudly."""
    with room.keymaster() as keys:
        text = keys.publish()
    (line,) = (s.line() for s in parse_note(text).signatures if s.name == two[0].cosigner.name)
    liar = Liar((200, "text/plain", line.encode()))  # a genuine line, of an older checkpoint
    named = SimpleNamespace(cosigner=two[0].cosigner, url=liar.url)
    with room.keymaster() as keys:
        keys.set_policy("kit", POLICY + section(1, named))
        note(keys, 1)
        with pytest.raises(UnavailableError, match="its cosignature does not verify"):
            keys.publish()
    liar.close()
    liar = Liar((409, "text/x.tlog.size", b"999999\n"))
    named.url = liar.url
    keys = room.keymaster()
    keys.set_policy("kit", POLICY + section(1, named))
    with pytest.raises(IntegrityError, match=r"north\.example/w refuses the log: it knows a log of 999999 entries"):
        keys.publish()
    keys.set_policy("kit", POLICY + section(2, *two))  # two people name it as it is reached by the right way
    assert len(cosigners_of(keys.publish(), [w.cosigner for w in two])) == 2
    keys.close()
    liar.close()
