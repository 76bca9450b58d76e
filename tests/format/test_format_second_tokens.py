"""A second maker of tokens, written from docs/FORMAT.md alone, makes the same ones."""

import pyarrow as pa
import pytest
import second_tokens as second
from hypothesis import given
from hypothesis import strategies as st

from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.schema.normalise import normalise_one
from strongroom.schema.tokenform import TokenField

KEY = bytes(range(32))
_BODY = st.tuples(st.sampled_from([11, 46, 65, 83, 10, 91]), st.integers(0, 9999), st.dates(), st.integers(0, 999)).map(
    lambda t: f"{t[0]}{t[1]:04d}{t[2].year:04d}{t[2]:%m%d}{t[3]:03d}"
)
_VALUES = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"\A(\+86)?1[2-9][0-9]{9}\Z"),
    st.from_regex(r"\A0?[67][0-9]{8,9}\Z"),
    st.from_regex(r"\A[2-9][0-9]{9}\Z"),
    st.from_regex(r"\A[0-9]{5,38}\Z"),
    _BODY.map(lambda body: body + second.check(body)),
)


@given(
    st.lists(_VALUES, min_size=1, max_size=6),
    st.sampled_from(["phone:CN", "phone:US", "phone:GB", "phone:FR", "id", "digits", "trim", ""]),
    st.binary(min_size=32, max_size=32),
)
def test_both_makers_make_the_same_tokens(values, step, key):
    """Of any value of any field: forms, walks, padding, keys and labels are as the page says."""
    steps = (step,) if step else ()
    field = TokenField("a", f"as {step}" if step not in {"", "trim"} else "subject", steps)
    made = ExportTokens(key).tokenize(field, pa.array(values)).to_pylist()
    normal = [normalise_one(value, steps) for value in values]
    assert made == [second.token(key, field.domain, steps, value) if value else None for value in normal]


@pytest.mark.parametrize(
    ("domain", "steps", "value", "token"),
    [
        ("as phone:CN", ("phone:CN",), "+8613800138000", "14511726842"),
        ("as id", ("id",), "110101199003071233", "861065201612128620"),
        ("as digits", ("digits",), "6222020200112233445", "2875369070367280109"),
        ("subject", (), "p-00000001", "t10ae6061baf5dc109e0ccc3b80898a56392e750ce04d0efa2129ca4a98a414f95"),
    ],
)
def test_tokens_stay_what_they_were(domain, steps, value, token):
    """Tokens of yesterday are those of tomorrow: an export's tokens come back years later."""
    assert second.token(KEY, domain, steps, value) == token
    made = ExportTokens(KEY).tokenize(TokenField("a", domain, steps), pa.array([value]))
    assert made.to_pylist() == [token]
