"""Signed notes, checkpoints and receipts, and what is no such thing."""

import base64

import pytest
from audit_fixtures import ORIGIN, PUBLIC, SEED, entries, published
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit.note import (
    Checkpoint,
    Note,
    Signature,
    key_id,
    open_checkpoint,
    parse_note,
    sign_checkpoint,
    verifier_key,
    verify_note,
)
from strongroom.audit.proof import make_proof, parse_proof, verify_proof
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.sign import public_key, sign

POINT = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))
SIGNED = sign_checkpoint(POINT, SEED)
OTHER = bytes(32)


def test_a_checkpoint_is_a_signed_note_of_three_lines():
    """Origin, size, root, blank line, signature with the key id in front."""
    lines = SIGNED.split("\n")
    assert lines[:4] == [ORIGIN, "20852163", base64.b64encode(bytes(range(32))).decode(), ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]
    raw = base64.b64decode(lines[4].split(" ")[2])
    assert raw[:4] == key_id(ORIGIN, PUBLIC)
    assert len(raw) == 68
    assert open_checkpoint(SIGNED, ORIGIN, PUBLIC) == POINT


def test_another_implementation_verifies_the_checkpoint():
    """The verifier key and the checkpoint are read and verified by tlog_scales."""
    signing = pytest.importorskip("tlog_scales.signing")
    from tlog_scales.tlog import Checkpoint as OtherCheckpoint

    vkey = signing.Vkey.from_string(verifier_key(ORIGIN, PUBLIC))
    OtherCheckpoint.from_text(SIGNED).verify(vkey)


def test_a_signature_of_another_key_is_ignored_and_not_enough():
    """Cosignatures stand beside the log's own; alone they say nothing."""
    text = POINT.text()
    foreign = Signature("witness.example", key_id("witness.example", public_key(OTHER)), sign(OTHER, text.encode()))
    own = parse_note(SIGNED).signatures
    assert open_checkpoint(str(Note(text, (foreign, *own))), ORIGIN, PUBLIC) == POINT
    with pytest.raises(IntegrityError, match="not signed by the key"):
        open_checkpoint(str(Note(text, (foreign,))), ORIGIN, PUBLIC)


def test_a_wrong_signature_under_the_known_key_refuses_the_note():
    """Even if a right one stands beside it."""
    own = parse_note(SIGNED).signatures[0]
    wrong = Signature(own.name, own.key_id, bytes(64))
    with pytest.raises(IntegrityError):
        verify_note(Note(POINT.text(), (own, wrong)), ORIGIN, PUBLIC)


def test_another_log_or_key_is_refused():
    """Origin and key are both the caller's."""
    with pytest.raises(IntegrityError):
        open_checkpoint(SIGNED, "strongroom/other", PUBLIC)
    with pytest.raises(IntegrityError):
        open_checkpoint(SIGNED, ORIGIN, public_key(OTHER))
    text = Checkpoint("strongroom/other", 1, bytes(32)).text()
    note = str(Note(text, (Signature(ORIGIN, key_id(ORIGIN, PUBLIC), sign(SEED, text.encode())),)))
    with pytest.raises(IntegrityError, match="another log"):
        open_checkpoint(note, ORIGIN, PUBLIC)


def test_an_origin_that_is_no_name_is_refused():
    """No spaces, no plus, no line ends."""
    for origin in ("", "a b", "a+b", "a\nb", "a\u00a0b"):
        with pytest.raises(UsageError):
            sign_checkpoint(Checkpoint(origin, 0, bytes(32)), SEED)


def signed(text):
    return str(Note(text, (Signature(ORIGIN, key_id(ORIGIN, PUBLIC), sign(SEED, text.encode())),)))


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n01\n{'A' * 43}=\n",
        f"{ORIGIN}\n-1\n{'A' * 43}=\n",
        f"{ORIGIN}\n+1\n{'A' * 43}=\n",
        f"{ORIGIN}\n１\n{'A' * 43}=\n",
        f"{ORIGIN}\n99999999999999999999\n{'A' * 43}=\n",
        f"{ORIGIN}\n1\n{'A' * 42}B=\n",
        f"{ORIGIN}\n1\nAAAA\n",
        f"{ORIGIN}\n1\n{'A' * 43}=\nextension\n",
        f"\n1\n{'A' * 43}=\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text):
    """Sizes and roots have one spelling, and there are no extension lines."""
    with pytest.raises(IntegrityError):
        open_checkpoint(signed(text), ORIGIN, PUBLIC)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "a\n\n",
        "a\n",
        SIGNED[:-1],
        SIGNED + "\n",
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("\u2014 ", "- "),
        SIGNED.replace("\u2014 ", "\u2014  "),
        SIGNED[:-3] + "==\n",
        POINT.text() + "\n\u2014 x AAAA\n",
        POINT.text() + "\n" + "\u2014 x AAAAAAAA\n" * 65,
        "a\x00b" + SIGNED,
        "\ud800" + SIGNED,
        "a" * (2 << 20) + SIGNED,
    ],
)
def test_a_malformed_note_is_refused(note):
    """Whatever is wrong with it."""
    with pytest.raises(IntegrityError):
        open_checkpoint(note, ORIGIN, PUBLIC)


@settings(max_examples=300)
@given(st.text(max_size=20), st.integers(0, 200), st.integers(0, 20))
def test_any_text_as_a_note_prints_back_or_is_refused(insert, at, gone):
    """Mangled notes print back or are refused, and never verify when their text was changed."""
    note = SIGNED[:at] + insert + SIGNED[at + gone :]
    for attempt in (insert, note):
        try:
            assert str(parse_note(attempt)) == attempt
        except IntegrityError:
            continue
        if not attempt.startswith(POINT.text() + "\n"):
            with pytest.raises(IntegrityError):
                open_checkpoint(attempt, ORIGIN, PUBLIC)


ITEMS = entries(600)
STORE, LOG, TEXT = published(ITEMS)
RECEIPT = make_proof(LOG.reader(), 300, 600, TEXT, b"extra")


def test_a_receipt_verifies_offline_and_only_for_its_entry():
    """Index, entry, log and key must all be the ones."""
    index, checkpoint = verify_proof(RECEIPT, ITEMS[300], ORIGIN, PUBLIC)
    assert (index, checkpoint.size) == (300, 600)
    assert parse_proof(RECEIPT).extra == b"extra"
    for entry, origin, key in (
        (ITEMS[301], ORIGIN, PUBLIC),
        (b"forged", ORIGIN, PUBLIC),
        (ITEMS[300], "strongroom/other", PUBLIC),
        (ITEMS[300], ORIGIN, public_key(OTHER)),
    ):
        with pytest.raises(IntegrityError):
            verify_proof(RECEIPT, entry, origin, key)


def test_a_receipt_for_another_place_is_refused():
    """The index is part of what is proved."""
    moved = RECEIPT.replace("index 300", "index 301")
    with pytest.raises(IntegrityError):
        verify_proof(moved, ITEMS[300], ORIGIN, PUBLIC)


def test_receipts_of_every_entry_of_a_small_log_verify():
    """All places of a log of 20, the single entry of a log of one too."""
    for size in (1, 2, 20):
        items = entries(size)
        _store, log, text = published(items)
        for index, item in enumerate(items):
            proof = make_proof(log.reader(), index, size, text)
            assert verify_proof(proof, item, ORIGIN, PUBLIC)[0] == index


@settings(max_examples=300)
@given(st.text(max_size=20), st.integers(0, 800), st.integers(0, 20))
def test_any_text_as_a_receipt_prints_back_or_is_refused(insert, at, gone):
    """Mangled receipts parse to the same text or are refused."""
    for attempt in (insert, RECEIPT[:at] + insert + RECEIPT[at + gone :]):
        try:
            assert str(parse_proof(attempt)) == attempt
        except IntegrityError:
            continue


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 300", "index 0300"),
        ("index 300", "indx 300"),
        ("index 300\n", ""),
        ("extra ", "extra !"),
        ("extra ZXh0cmE=", "extra "),
        ("index 300\n", "index 300\n" + ("A" * 43 + "=\n") * 65),
        ("index 300\n", "index 300\nAAAA\n"),
    ],
)
def test_a_malformed_receipt_is_refused(old, new):
    """Header, index, hashes and extra have one spelling."""
    assert old in RECEIPT
    with pytest.raises(IntegrityError):
        verify_proof(RECEIPT.replace(old, new, 1), ITEMS[300], ORIGIN, PUBLIC)
