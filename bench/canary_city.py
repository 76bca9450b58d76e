"""The made-up city as typed tables, and its canaries: ours in several settings, and those of a naive generator."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.canary_numbers import numbered
from strongroom.demo.city import CASES_PER_PERSON, make_city
from strongroom.demo.identity import mobile_numbers
from strongroom.schema.columns import arrow_type
from strongroom.schema.model import Schema
from strongroom.schema.parse import parse_schema
from strongroom.seal.entropy import random_bytes
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy, Source
from strongroom.trace.canary.sizing import refuse_blind

SEED = 7
ENTROPY = b"canaries of the bench, always the same"


@dataclass(frozen=True)
class City:
    """A made-up city.

    Args:
        schema: Its schema.
        tables: Everybody's rows.
        mobiles: Mobile numbers that nobody has, as many as `spare`, of the same disorder.
        case_numbers: Numbers of criminal cases that the registry held back, some more than canaries need.
    """

    schema: Schema
    tables: dict[str, pa.Table]
    mobiles: pa.Array
    case_numbers: pa.Array


def city(persons: int, seed: int, numbers: str, spare: int) -> City:
    """The city of so many persons; another seed is another city.

    Args:
        persons: How many.
        seed: Which city.
        numbers: How reports and cases are numbered: as the city has it, "any" and each once; or another habit.
        spare: How many canaries the operator has identifiers for.
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
    typed = {name: _typed(schema, name, rows) for name, rows in read.items()}
    tables, held = numbered(typed, numbers, seed, round(spare * CASES_PER_PERSON))
    return City(schema, tables, mobile_numbers(persons, spare, seed), held)


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


def made(setting: str, of: City, count: int, share: float, seed: int) -> tuple[dict[str, pa.Table], str]:
    """Canaries for a setting, learnt from a share of the persons of the city of a seed, and what they cost."""
    if setting == "naive":
        return naive(of.tables, count), "at once"
    began = time.process_time()
    policy = CanaryPolicy(
        sources={
            "persons.resident_id": Source("void" if setting == "void ids" else "complete"),
            "persons.mobile": Source("own", of.mobiles),
            "criminal_cases.case_no": Source("own", of.case_numbers),
        },
        sensitive_tables=() if setting in {"default", "three tables"} else ("criminal_cases",),
    )
    model = learn(of.schema, sampled(of.tables, share, seed), policy, sampled=share)
    refuse_blind(model.blind)
    learnt = time.process_time()
    index = Index(of.schema, of.tables)
    canaries = model.make(count, ENTROPY + bytes([seed % 256]), index)
    cost = f"learnt in {learnt - began:.1f} s, made in {time.process_time() - learnt:.1f} s of CPU"
    return canaries.tables, f"{cost}, asked about {index.told}; dense {list(canaries.dense)}"


def sampled(tables: dict[str, pa.Table], share: float, seed: int) -> dict[str, pa.Table]:
    """Some persons at random, with all their records."""
    if share == 1:
        return tables
    everybody = tables["persons"]["person_id"].combine_chunks()
    some = everybody.filter(pa.array(np.random.default_rng(seed).random(len(everybody)) < share))
    return {name: rows.filter(pc.is_in(rows["person_id"], some)) for name, rows in tables.items()}


class Index:
    """What a room can be asked: of subjects and of fields with an index, which values somebody has. It is counted.

    Args:
        schema: The city's.
        tables: Everybody.
    """

    def __init__(self, schema: Schema, tables: dict[str, pa.Table]) -> None:
        self._schema, self._tables = schema, tables
        self._known: dict[str, pa.Array] = {}

    def __call__(self, table: str, field: str, values: pa.Array) -> np.ndarray:
        of = self._schema.table(table)
        if field != of.subject and not of.field(field).find:
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
