"""Whose signature it is, before a request's body is read; whether they may is for the keymaster to say.

A key id is the hash of a public key, so that what is known of one stays true; who is unknown is asked for anew after a
moment.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from strongroom.errors import IntegrityError
from strongroom.identity.signing import Signed, read_signature
from strongroom.keyserver.callers import check_time, unknown

if TYPE_CHECKING:
    from strongroom.keyserver.calls import Known

KEPT_MAX = 100_000
UNKNOWN_KEPT_MAX = 10_000
UNKNOWN_SECONDS = 1.0
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
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def check(self, method: str, path: str, headers: Mapping[str, str], *, anew: bool = False) -> tuple[Known, Signed]:
        """Who signed a request; `anew` asks the keymaster whether the key is of use now.

        Raises:
            DeniedError: Nobody whom the keymaster knows; or the request is too old, or too new.
        """
        try:
            signed = read_signature(method, path, headers)
            if anew:
                with self._lock:
                    self._known.pop(signed.key_id, None)
            known = self._find(signed.key_id)
            if known is None:
                raise unknown()
            signed.verify(known.public_key)
        except IntegrityError:
            raise unknown() from None
        check_time(signed, self._clock())
        return known, signed

    def _find(self, key_id: str) -> Known | None:
        if len(key_id) != KEY_ID_LENGTH:
            return None
        now = self._clock()
        with self._lock:
            known = self._known.get(key_id)
            if known is not None:
                return known
            if self._unknown.get(key_id, 0.0) > now:
                return None
        found = cast("Known | None", self._ask("served.caller", key_id=key_id))
        with self._lock:
            if found is None:
                _keep(self._unknown, key_id, now + UNKNOWN_SECONDS, UNKNOWN_KEPT_MAX)
            else:
                _keep(self._known, key_id, found, KEPT_MAX)
        return found


def _keep(kept: OrderedDict[str, Any], name: str, value: Any, most: int) -> None:
    kept[name] = value
    if len(kept) > most:
        kept.popitem(last=False)
