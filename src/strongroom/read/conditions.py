"""What a look-up by value asks for: fields and values as callers write them, in canonical form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from strongroom.errors import UsageError
from strongroom.schema.normalise import normalise_one

if TYPE_CHECKING:
    from strongroom.schema.model import Table

FIND_VALUES_MAX = 1_000


def canonical(model: Table, where: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values that are looked for, by field, each once and in order.

    Args:
        model: The table.
        where: Field name to a value or an iterable of values.

    Raises:
        UsageError: A field is not of the table, there are no values or too many, or one is neither text nor number.
    """
    if not where:
        raise UsageError("find needs at least one field and value")
    wanted: dict[str, list[str]] = {}
    for name, given in where.items():
        field = next((f for f in model.fields if f.name == name), None)
        if field is None:
            raise UsageError(f"table {model.name} has no field {name}")
        values = [given] if isinstance(given, str | int) else list(_values(given))
        if not 1 <= len(values) <= FIND_VALUES_MAX:
            raise UsageError(f"give 1 to {FIND_VALUES_MAX} values for {name}")
        wanted[name] = sorted({normalise_one(str(v), field.normalise) for v in values})
    return wanted


def _values(given: Any) -> Iterable[Any]:
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError("a value to find is text, a number, or a list of them")
    return given
