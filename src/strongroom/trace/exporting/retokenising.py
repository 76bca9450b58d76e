"""Tokens of a past export for a few values, and back: under a reading of their own, some thousands at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.trace.exporting.request import ident_of

if TYPE_CHECKING:
    from strongroom.read.session import Session

VALUES_AT_ONCE = 10_000


def tokenized(
    session: Session, export: str, table: str, field: str, values: Sequence[str | int], purpose: str, reason: str
) -> list[str | None]:
    """See `Room.tokenize`."""

    def some(reading: bytes, given: Any) -> Any:
        return session.keymaster.exports.tokenize(reading, ident_of(export), table, field, given)

    return _in_parts(session, some, [str(value) for value in values], purpose, reason, None)


def detokenized(
    session: Session,
    export: str,
    table: str,
    field: str,
    tokens: Sequence[str],
    purpose: str,
    reason: str,
    approval: str | None,
) -> list[str | None]:
    """See `Room.detokenize`."""

    def some(reading: bytes, given: Any) -> Any:
        return session.keymaster.exports.detokenize(reading, ident_of(export), table, field, given)[0]

    return _in_parts(session, some, list(tokens), purpose, reason, approval)


def _in_parts(
    session: Session,
    some: Callable[[bytes, Any], Any],
    given: Sequence[str],
    purpose: str,
    reason: str,
    approval: str | None,
) -> list[str | None]:
    import pyarrow as pa

    if not given:
        return []
    keymaster = session.keymaster
    grant = keymaster.begin_reading(actor=session.actor, purpose=purpose, reason=reason, approval=approval)
    try:
        found: list[str | None] = []
        for at in range(0, len(given), VALUES_AT_ONCE):
            part = pa.array(given[at : at + VALUES_AT_ONCE], pa.string())
            found += some(grant.reading_id, part).to_pylist()
        return found
    finally:
        keymaster.end_reading(grant.reading_id)
