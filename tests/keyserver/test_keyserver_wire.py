"""What comes over the wire: every call's message and answer whole again, and anything else an error of this library."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InputError
from strongroom.keymaster.api import Ask, Released, SealingKeys
from strongroom.keyserver.calls import CALLS, Said, Trouble, read_hello, read_trouble
from strongroom.keyserver.frames import APART_LEAST, pack, pack_apart


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


LARGE = np.arange(APART_LEAST // 4, dtype=np.uint32)


def large():
    """The question of a large index, and its parts: a column, tokens and ordinals, of which each stands apart."""
    values = pa.array([f"{13800000000 + row}" for row in LARGE.tolist()])
    asked = {"field_name": "mobile", "values": values, "subject_tokens": tokens(len(LARGE)), "ordinals": LARGE}
    return {"lease": b"i" * 16, "batch": b"b" * 16} | asked


def test_large_arrays_and_columns_stand_apart_and_come_back_as_they_went():
    """Whether they stand apart or not, in a question and an answer; views of the message, aligned, not writable."""
    asked, call = large(), CALLS["seal_index"]
    parts = pack_apart(asked)
    apart = [len(part) for part in parts if isinstance(part, memoryview)]
    assert apart[1:] == [16 * len(LARGE), 4 * len(LARGE)]
    assert len(apart) == 3
    for sent in (pack(asked), b"".join(parts), bytearray(b"".join(parts))):
        back = call.read(sent)
        assert back.values.equals(asked["values"])
        assert np.array_equal(back.subject_tokens, asked["subject_tokens"])
        assert np.array_equal(back.ordinals, LARGE)
        for array in (back.subject_tokens, back.ordinals):
            assert array.flags.aligned
            assert not array.flags.writeable
    keys = {"contact": np.tile(tokens(len(LARGE)), 2), "identity": np.tile(tokens(len(LARGE)), 2)[::-1]}
    for count in (0, 1, len(LARGE)):
        some = {name: array[:count] for name, array in keys.items()}
        sent = pack_apart(Said(4, SealingKeys(tokens(count), some, 7)))
        assert (len(sent) > 1) == (count > 1)
        back = CALLS["seal_subjects"].read_answer(b"".join(sent)).value
        assert all(np.array_equal(back.keys[name], some[name]) for name in keys)
        assert np.array_equal(back.tokens, tokens(count))


def test_parts_that_are_cut_moved_left_over_or_not_there_are_refused():
    """As many parts as are named, each of its length, in their order, nothing behind them; lengths that are none."""
    read, sent = CALLS["seal_index"].read, b"".join(pack_apart(large()))
    size = int.from_bytes(sent[4:8], "little")
    ends = [*range(70), 8 + size, 9 + size, 64 + size, len(sent) // 2, len(sent) - 1]
    wrong = [sent[:end] for end in ends] + [sent + b"\0", b"\xc1" + sent, sent[:1] + b"\1" + sent[2:], sent[8 : 8 + size]]
    wrong += [sent[:4] + changed.to_bytes(4, "little") + sent[8:] for changed in (0, size - 1, size + 1, 2**32 - 1)]
    for data in wrong:
        with pytest.raises(InputError):
            read(data)
    for length in (APART_LEAST, -1, 0, 1, APART_LEAST - 1, APART_LEAST + 1, 1 << 62, True, 1.0, str(APART_LEAST)):
        asked = {"lease": b"i" * 16, "tokens": ("|u1", (APART_LEAST // 16, 16), length), "reason": "r"}
        rest = pack(asked)
        whole = b"\xc1\0\0\0" + len(rest).to_bytes(4, "little") + rest
        whole += bytes(-len(whole) % 64) + bytes(APART_LEAST)
        if length == APART_LEAST:
            assert CALLS["erasures.erase"].read(whole).tokens.shape == (APART_LEAST // 16, 16)
        for data in (rest,) if length == APART_LEAST else (whole, rest):
            with pytest.raises(InputError):
                CALLS["erasures.erase"].read(data)


@given(st.data())
def test_a_changed_message_with_parts_is_read_or_refused(data):
    """Some bytes of its head changed: what is read has the declared types and lengths still, and the next one is whole."""
    good = b"".join(pack_apart(large()))
    sent = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, 600))] = data.draw(st.integers(0, 255))
    try:
        found = CALLS["seal_index"].read(bytes(sent))
    except InputError:
        pass
    else:
        assert isinstance(found.values, pa.Array)
        assert (found.subject_tokens.dtype, found.ordinals.dtype) == (np.uint8, np.uint32)
    assert np.array_equal(CALLS["seal_index"].read(good).ordinals, LARGE)


def test_an_error_goes_over_whole():
    """Kind, text, hint, rule and what is left of a budget."""
    sent = Trouble("BudgetError", "spent", "wait", "support.day", 3, 1_800_000_000)
    assert read_trouble(pack(sent)) == sent
