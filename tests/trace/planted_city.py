"""A small city whose policy lets two people plant canaries, ask about them and test their alarm."""

from importlib import resources

import pytest
from canary_kit import city_policy, city_tables
from planting_kit import agreed
from small_room import SmallRoom

import strongroom
from strongroom.evidence import code
from strongroom.trace.canary.policy import CanaryPolicy

PERSONS, SPARE = 1_500, 2_000
TABLES = ("persons", "deliveries", "police_reports", "criminal_cases")
SIZES = {code.QUARTER: 3, code.HALF: 10}  # a room of this size could not have what one thief's sample needs

POLICY = """
[room]
budget = { day = 20_000, month = 100_000 }
exports = { day = 20_000 }

[roles.planter]
may = ["put"]
put = { tables = ["persons", "deliveries", "police_reports"], budget = { day = 1_000_000 } }
[roles.clerk]
may = ["put", "compact", "check", "log", "rejects", "schema", "policy", "copy", "erase", "actors", "slots", "turn"]
put = { tables = ["persons", "deliveries", "police_reports", "criminal_cases"], budget = { day = 1_000_000 } }
[roles.chief]
may = ["log"]
[roles.dispatcher]
[roles.officer]
[roles.sender]
[roles.analyst]

[actors]
ana = { roles = ["planter"] }
idle = { roles = ["dispatcher"] }
kit = { roles = ["clerk"] }
max = { roles = ["chief"] }
mei = { roles = ["dispatcher"] }
ada = { roles = ["officer"] }
sam = { roles = ["sender"] }
lin = { roles = ["analyst"] }

[purposes.planting]
legal_basis = "security of processing, GDPR 32"
roles = ["planter", "dispatcher"]
verbs = ["plant"]
tables.persons = { identity = "plain", contact = "plain", sensitive = "plain", open = "plain" }
tables.deliveries = { identity = "plain", contact = "plain", open = "plain" }
tables.police_reports = { identity = "plain", sensitive = "plain", open = "plain" }
sensitive = "canaries are learnt from whole records"
budget = { day = 5_000 }
lookups = { day = 200_000 }
approval = { roles = ["chief"], always = true }

[purposes.half]
legal_basis = "security of processing, GDPR 32"
roles = ["planter"]
verbs = ["plant"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
tables.deliveries = { identity = "plain", contact = "plain", open = "plain" }
tables.police_reports = { identity = "plain", open = "plain" }
budget = { day = 5_000 }
approval = { roles = ["chief"], always = true }

[purposes.delivery]
legal_basis = "contract"
roles = ["dispatcher"]
verbs = ["get", "find"]
tables.persons = { name = "plain", mobile = "plain", identity = "plain", contact = "plain" }
tables.deliveries = { identity = "plain", contact = "plain" }
budget = { day = 3_000 }
lookups = { day = 30_000 }

[purposes.own-view]
legal_basis = "right of access"
roles = ["dispatcher"]
verbs = ["log"]
tables.persons = { identity = "plain" }
budget = { day = 20 }

[purposes.asking]
legal_basis = "before acting on a row"
roles = ["officer"]
verbs = ["ask-canary", "get", "find"]
tables.persons = { identity = "plain", contact = "plain" }
budget = { day = 20 }
lookups = { day = 100 }
approval = { roles = ["chief"], always = true }

[purposes.extract]
legal_basis = "research act"
roles = ["sender"]
verbs = ["export"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
export = { recipients = ["uni-north"], budget = { day = 10_000 }, canaries = { colluders = 1, sample = 1_500 } }

[purposes.statistics]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { open = "plain" }
budget = { day = 100 }
sql = { min_group = 2 }
"""


def schema_text():
    return resources.files("strongroom.demo").joinpath("schema.toml").read_text("utf-8")


def make(folder) -> SmallRoom:
    """A filled city."""
    room = SmallRoom(folder)
    room.create(schema=schema_text(), policy=POLICY)
    tables = city_tables(PERSONS)
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        for name in TABLES:
            opened.put(name, tables[name])
    return room


def small_sizes(patch: pytest.MonkeyPatch) -> None:
    """Let a small room have canaries: fewer than a sample would need."""
    patch.setitem(code.HITS, 1, SIZES)


def canary_policy() -> CanaryPolicy:
    """The operator holds some mobile numbers, and the city is everybody's."""
    return city_policy(PERSONS, SPARE, unit=4)


def plant(room, keys, actor="ana", purpose="planting", approval="", policy=None, **more):
    """Plant into a room; by default with somebody's agreement to as many persons as it takes."""
    ident = agreed(keys, actor, purpose, 4_000) if approval == "" else approval
    with strongroom.open(str(room.bucket), keys=keys, actor=actor) as opened:
        return opened.plant_canaries(
            policy or canary_policy(), purpose=purpose, reason="canaries of the year", approval=ident, **more
        )


def planted(room):
    """A city, now with canaries, and what the planting said."""
    with pytest.MonkeyPatch.context() as patch:
        small_sizes(patch)
        with room.keymaster() as keys:
            return room, plant(room, keys)


def a_canary(room, keys, at=0) -> dict:
    """The records of one canary, whom only the keymaster's process knows: field to value, of persons and a delivery."""
    tokens = [token.tobytes() for token in keys._canaries.all()]
    with strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened:
        with opened.read(purpose="delivery", reason="the test's own look") as desk:
            (record,) = desk.of_tokens("persons", [tokens[at]])[0]
            return dict(record)
