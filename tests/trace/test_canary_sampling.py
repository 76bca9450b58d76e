"""What canaries are learnt from is what the room shows of its people now."""

import datetime as dt

import pyarrow as pa
from planted_city import agreed
from planting_kit import PLANTING
from small_room import SmallRoom

import strongroom
from strongroom.trace.canary.sampling import Sampling

SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
retention = { days = 30, by = "seen" }
[tables.persons.fields]
person_id = { type = "string", class = "identity", nullable = false }
town = { type = "string", class = "identity" }
seen = { type = "date", class = "open" }
"""
POLICY = (
    """
[room]
budget = { day = 1000 }
[roles.clerk]
may = ["put", "log"]
put = { tables = ["persons"], budget = { day = 1000 } }
[actors.kit]
roles = ["clerk"]
"""
    + PLANTING.replace('{ identity = "plain" }', '{ identity = "plain", open = "plain" }').replace("day = 1 }", "day = 500 }")
)


def test_of_a_person_with_one_record_the_newest_counts_and_an_expired_one_is_none(tmp_path):
    """Whose newest record has expired has none: the one that it replaced does not come back."""
    room = SmallRoom(tmp_path / "room")
    room.create(schema=SCHEMA, policy=POLICY)
    now, long_ago = dt.datetime.now(dt.UTC).date(), dt.date(2000, 1, 1)
    with room.keymaster() as keys:
        with strongroom.open(str(room.bucket), keys=keys, actor="kit") as own:
            for rows in ([("P-1", "a", now), ("P-2", "b", now)], [("P-1", "c", long_ago)], [("P-3", "d", None)]):
                columns = zip(("person_id", "town", "seen"), zip(*rows, strict=True), strict=True)
                own.put("persons", pa.table({name: list(values) for name, values in columns}))
        with strongroom.open(str(room.bucket), keys=keys, actor="ana") as own:
            session, approval = own._session, agreed(keys, "ana", "planting", 10)
            grant = keys.begin_reading(actor="ana", purpose="planting", reason="r", approval=approval)
            block_keys = session.reading_keys(grant.reading_id)
            finder = session.finder(session.catalog(block_keys), block_keys)
            model = keys.schema().table("persons")
            rows, tokens = Sampling(session, finder, grant, [model])._table(model, [(bytes(16), b"\xff" * 16)])
    assert sorted(rows["person_id"].to_pylist()) == ["P-2", "P-3"]
    assert len(tokens) == 2
