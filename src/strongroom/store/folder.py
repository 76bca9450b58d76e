"""Keeps objects as files in a folder of this machine.

Rules it keeps beside those of `store/base.py`:

1. Bytes go to a temporary file first, are synchronised once, then linked under their name (`link` refuses a taken
   name, where `rename` would overwrite it), and the folders on the way are synchronised: only then is an object there.
2. Temporary files lie in `.tmp` inside the folder, each locked while its writer lives; opening the store removes those
   whose writer is gone. No object name can reach them, because no name part starts with a dot.
3. Ranges are read with `pread` on a bounded set of open files: one system call per look-up. An open file belongs to
   whoever reads it, so that closing one in another thread never makes a number point at other bytes.
"""

# Look-ups take microseconds here, and building Path objects takes as long as the read.
# ruff: noqa: PTH100, PTH102, PTH105, PTH108, PTH112, PTH113, PTH116, PTH118, PTH120, PTH123

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from strongroom.durable import sync_folder
from strongroom.errors import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.store.base import CountedWriter, check_name, check_prefix

OPEN_FILES_MAX = 256
WRITE_BEHIND_BYTES = 8 << 20
_TEMPORARY = ".tmp"
_SYNC_FILE_RANGE_WRITE = 2


def _unavailable(error: OSError, what: str) -> StrongroomError:
    """Our error for one of the operating system's: what was tried and why it failed, no path of the host."""
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}:
        return NotFoundError(f"{what}: not in the store")
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return UnavailableError(f"{what}: the disk is full", hint="Free some space, then try again.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return UnavailableError(f"{what}: no permission", hint="Check who owns the folder of the store.")
    return UnavailableError(f"{what}: {os.strerror(error.errno or 0).lower()}")


@cache
def _start_write_back() -> Callable[[int, int, int], None]:
    """A function (file, start, length) that starts writing to disk early, where the system has one.

    The final fsync then has little left to do. Failing to start early is no failure.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):
        return lambda _file, _start, _length: None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

    def start(file: int, begin: int, length: int) -> None:
        call(file, begin, length, _SYNC_FILE_RANGE_WRITE)

    return start


class _OpenFile:
    """An open file that closes when its last reader lets go of it."""

    __slots__ = ("number", "size")

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.number).st_size

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.number)


class FolderWriter(CountedWriter):
    """Writes one new object to a temporary file."""

    def __init__(self, file: int, name: str, *, hashed: bool) -> None:
        super().__init__(hashed=hashed)
        self._file = file
        self._name = name
        self._started = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append bytes; returns their number."""
        whole = rest = memoryview(data).cast("B")
        try:
            while len(rest):
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise _unavailable(error, f"write of object {self._name}") from None
        size = self._count(whole)
        if self._length - self._started >= WRITE_BEHIND_BYTES:
            _start_write_back()(self._file, self._started, self._length - self._started)
            self._started = self._length
        return size


class FolderStore:
    """A store in a folder. See the rules above and in `store/base.py`.

    Args:
        folder: Where the objects lie; made if it is absent (its parent must exist).

    Raises:
        UnavailableError: The folder cannot be made or used.
    """

    def __init__(self, folder: str | Path) -> None:
        self._root = os.path.abspath(folder)
        self.url = self._root
        self._temporary = os.path.join(self._root, _TEMPORARY)
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        try:
            for path in (self._root, self._temporary):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    sync_folder(os.path.dirname(path))
            self._sweep()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise UnavailableError(f"cannot use the folder of the store: {reason}") from None

    @property
    def temporary_folder(self) -> Path:
        """A folder on the same disk for sealed temporary files, which openings of the store sweep."""
        return Path(self._temporary)

    def local_path(self, name: str) -> str:
        """Where an object lies, for libraries that read files themselves."""
        return os.path.join(self._root, check_name(name))

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Create an object, durable when this returns; ConflictError if the name is taken."""
        with self.writer(name) as out:
            for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
                out.write(piece)

    def replace(self, name: str, data: bytes) -> None:
        """Create or overwrite a small object in one step, durable when this returns."""
        with self._written(name, hashed=False) as (out, path):
            out.write(data)
            self._place(name, path, over=True)
        with self._lock:
            self._open.pop(name, None)

    @contextlib.contextmanager
    def writer(self, name: str, *, hashed: bool = False) -> Iterator[FolderWriter]:
        """Stream a new object: durable and visible when the block ends, gone when it raises."""
        if self.exists(name):
            raise ConflictError(f"object {name} exists")
        with self._written(name, hashed=hashed) as (out, path):
            yield out
            self._place(name, path, over=False)

    def get(self, name: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        path = self.local_path(name)
        try:
            with open(path, "rb", buffering=0) as file:
                return file.readall()
        except OSError as error:
            raise _unavailable(error, f"read of object {name}") from None

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start` of a write-once object; IntegrityError if it has fewer."""
        file = self._open.get(name) or self._opened(name)
        if start < 0 or length < 0:
            raise UsageError("a range starts at 0 or later and has no negative length")
        try:
            data = os.pread(file.number, length, start)
            while len(data) < length:
                more = os.pread(file.number, length - len(data), start + len(data))
                if not more:
                    raise IntegrityError(f"object {name} is shorter than {start + length} bytes")
                data += more
        except OSError as error:
            raise _unavailable(error, f"read of object {name}") from None
        return data

    def size(self, name: str) -> int:
        """Length in bytes; NotFoundError if there is none."""
        try:
            return os.stat(self.local_path(name)).st_size
        except OSError as error:
            raise _unavailable(error, f"object {name}") from None

    def exists(self, name: str) -> bool:
        """Whether there is such an object now."""
        return os.path.isfile(self.local_path(name))

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names that start with the prefix, each with its length."""
        folder = check_prefix(prefix).rpartition("/")[0]
        yield from self._walk(folder, prefix)

    def delete(self, name: str) -> None:
        """Remove an object; absent is fine."""
        path = self.local_path(name)
        with self._lock:
            self._open.pop(name, None)
        try:
            os.unlink(path)
            sync_folder(os.path.dirname(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(error, f"removal of object {name}") from None

    def close(self) -> None:
        """Let go of open files; the store may be used again after it."""
        with self._lock:
            self._open.clear()

    # -- inside ---------------------------------------------------------------------------------
    def _opened(self, name: str) -> _OpenFile:
        try:
            file = _OpenFile(self.local_path(name))
        except OSError as error:
            raise _unavailable(error, f"read of object {name}") from None
        with self._lock:
            while len(self._open) >= OPEN_FILES_MAX:
                self._open.popitem(last=False)
            self._open[name] = file
        return file

    @contextlib.contextmanager
    def _written(self, name: str, *, hashed: bool) -> Iterator[tuple[FolderWriter, str]]:
        """A writer on a locked temporary file and the file's path, which is gone after the block."""
        check_name(name)
        file, path = self._new_temporary(name)
        try:
            yield FolderWriter(file, name, hashed=hashed), path
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(file)

    def _new_temporary(self, name: str) -> tuple[int, str]:
        leaf = name.replace("/", "_")
        count = 0
        while True:
            path = os.path.join(self._temporary, f"{leaf}.{os.getpid()}.{threading.get_ident()}.{count}")
            count += 1
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            except OSError as error:
                raise _unavailable(error, f"write of object {name}") from None
            fcntl.flock(file, fcntl.LOCK_EX)
            # A sweep may have removed the file between its making and its locking: then it has no name left.
            if os.fstat(file).st_nlink:
                return file, path
            os.close(file)

    def _place(self, name: str, path: str, *, over: bool) -> None:
        target = self.local_path(name)
        parent = os.path.dirname(target)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)
            self._make_folders(parent)
            if over:
                os.replace(path, target)
            else:
                os.link(path, target)
            sync_folder(parent)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise ConflictError(f"object {name} exists") from None
        except OSError as error:
            raise _unavailable(error, f"write of object {name}") from None

    def _make_folders(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        above = os.path.dirname(folder)
        self._make_folders(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        sync_folder(above)

    def _walk(self, folder: str, prefix: str) -> Iterator[tuple[str, int]]:
        try:
            found = sorted(os.scandir(os.path.join(self._root, folder)), key=lambda item: item.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(error, "listing of the store") from None
        for item in found:
            if item.name.startswith("."):
                continue
            name = f"{folder}/{item.name}" if folder else item.name
            if item.is_dir(follow_symlinks=False):
                if name.startswith(prefix) or prefix.startswith(f"{name}/"):
                    yield from self._walk(name, prefix)
            elif name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    yield name, item.stat().st_size

    def _sweep(self) -> None:
        """Remove temporary files whose writer is gone: their lock is free."""
        for item in os.scandir(self._temporary):
            with contextlib.suppress(FileNotFoundError, BlockingIOError, IsADirectoryError):
                file = os.open(item.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(item.path)
                finally:
                    os.close(file)
