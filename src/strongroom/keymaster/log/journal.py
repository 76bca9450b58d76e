"""Note what happened: leaves in the transaction that caused them, labels and reasons sealed beside, tiles after.

Rules it keeps:

1. A leaf gets its number in the transaction that it covers; numbers have no gaps, times never go back.
2. An entry holds no personal data: persons stand as a root over day labels, the reason as a keyed hash. Labels and
   reason lie sealed under a key of their month; without that key they are gone.
3. Labels are made with the key of the day in whose map they stand: the entry's own, or a later one where the purpose
   delays what it tells the person. Nothing of the earlier day names such a person then.
4. Tiles and checkpoint are derived from committed leaves by one process at a time, and may be made again.
"""

from __future__ import annotations

import hashlib
import hmac
import time as calendar
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import SALT_BYTES
from strongroom.audit.entry import Entry, labels_root
from strongroom.audit.tlog import leaf_hash
from strongroom.keymaster.database.state import State
from strongroom.keymaster.database.wrapped import day_context
from strongroom.keymaster.holder import through
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing
from strongroom.keys.rows import Rows
from strongroom.seal.tokens import OneMac, cmac_column
from strongroom.seal.wrap import unwrap, wrap

if TYPE_CHECKING:
    from strongroom.keymaster.standing import Standing

DAY_SECONDS = 24 * 3600
_MONTH_KEY_BYTES = 64


@dataclass(frozen=True)
class Labels:
    """Day labels of an entry's persons: their root, the day in whose map they stand, its month, and themselves."""

    root: bytes
    day: int
    month: bytes
    plain: bytes = field(repr=False)


@dataclass(frozen=True)
class DayKeys:
    """The key of a day, which makes labels, and that of its month, which seals them."""

    day: bytes = field(repr=False)
    month: bytes = field(repr=False)


Labeller = Callable[[npt.NDArray[np.uint8]], Labels]
"""Day labels of persons by distinct tokens u8[n,16]."""


def _labelled(day: int, key: bytes, month: bytes, tokens: npt.NDArray[np.uint8]) -> Labels:
    column = cmac_column(key, tokens)
    return Labels(labels_root(column), day, month, column.tobytes())


class Journal:
    """Writes leaves.

    Args:
        state: The database.
        ring: Wraps month keys.
        standing: Says which policy is in force.
        clock: Seconds since 1970.
        entropy: Gives keys.
    """

    def __init__(
        self,
        state: State,
        ring: KeyRing,
        standing: Standing,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._state = state
        self._ring = ring
        self._standing = standing
        self._clock = clock
        self._entropy = entropy
        self._epoch = -1
        self._next = 0
        self._last_ms = 0
        self._months: dict[bytes, bytes] = {}
        self._days: dict[int, tuple[bytes, bytes]] = {}
        self._mac: tuple[bytes, OneMac | None] = (b"", None)

    def forget(self) -> None:
        """Drop month and day keys."""
        self._months.clear()
        self._days.clear()
        self._mac = (b"", None)

    def undone(self) -> None:
        """Forget what an undone part may have made: keys, and a leaf's number."""
        self._epoch = -1

    def _fresh(self, rows: Rows) -> None:
        if self._epoch == self._state.epoch:
            return
        row = rows.execute("SELECT number, time FROM leaf ORDER BY number DESC LIMIT 1").fetchone()
        self._next, self._last_ms = (0, 0) if row is None else (row[0] + 1, row[1])
        # keys made in a transaction that was undone must be forgotten with it
        self.forget()
        self._epoch = self._state.epoch

    def now(self, rows: Rows) -> float:
        """Seconds since 1970, never below the time of the last leaf."""
        self._fresh(rows)
        return max(self._clock(), self._last_ms / 1000)

    def entry(self, rows: Rows, act: str, actor: str, **parts: object) -> bytes:
        """The bytes of an entry as it would be noted now; allowed unless `parts` say otherwise.

        Of one with `labels` (`Labels`), what its persons may not read goes into a second line; a day of
        theirs that is not the entry's own is stated.
        """
        now = max(int(self.now(rows) * 1000), self._last_ms)
        said: dict[str, Any] = {
            "decision": "allowed",
            "policy": self._standing.policy_number,
            "credential": through().credential or None,
            **parts,
        }
        labels = parts.get("labels")
        if isinstance(labels, Labels):
            said |= {"labels": labels.root, "salt": self._entropy(SALT_BYTES)}
            if labels.day != now // (1000 * DAY_SECONDS):  # delayed, or midnight lay between
                said["disclosed"] = labels.day
        return Entry(now, act, actor, **said).to_bytes()

    def note(self, rows: Rows, entry: bytes) -> int:
        """Insert an entry made by `entry` in this transaction; returns its leaf number."""
        self._fresh(rows)
        now = max(int(self.now(rows) * 1000), self._last_ms)
        number = self._next
        rows.execute("INSERT INTO leaf VALUES (?, ?, ?)", (number, now, entry))
        self._next, self._last_ms = number + 1, now
        return number

    def note_because(self, rows: Rows, act: str, actor: str, reason: str, **parts: object) -> tuple[int, bytes]:
        """Note an act and why, with the labels of its persons where there are any.

        Returns:
            The leaf's number, and the reason's keyed hash, which the entry has.
        """
        digest, month, sealed = self._reason(rows, reason)
        leaf = self.note(rows, self.entry(rows, act, actor, reason=digest, **parts))
        labels = parts.get("labels")
        if isinstance(labels, Labels):
            self.keep_labels(rows, leaf, labels)
        rows.execute("INSERT INTO leaf_reason VALUES (?, ?, ?)", (leaf, month, sealed))
        return leaf, digest

    # -- labels ---------------------------------------------------------------------------------
    def labels(self, rows: Rows, tokens: npt.NDArray[np.uint8], delay_days: int = 0) -> Labels:
        """Day labels of persons by distinct tokens u8[n,16], for the map of the day that is so many days away."""
        day = self.label_day(rows, delay_days)
        key, month = self._day(rows, day)
        if len(tokens) == 1:
            labels = self._label(key, tokens.tobytes())
            return Labels(leaf_hash(labels), day, month, labels)
        return _labelled(day, key, month, tokens)

    def label_day(self, rows: Rows, delay_days: int) -> int:
        """The day in whose map labels of an entry of now stand."""
        return int(self.now(rows)) // DAY_SECONDS + delay_days

    def labeller(self, rows: Rows, delay_days: int) -> Labeller:
        """Makes labels outside a transaction, for many persons; whoever notes them asks `label_day` again."""
        day = self.label_day(rows, delay_days)
        key, month = self._day(rows, day)
        return lambda tokens: _labelled(day, key, month, tokens)

    def _label(self, key: bytes, token: bytes) -> bytes:
        """The label of one person under a day's key, whose schedule is kept for the day that is current."""
        known, mac = self._mac
        if known != key or mac is None:
            mac = OneMac(key)
            self._mac = (key, mac)
        return mac.of(token)

    def keep_labels(self, rows: Rows, leaf: int, labels: Labels) -> None:
        """Keep the labels of a leaf, sealed."""
        sealed = wrap(self._month(rows, labels.month)[:KEY_BYTES], labels.plain, labels_bound(leaf, labels.day))
        rows.execute("INSERT INTO leaf_labels VALUES (?, ?, ?, ?)", (leaf, labels.day, labels.month, sealed))

    def day_keys(self, rows: Rows, day: int) -> DayKeys | None:
        """The keys of a day that somebody was read in; None where there are none, or none any more."""
        sql = (
            "SELECT day_key.wrapped, month, m.wrapped FROM day_key JOIN wrapped_key m"
            " ON m.purpose = 'month' AND m.id = day_key.month WHERE day = ?"
        )
        row = rows.execute(sql, (day,)).fetchone()
        if row is None:
            return None
        month = self._ring.unwrap("month", row[1], row[2])[:KEY_BYTES]
        return DayKeys(unwrap(month, row[0], day_context(self._ring, day)), month)

    # -- reasons --------------------------------------------------------------------------------
    def _reason(self, rows: Rows, text: str) -> tuple[bytes, bytes, bytes]:
        """A reason's keyed hash (HMAC-SHA-256), month, and sealed text."""
        month = _month_of(int(self.now(rows)) // DAY_SECONDS)
        key = self._month(rows, month)
        digest = hmac.new(key[KEY_BYTES:], text.encode(), hashlib.sha256).digest()
        return digest, month, wrap(key[:KEY_BYTES], text.encode(), b"reason" + digest)

    def seal_text(self, rows: Rows, text: str, what: bytes) -> tuple[bytes, bytes]:
        """A text that is kept as long as reasons are: month, and the text sealed for what it is."""
        month = _month_of(int(self.now(rows)) // DAY_SECONDS)
        return month, wrap(self._month(rows, month)[:KEY_BYTES], text.encode(), b"text" + what)

    def open_text(self, rows: Rows, month: bytes, sealed: bytes, what: bytes) -> str:
        """What `seal_text` sealed; empty when the key of its month was destroyed."""
        key = self._months.get(month)
        if key is None:
            sql = "SELECT wrapped FROM wrapped_key WHERE purpose = 'month' AND id = ?"
            row = rows.execute(sql, (month,)).fetchone()
            if row is None:
                return ""
            key = self._ring.unwrap("month", month, row[0])
        return unwrap(key[:KEY_BYTES], sealed, b"text" + what).decode()

    # -- keys of months and days ----------------------------------------------------------------
    def _month(self, rows: Rows, month: bytes) -> bytes:
        key = self._months.get(month)
        if key is None:
            sql = "SELECT wrapped FROM wrapped_key WHERE purpose = 'month' AND id = ?"
            row = rows.execute(sql, (month,)).fetchone()
            if row is None:
                key = self._entropy(_MONTH_KEY_BYTES)
                wrapped = self._ring.wrap("month", month, key)
                rows.execute("INSERT INTO wrapped_key VALUES ('month', ?, ?)", (month, wrapped))
            else:
                key = self._ring.unwrap("month", month, row[0])
            self._months[month] = key
        return key

    def _day(self, rows: Rows, day: int) -> tuple[bytes, bytes]:
        known = self._days.get(day)
        if known is None:
            row = rows.execute("SELECT month, wrapped FROM day_key WHERE day = ?", (day,)).fetchone()
            month = _month_of(day) if row is None else row[0]
            wrapping = self._month(rows, month)[:KEY_BYTES]
            ad = day_context(self._ring, day)
            if row is None:
                key = self._entropy(KEY_BYTES)
                rows.execute("INSERT INTO day_key VALUES (?, ?, ?)", (day, month, wrap(wrapping, key, ad)))
            else:
                key = unwrap(wrapping, row[1], ad)
            known = self._days[day] = (key, month)
        return known


@lru_cache(64)
def _month_of(day: int) -> bytes:
    """The month of a day since 1970: as good as every entry is of the same day."""
    return calendar.strftime("%Y-%m", calendar.gmtime(day * DAY_SECONDS)).encode()


def labels_bound(leaf: int, day: int) -> bytes:
    """Associated data of a sealed list of labels."""
    return b"strongroom labels" + leaf.to_bytes(8, "little") + day.to_bytes(8, "little")
