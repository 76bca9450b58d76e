"""One table's rows as a purpose shows them: plain, masked, as tokens; what it withholds is no column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from strongroom.errors import IntegrityError
from strongroom.schema.columns import arrow_type
from strongroom.schema.mask import mask_column

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.keymaster.api import FieldView
    from strongroom.schema.model import Table
    from strongroom.trace.exporting.marks import Marks


class Shown:
    """One table's rows as the purpose shows them."""

    def __init__(self, table: Table, views: Mapping[str, FieldView], marks: Marks) -> None:
        import pyarrow as pa

        self.table = table
        self._marks = marks
        self._views = [(f, views[f.name]) for f in table.fields if views[f.name].show != "withheld"]
        self.plain_names = [f.name for f, _ in self._views]
        self.schema = pa.schema([(f.name, _shown_type(f.type, view.show)) for f, view in self._views])

    def of(self, plain: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as they are shown."""
        import pyarrow as pa

        columns = []
        for (f, view), column, wanted in zip(self._views, plain.columns, self.schema, strict=True):
            shown = column
            if view.show == "masked":
                shown = mask_column(column, view.mask)
            elif view.show == "token":
                shown = self._marks.tokenize(self.table, f, column)
            elif view.show != "plain":
                raise IntegrityError("a field has no way to be shown")
            columns.append(shown if shown.type == wanted.type else shown.cast(wanted.type))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _shown_type(kind: str, show: str) -> Any:
    import pyarrow as pa

    if show == "token" or (show == "masked" and kind not in {"date", "timestamp"}):
        return pa.string()
    return pa.int64() if show == "masked" else arrow_type(kind)
