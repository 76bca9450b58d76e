"""Reads of a keymaster in steps, for whoever answers several that came together."""

from __future__ import annotations

from strongroom.keymaster.core import Core
from strongroom.keymaster.finding import Finding
from strongroom.keymaster.readings import Readings
from strongroom.keymaster.releasing import Releasing


class Stepping:
    """What the hot calls of a keymaster are in steps, and what goes through steps; `Serving.reading` is another."""

    def __init__(self, core: Core, readings: Readings, releasing: Releasing, finding: Finding) -> None:
        self.release = releasing.releasing
        self.open_hits = finding.opening
        self.end_reading = readings.ending
        self.finish = core.finish
        self.finish_together = core.finish_together
