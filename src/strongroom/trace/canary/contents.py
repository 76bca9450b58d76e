"""What commits to the contents of a canary: a salted digest over all records of a unit, made a column at a time.

A unit is a few canary persons with one number. Its contents are the leaf hashes (RFC 6962, 2.1) of its records, as
`trace.exporting.rowroots` writes them: under the name `TABLE(FIELD,FIELD,…)`, fields by name, and only those of which
some record of the table has a value when it is planted. The hashes are sorted, put one behind the other, and hashed
once more. What is committed to is the disclosure (`audit.disclosure`) named `canary` of that digest, in hex.

So whoever has a unit's records and its salt can show them to a court, in any order, and nobody else can test a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import SALT_BYTES, disclose, disclosed_digest
from strongroom.errors import UsageError
from strongroom.seal.sha import DIGEST_BYTES, LEAF, digests
from strongroom.trace.exporting.rowroots import row_data

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "canary"

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


def unit_contents(tables: Mapping[str, pa.Table], unit_of: Mapping[str, I64], count: int) -> U8:
    """The digest over the records of each unit, u8[count, 32].

    Args:
        tables: Records by table.
        unit_of: By table: the number of the unit that each record is of, i64[rows].
        count: How many units there are.

    Raises:
        UsageError: Records and units are not as many, or a unit has no record.
    """
    leaves, units = [np.empty((0, DIGEST_BYTES), np.uint8)], [np.empty(0, np.int64)]
    for name, rows in tables.items():
        if len(rows) != len(unit_of[name]):
            raise UsageError(f"table {name} has not as many records as were said to be of a unit")
        leaves.append(_record_leaves(name, rows))
        units.append(unit_of[name])
    every, unit = np.concatenate(leaves), np.concatenate(units)
    words = every.view(">u8").astype(np.uint64)
    order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0], unit))
    bounds = np.searchsorted(unit[order], np.arange(count + 1))
    if count and (np.diff(bounds) == 0).any():
        raise UsageError("a unit of canaries has no record")
    return digests(LEAF, np.ascontiguousarray(every[order]).reshape(-1), bounds.astype(np.int64) * DIGEST_BYTES)


def _record_leaves(table: str, rows: pa.Table) -> U8:
    """The leaf hash of each record, u8[rows, 32]."""
    names = sorted(name for name in rows.column_names if rows[name].null_count < len(rows))
    data, offsets = row_data(f"{table}({','.join(names)})", [rows[name].combine_chunks() for name in names])
    return digests(LEAF, data, offsets)


def commitments(salts: U8, contents: U8) -> U8:
    """What commits to each unit's contents, u8[n, 32].

    Args:
        salts: u8[n, 16], random, one for each.
        contents: u8[n, 32], as `unit_contents` gives them.
    """
    if salts.shape != (len(contents), SALT_BYTES):
        raise UsageError("there is a salt for each unit of canaries")
    made = (
        disclosed_digest(opening_of(salt.tobytes(), digest.tobytes()))
        for salt, digest in zip(salts, contents, strict=True)
    )
    return np.frombuffer(b"".join(made), np.uint8).reshape(-1, DIGEST_BYTES)


def opening_of(salt: bytes, contents: bytes) -> bytes:
    """The disclosure of a unit's contents (32 B) under its salt (16 B)."""
    return disclose(salt, NAME, contents.hex())
