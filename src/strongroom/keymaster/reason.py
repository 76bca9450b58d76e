"""The reason of an act: there must be one, and it is short."""

from __future__ import annotations

from strongroom.errors import UsageError

REASON_LENGTH_MAX = 1000


def check_reason(reason: str) -> None:
    """Refuse an act without a reason."""
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise UsageError(f"a reason of at most {REASON_LENGTH_MAX} characters is needed")
