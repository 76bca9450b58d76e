"""The map of a day: which entries touched whom, as a sorted Merkle tree over labels that name nobody.

Source: RFC 6962, 2.1 (hashes, tree). Leaf = day label 16 B | SHA-256 of (salt 16 B | numbers of the label's entries,
u64 big-endian, ascending). Leaves ascend by label, each label stands once. The salt hides from a neighbour in the map
how often somebody was read, and in which entries.

The `day` entry of the log closes a day, or several in a row in which nobody was read: extras `from` and `day` (days
since 1970), `labels` (leaves of the map), `entries` (that touched somebody), `map` (root, hex), and `lost` where lists
of labels were lost with a keymaster's database.

Rules it keeps:

1. Two leaves side by side prove that no label between them is in the map; one at an end proves it of what lies beyond.
2. Spans of `day` entries follow one another without a gap, so that a day that was never closed shows.
3. Memory is bounded: labels are taken in ranges, some millions at a time, and hashed in parts of PART_LABELS.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strongroom.audit.entry import LABEL_BYTES, Entry
from strongroom.audit.tlog import EMPTY_ROOT, HASH_BYTES, leaf_hash, tree_root
from strongroom.errors import IntegrityError

DAY_MS = 24 * 3600 * 1000
PART_LABELS = 512
PAIRS_AT_ONCE = 2_000_000
DAY_ACT = "day"
ITSELF = "keymaster"

U8 = npt.NDArray[np.uint8]
Lists = Callable[[], Iterable[tuple[Sequence[int], Sequence[bytes]]]]
"""Gives numbers of entries, ascending, and the labels of each, 16 bytes a person; some thousand entries at a time."""
Salts = Callable[[U8], U8]
"""Gives the salt of each label, u8[n,16]."""


@dataclass(frozen=True)
class Part:
    """PART_LABELS leaves of a map, fewer only in the last.

    Args:
        labels: u8[n,16], ascending.
        starts: Where in `leaves` the entries of each label begin, and the end of the last: i64[n + 1].
        leaves: Numbers of entries.
    """

    labels: U8 = field(repr=False)
    starts: npt.NDArray[np.int64] = field(repr=False)
    leaves: npt.NDArray[np.int64] = field(repr=False)

    def entries(self, at: int) -> list[int]:
        """Numbers of the entries of label `at`."""
        found: list[int] = self.leaves[self.starts[at] : self.starts[at + 1]].tolist()
        return found

    def leaf_data(self, salts: U8) -> list[bytes]:
        """What each leaf commits to, 48 bytes."""
        labels, salt, numbers = self.labels.tobytes(), salts.tobytes(), self.leaves.astype(">i8").tobytes()
        ends = (self.starts * 8).tolist()
        sha256 = hashlib.sha256
        return [
            labels[i : i + 16] + sha256(salt[i : i + 16] + numbers[ends[n] : ends[n + 1]]).digest()
            for n, i in enumerate(range(0, len(labels), LABEL_BYTES))
        ]


def entries_digest(salt: bytes, numbers: Sequence[int]) -> bytes:
    """What a leaf says of its label's entries."""
    return hashlib.sha256(salt + struct.pack(f">{len(numbers)}q", *numbers)).digest()


def sorted_parts(lists: Lists, pairs: int, most: int = PAIRS_AT_ONCE) -> Iterator[Part]:
    """The map's leaves in order.

    Args:
        lists: Read once for every `most` pairs.
        pairs: How many labels the lists have in all.
        most: How many of them are held at once, about.
    """
    passes = max(1, -(-pairs // most))
    left: Part | None = None
    for turn in range(passes):
        low, high = turn * 65536 // passes, (turn + 1) * 65536 // passes
        left, whole = _cut(_joined(left, _gathered(lists, low, high)))
        yield from whole
    if left is not None and len(left.labels):
        yield left


def _gathered(lists: Lists, low: int, high: int) -> Part:
    """All labels whose first two bytes are in a range, sorted, each once."""
    labels: list[U8] = []
    leaves: list[npt.NDArray[np.int64]] = []
    for numbers, datas in lists():
        some = np.frombuffer(b"".join(datas), np.uint8).reshape(-1, LABEL_BYTES)
        counts = np.fromiter((len(data) // LABEL_BYTES for data in datas), np.int64, len(datas))
        owners = np.repeat(np.asarray(numbers, np.int64), counts)
        if high - low < 65536:
            heads = some[:, 0].astype(np.int64) << 8 | some[:, 1]
            chosen = (heads >= low) & (heads < high)
            some, owners = some[chosen], owners[chosen]
        labels.append(some)
        leaves.append(owners)
    if not labels:
        return Part(np.empty((0, LABEL_BYTES), np.uint8), np.zeros(1, np.int64), np.empty(0, np.int64))
    every, owners = np.concatenate(labels), np.concatenate(leaves)
    labels.clear()
    leaves.clear()
    halves = np.ascontiguousarray(every).view(">u8")
    # stable: the entries of a label stay in order
    order = np.lexsort((halves[:, 1].astype(np.uint64), halves[:, 0].astype(np.uint64)))
    every, owners = every[order], owners[order]
    fresh = np.ones(len(every), np.bool_)
    fresh[1:] = (every[1:] != every[:-1]).any(axis=1)
    firsts = np.flatnonzero(fresh)
    return Part(every[firsts], np.append(firsts, len(every)), owners)


def _joined(left: Part | None, more: Part) -> Part:
    if left is None or not len(left.labels):
        return more
    starts = np.concatenate((left.starts, more.starts[1:] + len(left.leaves)))
    return Part(np.concatenate((left.labels, more.labels)), starts, np.concatenate((left.leaves, more.leaves)))


def _cut(part: Part) -> tuple[Part, Iterator[Part]]:
    """What is left after the last whole part, and the whole ones."""
    whole = len(part.labels) // PART_LABELS * PART_LABELS

    def piece(start: int, stop: int) -> Part:
        first, last = part.starts[start], part.starts[stop]
        return Part(part.labels[start:stop], part.starts[start : stop + 1] - first, part.leaves[first:last])

    return piece(whole, len(part.labels)), (piece(at, at + PART_LABELS) for at in range(0, whole, PART_LABELS))


def map_root(lists: Lists, pairs: int, salts: Salts) -> tuple[bytes, int]:
    """Root and number of labels of the map that entries' lists make: what an auditor compares with the log."""
    roots, count = [], 0
    for part in sorted_parts(lists, pairs):
        roots.append(part_root(part.leaf_data(salts(part.labels))))
        count += len(part.labels)
    return tree_root(roots), count


def part_root(leaf_data: Sequence[bytes]) -> bytes:
    """Root of the subtree over some leaves."""
    return tree_root([leaf_hash(data) for data in leaf_data])


class Tree:
    """All levels of a tree over some hashes, from below.

    Args:
        hashes: Of leaves, or of equal full subtrees of which the last may be smaller.
    """

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._levels = [list(hashes)]
        sha256 = hashlib.sha256
        while len(level := self._levels[-1]) > 1:
            odd = [level[-1]] if len(level) % 2 else []
            pairs = zip(level[0::2], level[1::2], strict=False)
            self._levels.append([sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd)

    @property
    def root(self) -> bytes:
        """Merkle tree hash (RFC 6962, 2.1)."""
        return self._levels[-1][0] if self._levels[-1] else EMPTY_ROOT

    def path(self, index: int) -> list[bytes]:
        """The hashes beside the path of one of the hashes, from below (RFC 9162, 2.1.3.1)."""
        levels = enumerate(self._levels)
        return [level[at] for up, level in levels if (at := (index >> up) ^ 1) < len(level) > 1]


# -- entries that close days --------------------------------------------------------------------------


@dataclass(frozen=True)
class Closed:
    """What a `day` entry says: its span, how many labels and entries, how many lists are lost, the root."""

    first: int
    day: int
    labels: int
    entries: int
    lost: int
    root: bytes

    def extras(self) -> dict[str, int | str]:
        """As an entry says it."""
        said: dict[str, int | str] = {"from": self.first, "day": self.day, "labels": self.labels}
        said |= {"entries": self.entries, "map": self.root.hex()}
        return {**said, "lost": self.lost} if self.lost else said


def closed_of(entry: Entry) -> Closed:
    """Read a `day` entry.

    Raises:
        IntegrityError: It is another entry, or says what cannot be.
    """
    wrong = IntegrityError("an entry of the log closes no day")
    said = dict(entry.extras)
    root = said.pop("map", None)
    given = [said.pop(name, None) for name in ("from", "day", "labels", "entries")] + [said.pop("lost", 0)]
    numbers = [number for number in given if isinstance(number, int)]
    if (entry.act, entry.actor, entry.decision) != (DAY_ACT, ITSELF, "allowed") or said or not isinstance(root, str):
        raise wrong
    try:
        first, day, labels, entries, lost = numbers
        found = Closed(first, day, labels, entries, lost, bytes.fromhex(root))
    except ValueError:
        raise wrong from None
    nothing = not (found.labels or found.entries or found.lost) and found.root == EMPTY_ROOT
    if found.first > found.day or len(found.root) != HASH_BYTES or (found.first != found.day and not nothing):
        raise wrong
    if entry.time < (found.day + 1) * DAY_MS:
        raise IntegrityError(f"day {found.day} was closed before it was over")
    return found


def check_spans(spans: Iterable[Closed], first: int) -> int:
    """Check that days follow one another without a gap, from day `first` on; returns the day after the last.

    Raises:
        IntegrityError: A day is missing, or was closed twice.
    """
    due = first
    for span in spans:
        if span.first != due:
            what = f"day {due} is missing" if span.first > due else f"day {span.first} is closed twice"
            raise IntegrityError(f"the maps of the days have a gap: {what}")
        due = span.day + 1
    return due


def day_of(entry: Entry) -> int:
    """The day in whose map an entry's labels stand."""
    return entry.time // DAY_MS if entry.disclosed is None else entry.disclosed
