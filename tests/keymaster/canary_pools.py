"""Canary persons for tests of the keymaster: pools registered by two people and put, and exports that hold some of them."""

import numpy as np
from keymaster_fixtures import POLICY as PLAIN
from keymaster_fixtures import beside, identifiers, put
from planting_kit import PLANTING, agreed, agreed_reading, pool_of

from strongroom.audit.entry import parse_entry
from strongroom.evidence.code import RARE
from strongroom.keymaster.exports.api import ExportPlan

POLICY = PLAIN + PLANTING
EXPORTING = (
    """
[room]
budget = { day = 50 }
exports = { day = 500000 }
[roles.reader]
[roles.clerk]
may = ["put", "log", "erase"]
put = { tables = ["persons", "parcels"], budget = { day = 20000000 } }
[actors.kit]
roles = ["clerk"]
[actors.ada]
roles = ["reader"]
[purposes.extract]
legal_basis = "research act"
roles = ["reader"]
verbs = ["export"]
tables.persons = { identity = "plain", birth_year = "plain" }
tables.parcels = { goods = "plain" }
export = { recipients = ["uni-north"], budget = { day = 200000 }, canaries = { colluders = 1, sample = 4000 } }
approval = { roles = ["chief"], over = 200000 }
[purposes.decide]
legal_basis = "research act"
roles = ["reader"]
verbs = ["export"]
tables.persons = { identity = "plain" }
export = { recipients = ["uni-north"], budget = { day = 200000 }, decides = true }
"""
    + PLANTING
)
PERSONS, POOL = 6000, 2600
PLAN = ExportPlan(("persons",), "uni-north", 1)


def new_pool(bias, persons, prefix, unit=1):
    """A pool of so many persons `prefix-0`, …, of which `unit` at a time have one number."""
    return pool_of(bias, [f"{prefix}-{at}" for at in range(persons)], unit)


def planted(master, pools, put_only=None):
    """Register pools and put their persons, or of the first so many pools; returns (batch, sealing keys) of each."""
    total = sum(len(pool.subjects) for pool in pools)
    master.canaries.register(agreed_reading(master, total), pools)
    return [put(master, pool.subjects) for pool in pools[:put_only]]


def with_canaries(master):
    """People and one pool of the rare bias; (token, batch) rows of the people, then of the canaries."""
    batch, people = put(master, identifiers(PERSONS))
    ((planted_batch, canaries),) = planted(master, [new_pool(RARE, POOL, "c")])
    rows = (beside(batch, people.tokens), beside(planted_batch, canaries.tokens))
    return np.concatenate([people.tokens, canaries.tokens]), np.concatenate(rows)


def exported(master, tokens, batches, purpose="extract", plan=PLAN, *, agreed_to=0, **more):
    """A started export of some rows: reading, id, grant, and bool[n], which rows keys came out for.

    `agreed_to` persons another person has agreed to.
    """
    if agreed_to:
        more["approval"] = agreed(master, "ada", purpose, agreed_to)
    reading = master.begin_reading(actor="ada", purpose=purpose, reason="study 9", **more).reading_id
    export = master.exports.begin(reading, plan)
    for at in range(0, len(tokens), 1000):
        master.exports.add(reading, export, "persons", tokens[at : at + 1000], batches[at : at + 1000])
    return reading, export, master.exports.start(reading, export), released(master, reading, export, tokens, batches)


def released(master, reading, export, tokens, batches):
    answer = master.exports.release(reading, export, "persons", tokens, batches)
    here = np.ones(len(tokens), np.bool_)
    here[list(answer.missing)] = False
    assert here.tolist() == answer.keys["identity"].any(axis=1).tolist()
    return here


def entry_of(master, leaf):
    return parse_entry(
        master._core.state.read().execute("SELECT entry FROM leaf WHERE number = ?", (leaf,)).fetchone()[0]
    )
