"""What comes over the wire: every call's message and answer whole again, and anything else an error of this library."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InputError
from strongroom.keymaster.api import Ask, Released
from strongroom.keyserver.calls import CALLS, Said, Trouble, read_hello, read_trouble
from strongroom.keyserver.frames import pack


def tokens(count):
    return np.arange(16 * count, dtype=np.uint8).reshape(count, 16)


def test_arrays_and_columns_come_back_as_they_went():
    """Types, shapes, nothing copied into Python lists, empty ones too."""
    for count in (0, 1, 5):
        ask = Ask(b"r" * 16, "get", "persons", ("name",), tokens(count), tokens(count))
        back = CALLS["release"].read(pack({"reading": b"i" * 16, "ask": ask})).ask
        assert np.array_equal(back.tokens, ask.tokens)
        assert (back.tokens.dtype, back.tokens.shape) == (np.uint8, (count, 16))
        assert back.fields == ("name",)
    for column in (pa.array(["a", "b", "号"]), pa.array([], pa.string()), pa.array(["x"], pa.large_string())):
        sent = pack({"lease": b"i" * 16, "batch": b"b" * 16, "identifiers": column})
        assert CALLS["seal_subjects"].read(sent).identifiers.equals(column)
    released = Released({"contact": tokens(2)}, 7, 2, {"rule": 3}, (1,))
    back = CALLS["release"].read_answer(pack(Said(4, released))).value
    assert np.array_equal(back.keys["contact"], released.keys["contact"])
    assert (back.leaf, back.persons, back.remaining, back.missing) == (7, 2, {"rule": 3}, (1,))


@pytest.mark.parametrize(
    "change",
    [
        {"ask": None},
        {"reading": "text"},
        {"more": 1},
        {"ask": {"request_id": b"r", "verb": "get", "table": "t", "fields": None, "tokens": 1, "batches": 2}},
    ],
)
def test_a_message_of_another_shape_is_refused(change):
    """A part of another type, one too many, or none."""
    good = {"reading": b"i" * 16, "ask": Ask(b"r" * 16, "get", "persons", None, tokens(1), tokens(1))}
    CALLS["release"].read(pack(good))
    with pytest.raises(InputError, match="not what this call takes"):
        CALLS["release"].read(pack(good | change))
    with pytest.raises(InputError):
        CALLS["release"].read(pack({"reading": b"i" * 16}))


@pytest.mark.parametrize(
    "array",
    [
        ("|u1", (2, 16), b"x" * 31),
        ("|u1", (-1, 16), b"x" * 16),
        ("|u1", (1, 1, 16), b"x" * 16),
        ("|u1", (), b""),
        ("<u8", (1, 2), b"x" * 16),
        ("<f8", (1, 2), b"x" * 16),
        ("|O", (1, 2), b"x" * 16),
        ("|u1", "16", b"x" * 16),
        ("|u1", (1 << 62, 16), b"x" * 16),
        ("|u1", (1 << 63, 0), b""),
        ("|u1", ("a", 16), b"x" * 16),
        ("(", (1, 16), b"x" * 16),
        (["|u1"], (1, 16), b"x" * 16),
        (None, None, None),
        "text",
        b"bytes",
        {"a": 1},
    ],
)
def test_an_array_of_another_kind_is_refused(array):
    """Length, shape and type are those that the call declares."""
    sent = pack({"lease": b"i" * 16, "tokens": array, "reason": "r"})
    with pytest.raises(InputError):
        CALLS["erasures.erase"].read(sent)


def test_a_message_cut_anywhere_is_refused():
    """And one with more behind it."""
    sent = pack({"lease": b"i" * 16, "batch": b"b" * 16, "identifiers": pa.array(["a", "b"])})
    for end in range(len(sent)):
        with pytest.raises(InputError):
            CALLS["seal_subjects"].read(sent[:end])
    with pytest.raises(InputError):
        CALLS["seal_subjects"].read(sent + b"\0")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    """No call, answer, greeting or error reads garbage as anything but an error of this library."""
    readers = [reader for call in CALLS.values() for reader in (call.read, call.read_answer)]
    for reader in (*readers, read_hello, read_trouble):
        try:
            reader(data)
        except InputError:
            continue


@given(st.data())
def test_a_changed_message_is_read_or_refused(data):
    """Some bytes of a good message changed: what is read has the declared types still."""
    sent = bytearray(pack({"lease": b"i" * 16, "batch": b"b" * 16, "identifiers": pa.array(["ab", "c", None])}))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = CALLS["seal_subjects"].read(bytes(sent))
    except InputError:
        return
    assert isinstance(found.identifiers, pa.Array)
    assert isinstance(found.batch, bytes)
    found.identifiers.to_pylist()


def test_an_error_goes_over_whole():
    """Kind, text, hint, rule and what is left of a budget."""
    sent = Trouble("BudgetError", "spent", "wait", "support.day", 3, 1_800_000_000)
    assert read_trouble(pack(sent)) == sent
