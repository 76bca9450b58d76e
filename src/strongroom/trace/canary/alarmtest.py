"""Tests the alarm of canaries as a thief would set it off: reads one, finds it by its value, and asks who heard.

Rules kept here:

1. Nothing is simulated: the reads are those of `Reading`, released like any, and told to the same webhook. Only the
   entries say that they were a test.
2. Which canary it is, the keymaster draws, and notes first. Whoever tests learns who one of them is: so it takes two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.errors import IntegrityError, NotFoundError
from strongroom.read.reading import Reading

if TYPE_CHECKING:
    from strongroom.read.record import Record
    from strongroom.read.session import Session
    from strongroom.schema.model import Table

TRIES = 16
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class AlarmTest:
    """How a test went.

    Args:
        leaf: The last entry that has the alarm.
        by: By which verbs the canary was reached, get and find.
        told: Whether the webhook, or the command, took the notice.
        words: What became of the notice, for people.
    """

    leaf: int
    by: tuple[str, ...]
    told: bool
    words: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "by": list(self.by)}


def try_alarm(
    session: Session,
    table: str,
    purpose: str,
    reason: str,
    approval: str | None,
    wait_seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> AlarmTest:
    """Test the alarm; see `Room.test_canary_alarm`."""
    keymaster = session.keymaster
    model = keymaster.schema().table(table)
    grant = keymaster.begin_reading(actor=session.actor, purpose=purpose, reason=reason, approval=approval)
    with Reading(session, grant, None) as reading:
        records = _one(session, reading, grant.reading_id, table)
        by = ["get"]
        value = None if "find" not in keymaster.policy().purposes[purpose].verbs else _findable(model, records)
        if value is not None:
            name, text = value
            if not reading.find(table, {name: text}):
                raise IntegrityError(
                    f"a canary that is there is not found by its {name}", hint="run `strongroom check`"
                )
            by.append("find")
        heard = keymaster.canaries.heard(grant.reading_id)
        if len(heard.leaves) < len(by):
            raise IntegrityError(f"{len(by)} reads of a canary left {len(heard.leaves)} alarms in the log")
        waited = 0.0
        while not heard.told and not heard.lost and waited < wait_seconds:
            pause(POLL_SECONDS)
            waited += POLL_SECONDS
            heard = keymaster.canaries.heard(grant.reading_id)
    words = "the notice was taken" if heard.told else f"nobody took the notice within {wait_seconds:g} s"
    if heard.lost:
        words = "the notice could not be delivered"
    return AlarmTest(heard.leaves[-1], tuple(by), heard.told, words)


def _one(session: Session, reading: Reading, reading_id: bytes, table: str) -> list[Record]:
    """The records of a canary that has some in the table."""
    for _ in range(TRIES):
        token = session.keymaster.canaries.trial(reading_id, table)
        (records,) = reading.of_tokens(table, [token])
        if records:
            return records
    raise NotFoundError(f"{TRIES} canaries have no record in table {table}", hint="name a table where they have some")


def _findable(model: Table, records: list[Record]) -> tuple[str, str] | None:
    """An indexed field of a record that the purpose shows plain, and its value."""
    for record in records:
        for field in model.fields:
            shown = field.find and field.name in record and field.name not in record.masked
            if shown and record[field.name] is not None:
                return field.name, str(record[field.name])
    return None
