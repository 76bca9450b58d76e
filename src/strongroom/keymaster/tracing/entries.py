"""Index entries that a trace's process read, opened: whose they are, the dead left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strongroom.errors import IntegrityError
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.tombstones import any_buried, buried_of
from strongroom.keymaster.tracing.api import TraceHits
from strongroom.schema.model import Table
from strongroom.seal.tokens import open_index_entries

if TYPE_CHECKING:
    from strongroom.keymaster.api import Bytes2D


def living(core: Core, model: Table, name: str, value_tokens: Bytes2D, entries: Bytes2D) -> TraceHits:
    """The persons of those index entries u8[n,44] of a field, under tokens u8[n,16], that live.

    Raises:
        IntegrityError: One does not open.
    """
    ident = model.field(name).id
    siv = core.standing.field(ident).siv
    subjects, sequences, _ordinals, bad = open_index_entries(siv, ident, value_tokens, entries)
    if bad.any():
        raise IntegrityError(
            f"an index entry of table {model.name}, field {name}, does not open",
            hint="the index was changed or swapped: run `strongroom check`",
        )
    rows = np.arange(len(subjects), dtype=np.int64)
    state = core.state.read()
    if len(subjects) and (model.retention is not None or any_buried(state)):
        rows = np.flatnonzero(sequences > buried_of(state, model, subjects, core.clock()).of(subjects))
    return TraceHits(np.ascontiguousarray(subjects[rows]), rows)
