"""Our side of every measure: the public API, and one clock on the keymaster's transactions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import strongroom
from bench.processes import together
from strongroom.keymaster.database.groupcommit import GroupCommit

HERE = Path(__file__).parent
PASSPHRASE = "measured, not secret"
WARM_UP = 200


def agreed(keys: Any, actor: str, purpose: str) -> str:
    """Id of what another person agreed to: a reading of more persons than are measured."""
    asked = keys.approvals.ask_read(actor, purpose, 1_000_000, "measuring")
    keys.approvals.decide("max", asked.id, agree=True)
    return str(asked.id)


def _paths(base: str, room: str | None = None) -> tuple[str, str]:
    return room or str(Path(base) / "room"), str(Path(base) / "keys")


def make(base: str, room: str | None = None) -> Any:
    """Make a room and its keymaster under `base`; returns the keymaster, open."""
    room_folder, keys_folder = _paths(base, room)
    keymaster = strongroom.create_keymaster(
        keys_folder,
        passphrase=PASSPHRASE,
        schema=(HERE / "schema.toml").read_text(encoding="utf-8"),
        policy=(HERE / "policy.toml").read_text(encoding="utf-8"),
    )
    strongroom.create(room_folder, keys=keymaster)
    return keymaster


def put(csv: str, base: str, room: str | None = None) -> dict[str, Any]:
    """Make a room under `base` and put a CSV file into it; seconds from the file to the committed snapshot.

    Loading the code is before the clock, as with the rivals, and told apart (`loading`). With `room` the bucket is at
    that URL, and only the keymaster lies under `base`.
    """
    room_folder, keys_folder = _paths(base, room)
    started = time.perf_counter()
    strongroom.prepare()
    loading = time.perf_counter() - started
    with make(base, room) as keymaster, strongroom.open(room_folder, keys=keymaster, actor="kit") as opened:
        started = time.perf_counter()
        opened.put("persons", csv)
        seconds = time.perf_counter() - started
    (Path(keys_folder) / "passphrase").write_text(PASSPHRASE, encoding="utf-8")
    return {"seconds": seconds, "loading": loading, "bytes": _size(room_folder), "keys_bytes": _size(keys_folder)}


def compact(base: str) -> dict[str, Any]:
    """Compact the room; seconds and the number of objects."""
    room_folder, keys_folder = _paths(base)
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="kit") as room,
    ):
        started = time.perf_counter()
        room.compact()
        return {"seconds": time.perf_counter() - started}


def find(base: str, mobiles: list[str], callers: int, room: str | None = None) -> dict[str, Any]:
    """Find persons by mobile, each noted and charged before it is answered; milliseconds of each find.

    With one caller the parts are told apart: `bare` is a find without the transactions that spend and note; tokens,
    index, record, persons' secrets, keys and opening are in it. With `room` the bucket is at that URL.
    """
    room_folder, keys_folder = _paths(base, room)
    strongroom.prepare()
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="ada") as opened,
        _Clocked() as clocks,
    ):
        return finds(opened, mobiles, callers, lambda: clocks.seconds)


def finds(opened: Any, mobiles: list[str], callers: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Find each mobile in an open room, so many callers at once; `clock` gives the seconds that are not `bare`."""
    shares = [mobiles[i::callers] for i in range(callers)]
    times: list[list[float]] = [[] for _ in range(callers)]
    bare: list[float] = []

    def work(number: int, begin: Callable[[], object]) -> None:
        with opened.read(purpose="case-work", reason="measuring") as desk:
            warm, rest = shares[number][: WARM_UP // callers], shares[number][WARM_UP // callers :]
            for mobile in warm:
                desk.find("persons", {"mobile": mobile}, limit=1)
            begin()
            for mobile in rest:
                noted = clock()
                started = time.perf_counter()
                found = desk.find("persons", {"mobile": mobile}, limit=1)
                took = time.perf_counter() - started
                times[number].append(took * 1e3)
                bare.append((took - (clock() - noted)) * 1e3)
                assert len(found) == 1

    seconds = together(callers, work)
    every = [t for one in times for t in one]
    return {"ms": every, "bare_ms": bare if callers == 1 else [], "per_second": len(every) / seconds}


def finds_counted(base: str, mobiles: list[str], room: str, each: int) -> dict[str, Any]:
    """So many finds in a room opened anew, again and again; the proxy in between counts. Milliseconds of the first."""
    _, keys_folder = _paths(base)
    with strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster:
        times = []
        for at in range(0, len(mobiles) - each + 1, each):
            with (
                strongroom.open(room, keys=keymaster, actor="ada") as opened,
                opened.read(purpose="case-work", reason="measuring") as desk,
            ):
                for number, mobile in enumerate(mobiles[at : at + each]):
                    started = time.perf_counter()
                    found = desk.find("persons", {"mobile": mobile}, limit=1)
                    assert len(found) == 1
                    if not number:
                        times.append((time.perf_counter() - started) * 1e3)
    return {"ms": times}


class _Clocked:
    """Times what spends and notes: the transactions of the keymaster. One caller at a time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._run, clock = GroupCommit.run, self

        def timed(group: GroupCommit, work: Callable[[Any], Any]) -> Any:
            started = time.perf_counter()
            try:
                return clock._run(group, work)
            finally:
                clock.seconds += time.perf_counter() - started

        GroupCommit.run = timed  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *error: object) -> None:
        GroupCommit.run = self._run  # type: ignore[method-assign]


def sql(base: str, questions: dict[str, str]) -> dict[str, Any]:
    """Ask each question twice in a warm reading; milliseconds of the second, noting in the log included."""
    room_folder, keys_folder = _paths(base)
    with (
        strongroom.open_keymaster(keys_folder, passphrase=PASSPHRASE) as keymaster,
        strongroom.open(room_folder, keys=keymaster, actor="lin") as room,
        room.read(purpose="statistics", reason="measuring") as desk,
    ):
        figures = {}
        for name, text in questions.items():
            desk.sql(text)
            started = time.perf_counter()
            desk.sql(text)
            figures[name] = (time.perf_counter() - started) * 1e3
    return figures


def _size(folder: str) -> int:
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
