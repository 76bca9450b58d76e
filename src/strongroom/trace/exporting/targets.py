"""Where an export's files go: nothing stands under a file's name before all files are whole.

A file in a folder is written without any name (Linux `O_TMPFILE`) and gets its own when it is whole, so that a killed
process leaves nothing; where a file system has no such files, under a name beside, which only a killed process leaves.
An object in a bucket is a multipart upload, which shows when it is completed.

Rules it keeps:

1. A name that is taken is refused before anything is read, and again when the file gets it.
2. Names are given when every file is written and durable: all, or none.
3. Errors name the file and what to do, and nothing that is in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from strongroom.durable import sync_folder
from strongroom.errors import ConflictError, DeniedError, StrongroomError, UnavailableError, UsageError

if TYPE_CHECKING:
    from strongroom.store.base import Store, Writer

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
SCHEMES = ("s3", "az", "gs", "memory")


class File(Protocol):
    """A file that is being written."""

    closed: bool

    def write(self, data: Any, /) -> int:
        """Append bytes."""

    def flush(self) -> None:
        """Hand them to the system."""

    def close(self) -> None:
        """Let go of it."""


class Targets(Protocol):
    """The files of one export."""

    def open(self, name: str) -> File:
        """A file to write, by the name of its place among those that were given."""

    def publish(self) -> None:
        """Give every file its name; ConflictError when one is taken by now: none has its name then."""

    def withdraw(self) -> None:
        """Take the files back after `publish`."""

    def discard(self) -> None:
        """Let go of what was written and has no name; absent is fine."""


def open_targets(to: str, names: Sequence[str], *, folder: bool) -> Targets:
    """The places of an export's files.

    Args:
        to: A file, or with `folder` where all files go; a path or a URL.
        names: File names; the only one is `to` itself unless `folder`.
        folder: Whether `to` is a folder or prefix.

    Raises:
        ConflictError: There is something under one of the names.
        UsageError, UnavailableError: The place cannot be written to.
    """
    parts = urlsplit(to)
    if "://" in to and parts.scheme != "file":
        if parts.scheme not in SCHEMES:
            raise UsageError(f"exports do not go to {parts.scheme}://", hint="a file, or s3://bucket/name")
        base, own = (to.rstrip("/"), list(names)) if folder else _cut(to)
        return _Objects(base, dict(zip(names, own, strict=True)))
    path = Path(unquote(parts.path) if parts.scheme == "file" else to)
    places = {name: path / name for name in names} if folder else {names[0]: path}
    return _Files(places, path if folder else path.parent, make=folder)


def _cut(url: str) -> tuple[str, list[str]]:
    base, _, name = url.rpartition("/")
    if not name or "://" not in base or base.endswith("/"):
        raise UsageError("the URL names no object", hint="s3://bucket/name.csv")
    return base, [name]


class _Files:
    """Files in a folder."""

    def __init__(self, places: dict[str, Path], folder: Path, *, make: bool) -> None:
        self._places = places
        self._open: dict[str, tuple[_Told, Path | None]] = {}
        self._published: list[Path] = []
        for path in places.values():
            if os.path.lexists(path):
                raise _taken(path)
        self._make = folder if not folder.exists() and folder.parent.is_dir() and make else None
        if self._make is None and not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="make it first, or name another file")

    def open(self, name: str) -> File:
        path = self._places[name]
        with _telling(path):
            if self._make is not None:
                self._make.mkdir(mode=0o700, exist_ok=True)
            handle, beside = self._unnamed(path)
            file = os.fdopen(handle, "wb", buffering=1 << 20)
        told = _Told(file, path)
        self._open[name] = (told, beside)
        return told

    @staticmethod
    def _unnamed(path: Path) -> tuple[int, Path | None]:
        flag = getattr(os, "O_TMPFILE", None)
        if flag is not None:
            try:
                return os.open(path.parent, os.O_WRONLY | flag, 0o600), None
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        beside = path.with_name(f".{path.name}.part")
        return os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), beside

    def publish(self) -> None:
        try:
            for name, (file, _beside) in self._open.items():
                with _telling(self._places[name]):
                    file.flush()
                    os.fsync(file.fileno())
            for name, (file, beside) in self._open.items():
                path = self._places[name]
                with _telling(path):
                    _link(file.fileno(), beside, path)
                    self._published.append(path)
            for folder in {path.parent for path in self._published}:
                with _telling(folder):
                    sync_folder(folder)
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        for path in self._published:
            with contextlib.suppress(OSError):
                path.unlink()
        self._published = []

    def discard(self) -> None:
        for file, beside in self._open.values():
            with contextlib.suppress(OSError, StrongroomError):
                file.close()
            if beside is not None:
                with contextlib.suppress(OSError):
                    beside.unlink()
        self._open = {}


class _Told:
    """A file whose errors are this library's."""

    closed = False

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, data: Any, /) -> int:
        with _telling(self._path):
            return self._file.write(data)

    def flush(self) -> None:
        with _telling(self._path):
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class _Objects:
    """Objects in a bucket, each a multipart upload until it is whole."""

    def __init__(self, base: str, names: dict[str, str]) -> None:
        from strongroom.store.open import open_store

        self._store: Store = open_store(base, create=False)
        self._names = names
        self._open: dict[str, tuple[contextlib.ExitStack, Writer]] = {}
        self._published: list[str] = []
        for name in names.values():
            if self._store.exists(name):
                raise ConflictError(f"there is an object {name} already", hint="name another, or remove it first")

    def open(self, name: str) -> File:
        stack = contextlib.ExitStack()
        writer = stack.enter_context(self._store.writer(self._names[name]))
        self._open[name] = (stack, writer)
        return _Sink(writer)

    def publish(self) -> None:
        try:
            for name in list(self._open):
                stack, _writer = self._open.pop(name)
                stack.close()
                self._published.append(self._names[name])
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        for name in self._published:
            with contextlib.suppress(StrongroomError):
                self._store.delete(name)
        self._published = []

    def discard(self) -> None:
        gone = UnavailableError("the export was given up")
        for stack, _writer in self._open.values():
            with contextlib.suppress(StrongroomError):
                stack.__exit__(type(gone), gone, None)
        self._open = {}
        self._store.close()


class _Sink:
    """A store's writer as a file."""

    closed = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: Any, /) -> int:
        return self._writer.write(data)

    def flush(self) -> None:
        """Its writer sends parts as they fill."""

    def close(self) -> None:
        """It ends when the object is published."""


@contextlib.contextmanager
def _telling(path: Path) -> Any:
    """Turn errors of the system into this library's."""
    try:
        yield
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno in _FULL:
            told = f"the disk is full: {path} was not written"
            raise UnavailableError(told, hint="free some space, then resume the export") from None
        if isinstance(error, PermissionError):
            raise DeniedError(f"{path} may not be written", rule="file") from None
        raise UnavailableError(f"{path} cannot be written ({type(error).__name__})") from None


def _taken(path: Path) -> ConflictError:
    return ConflictError(f"{path} exists already", hint="name another file, or remove it first")


def _link(handle: int, beside: Path | None, path: Path) -> None:
    """Give an open file its name; FileExistsError when it is taken."""
    if beside is not None:
        os.link(beside, path)
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # with a folder given, Python calls linkat, which alone follows the link to the open file (open(2), O_TMPFILE)
        os.link(f"/proc/self/fd/{handle}", path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
