"""Reads of a keymaster in steps, for whoever answers several that came together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from strongroom.keymaster.api import Ask, Released
from strongroom.keymaster.core import Core
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.releasing import Releasing
from strongroom.keymaster.steps import Steps

T = TypeVar("T")


class Stepping:
    """What the hot calls of a keymaster are in steps; `Serving.reading` is another."""

    def __init__(self, core: Core, readings: Readings, releasing: Releasing) -> None:
        self._core = core
        self._readings = readings
        self._releasing = releasing

    def release(self, reading_id: bytes, ask: Ask, *, last: bool = False) -> Steps[Released]:
        """See `Keymaster.release`; `last` ends the reading if nobody is missing."""
        return self._releasing.releasing(reading_id, ask, last=last)

    def end_reading(self, reading_id: bytes) -> Steps[None]:
        """See `Keymaster.end_reading`."""
        return self._readings.ending(reading_id)

    def finish(self, steps: Steps[T]) -> T:
        """See `Core.finish`."""
        return self._core.finish(steps)

    def finish_together(self, every: Sequence[Steps[T]]) -> list[T]:
        """See `Core.finish_together`."""
        return self._core.finish_together(every)
