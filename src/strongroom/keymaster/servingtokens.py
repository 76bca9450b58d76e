"""Tokens of exports for a server's callers: made, and read, of the values that a caller signed.

Rules it keeps:

1. Export, table, field and values are read from the signed bytes. The reading is opened, spent and ended within one
   call: a server is asked for none of it, and can ask for nothing else under it.
2. What is repeated under one `Idempotency-Key` spends its look-ups once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from strongroom.errors import DeniedError
from strongroom.identity import asked
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.api import Exports
from strongroom.keymaster.holder import Holder
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.warrant import BEYOND, Signer, Warrant


@dataclass
class TokenWarrant(Warrant):
    """What a signed request for tokens of an export (id, 16 B) allows: its values, in order, and nothing besides."""

    export: bytes = b""
    values: tuple[str, ...] = field(default=(), repr=False)

    def check_tokens(self, verb: str, export_id: bytes, table: str, field_name: str, values: Sequence[str]) -> None:
        """See `Warrant.check_tokens`."""
        signed = (self.verb, self.export, self.table, self.fields, self.values)
        if (verb, export_id, table, (field_name,), tuple(values)) != signed:
            raise DeniedError("the server asks for tokens of what its caller did not name", rule=BEYOND)


class ServingTokens:
    """Tokens in the name of a server's callers."""

    def __init__(self, core: Core, readings: Readings, exports: Exports) -> None:
        self._core = core
        self._readings = readings
        self._exports = exports

    def answer(
        self, signer: Signer, holder: Holder, verb: str, said: asked.Tokenize | asked.Detokenize
    ) -> list[str | None]:
        """What stands in the place of each value that was signed; None where there is nothing.

        Args:
            signer: Whose request it is.
            holder: The server's credential.
            verb: tokenize or detokenize.
            said: What the request says.

        Raises:
            DeniedError: The policy or a budget refuses the caller, or the request was answered before.
            NotFoundError: There is no such export.
        """
        import pyarrow as pa

        core, given = self._core, said.values if isinstance(said, asked.Tokenize) else said.tokens
        core.standing.refresh()
        export = bytes.fromhex(said.export)
        warrant = TokenWarrant(
            signer, verb, said.table, (said.field,), persons=len(given), export=export, values=tuple(given)
        )
        begun = self._readings.beginning(
            signer.actor,
            said.purpose,
            said.reason,
            said.approval,
            break_glass=said.break_glass,
            holder=holder,
            warrant=warrant,
        )
        reading = core.finish(begun).reading_id
        try:
            wanted = (reading, export, said.table, said.field, pa.array(given, pa.string()))
            if isinstance(said, asked.Tokenize):
                found = self._exports.tokenize(*wanted)
            else:
                found = self._exports.detokenize(*wanted)[0]
            answer: list[str | None] = found.to_pylist()
            return answer
        finally:
            core.finish(self._readings.ending(reading))
