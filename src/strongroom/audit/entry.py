"""One line of the log as canonical bytes, and back.

An entry is UTF-8 JSON with sorted keys and without spaces, at most 65,535 bytes. Keys that say nothing are
left out:

| key | value |
| --- | --- |
| v | 1 |
| time | milliseconds since 1970 (UTC), never below the entry before |
| act | what was asked: open, get, find, sql, keys, put, commit, policy, schema, … |
| decision | allowed or refused |
| actor | who asked |
| credential | id of the credential that signed the request, of a keymaster behind a server |
| role | under which of their roles |
| purpose, legal_basis | under which purpose, and its basis |
| recipient | who received it, of an export |
| classes | classes of fields that the answer could show |
| table, fields | what of, field names in order |
| count | distinct persons (or records, of a put) |
| remaining | what is left of each budget: rule name to number |
| reason | keyed hash of the reason given, 64 hex digits; the text is sealed elsewhere |
| labels | root of the Merkle tree over the subjects' day labels, 64 hex digits |
| disclosed | the day (since 1970) in whose map the labels stand, where that is a later one than the day of `time` |
| shown | digest of the disclosure that says what a person was shown, 64 hex digits |
| kept | digest of the second line, 64 hex digits |
| request | request id, 32 hex digits |
| policy | number of the policy in force |
| rule | the rule that decided |
| extras | further names to whole numbers or short texts, without personal values |

An entry that touches persons has two lines. The first is the entry of the log: what each of them may read (v, time,
act, decision, role, purpose, legal_basis, recipient, classes, labels, disclosed, shown) and `kept`. The second lies at
the keymaster: the disclosure (`audit.disclosure`) named `kept` of everything else, who asked and how many persons
among it. A line end is no part of canonical JSON, so that the two are told apart.

Rules it keeps:

1. What parses prints back the same bytes; anything else is refused.
2. Values are whole numbers and strings, nothing else, so that every reader agrees on the bytes.
3. The first line alone is in the log; a second line that it does not commit to is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from strongroom.audit.disclosure import disclose, disclosed_digest, open_disclosure
from strongroom.audit.tlog import EMPTY_ROOT, ENTRY_BYTES_MAX, HASH_BYTES, leaf_hash, tree_root
from strongroom.errors import IntegrityError, UsageError
from strongroom.seal.columns import sort_entries, token_changes
from strongroom.seal.sha import LANES_FROM, LEAF, digests, root_over

VERSION = 1
DECISIONS = ("allowed", "refused")
INTEGER_MAX = 2**63 - 1
LABEL_BYTES = 16
HASHED_AT_ONCE = 65_536  # labels: a power of two
HASHING_THREADS = 4

_TEXTS = ("act", "actor", "credential", "decision", "legal_basis", "purpose", "recipient", "role", "rule", "table")
_HEX = {"reason": 64, "labels": 64, "request": 32, "shown": 64}
_NUMBERS = ("count", "disclosed", "policy", "time")
_PLAIN = (*_TEXTS, *_NUMBERS)
_LISTS = ("classes", "fields")
_DICTS = ("remaining", "extras")
_REQUIRED = frozenset({"act", "actor", "decision", "time", "v"})
_KNOWN = frozenset({*_TEXTS, *_HEX, *_NUMBERS, *_LISTS, "extras", "remaining", "v"})
_KEPT = frozenset({
    "actor", "count", "credential", "extras", "fields", "policy", "reason", "remaining", "request", "rule", "table",
})  # fmt: skip
_SECOND = "kept"
_ENCODER = msgspec.json.Encoder(order="sorted")  # the bytes of json.dumps with these rules: held by a test
_HEX_DIGITS = re.compile(r"[0-9a-f]*")


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


class Entry(msgspec.Struct, frozen=True):
    """What one request asked, and what was decided. The module's table says what each key means.

    Bytes (`reason`, `labels` and `shown` 32, `request` 16) stand for the hex digits of the stored form.

    Args:
        salt: 16 random bytes: the entry has two lines. Every entry with labels has.
        kept: Of an entry whose second line is not at hand, what commits to it; `actor` is empty then.
    """

    time: int
    act: str
    actor: str
    decision: str
    role: str | None = None
    purpose: str | None = None
    legal_basis: str | None = None
    recipient: str | None = None
    classes: tuple[str, ...] = ()
    table: str | None = None
    fields: tuple[str, ...] = ()
    count: int | None = None
    remaining: Mapping[str, int] = msgspec.field(default_factory=dict)
    reason: bytes | None = None
    labels: bytes | None = None
    disclosed: int | None = None
    shown: bytes | None = None
    request: bytes | None = None
    policy: int | None = None
    rule: str | None = None
    extras: Mapping[str, int | str] = msgspec.field(default_factory=dict)
    credential: str | None = None
    salt: bytes | None = None
    kept: bytes | None = None

    def to_dict(self) -> dict[str, object]:
        """All that is said as one dictionary: hex digits for bytes, without what says nothing."""
        found: dict[str, object] = {"v": VERSION}
        for key in _PLAIN:
            if (value := getattr(self, key)) is not None:
                found[key] = value
        for key in _HEX:
            if (value := getattr(self, key)) is not None:
                found[key] = value.hex()
        for key in _LISTS:
            if value := getattr(self, key):
                found[key] = list(value)
        for key in _DICTS:
            if value := getattr(self, key):
                found[key] = dict(value)
        return found

    def to_bytes(self) -> bytes:
        """The canonical bytes, of one line or two.

        Raises:
            UsageError: The entry is too long, or a key has a value that entries do not take.
        """
        value = self.to_dict()
        if self.kept is not None and not self.actor:
            del value["actor"]
        alone = self.kept is not None
        problem = None if not alone and _has_form(value) else _problem(value, alone=alone)
        if problem:
            raise UsageError(f"a log entry cannot hold this: {problem}")
        second = b""
        if self.salt is not None:
            second = disclose(self.salt, _SECOND, {key: value.pop(key) for key in _KEPT & value.keys()})
            value[_SECOND] = disclosed_digest(second).hex()
        elif self.kept is not None:
            value[_SECOND] = self.kept.hex()
        first = _encode(value)
        if first is None or max(len(first), len(second)) > ENTRY_BYTES_MAX:
            raise UsageError(f"a log entry is longer than {ENTRY_BYTES_MAX} bytes or not text")
        return first + b"\n" + second if second else first


def logged(entry: bytes) -> bytes:
    """The line of an entry that is in the log: all of it, or the first of two."""
    return entry.partition(b"\n")[0]


def as_one(entry: bytes) -> bytes:
    """All that an entry of one line or two says as one JSON object, unchecked and in no order: for a first look."""
    first, _end, second = entry.partition(b"\n")
    # nothing before the object of a disclosure has a brace: a salt in base64url, and a name
    return first[:-1] + b"," + second[second.index(b"{") + 1 : -1] if second else first


def parse_entry(data: bytes) -> Entry:
    """Read the canonical bytes of an entry, of two lines or of the first alone.

    Raises:
        IntegrityError: They are not exactly what `Entry.to_bytes` writes.
    """
    first, end, second = data.partition(b"\n")
    if max(len(first), len(second)) > ENTRY_BYTES_MAX:
        raise IntegrityError(f"a log entry is longer than {ENTRY_BYTES_MAX} bytes")
    value = _object(first)
    kept, salt = _digest(value), None
    if end:
        if kept is None or _KEPT & value.keys():
            raise IntegrityError("a log entry has a second line that it does not commit to")
        salt, more = open_disclosure(second, _SECOND, kept)
        if not isinstance(more, dict) or not more.keys() <= _KEPT:
            raise IntegrityError("the second line of a log entry is malformed")
        value, kept = {**value, **more}, None
    problem = _problem(value, alone=kept is not None)
    if problem:
        raise IntegrityError(f"a log entry is malformed: {problem}")
    parts: dict[str, Any] = {key: value[key] for key in value if key not in {"v", *_LISTS, *_HEX}}
    parts.update({key: bytes.fromhex(value[key]) for key in _HEX if key in value})
    parts.update({key: tuple(value[key]) for key in _LISTS if key in value})
    return Entry(**{"actor": "", **parts, "salt": salt, "kept": kept})


def _object(line: bytes) -> dict[str, Any]:
    """The object in the first line, which must be canonical."""
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise IntegrityError("a log entry is not JSON") from None
    if not isinstance(value, dict):
        raise IntegrityError("a log entry is not a JSON object")
    if _encode(value) != line:
        raise IntegrityError("a log entry is not in its canonical form")
    return value


def _digest(value: dict[str, Any]) -> bytes | None:
    """Take what commits to a second line out of the first."""
    if _SECOND not in value:
        return None
    kept = value.pop(_SECOND)
    if not isinstance(kept, str) or len(kept) != 64 or not _HEX_DIGITS.fullmatch(kept):
        raise IntegrityError("a log entry is malformed: kept has a value of the wrong kind")
    return bytes.fromhex(kept)


def _encode(value: Mapping[str, object]) -> bytes | None:
    try:
        return _ENCODER.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _problem(value: Mapping[str, object], *, alone: bool) -> str | None:
    """What is wrong with a dictionary as an entry, or as a first line alone; None for nothing."""
    if not alone and _is_sound(value):
        return None
    missing = _REQUIRED - value.keys() - (_KEPT if alone else frozenset())
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    if not value.keys() <= (_KNOWN - _KEPT if alone else _KNOWN):
        return "it has an unknown key"
    if not _whole(value["v"]) or value["v"] != VERSION:
        return "its version is unknown"
    for key, item in value.items():
        if not _fits(key, item):
            return f"{key} has a value of the wrong kind"
    return None


def _fits(key: str, item: object) -> bool:
    return _FORMS.get(key, _whole)(item)


def _whole(item: object) -> bool:
    return type(item) is int and 0 <= item <= INTEGER_MAX


def _text(item: object) -> bool:
    return isinstance(item, str) and item != ""


def _hex(digits: int) -> Callable[[object], bool]:
    return lambda item: isinstance(item, str) and len(item) == digits and bool(_HEX_DIGITS.fullmatch(item))


def _names(item: object) -> bool:
    return isinstance(item, list) and item != [] and all(isinstance(name, str) for name in item)


def _counts(item: object) -> bool:
    return isinstance(item, dict) and item != {} and all(isinstance(n, str) and _whole(v) for n, v in item.items())


def _further(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item != {}
        and all(isinstance(name, str) and (_whole(part) or isinstance(part, str)) for name, part in item.items())
    )


_FORMS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(_TEXTS, _text),
    "decision": lambda item: isinstance(item, str) and item in DECISIONS,
    **{key: _hex(digits) for key, digits in _HEX.items()},
    **dict.fromkeys(_LISTS, _names),
    "remaining": _counts,
    "extras": _further,
}
"""How the value of a key looks; whole numbers where it is not said."""


_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(_TEXTS, _Text),
    "decision": Literal[DECISIONS],
    **{key: Annotated[str, msgspec.Meta(min_length=digits, max_length=digits)] for key, digits in _HEX.items()},
    **dict.fromkeys(_NUMBERS, _Whole),
    **dict.fromkeys(_LISTS, Annotated[list[str], msgspec.Meta(min_length=1)]),
    "remaining": Annotated[dict[str, _Whole], msgspec.Meta(min_length=1)],
    "extras": Annotated[dict[str, _Whole | str], msgspec.Meta(min_length=1)],
    "v": Literal[VERSION],
}
_FORM = msgspec.defstruct(
    "_FORM",
    [
        (key, kind) if key in _REQUIRED else (key, kind | msgspec.UnsetType, msgspec.UNSET)
        for key, kind in sorted(_KINDS.items(), key=lambda pair: pair[0] not in _REQUIRED)
    ],
    forbid_unknown_fields=True,
)
"""An entry as msgspec checks it, at once and without words for what is wrong; but for what hex digits are."""


def _has_form(value: Mapping[str, object]) -> bool:
    """Whether nothing is wrong with what `Entry.to_dict` made, whose hex digits are such, and whose lists are."""
    try:
        msgspec.convert(value, _FORM)
    except (msgspec.ValidationError, UnicodeError, RecursionError):
        return False
    return True


def _is_sound(value: Mapping[str, object]) -> bool:
    """Whether nothing is wrong with a dictionary as an entry; where this is False, `_problem` looks closer."""
    if not _has_form(value):
        return False
    digits = [value[key] for key in _HEX if key in value]
    lists = [value[key] for key in _LISTS if key in value]
    return all(_HEX_DIGITS.fullmatch(str(item)) for item in digits) and all(isinstance(item, list) for item in lists)


def labels_root(labels: npt.NDArray[np.uint8]) -> bytes:
    """Merkle root (RFC 6962) over the sorted distinct day labels of an entry's subjects.

    Args:
        labels: u8[n,16], in any order, repeats allowed.

    Returns:
        32 bytes; the root of the empty tree for no labels.
    """
    if labels.ndim != 2 or labels.shape[1] != LABEL_BYTES or labels.dtype != np.uint8:
        raise UsageError("labels must be bytes, 16 to a subject")
    if labels.shape[0] < 2:
        return leaf_hash(labels.tobytes()) if labels.shape[0] else EMPTY_ROOT
    held = np.ascontiguousarray(labels)
    ordered = held.view("V16")[sort_entries(held)].view(np.uint8)
    distinct = ordered[token_changes(ordered)]
    if len(distinct) >= LANES_FROM:
        return _root_in_lanes(distinct)
    data = distinct.tobytes()
    sha256 = hashlib.sha256
    level = b"".join([sha256(b"\x00" + data[i : i + 16]).digest() for i in range(0, len(data), 16)])
    while len(level) > HASH_BYTES:
        whole = len(level) // 64 * 64
        pairs = [sha256(b"\x01" + level[i : i + 64]).digest() for i in range(0, whole, 64)]
        level = b"".join([*pairs, level[whole:]])
    return level


def _root_in_lanes(labels: npt.NDArray[np.uint8]) -> bytes:
    """The root over many sorted distinct labels, u8[n,16]: parts of the tree are made by several threads."""

    def part(at: int) -> bytes:
        some = labels[at : at + HASHED_AT_ONCE]
        ends = np.arange(len(some) + 1, dtype=np.int64) * LABEL_BYTES
        return root_over(digests(LEAF, some.reshape(-1), ends))

    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        return tree_root(list(pool.map(part, range(0, len(labels), HASHED_AT_ONCE))))
