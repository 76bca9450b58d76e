"""Say what an erasure would do, before it does anything: who is there, who is held, which tables hold records of them.

Rules it keeps:

1. No value is opened, and no budget is spent: entries are counted under tokens.
2. One identifier may be normalised otherwise by different tables; whoever it means in any of them is meant.
3. An identifier that nobody has is refused, and nobody is erased beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import NotFoundError, UsageError
from strongroom.index.dead import HIGHEST, LOWEST, pieces
from strongroom.keymaster.api import Buried
from strongroom.keymaster.erasures.api import ERASED, HELD, PRESENT, UNKNOWN
from strongroom.schema.normalise import normalise

if TYPE_CHECKING:
    from strongroom.keymaster.api import Bytes2D, Keymaster, Lease
    from strongroom.read.session import Session

COUNTED_PERSONS_MAX = 1_000
PERSONS_MAX = 1_000_000


@dataclass(frozen=True)
class ErasePlan:
    """What an erasure would do.

    Args:
        asked: How many subjects were named.
        persons: How many have a secret and are not held: they would be erased.
        held: How many are under a legal hold.
        erased: How many are erased already.
        records: Live records by table; None for more than COUNTED_PERSONS_MAX subjects.
        tokens: Whom it is about, u8[n,16].
    """

    asked: int
    persons: int
    held: int
    erased: int
    records: dict[str, int] | None
    tokens: Bytes2D = field(repr=False)

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        names = ("asked", "persons", "held", "erased", "records")
        return {name: getattr(self, name) for name in names}


def identifiers_of(keymaster: Keymaster, subjects: Sequence[str]) -> list[list[str | None]]:
    """Canonical forms of each subject: one list for each way in which a table normalises its subjects."""
    import pyarrow as pa

    column = pa.array([str(subject) for subject in subjects], pa.string())
    ways = dict.fromkeys(table.subject_field.normalise for table in keymaster.schema().tables.values())
    return [normalise(column, steps).to_pylist() if steps else column.to_pylist() for steps in ways]


def make_plan(session: Session, lease: Lease, subjects: Sequence[str]) -> ErasePlan:
    """Make the plan; see `Room.erase`.

    Raises:
        NotFoundError: A subject was never seen in this room.
        UsageError: Nobody was named, or too many.
    """
    import pyarrow as pa

    keymaster = session.keymaster
    if not 0 < len(subjects) <= PERSONS_MAX:
        raise UsageError(f"erase 1 to {PERSONS_MAX} subjects at once")
    best = np.full(len(subjects), UNKNOWN, np.uint8)
    found: list[Bytes2D] = []
    counts = dict.fromkeys((PRESENT, HELD, ERASED), 0)
    seen: set[bytes] = set()
    for forms in identifiers_of(keymaster, subjects):
        there = [at for at, form in enumerate(forms) if form]
        if not there:
            continue
        plan = keymaster.erasures.plan(lease, pa.array([forms[at] for at in there], pa.string()))
        best[there] = np.where(plan.states == UNKNOWN, best[there], plan.states)
        known = plan.tokens[plan.states != UNKNOWN]
        for token, state in zip(known, plan.states[plan.states != UNKNOWN].tolist(), strict=True):
            name = token.tobytes()
            if name not in seen:
                seen.add(name)
                counts[state] += 1
        found.append(known)
    _refuse_unknown(best)
    tokens = np.unique(np.concatenate(found), axis=0)
    records = _records(session, lease, tokens) if len(tokens) <= COUNTED_PERSONS_MAX else None
    return ErasePlan(len(subjects), counts[PRESENT], counts[HELD], counts[ERASED], records, tokens)


def _refuse_unknown(states: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
    unknown = np.flatnonzero(states == UNKNOWN)
    if not unknown.size:
        return
    if len(states) == 1:
        raise NotFoundError("no such subject in this room")
    raise NotFoundError(
        f"{unknown.size} of {len(states)} subjects were never seen in this room, the first is number {unknown[0] + 1}",
        hint="nobody was erased",
    )


def _records(session: Session, lease: Lease, tokens: Bytes2D) -> dict[str, int]:
    """Live records by table."""
    keymaster = session.keymaster
    block_keys = lease_block_keys(keymaster, lease)
    finder = session.finder(session.catalog(block_keys), block_keys)
    names = [token.tobytes() for token in tokens]
    counted = {}
    for table in keymaster.schema().tables.values():
        buried = _buried(keymaster, lease, table.name, tokens)
        rows = finder.records_of(table, names, buried)
        number = sum(len(entries) for entries in rows)
        if number:
            counted[table.name] = number
    return counted


def _buried(keymaster: Keymaster, lease: Lease, table: str, tokens: Bytes2D) -> Buried:
    """What is dead of some persons: their part of the tombstones."""
    wanted = {token.tobytes() for token in tokens}
    horizon, kept, sequences = 0, list[bytes](), list[int]()
    for some in pieces(lambda low, high: keymaster.erasures.buried(lease, table, low, high), LOWEST, HIGHEST):
        horizon = some.horizon
        for token, sequence in zip(some.tokens, some.sequences.tolist(), strict=True):
            if token.tobytes() in wanted:
                kept.append(token.tobytes())
                sequences.append(sequence)
    return Buried(horizon, np.frombuffer(b"".join(kept), np.uint8).reshape(-1, 16), np.array(sequences, np.uint64))
