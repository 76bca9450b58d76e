"""Times of a file that was handed out, as a person reads them (UTC); one that is no date is told as a wrong file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.errors import IntegrityError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def second(milliseconds: int) -> str:
    """Milliseconds since 1970 as a second: 2026-11-29 08:30:00."""
    return _since(timedelta(milliseconds=1), milliseconds).strftime("%Y-%m-%d %H:%M:%S")


def day(number: int) -> str:
    """Days since 1970 as a date: 2026-11-29."""
    return _since(timedelta(days=1), number).strftime("%Y-%m-%d")


def _since(unit: timedelta, count: int) -> datetime:
    try:
        return _EPOCH + count * unit
    except OverflowError:
        raise IntegrityError("a time in the file is no date") from None
