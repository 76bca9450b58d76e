"""The alarm of canary persons: what a release says where one of them is read, and who is told.

Rules it keeps:

1. An alarm is no entry of its own: it stands in the second line of the entry of the release that set it off. So no
   answer, no number of entries and nothing in the published log tells it (decision 56).
2. Whoever has the act `log` sees it. Nobody sees it in what they did themselves.
3. What is read to plant others leaves canaries out, and no export sets it off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.keymaster.behind import PersonsBehind
from strongroom.keymaster.readings import Reading
from strongroom.keys.rows import Rows

ALARM = "alarm"
"""In the extras of an entry: how many canaries were among its persons."""
TEST = "test"
"""Beside it, where all of them were drawn for a test in that reading."""

U8 = npt.NDArray[np.uint8]


class Register(Protocol):
    """What a release asks of the register of canaries."""

    def found_in(self, rows: Rows, asked: U8) -> list[int]:
        """Which of some persons are canaries, by position; asked by subject tokens u8[n,16], within a transaction."""


def alarm(register: Register, rows: Rows, reading: Reading, tokens: U8) -> dict[str, int]:
    """What an entry says besides, where canaries are among its persons; nothing where there are none.

    Args:
        register: Of canaries.
        rows: The transaction that notes it.
        reading: Who reads.
        tokens: Distinct subject tokens of the persons, u8[n,16].
    """
    hits = register.found_in(rows, tokens)
    if not hits:
        return {}
    own = {tokens[at].tobytes() for at in hits}
    return {ALARM: len(hits), TEST: 1} if own <= reading.trials else {ALARM: len(hits)}


def people_alone(register: Register, rows: Rows, behind: PersonsBehind, asked: U8) -> PersonsBehind:
    """The persons behind some rows, u8[n,16], without canaries: as if these were not there."""
    hits = register.found_in(rows, asked)
    if not hits:
        return behind
    gone = np.zeros(len(asked), np.bool_)
    gone[hits] = True
    return behind.without(gone, asked)


def without_alarms(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries as their own actor sees them: whoever read a canary is not told."""
    return [_quiet(entry) if ALARM in entry.get("extras", ()) else entry for entry in entries]


def _quiet(entry: dict[str, Any]) -> dict[str, Any]:
    rest = {name: said for name, said in entry["extras"].items() if name not in {ALARM, TEST}}
    bare = {name: said for name, said in entry.items() if name != "extras"}
    return {**bare, "extras": rest} if rest else bare
