"""Sign-ins over the wire: requests of key pairs that nobody knows yet, answered to whoever proves an identity.

A request is `POST /v1/<room>/signin.begin`, `signin.token` or `signin.passkey`, signed like any other by the very key
that is to become a session's; its `keyid` is the key itself.

Rules it keeps:

1. Whatever is wrong, the answer is the one that strangers get everywhere: the same bytes, not before REFUSED_SECONDS.
2. So many of an address and of all in a minute are looked at, so many at a time; memory for that is bounded. Others get
   that answer at once. Who signs in counts no more.
3. They have threads of their own: waiting for an issuer keeps no call of a known caller waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import DeniedError, IntegrityError, StrongroomError
from strongroom.identity.commitment import newcomer_key
from strongroom.identity.signing import Signed, read_signature
from strongroom.keyserver.callers import check_time
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.keyserver.limiter import Limiter
from strongroom.listener.defect import defect
from strongroom.listener.message import Answered, Reply, Request, Take, too_large

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keymaster.signingin import SigningIn

REFUSED_SECONDS = 0.5
ADDRESS_MINUTE_MAX = 30
MINUTE_MAX = 1200
AT_ONCE_MAX = 64
THREADS = 4
BODY_BYTES_MAX = 1 << 16
BODY_SECONDS = 10.0
WINDOW_SECONDS = 60.0


class Challenge(msgspec.Struct, frozen=True):
    """What a passkey is to answer: 32 B, until a time."""

    challenge: bytes
    expires: int


class SignedIn(msgspec.Struct, frozen=True):
    """The session that a key pair has from now on."""

    id: str
    actor: str
    expires: float


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a challenge."""


class ByToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An id_token, and the salt of its nonce."""

    salt: bytes
    token: str


class ByPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A passkey's answer to a challenge, as JSON."""

    challenge: bytes
    expires: int
    answer: str


read_challenge = Unpacker(Challenge)
read_signed_in = Unpacker(SignedIn)
_TAKES: Mapping[str, Unpacker] = {
    "signin.begin": Unpacker(Nothing),
    "signin.token": Unpacker(ByToken),
    "signin.passkey": Unpacker(ByPasskey),
}


def _check_of(error: Exception) -> str:
    """The name of the check that refused; the place of a defect is told to the operator."""
    if not isinstance(error, StrongroomError):
        defect(error)
        return "defect"
    rule = error.rule if isinstance(error, DeniedError) else None
    return (rule or "").removeprefix("signin.") or "request"


class _Once:
    """Does something the first time it is called."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._left = threading.Lock()

    def __call__(self) -> None:
        if self._left.acquire(blocking=False):
            self._work()


class Newcomers:
    """Answers sign-ins at one server.

    Args:
        keymaster: Open, in this process.
        clock: Seconds since 1970.
        stranger: What is said to nobody known.
    """

    def __init__(self, keymaster: EmbeddedKeymaster, clock: Callable[[], float], stranger: Reply) -> None:
        self._keymaster = keymaster
        self._clock = clock
        self._stranger = stranger
        self._paths = {f"/v1/{keymaster.room_id.hex()}/{name}": name for name in _TAKES}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="strongroom-sign-in")
        self._limiter = Limiter(WINDOW_SECONDS, ADDRESS_MINUTE_MAX, MINUTE_MAX)
        self._at_once = 0
        self._passed_over = 0
        self._signing_in: SigningIn | None = None
        self._made = threading.Lock()
        self._lock = threading.Lock()

    def owns(self, path: str) -> bool:
        """Whether a path is one of those here."""
        return path in self._paths

    def close(self) -> None:
        """Let the sign-ins end that are under way, and note what was refused."""
        self._pool.shutdown()
        if self._passed_over:
            self._refused("limit", 0)
        if self._signing_in is not None:
            self._signing_in.tell()

    @property
    def signing_in(self) -> SigningIn:
        """Made when it is first needed: the libraries it takes are loaded then."""
        with self._made:
            if self._signing_in is None:
                self._signing_in = self._keymaster.identities.signing_in()
            return self._signing_in

    def begin(self, request: Request) -> Take | Answered:
        """See `Application.begin`, for one of the paths here; strangers' reply whatever is wrong."""
        until = time.monotonic() + REFUSED_SECONDS
        with self._lock:
            if self._at_once >= AT_ONCE_MAX or not self._limiter.admits(request.address):
                self._passed_over += 1  # told with the next that is looked at
                return self._stranger
            self._at_once += 1
        once = _Once(self._done)
        try:
            public_key, signed = self._check(request)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is the same
            refused: Future[Reply] = Future()
            self._pool.submit(self._refuse, error, refused, until, once)
            return refused
        handed = threading.Event()

        def then(body: bytes) -> Future[Reply]:
            handed.set()
            found: Future[Reply] = Future()
            self._pool.submit(self._whole, request, public_key, signed, body, found, until, once)
            return found

        def late() -> Reply:
            self._pool.submit(self._refused, "request")
            return self._stranger

        return Take(BODY_SECONDS, then, late, lambda: None if handed.is_set() else once())

    def _whole(
        self,
        request: Request,
        public_key: bytes,
        signed: Signed,
        body: bytes,
        found: Future[Reply],
        until: float,
        once: Callable[[], None],
    ) -> None:
        """Answer one request that is there whole."""
        try:
            signed.check_body(body)
            answer = self._answer(self._paths[request.path], public_key, body, request.address)
            reply = Reply(200, pack(answer))
        except Exception as error:  # noqa: BLE001  whatever it is, the answer is the same
            self._refuse(error, found, until, once)
        else:
            once()
            found.set_result(reply)

    def _refuse(self, error: Exception, found: Future[Reply], until: float, once: Callable[[], None]) -> None:
        """Note a refusal, and give strangers' reply when it is time: no thread here waits for that."""
        try:
            self._refused(_check_of(error))
        finally:

            def told() -> None:
                once()
                found.set_result(self._stranger)

            timer = threading.Timer(max(0.0, until - time.monotonic()), told)
            timer.daemon = True
            timer.start()

    def _done(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _check(self, request: Request) -> tuple[bytes, Signed]:
        """The key that signed a request, and what was signed; a replay is harmless, as each key signs in once."""
        if request.odd or not 0 <= request.size <= BODY_BYTES_MAX:
            raise too_large(BODY_BYTES_MAX)
        signed = read_signature(request.method, request.path, request.headers)
        public_key = newcomer_key(signed.key_id)
        if public_key is None:
            raise IntegrityError("the request is not signed by a newcomer")
        signed.verify(public_key)
        check_time(signed, self._clock())
        return public_key, signed

    def _refused(self, check: str, times: int = 1) -> None:
        with self._lock:
            over, self._passed_over = self._passed_over, 0
        if over:
            self.signing_in.refuse("limit", over)
        if times:
            self.signing_in.refuse(check, times)

    def _answer(self, name: str, public_key: bytes, body: bytes, address: str) -> Challenge | SignedIn:
        asked: Any = _TAKES[name](body)
        if name == "signin.begin":
            return Challenge(*self.signing_in.challenge(public_key))
        if name == "signin.token":
            made = self.signing_in.by_token(public_key, asked.salt, asked.token, address)
        else:
            made = self.signing_in.by_passkey(public_key, asked.challenge, asked.expires, asked.answer, address)
        self._limiter.forgive(address)
        return SignedIn(made.id, made.actor, made.expires)
