"""What runs in a process of its own: `python -m bench.tasks TASK ARGUMENTS PROCESSORS` prints its figures as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def _plain(csv: str, out: str, begin: float = 0.0) -> dict[str, Any]:
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401 - imported before the moment to begin

    from bench import plain

    time.sleep(max(0.0, begin - time.time()))
    return plain.to_parquet(csv, out)


def _call(module: str, name: str) -> Callable[..., dict[str, Any]]:
    def task(**arguments: Any) -> dict[str, Any]:
        from importlib import import_module

        return getattr(import_module(f"bench.{module}"), name)(**arguments)

    return task


def _persons(path: str, rows: int) -> dict[str, Any]:
    from pathlib import Path

    from strongroom.demo.people import write_persons

    write_persons(Path(path), rows)
    return {"bytes": Path(path).stat().st_size}


def _cells() -> dict[str, Any]:
    from bench import cells

    return {"rows": cells.run()}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "persons": _persons,
    "cells": _cells,
    "token ciphers": _call("tokens", "ciphers"),
    "token tink": _call("tokens", "tink"),
    "token columns": _call("tokens", "columns"),
    "token stream": _call("tokens", "stream"),
    "tracing room": _call("tracing", "room"),
    "tracing sample": _call("tracing", "sample"),
    "tracing": _call("tracing", "trace"),
    "plain": _plain,
    "plain sql": _call("plain", "sql"),
    "open columns": _call("plain", "open_columns"),
    "put": _call("ours", "put"),
    "compact": _call("ours", "compact"),
    "erase": _call("erase", "erase"),
    "close day": _call("person", "close_day"),
    "person year": _call("person", "year"),
    "fill": _call("copies", "fill"),
    "copy": _call("copies", "copy"),
    "copy again": _call("copies", "copy_again"),
    "restore": _call("copies", "restore"),
    "plain copy": _call("copies", "plain_copy"),
    "opening": _call("copies", "opening"),
    "served prepare": _call("served", "prepare"),
    "served put": _call("served", "put"),
    "served find": _call("served", "find"),
    "served release": _call("served", "release"),
    "http find": _call("overhttp", "find"),
    "proofs": _call("proofs", "proofs"),
    "detection": _call("detection", "detection"),
    "incident fill": _call("incident", "fill"),
    "incident ask": _call("incident", "ask"),
    "incident releases": _call("incident", "releases"),
    "incident notes": _call("incident", "notes"),
    "leak write": _call("leak", "write"),
    "leak read": _call("leak", "read"),
    "leak date": _call("leak", "date"),
    "find": _call("ours", "find"),
    "finds counted": _call("ours", "finds_counted"),
    "sql": _call("ours", "sql"),
    "aggregate": _call("aggregates", "aggregate"),
    "plain aggregate": _call("aggregates", "plain"),
    "export": _call("exports", "export"),
    "export credentials": _call("exports", "let_in"),
    "export through": _call("exports", "export_through"),
    "plain export": _call("exports", "plain"),
    "duckdb export": _call("exports", "duckdb"),
    "endtoend room": _call("endtoend", "room"),
    "endtoend issue": _call("endtoend", "issue"),
    "endtoend traces": _call("endtoend", "traces"),
    "endtoend once": _call("endtoend", "once"),
    "chdb put": _call("chdb_rival", "put"),
    "postgres put": _call("postgres", "put"),
    "postgres find": _call("postgres", "find"),
}


def main() -> None:
    """Run one task on the processors given."""
    task, arguments, cpus = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    if cpus:
        os.sched_setaffinity(0, cpus)
    print(json.dumps(TASKS[task](**arguments)), flush=True)
    # Some rivals end badly after they are done (embedded servers): what was measured is out already.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
