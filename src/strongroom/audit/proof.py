"""A receipt that needs no log: one entry's place under a signed checkpoint, as C2SP tlog-proof text.

Source: C2SP tlog-proof v1. The text names the entry's number, the hashes beside its path and the
checkpoint; who has the entry's bytes and the log's public key can verify it anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.audit.cosign import Quorum, check_quorum
from strongroom.audit.note import Checkpoint, PublicKey, open_checkpoint, parse_hash, parse_note, parse_number
from strongroom.audit.tlog import TileReader, inclusion_proof, leaf_hash, verify_inclusion
from strongroom.errors import IntegrityError

HEADER = "c2sp.org/tlog-proof@v1"
HASHES_MAX = 64
PROOF_LENGTH_MAX = 1 << 21


@dataclass(frozen=True)
class Proof:
    """A parsed proof; nothing is verified yet.

    Args:
        index: Number of the entry, from 0.
        hashes: Siblings from the leaf up, 32 bytes each.
        checkpoint: Text of the signed checkpoint.
        extra: Bytes of the maker's choice; they are not authenticated.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def __str__(self) -> str:
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(item).decode() for item in self.hashes)
        return "\n".join(lines) + "\n\n" + self.checkpoint


def make_proof(read: TileReader, index: int, size: int, checkpoint: str, extra: bytes = b"") -> str:
    """The text that proves entry `index` under a signed checkpoint of `size` entries.

    Raises:
        UsageError: The checkpoint does not cover the entry yet.
    """
    return str(Proof(index, tuple(inclusion_proof(read, index, size)), checkpoint, extra))


def verify_proof(
    text: str, entry: bytes, origin: str, public_key: PublicKey, quorum: Quorum | None = None
) -> tuple[int, Checkpoint]:
    """Verify a proof offline.

    Args:
        text: The proof.
        entry: The entry's canonical bytes.
        origin: The log it must be of.
        public_key: The log's Ed25519 key, 32 bytes, or every key it had.
        quorum: Witnesses of whom enough must have cosigned the checkpoint; None to ask for none.

    Returns:
        The entry's number and the verified checkpoint.

    Raises:
        IntegrityError: The text is no proof, the checkpoint is not the log's or too few cosigned it, or the entry is
            not at this place.
    """
    proof = parse_proof(text)
    checkpoint = open_checkpoint(proof.checkpoint, origin, public_key)
    if quorum is not None:
        check_quorum(proof.checkpoint, quorum)
    verify_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return proof.index, checkpoint


def parse_proof(text: str) -> Proof:
    """Read a proof's text, strictly: what parses prints back the same.

    Raises:
        IntegrityError: It is no proof.
    """
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > PROOF_LENGTH_MAX or not blank or lines[0] != HEADER:
        raise IntegrityError("the text is no proof of a log entry")
    extra = b""
    at = 1
    if len(lines) > at and lines[at].startswith("extra "):
        extra = _extra(lines[at].removeprefix("extra "))
        at += 1
    if len(lines) <= at or not lines[at].startswith("index ") or len(lines) - at - 1 > HASHES_MAX:
        raise IntegrityError("a proof of a log entry is malformed")
    index = parse_number(lines[at].removeprefix("index "))
    parse_note(checkpoint)
    return Proof(index, _hashes(lines[at + 1 :]), checkpoint, extra)


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(parse_hash(line) for line in lines)


def _extra(text: str) -> bytes:
    try:
        extra = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise IntegrityError("the extra data of a proof is not base64") from None
    if not extra or base64.b64encode(extra).decode() != text:
        raise IntegrityError("the extra data of a proof is not base64")
    return extra
