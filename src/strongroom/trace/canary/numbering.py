"""Gives canaries their numbers: whole units dealt at random over pools, rows in an order that says nothing of units.

What is told of a canary by its pool, its number or the place of its rows is chance, and nothing of its contents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import SALT_BYTES
from strongroom.keymaster.canaries.api import NewPool
from strongroom.schema.normalise import normalise
from strongroom.trace.canary.contents import commitments, unit_contents

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.schema.model import Table
    from strongroom.trace.canary.making import Canaries

I64 = npt.NDArray[np.int64]


def numbered(
    tables: Sequence[Table], canaries: Canaries, counts: Mapping[int, int], entropy: Callable[[int], bytes]
) -> tuple[list[NewPool], Canaries]:
    """Deal whole units over new pools.

    Args:
        tables: The tables that canaries have records in.
        canaries: As they were made.
        counts: By bias: how many canaries its pool gets.
        entropy: Gives chance.

    Returns:
        The pools, and the canaries with their rows in another order.
    """
    rng = np.random.Generator(np.random.PCG64(np.frombuffer(entropy(32), np.uint32)))
    rank = rng.permutation(len(canaries.unit))
    orders = {name: np.argsort(rank[owner], kind="stable") for name, owner in canaries.owner.items()}
    canaries = _ordered(canaries, orders)
    unit_of = {name: canaries.unit[owner] for name, owner in canaries.owner.items()}
    total = int(canaries.unit.max()) + 1
    there = np.zeros(total, np.bool_)
    for units in unit_of.values():
        there[units] = True
    held = rng.permutation(np.flatnonzero(there))  # a canary without any record is none
    place = np.full(total, -1, np.int64)
    place[held] = np.arange(len(held))
    contents = unit_contents(canaries.tables, {name: place[units] for name, units in unit_of.items()}, len(held))
    salts = np.frombuffer(entropy(SALT_BYTES * len(held)), np.uint8).reshape(-1, SALT_BYTES)
    digests = commitments(salts, contents)
    subjects, units = _subjects(tables, canaries, {name: place[units] for name, units in unit_of.items()})
    pools, start = [], 0
    for bias, count in counts.items():
        stop = min(len(held), start + count)
        if stop > start:
            pools.append(_pool(bias, start, stop, subjects, units, salts, digests))
        start = stop
    return pools, canaries


def _pool(
    bias: int, start: int, stop: int, subjects: pa.Array, units: I64, salts: npt.NDArray[np.uint8],
    digests: npt.NDArray[np.uint8],
) -> NewPool:  # fmt: skip
    import pyarrow as pa

    here = np.flatnonzero((units >= start) & (units < stop))
    numbers = (units[here] - start).astype(np.uint32)
    return NewPool(bias, subjects.take(pa.array(here)), numbers, salts[start:stop], digests[start:stop])


def _ordered(canaries: Canaries, orders: Mapping[str, I64]) -> Canaries:
    import pyarrow as pa

    tables = {name: rows.take(pa.array(orders[name])) for name, rows in canaries.tables.items()}
    return replace(canaries, tables=tables, owner={n: o[orders[n]] for n, o in canaries.owner.items()})


def _subjects(tables: Sequence[Table], canaries: Canaries, unit_of: Mapping[str, I64]) -> tuple[pa.Array, I64]:
    """Each canonical identifier of a canary person once, string[n], and the unit it is of, i64[n]."""
    import pyarrow as pa

    forms, units = [pa.array([], pa.string())], [np.empty(0, np.int64)]
    for table in tables:
        rows = canaries.tables.get(table.name)
        if rows is not None and len(rows):
            column = rows[table.subject].combine_chunks()
            forms.append(normalise(column, table.subject_field.normalise).cast(pa.string()))
            units.append(unit_of[table.name])
    every = pa.concat_arrays(forms)
    codes = every.dictionary_encode()
    first = np.unique(codes.indices.to_numpy(), return_index=True)[1]
    return every.take(pa.array(first)), np.concatenate(units)[first]
