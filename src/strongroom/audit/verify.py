"""Recompute the whole log from its entries and compare everything that is stored.

Rules it keeps:

1. Every byte is recomputed; nothing stored is believed but signatures that verify.
2. A log shorter than a checkpoint somebody kept, or with another root at its size, is refused: the tail was
   cut off or history was rewritten.
3. An error names the first entry or tile at fault. Where entries, bundle and tile disagree, the odd one out
   is named.

Memory is bounded: one tile per level, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from strongroom.audit.cosign import Quorum, check_quorum
from strongroom.audit.log import CHECKPOINT, LogStore, ReadEntries
from strongroom.audit.note import Checkpoint, PublicKey, open_checkpoint
from strongroom.audit.tlog import (
    TILE_WIDTH,
    bundle_name,
    edge_root,
    leaf_hash,
    level_width,
    pack_bundle,
    split_hashes,
    tile_name,
    tree_root,
)
from strongroom.errors import IntegrityError, NotFoundError

UNPUBLISHED_READ = 1024


@dataclass(frozen=True)
class Report:
    """What was verified.

    Args:
        size: Entries under the checkpoint.
        root: Root of the tree, 32 bytes.
        checkpoint: Text of the stored checkpoint; empty if nothing was published.
        tiles: Tiles compared.
        bundles: Entry bundles compared.
        known: Other checkpoints found consistent.
        unpublished: Durable entries that no checkpoint covers yet.
        witnesses: Names of those who cosigned the stored checkpoint, where a rule asks for witnesses.
    """

    size: int
    root: bytes
    checkpoint: str
    tiles: int
    bundles: int
    known: int
    unpublished: int
    witnesses: tuple[str, ...] = ()


@dataclass
class _Walk:
    """State of the recomputation: hashes of the tile under way at each level."""

    store: LogStore
    hashes: list[list[bytes]] = field(default_factory=lambda: [[]])
    tiles: int = 0
    bundles: int = 0

    def root(self) -> bytes:
        return edge_root(self.hashes)


def verify(
    store: LogStore,
    public_key: PublicKey,
    origin: str,
    read_entries: ReadEntries,
    known_checkpoints: Iterable[str] = (),
    quorum: Quorum | None = None,
) -> Report:
    """Verify a log against its entries and against checkpoints kept elsewhere.

    Args:
        store: Where tiles and the checkpoint lie.
        public_key: The log's Ed25519 key, 32 bytes, or every key it had.
        origin: The log's name.
        read_entries: Reads durable entries.
        known_checkpoints: Signed checkpoints found elsewhere: in copies, snapshots, at witnesses.
        quorum: Witnesses of whom enough must have cosigned the stored checkpoint; None where no rule asks for any.

    Raises:
        IntegrityError: Something was changed, removed or cut off, or too few witnesses cosigned; names the first entry
            or tile at fault.
    """
    known = _open_known(known_checkpoints, origin, public_key)
    text, checkpoint = _stored(store, origin, public_key)
    cosigned = check_quorum(text, quorum) if quorum is not None and text else ()
    largest = max(known, default=0)
    if largest > checkpoint.size:
        raise IntegrityError(f"the log was cut off: it has {checkpoint.size} entries, and a known checkpoint {largest}")
    walk = _Walk(store)
    at = 0
    while at < checkpoint.size:
        stop = min(checkpoint.size, at + TILE_WIDTH)
        entries = read_entries(at, stop)
        if len(entries) != stop - at:
            raise IntegrityError(f"entry {at + len(entries)} is missing: the checkpoint covers {checkpoint.size}")
        _check_bundle(walk, at, entries)
        _check_known(walk, at, entries, known)
        at = stop
        _close_tiles(walk, at, last=at == checkpoint.size)
    if walk.root() != checkpoint.root:
        raise IntegrityError(f"the entries do not have the root of the signed checkpoint of {checkpoint.size} entries")
    if known.get(0, tree_root([])) != tree_root([]):
        raise IntegrityError("a known checkpoint of an empty log has another root")
    unpublished = _count_from(read_entries, checkpoint.size)
    return Report(checkpoint.size, checkpoint.root, text, walk.tiles, walk.bundles, len(known), unpublished, cosigned)


def _open_known(texts: Iterable[str], origin: str, public_key: PublicKey) -> dict[int, bytes]:
    """Roots by size of checkpoints kept elsewhere; two of one size must agree."""
    known: dict[int, bytes] = {}
    for text in texts:
        checkpoint = open_checkpoint(text, origin, public_key)
        if known.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            raise IntegrityError(f"the log was forked: two known checkpoints of {checkpoint.size} entries differ")
    return known


def _stored(store: LogStore, origin: str, public_key: PublicKey) -> tuple[str, Checkpoint]:
    try:
        text = store.get(CHECKPOINT).decode("utf-8")
    except NotFoundError:
        return "", Checkpoint(origin, 0, tree_root([]))
    except UnicodeDecodeError:
        raise IntegrityError("the stored checkpoint is not text") from None
    return text, open_checkpoint(text, origin, public_key)


def _check_bundle(walk: _Walk, at: int, entries: list[bytes]) -> None:
    """Compare up to 256 entries from `at` on with their bundle and their tile, and take their hashes."""
    index, width = at // TILE_WIDTH, len(entries)
    hashes = [leaf_hash(entry) for entry in entries]
    tile, packed = b"".join(hashes), pack_bundle(entries)
    stored_tile = _fetch(walk.store, tile_name(0, index, width), tile_name(0, index), len(tile))
    bundle = _fetch(walk.store, bundle_name(index, width), bundle_name(index), len(packed))
    if stored_tile != tile or bundle != packed:
        _blame(at, entries, bundle, split_hashes(stored_tile))
    walk.hashes[0].extend(hashes)
    walk.bundles += 1
    walk.tiles += 1


def _blame(at: int, entries: list[bytes], bundle: bytes, hashes: list[bytes]) -> None:
    """Raise for the first place where entries, bundle and tile disagree, naming the odd one out."""
    index, width = at // TILE_WIDTH, len(entries)
    offset = 0
    for i, entry in enumerate(entries):
        framed = pack_bundle([entry])
        bundled = bundle[offset : offset + len(framed)] == framed
        hashed = i < len(hashes) and hashes[i] == leaf_hash(entry)
        if not bundled and not hashed:
            raise IntegrityError(f"entry {at + i} is not the one that was published")
        if not bundled:
            raise IntegrityError(f"{bundle_name(index, width)} was altered at entry {at + i}")
        if not hashed:
            raise IntegrityError(f"{tile_name(0, index, width)} was altered at entry {at + i}")
        offset += len(framed)
    raise IntegrityError(f"{bundle_name(index, width)} or {tile_name(0, index, width)} has bytes after its end")


def _check_known(walk: _Walk, at: int, entries: list[bytes], known: Mapping[int, bytes]) -> None:
    """Compare the root at each known size inside these entries."""
    for size in sorted(size for size in known if at < size <= at + len(entries)):
        below = walk.hashes[0]
        walk.hashes[0] = below[: size - at]
        root = walk.root()
        walk.hashes[0] = below
        if root != known[size]:
            raise IntegrityError(f"the log was rewritten before entry {size}: a known checkpoint has another root")


def _close_tiles(walk: _Walk, size: int, *, last: bool) -> None:
    """Carry full tiles up, comparing every tile above level 0 when it is complete or the log ends."""
    level = 0
    while level < len(walk.hashes):
        hashes = walk.hashes[level]
        full = len(hashes) == TILE_WIDTH
        if level and hashes and (full or last):
            _check_tile(walk, level, (level_width(size, level) - len(hashes)) // TILE_WIDTH, hashes)
        if full:
            if level + 1 == len(walk.hashes):
                walk.hashes.append([])
            walk.hashes[level + 1].append(tree_root(hashes))
            walk.hashes[level] = []
        elif not last:
            return
        level += 1


def _check_tile(walk: _Walk, level: int, index: int, hashes: list[bytes]) -> None:
    name, tile = tile_name(level, index, len(hashes)), b"".join(hashes)
    if _fetch(walk.store, name, tile_name(level, index), len(tile)) != tile:
        raise IntegrityError(f"{name} was altered")
    walk.tiles += 1


def _fetch(store: LogStore, name: str, full: str, length: int) -> bytes:
    """An object, or the first `length` bytes of the full one where a partial one was removed."""
    try:
        return store.get(name)
    except NotFoundError:
        if name == full:
            raise IntegrityError(f"{name} is missing from the log") from None
    try:
        return store.get(full)[:length]
    except NotFoundError:
        raise IntegrityError(f"{name} is missing from the log") from None


def _count_from(read_entries: ReadEntries, start: int) -> int:
    at = start
    while entries := read_entries(at, at + UNPUBLISHED_READ):
        at += len(entries)
    return at - start
