"""A small room whose policy lets it export: what it has is known, so that what comes out can be compared."""

from small_room import POLICY, SmallRoom, fill

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
    room.create(policy=POLICY + EXPORTS)
    fill(room)
    return room
