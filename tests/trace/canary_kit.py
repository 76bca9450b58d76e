"""A made-up city as typed Arrow tables, and what it says about its canaries."""

import os
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from strongroom.demo.city import make_city
from strongroom.demo.identity import mobile_numbers
from strongroom.schema.columns import arrow_type
from strongroom.schema.parse import parse_schema
from strongroom.trace.canary.policy import CanaryPolicy, Source

ENTROPY = b"sixteen bytes or more of it"


def city_schema():
    """The schema of the made-up city."""
    return parse_schema(resources.files("strongroom.demo").joinpath("schema.toml").read_text("utf-8"), None, os.urandom)


def typed(schema, name, rows):
    """Rows in the types of the schema."""
    table = schema.table(name)
    return pa.table({f.name: rows[f.name].cast(arrow_type(f.type)) for f in table.fields})


@cache
def city_tables(persons, seed=7):
    """The four tables of a city."""
    schema = city_schema()
    with tempfile.TemporaryDirectory() as folder:
        files = make_city(Path(folder), persons, seed)
        found = {}
        for name in schema.tables:
            path = str(getattr(files, name))
            if path.endswith(".csv"):
                names = pv.open_csv(path).schema.names
                options = pv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
                rows = pv.read_csv(path, convert_options=options)
            elif path.endswith(".jsonl"):
                names = [f.name for f in schema.table(name).fields]
                rows = pj.read_json(
                    path, parse_options=pj.ParseOptions(explicit_schema=pa.schema([(n, pa.string()) for n in names]))
                )
            else:
                rows = pq.read_table(path)
            found[name] = typed(schema, name, _moments(schema.table(name), rows))
        return found


def _moments(table, rows):
    for f in table.fields:
        if f.type == "timestamp" and rows[f.name].type == pa.string():
            at = rows.column_names.index(f.name)
            rows = rows.set_column(at, f.name, rows[f.name].cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")))
    return rows


def city_policy(persons, spare, seed=7, resident="complete", **more):
    """The operator holds so many spare mobile numbers; the city is everybody's."""
    return CanaryPolicy(
        sources={
            "persons.resident_id": Source(resident),
            "persons.mobile": Source("own", mobile_numbers(persons, spare, seed)),
        },
        **more,
    )


CLINIC = """
[classes.medical]
sensitive = true

[tables.patients]
subject = "patient_no"
records = "one"

[tables.patients.fields]
patient_no  = { type = "int", class = "identity" }
nhs_no      = { type = "string", class = "identity", find = true, normalise = ["id"] }
full_name   = { type = "string", class = "identity" }
born        = { type = "date", class = "identity" }
gender      = { type = "string", class = "open", reason = "few values" }
email       = { type = "string", class = "contact", find = true, normalise = ["email"] }
phone       = { type = "string", class = "contact", find = true, normalise = ["phone:GB"] }
address     = { type = "string", class = "contact" }
postcode    = { type = "string", class = "contact" }
weight      = { type = "float", class = "medical" }
smoker      = { type = "bool", class = "medical" }
photo       = { type = "binary", class = "medical" }

[tables.visits]
subject = "patient_no"

[tables.visits.fields]
visit_ref   = { type = "string", class = "identity", find = true, normalise = ["id"] }
patient_no  = { type = "int", class = "identity" }
admitted    = { type = "timestamp", class = "identity" }
discharged  = { type = "timestamp", class = "identity" }
contact     = { type = "string", class = "contact", normalise = ["phone:GB"] }
ward        = { type = "string", class = "open", reason = "few values" }
diagnosis   = { type = "string", class = "medical" }
letter      = { type = "string", class = "medical" }
cost        = { type = "float", class = "identity" }
"""
_FIRST = ("Mary", "John", "Aisha", "Tom", "Grace", "Omar", "Lucy", "Peter", "Nadia", "Hugh", "Ivy", "Kofi", "Ruth", "Sam")
_LAST = ("Jones", "Smith", "Patel", "O'Neill", "Brown", "Khan", "Evans", "Wood", "Clarke", "Mensah", "Hall", "Wright")
_STREETS = ("Church Lane", "High Street", "Mill Road", "Station Road", "Park Avenue", "Queen Street", "Orchard Close")
_TOWNS = {"Leeds": "LS", "York": "YO", "Bath": "BA", "Derby": "DE"}


def clinic_schema():
    """A schema with other types, another country and a sensitive class of its own."""
    return parse_schema(CLINIC, None, os.urandom)


def nhs(body):
    """A patient number with its check digit, or None where there is none."""
    check = (11 - sum((10 - i) * int(c) for i, c in enumerate(body)) % 11) % 11
    return None if check == 10 else f"{body[:3]} {body[3:6]} {body[6:]}{check}"


@cache
def clinic_tables(count=1500, seed=3):
    """Patients and their visits; a third of the children have no phone of their own."""
    rng = np.random.default_rng(seed)

    def pick(pool, n):
        return [pool[i] for i in rng.integers(0, len(pool), n)]

    numbers = rng.permutation(900_000)[:count] * 7 + 1_000_000
    ids, bodies = [], iter(rng.choice(10**6, 2 * count, replace=False) * 900 + 10**8 + 77)
    while len(ids) < count:
        ids += [n for n in [nhs(str(next(bodies)))] if n]
    born = np.datetime64("1935-01-01") + rng.integers(0, 32_000, count)
    child = born > np.datetime64("2008-01-01")
    first, last = pick(_FIRST, count), pick(_LAST, count)
    phones = [f"07{n:09d}" for n in rng.choice(10**6, count, replace=False) * 999 + 13]
    styled = [p if i % 3 else f"{p[:5]} {p[5:]}" for i, p in enumerate(phones)]
    towns = pick(list(_TOWNS), count)
    patients = {
        "patient_no": numbers.tolist(),
        "nhs_no": ids,
        "full_name": [f"{a} {b}" for a, b in zip(first, last, strict=True)],
        "born": born.tolist(),
        "gender": pick(("F", "M"), count),
        "email": [f"{a}.{b}{i}@mail.example".lower() for i, (a, b) in enumerate(zip(first, last, strict=True))],
        "phone": [None if c and rng.random() < 0.9 else p for c, p in zip(child, styled, strict=True)],
        "address": [f"{rng.integers(1, 200)} {s}, {t}" for s, t in zip(pick(_STREETS, count), towns, strict=True)],
        "postcode": [f"{_TOWNS[t]}{rng.integers(1, 20)} {rng.integers(1, 10)}{''.join(pick('ABDEFGHJ', 2))}" for t in towns],
        "weight": [None if rng.random() < 0.2 else round(float(w), 1) for w in rng.normal(70, 14, count)],
        "smoker": [bool(b) for b in rng.random(count) < 0.2],
        "photo": [bytes(rng.integers(0, 256, int(k), np.uint8)) for k in rng.integers(20, 60, count)],
    }
    owner = rng.integers(0, count, 2 * count)
    n = len(owner)
    admitted = np.datetime64("2021-01-01T00:00:00") + rng.integers(0, 5 * 365 * 86_400, n)
    diagnosis = pick(("asthma", "fracture", "migraine", "influenza"), n)
    visits = {
        "visit_ref": [f"V{str(a)[:4]}/{k:07d}" for a, k in zip(admitted, rng.choice(10**6, n, replace=False) * 9 + 3, strict=True)],
        "patient_no": numbers[owner].tolist(),
        "admitted": admitted.tolist(),
        "discharged": (admitted + rng.integers(3_600, 9 * 86_400, n)).tolist(),
        "contact": [phones[i] if patients["phone"][i] else None for i in owner],
        "ward": pick(("North", "South", "Day unit"), n),
        "diagnosis": diagnosis,
        "letter": [
            f"Dear {patients['full_name'][i]}, you were seen for {d}. {e} Please call if it returns."
            for i, d, e in zip(owner, diagnosis, pick(("No medicine is needed.", "Rest for a week.", "See your doctor."), n), strict=True)
        ],
        "cost": np.round(rng.lognormal(5, 1, n), 2).tolist(),
    }
    schema = clinic_schema()
    return {
        name: pa.table({f.name: pa.array(rows[f.name], arrow_type(f.type)) for f in schema.table(name).fields})
        for name, rows in {"patients": patients, "visits": visits}.items()
    }


def clinic_policy(**more):
    """The clinic holds numbers reserved for drama and a mail domain; it knows every patient number ever given."""
    drama = pa.array([f"07700900{k:03d}" for k in range(1000)] + [f"0113496{k:04d}" for k in range(1000)])
    mail = pa.array([f"reader{k}@canary.example" for k in range(2000)])
    sources = {
        "patients.nhs_no": Source("complete"),
        "patients.phone": Source("own", drama),
        "patients.email": Source("own", mail),
    }
    return CanaryPolicy(**{"sources": sources, "kinds": {"patients.nhs_no": "outside number"}, **more})
