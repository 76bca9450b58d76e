"""The demo's leak is real: who is named, who is excluded, and what the log has of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from small_room import CHEAP, PASSPHRASE

import strongroom
from strongroom.demo.__main__ import _ours
from strongroom.demo.city import make_city
from strongroom.demo.leak import POSTED, show_leak
from strongroom.keymaster.create import create_keymaster

TABLES = ("persons", "deliveries", "police_reports")


def put(folder: Path, persons: int) -> tuple[Any, Path]:
    """The demo's room of so many persons; its keymaster, open, and the file that they came from."""
    texts = {n: resources.files("strongroom.demo").joinpath(f"{n}.toml").read_text("utf-8") for n in ("schema", "policy")}
    files = make_city(folder / "city", persons)
    keys = create_keymaster(folder / "keys", passphrase=PASSPHRASE, argon2=CHEAP, **texts)
    strongroom.create(str(folder / "room"), keys=keys)
    with strongroom.open(str(folder / "room"), keys=keys, actor="kit") as room:
        for table in TABLES:
            room.put(table, str(getattr(files, table)))
    return keys, files.persons


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path, Path]]:
    """A city as large as the demo's canary code needs."""
    folder = tmp_path_factory.mktemp("leak")
    keys, persons = put(folder, POSTED)
    with keys:
        yield keys, persons, folder


def test_the_recipient_is_named_the_other_excluded_and_the_alarm_raised(
    shown: tuple[Any, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed is what ledger, report and log have."""
    keys, persons, folder = shown
    show_leak(folder / "room", keys, persons, folder, folder / "report.html")
    text = capsys.readouterr().out
    exports = {one.recipient: one.id for one in keys.exports.all("kit")}
    assert re.findall(r"whose copy: export (\w+) to ([\w-]+)", text) == [(exports["uni-south"], "uni-south")]
    excluded = text[text.index("cannot be the only source") :]
    assert re.findall(r"export (\w+) to ([\w-]+)", excluded) == [(exports["uni-north"], "uni-north")]
    reached, needed = map(float, re.findall(r"ln E ([\d.]+), ([\d.]+) needed", text)[0])
    assert reached > needed > 20
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert exports["uni-south"] in report
    (alarm,) = [e for e in keys.log_entries("kit") if "alarm" in e.get("extras", {})]
    assert f"entry {alarm['leaf']} of the log: thief, find" in text
    (pool,) = keys.canaries.pools("kit")
    assert pool.planted
    assert f"{pool.persons:,} people who do not exist" in text
    assert sum(map(bool, text.splitlines())) <= 12


def test_a_city_too_small_for_canaries_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows no leak, instead of one that names nobody."""
    keys, persons = put(tmp_path, 300)
    with keys:
        show_leak(tmp_path / "room", keys, persons, tmp_path, tmp_path / "report.html")
        assert keys.exports.all("kit") == []
    assert "none are planted" in capsys.readouterr().out
    assert not (tmp_path / "report.html").exists()


def test_a_report_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    """The demo takes away only what it made."""
    (tmp_path / "room-report.html").write_text("mine", encoding="utf-8")
    names = ("room", "keys", "room-report.html")
    assert not _ours(*(tmp_path / name for name in names))
    (tmp_path / "room-report.html").unlink()
    assert _ours(*(tmp_path / name for name in names))
