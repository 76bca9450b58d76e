"""A code row as a file for a court: what is proved comes out, and everything else is refused."""

import json
from dataclasses import replace

import pytest
from evidence_kit import ROOM
from hypothesis import given
from hypothesis import strategies as st
from row_kit import SALT, START, RowLog, a_case, a_row, file_of, text_of

from strongroom.audit.cosign import make_quorum
from strongroom.errors import IntegrityError
from strongroom.evidence.coderow import Offer, commit_row, row_opening
from strongroom.evidence.rowfile import verify_row_file


@pytest.fixture(scope="module")
def case():
    """(log, row, file) of an export whose row two people opened."""
    return a_case()


def changed(file, **parts):
    """The file with other parts."""
    return text_of(file | parts)


def refused(text, match, **more):
    with pytest.raises(IntegrityError, match=match):
        verify_row_file(text, **more)


def test_what_is_proved_is_said(case):
    """Recipient, purpose, time, persons, both entries and the checkpoint; with the key from elsewhere and without."""
    log, row, file = case
    found = verify_row_file(text_of(file), log.public)
    assert found == verify_row_file(text_of(file))
    assert found.row == row
    assert found.to_dict() == {
        "export": row.export.hex(), "recipient": "uni-north", "purpose": "extract", "legal_basis": "research act",
        "actor": "sam", "time": START + 3, "persons": 6_000, "tables": ["persons", "parcels"], "leaf": 3, "opened": 5,
        "opened_time": START + 5, "asked": "kit", "agreed": "max", "commitment": commit_row(row, SALT).hex(), "finds": None,
        "key": log.key, "pools": [{"pool": 0, "bias": row.offers[0].bias, "count": 20_000, "root": "00" * 32}],
        "log": log.origin, "log_size": 7, "log_root": found.root,
        "cosigned": {},
    }  # fmt: skip
    assert f"\n7\n{found.root}\n" in file["export"]["proof"]
    assert row.key.hex() not in json.dumps(found.to_dict()) + repr(found)


def test_a_log_of_many_entries(case):
    """Beyond one tile of the log, and with an export of nobody, whose entry has one line."""
    log, row = RowLog(), case[1]
    for _ in range(300):
        log.note("get")
    began = log.began(row, labels=None, count=0, salt=None)
    for _ in range(300):
        log.note("get")
    found = verify_row_file(text_of(file_of(log, row, began, log.opened(row))), log.public)
    assert (found.leaf, found.opened, found.checkpoint.size, found.persons) == (300, 601, 602, 0)


# -- the row ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["another export", "key", "offers", "salt", "room", "text"])
def test_another_row_is_refused(case, what):
    """The row of another export, one of which anything was changed, one salted anew, or a text that is none."""
    _log, row, file = case
    others = {
        "another export": row_opening(a_row(10), SALT),
        "key": row_opening(replace(row, key=bytes(32)), SALT),
        "offers": row_opening(replace(row, offers=(Offer(0, row.offers[0].bias, 19_999),)), SALT),
        "salt": row_opening(row, b"t" * 16),
        "room": row_opening(replace(row, room=bytes(16)), SALT),
        "text": b"row",
    }
    refused(changed(file, row=others[what].decode()), "committed to")


def test_the_row_that_an_entry_of_another_export_committed_to_is_refused(case):
    """Row and entry of export 10 with the opening of export 9: nobody opened that."""
    log, row, file = case
    entry, opening = log.proved(4, 5)
    other = changed(file, row=row_opening(a_row(10), SALT).decode(), export=entry.to_dict(), opened=opening.to_dict())
    refused(other, "opens no row of this export")
    swapped = RowLog()
    extras = {"export": row.export.hex(), "commitment": commit_row(a_row(10), SALT).hex()}
    began = swapped.began(row, extras=extras)
    file = file_of(swapped, a_row(10), began, swapped.opened(row))
    refused(text_of(file), "of another export than the entry")


# -- the log ------------------------------------------------------------------------------------------------
def test_an_entry_that_is_not_in_the_log_is_refused(case):
    """An entry made up, changed in either line, cut to its first line, or shown with another's proof."""
    log, row, file = case
    entry = file["export"]["entry"]
    first, second = entry.split("\n")
    for wrong, why in (
        (entry.replace("uni-north", "uni-south"), "not in the tree"),
        (entry.replace('"count":6000', '"count":6001'), "committed to"),
        (entry.replace(commit_row(row, SALT).hex(), "ab" * 32), "committed to"),
        (first, "second line"),
        (first + "\n", "committed to"),
        (entry + "\n" + second, "committed to"),
        ("", "not in the tree"),
    ):
        assert wrong != entry
        refused(changed(file, export=file["export"] | {"entry": wrong}), why)
    other = log.proved(4)[0].proof
    refused(changed(file, export=file["export"] | {"proof": other}), "not in the tree")
    refused(changed(file, export=file["opened"]), "of another act than export")
    refused(changed(file, opened=file["export"]), "of another act than disclose")


def test_another_key_of_the_log_is_refused(case):
    """The log of a stranger, under the same name; the true file against another key; and one key with two names."""
    log, row, file = case
    strange = RowLog(seed=bytes(32))
    for entry in log.entries:
        strange.entries.append(entry)
    made_up = text_of(file_of(strange, row, 3, 5))
    assert verify_row_file(made_up).leaf == 3  # it vouches for itself
    refused(made_up, "not signed by the key of this log", public_key=log.public)
    refused(text_of(file), "not signed by the key of this log", public_key=strange.public)
    refused(changed(file, key=strange.key), "not signed by the key of this log")
    refused(changed(file, log="strongroom/" + "00" * 16), "of another log")
    refused(changed(file, key="no key"), "malformed")


def test_the_log_of_another_room_is_refused(case):
    """A row of one room in the log of another."""
    _log, row, _file = case
    other = RowLog(room=bytes(16))
    assert row.room == ROOM != bytes(16)
    refused(text_of(file_of(other, row, other.began(row), other.opened(row))), "of another room")


def test_two_checkpoints_are_refused(case):
    """Both entries are proved of one state of the log."""
    _log, row, _file = case
    log = RowLog()
    began, opened = log.began(row), log.opened(row)
    early = file_of(log, row, began, opened)
    log.note("get")
    late = file_of(log, row, began, opened)
    refused(changed(early, opened=late["opened"]), "one checkpoint")


def test_witnesses(case):
    """Where a rule is given, the checkpoint has as many cosignatures; one that is wrong refuses the file."""
    _log, row, _file = case
    log = RowLog()
    north, south = log.cosigned_by("north.example/w", bytes([1]) * 32), log.cosigned_by("south.example/w", bytes([2]) * 32)
    text = text_of(file_of(log, row, log.began(row), log.opened(row)))
    for rule in (None, make_quorum(2, [north, south]), make_quorum(1, [north])):
        assert verify_row_file(text, log.public, rule).leaf == 0
    other = RowLog().cosigned_by("east.example/w", bytes([3]) * 32)
    found = verify_row_file(text, log.public, make_quorum(2, [north, other, south]))
    assert found.cosigned == (("north.example/w", START // 1000), ("south.example/w", START // 1000))
    refused(text, "2 of the 3 cosignatures", quorum=make_quorum(3, [north, south, other]))
    line = next(line for line in text.split("\\n") if "south.example/w" in line)
    false = text.replace(line, line[:-8] + ("A" if line[-8] != "A" else "B") + line[-7:])
    assert false != text
    refused(false, "does not verify", quorum=make_quorum(1, [north, south]))


# -- the opening --------------------------------------------------------------------------------------------
def test_an_opening_that_is_none_is_refused():
    """By one person alone, of another export, a handing out, before the export began, or refused."""
    row = a_row(0xAB)

    def attempt(match, note, before=False):
        log = RowLog()
        opened = note(log) if before else None
        began = log.began(row)
        opened = note(log) if opened is None else opened
        refused(text_of(file_of(log, row, began, opened)), match)

    attempt("not of two people", lambda log: log.opened(row, asked="max"))
    attempt("opens no row of this export", lambda log: log.opened(a_row(10)))
    attempt("not of two people", lambda log: log.note("disclose", extras={"export": row.export.hex()}))
    attempt("opens no row of this export", lambda log: log.opened(row), before=True)
    extras = {"export": row.export.hex(), "asked": "kit"}
    attempt("another act", lambda log: log.note("disclose", "max", decision="refused", extras=extras))
    attempt("names no export", lambda log: log.note("disclose", "max", extras={"asked": "kit"}))
    attempt("names no export", lambda log: log.note("disclose", "max", extras=extras | {"export": 9}))
    attempt("names no export", lambda log: log.note("disclose", "max", extras=extras | {"export": row.export.hex().upper()}))


@pytest.mark.parametrize("extras", [{}, {"commitment": 3}, {"commitment": "ab"}, {"commitment": "no"}, {"commitment": "AB" * 32}])
def test_an_export_that_committed_to_no_row_is_refused(case, extras):
    """One without canaries, or an entry that says something else there."""
    _log, row, _file = case
    log = RowLog()
    began = log.began(row, extras={"export": row.export.hex(), **extras})
    refused(text_of(file_of(log, row, began, log.opened(row))), "names no commitment")


# -- the finds ----------------------------------------------------------------------------------------------
def test_finds_noted_in_between_are_said():
    """The digest of the list and of the sample, and by which entry: what came first is proved by the log's order."""
    log, row = RowLog(), a_row()
    began, finds, opened = log.began(row), log.traced(), log.opened(row)
    found = verify_row_file(text_of(file_of(log, row, began, opened, finds)), log.public)
    said = {"leaf": 1, "time": START + 1, "sample": "01" * 32, "finds": "02" * 32}
    assert found.to_dict()["finds"] == said
    assert replace(found, finds=None) == verify_row_file(text_of(file_of(log, row, began, opened)), log.public)


def test_finds_of_another_time_or_entry_are_refused():
    """Noted before the export began, or after its row was opened; an entry of another act, or of no finds; or none at all."""
    row = a_row()

    def attempt(match, *order, note=RowLog.traced):
        log = RowLog()
        steps = {"finds": lambda: note(log), "began": lambda: log.began(row), "opened": lambda: log.opened(row)}
        done = {step: steps[step]() for step in order}
        file = file_of(log, row, done["began"], done["opened"], done["finds"])
        refused(text_of(file), match)
        refused(text_of(file | {"finds": file["finds"] | {"entry": file["finds"]["entry"].replace("ines", "kit")}}), "not in the tree")
        refused(text_of(file | {"finds": {}}), "malformed")

    attempt("were not noted between", "finds", "began", "opened")
    attempt("were not noted between", "began", "opened", "finds")
    ordered = ("began", "finds", "opened")
    attempt("another act than trace", *ordered, note=lambda log: log.note("find", "ines", extras={"finds": "02" * 32}))
    attempt("names no finds", *ordered, note=lambda log: log.traced(finds=b"\2"))
    attempt("names no sample", *ordered, note=lambda log: log.traced(sample=7))


# -- the text -----------------------------------------------------------------------------------------------
def test_a_file_cut_short_is_refused(case):
    """At any place."""
    text = text_of(case[2])
    for at in range(0, len(text), 7):
        refused(text[:at], "is no code row")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"', "\ud800", '{"kind": "strongroom export code row"}', "[" * 100_000])
def test_what_is_no_such_file_is_refused(text):
    """Anything else is an IntegrityError."""
    refused(text, "no code row")


def test_another_format_is_refused(case):
    """Of a later one, or of one that only looks alike."""
    for other in (2, True, 1.0, "1", None):
        refused(changed(case[2], format=other), r"no code row|malformed")
    for other in ({**case[2], "more": 1}, {key: case[2][key] for key in case[2] if key != "row"}):
        refused(text_of(other), "malformed")
    refused(" " * (8 << 20) + text_of(case[2]), "too long")


def test_half_a_character_in_a_name_is_refused(case):
    """In the name of the log, of its key, in an entry and in a proof: text that no bytes are of."""
    file = case[2]
    half = {part: file[part].replace("strongroom/", "strongroom/\ud800") for part in ("log", "key")}
    refused(json.dumps(file | half), "malformed|not signed")
    for part in ("entry", "proof"):
        text = file["export"][part].replace("r", "\ud800", 1)
        refused(json.dumps(file | {"export": file["export"] | {part: text}}), "no proof|malformed|signed note|not in the tree")


@given(st.data())
def test_a_changed_character_is_refused_or_says_the_same(data):
    """Whatever is put in its place: what verifies says what was said."""
    log = WHOLE[0]
    at = data.draw(st.integers(0, len(TEXT) - 1))
    text = TEXT[:at] + data.draw(st.characters()) + TEXT[at + 1 :]
    try:
        found = verify_row_file(text, log.public)
    except IntegrityError:
        return
    assert found == verify_row_file(TEXT, log.public)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=()), max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["entry", "proof", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["kind", "format", "log", "key", "row", "export", "opened", "finds"]))
def test_whatever_stands_in_a_part_is_refused(value, part):
    """Only an IntegrityError comes out, half characters and all."""
    if value == WHOLE[2][part] and type(value) is type(WHOLE[2][part]):
        return
    with pytest.raises(IntegrityError):
        verify_row_file(json.dumps(WHOLE[2] | {part: value}))


@given(json_values, st.sampled_from(["export", "opened"]), st.sampled_from(["entry", "proof"]))
def test_whatever_stands_in_an_entry_is_refused(value, which, part):
    """The same of the text of an entry or of its proof."""
    file = WHOLE[2]
    with pytest.raises(IntegrityError):
        verify_row_file(json.dumps(file | {which: file[which] | {part: value}}))


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=3), st.sampled_from(["log", "key", "row"]), st.data())
def test_texts_put_into_a_text_are_refused(more, part, data):
    """Anything put into a part anywhere: refused, or without a meaning."""
    file = WHOLE[2]
    at = data.draw(st.integers(0, len(file[part])))
    text = json.dumps(file | {part: file[part][:at] + more + file[part][at:]})
    try:
        found = verify_row_file(text)
    except IntegrityError:
        return
    assert replace(found, key="") == replace(verify_row_file(TEXT), key="")


WHOLE = a_case()
TEXT = text_of(WHOLE[2])
