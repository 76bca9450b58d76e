"""Shows part of a value: enough to recognise, too little to use.

Rules it keeps:

1. A mask never shows more than half of a text: a short text is hidden whole.
2. Hidden parts stand as a fixed number of stars, so that the length is hidden too.
3. A type without a mask shows nothing.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

STARS = "****"
DEFAULT_MASKS = {"string": "all", "date": "year", "timestamp": "year"}


def mask_value(value: Any, mask: str | None) -> str | None:
    """A value behind a mask.

    Args:
        value: As the record holds it; None stays None.
        mask: One of `vocabulary.MASKS`; None is the default of the value's type.
    """
    if value is None:
        return None
    if mask is None:
        mask = "year" if isinstance(value, date) else "all"
    if mask == "year":
        return f"{value.year:04d}" if isinstance(value, date) else None
    return _text(value, mask) if isinstance(value, str) else None


def _text(value: str, mask: str) -> str:
    size = len(value)
    if mask == "last4" and size >= 8:
        return STARS + value[-4:]
    if mask == "first1" and size >= 2:
        return value[0] + STARS
    if mask == "first3last4" and size >= 14:
        return value[:3] + STARS + value[-4:]
    if mask == "email" and "@" in value:
        name, _, domain = value.rpartition("@")
        return (name[0] if len(name) > 1 else "") + STARS + "@" + domain
    return STARS


def mask_column(column: pa.Array, mask: str | None) -> pa.Array:
    """A column behind a mask, as text; each distinct value is masked once."""
    import pyarrow as pa

    encoded = column.dictionary_encode()
    shown = pa.array([mask_value(v, mask) for v in encoded.dictionary.to_pylist()], pa.string())
    return shown.take(encoded.indices)
