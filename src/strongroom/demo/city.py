"""Write the files of a made-up city: persons, their deliveries, police reports, criminal cases.

The shape is that of the records stolen in 2022; every person is invented, the places are real. For 20,000
persons there are 100,000 records in four files of three formats. The same seed writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from strongroom.demo.columns import Ints, digits, distinct, join, pick, pick_by_group, pick_by_share, strings
from strongroom.demo.identity import SERIALS, days, iso_days, mobile_numbers, moments, resident_ids, years
from strongroom.demo.names import names_by_group
from strongroom.demo.places import CITY, YEAR_MIN, addresses, areas, birth_weights, towns
from strongroom.demo.stories import CHARGES, COURIER_LETTERS, COURIERS, ROLES, STATUSES, goods, reports

BORN_HERE = 0.6
FIRST_BIRTH, LAST_BIRTH = 1936, 2009
DELIVERIES_PER_PERSON = 3.1
REPORTS_PER_PERSON = 0.75
CASES_PER_PERSON = 0.15

# Births a year relative to each other, from 1936 in steps of five years.
_COHORTS = (18, 26, 38, 62, 70, 95, 105, 86, 92, 112, 98, 82, 72, 78, 82)

EDUCATIONS = ("文盲", "小学", "初中", "高中", "中专", "大专", "本科", "硕士", "博士")
# Shares by decade of birth, from the 1930s to the 2000s.
_EDUCATION_SHARES = (
    (24, 44, 19, 6, 3, 2, 2, 0, 0),
    (14, 44, 26, 8, 4, 2, 2, 0, 0),
    (6, 31, 38, 14, 5, 3, 3, 0, 0),
    (3, 23, 43, 15, 6, 5, 4, 0.6, 0.1),
    (1, 14, 43, 15, 8, 10, 8, 1, 0.2),
    (0.5, 7, 35, 15, 10, 16, 14, 2, 0.4),
    (0.3, 3, 22, 16, 12, 21, 22, 3.4, 0.4),
    (0.2, 1, 20, 34, 12, 17, 15, 0.5, 0),
)
GROUPS = (
    "汉族", "壮族", "回族", "满族", "维吾尔族", "苗族", "彝族", "土家族", "藏族", "蒙古族", "侗族", "布依族", "瑶族", "白族", "哈尼族",
    "黎族", "哈萨克族", "朝鲜族", "傣族", "羌族",
)  # fmt: skip
# Per cent of the people of a province, by its two digits, where it is not nearly all Han; the rest is Han.
_GROUP_SHARES: dict[int, dict[str, float]] = {
    13: {"满族": 2.9, "回族": 0.8},
    15: {"蒙古族": 17.0, "满族": 1.8, "回族": 0.9},
    21: {"满族": 12.2, "蒙古族": 1.5, "朝鲜族": 0.5},
    22: {"朝鲜族": 3.8, "满族": 3.2},
    42: {"土家族": 3.7, "苗族": 0.3},
    43: {"土家族": 4.0, "苗族": 3.1, "侗族": 1.3, "瑶族": 1.1},
    45: {"壮族": 31.4, "瑶族": 3.2, "苗族": 1.0, "侗族": 0.7},
    46: {"黎族": 14.7, "苗族": 0.8},
    50: {"土家族": 4.9, "苗族": 1.7},
    51: {"彝族": 3.3, "藏族": 1.9, "羌族": 0.4},
    52: {"苗族": 11.4, "布依族": 7.2, "土家族": 4.1, "侗族": 4.1, "彝族": 2.4},
    53: {"彝族": 10.9, "哈尼族": 3.5, "白族": 3.4, "傣族": 2.7, "壮族": 2.6, "苗族": 2.6, "回族": 1.5},
    54: {"藏族": 90.5},
    62: {"回族": 4.9, "藏族": 1.9},
    63: {"藏族": 24.4, "回族": 14.8, "蒙古族": 1.8},
    64: {"回族": 34.5},
    65: {"维吾尔族": 45.8, "哈萨克族": 6.5, "回族": 4.5},
}
_ELSEWHERE = {"回族": 0.5, "满族": 0.2, "苗族": 0.1, "土家族": 0.1, "壮族": 0.1}


@dataclass(frozen=True)
class CityFiles:
    """The four files of a city, and how many records each has."""

    persons: Path
    deliveries: Path
    police_reports: Path
    criminal_cases: Path
    counts: dict[str, int]


@dataclass(frozen=True)
class _Residents:
    table: pa.Table
    birth_year: Ints
    district: pa.Array

    def column(self, name: str, rows: Ints) -> pa.Array:
        """One column for some rows, a row as often as it is asked for."""
        return self.table[name].combine_chunks().take(pa.array(rows))


def make_city(folder: Path | str, persons: int = 20_000, seed: int = 7) -> CityFiles:
    """Write persons.csv, deliveries.csv, police_reports.jsonl and criminal_cases.parquet.

    Args:
        folder: Made if missing; files of these names in it are overwritten.
        persons: How many people; 5 records each.
        seed: The same seed gives the same files.

    Returns:
        Paths and record counts by table name.
    """
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, persons])
    people = _residents(rng, persons, seed)
    deliveries = _deliveries(rng, people, round(persons * DELIVERIES_PER_PERSON), seed)
    police = _police_reports(rng, people, round(persons * REPORTS_PER_PERSON))
    cases = _criminal_cases(rng, people, round(persons * CASES_PER_PERSON))
    files = CityFiles(
        where / "persons.csv",
        where / "deliveries.csv",
        where / "police_reports.jsonl",
        where / "criminal_cases.parquet",
        {
            "persons": persons,
            "deliveries": len(deliveries),
            "police_reports": len(police),
            "criminal_cases": len(cases),
        },
    )
    plain = pv.WriteOptions(quoting_style="none", quoting_header="none")
    pv.write_csv(people.table, files.persons, plain)
    pv.write_csv(deliveries, files.deliveries, plain)
    _write_json_lines(police, files.police_reports)
    pq.write_table(cases, files.criminal_cases, compression="zstd")
    return files


def _residents(rng: np.random.Generator, n: int, seed: int) -> _Residents:
    day, area, serial = _births(rng, n)
    year = years()[day]
    female = serial % 2 == 0
    group = pick_by_group(rng, GROUPS, _group_shares(), area // 10_000)
    home = np.flatnonzero(towns().city == int(CITY))
    town = home[rng.integers(0, len(home), n)]
    district = towns().district.take(pa.array(town))
    education = pick_by_group(rng, EDUCATIONS, np.array(_EDUCATION_SHARES, float), (year - 1930) // 10)
    table = pa.table(
        {
            "person_id": join("P-", strings(digits(np.arange(1, n + 1), 8))),
            "name": names_by_group(rng, female, group),
            "resident_id": resident_ids(area, day, serial),
            "sex": pa.array(["男", "女"]).take(pa.array(female.astype(np.int8))),
            "birth_date": strings(iso_days()[day]),
            "mobile": mobile_numbers(0, n, seed),
            "address": addresses(rng, town),
            "education": education,
            "ethnicity": group,
            "district": district,
            "birth_decade": pa.array(year // 10 * 10),
        }
    )
    return _Residents(table, year, district)


def _births(rng: np.random.Generator, n: int) -> tuple[Ints, Ints, Ints]:
    """Day of birth, area and serial per person; no two share all three."""
    cohort = np.repeat(np.array(_COHORTS, float), 5)[: LAST_BIRTH - FIRST_BIRTH + 1]
    year = FIRST_BIRTH + rng.choice(len(cohort), n, p=cohort / cohort.sum())
    opening = np.searchsorted(years(), np.arange(FIRST_BIRTH, LAST_BIRTH + 2))
    first, after = opening[year - FIRST_BIRTH], opening[year - FIRST_BIRTH + 1]
    day = first + (rng.random(n) * (after - first)).astype(np.int64)
    edges = np.cumsum(birth_weights(BORN_HERE), axis=1)
    flat = (edges / edges[:, -1:] + np.arange(len(edges))[:, None]).ravel()
    row = year - YEAR_MIN
    spot = np.searchsorted(flat, row + rng.random(n), side="right") - row * edges.shape[1]
    area = areas().codes[np.minimum(spot, edges.shape[1] - 1)]
    serial = rng.integers(1, SERIALS + 1, n)
    while True:
        key = (area * 100_000 + day) * 1_000 + serial
        again = np.setdiff1d(np.arange(n), np.unique(key, return_index=True)[1])
        if not len(again):
            return day, area, serial
        serial[again] = rng.integers(1, SERIALS + 1, len(again))


def _group_shares() -> npt.NDArray[np.float64]:
    shares = np.zeros((100, len(GROUPS)))
    for province in range(100):
        for name, share in _GROUP_SHARES.get(province, _ELSEWHERE).items():
            shares[province, GROUPS.index(name)] = share
    shares[:, 0] = 100 - shares.sum(axis=1)
    return shares


def _deliveries(rng: np.random.Generator, people: _Residents, n: int, seed: int) -> pa.Table:
    """Parcels: some people get many; one in ten goes to another's number, one in five to another address."""
    person = (rng.random(n) ** 1.6 * len(people.table)).astype(np.int64)
    person = np.random.default_rng(seed).permutation(len(people.table))[person]
    other = rng.integers(0, len(people.table), n)
    courier = pick_by_share(rng, COURIERS, n)
    letters = pa.array(list(COURIER_LETTERS.values()))
    letters = letters.take(pc.index_in(courier, pa.array(list(COURIER_LETTERS))))
    home = np.flatnonzero(towns().city == int(CITY))
    elsewhere = addresses(rng, home[rng.integers(0, len(home), n)])
    at_home = pa.array(rng.random(n) < 0.8)
    return pa.table(
        {
            "tracking_no": join(letters, strings(digits(10**12 + 211 * distinct(0, n, 2**32, seed + 1), 13))),
            "person_id": people.column("person_id", person),
            "recipient_mobile": people.column("mobile", np.where(rng.random(n) < 0.9, person, other)),
            "recipient_address": pc.if_else(at_home, people.column("address", person), elsewhere),
            "goods": goods(rng, n),
            "courier": courier,
            "sent_at": moments(rng, "2024-07-01", "2026-06-29", n),
        }
    )


def _police_reports(rng: np.random.Generator, people: _Residents, n: int) -> pa.Table:
    person = rng.integers(0, len(people.table), n)
    reported = moments(rng, "2020-01-01", "2026-06-29", n)
    district = people.district.take(pa.array(person))
    return pa.table(
        {
            "report_no": join("A", pc.utf8_slice_codeunits(reported, 0, 4), _numbers(rng, n, 9)),
            "person_id": people.column("person_id", person),
            "role": pick_by_share(rng, ROLES, n),
            "text": reports(rng, people.column("mobile", person)),
            "station": join(district, pick(rng, ["一", "二", "三", "四"], n), "号派出所"),
            "reported_at": reported,
        }
    )


def _criminal_cases(rng: np.random.Generator, people: _Residents, n: int) -> pa.Table:
    adult = np.flatnonzero(people.birth_year < 2004)
    person = adult[rng.integers(0, len(adult), n)]
    district = people.district.take(pa.array(person))
    opened = days(rng, "2022-01-01", "2026-06-29", n)
    year = pc.utf8_slice_codeunits(opened, 0, 4)
    return pa.table(
        {
            "case_no": join("(", year, ")川01刑初", _numbers(rng, n, 6), "号"),
            "person_id": people.column("person_id", person),
            "charge": pick_by_share(rng, CHARGES, n),
            "status": pick_by_share(rng, STATUSES, n),
            "court": join("成都市", district, "人民法院"),
            "opened_on": opened.cast(pa.date32()),
        }
    )


def _numbers(rng: np.random.Generator, n: int, width: int) -> pa.Array:
    """Numbers of `width` digits that are all different, in no order."""
    return strings(digits(distinct(0, n, min(10**width, 2**32), int(rng.integers(1, 2**31))), width))


def _write_json_lines(table: pa.Table, path: Path) -> None:
    """One JSON object a line. Our words hold no quotes and no backslashes, so joining columns is enough."""
    parts: list[pa.Array | str] = []
    for number, name in enumerate(table.column_names):
        parts += [('{"' if not number else '", "') + name + '": "', table[name].combine_chunks()]
    lines: Sequence[str] = join(*parts, '"}').to_pylist()
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(line + "\n" for line in lines)
