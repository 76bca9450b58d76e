"""Tokens of a sample at the keymaster: whose keys made them, and what stands behind them.

Rules it keeps:

1. Keys of all exports that may have made such tokens are tried, and an export is named only where the chance that any
   innocent one reaches as much is at most ε: over all of these, and over all tries that a trace has.
2. A token of a form has no integrity: its export is told by how many values behind a handful of tokens the room has.
   Which values an export's key gave, and how many of them were there, stays here unless the export is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import StrongroomError
from strongroom.evidence.verdict import EPSILON
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports import tokenorigin
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.keymaster.exports.tokenorigin import (
    formed_tokens,
    formed_values,
    names_by_hits,
    names_export,
    tokens_needed,
)
from strongroom.keymaster.tracing.api import FORM_LOOKUPS_MAX, FORM_TRIES_MAX, Origin
from strongroom.keymaster.tracing.state import FormTry
from strongroom.schema.model import Schema, Table
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import TokenField, token_field

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Handful:
    """Tokens of a form, the exports that may have made them, and which share of the form's values the room has."""

    what: TokenField
    tokens: pa.Array = field(repr=False)
    exports: Mapping[str, ExportTokens] = field(repr=False)
    share: float

    @property
    def lookups(self) -> int:
        """How many values stand behind them, over all exports."""
        return len(self.tokens) * len(self.exports)


class TraceTokens:
    """Tokens of exports, for traces of one keymaster."""

    def __init__(self, core: Core, ledger: ExportLedger) -> None:
        self._core = core
        self._ledger = ledger

    def _keys(self, idents: Iterable[bytes]) -> dict[str, ExportTokens]:
        return {ident.hex(): ExportTokens(self._ledger.token_key(ident)) for ident in idents}

    def _named(self, one: tokenorigin.Origin, found: int, tried: int, chance: float) -> Origin:
        record = replace(self._ledger.record(bytes.fromhex(one.export)), where="")
        return Origin(record, found, tried, one.log_e, chance)

    def named(self, model: Table, name: str, tokens: pa.Array) -> tuple[Origin, ...]:
        """Exports whose keys made text tokens of a field, the strongest evidence first."""
        exports = self._keys(self._ledger.ids())
        if not exports:
            return ()
        return tuple(
            self._named(one, one.verified, one.texts, one.chance)
            for one in names_export(token_field(model, name), tokens, exports)
            if one.verified and one.chance <= EPSILON
        )

    def handful(self, schema: Schema, model: Table, name: str, tokens: pa.Array, held: int) -> Handful | None:
        """What is tried of tokens of a form; None where it could name nobody.

        Args:
            schema: The schema in force: fields of one domain have the same tokens.
            model: The table.
            name: The field.
            tokens: Strings that may be tokens of it.
            held: How many distinct values of the field the room has, at most.
        """
        own = token_field(model, name)
        idents = self._ledger.with_fields(_alike(schema, own))
        most = min(tokenorigin.TOKENS_MAX, FORM_LOOKUPS_MAX // max(len(idents), 1))
        some, share = formed_tokens(own, tokens, held, most)
        if not idents or not len(some) or len(some) < tokens_needed(share, len(idents) * FORM_TRIES_MAX, EPSILON):
            return None
        return Handful(own, some, self._keys(idents), share)

    def values_of(self, handful: Handful) -> pa.Array:
        """The values behind a handful under the key of each export, export by export: as many of each."""
        return formed_values(handful.what, handful.tokens, handful.exports)

    def named_by_hits(self, one: FormTry, hits: npt.NDArray[np.int64]) -> tuple[Origin, ...]:
        """Exports whose keys made a handful that was tried, the strongest evidence first; `hits` i64[exports]."""
        found = names_by_hits(one.exports, hits, one.formed, one.share)
        bounds = [(own, min(1.0, own.chance * FORM_TRIES_MAX)) for own in found]
        return tuple(
            self._named(own, own.known, own.formed, chance) for own, chance in bounds if own.known and chance <= EPSILON
        )

    def behind(self, model: Table, name: str, export: str, tokens: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The normalised values behind tokens of an export: those that there are, and bool[n] of which they are."""
        keys = ExportTokens(self._ledger.token_key(bytes.fromhex(export)))
        found, bad = keys.detokenize(token_field(model, name), tokens)
        found = normalise(found, model.field(name).normalise, name=name)
        there = np.asarray(found.is_valid()) & ~bad
        import pyarrow as pa

        return found.filter(pa.array(there)), there.copy()


def _alike(schema: Schema, own: TokenField) -> set[tuple[str, str]]:
    """The fields whose tokens are those of a field, by (table, field)."""
    found = set()
    for table in schema.tables.values():
        for one in table.fields:
            try:
                same = token_field(table, one.name).domain == own.domain
            except StrongroomError:  # a type that has no tokens
                continue
            if same:
                found.add((table.name, one.name))
    return found
