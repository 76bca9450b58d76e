"""Answers calls: who asks, whose the thing is that they ask about, then what the keymaster says.

Rules it keeps:

1. The caller's actor comes from the credential, never from the message. A lease is what the keymaster granted, never
   what the caller says of it; a lease of another actor, or a reading of another credential, is as if it were not there.
2. A change of policy, schema or credentials takes two: what comes over the wire is asked, and done when another agrees.
3. Errors of this library go back as they are: they name no value. Of any other only the place is told, to the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.keymaster.api import Lease
from strongroom.keymaster.holder import SERVER_ONLY, Holder, asked_through, through
from strongroom.keymaster.steps import Steps
from strongroom.keyserver.callers import SIGNED_IN, Callers, unknown
from strongroom.keyserver.calls import (
    ACTOR,
    CALLS,
    LEASE,
    LOG_ENTRIES_AT_ONCE,
    READING,
    SERVER,
    VERSION,
    Call,
    Hello,
    LeaseSaid,
    Said,
    Trouble,
    most_of,
)
from strongroom.keyserver.frames import pack, pack_apart
from strongroom.keyserver.newcomers import Newcomers
from strongroom.keyserver.served import Served
from strongroom.keyserver.together import TOGETHER, read_together
from strongroom.listener.defect import defect
from strongroom.listener.message import Reply
from strongroom.schema.stored import table_to_json

if TYPE_CHECKING:
    from strongroom.identity.signing import Signed
    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keymaster.erasures.erasures import EmbeddedErasures

WRITING = ("put", "compact", "erase", "hold", "schema", "policy", "copy", "restore", "rotate")
_STATUS = (
    (BudgetError, 429), (DeniedError, 403), (UsageError, 400), (NotFoundError, 404),
    (ConflictError, 409), (UnavailableError, 503), (IntegrityError, 500),
)  # fmt: skip
MISDIRECTED = 421

Handler = Callable[["CredentialState", dict[str, Any]], Any]
Stepped = Callable[["CredentialState", dict[str, Any]], Steps[Any]]


class Service:
    """Answers the calls of one process that serves a keymaster.

    Args:
        keymaster: Open, in this process.
        clock: Seconds since 1970.
        instance: Names this process; requests are signed for it.
    """

    def __init__(self, keymaster: EmbeddedKeymaster, clock: Callable[[], float], instance: str) -> None:
        self.callers = Callers(keymaster.credentials, clock)
        self.newcomers = Newcomers(keymaster, clock, self.refuse(unknown())._replace(close=True))
        self._served = Served(keymaster, self.callers, clock)
        self._keymaster = keymaster
        self._clock = clock
        self._instance = instance
        self._base = f"/v1/{keymaster.room_id.hex()}/"
        self._own: dict[str, Handler] = {
            "schema": lambda _c, _a: keymaster.schema().to_json(),
            "policy": lambda _c, _a: keymaster.policy().to_json(),
            "table_version": lambda _c, args: table_to_json(keymaster.table_version(**args)),
            "begin_reading": self._begin_reading,
            "stand_ins": self._stand_ins,
            "set_policy": lambda _c, args: keymaster.changes.ask(args["actor"], "policy", args["text"]),
            "set_schema": lambda _c, args: keymaster.changes.ask(args["actor"], "schema", args["text"]),
            "credentials.add": self._add_credential,
            "credentials.sign_out": lambda credential, _a: keymaster.credentials.sign_out(
                credential.actor, credential.id
            ),
            "identities.add": lambda _c, args: keymaster.identities.ask_add(**args) and None,
            "log_entries": self._log_entries,
            "verify_log": self._verify_log,
            "erasures.buried": self._buried,
            "erasures.buried_for_reading": lambda _c, args: keymaster.erasures.buried(args.pop("reading_id"), **args),
            "erasures.clean_through": lambda _c, args: keymaster.erasures.clean_through(args.pop("lease"), **args),
            "erasures.clean_through_for_reading": (
                lambda _c, args: keymaster.erasures.clean_through(args.pop("reading_id"), **args)
            ),
            "tails.placed": self._placed,
            "tails.catch_up": self._catch_up,
            "served.proofs": lambda _c, args: self._served.proofs(**args),
        }
        stepping = keymaster.stepping
        self._stepped: dict[str, Stepped] = {
            "served.read": lambda credential, args: self._served.reading(credential, **args),
            "served.release": lambda _c, args: stepping.release(**args, last=True),
            "release": lambda _c, args: stepping.release(**args),
            "open_hits": lambda _c, args: stepping.open_hits(**args),
            "end_reading": lambda _c, args: stepping.end_reading(**args),
        }

    # -- one request ----------------------------------------------------------------------------
    def check(
        self, method: str, path: str, headers: Mapping[str, str], address: str
    ) -> tuple[CredentialState, Signed]:
        """See `Callers.check`."""
        return self.callers.check(method, path, headers, address)

    def most(self, path: str) -> int:
        """See `calls.most_of`."""
        return most_of(path)

    def refuse(self, error: StrongroomError) -> Reply:
        """What is said of an error."""
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        rule, remaining, resets_at = None, 0, None
        if isinstance(error, DeniedError):
            rule = error.rule
            status = 401 if rule == SIGNED_IN else status
        if isinstance(error, BudgetError):
            remaining, resets_at = error.remaining, error.resets_at
        return Reply(status, pack(Trouble(type(error).__name__, str(error), error.hint, rule, remaining, resets_at)))

    def answer(self, credential: CredentialState, path: str, body: bytes) -> Reply:
        """The answer to a request that its caller has signed."""
        try:
            if path == f"{self._base}hello":
                hop = self.callers.hop(credential) if credential.server else (b"", 0)
                named = (self._instance, self._keymaster.room_id, credential.actor)
                return Reply(200, pack(Hello(*named, self._clock(), VERSION, *hop)))
            instance, _, name = path.removeprefix(self._base).partition("/")
            if not path.startswith(self._base) or (name not in CALLS and name != TOGETHER):
                raise NotFoundError("there is no such call, or it is of another room")
            if instance != self._instance:
                trouble = Trouble("UnavailableError", "the keymaster was started again: sign anew")
                return Reply(MISDIRECTED, pack(trouble))
            if name != TOGETHER:
                return self._keymaster.stepping.finish(self._replying(credential, name, body))
            calls = read_together(credential, body)
            replies = self._keymaster.stepping.finish_together(
                [self._replying(credential, own, part) for own, part in calls]
            )
            return Reply(200, pack([(one.status, b"".join((one.body, *one.parts))) for one in replies]))
        except StrongroomError as error:
            return self.refuse(error)
        except Exception as error:  # noqa: BLE001  a traceback could show a value: its place is told instead
            return _defect(error)

    def _replying(self, credential: CredentialState, name: str, body: bytes) -> Steps[Reply]:
        """Answer one call, in steps; it does not raise."""
        try:
            with asked_through(Holder(credential.id, not credential.server, credential.budgets)):
                value = yield from self._calling(credential, CALLS[name], body)
            first, *parts = pack_apart(Said(self._keymaster.standing_number, value))
            return Reply(200, bytes(first), parts=tuple(parts))
        except StrongroomError as error:
            return self.refuse(error)
        except Exception as error:  # noqa: BLE001  see `answer`
            return _defect(error)

    def _calling(self, credential: CredentialState, call: Call, body: bytes) -> Steps[Any]:
        said = call.read(body)
        args = {name: getattr(said, name) for name in call.takes}
        if call.whose == ACTOR:
            args["actor"] = credential.actor
        elif call.whose == LEASE:
            args["lease"] = self._lease(credential, said.lease)
        elif call.whose == READING:
            args["reading_id"] = self._reading(credential, said.reading)
        stepped = self._stepped.get(call.name)
        if stepped is not None:
            return (yield from stepped(credential, args))
        if call.whose != LEASE or not self._served.holds(credential, args["lease"]):
            return self._answer(credential, call, args)
        lease = args["lease"]
        self._served.check(lease, call.name, args)
        with asked_through(self._served.signer_of(lease)):
            answer = self._answer(credential, call, args)
        self._served.learn(lease, call.name, answer)
        return answer

    def _answer(self, credential: CredentialState, call: Call, args: dict[str, Any]) -> Any:
        part, _, name = call.name.rpartition(".")
        if call.whose == SERVER:
            return _leases_said(getattr(self._served, name)(credential, **args))
        own = self._own.get(call.name)
        if own is not None:
            return own(credential, args)
        target = getattr(self._keymaster, part) if part else self._keymaster
        return _leases_said(getattr(target, name)(**args))

    def _lease(self, credential: CredentialState, lease_id: bytes) -> Lease:
        lease = self._keymaster.lease_of(lease_id)
        if lease.actor != credential.actor and not self._served.holds(credential, lease):
            raise ConflictError("the lease has ended", hint="begin again; nothing of it was kept")
        return lease

    def _reading(self, credential: CredentialState, reading_id: bytes) -> bytes:
        if self._keymaster.holder_of(reading_id).credential != credential.id:
            raise NotFoundError("the reading is closed or has expired", hint="open another with read()")
        return reading_id

    # -- calls that are not handed on as they are -----------------------------------------------
    def _begin_reading(self, credential: CredentialState, args: dict[str, Any]) -> Any:
        if not credential.allows(args["purpose"]):
            raise DeniedError("the credential is not for this purpose", rule="credential.purposes")
        return self._keymaster.begin_reading(**args, holder=through())

    def _stand_ins(self, credential: CredentialState, args: dict[str, Any]) -> Any:
        if not credential.server:
            raise DeniedError("stand-ins of values are made for a server only", rule=SERVER_ONLY)
        return self._keymaster.stand_ins(**args)

    def _add_credential(self, _credential: CredentialState, args: dict[str, Any]) -> None:
        self._keymaster.credentials.ask_add(**args)

    def _log_entries(self, _credential: CredentialState, args: dict[str, Any]) -> Any:
        return self._keymaster.log_entries(**args, most=LOG_ENTRIES_AT_ONCE)

    def _verify_log(self, credential: CredentialState, args: dict[str, Any]) -> Any:
        self._may_one_of(credential, ("log", "check"))
        return self._keymaster.verify_log(**args)

    def _buried(self, _credential: CredentialState, args: dict[str, Any]) -> Any:
        persons = self._served.named(args["lease"])
        if persons is None:
            return self._keymaster.erasures.buried(args.pop("lease"), **args)
        return cast("EmbeddedErasures", self._keymaster.erasures).buried_among(persons, **args)

    def _placed(self, credential: CredentialState, args: dict[str, Any]) -> None:
        """Only who may change something, or a server, leaves the tail, and never more of it than there is."""
        if not credential.server:
            self._may_one_of(credential, WRITING)
        self._keymaster.tails.placed(min(args["end"], self._keymaster.log_size))

    def _catch_up(self, _credential: CredentialState, args: dict[str, Any]) -> Any:
        pieces: Mapping[str, bytes] = args["pieces"]
        return self._keymaster.tails.catch_up(args["checkpoint"], list(pieces), pieces.__getitem__)

    def _may_one_of(self, credential: CredentialState, acts: tuple[str, ...]) -> None:
        self._keymaster.require_one_of(credential.actor, acts)


def _defect(error: Exception) -> Reply:
    return Reply(500, pack(Trouble("StrongroomError", defect(error), "please report this line")))


def _leases_said(answer: Any) -> Any:
    """An answer with leases as they go to the client."""
    if isinstance(answer, list) and answer and isinstance(answer[0], Lease):
        return [_said(lease) for lease in answer]
    return _said(answer) if isinstance(answer, Lease) else answer


def _said(lease: Lease) -> LeaseSaid:
    table = None if lease.table is None else table_to_json(lease.table)
    return LeaseSaid(lease.lease_id, lease.actor, lease.verb, table, lease.base, lease.expires_at)
