"""A small room of made-up people for tests of the whole: three tables, five actors, known values."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import strongroom
from strongroom.seal.passphrase import Argon2Params

PASSPHRASE = "correct horse battery staple"
CHEAP = Argon2Params(memory_kib=19 * 1024, passes=2, lanes=1)  # the least that is accepted: tests open rooms often

SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id = { type = "string", class = "identity", nullable = false, normalise = ["trim", "upper"] }
name      = { type = "string", class = "identity", mask = "first1" }
id_number = { type = "string", class = "identity", find = true, normalise = ["id"], mask = "last4" }
mobile    = { type = "string", class = "contact", find = true, normalise = ["phone:CN"], mask = "last4" }
address   = { type = "string", class = "contact" }
ethnicity = { type = "string", class = "sensitive", low_cardinality = true }
sex       = { type = "string", class = "open", reason = "published statistics" }
birth_year = { type = "int", class = "open" }

[tables.parcels]
subject = "person_id"
records = "many"
[tables.parcels.fields]
person_id = { type = "string", class = "identity", nullable = false, normalise = ["trim", "upper"] }
tracking  = { type = "string", class = "identity", find = true, token = true }
goods     = { type = "string", class = "contact" }
district  = { type = "int", class = "open" }

[tables.cases]
subject = "person_id"
records = "many"
class = "sensitive"
[tables.cases.fields]
person_id = { type = "string", class = "identity", nullable = false, normalise = ["trim", "upper"] }
charge    = { type = "string", class = "sensitive" }
year      = { type = "int", class = "open" }
"""

POLICY = """
[room]
budget = { hour = 5000, day = 5000, month = 50000 }

[roles.dispatcher]
[roles.officer]
[roles.analyst]
[roles.clerk]
may = ["put", "compact", "check", "log", "rejects", "schema", "policy", "copy", "restore", "slots", "turn", "rotate", "erase", "hold", "actors", "freeze"]
put = { tables = ["persons", "parcels", "cases"], budget = { day = 1000000 } }

[roles.counsel]
may = ["hold"]

[actors.kit]
roles = ["clerk"]
[actors.nan]
roles = ["counsel"]
[actors.mei]
roles = ["dispatcher"]
[actors.ada]
roles = ["officer"]
[actors.lin]
roles = ["analyst"]
[actors.crawler]
roles = ["dispatcher"]
[roles.front]
[actors.front]
roles = ["front"]

[purposes.delivery]
legal_basis = "contract"
roles = ["dispatcher"]
verbs = ["get", "find"]
tables.persons = { name = "masked", mobile = "masked", address = "plain" }
tables.parcels = { identity = "plain", contact = "plain" }
budget = { hour = 20, day = 50 }
lookups = { hour = 100, day = 500 }

[purposes.claims]
legal_basis = "contract"
roles = ["dispatcher"]
verbs = ["get"]
tables.parcels = { tracking = "token", goods = "plain" }
budget = { hour = 20, day = 50 }

[purposes.case-work]
legal_basis = "criminal procedure"
roles = ["officer"]
verbs = ["get", "find", "rejects"]
tables.persons = { identity = "plain", contact = "plain", sensitive = "plain", open = "plain" }
tables.cases = { identity = "plain", sensitive = "plain", open = "plain" }
sensitive = "the inquiry is about these facts"
budget = { hour = 1000, day = 2000 }

[purposes.statistics]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { open = "plain" }
tables.parcels = { open = "plain" }
tables.cases = { open = "plain" }
sensitive = "counts by year"
budget = { day = 100 }
sql = { min_group = 10, rows = true }
"""

SURNAMES = "王李张刘陈杨赵黄周吴"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平"
ROADS = ("长安街", "人民路", "解放大道", "和平里", "Elm Row", "建国门外大街")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def person(number: int) -> dict:
    """One made-up person, the same for the same number."""
    stem = f"11010119{50 + number % 50:02d}{1 + number % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(stem, WEIGHTS, strict=True)) % 11]
    given = GIVEN[number % 20] + GIVEN[number // 20 % 20]
    return {
        "person_id": f"P-{number:06d}",
        "name": SURNAMES[number % 10] + given,
        "id_number": stem + check,
        "mobile": str(13_900_000_000 + 7_919 * number),
        "address": f"北京市东城区{ROADS[number % 6]}{number}号{number % 30}栋{number % 9}单元",
        "ethnicity": ("汉族", "回族", "满族", None)[number % 4],
        "sex": "女" if number % 2 else "男",
        "birth_year": 1950 + number % 60,
    }


def persons(count: int, start: int = 0) -> pa.Table:
    return pa.Table.from_pylist([person(n) for n in range(start, start + count)])


def parcels(count: int, people: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "person_id": f"P-{n % people:06d}",
                "tracking": f"SF{100_000 + n}",
                "goods": f"保温杯 {n}",
                "district": n % 3,
            }
            for n in range(count)
        ]
    )


def cases(count: int) -> pa.Table:
    return pa.Table.from_pylist(
        [{"person_id": f"P-{7 * n:06d}", "charge": f"盗窃 {n}", "year": 2020 + n % 3} for n in range(count)]
    )


@dataclass
class SmallRoom:
    """Where a test's room is."""

    folder: Path

    @property
    def bucket(self) -> Path:
        return self.folder / "bucket"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def create(self, schema: str = SCHEMA, policy: str = POLICY) -> None:
        keymaster = strongroom.create_keymaster(
            str(self.keys), passphrase=PASSPHRASE, schema=schema, policy=policy, argon2=CHEAP
        )
        with keymaster:
            strongroom.create(str(self.bucket), keys=keymaster)

    def keymaster(self):
        return strongroom.open_keymaster(str(self.keys), passphrase=PASSPHRASE)

    def copy_to(self, folder: Path) -> "SmallRoom":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return SmallRoom(folder)


def fill(room: SmallRoom, people: int = 300) -> None:
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as opened:
        opened.put("persons", persons(people))
        opened.put("parcels", parcels(2 * people, people))
        opened.put("cases", cases(people // 7))
