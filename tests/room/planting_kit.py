"""Canary persons for tests: pools of made-up subjects, and the two people who register them."""

import numpy as np
import pyarrow as pa

from strongroom.audit.disclosure import disclose, disclosed_digest
from strongroom.keymaster.canaries.api import NewPool

PURPOSE = """
[purposes.planting]
legal_basis = "data protection act, security of processing"
roles = ["planter"]
verbs = ["plant"]
tables.persons = { identity = "plain" }
budget = { day = 1 }
approval = { roles = ["chief"], always = true }
"""
PLANTING = """
[roles.planter]
[roles.chief]
[actors.ana]
roles = ["planter"]
[actors.max]
roles = ["chief"]
""" + PURPOSE


def pool_of(bias, subjects, unit=1):
    """A pool of persons by canonical identifier, of which `unit` at a time have one number."""
    numbers = (np.arange(len(subjects)) // unit).astype(np.uint32)
    count = int(numbers.max()) + 1
    salts = np.frombuffer(np.random.default_rng(len(subjects)).bytes(16 * count), np.uint8).reshape(count, 16)
    digests = np.frombuffer(b"".join(map(disclosed_digest, contents(salts))), np.uint8).reshape(count, 32)
    return NewPool(bias, pa.array(subjects), numbers, salts, digests)


def contents(salts):
    """What was committed to, of each number."""
    return [disclose(salt.tobytes(), "canary", {"at": at}) for at, salt in enumerate(salts)]


def agreed(master, actor, purpose, persons, by="max"):
    """Id of what another person agreed to."""
    asked = master.approvals.ask_read(actor, purpose, persons, "reason")
    master.approvals.decide(by, asked.id, agree=True)
    return asked.id


def agreed_reading(master, persons, purpose="planting", actor="ana", by="max"):
    """A reading to which somebody else has agreed, for so many persons."""
    more = {"actor": actor, "purpose": purpose, "reason": "canaries of the year"}
    return master.begin_reading(**more, approval=agreed(master, actor, purpose, persons, by)).reading_id


def register(master, bias, subjects, unit=1, actor="ana", by="max"):
    """Register one pool; returns its number."""
    reading = agreed_reading(master, len(subjects), actor=actor, by=by)
    (number,) = master.canaries.register(reading, [pool_of(bias, subjects, unit)])
    return number
