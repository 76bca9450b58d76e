"""Receipts of erasures: what the log proves, as one JSON file that is verified offline with the log's public key.

Rules it keeps:

1. Each transaction of an erasure is there with its entry's bytes and its C2SP tlog-proof; nothing names a person.
2. *Final* is claimed only with the entry that notes the end of the erasure's epoch, proved the same way, and with
   nothing that is waited for.
3. Pure functions of text: asking the keymaster and writing files is left to others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from strongroom.audit.cosign import Quorum
from strongroom.audit.entry import Entry, logged, parse_entry
from strongroom.audit.note import PublicKey
from strongroom.audit.proof import verify_proof
from strongroom.errors import IntegrityError
from strongroom.keymaster.erasures.api import ErasureProof

KIND = "strongroom erasure receipt"
FORMAT = 1
IN_FORCE, FINAL = "in force", "final"
RECEIPT_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class VerifiedReceipt:
    """What a receipt proves.

    Args:
        state: `in force` or `final`.
        waits: What finality waits for, as the keymaster said.
        persons: How many persons were erased.
        leaves: Entries of the log that say so.
        time: Of the first of them, milliseconds since 1970 (UTC).
        log_size: Entries under the checkpoint that proves them.
    """

    state: str
    waits: tuple[str, ...]
    persons: int
    leaves: tuple[int, ...]
    time: int
    log_size: int


def make_receipt(origin: str, proofs: Sequence[ErasureProof]) -> dict[str, Any]:
    """The receipt of one erasure, of one or several transactions.

    Args:
        origin: The log's name.
        proofs: What the keymaster proves of each transaction.
    """
    waits = list(dict.fromkeys(line for proof in proofs for line in proof.waits))
    final = not waits and all(proof.turned is not None for proof in proofs)
    turns = list(dict.fromkeys(proof.turned for proof in proofs if proof.turned is not None)) if final else []
    return {
        "kind": KIND,
        "format": FORMAT,
        "log": origin,
        "state": FINAL if final else IN_FORCE,
        "waits_for": waits,
        "persons": sum(proof.persons for proof in proofs),
        "entries": [{"entry": proof.entry.decode(), "proof": proof.proof} for proof in proofs],
        "turns": [{"entry": entry.decode(), "proof": text} for entry, text in turns],
    }


def verify_receipt(text: str, public_key: PublicKey, quorum: Quorum | None = None) -> VerifiedReceipt:
    """Verify a receipt with nothing but the log's public key, and those of witnesses where a quorum is asked for.

    Raises:
        IntegrityError: It is no receipt, it claims what its proofs do not show, or too few witnesses cosigned.
    """
    receipt = _parsed(text)
    origin = receipt["log"]
    entries = [_proved(item, origin, public_key, "erase", quorum) for item in receipt["entries"]]
    turns = [_proved(item, origin, public_key, "turn", quorum) for item in receipt["turns"]]
    persons = sum(entry.count or 0 for entry, _leaf, _size in entries)
    if not entries or persons != receipt["persons"] or len({leaf for _e, leaf, _s in entries}) != len(entries):
        raise IntegrityError("the receipt counts other persons than its entries do")
    final = receipt["state"] == FINAL
    if final and (receipt["waits_for"] or not all(_ended(entry, leaf, turns) for entry, leaf, _size in entries)):
        raise IntegrityError("the receipt says final, and no entry ends the epoch of the erasure")
    return VerifiedReceipt(
        receipt["state"],
        tuple(receipt["waits_for"]),
        persons,
        tuple(leaf for _entry, leaf, _size in entries),
        entries[0][0].time,
        entries[0][2],
    )


def _ended(entry: Entry, leaf: int, turns: Sequence[tuple[Entry, int, int]]) -> bool:
    epoch = entry.extras.get("epoch")
    ends = [(turn.extras.get("ended"), at) for turn, at, _size in turns]
    return isinstance(epoch, int) and any(isinstance(end, int) and end >= epoch and at > leaf for end, at in ends)


def _proved(
    item: dict[str, str], origin: str, public_key: PublicKey, act: str, quorum: Quorum | None
) -> tuple[Entry, int, int]:
    """An entry, its number and the log's size, verified."""
    data = item["entry"].encode("utf-8", "surrogatepass")  # half a character becomes bytes that no hash is of
    leaf, checkpoint = verify_proof(item["proof"], logged(data), origin, public_key, quorum)
    entry = parse_entry(data)
    if entry.act != act or entry.decision != "allowed":
        raise IntegrityError("an entry of the receipt is of another act")
    return entry, leaf, checkpoint.size


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > RECEIPT_BYTES_MAX:
        raise IntegrityError("the file is too long for a receipt")
    try:
        receipt = json.loads(text)
    except (ValueError, RecursionError):
        raise IntegrityError("the file is no receipt") from None
    shape = {"kind": str, "format": int, "log": str, "state": str, "waits_for": list, "persons": int}
    if not isinstance(receipt, dict) or set(receipt) != {*shape, "entries", "turns"}:
        raise IntegrityError("the file is no receipt of an erasure")
    good = all(isinstance(receipt[name], kind) for name, kind in shape.items())
    good = good and (receipt["kind"], receipt["format"]) == (KIND, FORMAT) and receipt["state"] in {IN_FORCE, FINAL}
    good = good and all(isinstance(line, str) for line in receipt["waits_for"])
    if not good or not _are_proofs(receipt["entries"]) or not _are_proofs(receipt["turns"]):
        raise IntegrityError("the receipt is malformed")
    return receipt


def _are_proofs(items: object) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, dict) and set(item) == {"entry", "proof"} and all(isinstance(v, str) for v in item.values())
        for item in items
    )
