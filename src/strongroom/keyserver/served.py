"""Answers a server in front of a room, for callers whose signed requests it hands on.

Rules it keeps:

1. What a caller asks is read here from the bytes that they signed; the server says only which objects it looks into.
2. A lease in a caller's name answers to the server that handed the request on, and to what was signed: so many records
   into this table, or these subjects; so many rejected records; or tables in which something expires. What is sent
   again under one `Idempotency-Key` shares one number, and goes on through the same server.
3. Networks of a credential are compared with the address that the server says its caller has: a server that was taken
   can lie of it. It cannot lie of anything that was signed.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.errors import ConflictError, DeniedError, InputError, NotFoundError, StrongroomError
from strongroom.identity import asked
from strongroom.identity.signing import SIGNED_HEADERS, Signed
from strongroom.keymaster.api import Lease
from strongroom.keymaster.holder import SERVER_ONLY, Holder, asked_through
from strongroom.keymaster.serving import Granted
from strongroom.keymaster.steps import Steps
from strongroom.keymaster.warrant import BEYOND, Signer
from strongroom.keyserver.calls import Known, Original
from strongroom.keyserver.served_acts import ServedActs
from strongroom.schema.normalise import normalise_one
from strongroom.schema.parse import parse_schema
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keyserver.callers import Callers

LEASES_KEPT_MAX = 10_000
LEASED_SECONDS = 3600.0
_ANY = ("renew", "abandon", "file_keys")
_CALLS: Mapping[str, tuple[str, ...]] = {
    "put": (
        *_ANY, "seen_source", "mint_batch", "mint_file_key", "seal_subjects", "seal_index", "ended_objects", "commit",
    ),
    "erase": (*_ANY, "erasures.buried", "erasures.plan", "erasures.erase", "served.proofs"),
    "rejects": _ANY,
    "reput-rejects": (
        *_ANY, "mint_batch", "mint_file_key", "seal_subjects", "seal_index", "ended_objects", "commit",
    ),
    "retention": (*_ANY, "erasures.buried", "erasures.clean_through", "erasures.horizon"),
}  # fmt: skip
_COUNTED = (KIND_RECORDS, KIND_OPEN_COLUMNS)


class _Left:
    """How many records a signed request may still put, into whichever table and however often it is sent again."""

    def __init__(self, records: int = 0) -> None:
        self._records = records
        self._taken: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def take(self, lease_id: bytes, records: int) -> None:
        """Count some more under a lease; DeniedError beyond what was signed."""
        with self._lock:
            self._taken[lease_id] += records
            if self._taken.total() > self._records:
                raise DeniedError("more records than the caller agreed to", rule=BEYOND)

    def give_back(self, lease_id: bytes) -> None:
        """Count nothing of a lease that was abandoned: nothing of it is ever put."""
        with self._lock:
            del self._taken[lease_id]


@dataclass
class _Leased:
    """A lease in a caller's name: through which server, and what of the signed request it has not used.

    `tables` has, by name, the ids of those whose records it counts. It is of use to `until`, and unless it is renewed
    to `expires` (seconds since 1970).
    """

    server: str
    signer: Signer
    verb: str
    left: _Left = field(default_factory=_Left)
    tables: Mapping[str, bytes] = field(default_factory=dict)
    subjects: frozenset[str] = field(default=frozenset(), repr=False)
    reason: str = field(default="", repr=False)
    tokens: set[bytes] = field(default_factory=set, repr=False)
    leaves: set[int] = field(default_factory=set)
    until: float = 0.0
    expires: float = 0.0
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Served(ServedActs):
    """Requests of callers, handed on by a server.

    Args:
        keymaster: Open, in this process.
        callers: Checks signatures.
        clock: Seconds since 1970.
    """

    def __init__(self, keymaster: EmbeddedKeymaster, callers: Callers, clock: Callable[[], float]) -> None:
        self._keymaster = keymaster
        self._callers = callers
        self._clock = clock
        self._leased: OrderedDict[bytes, _Leased] = OrderedDict()
        self._done: OrderedDict[bytes, _Leased] = OrderedDict()
        self._lefts: OrderedDict[bytes, _Left] = OrderedDict()
        self._keeping = threading.Lock()

    # -- requests -------------------------------------------------------------------------------
    def caller(self, server: CredentialState, key_id: str) -> Known | None:
        """Whose key this is; None where it is of no use now. It says nothing of what they may."""
        _servers_only(server)
        found = self._keymaster.credentials.find(key_id)
        if found is None or found.revoked or found.expires <= self._clock():
            return None
        return Known(found.actor, found.public_key)

    def reading(self, server: CredentialState, request: Original, files: list[bytes]) -> Steps[Granted]:
        """Open a reading for a signed request, in steps; see `Serving.reading`."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.Purposed):
            raise NotFoundError(f"{verb} opens no reading")
        with asked_through(signer.holder):
            return (yield from self._keymaster.serving.reading(signer, Holder(server.id), verb, said, files))

    def lease(self, server: CredentialState, request: Original) -> Lease:
        """Grant a lease for a signed put or erasure, or to count what has expired."""
        signer, verb, said = self._signed(server, request)
        if isinstance(said, asked.Put):
            with asked_through(signer.holder):
                lease = self._keymaster.serving.put(signer, said)
            made = _Leased(server.id, signer, verb, self._left(signer, said.records))
        elif isinstance(said, asked.Erase):
            with asked_through(signer.holder):
                lease = self._keymaster.serving.erase(signer)
            forms = self._forms(said.subjects)
            made = _Leased(server.id, signer, verb, subjects=forms, reason=said.reason)
        elif isinstance(said, asked.Retention):
            with asked_through(signer.holder):
                lease = self._keymaster.serving.maintenance(signer, "compact")
                made = _Leased(server.id, signer, verb, tables=self._expiring(lease, said.schema))
        else:
            raise NotFoundError(f"{verb} needs no lease")
        self._keep([(lease, made)])
        return lease

    def leases(self, server: CredentialState, request: Original) -> list[Lease]:
        """Grant a lease on the rejected records of each table, for a signed request to count them or put them again."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.Rejects):
            raise NotFoundError(f"{verb} looks at no rejected records")
        puts = isinstance(said, asked.ReputRejects)  # a count is made anew each time
        with asked_through(signer.holder):
            granted = self._keymaster.serving.rejects(signer, anew=not puts)
        left = self._left(signer, said.records) if isinstance(said, asked.ReputRejects) else _Left()
        self._keep([(lease, _Leased(server.id, signer, verb, left)) for lease in granted])
        return granted

    def _left(self, signer: Signer, records: int) -> _Left:
        """What a signed request may still put: one number for all that is sent under one `Idempotency-Key`."""
        if signer.again is None:
            return _Left(records)
        with self._keeping:
            left = self._lefts.setdefault(signer.again + signer.digest, _Left(records))
            if len(self._lefts) > LEASES_KEPT_MAX:
                self._lefts.popitem(last=False)
        return left

    def _keep(self, granted: Sequence[tuple[Lease, _Leased]]) -> None:
        """Remember leases; one that is known goes on as it was, through the server that has it.

        Raises:
            ConflictError: Another server, or another request, has one of them.
        """
        with self._keeping:
            ours = all(_same(self._leased.get(lease.lease_id, made), made) for lease, made in granted)
            new = [lease for lease, _ in granted if lease.lease_id not in self._leased]
            for lease, made in granted if ours else ():
                kept = self._leased.setdefault(lease.lease_id, made)
                kept.until, kept.expires = self._clock() + LEASED_SECONDS, lease.expires_at
            if len(self._leased) > LEASES_KEPT_MAX:
                self._forget()
        if not ours:
            for lease in new:
                self._keymaster.abandon(lease)
            raise ConflictError("another server does this request", hint="wait until it has, and send it again")

    def _forget(self) -> None:
        """Forget the leases that have ended; where all run, the oldest, which have to begin again."""
        now = self._clock()
        for lease_id in [i for i, one in self._leased.items() if one.ended or min(one.until, one.expires) <= now]:
            self._leased.pop(lease_id, None)
        while len(self._leased) > LEASES_KEPT_MAX:
            self._leased.popitem(last=False)

    def _expiring(self, lease: Lease, schema: str | None) -> dict[str, bytes]:
        """The tables in force that have a retention, in force or under a schema that was signed (TOML)."""
        force = self._keymaster.schema()
        try:
            meant = force if schema is None else parse_schema(schema, force, random_bytes)
        except StrongroomError:
            self._keymaster.abandon(lease)
            raise
        ids = {table.id for table in meant.tables.values() if table.retention is not None}
        return {table.name: table.id for table in force.tables.values() if table.id in ids}

    def log(self, server: CredentialState, request: Original) -> list[dict[str, Any]]:
        """Entries of the log for a signed request; its cursor is the number of the first."""
        signer, _verb, said = self._signed(server, request)
        if not isinstance(said, asked.Log):
            raise NotFoundError("the request is not for the log")
        start = said.cursor or "0"
        if not (start.isascii() and start.isdecimal() and len(start) < 16):
            raise InputError("the cursor is none that an answer gave")
        with asked_through(signer.holder):
            self._keymaster.serving.once(signer)
            return self._keymaster.log_entries(
                signer.actor, int(start), of=said.actor, since=said.since, until=said.until, most=said.limit
            )

    def whoever(self, server: CredentialState, request: Original) -> str:
        """The actor behind a signed request, for which nothing else is asked."""
        signer, _verb, _said = self._signed(server, request)
        self._keymaster.serving.once(signer)
        return signer.actor

    def own(self, server: CredentialState, request: Original) -> CredentialState | None:
        """The credential behind a signed request, for which nothing else is asked."""
        signer, _verb, _said = self._signed(server, request)
        self._keymaster.serving.once(signer)
        return self._keymaster.credentials.find(signer.credential)

    def answered(self, server: CredentialState, request: Original) -> str | None:
        """What the same put or erasure under the same `Idempotency-Key` was answered; see `Replies.find`."""
        signer, _verb, _said = self._signed(server, request)
        return self._keymaster.serving.replies.find(signer)

    def keep_answer(self, server: CredentialState, lease_id: bytes, answer: str) -> None:
        """Keep what was answered of an act that this server did under a lease in a caller's name."""
        _servers_only(server)
        made = self._done.pop(lease_id, None) or self._leased.get(lease_id)
        if made is None or not hmac.compare_digest(made.server, server.id):
            raise ConflictError("the lease has ended", hint="the answer is not kept")
        self._keymaster.serving.replies.keep(made.signer, answer)

    def _signed(self, server: CredentialState, request: Original) -> tuple[Signer, str, asked.Asked]:
        _servers_only(server)
        verb = asked.verb_of(request.path, self._keymaster.room_id)
        if verb is None:
            raise NotFoundError("there is no such request, or it is of another room")
        headers = {name: request.headers[name] for name in SIGNED_HEADERS if name in request.headers}
        caller, signed = self._callers.check(request.method, request.path, headers, request.address, once=False)
        if caller.server:
            raise DeniedError("a server asks in nobody's name but its callers'", rule=SERVER_ONLY)
        said = asked.read_asked(verb, signed.plan if verb == "put" else _body(request, signed))
        if isinstance(said, asked.Purposed) and not caller.allows(said.purpose):
            raise DeniedError("the credential is not for this purpose", rule="credential.purposes")
        same = hashlib.sha256(request.path.encode() + b"\0" + signed.digest + signed.plan.encode()).digest()
        names = (signed.nonce, signed.created, signed.idempotency, caller.budgets, same)
        return Signer.of(caller.actor, caller.id, server.actor, *names), verb, said

    def _forms(self, subjects: list[str]) -> frozenset[str]:
        """Every form that a subject has in some table."""
        steps = {table.subject_field.normalise for table in self._keymaster.schema().tables.values()}
        return frozenset(normalise_one(subject, way) for subject in subjects for way in steps)

    # -- leases ---------------------------------------------------------------------------------
    def holds(self, server: CredentialState, lease: Lease) -> bool:
        """Whether a lease of another actor was granted through this server."""
        made = self._leased.get(lease.lease_id)
        return made is not None and hmac.compare_digest(made.server, server.id)

    def signer_of(self, lease: Lease) -> Holder:
        """The credential of the caller in whose name a lease is: it is counted and named."""
        made = self._leased.get(lease.lease_id)
        if made is None:
            raise ConflictError("the lease has ended", hint="begin again; nothing of it was kept")
        return made.signer.holder

    def check(self, lease: Lease, call: str, args: Mapping[str, Any]) -> None:
        """Raise DeniedError unless a call on a lease in a caller's name is within what was signed."""
        made = self._leased.get(lease.lease_id)
        if made is None:
            raise ConflictError("the lease has ended", hint="begin again; nothing of it was kept")
        if call not in _CALLS[made.verb] or args.get("dropped_keys"):
            raise DeniedError("the server asks for what its caller did not", rule=BEYOND)
        self._keymaster.credentials.in_force(made.signer.credential)
        if made.until <= self._clock():
            raise ConflictError("the lease has ended", hint="a request lasts an hour at most: send it again")
        if call == "seal_subjects":
            made.left.take(lease.lease_id, len(args["identifiers"]))
        elif made.verb == "retention":
            self._check_counted(made, call, args)
        with made.lock:
            if call == "erasures.plan":
                if not made.subjects.issuperset(args["identifiers"].to_pylist()):
                    raise DeniedError("a subject that the caller did not name", rule=BEYOND)
            elif call == "erasures.erase":
                named = {row.tobytes() for row in args["tokens"]}
                if not named <= made.tokens or not hmac.compare_digest(_digest(args["reason"]), _digest(made.reason)):
                    raise DeniedError("a person, or a reason, that the caller did not name", rule=BEYOND)

    def _check_counted(self, made: _Leased, call: str, args: Mapping[str, Any]) -> None:
        """Raise DeniedError for another table, or other objects, than a caller has what expired counted in."""
        if call in {"erasures.buried", "erasures.horizon"} and args["table"] not in made.tables:
            raise DeniedError("a table in which nothing expires", rule=BEYOND)
        ids = made.tables.values()
        if call == "file_keys" and not self._keymaster.serving.holds_files(args["key_ids"], _COUNTED, ids):
            raise DeniedError("an object that is not looked into to count what expired", rule=BEYOND)

    def named(self, lease: Lease) -> frozenset[bytes] | None:
        """The persons of whom a lease may be told, where it is in a caller's name: those it was planned for."""
        made = self._leased.get(lease.lease_id)
        if made is None or made.verb == "retention":
            return None
        with made.lock:
            return frozenset(made.tokens)

    def learn(self, lease: Lease, call: str, answer: Any) -> None:
        """Remember what an answer on a lease in a caller's name makes askable."""
        made = self._leased.get(lease.lease_id)
        if made is None:  # it was ended meanwhile
            return
        with made.lock:
            if call == "erasures.plan":
                made.tokens.update(row.tobytes() for row in answer.tokens)
            elif call == "erasures.erase":
                made.leaves.update(receipt.leaf for receipt in answer)
        if call == "renew":
            made.expires = answer.expires_at
        elif call == "abandon":
            made.ended = True
            if self._keymaster.serving.abandoned(lease):  # and was not committed at the same time
                made.left.give_back(lease.lease_id)
        if call == "commit" or (call == "abandon" and made.verb != "erase"):  # proofs of erasures are asked for later
            with self._keeping:
                self._leased.pop(lease.lease_id, None)
                self._done[lease.lease_id] = made
                if len(self._done) > LEASES_KEPT_MAX:
                    self._done.popitem(last=False)

    def proofs(self, lease: Lease, leaves: list[int]) -> Any:
        """Proofs of the erasures that a lease in a caller's name made."""
        made = self._leased.get(lease.lease_id)
        if made is None or not made.leaves.issuperset(leaves):
            raise DeniedError("an erasure of another request", rule=BEYOND)
        return self._keymaster.erasures.proofs(made.signer.actor, leaves)


def _same(known: _Leased, made: _Leased) -> bool:
    """Whether a lease that is known was granted through the same server for the same request."""
    one, two = known.signer, made.signer
    return hmac.compare_digest(known.server, made.server) and (one.again, one.digest) == (two.again, two.digest)


def _servers_only(credential: CredentialState) -> None:
    if not credential.server:
        raise DeniedError("a request is handed on by a server only", rule=SERVER_ONLY)


def _body(request: Original, signed: Signed) -> bytes:
    signed.check_body(request.body)
    return request.body


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
