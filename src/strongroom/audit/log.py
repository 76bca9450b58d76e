"""Derive the log's tiles and its signed checkpoint from durable entries, and read them back.

Invariants (*must*: breaking it loses the proof; *should*: the next `publish` repairs it):

1. Tiles, bundles and the checkpoint are made from entries that are already durable elsewhere; they can be
   made again.
2. A tile or bundle *must* never change: it is created once. An existing one with other bytes is a fork, and
   stops.
3. The checkpoint *must* be replaced only after everything it covers is stored and, where a rule asks for it, witnesses
   have cosigned it; it *must* never go back.
4. A partial tile *should* be removed once the full one is covered by the checkpoint.

Recovery is the normal path: every `publish` starts from the stored checkpoint and rebuilds the right edge
of the tree from stored tiles, unless this object wrote that very checkpoint itself. A crash between any two
writes leaves tiles that the next `publish` finds equal.

Concurrency: callers let one process at a time publish (the keymaster holds a lock in its database). Two at
once could replace the checkpoint by an older one for a moment; they cannot fork the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from strongroom.audit.note import Checkpoint, PublicKey, check_origin, is_signed_by, open_checkpoint, sign_checkpoint
from strongroom.audit.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    TileReader,
    bundle_name,
    consistency_proof,
    edge_root,
    leaf_hash,
    level_width,
    pack_bundle,
    partial_place,
    partial_tiles,
    split_hashes,
    tile_name,
    tree_root,
    verify_consistency,
)
from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from strongroom.seal.sign import public_key as public_key_of

CHECKPOINT = "checkpoint"
ENTRIES_READ = 64 * TILE_WIDTH
WRITERS = 8

ReadEntries = Callable[[int, int], list[bytes]]
"""Gives the canonical bytes of entries start to stop; fewer only if there are fewer."""


class Cosigning(Protocol):
    """What a checkpoint needs besides the log's own signature before it counts."""

    def counts(self, text: str) -> bool:
        """Whether a signed checkpoint has it."""

    def cosign(self, text: str, prove: Callable[[int], list[bytes]]) -> str:
        """The checkpoint with cosignatures, or an error; `prove` gives the consistency proof from a smaller size."""


class LogStore(Protocol):
    """The part of a store that the log needs. `put` creates only; writes are durable when they return."""

    def get(self, name: str, /) -> bytes:
        """The bytes of an object; NotFoundError if there is none."""

    def put(self, name: str, data: bytes, /) -> object:
        """Create an object; ConflictError if it exists."""

    def replace(self, name: str, data: bytes, /) -> object:
        """Create or replace an object atomically: a reader sees the old bytes or the new ones."""

    def list(self, prefix: str = "", /) -> Iterator[tuple[str, int]]:
        """Names that begin with a prefix, and sizes."""

    def delete(self, name: str, /) -> object:
        """Remove an object."""


@dataclass
class _Edge:
    """The right edge of the tree: hashes after each level's last full tile, entries of the last bundle."""

    checkpoint: Checkpoint
    hashes: list[list[bytes]]
    entries: list[bytes]

    def root(self) -> bytes:
        """Root of the whole tree: full subtrees of each level, joined from the right."""
        return edge_root(self.hashes)


class TileLog:
    """A log in a store: publishes entries as C2SP tiles under a signed checkpoint.

    Args:
        store: Where tiles and the checkpoint lie.
        origin: The log's name, in every checkpoint.
        seed: Ed25519 seed for signing, 32 bytes; None for a reader.
        public_key: The key that checkpoints are verified with, 32 bytes, or every key the log had.
    """

    def __init__(self, store: LogStore, origin: str, seed: bytes | None, public_key: PublicKey) -> None:
        self._store = store
        self._origin = check_origin(origin)
        self._seeds: tuple[bytes, ...] = () if seed is None else (seed,)
        self._public_key = public_key
        self._edge: _Edge | None = None
        self._ahead: tuple[Checkpoint, _Edge] | None = None
        self._seen: Checkpoint | None = None
        self._text = ""

    def stored_checkpoint(self) -> tuple[str, Checkpoint] | None:
        """The stored checkpoint, verified, as text and parsed; None if nothing was published yet.

        Raises:
            IntegrityError: It is not signed by the log's key.
        """
        try:
            data = self._store.get(CHECKPOINT)
        except NotFoundError:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise IntegrityError("the stored checkpoint is not text") from None
        return text, open_checkpoint(text, self._origin, self._public_key)

    def use_keys(self, seeds: tuple[bytes, ...], public_keys: PublicKey) -> None:
        """Sign with these seeds from now on (two while the log's key changes), and verify with these keys."""
        self._seeds, self._public_key = seeds, public_keys

    def reader(self) -> TileReader:
        """Reads tiles of this log for proofs; remembers those it has read."""
        return tile_reader(self._store)

    def publish(self, read_entries: ReadEntries, size: int, cosigning: Cosigning | None = None) -> str:
        """Make every tile of the first `size` entries, then the checkpoint over them.

        Args:
            read_entries: Reads durable entries.
            size: How many there are.
            cosigning: What the checkpoint needs before it counts; None where the log's signature is enough.

        Returns:
            The text of the signed checkpoint, of `size` entries.

        Raises:
            IntegrityError: The stored log disagrees with the entries, is longer than them, or was tampered
            with.
            UsageError: This log was opened without its signing key.
        """
        if not self._seeds:
            raise UsageError("this log was opened without its signing key")
        edge = self._current_edge(read_entries)
        start = edge.checkpoint.size
        enough = self._text and self._is_signed(self._text) and (cosigning is None or cosigning.counts(self._text))
        if size == start and enough:
            return self._text
        edge = self._advance(edge, read_entries, size)
        text = sign_checkpoint(edge.checkpoint, *self._seeds)
        if cosigning is not None:
            read = _edge_reader(self.reader(), edge)
            text = cosigning.cosign(text, lambda old: consistency_proof(read, old, size))
        self._put_all(_partial_writes(edge, size))
        self._store.replace(CHECKPOINT, text.encode())
        self._text, self._seen, self._edge, self._ahead = text, edge.checkpoint, edge, None
        self._prune(start, size)
        return text

    def advance(self, read_entries: ReadEntries, size: int) -> tuple[Checkpoint, TileReader]:
        """The tree of the first `size` entries, and a reader of its tiles; no checkpoint is signed or stored.

        Raises:
            IntegrityError: The stored log disagrees with the entries, or is longer than them.
        """
        edge = self._advance(self._current_edge(read_entries), read_entries, size)
        return edge.checkpoint, _edge_reader(self.reader(), edge)

    def continued(self, read_entries: ReadEntries, size: int, more: Iterable[list[bytes]]) -> Checkpoint:
        """The tree of the first `size` entries as it would be with further ones, of which nothing is written.

        Args:
            read_entries: Reads durable entries.
            size: How many there are.
            more: What would follow, some at a time.

        Raises:
            IntegrityError: The stored log disagrees with the entries.
        """
        edge = _copy(self._advance(self._current_edge(read_entries), read_entries, size))
        at = size
        for entries in more:
            _grow(edge, at, entries)
            at += len(entries)
        return Checkpoint(self._origin, at, edge.root())

    def _advance(self, edge: _Edge, read_entries: ReadEntries, size: int) -> _Edge:
        """The edge at `size` entries, from the one at the stored checkpoint; full tiles on the way are stored.

        It is remembered until a checkpoint is stored, so that one that waits for its cosignatures costs no second way.
        """
        stored = edge.checkpoint
        if size < stored.size:
            raise IntegrityError(f"the log was published with {stored.size} entries, and only {size} are left")
        if self._ahead is not None and self._ahead[0] == stored and self._ahead[1].checkpoint.size <= size:
            edge = self._ahead[1]
        self._edge = self._ahead = None  # until all writes are through, the stored checkpoint is the truth
        for at in range(edge.checkpoint.size, size, ENTRIES_READ):
            stop = min(size, at + ENTRIES_READ)
            entries = read_entries(at, stop)
            if len(entries) != stop - at:
                raise IntegrityError(f"entries {at} to {stop} were asked for and {len(entries)} came")
            self._put_all(_grow(edge, at, entries))
        edge.checkpoint = Checkpoint(self._origin, size, edge.root())
        self._ahead = (stored, edge)
        return edge

    def _is_signed(self, text: str) -> bool:
        """Whether every key that signs now has signed: right after the key changed one is missing."""
        return is_signed_by(text, self._origin, [public_key_of(seed) for seed in self._seeds])

    def _current_edge(self, read_entries: ReadEntries) -> _Edge:
        """The edge at the stored checkpoint; what is remembered is used only if it is of that checkpoint."""
        stored, seen = self.stored_checkpoint(), self._seen
        if stored is None:
            if seen is not None:
                raise IntegrityError("the log's checkpoint has disappeared")
            return _Edge(Checkpoint(self._origin, 0, tree_root([])), [], [])
        text, checkpoint = stored
        if seen is not None and checkpoint != seen:
            if checkpoint.size < seen.size:
                raise IntegrityError("the log's checkpoint went back to an older one")
            proof = consistency_proof(self.reader(), seen.size, checkpoint.size)
            verify_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, proof)
        self._text, self._seen = text, checkpoint
        if self._edge is not None and self._edge.checkpoint == checkpoint:
            return self._edge
        return _load_edge(self.reader(), checkpoint, read_entries)

    def _put_all(self, writes: list[tuple[str, bytes]]) -> None:
        """Create objects, several at a time where there are many; all are durable when this returns."""
        if len(writes) < WRITERS:
            for name, data in writes:
                self._put(name, data)
            return
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda write: self._put(*write), writes))

    def _put(self, name: str, data: bytes) -> None:
        try:
            self._store.put(name, data)
        except ConflictError:
            if self._store.get(name) != data:
                raise IntegrityError(f"{name} exists with other bytes: the log was forked or tampered with") from None

    def _prune(self, old: int, new: int) -> None:
        """Remove partial tiles and bundles at the old right edge whose full ones are now covered."""
        level = 0
        while width := level_width(new, level):
            index = level_width(old, level) // TILE_WIDTH
            if index < width // TILE_WIDTH:
                self._remove(tile_name(level, index) + ".p/")
                if level == 0:
                    self._remove(bundle_name(index) + ".p/")
            level += 1

    def _remove(self, prefix: str) -> None:
        for name in [name for name, _size in self._store.list(prefix)]:
            self._store.delete(name)

    def sweep(self) -> int:
        """Remove every partial tile whose full one the checkpoint covers, also those a crash left.

        Returns:
            How many were removed.
        """
        stored = self.stored_checkpoint()
        size = stored[1].size if stored else 0
        stray = [
            name
            for name, _size in self._store.list("tile/")
            if (place := partial_place(name)) is not None
            and place[1] < level_width(size, max(0, place[0])) // TILE_WIDTH
        ]
        for name in stray:
            self._store.delete(name)
        return len(stray)


def tile_reader(store: LogStore) -> TileReader:
    """A reader of tiles in a store; takes the head of the full tile where a partial one was removed."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int, width: int) -> bytes:
        tile = known.get((level, index), b"")
        if len(tile) < width * HASH_BYTES:
            tile = _fetch(store, tile_name(level, index, width), tile_name(level, index))
            known[level, index] = tile
        if len(tile) < width * HASH_BYTES:
            raise IntegrityError(f"{tile_name(level, index, width)} is too short")
        return tile[: width * HASH_BYTES]

    return read


def _fetch(store: LogStore, name: str, full: str) -> bytes:
    for candidate in dict.fromkeys((name, full)):
        try:
            return store.get(candidate)
        except NotFoundError:
            continue
    raise IntegrityError(f"{name} is missing from the log")


def _load_edge(read: TileReader, checkpoint: Checkpoint, read_entries: ReadEntries) -> _Edge:
    """Rebuild the right edge from stored tiles, and check it against checkpoint and durable entries."""
    size = checkpoint.size
    edge = _Edge(checkpoint, [], [])
    level = 0
    while count := level_width(size, level):
        width = count % TILE_WIDTH
        edge.hashes.append(split_hashes(read(level, count // TILE_WIDTH, width)) if width else [])
        level += 1
    if edge.root() != checkpoint.root:
        raise IntegrityError(f"the stored tiles do not have the root of the checkpoint of {size} entries")
    first = size - size % TILE_WIDTH
    edge.entries = read_entries(first, size) if first < size else []
    hashes = [leaf_hash(entry) for entry in edge.entries]
    if hashes != (edge.hashes[0] if edge.hashes else []):
        wrong = next((i for i, pair in enumerate(zip(hashes, edge.hashes[0], strict=False)) if pair[0] != pair[1]), 0)
        raise IntegrityError(f"entry {first + wrong} is not the one that was published")
    return edge


def _copy(edge: _Edge) -> _Edge:
    return _Edge(edge.checkpoint, [list(hashes) for hashes in edge.hashes], list(edge.entries))


def _edge_reader(read: TileReader, edge: _Edge) -> TileReader:
    """Reads the tree of an edge: its partial tiles from memory, as they are now, and full ones through `read`."""
    size, own = edge.checkpoint.size, [b"".join(hashes) for hashes in edge.hashes]

    def inner(level: int, index: int, width: int) -> bytes:
        if level < len(own) and own[level] and index == level_width(size, level) // TILE_WIDTH:
            return own[level][: width * HASH_BYTES]
        return read(level, index, width)

    return inner


def _grow(edge: _Edge, at: int, entries: list[bytes]) -> list[tuple[str, bytes]]:
    """Add entries to the edge; returns the full tiles and bundles that this completes."""
    writes: list[tuple[str, bytes]] = []
    used = 0
    while used < len(entries):
        take = entries[used : used + TILE_WIDTH - len(edge.entries)]
        used += len(take)
        at += len(take)
        edge.entries.extend(take)
        _extend(edge, 0, [leaf_hash(entry) for entry in take])
        if at % TILE_WIDTH:
            continue
        writes.append((bundle_name(at // TILE_WIDTH - 1), pack_bundle(edge.entries)))
        edge.entries = []
        level = 0
        while level < len(edge.hashes) and len(edge.hashes[level]) == TILE_WIDTH:
            hashes, edge.hashes[level] = edge.hashes[level], []
            writes.append((tile_name(level, level_width(at, level) // TILE_WIDTH - 1), b"".join(hashes)))
            _extend(edge, level + 1, [tree_root(hashes)])
            level += 1
    return writes


def _extend(edge: _Edge, level: int, hashes: list[bytes]) -> None:
    if level == len(edge.hashes):
        edge.hashes.append([])
    edge.hashes[level].extend(hashes)


def _partial_writes(edge: _Edge, size: int) -> list[tuple[str, bytes]]:
    writes = [
        (tile_name(level, index, width), b"".join(edge.hashes[level])) for level, index, width in partial_tiles(size)
    ]
    if edge.entries:
        writes.append((bundle_name(size // TILE_WIDTH, len(edge.entries)), pack_bundle(edge.entries)))
    return writes
