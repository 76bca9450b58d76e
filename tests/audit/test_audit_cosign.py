"""Cosignatures of witnesses, the rule how many there must be, and what goes to a witness and comes back."""

import base64

import pytest
from audit_fixtures import ORIGIN, PUBLIC, SEED, entries, published
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.cosign import (
    Cosigner,
    Quorum,
    check_quorum,
    cosign,
    cosigned_at,
    cosigners_of,
    make_quorum,
    parse_cosigner,
)
from strongroom.audit.note import (
    Checkpoint,
    Note,
    Signature,
    open_checkpoint,
    parse_note,
    sign_checkpoint,
    verifier_key,
)
from strongroom.audit.submission import Submission, parse_cosignatures, parse_size, parse_submission
from strongroom.audit.tlog import consistency_proof
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.sign import public_key, sign

POINT = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))
SIGNED = sign_checkpoint(POINT, SEED)
SEEDS = [bytes([number]) * 32 for number in (1, 2, 3)]
NAMES = ["north.example/w", "south.example/w", "west.example/w"]
WITNESSES = [Cosigner(name, public_key(seed)) for name, seed in zip(NAMES, SEEDS, strict=True)]
TIME = 1_679_315_147


def cosigned(*numbers, seconds=TIME, note=SIGNED):
    parsed = parse_note(note)
    lines = [cosign(parsed.text, NAMES[n], SEEDS[n], seconds) for n in numbers]
    return str(Note(parsed.text, (*parsed.signatures, *lines)))


def test_a_cosignature_is_time_and_signature_over_header_time_and_text():
    """Byte for byte: key id, big-endian seconds, Ed25519 over the two header lines and the whole note text."""
    made = cosign(POINT.text(), NAMES[0], SEEDS[0], TIME)
    assert made.key_id == WITNESSES[0].key_id
    assert made.signature[:8] == TIME.to_bytes(8, "big")
    assert made.signature[8:] == sign(SEEDS[0], f"cosignature/v1\ntime {TIME}\n{POINT.text()}".encode())
    assert base64.b64decode(WITNESSES[0].line().rpartition("+")[2])[0] == 4


def test_the_example_of_the_specification_has_the_lengths_of_ours():
    """Its line decodes to an id and the 72 bytes of a time and a signature."""
    line = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    data = base64.b64decode(line)
    assert int.from_bytes(data[4:12], "big") == TIME
    assert len(data) == 4 + len(cosign(POINT.text(), NAMES[0], SEEDS[0], TIME).signature)


def test_a_cosigned_checkpoint_is_still_the_logs():
    """Who knows no witness reads it as before."""
    assert open_checkpoint(cosigned(0, 2), ORIGIN, PUBLIC) == POINT


def test_another_implementation_verifies_the_cosignatures():
    """tlog_scales, with the witnesses' one-line keys: log and both witnesses verify, the third has not signed."""
    signing = pytest.importorskip("tlog_scales.signing")
    from tlog_scales.tlog import Checkpoint as OtherCheckpoint

    keys = signing.VkeySet(*(signing.Vkey.from_string(w.line()) for w in WITNESSES))
    keys.add(signing.Vkey.from_string(verifier_key(ORIGIN, PUBLIC)))
    text = cosigned(0, 2)
    found = keys.verify(OtherCheckpoint.from_text(text).signatures, OtherCheckpoint.from_text(text))
    assert {key.name for key, _ in found} == {ORIGIN, NAMES[0], NAMES[2]}


def test_the_latest_of_several_times_counts():
    """A witness that cosigned twice counts once, at the later time."""
    parsed = parse_note(cosigned(0))
    again = Note(parsed.text, (*parsed.signatures, cosign(parsed.text, NAMES[0], SEEDS[0], TIME + 60)))
    assert cosigned_at(again, WITNESSES[0]) == TIME + 60
    assert cosigned_at(again, WITNESSES[1]) is None
    assert check_quorum(str(again), Quorum(1, tuple(WITNESSES))) == (NAMES[0],)


def test_a_quorum_counts_witnesses_and_names_those_that_lack():
    """Two of three are enough for two and not for three; two lines of one witness are one."""
    rule = Quorum(2, tuple(WITNESSES))
    assert check_quorum(cosigned(0, 2), rule) == (NAMES[0], NAMES[2])
    with pytest.raises(IntegrityError, match="2 of the 3 cosignatures that it needs: none of south.example/w"):
        check_quorum(cosigned(0, 2), Quorum(3, tuple(WITNESSES)))
    with pytest.raises(IntegrityError, match="1 of the 2"):
        check_quorum(cosigned(0, 0), rule)
    with pytest.raises(IntegrityError, match="0 of the 2"):
        check_quorum(SIGNED, rule)


@pytest.mark.parametrize("change", ["time", "signature", "length", "text"])
def test_a_cosignature_that_was_changed_refuses_the_note(change):
    """Time, signature and text are covered; an odd length or a time past 2^63 - 1 is none."""
    parsed = parse_note(cosigned(0, 1))
    log, first, second = parsed.signatures
    text, data = parsed.text, bytearray(first.signature)
    if change == "time":
        data[:8] = b"\xff" * 8
    elif change == "signature":
        data[-1] ^= 1
    elif change == "length":
        data.append(0)
    else:
        text = Checkpoint(ORIGIN, 20_852_164, POINT.root).text()
    changed = Note(text, (log, Signature(first.name, first.key_id, bytes(data)), second))
    with pytest.raises(IntegrityError, match=r"cosignature of witness north\.example/w does not verify"):
        cosigners_of(str(changed), WITNESSES)


def test_a_line_under_the_name_or_the_id_of_another_is_ignored():
    """Name and id together name a key; the witness's own Ed25519 signature of a note is no cosignature."""
    parsed = parse_note(SIGNED)
    own = cosign(parsed.text, NAMES[0], SEEDS[0], TIME)
    strays = [
        Signature(NAMES[1], own.key_id, own.signature),
        Signature(NAMES[0], b"\0\0\0\0", own.signature),
    ]
    assert cosigners_of(str(Note(parsed.text, (*parsed.signatures, *strays))), WITNESSES) == ()


def test_keys_of_witnesses_have_one_spelling():
    """A line reads back to the witness; a log's line, or another spelling, is none."""
    for witness in WITNESSES:
        assert parse_cosigner(witness.line()) == witness
    for line in ("", verifier_key(NAMES[0], PUBLIC), WITNESSES[0].line() + "=", "a b+00000000+BAAA", "w+" + "0" * 99):
        with pytest.raises(UsageError, match="no public key of a witness"):
            parse_cosigner(line)


@pytest.mark.parametrize(
    ("least", "witnesses"),
    [
        (0, WITNESSES),
        (4, WITNESSES),
        (1, []),
        (1, [WITNESSES[0], WITNESSES[0]]),
        (1, [WITNESSES[0], Cosigner("other", WITNESSES[0].public_key)]),
        (1, [WITNESSES[0], Cosigner(NAMES[0], WITNESSES[1].public_key)]),
        (1, [Cosigner(f"w{n}", bytes([n]) * 32) for n in range(15)]),
    ],
)
def test_a_rule_that_is_none_is_refused(least, witnesses):
    """It is k of n with 1 <= k <= n, keys and names all different, no more than a note carries."""
    with pytest.raises(UsageError):
        make_quorum(least, witnesses)


BODY = (
    "old 20852014\n"
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
    "\n"
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo"
    "+zyWE+xeMcTOAYQ8=\n"
    "\u2014 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5"
    "Rovnzv++qbSzm9Q=\n"
)


def test_the_example_body_of_the_specification_parses_and_prints_back():
    """Old size, four hashes, two signatures."""
    found = parse_submission(BODY.encode())
    assert (found.old, len(found.proof), len(parse_note(found.checkpoint).signatures)) == (20_852_014, 4, 2)
    assert str(found) == BODY


def test_our_own_body_parses_and_prints_back():
    """Without a proof too."""
    _store, log, text = published(entries(600), 400, 600)
    for old in (0, 400):
        made = Submission(old, tuple(consistency_proof(log.reader(), old, 600)), text)
        assert parse_submission(str(made).encode()) == made


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1\n",
        BODY.replace("old ", "new ").encode(),
        BODY.replace("old 2", "old 02").encode(),
        BODY.replace("old 20852014", "old -1").encode(),
        BODY.replace("Pl", "P!").encode(),
        BODY.replace("\n", "\r\n").encode(),
        BODY.encode() + b"x",
        b"\xff" + BODY.encode(),
        ("old 1\n" + "A" * 43 + "=\n").encode() * 64 + b"\n" + SIGNED.encode(),
        b"old 1\n" + b"A" * 43 + b"=\n" * 64 + b"\n" + SIGNED.encode(),
    ],
)
def test_a_body_that_is_no_submission_is_refused(body):
    """Whatever is wrong with it."""
    with pytest.raises(IntegrityError):
        parse_submission(body)


def test_sixty_four_hashes_are_too_many():
    """The specification allows 63."""
    hashes = tuple(bytes([n]) * 32 for n in range(64))
    assert parse_submission(str(Submission(5, hashes[:63], SIGNED)).encode()).proof == hashes[:63]
    with pytest.raises(IntegrityError):
        parse_submission(str(Submission(5, hashes, SIGNED)).encode())


@given(st.binary(max_size=40), st.integers(0, 700), st.integers(0, 40))
def test_any_bytes_as_a_body_or_an_answer_print_back_or_are_refused(insert, at, gone):
    """Only this library's errors come out."""
    for attempt in (insert, BODY.encode()[:at] + insert + BODY.encode()[at + gone :]):
        try:
            assert str(parse_submission(attempt)).encode() == attempt
        except IntegrityError:
            pass
        try:
            assert "".join(s.line() for s in parse_cosignatures(attempt)).encode() == attempt
        except IntegrityError:
            pass
        try:
            assert f"{parse_size(attempt)}\n".encode() == attempt
        except IntegrityError:
            pass


@given(st.text(max_size=20), st.integers(0, 80), st.integers(0, 8))
def test_any_text_as_a_witness_key_reads_back_or_is_refused(insert, at, gone):
    """A line that reads is the one that prints."""
    line = WITNESSES[0].line()
    for attempt in (insert, line[:at] + insert + line[at + gone :]):
        try:
            assert parse_cosigner(attempt).line() == attempt.strip()
        except UsageError:
            continue


@given(st.binary(max_size=80), st.integers(0, 72))
def test_any_cosignature_but_the_right_one_is_refused(insert, at):
    """Mangled signatures never verify."""
    parsed = parse_note(SIGNED)
    own = cosign(parsed.text, NAMES[0], SEEDS[0], TIME)
    data = own.signature[:at] + insert + own.signature[at + len(insert) :]
    if not data or data == own.signature:
        return
    with pytest.raises(IntegrityError):
        cosigners_of(str(Note(parsed.text, (Signature(own.name, own.key_id, data),))), WITNESSES)
