"""What somebody wants to be let in by, as it is asked for everywhere: in the library, over the wire, at the end."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from strongroom.errors import UsageError
from strongroom.identity.credential import credential_id
from strongroom.purpose.budget import NO_OWN, UNLIMITED, OwnBudgets
from strongroom.purpose.model import LOOKUPS_PER_PERSON, WINDOWS, Budget, Policy
from strongroom.purpose.toml import INTEGER_MAX

DAYS_MAX = 3660
HOURS_DEFAULT = 8.0
HOURS_MAX = 24.0


@dataclass(frozen=True)
class Wanted:
    """A credential to be made.

    Args:
        of: An actor of the policy, for whom it speaks.
        public_key: 32 B.
        days: For how long from now.
        networks: Addresses or networks (as 10.0.0.0/8) that requests may come from; none for anywhere.
        purposes: Purposes that may be read under; none for all that the policy gives the actor.
        server: Whether it is a server's, which is trusted to mask.
        budgets: The most that it may spend by itself, besides all that the policy limits.
    """

    of: str
    public_key: bytes = field(repr=False)
    days: float
    networks: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    server: bool = False
    budgets: OwnBudgets = NO_OWN

    @property
    def id(self) -> str:
        """Under which the keymaster is going to know it."""
        return credential_id(self.public_key)

    def checked(self) -> Wanted:
        """Itself with networks as they are kept, once it stands by itself.

        Raises:
            UsageError: The key does not have 32 bytes, the time is none, a network is none, or a budget.
        """
        if len(self.public_key) != 32 or not 0 < self.days <= DAYS_MAX:
            raise UsageError(f"a credential has a key of 32 bytes, and lasts up to {DAYS_MAX} days")
        for budget in (self.budgets.budget, self.budgets.lookups, self.budgets.put):
            for window in WINDOWS:
                if not 0 <= (budget.window(window) or 0) <= INTEGER_MAX:
                    raise UsageError("a budget is a whole number from 0 up")
        own = self.budgets
        if own.lookups == UNLIMITED:
            own = replace(own, lookups=own.budget.times(LOOKUPS_PER_PERSON))
        return replace(
            self,
            networks=tuple(check_network(text) for text in self.networks),
            purposes=tuple(self.purposes),
            budgets=own,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "public_key": self.public_key.hex()}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Wanted:
        """What `to_dict` made."""
        rest = {**said, "public_key": bytes.fromhex(said["public_key"]), "budgets": budgets_of(said["budgets"])}
        return cls(**rest).checked()


@dataclass(frozen=True)
class Person:
    """A person as an issuer names them: whose `claim` has a `value` in id_tokens for a client (`audience`)."""

    issuer: str
    audience: str
    claim: str
    value: str


@dataclass(frozen=True)
class WantedIdentity:
    """Who is to sign in as an actor: a person of an issuer, or a passkey.

    Args:
        of: An actor of the policy.
        person: As an issuer names them; this or a passkey.
        passkey: The line of a passkey (`identity.passkey`).
        days: For how long from now.
        hours: How long a session lasts, at most HOURS_MAX.
        networks: Where sign-ins and requests may come from; none for anywhere.
        purposes: Purposes that sessions may read under; none for all that the policy gives the actor.
    """

    of: str
    person: Person | None = None
    passkey: str | None = None
    days: float = 0.0
    hours: float = HOURS_DEFAULT
    networks: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()


def check_named(policy: Policy, of: str, purposes: Sequence[str]) -> None:
    """Raise UsageError unless a policy has this actor and these purposes."""
    if of not in policy.actors:
        raise UsageError(f"the policy names no actor {of}", hint="`strongroom policy --set` first")
    for purpose in purposes:
        if purpose not in policy.purposes:
            raise UsageError(f"the policy has no purpose {purpose}")


def budgets_of(said: Mapping[str, Any]) -> OwnBudgets:
    """The budgets of a credential, from their form in JSON."""
    found = OwnBudgets(**{name: Budget(**budget) for name, budget in said.items()})
    return NO_OWN if found == NO_OWN else found


def parse_budget(text: str) -> Budget:
    """A budget as it stands in a policy, on a command line: `hour=20,day=50`.

    Raises:
        UsageError: It is none.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        window, _, number = (word.strip() for word in part.partition("="))
        if window not in WINDOWS or window in found or not (number.isascii() and number.isdecimal()):
            raise UsageError(
                "a budget is written hour=20,day=50,month=500: at least one of them",
                hint="the words and windows are those of policy.toml",
            )
        found[window] = int(number[:20])
    if max(found.values()) > INTEGER_MAX:
        raise UsageError(f"a budget is at most {INTEGER_MAX}")
    return Budget(**found)


def budget_words(budget: Budget) -> str:
    """A budget for a reader, as `parse_budget` takes it; empty where nothing is limited."""
    return ",".join(f"{name}={budget.window(name)}" for name in WINDOWS if budget.window(name) is not None)


def named_budgets(own: OwnBudgets) -> str:
    """The budgets of one credential in words, `persons hour=20,day=50; records day=9`; empty where it has none."""
    named = (("persons", own.budget), ("look-ups", own.lookups), ("records", own.put))
    return "; ".join(f"{name} {words}" for name, budget in named if (words := budget_words(budget)))


def check_network(text: str) -> str:
    """An address or network as it is kept; UsageError if it is none."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise UsageError("a network is an address, or one like 10.0.0.0/8 without host bits") from None
