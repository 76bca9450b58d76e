"""The made-up city is plausible, repeatable, and fits its own schema and policy."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import phonenumbers
import pyarrow.parquet as pq
import pytest
from stdnum.cn import ric

from strongroom.demo.city import CityFiles, make_city
from strongroom.demo.identity import DAYS, SERIALS
from strongroom.demo.people import _AREAS_PER_DAY, made_up_persons, persons_in_chunks, write_persons
from strongroom.demo.places import YEAR_MAX, YEAR_MIN, areas

PERSONS = 2_000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> CityFiles:
    """A small city."""
    return make_city(tmp_path_factory.mktemp("city"), persons=PERSONS)


@pytest.fixture(scope="module")
def persons(city: CityFiles) -> list[dict[str, str]]:
    """Its persons."""
    with city.persons.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_five_records_a_person(city: CityFiles) -> None:
    """A city of n persons has 5 n records in four tables, so that 20,000 persons make 100,000."""
    assert sum(city.counts.values()) == 5 * PERSONS
    assert len(city.deliveries.read_text(encoding="utf-8").splitlines()) == city.counts["deliveries"] + 1
    assert pq.read_metadata(city.criminal_cases).num_rows == city.counts["criminal_cases"]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    """Files are a function of seed and size."""

    def hashes(name: str, seed: int) -> list[str]:
        files = make_city(tmp_path / name, persons=300, seed=seed)
        paths = (files.persons, files.deliveries, files.police_reports, files.criminal_cases)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    first = hashes("a", 7)
    assert hashes("b", 7) == first
    assert not set(hashes("c", 8)) & set(first)


def test_resident_ids_are_valid_and_agree_with_the_person(persons: list[dict[str, str]]) -> None:
    """Check digit, an area that existed at birth, birth date and sex all hold, and no id occurs twice."""
    for person in persons:
        number = person["resident_id"]
        assert ric.is_valid(number)
        assert number[6:14] == person["birth_date"].replace("-", "")
        assert (int(number[16]) % 2 == 1) == (person["sex"] == "男")
        assert int(person["birth_decade"]) == int(number[6:9]) * 10
    assert len({p["resident_id"] for p in persons}) == PERSONS


def test_mobile_numbers_are_valid_and_unique(persons: list[dict[str, str]]) -> None:
    """Every mobile number is one that China's numbering plan allows for mobiles, and nobody shares one."""
    numbers = {p["mobile"] for p in persons}
    assert len(numbers) == PERSONS
    for number in sorted(numbers)[::20]:
        parsed = phonenumbers.parse(number, "CN")
        assert phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE


def test_people_are_plausible(persons: list[dict[str, str]]) -> None:
    """Most are Han, the old learned less than the young, addresses are in the city and about as long as real ones."""
    assert 0.85 < np.mean([p["ethnicity"] == "汉族" for p in persons]) < 0.99
    higher = {"大专", "本科", "硕士", "博士"}
    old = np.mean([p["education"] in higher for p in persons if p["birth_date"] < "1960"])
    young = np.mean([p["education"] in higher for p in persons if "1985" < p["birth_date"] < "2000"])
    assert old < 0.15 < young
    assert all(p["address"].startswith("四川省成都市" + p["district"]) for p in persons)
    assert 75 < np.median([len(p["address"].encode()) for p in persons]) < 109
    assert all(re.fullmatch(r"P-\d{8}", p["person_id"]) for p in persons)


def test_other_tables_name_persons_of_the_city(city: CityFiles, persons: list[dict[str, str]]) -> None:
    """Deliveries, reports and cases are about persons who are there, and their own numbers are unique."""
    known = {p["person_id"]: p for p in persons}
    with city.deliveries.open(encoding="utf-8", newline="") as file:
        deliveries = list(csv.DictReader(file))
    reports = [json.loads(line) for line in city.police_reports.read_text(encoding="utf-8").splitlines()]
    cases = pq.read_table(city.criminal_cases).to_pylist()
    for rows, number in ((deliveries, "tracking_no"), (reports, "report_no"), (cases, "case_no")):
        assert {row["person_id"] for row in rows} <= set(known)
        assert len({row[number] for row in rows}) == len(rows)
    assert all(known[r["person_id"]]["mobile"] in r["text"] for r in reports)
    assert all(c["opened_on"].year - int(known[c["person_id"]]["birth_date"][:4]) >= 18 for c in cases)


def test_schema_and_policy_are_accepted() -> None:
    """The demo's schema and policy parse, and the ethnic group is sensitive in them."""
    from strongroom.purpose.policy import parse_policy
    from strongroom.schema.parse import parse_schema
    from strongroom.seal.entropy import random_bytes

    folder = resources.files("strongroom.demo")
    schema = parse_schema(folder.joinpath("schema.toml").read_text(encoding="utf-8"), None, random_bytes)
    policy = parse_policy(folder.joinpath("policy.toml").read_text(encoding="utf-8"), schema)
    assert schema.tables["persons"].field("ethnicity").klass == "sensitive"
    assert schema.tables["criminal_cases"].klass == "sensitive"
    reading = {"delivery", "case-work", "statistics", "subject-access"}
    assert set(policy.purposes) == reading | {"research", "planting", "incident"}


def test_schema_names_the_columns_of_the_files(city: CityFiles) -> None:
    """Each table has just the fields that its file has, in the same order."""
    from strongroom.schema.parse import parse_schema
    from strongroom.seal.entropy import random_bytes

    text = resources.files("strongroom.demo").joinpath("schema.toml").read_text(encoding="utf-8")
    schema = parse_schema(text, None, random_bytes)
    first = json.loads(city.police_reports.read_text(encoding="utf-8").splitlines()[0])
    columns = {
        "persons": city.persons.read_text(encoding="utf-8").splitlines()[0].split(","),
        "deliveries": city.deliveries.read_text(encoding="utf-8").splitlines()[0].split(","),
        "police_reports": list(first),
        "criminal_cases": pq.read_schema(city.criminal_cases).names,
    }
    for name, expected in columns.items():
        assert {f.name for f in schema.tables[name].fields} == set(expected)


def test_every_day_has_enough_areas() -> None:
    """Ids of made-up persons stay unique because every year has more areas than a day uses."""
    assert min(len(areas().exist(year)) for year in range(YEAR_MIN, YEAR_MAX + 1)) >= _AREAS_PER_DAY
    assert DAYS * SERIALS * _AREAS_PER_DAY < 2**32


def test_persons_in_chunks_stay_unique(tmp_path: Path) -> None:
    """Chunks written one after another share no id and no mobile, and have the ten columns."""
    tables = list(persons_in_chunks(50_000, chunk_rows=20_000))
    ids = {v for t in tables for v in t["id_number"].to_pylist()}
    mobiles = {v for t in tables for v in t["mobile"].to_pylist()}
    assert len(ids) == len(mobiles) == sum(t.num_rows for t in tables) == 50_000
    assert all(ric.is_valid(number) for number in sorted(ids)[::500])
    path = tmp_path / "persons.csv"
    write_persons(path, 5_000, chunk_rows=2_000)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == made_up_persons(1).column_names
    assert len(lines) == 5_001
    assert 170 < path.stat().st_size / 5_000 < 210
