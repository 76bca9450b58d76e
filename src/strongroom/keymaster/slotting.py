"""The slots of one keymaster: which there are, a new one, one taken away, each tested.

Rules it keeps:

1. The database lists every slot there ever was, by name and epoch: what kind, made and tested when, gone when. A slot
   whose file is missing is noticed, and a turn waits for it.
2. The last slot stays; a host that is not embedded keeps two.
3. A slot file with no key, or of an epoch that never came into force, was left by a crash and is destroyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import ConflictError, IntegrityError, KeysError, NotFoundError, UsageError
from strongroom.keymaster.core import Answer, Core
from strongroom.keys.rows import Rows
from strongroom.keys.slots import Keeper, Slot, check_slot, destroy_slot, make_slot, slot_named, slots_of

EMBEDDED_SLOTS_MIN = 1
SLOTS_MAX = 16


@dataclass(frozen=True)
class SlotState:
    """One slot as it stands. Times are seconds since 1970; `there` says whether its file is."""

    name: str
    kind: str
    epoch: int
    made: float
    tested: float
    forgets: bool
    there: bool


class Slots:
    """The slots in a keymaster's folder.

    Args:
        core: Keys and state.
        folder: Where slot files lie.
        least: How many must stay.
    """

    def __init__(self, core: Core, folder: Path, least: int = EMBEDDED_SLOTS_MIN) -> None:
        self._core = core
        self.folder = folder
        self._least = least

    def all(self) -> list[SlotState]:
        """The slots of the epoch in force, in order of name."""
        there = {slot.name for slot in slots_of(self.folder, self._core.ring.epoch) if slot.finished}
        sql = "SELECT name, kind, epoch, made, tested, forgets FROM slot WHERE epoch = ? AND gone IS NULL ORDER BY name"
        rows = self._core.state.read().execute(sql, (self._core.ring.epoch,)).fetchall()
        return [
            SlotState(name, kind, epoch, made, tested, bool(forgets), name in there)
            for name, kind, epoch, made, tested, forgets in rows
        ]

    def add(self, actor: str, name: str, keeper: Keeper) -> SlotState:
        """Make one more slot, tested.

        Raises:
            ConflictError: There is one of that name, or another in that token.
            DeniedError: The policy does not let the actor.
        """
        core = self._core
        self.allowed(actor, "slots")
        states = self.all()
        if any(state.name == name for state in states) or len(states) >= SLOTS_MAX:
            raise ConflictError(f"slot {name} exists, or there are {SLOTS_MAX} already")
        self.clean({name: keeper})
        slot = make_slot(self.folder, name, keeper, core.ring, core.clock(), core.entropy)

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "slots"))
            insert_slot(rows, slot, keeper, core.journal.now(rows))
            return self._note(rows, actor, {"slot": name, "kind": keeper.kind, "change": "add"})

        try:
            core.act("slots", actor, work)
        except BaseException:
            # the commit may have failed and yet be done: only a slot that no row names is taken back
            if not any(state.name == name for state in self.all()):
                destroy_slot(slot, keeper)
            raise
        return next(state for state in self.all() if state.name == name)

    def remove(self, actor: str, name: str, keeper: Keeper | None) -> None:
        """Take a slot away, never the last.

        Args:
            actor: Who does it.
            name: Which.
            keeper: What opens it; None for a slot that is lost: its key is not destroyed then, and no erasure up to
                now is ever final against who finds it.
        """
        core = self._core
        self.allowed(actor, "slots")
        others = [state for state in self.all() if state.name != name and state.there]
        if len(others) == len(self.all()):
            raise NotFoundError(f"there is no slot {name}")
        if len(others) < self._least:
            raise UsageError(f"slot {name} stays: at least {self._least} must be left", hint="add another slot first")
        if keeper is not None:
            slot = slot_named(self.folder, name, core.ring.epoch)
            if not keeper.owns(slot.head):
                raise KeysError(f"slot {name} is of another kind or token")
            check_slot(slot, keeper, core.ring)

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "slots"))
            now = core.journal.now(rows)
            sql = "UPDATE slot SET gone = ?, forgets = forgets * ? WHERE name = ? AND epoch = ?"
            rows.execute(sql, (now, keeper is not None, name, core.ring.epoch))
            return self._note(rows, actor, {"slot": name, "change": "remove", "lost": int(keeper is None)})

        if keeper is not None:
            destroy_slot(slot, keeper)
        core.act("slots", actor, work)
        if keeper is None:
            for left in slots_of(self.folder, core.ring.epoch):
                if left.name == name:
                    left.path.unlink(missing_ok=True)

    def _note(self, rows: Rows, actor: str, extras: Mapping[str, int | str]) -> Answer:
        core = self._core
        entry = core.journal.entry(rows, "slots", actor, extras={**extras, "epoch": core.ring.epoch})
        return {"leaf": core.journal.note(rows, entry)}

    # -- for turns ------------------------------------------------------------------------------
    def allowed(self, actor: str, act: str) -> None:
        """Ask the policy before anything is touched; a refusal is noted and raised."""
        core = self._core
        core.standing.refresh()
        decision = core.standing.decider.decide_act(actor, act)
        if not decision.allowed:

            def refuse(_rows: Rows) -> Answer:
                core.standing.require(decision)
                return {"leaf": -1}

            core.act(act, actor, refuse)

    def all_open(self, keepers: Mapping[str, Keeper]) -> list[Slot]:
        """Every slot in force, each opened with its keeper just now.

        Raises:
            UsageError: A slot has no keeper.
            IntegrityError: The file of a slot is missing, or it gives another key.
            KeysError, UnavailableError: A slot does not open.
        """
        found = {slot.name: slot for slot in slots_of(self.folder, self._core.ring.epoch) if slot.finished}
        for state in self.all():
            if state.name not in found:
                raise IntegrityError(
                    f"the file of slot {state.name} is missing", hint="bring it back, or remove the slot as lost"
                )
            keeper = keeper_of(keepers, state.name)
            if not keeper.owns(found[state.name].head):
                raise KeysError(f"slot {state.name} is of another kind or token")
            check_slot(found[state.name], keeper, self._core.ring)
        return [found[state.name] for state in self.all()]

    def clean(self, keepers: Mapping[str, Keeper]) -> None:
        """Destroy what a crash left: slots without a key, or of an epoch that no row knows."""
        rows = self._core.state.read()
        known = {tuple(row) for row in rows.execute("SELECT name, epoch FROM slot").fetchall()}
        for slot in slots_of(self.folder):
            if not slot.finished or (slot.name, slot.head.epoch) not in known:
                destroy_slot(slot, keeper_of(keepers, slot.name))


def keeper_of(keepers: Mapping[str, Keeper], name: str) -> Keeper:
    """The keeper of a slot; UsageError if none was given."""
    keeper = keepers.get(name)
    if keeper is None:
        hint = f"give its passphrase or PIN: --slot {name}=FILE"
        raise UsageError(f"slot {name} has to be opened for this", hint=hint)
    return keeper


def insert_slot(rows: Rows, slot: Slot, keeper: Keeper, now: float) -> None:
    """Remember a slot that was made and tested."""
    sql = "INSERT INTO slot VALUES (?, ?, ?, ?, ?, ?, NULL)"
    rows.execute(sql, (slot.name, slot.head.epoch, keeper.kind, keeper.forgets, slot.head.made, now))
