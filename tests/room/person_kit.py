"""A small room with a clock of the test's, and purposes for the person's view."""

import json

from keymaster_fixtures import Clock
from small_room import POLICY, SmallRoom, persons

import strongroom
from strongroom.audit.note import parse_verifier_key
from strongroom.read.personlog import verify_person_log

DAY = 24 * 3600.0
START = 1_800_000_000.0
PERSON_POLICY = (
    POLICY
    + """
[roles.privacy]
[actors.pia]
roles = ["privacy"]
[purposes.subject-access]
legal_basis = "GDPR, art. 15"
roles = ["privacy"]
verbs = ["log"]
tables.persons = { person_id = "plain" }
budget = { day = 20 }
[purposes.covert]
legal_basis = "criminal procedure, s. 101"
roles = ["officer"]
tables.persons = { identity = "plain", contact = "plain" }
delay_days = 3
budget = { day = 1000 }
"""
)


class PersonRoom:
    """A room of 20 people whose keymaster goes by the test's clock, and stays open until `close`."""

    def __init__(self, folder, monkeypatch, policy=PERSON_POLICY, people=20):
        self.clock = Clock(START)
        made, opened = strongroom.create_keymaster, strongroom.open_keymaster
        monkeypatch.setattr(strongroom, "create_keymaster", lambda *a, **k: made(*a, **{"clock": self.clock, **k}))
        monkeypatch.setattr(strongroom, "open_keymaster", lambda *a, **k: opened(*a, **{"clock": self.clock, **k}))
        self.place = SmallRoom(folder)
        self.place.create(policy=policy)
        self._keys = None
        with self.open("kit") as room:
            room.put("persons", persons(people))

    def copy_to(self, folder):
        """The same room elsewhere, closed."""
        self.close()
        other = object.__new__(PersonRoom)
        other.clock, other.place, other._keys = self.clock, self.place.copy_to(folder), None
        return other

    @property
    def keys(self):
        """The keymaster."""
        if self._keys is None:
            self._keys = self.place.keymaster()
        return self._keys

    def close(self):
        """Close the keymaster; it is opened again by whatever needs it."""
        if self._keys is not None:
            self._keys.close()
            self._keys = None

    def open(self, actor):
        return strongroom.open(str(self.place.bucket), keys=self.keys, actor=actor)

    def read(self, *numbers, purpose="case-work", actor="ada"):
        """One `get` of each person."""
        with self.open(actor) as room, room.read(purpose=purpose, reason="r") as desk:
            for number in numbers:
                desk.get("persons", f"P-{number:06d}")

    def next_day(self, count=1):
        self.clock.now += count * DAY

    def ask(self, number=1):
        """The file of a person, as text, and the log's key."""
        with self.open("pia") as room:
            with room.read(purpose="subject-access", reason="letter 7") as desk:
                made = desk.log(f"P-{number:06d}")
            return json.dumps(made), parse_verifier_key(room.log_key())[1]

    def told(self, number=1):
        """What the file of a person proves."""
        return verify_person_log(*self.ask(number))
