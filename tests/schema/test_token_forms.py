"""Forms of tokens: which values have one, that numbers of it are exact, and how text tokens are written and read."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from strongroom.errors import NotFoundError, UsageError
from strongroom.schema import tokentext
from strongroom.schema.normalise import normalise, normalise_one
from strongroom.schema.parse import parse_schema
from strongroom.schema.phone import USUAL
from strongroom.schema.tokendigits import are_digits
from strongroom.schema.tokenform import DigitsForm, PhoneForm, ResidentForm, form_of, token_field
from strongroom.seal.entropy import random_bytes

BOTH_WAYS = pytest.mark.parametrize("few", [-1, 10**9], ids=["in columns", "alone"])
"""Few rows and many are done by different code: tests of text tokens try each."""


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    tokentext.lanes()


_ID_DATES = st.dates(dt.date(1900, 1, 1), dt.date(2049, 12, 31))


def _id(province, area, date, serial):
    body = f"{province:02d}{area:04d}{date:%Y%m%d}{serial:03d}"
    return body + mod_11_2.calc_check_digit(body)


def _there_and_back(form, texts, *, tokens):
    """What the rows of a form are with their numbers unchanged: the other side, and from there the first side again."""
    (part,) = form.parts(pa.array(texts), tokens=tokens)
    assert part.rows.all()
    other = part.write(part.numbers)
    return part, other


@pytest.mark.parametrize("country", USUAL)
@given(st.data())
def test_phone_numbers(country, data):
    """Every usual number has a rank of its own below the size, and its token is a usual number of that country."""
    usual, form = USUAL[country], PhoneForm(country)
    ranges = [st.integers(int(a), int(b)) for a, b in zip(usual.lowest, usual.highest, strict=True)]
    texts = data.draw(st.lists(st.tuples(*ranges).map(lambda t: "".join(map(str, t))), min_size=1, max_size=9))
    values = normalise(pa.array([*texts, usual.lowest, usual.highest]), [f"phone:{country}"])
    part, tokens = _there_and_back(form, values.to_pylist(), tokens=False)
    assert part.numbers[-2:].tolist() == [0, part.size - 1]
    assert len(set(part.numbers.tolist())) == len(set(values.to_pylist()))
    assert all(usual.form(token) == value for token, value in zip(tokens.to_pylist(), values.to_pylist(), strict=True))
    back, again = _there_and_back(form, normalise(tokens, [f"phone:{country}"]).to_pylist(), tokens=True)
    assert (back.numbers == part.numbers).all()
    assert again.equals(values)


@given(
    st.lists(
        st.text(st.sampled_from("+0123456789a:/８ "), max_size=16) | st.from_regex(r"\A\+86[12][0-9]{10}\Z"), max_size=9
    )
)
def test_what_is_no_usual_number_is_left(texts):
    """Whatever is not country's code and a number in its ranges has no form, whichever byte is wrong."""
    (part,) = PhoneForm("CN").parts(pa.array(texts, pa.string()), tokens=False)
    want = [
        len(t) == 14 and t.startswith("+861") and t[3:].isascii() and t[3:].isdecimal() and t[4] in "3456789"
        for t in texts
    ]
    assert part.rows.tolist() == want


@given(
    st.lists(
        st.tuples(st.sampled_from(range(11, 16)), st.integers(0, 9999), _ID_DATES, st.integers(0, 999)), min_size=1
    )
)
def test_resident_ids(parts):
    """A resident id has a token with a right check character, a date that was, and a province code nobody has."""
    values = [_id(*p) for p in parts]
    part, tokens = _there_and_back(ResidentForm(), values, tokens=False)
    assert len(set(part.numbers.tolist())) == len(set(values))
    given_out = {
        *range(11, 16),
        21,
        22,
        23,
        *range(31, 38),
        *range(41, 47),
        *range(50, 55),
        *range(61, 66),
        71,
        81,
        82,
        83,
    }
    for token in tokens.to_pylist():
        assert mod_11_2.is_valid(token)
        assert len(token) == 18
        assert 10 <= int(token[:2]) < 90
        assert int(token[:2]) not in given_out
        assert 1906 <= dt.date(int(token[6:10]), int(token[10:12]), int(token[12:14])).year <= 2025
    back, again = _there_and_back(ResidentForm(), tokens.to_pylist(), tokens=True)
    assert (back.numbers == part.numbers).all()
    assert again.to_pylist() == values


def test_every_number_of_a_resident_id_is_one():
    """First and last number, both ways, and the count: 35 provinces, 10,000 areas, 150 years of days, 1,000 serials."""
    form = ResidentForm()
    days = (dt.date(2050, 1, 1) - dt.date(1900, 1, 1)).days
    assert form.size == 35 * 10**4 * days * 10**3
    numbers = np.array([0, 1, 999, 1000, form.size - 1], np.uint64)
    (part,) = form.parts(pa.array([_id(11, 0, dt.date(1900, 1, 1), 0)]), tokens=False)
    tokens = part.write(numbers)
    (read,) = form.parts(tokens, tokens=True)
    assert read.numbers.tolist() == numbers.tolist()
    values = read.write(numbers).to_pylist()
    assert values[-1] == _id(83, 9999, dt.date(2049, 12, 31), 999)
    assert form.parts(pa.array(values), tokens=False)[0].numbers.tolist() == numbers.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "110101199003077123",  # wrong check character
        _id(91, 1, dt.date(1990, 3, 7), 5),  # a foreigner's card
        _id(10, 1, dt.date(1990, 3, 7), 5),  # a token, not a value
        _id(11, 1, dt.date(1899, 12, 31), 5),
        _id(11, 1, dt.date(2050, 1, 1), 5),
        "11000119900230005" + mod_11_2.calc_check_digit("11000119900230005"),
        "11000119901301005" + mod_11_2.calc_check_digit("11000119901301005"),
        "11000119900001005" + mod_11_2.calc_check_digit("11000119900001005"),
        "11000119900100005" + mod_11_2.calc_check_digit("11000119900100005"),
        "11010119900307712x",
        "1101011990030771",
        "一一一一一一",
        "",
    ],
)
def test_what_is_no_resident_id_is_left(text):
    """Wrong check characters, dates that never were, other provinces and lengths have no form."""
    (part,) = ResidentForm().parts(pa.array([text]), tokens=False)
    assert not part.rows.any()


@given(
    st.lists(st.text(st.sampled_from("0123456789a/:"), max_size=40) | st.from_regex(r"\A[0-9]{4,40}\Z"), max_size=12)
)
def test_digits(texts):
    """Texts of 6 to 36 digits are in one part each, by length; others in none; nothing is lost on the way."""
    column = pa.array(texts, pa.string())
    seen = np.zeros(len(texts), int)
    for part in DigitsForm().parts(column, tokens=False):
        seen += part.rows
        assert part.write(part.numbers).to_pylist() == column.filter(pa.array(part.rows)).to_pylist()
    assert seen.tolist() == [int(6 <= len(t) <= 36 and t.isascii() and t.isdecimal()) for t in texts]


@pytest.mark.parametrize("width", [1, 4, 7, 8])
def test_every_byte_at_every_place(width):
    """Of all 256 bytes only the ten digits count as digits, wherever they stand."""
    for at in range(width):
        lines = np.full((256, width), ord("5"), np.uint8)
        lines[:, at] = np.arange(256)
        assert are_digits(lines, 0, width).tolist() == [48 <= byte <= 57 for byte in range(256)]


@BOTH_WAYS
@given(st.binary(max_size=3).flatmap(lambda b: st.lists(st.integers(2, 4), min_size=0, max_size=9)), st.randoms())
def test_text_tokens_read_back(few, counts, rng):
    """Blocks of any shape are written as marked hexadecimal digits and read back, whatever stands between them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokentext, "FEW_ROWS", few)
        rows = [rng.randbytes(16 * k) for k in counts]
        blocks = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tokens = tokentext.write_tokens(blocks, starts)
        assert tokens.to_pylist() == ["t1" + row.hex() for row in rows]
        mixed = [
            x
            for token in tokens.to_pylist()
            for x in (token, "x", token[:-1], token + "0", "u1" + "a" * 64, "t1" + "g" * 64)
        ]
        for kind in (pa.string(), pa.large_string()):
            fits, got, begin = tokentext.read_tokens(pa.array(["", *mixed], kind)[1:])
            assert fits.tolist() == [True, False, False, False, False, False] * len(rows)
            assert got.tobytes() == blocks.tobytes()
            assert begin.tolist() == starts.tolist()


@BOTH_WAYS
@given(
    st.lists(
        st.text(st.sampled_from("t10189abfgAF:/@`é"), min_size=60, max_size=100)
        | st.from_regex(r"\At1[0-9a-fA-F]{64}\Z")
    )
)
def test_what_reads_as_a_token_is_written_the_same(few, texts):
    """Of any text: it is read only if it is what would be written for what was read, but for the case of letters."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokentext, "FEW_ROWS", few)
        fits, blocks, starts = tokentext.read_tokens(pa.array(texts, pa.string()))
        assert tokentext.write_tokens(blocks, starts).to_pylist() == [
            t.lower() for t, f in zip(texts, fits, strict=True) if f
        ]


_SCHEMA = """
[tables.persons]
subject = "person_id"
records = "one"
[tables.persons.fields]
person_id = { type = "string", class = "identity", normalise = ["trim"] }
name = { type = "string", class = "identity" }
mobile = { type = "string", class = "contact", normalise = ["phone:CN"] }
born = { type = "date", class = "identity" }
[tables.parcels]
subject = "person_id"
records = "many"
[tables.parcels.fields]
person_id = { type = "string", class = "identity", normalise = ["trim"] }
name = { type = "string", class = "identity" }
recipient_mobile = { type = "string", class = "contact", normalise = ["phone:CN"] }
"""


def test_domains():
    """Subjects of all tables share a domain, and fields normalised as the same kind; others have one of their own."""
    schema = parse_schema(_SCHEMA, None, random_bytes)
    persons, parcels = schema.table("persons"), schema.table("parcels")

    def domain(table, name):
        return token_field(table, name).domain

    assert domain(persons, "person_id") == domain(parcels, "person_id") == "subject"
    assert domain(persons, "mobile") == domain(parcels, "recipient_mobile")
    assert domain(persons, "name") != domain(parcels, "name")
    assert token_field(persons, "mobile").steps == ("phone:CN",)
    with pytest.raises(UsageError, match="persons.born"):
        token_field(persons, "born")
    with pytest.raises(NotFoundError):
        token_field(persons, "nobody")


def test_forms_by_the_last_step():
    """The last step of normalisation says which form there is."""
    assert isinstance(form_of(("phone:CN",)), PhoneForm)
    assert isinstance(form_of(("trim", "id")), ResidentForm)
    assert isinstance(form_of(("digits",)), DigitsForm)
    assert form_of(("phone:DE",)) is None
    assert form_of(("id", "lower")) is None
    assert form_of(()) is None


def test_a_token_of_a_phone_number_is_taken_by_our_own_normaliser():
    """The token of a number, however a leak writes it, is normalised to what is read."""
    (part,) = PhoneForm("CN").parts(pa.array(["+8613800138000"]), tokens=False)
    token = part.write(part.numbers)[0].as_py()
    assert token == "13800138000"
    for written in (token, "138-0013-8000", "+86 138 0013 8000", "１３８００１３８０００"):
        assert normalise_one(written, ["phone:CN"]) == "+8613800138000"
