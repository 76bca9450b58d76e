"""The code row of one export as a file for a court: the row, and the log's entries that committed to it and opened it.

| key | value |
| --- | --- |
| kind, format | `strongroom export code row`, 1 |
| log, key | the log's name, and its public key in force when the file was made |
| row | the text that opens the commitment (`evidence.coderow`) |
| export | the entry by which the export began, which has the commitment |
| opened | the entry by which two people opened the row |
| finds | the entry by which a trace noted what it had found in a sample, before coins were thrown for it; or null |

An entry is `entry` (its canonical text, both lines where it has two) and `proof` (C2SP tlog-proof, of the first line).

Rules it keeps:

1. Nothing is said but what these entries say, each proved to be in the log under one signed checkpoint, and the row
   that opens the commitment in one of them.
2. Export and room of the row are those of its entry and its log; it was opened by two people. First the export began,
   then finds were noted, then the row was opened: that order is the log's, not a clock's.
3. Pure functions of text. Without a public key from elsewhere, the file vouches for itself alone.

It leaves to others what the row's coins prove of the finds (`evidence.opening`), and whether times are true: they are
what the keymaster's clock said.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from strongroom.audit.cosign import Quorum, check_quorum, cosigned_at
from strongroom.audit.entry import Entry, logged, parse_entry
from strongroom.audit.note import Checkpoint, PublicKey, open_checkpoint, origin_of, parse_note, parse_verifier_key
from strongroom.audit.proof import parse_proof, verify_proof
from strongroom.errors import IntegrityError, UsageError
from strongroom.evidence.coderow import CodeRow, open_row
from strongroom.purpose.exports import VERB

KIND = "strongroom export code row"
FORMAT = 1
DISCLOSE, TRACE = "disclose", "trace"
ROW_FILE_BYTES_MAX = 8 << 20
_KEYS = ("kind", "format", "log", "key", "row", "export", "opened", "finds")


@dataclass(frozen=True)
class ProvedEntry:
    """An entry of the log (canonical bytes, one line or two), and the C2SP tlog-proof of its first line."""

    entry: bytes = field(repr=False)
    proof: str = field(repr=False)

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"entry": self.entry.decode("utf-8"), "proof": self.proof}


@dataclass(frozen=True)
class NotedFinds:
    """What the log has of a sample from before coins were thrown for it.

    Args:
        leaf: Number of the entry that says so.
        time: Of that entry, milliseconds since 1970 (UTC).
        sample: SHA-256 over the SHA-256 of each file of the sample, hex.
        finds: Digest of the list of canaries that were found (`evidence.code.Found.digest`), hex.
    """

    leaf: int
    time: int
    sample: str
    finds: str


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
        finds: What a trace noted between the two; None where the file has no such entry.
        checkpoint: Under which the entries are proved: the log's name, its size and root.
        cosigned: Witnesses of the rule that was given who cosigned it, and when, seconds since 1970 by their clocks.
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
    finds: NotedFinds | None
    checkpoint: Checkpoint
    cosigned: tuple[tuple[str, int], ...]
    key: str
    row: CodeRow = field(repr=False)

    @property
    def root(self) -> str:
        """The log's root under which the entries are proved, as a checkpoint writes it."""
        return base64.b64encode(self.checkpoint.root).decode()

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without what only the file itself shall hold: the key of the row's coins."""
        said = {name: value for name, value in vars(self).items() if name not in {"row", "checkpoint", "cosigned"}}
        pools = [{**asdict(offer), "root": offer.root.hex()} for offer in self.row.offers]
        log = {"log": self.checkpoint.origin, "log_size": self.checkpoint.size, "log_root": self.root}
        finds = None if self.finds is None else asdict(self.finds)
        return {
            **said, "tables": list(self.tables), "finds": finds, "pools": pools, **log, "cosigned": dict(self.cosigned)
        }  # fmt: skip


def row_file(
    key: str, row: bytes, export: ProvedEntry, opened: ProvedEntry, finds: ProvedEntry | None = None
) -> dict[str, Any]:
    """The file.

    Args:
        key: The log's public key, as one line.
        row: What opens the code row.
        export: The entry by which the export began.
        opened: The entry by which two people opened the row.
        finds: The entry by which a trace noted what it had found.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "log": parse_verifier_key(key)[0],
        "key": key,
        "row": row.decode("utf-8"),
        "export": export.to_dict(),
        "opened": opened.to_dict(),
        "finds": None if finds is None else finds.to_dict(),
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
    began, leaf = log.proved(file["export"], VERB)
    agreed, opened = log.proved(file["opened"], DISCLOSE)
    export, commitment = _hex(began, "export", 16), _hex(began, "commitment", 32)
    row = open_row(_utf8(file["row"]), commitment)
    if row.export != export:
        raise IntegrityError("the row is of another export than the entry that commits to it")
    if origin_of(row.room) != log.checkpoint.origin:
        raise IntegrityError("the row is of another room than the log")
    if _hex(agreed, "export", 16) != export or opened <= leaf:
        raise IntegrityError("the entry shown as that of the opening opens no row of this export")
    asked = agreed.extras.get("asked")
    if not isinstance(asked, str) or asked == agreed.actor:
        raise IntegrityError("the entry shown as that of the opening is not of two people")
    finds = None if file["finds"] is None else _finds(*log.proved(file["finds"], TRACE))
    if finds is not None and not leaf < finds.leaf < opened:
        raise IntegrityError("the finds were not noted between the beginning of the export and the opening of its row")
    return VerifiedRow(
        export=export.hex(), recipient=began.recipient or "", purpose=began.purpose or "",
        legal_basis=began.legal_basis or "", actor=began.actor, time=began.time, persons=began.count or 0,
        tables=tuple(str(began.extras.get("tables", "")).split(",")), leaf=leaf, opened=opened,
        opened_time=agreed.time, asked=asked, agreed=agreed.actor, commitment=commitment.hex(), finds=finds,
        checkpoint=log.checkpoint, cosigned=log.cosigned, key=file["key"], row=row,
    )  # fmt: skip


def _finds(entry: Entry, leaf: int) -> NotedFinds:
    return NotedFinds(leaf, entry.time, _hex(entry, "sample", 32).hex(), _hex(entry, "finds", 32).hex())


class _Log:
    """The log that a file's entries must be in, all under one checkpoint: by its own key, and by one from elsewhere."""

    def __init__(self, file: dict[str, Any], public_key: PublicKey | None, quorum: Quorum | None) -> None:
        try:
            self._name, self._own = parse_verifier_key(file["key"])
        except UsageError:
            raise _malformed() from None
        if self._name != file["log"]:
            raise IntegrityError("the key in the file is of another log")
        text = parse_proof(file["export"]["proof"]).checkpoint
        self.checkpoint = open_checkpoint(text, self._name, self._own)
        if public_key is not None:
            open_checkpoint(text, self._name, public_key)
        self.cosigned: tuple[tuple[str, int], ...] = ()
        if quorum is not None:
            check_quorum(text, quorum)
            times = ((witness.name, cosigned_at(parse_note(text), witness)) for witness in quorum.witnesses)
            self.cosigned = tuple((name, seconds) for name, seconds in times if seconds is not None)

    def proved(self, item: dict[str, str], act: str) -> tuple[Entry, int]:
        """An entry of an act that was allowed, and its number, verified."""
        data = _utf8(item["entry"])
        leaf, checkpoint = verify_proof(item["proof"], logged(data), self._name, self._own)
        if checkpoint != self.checkpoint:
            raise IntegrityError("the entries are not proved under one checkpoint")
        entry = parse_entry(data)
        if entry.act != act or entry.decision != "allowed":
            raise IntegrityError(f"an entry of the file is of another act than {act}")
        if entry.kept is not None:
            raise IntegrityError(f"the second line of the entry of the act {act} is not in the file")
        return entry, leaf


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
    if not texts or type(file["format"]) is not int or not all(_is_proved(file[key]) for key in ("export", "opened")):
        raise _malformed()
    if file["finds"] is not None and not _is_proved(file["finds"]):
        raise _malformed()
    return file


def _is_proved(item: object) -> bool:
    return isinstance(item, dict) and set(item) == {"entry", "proof"} and all(isinstance(v, str) for v in item.values())


def _utf8(text: str) -> bytes:
    """As bytes; half a character, which is none, becomes bytes that no hash is of."""
    return text.encode("utf-8", "surrogatepass")


def _malformed() -> IntegrityError:
    return IntegrityError("the code row is malformed")
