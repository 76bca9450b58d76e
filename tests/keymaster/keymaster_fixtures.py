"""A small keymaster for tests: two tables, a few actors, a clock that the test sets."""

import os

import numpy as np
import pyarrow as pa

from strongroom.audit.entry import parse_entry
from strongroom.errors import ConflictError
from strongroom.keymaster.api import Ask, Head
from strongroom.keymaster.create import create_keymaster, open_keymaster
from strongroom.seal.passphrase import Argon2Params

PASSPHRASE = "correct horse battery staple"
FAST = Argon2Params(19 * 1024, 2, 1)

SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id = { type = "string", class = "identity", nullable = false }
name      = { type = "string", class = "identity", mask = "first1" }
mobile    = { type = "string", class = "contact", find = true, mask = "last4" }
ethnicity = { type = "string", class = "sensitive" }
birth_year = { type = "int", class = "open" }

[tables.parcels]
subject = "person_id"
records = "many"
[tables.parcels.fields]
person_id = { type = "string", class = "identity", nullable = false }
goods     = { type = "string", class = "contact" }
"""

POLICY = """
[room]
budget = { hour = 500000, day = 500000, month = 5000000 }
[roles.reader]
[roles.clerk]
may = ["put", "compact", "check", "log", "rejects", "schema", "policy", "copy", "restore", "slots", "turn", "rotate", "erase", "hold", "actors", "freeze"]
put = { tables = ["persons", "parcels"], budget = { day = 20000000 } }
[roles.trainee]
may = ["put"]
put = { tables = ["persons"], budget = { day = 100 } }
[actors.kit]
roles = ["clerk"]
[actors.tom]
roles = ["trainee"]
[actors.ada]
roles = ["reader"]
[actors.bob]
roles = ["reader"]
[purposes.support]
legal_basis = "contract"
roles = ["reader"]
verbs = ["get", "find"]
tables.persons = { name = "plain", mobile = "plain" }
budget = { hour = 20, day = 50 }
lookups = { hour = 100, day = 500 }
[purposes.bulk]
legal_basis = "statute"
roles = ["reader"]
verbs = ["get", "find"]
tables.persons = { identity = "plain", contact = "plain" }
tables.parcels = { contact = "plain" }
budget = { hour = 400000, day = 400000 }
lookups = { hour = 1000000, day = 1000000 }
"""


class Clock:
    """Seconds since 1970, moved by the test."""

    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


def make(folder, clock=None, policy=POLICY, schema=SCHEMA, **more):
    if clock is not None:
        more["clock"] = clock
    return create_keymaster(folder, passphrase=PASSPHRASE, schema=schema, policy=policy, argon2=FAST, **more)


def reopen(folder, clock=None):
    return open_keymaster(folder, passphrase=PASSPHRASE, **({} if clock is None else {"clock": clock}))


def identifiers(count, start=0):
    return pa.array([f"p-{i}" for i in range(start, start + count)])


def new_head(master, lease, base):
    object_id = os.urandom(16)
    key = master.mint_file_key(lease, 5, object_id, None)
    return Head(base.number + 1, object_id, os.urandom(32), 100, key.key_id)


def finish(master, lease):
    base = master.head()
    return master.commit(lease, base, new_head(master, lease, base), {"records": 1})


def finish_after(master, lease):
    """Finish on the newest snapshot, as often as another process is faster."""
    for _ in range(200):
        try:
            return finish(master, lease)
        except ConflictError:
            continue
    raise AssertionError("others were always faster")


def put(master, column, table="persons", actor="kit"):
    """Put a batch and commit it; returns the batch id and the sealing keys."""
    lease = master.begin_put(actor=actor, table=table, request_id=os.urandom(16))
    batch = master.mint_batch(lease)
    sealing = master.seal_subjects(lease, batch, column)
    finish_after(master, lease)
    return batch, sealing


def noted(master, *acts):
    """(number, entry) of each entry of the log by one of these acts."""
    rows = master._core.state.read().execute("SELECT number, entry FROM leaf ORDER BY number").fetchall()
    return [(number, entry) for number, data in rows if (entry := parse_entry(data)).act in acts]


def ask(tokens, batch, table="persons", request_id=None, verb="get", fields=None):
    return Ask(request_id or os.urandom(16), verb, table, fields, np.ascontiguousarray(tokens), beside(batch, tokens))


def beside(batch, tokens):
    """The batch of each token."""
    return np.tile(np.frombuffer(batch, np.uint8), (len(tokens), 1))
