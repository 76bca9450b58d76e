"""What tracing at the keymaster holds of each trace under way, and the code rows that it weighs finds against.

Rules it keeps:

1. Of what a trace was given and found only tokens are held, in order, so that what comes back is told from what does
   not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.evidence.code import Found
from strongroom.evidence.coderow import KEY_BYTES, CodeRow, open_row
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.marks import coded
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keymaster.tracing.api import PERSONS_MAX, VALUES_HELD_MAX
from strongroom.seal.columns import places_among, token_text

Bytes2D = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


class Codes:
    """The code rows of all exports ever issued, by the ledger."""

    def __init__(self, core: Core, ledger: ExportLedger) -> None:
        self._core = core
        self._ledger = ledger
        self._offered: tuple[bytes, BitMap64] = (b"", BitMap64())

    def rows(self) -> Iterable[CodeRow]:
        """Each once; of exports that were offered no canaries without offers."""
        for ident in self._ledger.ids():
            marked = self._ledger.of(ident).marked
            if marked.opening:
                self._offered = (ident, marked.offered)
                yield open_row(marked.opening, marked.commitment)
            else:
                self._offered = (ident, BitMap64())
                yield CodeRow(self._core.room_id, ident, bytes(KEY_BYTES), ())

    def through(self, row: CodeRow, finds: Found) -> Bool:
        """Which finds, bool[n], were among the records of an export; asked after each row. It depends on no coin."""
        ident, offered = self._offered
        if ident != row.export:
            offered = self._ledger.of(row.export).marked.offered
        numbers = coded(finds.pools, finds.numbers)
        return np.isin(numbers, np.asarray((offered & bitmap(numbers)).to_array(), np.uint64))

    def opened(self) -> Collection[bytes]:
        """Ids of exports whose rows were opened to somebody."""
        rows = self._core.state.read()
        return [row[0] for row in rows.execute("SELECT id FROM export WHERE opened IS NOT NULL").fetchall()]


@dataclass
class Held:
    """Sorted tokens, in parts; the oldest go when there are too many."""

    most: int
    parts: list[npt.NDArray[np.bytes_]] = field(default_factory=list, repr=False)
    count: int = 0

    def add(self, some: Bytes2D) -> None:
        """Hold some more."""
        if not len(some):
            return
        own = np.unique(token_text(some))
        self.parts.append(own)
        self.count += len(own)
        while self.count > self.most:
            self.count -= len(self.parts.pop(0))

    def all_of(self, asked: Bytes2D) -> bool:
        """Whether every one of some tokens is among these."""
        left = np.unique(token_text(asked))
        for own in reversed(self.parts):
            if not len(left):
                break
            left = left[~places_among(own, left)[1]]
        return not len(left)


@dataclass
class Tracing:
    """One trace under way: what it was given and found, the exports that tokens named, and tries of forms."""

    values: dict[tuple[str, str], Held] = field(default_factory=dict)
    persons: Held = field(default_factory=lambda: Held(PERSONS_MAX))
    named: set[str] = field(default_factory=set)
    formed: int = 0

    def given(self, table: str, name: str) -> Held:
        """Tokens of values of a field that this trace was given."""
        return self.values.setdefault((table, name), Held(VALUES_HELD_MAX))
