"""Signed notes and checkpoints: the log's size and root, signed by the log.

Sources: C2SP signed-note v1, C2SP tlog-checkpoint v1. A checkpoint here has exactly three lines (origin,
size, root) and no extension lines; signatures are Ed25519 (algorithm byte 1).

Rules it keeps:

1. What parses prints back the same text.
2. Nothing of a note is used before a signature of the known key is verified; a wrong signature under the
   known key's name and id refuses the whole note, and signatures of unknown keys are ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from strongroom.audit.tlog import HASH_BYTES
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.sign import public_key as public_key_of
from strongroom.seal.sign import sign, verify

ED25519 = 1
NOTE_LENGTH_MAX = 1 << 20
SIGNATURES_MAX = 64
SIZE_MAX = 2**63 - 1
_DASH = "\u2014 "


@dataclass(frozen=True)
class Signature:
    """One signature line: who signed, by name and key id (4 bytes), and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line as it stands in a note."""
        return f"{_DASH}{self.name} {_b64(self.key_id + self.signature)}\n"


@dataclass(frozen=True)
class LogKey:
    """A public key of a log, and the sizes that its checkpoints may have: from `first` to `last`, None for no end."""

    public_key: bytes
    first: int = 0
    last: int | None = None


PublicKey = bytes | tuple[LogKey, ...]
"""The one key of a log, or every key that it had."""


@dataclass(frozen=True)
class Note:
    """A text that ends in a newline, and its signatures; nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)


@dataclass(frozen=True)
class Checkpoint:
    """The log at one size: its name, number of entries and root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text that is signed."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"


def key_id(name: str, public_key: bytes, algorithm: int = ED25519) -> bytes:
    """The 4 bytes that name a key in signature lines: of SHA-256 over name, newline, algorithm, key."""
    said = name.encode("utf-8", "surrogatepass")  # half a character is no name: no key has such an id
    return hashlib.sha256(said + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes, algorithm: int = ED25519) -> str:
    """The key in the usual one-line form, to be handed to other verifiers: name+id+key."""
    return f"{name}+{key_id(name, public_key, algorithm).hex()}+{_b64(bytes([algorithm]) + public_key)}"


def parse_verifier_key(line: str) -> tuple[str, bytes]:
    """The name and the Ed25519 key (32 bytes) of a line that `verifier_key` made.

    Raises:
        UsageError: It is no such line.
    """
    found = split_verifier_key(line, ED25519)
    if found is None:
        raise UsageError("this is no public key of a log", hint="`strongroom log --public-key` prints it")
    return found


def split_verifier_key(line: str, algorithm: int) -> tuple[str, bytes] | None:
    """The name and the key (32 bytes) of a line for one algorithm byte; None for anything else."""
    name, _, rest = line.strip().partition("+")
    _id, _, text = rest.partition("+")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data = b""
    if len(data) != 33 or data[0] != algorithm or not _is_name(name):
        return None
    return (name, data[1:]) if verifier_key(name, data[1:], algorithm) == line.strip() else None


def check_origin(origin: str) -> str:
    """A log's name, which is also its key's name: not empty, no spaces, no plus, no control characters.

    Raises:
        UsageError: It is none.
    """
    if not _is_name(origin):
        raise UsageError("a log's origin must be a name without spaces, plus signs or control characters")
    return origin


def origin_of(room_id: bytes) -> str:
    """The name of a room's log: of the room, not of anybody."""
    return f"strongroom/{room_id.hex()}"


def sign_checkpoint(checkpoint: Checkpoint, *seeds: bytes) -> str:
    """The signed note of a checkpoint, signed under the log's own name.

    Args:
        checkpoint: What to sign.
        seeds: The log's Ed25519 seed, 32 bytes; while its key changes, the old one and the new.
    """
    check_origin(checkpoint.origin)
    text = checkpoint.text()
    return str(Note(text, tuple(_signed(checkpoint.origin, text, seed) for seed in seeds)))


def _signed(name: str, text: str, seed: bytes) -> Signature:
    return Signature(name, key_id(name, public_key_of(seed)), sign(seed, text.encode()))


def is_signed_by(note: str, name: str, public_keys: Iterable[bytes]) -> bool:
    """Whether a note has a line for each key; the signatures are not verified."""
    there = {signature.key_id for signature in parse_note(note).signatures if signature.name == name}
    return {key_id(name, public_key) for public_key in public_keys} <= there


def open_checkpoint(note: str, origin: str, public_key: PublicKey) -> Checkpoint:
    """Parse a signed checkpoint and verify it.

    Args:
        note: Text of the signed note.
        origin: The log it must be of.
        public_key: The log's Ed25519 key, 32 bytes; or every key it had: each that signed must verify, and one of them
            be in force at that size.

    Raises:
        IntegrityError: It is no checkpoint, of another log, or not signed by the key.
    """
    parsed = parse_note(note)
    keys = (LogKey(public_key),) if isinstance(public_key, bytes) else public_key
    if isinstance(public_key, tuple):
        there = tuple(key for key in keys if is_signed_by(note, origin, [key.public_key]))
        keys = there or keys[-1:]
    for key in keys:
        verify_note(parsed, origin, key.public_key)
    checkpoint = parse_checkpoint(parsed.text)
    if checkpoint.origin != origin:
        raise IntegrityError("the checkpoint is of another log")
    if not any(key.first <= checkpoint.size and (key.last is None or checkpoint.size <= key.last) for key in keys):
        raise IntegrityError("the checkpoint is signed by a key of the log that was not in force then")
    return checkpoint


def verify_note(note: Note, name: str, public_key: bytes) -> None:
    """Check that a note is signed by a key.

    Raises:
        IntegrityError: No signature line is of that key, or one is wrong.
    """
    own = key_id(name, public_key)
    lines = [s for s in note.signatures if s.name == name and hmac.compare_digest(s.key_id, own)]
    if not lines:
        raise IntegrityError("the note is not signed by the key of this log")
    for line in lines:
        verify(public_key, line.signature, note.text.encode())


def parse_note(note: str) -> Note:
    """Split a note into text and signatures, strictly.

    Raises:
        IntegrityError: It is no signed note.
    """
    wrong = IntegrityError("the text is no signed note")
    if len(note) > NOTE_LENGTH_MAX or not note.endswith("\n") or any(c < " " and c != "\n" for c in note):
        raise wrong
    try:
        note.encode()
    except UnicodeEncodeError:
        raise wrong from None
    text, blank, tail = note.rpartition("\n\n")
    if not blank:
        raise wrong
    return Note(text + "\n", parse_signatures(tail))


def parse_signatures(tail: str) -> tuple[Signature, ...]:
    """Read signature lines, each of which ends in a newline; nothing is verified.

    Raises:
        IntegrityError: There is none, there are too many, or one is malformed.
    """
    lines = tail.split("\n")
    if lines.pop() or not 1 <= len(lines) <= SIGNATURES_MAX:
        raise IntegrityError("the text is no signed note")
    return tuple(_parse_signature(line) for line in lines)


def _parse_signature(line: str) -> Signature:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2 or not _is_name(parts[0]):
        raise IntegrityError("a signature line of a note is malformed")
    data = _from_b64(parts[1])
    if len(data) <= 4:
        raise IntegrityError("a signature line of a note is too short")
    return Signature(parts[0], data[:4], data[4:])


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the three lines of a checkpoint's note text, strictly.

    Raises:
        IntegrityError: They are not origin, size and root.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not _is_name(lines[0]):
        raise IntegrityError("a checkpoint must have three lines: origin, size, root")
    return Checkpoint(lines[0], parse_number(lines[1]), parse_hash(lines[2]))


def parse_number(text: str) -> int:
    """A decimal number without leading zeros.

    Raises:
        IntegrityError: It is none, or too large.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or (text[0] == "0" and text != "0"):
        raise IntegrityError("a number in a checkpoint or proof is malformed")
    number = int(text)
    if number > SIZE_MAX:
        raise IntegrityError("a number in a checkpoint or proof is too large")
    return number


def parse_hash(text: str) -> bytes:
    """A SHA-256 hash in base64.

    Raises:
        IntegrityError: It is none.
    """
    data = _from_b64(text)
    if len(data) != HASH_BYTES:
        raise IntegrityError("a hash in a checkpoint or proof does not have 32 bytes")
    return data


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " or "\ud800" <= c <= "\udfff" for c in name)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_b64(text: str) -> bytes:
    """Strict base64: the one spelling that `_b64` writes."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise IntegrityError("base64 in a note or proof is malformed") from None
    if _b64(data) != text:
        raise IntegrityError("base64 in a note or proof is malformed")
    return data
