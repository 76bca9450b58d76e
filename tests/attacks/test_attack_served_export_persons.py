"""A taken server adds persons to an export that its caller signed: others, more, or those of a second export."""

import contextlib

import numpy as np
import pytest
from api_export_kit import said
from room_api import Api
from test_attack_served_exports import ExportThief, refusals, some

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.exports.exporting import EmbeddedExports
from strongroom.keymaster.exports.warrant import ExportWarrant
from strongroom.keymaster.warrant import BEYOND


@pytest.fixture
def thief(sending, tmp_path):
    with Api(sending) as api:
        made = ExportThief(api)
        made.everybody = made.rows(tmp_path)
        yield made


# -- more persons -------------------------------------------------------------------------------


def crowd(thief):
    """An export signed for ten persons, of everybody."""
    return thief.started(said(persons=10), thief.everybody)


def released(thief, reading, export, rows):
    """The rows whose keys a server gets that goes on whatever it is told; nothing of it is charged."""
    exports, before = thief.keys.exports, len(thief.api.keys.exports.all("kit"))
    with contextlib.suppress(DeniedError, NotFoundError):
        exports.start(reading, export)
    count = 0
    with contextlib.suppress(DeniedError, NotFoundError, ConflictError):
        count = len(rows[0]) - len(exports.release(reading, export, "persons", *rows).missing)
    return count, len(thief.api.keys.exports.all("kit")) - before


def begun(thief, body, **plan):
    """Reading, snapshot and id of an export that was begun."""
    reading, snapshot = thief.reading(body)
    return reading, thief.keys.exports.begin(reading, ExportPlan(("persons",), "uni-north", snapshot, **plan))


def test_attack_more_persons_than_were_signed_for(thief):
    """Refused and noted, at once and one by one; the export has ended then, and nobody of it goes out."""
    exports = thief.keys.exports
    for first in (0, 10):
        reading, export = begun(thief, said(persons=10))
        assert exports.add(reading, export, "persons", *some(thief.everybody, first)) == first
        with pytest.raises(DeniedError, match="more persons") as refused:
            exports.add(reading, export, "persons", *(part[first : first + 290] for part in thief.everybody))
        assert (refused.value.rule, refusals(thief.api)[-1:]) == (BEYOND, [BEYOND])
        assert released(thief, reading, export, thief.everybody) == (0, 0)
        with pytest.raises(NotFoundError):
            exports.add(reading, export, "persons", *some(thief.everybody, 1))
    assert refusals(thief.api) == [BEYOND] * 2


def test_control_where_persons_are_added_and_then_checked_they_go_out(thief, monkeypatch):
    """Control: a keymaster that notes the refusal, keeps who was added, and asks of nobody when it starts."""
    real = EmbeddedExports._check_signed

    def late(own, reading, export, tokens, count):
        with contextlib.suppress(DeniedError):
            real(own, reading, export, tokens, count)
        own._open[export.id] = export

    monkeypatch.setattr(EmbeddedExports, "_check_signed", late)
    reading, export = begun(thief, said(persons=10))
    thief.keys.exports.add(reading, export, "persons", *thief.everybody)
    assert released(thief, reading, export, thief.everybody) == (300, 1)


@pytest.mark.parametrize("body", [{"persons": 0}, {"persons": 2, "subjects": ["P-000007", "P-000003"]}])
def test_attack_whoever_got_in_is_checked_again_at_the_start(thief, monkeypatch, body):
    """Were persons added unchecked, the start refuses them, by number and by name."""
    with monkeypatch.context() as patch:
        patch.setattr(ExportWarrant, "check_added", lambda *_: None)
        reading, export = begun(thief, said(**body), named="subjects" in body)
        thief.keys.exports.add(reading, export, "persons", *some(thief.everybody, 2))
        if "subjects" in body:
            own = thief.keys.subject_tokens(reading, "persons", body["subjects"])
            assert not (some(thief.everybody, 2)[0][:, None] == own[None]).all(axis=2).any(axis=1).all()
    with pytest.raises(DeniedError) as refused:
        thief.keys.exports.start(reading, export)
    assert refused.value.rule == BEYOND
    assert released(thief, reading, export, thief.everybody) == (0, 0)


def test_attack_persons_are_added_while_the_export_starts(thief, monkeypatch):
    """Whoever is looked up before the start, and would be added after it, was not charged: they do not come in."""
    reading, export = begun(thief, said(persons=300))
    exports, own = thief.keys.exports, thief.api.keys.keymaster.exports
    exports.add(reading, export, "persons", *some(thief.everybody, 10))
    real = own._canaries.which

    def meanwhile(tokens):
        monkeypatch.setattr(own._canaries, "which", real)
        exports.start(reading, export)
        return real(tokens)

    monkeypatch.setattr(own._canaries, "which", meanwhile)
    with pytest.raises(UsageError, match="before the export starts"):
        exports.add(reading, export, "persons", *thief.everybody)
    missing = exports.release(reading, export, "persons", *thief.everybody).missing
    assert missing == tuple(range(10, 300))  # control: the ten who were charged


def test_control_ten_go_out_and_nobody_else(thief):
    """The same request, of as many as were signed for: their keys, and zeros for all others."""
    reading, export = thief.started(said(persons=10), some(thief.everybody, 10))
    released = thief.keys.exports.release(reading, export, "persons", *thief.everybody)
    assert released.missing == tuple(range(10, 300))


def test_control_where_nobody_counts_everybody_goes_out(thief, monkeypatch):
    """Control: a keymaster that does not hold what was added to what was signed."""
    monkeypatch.setattr(ExportWarrant, "check_added", lambda *_: None)
    reading, export = crowd(thief)
    assert thief.keys.exports.release(reading, export, "persons", *thief.everybody).missing == ()


# -- others than were named ---------------------------------------------------------------------

NAMED = {"persons": 2, "subjects": ["P-000007", "P-000003"]}


def others(thief):
    """An export of two named subjects, and two others who are put in their place."""
    reading, export = begun(thief, said(**NAMED), named=True)
    tokens = thief.keys.subject_tokens(reading, "persons", ["P-000003", "P-000007"])
    rows = np.flatnonzero(~(thief.everybody[0][:, None] == tokens[None]).all(axis=2).any(axis=1))[:2]
    return reading, export, (thief.everybody[0][rows], thief.everybody[1][rows])


def test_attack_others_than_the_subjects_that_were_named(thief):
    """Nor are tokens made of a subject whom the caller did not name; nothing goes out after a refusal."""
    reading, export, rows = others(thief)
    with pytest.raises(DeniedError, match="did not name"):
        thief.keys.exports.add(reading, export, "persons", *rows)
    assert released(thief, reading, export, rows) == (0, 0)
    reading, _ = thief.reading(said(**NAMED))
    with pytest.raises(DeniedError, match="did not name"):
        thief.keys.subject_tokens(reading, "persons", ["P-000009"])


def test_control_those_who_were_named_go_out(thief):
    """The same request, with their own rows."""
    reading, snapshot = thief.reading(said(**NAMED))
    tokens = thief.keys.subject_tokens(reading, "persons", ["P-000003", "P-000007"])
    rows = np.flatnonzero((thief.everybody[0][:, None] == tokens[None]).all(axis=2).any(axis=1))
    export = thief.keys.exports.begin(reading, ExportPlan(("persons",), "uni-north", snapshot, named=True))
    assert thief.keys.exports.add(reading, export, "persons", thief.everybody[0][rows], thief.everybody[1][rows]) == 2


def test_control_where_nobody_compares_others_go_out(thief, monkeypatch):
    """Control: without the comparison with the names that were signed."""
    monkeypatch.setattr(ExportWarrant, "check_added", lambda *_: None)
    reading, export, rows = others(thief)
    thief.keys.exports.add(reading, export, "persons", *rows)
    assert released(thief, reading, export, rows) == (2, 1)


def test_attack_names_are_looked_up_again_and_again(thief):
    """What the keymaster keeps of it does not grow."""
    reading, _ = thief.reading(said(**NAMED))
    for _ in range(3):
        thief.keys.subject_tokens(reading, "persons", NAMED["subjects"] * 500)
    assert len(thief.api.keys.keymaster._readings.get(reading).warrant.named) == 2


# -- more than one export -----------------------------------------------------------------------


def every_ten(thief):
    """How many go out by one request for ten, where the server begins an export for each ten of everybody."""
    reading, snapshot = thief.reading(said(persons=10))
    count = 0
    for first in range(0, 50, 10):
        rows = tuple(part[first : first + 10] for part in thief.everybody)
        with contextlib.suppress(DeniedError):
            export = thief.keys.exports.begin(reading, ExportPlan(("persons",), "uni-north", snapshot))
            thief.keys.exports.add(reading, export, "persons", *rows)
            count += released(thief, reading, export, rows)[0]
    return count


def test_attack_one_request_gives_a_second_export(thief):
    """Refused and noted: the number of persons that was signed is that of all that goes out."""
    assert every_ten(thief) == 10
    assert refusals(thief.api) == [BEYOND] * 4


def test_control_where_exports_are_not_counted_all_go_out(thief, monkeypatch):
    """Control: the same server, and a keymaster that does not keep which export it was."""
    monkeypatch.setattr(ExportWarrant, "_only", lambda *_: None)
    assert every_ten(thief) == 50


def test_attack_another_export_after_a_refusal(thief):
    """Nor is there a second one after the first was refused, nor one of another reading under this one."""
    exports = thief.keys.exports
    reading, export = begun(thief, said(persons=10))
    with pytest.raises(DeniedError, match="more persons"):
        exports.add(reading, export, "persons", *thief.everybody)
    with pytest.raises(DeniedError, match="a second export") as refused:
        exports.begin(reading, ExportPlan(("persons",), "uni-north", thief.reading(said())[1]))
    assert (refused.value.rule, refusals(thief.api)) == (BEYOND, [BEYOND] * 2)
    own, foreign = begun(thief, said(persons=10))
    assert exports.add(own, foreign, "persons", *some(thief.everybody, 10)) == 10  # control
    for ask in (
        lambda: exports.add(reading, foreign, "persons", *some(thief.everybody, 1)),
        lambda: exports.start(reading, foreign),
        lambda: exports.release(reading, foreign, "persons", *thief.everybody),
    ):
        with pytest.raises(NotFoundError):
            ask()
