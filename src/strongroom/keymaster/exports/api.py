"""What a room asks of a keymaster to export: which persons, then one decision about all of them, then their keys.

The order, and what holds after each step:

1. `begin` decides whether this may be exported to that recipient, and gives the export its id. Nothing is noted but a
   refusal.
2. `add` says which persons stand behind the rows that will be in the files, as often as it takes. Nothing is released.
3. `start` decides, spends all of them at once, notes one entry, and keeps the ledger's entry, in one transaction. It
   throws the coins of the canary persons among them, and commits to them in that entry.
4. `release` gives batch keys of rows of those persons, and of the canaries that the export holds, as often as it takes;
   nobody is charged again. Other canaries are missing, like whoever was erased.
5. `end` notes that the files are whole, with the root over their rows.

An export that was cut short between 3 and 5 is taken up again with `resume`, by the same actor, for the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from strongroom.evidence.rowfile import ProvedEntry, row_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from strongroom.keymaster.api import Bytes2D, Released
    from strongroom.keymaster.approvals import Asked

OPEN, ENDED = "open", "ended"
TABLES_MAX = 64
DECIDES = "decisions about single people are taken on the copy"
NAMED = "its subjects are named"
UNASKED = (DECIDES, NAMED)
"""Reasons for which no canary persons are asked for."""
WHERE_LENGTH_MAX = 4096


@dataclass(frozen=True)
class ExportPlan:
    """What an export is to hold.

    Args:
        tables: Names of tables, each once. All records, or with `named` or `where` those of the persons chosen.
        recipient: Who receives it; the purpose names them.
        snapshot: Number of the snapshot that is read.
        named: Whether the persons are subjects that the caller names.
        where: A condition on open fields of the first table, as text; empty for none.
        where_fields: The fields in it.
    """

    tables: tuple[str, ...]
    recipient: str
    snapshot: int
    named: bool = False
    where: str = field(default="", repr=False)
    where_fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportGrant:
    """An export that was started: its persons are spent, and noted.

    Args:
        export_id: 16 B.
        snapshot: Number of the snapshot that is read.
        persons: How many distinct persons, canary persons that it holds among them.
        leaf: Number of its entry in the log.
        remaining: What each budget has left.
        token_key: 32 B, from which the keys of its tokens come; empty for a caller who is not trusted to mask.
        marked: Whether coins were thrown for canary persons among its records.
        names_from: The smallest sample, in persons, that is expected to name the recipient; 0 where none is.
        why_none: Why it has no canary persons, or names nobody; else empty.
    """

    export_id: bytes
    snapshot: int
    persons: int
    leaf: int
    remaining: Mapping[str, int]
    token_key: bytes = field(repr=False)
    marked: bool
    names_from: int
    why_none: str


@dataclass(frozen=True)
class ExportRecord:
    """One entry of the ledger of exports; times are seconds since 1970. The set of persons stays with the keymaster.

    `fields` has the names of what is shown, by table; `root` is hex, empty until the export has ended; `where` is
    empty for whoever may not read the log. `marked`, `names_from` and `why_none` are those of the grant; `opened` is
    the number of the entry by which its code row was opened, -1 where it was not.
    """

    id: str
    leaf: int
    actor: str
    purpose: str
    recipient: str
    at: float
    snapshot: int
    tables: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]
    named: bool
    where: str = field(repr=False)
    persons: int
    approval: str
    approver: str
    commitment: str
    marked: bool
    names_from: int
    why_none: str
    opened: int
    state: str
    records: int
    root: str
    ended: float
    ended_leaf: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "tables": list(self.tables), "fields": {k: list(v) for k, v in self.fields.items()}}


@dataclass(frozen=True)
class OpenedCode:
    """The code row of one export, opened for a court.

    Args:
        export: Id of the export, hex.
        row: The text that opens it (`evidence.coderow.open_row`).
        key: The log's public key, as one line.
        entry: The export's entry in the log, which has the commitment.
        opening: The entry by which two people opened the row.
        finds: The entry by which a trace noted its finds, where it was asked for.
    """

    export: str
    row: bytes = field(repr=False)
    key: str
    entry: ProvedEntry
    opening: ProvedEntry
    finds: ProvedEntry | None = None

    def to_dict(self) -> dict[str, Any]:
        """The file for a court, for JSON."""
        return row_file(self.key, self.row, self.entry, self.opening, self.finds)


class Exports(Protocol):
    """The exports of one keymaster. See the module's order."""

    def begin(self, reading_id: bytes, plan: ExportPlan) -> bytes:
        """Decide whether a plan may be exported; returns the id (16 B) of the export.

        Raises:
            DeniedError: The purpose, the recipient, a table, or a class that only a server is released; subjects that
                are named alone where the room has canary persons; another plan than a caller signed for, in whose name
                a server exports, or a second export.
        """

    def add(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> int:
        """Take in the persons behind rows of a table; returns how many distinct ones there are by now.

        Whoever has no secret any more, or is behind no living row, is left out. Canary persons are counted here like
        anybody; of them those count in the end that the export holds.

        Raises:
            DeniedError: Others, or more, than a caller signed for, in whose name a server exports. It has ended then.
            UsageError: Another table than the plan's, an export that was started, or too many persons.
        """

    def start(self, reading_id: bytes, export_id: bytes) -> ExportGrant:
        """Decide, spend and note all that were added; the same export is charged once.

        Args:
            reading_id: The reading that it was begun under.
            export_id: The export.

        Raises:
            DeniedError: It needs another person's agreement, as it does where it shows who is a canary, or was refused
                since.
            BudgetError: One person too many: nobody is released.
        """

    def started(self, reading_id: bytes, export_id: bytes) -> int:
        """Number of the snapshot that an export of the reading's actor reads, which was started before.

        Raises:
            NotFoundError: There is none of this id for this actor.
        """

    def resume(self, reading_id: bytes, export_id: bytes, plan: ExportPlan) -> ExportGrant:
        """Take up an export that was started and has not ended.

        Raises:
            NotFoundError: There is none of this id for this actor and purpose.
            ConflictError: It has ended, or was of another plan.
        """

    def release(self, reading_id: bytes, export_id: bytes, table: str, tokens: Bytes2D, batches: Bytes2D) -> Released:
        """Batch keys of rows of a started export; rows of anybody else, and of canaries not held, are `missing`."""

    def end(self, reading_id: bytes, export_id: bytes, records: Mapping[str, int], root: bytes) -> ExportRecord:
        """Note that the files are whole.

        Args:
            reading_id: The reading.
            export_id: The export.
            records: How many rows each table's file has.
            root: Merkle root over all rows, 32 B.
        """

    def tokenize(
        self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array
    ) -> pa.Array:
        """Tokens of values in an export, under a purpose with the verb tokenize; metered as look-ups.

        Raises:
            DeniedError: The purpose does not show the field, or no look-up is left.
            UsageError: The export has no such field, or too many values.
        """

    def detokenize(
        self, reading_id: bytes, export_id: bytes, table: str, field_name: str, values: pa.Array
    ) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The values behind tokens of an export, and bool[n], true where a row is no token of it or of nobody there.

        Under a purpose with the verb detokenize; spent and noted as a release of the persons behind them.
        """

    def ask_open(self, actor: str, export: str, reason: str) -> Asked:
        """Ask to open the code row of an export (id in hex) for a court; another person with the act `disclose` agrees.

        Raises:
            NotFoundError: There is no such export, or it has no code row.
            ConflictError: It was opened already.
        """

    def open_code(self, actor: str, export: str, traced: int | None = None) -> OpenedCode:
        """The code row of an export that two people opened, with its proof; each time is an entry of the log.

        Args:
            actor: Who has it.
            export: Id of the export, hex.
            traced: Number of the entry by which a trace noted its finds, to be proved beside it.

        Raises:
            DeniedError: The actor has not the act `disclose`, or nobody has agreed.
            NotFoundError: There is no such export, it has no code row, or that entry is no trace's.
            UnavailableError: Too few witnesses cosign what proves it.
        """

    def all(self, actor: str) -> list[ExportRecord]:
        """The ledger, newest first: all of it for whoever has the act `log`, else the actor's own exports."""

