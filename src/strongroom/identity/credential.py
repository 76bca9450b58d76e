"""A caller's own key pair, as a file that only its owner may read: the seed never leaves it.

{"strongroom": "credential", "version": 1, "room": …, "actor": …, "id": …, "seed": …}
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.errors import UsageError
from strongroom.ownerfile import read_key, write_key
from strongroom.seal.entropy import random_bytes
from strongroom.seal.sign import new_signing_key, public_key

KIND = "credential"
VERSION = 1
_PREFIX = "srk1"


@dataclass(frozen=True)
class Credential:
    """An actor's key pair for one room. `room` has 16 bytes, `seed` 32."""

    room: bytes
    actor: str
    seed: bytes = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """32 B."""
        return public_key(self.seed)

    @property
    def id(self) -> str:
        """Under which the keymaster knows it."""
        return credential_id(self.public_key)

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone; ConflictError if there is one."""
        said = {"room": self.room.hex(), "actor": self.actor, "id": self.id}
        write_key(path, KIND, VERSION, said, self.seed)


def new_credential(room: bytes, actor: str, entropy: Callable[[int], bytes] = random_bytes) -> Credential:
    """Draw a key pair."""
    return Credential(room, actor, new_signing_key(entropy=entropy))


def credential_id(public: bytes) -> str:
    """Of a public key: 32 hex digits of its SHA-256."""
    return hashlib.sha256(b"strongroom credential 1" + public).hexdigest()[:32]


def read_credential(path: Path) -> Credential:
    """Read a credential's file.

    Raises:
        NotFoundError: There is none.
        UsageError: It is none, or others may read it.
    """
    said, seed = read_key(path, KIND, VERSION, KIND, ", and have it replaced if they did")
    try:
        made = Credential(bytes.fromhex(said["room"]), str(said["actor"]), seed)
        named = said["id"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is no credential") from None
    if len(made.room) != 16 or made.id != named:
        raise UsageError(f"{path} was changed: its key is not that of its id")
    return made


def public_line(credential: Credential) -> str:
    """What an operator is given to let the owner of a key pair in; nothing of it is secret."""
    return f"{_PREFIX}:{credential.actor}:{base64.b64encode(credential.public_key).decode()}"


def parse_public_line(line: str) -> tuple[str, bytes]:
    """The actor and the public key (32 B) in a line; UsageError for anything else."""
    prefix, _, rest = line.strip().partition(":")
    actor, _, text = rest.rpartition(":")
    try:
        public = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        public = b""
    if prefix != _PREFIX or not actor or len(public) != 32:
        raise UsageError("this is not the public line of a credential", hint="`strongroom actor key` prints one")
    return actor, public
