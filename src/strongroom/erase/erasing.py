"""Erase subjects: plan, approve, erase at the keymaster, note it in a second place, hand out a receipt.

Rules it keeps:

1. Nothing is erased before the plan was approved, nor when somebody of it is held or unknown.
2. An erasure is reported only when a checkpoint that covers it is durable beside the objects. When that place fails,
   the erasure is in force all the same: the error says so, and asking for the receipt places it.
3. No head moves and no object changes: an older copy of the bucket stays as it was, and opens nobody who was erased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.catalog.freshness import leave_act
from strongroom.erase.plan import ErasePlan, identifiers_of, make_plan
from strongroom.erase.receipt import make_receipt
from strongroom.errors import StrongroomError, UnavailableError, UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster, Receipt
    from strongroom.read.session import Session
    from strongroom.store.base import Store

Approve = Callable[[ErasePlan], None]
"""Shown the plan; raises to stop."""


@dataclass(frozen=True)
class EraseReport:
    """What an erasure did.

    Args:
        persons: How many were erased now.
        already: How many had been erased before, and were passed over.
        leaves: Entries of the log.
        receipt: See `erase.receipt`.
    """

    persons: int
    already: int
    leaves: tuple[int, ...]
    receipt: dict[str, Any] = field(repr=False)

    @property
    def state(self) -> str:
        """`in force`, or `final`."""
        return str(self.receipt["state"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"persons": self.persons, "already": self.already, "leaves": list(self.leaves), "receipt": self.receipt}


def erase(session: Session, subjects: Sequence[str], reason: str, approve: Approve | None = None) -> EraseReport:
    """Erase subjects for good; see `Room.erase`."""
    store, keymaster, actor = session.store, session.keymaster, session.actor
    if not reason.strip():
        raise UsageError("an erasure needs a reason")
    lease = keymaster.begin_maintenance(actor=actor, verb="erase")
    try:
        plan = make_plan(session, lease, subjects)
        if approve is not None:
            approve(plan)  # a person may have thought about it for a while
            lease = keymaster.renew(lease)
        done = keymaster.erasures.erase(lease, plan.tokens, reason)
    finally:
        keymaster.abandon(lease)
    leaves = tuple(receipt.leaf for receipt in done)
    persons = sum(receipt.counts["persons"] for receipt in done)
    return EraseReport(persons, plan.erased, leaves, receipt_of(store, keymaster, actor, leaves))


def receipt_of(store: Store, keymaster: Keymaster, actor: str, leaves: Sequence[int]) -> dict[str, Any]:
    """The receipt of erasures as they stand now, placed.

    Raises:
        UnavailableError: The second place or the log's witnesses do not answer; the erasures are in force.
        NotFoundError: An entry is no erasure.
    """
    try:
        proofs = keymaster.erasures.proofs(actor, leaves)
    except UnavailableError as error:
        raise UnavailableError(
            f"the erasure is in force, by entry {leaves[0]} of the log, and is not proved yet: {error}",
            hint=f"`strongroom erase --receipt {leaves[0]}` writes the receipt",
        ) from error
    try:
        leave_act(store, keymaster, max(leaves))
    except StrongroomError as error:
        raise UnavailableError(
            f"the erasure is in force, by entry {leaves[0]} of the log, and could not be noted beside the objects",
            hint=f"`strongroom erase --receipt {leaves[0]}` notes it and writes the receipt",
        ) from error
    return make_receipt(f"strongroom/{keymaster.room_id.hex()}", proofs)


def hold(
    store: Store, keymaster: Keymaster, actor: str, subjects: Sequence[str], reason: str, *, lift: bool = False
) -> Receipt:
    """Set or lift a legal hold; see `Room.hold`."""
    ways = identifiers_of(keymaster, subjects)
    forms = [list(dict.fromkeys(form for form in alternatives if form)) for alternatives in zip(*ways, strict=True)]
    receipt = keymaster.erasures.hold(actor, forms, reason, lift=lift)
    leave_act(store, keymaster, receipt.leaf)
    return receipt
