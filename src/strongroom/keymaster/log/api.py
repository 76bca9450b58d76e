"""What the log answers about an incident: which entries, what they touched, and whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Which:
    """Which entries: of an actor, through a credential, from a time on (seconds since 1970), before a time."""

    of: str | None = None
    credential: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Touched:
    """Allowed entries about a table, or about persons, that ask the same, added up.

    Args:
        actor: Who asked.
        credential: Through which; empty where the keymaster was in the caller's own process.
        purpose: Under which.
        act: As get or find.
        table: Of which table; empty for acts on persons themselves, as erase.
        fields: Names asked for; none for all that the purpose shows.
        requests: How many entries.
        persons: Their persons; those of several requests may be the same.
        first: Number of the first entry.
        last: Number of the last.
        since: Time of the first, milliseconds since 1970.
        until: Time of the last.
    """

    actor: str
    credential: str
    purpose: str
    act: str
    table: str
    fields: tuple[str, ...]
    requests: int
    persons: int
    first: int
    last: int
    since: int
    until: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "fields": list(self.fields)}


@dataclass(frozen=True)
class TouchedPersons:
    """Whom entries touched, by subject token: nobody's name. A reading opens records by these tokens, and charges them.

    Args:
        tokens: u8[n,16].
        erased: bool[n]: who was erased since, and is not to be named any more.
        starts: u32[n+1]: the entries of person i are `entries[starts[i]:starts[i+1]]`.
        entries: u32[k], positions in `leaves`.
        leaves: u64[m], numbers of the entries that were looked into.
        group_of: u32[m], the position of each entry's line in `groups`.
        groups: What the entries asked.
        unknown: Labels that fit nobody whom the key pages or the tombstones know.
        lost: Entries whose labels are not there any more.
        leaf: The entry that this question is noted under.
    """

    tokens: npt.NDArray[np.uint8] = field(repr=False)
    erased: npt.NDArray[np.bool_] = field(repr=False)
    starts: npt.NDArray[np.uint32] = field(repr=False)
    entries: npt.NDArray[np.uint32] = field(repr=False)
    leaves: npt.NDArray[np.uint64] = field(repr=False)
    group_of: npt.NDArray[np.uint32] = field(repr=False)
    groups: list[Touched]
    unknown: int
    lost: list[int]
    leaf: int

    def __len__(self) -> int:
        return len(self.tokens)

    def each(self) -> Iterator[TouchedPerson]:
        """One by one."""
        for at, token in enumerate(self.tokens):
            here = self.entries[self.starts[at] : self.starts[at + 1]]
            groups = [self.groups[number] for number in np.unique(self.group_of[here]).tolist()]
            yield TouchedPerson(token.tobytes(), bool(self.erased[at]), self.leaves[here].tolist(), groups)


@dataclass(frozen=True)
class TouchedPerson:
    """One person: token (16 B), whether erased since, the entries that touched them, and what those asked."""

    token: bytes
    erased: bool
    leaves: list[int]
    groups: list[Touched]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by table; `*` where an entry asked for all that its purpose shows."""
        fields: dict[str, set[str]] = {}
        for group in self.groups:
            if group.table:
                fields.setdefault(group.table, set()).update(group.fields or ("*",))
        return {
            "person": self.token.hex(),
            "erased": self.erased,
            "entries": self.leaves,
            "acts": sorted({group.act for group in self.groups}),
            "purposes": sorted({group.purpose for group in self.groups if group.purpose}),
            "fields": {table: sorted(names) for table, names in sorted(fields.items())},
        }


class Logs(Protocol):
    """Questions to the log, each within seconds however long it is."""

    def newest(self, actor: str, which: Which, most: int) -> list[dict[str, Any]]:
        """The newest entries, oldest first, each with its number under `leaf`.

        Args:
            actor: Who asks; needs the act `log`, except for their own entries.
            which: Which entries.
            most: How many.
        """

    def touched(self, actor: str, which: Which) -> list[Touched]:
        """What entries touched, added up; who asks as in `newest`."""

    def persons(self, actor: str, which: Which, reason: str) -> TouchedPersons:
        """Whom entries touched. An act of its own, noted with its reason.

        Args:
            actor: Who asks; needs the act `log`.
            which: Which entries.
            reason: Why; kept sealed.

        Raises:
            UsageError: They touched more persons than are looked for at once.
            UnavailableError: Another such question is being answered.
        """
