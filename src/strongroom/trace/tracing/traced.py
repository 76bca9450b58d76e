"""What a trace found, for a program: `facts` makes facts of it, `told` lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from strongroom.keymaster.api import Bytes2D
    from strongroom.keymaster.tracing.api import Excluded, Origin, Weighed
    from strongroom.schema.model import Schema
    from strongroom.trace.leak.sample import Description
    from strongroom.trace.ours import Ours
    from strongroom.trace.tracing.matching import Costs, Tally
    from strongroom.trace.tracing.versions import Dated


@dataclass(frozen=True)
class Place:
    """Where a row is: name of its file, and number of the row."""

    file: str
    row: int


@dataclass(frozen=True)
class NamedByTokens:
    """An export that tokens of the sample name: with the field, and the rows of the columns that they stand in."""

    origin: Origin
    table: str
    name: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a trace found.

    Args:
        room_id: Id of the room, hex.
        actor: Who traced.
        purpose: Under which purpose.
        at: When it ended, in seconds since 1970.
        snapshot: Number of the snapshot that it was compared with.
        description: What was read.
        digest: SHA-256 over the digests of its files, 32 B.
        ours: Whether it is ours.
        repeated: Rows whose identifiers are those of an earlier one.
        weighed: What the keymaster says of its persons.
        names: (table, field) that `weighed.counts` counts.
        tokens: Exports that its tokens name; one may stand twice, by text tokens last.
        excluded: Exports that cannot be the only source, with the row that shows it.
        dated: Of when it is; None where nothing is said.
        undated: Why nothing is said.
        costs: What it cost.
        tallies: Distinct values looked for and found, by (table, field).
        uncounted: How many further fields it may have, which are not counted by person.
        untried: Why columns that may hold tokens of a form were not tried; empty where none was left.
        hidden: (table, field) that it may have, and that the purpose does not show.
        schema: The schema in force.
        persons: Tokens of its persons, canaries among them, u8[n,16]: for a notification list.
        sure: Which of them were found by two identifiers or a token, bool[n].
    """

    room_id: str
    actor: str
    purpose: str
    at: float
    snapshot: int
    description: Description
    digest: bytes = field(repr=False)
    ours: Ours
    repeated: int
    weighed: Weighed
    names: tuple[tuple[str, str], ...]
    tokens: tuple[NamedByTokens, ...]
    excluded: tuple[tuple[Excluded, Place], ...]
    dated: Dated | None
    undated: str
    costs: Costs
    tallies: Mapping[tuple[str, str], Tally]
    uncounted: int
    untried: str = ""
    hidden: tuple[tuple[str, str], ...]
    schema: Schema = field(repr=False)
    persons: Bytes2D = field(repr=False)
    sure: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def certain(self) -> Bytes2D:
        """Tokens of the persons found by two identifiers or a token; of all where nobody was, u8[n,16]."""
        return self.persons[self.sure] if self.sure.any() else self.persons
