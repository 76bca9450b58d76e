"""The made-up city as typed tables, and its canaries: ours in several settings, and those of a naive generator."""

from __future__ import annotations

import tempfile
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.canary_numbers import numbered
from strongroom.demo.city import make_city
from strongroom.demo.identity import mobile_numbers
from strongroom.schema.columns import arrow_type
from strongroom.schema.model import Schema
from strongroom.schema.parse import parse_schema
from strongroom.seal.entropy import random_bytes
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy, Source

SEED = 7
ENTROPY = b"canaries of the bench, always the same"


def city(persons: int, seed: int = SEED, numbers: str = "any") -> tuple[Schema, dict[str, pa.Table]]:
    """The schema and the tables of a city of so many persons; another seed is another city.

    Numbers of reports and cases are as the city has them, "any" and each once; or those of another habit.
    """
    text = resources.files("strongroom.demo").joinpath("schema.toml").read_text("utf-8")
    schema = parse_schema(text, None, random_bytes)
    with tempfile.TemporaryDirectory() as folder:
        files = make_city(Path(folder), persons, seed)
        read = {
            "persons": _csv(files.persons),
            "deliveries": _csv(files.deliveries),
            "police_reports": pj.read_json(files.police_reports),
            "criminal_cases": pq.read_table(files.criminal_cases),
        }
    return schema, numbered({name: _typed(schema, name, rows) for name, rows in read.items()}, numbers, seed)


def _csv(path: Path) -> pa.Table:
    names = pv.open_csv(path).schema.names
    return pv.read_csv(path, convert_options=pv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())))


def _typed(schema: Schema, name: str, rows: pa.Table) -> pa.Table:
    columns = {}
    for field in schema.table(name).fields:
        column = rows[field.name]
        if field.type == "timestamp":
            column = column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        columns[field.name] = column.cast(arrow_type(field.type)).combine_chunks()
    return pa.table(columns)


def made(
    setting: str,
    schema: Schema,
    tables: dict[str, pa.Table],
    count: int,
    share: float,
    seed: int = SEED,
    asked: str = "every",
) -> tuple[dict[str, pa.Table], str]:
    """Canaries for a setting, learnt from a share of the persons of the city of a seed, and what they cost."""
    persons = len(tables["persons"])
    if setting == "naive":
        return naive(tables, count), "at once"
    began = time.process_time()
    spare = mobile_numbers(persons, 2 * count, seed)
    policy = CanaryPolicy(
        sources={
            "persons.resident_id": Source("void" if setting == "void ids" else "complete"),
            "persons.mobile": Source("own", spare),
        },
        sensitive_tables=() if setting in {"default", "three tables"} else ("criminal_cases",),
    )
    model = learn(schema, sampled(tables, share, seed), policy, sampled=share)
    learnt = time.process_time()
    index = Index(schema, tables, asked)
    canaries = model.make(count, ENTROPY + bytes([seed % 256]), index)
    cost = f"learnt in {learnt - began:.1f} s, made in {time.process_time() - learnt:.1f} s of CPU"
    return canaries.tables, f"{cost}, asked about {index.told}; dense {list(canaries.dense)}"


def sampled(tables: dict[str, pa.Table], share: float, seed: int = SEED) -> dict[str, pa.Table]:
    """Some persons at random, with all their records."""
    if share == 1:
        return tables
    everybody = tables["persons"]["person_id"].combine_chunks()
    some = everybody.filter(pa.array(np.random.default_rng(seed).random(len(everybody)) < share))
    return {name: rows.filter(pc.is_in(rows["person_id"], some)) for name, rows in tables.items()}


class Index:
    """What the room's blind index does: says which values somebody has, and counts what it was asked about.

    Args:
        schema: The city's.
        tables: Everybody.
        asked: "every" identifier, or what is "indexed" in the schema, and subjects.
    """

    def __init__(self, schema: Schema, tables: dict[str, pa.Table], asked: str) -> None:
        self._schema, self._tables, self._asked = schema, tables, asked
        self._known: dict[str, pa.Array] = {}

    def __call__(self, table: str, field: str, values: pa.Array) -> np.ndarray:
        of = self._schema.table(table)
        if self._asked == "indexed" and field != of.subject and not of.field(field).find:
            return np.zeros(len(values), bool)
        before = self._known.get(f"{table}.{field}", values.slice(0, 0))
        self._known[f"{table}.{field}"] = pa.concat_arrays([before, values]).unique()
        return pc.is_in(values, self._tables[table][field].combine_chunks()).to_numpy(zero_copy_only=False)

    @property
    def told(self) -> str:
        """How many distinct values were asked about, by field."""
        return ", ".join(f"{len(values):,} {name}" for name, values in self._known.items())


def naive(tables: dict[str, pa.Table], count: int) -> dict[str, pa.Table]:
    """Persons with every column drawn for itself from the real ones, and as many records each as the mean."""
    rng = np.random.default_rng(SEED)
    names = pa.array([f"N-{i:08d}" for i in range(count)])
    out = {}
    for name, rows in tables.items():
        each = max(1, round(count * len(rows) / len(tables["persons"])))
        owner = np.arange(count) if name == "persons" else rng.integers(0, count, each)
        out[name] = pa.table(
            {
                column: names.take(pa.array(owner))
                if column == "person_id"
                else rows[column].take(pa.array(rng.integers(0, len(rows), len(owner))))
                for column in rows.column_names
            }
        )
    return out
