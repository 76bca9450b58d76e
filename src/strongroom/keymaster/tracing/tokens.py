"""Tokens of a sample at the keymaster: whose keys made them, and what stands behind them.

Rules it keeps:

1. Keys of all exports ever issued are tried, and an export is named only where the chance that any innocent one reaches
   as much is at most ε.
2. A token of a form has no integrity and is not tried here: it takes what the room knows to tell a right key by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.evidence.verdict import EPSILON
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.keymaster.exports.tokenorigin import names_export
from strongroom.keymaster.tracing.api import Origin
from strongroom.schema.model import Table
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import token_field

if TYPE_CHECKING:
    import pyarrow as pa


class TraceTokens:
    """Tokens of exports, for traces of one keymaster."""

    def __init__(self, core: Core, ledger: ExportLedger) -> None:
        self._core = core
        self._ledger = ledger

    def named(self, model: Table, name: str, tokens: pa.Array) -> tuple[Origin, ...]:
        """Exports whose keys made tokens of a field, the strongest evidence first."""
        exports = {ident.hex(): ExportTokens(self._ledger.token_key(ident)) for ident in self._ledger.ids()}
        if not exports:
            return ()
        return tuple(
            Origin(
                replace(self._ledger.record(bytes.fromhex(one.export)), where=""),
                one.verified, one.texts, one.log_e, one.chance,
            )
            for one in names_export(token_field(model, name), tokens, exports)
            if one.verified and one.chance <= EPSILON
        )  # fmt: skip

    def behind(self, model: Table, name: str, export: str, tokens: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The normalised values behind tokens of an export: those that there are, and bool[n] of which they are."""
        keys = ExportTokens(self._ledger.token_key(bytes.fromhex(export)))
        found, bad = keys.detokenize(token_field(model, name), tokens)
        found = normalise(found, model.field(name).normalise, name=name)
        there = np.asarray(found.is_valid()) & ~bad
        import pyarrow as pa

        return found.filter(pa.array(there)), there.copy()
