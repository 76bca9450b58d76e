"""Canary persons for tests of the keymaster: pools of made-up subjects, registered by two people, and put."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from keymaster_fixtures import POLICY as PLAIN
from keymaster_fixtures import put

from strongroom.audit.disclosure import disclose, disclosed_digest
from strongroom.keymaster.canaryapi import NewPool

__all__ = ["PLANTING", "POLICY", "agreed_reading", "new_pool", "pa", "planted", "replace"]

PLANTING = """
[roles.planter]
[roles.chief]
[actors.ana]
roles = ["planter"]
[actors.max]
roles = ["chief"]
[purposes.planting]
legal_basis = "data protection act, security of processing"
roles = ["planter"]
verbs = ["plant"]
tables.persons = { identity = "plain" }
budget = { day = 1 }
approval = { roles = ["chief"], always = true }
"""
POLICY = PLAIN + PLANTING


def new_pool(bias, persons, prefix, unit=1):
    """A pool of so many persons `prefix-0`, …, of which `unit` at a time have one number."""
    numbers = (np.arange(persons) // unit).astype(np.uint32)
    count = int(numbers.max()) + 1
    salts = np.frombuffer(np.random.default_rng(persons).bytes(16 * count), np.uint8).reshape(count, 16)
    made = [disclosed_digest(disclose(salt.tobytes(), "canary", {"at": at})) for at, salt in enumerate(salts)]
    digests = np.frombuffer(b"".join(made), np.uint8).reshape(count, 32)
    return NewPool(bias, pa.array([f"{prefix}-{at}" for at in range(persons)]), numbers, salts, digests)


def agreed_reading(master, persons, purpose="planting", actor="ana", by="max"):
    """A reading to which somebody else has agreed, for so many persons."""
    asked = master.approvals.ask_read(actor, purpose, persons, "canaries of the year")
    master.approvals.decide(by, asked.id, agree=True)
    more = {"actor": actor, "purpose": purpose, "reason": "canaries of the year"}
    return master.begin_reading(**more, approval=asked.id).reading_id


def planted(master, pools, put_only=None):
    """Register pools and put their persons, or of the first so many pools; returns (batch, sealing keys) of each."""
    total = sum(len(pool.subjects) for pool in pools)
    master.canaries.register(agreed_reading(master, total), pools)
    return [put(master, pool.subjects) for pool in pools[:put_only]]
