"""What the API answers of holds, receipts, rejected records, retention, exports and rules: the shapes of its JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.keymaster.exports.api import ExportRecord


class HoldSaid(msgspec.Struct, frozen=True):
    """A legal hold that was set or lifted: its entry in the log, when (seconds since 1970), of how many subjects."""

    leaf: int
    time: float
    persons: int


class ReceiptSaid(msgspec.Struct, frozen=True):
    """The receipt of erasures as they stand now: a file as `strongroom verify` checks it."""

    receipt: dict[str, Any]


class TokensSaid(msgspec.Struct, frozen=True):
    """The token of each value, in their order; null for what is nothing."""

    tokens: list[str | None]


class ValuesSaid(msgspec.Struct, frozen=True):
    """The value behind each token, in their order; null for what is no token of the export, or of nobody there."""

    values: list[str | None]


class ExportsSaid(msgspec.Struct, frozen=True):
    """Entries of the ledger of exports, newest first; `cursor` goes on behind them."""

    exports: list[ExportRecord]
    cursor: str | None


class RejectGroupSaid(msgspec.Struct, frozen=True):
    """Rejected records of one put, source, reason and field."""

    put: str
    table: str
    source: str
    reason: str
    field: str
    records: int
    first_row: int


class RejectsSaid(msgspec.Struct, frozen=True):
    """How many records are kept that did not fit, and why."""

    groups: list[RejectGroupSaid]


class OpenedRejectsSaid(msgspec.Struct, frozen=True):
    """Rejected records as they came: of each its put, table, source, row, reason, field and record."""

    rejects: list[dict[str, Any]]


class ExpiringSaid(msgspec.Struct, frozen=True):
    """A table with a retention: how many records it holds, and how many have expired."""

    table: str
    days: int
    by: str
    records: int
    expired: int


class RetentionSaid(msgspec.Struct, frozen=True):
    """The tables with a retention."""

    tables: list[ExpiringSaid]


class PolicySaid(msgspec.Struct, frozen=True):
    """The policy in force, and the Cedar rules made from it."""

    policy: dict[str, Any]
    cedar: str


ACTS: dict[str, type[msgspec.Struct]] = {
    "hold": HoldSaid,
    "unhold": HoldSaid,
    "erasure-receipt": ReceiptSaid,
    "tokenize": TokensSaid,
    "detokenize": ValuesSaid,
    "exports": ExportsSaid,
    "rejects": RejectsSaid,
    "open-rejects": OpenedRejectsSaid,
    "retention": RetentionSaid,
    "policy": PolicySaid,
}
"""The answer to each verb."""
