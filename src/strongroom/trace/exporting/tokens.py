"""The tokens of an export, made where its rows are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import DeniedError
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.keymaster.holder import SERVER_ONLY
from strongroom.schema.tokenform import token_field

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.exports.api import ExportGrant
    from strongroom.schema.model import Field, Table


class TokensOnly:
    """Tokens: see `marks.Marks`."""

    def __init__(self) -> None:
        self._tokens: ExportTokens | None = None

    def begin(self, grant: ExportGrant) -> None:
        """See `Marks.begin`."""
        self._tokens = ExportTokens(grant.token_key) if grant.token_key else None

    def tokenize(self, table: Table, field: Field, values: pa.Array) -> pa.Array:
        """See `Marks.tokenize`."""
        if self._tokens is None:
            raise DeniedError("tokens of an export are made by a server only", rule=SERVER_ONLY)
        return self._tokens.tokenize(token_field(table, field.name), values)
