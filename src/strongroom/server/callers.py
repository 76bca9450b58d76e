"""Whose signature it is, before a request's body is read; whether they may is for the keymaster to say.

A key id is the hash of a public key, so that what is known of one stays true.

Rules it keeps:

1. Of a key that is not known here the keymaster is asked: so often of an address and of all in a second, and not again
   of the same key within UNKNOWN_SECONDS. Whoever turns out to be known counts no more.
2. A stranger is told nothing else than that, while the keymaster does not answer either. It is not asked again within
   UNKNOWN_SECONDS then.
3. Of a known key it is asked again after the signature was verified, never for a name alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from strongroom.errors import IntegrityError, StrongroomError
from strongroom.identity.signing import Signed, read_signature
from strongroom.keyserver.callers import check_time, unknown
from strongroom.keyserver.limiter import Limiter

if TYPE_CHECKING:
    from strongroom.keyserver.calls import Known

KEPT_MAX = 100_000
UNKNOWN_KEPT_MAX = 10_000
UNKNOWN_SECONDS = 1.0
ADDRESS_SECOND_MAX = 40
"""More than a server answers at once: callers behind one proxy come together when it starts."""
SECOND_MAX = 100
KEY_ID_LENGTH = 32


class CallerKeys:
    """Public keys of callers, as the keymaster knows them.

    Args:
        ask: Makes calls to the keymaster.
        clock: Seconds since 1970.
    """

    def __init__(self, ask: Callable[..., Any], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._limiter = Limiter(1.0, ADDRESS_SECOND_MAX, SECOND_MAX)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._down_until = 0.0

    def check(
        self, method: str, path: str, headers: Mapping[str, str], address: str, *, anew: bool = False
    ) -> tuple[Known, Signed]:
        """Who signed a request; `anew` asks the keymaster whether the key is of use now.

        Raises:
            DeniedError: Nobody whom the keymaster knows; or the request is too old, or too new.
            UnavailableError: The key is known here, is to be asked of anew, and the keymaster does not answer.
        """
        try:
            signed = read_signature(method, path, headers)
            with self._lock:
                before = self._known.get(signed.key_id)
            known = before or self._find(signed.key_id, address)
            if known is None:
                raise unknown()
            signed.verify(known.public_key)
        except IntegrityError:
            raise unknown() from None
        check_time(signed, self._clock())
        if anew and before is not None and self._asked(signed.key_id) is None:
            raise unknown()
        return known, signed

    def _find(self, key_id: str, address: str) -> Known | None:
        """A key that is not known here; None for a stranger's, and for whatever the keymaster does not say."""
        now = self._clock()
        with self._lock:
            passed_over = now < max(self._down_until, self._unknown.get(key_id, 0.0))
        if passed_over or len(key_id) != KEY_ID_LENGTH or not self._limiter.admits(address):
            return None
        try:
            found = self._asked(key_id)
        except StrongroomError:
            self._down_until = now + UNKNOWN_SECONDS
            return None
        if found is not None:
            self._limiter.forgive(address)
        return found

    def _asked(self, key_id: str) -> Known | None:
        """What the keymaster knows of a key now."""
        found = cast("Known | None", self._ask("served.caller", key_id=key_id))
        with self._lock:
            if found is None:
                self._known.pop(key_id, None)
                _keep(self._unknown, key_id, self._clock() + UNKNOWN_SECONDS, UNKNOWN_KEPT_MAX)
            else:
                _keep(self._known, key_id, found, KEPT_MAX)
        return found


def _keep(kept: OrderedDict[str, Any], name: str, value: Any, most: int) -> None:
    kept[name] = value
    if len(kept) > most:
        kept.popitem(last=False)
