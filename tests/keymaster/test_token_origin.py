"""Leaked tokens name their export: one text token is enough, of a form a handful, and never an innocent one."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from token_tries import names_by_form

from strongroom.demo.identity import mobile_numbers
from strongroom.errors import UsageError
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.keymaster.exports.tokenorigin import (
    TOKENS_MAX,
    formed_tokens,
    formed_values,
    names_by_hits,
    names_export,
    tokens_needed,
)
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import TokenField

MOBILE = TokenField("persons.mobile", "as phone:CN", ("phone:CN",))
SUBJECT = TokenField("persons.person_id", "subject", ())
CARD = TokenField("persons.card", "as digits", ("digits",))
EXPORTS = {f"export-{i}": ExportTokens(bytes([i]) * 32) for i in range(60)}
PERSONS = 700_000
SHARE = PERSONS / 7e9


@pytest.fixture(scope="module")
def mobiles():
    return normalise(mobile_numbers(0, PERSONS, 1).cast(pa.string()), ["phone:CN"])


@pytest.fixture(scope="module")
def in_room(mobiles):
    return lambda values: np.asarray(pc.is_in(values, value_set=mobiles))


def test_one_text_token_names_its_export():
    """A single subject token verifies under one key of all, with more certainty than any bound asks for."""
    leaked = EXPORTS["export-7"].tokenize(SUBJECT, pa.array(["p-00000042"]))
    first, second, *_ = names_export(SUBJECT, leaked, EXPORTS)
    assert (first.export, first.verified, first.texts) == ("export-7", 1, 1)
    assert first.log_e > math.log(10**9 / 1e-9)
    assert first.chance < 1e-30
    assert second.verified == 0
    assert second.chance == 1
    assert second.log_e < 0


def test_the_stated_handful_of_phone_tokens_names_its_export(mobiles, in_room):
    """As many tokens as are said to be needed reach the bound; one fewer does not; no other export comes near."""
    wanted = math.log(len(EXPORTS) / 1e-9)
    need = tokens_needed(SHARE, len(EXPORTS))
    assert need == 3
    leaked = EXPORTS["export-3"].tokenize(MOBILE, mobiles[:need])
    first, second, *_ = names_by_form(MOBILE, leaked, EXPORTS, in_room, SHARE)
    assert (first.export, first.known, first.formed) == ("export-3", need, need)
    assert first.log_e >= wanted
    assert second.log_e < 0
    fewer = names_by_form(MOBILE, leaked[: need - 1], EXPORTS, in_room, SHARE)[0]
    assert fewer.log_e < wanted


def test_rows_of_others_take_nothing_from_it(mobiles, in_room):
    """A tenth of a leak is of one export, some of another, the rest made up: both are named, nobody else is."""
    ours = EXPORTS["export-3"].tokenize(MOBILE, mobiles[100:112])
    theirs = EXPORTS["export-4"].tokenize(MOBILE, mobiles[200:206])
    noise = mobile_numbers(10**9, 100, 5).cast(pa.string())
    leaked = pa.concat_arrays([noise, ours, pa.array(["none", None, ""]), theirs, ours])
    found = names_by_form(MOBILE, leaked, EXPORTS, in_room, SHARE)
    assert [(one.export, one.known, one.formed) for one in found[:2]] == [("export-3", 12, 118), ("export-4", 6, 118)]
    assert all(one.log_e > math.log(len(EXPORTS) / 1e-9) for one in found[:2])
    assert all(one.chance == 1 for one in found[2:])


def test_text_tokens_beside_those_of_a_form():
    """A dirty value has a text token in the same column, and it alone names the export; one of a form is tried apart."""
    leaked = EXPORTS["export-9"].tokenize(MOBILE, pa.array(["010-62345678", "13800138000"]))
    first = names_export(MOBILE, leaked, EXPORTS)[0]
    assert (first.export, first.verified, first.texts, first.formed) == ("export-9", 1, 1, 0)
    mine = pa.array(["+8613800138000"])
    first, second, *_ = names_by_form(MOBILE, leaked, EXPORTS, lambda values: pc.is_in(values, value_set=mine), SHARE)
    assert (first.export, first.texts, first.known, first.formed) == ("export-9", 0, 1, 1)
    assert (second.texts, second.known, second.formed) == (0, 0, 1)


def test_digits_of_several_lengths():
    """Cards of 16 and of 19 digits are told by a check that one number in ten passes, with more of them."""
    from stdnum import luhn

    rng = np.random.default_rng(4)
    cards = []
    for width in (15, 18):
        for row in rng.integers(0, 10, (20, width)):
            body = "".join(map(str, row))
            cards.append(body + luhn.calc_check_digit(body))
    leaked = EXPORTS["export-5"].tokenize(CARD, pa.array(cards))

    def valid(values):
        return np.array([luhn.is_valid(value) for value in values.to_pylist()])

    need = tokens_needed(0.1, len(EXPORTS))
    assert need < len(cards)
    first, second, *_ = names_by_form(CARD, leaked, EXPORTS, valid, 0.1)
    assert (first.export, first.known) == ("export-5", 40)
    assert first.chance < 1e-9
    assert second.chance == 1


@pytest.mark.parametrize("share", [1e-4, 0.01, 0.2, 0.7])
def test_the_mean_of_the_e_value_is_at_most_one(share):
    """Over all outcomes of chance at the share, for any number of tokens: what makes the bound hold (exact sums)."""
    from strongroom.keymaster.exports.tokenorigin import _form_nats

    for tried in (1, 4, 30, TOKENS_MAX):
        mean = sum(
            math.exp(
                math.log(math.comb(tried, k))
                + k * math.log(share)
                + (tried - k) * math.log1p(-share)
                + _form_nats(k, tried, share)
            )
            for k in range(tried + 1)
        )
        assert mean == pytest.approx(1)


def test_the_handful_by_share():
    """What is needed of 10,000 exports at 1e-9: four in a small room, dozens where a third of all values is in use."""
    assert [tokens_needed(share, 10_000) for share in (1e-4, 1e-3, 0.01, 0.1, 0.3)] == [4, 5, 7, 14, 26]


def test_at_most_so_many_tokens_are_tried(mobiles):
    """Repeated and further tokens cost nothing."""
    leaked = EXPORTS["export-1"].tokenize(SUBJECT, mobiles[:1_000])
    first = names_export(SUBJECT, pa.concat_arrays([leaked[:5]] * 3 + [leaked]), EXPORTS)[0]
    assert first.verified == first.texts == TOKENS_MAX


def test_misuse_is_refused(mobiles):
    """A share out of range, no exports, hits of others than the exports, or of more values than there are."""
    leaked = EXPORTS["export-1"].tokenize(MOBILE, mobiles[:2])
    ids, none = list(EXPORTS), np.zeros(len(EXPORTS), np.int64)
    for call in (
        lambda: names_by_hits(ids, none, 2, 0.0),
        lambda: names_by_hits(ids, none, 2, 1.0),
        lambda: names_export(MOBILE, leaked, {}),
        lambda: names_by_hits([], none[:0], 2, 0.5),
        lambda: names_by_hits(ids, none[:1], 2, 0.5),
        lambda: names_by_hits(ids, none + 3, 2, 0.5),
        lambda: names_by_hits(ids, none - 1, 2, 0.5),
    ):
        with pytest.raises(UsageError):
            call()
    assert all(one.log_e == 0 for one in names_by_hits(ids, none, 0, 0.5))
    assert all(one.log_e == 0 for one in names_export(MOBILE, pa.array([], pa.string()), EXPORTS))
    assert formed_values(MOBILE, pa.array([], pa.string()), EXPORTS).to_pylist() == []


def test_only_tokens_that_can_prove_something_are_taken(mobiles):
    """Distinct ones of the form, with the share of the shortest digits; none where the room has too many of that length."""
    some, share = formed_tokens(MOBILE, pa.concat_arrays([mobiles[:3], mobiles[:2], pa.array(["no", None])]), PERSONS)
    assert (some.to_pylist(), share) == (mobiles[:3].to_pylist(), SHARE)
    assert len(formed_tokens(MOBILE, mobiles[:300], PERSONS)[0]) == TOKENS_MAX
    some, share = formed_tokens(CARD, pa.array(["123456", "12345678", "1234567890"]), 2_000_000)
    assert (some.to_pylist(), share) == (["12345678", "1234567890"], 0.02)
    assert formed_tokens(CARD, pa.array(["123456"]), 2_000_000)[0].to_pylist() == []
    assert formed_tokens(SUBJECT, pa.array(["P-1"]), 10) == (pa.array([], pa.string()), 0.0)
    assert formed_tokens(MOBILE, pa.array([], pa.string()), 0)[1] == 0.0
