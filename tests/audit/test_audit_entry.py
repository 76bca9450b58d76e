"""Entries as bytes and back."""

import base64
import contextlib
import hashlib
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit import entry as entry_module
from strongroom.audit.disclosure import disclosed_digest
from strongroom.audit.entry import INTEGER_MAX, Entry, labels_root, logged, parse_entry
from strongroom.audit.tlog import EMPTY_ROOT, leaf_hash, tree_root
from strongroom.errors import IntegrityError, UsageError

FULL = Entry(
    time=1_795_000_000_123,
    act="find",
    actor="ada",
    decision="allowed",
    purpose="delivery",
    legal_basis="contract, GDPR 6(1)(b)",
    table="居民",
    fields=("name", "mobile"),
    count=1,
    remaining={"persons/room/day": 9_999},
    reason=bytes(range(32)),
    labels=bytes(32),
    request=bytes(16),
    policy=3,
    rule="purposes.delivery.tables.persons",
    extras={"looked_up": 1, "leaf": "x"},
)

names = st.text(min_size=1, max_size=12).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)
numbers = st.integers(0, INTEGER_MAX)
built = st.builds(
    Entry,
    time=numbers,
    act=names,
    actor=names,
    decision=st.sampled_from(["allowed", "refused"]),
    purpose=st.none() | names,
    legal_basis=st.none() | names,
    table=st.none() | names,
    fields=st.lists(names, max_size=4).map(tuple),
    count=st.none() | numbers,
    remaining=st.dictionaries(names, numbers, max_size=3),
    reason=st.none() | st.binary(min_size=32, max_size=32),
    labels=st.none() | st.binary(min_size=32, max_size=32),
    role=st.none() | names,
    classes=st.lists(names, max_size=3).map(tuple),
    disclosed=st.none() | numbers,
    shown=st.none() | st.binary(min_size=32, max_size=32),
    salt=st.none() | st.binary(min_size=16, max_size=16),
    request=st.none() | st.binary(min_size=16, max_size=16),
    policy=st.none() | numbers,
    rule=st.none() | names,
    extras=st.dictionaries(names, names | numbers, max_size=3),
)


def test_the_canonical_bytes_are_fixed():
    """Sorted keys, no spaces, UTF-8: these very bytes, for ever."""
    assert Entry(time=5, act="get", actor="ada", decision="refused", table="居民", count=0).to_bytes() == (
        '{"act":"get","actor":"ada","count":0,"decision":"refused","table":"居民","time":5,"v":1}'.encode()
    )


def test_an_entry_comes_back():
    """All keys survive."""
    assert parse_entry(FULL.to_bytes()) == FULL


@settings(max_examples=200)
@given(built)
def test_every_entry_prints_and_parses_to_itself(entry):
    """to_bytes and parse_entry are inverse."""
    data = entry.to_bytes()
    assert parse_entry(data) == entry
    assert parse_entry(data).to_bytes() == data


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("act"),
        lambda v: v.pop("v"),
        lambda v: v.update(v=2),
        lambda v: v.update(v=True),
        lambda v: v.update(more=1),
        lambda v: v.update(time=1.5),
        lambda v: v.update(time=-1),
        lambda v: v.update(time=INTEGER_MAX + 1),
        lambda v: v.update(count=True),
        lambda v: v.update(count=None),
        lambda v: v.update(actor=""),
        lambda v: v.update(decision="maybe"),
        lambda v: v.update(decision=["allowed"]),
        lambda v: v.update(reason="00"),
        lambda v: v.update(reason="A" * 64),
        lambda v: v.update(fields=[]),
        lambda v: v.update(fields=[1]),
        lambda v: v.update(fields="name"),
        lambda v: v.update(remaining={}),
        lambda v: v.update(remaining={"a": "b"}),
        lambda v: v.update(extras={"a": [1]}),
    ],
)
def test_a_malformed_entry_is_refused(change):
    """Missing, unknown or wrongly typed: an integrity error."""
    value = FULL.to_dict()
    change(value)
    data = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(IntegrityError):
        parse_entry(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b"9" * 5_000,
        b'{"a":NaN}',
        FULL.to_bytes() + b"\n",
        b" " + FULL.to_bytes(),
        FULL.to_bytes().replace(b'"v":1', b'"v":1,"v":1'),
        FULL.to_bytes().replace(b'"count":1', b'"count": 1'),
        FULL.to_bytes().replace(b"find", b"f\\u0069nd"),
        b'{"act":"a","actor":"\\ud800","decision":"allowed","time":1,"v":1}',
        b"{" + b" " * 70_000 + b"}",
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data):
    """One entry has one spelling."""
    with pytest.raises(IntegrityError):
        parse_entry(data)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 20))
def test_any_bytes_give_only_an_integrity_error(insert, at, gone):
    """Mangled entries parse to the same bytes or are refused."""
    data = FULL.to_bytes()
    for attempt in (insert, data[:at] + insert + data[at + gone :]):
        with contextlib.suppress(IntegrityError):
            assert parse_entry(attempt).to_bytes() == attempt


def test_what_an_entry_cannot_hold_is_refused_when_written():
    """Too long, a negative number, half a character."""
    for change in (
        {"fields": tuple(f"field_{i}" for i in range(9_000))},
        {"count": -1},
        {"actor": "\ud800"},
        {"reason": b"short"},
        {"extras": {"a": 1.5}},
    ):
        with pytest.raises(UsageError):
            Entry(**{"time": 1, "act": "get", "actor": "a", "decision": "allowed", **change}).to_bytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 256, 1000, 9_000, 140_000])
def test_labels_root_is_the_merkle_root_over_sorted_distinct_labels(count):
    """Order and repeats do not matter."""
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    labels[: count // 2, :15] = 0  # differences in the last byte, and leading zeros
    distinct = sorted({bytes(row) for row in labels})
    expected = tree_root([leaf_hash(label) for label in distinct])
    twice = np.concatenate([labels, labels])
    assert labels_root(labels) == expected
    assert labels_root(twice[rng.permutation(len(twice))]) == expected
    assert labels_root(twice[::-1]) == expected
    assert (expected == EMPTY_ROOT) == (count == 0)
    assert count != 1 or expected == hashlib.sha256(b"\x00" + distinct[0]).digest()


def test_labels_of_another_shape_are_refused():
    """16 bytes a label."""
    for bad in (np.zeros((2, 15), np.uint8), np.zeros(16, np.uint8), np.zeros((2, 16), np.int64)):
        with pytest.raises(UsageError):
            labels_root(bad)


_TEXT = st.text(st.characters(codec=None), max_size=12)


@given(st.dictionaries(_TEXT, st.recursive(st.integers(0, 2**63 - 1) | _TEXT, lambda c: st.lists(c, max_size=3) | st.dictionaries(_TEXT, c, max_size=3), max_leaves=6), max_size=5))
def test_the_bytes_are_those_of_plain_json(value):
    """What another reader makes with sorted keys, no spaces and no escapes but those that JSON needs; half characters are refused."""
    plain = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        expected = plain.encode()
    except UnicodeEncodeError:
        expected = None
    assert entry_module._encode(value) == expected


# -- two lines ----------------------------------------------------------------------------------
TWO = msgspec.structs.replace(FULL, role="officer", salt=bytes(16))


def test_the_first_line_shows_nothing_of_the_second():
    """Who asked, of what, how many, and why are in the second line; the first says what persons may read."""
    first, second = TWO.to_bytes().split(b"\n")
    assert json.loads(first).keys() == {
        "v", "time", "act", "decision", "role", "purpose", "legal_basis", "labels", "kept"
    }  # fmt: skip
    assert json.loads(second)[2].keys() == {
        "actor", "count", "extras", "fields", "policy", "reason", "remaining", "request", "rule", "table"
    }  # fmt: skip
    assert parse_entry(TWO.to_bytes()) == TWO
    assert TWO.to_dict() == {**FULL.to_dict(), "role": "officer"}


def test_a_first_line_is_read_alone():
    """Without the second line an entry says what its persons may read, and prints back the same."""
    line = logged(TWO.to_bytes())
    alone = parse_entry(line)
    assert (alone.actor, alone.count, alone.role, alone.labels) == ("", None, "officer", FULL.labels)
    assert alone.to_bytes() == line
    assert logged(FULL.to_bytes()) == FULL.to_bytes()


@pytest.mark.parametrize("change", ["salt", "actor", "swap", "more", "public", "name"])
def test_a_second_line_that_was_not_committed_to_is_refused(change):
    """Another salt, actor or entry's line, one that says what belongs into the first, or no disclosure."""
    first, second = TWO.to_bytes().split(b"\n")
    value = json.loads(second)
    if change == "salt":
        second = second.replace(b"AAAA", b"AAAB", 1)
    elif change == "actor":
        second = second.replace(b'"ada"', b'"bob"')
    elif change == "swap":
        second = Entry(1, "get", "ada", "allowed", salt=bytes(16)).to_bytes().split(b"\n")[1]
    else:
        value = [value[0], "other" if change == "name" else "kept", value[2] | ({"role": "x"} if change == "public" else {"x": 1})]
        second = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        first = first.replace(json.loads(first)["kept"].encode(), disclosed_digest(second).hex().encode())
    with pytest.raises(IntegrityError):
        parse_entry(first + b"\n" + second)


def test_a_digest_is_that_of_the_standard():
    """RFC 9901, 4.2.3: its example."""
    disclosure = '["_26bc4LT-ac6q2KI6cBW5es", "family_name", "Möbius"]'.encode()
    assert base64.urlsafe_b64encode(disclosed_digest(disclosure)) == b"X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0="


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_of_two_lines_or_refused(data):
    """Whatever follows the first line: only IntegrityError comes out."""
    with contextlib.suppress(IntegrityError):
        parse_entry(logged(TWO.to_bytes()) + b"\n" + data)


WHOLE = {
    "v": 1, "time": 5, "act": "find", "actor": "ada", "decision": "allowed", "policy": 3, "purpose": "case-work",
    "legal_basis": "law", "reason": "ab" * 32, "labels": "cd" * 32, "request": "0f" * 16, "classes": ["a", "b"],
    "fields": ["f"], "count": 1, "remaining": {"a": 1}, "extras": {"records": 1, "verb": "find"}, "role": "clerk",
    "rule": "q", "table": "persons", "credential": "c", "recipient": "r", "disclosed": 2, "shown": "00" * 32,
}  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3),
    st.sampled_from([INTEGER_MAX, INTEGER_MAX + 1, 1.0, "AB" * 32, "ab" * 32, "ab" * 16, "ab" * 31 + "a\n", ("x",), "\ud800"]),
    st.lists(st.one_of(st.text(max_size=2), st.integers()), max_size=2),
    st.dictionaries(st.text(max_size=2), st.one_of(st.integers(), st.text(max_size=2), st.booleans(), st.floats())),
)  # fmt: skip


@settings(max_examples=500)
@given(st.sampled_from([*WHOLE, "kept", "unknown"]), ODD, st.sampled_from([*WHOLE, None]))
def test_the_quick_look_at_an_entry_finds_what_the_close_one_does(key, item, left_out):
    """Both take and refuse the same entries, whatever stands in one of their places, or is left out."""
    value = {**WHOLE, key: item}
    value.pop(left_out, None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(entry_module, "_is_sound", lambda _value: False)
        close = entry_module._problem(value, alone=False)
    assert entry_module._is_sound(value) == (close is None)
