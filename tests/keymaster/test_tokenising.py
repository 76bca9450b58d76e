"""Tokens of an export: they keep their form, join within the export and not beyond, and come back."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from strongroom.demo.identity import mobile_numbers, resident_ids
from strongroom.errors import InputError, UsageError
from strongroom.keymaster.exports.tokenising import SLICE_ROWS, ExportTokens
from strongroom.schema.normalise import normalise, normalise_one
from strongroom.schema.tokenform import TokenField
from strongroom.seal import fpe, siv

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
MOBILE = TokenField("persons.mobile", "as phone:CN", ("phone:CN",))
RECIPIENT = TokenField("parcels.recipient_mobile", "as phone:CN", ("phone:CN",))
RESIDENT = TokenField("persons.resident_id", "as id", ("id",))
CARD = TokenField("persons.card", "as digits", ("digits",))
SUBJECT = TokenField("persons.person_id", "subject", ("trim",))
NAME = TokenField("persons.name", "field 01", ())
FIELDS = (MOBILE, RESIDENT, CARD, SUBJECT, NAME)

_MESSY = st.none() | st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("0123456789+- ()Xx　１t"), max_size=24),
    st.from_regex(r"\A1[0-9]{10}\Z"),
    st.from_regex(r"\A[0-9]{6,40}\Z"),
    st.sampled_from(
        ["+86 138 0013 8000", "１３８００１３８０００", "010-62345678", "11010119900307123X", "t1" + "0" * 64]
    ),
)


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    fpe.lanes()
    siv.lanes()


@settings(max_examples=150)
@given(st.lists(_MESSY, max_size=30), st.sampled_from(FIELDS))
def test_every_value_comes_back_normalised(values, field):
    """Whatever a column holds, each token is the same for the same value alone, and comes back as it is looked for."""
    tokens, column = ExportTokens(KEY), pa.array(values, pa.string())
    made = tokens.tokenize(field, column)
    want = [None if v is None else normalise_one(v, field.steps) or None for v in values]
    back, bad = tokens.detokenize(field, made)
    assert back.to_pylist() == want
    assert not bad.any()
    by_value = dict(zip(want, made.to_pylist(), strict=True))
    assert [by_value[v] for v in want] == made.to_pylist()
    assert len(set(by_value.values())) == len(by_value)
    assert by_value.get(None) is None
    for i in range(min(3, len(values))):
        assert tokens.tokenize(field, column[i : i + 1]).to_pylist() == made.to_pylist()[i : i + 1]
    for other in (column.cast(pa.large_string()), pa.chunked_array([column[:2], column[2:]], pa.string())):
        assert tokens.tokenize(field, other).to_pylist() == made.to_pylist()


@settings(max_examples=150)
@given(st.lists(_MESSY, max_size=30), st.sampled_from(FIELDS))
def test_whatever_is_given_as_tokens_gives_values_or_is_marked(texts, field):
    """Any text detokenizes to a value of which it is the token once written as one, or to null and a mark."""
    tokens = ExportTokens(KEY)
    values, bad = tokens.detokenize(field, pa.array(texts, pa.string()))
    empty = [t is None or not normalise_one(t, ("trim",)) for t in texts]
    assert [v is None for v in values.to_pylist()] == [b or e for b, e in zip(bad, empty, strict=True)]
    again, wrong = tokens.detokenize(field, tokens.tokenize(field, values))
    assert again.equals(values)
    assert not wrong.any()


def _people(n):
    rng = np.random.default_rng(n)
    mobiles = mobile_numbers(0, n, 1).cast(pa.string())
    ids = resident_ids(rng.integers(110_000, 160_000, n), rng.integers(0, 20_000, n), rng.integers(1, 999, n))
    return mobiles, ids.cast(pa.string())


def test_tokens_keep_their_form():
    """Of many columns of several slices: mobiles stay mobiles, ids have their check character, digits their number."""
    n = SLICE_ROWS + 5_000
    mobiles, ids = _people(n)
    tokens = ExportTokens(KEY)
    for field, column, form in (
        (MOBILE, mobiles, r"1[3-9][0-9]{9}"),
        (RESIDENT, ids, r"[1-8][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]{4}[0-9X]"),
        (CARD, mobiles, r"[0-9]{11}"),
        (NAME, mobiles, r"t1[0-9a-f]{64}"),
    ):
        made = tokens.tokenize(field, column)
        assert len(made.unique()) == len(column.unique())
        assert not (made.to_numpy(zero_copy_only=False) == column.to_numpy(zero_copy_only=False)).all()
        assert all(re.fullmatch(form, token) for token in made.to_pylist())
        back, bad = tokens.detokenize(field, made)
        assert not bad.any()
        assert back.equals(normalise(column, field.steps))
    assert all(mod_11_2.is_valid(token) for token in tokens.tokenize(RESIDENT, ids[:500]).to_pylist())


def test_tokens_join_within_an_export_and_not_beyond():
    """One number has one token in both tables of an export, however it is written; another in any other export."""
    plain, written = pa.array(["13800138000", "13900139000"]), pa.array(["+86 139-0013-9000", "１３８００１３８０００"])
    ours, theirs = ExportTokens(KEY), ExportTokens(OTHER)
    assert ours.tokenize(MOBILE, plain).to_pylist() == ours.tokenize(RECIPIENT, written).to_pylist()[::-1]
    n = 2_000
    mobiles, ids = _people(n)
    for field, column, share in ((MOBILE, mobiles, 0), (RESIDENT, ids, 0), (CARD, mobiles, 0), (NAME, mobiles, 0)):
        equal = set(ours.tokenize(field, column).to_pylist()) & set(theirs.tokenize(field, column).to_pylist())
        assert len(equal) <= share + 2  # 2,000 of 7 billion by chance: 0.0006 expected


def test_domains_do_not_join():
    """The same text in fields of two domains has two tokens, and neither comes back as the other's."""
    tokens, column = ExportTokens(KEY), pa.array(["p-1", "p-2"])
    as_subject, as_name = tokens.tokenize(SUBJECT, column), tokens.tokenize(NAME, column)
    assert not set(as_subject.to_pylist()) & set(as_name.to_pylist())
    values, bad = tokens.detokenize(NAME, as_subject)
    assert bad.all()
    assert values.null_count == 2


@pytest.mark.parametrize("rows", [2, 500])
def test_what_does_not_verify_is_marked_and_never_returned(rows):
    """Text tokens of another export, changed ones and cut ones are null and marked; those beside them come back."""
    column = pa.array([f"p-{i}" for i in range(rows)])
    made = ExportTokens(KEY).tokenize(SUBJECT, column).to_pylist()
    values, bad = ExportTokens(OTHER).detokenize(SUBJECT, pa.array(made))
    assert bad.all()
    assert values.null_count == rows
    changed = [t[:-1] + ("0" if t[-1] != "0" else "1") if i % 2 else t.upper() + " " for i, t in enumerate(made)]
    values, bad = ExportTokens(KEY).detokenize(SUBJECT, pa.array(changed))
    assert bad.tolist() == [bool(i % 2) for i in range(rows)]
    assert values.to_pylist() == [None if i % 2 else f"p-{i}" for i in range(rows)]
    values, bad = ExportTokens(KEY).detokenize(SUBJECT, pa.array([t[:-32] for t in made]))
    assert bad.all()


def test_whole_numbers_are_tokens_of_their_decimals():
    """A column of whole numbers has the tokens of the same numbers as text."""
    tokens = ExportTokens(KEY)
    made = tokens.tokenize(NAME, pa.array([7, None, -12]))
    assert made.to_pylist() == tokens.tokenize(NAME, pa.array(["7", None, "-12"])).to_pylist()
    assert tokens.detokenize(NAME, made)[0].to_pylist() == ["7", None, "-12"]


def test_nothing_and_nulls():
    """Columns without rows, or with nulls only, give as many rows, and a null hides nothing of what lay beneath it."""
    tokens = ExportTokens(KEY)
    hidden = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\1"), pa.array([0, 1, 7], pa.int32()).buffers()[1], pa.py_buffer(b"1SECRET")]
    )
    for field in FIELDS:
        assert len(tokens.tokenize(field, pa.array([], pa.string()))) == 0
        assert len(tokens.detokenize(field, pa.array([], pa.string()))[1]) == 0
        assert tokens.tokenize(field, pa.nulls(3)).to_pylist() == [None] * 3
        made = tokens.tokenize(field, hidden)
        assert made.null_count == 1
        assert tokens.detokenize(field, made)[0].to_pylist()[1] is None


def test_misuse_is_refused():
    """Keys of another size and columns that are neither text nor whole numbers are refused, by the field's name."""
    with pytest.raises(UsageError):
        ExportTokens(KEY[:16])
    for call in (ExportTokens(KEY).tokenize, ExportTokens(KEY).detokenize):
        with pytest.raises(InputError, match="persons.name"):
            call(NAME, pa.array([1.5]))
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    with pytest.raises(InputError, match="persons.mobile"):
        ExportTokens(KEY).tokenize(MOBILE, broken)
    assert "00" not in repr(ExportTokens(bytes(32)))
