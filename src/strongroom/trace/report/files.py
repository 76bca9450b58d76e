"""Writes the report and the drafts into files for their owner alone: all of them, or none.

Rules it keeps:

1. Where they go is checked before a trace spends anything, and again as each file is made: none takes
   the place of another.
2. What fails leaves none of its files, and no folder that it made.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from strongroom.durable import sync_folder, write_new
from strongroom.errors import ConflictError, UnavailableError, UsageError
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
        ConflictError: A file of that name is there.
        UsageError: The folder that it goes into is not there, or is no folder.
    """
    if report is not None:
        _inside(report)
        _nothing_at(report)
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"{folder} is no folder", hint="name a folder for the drafts")
    if not folder.exists():
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
    made = folder is not None and not folder.exists()
    if folder is not None:
        pages += [(folder / name, page) for name, page in drafts.render(facts, words).items()]
    done: list[Path] = []
    try:
        if folder is not None and made:
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        for path, page in pages:
            _write(path, page, done)
    except BaseException:
        _undo(done, folder if made else None)
        raise
    return done


def _write(path: Path, page: str, done: list[Path]) -> None:
    try:
        write_new(path, page)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        done.append(path)  # a part of it may be there
        if error.errno in _FULL:
            raise UnavailableError("the disk is full", hint="free some space, then write the pages again") from None
        raise UsageError(f"{path} cannot be written ({type(error).__name__})") from None
    except BaseException:
        done.append(path)
        raise
    done.append(path)


def _undo(files: Iterable[Path], folder: Path | None) -> None:
    with suppress(OSError):
        for path in files:
            path.unlink(missing_ok=True)
        if folder is not None:
            folder.rmdir()


def _inside(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}", hint="make it first, or name another")


def _nothing_at(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise _taken(path)


def _taken(path: Path) -> ConflictError:
    return ConflictError(f"{path} exists already", hint="name another")
