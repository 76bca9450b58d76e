"""What a room says about its canaries: whose identifiers they may have, and what must never be made up about anybody.

A resident id, a phone number or a mail address reaches somebody in the world. A canary's must reach nobody or the
operator, so a field of that kind needs a `Source`; without one nothing is made. Numbers that only the room gives out
(its own person numbers, parcels, reports) need none: they are drawn like the room's and compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from strongroom.errors import UsageError

OWN, COMPLETE, VOID, NULL = "own", "complete", "void", "null"
SOURCES = (OWN, COMPLETE, VOID, NULL)
SUBJECT, RESIDENT, PHONE, EMAIL, OUTSIDE, CODE, NAME, TEXT, CATEGORY = (
    "subject", "resident id", "phone", "e-mail", "outside number", "code", "name", "text", "category",
)  # fmt: skip
KINDS = (SUBJECT, RESIDENT, PHONE, EMAIL, OUTSIDE, CODE, NAME, TEXT, CATEGORY)
REACHES_SOMEBODY = (RESIDENT, PHONE, EMAIL, OUTSIDE)
UNIT_MAX = 64


@dataclass(frozen=True)
class Source:
    """Where the identifiers of a field come from.

    Args:
        kind: `own`: the operator holds them, or holds them back for canaries; each is used once. `complete`: the room
            holds every number of this kind that was given to anybody, so what it lacks is nobody's. `void`: resident
            ids that cannot be issued, as their area was not there at the time of birth. `null`: canaries have none.
        values: For `own`: the numbers or addresses, string[k].
    """

    kind: str
    values: pa.Array | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise UsageError(f"no source of identifiers is called so; there are {', '.join(SOURCES)}")
        if (self.values is not None) != (self.kind == OWN):
            raise UsageError("a source of the operator's own identifiers lists them; no other source has a list")


@dataclass(frozen=True)
class CanaryPolicy:
    """What a room says about its canaries.

    Args:
        sources: By "table.field": where identifiers come from that reach somebody.
        kinds: By "table.field": what the field is, where its values do not say it well enough.
        sensitive_tables: Sensitive tables in which canaries have records. None by default: that somebody stands in
            such a table is itself a statement that could harm a person who turned out to fit.
        avoid: By "table.field": values that no canary has, such as the role of a suspect.
        unit: Persons that belong together: what a canary's record says of another person is of the same unit, so a
            unit goes into an export whole.
        texts: By "table.field": texts to draw from where those of the room have nothing in common.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    sensitive_tables: tuple[str, ...] = ()
    avoid: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    unit: int = 4
    texts: Mapping[str, pa.Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            if kind not in KINDS:
                raise UsageError(f"{name}: there is no such kind of field; there are {', '.join(KINDS)}")
        if not 1 <= self.unit <= UNIT_MAX:
            raise UsageError(f"a unit has 1 to {UNIT_MAX} persons")
