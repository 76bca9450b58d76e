"""Canary persons at a keymaster of another host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from strongroom.keyserver.client_parts import Asker

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from strongroom.keymaster.canaries.api import Heard, NewPool, PoolRecord
    from strongroom.keymaster.erasures.api import Buried


class RemoteCanaries:
    """See `keymaster.canaries.api.Canaries`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def register(self, reading_id: bytes, pools: Sequence[NewPool]) -> list[int]:
        """See `Canaries.register`."""
        return cast("list[int]", self._ask("canaries.register", reading=reading_id, pools=list(pools)))

    def hidden(self, reading_id: bytes, table: str, low: bytes, high: bytes) -> Buried:
        """See `Canaries.hidden`."""
        return cast("Buried", self._ask("canaries.hidden", reading=reading_id, table=table, low=low, high=high))

    def pools(self, actor: str) -> list[PoolRecord]:
        """See `Canaries.pools`."""
        del actor  # the credential says who
        return cast("list[PoolRecord]", self._ask("canaries.pools"))

    def known(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> npt.NDArray[np.bool_]:
        """See `Canaries.known`."""
        asked = self._ask("canaries.known", reading=reading_id, table=table, identifiers=list(identifiers))
        return cast("npt.NDArray[np.bool_]", asked)

    def planted_pools(self, reading_id: bytes) -> list[PoolRecord]:
        """See `Canaries.planted_pools`."""
        return cast("list[PoolRecord]", self._ask("canaries.planted_pools", reading=reading_id))

    def planted(self, reading_id: bytes, pools: Sequence[int], dense: Sequence[str]) -> int:
        """See `Canaries.planted`."""
        return int(self._ask("canaries.planted", reading=reading_id, pools=list(pools), dense=list(dense)))

    def dense(self, actor: str) -> list[str]:
        """See `Canaries.dense`."""
        del actor  # the credential says who
        return cast("list[str]", self._ask("canaries.dense"))

    def is_canary(self, reading_id: bytes, table: str, identifiers: Sequence[str]) -> npt.NDArray[np.bool_]:
        """See `Canaries.is_canary`."""
        asked = self._ask("canaries.is_canary", reading=reading_id, table=table, identifiers=list(identifiers))
        return cast("npt.NDArray[np.bool_]", asked)

    def trial(self, reading_id: bytes, table: str) -> bytes:
        """See `Canaries.trial`."""
        return cast("bytes", self._ask("canaries.trial", reading=reading_id, table=table))

    def heard(self, reading_id: bytes) -> Heard:
        """See `Canaries.heard`."""
        return cast("Heard", self._ask("canaries.heard", reading=reading_id))
