"""What tests of runs, catalogue and index share."""

import os
import threading

import numpy as np

from strongroom.errors import IntegrityError
from strongroom.keymaster.api import FileKey
from strongroom.seal.blocks import block_key
from strongroom.seal.columns import Columns

ROOM = b"r" * 16
TABLE = b"t" * 16


class Keys(dict):
    """File keys by id, and a thread-safe mint."""

    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def mint(self, kind, object_id):
        made = FileKey(os.urandom(16), os.urandom(32))
        with self._lock:
            self[made.key_id] = made.key
        return made


def keys_of_files(file_keys):
    """Block keys derived from file keys at hand, by key id."""

    def block_keys(key_id, kind, numbers, _table):
        if key_id not in file_keys:
            raise IntegrityError(f"file key {key_id.hex()} is not among those given")
        return [block_key(file_keys[key_id], kind, number) for number in numbers]

    return block_keys


def columns(pairs):
    """Columns of (token, payload) pairs."""
    tokens = np.frombuffer(b"".join(t for t, _ in pairs), np.uint8).reshape(-1, 16)
    payload = np.frombuffer(b"".join(p for _, p in pairs), np.uint8)
    offsets = np.zeros(len(pairs) + 1, np.int64)
    np.cumsum([len(p) for _, p in pairs], out=offsets[1:])
    return Columns(tokens, payload, offsets)


def pairs(entries):
    """(token, payload) pairs of columns."""
    data, ends = entries.payload.tobytes(), entries.offsets.tolist()
    return [(t.tobytes(), data[a:b]) for t, a, b in zip(entries.tokens, ends, ends[1:], strict=False)]


def record(shape, ordinal, *cells):
    """A record entry whose cells are short."""
    head = shape.to_bytes(3, "little") + ordinal.to_bytes(4, "little")
    return head + bytes(len(c) for c in cells) + b"".join(cells)
