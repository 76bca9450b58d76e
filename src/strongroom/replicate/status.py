"""Says how old each copy of the bucket is, and what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.errors import StrongroomError
from strongroom.replicate.plan import plan_of
from strongroom.replicate.transfer import missing

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster
    from strongroom.store.base import Store


@dataclass(frozen=True)
class CopyStatus:
    """One copy, as it is now.

    Attributes:
        url: Where it is.
        snapshot: The newest snapshot that it holds whole.
        behind: How many snapshots the room is ahead of it.
        age_seconds: Since it was finished.
        missing_objects: Objects of the room's kept snapshots that it lacks.
        missing_bytes: Their bytes.
        problem: Why it could not be looked at; empty if it could.
    """

    url: str
    snapshot: int
    behind: int
    age_seconds: float
    missing_objects: int = 0
    missing_bytes: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def copy_status(
    store: Store,
    keymaster: Keymaster,
    actor: str,
    open_store: Callable[[str], Store],
    *,
    now: Callable[[], float] = time.time,
) -> list[CopyStatus]:
    """Look at every copy that was made; see `Room.copies`.

    Args:
        store: The bucket.
        keymaster: Knows the copies.
        actor: Who asks.
        open_store: Opens the store of a URL, without making it.
        now: Seconds since 1970.
    """
    lease = keymaster.begin_maintenance(actor=actor, verb="copy")
    try:
        newest = Catalog(store, keymaster.room_id, keymaster.head(), lease_block_keys(keymaster, lease))
        plan = plan_of(newest)
    finally:
        keymaster.abandon(lease)
    found = []
    for known in keymaster.bucket_copies():
        behind, age = newest.head.number - known.snapshot, max(0.0, now() - known.made)
        try:
            there = _listed(open_store(known.url))
        except StrongroomError as error:
            found.append(CopyStatus(known.url, known.snapshot, behind, age, problem=str(error)))
            continue
        lost = missing(dict(there), plan.items())
        found.append(
            CopyStatus(known.url, known.snapshot, behind, age, len(lost), sum(item.length for item in lost))
        )
    return found


def _listed(store: Store) -> Iterable[tuple[str, int]]:
    try:
        return list(store.list())
    finally:
        store.close()
