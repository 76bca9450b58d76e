"""Real places for made-up people: areas with the years in which they existed, towns, roads, addresses.

Area codes and their years come from python-stdnum's table of GB/T 2260 at run time; towns from `data/towns.csv.gz`.
House numbers, estates and rooms are invented.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.demo.columns import Ints, join, pick

CITY = "5101"
YEAR_MIN, YEAR_MAX = 1936, 2020
# Codes that stand for a whole city or "the districts together" are on no card.
_AGGREGATE = re.compile(r"^(市辖区|市区|市郊区|县|省直辖.*|自治区直辖.*)$")
_PERIOD = re.compile(r"(?:\[(\d*)-(\d*)\])?([^,\[\]]+)")

_MUNICIPALITIES = {"11", "12", "31", "50"}

# Million people, rounded, of the provinces by the first two digits of their codes.
PROVINCE_MILLIONS = {
    11: 22, 12: 14, 13: 75, 14: 35, 15: 24, 21: 43, 22: 24, 23: 32, 31: 25, 32: 85, 33: 65, 34: 61, 35: 42, 36: 45,
    37: 102, 41: 99, 42: 58, 43: 66, 44: 126, 45: 50, 46: 10, 50: 32, 51: 84, 52: 39, 53: 47, 54: 4, 61: 40, 62: 25,
    63: 6, 64: 7, 65: 26,
}  # fmt: skip

ROAD_HEADS = (
    "人民", "解放", "建设", "中山", "和平", "新华", "胜利", "文化", "长江", "黄河", "青年", "团结", "光明", "东风", "红旗",
    "滨江", "学府", "科技", "园林", "兴业", "迎宾", "振兴", "朝阳", "育才", "幸福", "友谊", "体育场", "火车站", "金沙",
    "芙蓉", "锦绣", "天府", "玉林", "桃源", "梧桐", "银杏",
)  # fmt: skip
ROAD_TAILS = ("路", "东路", "西路", "南路", "北路", "中路", "大道", "一街", "二街", "巷")
ESTATE_HEADS = (
    "阳光", "金色", "翡翠", "滨河", "锦江", "紫荆", "御景", "世纪", "丽都", "水岸", "春天", "东方", "康乐", "安居", "嘉禾",
    "龙湖", "蓝光", "凤凰", "香樟", "瑞祥", "和谐", "中央", "枫林", "碧水",
)  # fmt: skip
ESTATE_TAILS = ("花园", "小区", "新村", "公寓", "家园", "名苑", "国际城", "广场", "雅居", "庭院")


@dataclass(frozen=True)
class Areas:
    """Areas that were on resident cards.

    Args:
        codes: Six digits each, as numbers; i64[n].
        names: What the area was called last.
        first: First whole year in which the area existed, i64[n].
        last: Last whole year, i64[n].
    """

    codes: Ints
    names: tuple[str, ...]
    first: Ints
    last: Ints

    def exist(self, year: int) -> Ints:
        """Which of them existed all through a year, as positions."""
        return np.flatnonzero((self.first <= year) & (year <= self.last))


@cache
def gb2260() -> dict[str, str]:
    """Code of six digits to the text of python-stdnum's table: names, with years where they are not open."""
    text = resources.files("stdnum.cn").joinpath("loc.dat").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    province = ""
    for line in text.splitlines():
        match = re.match(r'^( *)(\d+) (?:province|county)="([^"]*)"', line)
        if match and not match[1]:
            province = match[2]
            found[province] = match[3]
        elif match:
            found[province + match[2]] = match[3]
    return found


@cache
def areas() -> Areas:
    """Every county, district and county-level city of 31 provinces, with the years in which it existed."""
    rows = []
    for code, text in gb2260().items():
        if len(code) != 6 or code.endswith("00") or int(code[:2]) not in PROVINCE_MILLIONS:
            continue
        for start, end, name in _PERIOD.findall(text):
            # A year of change belongs to neither side, so that the month does not matter.
            first = int(start) + 1 if start else 0
            last = int(end) - 1 if end else 9999
            if not _AGGREGATE.match(name) and first <= last:
                rows.append((int(code), name, first, last))
    codes, names, first_years, last_years = zip(*rows, strict=True)
    return Areas(np.array(codes), names, np.array(first_years), np.array(last_years))


@cache
def birth_weights(home: float) -> npt.NDArray[np.float64]:
    """How likely each area is as a place of birth in each year from YEAR_MIN on: f64[years, areas].

    Args:
        home: Share of people born in the city itself; the others come from all provinces by population.
    """
    table = areas()
    province = table.codes // 10_000
    weights = np.zeros((YEAR_MAX - YEAR_MIN + 1, len(table.codes)))
    for row, year in enumerate(range(YEAR_MIN, YEAR_MAX + 1)):
        here = table.exist(year)
        count = np.bincount(province[here], minlength=100)
        millions = np.array([PROVINCE_MILLIONS.get(int(p), 0) for p in province[here]])
        weights[row, here] = millions / count[province[here]]
        weights[row] *= (1 - home) / weights[row].sum()
        local = here[table.codes[here] // 100 == int(CITY)]
        weights[row, local] += home / len(local)
    return weights


@dataclass(frozen=True)
class Towns:
    """Places that people live in.

    Args:
        prefix: Province, city, district and town as an address begins; string[n].
        district: Name of the district or county; string[n].
        city: First four digits of the area code, i64[n].
    """

    prefix: pa.Array
    district: pa.Array
    city: Ints


@cache
def towns() -> Towns:
    """Every town and street office of today whose area is in GB/T 2260."""
    today = {code: name for code, name, last in _last_names() if last == 9999}
    table = gb2260()
    packed = resources.files("strongroom.demo").joinpath("data/towns.csv.gz").read_bytes()
    prefixes: list[str] = []
    districts: list[str] = []
    cities: list[int] = []
    for row in csv.DictReader(io.StringIO(gzip.decompress(packed).decode("utf-8"))):
        code, names = row["area"], row["towns"].split("|")
        if int(code) not in today or code[:2] not in table:
            continue
        district = today[int(code)]
        city = _PERIOD.findall(table.get(code[:4] + "00", ""))
        alone = code[:2] in _MUNICIPALITIES or code[2:4] == "90" or not city
        middle = "" if alone else city[-1][2]
        prefixes += [table[code[:2]] + middle + district + town for town in names]
        districts += [district] * len(names)
        cities += [int(code[:4])] * len(names)
    return Towns(pa.array(prefixes), pa.array(districts), np.array(cities))


def _last_names() -> list[tuple[int, str, int]]:
    table = areas()
    return [(int(c), n, int(e)) for c, n, e in zip(table.codes, table.names, table.last, strict=True)]


@cache
def _pools() -> tuple[pa.Array, pa.Array, pa.Array]:
    """Roads with a house number to come, estates, and houses with entrance and room."""
    rng = np.random.default_rng(1)
    n = 6_000
    house, entrance, floor, door = (rng.integers(1, most, n) for most in (41, 5, 31, 5))
    rooms = pa.array(
        [f"{a}栋{b}单元{c}{d:02d}室" for a, b, c, d in zip(house, entrance, floor, door, strict=True)]
    )
    roads = pa.array([head + tail for head in ROAD_HEADS for tail in ROAD_TAILS])
    estates = pa.array([head + tail for head in ESTATE_HEADS for tail in ESTATE_TAILS])
    return roads, estates, rooms


def addresses(rng: np.random.Generator, town: Ints) -> pa.Array:
    """A whole address in each row's town, about 75 to 109 bytes; `town` is i64[n], positions in `towns()`."""
    roads, estates, rooms = _pools()
    n = len(town)
    numbers = [f"{number}号" for number in range(1, 400)]
    start = towns().prefix.take(pa.array(town.astype(np.int32)))
    return join(start, pick(rng, roads, n), pick(rng, numbers, n), pick(rng, estates, n), pick(rng, rooms, n))
