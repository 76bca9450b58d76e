"""Follow a log from one signing key to the next: who knows the first key needs to trust nobody else.

A change of key is an entry of the log that names the new key, and a checkpoint covering it that both keys signed. The
*bridge* is the proof of that entry (C2SP tlog-proof) with the entry's bytes as its extra data.

Rules it keeps:

1. The old key vouches for the new one: its signature is on the checkpoint that covers the entry.
2. The new key has signed the same checkpoint: nobody names a key that they do not hold.
3. The old key signs no larger log afterwards; `LogKey.last` is the size of the bridge's checkpoint.
"""

from __future__ import annotations

from dataclasses import replace

from strongroom.audit.entry import parse_entry
from strongroom.audit.note import LogKey, open_checkpoint
from strongroom.audit.proof import parse_proof, verify_proof
from strongroom.errors import IntegrityError

SIGNING = "signing"


def follow(bridges: list[str], origin: str, first: bytes) -> tuple[LogKey, ...]:
    """Every key of a log, from its first key (32 bytes) over its bridges in order.

    Raises:
        IntegrityError: A bridge does not lead from the key before it.
    """
    keys = [LogKey(first)]
    for bridge in bridges:
        proof = parse_proof(bridge)
        index, checkpoint = verify_proof(bridge, proof.extra, origin, (keys[-1],))
        entry = parse_entry(proof.extra)
        name = entry.extras.get("key")
        if entry.act != "rotate" or entry.extras.get("what") != SIGNING or not isinstance(name, str):
            raise IntegrityError("a bridge proves another entry than a change of the log's key")
        try:
            newer = bytes.fromhex(name)
        except ValueError:
            raise IntegrityError("a change of the log's key names no key") from None
        open_checkpoint(proof.checkpoint, origin, newer)
        keys[-1] = replace(keys[-1], last=checkpoint.size)
        keys.append(LogKey(newer, index + 1))
    return tuple(keys)
