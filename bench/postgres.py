"""The usual rival: PostgreSQL with pgcrypto, a key per person, three packed groups, keyed hashes as indexes.

Flattered: AES-CBC without authentication, keys in clear in the table next door, no budget. A look-up writes one audit
row and commits it before the record is returned.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.frame import Absent

BIN = Path("/usr/lib/postgresql/15/bin")
PORT = 54_991
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "port": PORT,
    "shared_buffers": "4GB",
    "work_mem": "128MB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    "jit": "off",
    "max_connections": 40,
}
INDEX_KEY = "'\\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea"
COLUMNS = [
    *("id_number", "name", "sex", "birth_date", "mobile"),
    *("address", "education", "ethnicity", "household_no", "created_at"),
]
GROUPS = {"identity": "id_number name birth_date household_no", "contact": "mobile address", "sensitive": "ethnicity"}


@contextmanager
def server() -> Iterator[str]:
    """A private server in a temporary folder; gives the address to connect to. Raises Absent where it cannot be."""
    if not (BIN / "initdb").exists():
        raise Absent("PostgreSQL 15 is not installed")
    base = Path(tempfile.mkdtemp(prefix="bench-pg-", dir="/tmp"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(base, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    data = base / "data"
    options = " ".join(f"-c {k}={v}" for k, v in SETTINGS.items()) + f" -k {base}"
    try:
        _call([*as_user, BIN / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"])
        _call([*as_user, BIN / "pg_ctl", "-w", "-D", data, "-l", base / "log", "-o", options, "start"])
        try:
            yield f"host=127.0.0.1 port={PORT} user=postgres dbname=postgres"
        finally:
            _call([*as_user, BIN / "pg_ctl", "-w", "-D", data, "-m", "immediate", "stop"])
    except (subprocess.CalledProcessError, OSError) as error:
        raise Absent(f"PostgreSQL does not start ({type(error).__name__})") from None
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _call(command: list[Any]) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run([str(c) for c in command], check=True, stdout=quiet, stderr=quiet, cwd="/tmp")


def _fill() -> str:
    packed = ", ".join(
        f"substr(v, {1 + 16 * i}, 16) || encrypt_iv("
        f"convert_to(concat_ws(E'\\x1f', {', '.join(fields.split())}), 'UTF8'),"
        f" k, substr(v, {1 + 16 * i}, 16), 'aes-cbc')"
        for i, fields in enumerate(GROUPS.values())
    )
    return (
        f"insert into person select pid, hmac(convert_to(id_number, 'UTF8'), {INDEX_KEY}, 'sha256'),"
        f" hmac(convert_to(mobile, 'UTF8'), {INDEX_KEY}, 'sha256'), {packed}, sex, education, created_at::timestamp"
        " from (select s.*, p.k, r.v from stage s join person_key p using (pid),"
        " lateral (select gen_random_bytes(48) v where s.pid is not null offset 0) r"
        " where s.pid between %s and %s) x"
    )


def put(csv: str, address: str) -> dict[str, Any]:
    """Load a CSV file: stage, keys, sealing in two sessions, indexes; seconds of all steps and bytes."""
    try:
        import psycopg
    except ImportError:
        return {"absent": "psycopg is not installed"}
    with psycopg.connect(address, autocommit=True) as db:
        db.execute("create extension if not exists pgcrypto")
        db.execute("drop table if exists person, person_key, stage, audit")
        text = ", ".join(f"{c} text" for c in COLUMNS)
        db.execute(f"create unlogged table stage ({text}, pid bigserial)")
        db.execute("create table person_key (pid bigint, k bytea)")
        db.execute("create table person (pid bigint, i_id bytea, i_mobile bytea, identity bytea, contact bytea,"
                   " sensitive bytea, sex text, education text, created_at timestamp)")  # fmt: skip
        db.execute("create table audit (at timestamptz default now(), actor text, purpose text, i_mobile bytea)")
        started = time.perf_counter()
        into = f"copy stage ({', '.join(COLUMNS)}) from stdin (format csv, header)"
        with db.cursor().copy(into) as copy, Path(csv).open("rb") as file:
            while block := file.read(1 << 20):
                copy.write(block)
        db.execute("insert into person_key select pid, gen_random_bytes(32) from stage")
        db.execute("analyze stage; analyze person_key")
        rows = int(db.execute("select count(*) from stage").fetchone()[0])
        halves = [(1, rows // 2), (rows // 2 + 1, rows)]
        threads = [threading.Thread(target=_session, args=(psycopg, address, *half)) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        db.execute("create index on person (i_id); create index on person (i_mobile)")
        db.execute("alter table person add primary key (pid); alter table person_key add primary key (pid)")
        seconds = time.perf_counter() - started
        assert rows == int(db.execute("select count(*) from person").fetchone()[0])
        db.execute("drop table stage; analyze person; analyze person_key")
        size = db.execute("select pg_total_relation_size('person') + pg_total_relation_size('person_key')").fetchone()
    return {"seconds": seconds, "bytes": int(size[0]), "rows": rows}


def _session(psycopg: Any, address: str, low: int, high: int) -> None:
    with psycopg.connect(address, autocommit=True) as db, psycopg.ClientCursor(db) as cursor:
        cursor.execute(_fill(), (low, high))


FIND = (
    "with noted as (insert into audit (actor, purpose, i_mobile) values ('ada', 'case-work', %(i)s))"
    " select "
    + ", ".join(
        f"convert_from(decrypt_iv(substr({g}, 17), k, substr({g}, 1, 16), 'aes-cbc'), 'UTF8')" for g in GROUPS
    )
    + ", sex, education, created_at from person join person_key using (pid) where i_mobile = %(i)s"
)


def find(address: str, mobiles: list[str], begin: float) -> dict[str, Any]:
    """One client's look-ups, each with one audit row committed before it returns; milliseconds of each."""
    import hmac

    import psycopg

    key = bytes(range(32))
    times = []
    warm = min(50, len(mobiles) // 5)
    with psycopg.connect(address, autocommit=True, prepare_threshold=0) as db:
        for number, mobile in enumerate(mobiles):
            if number == warm:
                time.sleep(max(0.0, begin - time.time()))
                first = time.time()
            started = time.perf_counter()
            found = db.execute(FIND, {"i": hmac.digest(key, mobile.encode(), "sha256")}, prepare=True).fetchone()
            if number >= warm:
                times.append((time.perf_counter() - started) * 1e3)
            assert found is not None
            assert found[1].startswith(mobile)
    return {"ms": times, "first": first, "last": time.time()}
