"""One opened record, as its purpose shows it.

Rules it keeps:

1. A withheld field raises when it is asked for, and is named in `withheld`; it is never a silent null.
2. Printing a record prints its table and fields, never values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.errors import DeniedError, NotFoundError


class Record(Mapping[str, Any]):
    """A record's shown fields by name; `withheld` names the others.

    Args:
        table: Name of the table.
        shown: Field name to value, masked where the purpose masks.
        withheld: Names of the fields this purpose does not show.
        masked: Names of the shown fields that are masked.
        purpose: The purpose it was opened under.
    """

    __slots__ = ("_shown", "masked", "purpose", "table", "withheld")

    def __init__(
        self,
        table: str,
        shown: Mapping[str, Any],
        withheld: frozenset[str],
        masked: frozenset[str],
        purpose: str,
    ) -> None:
        self.table = table
        self._shown = dict(shown)
        self.withheld = withheld
        self.masked = masked
        self.purpose = purpose

    def __getitem__(self, name: str) -> Any:
        """The value of a shown field; DeniedError for a withheld one, NotFoundError for an unknown one."""
        if name in self._shown:
            return self._shown[name]
        if name in self.withheld:
            raise DeniedError(
                f"field {name} of {self.table} is withheld under purpose {self.purpose}",
                rule=f"purpose {self.purpose}: {name} = withheld",
                hint="`strongroom explain` says which purpose shows it",
            )
        raise NotFoundError(f"table {self.table} has no field {name}")

    def __contains__(self, name: object) -> bool:
        return name in self._shown

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown)

    def __len__(self) -> int:
        return len(self._shown)

    def __repr__(self) -> str:
        held = f", withheld: {', '.join(sorted(self.withheld))}" if self.withheld else ""
        return f"<Record of {self.table}: {', '.join(self._shown)}{held}>"
