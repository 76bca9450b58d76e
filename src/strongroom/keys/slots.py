"""Root slots: each wraps the epoch key of a room; a passphrase file is one kind.

Rules it keeps:

1. A slot file says its kind and parameters, and the wrap authenticates all of them: kind, room, epoch,
   Argon2id parameters and salt. A file changed by hand does not open.
2. Parameters below the accepted minimum are refused before any work, so that nobody is made to type a
   passphrase into a weak one.
3. Every passphrase that does not open gives the same message, after the same work.

Further kinds (PKCS#11, KMS) are further values of `kind`; a room may have several slots of several kinds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from strongroom.errors import ConflictError, IntegrityError, KeysError, StrongroomError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.seal.entropy import random_bytes
from strongroom.seal.passphrase import Argon2Params, argon2id
from strongroom.seal.wrap import unwrap, wrap

KIND = "passphrase"
SALT_BYTES = 16
SLOT_FILE_BYTES_MAX = 4096
MEMORY_KIB_MIN, PASSES_MIN = 19 * 1024, 2
MEMORY_KIB_MAX, PASSES_MAX, LANES_MAX = 4 * 1024 * 1024, 64, 64
_REFUSED = "the passphrase does not open this keymaster"


@dataclass(frozen=True)
class SlotHead:
    """What a slot file says in plain: enough to know which room and epoch it is for, before it is opened."""

    kind: str
    room_id: bytes
    epoch: int
    params: Argon2Params
    salt: bytes

    def text(self) -> str:
        """Canonical text; the wrap's associated data."""
        return json.dumps(
            {
                "argon2id": asdict(self.params),
                "epoch": self.epoch,
                "kind": self.kind,
                "room": self.room_id.hex(),
                "salt": self.salt.hex(),
                "slot": 1,
            },
            sort_keys=True,
            separators=(",", ":"),
        )


def create_slot(
    path: Path,
    passphrase: str,
    room_id: bytes,
    epoch: int,
    epoch_key: bytes,
    *,
    params: Argon2Params | None = None,
    entropy: Callable[[int], bytes] = random_bytes,
) -> None:
    """Write a passphrase slot (mode 0600) that opens the epoch key.

    Raises:
        UsageError: The passphrase is empty, or the parameters are below the accepted minimum.
        ConflictError: The file exists.
    """
    params = params or Argon2Params()
    if not passphrase:
        raise UsageError("the passphrase is empty")
    if not _acceptable(params):
        raise UsageError("the Argon2id parameters are outside the accepted range")
    head = SlotHead(KIND, room_id, epoch, params, entropy(SALT_BYTES))
    wrapped = wrap(_stretch(passphrase, head), epoch_key, _ad(head))
    text = json.dumps({"head": json.loads(head.text()), "wrapped": wrapped.hex()}, indent=1) + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConflictError(f"slot {path.name} exists") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def open_slot(path: Path, passphrase: str) -> KeyRing:
    """Open a slot.

    Raises:
        KeysError: The passphrase does not open it; the message is the same for every reason.
        IntegrityError: The file is not a slot, or asks for less work than the accepted minimum.
    """
    head, wrapped = _read(path)
    if not _acceptable(head.params):
        raise IntegrityError(f"slot {path.name} states Argon2id parameters outside the accepted range")
    try:
        key = unwrap(_stretch(passphrase, head), wrapped, _ad(head))
    except StrongroomError:
        raise KeysError(_REFUSED) from None
    return KeyRing(head.room_id, head.epoch, key)


def open_any(folder: Path, passphrase: str) -> KeyRing:
    """Try the passphrase on every passphrase slot of a folder, in order of name.

    Raises:
        KeysError: It opens none.
        IntegrityError: The folder holds no slot.
    """
    slots = sorted(folder.glob(f"{KIND}-*.json"))
    if not slots:
        raise IntegrityError("the keymaster's folder holds no slot")
    for path in slots:
        try:
            return open_slot(path, passphrase)
        except KeysError:
            continue
    raise KeysError(_REFUSED)


def _acceptable(params: Argon2Params) -> bool:
    return (
        MEMORY_KIB_MIN <= params.memory_kib <= MEMORY_KIB_MAX
        and PASSES_MIN <= params.passes <= PASSES_MAX
        and 1 <= params.lanes <= LANES_MAX
    )


def _ad(head: SlotHead) -> bytes:
    return b"strongroom slot\0" + head.text().encode()


def _read(path: Path) -> tuple[SlotHead, bytes]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(SLOT_FILE_BYTES_MAX))
        raw = value["head"]
        cost = raw["argon2id"]
        params = Argon2Params(*(_whole(cost[name]) for name in ("memory_kib", "passes", "lanes")))
        head = SlotHead(
            str(raw["kind"]), bytes.fromhex(raw["room"]), _whole(raw["epoch"]), params, bytes.fromhex(raw["salt"])
        )
        wrapped = bytes.fromhex(value["wrapped"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"slot {path.name} cannot be read") from None
    if head.kind != KIND or len(head.room_id) != 16 or len(head.salt) != SALT_BYTES or raw.get("slot") != 1:
        raise IntegrityError(f"slot {path.name} is of a kind this version does not know")
    return head, wrapped


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a whole number")
    return value


def _stretch(passphrase: str, head: SlotHead) -> bytes:
    return argon2id(passphrase, head.salt, head.params)
