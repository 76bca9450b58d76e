"""Describes stored objects, manifests and snapshots, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from strongroom.keymaster.api import FileKey, Head

BlockKeys = Callable[[bytes, int, Sequence[int], "bytes | None"], "list[bytes]"]
"""(key id, kind, block numbers, table id or None) -> one block key per number, in order."""

Mint = Callable[[int, bytes], FileKey]
"""(kind, object id) -> a fresh file key for that object alone."""


@dataclass(frozen=True)
class ObjectEntry:
    """One stored object that holds data: a run, an open-columns file or rejects. All that readers trust about it.

    Attributes:
        object_id: 16 B; gives its name.
        kind: One of the kinds of `seal/blocks.py`.
        table: Table id, 16 B.
        field: Field id of an index run, else None.
        key_id: Id of its file key, 16 B.
        length: Bytes of the whole object.
        blocks: Data blocks of a run; 0 for kinds without.
        tail_offset: Where a run's tail starts.
        tail_length: Sealed bytes of the tail.
        entries: Entries of a run, rows of an open-columns file.
        persons: Distinct tokens of a run (of an index run: distinct values).
        lo: First token, empty if there is none.
        hi: Last token.
        sha256: Hash of the whole object.
        commit: Number of the snapshot whose rows it holds: the order of runs.
        open_of: For an open-columns file the run beside which it lies, whose rows it has in the same order.
        batches: Batch ids of its rows, 16 B each.
        put_id: The put or compaction that wrote it, 16 B.
        created: Microseconds since 1970 (UTC).
    """

    object_id: bytes
    kind: int
    table: bytes
    key_id: bytes
    length: int
    sha256: bytes
    entries: int
    field: bytes | None = None
    blocks: int = 0
    tail_offset: int = 0
    tail_length: int = 0
    persons: int = 0
    lo: bytes = b""
    hi: bytes = b""
    commit: int = 0
    open_of: bytes | None = None
    batches: tuple[bytes, ...] = ()
    put_id: bytes = bytes(16)
    created: int = 0

    def may_hold(self, token: bytes) -> bool:
        """Whether the token lies in the run's range."""
        return self.entries > 0 and self.lo <= token <= self.hi


@dataclass(frozen=True)
class ObjectRef:
    """Where a sealed whole object is and what it must be: for manifests, snapshots and tombstones."""

    object_id: bytes
    key_id: bytes
    length: int
    sha256: bytes


@dataclass(frozen=True)
class ManifestRef(ObjectRef):
    """A manifest as its snapshot names it: also how many entries it has and of which tables."""

    entries: int
    tables: tuple[bytes, ...]


@dataclass(frozen=True)
class Snapshot:
    """One state of the room.

    Attributes:
        number: Counts up from 1; 0 is the empty room, which is stored nowhere.
        created: Microseconds since 1970 (UTC).
        parent: The snapshot before it; None for the first.
        manifests: What it consists of.
        checkpoint: Text of the newest signed checkpoint of the read log when it was written.
        stats: Counts per table, by hex of the table id: names of counts to numbers.
        tombstones: Sealed object of erasures in force, if any.
        notes: Counts and sums of the act that made it, for `check` (names to numbers or text).
    """

    number: int
    created: int
    parent: Head | None
    manifests: tuple[ManifestRef, ...] = ()
    checkpoint: str = ""
    stats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tombstones: ObjectRef | None = None
    notes: Mapping[str, int | str] = field(default_factory=dict)
