"""The fastest rival: chDB (embedded ClickHouse), AES-256-GCM with a key per row, two blind indexes, no vault around it.

Flattered: keys and nonces are not from a cryptographic generator, the index keys stand in the question, the row keys
lie in clear beside the cells, nothing is noted, counted or flushed to the disk.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

_INDEX = "sipHash128Keyed((toUInt64({}), toUInt64({})), {})"
_TABLE = """create table d.persons (i_id FixedString(16), i_mobile FixedString(16), k String, v String,
 identity String, contact String, sensitive String, sex LowCardinality(String), education LowCardinality(String),
 created_at DateTime) engine = MergeTree order by i_mobile"""
_INSERT = """insert into d.persons select {id}, {mobile}, k, v,
 encrypt('aes-256-gcm', concat(id_number, '\\x1f', name, '\\x1f', birth_date, '\\x1f', household_no),
  k, substring(v, 1, 12), 'a'),
 encrypt('aes-256-gcm', concat(mobile, '\\x1f', address), k, substring(v, 13, 12), 'a'),
 encrypt('aes-256-gcm', ethnicity, k, substring(v, 25, 12), 'a'), sex, education, created_at
 from (select *, randomString(32) k, randomString(36) v from file('{csv}', 'CSVWithNames',
 'id_number String, name String, sex String, birth_date String, mobile String, address String, education String,
 ethnicity String, household_no String, created_at DateTime'))"""


def put(csv: str, base: str) -> dict[str, Any]:
    """Load a CSV file with two threads; seconds and bytes."""
    try:
        from chdb import session
    except ImportError as error:
        return {"absent": f"chdb is not installed ({error.name})"}
    shutil.rmtree(base, ignore_errors=True)
    there = session.Session(base)
    there.query("create database d engine = Atomic")
    there.query(_TABLE)
    there.query("set max_threads = 2, max_insert_threads = 2")
    text = _INSERT.format(
        id=_INDEX.format(101, 102, "id_number"), mobile=_INDEX.format(103, 104, "mobile"), csv=csv
    )
    started = time.perf_counter()
    there.query(text)
    seconds = time.perf_counter() - started
    rows = int(str(there.query("select count() from d.persons", "CSV")).strip())
    there.close()
    size = sum(p.stat().st_size for p in Path(base).rglob("*") if p.is_file())
    shutil.rmtree(base, ignore_errors=True)
    return {"seconds": seconds, "bytes": size, "rows": rows}
