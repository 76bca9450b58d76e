"""A small room whose policy lets it export and trace, and what tests of tracing share."""

import csv

import export_room
import small_room
from small_room import SmallRoom

import strongroom

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


PLANTING = """
[purposes.planting]
legal_basis = "data protection act, security of processing"
roles = ["inspector"]
verbs = ["plant"]
tables.persons = { identity = "plain" }
budget = { day = 1 }
approval = { roles = ["chief"], always = true }
"""


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


def opened(room, keys, actor="ines"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


def agreed(keys, persons=1_000, actor="ines", purpose="incident", by="max"):
    """Id of an agreement to trace."""
    asked = keys.approvals.ask_read(actor, purpose, persons, "incident 7")
    keys.approvals.decide(by, asked.id, agree=True)
    return asked.id


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
        from strongroom.evidence.coderow import CodeRow, Offer, row_key

        offers = tuple(Offer(number, bias, count) for number, (bias, count) in enumerate(self.pools))
        return CodeRow(self.keys.room_id, export, row_key(self.root, export), offers)

    def rows(self):
        return [self.row(bytes.fromhex(one.id)) for one in self.keys.exports.all("kit")]

    def opened(self):
        return self.shut

    def through(self, row, finds):
        import numpy as np

        return np.ones(len(finds), np.bool_)

    def held(self, export, pool=0):
        """Numbers of the canaries that an export holds."""
        from strongroom.evidence.code import members

        return members(self.row(bytes.fromhex(export)))[pool].tolist()


def plant(room, keys, count, bias):
    """Register one pool of so many canaries and put them; returns the codes of the room's exports."""
    import numpy as np
    import pyarrow as pa

    from strongroom.keymaster.canaries.api import NewPool

    reading = keys.begin_reading(
        actor="ines", purpose="planting", reason="canaries", approval=agreed(keys, count, purpose="planting")
    ).reading_id
    made = [canary(number) for number in range(count)]
    salts = np.arange(16 * count, dtype=np.uint32).astype(np.uint8).reshape(count, 16)
    digests = np.arange(32 * count, dtype=np.uint32).astype(np.uint8).reshape(count, 32)
    subjects = pa.array([one["person_id"] for one in made])
    keys.canaries.register(reading, [NewPool(bias, subjects, np.arange(count, dtype=np.uint32), salts, digests)])
    with opened(room, keys, "kit") as own:
        own.put("persons", pa.Table.from_pylist(made))
    codes = Codes(keys, [(bias, count)])
    keys.traces._codes = codes
    return codes
