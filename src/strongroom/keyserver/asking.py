"""Asks a keymaster on another host: every call is signed, and its errors are raised as if they had happened here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from strongroom import errors
from strongroom.errors import (
    BudgetError,
    DeniedError,
    InputError,
    IntegrityError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.identity.credential import Credential
from strongroom.identity.signing import Body, RequestSigner
from strongroom.keyserver.calls import CALLS, VERSION, Trouble, read_hello, read_trouble
from strongroom.keyserver.fitting import check_fit
from strongroom.keyserver.frames import Unpacker, pack_apart
from strongroom.keyserver.hops import hop_id
from strongroom.keyserver.together import CALL_BYTES_MOST, GO_TOGETHER, Together
from strongroom.keyserver.wire import Wire
from strongroom.webaddress import is_private, read_address

STANDS_SECONDS = 1.0
HOP_SPARE_SECONDS = 60.0
HOP_BYTES = 32
TIMES_MAX = 1 << 37
"""Seconds since 1970 that a date can still say."""
_MISDIRECTED, _UNKNOWN = 421, 401
_INSTANCE = re.compile(r"[0-9a-z]{1,64}")
_KINDS: Mapping[str, type[StrongroomError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, StrongroomError)
}


class Asking:
    """Signed calls of one credential to one keymaster.

    Args:
        url: As `https://keys.example`.
        credential: Of the caller.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.
        clock: Seconds since 1970.
        entropy: Gives nonces.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        authorities: Path | None,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.room_id = credential.room
        self.actor = credential.actor
        self._url = check_url(url)
        self._id = credential.id
        self._signer = RequestSigner(credential.seed, credential.id, clock, entropy)
        self._hop: tuple[RequestSigner, float] | None = None
        self._clock = clock
        self._entropy = entropy
        self._wire = Wire(self._url, "keymaster", authorities)
        self._instance = ""
        self._together = Together(self._call)
        self._stands: tuple[int, float] = (-1, 0.0)

    def close(self) -> None:
        """Let go of the connections."""
        self._wire.close()

    @property
    def told(self) -> int:
        """The number of what stood when the last answer came."""
        return self._stands[0]

    @property
    def standing(self) -> int:
        """That number, if it came within STANDS_SECONDS; else -1."""
        number, at = self._stands
        return number if self._clock() - at < STANDS_SECONDS else -1

    def greet(self) -> None:
        """Learn which process answers, and whether it lets this credential in.

        Raises:
            DeniedError: It does not.
            IntegrityError: It is of another room, or of another version.
            UnavailableError: Nobody answers.
        """
        self._hop = None
        status, data = self._post("hello", b"")
        if status != 200:
            raise _error(status, data)
        hello = read_answer(read_hello, data)
        if hello.room_id != self.room_id or hello.actor != self.actor:
            raise IntegrityError("the keymaster is of another room than the credential")
        if hello.version != VERSION:
            raise IntegrityError(f"the keymaster speaks version {hello.version}, and this is version {VERSION}")
        if not _INSTANCE.fullmatch(hello.instance) or len(hello.hop) not in {0, HOP_BYTES}:
            raise IntegrityError("the keymaster gives itself a name, or this side a key, that is none")
        if hello.hop:
            signer = RequestSigner(
                hello.hop, hop_id(self._id, hello.hop_until), self._clock, self._entropy, shared=True
            )
            self._hop = (signer, time.monotonic() + (hello.hop_until - hello.time) - HOP_SPARE_SECONDS)
        self._instance = hello.instance

    def ask(self, name: str, /, **args: Any) -> Any:
        """Make one of `CALLS`; returns its answer, or raises what the keymaster raised."""
        call, parts = CALLS[name], pack_apart(args)
        size, body = sum(map(len, parts)), parts if len(parts) > 1 else bytes(parts[0])
        if size > call.most:
            raise UsageError(f"too much at once: {size:,} bytes, and the most is {call.most:,}")
        for attempt in range(2):
            before = self._hop
            if not self._instance or (before is not None and time.monotonic() > before[1]):
                self.greet()
            instance, hop = self._instance, self._hop
            status, data = self._sent(name, body)
            if status == 200:
                said = read_answer(call.read_answer, data)
                check_fit(name, args, said.value)
                self._stands = (said.standing, self._clock())
                return said.value
            again = status == _MISDIRECTED or (status == _UNKNOWN and hop is not None)  # another process answers
            if attempt or not again:
                break
            if self._instance == instance:  # else another caller has greeted meanwhile
                self._instance = ""
        raise _error(status, data)

    def _sent(self, name: str, body: Body) -> tuple[int, bytes]:
        """Send one call, together with others where it may go with them."""
        if self._hop is not None and name in GO_TOGETHER and isinstance(body, bytes) and len(body) <= CALL_BYTES_MOST:
            return self._together.ask(name, body)
        return self._call(name, body)

    def _call(self, name: str, body: Body) -> tuple[int, bytes]:
        return self._post(f"{self._instance}/{name}", body)

    def _post(self, name: str, body: Body) -> tuple[int, bytes]:
        """Send one signed request."""
        path = f"/v1/{self.room_id.hex()}/{name}"
        hop = self._hop
        headers = (self._signer if hop is None else hop[0]).headers(path, body)
        return self._wire.post(path, body, {**headers, "Content-Type": "application/msgpack"})


def check_url(url: str) -> str:
    """The URL without a slash at its end; UsageError unless it is https, or http to this machine."""
    parts = read_address(url)
    if parts is None or parts.path not in {"", "/"}:
        raise UsageError("a keymaster's URL looks like https://keys.example:8443")
    if not is_private(parts):
        raise UsageError("a keymaster on another host is asked over https only")
    return url.rstrip("/")


def read_answer(reader: Unpacker, data: bytes) -> Any:
    """An answer, or IntegrityError: who answers speaks another language, or is none whom to believe."""
    try:
        return reader(data)
    except InputError:
        raise IntegrityError("the keymaster's answer is not what this call gives") from None


def raise_trouble(status: int, data: bytes) -> NoReturn:
    """Raise the error that an answer holds."""
    raise _error(status, data)


def _error(status: int, data: bytes) -> StrongroomError:
    try:
        trouble: Trouble = read_trouble(data)
    except InputError:  # a proxy, or something else that is no keymaster
        return UnavailableError(f"the keymaster's address answers with status {status}, and not as a keymaster does")
    kind = _KINDS.get(trouble.kind, StrongroomError)
    how = (trouble.hint, trouble.rule, trouble.remaining, trouble.resets_at)
    return error_of(kind, trouble.message, *how)


def error_of(
    kind: type[StrongroomError],
    message: str,
    hint: str | None,
    rule: str | None,
    remaining: int,
    resets_at: int | None,
) -> StrongroomError:
    """An error that happened elsewhere, as if it had happened here; see `errors` for what goes along."""
    if issubclass(kind, BudgetError):
        at = resets_at if resets_at is None or 0 <= resets_at < TIMES_MAX else None
        return kind(message, remaining=remaining, resets_at=at, rule=rule, hint=hint)
    if issubclass(kind, DeniedError):
        return kind(message, rule=rule, hint=hint)
    return kind(message, hint=hint)
