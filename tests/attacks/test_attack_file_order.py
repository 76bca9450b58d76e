"""A recipient looks for canaries by where their rows stand in a file, and publishes the rest of it."""

import csv

import pytest
import tracing_room
from tracing_room import opened

from strongroom.index.scan import scan
from strongroom.trace.exporting import choosing


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A room whose canaries were put after its people, and into runs of their own."""
    room = tracing_room.make_many(tmp_path_factory.mktemp("order") / "room")
    with room.keymaster() as keys:
        yield room, keys


def places(planted, path):
    """Where the canaries stand in an exported file, from 0 to 1."""
    room, keys = planted
    with opened(room, keys, "ana") as own:
        own.export("persons", to=str(path), recipient="uni-north", purpose="handed-over", reason="study 9")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row["person_id"] for row in csv.DictReader(file)]
    found = [at / len(rows) for at, subject in enumerate(rows) if subject.startswith("C-")]
    assert len(found) > 15
    return found


def run_by_run(readers, **more):
    """Groups as they would come without a common order."""
    for number, reader in enumerate(readers):
        for group in scan([reader], **more):
            yield group._replace(source=group.source + number)


def test_attack_the_beginning_of_a_file_is_published(planted, tmp_path):
    """However much of the end is cut off, the rest has its share of canaries, and so has any stretch."""
    found = places(planted, tmp_path / "whole.csv")
    for low, high in ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0)):
        assert sum(low <= at < high for at in found) > len(found) / 8


def test_control_of_a_file_written_run_by_run_the_end_is_all_canaries(planted, tmp_path, monkeypatch):
    """What was put last stands last: without it a thief publishes everybody, and no canary."""
    monkeypatch.setattr(choosing, "scan", run_by_run)
    assert min(places(planted, tmp_path / "runs.csv")) > 0.98
