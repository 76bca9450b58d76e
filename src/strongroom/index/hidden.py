"""Finds entries that live and are counted nowhere: those of canary persons, as far as the keymaster tells a server.

Rules it keeps:

1. Whose entries are hidden is asked for by token range, a bounded number at a time, and only of runs that are read.
2. A run never changes, and neither does who is a canary: places found are remembered, and looked for again where there
   are more canaries since. They are remembered apart from what is dead: who finds one person sees a canary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from strongroom.index.dead import HIGHEST, LOWEST, RUNS_KEPT_MAX, AskBuried, Graves, Kept, dead_positions
from strongroom.index.runreader import RunReader
from strongroom.seal.columns import I64


class Hidden:
    """What is hidden in the runs of one table.

    Args:
        ask: (first token, last token) -> who is hidden in that range; `newest` counts all that there are.
        kept: Where places found are remembered; share one between readings that are told alike.
    """

    def __init__(self, ask: AskBuried, kept: Kept | None = None) -> None:
        self._ask = ask
        self._kept: Kept = {} if kept is None else kept

    def positions(self, readers: Sequence[RunReader]) -> Iterator[tuple[RunReader, I64]]:
        """Each records run that holds something hidden, with the places of it, ascending."""
        now = self._ask(HIGHEST, LOWEST).newest
        if not now:
            return
        for reader in readers:
            name = reader.entry.object_id
            known, places = self._kept.get(name, (0, np.empty(0, np.int64)))
            if known != now:
                places = dead_positions(reader, self._ask)
                if len(self._kept) >= RUNS_KEPT_MAX:
                    self._kept.clear()
                self._kept[name] = (now, places)
            if len(places):
                yield reader, places


class Uncounted:
    """What is dead and what is hidden, together.

    Args:
        graves: What is dead.
        hidden: What is hidden.
    """

    def __init__(self, graves: Graves, hidden: Hidden) -> None:
        self._parts = (graves, hidden)

    def positions(self, readers: Sequence[RunReader]) -> Iterator[tuple[RunReader, I64]]:
        """Each records run that holds either, with their places; a run may come twice."""
        for part in self._parts:
            yield from part.positions(readers)
