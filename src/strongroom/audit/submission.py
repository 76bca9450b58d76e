"""What goes to a witness and comes back, as text: C2SP tlog-witness, `POST <prefix>/add-checkpoint`.

    old 20852014                                    the size that the witness is thought to know
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=    a consistency proof from there, at most 63 hashes
    …
                                                    an empty line
    the checkpoint, a signed note

Rules it keeps:

1. What parses prints back the same text.
2. Nothing is verified here, and nothing is sent: both sides use these functions.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.audit.note import NOTE_LENGTH_MAX, Signature, parse_hash, parse_note, parse_number, parse_signatures
from strongroom.errors import IntegrityError

ADD_CHECKPOINT = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
HASHES_MAX = 63
BODY_BYTES_MAX = 1 << 16
_OLD = "old "


@dataclass(frozen=True)
class Submission:
    """A checkpoint for a witness.

    Args:
        old: Size of the log that the proof begins at.
        proof: Consistency proof from there, 32 bytes each.
        checkpoint: Text of the signed note.
    """

    old: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def __str__(self) -> str:
        hashes = "".join(base64.b64encode(item).decode() + "\n" for item in self.proof)
        return f"{_OLD}{self.old}\n{hashes}\n{self.checkpoint}"


def parse_submission(body: bytes) -> Submission:
    """Read a request's body, strictly.

    Raises:
        IntegrityError: It is no submission.
    """
    wrong = IntegrityError("the body is no checkpoint with a proof")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise wrong from None
    head, blank, checkpoint = text.partition("\n\n")
    old, *lines = head.split("\n")
    if not blank or not old.startswith(_OLD) or len(lines) > HASHES_MAX or len(text) > NOTE_LENGTH_MAX:
        raise wrong
    size, proof = parse_number(old.removeprefix(_OLD)), tuple(parse_hash(line) for line in lines)
    parse_note(checkpoint)
    return Submission(size, proof, checkpoint)


def cosignature_lines(signatures: Sequence[Signature]) -> str:
    """The body of an answer with cosignatures."""
    return "".join(signature.line() for signature in signatures)


def parse_cosignatures(body: bytes) -> tuple[Signature, ...]:
    """The signature lines of an answer.

    Raises:
        IntegrityError: They are none.
    """
    try:
        return parse_signatures(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise IntegrityError("the answer holds no signature lines") from None


def size_line(size: int) -> str:
    """The body of an answer that names the size a witness knows."""
    return f"{size}\n"


def parse_size(body: bytes) -> int:
    """The size in such an answer.

    Raises:
        IntegrityError: There is none.
    """
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text.endswith("\n"):
        raise IntegrityError("the answer names no size")
    return parse_number(text[:-1])
