"""An independent verifier (tlog_scales) follows a room's log: checkpoint, cosignatures, entries and proofs.

It shares no code with this project, and reads the log's folder and one-line keys as any other log's.
"""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import POLICY
from witness_kit import Witness, section

import strongroom

pytest.importorskip("tlog_scales", reason="tlog_scales is not installed")
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tlog import Checkpoint, InclusionProof, InclusionProofInvalid
from tlog_scales.utils import b64dec, sha256


@pytest.fixture(scope="module")
def watched(filled_template, tmp_path_factory):
    """A room of some hundred entries, two witnesses, a receipt of an erasure, and the one-line key of its log."""
    tmp_path = tmp_path_factory.mktemp("watched")
    room = filled_template.copy_to(tmp_path / "room")
    with room.keymaster() as keys:
        line = keys.log_key()
        witnesses = [Witness(tmp_path / n, f"{n}.example/w", line).start() for n in ("north", "south")]
        keys.set_policy("kit", POLICY + section(2, *witnesses))
        for n in range(300):
            keys.begin_reading(actor="ada", purpose="case-work", reason=f"r{n}")
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        receipt = opened.erase(["P-000003"], reason="asked").receipt
    yield room, line, witnesses, receipt
    for witness in witnesses:
        witness.stop()


def test_checkpoint_and_cosignatures_verify(watched):
    """The stored checkpoint: the log's signature and both witnesses', each under its own kind of key."""
    room, line, witnesses, _receipt = watched
    text = (room.keys / "log" / "checkpoint").read_text()
    checkpoint = Checkpoint.from_text(text)
    assert checkpoint.serialize() == text
    keys = VkeySet(*(Vkey.from_string(key) for key in (line, *(w.cosigner.line() for w in witnesses))))
    found = {key.sig_type: key.name for key, _ in keys.verify(checkpoint.signatures, checkpoint)}
    assert set(found) == {1, 4}
    assert len(keys.verify(checkpoint.signatures, checkpoint)) == 3
    wrong = VkeySet(Vkey(witnesses[0].cosigner.name, None, 4, bytes(32)))
    assert wrong.verify(checkpoint.signatures, checkpoint) == set()


def test_tiles_entries_and_inclusion_proofs_verify(watched):
    """The root out of the entries is the signed one; an entry's proof holds for it and for no other."""
    room, *_ = watched
    log = TilesReader(LocalBackend(room.keys / "log"))
    checkpoint = log.get_checkpoint()
    assert checkpoint.size > 300
    assert log.calculate_root_hash() == checkpoint.root_hash
    for index in (0, 255, 256, checkpoint.size - 1):
        entry = log.get_entry(index)
        assert json.loads(entry)["act"]
        proof = log.get_inclusion_proof(index, checkpoint.size)
        proof.check(sha256(b"\x00" + entry), checkpoint.root_hash)
        with pytest.raises(InclusionProofInvalid):
            proof.check(sha256(b"\x00" + entry + b"."), checkpoint.root_hash)


def test_a_receipts_proof_verifies_without_the_log(watched):
    """The proof that a person is handed: C2SP tlog-proof text, checked with the two one-line keys of who must have seen it."""
    _room, line, witnesses, receipt = watched
    (item,) = receipt["entries"]
    head, _, note = item["proof"].partition("\n\n")
    kind, index, *hashes = head.split("\n")
    assert kind == "c2sp.org/tlog-proof@v1"
    checkpoint = Checkpoint.from_text(note)
    keys = VkeySet(*(Vkey.from_string(key) for key in (line, *(w.cosigner.line() for w in witnesses))))
    assert len(keys.verify(checkpoint.signatures, checkpoint)) == 3
    proof = InclusionProof(int(index.removeprefix("index ")), checkpoint.size, [b64dec(text) for text in hashes])
    line = item["entry"].partition("\n")[0]  # the log has the first of two lines
    proof.check(sha256(b"\x00" + line.encode()), checkpoint.root_hash)


def test_what_a_witness_was_sent_verifies(watched):
    """The newest checkpoint in a witness's own record is one that the log signed, and its root is that of the entries."""
    room, line, witnesses, _receipt = watched
    newest = witnesses[0].newest(line.partition("+")[0])
    checkpoint = Checkpoint.from_text(newest.note)
    checkpoint.verify(Vkey.from_string(line))
    log = TilesReader(LocalBackend(room.keys / "log"))
    proof = log.get_consistency_proof(checkpoint.size, log.get_checkpoint().size)
    proof.check(checkpoint.root_hash, log.get_checkpoint().root_hash)
