"""Keeps objects in this process's memory, for tests and trials.

It keeps every rule of `store/base.py` but durability: nothing survives the process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from strongroom.store.base import CountedWriter, check_name, check_prefix


class MemoryWriter(CountedWriter):
    """Collects one new object."""

    def __init__(self, *, hashed: bool) -> None:
        super().__init__(hashed=hashed)
        self._data = bytearray()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append bytes; returns their number."""
        self._data += data
        return self._count(memoryview(data))

    def taken(self) -> bytes:
        """The bytes written."""
        return bytes(self._data)


class MemoryStore:
    """A store in memory. See the rules in `store/base.py`."""

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Create an object; ConflictError if the name is taken."""
        check_name(name)
        self._create(name, pieces if isinstance(pieces, bytes) else b"".join(pieces))

    def replace(self, name: str, data: bytes) -> None:
        """Create or overwrite a small object in one step."""
        check_name(name)
        with self._lock:
            self._objects[name] = bytes(data)

    @contextlib.contextmanager
    def writer(self, name: str, *, hashed: bool = False) -> Iterator[MemoryWriter]:
        """Stream a new object: visible when the block ends, gone when it raises."""
        check_name(name)
        if name in self._objects:
            raise ConflictError(f"object {name} exists")
        writer = MemoryWriter(hashed=hashed)
        yield writer
        self._create(name, writer.taken())

    def get(self, name: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        check_name(name)
        try:
            return self._objects[name]
        except KeyError:
            raise NotFoundError(f"object {name} is not in the store") from None

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`; IntegrityError if the object has fewer."""
        data = self.get(name)
        if start < 0 or length < 0:
            raise UsageError("a range starts at 0 or later and has no negative length")
        if start + length > len(data):
            raise IntegrityError(f"object {name} is shorter than {start + length} bytes")
        return data[start : start + length]

    def size(self, name: str) -> int:
        """Length in bytes; NotFoundError if there is none."""
        return len(self.get(name))

    def exists(self, name: str) -> bool:
        """Whether there is such an object now."""
        return check_name(name) in self._objects

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names that start with the prefix, each with its length."""
        check_prefix(prefix)
        with self._lock:
            found = [(name, len(data)) for name, data in self._objects.items() if name.startswith(prefix)]
        yield from found

    def delete(self, name: str) -> None:
        """Remove an object; absent is fine."""
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def close(self) -> None:
        """Nothing to let go of."""

    def _create(self, name: str, data: bytes) -> None:
        with self._lock:
            if name in self._objects:
                raise ConflictError(f"object {name} exists")
            self._objects[name] = data
