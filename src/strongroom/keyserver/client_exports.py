"""Exports at a keymaster of another host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from strongroom.keyserver.client_parts import Asker

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D, Released
    from strongroom.keymaster.approvals import Asked
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

    def started(self, reading_id: bytes, export_id: bytes) -> int:
        """See `Exports.started`."""
        return int(self._ask("exports.started", reading=reading_id, export_id=export_id))

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

    def open_code(self, actor: str, export: str, traced: int | None = None) -> OpenedCode:
        """See `Exports.open_code`."""
        del actor
        return cast("OpenedCode", self._ask("exports.open_code", export=export, traced=traced))

    def all(self, actor: str) -> list[ExportRecord]:
        """See `Exports.all`."""
        del actor  # the credential says who
        return cast("list[ExportRecord]", self._ask("exports.all"))
