"""How many records open columns single out together: those that share their combination of values with no other.

Source of the notion: Sweeney, Simple Demographics Often Identify People Uniquely (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def unique_share(table: pa.Table, columns: Sequence[str]) -> float:
    """The share of rows whose values in these columns, taken together, no other row has.

    Of a sample this is more than of the whole, which has more rows to be alike: read it as an upper bound.

    Args:
        table: The rows; null is a value like any other.
        columns: Names of columns in it.

    Returns:
        0.0 to 1.0; 0.0 for no rows or no columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns or not table.num_rows:
        return 0.0
    chosen = table.select(list(dict.fromkeys(columns)))
    plain = [_comparable(column) for column in chosen.columns]
    names = [f"c{i}" for i in range(len(plain))]
    groups = pa.table(plain, names=names).group_by(names).aggregate([([], "count_all")])
    alone = pc.sum(pc.equal(groups.column("count_all"), 1)).as_py() or 0
    share: float = alone / table.num_rows
    return share


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of the same values in a type that Arrow groups by."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return _comparable(column.cast(column.type.value_type))
    if pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    if pa.types.is_nested(column.type):
        return pa.chunked_array([pa.array([repr(value) for value in column.to_pylist()], pa.string())])
    return column
