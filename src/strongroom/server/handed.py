"""The keymaster as a server asks it for one request that a caller signed; what was granted is not asked again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from strongroom.errors import ConflictError, IntegrityError, StrongroomError
from strongroom.identity.signing import IDEMPOTENCY
from strongroom.keymaster.api import Ask, AtOnce, Bytes2D, Head, Hits, Lease, ReadingGrant, Receipt, Released
from strongroom.keymaster.erasures.api import ErasureProof
from strongroom.keyserver.client import RemoteKeymaster, lease_of
from strongroom.keyserver.client_parts import RemoteErasures
from strongroom.seal.blocks import block_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.exports.api import ExportRecord
    from strongroom.keymaster.serving import Granted
    from strongroom.keyserver.calls import Original
    from strongroom.purpose.model import Policy
    from strongroom.schema.model import Schema, Table

GOES_ON = ("sql", "rejects")
"""Verbs of which a release is not the last that a request asks."""


class HandedOn(RemoteKeymaster):
    """See `keymaster.api.Keymaster`: acts in the name of whoever signed one request, within what was signed.

    Args:
        own: The server's connection.
        request: As its caller signed it.
        actor: Who signed it.
        files: Key ids of objects that will be looked into.
    """

    def __init__(self, own: RemoteKeymaster, request: Original, actor: str, files: Sequence[bytes] = ()) -> None:
        super().__init__(own.asking)
        self.actor = actor
        self.remaining: Mapping[str, int] = {}
        self._own_keys = own
        self._request = request
        self._files = list(files)
        self._granted: Granted | None = None
        self._ended = False
        self._covered = False
        self._leased: Lease | None = None
        self._by_table: dict[str, Lease] | None = None
        self.erasures = _Erasures(self._ask, request)

    # -- what the server knows already ----------------------------------------------------------
    def schema(self) -> Schema:
        """See `Keymaster.schema`."""
        return self._own_keys.schema()

    def policy(self) -> Policy:
        """See `Keymaster.policy`."""
        return self._own_keys.policy()

    def table_version(self, table_id: bytes, version: int) -> Table:
        """See `Keymaster.table_version`."""
        return self._own_keys.table_version(table_id, version)

    def head(self) -> Head:
        """See `Keymaster.head`: as it was when the reading was opened."""
        return super().head() if self._granted is None else self._granted.head

    # -- reading --------------------------------------------------------------------------------
    def begin_reading(
        self, *, actor: str, purpose: str, reason: str, approval: str | None = None, break_glass: bool = False
    ) -> ReadingGrant:
        """See `Keymaster.begin_reading`: what for and why stands in what the caller signed."""
        del actor, purpose, reason, approval, break_glass
        granted = cast("Granted", self._ask("served.read", request=self._request, files=self._files))
        self._granted = granted
        return granted.grant

    def end_reading(self, reading_id: bytes) -> None:
        """See `Keymaster.end_reading`."""
        if not self._ended:
            self._ended = True
            super().end_reading(reading_id)

    def block_keys(
        self, reading_id: bytes, key_id: bytes, kind: int, numbers: Sequence[int], table: str | None
    ) -> list[bytes]:
        """See `Keymaster.block_keys`."""
        key = None if self._granted is None else self._granted.files.get(key_id)
        if key is None:
            return super().block_keys(reading_id, key_id, kind, numbers, table)
        return [block_key(key, kind, int(number)) for number in numbers]

    def subject_tokens(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> Bytes2D:
        """See `Keymaster.subject_tokens`."""
        known = self._tokens("", identifiers)
        return super().subject_tokens(reading_id, table, identifiers) if known is None else known

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> Bytes2D:
        """See `Keymaster.value_tokens`."""
        known = self._tokens(field_name, values) if self._of_snapshot(snapshot) else None
        return super().value_tokens(reading_id, table, field_name, values, snapshot) if known is None else known

    def _of_snapshot(self, snapshot: int | None) -> bool:
        """Whether what was granted holds for a snapshot: that of the request, or the newest."""
        return self._granted is not None and snapshot in {None, self._granted.head.number}

    def _tokens(self, name: str, values: Sequence[str]) -> Bytes2D | None:
        found = {} if self._granted is None else self._granted.tokens.get(name, {})
        if not found.keys() >= set(values):
            return None
        return np.frombuffer(b"".join(found[value] for value in values), np.uint8).reshape(-1, 16)

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D,
        at_once: AtOnce | None = None,
    ) -> Hits:  # fmt: skip
        """See `Keymaster.open_hits`: what is released at once is the last that a request asks."""
        if at_once is not None:
            at_once = replace(at_once, last=self._covered and not self._shows_stand_ins(table))
        hits = super().open_hits(reading_id, table, field_name, value_tokens, entries, at_once)
        if at_once is not None and hits.released is not None:
            self._ended = at_once.last
            self.remaining = hits.released.remaining
        return hits

    def looks_into(self, key_ids: Sequence[bytes]) -> None:
        """Learn the key ids of all objects that the request looks into: it may end when the keys of all are here."""
        self._covered = self._granted is not None and self._granted.files.keys() >= set(key_ids)

    def _shows_stand_ins(self, table: str) -> bool:
        """Whether stand-ins of values are asked for when a table's records are open."""
        return self._granted is not None and any(
            view.show == "token" for view in self._granted.grant.views[table].values()
        )

    def release(self, reading_id: bytes, ask: Ask) -> Released:
        """See `Keymaster.release`: the last one of a request ends the reading too."""
        if ask.misses or ask.verb in GOES_ON or self._shows_stand_ins(ask.table):
            released = super().release(reading_id, ask)
        else:
            released = cast("Released", self._ask("served.release", reading=reading_id, ask=ask))
            self._ended = not released.missing
        self.remaining = released.remaining
        return released

    # -- writing --------------------------------------------------------------------------------
    def begin_put(self, *, actor: str, table: str, request_id: bytes, verb: str = "put") -> Lease:
        """See `Keymaster.begin_put`: into which table, and how much, stands in what the caller signed."""
        del actor, request_id
        if verb == "rejects":
            return self._on_rejects(table)
        self._leased = lease_of(self._ask("served.lease", request=self._request))
        return self._leased

    @property
    def leased(self) -> bool:
        """Whether a lease was granted for the request."""
        return self._leased is not None

    def _on_rejects(self, table: str) -> Lease:
        """The lease on the rejected records of a table: those of all tables are granted together."""
        if self._by_table is None:
            said = self._ask("served.leases", request=self._request)
            leases = [lease_of(one) for one in said]
            self._by_table = {one.table.name: one for one in leases if one.table is not None}
            self._leased = leases[0] if leases else None
        lease = self._by_table.pop(table, None)
        if lease is None:
            raise ConflictError("the schema was changed meanwhile", hint="send it again, signed anew")
        return self.renew(lease)

    def let_go(self) -> None:
        """End the leases on rejected records that nobody took."""
        for lease in (self._by_table or {}).values():
            with contextlib.suppress(StrongroomError):
                self.abandon(lease)

    def begin_maintenance(self, *, actor: str, verb: str) -> Lease:
        """See `Keymaster.begin_maintenance`."""
        del actor, verb
        self._leased = lease_of(self._ask("served.lease", request=self._request))
        self.erasures = _Erasures(self._ask, self._request, self._leased)
        return self._leased

    # -- the rest -------------------------------------------------------------------------------
    def handed_log(self) -> list[dict[str, Any]]:
        """The entries of the log that the caller signed for."""
        return cast("list[dict[str, Any]]", self._ask("served.log", request=self._request))

    def own(self) -> CredentialState | None:
        """The credential behind the request, for which nothing else is asked."""
        return cast("CredentialState | None", self._ask("served.own", request=self._request))

    def answered(self) -> str | None:
        """What the same request under the same `Idempotency-Key` was answered."""
        return cast("str | None", self._ask("served.answered", request=self._request))

    def keep_answer(self, answer: str) -> None:
        """Keep what the act is answered, for a repeat; not kept is no error: the act is done."""
        if self._leased is not None and IDEMPOTENCY in self._request.headers:
            with contextlib.suppress(StrongroomError):
                self._ask("served.keep_answer", lease_id=self._leased.lease_id, answer=answer)

    def handed_hold(self) -> Receipt:
        """Do what the caller signed about legal holds."""
        return cast("Receipt", self._ask("served.hold", request=self._request))

    def handed_tokens(self, count: int) -> list[str | None]:
        """What stands in the place of each of so many values, or tokens, that the caller signed."""
        found = cast("list[str | None]", self._ask("served.tokens", request=self._request))
        if len(found) != count:
            raise IntegrityError("the keymaster's answer to served.tokens does not fit what was asked")
        return found

    def handed_exports(self) -> list[ExportRecord]:
        """What the caller may see of the ledger of exports."""
        return cast("list[ExportRecord]", self._ask("served.exports", request=self._request))

    def whoever(self) -> str:
        """The actor behind the request, for which nothing else is asked."""
        return str(self._ask("served.whoever", request=self._request))


class _Erasures(RemoteErasures):
    """Erasures in the name of whoever signed the request."""

    def __init__(self, ask: Any, request: Original, lease: Lease | None = None) -> None:
        super().__init__(ask)
        self._request = request
        self._lease = lease

    def proofs(self, actor: str, leaves: Sequence[int]) -> list[ErasureProof]:
        """See `Erasures.proofs`."""
        del actor  # the caller, of the entries that they signed
        if self._lease is None:
            return cast("list[ErasureProof]", self._ask("served.receipt", request=self._request))
        asked = self._ask("served.proofs", lease=self._lease.lease_id, leaves=list(leaves))
        return cast("list[ErasureProof]", asked)
