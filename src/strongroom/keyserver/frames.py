"""What goes over the wire: MessagePack of typed values, arrays as bytes with their shape, columns as Arrow IPC.

Everything that comes in is decoded into the type that its place declares, or refused: no name in a message chooses a
class. Arrays are views of the message, not copies, and are not writable. What is large stands behind the rest, so that
neither side copies it:

    0xC1 0 0 0 | length of the MessagePack u32 | MessagePack | zeros to a multiple of 64, bytes of the first part | ...

A part's place in the MessagePack has its length. Parts come in the order of their places: all of them, nothing else.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np
import pyarrow as pa

from strongroom.errors import InputError

_NAMED = {name: np.dtype(name) for name in ("|u1", "<u4", "<u8", "|b1", "<i8", "<f8")}
_DTYPES = {dtype: name for name, dtype in _NAMED.items()}

# fields of the tables Message and RecordBatch of Arrow's Message.fbs
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3

_APART = b"\xc1\0\0\0"  # no MessagePack begins with this byte
_PREFIX_BYTES = 8
_ALIGNED_BYTES = 64
APART_LEAST = 1 << 16
"""Arrays and columns of so many bytes stand behind the rest of a message."""

T = TypeVar("T")
Part = bytes | memoryview


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.nbytes < APART_LEAST:
            return _copied(value)
        return (_DTYPES[value.dtype], value.shape, np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    if isinstance(value, pa.Array):
        sink = pa.BufferOutputStream()
        batch = pa.record_batch([value], ["column"])
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return memoryview(sink.getvalue())
    raise TypeError(f"{type(value).__name__} does not go over the wire")


def _copied(value: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """A small array: a copy takes less than a view."""
    return (_DTYPES[value.dtype], value.shape, value.tobytes())


@cache
def _scalar(kind: Any) -> type | None:
    """The scalar type of a kind of array; None for what is no array."""
    if get_origin(kind) is not np.ndarray:
        return None
    scalar: type = get_args(get_args(kind)[1])[0]
    return scalar


class _Apart:
    """Encodes one value, and keeps what is large for itself."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []

    def encode(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.nbytes < APART_LEAST:
            return _copied(value)
        found = _encode(value)
        if isinstance(value, np.ndarray):
            return (*found[:2], self._place(found[2]))
        return self._place(found)

    def _place(self, data: memoryview) -> memoryview | int:
        if data.nbytes < APART_LEAST:
            return data
        self.parts.append(data)
        return data.nbytes


class _Parts:
    """Hands out the parts of a message in their order."""

    def __init__(self, data: Part) -> None:
        self._view = memoryview(data).toreadonly()
        self._at = _PREFIX_BYTES + int.from_bytes(self._view[len(_APART) : _PREFIX_BYTES], "little")
        self.rest = self._view[_PREFIX_BYTES : self._at]
        """All but the parts."""

    def take(self, size: int) -> memoryview:
        start = self._at + -self._at % _ALIGNED_BYTES
        if size < APART_LEAST or start + size > len(self._view):
            raise ValueError("a part that is not there")
        self._at = start + size
        return self._view[start : self._at]

    def end(self) -> None:
        if self._at != len(self._view):
            raise ValueError("more than was named")


class _Now(threading.local):
    """The message that this thread reads."""

    parts: _Parts | None = None


_NOW = _Now()


def _data(value: Any) -> Any:
    """Bytes that stand in their place, or behind the rest."""
    if type(value) is not int:
        return value
    if _NOW.parts is None:
        raise ValueError("a part of a message that has none")
    return _NOW.parts.take(value)


def _decode(kind: Any, value: Any) -> Any:
    scalar = _scalar(kind)
    if scalar is not None:
        return _array(scalar, value)
    if kind is pa.Array:
        batch = _batch(_data(value))
        batch.validate(full=True)
        return batch.column(0)
    raise TypeError(f"{kind} does not come over the wire")


def _batch(value: Any) -> pa.RecordBatch:
    """One record batch of an Arrow IPC stream, which must not be compressed: it would be as large as it likes."""
    messages = pa.ipc.MessageReader.open_stream(value)
    schema = pa.ipc.read_schema(messages.read_next_message())
    message = messages.read_next_message()
    if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
        raise ValueError("a column of another kind")
    return pa.ipc.read_record_batch(message, schema)


def _is_compressed(metadata: bytes) -> bool:
    """Whether the metadata of a record batch (a flatbuffer that Arrow has checked) says that its body is compressed."""

    def place(table: int, field: int) -> int:
        """Where a field of a table is; 0 where it is not there."""
        names = table - int.from_bytes(metadata[table : table + 4], "little", signed=True)
        size = int.from_bytes(metadata[names : names + 2], "little")
        at = 4 + 2 * field
        offset = int.from_bytes(metadata[names + at : names + at + 2], "little") if at < size else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + int.from_bytes(metadata[at : at + 4], "little")

    header = place(follow(0), _MESSAGE_HEADER)
    return header == 0 or place(follow(header), _BATCH_COMPRESSION) != 0


def _array(scalar: type, value: Any) -> Any:
    name, shape, data = value
    dtype = _NAMED[name]
    if dtype.type is not scalar or not 1 <= len(shape) <= 2 or min(shape) < 0:
        raise ValueError("an array of another kind")
    found = np.frombuffer(_data(data), dtype)
    if len(shape) == 2 or shape[0] != len(found):
        found = found.reshape(shape)
    return found if found.flags.aligned else found.copy()


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode)


def pack(value: Any) -> bytes:
    """A value as bytes."""
    return _ENCODER.encode(value)


def pack_apart(value: Any) -> list[Part]:
    """A value as parts that are sent one after the other; what is large in it is not copied."""
    apart = _Apart()
    rest = msgspec.msgpack.Encoder(enc_hook=apart.encode).encode(value)
    if not apart.parts:
        return [rest]
    found: list[Part] = [_APART + len(rest).to_bytes(4, "little") + rest]
    at = len(found[0])
    for part in apart.parts:
        zeros = -at % _ALIGNED_BYTES
        found += [bytes(zeros), part] if zeros else [part]
        at += zeros + part.nbytes
    return found


_WRONG = (
    msgspec.MsgspecError, pa.ArrowException,
    ArithmeticError, ValueError, TypeError, LookupError, OSError, StopIteration,
)  # fmt: skip


class Unpacker:
    """Reads values of one type.

    Args:
        kind: A type that msgspec knows, with numpy arrays and Arrow arrays in it.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind, dec_hook=_decode)

    def __call__(self, data: bytes) -> Any:
        """Read one; InputError when the bytes are not such a value."""
        try:
            return self._decoder.decode(data) if data[:1] != _APART[:1] else self._apart(data)
        except _WRONG:
            raise InputError("the message is not what this call takes") from None
        except RecursionError:
            raise InputError("the message is nested too deeply") from None

    def _apart(self, data: bytes) -> Any:
        if data[: len(_APART)] != _APART:
            raise ValueError("no message")
        _NOW.parts = parts = _Parts(data)
        try:
            value = self._decoder.decode(parts.rest)
            parts.end()
        finally:
            _NOW.parts = None
        return value
