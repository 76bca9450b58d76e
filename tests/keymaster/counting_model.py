"""What charging distinct persons changes, said person by person: what the ledger's counting is held against."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

NEVER = -1


@dataclass(frozen=True)
class Charge:
    """What charging persons changes in one scope and window.

    Args:
        new: Persons who were not in the window yet.
        slot: The slot that every charged person is now last seen in.
        deltas: Slot to change of its count; slots that no longer count are left out.
    """

    new: int
    slot: int
    deltas: Mapping[int, int]


def charge_persons(limit, now, last_seen):
    """What to change when these distinct persons are charged now.

    Args:
        limit: Scope and window.
        now: Seconds since 1970, already not below the last logged time.
        last_seen: Per person the slot last seen in this scope and window, i64[n]; NEVER if not seen.
    """
    slot, first = limit.slot(now), limit.first_slot(now)
    inside = last_seen[last_seen >= max(first, 0)]
    new = int(last_seen.size - inside.size)
    slots, counts = np.unique(inside, return_counts=True)
    deltas = {int(s): -int(c) for s, c in zip(slots, counts, strict=True)}
    deltas[slot] = deltas.get(slot, 0) + int(last_seen.size)
    return Charge(new, slot, {s: d for s, d in deltas.items() if d})
