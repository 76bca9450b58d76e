"""What a server has done for its callers in one call each: holds, receipts, tokens and the ledger of exports.

Rules it keeps:

1. Subjects, values, entries and reasons are read from the bytes that the caller signed: the server says none of them.
2. Each request is answered once, and the caller's credential is counted and named.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, cast

from strongroom.errors import InputError, NotFoundError
from strongroom.identity import asked
from strongroom.keymaster.core import Request
from strongroom.keymaster.holder import Holder, asked_through
from strongroom.schema.normalise import normalise_one

if TYPE_CHECKING:
    from strongroom.keymaster.api import Receipt
    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keymaster.erasures.api import ErasureProof
    from strongroom.keymaster.erasures.erasures import EmbeddedErasures
    from strongroom.keymaster.exports.api import ExportRecord
    from strongroom.keymaster.exports.exporting import EmbeddedExports
    from strongroom.keymaster.warrant import Signer
    from strongroom.keyserver.calls import Original

CURSOR_DIGITS_MAX = 15


class ServedActs:
    """Part of `Served`."""

    _keymaster: EmbeddedKeymaster

    @abstractmethod
    def _signed(self, server: CredentialState, request: Original) -> tuple[Signer, str, asked.Asked]:
        """Who signed a request, its verb, and what it says."""

    def hold(self, server: CredentialState, request: Original) -> Receipt:
        """Set, or lift, the legal hold that a caller signed; see `Erasures.hold`."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.Hold):
            raise NotFoundError(f"{verb} holds nobody")
        once = None if signer.again is None else Request(signer.again, signer.digest)
        with asked_through(signer.holder):
            self._keymaster.serving.once(signer)
            erasures = cast("EmbeddedErasures", self._keymaster.erasures)
            forms = [self._forms_of(subject) for subject in said.subjects]
            return erasures.hold_once(once, signer.actor, forms, said.reason, lift=verb == "unhold")

    def _forms_of(self, subject: str) -> list[str]:
        """Every form that a subject has in some table."""
        ways = dict.fromkeys(table.subject_field.normalise for table in self._keymaster.schema().tables.values())
        return list(dict.fromkeys(form for form in (normalise_one(subject, way) for way in ways) if form))

    def receipt(self, server: CredentialState, request: Original) -> list[ErasureProof]:
        """Proofs of the erasures whose entries a caller named; see `Erasures.proofs`."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.ErasureReceipt):
            raise NotFoundError(f"{verb} asks for no receipt")
        with asked_through(signer.holder):
            self._keymaster.serving.once(signer)
            return self._keymaster.erasures.proofs(signer.actor, said.leaves)

    def tokens(self, server: CredentialState, request: Original) -> list[str | None]:
        """Tokens of an export for the values that a caller signed, or the values behind tokens."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.Tokenize | asked.Detokenize):
            raise NotFoundError(f"{verb} asks for no tokens")
        with asked_through(signer.holder):
            return self._keymaster.serving_tokens.answer(signer, Holder(server.id), verb, said)

    def exports(self, server: CredentialState, request: Original) -> list[ExportRecord]:
        """What the caller may see of the ledger of exports, newest first; a cursor is the entry it goes on behind."""
        signer, verb, said = self._signed(server, request)
        if not isinstance(said, asked.Exports):
            raise NotFoundError(f"{verb} asks for no exports")
        before = None if said.cursor is None else _number(said.cursor)
        with asked_through(signer.holder):
            self._keymaster.serving.once(signer)
            exports = cast("EmbeddedExports", self._keymaster.exports)
            return exports.all(signer.actor, before, said.limit)


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= CURSOR_DIGITS_MAX):
        raise InputError("the cursor is none that an answer gave")
    return int(cursor)
