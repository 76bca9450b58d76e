"""Normalising: a column and its values alone come to the same form, and that form is the one meant."""

import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InputError
from strongroom.schema.normalise import normalise, normalise_one
from strongroom.schema.phone import USUAL

_ALPHABETS = [
    st.text(max_size=12),
    st.text(st.sampled_from("0123456789+-() 　０１２３.x"), max_size=18),
    st.text(st.sampled_from("aAßΣσςİıéＡｂ张 \t\n\u3000\ufeff·-_/."), max_size=12),
    st.from_regex(r"\A(\+86|0086|86)?[ -]?1[0-9]{2}[ -]?[0-9]{4}[ -]?[0-9]{4}\Z"),
    st.from_regex(r"\A(\+44 ?|0)7[0-9]{9}\Z"),
    st.from_regex(r"\A(\+?1[ -])?\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-]?[0-9]{4}\Z"),
    st.emails(),
]
_STEPS = st.lists(
    st.sampled_from(["trim", "upper", "lower", "casefold", "nfkc", "halfwidth", "digits", "id", "email"]), max_size=3
)
_PHONES = st.sampled_from([[], [], ["phone:CN"], ["phone:US"], ["phone:GB"], ["phone:DE"]])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.none() | st.one_of(_ALPHABETS), max_size=12), _STEPS, _PHONES)
def test_a_column_and_one_value_agree(values, steps, phone):
    """Every row of a normalised column is what its value alone gives; empty is null."""
    steps = [*steps, *phone]
    column = pa.array(values, pa.string())
    alone = [None if v is None else normalise_one(v, steps) or None for v in values]
    assert normalise(column, steps).to_pylist() == alone
    assert normalise(column.cast(pa.large_string()), steps).to_pylist() == alone
    assert normalise(pa.chunked_array([column[:2], column[2:]], pa.string()), steps).to_pylist() == alone
    assert normalise(column[1:], steps).to_pylist() == alone[1:]


@pytest.mark.parametrize(
    ("value", "steps", "form"),
    [
        ("  a b\u3000", ["trim"], "a b"),
        ("ＡＢ１２　x", ["halfwidth"], "AB12 x"),
        ("ﬁ①", ["nfkc"], "fi1"),
        ("Straße", ["casefold"], "strasse"),
        ("１３８-0013 8000", ["digits"], "13800138000"),
        (" 1101011990０３０7123x ", ["id"], "11010119900307123X"),
        ("ab-12.34/5", ["id"], "AB12345"),
        (" Ada@Example.COM ", ["email"], "ada@example.com"),
        ("138 0013 8000", ["phone:CN"], "+8613800138000"),
        ("+86-138-0013-8000", ["phone:CN"], "+8613800138000"),
        ("008613800138000", ["phone:CN"], "+8613800138000"),
        ("１３８００１３８０００", ["phone:CN"], "+8613800138000"),
        ("010-62345678", ["phone:CN"], "+861062345678"),
        ("(202) 225-4965", ["phone:US"], "+12022254965"),
        ("07911 123456", ["phone:GB"], "+447911123456"),
        ("+44 7911 123456", ["phone:CN"], "+447911123456"),
        ("None Given", ["phone:CN"], "none given"),
        ("", ["phone:CN"], ""),
        (42, [], "42"),
    ],
)
def test_forms(value, steps, form):
    """Each step does what its name says."""
    assert normalise_one(value, steps) == form


@pytest.mark.parametrize("country", USUAL)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_usual_numbers_that_are_valid_have_the_form_of_the_library(country, data):
    """The quick way and the phone library agree on every number that the library calls valid."""
    form = USUAL[country]
    text = "".join(
        data.draw(st.characters(min_codepoint=ord(a), max_codepoint=ord(b)))
        for a, b in zip(form.lowest, form.highest, strict=True)
    )
    number = phonenumbers.parse(text, country)
    if phonenumbers.is_valid_number(number):
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        assert normalise_one(text, [f"phone:{country}"]) == e164


def test_whole_numbers_become_decimals():
    """A column of integers is written as decimals, as one integer is."""
    assert normalise(pa.array([1, None, -20]), ()).to_pylist() == ["1", None, "-20"]


def test_what_is_not_text_is_refused():
    """Floats, lone surrogates and bytes that are not UTF-8 are an InputError."""
    with pytest.raises(InputError):
        normalise(pa.array([1.5]), ())
    with pytest.raises(InputError):
        normalise_one("\ud800", ("trim",))
    with pytest.raises(InputError):
        normalise_one(True, ())
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    with pytest.raises(InputError):
        normalise(broken, ("nfkc",))
