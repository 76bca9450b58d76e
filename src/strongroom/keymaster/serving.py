"""Answers requests that callers signed and a server hands on: readings and leases in the caller's name.

Rules it keeps:

1. A server is released under its own name what the policy gives its actor, as anybody; in a caller's name only what the
   caller signed, once.
2. A reading is of one signed request. What it looks up is spent and noted in the transaction that opens it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from strongroom.errors import StrongroomError, UsageError
from strongroom.identity import asked
from strongroom.keymaster.api import Head, Lease, ReadingGrant
from strongroom.keymaster.core import REQUEST_ID_BYTES, Core
from strongroom.keymaster.exports.warrant import ExportWarrant
from strongroom.keymaster.filekeys import FileKeyRows
from strongroom.keymaster.holder import Holder
from strongroom.keymaster.leases import SHARED_KINDS, Leases
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.replies import Replies
from strongroom.keymaster.steps import Steps
from strongroom.keymaster.unlocking import Unlocking
from strongroom.keymaster.warrant import Signer, Warrant, bind, subjects_of, values_of, words_of
from strongroom.keys.rows import Rows


@dataclass(frozen=True)
class Granted:
    """A reading in a caller's name, with what its first steps need.

    `tokens` has, by field name (`""` for subjects) and canonical value, the tokens that the look-ups are for; `files`
    the file keys that were asked for and may be had.
    """

    grant: ReadingGrant
    head: Head
    tokens: dict[str, dict[str, bytes]] = field(repr=False)
    files: dict[bytes, bytes] = field(repr=False)


class Serving:
    """Readings and leases in the name of a server's callers."""

    def __init__(
        self, core: Core, readings: Readings, lookups: Lookups, unlocking: Unlocking, leases: Leases
    ) -> None:
        self._core = core
        self._readings = readings
        self._lookups = lookups
        self._unlocking = unlocking
        self._leases = leases
        self.replies = Replies(core)

    def reading(
        self, signer: Signer, holder: Holder, verb: str, said: asked.Purposed, files: Sequence[bytes]
    ) -> Steps[Granted]:
        """Open a reading for one signed request, in steps.

        Args:
            signer: Whose it is.
            holder: The server's credential.
            verb: What the request asks.
            said: What it says.
            files: Key ids of objects that the server is going to look into.

        Raises:
            DeniedError: The policy or a budget refuses the caller, or the request was answered before.
        """
        core = self._core
        core.standing.refresh()
        warrant = self._warrant(signer, verb, said)
        looked: list[tuple[Head, FileKeyRows]] = []

        def look(rows: Rows) -> None:
            # by the rows that write: whoever reads beside them looks the database's pages up anew after each commit
            looked.append((core.head(rows), self._unlocking.signed_rows(rows, warrant, files)))

        grant = yield from self._readings.beginning(
            signer.actor,
            said.purpose,
            said.reason,
            said.approval,
            break_glass=said.break_glass,
            holder=holder,
            warrant=warrant,
            look=look,
        )
        head, stored = looked.pop()
        if isinstance(warrant, ExportWarrant):
            warrant.snapshot = head.number
        at = said.snapshot if isinstance(said, asked.Read) else None
        reading = self._readings.get(grant.reading_id)
        tokens = self._lookups.signed_tokens(reading, head.number if at is None else at)
        return Granted(grant, head, tokens, self._unlocking.signed_files(reading, stored))

    def _warrant(self, signer: Signer, verb: str, said: asked.Purposed) -> Warrant:
        schema = self._core.standing.schema
        if isinstance(said, asked.Get):
            model = schema.table(said.table)
            subjects = subjects_of(model, said.subjects)
            return Warrant(signer, verb, model.name, _names(said.fields), subjects, {}, len(subjects))
        if isinstance(said, asked.Find):
            model = schema.table(said.table)
            where = values_of(model, said.where)
            return Warrant(signer, verb, model.name, _names(said.fields), frozenset(), where, said.limit)
        if isinstance(said, asked.SubjectLog):
            model = schema.table(said.table)
            return Warrant(signer, "log", model.name, None, subjects_of(model, [said.subject]), {}, 1)
        if isinstance(said, asked.OpenRejects):
            return Warrant(signer, "rejects", None, None, words=frozenset(name.casefold() for name in schema.tables))
        if isinstance(said, asked.Sql):
            return Warrant(signer, verb, None, None, persons=said.persons, words=words_of(said.query))
        if isinstance(said, asked.Export):
            return ExportWarrant.of(signer, verb, said, schema)
        raise UsageError(f"{verb} is no read")

    def put(self, signer: Signer, plan: asked.Put) -> Lease:
        """Leave to put in a caller's name; see `Keymaster.begin_put`."""
        self.once(signer)
        return self._begin_put(signer, plan.table, signer.act, "put")

    def _begin_put(self, signer: Signer, table: str, name: bytes, verb: str) -> Lease:
        """A lease under a request's name (16 B): the same for what is sent again, unless it was abandoned."""
        if signer.again is not None:
            self._leases.forget_abandoned(name)
        return self._leases.begin_put(signer.actor, table, name, verb, signer.digest)

    def erase(self, signer: Signer) -> Lease:
        """Leave to erase in a caller's name; see `Keymaster.begin_maintenance`."""
        return self.maintenance(signer, "erase")

    def maintenance(self, signer: Signer, verb: str) -> Lease:
        """Leave to do something else in a caller's name; see `Keymaster.begin_maintenance`."""
        self.once(signer)
        return self._leases.begin_maintenance(signer.actor, verb)

    def rejects(self, signer: Signer, *, anew: bool) -> list[Lease]:
        """Leave to look at, or put again, the rejected records of every table in a caller's name; all of it, or none.

        Args:
            signer: Whose request it is.
            anew: Grant other leases each time, whatever the request repeats.

        Raises:
            DeniedError: The caller may not put into one of the tables, or see what was rejected.
            ConflictError: Another request was made under this `Idempotency-Key`.
        """
        self.once(signer)
        if signer.again is not None:
            self._core.run(lambda rows: bind(self._core, rows, signer))
        own = replace(signer, again=None) if anew else signer
        granted: list[Lease] = []
        try:
            for model in self._core.standing.schema.tables.values():
                name = hashlib.sha256(own.act + model.id).digest()[:REQUEST_ID_BYTES]
                granted.append(self._begin_put(own, model.name, name, "rejects"))
        except StrongroomError:
            for lease in granted:
                self._leases.abandon(lease)
            raise
        return granted

    def abandoned(self, lease: Lease) -> bool:
        """Whether a lease ended without a commit."""
        return self._leases.abandoned(self._core.state.read(), lease.lease_id)

    def holds_files(self, key_ids: Sequence[bytes], kinds: Collection[int], tables: Collection[bytes]) -> bool:
        """Whether some file keys are of objects that name no field, or of these kinds and tables (ids, 16 B)."""
        found = self._leases.kinds_of(key_ids)
        return all(kind in SHARED_KINDS or (kind in kinds and table in tables) for kind, table in found)

    def once(self, signer: Signer) -> None:
        """Remember a request that opens no reading; DeniedError when it was answered before."""
        self._core.run(lambda rows: signer.once(self._core, rows))


def _names(fields: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if fields is None else tuple(fields)
