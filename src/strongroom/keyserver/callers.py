"""Who is calling: the signature of a request, the credential behind it, and that it is answered once.

Rules it keeps:

1. The signature is verified before the body is read: nobody who is not let in can make the server hold anything.
2. Whoever cannot show a key learns nothing, not even that there is such a key. Who can is told what is wrong with it.
3. A request is answered once: its nonce is remembered until it expires, and it is signed for one running process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, IntegrityError, UnavailableError
from strongroom.identity.signing import Signed, read_signature
from strongroom.keyserver.hops import HOP_SECONDS, hop_key, read_hop_id
from strongroom.seal.entropy import random_bytes

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import Credentials, CredentialState

AHEAD_SECONDS = 60
LASTS_SECONDS_MAX = 300
NONCES_MAX = 2_000_000
SIGNED_IN = "room.signed-in"


def unknown() -> DeniedError:
    """What is said to nobody this keymaster knows, and nothing else."""
    return DeniedError("not signed in", rule=SIGNED_IN)


def check_time(signed: Signed, now: float) -> None:
    """Raise DeniedError for a request that is too old, too new, or lasts too long."""
    if not (signed.created <= now + AHEAD_SECONDS and now < signed.expires <= signed.created + LASTS_SECONDS_MAX):
        raise DeniedError(
            f"the request was made at {signed.created} and ends at {signed.expires}; it is {int(now)} here",
            rule="credential.time",
            hint=f"a request lasts at most {LASTS_SECONDS_MAX} s: set the clock of the caller's machine",
        )


class Callers:
    """Checks the callers of one server.

    Args:
        credentials: Those the keymaster knows.
        clock: Seconds since 1970.
        entropy: Gives the secret behind the keys that servers share with this process.
    """

    def __init__(
        self, credentials: Credentials, clock: Callable[[], float], entropy: Callable[[int], bytes] = random_bytes
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._secret = entropy(32)
        self._lock = threading.Lock()
        self._nonces: dict[tuple[str, str], int] = {}
        self._pruned = 0.0

    def check(
        self, method: str, path: str, headers: Mapping[str, str], address: str, *, once: bool = True
    ) -> tuple[CredentialState, Signed]:
        """The credential that signed a request, and what was signed; the body is compared with it by the caller.

        `once` is False where somebody else sees to it that the request is answered once: of one that is handed on.

        Raises:
            DeniedError: Nobody known has signed it (rule `SIGNED_IN`); the credential may not be used; the request is
                too old, too new, or was answered before.
        """
        try:
            signed = read_signature(method, path, headers)
            hop = read_hop_id(signed.key_id) if once else None
            credential = self._credentials.find(signed.key_id if hop is None else hop[0])
            if credential is None:
                raise unknown()
            now = self._clock()
            if hop is None:
                signed.verify(credential.public_key)
            elif credential.server and now < hop[1]:
                signed.verify_shared(hop_key(self._secret, *hop))
            else:
                raise unknown()
        except IntegrityError:
            raise unknown() from None
        credential.check(now, address)
        check_time(signed, now)
        if once:
            self._once(signed, now)
        return credential, signed

    def hop(self, credential: CredentialState) -> tuple[bytes, int]:
        """A key that a server shares with this process, and until when."""
        until = int(self._clock()) + HOP_SECONDS
        return hop_key(self._secret, credential.id, until), until

    def _once(self, signed: Signed, now: float) -> None:
        name = (signed.key_id, signed.nonce)
        with self._lock:
            if now - self._pruned > AHEAD_SECONDS:
                self._nonces = {known: end for known, end in self._nonces.items() if end >= now}
                self._pruned = now
            if name in self._nonces:
                raise DeniedError("this request was answered before", rule="credential.once")
            if len(self._nonces) >= NONCES_MAX:
                raise UnavailableError("too many requests at once")
            self._nonces[name] = signed.expires
