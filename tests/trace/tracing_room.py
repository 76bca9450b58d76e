"""A small room whose policy lets it export and trace, and what tests of tracing share."""

import csv

import export_room
import numpy as np
import planting_kit
import pyarrow as pa
import small_room
from small_room import SmallRoom

import strongroom
from strongroom.evidence.code import RARE, members
from strongroom.evidence.coderow import CodeRow, Offer, row_key

TRACING = """
[roles.inspector]
[actors.ines]
roles = ["inspector"]

[purposes.incident]
legal_basis = "GDPR 33, security of processing"
roles = ["inspector"]
verbs = ["trace"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
tables.parcels = { identity = "plain", contact = "plain", open = "plain" }
budget = { day = 1000 }
lookups = { day = 100_000 }
approval = { roles = ["chief"], always = true }

[purposes.told]
legal_basis = "GDPR 34"
roles = ["inspector"]
verbs = ["export"]
tables.persons = { person_id = "plain", name = "plain", mobile = "plain" }
export = { recipients = ["notices"], budget = { day = 5000 }, decides = true }
"""


PLANTING = planting_kit.PURPOSE.replace("planter", "inspector")


HANDING_OVER = """
[purposes.handed-over]
legal_basis = "research act, section 4"
roles = ["sender"]
verbs = ["export"]
tables.persons = { identity = "plain", contact = "plain", open = "plain" }
export = { recipients = ["uni-north", "uni-south", "uni-west"], budget = { day = 100_000 }, canaries = { colluders = 1, sample = 2_600 } }
"""
MANY, CANARIES = 4_000, 2_600
PLANTED = 2_400
"""So many rare canaries that an export has a few of them, by the coins of a random id: 37 are expected, six name it."""


def policy(own=TRACING) -> str:
    """The policy of the room."""
    exports = export_room.EXPORTS.replace("day = 300", "day = 5000").replace("month = 900", "month = 9000")
    return small_room.POLICY + exports + own + PLANTING


def make(folder, own=TRACING) -> SmallRoom:
    """A filled room: 300 persons, 600 parcels, 42 cases."""
    room = SmallRoom(folder)
    room.create(schema=export_room.CODED, policy=policy(own))
    small_room.fill(room)
    return room


def make_many(folder) -> SmallRoom:
    """A room of 4,000 persons, with canaries that were put after them: `handed-over` has what its code needs."""
    room = make(folder, TRACING + HANDING_OVER)
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", small_room.persons(MANY - 300, 300))
        put_canaries(room, keys, CANARIES, RARE)
    return room


def opened(room, keys, actor="ines"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def agreed(keys, persons=1_000, by="max"):
    """Id of an agreement to trace."""
    return planting_kit.agreed(keys, "ines", "incident", persons, by)


def trace(room, keys, what, **more):
    """Trace as ines, to which max has agreed."""
    with opened(room, keys) as own:
        wanted = {"purpose": "incident", "reason": "incident 7", "approval": agreed(keys), **more}
        return own.trace(what, **wanted)


def write(path, rows, names=None):
    """A sample in CSV; returns its path."""
    names = names or list(rows[0])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


# -- canaries by hand ----------------------------------------------------------------------------------------

def canary(number):
    """A made-up person who does not exist."""
    return {**small_room.person(500_000 + number), "person_id": f"C-{number:06d}"}


class Codes:
    """Code rows of exports under a root key that a test knows."""

    def __init__(self, keys, pools, root=b"\7" * 32):
        self.keys, self.pools, self.root, self.shut = keys, pools, root, set()

    def row(self, export):
        offers = tuple(Offer(number, bias, count) for number, (bias, count) in enumerate(self.pools))
        return CodeRow(self.keys.room_id, export, row_key(self.root, export), offers)

    def rows(self):
        return [self.row(bytes.fromhex(one.id)) for one in self.keys.exports.all("kit")]

    def opened(self):
        return self.shut

    def through(self, row, finds):
        return np.ones(len(finds), np.bool_)

    def held(self, export, pool=0):
        """Numbers of the canaries that an export holds."""
        return members(self.row(bytes.fromhex(export)))[pool].tolist()


def put_canaries(room, keys, count, bias):
    """Register one pool of so many canaries and put them."""
    made = [canary(number) for number in range(count)]
    planting_kit.register(keys, bias, [one["person_id"] for one in made], actor="ines")
    with opened(room, keys, "kit") as own:
        own.put("persons", pa.Table.from_pylist(made))


def plant(room, keys, count, bias):
    """The same, and the test knows the codes of the room's exports; returns them."""
    put_canaries(room, keys, count, bias)
    codes = Codes(keys, [(bias, count)])
    keys.traces._codes = codes
    return codes
