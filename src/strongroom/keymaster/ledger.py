"""Count persons, look-ups and records against budgets, exactly, within a transaction.

Rules it keeps:

1. `plan` reads and refuses, `apply` writes: between the two nothing else happens in the transaction.
2. A person counts once in a scope and window. One row per scope and person says when the person was last
   released, or one bitmap for many at once (`seenmaps`); the counts of slots follow from them.
3. Counts are cached while nobody else writes; they are written once per commit, by `flush`.
4. What a lease reserves is spent at once. If it ends without a commit that is given back, once, and of each scope in a
   window no more than the scope's limit again.

The arithmetic of windows and slots is in `purpose.budget`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pyroaring import BitMap64

from strongroom.keymaster.database.state import State
from strongroom.keymaster.seenmaps import SLOT_SECONDS, SeenMaps, bitmap, last_seen
from strongroom.keys.rows import Rows, counter, put
from strongroom.purpose.budget import MONTH_SECONDS, Limit, check_fits, remaining, window_limit

ASKED_ONE_BY_ONE_MAX = 32
ROWS_MOST = 4096
"""Persons charged at once that have a row each; more have a bitmap."""
PRUNE_SECONDS = 24 * 3600
RETURNED = "returned"

Counts = dict[int, int]
"""By slot."""
Ordinals = Sequence[int] | BitMap64

_SEE_ONE = "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (scope, ordinal) DO UPDATE SET at = excluded.at"
_SEE_MANY = (
    "INSERT INTO seen SELECT ?, ordinal, ? FROM asked WHERE true"
    " ON CONFLICT (scope, ordinal) DO UPDATE SET at = excluded.at"
)


class _Window:
    """What one scope spent in one window: by slot, and the sum of the slots that count, which is not added up anew.

    Slots are kept for a month, so that there may be thousands.
    """

    __slots__ = ("_first", "_sum", "slots")

    def __init__(self, slots: Counts) -> None:
        self.slots = slots
        self._first, self._sum = 0, sum(slots.values())

    def since(self, first: int) -> int:
        """The sum from a slot on."""
        if first != self._first:
            self._first, self._sum = first, sum([count for slot, count in self.slots.items() if slot >= first])
        return self._sum

    def add(self, slot: int, delta: int) -> None:
        """Change the count of a slot."""
        self.slots[slot] = self.slots.get(slot, 0) + delta
        if slot >= self._first:
            self._sum += delta


@dataclass(slots=True)
class Plan:
    """What charging one request changes.

    Args:
        now: Seconds since 1970 that it is charged at.
        persons: Ordinals charged per scope.
        deltas: Change of the count of each slot, per scope and window.
        remaining: What each limit has left afterwards, by rule.
    """

    now: int
    persons: list[tuple[str, Ordinals]] = field(default_factory=list)
    deltas: list[tuple[Limit, Counts]] = field(default_factory=list)
    remaining: dict[str, int] = field(default_factory=dict)


class Ledger:
    """What was spent in every scope and window."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._epoch = -1
        self._scopes: dict[str, int] = {}
        self._windows: dict[tuple[str, str], _Window] = {}
        self._dirty: set[tuple[str, str, int]] = set()
        self._asked: Sequence[int] = ()
        self._maps = SeenMaps()

    def _fresh(self) -> None:
        if self._epoch != self._state.epoch:
            self._epoch = self._state.epoch
            self._scopes.clear()
            self._windows.clear()
            self._dirty.clear()
            self._asked = ()

    def undone(self) -> None:
        """Forget scopes that an undone part may have made; the counts of other parts stay."""
        self._scopes.clear()
        self._asked = ()

    # -- planning -------------------------------------------------------------------------------
    def plan_persons(self, rows: Rows, limits: Sequence[Limit], ordinals: Ordinals, now: float) -> Plan:
        """Plan to charge distinct persons; many of them, or a bitmap, are kept as a bitmap.

        Raises:
            BudgetError: They do not fit; nothing was changed.
        """
        self._fresh()
        plan = Plan(int(now))
        if len(ordinals) > ROWS_MOST:
            ordinals = bitmap(ordinals)
        if not isinstance(ordinals, BitMap64):
            self._ask(rows, ordinals)
        for scope, group in groupby(limits, key=lambda limit: limit.scope):
            seen = self._seen(rows, scope, ordinals)
            for limit in group:
                self._plan_limit(rows, plan, limit, seen, len(ordinals))
            plan.persons.append((scope, ordinals))
        return plan

    def _plan_limit(self, rows: Rows, plan: Plan, limit: Limit, seen: Sequence[tuple[int, int]], size: int) -> None:
        window, slot = self._window(rows, limit), limit.slot(plan.now)
        first = slot - limit.slots + 1
        deltas: Counts = {}
        inside = 0
        for at, persons in seen:
            last = at // limit.slot_seconds
            if last >= first:
                inside += persons
                if last != slot:
                    deltas[last] = deltas.get(last, 0) - persons
        new = size - inside
        left = limit.limit - window.since(first)
        if new > left:
            check_fits(limit, plan.now, window.slots, new)
        moved = new - sum(deltas.values())
        if moved:
            deltas[slot] = deltas.get(slot, 0) + moved
        plan.deltas.append((limit, deltas))
        plan.remaining[limit.rule] = max(0, left - new)

    def plan_count(self, rows: Rows, limits: Sequence[Limit], count: int, now: float) -> Plan:
        """Plan to charge a number of look-ups or records; BudgetError if they do not fit."""
        self._fresh()
        plan = Plan(int(now))
        for limit in limits:
            window = self._window(rows, limit)
            left = limit.limit - window.since(limit.first_slot(plan.now))
            if count > left:
                check_fits(limit, plan.now, window.slots, count)
            plan.deltas.append((limit, {limit.slot(plan.now): count}))
            plan.remaining[limit.rule] = max(0, left - count)
        return plan

    def plan_return(self, rows: Rows, limits: Sequence[Limit], count: int, spent_at: float) -> Plan:
        """Plan to give back what was charged at `spent_at` and not used."""
        self._fresh()
        plan = Plan(int(spent_at))
        for limit in limits:
            held = self._window(rows, limit).slots.get(limit.slot(spent_at), 0)
            plan.deltas.append((limit, {limit.slot(spent_at): -min(count, held)}))
        return plan

    def left(self, rows: Rows, limits: Sequence[Limit], now: float) -> int | None:
        """The least that any of these limits has left; None where nothing limits."""
        self._fresh()
        found = [remaining(limit, now, self._window(rows, limit).slots) for limit in limits]
        return min(found) if found else None

    # -- reserving ------------------------------------------------------------------------------
    def reserve(self, rows: Rows, lease: bytes, plan: Plan) -> None:
        """Apply a plan of counts for a lease: it is kept when the lease commits, else given back."""
        self.apply(rows, plan)
        sql = (
            "INSERT INTO reserved VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (lease, scope, period, slot) DO UPDATE SET count = reserved.count + excluded.count"
        )
        for limit, deltas in plan.deltas:
            scope = self._scope(rows, limit.scope)
            kept = [(lease, scope, limit.window, slot, count, limit.limit) for slot, count in deltas.items()]
            rows.executemany(sql, kept)

    def keep(self, rows: Rows, lease: bytes) -> None:
        """What the lease reserved stays spent."""
        rows.execute("DELETE FROM reserved WHERE lease = ?", (lease,))

    def give_back(self, rows: Rows, lease: bytes, now: float) -> None:
        """Give back what an ended lease reserved; last in its part of a transaction, as it changes what is cached.

        What was sealed is known to who sealed it: of each scope no more is given back in a window than its limit, so
        that nobody seals without end by never committing.
        """
        self._fresh()
        sql = (
            "SELECT name, period, slot, count, most FROM reserved JOIN scope ON scope.id = reserved.scope"
            " WHERE lease = ? ORDER BY name, period, slot DESC"
        )
        groups: list[tuple[Limit, Limit, list[tuple[int, int]]]] = []
        for (name, window), group in groupby(rows.execute(sql, (lease,)).fetchall(), key=lambda row: row[:2]):
            held = list(group)
            most = max(row[4] for row in held)
            slots = [(row[2], row[3]) for row in held]
            groups.append((window_limit(name, window, most), window_limit(f"{RETURNED}/{name}", window, most), slots))
        if not groups:
            return
        left = min(remaining(returned, now, self._window(rows, returned).slots) for _, returned, _ in groups)
        for limit, returned, slots in groups:
            spare = left
            for slot, count in slots:
                back = min(count, spare, self._window(rows, limit).slots.get(slot, 0))
                self._add(limit, slot, -back)
                self._add(returned, returned.slot(now), back)
                spare -= back
        self.keep(rows, lease)

    def held(self, rows: Rows, rule: str) -> int:
        """How much of a limit, by its rule, leases hold that have neither committed nor ended."""
        scope, _, window = rule.rpartition("/")
        sql = "SELECT sum(count) FROM reserved JOIN scope ON scope.id = reserved.scope WHERE name = ? AND period = ?"
        return int(rows.execute(sql, (scope, window)).fetchone()[0] or 0)

    # -- applying -------------------------------------------------------------------------------
    def _add(self, limit: Limit, slot: int, delta: int) -> None:
        self._windows[limit.scope, limit.window].add(slot, delta)
        self._dirty.add((limit.scope, limit.window, slot))

    def apply(self, rows: Rows, plan: Plan) -> None:
        """Write what was planned; the counts follow with `flush`."""
        for limit, deltas in plan.deltas:
            for slot, delta in deltas.items():
                self._add(limit, slot, delta)
        for scope, ordinals in plan.persons:
            ident = self._scope(rows, scope)
            if isinstance(ordinals, BitMap64):
                self._maps.add(rows, ident, plan.now // SLOT_SECONDS, ordinals)
                continue
            if len(ordinals) > ASKED_ONE_BY_ONE_MAX:
                self._ask(rows, ordinals)
                rows.execute(_SEE_MANY, (ident, plan.now))
                continue
            if len(ordinals) == 1:
                rows.execute(_SEE_ONE, (ident, ordinals[0], plan.now))
            else:
                rows.executemany(_SEE_ONE, [(ident, ordinal, plan.now) for ordinal in ordinals])
        self._asked = ()

    def flush(self, rows: Rows) -> None:
        """Write the counts that changed; part of every commit."""
        if not self._dirty:
            return
        rows.executemany(
            "INSERT INTO spent VALUES (?, ?, ?, ?)"
            " ON CONFLICT (scope, period, slot) DO UPDATE SET count = excluded.count",
            [
                (self._scope(rows, scope), window, slot, self._windows[scope, window].slots[slot])
                for scope, window, slot in self._dirty
            ],
        )
        self._dirty.clear()

    def raise_counts(self, rows: Rows, counts: Iterable[Sequence[Any]]) -> None:
        """Raise counts (scope, period, slot, count) where they are lower; `forget` what is cached afterwards.

        Whatever is reserved stays spent: its lease may have committed in what was lost.
        """
        rows.execute("DELETE FROM reserved")
        sql = (
            "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (scope, period, slot) DO UPDATE SET count ="
            " CASE WHEN excluded.count > spent.count THEN excluded.count ELSE spent.count END"
        )
        rows.executemany(sql, [(self._scope(rows, scope), *rest) for scope, *rest in counts])

    def forget(self) -> None:
        """Read scopes and counts again when they are next asked for."""
        self._epoch = -1

    def prune(self, rows: Rows, now: float) -> None:
        """Forget, once a day, persons and slots that no window can count any more."""
        if now - counter(rows, "pruned") < PRUNE_SECONDS:
            return
        horizon = int(now) - MONTH_SECONDS - 2 * PRUNE_SECONDS
        rows.execute("DELETE FROM seen WHERE at < ?", (horizon,))
        self._maps.prune(rows, horizon)
        for window, seconds in (("hour", 300), ("day", 3600), ("month", 24 * 3600)):
            rows.execute("DELETE FROM spent WHERE period = ? AND slot < ?", (window, horizon // seconds))
        put(rows, "pruned", int(now))

    # -- rows -----------------------------------------------------------------------------------
    def _window(self, rows: Rows, limit: Limit) -> _Window:
        key = (limit.scope, limit.window)
        window = self._windows.get(key)
        if window is None:
            sql = "SELECT slot, count FROM spent WHERE scope = ? AND period = ?"
            slots = dict(rows.execute(sql, (self._scope(rows, limit.scope), limit.window)).fetchall())
            window = self._windows[key] = _Window(slots)
        return window

    def _scope(self, rows: Rows, name: str) -> int:
        ident = self._scopes.get(name)
        if ident is None:
            rows.execute("INSERT INTO scope (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (name,))
            ident = int(rows.execute("SELECT id FROM scope WHERE name = ?", (name,)).fetchone()[0])
            self._scopes[name] = ident
        return ident

    def _seen(self, rows: Rows, scope: str, ordinals: Ordinals) -> list[tuple[int, int]]:
        """When persons were last charged in a scope, with how many each time; persons never charged are left out."""
        ident = self._scope(rows, scope)
        maps = self._maps.of(rows, ident)
        if isinstance(ordinals, BitMap64):
            own = rows.execute("SELECT ordinal, at FROM seen WHERE scope = ?", (ident,))
            return last_seen(maps, own, ordinals)
        if len(ordinals) > ASKED_ONE_BY_ONE_MAX and not maps:
            sql = "SELECT at, count(*) FROM asked JOIN seen USING (ordinal) WHERE scope = ? GROUP BY at"
            found: list[tuple[int, int]] = rows.execute(sql, (ident,)).fetchall()
            return found
        if len(ordinals) > ASKED_ONE_BY_ONE_MAX:
            own = rows.execute("SELECT ordinal, at FROM asked JOIN seen USING (ordinal) WHERE scope = ?", (ident,))
            return last_seen(maps, own, bitmap(ordinals))
        one = "SELECT at FROM seen WHERE scope = ? AND ordinal = ?"
        ats = (rows.execute(one, (ident, ordinal)).fetchone() for ordinal in ordinals)
        seen = [None if row is None else int(row[0]) for row in ats]
        for slot, persons in maps.items():
            at = slot * SLOT_SECONDS
            seen = [at if o in persons and (s is None or s < at) else s for o, s in zip(ordinals, seen, strict=True)]
        return [(at, 1) for at in seen if at is not None]

    def _ask(self, rows: Rows, ordinals: Sequence[int]) -> None:
        """Write many ordinals where statements about all scopes find them; those of the same list stay there."""
        if len(ordinals) <= ASKED_ONE_BY_ONE_MAX or ordinals is self._asked:
            return
        self._asked = ()
        rows.execute("CREATE TEMP TABLE IF NOT EXISTS asked (ordinal INTEGER PRIMARY KEY)")
        rows.execute("DELETE FROM asked")
        rows.executemany("INSERT INTO asked VALUES (?)", [(ordinal,) for ordinal in ordinals])
        self._asked = ordinals
