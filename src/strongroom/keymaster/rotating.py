"""Rotate the keys that lie at the keymaster: a root slot, and the keys of key pages.

Rules it keeps:

1. Nothing stops: reads and puts go on beside it, and see keys before or after, never between.
2. Page keys go a bounded number a call. What is due is listed when a rotation begins; pages made later have new keys.
3. Each act is asked of the policy and noted.

The epoch is rotated by `turning`, index and file keys by the room (`write.rotate`), the signing key by `resigning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from strongroom.errors import UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.slotting import Slots
from strongroom.keys.rows import Rows
from strongroom.keys.slots import Keeper

PAGES_AT_ONCE = 256


@dataclass(frozen=True)
class PagesReport:
    """Pages written anew by this call, and those that a further call writes."""

    pages: int
    left: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Rotating:
    """Rotates keys of one keymaster."""

    def __init__(self, core: Core, slots: Slots) -> None:
        self._core = core
        self._slots = slots

    def root(self, actor: str, old: str, old_keeper: Keeper | None, new: str, new_keeper: Keeper) -> None:
        """Put a new slot in the place of one: the new one is made and tested before the old one is destroyed.

        Args:
            actor: Who does it.
            old: Name of the slot that goes.
            old_keeper: What opens it; None if it is lost.
            new: Name of the slot that comes.
            new_keeper: What opens that.
        """
        if old == new:
            raise UsageError("the new slot needs another name")
        self._slots.add(actor, new, new_keeper)
        self._slots.remove(actor, old, old_keeper)

    def pages(self, actor: str, most: int) -> PagesReport:
        """Write up to `most` key pages anew under new keys; begins a rotation when none is under way."""
        core = self._core
        if most < 1:
            raise UsageError("at least one page is written")
        self._slots.allowed(actor, "rotate")

        def begin(rows: Rows) -> Answer:
            if rows.execute("SELECT 1 FROM page_due LIMIT 1").fetchone() is None:
                rows.execute("INSERT INTO page_due SELECT id FROM page")
            return {"due": rows.execute("SELECT count(*) FROM page_due").fetchone()[0]}

        core.run(begin)
        done = left = 0
        while done < most:
            pages, left = core.keys.renew(min(PAGES_AT_ONCE, most - done))
            done += pages
            if not pages or not left:
                break
        self._note(actor, {"what": "page", "pages": done, "left": left})
        return PagesReport(done, left)

    def _note(self, actor: str, extras: Mapping[str, int | str]) -> None:
        core = self._core

        def work(rows: Rows) -> Answer:
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "rotate", actor, extras=extras))}

        core.act("rotate", actor, work)
