"""Opens index hits, and where each of them is certain to be live releases its record at once: one call in place of two.

Rules it keeps:

1. At once goes only what is certain to be there, and to be the newest: the record that its person came with, of persons
   who were put into the table once, or of a table in which every record of a person is live; and of no table whose
   retention ever went by a date in its records, since a compaction drops such a record and not its index entry.
2. What goes at once is decided, spent and noted as any release is (`releasing`), by the same steps.
3. Where it is not certain, is refused, or nobody asked for it, hits are all that is answered, and nothing is noted: no
   answer tells more of a person who is not charged.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from strongroom.errors import ConflictError, UsageError
from strongroom.keymaster.api import Ask, AtOnce, Bytes2D, Hits
from strongroom.keymaster.behind import SMALL, Behind, PersonsBehind
from strongroom.keymaster.core import REQUEST_ID_BYTES, Core
from strongroom.keymaster.lookups import Lookups
from strongroom.keymaster.putagain import put_once
from strongroom.keymaster.releasing import Releasing
from strongroom.keymaster.steps import Steps
from strongroom.keys.rows import Rows
from strongroom.schema.model import Table


class Finding:
    """Answers look-ups by value for the readings of one keymaster."""

    def __init__(self, core: Core, lookups: Lookups, releasing: Releasing, behind: Behind) -> None:
        self._core = core
        self._lookups = lookups
        self._releasing = releasing
        self._behind = behind

    def opening(
        self,
        reading_id: bytes,
        table: str,
        field_name: str,
        value_tokens: Bytes2D,
        entries: Bytes2D,
        at_once: AtOnce | None = None,
    ) -> Steps[Hits]:
        """See `Keymaster.open_hits`, in steps."""
        if at_once is not None and len(at_once.request_id) != REQUEST_ID_BYTES:
            raise UsageError(f"a request id has {REQUEST_ID_BYTES} bytes")
        hits = self._lookups.open_hits(reading_id, table, field_name, value_tokens, entries)
        model = self._core.standing.schema.table(table)
        ask = None if at_once is None else self._ask(model, hits, at_once)
        if at_once is None or ask is None:
            return hits
        try:
            certain = partial(self._certain, model, hits)
            released = yield from self._releasing.releasing(reading_id, ask, last=at_once.last, certain=certain)
        except ConflictError:  # that it is not, whatever stands against it: another request under this id, too
            return hits
        return replace(hits, released=released)

    def _certain(self, model: Table, hits: Hits, rows: Rows | None, persons: PersonsBehind) -> bool:
        """Whether each hit is its person's live record: without rows of a transaction as far as is known before it."""
        if not persons.everybody:
            return False
        if model.records != "one":
            return True
        if persons.born != hits.sequences.tolist():  # the record that a person came with is in that very batch
            return False
        if rows is not None:
            return put_once(rows, model.id, persons.ordinals)
        state = self._core.state
        return not state.recent_counter("marked") or put_once(state.read(), model.id, persons.ordinals)

    def _ask(self, model: Table, hits: Hits, at_once: AtOnce) -> Ask | None:
        """What is released of some hits; None where that is for whoever asks to see first."""
        count = len(hits.ordinals)
        if not 0 < count <= min(at_once.most, SMALL) or len(hits.places()) != count:
            return None
        if self._core.standing.ever_kept_by_date(model):
            return None
        batches = [self._behind.batch_of(sequence) for sequence in hits.sequences.tolist()]
        if None in batches:
            return None
        joined = np.frombuffer(b"".join(batch or b"" for batch in batches), np.uint8).reshape(-1, 16)
        wanted = (at_once.request_id, "find", model.name, at_once.fields)
        return Ask(*wanted, hits.subject_tokens, joined, looked_up=at_once.looked_up)
