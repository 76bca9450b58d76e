"""What a room asks of a keymaster to trace a published sample: whose values these are, and whose copy it was.

The order, and what holds after each step:

1. `look_up` turns values into tokens, many at once, each a look-up that is spent and noted first. `open_hits` opens
   the index entries under them: the persons of the sample, as tokens.
2. `name_tokens` says which export made text tokens that stand in the sample; `try_formed`, then `name_formed`, of which
   a handful of tokens are that keep the form of a value; `behind_tokens` turns them into what `look_up` gives.
3. `weigh` finds the canaries among the persons, notes the digest of the finds, and only then throws the coins of all
   exports. It names whom the evidence accuses, and exports that cannot be the only source. Shares of the sample that
   are in an export are told of none. It does so once: other finds take another trace.
4. `versions` releases the versions of some persons' records, to see of when the sample is: charged and told to them.

The exact sets of persons, and who is a canary, stay with the keymaster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from strongroom.evidence.verdict import Verdict
from strongroom.keymaster.exports.api import ExportRecord

if TYPE_CHECKING:
    import pyarrow as pa

Bytes2D = npt.NDArray[np.uint8]

TRACE = "trace"
VALUES_AT_ONCE_MAX = 200_000
HITS_AT_ONCE_MAX = 1_000_000
VERSIONS_MAX = 1_000_000
"""Versions of records that one call releases: more are asked for of fewer persons."""
VALUES_HELD_MAX = 8_000_000
"""Tokens of values that a trace's hits may be opened under: the newest, 16 B each, of all fields together."""
FORM_TRIES_MAX = 16
"""Columns of one trace whose tokens of a form are tried: the bound of naming anybody is over all of them."""
FORM_LOOKUPS_MAX = 200_000
"""Values that are looked up behind the tokens of a form of one column, over the keys of all exports."""
PERSONS_MAX = 50_000_000
"""Persons that a trace finds, 16 B each."""
PERSONS_SERVED_MAX = 8_000_000
"""Persons that a trace through a keymaster's server finds: they go over the wire in one call to be weighed."""
TRACES_OPEN_MAX = 4
"""Traces that an actor has open at once, through whatever credentials: each holds what it was given and found."""
FIELDS_MAX = 64
EXCLUDING_PERSONS_MIN = 20
"""Below so many persons no export is excluded: a sample made for it would say in which exports somebody is."""


@dataclass(frozen=True)
class Looked:
    """What values became: tokens u8[n,16], and bool[n], whether the room can have it (of subjects: has somebody)."""

    tokens: Bytes2D = field(repr=False)
    there: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TraceHits:
    """The persons of those index entries that live: tokens u8[k,16], and which entries these are, i64[k]."""

    subjects: Bytes2D = field(repr=False)
    rows: npt.NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class SampleFound:
    """The persons of a sample, in the order of its rows.

    Args:
        persons: Their tokens, u8[n,16], each once.
        sure: bool[n]: found by two identifiers of one row, or by a token.
        fields: u64[n]: bit b says that the sample has field `names[b]` of the person.
        names: (table, field) of each bit, at most `FIELDS_MAX`.
        digest: SHA-256 over the files of the sample, 32 B.
        tested: Distinct rows in which something was looked for.
        chance: Bound of the rate at which a foreign row matches by one identifier, 1 where nothing is known.
        alone: bool[n]: a row points to the person and to nobody else as much; None for all. Others exclude no export.
    """

    persons: Bytes2D = field(repr=False)
    sure: npt.NDArray[np.bool_] = field(repr=False)
    fields: npt.NDArray[np.uint64] = field(repr=False)
    names: Sequence[tuple[str, str]]
    digest: bytes = field(repr=False)
    tested: int
    chance: float
    alone: npt.NDArray[np.bool_] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Excluded:
    """An export that cannot be the only source of the sample.

    Args:
        export: Its entry in the ledger.
        at: Place, among the persons given, of the first whom it does not have.
        outside: How many it does not have, where each was found by one identifier only; 0 where one person is enough.
    """

    export: ExportRecord
    at: int
    outside: int = 0


@dataclass(frozen=True)
class Origin:
    """An export that made tokens of the sample, with the bound of the chance that any did not and reaches this.

    `verified` of those `tried`: text tokens that its key verifies, or tokens of a form whose values the room has.
    """

    export: ExportRecord
    verified: int
    tried: int
    log_e: float
    chance: float


@dataclass(frozen=True)
class FormTried:
    """What was tried of tokens of a form.

    Args:
        lookups: How many look-ups were spent: 0 if none was tried.
        asked: Index tokens to look for, u8[n,16], each once, ascending, so that they tell no key from another. None of
            subjects, which the keymaster knows.
    """

    lookups: int
    asked: Bytes2D = field(repr=False)


@dataclass(frozen=True)
class Weighed:
    """What the persons of a sample say.

    Args:
        leaf: Number of the entry that has the digest of the finds, noted before coins were thrown.
        digest: Of the finds (`Found.digest`), 32 B.
        verdict: Of the canaries found; None where no export was ever issued.
        others: ln E of the exports that are not accused, ascending, without names.
        accused: The ledger's entries of those accused, in the verdict's order.
        excluded: Exports that cannot be the only source, newest first.
        why_none: Why no export was looked at for that; empty where they were.
        persons: Persons of the sample, without canaries.
        sure: Those of them found by two identifiers or a token.
        counts: For each of the names given, the persons of whom the sample has it.
        in_accused: All persons in the exports accused; None where none is.
    """

    leaf: int
    digest: bytes = field(repr=False)
    verdict: Verdict | None
    others: npt.NDArray[np.float64] = field(repr=False)
    accused: tuple[ExportRecord, ...]
    excluded: tuple[Excluded, ...]
    why_none: str
    persons: int
    sure: int
    counts: tuple[int, ...]
    in_accused: int | None


@dataclass(frozen=True)
class Versions:
    """Batch keys of versions of records, and what tells of when they are.

    Args:
        keys: By class, u8[n,32]; zeros for a row that is missing.
        missing: Rows of nobody who is there, and of persons who are left out.
        born: u64[n], the batch sequence that each row's person was first put in.
        minted: f64[n], when each row's batch was begun, in seconds since 1970.
        since: When the room's first batch was begun.
        leaf: Number of the entry in the log.
        persons: How many persons were charged.
        left_out: How many are left out, because budgets and the agreement hold no more.
    """

    keys: Mapping[str, Bytes2D] = field(repr=False)
    missing: npt.NDArray[np.int64] = field(repr=False)
    born: npt.NDArray[np.uint64] = field(repr=False)
    minted: npt.NDArray[np.float64] = field(repr=False)
    since: float
    leaf: int
    persons: int
    left_out: int


class Traces(Protocol):
    """The tracing of one keymaster, under purposes with the verb `trace`. See the module's order."""

    def look_up(self, reading_id: bytes, table: str, field_name: str, values: pa.Array, snapshot: int) -> Looked:
        """Tokens of normalised values of an indexed field, or of subjects; each value is a look-up.

        Raises:
            DeniedError: The purpose does not trace by this field, or needs another person's agreement; or the actor has
                `TRACES_OPEN_MAX` other traces open.
            BudgetError: No look-ups are left.
            UsageError: No values, more than `VALUES_AT_ONCE_MAX`, or more persons than a trace finds.
        """

    def open_hits(
        self, reading_id: bytes, table: str, field_name: str, value_tokens: Bytes2D, entries: Bytes2D
    ) -> TraceHits:
        """Whose the index entries u8[n,44] under tokens u8[n,16] are; those of the dead are left out.

        Raises:
            DeniedError: This trace did not look up such a value, or the purpose does not trace by this field.
            IntegrityError: An entry does not open.
            UsageError: More persons than a trace finds.
        """

    def name_tokens(self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array) -> tuple[Origin, ...]:
        """The exports that made text tokens of a field, named only where the evidence reaches the bound."""

    def try_formed(
        self, reading_id: bytes, table: str, field_name: str, tokens: pa.Array, *, held: int, snapshot: int
    ) -> FormTried:
        """Try a handful of tokens of a field's form with the keys of all exports that hold the field.

        What is behind each token under each key is a look-up, spent and noted first. Nothing is spent where there are
        fewer tokens than could name anybody, or after `FORM_TRIES_MAX` tries. `name_formed` answers the newest try.

        Args:
            reading_id: The reading.
            table: Table of the field.
            field_name: The field.
            tokens: Strings, at most `VALUES_AT_ONCE_MAX`.
            held: Distinct values of the field that the room has, at most. Whoever asks from outside the keymaster's
                process is not believed that there are fewer than persons.
            snapshot: Number of the snapshot whose index is read.

        Raises:
            DeniedError: The purpose refuses.
            BudgetError: No look-ups are left.
        """

    def name_formed(self, reading_id: bytes, value_tokens: Bytes2D, entries: Bytes2D) -> tuple[Origin, ...]:
        """The exports that made the handful tried last, named only where the evidence reaches the bound.

        A try is answered once, whatever is answered: which of the values the room has would tell whose keys gave them.

        Args:
            reading_id: The reading.
            value_tokens: Of those asked for, which are in the index: u8[k,16], one for each entry.
            entries: The entries under them, u8[k,44].

        Raises:
            DeniedError: Nothing was tried, it was answered, or an entry was not asked for.
            IntegrityError: An entry does not open.
        """

    def behind_tokens(
        self, reading_id: bytes, export_id: str, table: str, field_name: str, tokens: pa.Array, snapshot: int
    ) -> Looked:
        """What `look_up` gives, for the values behind tokens of an export that `name_tokens` named in this trace."""

    def weigh(self, reading_id: bytes, sample: SampleFound) -> Weighed:
        """What the persons of a sample say, once for each reading: see the module's order.

        Raises:
            DeniedError: One of them was not found by this trace, it was weighed before, or the purpose refuses.
        """

    def versions(
        self, reading_id: bytes, table: str, fields: Sequence[str], tokens: Bytes2D, batches: Bytes2D
    ) -> Versions:
        """Keys of versions of records of persons that this trace found; canaries are missing.

        Of more persons than budgets and the agreement hold, as many as these hold are charged and released.

        Raises:
            DeniedError: One of them was not found by this trace, or the purpose does not show a field; to whom is not
                trusted to mask: another field of its class.
            BudgetError: Not one more person is left; nobody is released.
            UsageError: There are more than `VERSIONS_MAX`.
        """


__all__ = [
    "EXCLUDING_PERSONS_MIN",
    "FIELDS_MAX",
    "FORM_LOOKUPS_MAX",
    "FORM_TRIES_MAX",
    "PERSONS_MAX",
    "PERSONS_SERVED_MAX",
    "TRACE",
    "TRACES_OPEN_MAX",
    "VERSIONS_MAX",
    "Excluded",
    "FormTried",
    "Looked",
    "Origin",
    "SampleFound",
    "TraceHits",
    "Traces",
    "Versions",
    "Weighed",
]
