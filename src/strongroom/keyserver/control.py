"""The socket through which an operator opens and seals a served keymaster, on its own host.

A line of JSON is asked, a line answers: {"do": "open", "passphrase" | "pin" | "share": text} or {"do": "seal"}.

Rules it keeps:

1. A Unix domain socket, mode 0600, in the keymaster's own folder as a rule. Whoever connects is let speak when they are
   the user whom the server runs as (SO_PEERCRED); others are hung up on.
2. What is typed goes over this socket only: it stands on no command line and in no file.
3. One at a time, at most LINE_BYTES_MAX, within LINE_SECONDS.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from strongroom import errors
from strongroom.errors import ConflictError, StrongroomError, UnavailableError, UsageError

if TYPE_CHECKING:
    from strongroom.keyserver.gate import Gate, Opened

SOCKET = "open.sock"
LINE_BYTES_MAX = 1 << 16
LINE_SECONDS = 10.0
ANSWER_SECONDS = 120.0
_WAYS = ("passphrase", "pin", "share")
_CREDENTIALS = struct.Struct("3i")


class Control:
    """Listens for the operator of a gate; close it with `with`.

    Args:
        path: Of the socket; nothing that is served lies there.
        gate: What is opened and sealed.

    Raises:
        ConflictError: Another process listens there.
        UsageError: The socket cannot be made.
    """

    def __init__(self, path: Path, gate: Gate) -> None:
        if not hasattr(socket, "SO_PEERCRED"):
            raise UsageError("this system does not say who connects: a keymaster cannot be opened through a socket")
        self._gate = gate
        self._path = path
        self._socket = _listening(path)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(ANSWER_SECONDS)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return  # closed
            with one, contextlib.suppress(OSError):
                self._serve(one)

    def _serve(self, one: socket.socket) -> None:
        _pid, uid, _gid = _CREDENTIALS.unpack(one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.geteuid():
            return
        one.settimeout(LINE_SECONDS)
        try:
            said = self._do(_read(one), uid)
        except StrongroomError as error:
            said = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
        except Exception as error:  # noqa: BLE001  a traceback could show what was typed
            said = {"error": "StrongroomError", "message": f"a defect of the keymaster: {type(error).__name__}"}
        one.sendall(json.dumps(said).encode() + b"\n")

    def _do(self, asked: dict[str, Any], uid: int) -> dict[str, Any]:
        if asked == {"do": "seal"}:
            self._gate.seal(uid)
            return {"done": "sealed"}
        ways = [name for name in _WAYS if isinstance(asked.get(name), str)]
        if asked.get("do") != "open" or len(ways) != 1 or len(asked) != 2:
            raise UsageError("a keymaster is opened by a passphrase, a PIN or a share")
        text = str(asked[ways[0]])
        by = {"passphrase": self._gate.by_passphrase, "pin": self._gate.by_pin, "share": self._gate.by_share}
        opened: Opened = by[ways[0]](text, uid)
        done = "open" if opened.room_id else "share"
        return {"done": done, "room": opened.room_id, "shares": opened.shares, "threshold": opened.threshold}


def ask_control(path: Path, **asked: str) -> dict[str, Any]:
    """Ask what `Control` answers, as the operator.

    Raises:
        UnavailableError: Nobody listens there.
        StrongroomError: As the keymaster raised it.
    """
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(ANSWER_SECONDS)
        try:
            with _short(path) as place:
                one.connect(place)
        except OSError:
            hint = "start it there with `strongroom keymaster serve --sealed`"
            raise UnavailableError(f"no sealed keymaster is served at {path}", hint=hint) from None
        try:
            one.sendall(json.dumps(asked).encode() + b"\n")
            said = _read(one)
        except (OSError, UsageError):
            raise UnavailableError("the keymaster hung up", hint="only the user whom it runs as opens it") from None
    if "error" in said:
        kind = getattr(errors, str(said["error"]), StrongroomError)
        raise kind(str(said["message"]), hint=said.get("hint"))
    return said


def _read(one: socket.socket) -> dict[str, Any]:
    found = b""
    while not found.endswith(b"\n"):
        part = one.recv(LINE_BYTES_MAX)
        found += part
        if not part or len(found) > LINE_BYTES_MAX:
            raise UsageError("not a line that is understood here")
    try:
        said = json.loads(found)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise UsageError("not a line that is understood here")
    return said


def _listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as place:
            if path.exists():
                _refuse_live(path, place)
            before = os.umask(0o177)
            try:
                made.bind(place)
            finally:
                os.umask(before)
        made.listen(8)
    except OSError as error:
        made.close()
        reason = os.strerror(error.errno or 0).lower()
        raise UsageError(f"the socket {path} cannot be made: {reason}", hint="--socket PATH names another") from None
    except BaseException:
        made.close()
        raise
    return made


def _refuse_live(path: Path, place: str) -> None:
    """Take away what a killed process left; raise where another listens."""
    if not path.is_socket():
        raise ConflictError(f"{path} is no socket", hint="--socket PATH names another")
    with socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(place)
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConflictError(f"another process is served at {path}", hint="--socket PATH names another")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of a socket that is not too long for the system, wherever it lies."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
