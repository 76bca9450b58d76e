"""What is asked of an export and what it gave; the names of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import StrongroomError, UsageError
from strongroom.trace.exporting.formats import format_of

if TYPE_CHECKING:
    from strongroom.keymaster.api import Bytes2D

EXPORT_ID_DIGITS = 32


@dataclass(frozen=True)
class ExportRequest:
    """What is exported, and where to; see `Room.export`."""

    tables: tuple[str, ...]
    to: str
    recipient: str
    purpose: str
    reason: str
    where: str | None = None
    subjects: tuple[str, ...] | None = field(default=None, repr=False)
    format: str | None = None
    approval: str | None = None
    break_glass: bool = False
    resume: str | None = None
    tokens: Bytes2D | None = field(default=None, repr=False)
    persons: int | None = None

    @property
    def named(self) -> bool:
        """Whether it is of named persons, by identifier or token."""
        return self.subjects is not None or self.tokens is not None


@dataclass(frozen=True)
class ExportReport:
    """What an export gave.

    `absent` counts subjects that were named and have no record; `root` is that over the rows, hex; `marked`,
    `names_from` and `why_none` tell of canary persons among them, see `ExportGrant`.
    """

    export_id: str
    leaf: int
    snapshot: int
    recipient: str
    persons: int
    records: Mapping[str, int]
    files: tuple[str, ...]
    absent: int
    root: str
    marked: bool
    names_from: int
    why_none: str
    remaining: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "records": dict(self.records), "files": list(self.files)}


class Places(NamedTuple):
    """Where the files of an export go: whether into a folder or prefix, their format, and their names."""

    folder: bool
    word: str
    names: tuple[str, ...]

    def files(self, to: str) -> tuple[str, ...]:
        """The files, as whoever asked for the export calls them."""
        return tuple(f"{to.rstrip('/')}/{name}" for name in self.names) if self.folder else (to,)


def places_of(request: ExportRequest) -> Places:
    """Where the files of an export go.

    Raises:
        UsageError: A table twice, or none; both subjects and a condition; a format that is none, or not told.
    """
    if not request.tables or len(set(request.tables)) != len(request.tables):
        raise UsageError("name one table, or several, each once")
    if request.where is not None and request.subjects is not None:
        raise UsageError("an export is of named subjects, or of those that a condition chooses")
    folder = len(request.tables) > 1 or request.to.endswith("/")
    word = format_of("" if folder else request.to, request.format)
    return Places(folder, word, tuple(f"{table}.{word}" for table in request.tables))


def ident_of(export: str) -> bytes:
    """The id of an export (16 B), as it is written."""
    try:
        ident = bytes.fromhex(export)
    except ValueError:
        ident = b""
    if len(export) != EXPORT_ID_DIGITS or not ident:
        raise UsageError("the id of an export has 32 hex digits", hint="`strongroom exports` lists them")
    return ident


def resumable(error: StrongroomError, export_id: str) -> StrongroomError:
    """The error that stopped a started export, with how it goes on."""
    told = f"`--resume {export_id}` takes the export up: its persons are charged already"
    error.hint = f"{error.hint}; {told}" if error.hint else told
    return error
