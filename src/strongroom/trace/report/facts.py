"""What a trace found, as plain values: counts, names of the schema and of exports, numbers of rows and log entries.

Rules it keeps:

1. No person's value stands in it, and nothing that a value could be taken for: a row is a number.
2. What a trace was silent about is None or empty. Nothing is filled in for it.
3. Silence does not accuse: facts that name an export whose evidence is below the bound are refused when they are made.
4. Whoever has the text of `to_json` makes the same facts, and so the same report, again.

Times are seconds since 1970 (UTC), ids and digests lower-case hex, shares 0 to 1, evidence in nats.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import msgspec

from strongroom.errors import InputError, UsageError
from strongroom.evidence.verdict import EPSILON
from strongroom.trace.report.exported import (
    Accused,
    Bin,
    ByCanaries,
    ByTokens,
    Excluded,
    Export,
    Handful,
    Weighing,
)
from strongroom.trace.report.sampled import (
    Affected,
    ClassCount,
    ColumnFound,
    Count,
    Dating,
    FieldCount,
    Hex,
    Interval,
    Notification,
    Ours,
    Sample,
    SampleFile,
    Share,
    Snapshot,
    TableCount,
)

__all__ = [
    "EPSILON",
    "KIND",
    "VERSION",
    "Accused",
    "Affected",
    "Bin",
    "ByCanaries",
    "ByTokens",
    "ClassCount",
    "ColumnFound",
    "Dating",
    "Excluded",
    "Export",
    "FieldCount",
    "Handful",
    "Interval",
    "Limit",
    "Notification",
    "Ours",
    "Sample",
    "SampleFile",
    "Share",
    "Snapshot",
    "TableCount",
    "TraceFacts",
    "Weighing",
    "from_json",
    "to_json",
]

KIND = "strongroom trace facts"
VERSION = 1
FILE_BYTES_MAX = 256 << 20
NUMBER_MAX = 1e15
EPSILON_MIN = 1e-30
_THRESHOLD_SLACK = 1e-6
_HALF = re.compile("[\ud800-\udfff]")


# -- all of it ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What was not possible, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFacts:
    """All that a trace found.

    Args:
        room: Name of the room, as the operator calls it.
        room_id: Its id.
        at: When the trace ended.
        sample: What was published.
        actor: Who traced.
        purpose: Under which purpose.
        entry: Number of the trace's first entry in the log.
        snapshot: Number of the snapshot it was compared with.
        ours: Is it ours.
        weighing: How exports were weighed; None where none could be.
        accused: Exports named as sources, the strongest evidence first.
        handfuls: Candidates by tokens that accuse nobody.
        excluded: Exports that cannot be the only source.
        dating: When it was taken.
        affected: Who is in it.
        limits: What was not possible.

    Raises:
        UsageError: An export is named whose evidence is below the bound, or a value is none that a trace finds.
    """

    room: str
    room_id: Hex
    at: float
    sample: Sample
    actor: str = ""
    purpose: str = ""
    entry: Count | None = None
    snapshot: Count | None = None
    ours: Ours | None = None
    weighing: Weighing | None = None
    accused: tuple[Accused, ...] = ()
    handfuls: tuple[Handful, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    dating: Dating | None = None
    affected: Affected | None = None
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        _finite(self, "facts")
        _fitting(self)
        epsilon = EPSILON if self.weighing is None else _bound(self.weighing)
        for one in self.accused:
            _reached(one, self.weighing, epsilon)


def _finite(value: Any, place: str) -> None:
    if isinstance(value, float) and not abs(value) <= NUMBER_MAX:
        raise UsageError(f"{place} is no number that a trace finds", hint="leave out what it cannot say.")
    if is_dataclass(value):
        for one in fields(value):
            _finite(getattr(value, one.name), f"{place}.{one.name}")
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            _finite(one, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        for one in value.values():
            _finite(one, place)


def _fitting(facts: TraceFacts) -> None:
    """What is made here is what `from_json` takes: an archive that cannot be read again is not written."""
    for name, kind in get_type_hints(TraceFacts, include_extras=True).items():
        try:
            msgspec.convert(msgspec.to_builtins(getattr(facts, name), enc_hook=_plain), kind)
        except (msgspec.ValidationError, TypeError) as error:
            place = str(error).rpartition(" - at `$")[2].rstrip("`") if " - at `" in str(error) else ""
            raise UsageError(f"facts.{name}{place} is not as it must be") from None


def _plain(value: Any) -> int | float:
    """Numbers of numpy as those of Python."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError


def _bound(weighing: Weighing) -> float:
    """The accepted probability of a false accusation, checked against the threshold that is said to follow from it."""
    if not EPSILON_MIN <= weighing.epsilon <= EPSILON:
        raise UsageError(f"the bound of false accusation is at most {EPSILON:.0e}")
    if weighing.ever_issued < max(1, weighing.judged + weighing.opened):
        raise UsageError("more exports were weighed than were ever issued")
    if abs(math.log(weighing.ever_issued / weighing.epsilon) - weighing.threshold) > _THRESHOLD_SLACK:
        raise UsageError("the threshold of the evidence is not the logarithm of N/ε")
    return weighing.epsilon


def _reached(accused: Accused, weighing: Weighing | None, epsilon: float) -> None:
    """Refuse an accusation that the evidence does not carry."""
    canaries, tokens = accused.canaries, accused.tokens
    by_canaries = canaries is not None and weighing is not None and canaries.log_e >= weighing.threshold
    by_tokens = tokens is not None and tokens.chance <= epsilon and tokens.log_e >= -math.log(epsilon)
    if not (by_canaries or by_tokens):
        raise UsageError(
            "an export is named whose evidence is below the bound",
            hint="below it no export is named: count it unnamed.",
        )


# -- archived ----------------------------------------------------------------------------------------------


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    strongroom: str
    version: int
    facts: msgspec.Raw


def to_json(facts: TraceFacts) -> bytes:
    """The facts as one JSON text, UTF-8: the same facts give the same bytes.

    The keys are the names of the dataclasses' fields; a version that takes a key away or changes its meaning has
    another number. Halves of characters, as names of files may have, are U+FFFD in it, as they are on pages.
    """
    value = {"strongroom": KIND, "version": VERSION, "facts": facts}
    try:
        text = msgspec.json.encode(value, order="sorted", enc_hook=_plain)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_whole_characters(msgspec.to_builtins(value, enc_hook=_plain)), order="sorted")
    return msgspec.json.format(text, indent=1) + b"\n"


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(one) for key, one in value.items()}
    return [_whole_characters(one) for one in value] if isinstance(value, list | tuple) else value


def from_json(data: bytes) -> TraceFacts:
    """The facts of an archived text.

    Raises:
        InputError: It is not such a text, or of a version that this program does not know.
        UsageError: It names an export whose evidence is below the bound.
    """
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"a file of facts has at most {FILE_BYTES_MAX >> 20} MiB")
    try:
        file = msgspec.json.decode(data, type=_File)
        if file.strongroom != KIND:
            raise InputError("this file does not hold what a trace found", hint=f"its `strongroom` is {KIND!r}.")
        if file.version != VERSION:
            raise InputError(f"facts of version {file.version}; this program reads version {VERSION}")
        return msgspec.json.decode(file.facts, type=TraceFacts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = str(error).rpartition(" - at `")[2].rstrip("`") if " - at `" in str(error) else "the text"
        raise InputError(f"this file does not hold what a trace found: {place} is not as it must be") from None
