"""The marks that an export carries: tokens keyed for it alone, and canary persons mixed among its rows.

No true value is changed by a mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.exportapi import ExportGrant
    from strongroom.schema.model import Field, Table


class Marks(Protocol):
    """What marks one export; made for its id, before it starts."""

    commitment: bytes
    """What the canary persons are committed to by, at most 256 B; empty where there are none."""

    def begin(self, grant: ExportGrant) -> None:
        """Take what the keymaster gives for the marks, once the export has started."""

    def tokenize(self, table: Table, field: Field, values: pa.Array) -> pa.Array:
        """Texts that stand for the values of a field in this export; nulls stay, equal values are equal."""

    def mix(self, table: Table, plain: pa.RecordBatch, before: int, at_most: int) -> pa.RecordBatch:
        """Rows with rows of canary persons among them, as they are before they are masked or replaced.

        Args:
            table: The table.
            plain: Rows of real persons: the fields that the export shows, in schema order, all plain. No rows at the
                end of a table: what is left to mix in may come then.
            before: How many real rows of the table came before.
            at_most: The most real rows that the table's file can have.
        """

