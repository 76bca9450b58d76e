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
| purpose, legal_basis | under which purpose, and its basis |
| table, fields | what of, field names in order |
| count | distinct persons (or records, of a put) |
| remaining | what is left of each budget: rule name to number |
| reason | keyed hash of the reason given, 64 hex digits; the text is sealed elsewhere |
| labels | root of the Merkle tree over the subjects' day labels, 64 hex digits |
| request | request id, 32 hex digits |
| policy | number of the policy in force |
| rule | the rule that decided |
| extras | further names to whole numbers or short texts, without personal values |

Rules it keeps:

1. What parses prints back the same bytes; anything else is refused.
2. Values are whole numbers and strings, nothing else, so that every reader agrees on the bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from strongroom.audit.tlog import EMPTY_ROOT, ENTRY_BYTES_MAX, HASH_BYTES
from strongroom.errors import IntegrityError, UsageError

VERSION = 1
DECISIONS = ("allowed", "refused")
INTEGER_MAX = 2**63 - 1
LABEL_BYTES = 16

_TEXTS = ("act", "actor", "credential", "decision", "legal_basis", "purpose", "rule", "table")
_HEX = {"reason": 64, "labels": 64, "request": 32}
_NUMBERS = ("count", "policy", "time")
_REQUIRED = frozenset({"act", "actor", "decision", "time", "v"})
_KNOWN = frozenset({*_TEXTS, *_HEX, *_NUMBERS, "extras", "fields", "remaining", "v"})
_ENCODER = msgspec.json.Encoder(order="sorted")  # the bytes of json.dumps with these rules: held by a test
_HEX_DIGITS = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True)
class Entry:
    """What one request asked, and what was decided. The module's table says what each key means.

    Bytes (`reason` and `labels` 32, `request` 16) stand for the hex digits of the stored form.
    """

    time: int
    act: str
    actor: str
    decision: str
    purpose: str | None = None
    legal_basis: str | None = None
    table: str | None = None
    fields: tuple[str, ...] = ()
    count: int | None = None
    remaining: Mapping[str, int] = field(default_factory=dict)
    reason: bytes | None = None
    labels: bytes | None = None
    request: bytes | None = None
    policy: int | None = None
    rule: str | None = None
    extras: Mapping[str, int | str] = field(default_factory=dict)
    credential: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The stored form as a dictionary: hex digits for bytes, without what says nothing."""
        return {
            "v": VERSION,
            **{key: value for key in (*_TEXTS, *_NUMBERS) if (value := getattr(self, key)) is not None},
            **{key: value.hex() for key in _HEX if (value := getattr(self, key)) is not None},
            **({"fields": list(self.fields)} if self.fields else {}),
            **({"remaining": dict(self.remaining)} if self.remaining else {}),
            **({"extras": dict(self.extras)} if self.extras else {}),
        }

    def to_bytes(self) -> bytes:
        """The canonical bytes.

        Raises:
            UsageError: The entry is too long, or a key has a value that entries do not take.
        """
        value = self.to_dict()
        problem = _problem(value)
        if problem:
            raise UsageError(f"a log entry cannot hold this: {problem}")
        data = _encode(value)
        if data is None or len(data) > ENTRY_BYTES_MAX:
            raise UsageError(f"a log entry is longer than {ENTRY_BYTES_MAX} bytes or not text")
        return data


def parse_entry(data: bytes) -> Entry:
    """Read the canonical bytes of an entry.

    Raises:
        IntegrityError: They are not exactly what `Entry.to_bytes` writes.
    """
    if len(data) > ENTRY_BYTES_MAX:
        raise IntegrityError(f"a log entry is longer than {ENTRY_BYTES_MAX} bytes")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise IntegrityError("a log entry is not JSON") from None
    if not isinstance(value, dict):
        raise IntegrityError("a log entry is not a JSON object")
    problem = _problem(value)
    if problem:
        raise IntegrityError(f"a log entry is malformed: {problem}")
    if _encode(value) != data:
        raise IntegrityError("a log entry is not in its canonical form")
    parts: dict[str, Any] = {key: value[key] for key in value if key not in {"v", "fields", *_HEX}}
    parts.update({key: bytes.fromhex(value[key]) for key in _HEX if key in value})
    return Entry(fields=tuple(value.get("fields", ())), **parts)


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


def _encode(value: Mapping[str, object]) -> bytes | None:
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return None


def _problem(value: Mapping[str, object]) -> str | None:
    """What is wrong with a dictionary as an entry, or None."""
    if _REQUIRED - value.keys():
        return f"it lacks {', '.join(sorted(_REQUIRED - value.keys()))}"
    if not value.keys() <= _KNOWN:
        return "it has an unknown key"
    if not _whole(value["v"]) or value["v"] != VERSION:
        return "its version is unknown"
    for key, item in value.items():
        if not _fits(key, item):
            return f"{key} has a value of the wrong kind"
    return None


def _fits(key: str, item: object) -> bool:
    if key == "decision":
        return item in DECISIONS if isinstance(item, str) else False
    if key in _TEXTS:
        return isinstance(item, str) and item != ""
    if key in _HEX:
        return isinstance(item, str) and len(item) == _HEX[key] and bool(_HEX_DIGITS.fullmatch(item))
    if key == "fields":
        return isinstance(item, list) and item != [] and all(isinstance(name, str) for name in item)
    if key in {"remaining", "extras"}:
        texts = key == "extras"
        return (
            isinstance(item, dict)
            and item != {}
            and all(isinstance(name, str) for name in item)
            and all(_whole(part) or (texts and isinstance(part, str)) for part in item.values())
        )
    return _whole(item)


def _whole(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= INTEGER_MAX


def labels_root(labels: npt.NDArray[np.uint8]) -> bytes:
    """Merkle root (RFC 6962) over the sorted distinct day labels of an entry's subjects.

    Args:
        labels: u8[n,16], in any order, repeats allowed.

    Returns:
        32 bytes; the root of the empty tree for no labels.
    """
    if labels.ndim != 2 or labels.shape[1] != LABEL_BYTES or labels.dtype != np.uint8:
        raise UsageError("labels must be bytes, 16 to a subject")
    if not labels.shape[0]:
        return EMPTY_ROOT
    halves = np.ascontiguousarray(labels).view(">u8").astype(np.uint64)
    halves = halves[np.lexsort((halves[:, 1], halves[:, 0]))]
    fresh = np.ones(len(halves), dtype=bool)
    fresh[1:] = (halves[1:] != halves[:-1]).any(axis=1)
    data = halves[fresh].astype(">u8").tobytes()
    sha256 = hashlib.sha256
    level = b"".join([sha256(b"\x00" + data[i : i + 16]).digest() for i in range(0, len(data), 16)])
    while len(level) > HASH_BYTES:
        whole = len(level) // 64 * 64
        pairs = [sha256(b"\x01" + level[i : i + 64]).digest() for i in range(0, whole, 64)]
        level = b"".join([*pairs, level[whole:]])
    return level
