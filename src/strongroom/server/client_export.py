"""An export through a room's server: signed here, made there, written here, whole or not at all.

The order:

1. The places are looked at: a name that is taken is refused before anybody is asked.
2. The request is signed and sent. A refusal is raised as the library would; nobody was charged then.
3. The head has the export's id: from here on whoever is cut takes it up by that, and nobody is charged again.
4. What comes is written as it comes, to files without a name.
5. They get their names when the end has come, and all bytes before it had the digest that stands there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from strongroom.errors import IntegrityError, StrongroomError, UsageError
from strongroom.identity import asked
from strongroom.keymaster.exports.api import ExportGrant
from strongroom.server.answers import ExportEnded, ExportStarted
from strongroom.server.exporting import DIGEST, EXPORTED, ID, STARTED
from strongroom.server.unzipping import Unzipping
from strongroom.trace.exporting.request import (
    EXPORT_ID_DIGITS,
    ExportReport,
    ExportRequest,
    Places,
    places_of,
    resumable,
)
from strongroom.trace.exporting.targets import File, Targets, open_targets

if TYPE_CHECKING:
    from strongroom.keyserver.streamed import Streamed

Progress = Callable[[int, int, int | None], None]
_PREFIX = "sha-256=:"
S = TypeVar("S", bound=msgspec.Struct)


class ClientExports:
    """Part of `RoomClient`."""

    @abstractmethod
    def stream(self, verb: str, body: bytes) -> Streamed:
        """Sign one request and send it; the answer comes while it is made."""

    def export(
        self,
        tables: str | Sequence[str],
        *,
        to: str,
        recipient: str,
        purpose: str,
        reason: str,
        where: str | None = None,
        subjects: Sequence[str | int] | None = None,
        persons: int | None = None,
        format: str | None = None,  # noqa: A002  the word of the field
        approval: str | None = None,
        break_glass: bool = False,
        resume: str | None = None,
        progress: Progress | None = None,
        started: Callable[[ExportGrant], None] | None = None,
    ) -> ExportReport:
        """Export tables to a recipient; see `Room.export`. The records come through the server to files here.

        `persons` is the greatest number of persons, canary persons among them. It is signed: where there would be more,
        nobody goes out (DeniedError). As many as are named when not given; without names it must be.
        """
        listed = (tables,) if isinstance(tables, str) else tuple(tables)
        named = None if subjects is None else tuple(str(one) for one in subjects)
        request = ExportRequest(
            listed, to, recipient, purpose, reason, where, named, format, approval, break_glass, resume, persons=persons
        )
        return export_through(lambda body: self.stream("export", body), request, progress, started)


def export_through(
    send: Callable[[bytes], Streamed],
    request: ExportRequest,
    progress: Progress | None = None,
    started: Callable[[ExportGrant], None] | None = None,
) -> ExportReport:
    """Export; see `RoomClient.export`.

    Args:
        send: Signs a body, sends it, and gives the answer while it comes; raises what the server refused.
        request: What, and where to.
        progress: Called with 0, the bytes so far, and None.
        started: Called once the persons are charged, and before any record comes.
    """
    places = places_of(request)
    said = _said(request, places)
    body = msgspec.json.encode(said)
    targets = open_targets(request.to, places.names, folder=places.folder)
    try:
        with send(body) as answer:
            grant = _granted(answer, said)
            if started is not None:
                started(grant)
            try:
                ended = _Arriving(answer, places, targets, progress).written(said)
            except StrongroomError as error:
                raise resumable(error, grant.export_id.hex())  # noqa: B904 - the same error, with a hint
        targets.publish()
    finally:
        targets.discard()
    return ExportReport(
        grant.export_id.hex(), grant.leaf, grant.snapshot, request.recipient, grant.persons, ended.records,
        places.files(request.to), ended.absent, ended.root, grant.marked, grant.names_from, grant.why_none,
        grant.remaining,
    )  # fmt: skip


def _said(request: ExportRequest, places: Places) -> asked.Export:
    subjects = None if request.subjects is None else list(request.subjects)
    if subjects is not None and not 0 < len(subjects) <= asked.EXPORT_SUBJECTS_MAX:
        raise UsageError(f"1 to {asked.EXPORT_SUBJECTS_MAX:,} subjects are named at once through a server")
    count = request.persons
    if count is None:
        if subjects is None:
            told = "how many persons go out at most stands in what is signed"
            raise UsageError(told, hint="persons=N, or `--persons N`")
        count = len(subjects)
    return asked.Export(
        purpose=request.purpose, reason=request.reason, approval=request.approval, break_glass=request.break_glass,
        tables=list(request.tables), recipient=request.recipient, format=cast("Any", places.word), persons=count,
        where=request.where, subjects=subjects, resume=request.resume,
    )  # fmt: skip


def _granted(answer: Streamed, wanted: asked.Export) -> ExportGrant:
    """What the head says: the keymaster has charged and noted the persons. IntegrityError where it is of another."""
    said, ident = _read(answer.headers.get(STARTED, ""), ExportStarted), answer.headers.get(ID, "")
    if wanted.resume not in {None, ident} or not 0 <= said.persons <= wanted.persons:
        raise _other()
    try:
        export_id = bytes.fromhex(ident) if len(ident) == EXPORT_ID_DIGITS else b""
    except ValueError:
        export_id = b""
    if not export_id:
        raise _other()
    return ExportGrant(
        export_id, said.snapshot, said.persons, said.leaf, said.remaining, b"", said.marked, said.names_from,
        said.why_none,
    )  # fmt: skip


def _read(text: str, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(text.encode("latin-1"), type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _other() from None


def _other() -> IntegrityError:
    return IntegrityError("the server's answer is not one of this API")


class _Arriving:
    """The body of one answer, written while it comes."""

    def __init__(self, answer: Streamed, places: Places, targets: Targets, progress: Progress | None) -> None:
        self._answer = answer
        self._names: Sequence[str] = places.names
        self._targets = targets
        self._progress = progress
        self._open: dict[str, File] = {}

    def written(self, wanted: asked.Export) -> ExportEnded:
        """Write it; what its end says. IntegrityError where it is not what was sent, or of other tables than wanted."""
        digest, count = hashlib.sha256(), 0
        several = None if len(self._names) == 1 else Unzipping(self._names, self._write)
        self._write(self._names[0], b"")
        for piece in self._answer.pieces():
            digest.update(piece)
            count += len(piece)
            if several is None:
                self._write(self._names[0], piece)
            else:
                several.feed(piece)
            if self._progress is not None:
                self._progress(0, count, None)
        if several is not None:
            several.end()
        ended = _read(self._answer.trailers.get(EXPORTED, ""), ExportEnded)
        if not hmac.compare_digest(_digest_of(self._answer.trailers.get(DIGEST, "")), digest.digest()):
            raise IntegrityError("what has come is not what the server sent", hint="resume the export")
        if ended.records.keys() != set(wanted.tables) or min(ended.records.values()) < 0:
            raise _other()
        return ended

    def _write(self, name: str, data: bytes) -> Any:
        if name not in self._open:
            self._open[name] = self._targets.open(name)
        if data:
            self._open[name].write(data)


def _digest_of(text: str) -> bytes:
    """The digest in a `Content-Digest` (RFC 9530); nothing where there is none."""
    try:
        return base64.b64decode(text.removeprefix(_PREFIX).removesuffix(":"), validate=True)
    except binascii.Error:
        return b""
