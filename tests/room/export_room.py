"""A small room whose policy lets it export: what it has is known, so that what comes out can be compared."""

import re

from small_room import POLICY, SCHEMA, SmallRoom, fill

CODED = re.sub(r"^((person_id|mobile|id_number) .*) }$", r"\1, token = true }", SCHEMA, flags=re.MULTILINE)

EXPORTS = """
[roles.sender]
[roles.chief]
[actors.ana]
roles = ["sender"]
[actors.tor]
roles = ["sender"]
[actors.max]
roles = ["chief"]

[purposes.extract]
legal_basis = "research act, section 4"
roles = ["sender"]
verbs = ["export"]
tables.persons = { identity = "plain", contact = "plain", sex = "plain", birth_year = "plain" }
tables.parcels = { identity = "plain", contact = "plain", open = "plain" }
export = { recipients = ["uni-north", "uni-south"], budget = { day = 300, month = 900 }, decides = true }

[purposes.shown]
legal_basis = "research act, section 5"
roles = ["sender"]
verbs = ["export"]
tables.persons = { person_id = "plain", name = "masked", mobile = "masked", birth_year = "plain" }
export = { recipients = ["uni-north"], budget = { day = 300 }, decides = true }

[purposes.coded]
legal_basis = "research act, section 6"
roles = ["sender"]
verbs = ["export"]
tables.persons = { person_id = "token", mobile = "token", id_number = "token", birth_year = "plain" }
tables.parcels = { person_id = "token", tracking = "token", district = "plain" }
export = { recipients = ["uni-north", "uni-south"], budget = { day = 300 }, decides = true }

[purposes.matching]
legal_basis = "research act, section 7"
roles = ["sender"]
verbs = ["tokenize"]
tables.persons = { person_id = "token", mobile = "token" }
budget = { day = 10 }
lookups = { day = 5 }

[purposes.tracing]
legal_basis = "research act, section 7"
roles = ["sender"]
verbs = ["tokenize"]
tables.parcels = { tracking = "token" }
budget = { day = 10 }

[purposes.answer]
legal_basis = "research act, section 8"
roles = ["chief"]
verbs = ["detokenize"]
tables.persons = { person_id = "plain", mobile = "plain", id_number = "masked" }
budget = { day = 3 }

[purposes.court]
legal_basis = "criminal procedure"
roles = ["sender"]
verbs = ["export"]
tables.cases = { identity = "plain", sensitive = "plain", open = "plain" }
sensitive = "the court decides about these cases"
export = { recipients = ["court"], budget = { day = 300 }, decides = true }

[purposes.census]
legal_basis = "statistics act"
roles = ["sender"]
verbs = ["export"]
tables.cases = { identity = "plain", sensitive = "plain", open = "plain" }
sensitive = "the law demands all cases"
approval = { roles = ["chief"], always = true }
export = { recipients = ["bureau"], budget = { day = 300 }, decides = true, statutory = "statistics act, section 9" }

[purposes.own-view]
legal_basis = "right of access"
roles = ["sender"]
verbs = ["get", "log"]
tables.persons = { identity = "plain" }
budget = { day = 100 }
"""


def make(folder) -> SmallRoom:
    """A filled room: 300 persons, 600 parcels, 42 cases."""
    room = SmallRoom(folder)
    room.create(schema=CODED, policy=POLICY + EXPORTS)
    fill(room)
    return room
