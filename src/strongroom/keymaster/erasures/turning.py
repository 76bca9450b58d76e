"""The epoch turn: a new root under everything, so that what was erased does not open with old backups either.

The order, and what a crash after each step leaves (`turn` again completes or undoes it):

1. *open*: every slot in force is opened, every registered copy of the key store is brought up to date. Nothing changed.
2. *make*: a new epoch key; in every slot a new key object and file, each opened again from its file. The database is
   in the old epoch: the old slots open it. The next turn destroys the new ones and begins again.
3. *switch*: one transaction rewraps everything that lies under the epoch key, moves the epoch and notes it. From here
   on the new slots open it; old ones still open old backups. The next turn goes on with step 4.
4. *copy*: every registered copy is brought up to date, and a sample of it opened under the new key.
5. *destroy*: the old slots, one after the other: key object, row, file. The next turn destroys the rest.
6. *end*: the old epoch is noted as ended. Erasures of it are final as far as its slots forget.

Rules it keeps:

1. No old slot is destroyed before every slot opens the new epoch and every copy was sampled under it. A slot or copy
   out of reach stops the turn before that.
2. Other processes notice: each transaction compares the epoch first, and who finds another opens the keymaster again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from strongroom.errors import ConflictError, StrongroomError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.database.wrapped import rewrap_all
from strongroom.keymaster.slotting import Slots, insert_slot, keeper_of
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing
from strongroom.keys.rows import Rows, counter, put, take
from strongroom.keys.slots import Keeper, Slot, destroy_slot, make_slot, slots_of

STEPS = ("open", "make", "switch", "copy", "destroy", "end")
DAY_SECONDS = 24 * 3600.0


class Copy(Protocol):
    """A registered copy of the key store."""

    @property
    def url(self) -> str:
        """Where it lies."""


class KeyCopies(Protocol):
    """The registered copies of the key store, as the turn needs them."""

    def copies(self) -> Sequence[Copy]:
        """All of them."""

    def update_copy(self, url: str) -> None:
        """Bring one up to date; UnavailableError when it is out of reach."""

    def sample_copy(self, url: str, ring: KeyRing) -> None:
        """Open a random sample of its pages with a ring; IntegrityError when one does not open."""


@dataclass(frozen=True)
class TurnReport:
    """What a turn did.

    Args:
        epoch: The epoch in force.
        wrapped: Keys wrapped anew; 0 where an unfinished turn was completed.
        slots: Slots made and tested.
        copies: Copies of the key store brought up to date and sampled.
        destroyed: Old slots destroyed.
        waits: What erasures of the ended epochs still wait for; empty when they are final.
        leaf: Log entry that notes the end.
    """

    epoch: int
    wrapped: int
    slots: int
    copies: int
    destroyed: int
    waits: tuple[str, ...]
    leaf: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _go_on(_step: str) -> None:
    """Go on after a step."""


class Turning:
    """Turns the epoch of one keymaster.

    Args:
        core: Keys and state.
        slots: Its slots.
        copies: The registered copies of the key store.
    """

    def __init__(self, core: Core, slots: Slots, copies: KeyCopies) -> None:
        self._core = core
        self._slots = slots
        self._copies = copies

    def turn(
        self,
        actor: str,
        keepers: Mapping[str, Keeper],
        copies: KeyCopies | None = None,
        *,
        after: Callable[[str], None] = _go_on,
    ) -> TurnReport:
        """Turn the epoch, or complete a turn that a crash interrupted.

        Args:
            actor: Who turns.
            keepers: What opens each slot, by the slot's name.
            copies: Other copies of the key store than the registered ones.
            after: Called with the name of each step (`STEPS`) that is done.

        Raises:
            DeniedError: The policy does not let the actor.
            UsageError, KeysError, UnavailableError: A slot or copy cannot be opened; nothing was destroyed.
        """
        core, copies = self._core, self._copies if copies is None else copies
        self._slots.allowed(actor, "turn")
        with self._locked():
            made = wrapped = 0
            if not self._unfinished():
                self._slots.all_open(keepers)
                self._slots.clean(keepers)
                for copy in copies.copies():
                    copies.update_copy(copy.url)
                after("open")
                made, wrapped = self._to_next(actor, keepers, after)
            self._slots.all_open(keepers)
            renewed = self._renew(copies)
            after("copy")
            destroyed = self._destroy_old(keepers)
            after("destroy")
            leaf = self._end(actor)
            after("end")
            waits = tuple(self.waits(core.ring.epoch - 1))
            return TurnReport(core.ring.epoch, wrapped, made, renewed, destroyed, waits, leaf)

    def age_days(self) -> float:
        """Days since the epoch in force began."""
        sql = "SELECT begun FROM epoch WHERE number = ?"
        row = self._core.state.read().execute(sql, (self._core.ring.epoch,)).fetchone()
        return float(self._core.clock() - row[0]) / DAY_SECONDS

    def waits(self, epoch: int, since: int = 1) -> list[str]:
        """What an erasure of an epoch waits for until nobody can undo it with old backups; empty when it is final.

        Args:
            epoch: The epoch in which the person was erased.
            since: The epoch in which the person's secret was made.
        """
        sql = "SELECT name, epoch, kind, forgets, gone FROM slot WHERE epoch BETWEEN ? AND ? ORDER BY epoch, name"
        found = []
        for name, number, kind, forgets, gone in self._core.state.read().execute(sql, (since, epoch)).fetchall():
            if not forgets:
                found.append(f"{kind} slot {name} of epoch {number} never forgets: whoever kept it opens old backups")
            elif gone is None:
                found.append(f"{kind} slot {name} of epoch {number} is destroyed by the next turn")
        return found

    # -- steps ----------------------------------------------------------------------------------
    def _to_next(self, actor: str, keepers: Mapping[str, Keeper], after: Callable[[str], None]) -> tuple[int, int]:
        """Steps 2 and 3; returns how many slots were made and keys wrapped."""
        core = self._core
        newer = KeyRing(core.room_id, core.ring.epoch + 1, core.entropy(KEY_BYTES))
        made: list[tuple[Slot, Keeper]] = []
        try:
            for state in self._slots.all():
                keeper = keeper_of(keepers, state.name)
                slot = make_slot(self._slots.folder, state.name, keeper, newer, core.clock(), core.entropy)
                made.append((slot, keeper))
            after("make")
            wrapped = self._switch(actor, newer, made)
        except BaseException:
            if self._in_force() != newer.epoch:
                self._undo(made)
            raise
        after("switch")
        return len(made), wrapped

    def _undo(self, made: Sequence[tuple[Slot, Keeper]]) -> None:
        for slot, keeper in made:
            # what cannot be destroyed now is named by its file, and destroyed by the next turn
            with suppress(StrongroomError, OSError):
                destroy_slot(slot, keeper)

    def _switch(self, actor: str, newer: KeyRing, made: Sequence[tuple[Slot, Keeper]]) -> int:
        core, ring = self._core, self._core.ring
        older = KeyRing(core.room_id, ring.epoch, ring.epoch_key())
        ring.admit(newer)

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "turn"))
            if ring.epoch != older.epoch:
                raise ConflictError("the epoch was turned meanwhile")
            now = core.journal.now(rows)
            extras = {"epoch": newer.epoch, "slots": len(made)}
            entry = core.journal.entry(rows, "turn", actor, extras=extras)
            leaf = core.journal.note(rows, entry)
            wrapped = rewrap_all(rows, older, newer)
            rows.execute("UPDATE room SET epoch = ?", (newer.epoch,))
            put(rows, "epoch", newer.epoch)
            rows.execute("INSERT INTO epoch VALUES (?, ?, NULL)", (newer.epoch, now))
            for slot, keeper in made:
                insert_slot(rows, slot, keeper, now)
            rows.execute("UPDATE generation SET stamp = stamp + 1")
            take(rows, "pages")
            ring.put_in_force(newer.epoch)
            return {"leaf": leaf, "wrapped": wrapped}

        try:
            wrapped: int = core.act("turn", actor, work)["wrapped"]
        except BaseException:
            # a commit can fail and yet be done: the database says
            ring.put_in_force(self._in_force())
            ring.drop_others()
            raise
        return wrapped

    def _renew(self, copies: KeyCopies) -> int:
        """Step 4."""
        found = copies.copies()
        for copy in found:
            copies.update_copy(copy.url)
            copies.sample_copy(copy.url, self._core.ring)
        return len(found)

    def _destroy_old(self, keepers: Mapping[str, Keeper]) -> int:
        """Step 5."""
        core = self._core
        old = [slot for slot in slots_of(self._slots.folder) if slot.head.epoch < core.ring.epoch]
        for slot in old:
            keeper_of(keepers, slot.name)  # asked for all before the first is destroyed
        for slot in old:
            keepers[slot.name].destroy(slot.head)
            self._mark_gone(slot)
            destroy_slot(slot, keepers[slot.name])
        # a file that somebody took away names a key that nobody destroyed: no erasure is final against who has it
        lost = "UPDATE slot SET gone = ?, forgets = 0 WHERE epoch < ? AND gone IS NULL"
        core.run(lambda rows: rows.execute(lost, (core.journal.now(rows), core.ring.epoch)))
        return len(old)

    def _mark_gone(self, slot: Slot) -> None:
        core = self._core
        gone = "UPDATE slot SET gone = ? WHERE name = ? AND epoch = ? AND gone IS NULL"
        mark = (slot.name, slot.head.epoch)
        core.run(lambda rows: rows.execute(gone, (core.journal.now(rows), *mark)))

    def _end(self, actor: str) -> int:
        """Step 6."""
        core = self._core

        def work(rows: Rows) -> Answer:
            now = core.journal.now(rows)
            rows.execute("UPDATE epoch SET ended = ? WHERE number < ? AND ended IS NULL", (now, core.ring.epoch))
            extras: dict[str, int | str] = {"epoch": core.ring.epoch, "ended": core.ring.epoch - 1}
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "turn", actor, extras=extras))}

        leaf: int = core.act("turn", actor, work)["leaf"]
        core.ring.drop_others()
        return leaf

    # -- where it stands ------------------------------------------------------------------------
    def _unfinished(self) -> bool:
        sql = "SELECT 1 FROM epoch WHERE number < ? AND ended IS NULL"
        return self._core.state.read().execute(sql, (self._core.ring.epoch,)).fetchone() is not None

    def _in_force(self) -> int:
        return counter(self._core.state.read(), "epoch")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One turn at a time, over all processes; a crash lets go."""
        with ExitStack() as held:
            try:
                held.enter_context(self._core.state.exclusive("turn", wait=False))
            except ConflictError:
                raise UsageError("another process turns the epoch or rotates a key now") from None
            yield
