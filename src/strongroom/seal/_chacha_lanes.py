"""Seals, opens and derives keys for many rows: kernels that take sixteen rows at a time through `_lane_code`.

Rules:

1. Rows are taken in the order of their length within a chunk, so that sixteen neighbours end together; a lane
   without a row reads zeros and writes nothing.
2. Lengths and row numbers decide the way through the code; keys, plain bytes and tags never do.
3. Bytes are written only inside the row they belong to. Reads past a row's end are masked, reads that would leave
   the data go to a copy.
4. Opening happens in a buffer of the chunk; only rows whose tag agrees are copied out.

`cells` checks shapes and offsets before it calls; nothing here does. Importing this file imports numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types

from strongroom.seal import _lane_code as code

CHUNK_ROWS = 4096  # the bytes of a chunk stay in the second-level cache
_CLASSES = 256  # of lengths: 16 B steps, the last one open
_FIRST = tuple(np.uint32(c) for c in code.CONSTANTS)

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def _in(scalar: Any, dimensions: int = 1) -> Any:
    return types.Array(scalar, dimensions, "C", readonly=True)


_LANES, _STATE, _TEXT, _TAIL = code.LANES, code.STATE, code.TEXT, code.TAIL
_MASKS, _MODE = code.MASKS, code.MODE
_SOURCE, _LEFT, _SIZE, _COMMON, _KEYROW, _TAGS = (
    code.SOURCE,
    code.LEFT,
    code.SIZE,
    code.COMMON,
    code.KEYROW,
    code.TAGS,
)
_load_keys, _next_key, _key_rows = code.load_keys, code.next_key, code.key_rows
_copy16, _copy32 = code.copy16, code.copy32
_fetch8: Any = code.fetch8
_poly_begin, _absorb_common, _poly_end = code.poly_begin, code.absorb_common, code.poly_end
_crypt, _absorb_rows, _STEP = code.crypt, code.absorb_rows, code.STEP


@njit(nogil=True)
def _order_by_length(offsets: Any, active: Any, first: Any, last: Any, tag_bytes: Any, order: Any) -> Any:
    """List the active rows of a chunk in `order`, shortest text first (a counting sort); return how many."""
    starts = np.zeros(_CLASSES + 1, np.int64)
    for row in range(first, last):
        if active[row]:
            blocks = (offsets[row + 1] - offsets[row] - tag_bytes + 15) >> 4
            starts[min(blocks, _CLASSES - 1) + 1] += 1
    for k in range(_CLASSES):
        starts[k + 1] += starts[k]
    for row in range(first, last):
        if active[row]:
            k = min((offsets[row + 1] - offsets[row] - tag_bytes + 15) >> 4, _CLASSES - 1)
            order[starts[k]] = row
            starts[k] += 1
    return starts[_CLASSES - 1]


@njit(nogil=True)
def _set_constants(work: Any, sealing: Any) -> Any:
    """Fill what no group changes: the constant words of the state, the masks."""
    words = work.view(np.uint32)
    for w in range(4):
        for lane in range(_LANES):
            words[2 * _STATE + 16 * w + lane] = _FIRST[w]
    for i in range(8):
        work[_MASKS + i] = np.uint64(0xFFFFFFFFFFFFFFFF)
        work[_MASKS + 8 + i] = np.uint64(0)
        work[_MODE + i] = np.uint64(0xFFFFFFFFFFFFFFFF) if sealing else np.uint64(0)


@njit(nogil=True)
def _set_counter(words: Any, block: Any) -> Any:
    for lane in range(_LANES):
        words[2 * _STATE + 12 * 16 + lane] = np.uint32(block)


@njit(nogil=True)
def _begin(keys: Any, ordinals: Any, ad_words: Any, ad_bytes: Any, rows: Any, work: Any, words: Any) -> Any:
    """Keys, nonces, one-time keys and associated data of a group of rows."""
    base = np.uint64(keys.ctypes.data)
    for lane in range(_LANES):
        row = rows[lane]
        work[_KEYROW + lane] = base + np.uint64(32 * row)
        words[2 * _STATE + 13 * 16 + lane] = np.uint32(0)
        words[2 * _STATE + 14 * 16 + lane] = np.uint32(ordinals[row] & np.uint64(0xFFFFFFFF))
        words[2 * _STATE + 15 * 16 + lane] = np.uint32(ordinals[row] >> np.uint64(32))
    _load_keys(work)
    _set_counter(words, 0)
    _poly_begin(work)
    for at in range(0, ad_words.size, 2):
        work[_COMMON] = ad_words[at]
        work[_COMMON + 1] = ad_words[at + 1]
        _absorb_common(work)
    work[_COMMON + 2] = np.uint64(ad_bytes)


@njit(nogil=True)
def _aim(data: Any, at: Any, left: Any, lane: Any, work: Any) -> Any:
    """Point a lane at the next 64 bytes of its row: in the data, or in a copy where the data end too soon."""
    if left <= 0:
        work[_LEFT + lane] = np.uint64(0)
        work[_SOURCE + lane] = np.uint64(work.ctypes.data) + np.uint64(8 * (_MASKS + 8))
        return
    left = min(left, 64)
    work[_LEFT + lane] = np.uint64(left)
    if at + 64 <= data.size:
        work[_SOURCE + lane] = np.uint64(data.ctypes.data) + np.uint64(at)
    else:
        tail = work.view(np.uint8)[8 * _TAIL + 64 * lane : 8 * _TAIL + 64 * lane + 64]
        for i in range(left):
            tail[i] = data[at + i]
        work[_SOURCE + lane] = np.uint64(tail.ctypes.data)


@njit(nogil=True)
def _group(data: Any, starts: Any, sizes: Any, places: Any, lanes: Any, target: Any, work: Any, words: Any) -> Any:
    """Take a group's text through the cipher, 64 bytes of each row at a time, and write it to `target`."""
    longest: Any = np.int64(0)
    for lane in range(_LANES):
        work[_SIZE + lane] = np.uint64(sizes[lane])
        longest = max(longest, sizes[lane])
    text = np.uint64(work.ctypes.data) + np.uint64(8 * _TEXT)
    block = 1
    for done in range(0, longest, 64):
        for lane in range(_LANES):
            _aim(data, starts[lane] + done, sizes[lane] - done, lane, work)
        _set_counter(words, block)
        block += 1
        _crypt(work)
        for piece in range((min(longest - done, 64) + 15) >> 4):
            work[_STEP] = np.uint64(piece)
            _absorb_rows(work)
        for lane in range(lanes):
            # Whole 16-byte pieces: what runs past the text falls into the row's own 16 bytes of tag.
            to = target + np.uint64(places[lane] + done)
            source = text + np.uint64(64 * lane)
            for piece in range(0, min(sizes[lane] - done, 64), 16):
                _copy16(to + np.uint64(piece), source + np.uint64(piece))
    _poly_end(work)


@njit(nogil=True)
def _tag_agrees(tag: Any, other: Any) -> Any:
    """Compare all 16 bytes at two addresses before deciding."""
    wrong = _fetch8(tag) ^ _fetch8(other)
    wrong |= _fetch8(tag + np.uint64(8)) ^ _fetch8(other + np.uint64(8))
    return wrong == np.uint64(0)


@njit(nogil=True)
def _copy_out(buffer: Any, offsets: Any, first: Any, last: Any, bad: Any, out: Any, out_offsets: Any) -> Any:
    """Copy the opened rows of a chunk to where they belong, in order; rows that did not open become zeros."""
    for row in range(first, last):
        a, z = out_offsets[row], out_offsets[row + 1]
        if bad[row]:
            out[a:z] = 0
            continue
        at = offsets[row] - offsets[first]
        source, to = np.uint64(buffer.ctypes.data) + np.uint64(at), np.uint64(out.ctypes.data) + np.uint64(a)
        # Whole pieces: what runs past the row is written over by the rows behind it, except at the very end.
        whole = z - a if z + 16 <= out.size else (z - a) & ~np.int64(15)
        for piece in range(0, whole, 16):
            _copy16(to + np.uint64(piece), source + np.uint64(piece))
        for i in range(whole, z - a):
            out[a + i] = buffer[at + i]


@njit(
    types.void(
        types.boolean,
        *(_in(types.uint8, 2), _in(types.uint64), _in(types.uint8), _in(types.int64)),
        *(_in(types.uint64), types.int64, _in(types.boolean)),
        *(types.uint8[::1], types.int64[::1], types.boolean[::1], types.uint64[::1]),
    ),
    nogil=True,
    cache=True,
)
def _run(
    sealing: Any,
    keys: Any,
    ordinals: Any,
    data: Any,
    offsets: Any,
    ad_words: Any,
    ad_bytes: Any,
    active: Any,
    out: Any,
    out_offsets: Any,
    bad: Any,
    work: Any,
) -> Any:
    """Seal or open a column: `seal` and `open` say what goes in and out."""
    n = keys.shape[0]
    words, tags = work.view(np.uint32), work.view(np.uint8)[8 * _TAGS : 8 * _TAGS + 256]
    order = np.empty(CHUNK_ROWS, np.int64)
    rows, starts = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    sizes, places = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64)
    most = np.int64(0)
    for first in range(0, n, CHUNK_ROWS):
        most = max(most, offsets[min(n, first + CHUNK_ROWS)] - offsets[first])
    buffer = np.empty(np.int64(0) if sealing else most, np.uint8)
    tag_bytes = 0 if sealing else 16
    target = np.uint64(out.ctypes.data) if sealing else np.uint64(buffer.ctypes.data)
    come = np.uint64(data.ctypes.data)
    tag_source = np.uint64(tags.ctypes.data)
    _set_constants(work, sealing)
    for first in range(0, n, CHUNK_ROWS):
        last = min(n, first + CHUNK_ROWS)
        count = _order_by_length(offsets, active, first, last, tag_bytes, order)
        for g in range(0, count, _LANES):
            lanes = min(_LANES, count - g)
            for lane in range(_LANES):
                row = order[g + min(lane, lanes - 1)]
                rows[lane] = row
                starts[lane] = offsets[row]
                sizes[lane] = offsets[row + 1] - offsets[row] - tag_bytes if lane < lanes else 0
                places[lane] = out_offsets[row] if sealing else offsets[row] - offsets[first]
            _begin(keys, ordinals, ad_words, ad_bytes, rows, work, words)
            _group(data, starts, sizes, places, lanes, target, work, words)
            for lane in range(lanes):
                if sealing:
                    to = target + np.uint64(places[lane] + sizes[lane])
                    _copy16(to, tag_source + np.uint64(16 * lane))
                else:
                    tag = come + np.uint64(starts[lane] + sizes[lane])
                    bad[rows[lane]] = not _tag_agrees(tag_source + np.uint64(16 * lane), tag)
        if not sealing:
            _copy_out(buffer, offsets, first, last, bad, out, out_offsets)
    buffer[:] = 0
    work[:] = np.uint64(0)  # keys, key streams and plain bytes do not stay in the workspace


@njit(nogil=True)
def _set_label(labels: Any, g: Any, n: Any, words: Any) -> Any:
    """Words 12 to 15 of the state: one label for all rows, or one each."""
    for lane in range(_LANES):
        row = min(g + lane, n - 1) if labels.shape[0] > 1 else 0
        for w in range(4):
            word = np.uint32(0)
            for i in range(4):
                word |= np.uint32(labels[row, 4 * w + i]) << np.uint32(8 * i)
            words[2 * _STATE + (12 + w) * 16 + lane] = word


@njit(
    types.void(
        *(_in(types.uint8, 2), _in(types.uint8, 2), _in(types.uint8, 2)),
        *(types.boolean, types.uint8[:, ::1], types.uint64[::1]),
    ),
    nogil=True,
    cache=True,
)
def _derive(parents: Any, first_labels: Any, second_labels: Any, twice: Any, out: Any, work: Any) -> Any:
    """HChaCha20 of every row, or HChaCha20 of that once more: `derive` says what goes in and out."""
    n = parents.shape[0]
    words = work.view(np.uint32)
    base = np.uint64(parents.ctypes.data)
    text, to = np.uint64(work.ctypes.data) + np.uint64(8 * _TEXT), np.uint64(out.ctypes.data)
    _set_constants(work, True)
    for g in range(0, n, _LANES):
        for lane in range(_LANES):
            work[_KEYROW + lane] = base + np.uint64(32 * min(g + lane, n - 1))
        _load_keys(work)
        _set_label(first_labels, g, n, words)
        _next_key(work)
        if twice:
            _set_label(second_labels, g, n, words)
            _next_key(work)
        _key_rows(work)
        for lane in range(min(_LANES, n - g)):
            _copy32(to + np.uint64(32 * (g + lane)), text + np.uint64(64 * lane))
    work[:] = np.uint64(0)


def _workspace() -> U64:
    """Memory of one call, on a boundary of 64 bytes, as the vectors want it."""
    raw = np.zeros(code.WORK + 8, np.uint64)
    return raw[(-raw.ctypes.data % 64) // 8 :][: code.WORK]


def _padded_words(ad: U8) -> U64:
    padded = np.zeros(-(-ad.size // 16) * 16, np.uint8)
    padded[: ad.size] = ad
    return padded.view(np.uint64)


def seal(keys: U8, ordinals: U64, data: U8, offsets: I64, ad: U8, active: Bool, out: U8, out_offsets: I64) -> None:
    """Seal the active rows: ciphertext and tag of row i to out[out_offsets[i] : out_offsets[i + 1]].

    Args:
        keys: u8[n, 32].
        ordinals: u64[n], the last 8 bytes of each nonce.
        data: u8[m].
        offsets: i64[n + 1].
        ad: u8, associated data of all rows.
        active: bool[n].
        out: u8, 16 bytes more for each active row than its text.
        out_offsets: i64[n + 1].
    """
    bad = np.zeros(0, np.bool_)
    _run(True, keys, ordinals, data, offsets, _padded_words(ad), ad.size, active, out, out_offsets, bad, _workspace())


def open_(
    keys: U8, ordinals: U64, data: U8, offsets: I64, ad: U8, active: Bool, out: U8, out_offsets: I64, bad: Bool
) -> None:
    """Open the active rows, each at least 16 bytes long; mark in `bad` those that do not open: they come out zero.

    Args:
        keys: u8[n, 32].
        ordinals: u64[n], the last 8 bytes of each nonce.
        data: u8[m], ciphertexts with their tags.
        offsets: i64[n + 1].
        ad: u8, associated data of all rows.
        active: bool[n].
        out: u8, 16 bytes less for each active row than its ciphertext and tag.
        out_offsets: i64[n + 1].
        bad: bool[n].
    """
    _run(False, keys, ordinals, data, offsets, _padded_words(ad), ad.size, active, out, out_offsets, bad, _workspace())


def derive(parents: U8, first: U8, second: U8 | None) -> U8:
    """HChaCha20 of each parent key u8[n, 32] with its label u8[1 or n, 16]; with a second label once more."""
    out = np.empty_like(parents)
    if len(parents):
        _derive(parents, first, first if second is None else second, second is not None, out, _workspace())
    return out
