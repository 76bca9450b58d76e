"""A room of made-up people with sealed fields to add up, and the same people as a plain table."""

import duckdb
import numpy as np
import pyarrow as pa
from small_room import SmallRoom

import strongroom

PEOPLE = 3_000
SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id  = { type = "string", class = "identity", nullable = false, normalise = ["trim"] }
mobile     = { type = "string", class = "contact", find = true, normalise = ["phone:CN"] }
note       = { type = "string", class = "contact" }
birth_date = { type = "date", class = "identity" }
ethnicity  = { type = "string", class = "sensitive", low_cardinality = true }
smoker     = { type = "bool", class = "sensitive" }
income     = { type = "int", class = "sensitive" }
height     = { type = "float", class = "contact" }
seen_at    = { type = "timestamp", class = "contact" }
region     = { type = "string", class = "open", reason = "published statistics" }
year       = { type = "int", class = "open" }

[tables.visits]
subject = "person_id"
records = "many"
[tables.visits.fields]
person_id = { type = "string", class = "identity", nullable = false, normalise = ["trim"] }
kind      = { type = "string", class = "sensitive", low_cardinality = true }
cost      = { type = "int", class = "sensitive" }
"""
POLICY = """
[room]
budget = { day = 20000 }
[roles.clerk]
may = ["put", "compact", "log", "schema", "policy", "erase", "actors"]
put = { tables = ["persons", "visits"], budget = { day = 1000000 } }
[roles.analyst]
[roles.front]
[actors.kit]
roles = ["clerk"]
[actors.lin]
roles = ["analyst"]
[actors.max]
roles = ["analyst"]
[actors.front]
roles = ["front"]

[purposes.health]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { open = "plain" }
tables.visits = {}
budget = { day = 10000 }
lookups = { day = 200 }
sensitive = "published health statistics"
sql = { min_group = 20, step = 1 }
[purposes.health.sealed.persons]
dimensions = ["ethnicity", "smoker"]
cuts = { birth_date = [1950-01-01, "1970-01-01"], income = [0, 1000, 5000], height = [150, 180.5], seen_at = ["2024-01-01"] }
sums = { income = [0, 10000], height = [100, 220] }
[purposes.health.sealed.visits]
dimensions = ["kind"]
cuts.cost = [100]

[purposes.coarse]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { open = "plain" }
budget = { day = 10000 }
sensitive = "published health statistics"
sql = { min_group = 20 }
[purposes.coarse.sealed.persons]
dimensions = ["ethnicity"]
cuts = { birth_date = [1950-01-01] }
sums = { income = [0, 10000] }

[purposes.open-only]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { open = "plain" }
budget = { day = 10000 }
sql = { min_group = 20 }
"""


def people(count=PEOPLE, seed=7, first=0):
    """Made-up people as a table; a few groups are small, some values are missing or out of range."""
    rng = np.random.default_rng(seed)
    ethnicity = rng.choice(["A", "B", "C", "D", "rare"], count, p=[0.4, 0.3, 0.2, 0.096, 0.004])
    return pa.table(
        {
            "person_id": [f"S-{first + n:06d}" for n in range(count)],
            "mobile": [str(13_900_000_000 + 7_919 * (first + n)) for n in range(count)],
            "note": [f"free text {first + n}" for n in range(count)],
            "birth_date": pa.array(rng.integers(-10_000, 9_000, count).astype(np.int32), pa.int32()).cast(pa.date32()),
            "ethnicity": pa.array(ethnicity, mask=rng.random(count) < 0.1),
            "smoker": pa.array(rng.random(count) < 0.3, mask=rng.random(count) < 0.05),
            "income": pa.array(
                np.minimum(rng.lognormal(7, 1.5, count), 1e9).astype(np.int64) - 200, mask=rng.random(count) < 0.1
            ),
            "height": pa.array(rng.normal(170, 12, count), mask=rng.random(count) < 0.1),
            "seen_at": pa.array(rng.integers(1_690_000_000, 1_720_000_000, count) * 10**6, pa.timestamp("us", "UTC")),
            "region": pa.array(np.array(["north", "south", "east"])[rng.integers(0, 3, count)]),
            "year": pa.array(rng.integers(2020, 2024, count)),
        }
    )


def visits(seed=8):
    rng = np.random.default_rng(seed)
    who = rng.integers(0, 400, 5_000)
    kind = np.where(who < 5, "few persons", rng.choice(["x", "y"], len(who)))
    return pa.table(
        {"person_id": [f"S-{n:06d}" for n in who], "kind": kind, "cost": pa.array(rng.integers(0, 300, len(who)))}
    )


class SurveyRoom(SmallRoom):
    def create(self, schema=SCHEMA, policy=POLICY):
        super().create(schema, policy)

    def copy_to(self, folder):
        return SurveyRoom(super().copy_to(folder).folder)


def fill(room):
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        opened.put("persons", people())
        opened.put("visits", visits())


PLAIN = """
select *, case when birth_date < '1950-01-01' then '< 1950-01-01' when birth_date < '1970-01-01'
  then '[1950-01-01, 1970-01-01)' else '>= 1970-01-01' end as born,
  case when income is null then null when income < 0 then '< 0' when income < 1000 then '[0, 1000)'
  when income < 5000 then '[1000, 5000)' else '>= 5000' end as earns,
  case when height is null then null when height < 150 then '< 150' when height < 180.5 then '[150, 180.5)'
  else '>= 180.5' end as tall,
  case when seen_at < '2024-01-01 00:00:00+00' then '< 2024-01-01' else '>= 2024-01-01' end as seen,
  least(greatest(income, 0), 10000) as paid from given
"""


def plainly(text, given=None):
    """The rows of a question asked of the plain people, with `born`, `earns`, `tall`, `seen` and `paid` for what is sealed."""
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        engine.register("given", people() if given is None else given)
        engine.execute(f"create table persons as {PLAIN}")
        return engine.sql(text).fetchall()
