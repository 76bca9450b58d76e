"""Stand-ins: what a reader sees of a field that its purpose shows as a token.

A stand-in is AES-256-CMAC of the value under a key of its own: HChaCha20 of the field's inner key and a label made of
the purpose. The same value has the same stand-in under one purpose, another under every other, and none is a token of
the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.core import Core
from strongroom.keymaster.readings import Readings
from strongroom.seal.cells import derive
from strongroom.seal.tokens import cmac_one

VALUES_MAX = 10_000


class StandIns:
    """Makes stand-ins for the readings of one keymaster."""

    def __init__(self, core: Core, readings: Readings) -> None:
        self._core = core
        self._readings = readings

    def of(self, reading_id: bytes, table: str, field_name: str, values: Sequence[str]) -> list[str]:
        """Stand-ins of values that a reading has opened, as hex; see `Keymaster.stand_ins`.

        Raises:
            DeniedError: The purpose does not show the field as a token.
            UsageError: Too many values at once.
        """
        reading = self._readings.get(reading_id)
        if len(values) > VALUES_MAX:
            raise UsageError(f"at most {VALUES_MAX} stand-ins are made at once")
        standing = self._core.standing
        model = self._readings.decide(reading, ("get", "find"), table)
        rule = reading.purpose.tables.get(table)
        views = {} if rule is None else rule.views(model)
        if reading.warrant is not None:
            opened = (table, len(values), sum(view.show == "token" for view in views.values()))
            self._readings.within(reading, "get", table, lambda warrant: warrant.check_opened(*opened))
        view = views.get(field_name)
        if view is None or view.show != "token":
            raise DeniedError(
                f"purpose {reading.purpose.name} does not show {field_name} of {table} as a token",
                rule=f"purposes.{reading.purpose.name}.tables.{table}",
            )
        field_id = next(f.id for f in model.fields if f.name == field_name)
        label = hashlib.sha256(b"strongroom stand-in\0" + reading.purpose.name.encode()).digest()[:16]
        inner = np.frombuffer(standing.field(field_id).tokens.inner, np.uint8).reshape(1, 32)
        key = derive(inner, label)[0].tobytes()
        return [cmac_one(key, value.encode()).hex() for value in values]
