"""Facts of the sample itself: what was read, whether it is ours, when it was taken, and who is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Share01 = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*$")]


# -- the sample --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """One file of a sample.

    Args:
        name: What the operator calls it.
        sha256: Of the file as stored.
        bytes: Its size as stored.
        form: `csv`, `json`, `parquet`, `sql` or `text`.
        encodings: Lines read as something else than UTF-8, by encoding.
        rows: Rows looked at.
        text_rows: Those of them read as plain text.
        unread: Rows that could not be read, by reason.
        unread_bytes: Bytes that could not be read, by reason, where rows cannot be told.
        replaced_bytes: Bytes that are no text.
    """

    name: str
    sha256: Hex = ""
    bytes: Count = 0
    form: str = ""
    encodings: Mapping[str, Count] = field(default_factory=dict)
    rows: Count = 0
    text_rows: Count = 0
    unread: Mapping[str, Count] = field(default_factory=dict)
    unread_bytes: Mapping[str, Count] = field(default_factory=dict)
    replaced_bytes: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFound:
    """A column that was recognised as a field.

    Args:
        file: Name of its file.
        column: Its header if that is made of known words, "column N" otherwise, "plain text" for running text.
        table: Name of the table of the schema.
        field: Name of the field.
        how: By what: `name`, `word`, `values` or `text`.
        lookup: `index`, `subject`, or "" where it was only compared.
        values: Values read as this field.
    """

    file: str
    column: str
    table: str
    field: str
    how: str
    lookup: str = ""
    values: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was published, as it was read.

    Args:
        name: What the operator calls it.
        files: Its files.
        columns: Columns recognised.
        unknown: Columns that no field could be, as they may be shown.
        repeated: Rows that say the same as an earlier one.
    """

    name: str
    files: tuple[SampleFile, ...] = ()
    columns: tuple[ColumnFound, ...] = ()
    unknown: tuple[str, ...] = ()
    repeated: Count = 0


# -- is it ours --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What share of tested rows or values is ours, with its bounds (`trace.ours.Share`).

    `log_chance` bounds the chance that as many foreign ones match; `shown`: it is so small that some are ours.
    """

    tested: Count
    matched: Count
    chance: Share01
    low: Share01
    high: Share01
    log_chance: float
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Whether the sample is ours.

    Args:
        by_one: Rows of which the room knows a field.
        by_two: Rows of which it knows two fields of one person.
        columns: The same for distinct values of each field, by "table.field".
        untested: Rows without anything to test.
        error: Chance that a bound is wrong.
    """

    by_one: Share | None = None
    by_two: Share | None = None
    columns: Mapping[str, Share] = field(default_factory=dict)
    untested: Count = 0
    error: float = 1e-9


# -- when --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Times from `start` to before `stop`; `support` rows agree; `mass`: posterior probability."""

    start: float
    stop: float
    support: Count = 0
    mass: Share01 = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot of the room."""

    number: Count
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dating:
    """When the data was taken (`trace.dating.Dating`), times in seconds.

    Args:
        claimed: Whether the evidence allows to say so.
        why: What it lacks, or "".
        period: The times that were possible.
        rows: Rows with versions in the period.
        informative: Those whose versions leave out a part of it.
        empty: Rows that no time of the period had.
        foreign: Share of rows of other dates.
        log_e: Evidence against dates of their own.
        best: Where the likelihood is greatest.
        likely: The smallest set of times with 99.9 % of the posterior.
        others: Further times: several takes put together.
        snapshots: Snapshots in the period.
    """

    claimed: bool
    period: Interval
    why: str = ""
    rows: Count = 0
    informative: Count = 0
    empty: Count = 0
    foreign: Share01 = 0.0
    log_e: float = 0.0
    best: tuple[Interval, ...] = ()
    likely: tuple[Interval, ...] = ()
    others: tuple[Interval, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def taken(self) -> tuple[float, float] | None:
        """From the first likely time to the last; None where none is claimed."""
        if not self.claimed or not self.likely:
            return None
        return min(one.start for one in self.likely), max(one.stop for one in self.likely)


# -- who ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCount:
    """Persons of the sample with records of a table in it; `sensitive` as the schema says of the table."""

    table: str
    persons: Count
    records: Count | None = None
    sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """Persons of the sample of whom it has fields of a class; `rank`: open, personal or sensitive."""

    name: str
    persons: Count
    rank: Literal["open", "personal", "sensitive"] = "personal"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCount:
    """Persons of the sample of whom it has a field: a kind of data."""

    table: str
    field: str
    class_name: str
    persons: Count
    rank: Literal["open", "personal", "sensitive"] = "personal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """The list of whom to notify, which is a release like any other.

    Args:
        state: `none`: not made; `waiting`: for another person's agreement; `made`.
        approval: Id of what waits, or was agreed to.
        entry: Number of the log entry of the release.
        persons: How many are on it.
        at: When it was made.
    """

    state: Literal["none", "waiting", "made"] = "none"
    approval: str = ""
    entry: Count | None = None
    persons: Count | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """The persons in the sample.

    Args:
        persons: How many the sample has of the room.
        sure: Those matched by two fields of one person, or a token.
        chance_at_most: How many of the others chance may have matched, at most.
        in_exports: All persons in the exports named: whoever has the copy may have them too.
        minors: Those under age when it was taken, where birth dates say so.
        tables: By table; a person may be in several.
        classes: By class of field; a person is in several.
        kinds: By field.
        list: The notification list.
    """

    persons: Count
    sure: Count | None = None
    chance_at_most: float | None = None
    in_exports: Count | None = None
    minors: Count | None = None
    tables: tuple[TableCount, ...] = ()
    classes: tuple[ClassCount, ...] = ()
    kinds: tuple[FieldCount, ...] = ()
    list: Notification = Notification()
