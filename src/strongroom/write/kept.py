"""Keeps a lease for as long as there is work under it, however long that takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster, Lease

RENEW_SECONDS = 60.0


class Kept:
    """A lease that is renewed now and then.

    Args:
        keymaster: Whose lease it is.
        lease: As it began.
        clock: Seconds, from any start.
    """

    def __init__(self, keymaster: Keymaster, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease = lease
        self._keymaster = keymaster
        self._clock = clock
        self._renewed = clock()
        self._lock = threading.Lock()

    def tick(self) -> None:
        """Renew it if that is due."""
        with self._lock:
            if self._clock() - self._renewed > RENEW_SECONDS:
                self.lease = self._keymaster.renew(self.lease)
                self._renewed = self._clock()
