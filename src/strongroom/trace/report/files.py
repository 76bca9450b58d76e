"""Writes the report and the drafts into files for their owner alone: all of them, or none.

Rules it keeps:

1. Where they go is checked before a trace spends anything, and again as each file is made: none takes
   the place of another.
2. What fails leaves none of its files, and no folder that it made.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from strongroom.durable import sync_folder, write_new
from strongroom.errors import ConflictError, StrongroomError, UnavailableError, UsageError
from strongroom.trace.report import drafts, regulator
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.words import Words

_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_free(words: Words, report: Path | None, folder: Path | None) -> None:
    """See that the files can be made where they are wanted.

    Args:
        words: Name the languages of the drafts.
        report: The report's file; None for none.
        folder: The drafts' folder, which is made where it is not there yet; None for none.

    Raises:
        ConflictError: A file of that name is there, or a folder is wanted where a file is.
        UsageError: The folder that it goes into is not there, or may not be written to.
    """
    if report is not None:
        _inside(report)
        _nothing_at(report)
    if folder is None:
        return
    if _is_folder(folder):
        _writable(folder)
    elif os.path.lexists(folder):
        raise ConflictError(f"{folder} is no folder", hint="name a folder for the drafts")
    else:
        _inside(folder)
    for name in drafts.names(words):
        _nothing_at(folder / name)
        if report is not None and report.absolute() == (folder / name).absolute():
            raise UsageError("the report and a draft are the same file", hint="name another file for the report")


def write(facts: TraceFacts, words: Words, report: Path | None, folder: Path | None) -> list[Path]:
    """Write the report, and the drafts by their names into a folder; gives the files.

    Raises:
        ConflictError: A file of that name is there.
        UsageError: The folder that it goes into is not there, or may not be written to.
        UnavailableError: The disk is full, or fails.
    """
    check_free(words, report, folder)
    pages = [] if report is None else [(report, regulator.render(facts, words))]
    if folder is not None:
        pages += [(folder / name, page) for name, page in drafts.render(facts, words).items()]
    done: list[Path] = []
    made: Path | None = None
    try:
        if folder is not None and not _is_folder(folder):
            with _telling(folder):
                folder.mkdir(mode=0o700)
                made = folder
                sync_folder(folder.parent)
        for path, page in pages:
            _write(path, page, done)
    except BaseException:
        _undo(done, made)
        raise
    return done


def _write(path: Path, page: str, done: list[Path]) -> None:
    try:
        with _telling(path):
            write_new(path, page)
    except ConflictError:
        raise  # that file is somebody else's
    except BaseException:
        done.append(path)  # a part of it may be there
        raise
    done.append(path)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn errors of the system into this library's."""
    try:
        yield
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise _told(path, error) from None


def _told(path: Path, error: OSError) -> StrongroomError:
    if error.errno in _FULL:
        return UnavailableError("the disk is full", hint="free some space, then write the pages again")
    return UsageError(f"{path} cannot be written ({type(error).__name__})")


def _undo(files: Iterable[Path], folder: Path | None) -> None:
    for path in files:
        with suppress(OSError):  # one that cannot be taken away keeps none of the others
            path.unlink(missing_ok=True)
    if folder is not None:
        with suppress(OSError):
            folder.rmdir()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long, or a folder that nobody may look into
        raise _told(path, error) from None


def _inside(path: Path) -> None:
    if not _is_folder(path.absolute().parent):
        raise UsageError(f"{path}: there is no folder {path.parent}", hint="make it first, or name another")
    _writable(path.absolute().parent)


def _writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"nothing can be written into {folder}", hint="name another folder")


def _nothing_at(path: Path) -> None:
    if os.path.lexists(path):
        raise _taken(path)


def _taken(path: Path) -> ConflictError:
    return ConflictError(f"{path} exists already", hint="name another")
