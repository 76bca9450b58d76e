"""Keeps what puts and erasures under an `Idempotency-Key` were answered: a repeat gets the same, whoever serves it.

Rules it keeps:

1. An answer lies sealed under the key of its month, as reasons do: it may hold receipts and names of fields. Answers of
   reads are never kept: they hold records.
2. It is given to who signs the same request with the same credential under the same key again, and to nobody else.
3. At most REPLIES_MAX are kept, the newest, of REPLY_BYTES_MAX each, and for REPLIES_SECONDS.
"""

from __future__ import annotations

import hmac

from strongroom.errors import UsageError
from strongroom.keymaster.core import REQUESTS_KEPT_SECONDS, Core
from strongroom.keymaster.warrant import Signer
from strongroom.keys.rows import Rows

REPLIES_MAX = 10_000
REPLY_BYTES_MAX = 1 << 16
REPLIES_SECONDS = REQUESTS_KEPT_SECONDS


class Replies:
    """Answers of one keymaster's callers."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def keep(self, signer: Signer, answer: str) -> None:
        """Keep the answer of a request under an `Idempotency-Key`: the first, unless it is too long."""
        name = signer.again
        if name is None or len(answer.encode()) > REPLY_BYTES_MAX:
            return

        def job(rows: Rows) -> None:
            now = self._core.journal.now(rows)
            month, sealed = self._core.journal.seal_text(rows, answer, b"reply" + name)
            sql = "INSERT INTO reply VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
            rows.execute(sql, (name, signer.digest, month, sealed, now))
            rows.execute("DELETE FROM reply WHERE made < ?", (now - REPLIES_SECONDS,))
            more = rows.execute("SELECT count(*) FROM reply").fetchone()[0] - REPLIES_MAX
            if more > 0:
                old = "DELETE FROM reply WHERE id IN (SELECT id FROM reply ORDER BY made, id LIMIT ?)"
                rows.execute(old, (more,))

        self._core.run(job)

    def find(self, signer: Signer) -> str | None:
        """The answer that the same request was given, which is thereby answered again; None where there is none.

        Raises:
            UsageError: Another request was made under this `Idempotency-Key`.
            DeniedError: These very bytes were answered before.
        """
        core, name = self._core, signer.again
        if name is None:
            return None
        rows = core.state.read()
        sql = "SELECT digest, month, sealed, made FROM reply WHERE id = ?"
        row = rows.execute(sql, (name,)).fetchone()
        if row is None or row[3] < core.clock() - REPLIES_SECONDS:
            return None
        if not hmac.compare_digest(row[0], signer.digest):
            raise UsageError("another request was made under this Idempotency-Key", hint="give each its own")
        answer = core.journal.open_text(rows, row[1], row[2], b"reply" + name)
        core.run(lambda inside: signer.once(core, inside))
        return answer or None
