"""What tracing at the keymaster holds of each trace under way, and the code rows that it weighs finds against.

Rules it keeps:

1. Of what a trace was given and found only tokens are held, in order, so that what comes back is told from what does
   not: so many at most, and no longer than its reading is open.
2. A try of tokens of a form is answered once, and a trace is weighed once: asking again with a little less would tell,
   one by one, which values a key gave, and who is a canary.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.errors import DeniedError, UsageError
from strongroom.evidence.code import Found
from strongroom.evidence.coderow import KEY_BYTES, CodeRow, open_row
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.exports.marks import coded
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keymaster.tracing.api import FORM_TRIES_MAX, VALUES_HELD_MAX
from strongroom.seal.columns import places_among, token_text

Bytes2D = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
FOREIGN_HITS = "room.hits-of-own-lookups"


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
    """Sorted tokens, in parts, the newest last."""

    parts: list[npt.NDArray[np.bytes_]] = field(default_factory=list, repr=False)
    count: int = 0

    def add(self, own: npt.NDArray[np.bytes_]) -> None:
        """Hold some more, sorted."""
        if len(own):
            self.parts.append(own)
            self.count += len(own)

    def drop_oldest(self) -> None:
        """Hold the oldest part no more."""
        self.count -= len(self.parts.pop(0))

    def lacking(self, own: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bytes_]:
        """Which of some sorted tokens are not among these."""
        for part in reversed(self.parts):
            if not len(own):
                break
            own = own[~places_among(part, own)[1]]
        return own


@dataclass(frozen=True)
class FormTry:
    """A handful of tokens of a form that was tried, until it is answered.

    Args:
        table: Its table.
        name: Its field.
        exports: Ids of the exports whose keys were tried.
        formed: How many values each key gave.
        share: Bound of the share of the form's values that the room has.
        made: The index tokens of all values, export by export.
        asked: Each once, sorted.
    """

    table: str
    name: str
    exports: tuple[str, ...]
    formed: int
    share: float
    made: npt.NDArray[np.bytes_] = field(repr=False)
    asked: npt.NDArray[np.bytes_] = field(repr=False)


@dataclass
class Tracing:
    """One trace under way: what it was given and found, the exports that tokens named, and tries of forms.

    Args:
        persons_max: How many persons it finds at most.
    """

    persons_max: int
    _values: dict[tuple[str, str], Held] = field(default_factory=dict, repr=False)
    _persons: Held = field(default_factory=Held, repr=False)
    named: set[str] = field(default_factory=set)
    _tries: int = 0
    _try: FormTry | None = field(default=None, repr=False)
    _weighed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def looked_up(self, table: str, name: str, some: Bytes2D) -> None:
        """Hold tokens of values that it was given; where there are too many, the oldest go, of other fields first."""
        own = np.unique(token_text(some))
        with self._lock:
            held = self._values.setdefault((table, name), Held())
            held.add(own)
            while sum(one.count for one in self._values.values()) > VALUES_HELD_MAX:
                next((one for one in self._values.values() if one is not held and one.parts), held).drop_oldest()

    def was_given(self, table: str, name: str, some: Bytes2D) -> bool:
        """Whether every one of some tokens is of a value of this field that it was given."""
        own = np.unique(token_text(some))
        with self._lock:
            return not len(self._values.get((table, name), Held()).lacking(own))

    def found(self, some: Bytes2D) -> None:
        """Hold persons whom it found, each once; UsageError where there are too many."""
        own = np.unique(token_text(some))
        with self._lock:
            own = self._persons.lacking(own)
            if self._persons.count + len(own) > self.persons_max:
                raise UsageError(
                    f"a trace here finds at most {self.persons_max:,} persons", hint="trace the sample in parts"
                )
            self._persons.add(own)

    def check_found(self, some: Bytes2D) -> None:
        """Raise DeniedError unless it found every one of some persons."""
        own = np.unique(token_text(some))
        with self._lock:
            if len(self._persons.lacking(own)):
                raise DeniedError("this trace did not find that person", rule="room.persons-of-own-lookups")

    def tries(self) -> bool:
        """Take one of the tries of tokens of a form, so that none waits from before; False where none is left."""
        with self._lock:
            if self._tries >= FORM_TRIES_MAX:
                return False
            self._tries, self._try = self._tries + 1, None
            return True

    def tried(self, one: FormTry) -> None:
        """Keep a try until it is answered."""
        with self._lock:
            self._try = one

    def answer(self) -> FormTry:
        """The newest try, which is answered now; DeniedError where none waits."""
        with self._lock:
            one, self._try = self._try, None
        if one is None:
            raise DeniedError("no tokens of a form wait to be named", rule=FOREIGN_HITS, hint="try them anew")
        return one

    @contextmanager
    def weighing(self) -> Iterator[None]:
        """Weigh, once: whatever fails in it leaves it to be done."""
        with self._lock:
            if self._weighed:
                raise DeniedError(
                    "this trace was weighed already", rule="room.weighed-once", hint="other finds take another trace"
                )
            self._weighed = True
        try:
            yield
        except BaseException:
            self._weighed = False
            raise
