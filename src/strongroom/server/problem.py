"""Errors as problem details (RFC 9457): the status tells what to do, `rule` what refused, never a value."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    ErasedError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.keyserver.callers import SIGNED_IN
from strongroom.listener.message import Reply
from strongroom.server.answers import Problem

MEDIA = b"application/problem+json"
TYPE = "urn:strongroom:problem:"
_SAID: Mapping[type[StrongroomError], tuple[int, str, str]] = {
    BudgetError: (429, "budget", "the budget is spent"),
    DeniedError: (403, "denied", "refused"),
    UsageError: (400, "usage", "the request is not what the verb takes"),
    ErasedError: (410, "erased", "erased"),
    NotFoundError: (404, "not-found", "there is no such thing"),
    ConflictError: (409, "conflict", "somebody else was first"),
    UnavailableError: (503, "unavailable", "try again later"),
    IntegrityError: (500, "integrity", "what is stored is not what was written"),
    StrongroomError: (500, "error", "an error"),
}
UNSIGNED = Problem(f"{TYPE}unsigned", "not signed in", 401, "not signed in")
_ENCODE = msgspec.json.Encoder().encode
DEFECT = Reply(500, _ENCODE({"type": f"{TYPE}defect", "title": "a defect of the server", "status": 500}), MEDIA)
"""The reply where something went wrong that nobody expected."""


def problem_of(error: StrongroomError) -> Problem:
    """An error as the API says it. Whoever is not known is told nothing else."""
    if isinstance(error, DeniedError) and error.rule == SIGNED_IN:
        return UNSIGNED
    status, name, title = next(said for kind, said in _SAID.items() if isinstance(error, kind))
    rule = error.rule if isinstance(error, DeniedError) else None
    remaining, resets_at = None, None
    if isinstance(error, BudgetError):
        remaining = error.remaining
        if error.resets_at is not None:
            resets_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(error.resets_at))
    return Problem(f"{TYPE}{name}", title, status, str(error), error.hint, rule, remaining, resets_at)


def reply_of(error: StrongroomError, now: float) -> Reply:
    """The reply to a request that failed; of a spent budget it says when to come again."""
    said = problem_of(error)
    more: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, BudgetError) and error.resets_at is not None:
        more = ((b"retry-after", str(max(1, int(error.resets_at - now))).encode()),)
    return Reply(said.status, _ENCODE(said), MEDIA, more)
