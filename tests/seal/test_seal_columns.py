"""Tokens as text sort and are found like their bytes, zeros at their ends among them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strongroom.seal.columns import places_among, sort_entries, token_text

TOKENS = st.lists(
    st.binary(max_size=3).map(lambda some: some.ljust(16, b"\0")) | st.binary(min_size=16, max_size=16), max_size=40
)


def columns(tokens):
    return np.frombuffer(b"".join(tokens), np.uint8).reshape(-1, 16)


@given(TOKENS, TOKENS)
def test_tokens_are_found_among_sorted_ones_as_bytes_are(own, others):
    """Whichever are there, and where; among none nobody is found."""
    held = sorted(set(own))
    asked = [*others, *own[::2]]
    places, found = places_among(token_text(columns(held)), token_text(columns(asked)))
    assert found.tolist() == [token in held for token in asked]
    assert [held[at] for at in places[found]] == [token for token in asked if token in held]


@given(TOKENS)
def test_text_sorts_like_bytes(tokens):
    """By numpy's own sort, and by the order of entries, alike."""
    given_tokens = columns(tokens)
    assert np.sort(token_text(given_tokens)).tobytes() == b"".join(sorted(tokens))
    assert given_tokens[sort_entries(given_tokens)].tobytes() == b"".join(sorted(tokens))
