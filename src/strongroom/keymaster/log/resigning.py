"""Change the log's signing key: both keys sign while it changes, and a proof leads from the old key to the new one.

The order, and what a crash after each step leaves (calling it again completes it):

1. One transaction makes the new key, notes it in the log, and keeps the old one. From here on every checkpoint has both
   signatures, whichever process publishes.
2. A checkpoint that covers the entry is published, and the bridge (`audit.keychange`) is stored beside the log.
3. One transaction destroys the old key and says up to which size it was in force.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from strongroom.audit.keychange import SIGNING
from strongroom.audit.note import verifier_key
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.slotting import Slots
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.rows import Rows, take
from strongroom.seal.sign import public_key


@dataclass(frozen=True)
class SigningReport:
    """The new key as verifiers write it, its number, and the size of the checkpoint that both keys signed."""

    key: str
    number: int
    size: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Resigning:
    """Changes the signing key of one keymaster."""

    def __init__(self, core: Core, slots: Slots, publishing: Publishing) -> None:
        self._core = core
        self._slots = slots
        self._publishing = publishing

    def rotate(self, actor: str) -> SigningReport:
        """Change the key, or complete a change that was interrupted.

        Raises:
            DeniedError: The policy does not let the actor.
        """
        self._slots.allowed(actor, "rotate")
        core = self._core

        def begin(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "rotate"))
            open_keys = rows.execute("SELECT number, first FROM log_key WHERE last IS NULL ORDER BY number").fetchall()
            if len(open_keys) > 1:
                return {"number": open_keys[-1][0], "leaf": open_keys[-1][1] - 1}
            number, seed = open_keys[0][0] + 1, core.entropy(KEY_BYTES)
            extras: dict[str, int | str] = {"what": SIGNING, "number": number, "key": public_key(seed).hex()}
            leaf = core.journal.note(rows, core.journal.entry(rows, "rotate", actor, extras=extras))
            name = str(number).encode()
            wrapped = core.ring.wrap("signing", name, seed)
            rows.execute("INSERT INTO wrapped_key VALUES ('signing', ?, ?)", (name, wrapped))
            rows.execute("INSERT INTO log_key VALUES (?, ?, ?, NULL)", (number, public_key(seed), leaf + 1))
            rows.execute("UPDATE room SET public_key = ?", (public_key(seed),))
            take(rows, "signing")
            return {"number": number, "leaf": leaf}

        answer = core.act("rotate", actor, begin)
        number = int(answer["number"])
        size = self._publishing.bridge(answer["leaf"], number)

        def end(rows: Rows) -> None:
            rows.execute("UPDATE log_key SET last = ? WHERE number < ? AND last IS NULL", (size, number))
            rows.execute("DELETE FROM wrapped_key WHERE purpose = 'signing' AND id != ?", (str(number).encode(),))
            take(rows, "signing")

        core.run(end)
        self._publishing.publish()
        newest = self._publishing.keys[-1].public_key
        return SigningReport(verifier_key(self._publishing.origin, newest), number, size)
