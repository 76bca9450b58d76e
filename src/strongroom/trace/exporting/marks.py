"""The marks that an export's rows carry where they are shown: tokens keyed for it alone.

No true value is changed by a mark. Canary persons are records like others: the keymaster says which ones go along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.exports.api import ExportGrant
    from strongroom.schema.model import Field, Table


class Marks(Protocol):
    """What marks one export; made for its id, before it starts."""

    def begin(self, grant: ExportGrant) -> None:
        """Take what the keymaster gives for the marks, once the export has started."""

    def tokenize(self, table: Table, field: Field, values: pa.Array) -> pa.Array:
        """Texts that stand for the values of a field in this export; nulls stay, equal values are equal."""
