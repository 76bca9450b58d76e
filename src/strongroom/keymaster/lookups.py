"""What a reading may look up: tokens of subjects and values, and the index entries under them.

Rules it keeps:

1. Every token handed out is covered by look-ups that were durably spent before: a reading reserves them in growing
   blocks and gives back what it did not use.
2. Index entries open only under value tokens that this reading was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import DeniedError, IntegrityError, UsageError
from strongroom.keymaster.api import Hits
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.erasures.api import Buried
from strongroom.keymaster.erasures.tombstones import buried_of
from strongroom.keymaster.readings import Reading, Readings
from strongroom.keys.hierarchy import TokenKeys
from strongroom.keys.rows import Rows
from strongroom.purpose.exports import NAMED
from strongroom.schema.model import Table

RESERVE_MOST = 64
VALUES_REMEMBERED_MAX = 200_000
LOOKUPS_AT_ONCE_MAX = 10_000


class Lookups:
    """What the readings of one keymaster look up."""

    def __init__(self, core: Core, readings: Readings) -> None:
        self._core = core
        self._readings = readings

    def subject_tokens(
        self, reading_id: bytes, table: str, identifiers: Sequence[str], verbs: Sequence[str] = ("get", NAMED)
    ) -> npt.NDArray[np.uint8]:
        """See `Keymaster.subject_tokens`; for one of some verbs."""
        reading = self._readings.get(reading_id)
        self._readings.decide(reading, verbs, table)
        if reading.warrant is not None:
            self._readings.within(reading, "get", table, lambda warrant: warrant.check_subjects(table, identifiers))
        self._spend(reading, table, (), len(identifiers))
        found = _tokens(self._core.subject, identifiers)
        if reading.warrant is not None:
            reading.warrant.allow(found)
        return found

    def value_tokens(
        self, reading_id: bytes, table: str, field_name: str, values: Sequence[str], snapshot: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """See `Keymaster.value_tokens`."""
        reading = self._readings.get(reading_id)
        model = self._readings.decide(reading, ("find", "plant"), table, (), (field_name,))
        if reading.warrant is not None:
            wanted = (table, field_name, values)
            self._readings.within(reading, "find", table, lambda warrant: warrant.check_values(*wanted))
        at = self._core.head().number if snapshot is None else snapshot
        keys = self._core.standing.value_keys(model.field(field_name).id, at)
        self._spend(reading, table, (field_name,), len(values))
        return self._value_tokens(reading, keys, values)

    @staticmethod
    def _value_tokens(reading: Reading, keys: TokenKeys, values: Sequence[str]) -> npt.NDArray[np.uint8]:
        found = _tokens(keys, values)
        with reading.lock:
            if len(reading.values) + len(found) > VALUES_REMEMBERED_MAX:
                reading.values.clear()  # their hits are refused from here on, which is safe
            reading.values.update(token.tobytes() for token in found)
        return found

    def signed_tokens(self, reading: Reading, snapshot: int) -> dict[str, dict[str, bytes]]:
        """Tokens of what a warrant's caller signed, spent when it began: by field (`""` for subjects) and value."""
        warrant = reading.warrant
        if warrant is None or warrant.table is None:
            return {}
        core, model = self._core, self._core.standing.schema.table(warrant.table)
        found: dict[str, dict[str, bytes]] = {}
        if warrant.subjects:
            subjects = sorted(warrant.subjects)
            tokens = _tokens(core.subject, subjects)
            warrant.allow(tokens)
            found[""] = {subject: row.tobytes() for subject, row in zip(subjects, tokens, strict=True)}
        for name, values in warrant.where.items():
            tokens = self._value_tokens(reading, core.standing.value_keys(model.field(name).id, snapshot), values)
            found[name] = {value: row.tobytes() for value, row in zip(values, tokens, strict=True)}
        return found

    def open_hits(
        self,
        reading_id: bytes,
        table: str,
        field_name: str,
        value_tokens: npt.NDArray[np.uint8],
        entries: npt.NDArray[np.uint8],
    ) -> Hits:
        """See `Keymaster.open_hits`."""
        reading = self._readings.get(reading_id)
        model = self._readings.decide(reading, ("find",), table, (), (field_name,))
        if not self._looked_up(reading, value_tokens):
            raise DeniedError("this reading did not look up that value", rule="room.hits-of-own-lookups")
        field_id = model.field(field_name).id
        subjects, sequences, ordinals, bad = self._core.standing.opener(field_id).open(value_tokens, entries)
        if np.count_nonzero(bad):
            # left out, it would make a person look absent
            raise IntegrityError(
                f"an index entry of table {table}, field {field_name}, does not open",
                hint="the index was changed or swapped: run `strongroom check`",
            )
        if reading.warrant is not None:
            reading.warrant.allow_hits(field_name, subjects, sequences, ordinals)
        buried = self._buried(model, subjects)
        if buried is None:
            return Hits(subjects, sequences, ordinals, None)
        # one that is dead is no hit: its person is none of this reading's business
        living = sequences > buried.of(subjects)
        return Hits(subjects[living], sequences[living], ordinals[living], buried)

    @staticmethod
    def _looked_up(reading: Reading, value_tokens: npt.NDArray[np.uint8]) -> bool:
        return all(token.tobytes() in reading.values for token in value_tokens)

    def _buried(self, model: Table, subjects: npt.NDArray[np.uint8]) -> Buried | None:
        """What is dead of some persons; None where nobody was ever erased and nothing expires."""
        state = self._core.state
        if model.retention is None and not state.recent_counter("removals"):
            return None
        return buried_of(state.read(), model, subjects, self._core.clock())

    def _spend(self, reading: Reading, table: str, fields: tuple[str, ...], count: int) -> None:
        if not 0 < count <= LOOKUPS_AT_ONCE_MAX:
            raise UsageError(f"look up 1 to {LOOKUPS_AT_ONCE_MAX} values at once")
        if reading.warrant is not None:
            return  # what was signed was spent when the reading opened
        with reading.lock:
            if reading.left < count:
                self._reserve(reading, table, fields, count - reading.left)
            reading.left -= count

    def _reserve(self, reading: Reading, table: str, fields: tuple[str, ...], least: int) -> None:
        core = self._core
        wanted = max(least, min(2 * reading.block, RESERVE_MOST))
        said: dict[str, Any] = {**reading.said(), "table": table, "fields": fields}

        def work(rows: Rows) -> Answer:
            self._readings.check_open(reading)  # what is reserved by one that has ended is given back by nobody
            rule = reading.lookup_limits(core)
            now = core.journal.now(rows)
            left = core.ledger.left(rows, rule, now)
            size = least if left is None else max(least, min(wanted, left))
            plan = core.ledger.plan_count(rows, rule, size, now)
            extras = {"reserved": size}
            entry = core.journal.entry(
                rows, "lookup", reading.actor, **said, remaining=plan.remaining, extras=extras
            )
            core.ledger.apply(rows, plan)
            return {"leaf": core.journal.note(rows, entry), "size": size, "at": now}

        answer = core.act("lookup", reading.actor, work, **said)
        reading.left += answer["size"]
        reading.block = max(answer["size"], 1)
        reading.reserved_at = answer["at"]


def _tokens(keys: TokenKeys, values: Sequence[str]) -> npt.NDArray[np.uint8]:
    if len(values) <= 64:
        joined = b"".join(keys.one(value.encode()) for value in values)
        return np.frombuffer(joined, np.uint8).reshape(-1, 16)
    import pyarrow as pa

    from strongroom.seal.tokens import tokens

    return tokens(keys.inner, keys.outer, pa.array(values, pa.string()))
