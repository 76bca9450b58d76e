"""A person's log: every entry that touched them, and the proof that there is no other, as one JSON file.

| key | value |
| --- | --- |
| kind, format | `strongroom person's log`, 1 |
| log, key, checkpoint | the log's name, its public key in force, and the signed checkpoint that all is proved under |
| request | the entry of the request that this file was made for |
| person | the disclosure that this entry commits to: subject, table, first day, the label of each day with a map |
| days | spans of days, in order: `closing` (the `day` entry), `salt`, `near` (leaves of the map), `entries` |

An entry is `entry` (text), `index`, `path`; a leaf is `at`, `data`, `path`; bytes are base64, a path is from below.

Rules it keeps:

1. Days are told without a gap from the first to the one before the request: a day left out is noticed.
2. A day whose map has the person's label shows just the entries that the map names; any other day shows two leaves side
   by side, or one at an end, between which the label is not.
3. Labels and subject are those that the request's entry committed to: no part of another person's file fits.
4. Pure functions of text and values. Without a public key from elsewhere, the file vouches for itself alone.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from strongroom.audit.cosign import Quorum, check_quorum
from strongroom.audit.daymap import DAY_MS, Closed, check_spans, closed_of, day_of, entries_digest
from strongroom.audit.disclosure import open_disclosure
from strongroom.audit.entry import LABEL_BYTES, Entry, parse_entry
from strongroom.audit.note import PublicKey, open_checkpoint, parse_verifier_key
from strongroom.audit.tlog import leaf_hash, verify_inclusion
from strongroom.errors import IntegrityError, UsageError
from strongroom.keymaster.log.personapi import ENTRIES_AT_ONCE, DayTold, EntryTold, LeafTold, PersonAsked, Persons
from strongroom.keymaster.log.persons import DISCLOSED, VERB

KIND = "strongroom person's log"
FORMAT = 1
PERSON_LOG_BYTES_MAX = 1 << 30
_KEYS = ("kind", "format", "log", "key", "checkpoint", "request", "person", "days")
_LEAF_BYTES = LABEL_BYTES + 32


@dataclass(frozen=True)
class Touched:
    """One entry that touched the person, as much of it as they may read; `day` is the one in whose map it stands.

    `recipient` is who received the records, of an export.
    """

    time: int
    day: int
    act: str
    role: str
    purpose: str
    legal_basis: str
    classes: tuple[str, ...]
    leaf: int
    recipient: str = ""


@dataclass(frozen=True)
class VerifiedPersonLog:
    """What a person's log proves.

    Args:
        subject: Whom it was asked about, as the request's entry committed to.
        table: The table that the subject was named in.
        first: The first day told of, days since 1970; no day is where it is not before `open_day`.
        open_day: The day of the request: what happened in it is told from the next day on.
        time: Of the request, milliseconds since 1970 (UTC).
        touched: Every entry of these days that touched the person.
        lost_days: Days whose maps are lost: the keymaster was set back.
        lost_entries: Entries of other days whose persons are lost.
        log_size: Entries under the checkpoint.
        key: The public key that the checkpoint was verified with, as the file states it.
    """

    subject: str
    table: str
    first: int
    open_day: int
    time: int
    touched: tuple[Touched, ...]
    lost_days: tuple[int, ...]
    lost_entries: int
    log_size: int
    key: str


# -- making -----------------------------------------------------------------------------------------


def person_log(persons: Persons, reading_id: bytes, table: str, identifier: str) -> dict[str, Any]:
    """Ask a keymaster for a person's log, page by page.

    Args:
        persons: Of the keymaster.
        reading_id: A reading under a purpose with the verb `log`.
        table: Table in which the subject is named.
        identifier: The subject, normalised.
    """
    asked = persons.begin(reading_id, table, identifier)
    request, days = asked.request.index, list[dict[str, Any]]()
    while len(days) < asked.spans:
        page = persons.days(reading_id, request, len(days))
        if not page:
            raise IntegrityError("the keymaster does not tell of all days")
        for day in page:
            entries: list[EntryTold] = []
            for at in range(0, len(day.leaves), ENTRIES_AT_ONCE):
                entries += persons.entries(reading_id, request, day.leaves[at : at + ENTRIES_AT_ONCE])
            days.append(_day(day, entries))
    return _file(asked, days)


def _file(asked: PersonAsked, days: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "log": parse_verifier_key(asked.key)[0],
        "key": asked.key,
        "checkpoint": asked.checkpoint,
        "request": _entry(asked.request),
        "person": asked.disclosure.decode(),
        "days": days,
    }


def _day(day: DayTold, entries: Iterable[EntryTold]) -> dict[str, Any]:
    return {
        "closing": _entry(day.closing),
        "salt": _base64(day.salt),
        "near": [{"at": leaf.at, "data": _base64(leaf.data), "path": _path(leaf.path)} for leaf in day.near],
        "entries": [_entry(entry) for entry in entries],
    }


def _entry(told: EntryTold) -> dict[str, Any]:
    return {"entry": told.entry.decode(), "index": told.index, "path": _path(told.path)}


def _path(hashes: Sequence[bytes]) -> list[str]:
    return [_base64(one) for one in hashes]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- verifying --------------------------------------------------------------------------------------


def verify_person_log(
    text: str, public_key: PublicKey | None = None, quorum: Quorum | None = None
) -> VerifiedPersonLog:
    """Verify a person's log offline.

    Args:
        text: The file.
        public_key: The log's, from elsewhere; None to take the file's own, which its reader compares then.
        quorum: Witnesses of whom enough must have cosigned the checkpoint; None to ask for none.

    Raises:
        IntegrityError: It is no such file, leaves out, adds or changes something, or too few witnesses cosigned.
    """
    file = _parsed(text)
    try:
        name, own = parse_verifier_key(file["key"])
    except UsageError:
        raise _malformed() from None
    if name != file["log"]:
        raise IntegrityError("the key in the file is of another log")
    checkpoint = open_checkpoint(file["checkpoint"], name, own)
    if public_key is not None:
        open_checkpoint(file["checkpoint"], name, public_key)
    if quorum is not None:
        check_quorum(file["checkpoint"], quorum)
    log = _Log(checkpoint.size, checkpoint.root)
    request = log.entry(_entry_of(file["request"]))
    if request.act != VERB or request.decision != "allowed" or request.shown is None:
        raise IntegrityError("the entry of the request is of another act")
    about = _about(open_disclosure(_utf8(file["person"]), DISCLOSED, request.shown)[1])
    days = [_day_of(item) for item in file["days"]]
    today = request.time // DAY_MS
    spans = _spans(log, days, about.first, today)
    touched, lost, missing, labelled = list[Touched](), list[int](), 0, set[int]()
    for (day, entries), span in zip(days, spans, strict=True):
        missing += span.lost
        if span.day not in about.labels:
            if entries or day.near or day.salt:
                raise IntegrityError(f"day {span.day} has no label of the person, and the file shows something of it")
            lost += [span.day] if span.labels else []
            continue
        labelled.add(span.day)
        found = _judge(day, about.labels[span.day], span)
        if [entry.index for entry in entries] != found:
            raise IntegrityError(f"the entries shown of day {span.day} are not those that its map names")
        touched += [_touched(log, entry, span.day, day.closing.index) for entry in entries]
    if labelled != about.labels.keys():
        raise IntegrityError("the file leaves out a day that the request was answered with")
    return VerifiedPersonLog(
        about.subject, about.table, about.first, today, request.time, tuple(touched), tuple(lost), missing,
        checkpoint.size, file["key"],
    )  # fmt: skip


@dataclass(frozen=True)
class _Log:
    """The signed tree that all is proved under."""

    size: int
    root: bytes

    def entry(self, told: EntryTold) -> Entry:
        """An entry, verified to be in the log at its place."""
        verify_inclusion(leaf_hash(told.entry), told.index, self.size, told.path, self.root)
        return parse_entry(told.entry)


@dataclass(frozen=True)
class _About:
    """What the request's entry committed to."""

    subject: str
    table: str
    first: int
    labels: dict[int, bytes]


def _spans(log: _Log, days: Sequence[tuple[DayTold, list[EntryTold]]], first: int, today: int) -> list[Closed]:
    """The spans of the days, which lead from the first day to the one before the request without a gap."""
    spans = [closed_of(log.entry(day.closing)) for day, _entries in days]
    places = [day.closing.index for day, _entries in days]
    if places != sorted(set(places)):
        raise IntegrityError("the days are not in the order in which they were closed")
    if not spans:
        if first < today:
            raise IntegrityError("the file leaves out every day")
        return spans
    if not spans[0].first <= first <= spans[0].day:
        raise IntegrityError(f"the file does not begin with its first day, {first}")
    due = check_spans(spans, spans[0].first)
    if due != today:
        raise IntegrityError(f"the file was made on day {today}, and tells of days before day {due} only")
    return spans


def _judge(day: DayTold, label: bytes, span: Closed) -> list[int]:
    """The numbers of the entries that the map names for a label: none where it shows that the label is not in it."""
    for leaf in day.near:
        if len(leaf.data) != _LEAF_BYTES:
            raise IntegrityError(f"a leaf of the map of day {span.day} is malformed")
        verify_inclusion(leaf_hash(leaf.data), leaf.at, span.labels, leaf.path, span.root)
    places = [(leaf.at, leaf.data[:LABEL_BYTES]) for leaf in day.near]
    if len(places) == 1 and places[0][1] == label:
        numbers = day.leaves
        digest = entries_digest(day.salt, numbers)
        if len(day.salt) != 16 or not numbers or not hmac.compare_digest(digest, day.near[0].data[LABEL_BYTES:]):
            raise IntegrityError(f"the entries shown of day {span.day} are not those that its map names")
        return numbers
    if day.salt or not _between(places, label, span.labels):
        raise IntegrityError(f"the file does not show what the map of day {span.day} says of the person")
    return []


def _between(places: Sequence[tuple[int, bytes]], label: bytes, size: int) -> bool:
    """Whether leaves at these places leave no room for a label in a map of so many leaves."""
    if len(places) == 2:
        (left, below), (right, above) = places
        return right == left + 1 and below < label < above
    if len(places) != 1:
        return False
    at, only = places[0]
    return (at == 0 and label < only) or (at == size - 1 and only < label)


def _touched(log: _Log, told: EntryTold, day: int, closing: int) -> Touched:
    entry = log.entry(told)
    if entry.labels is None or entry.decision != "allowed" or day_of(entry) != day or told.index >= closing:
        raise IntegrityError(f"entry {told.index} does not belong to day {day}")
    return Touched(
        entry.time, day, entry.act, entry.role or "", entry.purpose or "", entry.legal_basis or "", entry.classes,
        told.index, entry.recipient or "",
    )  # fmt: skip


# -- reading the text -------------------------------------------------------------------------------


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > PERSON_LOG_BYTES_MAX:
        raise IntegrityError("the file is too long for a person's log")
    try:
        file = json.loads(text)
    except (ValueError, RecursionError):
        raise IntegrityError("the file is no person's log") from None
    if not isinstance(file, dict) or set(file) != set(_KEYS) or (file["kind"], file["format"]) != (KIND, FORMAT):
        raise IntegrityError("the file is no person's log")
    texts = all(isinstance(file[key], str) for key in ("log", "key", "checkpoint", "person"))
    if not texts or not isinstance(file["days"], list):
        raise _malformed()
    return file


def _about(value: object) -> _About:
    try:
        subject, table, first, labels = _taken(value, subject=str, table=str, first=int, labels=dict)
        found = {int(day): bytes.fromhex(label) for day, label in labels.items()}
    except (ValueError, TypeError):
        raise _malformed() from None
    if any(len(label) != LABEL_BYTES for label in found.values()) or len(found) != len(labels):
        raise _malformed()
    return _About(subject, table, first, found)


def _entry_of(value: object) -> EntryTold:
    entry, index, path = _taken(value, entry=str, index=int, path=list)
    return EntryTold(_utf8(entry), index, [_bytes(one) for one in path])


def _day_of(value: object) -> tuple[DayTold, list[EntryTold]]:
    closing, salt, near, entries = _taken(value, closing=dict, salt=str, near=list, entries=list)
    shown = [_entry_of(one) for one in entries]
    numbers = [one.index for one in shown]
    return DayTold(_entry_of(closing), False, _bytes(salt), numbers, [_leaf_of(one) for one in near]), shown


def _leaf_of(value: object) -> LeafTold:
    at, data, path = _taken(value, at=int, data=str, path=list)
    return LeafTold(at, _bytes(data), [_bytes(one) for one in path])


def _taken(value: object, **kinds: type) -> list[Any]:
    """The values of an object that has just these keys, each of its kind."""
    if not isinstance(value, dict) or set(value) != set(kinds):
        raise _malformed()
    taken = [value[key] for key in kinds]
    if any(type(one) is not kind for one, kind in zip(taken, kinds.values(), strict=True)):
        raise _malformed()
    if any(isinstance(one, int) and not 0 <= one < 1 << 63 for one in taken):
        raise _malformed()
    return taken


def _utf8(text: str) -> bytes:
    """As bytes; half a character, which is none, becomes bytes that no hash is of."""
    return text.encode("utf-8", "surrogatepass")


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise _malformed()
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise _malformed() from None
    if _base64(data) != text:
        raise _malformed()
    return data


def _malformed() -> IntegrityError:
    return IntegrityError("the person's log is malformed")
