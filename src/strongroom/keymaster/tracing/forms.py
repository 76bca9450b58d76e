"""Tokens of a form at the keymaster, in two steps: what to look for in the index, then whom what was found names.

Rules it keeps:

1. Look-ups are spent and noted by whoever calls this, before a value stands behind any token.
2. The index is asked for the values of all keys together, each once, in an order that tells no key from another. What
   was not asked for counts for nothing.
3. How much of the form's values the room has is the asker's word. Where the asker is not the keymaster's own process it
   is believed no less than the number of persons: with less, few hits would name the innocent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strongroom.errors import DeniedError
from strongroom.keymaster.core import Core
from strongroom.keymaster.tracing.api import Origin
from strongroom.keymaster.tracing.checking import check_entries
from strongroom.keymaster.tracing.entries import living
from strongroom.keymaster.tracing.state import FOREIGN_HITS, FormTry
from strongroom.keymaster.tracing.tokens import Handful, TraceTokens
from strongroom.keys.rows import counter
from strongroom.schema.model import Table
from strongroom.seal.columns import places_among, token_text
from strongroom.seal.tokens import tokens

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D


class Forms:
    """Tokens of forms, for traces of one keymaster.

    Args:
        core: Keys and state.
        tokens: Tokens of exports.
    """

    def __init__(self, core: Core, tokens: TraceTokens) -> None:
        self._core = core
        self._tokens = tokens

    def handful(
        self, model: Table, name: str, tokens: pa.Array, held: int, *, believed: bool
    ) -> Handful | None:
        """See `TraceTokens.handful`; unless `held` is believed, it is at least the number of persons ever put."""
        if not believed:
            held = max(held, counter(self._core.state.read(), "ordinal"))
        return self._tokens.handful(self._core.standing.schema, model, name, tokens, held)

    def tried(self, handful: Handful, model: Table, name: str, snapshot: int) -> FormTry:
        """What stands behind a handful under every key, as what to look for."""
        core = self._core
        keys = core.subject if name == model.subject else core.standing.value_keys(model.field(name).id, snapshot)
        made = token_text(tokens(keys.inner, keys.outer, self._tokens.values_of(handful)))
        asked = made[:0] if name == model.subject else np.unique(made)
        exports = tuple(handful.exports)
        return FormTry(model.name, name, exports, len(made) // len(exports), handful.share, made, asked)

    def named(self, one: FormTry, model: Table, value_tokens: Bytes2D, entries: Bytes2D) -> tuple[Origin, ...]:
        """The exports whose keys gave so many of the room's values that no innocent one does."""
        check_entries(value_tokens, entries)
        own = token_text(value_tokens)
        if not places_among(one.asked, own)[1].all():
            raise DeniedError("this trace did not look up that value", rule=FOREIGN_HITS)
        if one.name == model.subject:
            made = np.ascontiguousarray(one.made).view(np.uint8).reshape(-1, 16)
            known = self._core.keys.lookup(made).found
        else:
            known = np.isin(one.made, own[living(self._core, model, one.name, value_tokens, entries).rows])
        hits = known.reshape(len(one.exports), -1).sum(axis=1)
        return self._tokens.named_by_hits(one, hits)
