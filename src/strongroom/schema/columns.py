"""Arrow columns of the types a schema knows, and the plain arrays behind whatever layout they come in.

Strings may come as string, large_string, string_view or dictionary, chunked or sliced: `plain` makes one array
of them, without copying where one chunk already has the wanted type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

OFFSET_32_MAX = 2**31 - 1


def arrow_type(field_type: str) -> Any:
    """The Arrow type of a column of a field type: timestamps in microseconds UTC, dates in days."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "binary": pa.binary(),
    }
    return types[field_type]


def plain(column: pa.Array | pa.ChunkedArray, field_type: str, name: str) -> pa.Array:
    """One array of the Arrow type of a field, whatever layout the column has.

    Strings and bytes stay large_string and large_binary where they are, and become so beyond 2 GiB.

    Args:
        column: A column of that type in any layout.
        field_type: One of `model.TYPES`.
        name: What messages call the column.

    Raises:
        InputError: The column is of another type.
    """
    import pyarrow as pa

    wanted = arrow_type(field_type)
    try:
        if field_type in {"string", "binary"} and column.nbytes > OFFSET_32_MAX:
            wanted = pa.large_string() if field_type == "string" else pa.large_binary()
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not _is(kind, field_type):
            raise InputError(f"field {name}: the column is {kind}, not {field_type}")
        if column.type not in {wanted, *_as_they_are()}:
            column = column.cast(wanted)
        return one_chunk(column)
    except pa.ArrowException as error:
        raise InputError(f"field {name}: the column does not convert to {field_type}") from error


def _as_they_are() -> tuple[pa.DataType, pa.DataType]:
    import pyarrow as pa

    return pa.large_string(), pa.large_binary()


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as a single array; copied only if it has several chunks."""
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else combined.chunk(0)


def text_bytes(array: pa.Array) -> npt.NDArray[np.uint8]:
    """The bytes of all texts of an array of type string without nulls, without gaps: u8[m]."""
    import numpy as np

    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return np.zeros(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, in any layout but dictionary."""
    import pyarrow as pa

    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, in any layout but dictionary."""
    import pyarrow as pa

    t = pa.types
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind))


def _is(kind: pa.DataType, field_type: str) -> bool:
    import pyarrow as pa

    t = pa.types
    if t.is_null(kind):
        return True
    if field_type == "string":
        return is_text(kind)
    if field_type == "binary":
        return is_bytes(kind)
    tests = {
        "int": t.is_integer,
        "float": t.is_floating,
        "bool": t.is_boolean,
        "date": t.is_date,
        "timestamp": t.is_timestamp,
    }
    return bool(tests[field_type](kind))
