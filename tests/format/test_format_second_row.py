"""A reader written from docs/FORMAT.md alone verifies a code row for a court."""

import json

import pytest
import second_row as second
from row_kit import SALT, RowLog, a_row, file_of, text_of

from strongroom.errors import IntegrityError
from strongroom.evidence.coderow import row_opening
from strongroom.evidence.rowfile import verify_row_file


def told(found):
    """What our own reader says, in the words of the other."""
    row, finds = found.row, found.finds
    entries = (found.leaf, None if finds is None else finds.leaf, found.opened)
    offers = [[one.pool, one.bias, one.count, one.root.hex()] for one in row.offers]
    return found.export, found.recipient, found.persons, entries, (found.asked, found.agreed), row.key.hex(), offers


@pytest.mark.parametrize("before", [0, 1, 254, 700])
@pytest.mark.parametrize("traced", [True, False])
def test_both_readers_are_told_the_same(before, traced):
    """At several places of logs of several sizes, with the entry of finds and without."""
    log, row = RowLog(), a_row()
    for _ in range(before):
        log.note("get")
    began, finds, opened = log.began(row), log.traced(), log.opened(row)
    for _ in range(before // 3):
        log.note("get")
    log.cosigned_by("north.example/w", b"\1" * 32)
    file = file_of(log, row, began, opened, *([finds] if traced else []))
    assert second.read(text_of(file)) == told(verify_row_file(text_of(file), log.public))


@pytest.mark.parametrize("part", ["row", "entry", "second line", "proof", "order", "people"])
def test_both_readers_refuse_the_same(part):
    """Another row, an entry changed in either line, another's proof, finds from before, and one person alone."""
    log, row = RowLog(), a_row()
    early = log.traced()
    began, finds = log.began(row), log.traced()
    opened = log.opened(row, asked="max" if part == "people" else "kit")
    file = file_of(log, row, began, opened, early if part == "order" else finds)
    export = file["export"]
    changes = {
        "row": {"row": row_opening(a_row(10), SALT).decode()},
        "entry": {"export": export | {"entry": export["entry"].replace("uni-north", "uni-south")}},
        "second line": {"export": export | {"entry": export["entry"].replace('"count":6000', '"count":6001')}},
        "proof": {"export": export | {"proof": file["opened"]["proof"]}},
    }
    text = json.dumps(file | changes.get(part, {}))
    with pytest.raises(AssertionError):
        second.read(text)
    with pytest.raises(IntegrityError):
        verify_row_file(text, log.public)
