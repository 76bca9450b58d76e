"""Show the product on the made-up city, in under a page of output."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster

KNOWN_PERSONS = 34  # name, number and address of each: about a hundred known values
LOG_LINES = 3
ENCODINGS = ("utf-8", "utf-16-le", "gb18030")


def show(room: Path, keymaster: Keymaster, source: Path, tables: Mapping[str, str]) -> None:
    """Put the four tables and walk through what the room does and refuses."""
    print("Made-up people; the keymaster is embedded: it does not protect against whoever runs this process.\n")
    with strongroom.open(str(room), keys=keymaster, actor="kit") as desk_of_kit:
        _put(desk_of_kit, source, tables)
    known = _known(source / tables["persons"])
    mobile = known[0]["mobile"]
    dispatcher, officer = ("mei", "delivery", "parcel SF-1024"), ("ada", "case-work", "case 2026-118")
    _found(room, keymaster, mobile, dispatcher, "mei, a dispatcher, by mobile number")
    _found(room, keymaster, mobile, officer, "ada, a case officer, the same person")
    _refused(room, keymaster)
    _crawler(room, keymaster, source / tables["persons"])
    with strongroom.open(str(room), keys=keymaster, actor="kit") as desk_of_kit:
        _log(desk_of_kit)
    _search(room, known)


def _put(room: strongroom.Room, source: Path, tables: Mapping[str, str]) -> None:
    started, total = time.monotonic(), 0
    for table, name in tables.items():
        receipt = room.put(table, str(source / name))
        total += receipt.records
    seconds = time.monotonic() - started
    done = f"{total:,} records of four tables sealed in {seconds:.1f} s"
    print(f"put           {done}, each person under a key of their own")


def _found(room: Path, keymaster: Keymaster, mobile: str, who: tuple[str, str, str], told: str) -> None:
    actor, purpose, reason = who
    with (
        strongroom.open(str(room), keys=keymaster, actor=actor) as opened,
        opened.read(purpose=purpose, reason=reason) as desk,
    ):
        person = desk.find("persons", {"mobile": mobile})[0]
    print(f"\nfind          {told}, for purpose {purpose}:")
    _print(person)


def _refused(room: Path, keymaster: Keymaster) -> None:
    with (
        strongroom.open(str(room), keys=keymaster, actor="ada") as opened,
        opened.read(purpose="case-work", reason="case 2026-118") as desk,
    ):
        try:
            desk.find("persons", {"ethnicity": "回族"})
        except strongroom.DeniedError as error:
            print(f"\nrefused       find by ethnicity: {error}")


def _crawler(room: Path, keymaster: Keymaster, persons: Path) -> None:
    with (
        strongroom.open(str(room), keys=keymaster, actor="crawler") as opened,
        opened.read(purpose="delivery", reason="everything") as desk,
        persons.open(encoding="utf-8", newline="") as file,
    ):
        got = 0
        try:
            for row in csv.DictReader(file):
                got += len(desk.find("persons", {"mobile": row["mobile"]}))
        except strongroom.BudgetError as error:
            print(f"\nstolen        crawler's credential tries to read everybody: {got} persons, then {error}")


def _log(room: strongroom.Room) -> None:
    report = room.verify_log()
    print(f"\nlog           {report['entries']} entries, verified against a signed checkpoint; the newest reads:")
    asked = [entry for entry in room.log() if entry["act"] == "find" or entry["decision"] != "allowed"]
    for entry in asked[-LOG_LINES:]:
        decision = entry["decision"] if entry["decision"] == "allowed" else f"refused by {entry.get('rule')}"
        words = [str(entry.get(k, "")) for k in ("actor", "act", "purpose", "table")]
        print(f"              {entry['leaf']:>5}  {'  '.join(w for w in (*words, decision) if w)}")


def _search(room: Path, known: list[dict[str, str]]) -> None:
    values = [row[k] for row in known for k in ("name", "mobile", "address") if row[k]][:100]
    needles = {value.encode(encoding) for value in values for encoding in ENCODINGS}
    files = [path for path in room.rglob("*") if path.is_file()]
    bucket = b"\0".join(path.read_bytes() for path in files)
    found = sum(needle in bucket for needle in needles)
    searched = f"{len(files)} objects, {len(bucket):,} bytes searched"
    print(f"\nbucket        {searched} for {len(values)} known values: {found} found")


def _known(persons: Path) -> list[dict[str, str]]:
    with persons.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [row for row, _ in zip(rows, range(KNOWN_PERSONS), strict=False)]


def _print(record: Any) -> None:
    shown = "  ".join(f"{name}={record[name]}" for name in record if record[name] is not None)
    print(f"              {shown}")
    if record.withheld:
        print(f"              withheld: {', '.join(sorted(record.withheld))}")
