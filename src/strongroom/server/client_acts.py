"""What a client asks besides reading, putting and erasing: holds, receipts, rejects, retention, exports, rules."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from strongroom.errors import IntegrityError, UsageError
from strongroom.identity import asked
from strongroom.keymaster.api import Receipt
from strongroom.purpose.model import Policy
from strongroom.server import answers, answers_acts

if TYPE_CHECKING:
    from strongroom.erase.retention import Expiring
    from strongroom.keymaster.exports.api import ExportRecord
    from strongroom.write.reputting import RejectGroup

_ENCODE = msgspec.json.Encoder().encode


class ClientActs:
    """Part of `RoomClient`; each is one request."""

    @abstractmethod
    def ask(
        self, verb: str, body: bytes, further: Mapping[str, str] | None = None, idempotency_key: str | None = None
    ) -> Any:
        """Sign one request and send it."""

    # -- persons --------------------------------------------------------------------------------
    def hold(
        self, subjects: str | int | Sequence[str | int], *, reason: str, idempotency_key: str | None = None
    ) -> Receipt:
        """Put subjects under a legal hold, 1,000 at most; see `Room.hold`."""
        said = asked.Hold(subjects=listed(subjects), reason=reason)
        return self._held("hold", said, idempotency_key)

    def unhold(
        self, subjects: str | int | Sequence[str | int], *, reason: str, idempotency_key: str | None = None
    ) -> Receipt:
        """Lift a legal hold; see `Room.unhold`."""
        said = asked.Unhold(subjects=listed(subjects), reason=reason)
        return self._held("unhold", said, idempotency_key)

    def _held(self, verb: str, said: asked.Hold, idempotency_key: str | None) -> Receipt:
        done = cast("answers_acts.HoldSaid", self.ask(verb, _ENCODE(said), None, idempotency_key))
        return Receipt(done.leaf, done.time, verb, {"persons": done.persons})

    def erasure_receipt(self, *leaves: int) -> dict[str, Any]:
        """The receipt of erasures, by the numbers of their log entries; see `Room.erasure_receipt`."""
        said = asked.ErasureReceipt(leaves=list(leaves))
        return cast("answers_acts.ReceiptSaid", self.ask("erasure-receipt", _ENCODE(said))).receipt

    # -- exports --------------------------------------------------------------------------------
    def tokenize(
        self,
        export: str,
        table: str,
        field: str,
        values: Sequence[str | int],
        *,
        purpose: str,
        reason: str,
        idempotency_key: str | None = None,
    ) -> list[str | None]:
        """The tokens that stand for values of a field in an export, 10,000 a request; see `Room.tokenize`."""
        found: list[str | None] = []
        place: dict[str, Any] = {"purpose": purpose, "reason": reason, "export": export, "table": table, "field": field}
        for some in _parts([str(value) for value in values], idempotency_key):
            said = self.ask("tokenize", _ENCODE(asked.Tokenize(**place, values=some)), None, idempotency_key)
            found += _each(some, cast("answers_acts.TokensSaid", said).tokens)
        return found

    def detokenize(
        self,
        export: str,
        table: str,
        field: str,
        tokens: Sequence[str],
        *,
        purpose: str,
        reason: str,
        approval: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[str | None]:
        """The values behind tokens of an export, 10,000 a request; see `Room.detokenize`."""
        found: list[str | None] = []
        place: dict[str, Any] = {"purpose": purpose, "reason": reason, "export": export, "table": table, "field": field}
        for some in _parts(list(tokens), idempotency_key):
            asks = asked.Detokenize(**place, approval=approval, tokens=some)
            said = self.ask("detokenize", _ENCODE(asks), None, idempotency_key)
            found += _each(some, cast("answers_acts.ValuesSaid", said).values)
        return found

    def exports(self) -> list[ExportRecord]:
        """The ledger of exports, newest first: all of it with the act `log`, else one's own; see `Room.exports`."""
        return list(self._exports())

    def _exports(self) -> Iterator[ExportRecord]:
        cursor: str | None = None
        while True:
            said = asked.Exports(limit=asked.EXPORTS_MAX, cursor=cursor)
            some = cast("answers_acts.ExportsSaid", self.ask("exports", _ENCODE(said)))
            yield from some.exports
            if some.cursor is None:
                return
            if not some.exports or some.cursor == cursor:  # it would never end
                raise other_answer()
            cursor = some.cursor

    # -- records --------------------------------------------------------------------------------
    def rejects(self, *, put_id: str | None = None) -> list[RejectGroup]:
        """Records that did not fit, counted by put, reason and field; see `Room.rejects`."""
        from strongroom.write.reputting import RejectGroup

        said = cast("answers_acts.RejectsSaid", self.ask("rejects", _ENCODE(asked.Rejects(put_id=put_id))))
        return [RejectGroup(**msgspec.structs.asdict(one)) for one in said.groups]

    def reput_rejects(
        self, *, put_id: str | None = None, records: int | None = None, idempotency_key: str | None = None
    ) -> answers.PutSaid:
        """Put again those rejected records that fit the schema now; see `Room.reput_rejects`.

        Args:
            put_id: Of one put only.
            records: The greatest number of records; it is signed. As many as `rejects` counts when not given.
            idempotency_key: Under which the same request, sent again, is done once; the number must be given then.
        """
        if records is None and idempotency_key is not None:
            raise UsageError(
                "the greatest number of records stands in what is signed: say it, so that the same can be sent again"
            )
        most = sum(group.records for group in self.rejects(put_id=put_id)) if records is None else records
        said = asked.ReputRejects(put_id=put_id, records=min(most, asked.PERSONS_MAX))
        return cast("answers.PutSaid", self.ask("reput-rejects", _ENCODE(said), None, idempotency_key))

    def retention(self, *, schema: str | None = None) -> list[Expiring]:
        """How many records of each table with a retention have expired; see `Room.retention`."""
        from strongroom.erase.retention import Expiring

        said = cast("answers_acts.RetentionSaid", self.ask("retention", _ENCODE(asked.Retention(schema=schema))))
        return [Expiring(**msgspec.structs.asdict(one)) for one in said.tables]

    # -- rules ----------------------------------------------------------------------------------
    @property
    def policy(self) -> Policy:
        """The policy in force."""
        try:
            return Policy.from_json(json.dumps(self._rules().policy))
        except (IntegrityError, RecursionError):  # of no room
            raise other_answer() from None

    def cedar(self) -> str:
        """The Cedar rules generated from the policy in force."""
        return self._rules().cedar

    def _rules(self) -> answers_acts.PolicySaid:
        return cast("answers_acts.PolicySaid", self.ask("policy", b"{}"))


def listed(subjects: str | int | Sequence[str | int]) -> list[str]:
    """One subject, or several, as text."""
    return [str(one) for one in ([subjects] if isinstance(subjects, str | int) else subjects)]


def other_answer() -> IntegrityError:
    """What is said of an answer that is none of this API."""
    return IntegrityError("the server's answer is not one of this API")


def _parts(given: list[str], idempotency_key: str | None) -> Iterator[list[str]]:
    """As many as one request has, again and again."""
    if idempotency_key is not None and len(given) > asked.TOKENS_MAX:
        raise UsageError(f"one request has at most {asked.TOKENS_MAX:,} values, and an Idempotency-Key is of one")
    for at in range(0, len(given), asked.TOKENS_MAX):
        yield given[at : at + asked.TOKENS_MAX]


def _each(given: Sequence[str], found: list[str | None]) -> list[str | None]:
    if len(found) != len(given):
        raise other_answer()
    return found
