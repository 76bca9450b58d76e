"""Exports, and the canary persons in them, at a keymaster of another host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from strongroom.keyserver.client_parts import Asker

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D, Released
    from strongroom.keymaster.approvals import Asked
    from strongroom.keymaster.canaries.api import Heard, NewPool, PoolRecord
    from strongroom.keymaster.erasures.api import Buried
    from strongroom.keymaster.exports.api import ExportGrant, ExportPlan, ExportRecord, OpenedCode


class RemoteExports:
    """See `keymaster.exports.api.Exports`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def begin(self, reading_id: bytes, plan: ExportPlan) -> bytes:
        """See `Exports.begin`."""
        return cast("bytes", self._ask("exports.begin", reading=reading_id, plan=plan))

    def add(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> int:
        """See `Exports.add`."""
        rows = {"table": table, "tokens": tokens, "batches": batches}
        return int(self._ask("exports.add", reading=reading_id, export_id=export_id, **rows))

    def start(self, reading_id: bytes, export_id: bytes) -> ExportGrant:
        """See `Exports.start`."""
        return cast("ExportGrant", self._ask("exports.start", reading=reading_id, export_id=export_id))

    def resume(self, reading_id: bytes, export_id: bytes, plan: ExportPlan) -> ExportGrant:
        """See `Exports.resume`."""
        return cast("ExportGrant", self._ask("exports.resume", reading=reading_id, export_id=export_id, plan=plan))

    def release(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> Released:
        """See `Exports.release`."""
        rows = {"table": table, "tokens": tokens, "batches": batches}
        return cast("Released", self._ask("exports.release", reading=reading_id, export_id=export_id, **rows))

    def end(self, reading_id: bytes, export_id: bytes, records: Mapping[str, int], root: bytes) -> ExportRecord:
        """See `Exports.end`."""
        said = {"records": dict(records), "root": root}
        return cast("ExportRecord", self._ask("exports.end", reading=reading_id, export_id=export_id, **said))

    def tokenize(
        self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array
    ) -> pa.Array:
        """See `Exports.tokenize`."""
        said = {"table": table, "field_name": field_name, "values": values}
        return self._ask("exports.tokenize", reading=reading_id, export_id=export_id, **said)

    def detokenize(
        self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array
    ) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """See `Exports.detokenize`."""
        said = {"table": table, "field_name": field_name, "values": values}
        found, bad = self._ask("exports.detokenize", reading=reading_id, export_id=export_id, **said)
        return found, bad

    def ask_open(self, actor: str, export: str, reason: str) -> Asked:
        """See `Exports.ask_open`."""
        del actor  # the credential says who
        return cast("Asked", self._ask("exports.ask_open", export=export, reason=reason))

    def open_code(self, actor: str, export: str) -> OpenedCode:
        """See `Exports.open_code`."""
        del actor
        return cast("OpenedCode", self._ask("exports.open_code", export=export))

    def all(self, actor: str) -> list[ExportRecord]:
        """See `Exports.all`."""
        del actor  # the credential says who
        return cast("list[ExportRecord]", self._ask("exports.all"))


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
