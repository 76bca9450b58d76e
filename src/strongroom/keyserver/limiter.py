"""Counts what strangers try in a window of time, of each address and of all, in bounded memory."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

ADDRESSES_MAX = 10_000


class Limiter:
    """Admits so much of an address, and of all, in each window.

    Args:
        seconds: How long a window is.
        of_address: The most that is admitted of one address in a window.
        of_all: The most of all addresses.
        clock: Seconds that never go back.
    """

    def __init__(
        self, seconds: float, of_address: int, of_all: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self.of_address = of_address
        self.of_all = of_all
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._all = 0
        self._of: OrderedDict[str, int] = OrderedDict()

    def admits(self, address: str) -> bool:
        """Count one more of an address; whether it is within the limits."""
        name = _network_of(address)
        with self._lock:
            now = self._clock()
            if now - self._began >= self._seconds:
                self._began, self._all = now, 0
                self._of.clear()
            count = self._of.get(name, 0) + 1
            if count > self.of_address or self._all >= self.of_all:
                return False
            self._all += 1
            self._of[name] = count
            if len(self._of) > ADDRESSES_MAX:
                self._of.popitem(last=False)
            return True

    def forgive(self, address: str) -> None:
        """Count an address no more, and one less of all: somebody came from there who is no stranger."""
        with self._lock:
            self._of.pop(_network_of(address), None)
            self._all = max(0, self._all - 1)


def _network_of(address: str) -> str:
    """What counts as one address: of IPv6 its first 64 bits, which one subscriber has."""
    try:
        own = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(own, ipaddress.IPv6Address) and own.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(own) >> 64 << 64, 64)))
    return str(getattr(own, "ipv4_mapped", None) or own)
