"""Verbs of those who keep a room: holds, receipts, rejects, retention, exports and their tokens, rules in force."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from strongroom.errors import UnavailableError
from strongroom.identity import asked
from strongroom.server.answers import PutSaid, encoded
from strongroom.server.answers_acts import (
    ExpiringSaid,
    ExportsSaid,
    HoldSaid,
    OpenedRejectsSaid,
    PolicySaid,
    ReceiptSaid,
    RejectGroupSaid,
    RejectsSaid,
    RetentionSaid,
    TokensSaid,
    ValuesSaid,
)
from strongroom.server.handed import HandedOn
from strongroom.turns import aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.keyserver.calls import Original
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.read.reading import Reading
    from strongroom.read.session import Session

REJECTS_MOST = 10_000


class Acts:
    """Part of `Verbs`."""

    _session: Session
    _keys: RemoteKeymaster
    _puts: threading.BoundedSemaphore
    _queries: threading.BoundedSemaphore

    @abstractmethod
    def _reading(
        self, request: Original, actor: str, said: asked.Read, table: str | None
    ) -> AbstractContextManager[tuple[Reading, HandedOn]]:
        """A reading for one signed request."""

    # -- persons --------------------------------------------------------------------------------
    def hold(self, request: Original, actor: str, _said: asked.Hold, _body: bytes) -> HoldSaid:
        """A legal hold on some subjects."""
        from strongroom.catalog.freshness import leave_act

        keys = HandedOn(self._keys, request, actor)
        done = keys.handed_hold()
        leave_act(self._session.store, keys, done.leaf)
        return HoldSaid(done.leaf, done.time, done.counts["persons"])

    unhold = hold

    def erasure_receipt(
        self, request: Original, actor: str, said: asked.ErasureReceipt, _body: bytes
    ) -> ReceiptSaid:
        """The receipt of erasures."""
        from strongroom.erase.erasing import receipt_of

        keys = HandedOn(self._keys, request, actor)
        return ReceiptSaid(receipt_of(self._session.store, keys, actor, said.leaves))

    # -- exports --------------------------------------------------------------------------------
    def tokenize(self, request: Original, actor: str, said: asked.Tokenize, _body: bytes) -> TokensSaid:
        """Tokens of values in an export."""
        return TokensSaid(HandedOn(self._keys, request, actor).handed_tokens(len(said.values)))

    def detokenize(self, request: Original, actor: str, said: asked.Detokenize, _body: bytes) -> ValuesSaid:
        """Values behind tokens of an export."""
        return ValuesSaid(HandedOn(self._keys, request, actor).handed_tokens(len(said.tokens)))

    def exports(self, request: Original, actor: str, said: asked.Exports, _body: bytes) -> ExportsSaid:
        """The ledger of exports."""
        found = HandedOn(self._keys, request, actor).handed_exports()
        return ExportsSaid(found, str(found[-1].leaf) if len(found) == said.limit else None)

    # -- records --------------------------------------------------------------------------------
    def rejects(self, request: Original, actor: str, said: asked.Rejects, _body: bytes) -> RejectsSaid:
        """How many records did not fit, and why."""
        from strongroom.write.reputting import list_rejects

        with one_of(self._queries, "queries"), self._on_rejects(request, actor) as keys:
            found = list_rejects(self._session.store, keys, actor, said.put_id)
        return RejectsSaid([RejectGroupSaid(**one.to_dict()) for one in found])

    def reput_rejects(self, request: Original, actor: str, said: asked.ReputRejects, _body: bytes) -> PutSaid:
        """Rejected records, put again."""
        from strongroom.write.reputting import reput

        with one_of(self._puts, "puts"), self._on_rejects(request, actor) as keys:
            done = reput(self._session.store, keys, actor, said.put_id)
            answer = PutSaid(**done.to_dict())
            keys.keep_answer(encoded(answer).decode())
        return answer

    @contextmanager
    def _on_rejects(self, request: Original, actor: str) -> Iterator[HandedOn]:
        keys = HandedOn(self._keys, request, actor)
        try:
            yield keys
        finally:
            keys.let_go()

    def open_rejects(
        self, request: Original, actor: str, said: asked.OpenRejects, _body: bytes
    ) -> OpenedRejectsSaid:
        """Rejected records as they came."""
        with one_of(self._queries, "queries"), self._reading(request, actor, said, None) as (desk, _):
            found = desk.rejects(put_id=said.put_id, most=REJECTS_MOST)
        return OpenedRejectsSaid(found)

    def retention(self, request: Original, actor: str, said: asked.Retention, _body: bytes) -> RetentionSaid:
        """How many records have expired."""
        from strongroom.erase.retention import expiring

        keys = HandedOn(self._keys, request, actor)
        # it may take long, and needs the interpreter little: others take their turns meanwhile
        with one_of(self._queries, "queries"), aside():
            found = expiring(self._session.store, keys, actor, said.schema, self._session.now)
        if not keys.leased:  # no table has a retention, and nobody was asked for one
            keys.whoever()
        return RetentionSaid([ExpiringSaid(**one.to_dict()) for one in found])

    # -- rules ----------------------------------------------------------------------------------
    def policy(self, request: Original, actor: str, _said: asked.Nothing, _body: bytes) -> PolicySaid:
        """The policy in force."""
        from strongroom.purpose.cedar import cedar_text

        HandedOn(self._keys, request, actor).whoever()
        policy = self._keys.policy()
        return PolicySaid(json.loads(policy.to_json()), cedar_text(policy, self._keys.schema()))


@contextmanager
def one_of(slots: threading.BoundedSemaphore, what: str) -> Iterator[None]:
    """One of a few that run at once: nobody waits for one with a thread that others need."""
    if not slots.acquire(blocking=False):
        raise UnavailableError(f"too many {what} at once", hint="send it again in a moment")
    try:
        yield
    finally:
        slots.release()
