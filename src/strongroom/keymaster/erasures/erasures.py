"""The embedded keymaster's part about persons who go: hands each request to the file that does it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.keymaster.api import Bytes2D, Lease, Receipt
from strongroom.keymaster.core import Core, Request
from strongroom.keymaster.erasures.api import Buried, ErasurePlan, ErasureProof
from strongroom.keymaster.erasures.dead import Dead
from strongroom.keymaster.erasures.erasing import Erasing
from strongroom.keymaster.erasures.holding import Holding
from strongroom.keymaster.erasures.turning import Turning
from strongroom.keymaster.leases import Leases
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.readings import Readings

if TYPE_CHECKING:
    import pyarrow as pa


class EmbeddedErasures:
    """See `keymaster.erasures.api.Erasures`."""

    def __init__(
        self, core: Core, leases: Leases, readings: Readings, publishing: Publishing, turning: Turning
    ) -> None:
        self._erasing = Erasing(core, leases, publishing, turning)
        self._holding = Holding(core, self._erasing)
        self._dead = Dead(core, leases, readings)

    def plan(self, lease: Lease, identifiers: pa.Array) -> ErasurePlan:
        """See `Erasures.plan`."""
        return self._erasing.plan(lease, identifiers)

    def erase(self, lease: Lease, tokens: Bytes2D, reason: str) -> list[Receipt]:
        """See `Erasures.erase`."""
        return self._erasing.erase(lease, tokens, reason)

    def hold(self, actor: str, subjects: Sequence[Sequence[str]], reason: str, *, lift: bool = False) -> Receipt:
        """See `Erasures.hold`."""
        return self._holding.hold(actor, subjects, reason, lift=lift)

    def hold_once(
        self, request: Request | None, actor: str, subjects: Sequence[Sequence[str]], reason: str, *, lift: bool
    ) -> Receipt:
        """See `Erasures.hold`; the same request has the same answer."""
        return self._holding.hold(actor, subjects, reason, lift=lift, once=request)

    def proofs(self, actor: str, leaves: Sequence[int]) -> list[ErasureProof]:
        """See `Erasures.proofs`."""
        return self._erasing.proofs(actor, leaves)

    def buried(self, holder: bytes | Lease, table: str, low: bytes, high: bytes, since: int = -1) -> Buried:
        """See `Erasures.buried`."""
        return self._dead.buried(holder, table, low, high, since)

    def buried_among(
        self, persons: Collection[bytes], lease: Lease, table: str, low: bytes, high: bytes, since: int = -1
    ) -> Buried:
        """See `Erasures.buried`; of some persons (tokens) alone."""
        return self._dead.buried(lease, table, low, high, since, persons)

    def clean_through(self, holder: bytes | Lease, object_ids: Sequence[bytes]) -> list[int]:
        """See `Erasures.clean_through`."""
        return self._dead.clean_through(holder, object_ids)

    def horizon(self, lease: Lease, table: str, days: int) -> int:
        """See `Erasures.horizon`."""
        return self._dead.horizon(lease, table, days)

    def erased(self, reading_id: bytes, token: bytes) -> bool:
        """See `Erasures.erased`."""
        return self._dead.erased(reading_id, token)

    def dead_entries(
        self, lease: Lease, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> npt.NDArray[np.bool_]:
        """See `Erasures.dead_entries`."""
        return self._dead.dead_entries(lease, table, field_name, value_tokens, entries)

    def unclean(self, lease: Lease, object_ids: Sequence[bytes]) -> list[bytes]:
        """See `Erasures.unclean`."""
        return self._dead.unclean(lease, object_ids)

    def cleaned(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.cleaned`."""
        self._dead.cleaned(lease, object_ids)

    def destroy_keys(self, lease: Lease, object_ids: Sequence[bytes]) -> None:
        """See `Erasures.destroy_keys`."""
        self._dead.destroy_keys(lease, object_ids)
