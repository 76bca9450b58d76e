"""A second implementation of docs/FORMAT.md: standard library and `cryptography` only, written from that page alone.

It shares no line with the library. It opens one record from the bytes of its run.
"""

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KIND_RECORDS = 1
TAIL = 128


def hchacha20(key: bytes, label: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03, section 2.2, word by word."""
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), *struct.unpack("<4I", label)]

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            v = state[z] ^ state[x]
            state[z] = (v << turn | v >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(*column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(*diagonal)
    return struct.pack("<8I", *state[:4], *state[12:])


def open_block(file_key: bytes, room: bytes, object_id: bytes, kind: int, number: int, sealed: bytes) -> bytes:
    key = hchacha20(file_key, struct.pack("<B7xQ", kind, number))
    return AESGCM(key).decrypt(struct.pack("<4xQ", number), sealed, room + object_id + bytes([kind]))


@dataclass
class Shape:
    suite: int
    role: int
    version: int
    batch: bytes


@dataclass
class Tail:
    blocks: list  # (first token, offset, sealed length, entries)
    shapes: list


def open_tail(file_key, room, object_id, kind, data, tail_offset, tail_length) -> Tail:
    sealed = data[tail_offset : tail_offset + tail_length]
    plain = open_block(file_key, room, object_id, kind | TAIL, 0, sealed)
    blocks, shapes = struct.unpack_from("<II", plain)
    at, listed = 8, []
    for _ in range(blocks):
        listed.append(struct.unpack_from("<16sQII", plain, at))
        at += 32
    named = []
    for _ in range(shapes):
        named.append(Shape(*struct.unpack_from("<BBI16s", plain, at)))
        at += 22
    assert at == len(plain)
    return Tail(listed, named)


def entries_of(plain: bytes) -> list:
    """(token, entry) of one data block."""
    count, width = struct.unpack_from("<IB3x", plain)
    tokens = [plain[8 + 16 * i : 24 + 16 * i] for i in range(count)]
    at = 8 + 16 * count
    if width == 0:
        lengths, at = [struct.unpack_from("<I", plain, at)[0]] * count, at + 4
    else:
        lengths = struct.unpack_from(f"<{count}{'H' if width == 2 else 'I'}", plain, at)
        at += width * count
    found = []
    for token, length in zip(tokens, lengths, strict=True):
        found.append((token, plain[at : at + length]))
        at += length
    assert at == len(plain)
    return found


def find_entries(file_key, room, object_id, kind, data, tail: Tail, token: bytes) -> list:
    """All entries of a token, in order."""
    found = []
    for number, (_, offset, length, count) in enumerate(tail.blocks):
        block = entries_of(open_block(file_key, room, object_id, kind, number, data[offset : offset + length]))
        assert len(block) == count
        found += [entry for name, entry in block if name == token]
    return found


def leb128(data: bytes, at: int) -> tuple:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


@dataclass
class Entry:
    shape: int
    ordinal: int
    cells: list


def parse_entry(entry: bytes, cells: int) -> Entry:
    shape, ordinal = int.from_bytes(entry[:3], "little"), int.from_bytes(entry[3:7], "little")
    at, lengths = 7, []
    for _ in range(cells):
        length, at = leb128(entry, at)
        lengths.append(length)
    parts = []
    for length in lengths:
        parts.append(entry[at : at + length])
        at += length
    assert at == len(entry)
    return Entry(shape, ordinal, parts)


def open_cell(
    secret: bytes, compartment: bytes, shape: Shape, room: bytes, table: bytes, ordinal: int, cell: bytes
) -> bytes:
    key = hchacha20(hchacha20(secret, compartment), shape.batch)
    ad = bytes([shape.suite]) + room + table + compartment + struct.pack("<I", shape.version)
    return ChaCha20Poly1305(key).decrypt(struct.pack("<4xQ", ordinal), cell, ad)


def parse_cell(plain: bytes, types: list) -> list:
    """Values of the fields in order; zero padding may follow. Dates and timestamps stay numbers."""
    at, values = 0, []
    for name in types:
        head, at = leb128(plain, at)
        length, kind = head >> 2, head & 3
        size = (length + 1) // 2 if name == "string" and kind == 1 else length
        raw, at = plain[at : at + size], at + size
        values.append(_value(name, kind, length, raw))
    assert not any(plain[at:])
    return values


def _value(name: str, kind: int, length: int, raw: bytes):
    if kind == 3:
        return None
    if name == "string":
        if kind == 1:
            return raw.hex()[:length]
        return raw.decode("utf-8" if kind == 0 else "gb18030")
    if name == "float":
        return struct.unpack("<d", raw)[0]
    if name == "binary":
        return raw
    number = int.from_bytes(raw, "little", signed=True)
    if name == "bool":
        return bool(number)
    return number * 1_000_000 if name == "timestamp" and kind == 1 else number
