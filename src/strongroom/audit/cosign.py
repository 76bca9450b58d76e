"""Cosignatures: a witness says that, as of a time, a checkpoint is the longest it has seen of a log.

What it signs is that this checkpoint continues all that it signed before.

Source: C2SP tlog-cosignature, cosignature/v1 of Ed25519 (algorithm byte 4). The signed message is
"cosignature/v1", the time, and the whole text of the checkpoint; the signature line holds the time as a big-endian u64
before the 64 bytes of the signature.

Rules it keeps:

1. A line counts only under the name *and* the id of a witness that the rule names; every other line is ignored.
2. A wrong signature under such a name and id refuses the whole note, whoever else has signed it.
3. Each witness counts once, however many lines it has.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.audit.note import (
    SIZE_MAX,
    Note,
    Signature,
    check_origin,
    key_id,
    parse_note,
    split_verifier_key,
    verifier_key,
)
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.sign import public_key as public_key_of
from strongroom.seal.sign import sign, verify

COSIGNATURE = 4
WITNESSES_MAX = 14
"""Of one rule: with the log's own two signatures that makes 16, which every verifier of notes accepts."""
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Cosigner:
    """A witness as verifiers know it: its name and its Ed25519 key, 32 bytes."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that name its key in signature lines."""
        return key_id(self.name, self.public_key, COSIGNATURE)

    def line(self) -> str:
        """The key in the usual one-line form: name+id+key."""
        return verifier_key(self.name, self.public_key, COSIGNATURE)


@dataclass(frozen=True)
class Quorum:
    """A rule: at least `least` of these witnesses must have cosigned."""

    least: int
    witnesses: tuple[Cosigner, ...]


def parse_cosigner(line: str) -> Cosigner:
    """The witness that a one-line key is of.

    Raises:
        UsageError: It is no key of a witness.
    """
    found = split_verifier_key(line, COSIGNATURE)
    if found is None:
        raise UsageError("this is no public key of a witness", hint="`strongroom witness key` prints it")
    return Cosigner(*found)


def make_quorum(least: int, witnesses: Sequence[Cosigner]) -> Quorum:
    """The rule that `least` of these witnesses must have cosigned.

    Raises:
        UsageError: There are fewer witnesses than that, or more than a note can carry, or two have one key or name.
    """
    if not 1 <= least <= len(witnesses):
        raise UsageError(f"{least} of {len(witnesses)} witnesses is no rule: it takes at least 1, and at most all")
    if len(witnesses) > WITNESSES_MAX:
        raise UsageError(f"a checkpoint carries the cosignatures of {WITNESSES_MAX} witnesses at most")
    for part in ("public_key", "name"):
        if len({getattr(witness, part) for witness in witnesses}) != len(witnesses):
            raise UsageError(f"two witnesses have one {part.replace('_', ' ')}", hint="each has its own")
    return Quorum(least, tuple(witnesses))


def cosign(text: str, name: str, seed: bytes, seconds: int) -> Signature:
    """Cosign a checkpoint.

    Args:
        text: The checkpoint's note text, with its last newline and without signatures.
        name: The witness's.
        seed: Its Ed25519 seed, 32 bytes.
        seconds: Since 1970, when it had verified that the checkpoint continues what it knew.
    """
    own = key_id(check_origin(name), public_key_of(seed), COSIGNATURE)
    signed = sign(seed, _message(text, seconds))
    return Signature(name, own, seconds.to_bytes(_TIME_BYTES, "big") + signed)


def cosigned_at(note: Note, witness: Cosigner) -> int | None:
    """When a witness cosigned a note, in seconds since 1970: the latest time; None if it did not.

    Raises:
        IntegrityError: A line of the witness does not verify.
    """
    own = witness.key_id
    lines = [s for s in note.signatures if s.name == witness.name and hmac.compare_digest(s.key_id, own)]
    times = [_verified(note.text, line.signature, witness) for line in lines]
    return max(times, default=None)


def cosigners_of(text: str, witnesses: Sequence[Cosigner]) -> tuple[str, ...]:
    """Names of those witnesses who cosigned a note; IntegrityError where a line of one does not verify."""
    note = parse_note(text)
    return tuple(witness.name for witness in witnesses if cosigned_at(note, witness) is not None)


def check_quorum(text: str, quorum: Quorum) -> tuple[str, ...]:
    """Check that enough witnesses cosigned a checkpoint.

    Args:
        text: Of the signed note.
        quorum: The rule.

    Returns:
        The names of those who did.

    Raises:
        IntegrityError: Too few did, or a line of one does not verify.
    """
    found = cosigners_of(text, quorum.witnesses)
    if len(found) < quorum.least:
        missing = ", ".join(w.name for w in quorum.witnesses if w.name not in found)
        raise IntegrityError(
            f"the checkpoint carries {len(found)} of the {quorum.least} cosignatures that it needs: none of {missing}"
        )
    return found


def _verified(text: str, data: bytes, witness: Cosigner) -> int:
    wrong = IntegrityError(f"a cosignature of witness {witness.name} does not verify")
    if len(data) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise wrong
    seconds = int.from_bytes(data[:_TIME_BYTES], "big")
    if seconds > SIZE_MAX:
        raise wrong
    try:
        verify(witness.public_key, data[_TIME_BYTES:], _message(text, seconds))
    except IntegrityError:
        raise wrong from None
    return seconds


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
