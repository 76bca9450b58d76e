"""Root slots: each wraps the epoch key of a room; this file says what a slot is, and opens, makes and destroys any.

Rules it keeps:

1. A slot file says its kind and parameters, and the wrap authenticates all of them: kind, room, epoch, time, and
   whatever the kind adds. A file changed by hand does not open.
2. A slot is of one epoch. A turn makes a new file beside the old one; which epoch is in force is for the keymaster's
   database to say, so that a crash between the two leaves a slot that opens.
3. A slot counts as made only when it was opened again, from its file, and gave the same key.
4. A slot file names nothing that would be run: where a token's module lies is said by whoever opens it.

A kind is a `Keeper`: `slot_passphrase` and `slot_pkcs11`; a KMS would be a third.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from strongroom.durable import sync_folder, write_new
from strongroom.errors import ConflictError, IntegrityError, KeysError, NotFoundError, StrongroomError, UsageError
from strongroom.keys.hierarchy import KeyRing
from strongroom.seal.entropy import random_bytes

SLOT_FILE_BYTES_MAX = 4096
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_OWN = frozenset({"slot", "kind", "room", "epoch", "made"})


@dataclass(frozen=True)
class SlotHead:
    """What a slot file says in plain: enough to know what it is for, before it is opened.

    Args:
        kind: Which `Keeper` opens it.
        room_id: 16 bytes.
        epoch: Which epoch's key it wraps.
        made: Seconds since 1970.
        more: What the kind adds: whole numbers, texts and objects of them.
    """

    kind: str
    room_id: bytes
    epoch: int
    made: int
    more: Mapping[str, Any]

    def text(self) -> str:
        """Canonical text."""
        own = {"slot": 1, "kind": self.kind, "room": self.room_id.hex(), "epoch": self.epoch, "made": self.made}
        return json.dumps({**self.more, **own}, sort_keys=True, separators=(",", ":"))

    def ad(self) -> bytes:
        """Associated data of the wrap."""
        return b"strongroom slot\0" + self.text().encode()


class Keeper(Protocol):
    """One kind of slot, with what opens it in hand: a passphrase, or a token and its PIN.

    A key object outside the slot file (in a token, at a KMS) is durable when `wrap` returns; `destroy` may be called
    again. Calls may come from several threads.
    """

    @property
    def kind(self) -> str:
        """The word in the slot file, of lower-case letters and digits."""

    @property
    def forgets(self) -> bool:
        """Whether the key is gone for everybody once `destroy` returns: not so for a file that may have been copied."""

    def describe(self, entropy: Callable[[int], bytes]) -> Mapping[str, Any]:
        """What the head of a new slot says besides; UsageError when it cannot be made."""

    def owns(self, head: SlotHead) -> bool:
        """Whether this keeper may be tried on a slot: a wrong PIN tried often locks a token."""

    def wrap(self, head: SlotHead, epoch_key: bytes) -> bytes:
        """Make the slot's key and wrap the epoch key under it, bound to the head."""

    def unwrap(self, head: SlotHead, wrapped: bytes) -> bytes:
        """Give the epoch key back.

        Raises:
            KeysError: What is in hand does not open it.
            UnavailableError: The token or service is not there.
        """

    def destroy(self, head: SlotHead) -> None:
        """Destroy the slot's key where it lies outside the file; nothing when it is gone already."""


@dataclass(frozen=True)
class Slot:
    """A slot file that was read; what is not `finished` was left by a crash, and opens nothing."""

    path: Path
    head: SlotHead
    wrapped: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Its name, the same over all epochs."""
        return self.path.name.partition(".")[0]

    @property
    def finished(self) -> bool:
        """Whether its key was made."""
        return bool(self.wrapped)


def slot_path(folder: Path, name: str, epoch: int) -> Path:
    """Where the file of a slot lies: `NAME.json` in the first epoch, `NAME.eN.json` later."""
    return folder / (f"{name}.json" if epoch == 1 else f"{name}.e{epoch}.json")


def make_slot(
    folder: Path,
    name: str,
    keeper: Keeper,
    ring: KeyRing,
    made: float,
    entropy: Callable[[int], bytes] = random_bytes,
) -> Slot:
    """Write a slot (mode 0600) for the ring's epoch, and open it again from its file.

    Raises:
        UsageError: The name or what is in hand is of no use.
        ConflictError: There is such a slot of this epoch.
        IntegrityError: It does not give the key back; what was made is destroyed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("a slot's name has 1 to 40 lower-case letters, digits and dashes")
    path = slot_path(folder, name, ring.epoch)
    head = SlotHead(keeper.kind, ring.room_id, ring.epoch, int(made), keeper.describe(entropy))
    # the file comes before the key object, so that whatever a crash leaves in a token is named by a file
    _write_new(path, _text(head, b""))
    try:
        _replace(path, _text(head, keeper.wrap(head, ring.epoch_key())))
        slot = read_slot(path)
        check_slot(slot, keeper, ring)
    except BaseException:
        with contextlib.suppress(StrongroomError):
            destroy_slot(Slot(path, head, b""), keeper)
        raise
    return slot


def check_slot(slot: Slot, keeper: Keeper, ring: KeyRing) -> None:
    """Open a slot and compare what it gives with the ring's key.

    Raises:
        KeysError, UnavailableError: It does not open now.
        IntegrityError: It opens, and gives another key.
    """
    key = keeper.unwrap(slot.head, slot.wrapped)
    same = hmac.compare_digest(key, ring.epoch_key())
    if not same or slot.head.room_id != ring.room_id or slot.head.epoch != ring.epoch:
        raise IntegrityError(f"slot {slot.name} gives another key than that of this epoch")


def open_any(folder: Path, keeper: Keeper, epoch: int) -> KeyRing:
    """Try a keeper on every slot of its kind and of one epoch, in order of name.

    Raises:
        KeysError: It opens none.
        UnavailableError: The token or service is not there.
        IntegrityError: The folder holds no slot of that epoch.
    """
    slots = [slot for slot in slots_of(folder, epoch) if slot.finished]
    if not slots:
        raise IntegrityError("the keymaster's folder holds no slot of the epoch in force")
    refused: StrongroomError = KeysError("no slot of this keymaster is of that kind or token")
    for slot in slots:
        if slot.head.kind != keeper.kind or not keeper.owns(slot.head):
            continue
        try:
            return KeyRing(slot.head.room_id, slot.head.epoch, keeper.unwrap(slot.head, slot.wrapped))
        except KeysError as error:
            refused = error
    raise refused


def slots_of(folder: Path, epoch: int | None = None) -> list[Slot]:
    """The slots of an epoch, or of all, in order of name; IntegrityError if a file is none."""
    slots = [read_slot(path) for path in sorted(folder.glob("*.json"))]
    return [slot for slot in slots if epoch is None or slot.head.epoch == epoch]


def slot_named(folder: Path, name: str, epoch: int) -> Slot:
    """A slot by its name; NotFoundError if there is none."""
    found = next((slot for slot in slots_of(folder, epoch) if slot.name == name), None)
    if found is None:
        raise NotFoundError(f"there is no slot {name}")
    return found


def destroy_slot(slot: Slot, keeper: Keeper) -> None:
    """Destroy a slot: first its key, where that lies elsewhere, then its file."""
    keeper.destroy(slot.head)
    slot.path.unlink(missing_ok=True)
    sync_folder(slot.path.parent)


def read_slot(path: Path) -> Slot:
    """Read a slot file; IntegrityError if it is none."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(SLOT_FILE_BYTES_MAX))
        raw = value["head"]
        more = {key: raw[key] for key in raw if key not in _OWN}
        head = SlotHead(str(raw["kind"]), bytes.fromhex(raw["room"]), whole(raw["epoch"]), whole(raw["made"]), more)
        wrapped = bytes.fromhex(value["wrapped"])
        known = raw["slot"] == 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise IntegrityError(f"slot {path.name} cannot be read") from None
    if not known or len(head.room_id) != 16:
        raise IntegrityError(f"slot {path.name} is of a kind this version does not know")
    return Slot(path, head, wrapped)


def whole(value: object) -> int:
    """A whole number of a slot's head; ValueError if it is none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a whole number")
    return value


def _text(head: SlotHead, wrapped: bytes) -> str:
    return json.dumps({"head": json.loads(head.text()), "wrapped": wrapped.hex()}, indent=1) + "\n"


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    _write_new(beside, text)
    beside.replace(path)
    sync_folder(path.parent)


def _write_new(path: Path, text: str) -> None:
    try:
        write_new(path, text)
    except FileExistsError:
        raise ConflictError(f"slot {path.name} exists") from None
