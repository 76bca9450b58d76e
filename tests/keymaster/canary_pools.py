"""Canary persons for tests of the keymaster: pools of made-up subjects, registered by two people, and put."""

from dataclasses import replace

import pyarrow as pa
from keymaster_fixtures import POLICY as PLAIN
from keymaster_fixtures import put
from planting_kit import PLANTING, agreed_reading, pool_of

__all__ = ["PLANTING", "POLICY", "agreed_reading", "new_pool", "pa", "planted", "replace"]

POLICY = PLAIN + PLANTING


def new_pool(bias, persons, prefix, unit=1):
    """A pool of so many persons `prefix-0`, …, of which `unit` at a time have one number."""
    return pool_of(bias, [f"{prefix}-{at}" for at in range(persons)], unit)


def planted(master, pools, put_only=None):
    """Register pools and put their persons, or of the first so many pools; returns (batch, sealing keys) of each."""
    total = sum(len(pool.subjects) for pool in pools)
    master.canaries.register(agreed_reading(master, total), pools)
    return [put(master, pool.subjects) for pool in pools[:put_only]]
