"""Show whose copy leaked: canaries are planted, two recipients get exports, a part of one is posted, and traced."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.csv as pv

import strongroom
from strongroom.demo.identity import mobile_numbers
from strongroom.trace.canary.policy import CanaryPolicy, Source

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster

POSTED = 17_000  # rows: what the policy's canary code is made for
LEARN_FROM, AGREED = 4_000, 6_000  # an agreement to plant counts who is learnt from, and the canaries
SPARE_MOBILES = 4_000  # numbers that the operator holds: a canary's telephone rings nowhere else
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
COLUMNS = {"手机": "mobile", "证件号": "resident_id", "姓名": "name"}
NORTH, SOUTH = "uni-north", "uni-south"
REASON = "incident 7"


def show_leak(room: Path, keymaster: EmbeddedKeymaster, persons: Path, scratch: Path, report: Path) -> None:
    """Plant, export, post, trace, and set off the alarm.

    Args:
        room: Folder of the bucket.
        keymaster: That of the room.
        persons: The CSV file that the persons came from: what it lacks is a canary.
        scratch: Folder for exported and posted files.
        report: Where the report is written; what is there is replaced.
    """
    own = _column(persons, "mobile")
    try:
        _planted(room, keymaster, len(own))
    except strongroom.UsageError as error:
        print(f"\ncanaries      none are planted: {error}")
        return
    try:
        south = _exported(room, keymaster, scratch, SOUTH, None, own)
        _exported(room, keymaster, scratch, NORTH, "sex = '女'", own)
    except strongroom.BudgetError as error:
        print(f"\nexport        no leak is shown: {error}")
        return
    _traced(room, keymaster, _posted(south, scratch / "posted.txt"), report)
    canaries = np.setdiff1d(_column(south, "mobile"), own)
    _alarm(room, keymaster, str(canaries[0]))


def _column(path: Path, name: str) -> npt.NDArray[Any]:
    options = pv.ConvertOptions(include_columns=[name], column_types={name: "string"})
    found: npt.NDArray[Any] = pv.read_csv(path, convert_options=options)[name].to_numpy()
    return found


def _agreed(keymaster: EmbeddedKeymaster, actor: str, purpose: str, persons: int) -> str:
    """The id of what max agrees to."""
    asked = keymaster.approvals.ask_read(actor, purpose, persons, REASON)
    keymaster.approvals.decide("max", asked.id, agree=True)
    return asked.id


def _planted(room: Path, keymaster: EmbeddedKeymaster, persons: int) -> None:
    started = time.monotonic()
    policy = CanaryPolicy(
        sources={
            "persons.mobile": Source("own", mobile_numbers(persons, SPARE_MOBILES, 7)),
            "persons.resident_id": Source("complete"),
        },
        avoid={"police_reports.role": ("嫌疑人",)},
        unit=1,
    )
    with strongroom.open(str(room), keys=keymaster, actor="ana") as opened:
        planted = opened.plant_canaries(
            policy, purpose="planting", reason=REASON, learn_from=LEARN_FROM,
            approval=_agreed(keymaster, "ana", "planting", AGREED),
        )  # fmt: skip
    took = f"planted by ana, agreed to by max, in {time.monotonic() - started:.1f} s"
    print(f"\ncanaries      {planted.persons:,} people who do not exist, {took}: the keymaster alone knows who")


def _exported(
    room: Path, keymaster: EmbeddedKeymaster, folder: Path, recipient: str, where: str | None, own: npt.NDArray[Any]
) -> Path:
    path = folder / f"{recipient}.csv"
    with strongroom.open(str(room), keys=keymaster, actor="ana") as opened:
        made = opened.export(
            "persons", to=str(path), recipient=recipient, purpose="research", reason="study 9", where=where
        )
    only = f" where {where}" if where else ""
    names = f"{made.names_from:,} rows name the recipient" if made.names_from else "too few to name it by"
    held = len(np.setdiff1d(_column(path, "mobile"), own))
    head = "export" if where is None else ""
    print(f"{head:<14}to {recipient}: {made.persons:,} persons{only}, {held} of them canaries: {names}")
    return path


def _posted(copy: Path, to: Path) -> Path:
    """What a thief posts: a part of the copy, shuffled, under other names of columns, its digits full-width."""
    with copy.open(encoding="utf-8", newline="") as file:
        every = list(csv.DictReader(file))
    chosen = np.random.default_rng(2022).permutation(len(every))[:POSTED]
    with to.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(COLUMNS)
        writer.writerows([every[at][name].translate(WIDE) for name in COLUMNS.values()] for at in chosen)
    return to


def _traced(room: Path, keymaster: EmbeddedKeymaster, posted: Path, report: Path) -> None:
    from strongroom.trace.report import regulator
    from strongroom.trace.report.words import Words
    from strongroom.trace.tracing.facts import facts_of
    from strongroom.trace.tracing.told import lines

    started = time.monotonic()
    with strongroom.open(str(room), keys=keymaster, actor="ines") as opened:
        found = opened.trace(
            posted, purpose="incident", reason=REASON, persons=0, approval=_agreed(keymaster, "ines", "incident", 1)
        )
    seconds = time.monotonic() - started
    facts = facts_of(found, "the made-up city")
    report.write_text(regulator.render(facts, Words()), encoding="utf-8")
    posting = f"{POSTED:,} rows of one copy are posted, shuffled, renamed, in full-width digits"
    print(f"\ntrace         {posting}; traced in {seconds:.1f} s:")
    told = ("is it ours", "whose copy", "  by canary", "cannot be", "  export")
    for line in lines(facts):
        if line.startswith(told):
            print(f"              {line}")
    print(f"              the report for a regulator: {report}")


def _alarm(room: Path, keymaster: EmbeddedKeymaster, mobile: str) -> None:
    """A stolen credential looks up a number of the posted copy that is a canary's."""
    with (
        strongroom.open(str(room), keys=keymaster, actor="thief") as opened,
        opened.read(purpose="delivery", reason="parcel 9") as desk,
    ):
        got = len(desk.find("persons", {"mobile": mobile}))
    with strongroom.open(str(room), keys=keymaster, actor="kit") as opened:
        alarms = [entry for entry in opened.log(actor="thief") if "alarm" in entry.get("extras", {})]
    told = ", ".join(f"entry {one['leaf']} of the log: {one['actor']}, {one['act']}" for one in alarms)
    print(f"\nalarm         a stolen credential finds {got} canary, and sees nothing odd; the alarm is {told}")
