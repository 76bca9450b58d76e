"""Readings: opened under a purpose and a reason, and closed again.

Rules it keeps:

1. A reading lives an hour in this process; its reason is noted when it opens, and every later leaf names it by hash.
2. A reading that a server opened for a caller's signed request is opened once, and looks up and unlocks what was signed
   (`warrant`); its look-ups are spent when it opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from strongroom.errors import DeniedError, NotFoundError, UsageError
from strongroom.keymaster.api import FieldView, ReadingGrant
from strongroom.keymaster.approvals import Approvals
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.filekeys import FileKeys, StoredFileKey
from strongroom.keymaster.holder import HERE, SERVER_ONLY, Holder, Leave, carried
from strongroom.keymaster.reason import check_reason
from strongroom.keymaster.reviews import Reviews
from strongroom.keymaster.steps import Steps
from strongroom.keymaster.warrant import Warrant, keep_spent, spent_before
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import Limit
from strongroom.purpose.cedar import Decision
from strongroom.purpose.exports import export_verbs
from strongroom.purpose.policy import Purpose, TableRule
from strongroom.schema.model import Table

if TYPE_CHECKING:
    from strongroom.keymaster.aggregating import Planned
    from strongroom.keymaster.tracing.state import Tracing

READING_SECONDS = 3600.0
PRUNE_SECONDS = 3600.0


@dataclass
class Reading:
    """One open reading."""

    id: bytes
    actor: str
    purpose: Purpose
    expires: float
    reason: bytes
    holder: Holder
    leave: Leave
    lock: threading.Lock = field(default_factory=threading.Lock)
    left: int = 0
    block: int = 0
    reserved_at: float = 0.0
    values: set[bytes] = field(default_factory=set, repr=False)
    noted: set[tuple[str, int]] = field(default_factory=set)
    file_keys: dict[bytes, StoredFileKey] = field(default_factory=dict, repr=False)
    warrant: Warrant | None = None
    planned: dict[bytes, Planned] = field(default_factory=dict, repr=False)
    tracing: Tracing | None = field(default=None, repr=False)
    trials: set[bytes] = field(default_factory=set, repr=False)
    alarms: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def through(self) -> Holder:
        """Whose credential is counted and named: the caller's, where a server hands on what they signed."""
        return self.holder if self.warrant is None else self.warrant.signer.holder

    def said(self) -> dict[str, Any]:
        """What every entry of this reading says."""
        named = {"purpose": self.purpose.name, "legal_basis": self.purpose.legal_basis, "reason": self.reason}
        return {**named, "credential": self.through.credential or None}

    def rules(self, core: Core, table: str) -> tuple[TableRule, TableRule]:
        """What its purpose says of a table: when the reading was opened, and now. Both must show what is released.

        Raises:
            DeniedError: One of them says nothing.
        """
        now = core.standing.policy.purposes.get(self.purpose.name)
        if now is None or table not in self.purpose.tables or table not in now.tables:
            raise DeniedError(
                f"purpose {self.purpose.name} did not show table {table} when the reading was opened, or does not now",
                rule=f"purposes.{self.purpose.name}",
                hint="open another with read()",
            )
        return self.purpose.tables[table], now.tables[table]

    def lookup_limits(self, core: Core) -> tuple[Limit, ...]:
        """What its look-ups are counted against."""
        return (
            *self.through.limits("lookups"),
            *core.standing.limits(self.actor, self.purpose.name, "lookups"),
        )


class Readings:
    """The open readings of one keymaster."""

    def __init__(self, core: Core, approvals: Approvals, reviews: Reviews) -> None:
        self._core = core
        self._approvals = approvals
        self._reviews = reviews
        self._open: dict[bytes, Reading] = {}
        self.file_keys = FileKeys()
        """Those that readings asked for."""
        self._pruned = core.clock()
        self.in_force: Callable[[str], None] = lambda _credential: None
        """Raises unless a credential may be used; whoever keeps credentials sets it."""
        self._views_of: tuple[int, dict[str, dict[str, dict[str, FieldView]]]] = (-1, {})

    def forget(self) -> None:
        """Drop every reading and the file keys it holds."""
        self._open.clear()
        self.file_keys.forget()

    def get(self, reading_id: bytes) -> Reading:
        """The reading of an id.

        Raises:
            NotFoundError: It was closed, has expired, or never was.
            DeniedError: The credential that signed for it is not in force any more.
        """
        reading = self._open.get(reading_id)
        if reading is None or reading.expires <= self._core.clock():
            raise _closed()
        if reading.warrant is not None:
            self.in_force(reading.warrant.signer.credential)
        return reading

    def _prune(self, now: float) -> None:
        """Forget readings that nobody ended, once in a while."""
        if now - self._pruned > PRUNE_SECONDS:
            self._pruned = now
            self.drop_expired()
            self.file_keys.forget()  # nobody may ask again for one that was destroyed: it goes with its hour
            self._core.tidy()

    def drop_expired(self) -> None:
        """Forget readings whose time is over, and what they hold."""
        now = self._core.clock()
        for ident, one in list(self._open.items()):
            if one.expires <= now:
                self._open.pop(ident, None)

    def of(self, actor: str) -> list[Reading]:
        """The open readings of an actor."""
        return [one for one in list(self._open.values()) if one.actor == actor]

    # -- opening and closing --------------------------------------------------------------------
    def beginning(
        self,
        actor: str,
        purpose: str,
        reason: str,
        approval: str | None = None,
        *,
        break_glass: bool = False,
        holder: Holder = HERE,
        warrant: Warrant | None = None,
        look: Callable[[Rows], None] = lambda _rows: None,
    ) -> Steps[ReadingGrant]:
        """See `Keymaster.begin_reading`, in steps; with a warrant its look-ups are spent too.

        `look` is called in the transaction that opens it: what the answer says besides is of the same moment.
        """
        if not purpose:
            raise UsageError("a reading needs a purpose")
        check_reason(reason)
        if approval is not None and break_glass:
            raise UsageError("a reading has an approval, or breaks the glass")
        core, act = self._core, "break-glass" if break_glass else "open"
        self._prune(core.clock())
        ident = core.entropy(16)

        def work(rows: Rows) -> Answer:
            if warrant is not None:
                warrant.signer.once(core, rows)
            core.standing.require(self._may_use(actor, purpose, warrant))
            if break_glass:
                core.standing.require(self._reviews.may_break(actor, purpose))
            persons = 0 if approval is None else self._approvals.granted(rows, approval, actor, purpose)
            rule = core.standing.policy.purposes[purpose]
            extras: dict[str, int | str] = {} if approval is None else {"approval": approval}
            said = {"purpose": purpose, "legal_basis": rule.legal_basis}
            if warrant is not None:
                said |= self._spend_warrant(rows, warrant, actor, purpose, extras)
            expires = core.journal.now(rows) + READING_SECONDS
            leaf, digest = core.journal.note_because(rows, act, actor, reason, **said, extras=extras)
            if break_glass:
                self._reviews.open(rows, ident[:8].hex(), actor, purpose, reason, leaf)
            look(rows)
            return {"leaf": leaf, "expires": expires, "reason": digest.hex(), "persons": persons}

        answer = yield from core.acting(act, actor, work, purpose=purpose)
        rule = core.standing.policy.purposes[purpose]
        leave = Leave(approval or "", answer["persons"], break_glass)
        digest = bytes.fromhex(answer["reason"])
        self._open[ident] = Reading(ident, actor, rule, answer["expires"], digest, holder, leave, warrant=warrant)
        views = self._views(rule, None if warrant is None else warrant.table)
        group, rows_too, step = None, False, 1
        if rule.sql is not None:
            group, rows_too, step = rule.sql.min_group, rule.sql.rows, rule.sql.step
        return ReadingGrant(ident, actor, purpose, answer["expires"], views, group, rows_too, step, rule.sealed)

    def _views(self, purpose: Purpose, table: str | None) -> dict[str, dict[str, FieldView]]:
        """How the fields show under a purpose, or those of one table."""
        number, known = self._views_of
        if number != self._core.standing.number:
            known = {}
            self._views_of = (self._core.standing.number, known)
        if purpose.name not in known:
            known[purpose.name] = purpose.views(self._core.standing.schema)
        views = known[purpose.name]
        return views if table is None else {name: view for name, view in views.items() if name == table}

    def _spend_warrant(
        self, rows: Rows, warrant: Warrant, actor: str, purpose: str, extras: dict[str, int | str]
    ) -> dict[str, Any]:
        """Spend the look-ups of a signed request, once however often it is repeated; what its entry says of them."""
        core, signer = self._core, warrant.signer
        extras |= {**signer.said(), "verb": warrant.verb}
        said = {"table": warrant.table, "fields": tuple(sorted(warrant.where))}
        if not warrant.lookups or spent_before(rows, warrant):
            return said
        rule = (*signer.holder.limits("lookups"), *core.standing.limits(actor, purpose, "lookups"))
        plan = core.ledger.plan_count(rows, rule, warrant.lookups, core.journal.now(rows))
        core.ledger.apply(rows, plan)
        keep_spent(core, rows, warrant)
        extras["reserved"] = warrant.lookups
        return said | {"remaining": plan.remaining}

    def _may_use(self, actor: str, purpose: str, warrant: Warrant | None = None) -> Decision:
        """Whether the purpose lets the actor do anything, or what a warrant says; the first refusal if nothing."""
        decider, rule = self._core.standing.decider, self._core.standing.policy.purposes.get(purpose)
        if warrant is not None and warrant.table is not None:
            chosen = None if warrant.fields is None else list(warrant.fields)
            return decider.decide_read(actor, purpose, warrant.verb, warrant.table, chosen, list(warrant.where))
        refused: Decision | None = None
        for table in rule.tables if rule else ("",):
            for verb in (*rule.verbs, *export_verbs(rule), "aggregate") if rule else ("get",):
                decision = decider.decide_read(actor, purpose, verb, table)
                if decision.allowed:
                    return decision
                refused = refused or decision
        return refused or Decision(False, f"purposes.{purpose}", f"purpose {purpose} shows nothing")

    def ending(self, reading_id: bytes) -> Steps[None]:
        """See `Keymaster.end_reading`, in steps."""
        reading = self._open.pop(reading_id, None)
        if reading is None:
            return
        yield carried(lambda rows: self.end_with(rows, reading))
        self._core.tell()

    def end_with(self, rows: Rows, reading: Reading) -> None:
        """End a reading in a transaction under way; `drop` it when that is durable."""
        core = self._core
        reading.ended = True
        left, reading.left = reading.left, 0  # given back once, however many end it, and used by nobody meanwhile
        if left:
            plan = core.ledger.plan_return(rows, reading.lookup_limits(core), left, reading.reserved_at)
            extras = {"returned": left}
            entry = core.journal.entry(rows, "close", reading.actor, **reading.said(), extras=extras)
            core.ledger.apply(rows, plan)
            core.journal.note(rows, entry)

    def drop(self, reading: Reading) -> None:
        """Forget a reading that was ended."""
        self._open.pop(reading.id, None)

    def check_open(self, reading: Reading) -> None:
        """Raise NotFoundError if another request has ended a reading meanwhile; within a transaction."""
        if reading.ended:
            raise _closed()

    def within(self, reading: Reading, act: str, table: str, check: Callable[[Warrant], None]) -> None:
        """Check what a server asks under a warrant; a refusal is noted."""
        warrant = reading.warrant
        if warrant is None:
            return
        try:
            check(warrant)
        except DeniedError as error:
            refused = error

            def work(_rows: Rows) -> Answer:
                raise refused

            self._core.act(act, reading.actor, work, **reading.said(), table=table)

    def decide(
        self,
        reading: Reading,
        verbs: Sequence[str],
        table: str,
        fields: Sequence[str] | None = None,
        where: Sequence[str] = (),
    ) -> Table:
        """The table, if one of the verbs is allowed on it; a refusal is noted."""
        core = self._core
        core.standing.refresh()
        refused: Decision | None = None
        for verb in verbs:
            decision = core.standing.decider.decide_read(
                reading.actor, reading.purpose.name, verb, table, None if fields is None else list(fields), list(where)
            )
            if decision.allowed:
                return core.standing.schema.table(table)
            refused = refused or decision

        def work(_rows: Rows) -> Answer:
            core.standing.require(refused or Decision(False, "room", "nothing was asked for"))
            raise DeniedError("it was refused a moment ago", rule="room")

        core.act(verbs[0], reading.actor, work, **reading.said(), table=table or "-", fields=tuple(where))
        raise DeniedError("refused", rule="room")

    def refuse(self, reading: Reading, act: str, table: str, why: str) -> NoReturn:
        """Note that a reading is not a server's, and raise."""

        def work(_rows: Rows) -> Answer:
            raise DeniedError(why, rule=SERVER_ONLY, hint="ask through `strongroom serve`")

        self._core.act(act, reading.actor, work, **reading.said(), table=table)
        raise DeniedError(why, rule=SERVER_ONLY)


def _closed() -> NotFoundError:
    return NotFoundError("the reading is closed or has expired", hint="open another with read()")
