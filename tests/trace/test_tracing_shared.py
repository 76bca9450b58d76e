"""Values that several persons have: whose row it is, and what it may not say."""

import numpy as np
import pytest
from small_room import person
from tracing_room import opened, trace, write

from strongroom.keymaster.tracing import outside
from strongroom.trace.tracing import window
from strongroom.trace.tracing.facts import facts_of

FAMILIES = 60


@pytest.fixture(scope="module")
def families(tracing_template, tmp_path_factory):
    """A room in which women of one export share their numbers with men who are not in it; rows of these women."""
    import pyarrow as pa

    folder = tmp_path_factory.mktemp("shared")
    room = tracing_template.copy_to(folder / "room")
    women = [{**person(n), "sex": "f", "birth_year": 1999} for n in range(1_000, 1_000 + FAMILIES)]
    men = [
        {**person(n + 1_000), "sex": "m", "birth_year": 1950, "mobile": woman["mobile"]}
        for n, woman in zip(range(1_000, 1_000 + FAMILIES), women, strict=True)
    ]
    with room.keymaster() as keys:
        with opened(room, keys, "kit") as own:
            own.put("persons", pa.Table.from_pylist([*women, *men]))
        with opened(room, keys, "ana") as own:
            out = {"recipient": "uni-north", "purpose": "extract", "reason": "study 9"}
            own.export("persons", to=str(folder / "women.csv"), where="birth_year = 1999", **out)
        yield room, keys, women


def test_a_shared_number_excludes_no_export(families, tmp_path):
    """The rows may be those of the women, whom the export has: it can be the only source."""
    room, keys, women = families
    sample = write(tmp_path / "s.csv", women, ["mobile"])
    assert facts_of(trace(room, keys, sample, persons=0)).excluded == ()


def test_a_second_identifier_says_whose_row_it_is(families, tmp_path):
    """With their ids beside, the women are found, and the export is not excluded; with the men's ids it is."""
    room, keys, women = families
    for own, count in ((women, 0), ([{**w, "id_number": person(n + 2_000)["id_number"]} for n, w in enumerate(women)], 1)):
        facts = facts_of(trace(room, keys, write(tmp_path / f"{count}.csv", own, ["mobile", "id_number"]), persons=0))
        assert len(facts.excluded) == count
        assert facts.affected.sure == FAMILIES


def test_control_counted_for_one_of_them_it_would_exclude_the_true_source(families, tmp_path, monkeypatch):
    """Without the distinction about half of the rows count for a man, and the export lacks these."""
    room, keys, women = families
    real = outside.Outside.of
    plain = lambda self, sample, *args: real(self, _all_alone(sample), *args)  # noqa: E731
    monkeypatch.setattr(outside.Outside, "of", plain)
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", women, ["mobile"]), persons=0))
    assert len(facts.excluded) == 1


def _all_alone(sample):
    from dataclasses import replace

    return replace(sample, alone=None)


@pytest.mark.parametrize(
    ("own", "column", "who", "sure", "alone"),
    [
        ([False, True, True], [0, 0, 1], 1, True, True),  # two columns against one
        ([False, True], [0, 0], 1, False, True),  # one is the recipient of a parcel, the number is the other's
        ([False, False], [0, 0], 0, False, False),
        ([True, True], [0, 0], 0, False, False),
        ([True, True, True, True], [0, 0, 1, 1], 0, False, False),  # both columns are of both
    ],
)
def test_whose_row_it_is(own, column, who, sure, alone):
    """Most columns; then whose own value it is; several alike make nobody certain."""
    size = len(own)
    persons = [0, 1, 1] if size == 3 else [0, 1] * (size // 2)
    found = window._best(
        np.zeros(size, np.int64), np.array(persons), np.array(column, np.uint8), np.zeros(size, np.bool_),
        np.array(own), np.ones(256, np.bool_),
    )  # fmt: skip
    assert (found.who.tolist(), found.sure.tolist(), found.alone.tolist()) == ([who], [sure], [alone])
