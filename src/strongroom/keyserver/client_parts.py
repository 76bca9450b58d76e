"""The parts of a keymaster on another host that have an interface of their own: persons who go, the log's tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from strongroom.keymaster.api import Buried, Bytes2D, Lease, Receipt
from strongroom.keymaster.credentials import CredentialState
from strongroom.keymaster.erasures.api import ErasurePlan, ErasureProof
from strongroom.keymaster.identities import IdentityState
from strongroom.keymaster.log.personapi import DayTold, EntryTold, PersonAsked
from strongroom.keymaster.log.tailapi import CaughtUp, Gap, Piece
from strongroom.keymaster.wanted import Wanted, WantedIdentity

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

Asker = Callable[..., Any]


class RemoteErasures:
    """See `keymaster.erasures.api.Erasures`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def plan(self, lease: Lease, identifiers: pa.Array) -> ErasurePlan:
        """See `Erasures.plan`."""
        return cast("ErasurePlan", self._ask("erasures.plan", lease=lease.lease_id, identifiers=identifiers))

    def erase(self, lease: Lease, tokens: Bytes2D, reason: str) -> list[Receipt]:
        """See `Erasures.erase`."""
        asked = self._ask("erasures.erase", lease=lease.lease_id, tokens=tokens, reason=reason)
        return cast("list[Receipt]", asked)

    def hold(self, actor: str, subjects: Sequence[Sequence[str]], reason: str, *, lift: bool = False) -> Receipt:
        """See `Erasures.hold`."""
        del actor  # the credential says who
        asked = self._ask("erasures.hold", subjects=[list(some) for some in subjects], reason=reason, lift=lift)
        return cast("Receipt", asked)

    def proofs(self, actor: str, leaves: Sequence[int]) -> list[ErasureProof]:
        """See `Erasures.proofs`."""
        del actor  # the credential says who
        return cast("list[ErasureProof]", self._ask("erasures.proofs", leaves=list(leaves)))

    def _held(self, name: str, holder: bytes | Lease, **args: Any) -> Any:
        if isinstance(holder, Lease):
            return self._ask(name, lease=holder.lease_id, **args)
        return self._ask(f"{name}_for_reading", reading=holder, **args)

    def buried(self, holder: bytes | Lease, table: str, low: bytes, high: bytes, since: int = -1) -> Buried:
        """See `Erasures.buried`."""
        asked = self._held("erasures.buried", holder, table=table, low=low, high=high, since=since)
        return cast("Buried", asked)

    def clean_through(self, holder: bytes | Lease, object_ids: Sequence[bytes]) -> list[int]:
        """See `Erasures.clean_through`."""
        return cast("list[int]", self._held("erasures.clean_through", holder, object_ids=list(object_ids)))

    def horizon(self, lease: Lease, table: str, days: int) -> int:
        """See `Erasures.horizon`."""
        return int(self._ask("erasures.horizon", lease=lease.lease_id, table=table, days=days))

    def erased(self, reading_id: bytes, token: bytes) -> bool:
        """See `Erasures.erased`."""
        return bool(self._ask("erasures.erased", reading=reading_id, token=token))

    def dead_entries(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> npt.NDArray[np.bool_]:
        """See `Erasures.dead_entries`."""
        asked = self._ask(
            "erasures.dead_entries",
            lease=lease.lease_id,
            table=table,
            field_name=field_name,
            value_tokens=value_tokens,
            entries=entries,
        )
        return cast("npt.NDArray[np.bool_]", asked)

    def unclean(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Erasures.unclean`."""
        asked = self._ask("erasures.unclean", lease=lease.lease_id, object_ids=list(object_ids))
        return cast("list[bytes]", asked)

    def cleaned(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.cleaned`."""
        self._ask("erasures.cleaned", lease=lease.lease_id, object_ids=list(object_ids))

    def destroy_keys(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.destroy_keys`."""
        self._ask("erasures.destroy_keys", lease=lease.lease_id, object_ids=list(object_ids))


class RemoteCredentials:
    """See `keymaster.credentials.Credentials`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def all(self, actor: str) -> list[CredentialState]:
        """See `Credentials.all`."""
        del actor  # the credential says who
        return cast("list[CredentialState]", self._ask("credentials.all"))

    def add(self, actor: str, wanted: Wanted) -> CredentialState | None:
        """See `Credentials.add`; None when it waits for another person's agreement (`approvals.waiting`)."""
        del actor  # the credential says who
        return cast("CredentialState | None", self._ask("credentials.add", wanted=wanted))

    def revoke(self, actor: str, ident: str) -> CredentialState:
        """See `Credentials.revoke`."""
        del actor  # the credential says who
        return cast("CredentialState", self._ask("credentials.revoke", ident=ident))

    def sign_out(self) -> None:
        """End the session that asks; see `Credentials.sign_out`."""
        self._ask("credentials.sign_out")

    def own(self) -> CredentialState | None:
        """See `OwnCredential.own`."""
        return cast("CredentialState | None", self._ask("credentials.own"))


class RemoteIdentities:
    """See `keymaster.identities.Identities`; the credential says who."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def all(self, actor: str) -> list[IdentityState]:
        """See `Identities.all`."""
        del actor
        return cast("list[IdentityState]", self._ask("identities.all"))

    def add(self, actor: str, wanted: WantedIdentity) -> IdentityState | None:
        """See `Identities.add`; None when it waits for another person's agreement (`approvals.waiting`)."""
        del actor
        return cast("IdentityState | None", self._ask("identities.add", wanted=wanted))

    def revoke(self, actor: str, ident: str) -> IdentityState:
        """See `Identities.revoke`."""
        del actor
        return cast("IdentityState", self._ask("identities.revoke", ident=ident))


class RemotePersons:
    """See `keymaster.log.personapi.Persons`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def begin(self, reading_id: bytes, table: str, identifier: str) -> PersonAsked:
        """See `Persons.begin`."""
        return cast("PersonAsked", self._ask("persons.begin", reading=reading_id, table=table, identifier=identifier))

    def days(self, reading_id: bytes, request: int, after: int) -> list[DayTold]:
        """See `Persons.days`."""
        return cast("list[DayTold]", self._ask("persons.days", reading=reading_id, request=request, after=after))

    def entries(self, reading_id: bytes, request: int, numbers: Sequence[int]) -> list[EntryTold]:
        """See `Persons.entries`."""
        asked = self._ask("persons.entries", reading=reading_id, request=request, numbers=list(numbers))
        return cast("list[EntryTold]", asked)


class RemoteTails:
    """See `keymaster.log.tailapi.Tails`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def next(self) -> Piece | None:
        """See `Tails.next`."""
        return cast("Piece | None", self._ask("tails.next"))

    def placed(self, end: int) -> None:
        """See `Tails.placed`."""
        self._ask("tails.placed", end=end)

    def needed_from(self) -> int:
        """See `Tails.needed_from`."""
        return int(self._ask("tails.needed_from"))

    def is_behind(self, checkpoint: str) -> bool:
        """See `Tails.is_behind`."""
        return bool(self._ask("tails.is_behind", checkpoint=checkpoint))

    def catch_up(self, checkpoint: str, pieces: Sequence[str], fetch: Callable[[str], bytes]) -> CaughtUp:
        """See `Tails.catch_up`."""
        chosen = self._ask("tails.chosen", checkpoint=checkpoint, pieces=list(pieces))
        asked = self._ask("tails.catch_up", checkpoint=checkpoint, pieces={name: fetch(name) for name in chosen})
        return cast("CaughtUp", asked)

    def accept_gap(self, actor: str, checkpoint: str | None) -> Gap:
        """See `Tails.accept_gap`."""
        del actor  # the credential says who
        return cast("Gap", self._ask("tails.accept_gap", checkpoint=checkpoint))

    def openable(self) -> int:
        """See `Tails.openable`."""
        return int(self._ask("tails.openable"))
