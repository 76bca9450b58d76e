"""Answers the HTTP API of a room: who signed, which verb, what the room and its keymaster say, as JSON.

Rules it keeps:

1. Nothing is answered, and no body is read, before a signature of a key that the keymaster knows was verified.
   Everybody else gets the same 401, whatever they ask.
2. The server decides nothing about its callers: what they signed goes on to the keymaster as it came.
3. An answer under an `Idempotency-Key` is given again to the same request of the same credential, and to no other: from
   memory, and of puts and erasures from the keymaster, which keeps them over a restart.
4. Of an error that nobody expected only the place is told, to the operator; nothing here is logged that a request said.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from strongroom.errors import ConflictError, NotFoundError, StrongroomError, UsageError
from strongroom.identity import asked
from strongroom.identity.signing import SIGNED_HEADERS, Signed
from strongroom.keyserver.calls import Known, Original
from strongroom.keyserver.listen import SMALL_BODY
from strongroom.listener.defect import defect
from strongroom.listener.message import Answered, Reply, length_of
from strongroom.loop import elsewhere
from strongroom.server.answers import encoded
from strongroom.server.callers import CallerKeys
from strongroom.server.exporting import Exports
from strongroom.server.problem import DEFECT, reply_of
from strongroom.server.verbs import Verbs

if TYPE_CHECKING:
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.read.session import Session
    from strongroom.server.metrics import Metrics

QUICK_MOST = 32
"""So many subjects, values or records are looked up beside others in one thread."""
JSON = b"application/json"
EXPORT = "export"
REPLIES_KEPT_MAX = 10_000
REPLY_KEPT_BYTES_MAX = 1 << 16
REPLIES_KEPT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Who:
    """Who signed a request, and the request without its body."""

    known: Known
    signed: Signed = field(repr=False)
    method: str
    headers: dict[str, str] = field(repr=False)
    address: str


class Api:
    """Answers the callers of one room.

    Args:
        session: The room's bucket, opened with the server's own connection.
        keys: That connection: its credential is a server's.
        clock: Seconds since 1970.
        metrics: Counts what was answered.
    """

    def __init__(
        self, session: Session, keys: RemoteKeymaster, clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._room_id = keys.room_id
        self._callers = CallerKeys(keys.asking.ask, clock)
        self._verbs = Verbs(session, keys)
        self._exports = Exports(session, keys, clock)
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._replies: OrderedDict[tuple[str, str], tuple[float, bytes, Reply | None]] = OrderedDict()

    def check(self, method: str, path: str, headers: Mapping[str, str], address: str) -> tuple[Who, Signed]:
        """See `Answers.check`."""
        known, signed = self._callers.check(method, path, headers, address, anew=length_of(headers) > SMALL_BODY)
        kept = {name: headers[name] for name in SIGNED_HEADERS if name in headers}
        return Who(known, signed, method, kept, address), signed

    def most(self, path: str) -> int:
        """See `Answers.most`."""
        put = asked.verb_of(path, self._room_id) == "put"
        return asked.PUT_BODY_MAX if put else asked.BODY_MAX

    def streams(self, path: str) -> bool:
        """Whether what is asked under a path is answered in chunks."""
        return asked.verb_of(path, self._room_id) == EXPORT

    def close(self) -> None:
        """End what is still under way."""
        self._exports.close()

    def refuse(self, error: StrongroomError) -> Reply:
        """See `Answers.refuse`."""
        reply = reply_of(error, self._clock())
        self._metrics.answered("none", reply.status, 0.0)
        return reply

    def answer(self, who: Who, path: str, body: bytes) -> Answered:
        """See `Answers.answer`."""
        verb = asked.verb_of(path, self._room_id) if who.method == "POST" else None
        started = self._clock()
        try:
            if verb is None:
                raise NotFoundError("there is no such request, or it is of another room")
            if verb == EXPORT:
                return self._export(who, path, body, started)
            reply = self._quick(who, verb, path, body) or elsewhere(partial(self._once, who, verb, path, body))
        except StrongroomError as error:
            reply = reply_of(error, started)
        except Exception as error:  # noqa: BLE001  a traceback could show a value: its place is told instead
            defect(error)
            reply = DEFECT
        self._metrics.answered(verb or "none", reply.status, self._clock() - started)
        return reply

    def _quick(self, who: Who, verb: str, path: str, body: bytes) -> Reply | None:
        """The answer to a small look-up in the newest snapshot; None for everything else, which may take long."""
        if verb not in {"find", "get"} or who.signed.idempotency:
            return None
        said = asked.read_asked(verb, body)
        if isinstance(said, asked.Get):
            small = len(said.subjects) <= QUICK_MOST and said.snapshot is None
        else:
            assert isinstance(said, asked.Find)
            values = sum(map(len, said.where.values()))
            small = max(values, said.limit) <= QUICK_MOST and said.snapshot is None and said.cursor is None
        return self._answer(who, verb, path, body, said) if small else None

    def _export(self, who: Who, path: str, body: bytes, started: float) -> Answered:
        """Answer in chunks, from another thread; it is counted when it has ended."""
        if who.signed.idempotency:
            raise UsageError("an export has no Idempotency-Key", hint="what was cut short is taken up with `resume`")
        said = cast("asked.Export", asked.read_asked(EXPORT, body))

        def ended(status: int) -> None:
            self._metrics.answered(EXPORT, status, self._clock() - started)

        return self._exports.begin(_original(who, EXPORT, path, body), who.known.actor, said, ended)

    def _once(self, who: Who, verb: str, path: str, body: bytes) -> Reply:
        """Answer, or give the answer again that the same request under the same `Idempotency-Key` was given."""
        if not who.signed.idempotency:
            return self._answer(who, verb, path, body)
        name, now = (who.signed.key_id, who.signed.idempotency), self._clock()
        same = who.signed.digest + who.signed.plan.encode() + path.encode()
        with self._lock:
            kept = self._replies.get(name)
            if kept is not None and kept[0] > now:
                if kept[1] != same:
                    raise UsageError("another request was made under this Idempotency-Key", hint="give each its own")
                if kept[2] is None:
                    raise ConflictError("the same request is being answered", hint="send it again in a moment")
                self._verbs.verify(_original(who, verb, path, body), who.known.actor)
                return kept[2]
            self._replies[name] = (now + REPLIES_KEPT_SECONDS, same, None)
            if len(self._replies) > REPLIES_KEPT_MAX:
                self._replies.popitem(last=False)
        reply: Reply | None = None
        try:
            before = self._verbs.answered(_original(who, verb, path, body)) if verb in asked.LEASES else None
            reply = self._answer(who, verb, path, body) if before is None else Reply(200, before, JSON)
            return reply
        finally:
            with self._lock:
                keep = verb in asked.LEASES and reply is not None and len(reply.body) <= REPLY_KEPT_BYTES_MAX
                if keep:
                    self._replies[name] = (now + REPLIES_KEPT_SECONDS, same, reply)
                else:
                    self._replies.pop(name, None)

    def _answer(self, who: Who, verb: str, path: str, body: bytes, said: asked.Asked | None = None) -> Reply:
        said = said or asked.read_asked(verb, who.signed.plan if verb == "put" else body)
        request = _original(who, verb, path, body)
        found = getattr(self._verbs, verb.replace("-", "_"))(request, who.known.actor, said, body)
        return Reply(200, encoded(found), JSON)


def _original(who: Who, verb: str, path: str, body: bytes) -> Original:
    """The request as it goes on: the records of a put stay here."""
    return Original(who.method, path, who.headers, b"" if verb == "put" else body, who.address)
