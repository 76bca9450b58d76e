"""Shows part of a value: masks for fields that a purpose may see masked.

Masks: `all` (fixed stars), `last4`, `first1`, `first3last4` (138****8000), `email` (a***@example.com), `year`.
Stars are always as many, so that a mask does not tell a length; a text too short for its mask is all stars. A
mask that is not for the value's type, or none, means the default: text is all stars, a date or time its year,
anything else None.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

STARS = "****"
EMAIL_STARS = "***"

_LAST4_MIN = 8
_FIRST3_LAST4_MIN = 11


def mask_value(value: Any, mask_name: str | None) -> Any:
    """Show part of a value.

    Args:
        value: Text, date, datetime, or of any other type.
        mask_name: One of the masks above; None means the default of the type.

    Returns:
        Text for text, the year (int) for dates and times, None for null and for other types.
    """
    if isinstance(value, str):
        return _TEXT.get(mask_name or "all", _all)(value)
    return value.year if isinstance(value, date) else None


def mask_column(column: pa.Array | pa.ChunkedArray, mask_name: str | None) -> pa.Array:
    """Show part of every value of a column, as `mask_value` does.

    Args:
        column: Any Arrow column.
        mask_name: One of the masks above; None means the default of the type.

    Returns:
        Strings for text, int64 years for dates and times, nulls for other types; null stays null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from strongroom.schema.columns import is_text, one_chunk

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column.type):
        coded = one_chunk(column.cast(pa.string())).dictionary_encode()
        masked = [mask_value(text, mask_name) for text in coded.dictionary.to_pylist()]
        return pa.array(masked, pa.string()).take(coded.indices)
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return one_chunk(pc.year(column))
    return pa.nulls(len(column), pa.string())


def _all(_: str) -> str:
    return STARS


def _last4(text: str) -> str:
    return STARS + text[-4:] if len(text) >= _LAST4_MIN else STARS


def _first1(text: str) -> str:
    return text[0] + STARS if len(text) > 1 else STARS


def _first3_last4(text: str) -> str:
    return text[:3] + STARS + text[-4:] if len(text) >= _FIRST3_LAST4_MIN else STARS


def _email(text: str) -> str:
    name, at, domain = text.rpartition("@")
    if not at or not domain:
        return STARS
    return (name[0] if len(name) > 1 else "") + EMAIL_STARS + "@" + domain


_TEXT: dict[str, Callable[[str], str]] = {
    "all": _all,
    "last4": _last4,
    "first1": _first1,
    "first3last4": _first3_last4,
    "email": _email,
}
