"""The code row of one export as a file for a court: the row, and the log's entries that committed to it and opened it.

| key | value |
| --- | --- |
| kind, format | `strongroom export code row`, 1 |
| log, key | the log's name, and its public key in force when the file was made |
| row | the text that opens the commitment (`evidence.coderow`) |
| export | the entry by which the export began, which has the commitment |
| opened | the entry by which two people opened the row |

An entry is `entry` (its canonical text, both lines where it has two) and `proof` (C2SP tlog-proof, of the first line).

Rules it keeps:

1. Nothing is said but what the two entries say, each proved to be in the log under a signed checkpoint, and the row
   that opens the commitment in one of them.
2. Export and room of the row are those of its entry and its log; it was opened by two people, later than it began.
3. Pure functions of text. Without a public key from elsewhere, the file vouches for itself alone.

It leaves to others what the row's coins prove of a sample (`evidence.opening`), and whether the export's time is true:
that is what the keymaster's clock said.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from strongroom.audit.cosign import Quorum
from strongroom.audit.entry import Entry, logged, parse_entry
from strongroom.audit.note import Checkpoint, PublicKey, open_checkpoint, origin_of, parse_verifier_key
from strongroom.audit.proof import parse_proof, verify_proof
from strongroom.errors import IntegrityError, UsageError
from strongroom.evidence.coderow import CodeRow, open_row
from strongroom.purpose.exports import VERB

KIND = "strongroom export code row"
FORMAT = 1
DISCLOSE = "disclose"
ROW_FILE_BYTES_MAX = 8 << 20
_KEYS = ("kind", "format", "log", "key", "row", "export", "opened")


@dataclass(frozen=True)
class ProvedEntry:
    """An entry of the log (canonical bytes, one line or two), and the C2SP tlog-proof of its first line."""

    entry: bytes = field(repr=False)
    proof: str = field(repr=False)

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"entry": self.entry.decode("utf-8"), "proof": self.proof}


@dataclass(frozen=True, kw_only=True)
class VerifiedRow:
    """What such a file proves.

    Args:
        export: Id of the export, hex.
        recipient: Who received it.
        purpose: Under which purpose.
        legal_basis: Of that purpose.
        actor: Who exported.
        time: When it began, milliseconds since 1970 (UTC), by the keymaster's clock.
        persons: How many people were in it.
        tables: Of which tables.
        leaf: Number of its entry in the log.
        opened: Number of the entry by which its row was opened.
        opened_time: When that was, milliseconds since 1970 (UTC).
        asked: Who asked for it.
        agreed: Who agreed.
        commitment: What the log committed to, hex.
        checkpoint: Under which both entries are proved: the log's name, its size and root.
        key: The public key that the file states for itself.
        row: What was committed to.
    """

    export: str
    recipient: str
    purpose: str
    legal_basis: str
    actor: str
    time: int
    persons: int
    tables: tuple[str, ...]
    leaf: int
    opened: int
    opened_time: int
    asked: str
    agreed: str
    commitment: str
    checkpoint: Checkpoint
    key: str
    row: CodeRow = field(repr=False)

    @property
    def root(self) -> str:
        """The log's root under which both entries are proved, as a checkpoint writes it."""
        return base64.b64encode(self.checkpoint.root).decode()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without what only the file itself shall hold: the key of the row's coins."""
        said = {name: value for name, value in vars(self).items() if name not in {"row", "checkpoint", "tables"}}
        pools = [{**asdict(offer), "root": offer.root.hex()} for offer in self.row.offers]
        log = {"log": self.checkpoint.origin, "log_size": self.checkpoint.size, "log_root": self.root}
        return {**said, "tables": list(self.tables), "pools": pools, **log}


def row_file(key: str, row: bytes, export: ProvedEntry, opened: ProvedEntry) -> dict[str, Any]:
    """The file.

    Args:
        key: The log's public key, as one line.
        row: What opens the code row.
        export: The entry by which the export began.
        opened: The entry by which two people opened the row.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "log": parse_verifier_key(key)[0],
        "key": key,
        "row": row.decode("utf-8"),
        "export": export.to_dict(),
        "opened": opened.to_dict(),
    }


def verify_row_file(text: str, public_key: PublicKey | None = None, quorum: Quorum | None = None) -> VerifiedRow:
    """Verify a code row offline, with no key but the log's public one.

    Args:
        text: The file.
        public_key: The log's, from elsewhere; None to take the file's own, which its reader compares then.
        quorum: Witnesses of whom enough must have cosigned the checkpoint; None to ask for none.

    Raises:
        IntegrityError: It is no such file, an entry is not in the log, the row is not what the log committed to when
            the export began, or too few witnesses cosigned.
    """
    file = _parsed(text)
    log = _Log(file, public_key, quorum)
    began, leaf, checkpoint = log.proved(file["export"], VERB)
    agreed, opened, later = log.proved(file["opened"], DISCLOSE)
    if later != checkpoint:
        raise IntegrityError("the two entries are not proved under one checkpoint")
    export, commitment = _hex(began, "export", 16), _hex(began, "commitment", 32)
    row = open_row(_utf8(file["row"]), commitment)
    if row.export != export:
        raise IntegrityError("the row is of another export than the entry that commits to it")
    if origin_of(row.room) != checkpoint.origin:
        raise IntegrityError("the row is of another room than the log")
    asked = agreed.extras.get("asked")
    if _hex(agreed, "export", 16) != export or opened <= leaf:
        raise IntegrityError("the entry shown as that of the opening opens no row of this export")
    if not isinstance(asked, str) or asked == agreed.actor:
        raise IntegrityError("the entry shown as that of the opening is not of two people")
    return VerifiedRow(
        export=export.hex(), recipient=began.recipient or "", purpose=began.purpose or "",
        legal_basis=began.legal_basis or "", actor=began.actor, time=began.time, persons=began.count or 0,
        tables=tuple(str(began.extras.get("tables", "")).split(",")), leaf=leaf, opened=opened,
        opened_time=agreed.time, asked=asked, agreed=agreed.actor, commitment=commitment.hex(),
        checkpoint=checkpoint, key=file["key"], row=row,
    )  # fmt: skip


class _Log:
    """The log that a file's entries must be in: by its own key, and by one from elsewhere."""

    def __init__(self, file: dict[str, Any], public_key: PublicKey | None, quorum: Quorum | None) -> None:
        try:
            self._name, self._own = parse_verifier_key(file["key"])
        except UsageError:
            raise _malformed() from None
        if self._name != file["log"]:
            raise IntegrityError("the key in the file is of another log")
        self._known, self._quorum = public_key, quorum

    def proved(self, item: dict[str, str], act: str) -> tuple[Entry, int, Checkpoint]:
        """An entry of an act that was allowed, its number and the checkpoint, verified."""
        data = _utf8(item["entry"])
        leaf, checkpoint = verify_proof(item["proof"], logged(data), self._name, self._own, self._quorum)
        if self._known is not None:
            open_checkpoint(parse_proof(item["proof"]).checkpoint, self._name, self._known)
        entry = parse_entry(data)
        if entry.act != act or entry.decision != "allowed":
            raise IntegrityError(f"an entry of the file is of another act than {act}")
        if entry.kept is not None:
            raise IntegrityError(f"the second line of the entry of the act {act} is not in the file")
        return entry, leaf, checkpoint


def _hex(entry: Entry, name: str, size: int) -> bytes:
    """Bytes that an entry says as hex digits."""
    said = entry.extras.get(name)
    try:
        found = bytes.fromhex(said) if isinstance(said, str) else b""
    except ValueError:
        found = b""
    if len(found) != size or found.hex() != said:
        raise IntegrityError(f"the entry of the act {entry.act} names no {name}")
    return found


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > ROW_FILE_BYTES_MAX:
        raise IntegrityError("the file is too long for a code row")
    try:
        file = json.loads(text)
    except (ValueError, RecursionError):
        raise IntegrityError("the file is no code row of an export") from None
    if not isinstance(file, dict) or (file.get("kind"), file.get("format")) != (KIND, FORMAT):
        raise IntegrityError("the file is no code row of an export")
    texts = set(file) == set(_KEYS) and all(isinstance(file[key], str) for key in ("log", "key", "row"))
    if not texts or type(file["format"]) is not int or not all(map(_is_proved, (file["export"], file["opened"]))):
        raise _malformed()
    return file


def _is_proved(item: object) -> bool:
    return isinstance(item, dict) and set(item) == {"entry", "proof"} and all(isinstance(v, str) for v in item.values())


def _utf8(text: str) -> bytes:
    """As bytes; half a character, which is none, becomes bytes that no hash is of."""
    return text.encode("utf-8", "surrogatepass")


def _malformed() -> IntegrityError:
    return IntegrityError("the code row is malformed")
