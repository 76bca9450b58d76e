"""Opens index hits, and where each of them is certain to be live releases its record at once: one call in place of two.

Rules it keeps:

1. At once goes only what no older record can stand beside: of persons who were put into the table once, or of a table
   in which every record of a person is live. A person whose hit may be of an older record is neither charged nor told.
2. What goes at once is decided, spent and noted as any release is (`releasing`), by the same steps.
3. Where it is not certain, or nobody asked for it, hits are all that is answered, and nothing is noted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from strongroom.keymaster.api import Ask, AtOnce, Bytes2D, Hits
from strongroom.keymaster.behind import SMALL, Behind, PersonsBehind
from strongroom.keymaster.core import Core
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
        hits = self._lookups.open_hits(reading_id, table, field_name, value_tokens, entries)
        model = self._core.standing.schema.table(table)
        ask = None if at_once is None else self._ask(model, hits, at_once)
        if at_once is None or ask is None:
            return hits

        def certain(rows: Rows, persons: PersonsBehind) -> bool:
            return persons.everybody and (model.records != "one" or put_once(rows, model.id, persons.ordinals))

        released = yield from self._releasing.releasing_if(certain, reading_id, ask, last=at_once.last)
        return replace(hits, released=released)

    def _ask(self, model: Table, hits: Hits, at_once: AtOnce) -> Ask | None:
        """What is released of some hits; None where that is for whoever asks to see first."""
        by_date = model.retention is not None and model.retention.by is not None  # a record says when it ends
        if by_date or not 0 < len(hits.places()) == len(hits.ordinals) <= min(at_once.most, SMALL):
            return None
        batches = [self._behind.batch_of(sequence) for sequence in hits.sequences.tolist()]
        if None in batches:
            return None
        joined = np.frombuffer(b"".join(batch or b"" for batch in batches), np.uint8).reshape(-1, 16)
        wanted = (at_once.request_id, "find", model.name, at_once.fields)
        return Ask(*wanted, hits.subject_tokens, joined, looked_up=at_once.looked_up)
