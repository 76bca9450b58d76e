"""The format of a key page: up to 4,096 persons' secrets in 32 chunks of 128, each sealed alone.

Rules it keeps:

1. Entries of 64 bytes (token 16 | secret 32 | ordinal u64 | born u64) stand in order of their tokens, unsigned,
   each token once. Integers are little-endian.
2. Chunk i is AES-256-GCM under the page key with nonce i; the page's filter follows as number 32 where the page
   has more than one chunk. A page key seals one version of one page, so no nonce is used twice under it.
3. Page id and room are each chunk's associated data; version, number of entries and range are bound to the page
   key by its wrap (`page_bound`): with the key of another version or page nothing here opens.

Pure functions of bytes and arrays. Where pages lie and which are live is left to `keystore`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.keys.bloom import FILTER_BYTES
from strongroom.seal.blocks import open_block, open_numbered, seal_block

PAGE_ENTRIES = 4096
CHUNK_ENTRIES = 128
ENTRY_BYTES = 64
TAG_BYTES = 16
CHUNK_BYTES = CHUNK_ENTRIES * ENTRY_BYTES + TAG_BYTES
FILTER_NUMBER = PAGE_ENTRIES // CHUNK_ENTRIES
PAGE_KIND = 0x20

# The token as two big-endian halves compares like its 16 bytes.
ENTRY = np.dtype([("hi", ">u8"), ("lo", ">u8"), ("secret", "u1", (32,)), ("ordinal", "<u8"), ("born", "<u8")])

_WHOLE = np.dtype([("token", "V16"), ("secret", "V32"), ("ordinal", "<u8"), ("born", "<u8")])

Entries = np.ndarray[tuple[int], np.dtype[np.void]]
U64 = npt.NDArray[np.uint64]
Bytes2D = npt.NDArray[np.uint8]


def halves(tokens: Bytes2D) -> tuple[U64, U64]:
    """Tokens u8[n,16] as two native u64[n] that sort as the bytes do."""
    pairs = np.ascontiguousarray(tokens).view(">u8").reshape(-1, 2)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)


def make_entries(tokens: Bytes2D, secrets: Bytes2D, ordinals: U64, born: int) -> Entries:
    """Entries of tokens u8[n,16] that are sorted and distinct."""
    entries = np.empty(len(tokens), ENTRY)
    # whole items of 16 and 32 bytes: numpy copies rows of single bytes slowly
    whole = entries.view(_WHOLE)
    whole["token"] = np.ascontiguousarray(tokens).view("V16")[:, 0]
    whole["secret"] = np.ascontiguousarray(secrets).view("V32")[:, 0]
    entries["ordinal"] = ordinals
    entries["born"] = born
    return entries


def tokens_of(entries: Entries) -> Bytes2D:
    """The tokens of entries, u8[n,16]."""
    whole = np.ascontiguousarray(entries.view(_WHOLE)["token"])
    return whole.view(np.uint8).reshape(-1, 16)


def secrets_of(entries: Entries) -> npt.NDArray[np.void]:
    """The secrets of entries as items of 32 bytes, [n]."""
    found: npt.NDArray[np.void] = entries.view(_WHOLE)["secret"]
    return found


def joined(parts: Sequence[Entries]) -> Entries:
    """Entries one after the other, byte for byte: numpy's own concatenation would turn big-endian fields native."""
    if len(parts) == 1:
        return parts[0]
    raw = [np.ascontiguousarray(part).view(np.uint8) for part in parts]
    return (np.concatenate(raw) if raw else np.empty(0, np.uint8)).view(ENTRY)


def chunks_of(count: int) -> int:
    """Number of chunks of a page with so many entries."""
    return -(-count // CHUNK_ENTRIES)


def has_filter(count: int) -> bool:
    """Whether a page of so many entries carries a filter: one chunk is as quickly read as one filter."""
    return count > CHUNK_ENTRIES


def page_bytes(count: int) -> int:
    """Stored length of a page with so many entries."""
    filter_bytes = FILTER_BYTES + TAG_BYTES if has_filter(count) else 0
    return count * ENTRY_BYTES + chunks_of(count) * TAG_BYTES + filter_bytes


def chunk_span(count: int, first: int, last: int) -> tuple[int, int]:
    """Offset in the page and length of chunks first to last, both included."""
    end = min((last + 1) * CHUNK_ENTRIES, count) * ENTRY_BYTES + (last + 1) * TAG_BYTES
    return first * CHUNK_BYTES, end - first * CHUNK_BYTES


def filter_span(count: int) -> tuple[int, int]:
    """Offset in the page and length of its sealed filter."""
    return count * ENTRY_BYTES + chunks_of(count) * TAG_BYTES, FILTER_BYTES + TAG_BYTES


def page_bound(version: int, count: int, first: bytes, last: bytes) -> bytes:
    """What the wrap of a page key vouches for besides room, page id and epoch."""
    return struct.pack("<QI", version, count) + first + last


def fences_of(entries: Entries) -> U64:
    """The high half of each chunk's first token, u64[chunks]."""
    return entries["hi"][::CHUNK_ENTRIES].astype(np.uint64)


def seal_page(page_key: bytes, room_id: bytes, page_id: bytes, entries: Entries, filter_bits: bytes) -> bytes:
    """Seal one page.

    Args:
        page_key: 32 bytes, made for this version of this page.
        room_id: 16 bytes.
        page_id: 16 bytes.
        entries: Up to 4,096, sorted by token.
        filter_bits: The page's filter (`bloom.build`); left out for a page of one chunk.
    """
    plain = memoryview(entries.tobytes())
    step = CHUNK_ENTRIES * ENTRY_BYTES
    parts = [
        seal_block(page_key, room_id, page_id, PAGE_KIND, number, plain[start : start + step])
        for number, start in enumerate(range(0, len(plain), step))
    ]
    if has_filter(len(entries)):
        parts.append(seal_block(page_key, room_id, page_id, PAGE_KIND, FILTER_NUMBER, filter_bits))
    return b"".join(parts)


def open_chunks(
    page_key: bytes, room_id: bytes, page_id: bytes, count: int, first: int, sealed: bytes | memoryview
) -> list[bytes]:
    """Open consecutive chunks that `chunk_span` names, from chunk `first` on.

    Raises:
        IntegrityError: A chunk is not what was written.
    """
    view = memoryview(sealed)
    pieces = [view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES)]
    number, opened = first + len(pieces), list[bytes]()
    try:
        opened.extend(open_numbered(page_key, room_id, page_id, PAGE_KIND, enumerate(pieces, first)))
    except IntegrityError as error:
        raise IntegrityError(f"part {first + len(opened)} of key page {page_id.hex()}: {error}") from error
    expected = (min(number * CHUNK_ENTRIES, count) - first * CHUNK_ENTRIES) * ENTRY_BYTES
    if not opened or sum(map(len, opened)) != expected:
        raise IntegrityError("a key page has another length than its row says")
    return opened


def open_filter(page_key: bytes, room_id: bytes, page_id: bytes, sealed: bytes) -> bytes:
    """Open a page's filter; IntegrityError if it is not what was written."""
    return _open(page_key, room_id, page_id, FILTER_NUMBER, sealed)


def _open(page_key: bytes, room_id: bytes, page_id: bytes, number: int, sealed: bytes | memoryview) -> bytes:
    try:
        return open_block(page_key, room_id, page_id, PAGE_KIND, number, sealed)
    except IntegrityError as error:
        raise IntegrityError(f"part {number} of key page {page_id.hex()}: {error}") from error


def find_in_chunk(plain: bytes, token: bytes) -> int:
    """Offset of a token's entry in an opened chunk; -1 when it is not there.

    The chunk is sorted, so seven comparisons settle it; tokens are public to whoever has the bucket's index of
    tokens open, so their comparison needs no constant time.
    """
    low, high = 0, len(plain) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        start = middle * ENTRY_BYTES
        if plain[start : start + 16] < token:
            low = middle + 1
        else:
            high = middle
    start = low * ENTRY_BYTES
    return start if plain[start : start + 16] == token else -1
