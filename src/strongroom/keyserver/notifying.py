"""Tell somebody of what should be heard at once: a web address, or a command of this machine.

Rules it keeps:

1. Telling never stands in the way of an answer: one thread follows the log, and each attempt has its time.
2. What cannot be told is tried again a few times, then passed over, and said in the program's own messages.
3. A web address is https, or on loopback. The request is signed where a key is given; nothing secret is in the address.
4. A command gets one line of JSON on its input, no shell, nothing of the keymaster's environment but where programs
   are, and is ended with its children when its time is over.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import urllib3

from strongroom.errors import ConflictError, StrongroomError, UsageError
from strongroom.identity.credential import Credential
from strongroom.identity.signing import RequestSigner
from strongroom.seal.entropy import random_bytes
from strongroom.webaddress import is_private, read_address

if TYPE_CHECKING:
    from strongroom.keymaster.notices import Notice, Notices

ATTEMPT_SECONDS = 10.0
WAITS_SECONDS = (1.0, 5.0, 25.0)
FOLLOW_SECONDS = 1.0
OTHER_SECONDS = 30.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


class Target(Protocol):
    """Where notices go."""

    def send(self, body: bytes) -> str | None:
        """Send one; what went wrong, in a word or two, or None."""


class Webhook:
    """POSTs JSON to an address.

    Args:
        url: https, or http on loopback.
        key: Signs each request (RFC 9421, as callers of the keymaster do); None for no signature.
        clock: Seconds since 1970.
        entropy: Gives nonces.
    """

    def __init__(
        self,
        url: str,
        key: Credential | None = None,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = random_bytes,
    ) -> None:
        parts = read_address(url)
        if parts is None:
            raise UsageError("notices go to an address like https://alerts.example/strongroom")
        if parts.query or parts.fragment:
            raise UsageError("an address for notices has no query", hint="let the receiver check the signature")
        if not is_private(parts):
            raise UsageError("notices leave this machine over https only")
        self._url, self._path = url, parts.path or "/"
        self._signer = None if key is None else RequestSigner(key.seed, key.id, clock, entropy)
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=ATTEMPT_SECONDS), retries=False)

    def send(self, body: bytes) -> str | None:
        """See `Target.send`."""
        headers = {"Content-Type": "application/json"}
        if self._signer is not None:
            headers |= self._signer.headers(self._path, body)
        try:
            answer = self._pool.urlopen(
                "POST", self._url, body=body, headers=headers, redirect=False, preload_content=False
            )
            answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return type(error).__name__
        return None if 200 <= answer.status < 300 else f"status {answer.status}"


class Command:
    """Runs a command of this machine for each notice.

    Args:
        words: Program and arguments, as a shell would part them; no shell runs.
    """

    def __init__(self, words: str) -> None:
        try:
            self._words = shlex.split(words)
        except ValueError:
            raise UsageError("the command for notices has an open quote") from None
        program = shutil.which(self._words[0]) if self._words else None
        if program is None:
            raise UsageError("there is no such program to run for notices")
        self._words[0] = program

    def send(self, body: bytes) -> str | None:
        """See `Target.send`."""
        try:
            process = subprocess.Popen(  # noqa: S603  the operator's own words, no shell
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                start_new_session=True,
            )
        except OSError as error:
            return type(error).__name__
        try:
            process.communicate(body + b"\n", ATTEMPT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"it took more than {ATTEMPT_SECONDS:.0f} s"
        return None if process.returncode == 0 else f"exit code {process.returncode}"


def target_of(text: str, key: Credential | None = None) -> Target:
    """A target from a command line: an address, or a command.

    Raises:
        UsageError: It is neither, or there is a key and nothing that is signed.
    """
    if text.startswith(("http://", "https://")):
        return Webhook(text, key)
    if key is not None:
        raise UsageError("a key signs what goes to a web address, and this is a command")
    return Command(text)


class Notifier:
    """Follows a keymaster's log in the background and tells a target of what somebody should hear.

    Args:
        notices: Of the keymaster.
        room_id: Names the room in each notice.
        target: Where they go.
    """

    def __init__(self, notices: Notices, room_id: bytes, target: Target) -> None:
        self._notices = notices
        self._room_id = room_id
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="strongroom-notify", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was not told by now is told after the next start."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._notices.alone():
                    self._notices.begin()
                    while not self._stop.is_set():
                        self._tell()
                        self._stop.wait(FOLLOW_SECONDS)
            except ConflictError:
                self._stop.wait(OTHER_SECONDS)  # another process of this keymaster tells
            except StrongroomError as error:
                _say(f"notices cannot be read ({type(error).__name__}), and are told later")
                self._stop.wait(OTHER_SECONDS)

    def _tell(self) -> None:
        for notice in self._notices.next():
            done = self._deliver(notice)
            if done is None:
                return
            self._notices.told(notice.leaf + 1, lost=not done)

    def _deliver(self, notice: Notice) -> bool | None:
        """Whether it was told; None when it is time to stop."""
        body = json.dumps(notice.to_dict(self._room_id), ensure_ascii=False, sort_keys=True).encode()
        trouble: str | None = None
        for wait in (0.0, *WAITS_SECONDS):
            if self._stop.wait(wait):
                return None
            trouble = self._target.send(body)
            if trouble is None:
                return True
        _say(f"the notice of log entry {notice.leaf} was not delivered: {trouble}")
        return False


def _say(text: str) -> None:
    logging.getLogger("strongroom").warning(text)
