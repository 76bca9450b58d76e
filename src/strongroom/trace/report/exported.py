"""Facts of exports: which are named, on what evidence, which are excluded, and what is only counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from strongroom.evidence.verdict import EPSILON
from strongroom.trace.report.sampled import Count, Hex, Share01

# -- exports -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export as the ledger has it.

    Args:
        id: Its id.
        recipient: Who received it.
        purpose: Under which purpose.
        approvers: Who agreed to it.
        actor: Who made it.
        at: When it was started.
        persons: How many persons are in it.
        records: How many records, of all tables.
        tables: Its tables.
        entries: Numbers of its entries in the log.
        commitment: To its code row; empty where it has no canaries.
    """

    id: Hex
    recipient: str
    purpose: str = ""
    approvers: tuple[str, ...] = ()
    actor: str = ""
    at: float | None = None
    persons: Count | None = None
    records: Count | None = None
    tables: tuple[str, ...] = ()
    entries: tuple[Count, ...] = ()
    commitment: Hex = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByCanaries:
    """What canaries say of an export: ln E, and how many of the finds that were offered to it it holds."""

    log_e: float
    held: Count
    offered: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTokens:
    """What tokens say of an export.

    Args:
        rows: Rows of the sample that name it.
        log_e: Evidence that its key made them, ln.
        chance: Bound of the probability that any export reaches this without having made them.
        field: "table.field" whose tokens they are.
    """

    rows: Count
    log_e: float
    chance: Share01
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accused:
    """An export named as a source: by canaries, by tokens, or both."""

    export: Export
    canaries: ByCanaries | None = None
    tokens: ByTokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handful:
    """Exports that may have made tokens that keep the form of a value: too few rows to name one. Accuses nobody.

    Args:
        field: "table.field" whose tokens they are.
        rows: Rows with such tokens.
        exports: Ids of the candidates.
        chance: Bound of the probability that none of them made the tokens, or a named one did not.
    """

    field: str
    rows: Count
    exports: tuple[Hex, ...]
    chance: Share01


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An export that cannot be the only source, and what shows it.

    Args:
        export: The export.
        file: Name of the file of the sample.
        row: Number of the row that excludes it.
        why: What excludes it, without a value: "the person is not in it".
    """

    export: Export
    file: str
    row: Count
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """How many unnamed exports have evidence from `low` to below `high`."""

    low: float
    high: float
    exports: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """How exports were weighed by the canaries found (`evidence.verdict.Verdict`).

    Args:
        ever_issued: N: all exports ever issued.
        epsilon: Bound of the probability that any innocent export is accused.
        threshold: ln(N/ε).
        judged: Exports weighed.
        canaries: Distinct canaries found.
        nearest: Greatest evidence below the threshold, of an export that is not named.
        unnamed: The others' evidence, without names (`filling.bins`).
        opened: Exports not weighed because their code rows had been opened.
        finds_digest: SHA-256 of the list of finds.
        finds_entry: Number of the log entry that has it.
    """

    ever_issued: Annotated[int, msgspec.Meta(ge=1)]
    threshold: float
    epsilon: float = EPSILON
    judged: Count = 0
    canaries: Count = 0
    nearest: float | None = None
    unnamed: tuple[Bin, ...] = ()
    opened: Count = 0
    finds_digest: Hex = ""
    finds_entry: Count | None = None
