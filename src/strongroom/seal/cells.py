"""Seals and opens cells, one or a column at a time: ChaCha20-Poly1305 under a key of its own for each row.

Rules:

1. class key = HChaCha20(subject secret, compartment id); batch key = HChaCha20(class key, batch id).
2. cell = ChaCha20-Poly1305 (RFC 8439) under the batch key; nonce = 4 zero bytes + row ordinal u64 LE.
   No nonce meets a key twice: the batch id is minted once, for one attempt, and an ordinal is one row of it.
3. Associated data = suite u8 | room id 16 | table id 16 | compartment id 16 | schema version u32 LE.
4. Few rows go through the `cryptography` library, many through the compiled kernels; both give the same bytes.
5. A row that does not open is marked and its bytes are zero; it does not hide the other rows.

It leaves to others what is in a cell (`schema.packing`) and who may have the key (`keymaster`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError, UsageError
from strongroom.seal import _hazmat

SUITE = 1
TAG_BYTES = 16
LANES_ROWS_MIN = 20_000  # loading the kernels costs as much as this many rows of library calls
LANES_ROWS_MIN_LOADED = 48  # from here on the kernels seal and open faster, once they are loaded
DERIVE_ROWS_MIN_LOADED = 1  # and derive faster

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def cell_ad(room: bytes, table: bytes, compartment: bytes, version: int) -> bytes:
    """The associated data (53 B) of all cells of one compartment under one schema version.

    Raises:
        UsageError: An id has not 16 bytes, or the version is no u32.
    """
    if not len(room) == len(table) == len(compartment) == 16:
        raise UsageError("room, table and compartment ids have 16 bytes")
    if not 0 <= version < 1 << 32:
        raise UsageError("a schema version is an unsigned 32-bit integer")
    return bytes([SUITE]) + room + table + compartment + version.to_bytes(4, "little")


def derive(parents: U8, label: bytes | U8) -> U8:
    """Derive one key from each parent key: HChaCha20 (draft-irtf-cfrg-xchacha-03 section 2.2).

    Args:
        parents: u8[n, 32].
        label: 16 bytes for all rows, or u8[n, 16].

    Returns:
        u8[n, 32].

    Raises:
        UsageError: A shape is wrong.
    """
    parents = _keys(parents)
    labels = _labels(label, len(parents))
    if _derive_in_lanes(len(parents)):
        return np.asarray(_hazmat.lanes().derive(parents, labels, None))
    rows = [_hazmat.hchacha20(k, la) for k, la in zip(_rows(parents), _rows(labels, len(parents)), strict=True)]
    return _matrix(rows, 32)


def batch_keys(secrets: U8, compartment: bytes, batch: bytes | U8) -> U8:
    """Derive the batch key of each row from its subject secret: two HChaCha20, the class key is not kept.

    Args:
        secrets: u8[n, 32], subject secrets in row order.
        compartment: 16 B.
        batch: 16 B for all rows, or u8[n, 16].

    Returns:
        u8[n, 32].

    Raises:
        UsageError: A shape is wrong.
    """
    secrets = _keys(secrets)
    if _derive_in_lanes(len(secrets)):
        first, second = _labels(compartment, len(secrets)), _labels(batch, len(secrets))
        return np.asarray(_hazmat.lanes().derive(secrets, first, second))
    return derive(derive(secrets, compartment), batch)


def batch_keys_of(secrets: U8, compartments: Sequence[bytes], batches: U8) -> list[U8]:
    """`batch_keys` of a few rows in several compartments, which go through together.

    Args:
        secrets: u8[n, 32], subject secrets in row order.
        compartments: 16 B each.
        batches: u8[n, 16].

    Returns:
        For each compartment u8[n, 32].

    Raises:
        UsageError: A shape is wrong.
    """
    secrets, batches = _keys(secrets), _labels(batches, len(secrets))
    n, sets = len(secrets), len(compartments)
    if not n or not sets:
        return [secrets.copy() for _ in compartments]
    labels = _labels(np.frombuffer(b"".join(compartments), np.uint8).reshape(-1, 16), sets)
    if _derive_in_lanes(n * sets):
        # row by row, and in each row one compartment after the other
        parents = np.repeat(secrets, sets, axis=0)
        first = labels if n == 1 else np.tile(labels, (n, 1))
        second = batches if len(batches) == 1 else np.repeat(batches, sets, axis=0)
        found = np.asarray(_hazmat.lanes().derive(parents, first, second))
    else:
        rows = _rows(batches, n)
        each = [_hazmat.hchacha20_each(secret, compartments) for secret in _rows(secrets)]
        found = _matrix([_hazmat.hchacha20(k, batch) for keys, batch in zip(each, rows, strict=True) for k in keys], 32)
    return [found[at::sets] for at in range(sets)]


def seal_cell(key: bytes, ordinal: int, plain: bytes, ad: bytes) -> bytes:
    """Seal one cell under its batch key (32 B): ciphertext and a tag of 16 B.

    Raises:
        UsageError: The key has not 32 bytes or the ordinal is no u64.
    """
    return _hazmat.chacha20_poly1305_seal(_key(key), _nonce(ordinal), plain, ad)


def open_cell(key: bytes, ordinal: int, sealed: bytes, ad: bytes) -> bytes:
    """Open one cell that was sealed with the same key, ordinal and associated data.

    Raises:
        IntegrityError: It was changed, cut, or is another row's, table's, room's or version's.
        UsageError: The key has not 32 bytes or the ordinal is no u64.
    """
    if len(sealed) < TAG_BYTES:
        raise IntegrityError("a sealed value does not open")
    return _hazmat.chacha20_poly1305_open(_key(key), _nonce(ordinal), sealed, ad)


def seal_cells(
    keys: U8, ordinals: npt.ArrayLike, data: U8, offsets: npt.ArrayLike, ad: bytes, skip: Bool | None = None
) -> tuple[U8, I64]:
    """Seal a column of cells.

    Args:
        keys: u8[n, 32], the batch key of each row.
        ordinals: u64[n], row ordinals; (key, ordinal) never repeats, which the minted batch id sees to.
        data: u8[m], the plain cells behind each other.
        offsets: i64[n + 1], where each cell starts and the last ends.
        ad: Associated data of the column (`cell_ad`).
        skip: bool[n]; rows that get an empty cell instead of a sealed one.

    Returns:
        The sealed cells, u8, and their offsets, i64[n + 1]: 16 bytes longer each, or empty where skipped.

    Raises:
        UsageError: Shapes do not agree or offsets are out of order.
    """
    keys, numbers, data, offsets = _column(keys, ordinals, data, offsets)
    n = len(keys)
    if skip is not None and np.shape(skip) != (n,):
        raise UsageError(f"skip has to say one thing for each of {n} rows")
    active = np.ones(n, np.bool_) if skip is None else ~np.asarray(skip, np.bool_)
    out_offsets = np.zeros(n + 1, np.int64)
    np.cumsum((np.diff(offsets) + TAG_BYTES) * active, out=out_offsets[1:])
    out = np.empty(int(out_offsets[-1]), np.uint8)
    if _use_lanes(n):
        _hazmat.lanes().seal(keys, numbers, data, offsets, np.frombuffer(ad, np.uint8), active, out, out_offsets)
        return out, out_offsets
    for row in np.flatnonzero(active).tolist():
        plain = data[offsets[row] : offsets[row + 1]].tobytes()
        sealed = seal_cell(keys[row].tobytes(), int(numbers[row]), plain, ad)
        out[out_offsets[row] : out_offsets[row + 1]] = np.frombuffer(sealed, np.uint8)
    return out, out_offsets


def open_cells(keys: U8, ordinals: npt.ArrayLike, data: U8, offsets: npt.ArrayLike, ad: bytes) -> tuple[U8, I64, Bool]:
    """Open a column of cells.

    Args:
        keys: u8[n, 32], the batch key of each row.
        ordinals: u64[n], row ordinals.
        data: u8[m], the sealed cells behind each other.
        offsets: i64[n + 1], where each cell starts and the last ends.
        ad: Associated data of the column (`cell_ad`).

    Returns:
        The plain cells, u8; their offsets, i64[n + 1]; and bool[n], true where a row did not open: its plain
        bytes are zero. Empty cells stay empty and are not bad; cells of 1 to 15 bytes are bad and come out empty.

    Raises:
        UsageError: Shapes do not agree or offsets are out of order.
    """
    keys, numbers, data, offsets = _column(keys, ordinals, data, offsets)
    n = len(keys)
    lengths = np.diff(offsets)
    out_offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.maximum(lengths - TAG_BYTES, 0), out=out_offsets[1:])
    out = np.empty(int(out_offsets[-1]), np.uint8)
    bad = (lengths > 0) & (lengths < TAG_BYTES)
    active = lengths >= TAG_BYTES
    if _use_lanes(n):
        _hazmat.lanes().open_(keys, numbers, data, offsets, np.frombuffer(ad, np.uint8), active, out, out_offsets, bad)
        return out, out_offsets, bad
    for row in np.flatnonzero(active).tolist():
        sealed = data[offsets[row] : offsets[row + 1]].tobytes()
        try:
            plain = open_cell(keys[row].tobytes(), int(numbers[row]), sealed, ad)
        except IntegrityError:
            bad[row] = True
            out[out_offsets[row] : out_offsets[row + 1]] = 0
        else:
            out[out_offsets[row] : out_offsets[row + 1]] = np.frombuffer(plain, np.uint8)
    return out, out_offsets, bad


def _derive_in_lanes(rows: int) -> bool:
    return rows >= (DERIVE_ROWS_MIN_LOADED if _hazmat.lanes_loaded() else LANES_ROWS_MIN)


def _use_lanes(rows: int) -> bool:
    return rows >= (LANES_ROWS_MIN_LOADED if _hazmat.lanes_loaded() else LANES_ROWS_MIN)


def _nonce(ordinal: int) -> bytes:
    if not 0 <= ordinal < 1 << 64:
        raise UsageError("a row ordinal is an unsigned 64-bit integer")
    return bytes(4) + ordinal.to_bytes(8, "little")


def _key(key: bytes) -> bytes:
    if len(key) != 32:
        raise UsageError("a key has 32 bytes")
    return key


def _keys(keys: U8) -> U8:
    array = np.ascontiguousarray(keys)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != 32:
        raise UsageError("keys come as an array u8[n, 32]")
    return array


def _labels(label: bytes | U8, rows: int) -> U8:
    """u8[1, 16] that holds for all rows, or u8[n, 16]."""
    array = np.frombuffer(label, np.uint8)[None] if isinstance(label, bytes) else np.ascontiguousarray(label)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != 16 or array.shape[0] not in {1, rows}:
        raise UsageError("a label has 16 bytes, one for all rows or one for each")
    return array


def _rows(matrix: U8, count: int | None = None) -> list[bytes]:
    raw, width = matrix.tobytes(), matrix.shape[1]
    rows = [raw[at : at + width] for at in range(0, len(raw), width)]
    return rows if count is None or len(rows) == count else rows * count


def _matrix(rows: list[bytes], width: int) -> U8:
    return np.frombuffer(bytearray(b"".join(rows)), np.uint8).reshape(-1, width)


def _column(keys: U8, ordinals: npt.ArrayLike, data: U8, offsets: npt.ArrayLike) -> tuple[U8, U64, U8, I64]:
    """Check the shapes of a column's arrays and give them back contiguous and aligned."""
    keys = _keys(keys)
    n = len(keys)
    given = np.asarray(ordinals)
    if given.dtype.kind not in "iu" or (given.dtype.kind == "i" and given.size and given.min() < 0):
        raise UsageError("row ordinals are unsigned 64-bit integers")  # a cast would wrap them round
    numbers = np.require(given, np.uint64, ["C", "A"])
    ends = np.require(offsets, np.int64, ["C", "A"])
    if numbers.shape != (n,) or ends.shape != (n + 1,):
        raise UsageError(f"{n} keys need {n} ordinals and {n + 1} offsets")
    flat = np.ascontiguousarray(data)
    if flat.dtype != np.uint8 or flat.ndim != 1:
        raise UsageError("cells come as one flat array of bytes")
    # The kernels read what the offsets say: this line is what keeps them inside `data`.
    if ends[0] < 0 or ends[-1] > flat.size or (n and bool((np.diff(ends) < 0).any())):
        raise UsageError("offsets of cells are out of order or beyond the data")
    return keys, numbers, flat, ends
