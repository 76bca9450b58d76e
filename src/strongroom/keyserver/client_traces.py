"""Tracing at a keymaster of another host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from strongroom.keyserver.client_parts import Asker

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D
    from strongroom.keymaster.tracing.api import (
        FormTried,
        Looked,
        Origin,
        SampleFound,
        TraceHits,
        Versions,
        Weighed,
    )


class RemoteTraces:
    """See `keymaster.tracing.api.Traces`."""

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def look_up(self, reading_id: bytes, table: str, field_name: str, values: pa.Array, snapshot: int) -> Looked:
        """See `Traces.look_up`."""
        said = {"table": table, "field_name": field_name, "values": values, "snapshot": snapshot}
        return cast("Looked", self._ask("traces.look_up", reading=reading_id, **said))

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> TraceHits:
        """See `Traces.open_hits`."""
        said = {"table": table, "field_name": field_name, "value_tokens": value_tokens, "entries": entries}
        return cast("TraceHits", self._ask("traces.open_hits", reading=reading_id, **said))

    def name_tokens(self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array) -> tuple[Origin, ...]:
        """See `Traces.name_tokens`."""
        said = {"table": table, "field_name": field_name, "tokens": tokens}
        return cast("tuple[Origin, ...]", self._ask("traces.name_tokens", reading=reading_id, **said))

    def try_formed(
        self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array, *, held: int, snapshot: int
    ) -> FormTried:
        """See `Traces.try_formed`."""
        said = {"table": table, "field_name": field_name, "tokens": tokens, "held": held, "snapshot": snapshot}
        return cast("FormTried", self._ask("traces.try_formed", reading=reading_id, **said))

    def name_formed(self, reading_id: bytes, value_tokens: Bytes2D, entries: Bytes2D) -> tuple[Origin, ...]:
        """See `Traces.name_formed`."""
        said = {"value_tokens": value_tokens, "entries": entries}
        return cast("tuple[Origin, ...]", self._ask("traces.name_formed", reading=reading_id, **said))

    def behind_tokens(
        self, reading_id: bytes, export_id: str, table: str, field_name: str, tokens: pa.Array, snapshot: int
    ) -> Looked:
        """See `Traces.behind_tokens`."""
        said = {"table": table, "field_name": field_name, "tokens": tokens, "snapshot": snapshot}
        return cast("Looked", self._ask("traces.behind_tokens", reading=reading_id, export_id=export_id, **said))

    def weigh(self, reading_id: bytes, sample: SampleFound) -> Weighed:
        """See `Traces.weigh`."""
        return cast("Weighed", self._ask("traces.weigh", reading=reading_id, sample=sample))

    def versions(
        self, reading_id: bytes, table: str, fields: Sequence[str], tokens: Bytes2D, batches: Bytes2D
    ) -> Versions:
        """See `Traces.versions`."""
        said = {"table": table, "fields": list(fields), "tokens": tokens, "batches": batches}
        return cast("Versions", self._ask("traces.versions", reading=reading_id, **said))
