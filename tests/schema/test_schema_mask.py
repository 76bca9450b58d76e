"""Masks: what they show, and that a column shows the same as its values."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.schema.mask import mask_column, mask_value
from strongroom.schema.vocabulary import MASKS


@pytest.mark.parametrize(
    ("value", "mask", "shown"),
    [
        ("13800138000", "last4", "****8000"),
        ("8000", "last4", "****"),
        ("张三丰", "first1", "张****"),
        ("张", "first1", "****"),
        ("13800138000", "first3last4", "138****8000"),
        ("1380013", "first3last4", "****"),
        ("ada@example.com", "email", "a***@example.com"),
        ("a@example.com", "email", "***@example.com"),
        ("no mail", "email", "****"),
        ("secret", "all", "****"),
        ("secret", None, "****"),
        ("secret", "unheard of", "****"),
        (date(1985, 3, 4), "year", 1985),
        (datetime(1985, 3, 4, tzinfo=UTC), None, 1985),
        (12345, None, None),
        (True, "last4", None),
        (b"x", "all", None),
        (None, "all", None),
    ],
)
def test_masks(value, mask, shown):
    """Each mask shows what its name says, and no more."""
    assert mask_value(value, mask) == shown


@given(st.lists(st.none() | st.text(max_size=20), max_size=6), st.sampled_from([None, *MASKS]))
def test_a_column_shows_what_its_values_show(values, mask):
    """Masking a column is masking its values."""
    for column in (pa.array(values, pa.string()), pa.array(values, pa.large_string()).dictionary_encode()):
        assert mask_column(column, mask).to_pylist() == [mask_value(value, mask) for value in values]


def test_dates_of_a_column_show_their_year():
    """Years of dates and times; nothing of numbers."""
    assert mask_column(pa.array([date(1985, 3, 4), None]), "year").to_pylist() == [1985, None]
    assert mask_column(pa.array([1, 2]), "all").to_pylist() == [None, None]
