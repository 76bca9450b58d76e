"""Attacks on tokens of exports: joining two recipients' files, guessing values, framing an export by chance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from token_tries import names_by_form

from strongroom.demo.identity import mobile_numbers, resident_ids
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import TokenField
from strongroom.seal.derive import derive

MOBILE = TokenField("persons.mobile", "as phone:CN", ("phone:CN",))
RESIDENT = TokenField("persons.resident_id", "as id", ("id",))
SUBJECT = TokenField("persons.person_id", "subject", ())
ROOT = bytes(range(32))
ROWS = 20_000


def _export(number):
    return ExportTokens(derive(ROOT, 32, b"export", number.to_bytes(8, "little")))


def _columns():
    rng = np.random.default_rng(6)
    ids = resident_ids(rng.integers(110_000, 160_000, ROWS), rng.integers(0, 20_000, ROWS), rng.integers(1, 999, ROWS))
    subjects = pa.array([f"p-{i:08d}" for i in range(ROWS)])
    return (
        (MOBILE, mobile_numbers(0, ROWS, 1).cast(pa.string())),
        (RESIDENT, ids.cast(pa.string())),
        (SUBJECT, subjects),
    )


def _joined(one, other):
    return pc.is_in(one, value_set=other).true_count


def test_two_recipients_cannot_join_their_files():
    """Of the same persons in two exports no column of tokens joins, in any order of rows; within one export all do."""
    first, second = _export(1), _export(2)
    for field, column in _columns():
        assert _joined(first.tokenize(field, column), second.tokenize(field, column)) <= 1  # by chance: 0.06 mobiles
        # Control: two files of one export, which are meant to join.
        assert _joined(first.tokenize(field, column), first.tokenize(field, column[::-1])) == ROWS


def test_tokens_say_nothing_of_area_birth_or_sex():
    """Whoever guesses a part of a resident id from its token is right as often as chance; the control reads the id."""
    (field, ids), tokens = _columns()[1], None
    tokens = _export(1).tokenize(field, ids)
    for start, stop, least in ((6, 10, 30), (10, 12, 12), (12, 14, 28), (14, 17, 900)):
        here, there = (pc.utf8_slice_codeunits(one, start, stop) for one in (ids, tokens))
        agree = pc.equal(here, there).true_count
        assert agree < 3 * ROWS / least + 30
        # Control: the value itself agrees in every row.
        assert pc.equal(here, pc.utf8_slice_codeunits(ids, start, stop)).true_count == ROWS
    odd = [int(one[16]) % 2 for one in ids.to_pylist()]
    guessed = [int(one[16]) % 2 for one in tokens.to_pylist()]
    agree = sum(a == b for a, b in zip(odd, guessed, strict=True))
    assert abs(agree - ROWS / 2) < 5 * (ROWS / 4) ** 0.5


def test_a_recipient_who_knows_numbers_cannot_make_their_tokens():
    """With the token of every known person but one, and any key but the export's, the last one's token is not found."""
    export = _export(1)
    field, mobiles = _columns()[0]
    target = export.tokenize(field, mobiles[:1])[0].as_py()
    tried = [_export(number).tokenize(field, mobiles[:1])[0].as_py() for number in range(2, 400)]
    assert target not in tried
    # Control: who has the key of the export needs one try.
    assert _export(1).tokenize(field, mobiles[:1])[0].as_py() == target


def test_no_innocent_export_is_named_by_chance():
    """10,000 exports that had no part in a leak of a handful of phone tokens: none reaches the bound of 1e-9."""
    people = normalise(mobile_numbers(0, 700_000, 1).cast(pa.string()), ["phone:CN"])
    share, innocent = 700_000 / 7e9, {str(number): _export(number) for number in range(10, 10_010)}

    def known(values):
        return np.asarray(pc.is_in(values, value_set=people))

    leaked = _export(1).tokenize(MOBILE, people[:4])
    found = names_by_form(MOBILE, leaked, innocent, known, share)
    assert max(one.known for one in found) <= 1
    assert all(one.chance > 1e-9 for one in found)
    # Control: with the culprit among them it is named, and nobody else.
    found = names_by_form(MOBILE, leaked, {**innocent, "culprit": _export(1)}, known, share)
    assert [one.export for one in found if one.chance <= 1e-9] == ["culprit"]
    # Control: who took a single known number for proof would accuse innocents.
    assert sum(one.known > 0 for one in found if one.export != "culprit") >= 1
