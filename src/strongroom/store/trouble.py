"""Turns what a remote store answers when something is wrong into our errors, and tries again where that is safe.

Rules it keeps:

1. A message says what was tried, the object's name and the store's own word for the trouble (`SlowDown`). It never
   repeats the library's text, which holds addresses and may hold signatures.
2. Tried again are answers that say "later" (429, 5xx but 501 and 507), lost or refused connections and time-outs: at
   most ATTEMPTS_MAX times in all and for RETRY_SECONDS_MAX, with waits that double. Credentials, rights, absence and a
   full store are reported at once.
3. Whether repeating is safe is the caller's to say: each call here is one that may be repeated.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from strongroom.errors import (
    ConflictError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.loop import elsewhere
from strongroom.turns import aside

T = TypeVar("T")

ATTEMPTS_MAX = 6
"""How often one request is sent at most."""
RETRY_SECONDS_MAX = 60.0
"""No request is sent again later than this after it was first sent."""
FIRST_WAIT_SECONDS = 0.1
"""Wait before the second attempt; each further wait is twice as long, up to LONGEST_WAIT_SECONDS."""
LONGEST_WAIT_SECONDS = 5.0
CONNECT_SECONDS_MAX = 5.0
"""How long a connection may take to open."""
IDLE_SECONDS_MAX = 20.0
"""How long a store may say nothing in the middle of an answer."""
REQUEST_SECONDS_MAX = 300.0
"""How long one request may take with its body."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
        "InvalidSecurity", "NotSignedUp", "AuthFailure", "UnrecognizedClientException",
    }
)  # fmt: skip
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "StorageFull", "InsufficientCapacity", "XMinioStorageFull"})
_LATER = frozenset(
    {
        "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "InternalError",
        "ServiceUnavailable", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "RequestThrottled",
    }
)  # fmt: skip
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a store, and how.

    Attributes:
        attempts: How often one request is sent at most.
        seconds: No request is sent again later than this after it was first sent.
        connect_seconds: How long a connection may take to open.
        idle_seconds: How long a store may say nothing in the middle of an answer.
        wait: Sleeps.
        clock: Seconds that only go up.
    """

    attempts: int = ATTEMPTS_MAX
    seconds: float = RETRY_SECONDS_MAX
    connect_seconds: float = CONNECT_SECONDS_MAX
    idle_seconds: float = IDLE_SECONDS_MAX
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 0; threads wait differently long, so that they part."""
        part = 0.75 + 0.5 * (threading.get_ident() // 4096 % 101) / 100
        return float(min(FIRST_WAIT_SECONDS * 2.0**attempt, LONGEST_WAIT_SECONDS) * part)


@dataclass(frozen=True)
class Trouble:
    """What went wrong, as an error of ours.

    Attributes:
        error: To be raised.
        again: Whether the same request may do better in a moment.
        code: The store's word for it, where it gave one.
    """

    error: StrongroomError
    again: bool = False
    code: str = ""


def foreign_errors() -> tuple[type[BaseException], ...]:
    """The exceptions that obstore and botocore raise for trouble with a store."""
    import obstore.exceptions

    found: list[type[BaseException]] = [obstore.exceptions.BaseError, OSError]
    if "botocore.exceptions" in sys.modules:
        # imported, not taken from there: another thread may be in the middle of loading it
        core = import_module("botocore.exceptions")
        found += [core.BotoCoreError, core.ClientError]
    return tuple(found)


def attempt(what: str, call: Callable[[int], T], patience: Patience, *, bucket: str) -> T:
    """Do something that may be repeated, and repeat it while the trouble is one that passes.

    Args:
        what: What is tried, for messages: "read of object 3f/3f9a".
        call: Does it once; is told the number of the attempt, from 0.
        patience: Limits.
        bucket: Name of the bucket, for messages.

    Raises:
        NotFoundError: No such object or bucket.
        DeniedError: The credentials are wrong, or may not do this.
        ConflictError: The name is taken.
        IntegrityError: The object has no byte in the range.
        UsageError: The bucket is in another region, or the store cannot do this at all.
        UnavailableError: Full, slow, throttled, out of reach, or out of order.
    """
    return elsewhere(lambda: _attempt(what, call, patience, bucket))


def _attempt(what: str, call: Callable[[int], T], patience: Patience, bucket: str) -> T:
    import obstore.exceptions

    begun = patience.clock()
    number = 0
    while True:
        try:
            with aside():
                return call(number)
        except (StrongroomError, obstore.exceptions.InvalidPathError):
            raise
        except foreign_errors() as error:
            trouble = recognise(error, what, bucket)
            number += 1
            pause = patience.pause(number - 1)
            late = patience.clock() - begun + pause > patience.seconds
            if not trouble.again or number >= patience.attempts or late:
                raise trouble.error from None
        patience.wait(pause)


def recognise(error: BaseException, what: str, bucket: str) -> Trouble:
    """Which trouble a library's exception stands for."""
    status, code = _answer(error)
    if status == 0:
        return _no_answer(error, what)
    return _refusal(status, code, what, bucket) or _later(status, code, what)


def _answer(error: BaseException) -> tuple[int, str]:
    """HTTP status and the store's word; 0 if there was no answer."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(response.get("Error", {}).get("Code", ""))
        return status, "" if code.isdigit() else code
    text = str(error).partition("Debug source")[0]
    status_found, code_found = _STATUS.search(text), _CODE.search(text)
    if status_found is None:
        return (404, "") if isinstance(error, FileNotFoundError) else (0, "")
    return int(status_found[1]), code_found[1] if code_found else ""


def _refusal(status: int, code: str, what: str, bucket: str) -> Trouble | None:
    """Answers that stay what they are."""
    if code == "NoSuchBucket":
        hint = "Check the URL and AWS_ENDPOINT_URL; a bucket is made by whoever runs the store."
        return Trouble(NotFoundError(f"{what}: there is no bucket {bucket}", hint=hint), code=code)
    if code in _CREDENTIALS or status == 401:
        hint = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names."
        return Trouble(DeniedError(f"{what}: the store refuses these credentials{_word(code)}", hint=hint), code=code)
    if code == "RequestTimeTooSkewed":
        return Trouble(DeniedError(f"{what}: this machine's clock is wrong", hint="Set the clock."), code=code)
    if code in _FULL or status == 507:
        hint = "Free some space or raise the quota, then try again."
        return Trouble(UnavailableError(f"{what}: the store is full{_word(code)}", hint=hint), code=code)
    if code in _ELSEWHERE or status in {301, 307}:
        hint = "Set AWS_REGION and AWS_ENDPOINT_URL to those of the bucket."
        return Trouble(UsageError(f"{what}: bucket {bucket} is in another region or place", hint=hint), code=code)
    if code == "ObjectLockConfigurationNotFoundError":
        return Trouble(NotFoundError(f"{what}: there is no object lock"), code=code)
    if status == 404:
        return Trouble(NotFoundError(f"{what}: not in the store"), code=code)
    if status == 403:
        hint = "docs/reference/stores.md lists the permissions that a room, a keymaster and an archive need."
        return Trouble(DeniedError(f"{what}: the store denies it{_word(code)}", hint=hint), code=code)
    if status == 412:
        return Trouble(ConflictError(f"{what}: the name is taken"), code=code)
    if status == 416:
        return Trouble(IntegrityError(f"{what}: it is shorter than the range asked for"), code=code)
    if status == 501:
        return Trouble(UsageError(f"{what}: this store cannot do that{_word(code)}"), code=code)
    return None


def _later(status: int, code: str, what: str) -> Trouble:
    """Answers that may change, and those nobody expected."""
    again = status >= 500 or status in {408, 409, 429} or code in _LATER
    if code in {"SlowDown", "RequestLimitExceeded", "TooManyRequests"} or "Throttl" in code or status == 429:
        hint = "Wait a while, use fewer processes at once, or ask for a higher limit."
        return Trouble(UnavailableError(f"{what}: the store asks to slow down", hint=hint), again=True, code=code)
    reason = f"the store answers {status}{_word(code)}"
    return Trouble(UnavailableError(f"{what}: {reason}"), again=again, code=code)


def _no_answer(error: BaseException, what: str) -> Trouble:
    text = str(error)
    kind = type(error).__name__
    if "BadScheme" in text:
        hint = "Set AWS_ALLOW_HTTP=true to allow http."
        return Trouble(UsageError(f"{what}: the store's address is not https", hint=hint))
    if "certificate" in text.lower() or kind == "SSLError":
        return Trouble(UnavailableError(f"{what}: the store's certificate is not trusted"))
    if "Credential" in kind or "Token" in kind or "Profile" in kind:
        return Trouble(DeniedError(f"{what}: no valid AWS credentials ({kind})"))
    if "imed out" in text or "TimedOut" in text or "Timeout" in text or "Timeout" in kind:
        hint = "The store is slow or out of reach: check the network, then try again."
        return Trouble(UnavailableError(f"{what}: the store did not answer in time", hint=hint), again=True)
    hint = "Check the network and AWS_ENDPOINT_URL, then try again."
    return Trouble(UnavailableError(f"{what}: no connection to the store, or it was lost", hint=hint), again=True)


def _word(code: str) -> str:
    return f" ({code})" if code else ""
