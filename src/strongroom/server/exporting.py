"""Exports that callers signed: made here as the library makes them, and sent while they are made.

The order, as a caller sees it:

1. A refusal, of whatever kind, is a problem like any other; nobody is charged.
2. Once all persons are charged and noted the head is sent, with the export's id: what is cut from here on is taken up
   by it. Then come the records, in chunks: of one table its file, of several a zip.
3. The end comes when the keymaster has noted it, with the digest of all bytes (RFC 9530) and what was exported.

Rules it keeps:

1. Nothing is written to a disk here. What is between room and caller is bounded, however slowly they take it.
2. EXPORTS_AT_ONCE are under way, of one caller fewer, each in a thread of its own: whoever takes one slowly keeps no
   other thread, and no other caller away.
3. A body without its end is no export: what stops one ends the connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from strongroom.errors import StrongroomError, UnavailableError
from strongroom.listener.defect import defect
from strongroom.listener.message import Reply
from strongroom.listener.stream import Stream
from strongroom.server.answers import ExportEnded, ExportStarted
from strongroom.server.handed import HandedOn
from strongroom.server.problem import DEFECT, reply_of
from strongroom.trace.exporting.export import export
from strongroom.trace.exporting.request import ExportReport, ExportRequest

if TYPE_CHECKING:
    from strongroom.identity import asked
    from strongroom.keymaster.exports.api import ExportGrant
    from strongroom.keyserver.calls import Original
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.read.session import Session
    from strongroom.trace.exporting.targets import File

EXPORTS_AT_ONCE = 3
OF_ONE_CALLER = 2  # what was cut may still end while it is taken up
PIECE_BYTES = 1 << 18
END_SECONDS = 10.0
ID, STARTED, EXPORTED, DIGEST = "strongroom-export", "strongroom-started", "strongroom-exported", "content-digest"
MEDIA = {"csv": b"text/csv", "jsonl": b"application/x-ndjson", "parquet": b"application/vnd.apache.parquet"}
ZIP = b"application/zip"


class Exports:
    """The exports of one server's callers.

    Args:
        session: The room's bucket and what is kept of it, opened with the server's own connection.
        keys: That connection.
        clock: Seconds since 1970.
    """

    def __init__(self, session: Session, keys: RemoteKeymaster, clock: Callable[[], float]) -> None:
        self._session = session
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[threading.Thread, tuple[str, Stream]] = {}

    def begin(
        self, request: Original, actor: str, said: asked.Export, ended: Callable[[int], None]
    ) -> Future[Reply]:
        """Begin an export; the reply is there when its persons are charged, or it was refused.

        Args:
            request: As its caller signed it.
            actor: Who signed it.
            said: What it says.
            ended: Called once with the status of what became of it.

        Raises:
            UnavailableError: As many as may be are under way, of this caller or in all.
        """
        session = self._session.speaking(HandedOn(self._keys, request, actor), actor)
        reply: Future[Reply] = Future()
        stream = Stream((DIGEST.encode(), EXPORTED.encode()))

        def work() -> None:
            status = 500
            try:
                status = self._made(session, said, stream, reply)
            finally:
                ended(status)
                with self._lock:
                    self._under_way.pop(threading.current_thread(), None)

        thread = threading.Thread(target=work, name="strongroom-export", daemon=True)
        self._take_place(thread, actor, stream)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            with self._lock:
                del self._under_way[thread]
            raise UnavailableError("too much at once", hint="send it again in a moment") from None
        return reply

    def _take_place(self, thread: threading.Thread, actor: str, stream: Stream) -> None:
        with self._lock:
            own = sum(one == actor for one, _ in self._under_way.values())
            if own >= OF_ONE_CALLER:
                raise UnavailableError(f"{own} exports of this caller are under way", hint="send it again in a moment")
            if len(self._under_way) >= EXPORTS_AT_ONCE:
                raise UnavailableError("too many exports at once", hint="send it again in a moment")
            self._under_way[thread] = (actor, stream)

    def _made(self, session: Session, said: asked.Export, stream: Stream, reply: Future[Reply]) -> int:
        """Make one; the status of what became of it. It does not raise."""
        body = _Body(stream)
        failed: Reply
        try:
            done = export(
                session,
                request_of(said),
                started=lambda grant: reply.set_result(_head(said, grant, stream)),
                into=lambda places: _Zip(body) if len(places.names) > 1 else _Plain(body),
            )
            stream.end((body.digest(), _header(_ended(done))))
        except StrongroomError as error:
            failed = reply_of(error, self._clock())
        except Exception as error:  # noqa: BLE001  a traceback could show a value: its place is told instead
            defect(error)
            failed = DEFECT
        else:
            return 200
        if reply.done():
            stream.cut()
        else:
            reply.set_result(failed)
        return failed.status

    def close(self) -> None:
        """Cut what is under way, and wait until it has ended; so long, and no longer."""
        with self._lock:
            under_way = list(self._under_way.items())
        for _thread, (_actor, stream) in under_way:
            stream.closed()
        end = time.monotonic() + END_SECONDS
        for thread, _ in under_way:
            thread.join(max(0.0, end - time.monotonic()))


def request_of(said: asked.Export) -> ExportRequest:
    """What the library is asked."""
    return ExportRequest(
        tuple(said.tables), "", said.recipient, said.purpose, said.reason, said.where,
        None if said.subjects is None else tuple(said.subjects), said.format, said.approval, said.break_glass,
        said.resume,
    )  # fmt: skip


def _head(said: asked.Export, grant: ExportGrant, stream: Stream) -> Reply:
    """The head of an answer whose body is made now."""
    started = ExportStarted(
        grant.persons, grant.snapshot, grant.leaf, dict(grant.remaining), grant.marked, grant.names_from, grant.why_none
    )
    headers = ((ID.encode(), grant.export_id.hex().encode()), (STARTED.encode(), _header(started)))
    media = MEDIA[said.format] if len(said.tables) == 1 else ZIP
    return Reply(200, media=media, headers=headers, stream=stream)


def _ended(done: ExportReport) -> ExportEnded:
    return ExportEnded(dict(done.records), done.root, done.absent)


def _header(said: msgspec.Struct) -> bytes:
    """JSON in ASCII, as a header may have it."""
    return json.dumps(msgspec.to_builtins(said), separators=(",", ":")).encode("ascii")


class _Body:
    """What an answer's body is written to: gathered into pieces, and counted into its digest."""

    closed = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._dropped = False

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self._dropped:
            return len(view)
        if len(self._held) + len(view) >= PIECE_BYTES:
            self.flush()
        if len(view) >= PIECE_BYTES:
            self._send(view)
        else:
            self._held += view
        return len(view)

    def flush(self) -> None:
        held, self._held = self._held, bytearray()
        self._send(memoryview(held))

    def _send(self, data: memoryview) -> None:
        self._digest.update(data)
        self._stream.write(data)

    def close(self) -> None:
        """It ends with the export."""

    def drop(self) -> None:
        """Take nothing any more: writers that are let go of may still have an end to write."""
        self._dropped, self._held = True, bytearray()

    def digest(self) -> bytes:
        """The digest of all that was written, as `Content-Digest` has it."""
        return b"sha-256=:" + base64.b64encode(self._digest.digest()) + b":"


class _Plain:
    """See `Targets`: the only file is the body."""

    def __init__(self, body: _Body) -> None:
        self._body = body

    def open(self, _name: str) -> File:
        return self._body

    def publish(self) -> None:
        """Write what is held. The end is another's to send."""
        self._body.flush()

    def withdraw(self) -> None:
        """What has no end is no file."""

    def discard(self) -> None:
        """See `withdraw`."""
        self._body.drop()


class _Zip(_Plain):
    """See `Targets`: each file an entry of a zip, one behind the other.

    Nothing is compressed, and yet the method is deflate: its blocks say where a file ends, so that it can be read while
    it comes. The size and check of each stand behind it.
    """

    def __init__(self, body: _Body) -> None:
        super().__init__(body)
        self._zip = zipfile.ZipFile(cast("IO[bytes]", body), "w", zipfile.ZIP_DEFLATED, compresslevel=0)
        self._entry: IO[bytes] | None = None

    def open(self, name: str) -> File:
        self._end_entry()
        self._entry = self._zip.open(name, "w", force_zip64=True)
        return _Entry(self._entry)

    def _end_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None

    def publish(self) -> None:
        """Write the zip's own end, and what is held."""
        self._end_entry()
        self._zip.close()
        super().publish()

    def discard(self) -> None:
        super().discard()
        self._end_entry()
        self._zip.close()


class _Entry:
    """One entry as a file: it ends when the next begins."""

    closed = False

    def __init__(self, entry: IO[bytes]) -> None:
        self._entry = entry

    def write(self, data: Any, /) -> int:
        return self._entry.write(memoryview(data).cast("B"))

    def flush(self) -> None:
        """All of it is gathered below."""

    def close(self) -> None:
        """See the class."""
