"""The arithmetic of the log's tree: hashes, tiles, proofs and their verifiers, as pure functions.

Sources: RFC 6962 section 2.1 (hashes), RFC 9162 sections 2.1.3 and 2.1.4 (proofs and verifying them),
C2SP tlog-tiles v0.1 (tiles of 256 hashes, partial tiles, entry bundles, paths).

Rules it keeps:

1. No input or output: tiles are read through a callable `(level, index, width) -> bytes`.
2. A verifier raises; it never returns a bool that may be ignored.

Writing tiles is left to `log`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Sequence

from strongroom.errors import IntegrityError, UsageError

HASH_BYTES = 32
TILE_WIDTH = 256
ENTRY_BYTES_MAX = 65_535
LEVEL_MAX = 63
_PARTIAL = re.compile(r"tile/(entries|\d{1,2})/((?:x\d{3}/)*\d{3})\.p/\d{1,3}")
EMPTY_ROOT = hashlib.sha256(b"").digest()

TileReader = Callable[[int, int, int], bytes]
"""Gives the first `width` hashes of tile `index` at `level`, width * 32 bytes."""


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962: SHA-256 of a zero byte and the entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256 of a one byte and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962 Merkle tree hash over hashes of one level (of leaves, or of equal full subtrees)."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    sha256 = hashlib.sha256
    while len(level) > 1:
        odd = [level[-1]] if len(level) % 2 else []
        pairs = zip(level[0::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return level[0]


def edge_root(levels: Sequence[Sequence[bytes]]) -> bytes:
    """Root of a whole tree by its right edge: of each level, from below, the hashes after its last full tile."""
    right: bytes | None = None
    for hashes in levels:
        if hashes:
            right = tree_root(hashes if right is None else [*hashes, right])
    return EMPTY_ROOT if right is None else right


def split_hashes(tile: bytes) -> list[bytes]:
    """The hashes of a tile, 32 bytes each."""
    return [tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)]


# -- tiles --------------------------------------------------------------------------------------------


def tile_name(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Path of a tile: tile/<level>/<index>[.p/<width>]."""
    if not 0 <= level <= LEVEL_MAX:
        raise UsageError(f"a tile has no level {level}")
    return f"tile/{level}/{_index_path(index, width)}"


def bundle_name(index: int, width: int = TILE_WIDTH) -> str:
    """Path of an entry bundle: tile/entries/<index>[.p/<width>]."""
    return f"tile/entries/{_index_path(index, width)}"


def _index_path(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise UsageError(f"a tile has no index {index} or width {width}")
    path = f"{index % 1000:03d}"
    index //= 1000
    while index:
        path = f"x{index % 1000:03d}/{path}"
        index //= 1000
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def partial_place(name: str) -> tuple[int, int] | None:
    """(level, index) of the tile that a name is a partial form of; -1 for bundles, None for the rest."""
    match = _PARTIAL.fullmatch(name)
    if match is None:
        return None
    index = int(match[2].replace("x", "").replace("/", ""))
    return (-1 if match[1] == "entries" else int(match[1])), index


def level_width(size: int, level: int) -> int:
    """How many hashes a tree of `size` entries has at a tile level."""
    return size >> (8 * level)


def partial_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of every partial tile that a tree of this size has, lowest level first."""
    level = 0
    while count := level_width(size, level):
        if count % TILE_WIDTH:
            yield level, count // TILE_WIDTH, count % TILE_WIDTH
        level += 1


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length as a big-endian u16.

    Raises:
        UsageError: An entry is longer than 65,535 bytes.
    """
    try:
        return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])
    except OverflowError:
        raise UsageError(f"a log entry is longer than {ENTRY_BYTES_MAX} bytes") from None


# -- hashes and proofs out of tiles -------------------------------------------------------------------


def root_from_tiles(read: TileReader, size: int) -> bytes:
    """Root of the tree of the first `size` entries."""
    return _range_hash(read, size, 0, size) if size else EMPTY_ROOT


def inclusion_proof(read: TileReader, index: int, size: int) -> list[bytes]:
    """Proof that entry `index` is in the tree of `size` entries, from the leaf up (RFC 9162 2.1.3.1).

    Raises:
        UsageError: There is no such entry in that tree.
    """
    if not 0 <= index < size:
        raise UsageError(f"a tree of {size} entries has no entry {index}")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(_range_hash(read, size, middle, stop))
            stop = middle
        else:
            proof.append(_range_hash(read, size, start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(read: TileReader, old: int, new: int) -> list[bytes]:
    """Proof that the tree of `old` entries is a prefix of that of `new` entries (RFC 9162 2.1.4.1).

    Raises:
        UsageError: The old tree is larger than the new one.
    """
    if not 0 <= old <= new:
        raise UsageError(f"a tree of {old} entries is no prefix of one of {new}")
    if old in {0, new}:
        return []
    proof: list[bytes] = []
    start, stop, whole = 0, new, True
    while old != stop:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(_range_hash(read, new, middle, stop))
            stop = middle
        else:
            proof.append(_range_hash(read, new, start, middle))
            start, whole = middle, False
    if not whole:
        proof.append(_range_hash(read, new, start, stop))
    return proof[::-1]


def _split(count: int) -> int:
    """The largest power of two smaller than count."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(read: TileReader, size: int, start: int, stop: int) -> bytes:
    """Merkle tree hash of entries start to stop, a range that the tree of `size` entries is split into."""
    count = stop - start
    if count & (count - 1) == 0:
        return _subtree_hash(read, size, count.bit_length() - 1, start)
    middle = start + _split(count)
    return node_hash(_range_hash(read, size, start, middle), _range_hash(read, size, middle, stop))


def _subtree_hash(read: TileReader, size: int, height: int, start: int) -> bytes:
    """Hash of the full subtree of 2**height entries from `start` on."""
    level, inner = divmod(height, 8)
    index, offset = divmod(start >> (8 * level), TILE_WIDTH)
    width = min(TILE_WIDTH, level_width(size, level) - index * TILE_WIDTH)
    tile = read(level, index, width)
    if len(tile) != width * HASH_BYTES:
        raise IntegrityError(f"{tile_name(level, index, width)} has {len(tile)} bytes")
    return tree_root(split_hashes(tile[offset * HASH_BYTES : (offset + (1 << inner)) * HASH_BYTES]))


# -- verifying ----------------------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf hash is entry `index` of the tree with this size and root (RFC 9162 2.1.3.2).

    Raises:
        IntegrityError: It is not, or the proof is not for this place.
    """
    if not 0 <= index < size:
        raise IntegrityError(f"a tree of {size} entries has no entry {index}")
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise IntegrityError(f"the inclusion proof of entry {index} has the wrong length")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or not hmac.compare_digest(found, root):
        raise IntegrityError(f"entry {index} is not in the tree of {size} entries that was signed")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` entries only adds to that of `old` entries (RFC 9162 2.1.4.2).

    Raises:
        IntegrityError: The trees disagree, or the proof is not for these sizes.
    """
    wrong = IntegrityError(f"the log of {new} entries does not continue the log of {old} entries")
    if not 0 <= old <= new or any(len(item) != HASH_BYTES for item in proof):
        raise wrong
    if old in {0, new}:
        expected = new_root if old == new else EMPTY_ROOT
        if proof or not hmac.compare_digest(old_root, expected):
            raise wrong
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise wrong
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise wrong
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or not hmac.compare_digest(first, old_root) or not hmac.compare_digest(second, new_root):
        raise wrong
