"""A witness's folder: its key pair, readable by its owner alone, and the database of what it has cosigned.

    key         {"strongroom": "witness", "version": 1, "name": …, "seed": …}, the Ed25519 seed in base64
    state.db    see `state`

Rules it keeps:

1. Both are made together, once, and never again: a witness that lost its database would cosign anything. Its key is
   given up then, and another witness made.
2. The database names the key that it belongs to; one of another witness is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.audit.cosign import Cosigner
from strongroom.audit.note import check_origin, parse_verifier_key
from strongroom.errors import ConflictError, NotFoundError, UsageError
from strongroom.ownerfile import read_key, write_key
from strongroom.seal.entropy import random_bytes
from strongroom.seal.sign import new_signing_key, public_key
from strongroom.witness.state import WitnessState

KEY, STATE = "key", "state.db"
KIND = "witness"
VERSION = 1
LOGS_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class WitnessKey:
    """A witness's name and its Ed25519 seed, 32 bytes."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def cosigner(self) -> Cosigner:
        """What others know of it."""
        return Cosigner(self.name, public_key(self.seed))


def make_witness(folder: Path, name: str, entropy: Callable[[int], bytes] = random_bytes) -> Cosigner:
    """Make a witness in a folder that is absent or empty: a key pair and an empty database.

    Raises:
        UsageError: The name may not stand in a note, or the folder cannot be made.
        ConflictError: The folder holds something.
    """
    made = WitnessKey(check_origin(name), new_signing_key(entropy=entropy))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConflictError(f"{folder} is not empty", hint="a witness gets a folder of its own, once")
        folder.chmod(0o700)
        WitnessState.create(folder / STATE, made.cosigner.line())
        write_key(folder / KEY, KIND, VERSION, {"name": made.name}, made.seed)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made a witness's folder: {error.strerror}") from None
    return made.cosigner


def open_witness(folder: Path) -> tuple[WitnessKey, WitnessState]:
    """The key and the database of a witness.

    Raises:
        NotFoundError: There is none.
        UsageError: Others may read the key, it is none, or the database is missing or another witness's.
    """
    key = _read(folder / KEY)
    if not (folder / STATE).is_file():
        raise UsageError(
            f"the witness at {folder} has lost {STATE}: without it, it could cosign two histories of one log",
            hint="give this key up and make another witness: `strongroom witness key`",
        )
    return key, WitnessState.open(folder / STATE, key.cosigner.line())


def logs_of(lines: Iterable[str]) -> Mapping[str, tuple[bytes, ...]]:
    """The keys of each log, by its name, from one-line keys; a log whose key changes has several.

    Raises:
        UsageError: A line is no key of a log; says which.
    """
    found: dict[str, tuple[bytes, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, key = parse_verifier_key(line)
        except UsageError as error:
            raise UsageError(f"line {number} is no public key of a log", hint=error.hint) from None
        if key not in found.get(name, ()):
            found[name] = (*found.get(name, ()), key)
    if not found:
        raise UsageError("a witness needs a log to watch", hint="--log LINE or --logs FILE")
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a file of keys; UsageError if it cannot be read."""
    try:
        if path.stat().st_size > LOGS_BYTES_MAX:
            raise UsageError(f"{path} is too long for a list of logs")
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"cannot read {path}") from None


def _read(path: Path) -> WitnessKey:
    what = "key of a witness"
    try:
        said, seed = read_key(path, KIND, VERSION, what, "; if they did, make another witness")
    except NotFoundError:
        hint = "`strongroom witness key` makes one"
        raise NotFoundError(f"there is no witness at {path.parent}", hint=hint) from None
    try:
        return WitnessKey(check_origin(str(said["name"])), seed)
    except KeyError:
        raise UsageError(f"{path} is no {what}") from None
