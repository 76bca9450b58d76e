"""Made-up persons of ten fields, as many as wanted, for measuring: plausible in shape, unique in id and mobile.

A table of persons, or a CSV file of any length written in chunks; the same seed gives the same persons.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from strongroom.demo.columns import Ints, digits, distinct, join, pick_by_share, strings
from strongroom.demo.identity import DAYS, SERIALS, iso_days, mobile_numbers, moments, resident_ids, years
from strongroom.demo.names import names
from strongroom.demo.places import YEAR_MIN, addresses, areas, towns

CHUNK_ROWS = 250_000
# Days x serials x areas of a day: just below 2^32.
_AREAS_PER_DAY = 138
_SPACE = DAYS * SERIALS * _AREAS_PER_DAY

EDUCATION = {
    "小学": 20.0, "初中": 30.0, "高中": 15.0, "中专": 8.0, "大专": 11.0, "本科": 11.0, "硕士": 2.0, "博士": 0.5, "文盲": 2.5,
}  # fmt: skip
ETHNICITY = {
    "汉族": 91.1, "壮族": 1.4, "维吾尔族": 0.8, "回族": 0.8, "苗族": 0.8, "满族": 0.7, "彝族": 0.7, "土家族": 0.7, "藏族": 0.5,
    "蒙古族": 0.4,
}  # fmt: skip


def made_up_persons(n: int, seed: int = 7, *, start: int = 0) -> pa.Table:
    """Persons from number `start` on: id_number, name, sex, birth_date, mobile, address, education, ... all strings.

    Ids and mobiles are unique over all persons of a seed, whatever the chunks (at most 4 billion persons).
    """
    rng = np.random.default_rng([seed, start])
    number = distinct(start, n, _SPACE, seed)
    day, rest = np.divmod(number, SERIALS * _AREAS_PER_DAY)
    slot, serial = np.divmod(rest, SERIALS)
    serial += 1
    female = serial % 2 == 0
    sex = pa.array(["男", "女"]).take(pa.array(female.astype(np.int8)))
    household = rng.integers(0, int(n / 2.6) + 1, n) + start
    return pa.table(
        {
            "id_number": resident_ids(_area(day, slot), day, serial),
            "name": names(rng, female),
            "sex": sex,
            "birth_date": strings(iso_days()[day]),
            "mobile": mobile_numbers(start, n, seed),
            "address": addresses(rng, rng.integers(0, len(towns().prefix), n)),
            "education": pick_by_share(rng, EDUCATION, n),
            "ethnicity": pick_by_share(rng, ETHNICITY, n),
            "household_no": join("H", strings(digits(household, 10))),
            "created_at": moments(rng, "2019-01-01", "2020-12-31", n),
        }
    )


def persons_in_chunks(n: int, seed: int = 7, chunk_rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """The same persons in tables of at most `chunk_rows`; memory does not grow with n."""
    for start in range(0, n, chunk_rows):
        yield made_up_persons(min(chunk_rows, n - start), seed, start=start)


def write_persons(path: Path, n: int, seed: int = 7, chunk_rows: int = CHUNK_ROWS) -> None:
    """Write n persons to a CSV file (UTF-8, with header, no quotes), about 190 bytes each."""
    import pyarrow.csv as pv

    writer: pv.CSVWriter | None = None
    try:
        for table in persons_in_chunks(n, seed, chunk_rows):
            if writer is None:
                options = pv.WriteOptions(quoting_style="none", quoting_header="none")
                writer = pv.CSVWriter(path, table.schema, write_options=options)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


@cache
def _area_table() -> tuple[Ints, Ints]:
    """Areas of each year, padded by repeating: i64[years, most]; and how many each year has."""
    table = areas()
    lists = [table.codes[table.exist(year)] for year in range(YEAR_MIN, int(years()[-1]) + 1)]
    most = max(map(len, lists))
    return np.stack([np.resize(codes, most) for codes in lists]), np.array([len(codes) for codes in lists])


def _area(day: Ints, slot: Ints) -> Ints:
    """An area that existed on the day; different slots of a day give different areas."""
    codes, counts = _area_table()
    year = years()[day] - YEAR_MIN
    # Slots lie side by side on the ring of the year's areas, from a place that differs from day to day.
    found: Ints = codes[year, (day * 7919 + slot) % counts[year]]
    return found
