"""A served keymaster that starts sealed: opened by an operator, by shares, or by a token; sealed again.

Rules it keeps:

1. Sealed, the process holds no key. Everybody on the wire gets one and the same answer.
2. Whatever does not open is answered the same, after OPEN_SECONDS at least, one at a time.
3. Sealing answers nobody new, lets calls under way end, notes it, then forgets the keys; readings are closed by that.
   What an operator sealed no token opens by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, IntegrityError, KeysError, StrongroomError, UnavailableError, UsageError
from strongroom.keymaster.create import open_keymaster
from strongroom.keys.shares import Share, combine_passphrase, read_share

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keys.slots import Keeper
    from strongroom.keyserver.serving import Server

OPEN_SECONDS = 2.0
SHARES_SECONDS = 3600.0
LOOK_SECONDS = 10.0
_WRONG = "this does not open the keymaster"


@dataclass(frozen=True)
class Opened:
    """What became of an attempt: the room's id once it is open, or how many shares are there of how many."""

    room_id: str = ""
    shares: int = 0
    threshold: int = 0


class Gate:
    """Opens and seals the keymaster of one server.

    Args:
        folder: Of the keymaster.
        server: Answers for it while it is open.
        token: Makes the keeper of a token with a PIN that is typed; None where no token is named.
        itself: Makes a keeper that needs nobody: a token whose PIN is in a file, or a KMS key; None for neither.
        tell: Called with a line for the operator.
        beside: What goes on beside a keymaster while it is open.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        token: Callable[[str], Keeper] | None = None,
        itself: Callable[[], Keeper] | None = None,
        tell: Callable[[str], None] = lambda _line: None,
        beside: Callable[[EmbeddedKeymaster], AbstractContextManager[None]] = lambda _open: nullcontext(),
    ) -> None:
        self._folder = folder
        self._server = server
        self._token = token
        self._itself = itself
        self._tell = tell
        self._beside = beside
        self._running = ExitStack()
        self._lock = threading.Lock()
        self._keymaster: EmbeddedKeymaster | None = None
        self._shares: dict[int, Share] = {}
        self._shares_since = 0.0
        self._refused = 0
        self._ended = threading.Event()
        self._looking: threading.Thread | None = None

    # -- by itself ------------------------------------------------------------------------------
    def begin(self) -> None:
        """Look for what opens it by itself, until it is open."""
        if self._itself is not None:
            self._looking = threading.Thread(target=self._look, daemon=True)
            self._looking.start()

    def _look(self) -> None:
        said = ""
        while not self._ended.is_set() and self._itself is not None:
            try:
                self._open_itself(self._itself)
            except UnavailableError as error:  # not there yet
                if str(error) != said:
                    said = str(error)
                    self._tell(f"sealed: {said}")
            except StrongroomError as error:  # asked again, a token would lock its PIN
                self._tell(f"sealed: {error}")
                return
            else:
                return
            self._ended.wait(LOOK_SECONDS)

    def _open_itself(self, itself: Callable[[], Keeper]) -> None:
        with self._lock:
            if self._keymaster is None and not self._ended.is_set():
                self._open(itself())

    # -- by an operator -------------------------------------------------------------------------
    def by_passphrase(self, passphrase: str, uid: int) -> Opened:
        """Open it.

        Raises:
            KeysError: It does not open; the same for everything that does not.
            ConflictError: It is open.
        """
        return self._try(lambda: self._open_passphrase(passphrase, "passphrase", uid))

    def by_pin(self, pin: str, uid: int) -> Opened:
        """Open it by the token that the settings name; see `by_passphrase`."""
        if self._token is None:
            raise UsageError("no token is named where the keymaster is served", hint="token = … in its settings")
        make = self._token
        return self._try(lambda: self._open(make(pin), uid))

    def by_share(self, text: str, uid: int) -> Opened:
        """Give one share; enough of them open it. What is given is forgotten after an hour; see `by_passphrase`."""
        return self._try(lambda: self._take(text, uid))

    def _take(self, text: str, uid: int) -> Opened:
        share, now = read_share(text), time.monotonic()
        if now - self._shares_since > SHARES_SECONDS:
            self._shares.clear()
        if any(other.of != share.of for other in self._shares.values()):
            raise KeysError(_WRONG)
        if not self._shares:
            self._shares_since = now
        self._shares[share.number] = share
        if len(self._shares) < share.threshold:
            return Opened(shares=len(self._shares), threshold=share.threshold)
        texts = [one.text for one in self._shares.values()]
        self._shares.clear()
        return self._open_passphrase(combine_passphrase(texts), "shares", uid)

    def _try(self, attempt: Callable[[], Opened]) -> Opened:
        with self._lock:
            began = time.monotonic()
            if self._keymaster is not None:
                raise ConflictError("the keymaster is open")
            try:
                return attempt()
            except KeysError:
                self._refused += 1
                time.sleep(max(0.0, began + OPEN_SECONDS - time.monotonic()))
                raise KeysError(_WRONG, hint="a passphrase, a PIN or shares of this keymaster, whole") from None

    def _open_passphrase(self, passphrase: str, by: str, uid: int) -> Opened:
        return self._use(open_keymaster(self._folder, passphrase=passphrase), by, uid)

    def _open(self, keeper: Keeper, uid: int | None = None) -> Opened:
        by = {"pkcs11": "the token", "kms": "the KMS key"}.get(keeper.kind, keeper.kind)
        return self._use(open_keymaster(self._folder, token=keeper), by, uid)

    def _note(self, keymaster: EmbeddedKeymaster, act: str, **extras: int | str) -> None:
        """Note it; a keymaster that has not caught up notes nothing, and releases nothing either."""
        try:
            keymaster.note(act, **extras)
        except IntegrityError as error:
            self._tell(f"not noted: {error}")

    def _use(self, keymaster: EmbeddedKeymaster, by: str, uid: int | None) -> Opened:
        try:
            who = {} if uid is None else {"uid": uid}
            self._note(keymaster, "unseal", by=by, refused=self._refused, **who)
        except BaseException:
            keymaster.close()
            raise
        self._refused = 0
        self._shares.clear()
        self._keymaster = keymaster
        self._running.enter_context(self._beside(keymaster))
        self._server.serve(keymaster)
        room_id = keymaster.room_id.hex()
        self._tell(f"room {room_id}: opened by {by}")
        return Opened(room_id)

    # -- the end --------------------------------------------------------------------------------
    def seal(self, uid: int) -> None:
        """Seal it again.

        Raises:
            ConflictError: It is sealed.
        """
        with self._lock:
            self._ended.set()
            keymaster = self._keymaster
            if keymaster is None:
                raise ConflictError("the keymaster is sealed")
            self._server.seal()
            self._running.close()
            self._keymaster = None
            try:
                self._note(keymaster, "seal", uid=uid)
            finally:
                keymaster.close()
            self._tell("sealed")

    def close(self) -> None:
        """Forget the keys; the server has stopped."""
        self._ended.set()
        with self._lock:
            self._shares.clear()
            self._running.close()
            if self._keymaster is not None:
                self._keymaster.close()
                self._keymaster = None
        if self._looking is not None:
            self._looking.join()
